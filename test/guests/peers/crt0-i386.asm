; Start-up code of benchmark guests built for 32 bits: a multiboot kernel for emulators that know no 64-bit mode.
; The console is port 0xe9; a byte written to port 0xf4 says that the guest has ended.

PORT_CONSOLE    equ 0xe9
PORT_EXIT       equ 0xf4
MULTIBOOT_MAGIC equ 0x1badb002
MULTIBOOT_FLAGS equ 1 << 16             ; addresses are in this header

        bits    32
        global  _start, debug_put
        extern  main, bench_rounds, load_end, bss_end

        section .multiboot progbits alloc exec nowrite align=4
header:
        dd      MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)
        dd      header, header, load_end, bss_end, _start
; Whoever runs the image may set it, at offset 32 of the file: bench_rounds, unless it is 0.
rounds: dd      0

        section .text
_start:
        mov     esp, stack_top
        cld
        mov     eax, [rounds]
        test    eax, eax
        jz      .go
        mov     [bench_rounds], eax
.go:    push    dword 1                 ; count
        push    dword 0                 ; index
        call    main
        out     PORT_EXIT, al
.end:   hlt
        jmp     .end

; void debug_put(char)
debug_put:
        mov     eax, [esp + 4]
        out     PORT_CONSOLE, al
        ret

        section .bss
        alignb  16
        resb    65536
stack_top:
