/** The seeded scheduler of the larger tests: that its futexes are futexes, and that it says where it got stuck. */
import test from 'ava';
import { Mem } from '../../../src/shared/mem.ts';
import {
  notifying,
  type Path,
  reading,
  stepping,
  WAIT_CHANGED,
  WAIT_TIMED_OUT,
  WAIT_WOKEN,
  waiting,
  writing,
} from '../../../src/shared/sync/point.ts';
import { type Runner, together } from '../../support/together.ts';

const CELL = 0x40;
const SEEDS = Array.from({ length: 100 }, (_, seed) => seed);

const newMem = () => new Mem(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }));

function runner(name: string, body: (waiter: Runner['waiter']) => Path<unknown>): Runner {
  const waiter = { expect: 0, timeoutMs: Number.POSITIVE_INFINITY };
  return { name, waiter, path: body(waiter) };
}

/** Sleeps on CELL until woken, with nothing to look at. */
const sleeper = (name: string, answers: number[], timeoutMs = Number.POSITIVE_INFINITY): Runner =>
  runner(name, function* (waiter) {
    waiter.expect = 0;
    waiter.timeoutMs = timeoutMs;
    answers.push(yield waiting(CELL));
  });

const steps = (name: string, count: number, log: string[] = []): Runner =>
  runner(name, function* () {
    for (let i = 0; i < count; i++) {
      yield stepping();
      log.push(name);
    }
  });

function order(seed: number): string {
  const log: string[] = [];
  together([steps('a', 5, log), steps('b', 5, log), steps('c', 5, log)], { mem: newMem(), seed });
  return log.join('');
}

test('the seed decides the order, and nothing else does', (t) => {
  for (const seed of SEEDS) t.is(order(seed), order(seed));
  t.true(new Set(SEEDS.map(order)).size > SEEDS.length / 2);
});

test('a sleeper is woken, or finds its cell changed: both happen', (t) => {
  const seen = new Set<number>();
  for (const seed of SEEDS) {
    const mem = newMem();
    const answers: number[] = [];
    const waker = runner('waker', function* () {
      yield writing(CELL);
      mem.store(CELL, 1);
      yield notifying(CELL);
      mem.notify(CELL);
    });
    together([sleeper('sleeper', answers), waker], { mem, seed });
    for (const answer of answers) seen.add(answer);
  }
  t.deepEqual([...seen].toSorted(), [WAIT_WOKEN, WAIT_CHANGED]);
});

test('notify wakes as many as it is told: the other one of two sleeps for ever', (t) => {
  const wakesOnly = (count: number) => (seed: number) => {
    const mem = newMem();
    const waker = runner('waker', function* () {
      for (let asleep = 2; asleep > 0; ) {
        yield notifying(CELL);
        // Tries until both have been asleep at some time.
        asleep -= mem.notify(CELL, Math.min(asleep, count));
        if (count === 0) break;
      }
    });
    together([sleeper('one', []), sleeper('other', []), waker], { mem, seed });
  };
  for (const seed of SEEDS) t.notThrows(() => wakesOnly(1)(seed));
  t.throws(() => wakesOnly(0)(1), {
    message: /^deadlock after \d+ steps \(seed 1\): one: asleep at 0x40; other: asleep at 0x40; waker: done$/,
  });
});

test('a wait with a timeout ends when nobody wakes it, sometimes while others still run', (t) => {
  let early = 0;
  for (const seed of SEEDS) {
    const answers: number[] = [];
    const log: string[] = [];
    const late = runner('late', function* (waiter) {
      waiter.timeoutMs = 5;
      answers.push(yield waiting(CELL));
      log.push('timeout');
    });
    together([late, steps('busy', 50, log)], { mem: newMem(), seed });
    t.deepEqual(answers, [WAIT_TIMED_OUT]);
    if (log.at(-1) === 'busy') early++;
  }
  t.true(early > 0 && early < SEEDS.length);
});

test('servers that never end do not keep a run up', (t) => {
  const mem = newMem();
  const served: number[] = [];
  const server = { ...sleeper('server', served), background: true };
  t.notThrows(() => together([server, steps('client', 3)], { mem, seed: 1 }));
  t.deepEqual(served, []);
});

test('a run without end is cut off and says who was where', (t) => {
  const spin = runner('spinner', function* () {
    for (;;) yield reading(CELL);
  });
  t.throws(() => together([spin], { mem: newMem(), seed: 3, stepLimit: 100 }), {
    message: 'no end after 100 steps (seed 3): spinner: runnable',
  });
});

test('the memory has its own notify again, also after a deadlock', (t) => {
  const mem = newMem();
  t.throws(() => together([sleeper('one', [])], { mem, seed: 1 }));
  t.is(mem.notify, Mem.prototype.notify);
});
