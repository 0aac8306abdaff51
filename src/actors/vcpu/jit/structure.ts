/**
 * Control flow as WebAssembly wants it: nested blocks and loops, jumps only out of the one and to the head of the other.
 *
 * The graph has one root, which chooses among the entries. An edge back to where its source is not dominated from, as in
 * a loop with two ways in, cannot be nested: it goes by the root, which may choose its target too. What is left is
 * nested by dominators.
 *
 * @source N. Ramsey, "Beyond Relooper", ICFP 2022, for the nesting by dominators
 */

/** One block of the region, or the root. */
export interface Node {
  /** The block's RIP, null for the root. */
  readonly rip: bigint | null;
  /** Place in reverse postorder; the root is 0. An edge to the same or a lower one goes back. */
  order: number;
  /** Something goes back to it. */
  isLoop: boolean;
  /** More than one edge comes forward to it, so that it stands behind a label. */
  isMerge: boolean;
  /** Nodes that it dominates immediately, the last in order first. */
  readonly children: Node[];
}

export interface Structure {
  readonly root: Node;
  readonly nodes: ReadonlyMap<bigint, Node>;
  /** What the root may choose, by number. */
  readonly entries: readonly bigint[];
  /** What control goes back to, at once or by the root. */
  readonly loops: readonly bigint[];
  /** Does the edge go by the root? */
  goesByRoot(from: Node, to: Node): boolean;
}

export interface Graph {
  readonly entries: readonly bigint[];
  /** Direct successors within the region, one for each edge. */
  readonly edges: ReadonlyMap<bigint, readonly bigint[]>;
  /** Can control come back to the root? Indirect branches do. */
  readonly comesBack: boolean;
}

interface Vertex extends Node {
  edges: Vertex[];
  readonly preds: Vertex[];
  /** Immediate dominator, by order. */
  dominator: number;
}

export function structureOf(graph: Graph): Structure {
  const root = vertex(null);
  const all = new Map([...graph.edges.keys()].map((rip) => [rip, vertex(rip)]));
  const at = (rip: bigint): Vertex => all.get(rip)!;
  const entries = new Set(graph.entries);
  const byRoot = new Set<string>();
  const backByRoot = new Set<bigint>();
  for (const [rip, targets] of graph.edges) at(rip).edges = targets.map(at);
  for (;;) {
    root.edges = [...entries].map(at);
    const order = number(root);
    dominate(order);
    const wrong = order.flatMap((from) =>
      from.edges
        .filter((to) => to.order <= from.order && !dominates(order, to, from))
        .map((to) => ({ from, to })),
    );
    if (wrong.length === 0) {
      nest(order, graph.comesBack || byRoot.size > 0);
      const goesByRoot = (from: Node, to: Node): boolean => byRoot.has(`${from.rip} ${to.rip}`);
      const loops = [...all].filter(([rip, { isLoop }]) => isLoop || backByRoot.has(rip)).map(([rip]) => rip);
      return { root, nodes: all, entries: [...entries], loops, goesByRoot };
    }
    for (const { from, to } of wrong) {
      from.edges = from.edges.filter((target) => target !== to);
      byRoot.add(`${from.rip} ${to.rip}`);
      backByRoot.add(to.rip!);
      entries.add(to.rip!);
    }
  }
}

function vertex(rip: bigint | null): Vertex {
  return { rip, order: -1, isLoop: false, isMerge: false, children: [], edges: [], preds: [], dominator: -1 };
}

/** Numbers what the root reaches, in reverse postorder, and says who precedes whom. */
function number(root: Vertex): Vertex[] {
  const seen = new Set<Vertex>([root]);
  const postorder: Vertex[] = [];
  const open: { of: Vertex; edge: number }[] = [{ of: root, edge: 0 }];
  for (let top = open.at(-1); top !== undefined; top = open.at(-1)) {
    const next = top.of.edges[top.edge++];
    if (next === undefined) {
      postorder.push(top.of);
      open.pop();
    } else if (!seen.has(next)) {
      seen.add(next);
      open.push({ of: next, edge: 0 });
    }
  }
  const order = postorder.reverse();
  for (const [index, each] of order.entries()) {
    each.order = index;
    each.preds.length = 0;
  }
  for (const each of order) for (const next of each.edges) next.preds.push(each);
  return order;
}

/** @source K. Cooper, T. Harvey, K. Kennedy, "A Simple, Fast Dominance Algorithm" */
function dominate(order: readonly Vertex[]): void {
  for (const each of order) each.dominator = each.order === 0 ? 0 : -1;
  const meet = (one: number, other: number): number => {
    let [a, b] = [one, other];
    while (a !== b) {
      while (a > b) a = order[a]!.dominator;
      while (b > a) b = order[b]!.dominator;
    }
    return a;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (const each of order.slice(1)) {
      let dominator = -1;
      for (const pred of each.preds) {
        if (pred.dominator < 0) continue;
        dominator = dominator < 0 ? pred.order : meet(dominator, pred.order);
      }
      if (dominator === each.dominator) continue;
      each.dominator = dominator;
      changed = true;
    }
  }
}

function dominates(order: readonly Vertex[], a: Vertex, b: Vertex): boolean {
  let at = b.order;
  while (at > a.order) at = order[at]!.dominator;
  return at === a.order;
}

function nest(order: readonly Vertex[], rootIsLoop: boolean): void {
  const root = order[0]!;
  const chosen = new Set(root.edges);
  for (const each of order) {
    const forward = each.preds.filter((pred) => pred.order < each.order).length;
    each.isLoop = each === root ? rootIsLoop : forward < each.preds.length;
    // The root chooses by a table of labels; with one entry there is nothing to choose.
    each.isMerge = forward > 1 || (chosen.has(each) && chosen.size > 1);
  }
  for (const each of order.slice(1).reverse()) order[each.dominator]!.children.push(each);
}
