/**
 * The shapes of the kernel's own self-test of lockdep, as far as our locks have them: AA to ABCD, mixed readers and
 * writers, recursive readers, wait contexts.
 *
 * @source linux lib/locking-selftest.c
 */
import test from 'ava';
import { LockValidator } from '../../../src/shared/lockdep/validator.ts';
import { LockChecks, type LockFinding } from '../../../src/shared/sync/checks.ts';
import { type LockClass, type LockMode, NO_RANK, nestedClass } from '../../../src/shared/sync/lock-class.ts';

/** Locks that are no locks of the machine: without ranks, so that only the graph has an opinion. */
type Kind = 'spinlock' | 'fair rwlock' | 'unfair rwlock' | 'mutex' | 'srcu';

function classOf(kind: Kind, id: number, name: string): LockClass {
  const lockKind = kind === 'fair rwlock' || kind === 'unfair rwlock' ? 'rwlock' : kind;
  return {
    id,
    subclass: 0,
    name,
    rank: NO_RANK,
    kind: lockKind,
    sleep: kind === 'mutex' || kind === 'srcu',
    waits: kind === 'mutex' ? 'sleeps' : kind === 'srcu' ? 'never' : 'spins',
    fair: kind !== 'unfair rwlock' && kind !== 'srcu',
  };
}

/** One actor after the other takes locks, each sequence to its end; what the validator has to say about it. */
class Bench {
  readonly validator = new LockValidator({ order: null });
  readonly findings: LockFinding[] = [];
  readonly #classes = new Map<string, LockClass>();
  readonly #kind: (name: string) => Kind;
  #actors = 0;

  constructor(kind: Kind | ((name: string) => Kind)) {
    this.#kind = typeof kind === 'function' ? kind : () => kind;
  }

  get deadlocks(): string[] {
    return this.findings.filter(({ rule }) => rule === 'CYCLE').map(({ message }) => message);
  }

  /**
   * `wA rB`: a new actor takes A for write, then B for read, then releases both. `A2`: another lock of A's class;
   * `A/1` one of its subclass; `tA`: a try; `sA`: a grace period; `-A`: released here and not at the end.
   */
  actor(text: string): this {
    this.#actors += 1;
    const checks = new LockChecks({
      actor: `actor ${this.#actors}`,
      onFinding: (f) => this.findings.push(f),
      validator: this.validator,
    });
    const held: { name: string; cls: LockClass; addr: number; mode: LockMode }[] = [];
    const release = ({ cls, addr, mode }: (typeof held)[number]) => checks.releasing(cls, addr, mode, 0);
    for (const word of text.split(' ')) {
      const name = word.slice(1);
      if (word.startsWith('-')) {
        release(
          held.splice(
            held.findIndex((own) => own.name === name),
            1,
          )[0]!,
        );
        continue;
      }
      const cls = this.#class(name);
      const addr = 64 * (name.charCodeAt(0) * 8 + Number(/\d$/.exec(name)?.[0] ?? 0));
      if (word.startsWith('s')) {
        checks.synchronizing(cls, addr);
        checks.awaited();
        continue;
      }
      const mode = word.startsWith('r') ? 'read' : 'write';
      if (!word.startsWith('t')) checks.acquiring(cls, addr, mode);
      checks.acquired(cls, addr, mode, 0);
      held.push({ name, cls, addr, mode });
    }
    for (const own of held.reverse()) release(own);
    return this;
  }

  #class(name: string): LockClass {
    const letter = name[0]!;
    let cls = this.#classes.get(letter);
    if (cls === undefined) {
      cls = classOf(this.#kind(letter), 20 + this.#classes.size, letter);
      this.#classes.set(letter, cls);
    }
    if (!name.includes('/')) return cls;
    const nested = this.#classes.get(name) ?? nestedClass(cls, Number(name.slice(2)));
    this.#classes.set(name, nested);
    return nested;
  }
}

