; What a kernel needs besides exceptions and paging: CPUID, time stamps, descriptor tables of its own, far transfers,
; segment bases, control registers, MSRs, string output.
; run:    -smp 1 -m 4M
; expect: exit 0, console "system ok"
; Only vCPU 0 takes part; others exit 0 at once.

%include "boot.inc"

GDT_GPA     equ 0x500
PML4_GPA    equ 0x1000
MSR_FS_BASE equ 0xc0000100
MSR_GS_BASE equ 0xc0000101
MSR_TSC_AUX equ 0xc0000103
MSR_EFER    equ 0xc0000080
EFER_WANTED equ 0xd01                   ; SCE LME LMA NXE

; CPUID leaf 1, edx: TSC MSR PAE CX8 PGE CMOV. ecx: CX16. Leaf 0x80000001, edx: SYSCALL NX LM.
FEATURES_1_EDX equ 1 << 4 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 13 | 1 << 15
FEATURES_1_ECX equ 1 << 13
FEATURES_EXTENDED_EDX equ 1 << 11 | 1 << 20 | 1 << 29

        bits    64
        global  _start

%include "check.inc"

_start:
        test    edi, edi
        jnz     done
        call    install_traps

        ; CPUID clears the upper halves, and says what guests are compiled for.
        mov     rax, 0x1234567800000000
        mov     rbx, -1
        mov     rcx, 0x1234567800000000
        mov     rdx, -1
        cpuid
        cmp     rax, 1
        require ae
        mov     r8, rbx
        or      r8, rcx
        or      r8, rdx
        shr     r8, 32
        require z
        mov     eax, 1
        xor     ecx, ecx
        cpuid
        and     edx, FEATURES_1_EDX
        cmp     edx, FEATURES_1_EDX
        require e
        and     ecx, FEATURES_1_ECX
        require nz
        mov     eax, 0x80000000
        cpuid
        cmp     eax, 0x80000001
        require ae
        mov     eax, 0x80000001
        cpuid
        and     edx, FEATURES_EXTENDED_EDX
        cmp     edx, FEATURES_EXTENDED_EDX
        require e

        ; Time goes on.
        call    time
        mov     r8, rax
        mov     ecx, 100
.pass:  loop    .pass
        call    time
        cmp     rax, r8
        require a
        mov     ecx, MSR_TSC_AUX
        mov     eax, 0x1234
        xor     edx, edx
        wrmsr
        xor     ecx, ecx
        rdtscp
        cmp     rcx, 0x1234
        require e
        shl     rdx, 32
        or      rax, rdx
        cmp     rax, r8
        require a

        ; What the boot protocol promised
        sidt    [scratch]
        cmp     word [scratch], 0xfff
        require e
        cmp     qword [scratch + 2], IDT_GPA
        require e
        sgdt    [scratch]
        cmp     qword [scratch + 2], GDT_GPA
        require e
        mov     rax, cr3
        cmp     rax, PML4_GPA
        require e
        mov     rax, cr0
        mov     ebx, 0x80010033
        cmp     rax, rbx
        require e
        smsw    ebx
        cmp     bx, ax
        require e
        mov     rax, cr4
        and     eax, 0xa0
        cmp     eax, 0xa0
        require e
        mov     ecx, MSR_EFER
        rdmsr
        cmp     eax, EFER_WANTED
        require e
        test    edx, edx
        require z
        str     eax
        cmp     eax, 0x28
        require e
        sldt    eax
        test    eax, eax
        require z
        mov     eax, ds
        cmp     eax, KERNEL_DATA_SELECTOR
        require e
        mov     ecx, 7
        mov     cr8, rcx
        mov     rax, cr8
        cmp     rax, 7
        require e
        xor     ecx, ecx
        mov     cr8, rcx

        ; IF
        sti
        pushfq
        cli
        pushfq
        pop     rax
        pop     rbx
        bt      eax, 9
        require nc
        bt      ebx, 9
        require c
        ; ID can be changed, which says that there is CPUID.
        pushfq
        xor     dword [rsp], 1 << 21
        mov     ebx, [rsp]
        popfq
        pushfq
        pop     rax
        xor     eax, ebx
        bt      eax, 21
        require nc

        ; A GDT of this guest's own: code at another selector, reached by every kind of far transfer.
        lgdt    [own_gdtr]
        push    OWN_CODE
        push    .returned
        o64 retf
.returned:
        mov     eax, cs
        cmp     eax, OWN_CODE
        require e
        mov     rbx, rsp
        o64 call far [far_call]
        cmp     rsp, rbx
        require e
        mov     eax, cs
        cmp     eax, OWN_CODE
        require e
        cmp     dword [visits], 1
        require e
        o64 jmp far [far_jump]
        ud2
