/**
 * What a failing execution and a passing one do in another order: pairs of operations on one cell, at least one of
 * which changes it. Nothing else about the order of two executions can matter.
 */
import { addressOf } from '../../shared/sync/point.ts';
import type { Explained, Step } from './explain.ts';

/** In the failing execution `first` came before `second`, in the passing one after it. */
export interface Reordered {
  readonly first: Step;
  readonly second: Step;
}

/** Reordered pairs, the earliest of the failing execution first: of each line the first one that met it. */
export function reordered(failing: Explained, passing: Explained): Reordered[] {
  const places = new Map(passing.steps.map((step) => [placeOf(step), step]));
  const byCell = new Map<number, Step[]>();
  const pairs = new Map<string, Reordered>();
  for (const second of failing.steps) {
    const there = places.get(placeOf(second));
    if (second.cell === '' || there === undefined || there.cell !== second.cell) continue;
    const cell = addressOf(second.point);
    const before = byCell.get(cell) ?? [];
    for (const first of before) {
      if (first.actor === second.actor || !(changes(first) || changes(second))) continue;
      const firstThere = places.get(placeOf(first))!;
      if (firstThere.index < there.index) continue;
      const lines = `${lineOf(first)} ${second.actor} ${second.lock ?? second.cell}`;
      if (!pairs.has(lines)) pairs.set(lines, { first, second });
    }
    before.push(second);
    byCell.set(cell, before);
  }
  return [...pairs.values()];
}

function placeOf({ actor, taken }: Step): number {
  return actor * 2 ** 32 + taken;
}

function changes({ kind }: Step): boolean {
  return kind === 'write' || kind === 'update';
}

/** Of a lock operation its call: which of its steps met is the lock's affair. */
function lineOf({ actor, sync, stack }: Step): string {
  if (sync !== null) return `${actor} call ${sync.call}`;
  return `${actor} ${stack[0]?.file}:${stack[0]?.line}`;
}
