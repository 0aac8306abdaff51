/**
 * The receiver loop: takes what vCPUs send, as long as there is anything, then waits for the bell without keeping the
 * thread's event loop from calls, timers and promises.
 *
 * @source virt/kvm/introspection/kvmi.c: kvmi_recv_thread
 */
import { AdaptiveSpin } from '../../shared/sync/adaptive-spin.ts';
import type { Vm } from '../mmu/vm.ts';

// LIMIT: messages in a row before the event loop gets its turn.
const BURST_MAX = 64;
/** Looks at the bell after the last message: about what a sleep and its wake-up cost both sides. */
const SPIN_NS_MAX = 50_000;

export interface ReceiverLoop {
  /** Takes one message; false when there was none. */
  take(): boolean;
  /** Looks whether the session has to be ended. */
  look(): void;
  over(): boolean;
}

/** Runs until `over`. Whoever makes it true rings the bell. */
export async function receive(vm: Vm, clock: () => number, loop: ReceiverLoop): Promise<void> {
  const { mem } = vm;
  const bell = vm.word('RECEIVER_BELL');
  const spin = new AdaptiveSpin(SPIN_NS_MAX);
  let burst = 0;
  /** When the last message was dealt with; 0 when the next one cannot be said to follow it. */
  let doneAt = 0;
  while (!loop.over()) {
    // ORDER: the bell before the rings. A message that comes after they were found empty changes the bell.
    const seen = mem.load(bell);
    loop.look();
    let took = false;
    while (burst < BURST_MAX && loop.take()) {
      if (!took && doneAt !== 0) spin.learn(clock() - doneAt);
      burst += 1;
      took = true;
    }
    if (burst >= BURST_MAX) {
      burst = 0;
      doneAt = 0;
      await turn();
      continue;
    }
    if (took) {
      doneAt = clock();
      // A vCPU that was just answered may raise its next event soon.
      for (let looks = 1; mem.load(bell) === seen && spin.again(looks, doneAt, clock); looks++);
    }
    if (mem.load(bell) !== seen) continue;
    burst = 0;
    const wait = Atomics.waitAsync(mem.i32, bell >>> 2, seen);
    if (wait.async) await wait.value;
  }
}

/** Lets everything that is ready in the event loop run once. */
function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
