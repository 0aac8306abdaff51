; Puts QEMU's CPUs into the state of our boot protocol (src/image/boot.ts), so that a guest image runs there
; unchanged: a second opinion on guests. scripts/qemu.ts appends what is to be copied where.
;
; A multiboot kernel: CPU 0 starts in 32-bit mode, wakes the others, and each takes the next vCPU index.

LOAD          equ 0x10000000           ; above whatever a guest uses
TRAMPOLINE    equ 0x9000               ; 16-bit code of the other CPUs; nobody else is there
LAPIC_ICR     equ 0xfee00300
PORT_CONSOLE  equ 0xe9
PORT_EXIT     equ 0xf4                 ; isa-debug-exit: ends QEMU
DUMP_COUNT    equ 2

MULTIBOOT_MAGIC equ 0x1badb002
MULTIBOOT_FLAGS equ 1 << 16            ; addresses are in this header

        org     LOAD
        bits    32

header:
        dd      MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)
        dd      header, LOAD, 0, 0, start

start:
        cli
        mov     esp, stack_top
        cld
        mov     al, 0xff                                ; no device interrupts: our machine has none
        out     0x21, al
        out     0xa1, al
        mov     ebx, records
        mov     ecx, [record_count]
.record:                                ; gpa, offset from LOAD, bytes, bytes with what is to be zero
        push    ecx
        mov     edi, [ebx]
        mov     esi, [ebx + 4]
        add     esi, LOAD
        mov     ecx, [ebx + 8]
        rep movsb
        mov     ecx, [ebx + 12]
        sub     ecx, [ebx + 8]
        xor     eax, eax
        rep stosb
        add     ebx, 16
        pop     ecx
        loop    .record

        ; Gate 0xf4: guests' `out PORT_EXIT, eax` has become `int 0xf4`.
        mov     eax, exit_vcpu
        mov     edi, 0x8000 + 0xf4 * 16
        mov     [edi], ax
        mov     word [edi + 2], 0x08
        mov     word [edi + 4], 0xee00
        shr     eax, 16
        mov     [edi + 6], ax
        mov     dword [edi + 8], 0
        mov     dword [edi + 12], 0

        mov     esi, trampoline
        mov     edi, TRAMPOLINE
        mov     ecx, trampoline_bytes
        rep movsb
        mov     dword [LAPIC_ICR], 0x000c4500           ; INIT to all but self
        mov     ecx, 1000000
.settle:
        pause
        loop    .settle
        mov     dword [LAPIC_ICR], 0x000c4600 | TRAMPOLINE >> 12 ; start-up
        xor     ebx, ebx                                ; this CPU is vCPU 0

; ebx: index of this vCPU; one more than the guest has is the timer.
enter:
        lgdt    [gdtr]
        mov     eax, cr4
        or      eax, 0xa0                               ; PAE PGE
        mov     cr4, eax
        mov     eax, 0x1000
        mov     cr3, eax
        mov     ecx, 0xc0000080
        mov     eax, 0x901                              ; SCE LME NXE
        xor     edx, edx
        wrmsr
        mov     eax, 0x80010033
        mov     cr0, eax
        jmp     0x08:long_mode

        bits    64
long_mode:
        mov     eax, 0x10
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        xor     eax, eax
        mov     fs, eax
        mov     gs, eax
        mov     rdx, idtr
        lidt    [rdx]
        mov     rdx, vcpu_count
        cmp     ebx, [rdx]
        je      timer
        ja      idle
        mov     ecx, ebx
        shl     ecx, 4
        and     byte [0x500 + 0x28 + 5 + rcx], 0xfd     ; LTR wants a TSS that is not busy
        add     ecx, 0x28
        ltr     cx
        mov     rdx, ready
        lock inc dword [rdx]
        mov     rcx, started
.wait:  pause                                           ; for all: a guest may count on every vCPU being there
        mov     eax, [rdx]
        cmp     eax, [rcx]
        jb      .wait

        lea     ecx, [rbx + 1]
        shl     ecx, 14
        lea     rsp, [rcx + 0x80000]
        mov     edi, ebx
        mov     rdx, vcpu_count
        mov     esi, [rdx]
        mov     rdx, entry
        mov     eax, [rdx]
        push    rax
        xor     eax, eax
        xor     ebx, ebx
        xor     ecx, ecx
        xor     edx, edx
        xor     ebp, ebp
        push    2
        popfq
        ret                                             ; rsp is now the top of the stack

; Writes 1 to the word at poke_gpa after poke_delay turns.
timer:
        mov     rdx, poke_gpa
        mov     edi, [rdx]
        test    edi, edi
        jz      idle
        mov     rdx, poke_delay
        mov     ecx, [rdx]
.turn:  loop    .turn                                   ; PAUSE would give the turn away, in one thread
        mov     dword [rdi], 1
idle:   hlt
        jmp     idle

; A vCPU has ended with code al. The last one prints what was asked for and ends QEMU.
exit_vcpu:
        mov     rdx, exit_code
        movzx   eax, al
        lock or [rdx], eax
        mov     ecx, 1
        mov     rdx, ended
        lock xadd [rdx], ecx
        inc     ecx
        mov     rdx, vcpu_count
        cmp     ecx, [rdx]
        jne     idle
        cld
        mov     dx, PORT_CONSOLE
        mov     rbx, dumps
        mov     edi, DUMP_COUNT
.dump:  mov     esi, [rbx]
        mov     ecx, [rbx + 4]
        rep outsb
        add     rbx, 8
        dec     edi
        jnz     .dump
        mov     rdx, exit_code
        mov     eax, [rdx]
        out     PORT_EXIT, eax
        jmp     idle

        bits    16
trampoline:
        cli
        xor     ax, ax
        mov     ds, ax
        o32 lgdt [TRAMPOLINE + .gdtr - trampoline]
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        jmp     dword 0x08:.protected
.gdtr:  dw      23
        dd      flat_gdt
        bits    32
.protected:
        mov     eax, 0x10
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        mov     ebx, 1
        lock xadd [next_index], ebx
        jmp     enter
trampoline_bytes equ $ - trampoline

        align   8
flat_gdt: dq    0, 0x00cf9b000000ffff, 0x00cf93000000ffff
next_index: dd  1
ready:  dd      0
ended:  dd      0
exit_code: dd   0
        times 1024 db 0
stack_top:
idtr:   dw      0xfff
        dq      0x8000
gdtr:   dw      0x28 + 16 * 16 - 1
        dd      0x500

        align   8
; Filled in by scripts/qemu.ts, in this order.
config:
entry:      dd  0
vcpu_count: dd  0
started:    dd  0
poke_gpa:   dd  0
poke_delay: dd  0
dumps:      times DUMP_COUNT dq 0        ; gpa, bytes
record_count: dd 0
records:
