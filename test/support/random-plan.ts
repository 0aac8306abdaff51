/**
 * Random small programs for the soundness of strategies: two or three actors with a few operations each on a few cells,
 * whose course depends on what they read.
 */
import type { Program } from '../../src/explore/program/program.ts';
import type { Mem } from '../../src/shared/mem.ts';
import type { Prng } from '../../src/shared/prng.ts';
import type { Actor } from '../../src/shared/sync/actor.ts';
import {
  choosing,
  notifying,
  type Path,
  reading,
  stepping,
  updating,
  waiting,
  writing,
} from '../../src/shared/sync/point.ts';

export const OPERATIONS = [
  'read',
  'write',
  'add',
  'cas',
  'wait',
  'timed wait',
  'notify one',
  'notify all',
  'choose',
  'peek',
] as const;
export type Operation = (typeof OPERATIONS)[number];

interface Step {
  readonly operation: Operation;
  readonly cell: number;
  readonly value: number;
  /** Left out unless the actor has seen this, modulo 2; −1: never left out. */
  readonly when: number;
}

export interface PlanOptions {
  readonly operations: readonly Operation[];
  readonly actors: number;
  readonly steps: number;
  readonly cells: number;
}

const CELL_BYTES = 64;
const RESULTS = 256;

export function randomPlan(prng: Prng, { operations, actors, steps, cells }: PlanOptions): Program {
  const plan = Array.from({ length: actors }, () => {
    const timed = new Set<number>();
    return Array.from({ length: 1 + prng.below(steps) }, (): Step => {
      const drawn = prng.pick(operations);
      const when = prng.below(4) === 0 ? prng.below(2) : -1;
      const cell = prng.below(cells) * CELL_BYTES;
      // Two timeouts at one cell would be a poll, of which systematic strategies leave some out.
      const operation = drawn === 'timed wait' && timed.has(cell) ? 'wait' : drawn;
      if (drawn === 'timed wait') timed.add(cell);
      return { operation, cell, value: prng.below(3), when };
    });
  });
  const parts = plan.map((list, index) => [`actor ${index}`, (actor: Actor) => run(actor, index, list)]);
  const text = plan.map((list) => list.map((s) => `${s.operation}(${s.cell / 64},${s.value})`).join(' '));
  return {
    name: 'random-plan',
    title: text.join(' | '),
    bytes: RESULTS + 4 * actors,
    parts: Object.fromEntries(parts),
  };
}

function* run(actor: Actor, index: number, list: readonly Step[]): Path<void> {
  const { mem } = actor;
  let seen = 1;
  for (const { operation, cell, value, when } of list) {
    if (when >= 0 && when !== (seen & 1)) continue;
    let found = 0;
    switch (operation) {
      case 'read':
        yield reading(cell);
        found = mem.load(cell);
        break;
      case 'write':
        yield writing(cell);
        mem.store(cell, value);
        break;
      case 'add':
        yield updating(cell);
        found = mem.add(cell, value + 1);
        break;
      case 'cas':
        yield updating(cell);
        found = mem.cas(cell, value, value + 1);
        break;
      case 'wait':
      case 'timed wait':
        actor.expect = value;
        if (operation === 'timed wait') actor.timeoutMs = 1;
        found = yield waiting(cell);
        break;
      case 'notify one':
        yield notifying(cell);
        found = mem.notify(cell, 1);
        break;
      case 'notify all':
        yield notifying(cell);
        found = mem.notify(cell);
        break;
      case 'choose':
        found = yield choosing(2 + (value & 1));
        break;
      case 'peek':
        yield stepping();
        found = mem.load(cell) + mem.load((cell + CELL_BYTES) % (2 * CELL_BYTES));
        break;
    }
    seen = (seen * 5 + found) | 0;
    mem.store(RESULTS + 4 * index, seen);
  }
}

/** All that can be told of how an execution has ended: the memory with what each actor has seen. */
export function imageOf(mem: Mem, { bytes }: Program): string {
  return [...mem.i32.subarray(0, bytes / 4)]
    .filter((_, i) => i >= RESULTS / 4 || (i * 4) % CELL_BYTES === 0)
    .join();
}
