; Every vCPU increments one watched dword 1000 times. No increment may be lost, whatever answers
; the introspector gives on the way.
; run:    -smp 2 -m 48M
; expect: exit 0, dword at 0x2000000 = 1000 * vCPUs (zero before)

%include "boot.inc"

COUNTER equ 0x2000000

        bits 64
        global _start

        section .text
_start:
        mov     ebx, COUNTER
        mov     ecx, 1000
.again:
        lock inc dword [rbx]
        dec     ecx
        jnz     .again
        exit    0