/** The six kinds of locks of the self-test, with the letter that takes one. */
const LOCKS = [
  ['spinlock', 'w', true],
  ['unfair rwlock', 'w', true],
  ['unfair rwlock', 'r', false],
  ['mutex', 'w', true],
  ['fair rwlock', 'w', true],
  ['fair rwlock', 'r', true],
] as const;

for (const [kind, how, deadlocks] of LOCKS) {
  for (const shape of ['AB BA', 'AB BC CA', 'AB CA BC', 'AB BC CD DA', 'AB CD BD DA', 'AB CD BC DA']) {
    test(`${shape}, all ${kind} taken as ${how}: ${deadlocks ? 'a deadlock' : 'none'}`, (t) => {
      const bench = new Bench(kind);
      const actors = shape.split(' ').map((pair) => `${how}${pair[0]} ${how}${pair[1]}`);
      for (const [i, actor] of actors.entries()) {
        t.deepEqual(bench.deadlocks, [], `before actor ${i + 1}`);
        bench.actor(actor);
      }
      t.is(bench.deadlocks.length, deadlocks ? 1 : 0);
    });
  }

  test(`AA, ${kind} taken as ${how}: ${deadlocks ? 'a deadlock' : 'none'}`, (t) => {
    for (const again of ['A', 'A2']) {
      const bench = new Bench(kind).actor(`${how}A ${how}${again}`);
      t.is(bench.deadlocks.length, deadlocks ? 1 : 0, again);
    }
  });
}

for (const kind of ['fair rwlock', 'unfair rwlock'] as const) {
  test(`AA of a reader and a writer, ${kind}: a deadlock`, (t) => {
    for (const words of ['rA wA2', 'wA rA2']) t.is(new Bench(kind).actor(words).deadlocks.length, 1, words);
  });
}

// A is the rwlock, B something else: rlock_ABBA1 to 3 and their semaphore twins, and the one aimed at the chain cache.
for (const [words, unfair, fair] of [
  [['rA wB', 'wB wA'], true, true],
  [['rA wB', 'wB rA'], false, true],
  [['wA wB', 'wB wA'], true, true],
  [['rA wB', 'wB rA', 'wB wA'], true, true],
] as const) {
  test(`ABBA with a reader: ${words.join(', ')}`, (t) => {
    for (const [kind, expected] of [
      ['unfair rwlock', unfair],
      ['fair rwlock', fair],
    ] as const) {
      const bench = new Bench((name) => (name === 'A' ? kind : 'spinlock'));
      for (const actor of words) bench.actor(actor);
      t.is(bench.deadlocks.length, expected ? 1 : 0, kind);
    }
  });
}

/** Every order of three. */
const ORDERS = [
  [0, 1, 2],
  [0, 2, 1],
  [1, 0, 2],
  [1, 2, 0],
  [2, 0, 1],
  [2, 1, 0],
] as const;

for (const [name, words, expected] of [
  ['ER, ER, ER', ['wX rY', 'wY rZ', 'wZ rX'], true],
  ['EN, SR, ER', ['wX wY', 'rY rZ', 'wZ rX'], true],
  ['EN, SR, SN', ['wX wY', 'rY rZ', 'rZ wX'], false],
  ['ER, SR, EN', ['wX rY', 'rY rZ', 'wZ wX'], false],
] as const) {
  for (const order of ORDERS) {
    test(`recursive readers: ${name} in order ${order.map((i) => i + 1).join('')}`, (t) => {
      const bench = new Bench('unfair rwlock');
      for (const i of order) bench.actor(words[i]!);
      t.is(bench.deadlocks.length, expected ? 1 : 0);
    });
  }
}

// Wait contexts. Rows: what is held; what may be taken inside: srcu, spinlock, rwlock, mutex.
for (const [outer, inner] of [
  ['spinlock', 'ooox'],
  ['fair rwlock', 'ooox'],
  ['mutex', 'oooo'],
  ['srcu', 'oooo'],
] as const) {
  for (const [column, kind] of (['srcu', 'spinlock', 'fair rwlock', 'mutex'] as const).entries()) {
    const allowed = inner[column] === 'o';
    test(`wait context: ${kind} in ${outer}: ${allowed ? 'allowed' : 'not'}`, (t) => {
      const bench = new Bench((name) => (name === 'A' ? outer : kind));
      bench.actor(`${outer === 'srcu' ? 'rA' : 'wA'} ${kind === 'srcu' ? 'rB' : 'wB'}`);
      t.deepEqual(
        bench.findings.map(({ rule }) => rule),
        allowed ? [] : ['L2'],
      );
    });
  }
}

