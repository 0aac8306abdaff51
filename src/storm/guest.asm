; The storm's guest: what every vCPU executes under `faultline storm`.
; run:    -smp 2 -m 64M
; expect: exit 0, and on every page the shared counters are the sums of the vCPUs' own
; host:   sets storm_stop in the end
;
; Each vCPU loops for ever. A turn draws a page and an operation, and does it: reads, writes, read-modify-writes, LOCK
; operations, accesses and strings that cross pages, a stack in a watched page, calls into code there, code that
; changes itself. The host restricts the pages of both regions as it likes, and takes the victim region away and
; brings it back.
;
;   gpa                      what                                             slot
;   ───────────────────────  ───────────────────────────────────────────────  ────────────────────────────
;   0x0100000 … 0x0ffffff    this image, its counters, the shadow copies      stable, never restricted
;   0x1000000 … 0x103ffff    test region, 64 pages                            stable, restricted at will
;   0x2000000 … 0x203ffff    victim region, 64 pages                          victim: vanishes and returns
;
; A page of either region:
;
;   offset         what                                        who writes
;   ─────────────  ──────────────────────────────────────────  ───────────────────────────────────────────────
;   0x000…0x00f    the upper part of what crosses the          by the boundary's kind, see below
;                  boundary below
;   0x010…0xbff    scratch                                     anybody, anything
;   0xc00…0xcff    a stack (test region)                       the page's owner: page ≡ vCPU modulo vCPU count
;   0xd00          shared counter, 8 bytes                     anybody, LOCKed increments only
;   0xd3d          the same, across a cache line               anybody, LOCKed increments only
;   0xe00…0xe7f    a cell of 8 bytes for each vCPU             that vCPU
;   0xf00…0xf07    code: add eax, tag; ret                     vCPU 0 at the start (victim: also whoever finds it
;                                                              lost), the same bytes always
;   0xf20…0xf27    code: mov eax, anything; ret                the owner (test region)
;   0xf40…0xfef    scratch                                     anybody, anything
;   0xff0…0xfff    the lower part of what crosses              by the boundary's kind
;
; The boundary above page p is of kind p mod 4:
;
;   0        scratch. The only place where strings and random stores cross.
;   1        code across the boundary: mov eax, tag; ret
;   2        test region: a cell of 8 bytes across the boundary, of vCPU (p div 4) modulo vCPU count
;   3        test region: code across the boundary that its owner, as above, changes
;
; What the guest checks by itself (test region only; the stable slot never goes away):
;
;   - a cell holds what its vCPU last put there. Crossing cells are written by plain stores only: an emulated
;     read-modify-write that is refused at its second page starts again from a half-written value.
;   - code that a vCPU has changed does what it says now; all other code gives its tag; a stack gives back what was
;     pushed.
;   - no exception, except in a call into the victim region.
;
; What the host checks when all vCPUs have ended: for every page, the shared counters are the sums of the vCPUs' own
; counts: no increment was lost. (While they run, a shared counter may be ahead by one for each vCPU.)
;
; Code in the victim region may vanish while it is called. The guest compares the bytes, then calls: in between, and
; while the code runs, the page may go. While the slot is INVALID the simulator enters the guest again until the slot
; is back or gone. When it is gone, fetches read all ones, and ff ff is #UD (in the middle of an instruction its
; immediate becomes ones, and the next one is #UD). The handler counts it in storm_faults and goes on with the next
; turn. Reads from a missing page give all ones, writes are lost, so the code may be lost as well: who finds it wrong
; writes it anew. The host must bring the victim back with the RAM it had: between the comparison and the call the
; guest relies on the bytes being its own or all ones.
;
; Symbols: loader and host use these. Those named once per vCPU are STORM_STRIDE bytes apart, at
; symbol + STORM_STRIDE * index; each is a qword written by its vCPU only.
;
;   storm_seeds          16 qwords, 8 bytes apart: the loader sets them; 0 stands for some fixed seed
;   storm_stop           dword: set it to anything but 0, and every vCPU ends: exit 0, or 1 if it has errors
;   storm_ops            per vCPU: turns begun
;   storm_faults         per vCPU: exceptions in calls into the victim region
;   storm_errors         per vCPU: failed checks
;   storm_error_gpa      per vCPU: where the last one failed; for an exception, its rip
;   storm_error_vector   per vCPU: the last one's exception, all ones if it was none
;   storm_counts         [vCPU][page] qwords: its own increments of the counter at STORM_COUNTER_OFFSET
;   storm_split_counts   [vCPU][page] qwords: the same for the counter at STORM_SPLIT_COUNTER_OFFSET
;   storm_shadow         [vCPU][page] qwords: what the vCPU's cell in that page should hold

