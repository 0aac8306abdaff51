/**
 * Records as a reader wants them: the name of a slice, its arguments by name, numbers as words.
 *
 * Worked out once for each kind, because exporters ask for every record.
 */
import {
  REQ_CODE_FLUSH,
  REQ_INTROSPECTION,
  REQ_MMU_RELOAD,
  REQ_PARK,
  REQ_STOP,
  REQ_TLB_FLUSH,
  REQ_UNBLOCK,
  REQ_VM_DEAD,
} from '../layout/vcpu.ts';
import { type ArgFormat, TRACE_KINDS, type TraceArg, type TraceArgs, type TraceKind } from './kinds.ts';
import type { TraceRecord } from './reader.ts';

/** Which field of the record an argument is in. */
export type ArgSlot = 'a' | 'b' | 'c' | 'wide';

export interface PlacedArg extends TraceArg {
  readonly slot: ArgSlot;
  /** Words by value, null where values are shown as numbers. */
  readonly words: readonly string[] | null;
}

/** Arguments of one kind, in the order they are shown. */
export interface KindArgs {
  /** Of a begin or an instant. */
  readonly begin: readonly PlacedArg[];
  readonly end: readonly PlacedArg[];
  /** An end can be named like its begin: it has the same argument `a`. */
  readonly endIsNamed: boolean;
}

/** KVMI_EVENT_ACTION_*, by value. */
const ACTIONS = ['CONTINUE', 'RETRY', 'CRASH'];
const ACCESSES = allSets({ R: 1, W: 2, X: 4 }, '');
const REQUESTS = allSets(
  {
    TLB_FLUSH: REQ_TLB_FLUSH,
    MMU_RELOAD: REQ_MMU_RELOAD,
    INTROSPECTION: REQ_INTROSPECTION,
    VM_DEAD: REQ_VM_DEAD,
    UNBLOCK: REQ_UNBLOCK,
    CODE_FLUSH: REQ_CODE_FLUSH,
    STOP: REQ_STOP,
    PARK: REQ_PARK,
  },
  ' | ',
);

/** The kind of a record; the first of all for a number that is none. */
export function kindOf(record: TraceRecord): TraceKind {
  return TRACE_KINDS[record.kind] ?? TRACE_KINDS[0]!;
}

/** By kind. */
export const KIND_ARGS: readonly KindArgs[] = TRACE_KINDS.map((kind) => ({
  begin: placed(kind.args),
  end: placed(kind.endArgs),
  endIsNamed: kind.endArgs.a === undefined,
}));

function placed(args: TraceArgs): PlacedArg[] {
  return (['a', 'b', 'c', 'wide'] as const).flatMap((slot) => {
    const arg = args[slot];
    return arg === undefined ? [] : [{ ...arg, slot, words: wordsOf(arg.format) }];
  });
}

/** The value of an argument as a word, or null when it is best shown as the number it is. */
export function wordFor(arg: PlacedArg, value: number): string | null {
  if (arg.words === null) return null;
  if (arg.format === 'action' && value < 0) return 'no reply';
  return arg.words[value] ?? null;
}

function wordsOf(format: ArgFormat): readonly string[] | null {
  switch (format) {
    case 'number':
    case 'hex':
      return null;
    case 'access':
      return ACCESSES;
    case 'requests':
      return REQUESTS;
    case 'action':
      return ACTIONS;
    default:
      return format;
  }
}

/** A word for every combination of bits, by its value. */
function allSets(bits: Readonly<Record<string, number>>, separator: string): string[] {
  const names = Object.entries(bits);
  return Array.from({ length: 1 << names.length }, (_, value) => {
    const set = names.filter(([, bit]) => (value & bit) !== 0).map(([name]) => name);
    return set.length === 0 ? 'none' : set.join(separator);
  });
}
