/**
 * An order graph as a drawing for Graphviz. With a circle: the circle, and nothing else. Without: the order, that is
 * each wait that does not follow from others. Who wants every edge takes JSON.
 */
import type { ShownCycle, ShownEdge, ShownLockGraph } from './lock-graph.ts';

const SHAPES: Readonly<Record<string, string>> = { srcu: 'ellipse', event: 'cds', completion: 'cds' };

export function lockGraphDot({ title, classes, edges, cycles }: ShownLockGraph): string {
  const steps = new Map(cycles.flatMap((cycle) => stepsOf(cycle)));
  const shown =
    cycles.length > 0
      ? edges.filter((edge) => steps.has(keyOf(edge.from, edge.to)))
      : reduced(edges.filter(({ waits }) => waits));
  const used = new Set(shown.flatMap(({ from, to }) => [from, to]));
  return [
    'digraph locks {',
    `  label=${quoted(title)};`,
    '  rankdir=TB; node [shape=box, fontname="sans-serif"]; edge [fontname="sans-serif", fontsize=10];',
    ...classes
      .filter(({ name }) => used.has(name))
      .map(({ name, kind }) => `  ${quoted(name)} [shape=${SHAPES[kind] ?? 'box'}];`),
    ...shown.map((edge) => `  ${drawn(edge, steps.get(keyOf(edge.from, edge.to)))}`),
    '}',
    '',
  ].join('\n');
}

function drawn(edge: ShownEdge, status: ShownCycle['status'] | undefined): string {
  const { from, to, kinds, places, declared } = edge;
  const at = places[0]?.takenAt[0];
  const label = [kinds.join(' '), ...(status === undefined ? [] : [places[0]?.actor ?? '', at ?? ''])];
  const style =
    status !== undefined
      ? `, color=red, fontcolor=red, penwidth=2${status === 'predicted' ? ', style=dashed' : ''}`
      : declared
        ? ''
        : ', color=orange';
  return `${quoted(from)} -> ${quoted(to)} [label=${quoted(label.join('\n'))}${style}];`;
}

/** Without the edges that follow from others: a → c where there are a → b and b → c. */
function reduced(edges: readonly ShownEdge[]): ShownEdge[] {
  const after = new Map<string, Set<string>>();
  for (const { from, to } of edges) after.set(from, (after.get(from) ?? new Set()).add(to));
  return edges.filter(
    ({ from, to }) =>
      ![...(after.get(from) ?? [])].some((by) => by !== to && by !== from && after.get(by)?.has(to) === true),
  );
}

function stepsOf({ classes, status }: ShownCycle): [string, ShownCycle['status']][] {
  return classes.map((from, i) => [keyOf(from, classes[(i + 1) % classes.length]!), status]);
}

function keyOf(from: string, to: string): string {
  return `${from} → ${to}`;
}

function quoted(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`;
}
