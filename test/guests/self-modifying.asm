; Code that changes itself, and code that another vCPU changes. On one vCPU the next instruction is already the new
; one; between two, the reader waits for a mailbox and serializes (CPUID) before it runs what it was told of.
; run:    -smp 2 -m 4M
; expect: exit 0
; exit 2 … 8: the check of that number failed. vCPU 2 and up exit 0 at once; alone, vCPU 0 leaves out the second half.

%include "boot.inc"

ROUNDS         equ 500
CODE           equ 0x280000             ; a page of code that vCPU 0 writes and vCPU 1 runs
RET_BYTE       equ 0xc3
NEW_CODE_BYTES equ 6

        bits    64
        global  _start

        section .text
_start:
        cmp     edi, 1
        je      reader
        ja      done
        mov     r15d, esi

        ; 2: an immediate inside a loop, changed in every turn
        xor     ebx, ebx
        mov     ecx, 1000
.loop:
        mov     [.changed + 1], ecx
.changed:
        mov     eax, 0
        add     ebx, eax
        loop    .loop
        mov     al, 2
        cmp     ebx, 500500
        jne     failed

        ; 3: the very next instruction becomes another one: INC EAX, then DEC EAX
        xor     eax, eax
        mov     ecx, 2
        mov     dx, 0xc0ff              ; inc eax
.twice:
        mov     [.next], dx
.next:
        nop
        nop
        mov     dx, 0xc8ff              ; dec eax
        add     eax, 16
        loop    .twice
        cmp     eax, 32
        mov     al, 3
        jne     failed

        ; 4: code ahead is overwritten by REP MOVSB, part of it by what is already there
        mov     esi, new_code
        mov     edi, .ahead
        mov     ecx, NEW_CODE_BYTES
        mov     eax, 7
        rep movsb
.ahead:
        times NEW_CODE_BYTES nop
        cmp     eax, 21                 ; (7 * 2) + 7
        mov     al, 4
        jne     failed

        ; 5: a function that ends earlier from now on, after it ran often enough to be remembered everywhere
        mov     ecx, 200
.often:
        call    shrinking
        loop    .often
        mov     byte [shrinking.end], RET_BYTE
        mov     eax, 1
        call    shrinking
        cmp     eax, 2
        mov     al, 5
        jne     failed

        ; 6: a jump gets another target; and an instruction across a page boundary another upper half
        mov     ecx, 100
.jump:
        call    jumping
        loop    .jump
        add     byte [jumping.offset], jumping.second - jumping.first
        call    jumping
        cmp     eax, 2
        mov     al, 6
        jne     failed
        mov     edi, CODE + 0x1000 - 3
        mov     byte [rdi], 0xb8        ; mov eax, imm32
        mov     dword [rdi + 1], 0x11111111
        mov     byte [rdi + 5], RET_BYTE
        call    rdi
        mov     word [rdi + 3], 0x2222  ; the upper page only
        call    rdi
        cmp     eax, 0x22221111
        mov     al, 7
        jne     failed
        mov     word [rdi + 1], 0x3333  ; the lower page only
        call    rdi
        cmp     eax, 0x22223333
        mov     al, 7
        jne     failed

        ; 8: vCPU 1 runs what this vCPU writes, ROUNDS times
        cmp     r15d, 2
        jb      done
        mov     byte [CODE], 0xb8       ; mov eax, imm32
        mov     byte [CODE + 5], RET_BYTE
        mov     r14d, 1
.round:
        imul    eax, r14d, 0x1010101
        mov     [CODE + 1], eax
        mov     [mail], r14d
.wait:  pause
        cmp     [answered], r14d
        jne     .wait
        cmp     [answer], eax
        jne     wrong
        inc     r14d
        cmp     r14d, ROUNDS
        jbe     .round
        mov     dword [mail], -1
done:
        exit    0
wrong:
        mov     al, 8
failed:
        mov     dword [mail], -1        ; vCPU 1 is to end too
        movzx   eax, al
        exit_al

reader:
        xor     r14d, r14d
.wait:  pause
        mov     eax, [mail]
        cmp     eax, r14d
        je      .wait
        cmp     eax, -1
        je      done
        mov     r14d, eax
        xor     eax, eax
        cpuid
        mov     ecx, CODE
        call    rcx
        mov     [answer], eax
        mov     [answered], r14d
        jmp     .wait

        section .data
        align   64
shrinking:
        inc     eax
.end:   nop
        add     eax, 100
        ret

jumping:
        db      0xeb                    ; jmp short
.offset:
        db      .first - .origin
.origin:
.first: mov     eax, 1
        ret
.second: mov    eax, 2
        ret

new_code:
        mov     ebx, eax
        add     eax, eax
        add     eax, ebx
        times NEW_CODE_BYTES - ($ - new_code) nop

        section .bss
        alignb  64
mail:   resd    1
        alignb  64
answer: resd    1
answered: resd  1
