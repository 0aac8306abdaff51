; What the architecture manual says and QEMU 7.2, on which the other guests are tried, does not do: error codes of
; read-modify-writes and of IDT entries, #SS, INT1, LOCK where it is not allowed, reserved bits, odd encodings.
; run:    -smp 1 -m 8M
; expect: exit 0, console "strict ok"
; Only vCPU 0 takes part; others exit 0 at once. What ring 3 can try of it was tried on hardware as well.

%include "boot.inc"

NOT_CANONICAL equ 0x8000000000000000
NOT_MAPPED    equ 0x123456789000
MSR_EFER      equ 0xc0000080
EFER_NXE      equ 11

        bits    64
        global  _start

%include "check.inc"

_start:
        test    edi, edi
        jnz     done
        call    install_traps

        ; A read-modify-write that faults, faults as a write: W (2) is set, whichever half of it came first. CMPXCHG
        ; writes even when the comparison fails. Registers keep their values.
        mov     rbx, NOT_MAPPED
        mov     eax, 0x11
        faults  14, 2, inc byte [rbx]
        faults  14, 2, add [rbx], eax
        faults  14, 2, shl qword [rbx], 3
        faults  14, 2, xchg [rbx], rax
        cmp     rax, 0x11
        require e
        faults  14, 2, lock xadd [rbx], rax
        cmp     rax, 0x11
        require e
        faults  14, 2, cmpxchg [rbx], rax
        faults  14, 2, lock bts dword [rbx], 1
        faults  14, 0, bt dword [rbx], 1
        faults  14, 0, cmp [rbx], eax
        cmp     [trap_cr2], rbx
        require e

        ; A store across pages is refused whole.
        mov     edi, 0x3fffff - 3
        mov     dword [rdi], 0x5a5a5a5a
        and     dword [PAGE_DIRECTORY_GPA + 2 * 8], ~1  ; 4 MiB … 6 MiB are gone
        mov     rax, cr3
        mov     cr3, rax
        faults  14, 2, mov [rdi], rax
        cmp     qword [trap_cr2], 0x400000
        require e
        cmp     dword [rdi], 0x5a5a5a5a
        require e
        faults  14, 2, add [rdi], rax
        cmp     dword [rdi], 0x5a5a5a5a
        require e

        ; Reserved bits in page tables: RSVD (8), which is never without P (1). Bit 13 of a large page is one; bit 63 is
        ; one while EFER.NXE is 0.
        mov     edx, 0x400000
        mov     qword [PAGE_DIRECTORY_GPA + 2 * 8], 0x4020e7
        faults  14, 9, mov eax, [rdx]
        faults  14, 11, mov [rdx], eax
        mov     rax, 1 << 63 | 0x4000e7
        mov     [PAGE_DIRECTORY_GPA + 2 * 8], rax
        invlpg  [rdx]
        mov     eax, [rdx]
        mov     ecx, MSR_EFER
        rdmsr
        btr     eax, EFER_NXE
        wrmsr
        mov     rcx, cr3
        mov     cr3, rcx
        mov     edx, 0x400000
        faults  14, 9, mov eax, [rdx]
        mov     ecx, MSR_EFER
        rdmsr
        bts     eax, EFER_NXE
        wrmsr
        mov     edx, 0x400000
        invlpg  [rdx]
        mov     eax, [rdx]

        ; #SS instead of #GP when the base is rsp or rbp
        mov     rbp, NOT_CANONICAL
        faults  12, 0, mov rax, [rbp]
        faults  12, 0, mov [rbp + 8], rax
        mov     rbx, rbp
        xor     ebp, ebp
        faults  13, 0, mov rax, [rbx + rbp]             ; the base counts, not the index

        ; LOCK with what has no memory destination, or is no read-modify-write
        faults  6, 0, db 0xf0, 0x8b, 0x00               ; lock mov eax, [rax]
        faults  6, 0, db 0xf0, 0x89, 0x00               ; lock mov [rax], eax
        faults  6, 0, db 0xf0, 0x39, 0x00               ; lock cmp [rax], eax
        faults  6, 0, db 0xf0, 0xd1, 0x20               ; lock shl dword [rax], 1
        faults  6, 0, db 0xf0, 0x90                     ; lock nop

        traps   1, 0, int1

        ; Error code of an IDT entry: vector * 8 + 2
        faults  13, 0x50 * 8 + 2, int 0x50              ; the gate is no gate
        mov     dword [IDT_GPA + 0x50 * 16 + 4], 0x00000e00
        faults  11, 0x50 * 8 + 2, int 0x50              ; the gate is not present

        mov     ecx, 0x12345678                         ; no such MSR
        faults  13, 0, rdmsr
        faults  13, 0, wrmsr
        mov     rax, cr4
        bts     rax, 40
        faults  13, 0, mov cr4, rax
        mov     rax, cr0
        btr     rax, 0                                  ; PG without PE
        faults  13, 0, mov cr0, rax
        mov     rax, cr0
        bts     rax, 29                                 ; NW without CD
        faults  13, 0, mov cr0, rax

        ; A REX prefix that is not the last prefix counts for nothing: MOV AX, BX.
        mov     rax, -1
        mov     ebx, 0x1234
        db      0x48, 0x66, 0x8b, 0xc3
        cmp     rax, -0x10000 + 0x1234
        require e
        ; The undocumented twin of TEST.
        mov     eax, 0x80
        db      0xf6, 0xc8, 0x80                        ; test al, 0x80
        require s

        mov     esi, text_ok
        call    put_text
done:
        exit    0

        section .rodata
text_ok: db     "strict ok", 10, 0
