; Handlers of bench-system.c, and the instructions that raise their exceptions.

%include "boot.inc"
%include "gates.inc"

        bits    64
        global  set_gates, raise_ud, fault_entries, fault_entry
        section .text

; void set_gates(void)
set_gates:
        set_gate 6, on_ud
        set_gate 14, on_pf
        ret

; void raise_ud(void)
raise_ud:
        ud2
        ret

on_ud:  add     qword [rsp], 2
        iretq

; Maps the page of CR2, an entry of the table at fault_entries, to fault_entry.
on_pf:  push    rax
        push    rdx
        mov     rax, cr2
        shr     eax, 12
        and     eax, 511
        shl     eax, 3
        add     rax, [fault_entries]
        mov     rdx, [fault_entry]
        mov     [rax], rdx
        pop     rdx
        pop     rax
        add     rsp, 8
        iretq

        section .bss
        alignb  8
fault_entries: resq 1
fault_entry:   resq 1