%include "boot.inc"

STORM_TEST_GPA              equ 0x1000000
STORM_VICTIM_GPA            equ 0x2000000
STORM_PAGES                 equ 64
STORM_VCPU_LIMIT            equ 16
STORM_STRIDE                equ 64
STORM_COUNTER_OFFSET        equ 0xd00
STORM_SPLIT_COUNTER_OFFSET  equ 0xd3d
STORM_CELLS_OFFSET          equ 0xe00

PAGE            equ 4096
SCRATCH         equ 0x010
SCRATCH_BYTES   equ 0xbf0
SCRATCH_2       equ 0xf40
SCRATCH_2_BYTES equ 0x0b0
STACK_TOP       equ 0xd00
STUB            equ 0xf00
OWN_STUB        equ 0xf20
CROSS_CODE      equ 0xffd               ; b8 i0 i1 | i2 i3 c3
CROSS_CELL      equ 0xff9               ; and up to six bytes more, so that every split occurs

STUB_TAG        equ 0x51000000          ; + page, + 0x100 in the victim region
CROSS_TAG       equ 0x52000000          ; the same
STUB_BYTES      equ 0x9090c30000000005  ; add eax, tag (bytes 1…4); ret
OWN_STUB_BYTES  equ 0x9090c300000000b8  ; mov eax, 0 (bytes 1…4); ret
EXPECTED_FAULTS equ 1 << 6 | 1 << 13 | 1 << 14

        bits    64
        global  _start
        global  storm_seeds:data (STORM_VCPU_LIMIT * 8)
        global  storm_stop:data 4
        global  storm_ops:data (STORM_VCPU_LIMIT * STORM_STRIDE)
        global  storm_faults:data (STORM_VCPU_LIMIT * STORM_STRIDE)
        global  storm_errors:data (STORM_VCPU_LIMIT * STORM_STRIDE)
        global  storm_error_gpa:data (STORM_VCPU_LIMIT * STORM_STRIDE)
        global  storm_error_vector:data (STORM_VCPU_LIMIT * STORM_STRIDE)
        global  storm_counts:data (STORM_VCPU_LIMIT * STORM_PAGES * 8)
        global  storm_split_counts:data (STORM_VCPU_LIMIT * STORM_PAGES * 8)
        global  storm_shadow:data (STORM_VCPU_LIMIT * STORM_PAGES * 8)

; Registers throughout: r12 vCPU index, r13 vCPU count, r14 the generator's state; within a turn also r15 gpa of the
; page, r11 its number in the region, rbp 0 in the test region and 1 in the victim, r8 the turn's random number.
; Everything else is free.

; eax := random, uniform in 0 … %1 - 1
%macro below 1
        call    next
        shr     rax, 32
        imul    rax, rax, %1
        shr     rax, 32
%endmacro

; Goes to one of eight places, by three bits of r8 that nothing else uses.
%macro one_of 8
        mov     ecx, r8d
        shr     ecx, 16
        and     ecx, 7
        jmp     [%%table + rcx * 8]
        section .rodata
        align   8
%%table: dq     %1, %2, %3, %4, %5, %6, %7, %8
        section .text
%endmacro

; %1 := address of this vCPU's qword in a [vCPU][page] table at %2
%macro page_slot 2
        mov     %1, r12
        shl     %1, 6
        add     %1, r11
        lea     %1, [%2 + %1 * 8]
