; The cases of selftest-isa.c. Each is a few instructions and a RET. They start with awkward values in rax rbx rcx rdx
; r8 r9 r10 r11 and in the flags (DF too), rsi and rdi in the middle of a buffer of awkward values; whatever they leave
; there is compared. They may use the stack, but leave it as it was.

CF  equ 0x001
PF  equ 0x004
AF  equ 0x010
ZF  equ 0x040
SF  equ 0x080
DF  equ 0x400
OF  equ 0x800
ALL equ CF | PF | AF | ZF | SF | DF | OF
NO_AF equ ALL & ~AF                     ; logic; shifts by one
NO_OF equ ALL & ~OF                     ; rotates by more
SHIFT equ ALL & ~(AF | OF)              ; shifts by more
SHIFT_OUT equ ALL & ~(AF | OF | CF)     ; shifts that may be by more than the operand has bits
MULTIPLIED equ CF | OF | DF
BIT equ CF | ZF | DF
SCAN equ ZF | DF
COUNT equ CF | ZF | DF
NONE equ DF

        bits    64
        default rel
        global  run_case, cases, cases_end

; A case: flags to compare, one instruction.
%macro t 2+
        %defstr %%name %2
        begin   %%name, %1
        %2
        end
%endmacro

; A case of several instructions: its name, flags to compare.
%macro begin 2
        section .data
        dq      %%code, %%name, %2
        section .rodata
%%name: db      %1, 0
        section .text
case_ %+ case_count:                            ; a name of its own, so that local labels are the case's
%%code:
%assign case_count case_count + 1
%endmacro
%macro end 0
        ret
%endmacro

%assign case_count 0

        section .data
        align   8
cases:

        section .text
; void run_case(struct state *, void (*code)(void))
run_case:
        push    rbx
        push    rbp
        push    r12
        push    r13
        push    r14
        push    r15
        mov     r15, rdi
        mov     r14, rsi
        mov     rbp, rsp
        push    qword [r15 + 80]
        mov     rax, [r15]
        mov     rbx, [r15 + 8]
        mov     rcx, [r15 + 16]
        mov     rdx, [r15 + 24]
        mov     rsi, [r15 + 32]
        mov     rdi, [r15 + 40]
        mov     r8, [r15 + 48]
        mov     r9, [r15 + 56]
        mov     r10, [r15 + 64]
        mov     r11, [r15 + 72]
        popfq
        call    r14
        pushfq
        pop     qword [r15 + 80]
        cld
        mov     [r15], rax
        mov     [r15 + 8], rbx
        mov     [r15 + 16], rcx
        mov     [r15 + 24], rdx
        mov     [r15 + 32], rsi
        mov     [r15 + 40], rdi
        mov     [r15 + 48], r8
        mov     [r15 + 56], r9
        mov     [r15 + 64], r10
        mov     [r15 + 72], r11
        cmp     rsp, rbp                        ; a case that loses the stack or the base is a failure of its own
        je      .balanced
        mov     rsp, rbp
        not     qword [r15]
.balanced:
        pop     r15
        pop     r14
        pop     r13
        pop     r12
        pop     rbp
        pop     rbx
        ret

