/** What `faultline locks` prints, from small graphs. */
import test from 'ava';
import { type ShownLockGraph, shownLockGraph } from '../../../src/report/lock-graph.ts';
import { lockGraphDot } from '../../../src/report/lock-graph-dot.ts';
import { lockGraphText } from '../../../src/report/lock-graph-text.ts';
import { EN, SN, SR } from '../../../src/shared/lockdep/dependency.ts';
import { LockGraph } from '../../../src/shared/lockdep/lock-graph.ts';

const STACK =
  'setGfnAccess (file:///somewhere/src/actors/mmu/gfn-access.ts:129:3)\nnext (node:internal/x:1:1)';
const edge = (from: string, to: string, kind: number, direct = true) => ({
  from,
  to,
  kind,
  direct,
  actor: 'receiver',
  heldAt: STACK,
  takenAt: STACK,
});

function shown(...edges: ReturnType<typeof edge>[]): ShownLockGraph {
  const graph = new LockGraph();
  for (const one of edges) graph.add(one);
  return shownLockGraph({
    title: 'a "test"',
    clock: 'virtual',
    graph,
    times: [
      {
        name: 'mmu_lock',
        acquisitions: 4,
        waits: 2,
        waitNs: 3000,
        waitNsMax: 2000,
        holdNs: 8000,
        holdNsMax: 5000,
      },
    ],
    cycles: graph.cycles.map((cycle) => ({
      cycle,
      status: 'predicted' as const,
      witnesses: ['in schedule 3'],
      details: [],
    })),
  });
}

const ORDERLY = [
  edge('kvm.srcu', 'mmu_lock', SN),
  edge('mmu_lock', 'access_tree_lock', EN),
  edge('kvm.srcu', 'access_tree_lock', SN, false),
  edge('kvm.srcu', 'track_srcu', SR),
];

test('text: classes with times, waits with places and reasons, no circle', (t) => {
  const text = lockGraphText(shown(...ORDERLY));
  t.regex(text, /mmu_lock +rwlock +4 +4 +2 +1\.50 µs +2\.00 µs +2\.00 µs +5\.00 µs/);
  t.regex(text, /kvm\.srcu → mmu_lock +SN\n +a slot is looked up/);
  t.regex(text, /setGfnAccess \(src\/actors\/mmu\/gfn-access\.ts:129\)/);
  t.notRegex(text, /node:internal/);
  t.regex(text, /sections entered, which nobody waits for\n {2}kvm\.srcu → track_srcu +SR/);
  t.regex(text, /with other locks in between\n {2}kvm\.srcu → access_tree_lock/);
  t.regex(text, /no circle/);
  t.notRegex(text, /NOT DECLARED/);
});

test('text: a circle is told with its witnesses, and what is not declared is marked', (t) => {
  const text = lockGraphText(
    shown(...ORDERLY, edge('access_tree_lock', 'event reply', EN), edge('event reply', 'mmu_lock', SN)),
  );
  t.regex(
    text,
    /predicted deadlock: event reply → mmu_lock → access_tree_lock → event reply\n {2}in schedule 3/,
  );
  t.regex(text, /access_tree_lock → event reply +EN\n +NOT DECLARED/);
});

test('dot: without a circle the order, and nothing that follows from it', (t) => {
  const dot = lockGraphDot(shown(...ORDERLY));
  t.regex(dot, /^digraph locks \{\n {2}label="a \\"test\\"";/);
  t.regex(dot, /"kvm\.srcu" -> "mmu_lock"/);
  t.regex(dot, /"mmu_lock" -> "access_tree_lock"/);
  t.notRegex(dot, /"kvm\.srcu" -> "access_tree_lock"/);
  t.notRegex(dot, /track_srcu/);
  t.notRegex(dot, /red/);
});

test('dot: with a circle that, in red, and nothing else', (t) => {
  const dot = lockGraphDot(shown(...ORDERLY, edge('access_tree_lock', 'mmu_lock', EN)));
  t.is(dot.match(/->/g)?.length, 2);
  t.is(dot.match(/color=red/g)?.length, 4);
  t.notRegex(dot, /kvm\.srcu/);
});

test('JSON has every edge with its frames', (t) => {
  const { edges } = JSON.parse(JSON.stringify(shown(...ORDERLY))) as ShownLockGraph;
  t.is(edges.length, ORDERLY.length);
  t.deepEqual(edges[0]!.kinds, ['SN']);
  t.deepEqual(edges[0]!.places[0]!.takenAt, ['setGfnAccess (src/actors/mmu/gfn-access.ts:129)']);
});
