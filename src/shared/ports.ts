/** I/O ports that every machine has. The guest's side of them is the boot protocol, image/boot.ts. */
export const PORT_CONSOLE = 0xe9;
export const PORT_EXIT = 0xf4;