; ── moves ───────────────────────────────────────────────────────────────────────────────────────

        t ALL, mov al, bl
        t ALL, mov ah, bl
        t ALL, mov bl, ch
        t ALL, mov ax, bx
        t ALL, mov eax, ebx
        t ALL, mov rax, rbx
        t ALL, mov r8b, r9b
        t ALL, mov eax, r9d
        t ALL, db 0x8b, 0xc3                    ; mov eax, ebx: the other form
        t ALL, db 0x8a, 0xe3                    ; mov ah, bl
        t ALL, mov al, 0x81
        t ALL, mov dh, 0x81
        t ALL, mov ax, 0x8001
        t ALL, mov eax, 0x80000001
        t ALL, mov rax, -2
        t ALL, mov rax, 0x8000000000000001
        t ALL, db 0x66, 0xc7, 0xc0, 0x34, 0x12  ; mov ax, imm16: the longer form
        t ALL, mov al, [rsi]
        t ALL, mov bh, [rsi + 1]
        t ALL, mov ax, [rsi + 2]
        t ALL, mov eax, [rsi + 3]
        t ALL, mov rax, [rsi + 5]
        t ALL, mov [rdi], al
        t ALL, mov [rdi + 1], ah
        t ALL, mov [rdi + 2], ax
        t ALL, mov [rdi + 3], eax
        t ALL, mov [rdi - 7], r11
        t ALL, mov byte [rdi], 0x99
        t ALL, mov word [rdi], 0x9999
        t ALL, mov dword [rdi], 0x99999999
        t ALL, mov qword [rdi], -0x66666667
        t ALL, movnti [rdi], eax
        t ALL, movnti [rdi], rax
        t ALL, mov rax, [rel constant]
        t ALL, mov eax, [abs constant]
        t ALL, mov al, [qword abs constant]
        t ALL, mov eax, [qword abs constant + 1]
        t ALL, mov rax, [qword abs constant]
        t ALL, mov [qword abs variable], ax
        begin "mov moffs, rax", ALL
        mov     [qword abs variable], rax
        mov     rdx, [rel variable]
        end

        t ALL, movzx ax, bl
        t ALL, movzx eax, bh
        t ALL, movzx rax, bl
        t ALL, movzx eax, bx
        t ALL, movzx rax, word [rsi + 1]
        t ALL, movzx eax, byte [rsi]
        t ALL, movsx ax, bl
        t ALL, movsx eax, ch
        t ALL, movsx rax, bl
        t ALL, movsx eax, bx
        t ALL, movsx rax, bx
        t ALL, movsx rax, byte [rsi + 2]
        t ALL, movsx eax, word [rsi + 3]
        t ALL, movsxd rax, ebx
        t ALL, movsxd r8, dword [rsi + 4]
        t ALL, db 0x63, 0xc3                    ; movsxd eax, ebx
        t ALL, xchg al, bh
        t ALL, xchg ax, bx
        t ALL, xchg eax, ecx
        t ALL, xchg rax, r9
        t ALL, xchg ebx, ecx
        t ALL, xchg eax, eax                    ; NOP: keeps the upper half
        t ALL, db 0x87, 0xc0                    ; xchg eax, eax, the other form: clears it
        t ALL, db 0x49, 0x90                    ; xchg rax, r8
        t ALL, xchg [rdi], al
        t ALL, xchg [rdi + 2], bx
        t ALL, xchg [rdi + 4], ecx
        t ALL, xchg [rdi + 8], r11
        t ALL, bswap eax
        t ALL, bswap r10
        t ALL, movbe ax, [rsi + 1]
        t ALL, movbe eax, [rsi + 1]
        t ALL, movbe rax, [rsi + 1]
        t ALL, movbe [rdi + 1], bx
        t ALL, movbe [rdi + 1], ebx
        t ALL, movbe [rdi + 1], rbx
        t ALL, cbw
        t ALL, cwde
        t ALL, cdqe
        t ALL, cwd
        t ALL, cdq
        t ALL, cqo
        begin "xlatb", ALL
        mov     rbx, rsi
        and     al, 0x1f
        xlatb
        xor     ebx, ebx
        end

; Every way to name an address.
        t ALL, lea rax, [rbx]
        t ALL, lea rax, [rbx + rcx]
        t ALL, lea rax, [rbx + rcx * 2 + 1]
        t ALL, lea rax, [rbx + rcx * 4 - 0x80]
        t ALL, lea rax, [rbx + rcx * 8 + 0x12345678]
        t ALL, lea rax, [rcx * 8 - 5]
        t ALL, lea rax, [r8 + r9]
        t ALL, lea r11, [r10 + r11 * 4]
        t ALL, lea eax, [rbx + rcx * 4 + 3]
        t ALL, lea ax, [rbx + rcx * 4 + 3]
        t ALL, lea rax, [ebx + ecx * 2 + 7]
        t ALL, lea eax, [ebx + ecx]
        t ALL, lea rax, [abs 0x7fffffff]
        t ALL, lea rax, [abs -0x80000000]
        t ALL, mov eax, [esi + 4]
        begin "mov eax, [base + index * scale]", ALL
        and     ecx, 3
        mov     eax, [rsi + rcx]
        mov     ebx, [rsi + rcx * 2 + 1]
        mov     edx, [rsi + rcx * 4 - 2]
        mov     r8, [rsi + rcx * 8 + 0]
        mov     r9d, [esi + ecx * 4]
        end
        begin "rbp, r12 and r13 as bases", ALL
        push    rbp
        push    r12
        push    r13
        mov     rbp, rsi
        mov     r12, rsi
        mov     r13, rsi
        mov     rax, [rbp]
        mov     rbx, [rbp + 8]
        mov     rcx, [r12]
        mov     rdx, [r12 + 0x10]
        mov     r8, [r13]
        mov     r9d, 2
        mov     r9, [r13 + r9 * 8]
        mov     r12d, 1
        mov     r10, [rsi + r12 * 4]
        pop     r13
        pop     r12
        pop     rbp
        end

; ── arithmetic and logic ────────────────────────────────────────────────────────────────────────

; Operation, flags to compare: every size and form.
%macro alu 2
        t %2, %1 al, bl
        t %2, %1 ch, dl
        t %2, %1 ax, bx
        t %2, %1 eax, ebx
        t %2, %1 rax, rbx
        t %2, %1 r8, r9
        t %2, %1 al, 0x80
        t %2, %1 ax, 0x8000
        t %2, %1 eax, 0x80000000
        t %2, %1 rax, 0x7fffffff
        t %2, %1 bl, 0x7f
        t %2, %1 bx, strict word 0x7fff
        t %2, %1 bx, strict byte -1
        t %2, %1 ebx, strict byte -128
        t %2, %1 ebx, 0x12345678
        t %2, %1 rbx, strict byte -2
        t %2, %1 rbx, -0x80000000
        t %2, %1 al, [rsi]
        t %2, %1 ax, [rsi + 1]
        t %2, %1 eax, [rsi + 2]
        t %2, %1 rax, [rsi + 3]
        t %2, %1 [rdi], al
        t %2, %1 [rdi], dh
        t %2, %1 [rdi + 1], ax
        t %2, %1 [rdi + 2], eax
        t %2, %1 [rdi + 3], rax
        t %2, %1 byte [rdi], 0x81
        t %2, %1 word [rdi], strict word 0x8181
        t %2, %1 word [rdi], strict byte -3
        t %2, %1 dword [rdi], 0x81818181
        t %2, %1 dword [rdi], strict byte 5
        t %2, %1 qword [rdi], -0x7fffffff
        t %2, %1 qword [rdi], strict byte -1
%endmacro
        alu add, ALL
        alu or, NO_AF
        alu adc, ALL
        alu sbb, ALL
        alu and, NO_AF
        alu sub, ALL
        alu xor, NO_AF
        alu cmp, ALL
        t ALL, db 0x02, 0xc3                    ; add al, bl: the other form
        t ALL, db 0x48, 0x03, 0xc3              ; add rax, rbx
        t ALL, db 0x2b, 0xc3                    ; sub eax, ebx
        t ALL, db 0x3b, 0xc3                    ; cmp eax, ebx
        t NO_AF, xor eax, eax
        t ALL, sub rax, rax
        t ALL, sbb eax, eax

        t NO_AF, test al, bl
        t NO_AF, test ah, cl
        t NO_AF, test ax, bx
        t NO_AF, test eax, ebx
        t NO_AF, test rax, rbx
        t NO_AF, test al, 0x80
        t NO_AF, test ax, 0x8000
        t NO_AF, test eax, 0x80000000
        t NO_AF, test rax, -0x80000000
        t NO_AF, test bl, 0x81
        t NO_AF, test bx, 0x8001
        t NO_AF, test ebx, 0x80000001
        t NO_AF, test rbx, -2
        t NO_AF, test [rsi], al
        t NO_AF, test [rsi], rax
        t NO_AF, test byte [rsi], 0x11
        t NO_AF, test word [rsi], 0x1111
        t NO_AF, test dword [rsi], 0x80000000
        t NO_AF, test qword [rsi], -0x80000000

; Operation, flags: one operand.
%macro unary 2
        t %2, %1 al
        t %2, %1 bh
        t %2, %1 ax
        t %2, %1 eax
        t %2, %1 rax
        t %2, %1 r11
        t %2, %1 byte [rdi]
        t %2, %1 word [rdi + 1]
        t %2, %1 dword [rdi + 2]
        t %2, %1 qword [rdi + 3]
%endmacro
        unary inc, ALL
        unary dec, ALL
        unary neg, ALL
        unary not, ALL

; ── multiplication and division ─────────────────────────────────────────────────────────────────

%macro multiply 1
        t MULTIPLIED, %1 bl
        t MULTIPLIED, %1 ah
        t MULTIPLIED, %1 bx
        t MULTIPLIED, %1 ebx
        t MULTIPLIED, %1 rbx
        t MULTIPLIED, %1 rdx
        t MULTIPLIED, %1 byte [rsi]
        t MULTIPLIED, %1 word [rsi]
        t MULTIPLIED, %1 dword [rsi]
        t MULTIPLIED, %1 qword [rsi]
%endmacro
        multiply mul
        multiply imul
        t MULTIPLIED, imul ax, bx
        t MULTIPLIED, imul eax, ebx
        t MULTIPLIED, imul rax, rbx
        t MULTIPLIED, imul ax, [rsi]
        t MULTIPLIED, imul eax, [rsi]
        t MULTIPLIED, imul r9, [rsi]
        t MULTIPLIED, imul ax, bx, -5
        t MULTIPLIED, imul ax, bx, 0x1234
        t MULTIPLIED, imul eax, ebx, -128
        t MULTIPLIED, imul eax, ebx, 0x12345678
        t MULTIPLIED, imul rax, rbx, 127
        t MULTIPLIED, imul rax, rbx, -0x12345678
        t MULTIPLIED, imul ax, [rsi], 3
        t MULTIPLIED, imul eax, [rsi], 0x10001
        t MULTIPLIED, imul r8, [rsi], -2

; The divisor is made odd, the dividend's upper half less than it: no #DE.
        begin "div cl", NONE
        or      cl, 1
        mov     ah, cl
        shr     ah, 1
        div     cl
        end
        begin "div bh", NONE
        or      bh, 1
        movzx   eax, al
        div     bh
        end
        begin "div cx", NONE
        or      ecx, 1
        mov     dx, cx
        shr     dx, 1
        div     cx
        end
        begin "div ecx", NONE
        or      ecx, 1
        mov     edx, ecx
        shr     edx, 1
        div     ecx
        end
        begin "div rcx", NONE
        or      rcx, 1
        mov     rdx, rcx
        shr     rdx, 1
        div     rcx
        end
        begin "div rcx, upper half 0", NONE
        or      rcx, 1
        xor     edx, edx
        div     rcx
        end
        begin "div dword [mem]", NONE
        or      dword [rdi], 1
        xor     edx, edx
        div     dword [rdi]
        end
        begin "div qword [mem]", NONE
        or      qword [rdi], 1
        mov     rdx, [rdi]
        shr     rdx, 1
        div     qword [rdi]
        end
; Neither 0 nor -1: the quotient of a sign-extended dividend always fits.
        begin "idiv cl", NONE
        or      cl, 1
        and     cl, ~2
        cbw
        idiv    cl
        end
        begin "idiv cx", NONE
        or      ecx, 1
        and     ecx, ~2
        cwd
        idiv    cx
        end
        begin "idiv ecx", NONE
        or      ecx, 1
        and     ecx, ~2
        cdq
        idiv    ecx
        end
        begin "idiv rcx", NONE
        or      rcx, 1
        and     rcx, ~2
        cqo
        idiv    rcx
        end
        begin "idiv rcx, 128 bits", NONE
        or      rcx, 1                          ; |divisor| above 2^62, |upper half| below 2^61
        btc     rcx, 62
        mov     r8, rcx
        sar     r8, 63
        shr     rcx, 2
        bts     rcx, 62
        xor     rcx, r8
        sar     rdx, 3
        idiv    rcx
        end
        begin "idiv word [mem]", NONE
        or      word [rdi], 1
        and     word [rdi], ~2
        cwd
        idiv    word [rdi]
        end
        begin "idiv qword [mem]", NONE
        or      qword [rdi], 1
        and     qword [rdi], ~2
        cqo
        idiv    qword [rdi]
        end

; ── shifts and rotates ──────────────────────────────────────────────────────────────────────────

; Operation, flags when by one, when by more, when by any CL, ModRM for eax, the operation's name.
%macro shift 6
        t %2, %1 al, 1
        t %2, %1 bh, 1
        t %2, %1 ax, 1
        t %2, %1 eax, 1
        t %2, %1 rax, 1
        t %2, %1 byte [rdi], 1
        t %2, %1 dword [rdi], 1
        t %2, %1 qword [rdi], 1
        t %2, db 0xc1, %5, 1                    ; by an immediate 1
        t %3, %1 al, 3
        t %3, %1 ax, 9
        t %3, %1 eax, 17
        t %3, %1 rax, 33
        t %3, %1 r8, 63
        t %3, %1 word [rdi], 5
        t %3, %1 qword [rdi], 62
        t ALL, %1 eax, 32                       ; by nothing: flags stay, the upper half goes
        t ALL, %1 rax, 64
        t ALL, %1 bl, 0
        t ALL, %1 dword [rdi], 0
        begin {%6, " by cl = 0"}, ALL
        mov     ecx, 64
        %1      rax, cl
        %1      ebx, cl
        %1      byte [rdi], cl
        end
        t %4, %1 al, cl
        t %4, %1 ax, cl
        t %4, %1 eax, cl
        t %4, %1 rax, cl
        t %4, %1 byte [rdi], cl
        t %4, %1 word [rdi], cl
        t %4, %1 dword [rdi], cl
        t %4, %1 qword [rdi], cl
%endmacro
%macro shift_of 5
        %defstr %%name %1
        shift   %1, %2, %3, %4, %5, %%name
%endmacro
        shift_of rol, ALL, NO_OF, NO_OF, 0xc0
        shift_of ror, ALL, NO_OF, NO_OF, 0xc8
        shift_of rcl, ALL, NO_OF, NO_OF, 0xd0
        shift_of rcr, ALL, NO_OF, NO_OF, 0xd8
        shift_of shl, NO_AF, SHIFT, SHIFT_OUT, 0xe0
        shift_of shr, NO_AF, SHIFT, SHIFT_OUT, 0xe8
        shift_of sar, NO_AF, SHIFT, SHIFT_OUT, 0xf8
        t NO_AF, db 0xd1, 0xf0                  ; shl eax, 1: the undocumented /6