.jumped:
        mov     eax, cs
        cmp     eax, OTHER_CODE
        require e
        mov     eax, OWN_DATA
        mov     ss, eax
        mov     ds, eax
        mov     eax, ss
        cmp     eax, OWN_DATA
        require e
        ; IRETQ within ring 0 takes everything from the stack.
        mov     rcx, rsp
        push    OWN_DATA
        lea     rax, [rcx - 0x100]
        push    rax
        push    0x8d7                   ; all arithmetic flags
        push    OWN_CODE
        push    .interrupted
        iretq
.interrupted:
        pushfq
        pop     rax
        lea     rdx, [rcx - 0x100]
        cmp     rsp, rdx
        require e
        mov     rsp, rcx
        and     eax, 0x8d5
        cmp     eax, 0x8d5
        require e
        ; Back to what was
        lgdt    [scratch]
        push    KERNEL_CODE_SELECTOR
        push    .restored
        o64 retf
.restored:
        mov     eax, KERNEL_DATA_SELECTOR
        mov     ss, eax
        mov     ds, eax

        ; An IDT elsewhere
        mov     esi, IDT_GPA
        mov     edi, own_idt
        mov     ecx, 256 * 16 / 8
        rep movsq
        mov     qword [IDT_GPA + 0x40 * 16], 0          ; so that the old one would not do
        lidt    [own_idtr]
        traps   0x40, 0, int 0x40

        ; Segment bases by MSR, and by a selector whose base is 0
        mov     ecx, MSR_FS_BASE
        mov     eax, numbers
        xor     edx, edx
        wrmsr
        mov     ecx, MSR_GS_BASE
        mov     edx, 0x7fff
        mov     eax, 0xfffffff0         ; gs:[…] wraps around below
        wrmsr
        mov     rax, [fs:8]
        cmp     rax, [numbers + 8]
        require e
        mov     ebx, 16
        mov     eax, [fs:rbx + 4]
        cmp     eax, [numbers + 20]
        require e
        mov     qword [fs:24], 0x77
        cmp     qword [numbers + 24], 0x77
        require e
        mov     esi, 8
        fs lodsq
        cmp     rax, [numbers + 8]
        require e
        mov     rbx, numbers - 0x7ffffffffff0
        mov     rax, [gs:rbx]
        cmp     rax, [numbers]
        require e
        mov     ecx, MSR_GS_BASE
        rdmsr
        cmp     edx, 0x7fff
        require e
        cmp     eax, 0xfffffff0
        require e
        mov     eax, KERNEL_DATA_SELECTOR
        mov     fs, eax
        mov     ecx, MSR_FS_BASE
        rdmsr
        or      eax, edx
        require z
        mov     eax, fs
        cmp     eax, KERNEL_DATA_SELECTOR
        require e
        push    fs
        pop     gs
        mov     eax, gs
        cmp     eax, KERNEL_DATA_SELECTOR
        require e

        ; Things that have nothing to show here
        wbinvd
        invlpg  [scratch]
        clts
        mov     rax, dr6
        mov     rax, dr7

        ; String output: the verdict
        mov     esi, text_ok
        mov     ecx, text_ok_bytes
        mov     edx, PORT_CONSOLE
        rep outsb
        cmp     esi, text_ok + text_ok_bytes
        require e
done:
        exit    0

time:
        rdtsc
        shl     rdx, 32
        or      rax, rdx
        ret

visit:
        mov     eax, cs
        cmp     eax, OTHER_CODE
        require e
        inc     dword [visits]
        o64 retf

        section .data
        align   8
OWN_DATA   equ 0x18
OWN_CODE   equ 0x20
OTHER_CODE equ 0x30
own_gdt:   dq   0, 0, 0
           dq   0x00cf93000000ffff
           dq   0x00af9b000000ffff, 0
           dq   0x00af9b000000ffff
own_gdtr:  dw   $ - own_gdt - 1
           dq   own_gdt
own_idtr:  dw   0xfff
           dq   own_idt
           align 8
far_call:  dq   visit
           dw   OTHER_CODE
far_jump:  dq   _start.jumped
           dw   OTHER_CODE
           align 8
numbers:   dq   0x1111111111111111, 0x2222222222222222, 0x3333333333333333, 0
visits:    dd   0

        section .rodata
text_ok:   db   "system ok", 10
text_ok_bytes equ $ - text_ok

        section .bss
        alignb  16
scratch:   resb 16
own_idt:   resb 4096
