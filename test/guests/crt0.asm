; Start-up code of the guests written in C: puts a handler behind every exception, calls
; main(index, count) and exits with what it returns. An exception prints
; "exception VV rip RRRRRRRRRRRRRRRR" and exits with 0x7e.

%include "boot.inc"

EXIT_EXCEPTION equ 0x7e

        bits 64
        default rel
        global _start, debug_put
        extern main

        section .text

_start:
        ; Every vCPU writes the same 32 gates, so none has to wait for another.
        mov     eax, stubs
        mov     ebx, IDT_GPA
        mov     ecx, 32
.gate:
        mov     [rbx], ax
        mov     word [rbx + 2], KERNEL_CODE_SELECTOR
        mov     word [rbx + 4], 0x8e01          ; interrupt gate on IST1: rsp may be anywhere
        mov     edx, eax
        shr     edx, 16
        mov     [rbx + 6], dx
        mov     qword [rbx + 8], 0
        add     eax, STUB_BYTES
        add     ebx, 16
        loop    .gate

        xor     ebp, ebp
        call    main
        exit_al

; void debug_put(char)
debug_put:
        mov     eax, edi
        out     PORT_CONSOLE, al
        ret

; One stub per vector, all of one size, each leaving the vector on the stack.
STUB_BYTES equ 8
        align 8
stubs:
%assign vector 0
%rep 32
        push    byte vector
        jmp     near exception
        align   STUB_BYTES, int3
%assign vector vector + 1
%endrep

exception:
        pop     rbx                             ; vector
        ; These push an error code: #DF #TS #NP #SS #GP #PF #AC #CP
        mov     eax, 0x00227d00
        bt      eax, ebx
        jnc     .no_error_code
        pop     rax
.no_error_code:
        mov     r12, [rsp]                      ; rip
        mov     esi, text_exception
        call    put_text
        mov     rdx, rbx
        mov     ecx, 2
        call    put_hex
        mov     esi, text_rip
        call    put_text
        mov     rdx, r12
        mov     ecx, 16
        call    put_hex
        mov     al, 10
        out     PORT_CONSOLE, al
        exit    EXIT_EXCEPTION

%include "print.inc"

        section .rodata
text_exception: db "exception ", 0
text_rip:       db " rip ", 0
