; Ring 3 and back: IRETQ, SYSCALL and SYSRET, what ring 3 may not do, whose stack an exception takes, SWAPGS.
; run:    -smp 1 -m 8M
; expect: exit 0, console "rings ok"
; Only vCPU 0 takes part; others exit 0 at once.

%include "boot.inc"

MSR_EFER           equ 0xc0000080
MSR_STAR           equ 0xc0000081
MSR_LSTAR          equ 0xc0000082
MSR_SFMASK         equ 0xc0000084
MSR_FS_BASE        equ 0xc0000100
MSR_GS_BASE        equ 0xc0000101
MSR_KERNEL_GS_BASE equ 0xc0000102

; SYSRET adds 16 and 8 to its half: user code and user data.
STAR_HIGH   equ (KERNEL_DATA_SELECTOR << 16) | KERNEL_CODE_SELECTOR
KERNEL_ONLY equ 0x600000                ; a large page that ring 3 may not touch
PDE_US      equ 1 << 2

%macro write_msr 3                      ; number, high, low
        mov     ecx, %1
        mov     edx, %2
        mov     eax, %3
        wrmsr
%endmacro

        bits    64
        global  _start

%include "check.inc"

_start:
        test    edi, edi
        jnz     done
        call    install_traps
        mov     byte [IDT_GPA + 0x40 * 16 + 5], 0xee    ; ring 3 may
        write_msr MSR_STAR, STAR_HIGH, 0
        write_msr MSR_LSTAR, 0, system_call
        write_msr MSR_SFMASK, 0, 0x401                  ; DF and CF
        write_msr MSR_FS_BASE, 0, fs_data
        write_msr MSR_GS_BASE, 0, gs_user
        write_msr MSR_KERNEL_GS_BASE, 0, gs_kernel
        and     dword [PAGE_DIRECTORY_GPA + KERNEL_ONLY / 0x200000 * 8], ~PDE_US
        invlpg  [KERNEL_ONLY]
        mov     byte [KERNEL_ONLY], 0xc3                ; ret

        push    USER_DATA_SELECTOR
        push    user_stack_top
        push    0x202                                   ; IF, which nothing raises here
        push    USER_CODE_SELECTOR
        push    user
        iretq

; From here on in ring 3.
user:
        mov     eax, cs
        cmp     eax, USER_CODE_SELECTOR
        require e
        mov     eax, ss
        cmp     eax, USER_DATA_SELECTOR
        require e
        cmp     rsp, user_stack_top
        require e
        pushfq
        pop     rax
        test    eax, 0x200
        require nz

        ; Privileged instructions are #GP(0); the exception takes the stack of ring 0 and says who was interrupted.
        faults  13, 0, hlt
        cmp     qword [trap_cs], USER_CODE_SELECTOR
        require e
        cmp     qword [trap_ss], USER_DATA_SELECTOR
        require e
        cmp     qword [trap_rsp], user_stack_top
        require e
        cmp     qword [trap_handler_rsp], RSP0_STACKS_GPA + RSP0_STACK_BYTES - 56
        require e
        bt      qword [trap_handler_rflags], 9
        require nc
        faults  13, 0, cli
        faults  13, 0, sti
        faults  13, 0, mov rax, cr0
        faults  13, 0, mov cr3, rax
        faults  13, 0, clts
        faults  13, 0, invlpg [rax]
        faults  13, 0, rdmsr
        faults  13, 0, wrmsr
        faults  13, 0, lgdt [rsp]
        faults  13, 0, lidt [rsp]
        faults  13, 0, ltr ax
        faults  13, 0, swapgs
        faults  13, 0, wbinvd
        faults  13, 0, sysret
        faults  13, 0, in al, PORT_CONSOLE
        faults  13, 0, out PORT_CONSOLE, al
        traps   0x40, 0, int 0x40
        mov     eax, KERNEL_DATA_SELECTOR
        faults  13, KERNEL_DATA_SELECTOR, mov ss, ax
        faults  13, KERNEL_DATA_SELECTOR, mov ds, ax
        faults  6, 0, ud2
        xor     ecx, ecx
        faults  0, 0, div ecx

        ; POPF leaves IF alone, silently.
        push    2
        popfq
        pushfq
        pop     rax
        test    eax, 0x200
        require nz

        ; #PF with U set: 4, and P: 1
        mov     ebx, KERNEL_ONLY
        faults  14, 5, mov eax, [rbx]
        cmp     [trap_cr2], rbx
        require e
        faults  14, 7, mov [rbx], eax
        mov     rbx, 0x123456789000
        faults  14, 4, mov eax, [rbx]
        faults  14, 6, mov [rbx], eax
        mov     ebx, KERNEL_ONLY
        mov     qword [trap_resume], .fetched
        mov     qword [trap_vector], -1
        call    rbx
        ud2
.fetched:
        cmp     qword [trap_vector], 14
        require e
        cmp     qword [trap_error], 0x15
        require e
        cmp     [trap_rip], rbx
        require e
        pop     rax

        ; Segment bases
        mov     rax, [fs:0]
        cmp     rax, [fs_data]
        require e
        mov     ebx, 8
        mov     rax, [gs:rbx]
        cmp     rax, [gs_user + 8]
        require e

        ; SYSCALL: rcx is the next rip, r11 the flags; those in SFMASK are cleared; rsp stays.
        std
        stc
        mov     ebx, 0x1234
        mov     rbp, rsp
        syscall
.returned:
        pushfq
        pop     rax
        cld
        cmp     rax, r11
        require e
        and     eax, 0x601                              ; IF, DF and CF as before
        cmp     eax, 0x601
        require e
        mov     eax, cs
        cmp     eax, USER_CODE_SELECTOR
        require e
        mov     eax, ss
        cmp     eax, USER_DATA_SELECTOR
        require e
        cmp     rsp, rbp
        require e
        cmp     rcx, .returned
        require e
        cmp     ebx, 0x4321
        require e
        cmp     dword [calls], 1
        require e
        faults  13, 0, hlt                              ; still in ring 3

        ; The last call does not return.
        mov     ebx, -1
        syscall
        ud2

system_call:
        pushfq
        pop     rax
        cmp     ebx, -1
        je      .last
        test    eax, 0x401
        require z
        mov     eax, cs
        cmp     eax, KERNEL_CODE_SELECTOR
        require e
        mov     eax, ss
        cmp     eax, KERNEL_DATA_SELECTOR
        require e
        cmp     rcx, user.returned
        require e
        mov     eax, r11d
        and     eax, 0x601
        cmp     eax, 0x601
        require e
        cmp     rsp, rbp
        require e
        swapgs
        mov     rax, [gs:8]
        cmp     rax, [gs_kernel + 8]
        require e
        push    rcx
        mov     ecx, MSR_KERNEL_GS_BASE
        rdmsr
        pop     rcx
        cmp     eax, gs_user
        require e
        swapgs
        mov     rax, [gs:8]
        cmp     rax, [gs_user + 8]
        require e
        inc     dword [calls]
        mov     ebx, 0x4321
        o64 sysret

.last:
        ; Without SCE in EFER there is no SYSCALL.
        mov     ecx, MSR_EFER
        rdmsr
        and     eax, ~1
        wrmsr
        faults  6, 0, syscall
        mov     esi, text_ok
        call    put_text
done:
        exit    0

        section .rodata
text_ok:   db   "rings ok", 10, 0
        align   8
fs_data:   dq   0x1111111111111111
gs_user:   dq   0, 0x2222222222222222
gs_kernel: dq   0, 0x3333333333333333

        section .bss
        alignb  16
           resb 4096
user_stack_top:
calls:     resd 1
