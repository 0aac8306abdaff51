; Writes three instructions into a page, then calls them: self-made code, and a fetch from a page
; that may be denied execution.
; run:    -smp 1 -m 64M
; expect: exit 2

%include "boot.inc"

PAGE equ 0x3000000

        bits 64
        default rel
        global _start

        section .text
_start:
        lea     esi, [code]
        mov     edi, PAGE
        mov     ecx, code_bytes
        rep movsb
        xor     eax, eax
        mov     ebx, PAGE
        call    rbx
        exit_al

        section .rodata
code:
        inc     eax
        inc     eax
        ret
code_bytes equ $ - code
