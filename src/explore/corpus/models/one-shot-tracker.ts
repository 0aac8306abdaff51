/**
 * A user of page tracking that wants to know of one access, and nothing after it.
 *
 * Dispatch, list and grace period are the machine's own.
 *
 * @source arch/x86/kvm/mmu/page_track.c: kvm_page_track_unregister_notifier waits for track_srcu, whose readers are the
 *         callbacks
 */
import {
  provideAccessCallbacks,
  registerNotifier,
  unregisterNotifier,
} from '../../../actors/mmu/page-track.ts';
import type { Vm } from '../../../actors/mmu/vm.ts';
import { NOTIFIER_ONE_SHOT } from '../../../shared/layout/access-tree.ts';
import { BUG_SYNC_IN_CALLBACK } from '../../../shared/quirks.ts';
import { i32, struct } from '../../../shared/struct.ts';
import type { Actor } from '../../../shared/sync/actor.ts';
import { notifying, type Path, reading, waiting, writing } from '../../../shared/sync/point.ts';
import type { World } from '../../world/world.ts';
import { wordsOf } from './cells.ts';

const TRACKER = struct('one-shot-tracker', {
  NODE: i32('who registers it', '1 + index of its notifier node'),
  SEEN: i32('the callback', '1: it has what it wanted'),
});

const word = wordsOf(TRACKER);

export function registerOneShot(world: World): void {
  const { vm, control } = world;
  const node = world.alone(registerNotifier(control, vm, NOTIFIER_ONE_SHOT));
  vm.mem.store(word(vm, 'NODE'), node + 1);
}

/** Waits for the access, then takes the node away. In the mistaken build the callback has done so. */
export function* unregisterAfterwards(actor: Actor, vm: Vm): Path<void> {
  const seen = word(vm, 'SEEN');
  yield reading(seen);
  while (vm.mem.load(seen) === 0) {
    actor.expect = 0;
    yield waiting(seen);
    yield reading(seen);
  }
  yield* unregisterNotifier(actor, vm, vm.mem.load(word(vm, 'NODE')) - 1);
}

provideAccessCallbacks(NOTIFIER_ONE_SHOT, {
  *before({ vm, actor }) {
    const { mem } = vm;
    if (vm.quirk(BUG_SYNC_IN_CALLBACK)) yield* unregisterNotifier(actor, vm, mem.load(word(vm, 'NODE')) - 1);
    yield writing(word(vm, 'SEEN'));
    mem.store(word(vm, 'SEEN'), 1);
    yield notifying(word(vm, 'SEEN'));
    mem.notify(word(vm, 'SEEN'));
    return true;
  },
});