%endmacro

        section .text

; ── start ───────────────────────────────────────────────────────────────────────────────────────

_start:
        mov     r12d, edi
        mov     r13d, esi
        mov     [homes + r12 * 8], rsp
        mov     r14, [storm_seeds + r12 * 8]
        test    r14, r14
        jnz     .seeded
        call    reseed
.seeded:
        test    r12d, r12d
        jz      .first
.wait:  pause
        cmp     dword [go], 0
        je      .wait
        jmp     turn

.first:
        mov     [vcpu_count], r13
        call    fill_idt
        call    fill_pages
        mov     dword [go], 1
        jmp     turn

reseed:
        mov     r14, 0x9e3779b97f4a7c15
        lea     rax, [r12 + 1]
        imul    r14, rax
        ret

; One stub per vector, on IST1: rsp may be in a watched page when an exception comes.
fill_idt:
        mov     eax, exception_stubs
        mov     ebx, IDT_GPA
        mov     ecx, 32
.gate:
        mov     [rbx], ax
        mov     word [rbx + 2], KERNEL_CODE_SELECTOR
        mov     word [rbx + 4], 0x8e01
        mov     edx, eax
        shr     edx, 16
        mov     [rbx + 6], edx
        mov     dword [rbx + 12], 0
        mov     dword [rbx + 8], 0
        add     eax, EXCEPTION_STUB_BYTES
        add     ebx, 16
        dec     ecx
        jnz     .gate
        ret

; Code, counters and cells of all pages.
fill_pages:
        xor     ebp, ebp
.region:
        xor     r11d, r11d
.page:
        call    locate
        call    stub_bytes
        mov     [r15 + STUB], rax
        mov     rax, OWN_STUB_BYTES
        mov     [r15 + OWN_STUB], rax
        xor     eax, eax
        mov     [r15 + STORM_COUNTER_OFFSET], rax
        mov     [r15 + STORM_SPLIT_COUNTER_OFFSET], rax
        lea     rdi, [r15 + STORM_CELLS_OFFSET]
        mov     ecx, STORM_VCPU_LIMIT
        cld
        rep stosq
        cmp     r11d, STORM_PAGES - 1
        je      .next
        mov     ecx, r11d
        and     ecx, 3
        jz      .next
        cmp     ecx, 2
        je      .cell
        call    write_cross_code
        jmp     .next
.cell:
        xor     eax, eax
        mov     [r15 + CROSS_CELL], rax
        mov     [r15 + CROSS_CELL + 6], rax
.next:
        inc     r11d
        cmp     r11d, STORM_PAGES
        jb      .page
        inc     ebp
        cmp     ebp, 2
        jb      .region
        ret

; ── the turn ────────────────────────────────────────────────────────────────────────────────────

turn:
        cmp     dword [storm_stop], 0
        jne     finish
        mov     ecx, r12d
        shl     ecx, 6
        inc     qword [storm_ops + rcx]
        call    next
        mov     r8, rax
        mov     r11d, eax
        and     r11d, STORM_PAGES - 1
        mov     ebp, eax
        shr     ebp, 6
        and     ebp, 1
        call    locate
        mov     ecx, r8d
        shr     ecx, 8
        and     ecx, 31
        jmp     [operations + rcx * 8]

finish:
        mov     ecx, r12d
        shl     ecx, 6
        xor     eax, eax
        cmp     qword [storm_errors + rcx], 0
        setne   al
        exit_al

        section .rodata
        align   8
operations:
        times 6 dq read
        times 6 dq write
        times 3 dq modify
        times 2 dq read_across
        times 2 dq write_across
        times 2 dq count_locked
        times 2 dq strings
        times 2 dq cell
        times 2 dq call_stub
        dq      atomic, cell_across, stack, call_across, change_code
        section .text

; rax, r14 := the next number of xorshift64
next:
        mov     rax, r14
        shl     rax, 13
        xor     r14, rax
        mov     rax, r14
        shr     rax, 7
        xor     r14, rax
        mov     rax, r14
        shl     rax, 17
        xor     r14, rax
        mov     rax, r14
        ret

