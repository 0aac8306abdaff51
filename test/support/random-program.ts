/**
 * Random guest programs: short, always ending, and with every kind of memory access an instruction set has.
 *
 * They work on two areas of two pages each: R12 and R13 point to them. RAX RBX RDX R8 R9 R10 hold whatever they hold; RCX
 * RSI RDI belong to string instructions, R11 counts loops, RSP is a stack of at least 1 KiB. Accesses across the page
 * boundary of an area are as likely as others.
 */
import type { Prng } from '../../src/shared/prng.ts';

export interface ProgramOptions {
  /** Instructions, more or less. */
  readonly length: number;
  /** Functions that may be called: ends of `call`, labels or numbers. */
  readonly functions: readonly string[];
  /** DIV with a divisor that may be 0; a handler has to skip its 2 bytes. */
  readonly division?: boolean;
  /** Software interrupts that return. */
  readonly interrupts?: readonly number[];
}

const AREA_BYTES = 8192;
const REGISTERS: Readonly<Record<number, readonly string[]>> = {
  1: ['al', 'bl', 'dl', 'r8b', 'r9b', 'r10b', 'ah', 'bh'],
  2: ['ax', 'bx', 'dx', 'r8w', 'r9w', 'r10w'],
  4: ['eax', 'ebx', 'edx', 'r8d', 'r9d', 'r10d'],
  8: ['rax', 'rbx', 'rdx', 'r8', 'r9', 'r10'],
};
const SIZE_NAMES: Readonly<Record<number, string>> = { 1: 'byte', 2: 'word', 4: 'dword', 8: 'qword' };
const SUFFIXES: Readonly<Record<number, string>> = { 1: 'b', 2: 'w', 4: 'd', 8: 'q' };
const ARITHMETIC = ['add', 'adc', 'sub', 'sbb', 'and', 'or', 'xor'];
const SHIFTS = ['shl', 'shr', 'sar', 'rol', 'ror', 'rcl', 'rcr'];
const CONDITIONS = ['e', 'ne', 'b', 'ae', 's', 'ns', 'l', 'g', 'p', 'o'];

/** Writes programs; all choices come from `prng`. */
export class ProgramWriter {
  readonly #prng: Prng;
  readonly #options: ProgramOptions;
  #labels = 0;
  #inLoop = false;

  constructor(prng: Prng, options: ProgramOptions) {
    this.#prng = prng;
    this.#options = options;
  }

  /** A main program: falls out of its end. */
  main(): string {
    return this.#lines(this.#options.length).join('\n');
  }

