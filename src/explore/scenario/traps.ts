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
const CHANCE =
  'take numbers from the Prng of the package with a fixed seed, or let the engine choose: yield choosing(ways)';
const TIMER =
  'actors wait for each other by futexes and locks; a wait may have a timeout, which the engine ends';

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
  const traps = new Traps(`scenario '${scenario}'`, TRAPS);
  try {
    const result = run();
    traps.check();
    return result;
  } catch (error) {
    throw traps.sprung ?? error;
  } finally {
    traps.remove();
  }
}

/** The same while a module is loaded: its constants must not depend on chance either. Timers are Node's affair then. */
export async function trappedLoading<T>(module: string, load: () => Promise<T>): Promise<T> {
  const traps = new Traps(
    `the scenario module '${module}'`,
    TRAPS.filter(({ remedy }) => remedy !== TIMER),
  );
  try {
    const result = await load();
    traps.check();
    return result;
  } catch (error) {
    throw traps.sprung ?? error;
  } finally {
    traps.remove();
  }
}

class Traps {
  sprung: SimError | null = null;
  readonly #who: string;
  readonly #undo: (() => void)[] = [];

  constructor(who: string, traps: readonly Trap[]) {
    this.#who = who;
    for (const { name, holder, key, remedy } of traps) {
      const own = Object.getOwnPropertyDescriptor(holder, key);
      const spring = () => this.#spring(name, remedy);
      // process.hrtime has a second form.
      const value = Object.assign(spring, { bigint: spring });
      Object.defineProperty(holder, key, { configurable: true, writable: true, value });
      this.#undo.push(() => {
        if (own === undefined) Reflect.deleteProperty(holder, key);
        else Object.defineProperty(holder, key, own);
      });
    }
    const RealDate = Date;
    globalThis.Date = new Proxy(RealDate, {
      construct: (target, words, newTarget) =>
        words.length === 0 ? this.#spring('new Date()', CLOCK) : Reflect.construct(target, words, newTarget),
      apply: () => this.#spring('Date()', CLOCK),
    });
    this.#undo.push(() => {
      globalThis.Date = RealDate;
    });
  }

  check(): void {
    if (this.sprung !== null) throw this.sprung;
  }

  remove(): void {
    for (const undo of this.#undo) undo();
  }

  #spring(name: string, remedy: string): never {
    const message = `${this.#who} uses ${name}${userLine(new Error().stack)}`;
    this.sprung ??= new SimError('SIM_SCENARIO', message, { hint: remedy });
    throw this.sprung;
  }
}

/** ` at file:line` of whoever called the trap. */
function userLine(stack = ''): string {
  const frame = stack.split('\n').find((line) => /^\s+at /.test(line) && !/[/\\]traps\.[jt]s:/.test(line));
  const place = /((?:file:)?\/?[^\s()]+:\d+):\d+\)?$/.exec(frame ?? '')?.[1];
  return place === undefined ? '' : ` at ${place}`;
}
