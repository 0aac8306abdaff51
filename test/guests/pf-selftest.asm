; The guest of the kernel's KVMI selftest, page-fault case: does on request what the host is about
; to be told of. The host writes test_id and waits for done; then writes 0 and waits for done = 0.
; run:    -smp 1 -m 48M
; expect: exit 0 once test_id is 0xff; after test 6 the byte at 0x2000000 is 6
; host:   writes test_id, waits for done, and in the end writes 0xff
; Only vCPU 0 takes part; others exit 0 at once.

%include "boot.inc"

MAILBOX   equ 0x1ff000
TEST_GPA  equ 0x2000000
TEST_PF   equ 6
TEST_EXIT equ 0xff

        bits 64
        global _start

        section .text
_start:
        test    edi, edi
        jnz     .exit
        mov     ebx, MAILBOX            ; [rbx] test_id, [rbx + 4] done
        mov     edx, TEST_GPA
.wait:
        pause
        mov     eax, [rbx]
        cmp     eax, TEST_PF
        je      .page_fault
        cmp     eax, TEST_EXIT
        jne     .wait
.exit:
        exit    0

.page_fault:
        mov     byte [rdx], TEST_PF
        mov     dword [rbx + 4], 1
.acknowledged:
        pause
        cmp     dword [rbx], 0
        jne     .acknowledged
        mov     dword [rbx + 4], 0
        jmp     .wait
