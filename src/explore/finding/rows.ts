/** The steps of an execution as lines that people read: a lock operation is one line, what concerns nobody else is none. */
import type { Explained, Step } from './explain.ts';
import type { SourceLine } from './source-line.ts';

export interface Row {
  /** Indices of its first and last step. */
  readonly from: number;
  readonly to: number;
  readonly actor: number;
  readonly text: string;
  /** Where, outside the lock code. Null of what is left out. */
  readonly at: SourceLine | null;
  /** Here somebody is taken the turn who could have gone on. */
  readonly preempts: boolean;
  /** Lines left out: only this actor touches what they touch, or they are far from every switch. */
  readonly folded: boolean;
}

// LIMIT: lines of one table. Above it what is far from preemptions is left out.
const ROW_LIMIT = 60;
/** Lines around a preemption that stay. */
const NEAR = 6;

export function rowsOf(explained: Explained): Row[] {
  const shared = sharedCells(explained.steps);
  const rows = merged(explained.steps);
  const own = rows.map(({ steps }) => !steps.some((step) => shared.has(step.cell) || isNews(step)));
  let table = folded(rows, own);
  if (table.length > ROW_LIMIT)
    table = folded(
      rows,
      own.map((alone, i) => alone || isFar(rows, i)),
    );
  return table;
}

interface Merged {
  readonly steps: readonly Step[];
  readonly text: string;
}

/** Cells that more than one actor touches, and somebody changes. */
function sharedCells(steps: readonly Step[]): Set<string> {
  const users = new Map<string, number>();
  const changed = new Set<string>();
  for (const { cell, actor, kind, bookkeeping } of steps) {
    if (bookkeeping) continue;
    users.set(cell, (users.get(cell) ?? 0) | (1 << actor));
    if (kind !== 'read') changed.add(cell);
  }
  const many = [...users].filter(
    ([cell, mask]) => cell !== '' && changed.has(cell) && (mask & (mask - 1)) !== 0,
  );
  return new Set(many.map(([cell]) => cell));
}

/** A change of something that is no lock: others may read it without saying so, under a lock. */
function isNews({ kind, lock, sync, bookkeeping, before, after }: Step): boolean {
  if (lock !== null || sync !== null || bookkeeping) return false;
  return (kind === 'write' || kind === 'update') && before !== after;
}

/** Steps of one lock operation, and repetitions of one line, are one row, as long as nobody comes between. */
function merged(steps: readonly Step[]): Merged[] {
  const rows: Merged[] = [];
  for (let i = 0; i < steps.length; ) {
    const first = steps[i]!;
    let end = i + 1;
    while (end < steps.length && belongs(first, steps[end]!)) end += 1;
    const group = steps.slice(i, end);
    const goesOn =
      first.sync !== null && steps.slice(0, i).some(({ sync }) => sync?.call === first.sync?.call);
    rows.push({ steps: group, text: first.sync === null ? textOf(group) : lockText(group, goesOn) });
    i = end;
  }
  return rows;
}

function belongs(first: Step, next: Step): boolean {
  if (next.actor !== first.actor || next.preempts) return false;
  if (first.sync !== null) return next.sync?.call === first.sync.call;
  const at = (step: Step) => `${step.stack[0]?.file}:${step.stack[0]?.line} ${step.kind} ${step.cell}`;
  return next.sync === null && at(next) === at(first);
}

/** The kernel's words for what is done to a lock. */
const LOCK_WORDS: Readonly<Record<string, string>> = {
  readLock: 'read-lock',
  readUnlock: 'read-unlock',
  writeLock: 'write-lock',
  writeUnlock: 'write-unlock',
  mutexLock: 'lock',
  mutexTryLock: 'trylock',
  mutexUnlock: 'unlock',
  spinLock: 'lock',
  spinUnlock: 'unlock',
  srcuReadLock: 'enter',
  srcuReadUnlock: 'leave',
  synchronizeSrcu: 'synchronize',
};

function lockText(steps: readonly Step[], goesOn = false): string {
  const first = steps[0]!;
  const lock = steps.find((step) => step.lock !== null)?.lock ?? first.cell;
  const word = LOCK_WORDS[first.sync!.name] ?? first.sync!.name;
  const asleep = steps.at(-1)!.answer === 'fell asleep' ? ', sleeps' : '';
  return `${word} ${lock}${goesOn ? ' (goes on)' : ''}${asleep}`;
}

function textOf(steps: readonly Step[]): string {
  const last = steps.at(-1)!;
  const times = steps.length > 1 ? ` ×${steps.length}` : '';
  const { kind, cell, answer } = last;
  const { before } = steps[0]!;
  switch (kind) {
    case 'read':
      return `read ${cell}${last.before === null ? '' : ` = ${last.before}`}${times}`;
    case 'write':
    case 'update':
      if (last.after === null) return `${kind} ${cell}${times}`;
      return before === last.after
        ? `${kind} ${cell} = ${before}${times}`
        : `${kind} ${cell}: ${before} → ${last.after}${times}`;
    case 'wait':
      return `sleep on ${cell}${answer === null ? ': awake' : answer === 'timed out' ? ': timed out' : ''}${times}`;
    case 'notify':
      return `wake who sleeps on ${cell}${times}`;
    case 'choose':
      return `choose ${answer} ${cell}${times}`;
    case 'relax':
      return `relax ${cell}${times}`.trimEnd();
    case 'step': {
      const where = last.stack[0]?.function ?? '';
      return `step${where === '' ? '' : ` in ${where}`}${times}`;
    }
  }
}

/** One step in a few words. */
export function stepText(step: Step): string {
  return step.sync === null ? textOf([step]) : lockText([step]);
}

/** Innermost line that is not the lock code's. */
export function callerOf({ stack, sync }: Step): SourceLine | null {
  const at = sync === null ? 0 : stack.findLastIndex(({ file }) => /\/shared\/sync\//.test(file)) + 1;
  return stack[at] ?? stack[0] ?? null;
}

function folded(rows: readonly Merged[], hidden: readonly boolean[]): Row[] {
  const table: Row[] = [];
  for (let i = 0; i < rows.length; ) {
    const { steps, text } = rows[i]!;
    const first = steps[0]!;
    let end = i + 1;
    if (hidden[i]) {
      while (
        end < rows.length &&
        hidden[end] &&
        rows[end]!.steps[0]!.actor === first.actor &&
        !rows[end]!.steps[0]!.preempts
      ) {
        end += 1;
      }
    }
    const last = rows[end - 1]!.steps.at(-1)!;
    const count = last.index - first.index + 1;
    const fold = hidden[i] === true && count > 1;
    table.push({
      from: first.index,
      to: last.index,
      actor: first.actor,
      text: fold ? `… ${count} steps` : text,
      at: fold ? null : callerOf(first),
      preempts: first.preempts,
      folded: fold,
    });
    i = end;
  }
  return table;
}

/** No preemption within a few rows. */
function isFar(rows: readonly Merged[], i: number): boolean {
  const near = rows.slice(Math.max(0, i - NEAR), i + NEAR + 1);
  return i < rows.length - NEAR && !near.some(({ steps }) => steps[0]!.preempts);
}
