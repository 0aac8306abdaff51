/**
 * One vCPU on a small stage: named pages, a few instructions, and the story of the events they led to.
 *
 *   gfn             name         what
 *   ──────────────  ───────────  ──────────────────────────────────────────────────────────────
 *   0, 7, 8         gdt tss idt  tables of the boot protocol
 *   VICTIM          code code2   the instructions under test
 *   VICTIM + 2      stop         never restricted: leaves through the exit port
 *   VICTIM + 4 …    src src2     what RSI points to
 *   VICTIM + 8 …    dst dst2     what RDI points to
 *   VICTIM + 12 …   low stack    what RSP points to; `low` is below `stack`
 *
 * An event is written as its kind and place, `F` an execute access (a fetch): "F code+ff8", "R src+40", "W dst+40".
 */
import { createHash } from 'node:crypto';
import type { SessionEvent } from '../../src/actors/introspector/session.ts';
import { IDT_GPA, IMAGE_GPA_MIN, KERNEL_CODE_SELECTOR } from '../../src/image/boot.ts';
import { asm } from '../support/asm.ts';
import {
  GuestMachine,
  type GuestMachineOptions,
  type RegisterName,
  type Registers,
  VICTIM_GFN,
  VICTIM_GPA,
} from '../support/guest-machine.ts';

export const PAGES = {
  gdt: 0,
  tss: 7,
  idt: 8,
  code: VICTIM_GFN,
  code2: VICTIM_GFN + 1,
  stop: VICTIM_GFN + 2,
  src: VICTIM_GFN + 4,
  src2: VICTIM_GFN + 5,
  dst: VICTIM_GFN + 8,
  dst2: VICTIM_GFN + 9,
  low: VICTIM_GFN + 12,
  stack: VICTIM_GFN + 13,
} as const;
export type PageName = keyof typeof PAGES;

/** gpa of a byte of a named page; gva is the same number. */
export function at(page: PageName, offset = 0): number {
  return PAGES[page] * 4096 + offset;
}

export const STOP = at('stop');
/** Where RSI, RDI and RSP point at the first instruction. */
export const SRC = at('src', 0x40);
export const DST = at('dst', 0x40);
export const STACK = at('stack', 0x800);

const ENCODING: readonly RegisterName[] = [
  'rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15',
]; // biome-ignore format: table

export interface SceneOptions extends GuestMachineOptions {
  /** Instructions, at the start of the code page unless `place` says otherwise. */
  readonly code: string;
  /** Address of the first instruction; negative: so many bytes before the end of the code page it has to end. */
  readonly place?: number;
  readonly registers?: Partial<Registers>;
  /** Access that remains on a page; all of it on those that are not named. */
  readonly access?: Partial<Record<PageName, number>>;
}

export class Scene extends GuestMachine {
  /** Address of the first instruction. */
  readonly start: number;
  readonly labels: Readonly<Record<string, number>>;

  constructor(options: SceneOptions) {
    super(options);
    let start = options.place ?? at('code');
    if (start < 0) start = at('code2') + start + 1 - asm(at('code'), options.code).bytes.length;
    const assembled = asm(start, options.code);
    this.start = start;
    this.labels = assembled.labels;
    this.load(assembled.bytes, start);
    this.load(asm(STOP, 'out 0xf4, eax').bytes, STOP);
    for (const page of ['src', 'src2', 'dst', 'dst2', 'stack'] as const) {
      const bytes = this.ram(at(page), 4096);
      for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 7 + PAGES[page]) & 0xff;
    }
    for (const vcpu of this.vcpus) {
      this.boot(vcpu, start);
      this.setRegister(vcpu.index, { rsi: BigInt(SRC), rdi: BigInt(DST), rsp: BigInt(STACK) });
      this.setRegister(vcpu.index, options.registers ?? {});
    }
    this.hook();
    this.enablePf(...this.vcpus.keys());
    this.restrict(options.access ?? {});
  }

  /** Before it runs: RIP and RFLAGS are the boot's. */
  setRegister(vcpu: number, values: Partial<Registers>): void {
    for (const [name, value] of Object.entries(values)) {
      this.vcpus[vcpu]!.setGpr(ENCODING.indexOf(name as RegisterName), BigInt.asUintN(64, value));
    }
  }

  /** An interrupt gate of ring 0. */
  gate(vector: number, handler: number): void {
    const low = BigInt(handler & 0xffff) | (BigInt(KERNEL_CODE_SELECTOR) << 16n) | (0x8en << 40n);
    this.setQuad(IDT_GPA + vector * 16, low | (BigInt(handler >>> 16) << 48n));
  }

  restrict(access: Partial<Record<PageName, number>>): void {
    for (const [page, bits] of Object.entries(access)) this.access(PAGES[page as PageName], bits);
  }

  /** A general register now, by name. */
  register(name: RegisterName, vcpu = 0): bigint {
    return name === 'rip' ? this.vcpus[vcpu]!.get64('RIP') : this.vcpus[vcpu]!.gpr(ENCODING.indexOf(name));
  }

  /** The events so far; "F" alone is the fetch of the first instruction. */
  get story(): string {
    return this.events.map((event) => this.tell(event)).join(', ');
  }

  tell({ pf }: SessionEvent): string {
    const kind = 'RW?F'[pf!.access - 1]!;
    if (kind === 'F' && pf!.gpa === this.start) return 'F';
    return `${kind} ${placeOf(pf!.gpa)}`;
  }

  /** Everything the guest can see: registers, flags, a hash of memory, and how many instructions it took. */
  get outcome(): { registers: bigint[]; rip: bigint; rflags: bigint; retired: bigint; memory: string } {
    const [vcpu] = this.vcpus;
    const memory = createHash('sha1')
      .update(this.ram(0, IMAGE_GPA_MIN))
      .update(this.ram(VICTIM_GPA, 64 * 4096));
    return {
      registers: ENCODING.map((_, n) => vcpu!.gpr(n)),
      rip: vcpu!.get64('RIP'),
      rflags: vcpu!.flags.rflags(),
      retired: vcpu!.get64('RETIRED'),
      memory: memory.digest('hex'),
    };
  }
}

function placeOf(gpa: number): string {
  for (const [name, gfn] of Object.entries(PAGES)) {
    if (gfn === Math.floor(gpa / 4096)) return `${name}+${(gpa % 4096).toString(16)}`;
  }
  return `0x${gpa.toString(16)}`;
}
