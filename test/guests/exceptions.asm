; Exceptions in ring 0: which vector, which error code, which rip, on which stack; and that nothing of the faulting
; instruction is done.
; run:    -smp 1 -m 4M
; expect: exit 0, console "exceptions ok"
; Only vCPU 0 takes part; others exit 0 at once.

%include "boot.inc"

NOT_CANONICAL equ 0x8000000000000000
NOT_MAPPED    equ 0x123456789000        ; below the hole of addresses, above what boot tables map

        bits    64
        global  _start

%include "check.inc"

_start:
        test    edi, edi
        jnz     done
        call    install_traps

        ; #DE: registers keep their values.
        mov     eax, 0x11
        mov     edx, 0x22
        xor     ecx, ecx
        faults  0, 0, div ecx
        cmp     rax, 0x11
        require e
        cmp     rdx, 0x22
        require e
        mov     ecx, 0x22
        faults  0, 0, div ecx                   ; the quotient is 2^32 and some
        mov     eax, 0x80000000
        mov     edx, 0xffffffff
        mov     ecx, -1
        faults  0, 0, idiv ecx                  ; 2^31 is no negative number
        cmp     eax, 0x80000000
        require e
        mov     rax, 0x8000000000000000
        cqo
        faults  0, 0, idiv qword [minus_one]
        mov     ax, 0x200
        mov     cl, 2
        faults  0, 0, div cl
        mov     ax, 0x3f80
        faults  0, 0, idiv cl

        ; #UD
        faults  6, 0, ud2
        faults  6, 0, db 0x0f, 0xff, 0xc0       ; ud0
        faults  6, 0, db 0x0f, 0xb9, 0xc0       ; ud1
        faults  6, 0, db 0x06                   ; push es: not in 64-bit mode
        faults  6, 0, db 0xff, 0xff             ; what a fetch from nowhere reads
        faults  6, 0, db 0xf0, 0x01, 0xc0       ; lock add eax, eax
        faults  6, 0, db 0x8d, 0xc0             ; lea eax, eax
        faults  6, 0, db 0x0f, 0xc7, 0xc8       ; cmpxchg8b eax

        ; #GP
        mov     rbx, NOT_CANONICAL
        mov     eax, 0x11
        faults  13, 0, mov rax, [rbx]
        cmp     rax, 0x11
        require e
        faults  13, 0, mov [rbx], rax
        faults  13, 0, add [rbx], rax
        faults  13, 0, lock inc byte [rbx]
        mov     rsi, rbx
        mov     ecx, 3
        faults  13, 0, rep lodsb
        cmp     rcx, 3
        require e
        faults  13, 0, times 15 db 0x66         ; with what follows, longer than 15 bytes
        mov     eax, 0x1000
        faults  13, 0x1000, mov ds, ax          ; outside the GDT
        mov     eax, KERNEL_CODE_SELECTOR
        faults  13, KERNEL_CODE_SELECTOR, mov ss, ax
        ; CMPXCHG16B wants its operand aligned.
        mov     ebx, scratch + 8
        faults  13, 0, cmpxchg16b [rbx]

        ; #PF: nothing there. Error code: W is 2, a fetch is 0x10.
        mov     rbx, NOT_MAPPED
        mov     eax, 0x11
        faults  14, 0, mov rax, [rbx + 0x123]
        cmp     rax, 0x11
        require e
        lea     rdx, [rbx + 0x123]
        cmp     [trap_cr2], rdx
        require e
        faults  14, 2, mov [rbx], al
        cmp     [trap_cr2], rbx
        require e
        faults  14, 0, test byte [rbx], 1
        faults  14, 0, push qword [rbx]
        mov     rcx, rsp
        faults  14, 2, pop qword [rbx]          ; rsp stays
        cmp     rcx, rsp
        require e
        mov     edi, scratch
        mov     rsi, rbx
        mov     ecx, 5
        faults  14, 0, rep movsb
        cmp     rcx, 5
        require e
        cmp     rsi, rbx
        require e
        mov     rdi, rbx
        mov     esi, scratch
        faults  14, 2, rep movsb
        ; A fetch: rip is where it wanted to go, which the macro cannot know.
        mov     qword [trap_resume], .fetched
        mov     qword [trap_vector], -1
        mov     rcx, rsp
        call    rbx
        ud2
