; Every vCPU prints one line and exits. A spinlock keeps the lines whole; their order is anybody's.
; run:    -smp 2 -m 4M
; expect: exit 0, console "hello from vcpu 0", "hello from vcpu 1" in either order

%include "boot.inc"

        bits 64
        default rel
        global _start

        section .text
_start:
        lea     esi, [text]
.acquire:
        lock bts dword [console_lock], 0
        jnc     .put
        pause
        jmp     .acquire
.put:
        lodsb
        test    al, al
        jz      .number
        out     PORT_CONSOLE, al
        jmp     .put
.number:
        mov     eax, edi
        mov     ecx, 10
        xor     edx, edx
        div     ecx                     ; at most 16 vCPUs: two digits
        test    eax, eax
        jz      .units
        add     al, '0'
        out     PORT_CONSOLE, al
.units:
        lea     eax, [rdx + '0']
        out     PORT_CONSOLE, al
        mov     al, 10
        out     PORT_CONSOLE, al
        mov     dword [console_lock], 0
        exit    0

        section .rodata
text:   db      "hello from vcpu ", 0

        section .data
        align   4
console_lock: dd 0