; r15 := gpa of page r11 in region rbp
locate:
        mov     r15d, ebp
        imul    r15d, r15d, STORM_VICTIM_GPA - STORM_TEST_GPA
        mov     eax, r11d
        shl     eax, 12
        lea     r15d, [r15 + rax + STORM_TEST_GPA]
        ret

; rdi := a random place in the page's scratch, 16 bytes of room; rax := a random number
scratch:
        below   SCRATCH_BYTES - 15
        lea     rdi, [r15 + rax + SCRATCH]
        call    next
        test    eax, 7
        jnz     .chosen
        below   SCRATCH_2_BYTES - 15
        lea     rdi, [r15 + rax + SCRATCH_2]
        call    next
.chosen:
        ret

; The check failed: rdi says where.
failed:
        mov     ecx, r12d
        shl     ecx, 6
        inc     qword [storm_errors + rcx]
        mov     [storm_error_gpa + rcx], rdi
        mov     qword [storm_error_vector + rcx], -1
        ret

; ── accesses within a page ──────────────────────────────────────────────────────────────────────

read:
        call    scratch
        one_of  .b, .w, .d, .q, .sign, .compare, .move_if, .test
.b:     movzx   ebx, byte [rdi]
        jmp     turn
.w:     movzx   ebx, word [rdi]
        jmp     turn
.d:     mov     ebx, [rdi]
        jmp     turn
.q:     mov     rbx, [rdi]
        jmp     turn
.sign:  movsx   rbx, word [rdi]
        jmp     turn
.compare:
        cmp     [rdi], rax
        jmp     turn
.move_if:
        cmovc   rbx, [rdi]              ; reads, whatever CF says
        jmp     turn
.test:  test    byte [rdi], 0x80
        jmp     turn

write:
        call    scratch
        one_of  .b, .w, .d, .q, .b_imm, .d_imm, .q_imm, .set
.b:     mov     [rdi], al
        jmp     turn
.w:     mov     [rdi], ax
        jmp     turn
.d:     mov     [rdi], eax
        jmp     turn
.q:     mov     [rdi], rax
        jmp     turn
.b_imm: mov     byte [rdi], 0x5a
        jmp     turn
.d_imm: mov     dword [rdi], 0x5a5a5a5a
        jmp     turn
.q_imm: mov     qword [rdi], -2
        jmp     turn
.set:   test    eax, eax
        sets    [rdi]
        jmp     turn

modify:
        call    scratch
        one_of  .add, .xor, .sub, .or, .increment, .not, .shift, .adc
.add:   add     [rdi], rax
        jmp     turn
.xor:   xor     [rdi], ax
        jmp     turn
.sub:   sub     byte [rdi], 3
        jmp     turn
.or:    or      [rdi], eax
        jmp     turn
.increment:
        inc     dword [rdi]
        jmp     turn
.not:   not     qword [rdi]
        jmp     turn
.shift: rol     word [rdi], 3
        jmp     turn
.adc:   adc     [rdi], rax
        jmp     turn

; LOCK operations whose results nobody checks: scratch is everybody's.
atomic:
        call    scratch
        and     rdi, -16                ; CMPXCHG16B insists
        one_of  .add, .xadd, .xchg, .cmpxchg, .cmpxchg8b, .cmpxchg16b, .bts, .btc
.add:   lock add [rdi], eax
        jmp     turn
.xadd:  lock xadd [rdi], ax
        jmp     turn
.xchg:  xchg    [rdi], rax
        jmp     turn
.cmpxchg:
        lock cmpxchg [rdi], r8
        jmp     turn
.cmpxchg8b:
        mov     edx, [rdi + 4]
        mov     ebx, r8d
        lock cmpxchg8b [rdi]
        jmp     turn
.cmpxchg16b:
        mov     rdx, [rdi + 8]
        mov     rax, [rdi]
        mov     rbx, r8
        lock cmpxchg16b [rdi]
        jmp     turn
