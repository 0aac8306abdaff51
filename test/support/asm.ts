/** The scenarios' assembler. */
export { type Assembled, asm } from '../../src/explore/scenario/asm.ts';
