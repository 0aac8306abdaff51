; Boot sector that loads a multiboot kernel with addresses in its header (qemu-shim.asm) from the sectors behind it: for
; emulators that load no kernels by themselves. Reads the first ATA disk by PIO, in protected mode.
; scripts/bench/peers/bochs.ts fills in the number of sectors.

KERNEL       equ 0x10000000             ; where the shim wants to be
HEADER_ENTRY equ 28                     ; of the multiboot header, which the kernel begins with
ATA          equ 0x1f0

        org     0x7c00
        bits    16
start:
        cli
        xor     ax, ax
        mov     ds, ax
        mov     al, 0x02                ; fast A20
        out     0x92, al
        lgdt    [gdtr]
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        jmp     0x08:protected

        bits    32
protected:
        mov     eax, 0x10
        mov     ds, eax
        mov     es, eax
        mov     ss, eax
        mov     esp, 0x7c00
        cld
        mov     al, 2                   ; no interrupts from the disk
        mov     dx, ATA + 0x206
        out     dx, al
        mov     edi, KERNEL
        mov     ebx, 1                  ; sector
        mov     esi, [sectors]
.sector:
        mov     dx, ATA + 7
.busy:  in      al, dx
        test    al, 0x80
        jnz     .busy
        mov     dx, ATA + 6
        mov     eax, ebx
        shr     eax, 24
        or      al, 0xe0                ; LBA, first disk
        out     dx, al
        mov     dx, ATA + 2
        mov     al, 1
        out     dx, al
        inc     edx
        mov     al, bl
        out     dx, al
        inc     edx
        mov     al, bh
        out     dx, al
        inc     edx
        mov     eax, ebx
        shr     eax, 16
        out     dx, al
        mov     dx, ATA + 7
        mov     al, 0x20                ; read
        out     dx, al
.wait:  in      al, dx
        test    al, 0x80
        jnz     .wait
        test    al, 0x08
        jz      .wait
        mov     dx, ATA
        mov     ecx, 256
        rep insw
        inc     ebx
        dec     esi
        jnz     .sector
        mov     eax, [KERNEL + HEADER_ENTRY]
        jmp     eax

        align   8
gdt:    dq      0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr:   dw      23
        dd      gdt

        times 506 - ($ - $$) db 0
sectors: dd     0                       ; filled in
        dw      0xaa55
