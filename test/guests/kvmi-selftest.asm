; The guest of the kernel's KVMI selftest: does on request what the host is about to be told of.
; The host writes test_id and waits for done; then writes 0 and waits for done = 0.
; run:    -smp 1 -m 48M
; expect: exit 0 once test_id is 0xff
; host:   writes test_id, waits for done, and in the end writes 0xff
; Every vCPU has its own mailbox, 64 bytes after the one before it, and takes part.
; #UD and #BP come back to the instruction after them: ud2 is 2 bytes long, and for an exception that was
; injected the host makes sure that it stands at one. Every exception bumps a counter in the mailbox.

%include "boot.inc"

MAILBOX    equ 0x1ff000
TEST_GPA   equ 0x2000000
MSR_NUMBER equ 0x140                    ; MISC_FEATURES_ENABLES
CR4_TSD    equ 1 << 2
CR4_OSXSAVE equ 1 << 18
XCR0_SSE   equ 1 << 1

        bits 64
        global _start

        section .text
_start:
        mov     ebx, edi
        shl     ebx, 6
        add     ebx, MAILBOX            ; [rbx] test_id, +4 done, +8 exceptions, +12 ready, +16 old value, +24 new value
        lea     rax, [rel exception]
        mov     edi, IDT_GPA + 3 * 16
        call    gate
        mov     edi, IDT_GPA + 6 * 16
        call    gate
        lidt    [rel idtr]
        mov     dword [rbx + 12], 1
.wait:
        pause
        mov     eax, [rbx]
        cmp     eax, 0xff
        je      .exit
        cmp     eax, TESTS
        jae     .wait
        test    eax, eax
        jz      .wait
        lea     rdx, [rel tests]
        call    [rdx + rax * 8]
        mov     dword [rbx + 4], 1
.acknowledged:
        pause
        cmp     dword [rbx], 0
        jne     .acknowledged
        mov     dword [rbx + 4], 0
        jmp     .wait
.exit:
        exit    0

; An interrupt gate of ring 0 at rdi, to rax.
gate:
        mov     [rdi], ax
        mov     word [rdi + 2], KERNEL_CODE_SELECTOR
        mov     word [rdi + 4], 0x8e00
        mov     rdx, rax
        shr     rdx, 16
        mov     [rdi + 6], dx
        shr     rdx, 16
        mov     [rdi + 8], edx
        ret

exception:
        inc     dword [rbx + 8]
        iretq

noop:
        ret

breakpoint:
        int3
        ret

cr:
        mov     rax, cr4
        mov     [rbx + 16], rax
        xor     rax, CR4_TSD
        mov     cr4, rax
        mov     rax, cr4
        mov     [rbx + 24], rax
        ret

descriptor:
        sub     rsp, 16
        sgdt    [rsp]
        lgdt    [rsp]
        add     rsp, 16
        ret

hypercall:
        mov     eax, 34
        mov     edi, 24
        xor     esi, esi
        vmcall
        mov     [rbx + 24], rax
        ret

msr:
        mov     ecx, MSR_NUMBER
        rdmsr
        mov     [rbx + 16], eax
        mov     [rbx + 20], edx
        xor     eax, 1
        wrmsr
        rdmsr
        mov     [rbx + 24], eax
        mov     [rbx + 28], edx
        ret

page_fault:
        mov     byte [TEST_GPA], 6
        ret

; rax = 1, 2, 3: for single steps.
three:
        mov     eax, 1
        mov     eax, 2
        mov     eax, 3
        ret

; SSE in XCR0, the other way round each time.
xcr:
        mov     rax, cr4
        or      eax, CR4_OSXSAVE
        mov     cr4, rax
        xor     ecx, ecx
        xgetbv
        mov     [rbx + 16], eax
        mov     [rbx + 20], edx
        xor     eax, XCR0_SSE
        xsetbv
        xgetbv
        mov     [rbx + 24], eax
        mov     [rbx + 28], edx
        ret

; For good: nothing wakes it.
halt:
        hlt
        ret

        section .rodata
        align   8
tests:  dq      noop, breakpoint, cr, descriptor, hypercall, msr, page_fault, three, xcr, halt
TESTS   equ     ($ - tests) / 8
idtr:   dw      256 * 16 - 1
        dq      IDT_GPA