  /** A function: a few instructions, no calls, RET. */
  leaf(length = 3): string {
    return [...Array.from({ length }, () => this.#simple()).flat(), 'ret'].join('\n');
  }

  #lines(length: number): string[] {
    const lines: string[] = [];
    while (lines.length < length) lines.push(...this.#any());
    return lines;
  }

  #any(): string[] {
    const prng = this.#prng;
    switch (prng.below(10)) {
      case 0:
        return this.#string();
      case 1:
        return this.#stack();
      case 2: {
        const over = this.#label();
        return [`j${prng.pick(CONDITIONS)} ${over}`, ...this.#simple(), `${over}: nop`];
      }
      case 3: {
        if (this.#inLoop) return this.#simple();
        this.#inLoop = true;
        const again = this.#label();
        const body = this.#lines(2 + prng.below(4));
        this.#inLoop = false;
        // DEC and not LOOP: the body of a loop may be longer than LOOP reaches, and RCX is not its own.
        return [`mov r11d, ${1 + prng.below(4)}`, `${again}: nop`, ...body, 'dec r11d', `jne ${again}`];
      }
      default:
        return this.#simple();
    }
  }

  #label(): string {
    return `l${this.#labels++}`;
  }

  #size(): number {
    return this.#prng.pick([1, 2, 4, 8, 8]);
  }
  #register(size: number): string {
    return this.#prng.pick(REGISTERS[size]!);
  }
  /** In one of the areas; one in four across its page boundary. */
  #memory(size: number): string {
    const prng = this.#prng;
    const crosses = size > 1 && prng.chance(0.25);
    const at = crosses ? 4096 - 1 - prng.below(size - 1) : prng.below(AREA_BYTES / 64) * 64 + prng.below(8);
    return `${SIZE_NAMES[size]} [${prng.pick(['r12', 'r13'])} + ${at}]`;
  }
  #aligned(size: number): string {
    return `[${this.#prng.pick(['r12', 'r13'])} + ${this.#prng.below(AREA_BYTES / 64) * 64 + size * this.#prng.below(2)}]`;
  }
  #immediate(size: number): number {
    return this.#prng.below(size === 1 ? 128 : 30000);
  }

  /** No branches, no stack. */
  #simple(): string[] {
    const prng = this.#prng;
    const size = this.#size();
    const reg = this.#register(size);
    // A high byte register has no room beside R12, R13.
    const plain = reg.endsWith('h') ? 'al' : reg;
    const memory = this.#memory(size);
    const lock = prng.chance(0.3) ? 'lock ' : '';
    switch (prng.below(16)) {
      case 0:
        return [`mov ${plain}, ${memory}`];
      case 1:
        return [`mov ${memory}, ${plain}`];
      case 2:
        return [`mov ${memory}, ${this.#immediate(size)}`];
      case 3:
        return [`${prng.pick(ARITHMETIC)} ${plain}, ${memory}`];
      case 4:
        return [`${lock}${prng.pick(ARITHMETIC)} ${memory}, ${plain}`];
      case 5:
        return [`${lock}${prng.pick(ARITHMETIC)} ${memory}, ${this.#immediate(size)}`];
      case 6:
        return [`${lock}${prng.pick(['inc', 'dec', 'not', 'neg'])} ${memory}`];
      case 7:
        return prng.chance(0.5)
          ? [`${prng.pick(SHIFTS)} ${memory}, ${1 + prng.below(8 * size - 1)}`]
          : [`mov ecx, ${prng.below(70)}`, `${prng.pick(SHIFTS)} ${memory}, cl`];
      case 8:
        return [
          `${prng.pick(['cmp', 'test'])} ${memory}, ${plain}`,
          `set${prng.pick(CONDITIONS)} ${this.#memory(1)}`,
        ];
      case 9: {
        if (size === 1) return [`movzx ${this.#register(8)}, ${memory}`];
        const other = this.#register(size);
        return [`${prng.pick([`cmov${prng.pick(CONDITIONS)}`, 'imul'])} ${other}, ${memory}`];
      }
      case 10:
        return [`${lock}xadd ${memory}, ${plain}`];
      case 11:
        return [`${lock}cmpxchg ${memory}, ${plain}`];
      case 12:
        return [`xchg ${memory}, ${plain}`];
      case 13:
        return prng.chance(0.5)
          ? [`${lock}cmpxchg8b qword ${this.#aligned(8)}`]
          : [`lock cmpxchg16b oword ${this.#aligned(16)}`];
      case 14: {
        // The bit string reaches 2 KiB both ways from the middle of an area.
        const wide = prng.pick(['eax', 'rax']);
        const width = wide === 'eax' ? 'dword' : 'qword';
        const op = prng.pick(['bts', 'btr', 'btc']);
        return [`and ${wide}, 0x3fff`, `${lock}${op} ${width} [r12 + 4090], ${wide}`];
      }
      default:
        return this.#options.division === true
          ? ['mov edx, 0', `mov ecx, ${prng.below(3)}`, 'div ecx']
          : [`lea ${this.#register(8)}, [rbx + rdx*4 + 12]`];
    }
  }

  #string(): string[] {
    const prng = this.#prng;
    const size = this.#size();
    const op = prng.pick(['movs', 'stos', 'lods', 'cmps', 'scas']);
    const prefix =
      op === 'cmps' || op === 'scas' ? prng.pick(['repe ', 'repne ', '']) : prng.pick(['rep ', 'rep ', '']);
    const count = prng.below(6);
    const down = prng.chance(0.3);
    const place = (): number => 4096 - 32 + prng.below(64);
    const lines = [
      `lea rsi, [${prng.pick(['r12', 'r13'])} + ${place()}]`,
      `lea rdi, [${prng.pick(['r12', 'r13'])} + ${place()}]`,
      `mov ecx, ${count}`,
      `${prefix}${op}${SUFFIXES[size]}`,
    ];
    return down ? ['std', ...lines, 'cld'] : lines;
  }

  #stack(): string[] {
    const prng = this.#prng;
    const { functions, interrupts = [] } = this.#options;
    const reg = this.#register(8);
    const memory = this.#memory(8);
    switch (prng.below(7)) {
      case 0:
        return [`push ${memory}`, `pop ${reg}`];
      case 1:
        return [`push ${reg}`, `pop ${memory}`];
      case 2:
        return ['pushfq', `pop ${reg}`];
      case 3:
        return [`enter ${8 * prng.below(8)}, ${prng.below(3)}`, ...this.#simple(), 'leave'];
      case 4:
        if (interrupts.length > 0) return [`int ${prng.pick(interrupts)}`];
        return [`push ${this.#immediate(4)}`, `pop ${memory}`];
      default:
        if (functions.length === 0) return [`push ${reg}`, `pop ${reg}`];
        return prng.chance(0.7)
          ? [`call ${prng.pick(functions)}`]
          : [`mov ebx, ${prng.pick(functions)}`, 'call rbx'];
    }
  }
}
