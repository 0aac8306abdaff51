/** Holds Faultline's result of a case against the processor's, and says in words where they differ. */
import {
  BACKGROUND,
  CODE_BASE,
  DATA_BYTES,
  DATA_OFFSET,
  READ_ONLY_BYTES,
  READ_ONLY_OFFSET,
} from './arena.ts';
import {
  APPROXIMATE_ERROR,
  type CaseResult,
  isApproximate,
  type OracleCase,
  VECTOR_BP,
  VECTOR_PF,
} from './case.ts';
import { fpuDifferences } from './fpu-case.ts';

export interface Difference {
  /** "rax", "CF OF", "memory", "vector", … What a class of mismatches is named after. */
  readonly what: string;
  readonly native: string;
  readonly ours: string;
}

export const REGISTER_NAMES = [
  'rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi',
  'r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15',
] as const; // biome-ignore format: table

const FLAG_NAMES: readonly (readonly [string, number])[] = [
  ['CF', 0], ['PF', 2], ['AF', 4], ['ZF', 6], ['SF', 7], ['IF', 9], ['DF', 10], ['OF', 11],
  ['IOPL', 12], ['IOPL', 13], ['NT', 14], ['AC', 18], ['VIF', 19], ['VIP', 20], ['ID', 21],
]; // biome-ignore format: table

/** RF is set by faults and clear at traps; TF no case has. */
const COMPARED_FLAGS = FLAG_NAMES.reduce((mask, [, bit]) => mask | (1 << bit), 0);

export interface CompareOptions {
  /** Also compare what the architecture leaves undefined. */
  readonly undefinedToo: boolean;
}

/** Empty when the results agree. */
export function differences(
  item: OracleCase,
  native: CaseResult,
  ours: CaseResult,
  options: CompareOptions,
): Difference[] {
  const found: Difference[] = [];
  const note = (what: string, a: string, b: string): void => {
    if (a !== b) found.push({ what, native: a, ours: b });
  };
  note('vector', vectorText(native), vectorText(ours));
  if (native.vector !== ours.vector) return found;

  // An instruction that faulted has done nothing, so it has left nothing undefined.
  const ran = native.vector === VECTOR_BP || native.rip !== BigInt(CODE_BASE + item.codeOffset);
  const free = !options.undefinedToo && ran;
  const { freedom } = item;
  note('rip', hex(native.rip), hex(ours.rip));
  for (const [n, name] of REGISTER_NAMES.entries()) {
    const mask = free && freedom.register === n ? ~freedom.registerMask : -1n;
    note(name, hex(native.gpr[n]! & mask), hex(ours.gpr[n]! & mask));
  }
  const flags = COMPARED_FLAGS & ~(free ? freedom.flags : 0);
  const wrong = (native.rflags ^ ours.rflags) & flags;
  if (wrong !== 0) note(flagsText(wrong), flagsText(native.rflags & flags), flagsText(ours.rflags & flags));
  if (item.fpu !== null) {
    const error = isApproximate(item) ? 2 * APPROXIMATE_ERROR : 0;
    found.push(
      ...fpuDifferences(native.fpu, ours.fpu, {
        error,
        status: undefinedStatus(item),
        last: isTranscendental(item),
      }),
    );
  }
  if (!(free && freedom.memory)) note('memory', changedText(native), changedText(ours));
  return found;
}

/** Bits of the x87 status word that processors treat differently. */
function undefinedStatus({ group }: OracleCase): number {
  // C1 of FCOMI: cleared, says Intel; AMD leaves it alone.
  if (/^fu?comip? /.test(group)) return 0x200;
  // How exact a result happens to be decides C1 and the inexact exception, which may be reported.
  return isTranscendental({ group }) ? 0x82a0 : 0;
}

/** Results that processors promise to one unit in the last place. */
function isTranscendental({ group }: Pick<OracleCase, 'group'>): boolean {
  return /^(fsin|fcos|fsincos|fptan|fpatan|f2xm1|fyl2x|fyl2xp1) /.test(group);
}

/** "#PF(6) at 0x10009000", "ran". */
export function vectorText(result: CaseResult): string {
  const names: { readonly [vector: number]: string } = {
    0: '#DE',
    3: 'ran',
    6: '#UD',
    12: '#SS',
    13: '#GP',
    14: '#PF',
    16: '#MF',
    19: '#XM',
  };
  const name = names[result.vector] ?? `vector ${result.vector}`;
  if (result.vector === VECTOR_PF) {
    // Linux tells a process that every page of the upper half is there, so that it learns nothing of the kernel's.
    const present = result.cr2 >> 63n === 1n ? 1 : 0;
    return `${name}(${result.errorCode | present}) at ${hex(result.cr2)}`;
  }
  return result.vector >= 8 ? `${name}(${result.errorCode})` : name;
}

export function flagsText(rflags: number): string {
  const names = FLAG_NAMES.filter(([, bit]) => (rflags & (1 << bit)) !== 0).map(([name]) => name);
  return names.length === 0 ? 'none' : [...new Set(names)].join(' ');
}

export function changedText({ changedOffset, changed }: CaseResult): string {
  if (changed.length === 0) return 'unchanged';
  return `+${changedOffset.toString(16)}: ${Buffer.from(changed).toString('hex')}`;
}

export function hex(value: bigint): string {
  return `0x${BigInt.asUintN(64, value).toString(16)}`;
}

/** What the case found: the background and its patch. Between calls, the background. */
const before = BACKGROUND.slice();

/**
 * The first to last byte of the arena's data pages that `now` has different from what the case put there.
 * @param now  the whole arena, by arena offset
 */
export function changedMemory(
  item: OracleCase,
  now: Uint8Array,
): { readonly changedOffset: number; readonly changed: Uint8Array } {
  const { patch, patchOffset } = item;
  before.set(patch, patchOffset);
  let first = -1;
  let last = -1;
  for (const [from, count] of [
    [DATA_OFFSET, DATA_BYTES],
    [READ_ONLY_OFFSET, READ_ONLY_BYTES],
  ] as const) {
    const end = from + count;
    if (Buffer.compare(now.subarray(from, end), before.subarray(from, end)) === 0) continue;
    for (let at = from; at < end; at++) {
      if (now[at] === before[at]) continue;
      if (first < 0) first = at;
      last = at;
    }
  }
  before.set(BACKGROUND.subarray(patchOffset, patchOffset + patch.length), patchOffset);
  if (first < 0) return { changedOffset: 0, changed: new Uint8Array(0) };
  return { changedOffset: first, changed: now.slice(first, last + 1) };
}