.bts:   and     eax, 63
        lock bts [rdi], rax
        jmp     turn
.btc:   lock btc dword [rdi], 17
        jmp     turn

; ── counters and cells ──────────────────────────────────────────────────────────────────────────

; First the shared counter, then the private one: the sum of the private ones never runs ahead.
count_locked:
        mov     edi, STORM_COUNTER_OFFSET
        page_slot rsi, storm_counts
        test    r8d, 3 << 20
        jnz     .counter
        mov     edi, STORM_SPLIT_COUNTER_OFFSET
        page_slot rsi, storm_split_counts
.counter:
        add     rdi, r15
        mov     eax, 1
        one_of  .inc, .add, .sub, .xadd, .inc, .xadd, .cmpxchg, .cmpxchg
.inc:   lock inc qword [rdi]
        jmp     .counted
.add:   lock add qword [rdi], 1
        jmp     .counted
.sub:   lock sub qword [rdi], -1
        jmp     .counted
.xadd:  lock xadd [rdi], rax
        jmp     .counted
.cmpxchg:
        mov     rax, [rdi]
.again: lea     rbx, [rax + 1]
        lock cmpxchg [rdi], rbx
        jz      .counted
        pause
        jmp     .again
.counted:
        test    ebp, ebp                ; in the victim region increments may be lost
        jnz     turn
        inc     qword [rsi]
        jmp     turn

; This vCPU's cell in a test page. Whatever is done to it is done to its shadow copy too.
cell:
        xor     ebp, ebp
        call    locate
        lea     rdi, [r15 + r12 * 8 + STORM_CELLS_OFFSET]
        page_slot rsi, storm_shadow
        call    compare
        call    next
        mov     ebx, eax
        and     ebx, 7
        one_of  .q, .b, .d, .add, .xor, .inc, .xadd, .xchg
.q:     mov     [rdi], rax
        mov     [rsi], rax
        jmp     .done
.b:     mov     [rdi + rbx], ah
        mov     [rsi + rbx], ah
        jmp     .done
.d:     mov     [rdi + 4], eax
        mov     [rsi + 4], eax
        jmp     .done
.add:   add     [rdi], rax
        add     [rsi], rax
        jmp     .done
.xor:   xor     [rdi], eax
        xor     [rsi], eax
        jmp     .done
.inc:   inc     qword [rdi]
        inc     qword [rsi]
        jmp     .done
.xadd:  mov     rbx, rax
        lock xadd [rdi], rax
        xadd    [rsi], rbx
        jmp     .old
.xchg:  mov     rbx, rax
        xchg    [rdi], rax
        xchg    [rsi], rbx
.old:   cmp     rax, rbx
        je      .done
        call    failed
.done:
        call    compare
        jmp     turn

; [rdi] must be [rsi]; if it is not, that is noted once.
compare:
        mov     rdx, [rdi]
        cmp     rdx, [rsi]
        je      .same
        mov     [rsi], rdx
        call    failed
.same:
        ret

; r11 := 4k + %1, the page of a boundary that this vCPU owns; rbx := k
%macro own_boundary 1
        xor     ebp, ebp
        mov     eax, r11d
        shr     eax, 2
        call    own
        mov     ebx, eax
        lea     r11d, [rbx * 4 + %1]
        call    locate
%endmacro

; eax := a number below the limit in ecx that is this vCPU's own, near eax
own_page:
        mov     eax, r11d
        mov     ecx, STORM_PAGES
        jmp     own_below
own:
        mov     ecx, STORM_PAGES / 4
own_below:
        xor     edx, edx
        mov     ebx, eax
        div     r13d
        sub     ebx, edx
        lea     eax, [rbx + r12]
        cmp     eax, ecx
        jb      .found
        mov     eax, r12d
.found:
        ret

