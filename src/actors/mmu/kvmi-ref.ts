/**
 * kvmi_get and kvmi_put: who may use the introspection block.
 *
 * Users are gated by the count, never by the pointer. The last put only signals; it may run anywhere (L6, RC-30).
 *
 * @source virt/kvm/introspection/kvmi.c: kvmi_get, kvmi_put
 */
import type { Actor } from '../../shared/sync/actor.ts';
import { complete } from '../../shared/sync/completion.ts';
import { type Path, reading, updating } from '../../shared/sync/point.ts';
import type { Vm } from './vm.ts';

/** Takes a reference unless the count is 0 ("not introspected"). */
export function* kvmiGet(actor: Actor, vm: Vm): Path<boolean> {
  const word = vm.word('KVMI_REF');
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

/** Gives the reference back; whoever reaches 0 signals the completion and does nothing else. */
export function* kvmiPut(actor: Actor, vm: Vm): Path<void> {
  const word = vm.word('KVMI_REF');
  actor.referenced(-1);
  actor.checks?.beginSignal('the last put of a KVMI reference');
  yield updating(word);
  if (vm.mem.add(word, -1) === 1) yield* complete(actor, vm.kvmiComplete);
  actor.checks?.endSignal();
}
