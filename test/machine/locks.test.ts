/** The order graph of whole machines: each thread learns for itself, the machine puts together what they learned. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import type { ShownLockGraph } from '../../src/report/lock-graph.ts';
import { boot, nextFact, support } from '../support/boot.ts';

const PAGE = 4096;
const CLI = fileURLToPath(new URL(`../../src/cli${import.meta.url.slice(-3)}`, import.meta.url));
const ACCESSES = [[{ kind: 'read', gpa: 6 * PAGE, size: 8 } as const]];

/** `faultline locks …` to its end. */
function locks(...words: string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [CLI, 'locks', ...words],
      { maxBuffer: 2 ** 26 },
      (_e, out, err) => resolve({ code: child.exitCode ?? -1, out, err }),
    );
  });
}

test.serial('two threads whose lock orders make a circle only together: predicted, with both', async (t) => {
  const machine = await boot(t, {
    accesses: ACCESSES,
    endless: true,
    lockdep: true,
    script: { module: new URL(support('wrong-order')) },
  });
  // In the introspector's thread: mmu_lock, then access_tree_lock.
  await machine.introspector.setPageAccess([{ gpa: 5 * PAGE, access: 'r--' }]);
  t.deepEqual(machine.lockGraph.cycles, []);
  const found = nextFact(machine, 'finding', ({ id }) => id === 'I11/CYCLE');
  await machine.start();
  const { title } = await found;
  t.regex(title, /^predicted deadlock: (mmu_lock|access_tree_lock) → /);
  t.regex(title, /introspector: mmu_lock → access_tree_lock {2}\[EN\]/);
  t.regex(title, /control: access_tree_lock \(shared\) → mmu_lock {2}\[SN\]/);
  t.regex(title, /wrong-order/);
  const { findings, exitCode } = await machine.stop();
  t.is(findings.filter(({ id }) => id === 'I11/CYCLE').length, 1);
  t.is(exitCode, 1);
});

test.serial('without lockdep nothing is learned', async (t) => {
  const machine = await boot(t, { accesses: ACCESSES });
  await machine.start();
  await machine.ended;
  t.deepEqual(machine.lockGraph.edges, []);
});

test.serial(
  'locks of a storm: JSON with classes, edges of several threads, no circle; exit code 0',
  async (t) => {
    const { code, out, err } = await locks('--run', '--seconds', '1', '--format', 'json');
    t.is(code, 0, err);
    const graph = JSON.parse(out) as ShownLockGraph;
    t.is(graph.clock, 'real');
    t.deepEqual(graph.cycles, []);
    t.true(graph.edges.every(({ declared }) => declared));
    const actors = new Set(graph.edges.flatMap(({ places }) => places.map(({ actor }) => actor)));
    t.true(actors.has('control') && actors.has('introspector') && actors.has('vcpu 0'), [...actors].join());
    for (const [from, to] of [
      ['kvm.srcu', 'mmu_lock'],
      ['mmu_lock', 'access_tree_lock'],
      ['slots_lock', 'kvm.srcu'],
      ['kvmi_complete', 'event reply'],
    ]) {
      t.true(
        graph.edges.some((edge) => edge.from === from && edge.to === to),
        `${from} → ${to}`,
      );
    }
    const reply = graph.classes.find(({ name }) => name === 'event reply');
    t.true(reply !== undefined && reply.waits > 0 && reply.waitNs > 0);
  },
);

test.serial(
  'locks of a scenario with a mistake: the circle, realised, in red and alone; exit code 1',
  async (t) => {
    const words = ['--bug', 'eventUnderTreeLock', '--schedules', '10', '--realise', '300'];
    const { code, out, err } = await locks(...words, '--format', 'dot');
    t.is(code, 1, err);
    t.regex(out, /"access_tree_lock" -> "event reply" \[label=.*color=red/);
    t.notRegex(out, /slots_lock/);
    const text = await locks(...words);
    t.regex(text.out, /realised deadlock: .*access_tree_lock/);
  },
);

test.serial('bad usage of locks: one line that says what, exit code 2', async (t) => {
  const { code, out, err } = await locks('--format', 'svg');
  t.deepEqual([code, out], [2, '']);
  t.regex(err, /^SIM_USAGE: --format: there is no format 'svg'\n {2}hint: /);
});