; A cell in two pages at once, written by a store or by a push.
cell_across:
        own_boundary 2
        mov     eax, ebx
        xor     edx, edx
        mov     ecx, 7
        div     ecx
        lea     rdi, [r15 + rdx + CROSS_CELL]
        lea     rsi, [cross_cell_shadow + rbx * 8]
        call    compare
        call    next
        mov     [rsi], rax
        test    r8d, 1 << 16
        jz      .push
        mov     [rdi], rax
        call    compare
        jmp     turn
.push:
        mov     r10, rsp
        lea     rsp, [rdi + 8]
        push    rax
        pop     rbx
        mov     rsp, r10
        cmp     rax, rbx
        je      .popped
        call    failed
.popped:
        call    compare
        jmp     turn

; A stack in a page of this vCPU's own.
stack:
        xor     ebp, ebp
        call    own_page
        mov     r11d, eax
        call    locate
        call    next
        mov     r10, rsp
        lea     rsp, [r15 + STACK_TOP]
        push    rax
        push    0x5a
        call    .leaf
        pushfq
        push    qword [rsp + 8]
        pop     rbx
        popfq
        pop     rcx
        pop     rdx
        mov     r9, rsp
        mov     rsp, r10
        lea     rdi, [r15 + STACK_TOP - 8]
        xor     rbx, 0x5a
        xor     rcx, 0x5a
        xor     rdx, rax
        sub     r9, r15
        sub     r9, STACK_TOP
        or      rbx, rcx
        or      rdx, r9
        or      rbx, rdx
        jz      turn
        call    failed
        jmp     turn
.leaf:
        enter   16, 0
        mov     [rbp - 8], rax
        push    qword [rbp - 8]
        pop     qword [rbp - 16]
        mov     rdx, [rbp - 16]
        cmp     rdx, rax
        je      .same
        lea     rdi, [rbp - 16]
        mov     r9, rsp
        mov     rsp, r10                ; the call of `failed` is to need no watched page
        call    failed
        mov     rsp, r9
.same:
        leave
        ret

; ── across pages ────────────────────────────────────────────────────────────────────────────────

; rdi := where an access of ecx bytes crosses the boundary above page r11, split somehow
crossing:
        call    next
        shr     rax, 32
        lea     edx, [rcx - 1]
        imul    rax, rdx
        shr     rax, 32                 ; 0 … bytes - 2
        lea     rdi, [r15 + PAGE - 1]
        sub     rdi, rax
        ret

read_across:
        cmp     r11d, STORM_PAGES - 1
        jb      .inside
        dec     r11d
        call    locate
.inside:
        mov     ecx, 8
        call    crossing
        one_of  .q, .q, .compare, .sign, .d, .d, .w, .w
.q:     mov     rbx, [rdi]
        jmp     turn
.compare:
        cmp     rbx, [rdi]
        jmp     turn
.sign:  movsxd  rbx, dword [r15 + PAGE - 2]
        jmp     turn
.d:     mov     ecx, 4
        call    crossing
        mov     ebx, [rdi]
        jmp     turn
.w:     movzx   ebx, word [r15 + PAGE - 1]
        jmp     turn

write_across:
        and     r11d, -4
        call    locate
        mov     ecx, 8
        call    crossing
        call    next
        one_of  .q, .q, .d, .d, .w, .add, .xor, .locked
.q:     mov     [rdi], rax
        jmp     turn
.d:     mov     ecx, 4
        call    crossing
        mov     [rdi], r8d
        jmp     turn
.w:     mov     [r15 + PAGE - 1], ax
        jmp     turn
.add:   add     [rdi], rax
        jmp     turn
.xor:   mov     ecx, 4
        call    crossing
        xor     [rdi], r8d
        jmp     turn
.locked:
        lock add [rdi], rax
        jmp     turn

; Strings across the boundary above a page of kind 0. They may end anywhere in the next page's scratch.
strings:
        and     r11d, -4
        call    locate
        below   (STORM_PAGES - 2) * PAGE        ; source: anywhere in the region, two pages of room
        mov     esi, ebp
        imul    esi, esi, STORM_VICTIM_GPA - STORM_TEST_GPA
        lea     esi, [rsi + rax + STORM_TEST_GPA]
        below   PAGE - SCRATCH_2
        lea     rdi, [r15 + rax + SCRATCH_2]
        one_of  .movsb, .movsb, .stosq, .stosd, .backwards, .lodsq, .scasb, .cmpsw
