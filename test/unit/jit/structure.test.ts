/** Nesting of control flow: every edge of a random graph can be written, and none twice. */
import test from 'ava';
import { type Node, structureOf } from '../../../src/actors/vcpu/jit/structure.ts';
import { Prng } from '../../../src/shared/prng.ts';

const GRAPHS = 400;

function randomGraph(prng: Prng): { entries: bigint[]; edges: Map<bigint, bigint[]> } {
  const count = 1 + prng.below(14);
  const node = (): bigint => BigInt(prng.below(count));
  const edges = new Map<bigint, bigint[]>();
  for (let at = 0; at < count; at++) {
    edges.set(BigInt(at), Array.from({ length: prng.below(4) }, node));
  }
  return { entries: [...new Set(Array.from({ length: 1 + prng.below(3) }, node))], edges };
}

/** What is open where a node's own code stands: heads of loops, and ends of blocks in front of merges. */
function nesting(root: Node): Map<Node, { heads: Set<Node>; ends: Set<Node>; parent: Node | null }> {
  const places = new Map<Node, { heads: Set<Node>; ends: Set<Node>; parent: Node | null }>();
  const visit = (
    node: Node,
    parent: Node | null,
    heads: ReadonlySet<Node>,
    ends: ReadonlySet<Node>,
  ): void => {
    const inside = new Set(heads);
    if (node.isLoop) inside.add(node);
    const merges = node.children.filter((child) => child.isMerge);
    // The last one in order is the outermost: the code of each stands behind the ends of those before it.
    for (const [index, merge] of merges.entries()) {
      visit(merge, node, inside, new Set([...ends, ...merges.slice(0, index)]));
    }
    const own = { heads: inside, ends: new Set([...ends, ...merges]), parent };
    places.set(node, own);
    for (const child of node.children) if (!child.isMerge) visit(child, node, own.heads, own.ends);
  };
  visit(root, null, new Set(), new Set());
  return places;
}

test(`every edge of ${GRAPHS} random graphs goes to an open label, by the root, or is written in place once`, (t) => {
  let byRoot = 0;
  let back = 0;
  for (let seed = 1; seed <= GRAPHS; seed++) {
    const graph = randomGraph(new Prng(BigInt(seed)));
    const structure = structureOf({ ...graph, comesBack: seed % 2 === 0 });
    const places = nesting(structure.root);
    const inPlace = new Map<Node, number>();
    for (const [rip, targets] of graph.edges) {
      const from = structure.nodes.get(rip)!;
      const place = places.get(from);
      // Nothing leads to it.
      if (place === undefined) continue;
      for (const target of targets) {
        const to = structure.nodes.get(target)!;
        const label = `SEED=${seed}: ${rip} to ${target}`;
        if (structure.goesByRoot(from, to)) {
          byRoot++;
          t.true(structure.root.isLoop && structure.entries.includes(target), label);
        } else if (to.order <= from.order) {
          back++;
          t.true(to.isLoop && place.heads.has(to), label);
        } else if (to.isMerge) t.true(place.ends.has(to), label);
        else {
          inPlace.set(to, (inPlace.get(to) ?? 0) + 1);
          t.is(places.get(to)!.parent, from, label);
        }
      }
    }
    t.true(
      [...inPlace.values()].every((count) => count === 1),
      `SEED=${seed}`,
    );
    // The root reaches its entries: all of them by labels, a single one in place.
    const entries = structure.entries.map((rip) => structure.nodes.get(rip)!);
    const ends = places.get(structure.root)!.ends;
    t.true(
      entries.length === 1 || entries.every((entry) => entry.isMerge && ends.has(entry)),
      `SEED=${seed}`,
    );
  }
  t.true(byRoot > GRAPHS / 10 && back > GRAPHS / 10, `${byRoot} edges by the root, ${back} back`);
});

test('a loop with one way in is a loop by itself, one with two goes by the root', (t) => {
  const edges = new Map([
    [1n, [2n]],
    [2n, [3n]],
    [3n, [2n]],
  ]);
  const plain = structureOf({ entries: [1n], edges, comesBack: false });
  t.deepEqual(plain.loops, [2n]);
  t.false(plain.root.isLoop);
  const twoWays = structureOf({ entries: [1n, 3n], edges, comesBack: false });
  t.true(twoWays.root.isLoop);
  t.true(twoWays.goesByRoot(twoWays.nodes.get(3n)!, twoWays.nodes.get(2n)!));
});