.fetched:
        cmp     qword [trap_vector], 14
        require e
        cmp     qword [trap_error], 0x10
        require e
        cmp     [trap_rip], rbx
        require e
        cmp     [trap_cr2], rbx
        require e
        sub     rcx, 8                          ; the call itself is done
        cmp     rcx, rsp
        require e
        add     rsp, 8

        ; Traps and software interrupts
        traps   3, 0, int3
        traps   3, 0, int 3
        traps   0x40, 0, int 0x40

        ; The frame: the stack is aligned to 16 first, the old rsp is in it, IF is cleared by the gate.
        mov     rcx, rsp
        sub     rsp, 13
        sti
        traps   0x40, 0, int 0x40
        cli
        lea     rdx, [rcx - 13]
        cmp     [trap_rsp], rdx
        require e
        cmp     rsp, rdx
        require e
        and     rdx, -16
        sub     rdx, 56                         ; ss, rsp, rflags, cs, rip, and two of the stub's
        cmp     [trap_handler_rsp], rdx
        require e
        mov     rsp, rcx
        bt      qword [trap_rflags], 9
        require c
        bt      qword [trap_handler_rflags], 9
        require nc
        cmp     qword [trap_cs], KERNEL_CODE_SELECTOR
        require e
        cmp     qword [trap_ss], KERNEL_DATA_SELECTOR
        require e
        ; A trap gate leaves IF alone.
        mov     byte [IDT_GPA + 0x40 * 16 + 5], 0x8f
        sti
        traps   0x40, 0, int 0x40
        cli
        bt      qword [trap_handler_rflags], 9
        require c

        ; Arithmetic flags and DF come back.
        mov     qword [trap_resume], .flags
        mov     eax, 0x7fffffff
        std
        add     eax, 1                          ; OF SF AF PF, no CF, no ZF
        int     0x40
        ud2
.flags: pushfq
        pop     rax
        cld
        and     eax, 0xcd5
        cmp     eax, 0xc94
        require e

        ; IST: another stack, whatever rsp is.
        mov     byte [IDT_GPA + 6 * 16 + 4], 1
        mov     rcx, rsp
        mov     rsp, NOT_CANONICAL
        faults  6, 0, ud2
        mov     rdx, rsp
        mov     rsp, rcx
        mov     rcx, NOT_CANONICAL
        cmp     rdx, rcx
        require e
        cmp     qword [trap_handler_rsp], IST1_STACKS_GPA + IST1_STACK_BYTES - 56
        require e
        mov     byte [IDT_GPA + 6 * 16 + 4], 0

        ; #DF: the gate of #PF is no gate. Where a double fault came from is not defined, so its rip is not compared.
        mov     rax, [IDT_GPA + 14 * 16]
        push    rax
        mov     qword [IDT_GPA + 14 * 16], 0
        mov     rbx, NOT_MAPPED
        mov     qword [trap_resume], .doubled
        mov     qword [trap_vector], -1
        mov     rax, [rbx]
.doubled:
        pop     rax
        mov     [IDT_GPA + 14 * 16], rax
        cmp     qword [trap_vector], 8
        require e
        cmp     qword [trap_error], 0
        require e
        faults  14, 0, mov rax, [rbx]

        mov     esi, text_ok
        call    put_text
done:
        exit    0

        section .rodata
text_ok:   db   "exceptions ok", 10, 0
        align   8
minus_one: dq   -1

        section .bss
        alignb  16
scratch:   resb 32
