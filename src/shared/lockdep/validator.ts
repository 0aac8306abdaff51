/**
 * The lock validator: learns the order graph from what actors hold when they wait.
 *
 * What an actor holds is a *chain*: the classes it has taken, in order, each with the way it was taken. All chains seen
 * form a tree, and a held lock is a place in it. Whoever takes a lock goes to the child of the place it stands at; that
 * child exists if anybody has ever done this before, and then there is nothing to learn. So a warm acquisition is one
 * look at an array. Only a chain's first time costs: its stack is noted, and an edge added from each class held.
 *
 * The way a lock is taken is part of the chain. Otherwise a reader's chain would hide a writer's, which may deadlock
 * where the reader does not.
 *
 * One validator may serve many actors of one thread, and many runs. Plain memory.
 *
 * @source linux kernel/locking/lockdep.c: validate_chain, check_prevs_add, check_deadlock, __bfs
 */
import type { LockClass } from '../sync/lock-class.ts';
import { edgeKind, type How, isShared, RECURSIVE, UNAWAITED, useOf } from './dependency.ts';
import { type LockCycle, LockGraph, type SeenEdge } from './lock-graph.ts';
import { declares, LOCK_ORDER, type LockOrder } from './lock-order.ts';

/** A place in the tree of chains. */
export interface Chain {
  readonly before: Chain | null;
  /** What was taken last; null for the root, where nothing is held. */
  readonly cls: LockClass | null;
  readonly how: How;
  /** Where it was taken when this chain was first seen: frames, innermost first, one a line. */
  readonly stack: string;
  /** By {@link useOf}. */
  readonly next: (Chain | undefined)[];
}

/** What is wrong with something that was done for the first time. */
export type Discovery =
  | { readonly kind: 'cycle'; readonly cycle: LockCycle }
  /** In no circle, but in no declared order either. */
  | { readonly kind: 'undeclared'; readonly edge: SeenEdge };

export interface LockValidatorOptions {
  /** What edges are held against; null: whatever happens is right unless it can deadlock. Default: LOCK_ORDER. */
  readonly order?: LockOrder | null;
  /** Told of each edge when it is first seen. */
  readonly onEdge?: (edge: SeenEdge) => void;
}

export class LockValidator {
  readonly graph = new LockGraph();
  readonly root: Chain = { before: null, cls: null, how: 0, stack: '', next: [] };
  /** Told of each edge when it is first seen. */
  onEdge: ((edge: SeenEdge) => void) | null;
  readonly #order: LockOrder | null;
  #chainCount = 0;

  constructor({ order = LOCK_ORDER, onEdge }: LockValidatorOptions = {}) {
    this.#order = order;
    this.onEdge = onEdge ?? null;
  }

  /** Different chains seen. */
  get chainCount(): number {
    return this.#chainCount;
  }

  /**
   * The first time that `cls` is taken, or waited for, by one who stands at `chain`.
   *
   * @returns what is wrong with it; the place is `chain.next[useOf(cls, how)]` from now on
   */
  learn(chain: Chain, cls: LockClass, how: How, where: { actor: string; stack: string }): Discovery[] {
    this.#chainCount += 1;
    chain.next[useOf(cls, how)] = { before: chain, cls, how, stack: where.stack, next: [] };
    const discoveries: Discovery[] = [];
    // A try does not wait, and neither does one who begins to owe something.
    if ((how & UNAWAITED) !== 0) return discoveries;
    for (let held = chain; held.cls !== null && held.before !== null; held = held.before) {
      // Sections of one domain nest, and a reader that passes by waiting writers cannot wait for itself.
      if (held.cls === cls && how === RECURSIVE && isShared(held.how)) continue;
      const edge: SeenEdge = {
        from: held.cls.name,
        to: cls.name,
        kind: edgeKind(held.how, how),
        direct: held === chain,
        actor: where.actor,
        heldAt: held.stack,
        takenAt: where.stack,
      };
      const known = this.graph.edge(edge.from, edge.to) !== null;
      const { isNew, cycle } = this.graph.add(edge);
      if (!isNew) continue;
      this.onEdge?.(edge);
      if (cycle !== null) discoveries.push({ kind: 'cycle', cycle });
      if (!known && this.#order !== null && !declares(this.#order, held.cls, cls, how)) {
        discoveries.push({ kind: 'undeclared', edge });
      }
    }
    return discoveries;
  }

  /** Where one stands who still has the last lock of `old`, and below it what `chain` says. */
  moved(chain: Chain, old: Chain): Chain {
    const use = useOf(old.cls!, old.how);
    const known = chain.next[use];
    if (known !== undefined) return known;
    // Nothing to learn: it was an edge of the chain with more in it.
    const fresh = { before: chain, cls: old.cls, how: old.how, stack: old.stack, next: [] };
    this.#chainCount += 1;
    chain.next[use] = fresh;
    return fresh;
  }
}