test('double unlock', (t) => {
  t.deepEqual(
    (() => {
      const findings: string[] = [];
      const checks = new LockChecks({ actor: 'one', onFinding: (f) => findings.push(f.rule) });
      const cls = classOf('mutex', 20, 'A');
      checks.acquiring(cls, 64, 'write');
      checks.acquired(cls, 64, 'write', 0);
      checks.releasing(cls, 64, 'write', 0);
      checks.releasing(cls, 64, 'write', 0);
      return findings;
    })(),
    ['UNHELD'],
  );
});

// What the kernel's self-test has no locks for.

test('a try waits for nobody: no edge to it, but one from it', (t) => {
  t.deepEqual(new Bench('mutex').actor('wA wB').actor('wB tA').deadlocks, []);
  t.is(new Bench('mutex').actor('tA wB').actor('wB wA').deadlocks.length, 1);
});

test('a grace period is waited for like a lock, and not held', (t) => {
  const kinds = (name: string): Kind => (name === 'S' ? 'srcu' : 'mutex');
  t.deepEqual(new Bench(kinds).actor('rS wA').actor('sS wA').deadlocks, []);
  t.deepEqual(new Bench(kinds).actor('rS wA').actor('wA sS').deadlocks, ['predicted deadlock: A → S → A']);
  t.is(new Bench(kinds).actor('rS sS').deadlocks.length, 1);
  // Readers of one domain in either order: nobody waits for a reader but the grace period.
  t.deepEqual(new Bench(kinds).actor('rS wA').actor('wA rS').deadlocks, []);
});

test('the ring of RC-64: three locks and a grace period, no two of them together', (t) => {
  const bench = new Bench((name) => (name === 'S' ? 'srcu' : 'mutex'));
  bench.actor('wA sS').actor('wB wC').actor('wC wA').actor('rS wB');
  t.deepEqual(bench.deadlocks, ['predicted deadlock: S → B → C → A → S']);
});

test('locks of one class that nest by design are of different subclasses', (t) => {
  t.is(new Bench('mutex').actor('wA wA2').deadlocks.length, 1);
  t.deepEqual(new Bench('mutex').actor('wA wA/1').deadlocks, []);
  t.is(new Bench('mutex').actor('wA wA/1').actor('wA/1 wA').deadlocks.length, 1);
});

test('released in any order: what is left is what is held', (t) => {
  const bench = new Bench('mutex').actor('wA wB -A wC -B wD');
  t.deepEqual(
    bench.validator.graph.edges.map(({ from, to }) => from + to),
    ['AB', 'BC', 'CD'],
  );
});

test('two locks held are two edges: a circle around a recursive reader between them is found', (t) => {
  const bench = new Bench((name) => (name === 'B' ? 'unfair rwlock' : 'mutex'));
  bench.actor('wA rB wC').actor('wC wA');
  t.deepEqual(bench.deadlocks, ['predicted deadlock: C → A → C']);
});

test('one finding a circle, however it is closed and by whom', (t) => {
  const bench = new Bench('mutex').actor('wA wB').actor('wB wA').actor('wC wB wA').actor('wA wB');
  t.is(bench.deadlocks.length, 1);
});

test('a chain that is known teaches nothing and costs no stack', (t) => {
  const bench = new Bench('mutex').actor('wA wB wC');
  const { chainCount } = bench.validator;
  for (let i = 0; i < 10; i++) bench.actor('wA wB wC');
  t.is(bench.validator.chainCount, chainCount);
  t.is(bench.validator.graph.edges.length, 3);
});