.movsb: below   96
        lea     ecx, [rax + 1]
        rep movsb
        jmp     turn
.stosq: below   24
        lea     ecx, [rax + 1]
        rep stosq
        jmp     turn
.stosd: below   32
        lea     ecx, [rax + 1]
        rep stosd
        jmp     turn
.backwards:                             ; 16 qwords at most, down to 0xf88 or so
        below   0x60
        lea     rdi, [r15 + rax + PAGE]
        add     rsi, 0x80
        below   16
        lea     ecx, [rax + 1]
        std
        rep movsq
        cld
        jmp     turn
.lodsq: mov     ecx, 16
        test    r8d, 7 << 20
        jnz     .short
        mov     ecx, PAGE / 8 + 8       ; three pages, now and then
.short: rep lodsq
        jmp     turn
.scasb: mov     al, [rsi]
        mov     rdi, rsi
        mov     ecx, 64
        repe scasb
        jmp     turn
.cmpsw: mov     ecx, 32
        repe cmpsw
        jmp     turn

; ── code ────────────────────────────────────────────────────────────────────────────────────────

; ebx := %1 + page + 0x100 * region
%macro tag 1
        mov     ebx, ebp
        shl     ebx, 8
        lea     ebx, [rbx + r11 + %1]
%endmacro

; rax := the eight bytes of code at STUB, ebx := what it adds
stub_bytes:
        tag     STUB_TAG
        mov     rdx, rbx
        shl     rdx, 8
        mov     rax, STUB_BYTES
        or      rax, rdx
        ret

call_stub:
        call    stub_bytes
        test    ebp, ebp
        jnz     .victim
        test    r8d, 7 << 16
        jz      .owned
        mov     eax, r8d
        lea     rdi, [r15 + STUB]
        call    rdi
        sub     eax, ebx
        cmp     eax, r8d
        je      turn
        call    failed
        jmp     turn
.owned:                                 ; its owner may be changing it: any value is right
        lea     rdi, [r15 + OWN_STUB]
        call    rdi
        jmp     turn
.victim:
        lea     rdi, [r15 + STUB]
        cmp     rax, [rdi]
        je      .call
        mov     [rdi], rax
        jmp     turn
.call:
        mov     dword [may_fault + r12 * 4], 1
        call    rdi
        mov     dword [may_fault + r12 * 4], 0
        jmp     turn

; b8 tag c3 at CROSS_CODE; ebx := tag
write_cross_code:
        tag     CROSS_TAG
        mov     byte [r15 + CROSS_CODE], 0xb8
        mov     [r15 + CROSS_CODE + 1], ebx
        mov     byte [r15 + CROSS_CODE + 5], 0xc3
        ret

; Code of kind 1: pages 1, 5, … 61.
call_across:
        and     r11d, -4
        or      r11d, 1
        call    locate
        tag     CROSS_TAG
        lea     rdi, [r15 + CROSS_CODE]
        test    ebp, ebp
        jnz     .victim
        call    rdi
        cmp     eax, ebx
        je      turn
        call    failed
        jmp     turn
.victim:
        cmp     byte [rdi], 0xb8
        jne     .lost
        cmp     [rdi + 1], ebx
        jne     .lost
        cmp     byte [rdi + 5], 0xc3
        jne     .lost
        mov     dword [may_fault + r12 * 4], 1
        call    rdi
        mov     dword [may_fault + r12 * 4], 0
        jmp     turn
.lost:
        call    write_cross_code
        jmp     turn

; Changes code of this vCPU's own, and calls it at once.
change_code:
        xor     ebp, ebp
        test    r8d, 3 << 20
        jz      .across
        call    own_page
        mov     r11d, eax
        call    locate
        lea     rdi, [r15 + OWN_STUB]
        lea     rsi, [own_code_shadow + r11 * 4]
        call    next
        one_of  .q, .d, .b, .inc, .q, .d, .b, .atomic
