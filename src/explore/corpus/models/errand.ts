/** Somebody asks somebody else for something, and waits until it is done: tool and owner of the VM, outside of it. */
import type { Vm } from '../../../actors/mmu/vm.ts';
import { i32, struct } from '../../../shared/struct.ts';
import type { Actor } from '../../../shared/sync/actor.ts';
import { notifying, type Path, reading, waiting, writing } from '../../../shared/sync/point.ts';
import { wordsOf } from './cells.ts';

const ERRAND = struct('errand', {
  ASKED: i32('who asks', '1: asked for'),
  DONE: i32('who does it', '1: done'),
});

const word = wordsOf(ERRAND);

export function* say(vm: Vm, what: keyof typeof ERRAND.at): Path<void> {
  yield writing(word(vm, what));
  vm.mem.store(word(vm, what), 1);
  yield notifying(word(vm, what));
  vm.mem.notify(word(vm, what));
}

export function* hear(actor: Actor, vm: Vm, what: keyof typeof ERRAND.at): Path<void> {
  yield reading(word(vm, what));
  while (vm.mem.load(word(vm, what)) === 0) {
    actor.expect = 0;
    yield waiting(word(vm, what));
    yield reading(word(vm, what));
  }
}
