/**
 * Which arithmetic flags nobody sees: those that are overwritten before an instruction reads them and before control can
 * leave the region, since whoever goes on there may read all of them.
 */
import { type Form, ignoresFlags, isMemory, overwritesFlags, staysInRegisters } from '../isa/forms.ts';
import type { Region } from './region.ts';

/** Operations that set flags by what they were before only to keep the others. Their own may be left out. */
const SETTING: ReadonlySet<Form['op']> = new Set([
  'add', 'or', 'adc', 'sbb', 'and', 'sub', 'xor', 'cmp', 'test', 'inc', 'dec', 'neg', 'mul', 'imul', 'imul2', 'imul3',
  'rol', 'ror', 'shl', 'shr', 'sar', 'shld', 'shrd', 'bt', 'bts', 'btr', 'btc', 'bsf', 'bsr', 'tzcnt', 'lzcnt', 'popcnt',
  'cmpxchg', 'xadd', 'clc', 'stc', 'cmc',
]); // biome-ignore format: table
const READING: ReadonlySet<Form['op']> = new Set(['adc', 'sbb']);
/** Overwrite all six, whatever their count or operands are. */
const REPLACING: ReadonlySet<Form['op']> = new Set([
  'mul',
  'imul',
  'cmpxchg',
  'xadd',
  'adc',
  'sbb',
  'tzcnt',
  'lzcnt',
]);
const NO_EXIT: ReadonlySet<Form['op']> = new Set([
  'mul', 'imul', 'adc', 'sbb', 'shld', 'shrd', 'bt', 'bts', 'btr', 'btc', 'bsf', 'bsr', 'tzcnt', 'lzcnt', 'cmpxchg',
  'xadd', 'clc', 'stc', 'cmc', 'cld', 'std', 'fall', 'jmp',
]); // biome-ignore format: table
const PASSING: ReadonlySet<Form['op']> = new Set(['cld', 'std', 'fall', 'jmp']);

/** How flags fare in one instruction. */
interface Effect {
  /** Sees flags of before, by itself or because control may leave for the interpreter. */
  readonly sees: boolean;
  readonly overwrites: boolean;
}

function effectOf(form: Form): Effect {
  const memory = isMemory(form.dst) || (form.op !== 'lea' && isMemory(form.src));
  const stays = staysInRegisters(form) || (NO_EXIT.has(form.op) && !memory);
  const overwrites = overwritesFlags(form) || REPLACING.has(form.op);
  const blind = SETTING.has(form.op) || ignoresFlags(form) || PASSING.has(form.op);
  return { sees: !stays || !blind || READING.has(form.op), overwrites };
}

/** For each block, by RIP: are the flags of its instructions seen? One truth for each, in order. */
export type SeenFlags = ReadonlyMap<bigint, readonly boolean[]>;

/**
 * @param forms  of the instructions of each block
 * @param stops  blocks at whose start control may leave: entries and heads of loops
 */
export function seenFlags(
  region: Region,
  forms: ReadonlyMap<bigint, readonly Form[]>,
  stops: (rip: bigint) => boolean,
): SeenFlags {
  const effects = new Map([...forms].map(([rip, each]) => [rip, each.map(effectOf)]));
  const before = new Map<bigint, boolean>();
  const seenBefore = (rip: bigint | null): boolean => {
    if (rip === null) return false;
    if (!region.blocks.has(rip) || stops(rip)) return true;
    return before.get(rip) ?? false;
  };
  const seenAfter = (rip: bigint): boolean => {
    const { taken, next } = region.blocks.get(rip)!;
    return (taken === null && next === null) || seenBefore(taken) || seenBefore(next);
  };
  const walk = (rip: bigint, at: (index: number, seen: boolean) => void): boolean => {
    const all = effects.get(rip)!;
    let seen = seenAfter(rip);
    for (let index = all.length - 1; index >= 0; index--) {
      at(index, seen);
      const { sees, overwrites } = all[index]!;
      seen = sees || (seen && !overwrites);
    }
    return seen;
  };
  const order = [...region.blocks.keys()].reverse();
  for (let changed = true; changed; ) {
    changed = false;
    for (const rip of order) {
      const seen = walk(rip, () => {});
      if (seen === (before.get(rip) ?? false)) continue;
      before.set(rip, seen);
      changed = true;
    }
  }
  const result = new Map<bigint, boolean[]>();
  for (const rip of order) {
    const flags: boolean[] = new Array(effects.get(rip)!.length).fill(true);
    walk(rip, (index, seen) => {
      flags[index] = seen;
    });
    result.set(rip, flags);
  }
  return result;
}

/** The form, without flags where they are not seen and it can do without. */
export function quietForm(form: Form, seen: boolean): Form {
  return seen || !SETTING.has(form.op) ? form : { ...form, flags: false };
}
