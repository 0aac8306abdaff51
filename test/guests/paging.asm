; Page tables made by hand, above the 4 GiB that boot tables map: A and D bits, write protection, NX, aliases,
; INVLPG, large pages, accesses across pages of different rights.
; run:    -smp 1 -m 8M
; expect: exit 0, console "paging ok"
; Only vCPU 0 takes part; others exit 0 at once.

%include "boot.inc"

GVA         equ 0x140000000             ; 5 GiB: entry 5 of the PDPT, entry 0 of all below
FRAMES      equ 0x400000                ; gpa of the frames that get mapped; identity mapped too
PAGE        equ 0x1000
P           equ 1
RW          equ 2
US          equ 4
A           equ 0x20
D           equ 0x40
PS          equ 0x80
CR0_WP      equ 16

        bits    64
        global  _start

%include "check.inc"

; Maps the page at GVA + %1 * PAGE: frame number, bits.
%macro map 3
        mov     rax, (FRAMES + %2 * PAGE) | %3
        mov     [table + %1 * 8], rax
        invlpg  [r12 + %1 * PAGE]
%endmacro

; The entry's A and D bits.
%macro expect_bits 2
        mov     eax, [table + %1 * 8]
        and     eax, A | D
        cmp     eax, %2
%endmacro

_start:
        test    edi, edi
        jnz     done
        call    install_traps
        mov     r12, GVA
        mov     r13d, FRAMES
        mov     rax, cr3
        mov     rbx, [rax]                      ; PML4 entry 0
        and     rbx, ~0xfff
        mov     qword [directory], table + (P | RW)
        mov     qword [rbx + 5 * 8], directory + (P | RW)

        ; A read sets A, and A in every table on the way; a write sets D, in the page's entry only.
        map     0, 0, P | RW
        mov     qword [r13], 0x1234
        cmp     qword [r12], 0x1234
        require e
        expect_bits 0, A
        require e
        mov     eax, [directory]
        and     eax, A | D
        cmp     eax, A
        require e
        mov     eax, [rbx + 5 * 8]
        and     eax, A | D
        cmp     eax, A
        require e
        mov     qword [r12], 0x5678
        expect_bits 0, A | D
        require e
        mov     eax, [directory]
        and     eax, A | D
        cmp     eax, A
        require e
        cmp     qword [r13], 0x5678
        require e

        ; A fresh entry that is written first; one that is only executed; one by a LOCK operation.
        map     1, 1, P | RW
        mov     byte [r12 + PAGE], 0xc3         ; ret
        expect_bits 1, A | D
        require e
        map     1, 1, P | RW
        lea     rax, [r12 + PAGE]
        call    rax
        expect_bits 1, A
        require e
        lock inc byte [r12 + PAGE + 1]
        expect_bits 1, A | D
        require e
        ; Bits that are cleared come back, once the TLB has forgotten.
        and     dword [table + 8], ~(A | D)
        invlpg  [r12 + PAGE]
        mov     al, [r12 + PAGE]
        expect_bits 1, A
        require e

        ; Two pages, one frame.
        map     2, 2, P | RW
        map     3, 2, P | RW
        mov     dword [r12 + 2 * PAGE + 0x10], 0xabcdef
        cmp     dword [r12 + 3 * PAGE + 0x10], 0xabcdef
        require e
        cmp     dword [r13 + 2 * PAGE + 0x10], 0xabcdef
        require e
        ; Code made through one of them, run through the other.
        mov     dword [r12 + 2 * PAGE], 0x90c3c0ff      ; inc eax; ret
        mov     dword [r12 + 2 * PAGE + 4], 0x90c3c0ff
        lea     rdx, [r12 + 3 * PAGE]
        mov     eax, 5
        call    rdx
        cmp     eax, 6
        require e
        mov     word [r12 + 2 * PAGE], 0xc8ff           ; dec eax
        push    rbx
        xor     eax, eax
        cpuid                                           ; an alias needs something that serializes
        pop     rbx
        lea     rdx, [r12 + 3 * PAGE]
        mov     eax, 5
        call    rdx
        cmp     eax, 4
        require e

        ; Another frame, after INVLPG.
        mov     dword [r13 + 4 * PAGE], 0x44
        mov     dword [r13 + 5 * PAGE], 0x55
        map     4, 4, P | RW
        cmp     dword [r12 + 4 * PAGE], 0x44
        require e
        map     4, 5, P | RW
        cmp     dword [r12 + 4 * PAGE], 0x55
        require e
        mov     dword [r12 + 4 * PAGE], 0x66
        cmp     dword [r13 + 5 * PAGE], 0x66
        require e
        cmp     dword [r13 + 4 * PAGE], 0x44
        require e
        ; The same, after a write to CR3, which forgets everything.
        mov     dword [table + 4 * 8], (FRAMES + 4 * PAGE) | P | RW
        mov     rax, cr3
        mov     cr3, rax
        cmp     dword [r12 + 4 * PAGE], 0x44
        require e

        ; Gone: not P. A failing access sets nothing.
        map     4, 4, RW
        lea     rdx, [r12 + 4 * PAGE + 8]
        faults  14, 0, mov eax, [rdx]
        cmp     [trap_cr2], rdx
        require e
        faults  14, 2, mov [rdx], eax
        expect_bits 4, 0
        require e

        ; Read-only, for ring 0 as well while CR0.WP is set.
        map     5, 5, P
        lea     rdx, [r12 + 5 * PAGE + 8]
        mov     eax, [rdx]
        faults  14, 3, mov [rdx], eax
        cmp     [trap_cr2], rdx
        require e
        expect_bits 5, A
        require e
        mov     rax, cr0
        btr     rax, CR0_WP
        mov     cr0, rax
        mov     dword [rdx], 0x77
        expect_bits 5, A | D
        require e
        mov     rax, cr0
        bts     rax, CR0_WP
        mov     cr0, rax
        faults  14, 3, mov [rdx], eax
        cmp     dword [rdx], 0x77
        require e
        ; Right from above: the directory's entry forbids it.
        map     5, 5, P | RW
        and     dword [directory], ~RW
        mov     rax, cr3
        mov     cr3, rax
        faults  14, 3, mov [rdx], eax
        or      dword [directory], RW
        invlpg  [rdx]
        mov     dword [rdx], 0x78

        ; NX: data yes, code no. The error code has I (0x10).
        mov     rax, (1 << 63) | (FRAMES + 1 * PAGE) | P | RW
        mov     [table + 6 * 8], rax
        lea     rdx, [r12 + 6 * PAGE]
        invlpg  [rdx]
        mov     al, [rdx]
        mov     qword [trap_resume], .fetched
        mov     qword [trap_vector], -1
        call    rdx
        ud2
