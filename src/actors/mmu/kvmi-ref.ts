/**
 * kvmi_get and kvmi_put: who may use the introspection block.
 *
 * Users are gated by the count, never by the pointer. The last put only signals; it may run anywhere (L6, RC-30).
 *
 * @source virt/kvm/introspection/kvmi.c: kvmi_get, kvmi_put
 */
import { BUG_GET_PLAIN_INC, BUG_RELEASE_IN_PUT } from '../../shared/quirks.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import { complete } from '../../shared/sync/completion.ts';
import { type Path, reading, updating } from '../../shared/sync/point.ts';
import { writeLock, writeUnlock } from '../../shared/sync/rw-lock.ts';
import type { Vm } from './vm.ts';

/** Takes a reference unless the count is 0 ("not introspected"). */
export function* kvmiGet(actor: Actor, vm: Vm): Path<boolean> {
  const word = vm.word('KVMI_REF');
  if (vm.quirk(BUG_GET_PLAIN_INC)) return yield* getUnseen(actor, vm);
  yield reading(word);
  let seen = vm.mem.load(word);
  while (seen !== 0) {
    yield updating(word);
    const found = vm.mem.cas(word, seen, seen + 1);
    if (found === seen) {
      actor.referenced(1);
      return true;
    }
    seen = found;
  }
  return false;
}

/** RC-32: whatever the count is, one more. */
function* getUnseen(actor: Actor, vm: Vm): Path<boolean> {
  const word = vm.word('KVMI_REF');
  yield updating(word);
  if (vm.mem.add(word, 1) === 0 && vm.checked) {
    vm.onFinding({
      id: 'I12',
      detail: `${actor.name} takes a KVMI reference after the last one was given back`,
    });
  }
  actor.referenced(1);
  return true;
}

/** Gives the reference back; whoever reaches 0 signals the completion and does nothing else. */
export function* kvmiPut(actor: Actor, vm: Vm): Path<void> {
  const word = vm.word('KVMI_REF');
  actor.referenced(-1);
  actor.checks?.beginSignal('the last put of a KVMI reference');
  yield updating(word);
  if (vm.mem.add(word, -1) === 1) {
    if (vm.quirk(BUG_RELEASE_IN_PUT)) {
      // Where the tracking would be dropped.
      yield* writeLock(actor, vm.mmuLock);
      yield* writeUnlock(actor, vm.mmuLock);
    }
    yield* complete(actor, vm.kvmiComplete);
  }
  actor.checks?.endSignal();
}
