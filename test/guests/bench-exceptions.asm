; Handlers and instructions of bench-exceptions.c: each handler adds to the counter that rdi points to and goes on
; behind the instruction that raised it.

%include "boot.inc"
%include "gates.inc"

INT_VECTOR equ 0x40

        bits    64
        global  set_gates, raise_de, raise_bp, raise_ud, raise_gp, raise_pf, raise_int

        section .text

; void set_gates(void)
set_gates:
        set_gate 0, on_de
        set_gate 3, on_bp
        set_gate 6, on_ud
        set_gate 13, on_gp
        set_gate 14, on_pf
        set_gate INT_VECTOR, on_int
        ret

; void raise_XX(u64 *counter)
raise_de:
        xor     eax, eax
        xor     edx, edx
        xor     ecx, ecx
        div     ecx
        ret
raise_bp:
        int3
        ret
raise_ud:
        ud2
        ret
raise_gp:
        mov     rax, 0x8000000000000000
        mov     rax, [rax]
        ret
; void raise_pf(u64 *counter, u64 gva)
raise_pf:
        mov     rax, [rsi]
        ret
raise_int:
        int     INT_VECTOR
        ret

on_de:  inc     qword [rdi]
        add     qword [rsp], 2
        iretq
on_bp:  inc     qword [rdi]
        iretq
on_ud:  inc     qword [rdi]
        add     qword [rsp], 2
        iretq
on_gp:  inc     qword [rdi]
        add     rsp, 8
        add     qword [rsp], 3
        iretq
on_pf:  mov     rax, cr2
        add     [rdi], rax
        add     rsp, 8
        add     qword [rsp], 3
        iretq
on_int: inc     qword [rdi]
        iretq