.fetched:
        pop     rax
        cmp     qword [trap_vector], 14
        require e
        cmp     qword [trap_error], 0x11
        require e
        cmp     [trap_rip], rdx
        require e
        cmp     [trap_cr2], rdx
        require e

        ; An instruction across two pages, the second of them not to be executed: rip is its start, CR2 the page.
        map     7, 7, P | RW
        mov     rax, (1 << 63) | (FRAMES + 8 * PAGE) | P | RW
        mov     [table + 8 * 8], rax
        invlpg  [r12 + 8 * PAGE]
        lea     rbp, [r12 + 8 * PAGE - 3]
        mov     byte [rbp], 0xb8                        ; mov eax, imm32
        mov     dword [rbp + 1], 0x12345678
        mov     byte [rbp + 5], 0xc3
        mov     qword [trap_resume], .crossed
        mov     qword [trap_vector], -1
        mov     eax, 1
        call    rbp
        ud2
.crossed:
        pop     rcx
        cmp     eax, 1
        require e
        cmp     qword [trap_vector], 14
        require e
        cmp     qword [trap_error], 0x11
        require e
        cmp     [trap_rip], rbp
        require e
        lea     rdx, [r12 + 8 * PAGE]
        cmp     [trap_cr2], rdx
        require e
        map     8, 8, P | RW
        call    rbp
        cmp     eax, 0x12345678
        require e
        ; The two pages need not be neighbours in memory: the same first half, another second half.
        mov     byte [r13 + 9 * PAGE], 0x56
        mov     byte [r13 + 9 * PAGE + 1], 0x21
        mov     byte [r13 + 9 * PAGE + 2], 0xc3
        map     8, 9, P | RW
        call    rbp
        cmp     eax, 0x21565678
        require e

        ; Data across two pages, the second read-only, then missing; then both there.
        map     8, 8, P
        lea     rdx, [r12 + 8 * PAGE - 4]
        mov     rax, 0x1122334455667788
        faults  14, 3, mov [rdx], rax
        lea     rcx, [r12 + 8 * PAGE]
        cmp     [trap_cr2], rcx
        require e
        map     8, 8, RW
        lea     rdx, [r12 + 8 * PAGE - 4]
        faults  14, 0, mov rax, [rdx]
        lea     rcx, [r12 + 8 * PAGE]
        cmp     [trap_cr2], rcx
        require e
        map     8, 10, P | RW
        lea     rdx, [r12 + 8 * PAGE - 4]
        mov     rax, 0x1122334455667788
        mov     [rdx], rax
        cmp     [rdx], rax
        require e
        cmp     dword [r13 + 8 * PAGE - 4], 0x55667788
        require e
        cmp     dword [r13 + 10 * PAGE], 0x11223344
        require e
        lock inc qword [rdx]
        cmp     dword [r13 + 8 * PAGE - 4], 0x55667789
        require e

        ; REP across a missing page stops there, registers say how far it came, and goes on when the page is there.
        map     11, 11, P | RW
        map     12, 12, RW
        lea     rdi, [r12 + 12 * PAGE - 5]
        mov     ecx, 16
        mov     al, 0x5a
        mov     qword [trap_resume], .stopped
        mov     qword [trap_vector], -1
        rep stosb
        ud2
.stopped:
        cmp     ecx, 11
        require e
        lea     rdx, [r12 + 12 * PAGE]
        cmp     rdi, rdx
        require e
        cmp     [trap_cr2], rdx
        require e
        push    rcx
        map     12, 12, P | RW
        pop     rcx
        mov     al, 0x5a
        rep stosb
        mov     rdx, 0x5a5a5a5a5a5a5a5a
        cmp     [r13 + 12 * PAGE], rdx
        require e
        cmp     [r13 + 12 * PAGE + 3], rdx
        require e
        cmp     byte [r13 + 12 * PAGE - 5], 0x5a
        require e

        ; A page of 2 MiB.
        mov     qword [directory + 8], FRAMES | P | RW | PS
        lea     rdx, [r12 + 0x200000 + 2 * PAGE + 0x10]
        cmp     dword [rdx], 0xabcdef
        require e
        mov     eax, [directory + 8]
        and     eax, A | D
        cmp     eax, A
        require e
        inc     dword [rdx]
        cmp     dword [r12 + 3 * PAGE + 0x10], 0xabcdf0
        require e
        mov     eax, [directory + 8]
        and     eax, A | D
        cmp     eax, A | D
        require e

        mov     esi, text_ok
        call    put_text
done:
        exit    0

        section .rodata
text_ok:   db   "paging ok", 10, 0

        section .bss
        alignb  PAGE
directory: resb PAGE
table:     resb PAGE