.q:     mov     [rsi], eax
        mov     eax, eax
        shl     rax, 8
        mov     rbx, OWN_STUB_BYTES
        or      rax, rbx
        mov     [rdi], rax
        jmp     .call
.d:     mov     [rsi], eax
        mov     [rdi + 1], eax
        jmp     .call
.b:     mov     [rsi + 2], al
        mov     [rdi + 3], al
        jmp     .call
.inc:   inc     dword [rsi]
        inc     dword [rdi + 1]
        jmp     .call
.atomic:
        xor     [rsi], eax
        lock xor [rdi + 1], eax
        jmp     .call
.across:
        own_boundary 3
        cmp     r11d, STORM_PAGES - 1   ; no boundary above the last page
        je      turn
        lea     rdi, [r15 + CROSS_CODE]
        lea     rsi, [cross_code_shadow + rbx * 4]
        call    next
        mov     [rsi], eax
        mov     [rdi + 1], eax
.call:
        call    rdi
        cmp     eax, [rsi]
        je      turn
        call    failed
        jmp     turn

; ── exceptions ──────────────────────────────────────────────────────────────────────────────────

EXCEPTION_STUB_BYTES equ 8
        align   8
exception_stubs:
%assign vector 0
%rep 32
        push    byte vector
        jmp     near exception
        align   EXCEPTION_STUB_BYTES, int3
%assign vector vector + 1
%endrep

; Nothing of the interrupted turn is needed: count, and begin another. The vCPU's index follows from its stack, the
; generator's state may be anything but 0.
exception:
        pop     rbx                             ; vector
        mov     rdi, [rsp]                      ; rip, or the error code
        mov     eax, 0x00227d00                 ; vectors with an error code
        bt      eax, ebx
        jnc     .no_error_code
        mov     rdi, [rsp + 8]
.no_error_code:
        lea     r12, [rsp - IST1_STACKS_GPA]
        shr     r12, 12
        mov     r13, [vcpu_count]
        mov     rsp, [homes + r12 * 8]
        cld
        test    r14, r14
        jnz     .seeded
        call    reseed
.seeded:
        mov     ecx, r12d
        shl     ecx, 6
        xor     edx, edx
        xchg    edx, [may_fault + r12 * 4]
        test    edx, edx
        jz      .unexpected
        mov     eax, EXPECTED_FAULTS
        bt      eax, ebx
        jnc     .unexpected
        inc     qword [storm_faults + rcx]
        jmp     turn
.unexpected:
        call    failed
        mov     [storm_error_vector + rcx], rbx
        jmp     turn

; ── data ────────────────────────────────────────────────────────────────────────────────────────

        section .data
        align   64
storm_seeds:
        times STORM_VCPU_LIMIT dq 0
        align   64
storm_stop: dd  0
        align   64
go:     dd      0

        section .bss
        alignb  64
storm_ops:          resb STORM_VCPU_LIMIT * STORM_STRIDE
storm_faults:       resb STORM_VCPU_LIMIT * STORM_STRIDE
storm_errors:       resb STORM_VCPU_LIMIT * STORM_STRIDE
storm_error_gpa:    resb STORM_VCPU_LIMIT * STORM_STRIDE
storm_error_vector: resb STORM_VCPU_LIMIT * STORM_STRIDE
storm_counts:       resq STORM_VCPU_LIMIT * STORM_PAGES
storm_split_counts: resq STORM_VCPU_LIMIT * STORM_PAGES
storm_shadow:       resq STORM_VCPU_LIMIT * STORM_PAGES
homes:              resq STORM_VCPU_LIMIT
vcpu_count:         resq 1
may_fault:          resd STORM_VCPU_LIMIT
cross_cell_shadow:  resq STORM_PAGES / 4
cross_code_shadow:  resd STORM_PAGES / 4
own_code_shadow:    resd STORM_PAGES