%macro double_shift 1
        %defstr %%name %1
        t NO_AF, %1 ax, bx, 1
        t NO_AF, %1 eax, ebx, 1
        t NO_AF, %1 rax, rbx, 1
        t SHIFT, %1 ax, bx, 7
        t SHIFT, %1 eax, ebx, 21
        t SHIFT, %1 rax, rbx, 45
        t ALL, %1 eax, ebx, 32
        t ALL, %1 rax, rbx, 0
        t SHIFT, %1 [rdi], bx, 3
        t SHIFT, %1 [rdi], ebx, 30
        t SHIFT, %1 [rdi], rbx, 60
        t SHIFT, %1 eax, ebx, cl
        t SHIFT, %1 rax, rbx, cl
        t SHIFT, %1 [rdi], ebx, cl
        t SHIFT, %1 [rdi], rbx, cl
        begin {%%name, " ax, bx, cl"}, SHIFT
        and     ecx, 15                         ; by 16 and more is undefined
        %1      ax, bx, cl
        end
%endmacro
        double_shift shld
        double_shift shrd

; ── bits ────────────────────────────────────────────────────────────────────────────────────────

%macro bits_of 1
        %defstr %%name %1
        t BIT, %1 ax, bx
        t BIT, %1 eax, ebx
        t BIT, %1 rax, rbx
        t BIT, %1 ax, 15
        t BIT, %1 eax, 31
        t BIT, %1 rax, 63
        t BIT, %1 eax, 35                       ; modulo 32
        t BIT, %1 word [rdi], 9
        t BIT, %1 dword [rdi], 31
        t BIT, %1 qword [rdi], 40
        t BIT, %1 dword [rdi], 37               ; modulo 32 too: only a register reaches beyond
        ; A register counts bits from the operand's first, both ways.
        begin {%%name, " [mem], cx"}, BIT
        movsx   cx, cl
        %1      [rdi], cx
        end
        begin {%%name, " [mem], ecx"}, BIT
        movsx   ecx, cl
        %1      [rdi], ecx
        end
        begin {%%name, " [mem], rcx"}, BIT
        movsx   rcx, cl
        lea     rcx, [rcx + rcx * 2]
        %1      [rdi], rcx
        end
%endmacro
        bits_of bt
        bits_of bts
        bits_of btr
        bits_of btc

; BSF and BSR of 0 leave the destination undefined, of something they define ZF only.
%macro scan 1
        %defstr %%name %1
        begin {%%name, " ax, cx"}, SCAN
        bts     ecx, 13
        %1      ax, cx
        end
        begin {%%name, " eax, ecx"}, SCAN
        bts     ecx, 7
        %1      eax, ecx
        end
        begin {%%name, " rax, rcx"}, SCAN
        bts     rcx, 41
        %1      rax, rcx
        end
        begin {%%name, " rax, [mem]"}, SCAN
        bts     qword [rdi], 11
        %1      rax, [rdi]
        end
        begin {%%name, " of 0"}, SCAN
        mov     ecx, 0
        %1      eax, ecx
        mov     eax, 0
        end
%endmacro
        scan bsf
        scan bsr
        t COUNT, tzcnt ax, bx
        t COUNT, tzcnt eax, ebx
        t COUNT, tzcnt rax, rbx
        t COUNT, tzcnt eax, [rsi]
        t COUNT, lzcnt ax, bx
        t COUNT, lzcnt eax, ebx
        t COUNT, lzcnt rax, rbx
        t COUNT, lzcnt rax, [rsi]
        t ALL, popcnt ax, bx
        t ALL, popcnt eax, ebx
        t ALL, popcnt rax, rbx
        t ALL, popcnt rax, [rsi]

; ── flags and conditions ────────────────────────────────────────────────────────────────────────

        t ALL, clc
        t ALL, stc
        t ALL, cmc
        t ALL, cld
        t ALL, std
        t ALL, lahf
        t ALL, sahf
        begin "pushfq", NONE
        pushfq
        pop     rax
        and     eax, ALL
        end
        begin "pushfw", NONE
        pushfw
        pop     ax
        and     eax, ALL
        end
        begin "popfq", ALL
        and     eax, ALL
        push    rax
        popfq
        end
        begin "popfw", ALL
        and     eax, ALL
        push    ax
        popfw
        end

%macro condition 1
        %defstr %%name %1
        t ALL, set%1 al
        t ALL, set%1 bh
        t ALL, set%1 [rdi]
        t ALL, cmov%1 ax, bx
        t ALL, cmov%1 eax, ebx                  ; clears the upper half either way
        t ALL, cmov%1 rax, rbx
        t ALL, cmov%1 eax, [rsi]
        t ALL, cmov%1 r8, [rsi]
        begin {"j", %%name, " short"}, ALL
        mov     eax, 1
        j%1     short %%near
        mov     eax, 2
