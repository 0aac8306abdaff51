; All vCPUs increment the same counters, each kind of lock guarding one: a spinlock by XCHG, one by LOCK BTS, a ticket
; lock by LOCK XADD, Dekker's by MFENCE (vCPUs 0 and 1), and none with LOCK INC, XADD, CMPXCHG, CMPXCHG16B and a
; misaligned LOCK ADD. vCPU 0 adds up when all are done.
; run:    -smp 4 -m 4M
; expect: exit 0, console "smp-counter ok"

%include "boot.inc"

ROUNDS equ 1000

        bits    64
        global  _start

        section .text
_start:
        mov     r12d, edi
        mov     r13d, esi
        mov     r14d, ROUNDS

        ; Nobody begins before everybody is there.
        lock inc dword [arrived]
.gather:
        pause
        cmp     [arrived], r13d
        jb      .gather

round:
.xchg:  mov     eax, 1                  ; spinlock by XCHG, which locks by itself
        xchg    [lock_xchg], eax
        test    eax, eax
        jz      .xchg_held
        pause
        jmp     .xchg
.xchg_held:
        inc     qword [counter_xchg]
        mov     dword [lock_xchg], 0

.bts:   lock bts dword [lock_bts], 31
        jnc     .bts_held
        pause
        jmp     .bts
.bts_held:
        mov     rax, [counter_bts]
        inc     rax
        mov     [counter_bts], rax
        lock btr dword [lock_bts], 31

        mov     ax, 1                   ; ticket lock: next, then serving
        lock xadd [lock_ticket], ax
.ticket:
        cmp     [lock_ticket + 2], ax
        je      .ticket_held
        pause
        jmp     .ticket
.ticket_held:
        inc     dword [counter_ticket]
        inc     word [lock_ticket + 2]

        lock inc qword [counter_inc]
        mov     eax, 1
        lock xadd [counter_xadd], rax
        lock add dword [counter_split], 1

        mov     rax, [counter_cmpxchg]
.cmpxchg:
        lea     rbx, [rax + 1]
        lock cmpxchg [counter_cmpxchg], rbx
        jnz     .cmpxchg

        ; 128 bits: the upper half counts down.
        mov     rax, [counter_wide]
        mov     rdx, [counter_wide + 8]
.wide:  lea     rbx, [rax + 1]
        lea     rcx, [rdx - 1]
        lock cmpxchg16b [counter_wide]
        jnz     .wide

        cmp     r12d, 2
        jae     .next
        cmp     r13d, 2
        jb      .next
        call    dekker
.next:
        dec     r14d
        jnz     round

        lock inc dword [finished]
        test    r12d, r12d
        jnz     done
.wait:  pause
        cmp     [finished], r13d
        jb      .wait

        imul    eax, r13d, ROUNDS
        mov     ebx, counters
.compare:
        cmp     [rbx], rax
        jne     failed
        add     ebx, 8
        cmp     ebx, counters_end
        jb      .compare
        cmp     [counter_split], eax
        jne     failed
        cmp     [counter_wide], rax
        jne     failed
        neg     rax
        cmp     [counter_wide + 8], rax
        jne     failed
        cmp     r13d, 2
        jb      .ok
        cmp     qword [counter_dekker], 2 * ROUNDS
        jne     failed
.ok:    mov     esi, text_ok
        call    put_text
done:
        exit    0
failed:
        exit    1

; Dekker's mutual exclusion for two, by plain loads and stores. It needs each store to be seen before the load after
; it is done: what MFENCE is for.
dekker:
        mov     ebx, r12d
        xor     ebx, 1                  ; the other one
        mov     dword [wants + r12 * 4], 1
        mfence
.check: cmp     dword [wants + rbx * 4], 0
        je      .held
        cmp     [turn], ebx
        jne     .spin
        mov     dword [wants + r12 * 4], 0
.yield: pause
        cmp     [turn], ebx
        je      .yield
        mov     dword [wants + r12 * 4], 1
        mfence
.spin:  pause
        jmp     .check
.held:
        inc     qword [counter_dekker]
        mov     [turn], ebx
        mov     dword [wants + r12 * 4], 0
        ret

%include "print.inc"

        section .rodata
text_ok: db     "smp-counter ok", 10, 0

        section .bss
        alignb  64
lock_xchg:   resd 1
lock_bts:    resd 1
lock_ticket: resw 2
arrived:     resd 1
finished:    resd 1
wants:       resd 2
turn:        resd 1
        alignb  64
counters:
counter_xchg:    resq 1
counter_bts:     resq 1
counter_ticket:  resq 1
counter_inc:     resq 1
counter_xadd:    resq 1
counter_cmpxchg: resq 1
counters_end:
counter_dekker:  resq 1
        alignb  64
                 resb 62
counter_split:   resd 1                 ; in two cache lines
        alignb  16
counter_wide:    resq 2
