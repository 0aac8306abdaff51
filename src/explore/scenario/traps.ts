/**
 * What a scenario must not use, because no schedule could repeat it: the clock, chance, timers. While a scenario is
 * executed, each of them throws and is remembered.
 */
import { SimError } from '../../shared/errors.ts';

interface Trap {
  /** As the user wrote it. */
  readonly name: string;
  readonly holder: object;
  readonly key: string;
  readonly remedy: string;
}

const CLOCK = 'an execution has its own time: nothing in it may depend on how fast the host is';
const CHANCE = 'take numbers from the Prng of the package with a fixed seed, or let the engine choose: yield choosing(ways)';
const TIMER = 'actors wait for each other by futexes and locks; a wait may have a timeout, which the engine ends';

const TRAPS: readonly Trap[] = [
  { name: 'Math.random', holder: Math, key: 'random', remedy: CHANCE },
  { name: 'crypto.getRandomValues', holder: globalThis.crypto, key: 'getRandomValues', remedy: CHANCE },
  { name: 'crypto.randomUUID', holder: globalThis.crypto, key: 'randomUUID', remedy: CHANCE },
  { name: 'Date.now', holder: Date, key: 'now', remedy: CLOCK },
  { name: 'performance.now', holder: globalThis.performance, key: 'now', remedy: CLOCK },
  { name: 'process.hrtime', holder: process, key: 'hrtime', remedy: CLOCK },
  { name: 'setTimeout', holder: globalThis, key: 'setTimeout', remedy: TIMER },
  { name: 'setInterval', holder: globalThis, key: 'setInterval', remedy: TIMER },
  { name: 'setImmediate', holder: globalThis, key: 'setImmediate', remedy: TIMER },
];

/**
 * Runs `run`, in which a scenario is executed.
 *
 * @throws SimError SIM_SCENARIO when it used one of them, whether or not it swallowed what it got for it
 */
export function trapped<T>(scenario: string, run: () => T): T {
  let sprung: SimError | null = null;
  const spring = (name: string, remedy: string): never => {
    sprung ??= new SimError('SIM_SCENARIO', `scenario '${scenario}' uses ${name}${userLine(new Error().stack)}`, {
      hint: remedy,
    });
    throw sprung;
  };
  const restore: (() => void)[] = [];
  for (const { name, holder, key, remedy } of TRAPS) {
    const own = Object.getOwnPropertyDescriptor(holder, key);
    Object.defineProperty(holder, key, { configurable: true, writable: true, value: () => spring(name, remedy) });
    restore.push(() => {
      if (own === undefined) Reflect.deleteProperty(holder, key);
      else Object.defineProperty(holder, key, own);
    });
  }
  const RealDate = Date;
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, words, newTarget) =>
      words.length === 0 ? spring('new Date()', CLOCK) : Reflect.construct(target, words, newTarget),
    apply: () => spring('Date()', CLOCK),
  });
  restore.push(() => {
    globalThis.Date = RealDate;
  });
  try {
    const result = run();
    if (sprung !== null) throw sprung;
    return result;
  } catch (error) {
    throw sprung ?? error;
  } finally {
    for (const undo of restore) undo();
  }
}

/** ` at file:line` of whoever called the trap. */
function userLine(stack = ''): string {
  const frame = stack.split('\n').find((line) => /^\s+at /.test(line) && !/[/\\]traps\.[jt]s:/.test(line));
  const place = /((?:file:)?\/?[^\s()]+:\d+):\d+\)?$/.exec(frame ?? '')?.[1];
  return place === undefined ? '' : ` at ${place}`;
}