%%near: nop
        end
        begin {"j", %%name, " near"}, ALL
        mov     eax, 1
        j%1     near %%far
        mov     eax, 2
%%far:  nop
        end
        ; after an instruction that sets flags
        begin {"cmp rax, rbx; j", %%name}, ALL
        cmp     rax, rbx
        mov     eax, 1
        j%1     %%compared
        mov     eax, 2
%%compared:
        nop
        end
        begin {"add eax, ebx; set", %%name}, ALL
        add     eax, ebx
        set%1   al
        end
        begin {"dec bl; cmov", %%name}, ALL
        dec     bl
        cmov%1  eax, ecx
        end
%endmacro
        condition o
        condition no
        condition c
        condition nc
        condition z
        condition nz
        condition be
        condition a
        condition s
        condition ns
        condition p
        condition np
        condition l
        condition ge
        condition le
        condition g
        begin "test cl, cl; jz, ja, jg, jl", NO_AF
        xor     eax, eax
        test    cl, cl
        jz      .zero
        add     eax, 1
.zero:  test    cl, cl
        ja      .above
        add     eax, 2
.above: test    cl, cl
        jg      .greater
        add     eax, 4
.greater:
        test    cl, cl
        jl      .less
        add     eax, 8
.less:  nop
        end
        begin "carry through four words", ALL
        add     rax, [rsi]
        adc     rbx, [rsi + 8]
        adc     rcx, [rsi + 16]
        adc     rdx, [rsi + 24]
        end
        begin "borrow, kept by lea, dec and mov", ALL
        sub     rax, [rsi]
        lea     rsi, [rsi + 8]
        mov     r8d, 3
        dec     r8d
        sbb     rbx, [rsi]
        not     rcx
        sbb     rcx, 0
        end

; ── atomic ──────────────────────────────────────────────────────────────────────────────────────

%macro locked 2
        t %2, lock %1 [rdi], al
        t %2, lock %1 [rdi + 2], ax
        t %2, lock %1 [rdi + 4], eax
        t %2, lock %1 [rdi + 8], rax
        t %2, lock %1 byte [rdi], 0x80
        t %2, lock %1 dword [rdi], 0x12345678
        t %2, lock %1 qword [rdi], -1
        t %2, lock %1 [rdi + 3], rax            ; misaligned
%endmacro
        locked add, ALL
        locked or, NO_AF
        locked adc, ALL
        locked sbb, ALL
        locked and, NO_AF
        locked sub, ALL
        locked xor, NO_AF
%macro locked_unary 1
        t ALL, lock %1 byte [rdi + 1]
        t ALL, lock %1 word [rdi + 2]
        t ALL, lock %1 dword [rdi + 4]
        t ALL, lock %1 qword [rdi + 8]
        t ALL, lock %1 dword [rdi + 1]
%endmacro
        locked_unary inc
        locked_unary dec
        locked_unary neg
        locked_unary not
%macro locked_bits 1
        %defstr %%name %1
        t BIT, lock %1 word [rdi], 9
        t BIT, lock %1 dword [rdi], 31
        t BIT, lock %1 qword [rdi], 40
        begin {"lock ", %%name, " [mem], ecx"}, BIT
        movsx   ecx, cl
        lock %1 [rdi], ecx
        end
        begin {"lock ", %%name, " [mem], rcx"}, BIT
        movsx   rcx, cl
        lock %1 [rdi], rcx
        end
%endmacro
        locked_bits bts
        locked_bits btr
        locked_bits btc

        t ALL, xadd al, bh
        t ALL, xadd ax, bx
        t ALL, xadd eax, ebx
        t ALL, xadd rax, rbx
        t ALL, xadd rax, rax
        t ALL, xadd [rdi], bl
        t ALL, xadd [rdi], ebx
        t ALL, lock xadd [rdi], bl
        t ALL, lock xadd [rdi], bx
        t ALL, lock xadd [rdi], ebx
        t ALL, lock xadd [rdi + 8], rbx
        t ALL, lock xadd [rdi + 5], rbx

        t ALL, cmpxchg bl, cl
        t ALL, cmpxchg bx, cx
        t ALL, cmpxchg ebx, ecx
        t ALL, cmpxchg rbx, rcx
