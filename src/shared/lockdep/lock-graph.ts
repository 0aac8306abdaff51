/**
 * The order graph: which classes have been waited for while which were held, and where that was seen first. Grows, and
 * says with each new edge whether it closes a circle that can deadlock.
 *
 * Classes are known by their names here, so that graphs of several threads, machines or campaigns can be merged.
 */
import { type EdgeKinds, EN, ER, SN, SR } from './dependency.ts';

/** One kind of an edge as it was seen first. Plain data: it crosses threads and goes into files. */
export interface SeenEdge {
  readonly from: string;
  readonly to: string;
  /** Exactly one of SR, ER, SN, EN. */
  readonly kind: EdgeKinds;
  /** Nothing was taken between the two. */
  readonly direct: boolean;
  /** Who. */
  readonly actor: string;
  /** Where `from` was taken and `to` was waited for: frames, innermost first, one a line. */
  readonly heldAt: string;
  readonly takenAt: string;
}

export interface LockEdge {
  readonly from: string;
  readonly to: string;
  readonly kinds: EdgeKinds;
  readonly direct: boolean;
  /** One for each kind. */
  readonly seen: readonly SeenEdge[];
}

/** A circle of edges that can deadlock: each ends where the next begins. */
export interface LockCycle {
  /** Equal for the same classes, wherever the circle is entered. */
  readonly key: string;
  readonly edges: readonly SeenEdge[];
}

/** What {@link LockGraph.add} has learned. */
export interface Learned {
  readonly isNew: boolean;
  /** Found now, and not before. */
  readonly cycle: LockCycle | null;
}

interface Edge extends LockEdge {
  kinds: EdgeKinds;
  direct: boolean;
  readonly seen: SeenEdge[];
}

const KNOWN: Learned = { isNew: false, cycle: null };

export class LockGraph {
  /** from → to → edge. */
  readonly #edges = new Map<string, Map<string, Edge>>();
  readonly #cycles = new Map<string, LockCycle>();

  /** In the order in which they were first seen. */
  get edges(): readonly LockEdge[] {
    return [...this.#edges.values()].flatMap((targets) => [...targets.values()]);
  }

  get cycles(): readonly LockCycle[] {
    return [...this.#cycles.values()];
  }

  edge(from: string, to: string): LockEdge | null {
    return this.#edges.get(from)?.get(to) ?? null;
  }

  add(seen: SeenEdge): Learned {
    const targets = this.#edges.get(seen.from) ?? new Map<string, Edge>();
    this.#edges.set(seen.from, targets);
    const edge = targets.get(seen.to);
    if (edge === undefined) {
      targets.set(seen.to, {
        from: seen.from,
        to: seen.to,
        kinds: seen.kind,
        direct: seen.direct,
        seen: [seen],
      });
    } else if ((edge.kinds & seen.kind) === 0) {
      edge.kinds |= seen.kind;
      edge.direct ||= seen.direct;
      edge.seen.push(seen);
    } else if (seen.direct && !edge.direct) {
      edge.direct = true;
      return { isNew: true, cycle: null };
    } else {
      return KNOWN;
    }
    return { isNew: true, cycle: this.#newCycle(seen) };
  }

  /** Takes everything that another graph has seen. @returns the circles that only both together have */
  merge(other: LockGraph): LockCycle[] {
    const cycles: LockCycle[] = [];
    for (const { seen } of other.edges) {
      for (const one of seen) {
        const { cycle } = this.add(one);
        if (cycle !== null) cycles.push(cycle);
      }
    }
    return cycles;
  }

  #newCycle(closing: SeenEdge): LockCycle | null {
    const path = this.#strongPath(closing);
    if (path === null) return null;
    const edges = [closing, ...path];
    const key = cycleKey(edges);
    if (this.#cycles.has(key)) return null;
    const cycle = { key, edges };
    this.#cycles.set(key, cycle);
    return cycle;
  }

  /**
   * The shortest path from where `closing` ends to where it begins that makes a strong circle with it; empty for an
   * edge from a class to itself.
   *
   * Breadth first over (class, how one arrives there). Whoever arrives recursively goes on by edges that begin
   * exclusively; arriving otherwise is never worse, so it is taken wherever an edge has it.
   */
  #strongPath(closing: SeenEdge): SeenEdge[] | null {
    const recursive = (closing.kind & (SR | ER)) !== 0;
    const exclusive = (closing.kind & (ER | EN)) !== 0;
    if (closing.from === closing.to) return recursive && !exclusive ? null : [];
    interface Place {
      readonly at: string;
      readonly recursive: boolean;
      readonly by: SeenEdge | null;
      readonly before: Place | null;
    }
    const start: Place = { at: closing.to, recursive, by: null, before: null };
    const visited = new Set([`${start.at} ${recursive}`]);
    const queue = [start];
    for (const place of queue) {
      for (const edge of this.#edges.get(place.at)?.values() ?? []) {
        const usable = place.recursive ? edge.kinds & (ER | EN) : edge.kinds;
        if (usable === 0) continue;
        const kind = (usable & (SN | EN)) !== 0 ? usable & (SN | EN) : usable;
        const arrives = (kind & (SN | EN)) === 0;
        const seen = edge.seen.find((one) => (one.kind & kind) !== 0)!;
        const next: Place = { at: edge.to, recursive: arrives, by: seen, before: place };
        if (edge.to === closing.from && (!arrives || exclusive)) return stepsTo(next);
        const mark = `${next.at} ${arrives}`;
        if (visited.has(mark)) continue;
        visited.add(mark);
        queue.push(next);
      }
    }
    return null;

    function stepsTo(end: Place): SeenEdge[] {
      const steps: SeenEdge[] = [];
      for (let place: Place | null = end; place?.by != null; place = place.before) steps.unshift(place.by);
      return steps;
    }
  }
}

/** The classes of a circle, beginning with the alphabetically first. */
function cycleKey(edges: readonly SeenEdge[]): string {
  const names = edges.map(({ from }) => from);
  const first = names.indexOf([...names].sort()[0]!);
  return [...names.slice(first), ...names.slice(0, first)].join(' → ');
}
