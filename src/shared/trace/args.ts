/** Arguments of a record as a reader wants them: named, addresses in hexadecimal, numbers as words. */
import { PHASE_END } from '../layout/trace.ts';
import { type ArgFormat, TRACE_KINDS, type TraceArgs, type TraceKind } from './kinds.ts';
import type { TraceRecord } from './reader.ts';

export function kindOf(record: TraceRecord): TraceKind {
  return TRACE_KINDS[record.kind] ?? TRACE_KINDS[0]!;
}

/** What the slice or instant is called. */
export function nameOf(record: TraceRecord): string {
  const kind = kindOf(record);
  return kind.names[record.a] ?? kind.name;
}

export function argsOf(record: TraceRecord): TraceArgs {
  const kind = kindOf(record);
  return record.phase === PHASE_END ? kind.endArgs : kind.args;
}

const ACTIONS = ['CONTINUE', 'RETRY', 'CRASH'];
const ACCESSES = allSets(['R', 'W', 'X'], '');
/** Bits of CPU.REQUESTS, see shared/layout/vcpu.ts. */
const REQUESTS = allSets(
  ['TLB_FLUSH', 'MMU_RELOAD', 'INTROSPECTION', 'VM_DEAD', 'UNBLOCK', 'CODE_FLUSH', 'STOP', 'PARK'],
  ' | ',
);

/** A value as a word, or null when it is best shown as the number it is. */
export function wordFor(format: ArgFormat, value: number): string | null {
  switch (format) {
    case 'number':
    case 'hex':
      return null;
    case 'access':
      return ACCESSES[value] ?? null;
    case 'requests':
      return REQUESTS[value] ?? null;
    case 'action':
      return value < 0 ? 'no reply' : (ACTIONS[value] ?? null);
    default:
      return format[value] ?? null;
  }
}

/** A word for every combination of bits, by its value. */
function allSets(names: readonly string[], separator: string): string[] {
  return Array.from({ length: 1 << names.length }, (_, value) => {
    const set = names.filter((_, bit) => (value & (1 << bit)) !== 0).join(separator);
    return set === '' ? 'none' : set;
  });
}