%macro exchange 2                               ; prefix and its name
        begin {%2, "cmpxchg byte, different"}, ALL
        %1 cmpxchg [rdi], cl
        end
        begin {%2, "cmpxchg word, different"}, ALL
        %1 cmpxchg [rdi], cx
        end
        begin {%2, "cmpxchg dword, different"}, ALL
        %1 cmpxchg [rdi], ecx
        end
        begin {%2, "cmpxchg qword, different"}, ALL
        %1 cmpxchg [rdi], r8
        end
        begin {%2, "cmpxchg byte, equal"}, ALL
        mov     al, [rdi]
        %1 cmpxchg [rdi], cl
        end
        begin {%2, "cmpxchg dword, equal"}, ALL
        mov     eax, [rdi]
        %1 cmpxchg [rdi], ecx
        end
        begin {%2, "cmpxchg qword, equal"}, ALL
        mov     rax, [rdi]
        %1 cmpxchg [rdi], r8
        end
        begin {%2, "cmpxchg8b, different"}, ALL
        %1 cmpxchg8b [rdi]
        end
        begin {%2, "cmpxchg8b, equal"}, ALL
        mov     eax, [rdi]
        mov     edx, [rdi + 4]
        %1 cmpxchg8b [rdi]
        end
        begin {%2, "cmpxchg8b, half equal"}, ALL
        mov     edx, [rdi + 4]
        %1 cmpxchg8b [rdi]
        end
        begin {%2, "cmpxchg16b, different"}, ALL
        %1 cmpxchg16b [rdi]
        end
        begin {%2, "cmpxchg16b, equal"}, ALL
        mov     rax, [rdi]
        mov     rdx, [rdi + 8]
        %1 cmpxchg16b [rdi]
        end
        begin {%2, "cmpxchg16b, half equal"}, ALL
        mov     rax, [rdi]
        %1 cmpxchg16b [rdi]
        end
%endmacro
%define NO_PREFIX
        exchange NO_PREFIX, ""
        exchange lock, "lock "

; ── stack, calls, jumps ─────────────────────────────────────────────────────────────────────────

        begin "push and pop", ALL
        push    rax
        push    r9
        push    word 0x1234
        push    bx
        push    strict byte -2
        push    strict dword -0x12345678
        push    qword [rsi]
        push    word [rsi + 8]
        pop     ax
        pop     rbx
        pop     rcx
        pop     rdx
        pop     word [rdi]
        pop     r8w
        pop     qword [rdi + 8]
        pop     r11
        end
        begin "push rsp pushes the old one", ALL
        mov     rax, rsp
        push    rsp
        pop     rbx
        sub     rax, rbx
        xor     ebx, ebx
        end
        begin "push [rsp + 8]", ALL
        push    rax
        push    rcx
        push    qword [rsp + 8]
        pop     rbx
        pop     r8
        pop     r9
        end
        begin "pop [rsp + 8] takes rsp after it has moved", ALL
        push    rcx
        push    rcx
        push    rax
        pop     qword [rsp + 8]
        pop     rbx
        pop     r8
        end
        begin "pop rsp", ALL
        mov     rcx, rsp
        push    rcx
        pop     rsp
        sub     rcx, rsp
        end
        begin "enter and leave", ALL
        push    rbp
        mov     rbp, rsp
        mov     rdx, rsp
        enter   0x18, 0
        mov     [rbp - 8], rax
        mov     rbx, [rbp - 8]
        sub     rdx, rsp
        leave
        mov     rsp, rbp
        pop     rbp
        end
        begin "enter at levels 1 and 3", ALL
        push    rbp
        mov     rbp, rsp
        mov     r8, rsp
        push    rax
        push    rcx
        enter   8, 1
        mov     r9, rsp
        mov     rbx, [rbp - 8]
        sub     rbx, rbp                        ; the frame's own address
        enter   16, 3
        sub     r9, rsp
        mov     r10, [rbp - 8]
        sub     r10, rbp
        leave
        leave
        mov     rsp, r8
        pop     rbp
        sub     r8, rsp
        end
        begin "call and ret", ALL
        call    add_one
        call    add_one
        mov     rbx, add_one
        call    rbx
        mov     rbx, rsp
        call    [rel add_one_at]
        lea     rcx, [rel add_one_at]
        call    [rcx]
        sub     rbx, rsp
        xor     ecx, ecx
        end
        begin "ret imm16", ALL
        mov     rbx, rsp
        push    rax
        push    rcx
        call    drop_two
        sub     rbx, rsp
        end
        begin "jmp short, near, register, memory", ALL
        jmp     short .one
        mov     eax, 1
.one:   jmp     near .two
        mov     ebx, 2
.two:   mov     rcx, .three
        jmp     rcx
        mov     eax, 3
.three: jmp     [rel .table + 8]
        mov     eax, 4
.four:  mov     edx, 5
        jmp     .end
.five:  mov     r8d, 6
.end:   xor     ecx, ecx
        ret
        align   8
.table: dq      .four, .five
        begin "jump table", ALL
        and     ecx, 3
        jmp     [.table + rcx * 8]
.a:     mov     eax, 10
        ret
.b:     mov     eax, 11
        ret
.c:     mov     eax, 12
.d:     mov     ebx, 13
        ret
        align   8
.table: dq      .a, .b, .c, .d
        begin "loop", ALL
        and     ecx, 7
        inc     ecx
        xor     eax, eax
