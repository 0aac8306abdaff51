/** The order graph of a run or of a scenario, ready to be shown: classes with their times, edges with their places, circles. */
import { SourceLines } from '../explore/finding/source-line.ts';
import { EN, eachKind, kindNames, RECURSIVE, SN } from '../shared/lockdep/dependency.ts';
import type { LockCycle, LockEdge, LockGraph, SeenEdge } from '../shared/lockdep/lock-graph.ts';
import { declares, LOCK_ORDER } from '../shared/lockdep/lock-order.ts';
import { LOCK_CLASSES, type LockClass } from '../shared/sync/lock-class.ts';
import type { LockTimes } from '../shared/sync/lock-times.ts';

export interface ShownClass extends Omit<LockTimes, 'name'> {
  readonly name: string;
  readonly kind: LockClass['kind'];
  /** Null for what has no place in the order. */
  readonly rank: number | null;
}

/** One kind of an edge. */
export interface ShownPlace {
  readonly kind: string;
  readonly actor: string;
  /** Frames, innermost first. */
  readonly heldAt: readonly string[];
  readonly takenAt: readonly string[];
}

export interface ShownEdge {
  readonly from: string;
  readonly to: string;
  /** Of SR, ER, SN, EN. */
  readonly kinds: readonly string[];
  /** Nothing was taken between the two. */
  readonly direct: boolean;
  /** False: entering an srcu section, which nobody waits for. */
  readonly waits: boolean;
  /** Does it follow from the declared order? */
  readonly declared: boolean;
  /** What the declared order says of it; null when it is not declared itself. */
  readonly why: string | null;
  readonly places: readonly ShownPlace[];
}

export interface ShownCycle {
  /** In the order of the circle. */
  readonly classes: readonly string[];
  readonly status: 'predicted' | 'realised';
  /** Of its edges: a schedule of a scenario that shows it, in words. Empty for a run. */
  readonly witnesses: readonly string[];
  /** Realised: who holds what and waits for what. */
  readonly details: readonly string[];
}

export interface ShownLockGraph {
  readonly title: string;
  /** Where the times come from: real time of a run, or steps of an exploration at 1000 ns each. */
  readonly clock: 'real' | 'virtual';
  readonly classes: readonly ShownClass[];
  readonly edges: readonly ShownEdge[];
  readonly cycles: readonly ShownCycle[];
}

export interface LockGraphSources {
  readonly title: string;
  readonly clock: 'real' | 'virtual';
  readonly graph: LockGraph;
  readonly times: readonly LockTimes[];
  readonly cycles: readonly (Omit<ShownCycle, 'classes'> & { readonly cycle: LockCycle })[];
}

export function shownLockGraph({ title, clock, graph, times, cycles }: LockGraphSources): ShownLockGraph {
  const edges = graph.edges;
  const lines = new SourceLines();
  const used = new Set([...edges.flatMap(({ from, to }) => [from, to]), ...times.map(({ name }) => name)]);
  const none = { acquisitions: 0, waits: 0, waitNs: 0, waitNsMax: 0, holdNs: 0, holdNsMax: 0 };
  return {
    title,
    clock,
    classes: LOCK_CLASSES.filter(({ name }) => used.has(name)).map((cls) => ({
      ...none,
      ...times.find(({ name }) => name === cls.name),
      name: cls.name,
      kind: cls.kind,
      rank: cls.rank < 0 ? null : cls.rank,
    })),
    edges: edges.map((edge) => shownEdge(edge, lines)),
    cycles: cycles.map(({ cycle, ...rest }) => ({
      classes: cycle.edges.map(({ from }) => from),
      ...rest,
    })),
  };
}

function shownEdge({ from, to, kinds, direct, seen }: LockEdge, lines: SourceLines): ShownEdge {
  const held = classNamed(from);
  const next = classNamed(to);
  const waits = next.kind !== 'srcu' || (kinds & (SN | EN)) !== 0;
  return {
    from,
    to,
    kinds: eachKind(kinds).map(kindNames),
    direct,
    waits,
    declared: declares(LOCK_ORDER, held, next, waits ? 0 : RECURSIVE),
    why: LOCK_ORDER.edges.find((edge) => edge.from.name === from && edge.to.name === to)?.why ?? null,
    places: seen.map((one) => shownPlace(one, lines)),
  };
}

function shownPlace({ kind, actor, heldAt, takenAt }: SeenEdge, lines: SourceLines): ShownPlace {
  return { kind: kindNames(kind), actor, heldAt: frames(heldAt, lines), takenAt: frames(takenAt, lines) };
}

/** Frames of the code that takes locks, not of what drives it, with their places in the sources. */
function frames(stack: string, lines: SourceLines): string[] {
  return stack.split('\n').flatMap((frame) => {
    const parts = /^(?:(.*?) )?\(?((?:file:\/\/)?\/.*):(\d+):(\d+)\)?$/.exec(frame);
    if (parts === null || DRIVERS.test(frame)) return [];
    const [, name = '', url, line, column] = parts;
    const place = lines.of({ url: url!, line: Number(line), column: Number(column), function: name });
    const file = place.file.slice(Math.max(0, place.file.lastIndexOf('/src/') + 1));
    return [place.function === '' ? `${file}:${place.line}` : `${place.function} (${file}:${place.line})`];
  });
}

/** Frames that say nothing of where a lock is taken. */
const DRIVERS =
  /node_modules|node:|\/(?:cli|explore\/(?:engine|explorer|lockdep|scenario\/scene|scenario\/machine|world\/world))|\/sync\/point/;

function classNamed(name: string): LockClass {
  const base = name.split('/')[0]!;
  return LOCK_CLASSES.find((cls) => cls.name === base)!;
}
