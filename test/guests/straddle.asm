; One 8-byte store, half of it in each of two pages. Both pages may be watched. The low half goes
; first and is in memory before the high half is asked about: when that one is refused, the low half
; stays, and is stored once more when the instruction is tried again.
; run:    -smp 1 -m 48M
; expect: exit 0, qword at 0x2000ffc = 0x1122334455667788

%include "boot.inc"

        bits 64
        global _start

        section .text
_start:
        mov     rax, 0x1122334455667788
        mov     ebx, 0x2000ffc
        mov     [rbx], rax
        exit    0
