/**
 * Making every vCPU stand still, outside guest mode and outside every section, so that the whole machine can be checked.
 *
 * A vCPU that waits for the introspector parks when its reply has come: whoever asks for quiescence must not hold
 * anything that the reply depends on.
 */
import { REQ_PARK } from '../../shared/layout/vcpu.ts';
import { STOP_NOW } from '../../shared/layout/vm.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import { WAIT_PARKED } from '../../shared/sync/lock-class.ts';
import { notifying, type Path, reading, waiting, writing } from '../../shared/sync/point.ts';
import { requestAll } from './requests.ts';
import type { Vm } from './vm.ts';

/** How often a waiter looks whether a vCPU has ended instead of parking. */
const LOOK_AGAIN_MS = 50;
const NS_PER_MS = 1e6;

/**
 * Parks all vCPUs, runs `body`, releases them.
 *
 * @param giveUpMs  by the actor's clock: how long those already parked wait for one that the introspector keeps
 * @returns         what `body` returned, or null: not everyone parked in time, or the machine was stopped meanwhile
 */
export function* whileParked<T>(
  actor: Actor,
  vm: Vm,
  body: () => Path<T>,
  giveUpMs = Number.POSITIVE_INFINITY,
): Path<T | null> {
  const { mem } = vm;
  const parked = vm.word('PARKED');
  const began = actor.clock();
  yield writing(vm.word('PARK'));
  mem.store(vm.word('PARK'), 1);
  yield* requestAll(actor, vm, { bits: REQ_PARK, wait: true, wakeup: true });
  let result: T | null = null;
  actor.awaiting(WAIT_PARKED);
  for (;;) {
    yield reading(parked);
    const count = mem.load(parked);
    if (mem.load(vm.word('STOP')) === STOP_NOW) break;
    if (count >= mem.load(vm.word('LIVE_VCPUS'))) {
      actor.awaited(WAIT_PARKED);
      result = yield* body();
      actor.awaiting(WAIT_PARKED);
      break;
    }
    if (actor.clock() - began > giveUpMs * NS_PER_MS) break;
    actor.expect = count;
    actor.timeoutMs = Math.min(LOOK_AGAIN_MS, giveUpMs);
    yield waiting(parked);
  }
  yield writing(vm.word('PARK'));
  mem.store(vm.word('PARK'), 0);
  yield notifying(vm.word('PARK'));
  mem.notify(vm.word('PARK'));
  for (;;) {
    yield reading(parked);
    const count = mem.load(parked);
    if (count === 0 || mem.load(vm.word('STOP')) === STOP_NOW) {
      actor.awaited(WAIT_PARKED);
      return result;
    }
    actor.expect = count;
    actor.timeoutMs = LOOK_AGAIN_MS;
    yield waiting(parked);
  }
}