.again: add     eax, ecx
        loop    .again
        end
        begin "loop, 32-bit count", ALL
        mov     rcx, 0x500000002
        xor     eax, eax
.again: inc     eax
        a32 loop .again
        end
        begin "loope", ALL
        mov     ecx, 8
        xor     eax, eax
.again: inc     eax
        cmp     byte [rsi + rax], 0
        loope   .again
        end
        begin "loopne", ALL
        mov     ecx, 16
        xor     eax, eax
.again: inc     eax
        cmp     byte [rsi + rax], 0
        loopne  .again
        end
        begin "jrcxz and jecxz", ALL
        xor     eax, eax
        jrcxz   .zero
        or      eax, 1
.zero:  jecxz   .low_zero
        or      eax, 2
.low_zero:
        mov     rcx, 0x100000000
        jrcxz   .never
        or      eax, 4
.never: jecxz   .end
        or      eax, 8
.end:   nop
        end

; ── strings: as DF happens to be, both ways ─────────────────────────────────────────────────────

%macro string 1
        %defstr %%name %1
        t ALL, movs%1
        t ALL, stos%1
        t ALL, lods%1
        t ALL, cmps%1
        t ALL, scas%1
        begin {"rep movs", %%name}, ALL
        mov     ecx, 7
        rep movs%1
        end
        begin {"rep stos", %%name}, ALL
        mov     ecx, 6
        rep stos%1
        end
        begin {"rep lods", %%name}, ALL
        mov     ecx, 5
        rep lods%1
        end
        begin {"rep movs", %%name, ", count 0"}, ALL
        mov     ecx, 0
        rep movs%1
        end
        begin {"repe scas", %%name, ", count 0"}, ALL
        mov     ecx, 0
        repe scas%1
        end
        begin {"repe cmps", %%name}, ALL
        mov     ecx, 7
        repe cmps%1
        end
        begin {"repne cmps", %%name}, ALL
        mov     ecx, 7
        repne cmps%1
        end
        begin {"repe scas", %%name}, ALL
        mov     ecx, 7
        repe scas%1
        end
        begin {"repne scas", %%name}, ALL
        mov     ecx, 7
        repne scas%1
        end
        begin {"repe cmps", %%name, ", all equal"}, ALL
        mov     rdi, rsi
        mov     ecx, 7
        repe cmps%1
        end
        begin {"repne scas", %%name, ", found"}, ALL
        mov     rax, [rdi]
        mov     ecx, 7
        repne scas%1
        end
        begin {"rep movs", %%name, ", overlapping"}, ALL
        lea     rdi, [rsi + 3]
        mov     ecx, 7
        rep movs%1
        end
        begin {"a32 rep stos", %%name}, ALL
        mov     rcx, 0x700000003
        a32 rep stos%1
        end
%endmacro
        string b
        string w
        string d
        string q
        begin "repne movsb repeats all the same", ALL
        mov     ecx, 5
        db      0xf2, 0xa4
        end

; ── nothing to see ──────────────────────────────────────────────────────────────────────────────

        t ALL, nop
        t ALL, pause
        t ALL, db 0x66, 0x90
        t ALL, nop dword [rax + rax + 0]
        t ALL, nop word [rax]
        t ALL, db 0x66, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0
        t ALL, endbr64
        t ALL, lfence
        t ALL, sfence
        t ALL, mfence
        t ALL, prefetcht0 [rsi]
        t ALL, prefetchnta [rsi]
        t ALL, prefetchw [rsi]
        t ALL, clflush [rdi]
        t ALL, db 0x2e, 0x8b, 0x06              ; a segment that means nothing: mov eax, cs:[rsi]
        t ALL, db 0x3e, 0x36, 0x8b, 0x06        ; two
        begin "sil, dil and spl are not dh, bh and ah", ALL
        mov     r8, rsi
        mov     r9, rdi
        mov     rsi, rax
        mov     rdi, rbx
        mov     al, sil
        mov     bl, dil
        add     sil, dil
        mov     r10, rsi
        movzx   r11d, dil
        db      0x40, 0x88, 0xe1                ; mov cl, spl: with a REX that says nothing else
        sub     cl, spl
        mov     rsi, r8
        mov     rdi, r9
        xor     r8d, r8d
        xor     r9d, r9d
        end
        t ALL, db 0x66, 0x48, 0x8b, 0xc3        ; REX.W beats 66: mov rax, rbx

; ── what cases share ────────────────────────────────────────────────────────────────────────────

        section .text
add_one:
        lea     rax, [rax + 1]
        ret
drop_two:
        mov     r8, [rsp + 8]
        mov     r9, [rsp + 16]
        ret     16

        section .rodata
        align   8
constant:   dq  0xfedcba9876543210, 0x8877665544332211
add_one_at: dq  add_one

        section .bss
        alignb  8
variable:   resq 1

        section .data
cases_end:
