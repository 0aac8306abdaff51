/** Edges and circles as text for people. */
import { EN, ER, kindNames } from './dependency.ts';
import type { LockCycle, SeenEdge } from './lock-graph.ts';

/** `mmu_lock → access_tree_lock → mmu_lock`. */
export function cycleText({ edges }: LockCycle): string {
  return [...edges.map(({ from }) => from), edges[0]!.from].join(' → ');
}

/** Each edge of a circle, with both places. */
export function cycleLines({ edges }: LockCycle): string[] {
  return edges.flatMap((edge) => edgeLines(edge));
}

/** One edge, with both places: where the first was taken, and where the second was waited for. */
export function edgeLines({ from, to, kind, actor, heldAt, takenAt }: SeenEdge): string[] {
  const held = (kind & (ER | EN)) !== 0 ? '' : ' (shared)';
  return [
    `${actor}: ${from}${held} → ${to}  [${kindNames(kind)}]`,
    ...frames(`has ${from} since`, heldAt),
    ...frames(`waits for ${to} at`, takenAt),
  ];
}

function frames(title: string, stack: string): string[] {
  if (stack === '') return [];
  return [`  ${title}`, ...stack.split('\n').map((frame) => `    ${frame}`)];
}
