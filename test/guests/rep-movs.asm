; One REP MOVSB of 8192 + 16 bytes from 0x2010000 to 0x201fff8: it touches three pages of source
; and four of target, and any of them may be watched, or vanish and come back.
; run:    -smp 1 -m 48M
; expect: exit 0, the bytes at 0x201fff8 are those at 0x2010000; exit 1 if a register ends up wrong

%include "boot.inc"

SOURCE equ 0x2010000
TARGET equ 0x2020000 - 8
COUNT  equ 8192 + 16

        bits 64
        global _start

        section .text
_start:
        mov     esi, SOURCE
        mov     edi, TARGET
        mov     ecx, COUNT
        cld
        rep movsb
        cmp     rsi, SOURCE + COUNT
        jne     .wrong
        cmp     rdi, TARGET + COUNT
        jne     .wrong
        test    rcx, rcx
        jnz     .wrong
        exit    0
.wrong:
        exit    1
