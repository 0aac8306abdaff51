/**
 * The receiver loop: takes what vCPUs send, as long as there is anything, then waits for the bell without keeping the
 * thread's event loop from calls, timers, sockets and promises.
 *
 * @source virt/kvm/introspection/kvmi.c: kvmi_recv_thread
 */
import { AdaptiveSpin } from '../../shared/sync/adaptive-spin.ts';
import type { Vm } from '../mmu/vm.ts';

// LIMIT: messages in a row before the event loop gets its turn.
const BURST_MAX = 64;
/** Looks at the bell after something that a vCPU may answer at once: about what a sleep and its wake-up cost both sides. */
const SPIN_NS_MAX = 50_000;

export interface ReceiverLoop {
  /** Takes one message; false when there was none. */
  take(): boolean;
  /** Looks whether the session has to be ended. */
  look(): void;
  /**
   * Have the messages just taken been answered, so that the next may come soon? Not where the answers come through the
   * event loop, which looking at the bell would only keep from its work; then {@link Receiver.soon} says when to look.
   */
  answered(): boolean;
  over(): boolean;
}

export class Receiver {
  readonly #vm: Vm;
  readonly #clock: () => number;
  readonly #loop: ReceiverLoop;
  readonly #bell: number;
  readonly #looks: number;
  readonly #spin = new AdaptiveSpin(SPIN_NS_MAX);
  #burst = 0;
  /** When vCPUs were last given what they may answer at once; 0 when the next message cannot be said to follow that. */
  #givenAt = 0;

  constructor(vm: Vm, clock: () => number, loop: ReceiverLoop) {
    this.#vm = vm;
    this.#clock = clock;
    this.#loop = loop;
    this.#bell = vm.word('RECEIVER_BELL');
    this.#looks = vm.word('RECEIVER_LOOKS');
  }

  /** Runs until `over`. Whoever makes it true rings the bell. */
  async run(): Promise<void> {
    const { mem } = this.#vm;
    while (!this.#loop.over()) {
      // ORDER: the bell before the rings. A message that comes after they were found empty changes the bell.
      const seen = mem.load(this.#bell);
      this.#loop.look();
      const took = this.#take();
      if (this.#burst >= BURST_MAX) {
        this.#burst = 0;
        this.#givenAt = 0;
        await turn();
        continue;
      }
      if (took && this.#loop.answered()) this.#lookFrom(seen);
      if (mem.load(this.#bell) !== seen) continue;
      this.#burst = 0;
      const wait = Atomics.waitAsync(mem.i32, this.#bell >>> 2, seen);
      if (wait.async) await wait.value;
    }
  }

  /**
   * vCPUs have been given something in a callback of the event loop: if they have lately been quick, looks for what they
   * send, and takes it. What comes later wakes `run`.
   */
  soon(): void {
    const seen = this.#vm.mem.load(this.#bell);
    this.#burst = 0;
    this.#take();
    this.#lookFrom(seen);
    if (this.#vm.mem.load(this.#bell) !== seen) this.#take();
  }

  #take(): boolean {
    let took = false;
    while (this.#burst < BURST_MAX && this.#loop.take()) {
      if (this.#givenAt !== 0) this.#spin.learn(this.#clock() - this.#givenAt);
      this.#givenAt = 0;
      this.#burst += 1;
      took = true;
    }
    return took;
  }

  /** Looks whether the bell changes, for as long as that is worth it. The caller looks once more. */
  #lookFrom(seen: number): void {
    const { mem } = this.#vm;
    this.#givenAt = this.#clock();
    if (this.#spin.ns === 0) return;
    mem.store(this.#looks, 1);
    for (
      let looks = 1;
      mem.load(this.#bell) === seen && this.#spin.again(looks, this.#givenAt, this.#clock);
      looks++
    );
    mem.store(this.#looks, 0);
  }
}

/** Lets everything that is ready in the event loop run once. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
