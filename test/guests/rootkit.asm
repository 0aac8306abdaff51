; A kernel with a table of calls, and something in it that does not belong there: for tools that guard text and data.
; run:    -smp 2 -m 8M
; expect: exit 0
; host:   a KVMI tool answers the call of vCPU 0, which waits for that
; vCPU 0 counts beside the table and calls through it; then vCPU 1 redirects one entry and changes the code behind another,
; ROUNDS times each.

%include "boot.inc"

ROUNDS  equ 3
CALLS   equ 4
RETURN  equ 0xc3                        ; the opcode of ret

        bits    64
        global  _start, kernel, intruder, sys_read, sys_write, sys_open, evil
        global  syscall_table:data (syscall_table.end - syscall_table)
        global  calls:data 4

        section .text
_start:
        cmp     edi, 1
        ja      done
        je      intruder

kernel:
        pause
        mov     eax, 34                 ; the call that goes to the tool
        mov     edi, 24
        xor     esi, esi
        vmcall
        test    rax, rax
        jnz     kernel
        mov     ecx, CALLS
.call:
        inc     dword [calls]
        mov     eax, ecx
        and     eax, 1
        call    [syscall_table + rax * 8]
        loop    .call
        mov     dword [ready], 1
.wait:
        pause
        cmp     dword [gone], 1
        jne     .wait
done:
        exit    0

intruder:
        pause
        cmp     dword [ready], 1
        jne     intruder
        mov     ecx, ROUNDS
.again:
        mov     qword [syscall_table + 2 * 8], evil
        mov     byte [sys_write], RETURN
        loop    .again
        mov     dword [gone], 1
        exit    0

        align   16
sys_read:
        xor     eax, eax
        ret
        align   16
sys_write:
        mov     eax, 1
        ret
        align   16
sys_open:
        mov     eax, 2
        ret
        align   16
evil:
        mov     eax, 666
        ret

        section .data
        align   4096
syscall_table:
        dq      sys_read, sys_write, sys_open
.end:
calls:  dd      0
        align   4096
ready:  dd      0
gone:   dd      0
