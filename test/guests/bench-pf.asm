; Benchmark: one store after the other into one page, which the host restricts: what an event costs. Every vCPU takes
; a page of its own, from 0x2000000 on, so that vCPUs share nothing but the introspector.
; run:    -smp 1 -m 48M
; expect: exit 0, qword at 0x2000000 + 0x1000 * vCPU = bench_rounds
; The loader may set bench_rounds before the first instruction; bench_count, 64 bytes apart for each vCPU, says how
; many stores are done.

%include "boot.inc"

PAGES      equ 0x2000000
VCPU_LIMIT equ 16

        bits    64
        global  _start
        global  bench_rounds:data 4
        global  bench_count:data (VCPU_LIMIT * 64)

        section .text
_start:
        mov     esi, edi
        shl     edi, 12
        add     edi, PAGES
        shl     esi, 6
        add     esi, bench_count
        mov     ecx, [bench_rounds]
        xor     eax, eax
        jrcxz   .done
.again:
        inc     rax
        mov     [rdi], rax
        mov     [rsi], rax
        dec     ecx
        jnz     .again
.done:
        exit    0

        section .data
        align   4
bench_rounds: dd 10000

        section .bss
        alignb  64
bench_count: resb VCPU_LIMIT * 64
