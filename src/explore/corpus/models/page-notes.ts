/**
 * A note that is made once: looked up by everybody, written by the first. A place where a reader of access_tree_lock
 * has to become its writer, which nothing of the machine has.
 *
 * @source linux Documentation/locking/lockdep-design.rst: neither the kernel's rwlock nor its rwsem can be upgraded
 */
import type { Vm } from '../../../actors/mmu/vm.ts';
import { BUG_RW_UPGRADE } from '../../../shared/quirks.ts';
import { i32, struct } from '../../../shared/struct.ts';
import type { Actor } from '../../../shared/sync/actor.ts';
import { type Path, reading, writing } from '../../../shared/sync/point.ts';
import { readLock, readUnlock, writeLock, writeUnlock } from '../../../shared/sync/rw-lock.ts';
import { wordsOf } from './cells.ts';

const NOTE = struct('page-note', {
  AUTHOR: i32('access_tree_lock', 'id of the actor that made the note; 0: there is none'),
});

const word = wordsOf(NOTE);

export function* makeNote(actor: Actor, vm: Vm): Path<void> {
  const { mem } = vm;
  const author = word(vm, 'AUTHOR');
  const upgrades = vm.quirk(BUG_RW_UPGRADE);
  yield* readLock(actor, vm.accessTreeLock);
  yield reading(author);
  if (mem.load(author) !== 0) {
    yield* readUnlock(actor, vm.accessTreeLock);
    return;
  }
  if (!upgrades) yield* readUnlock(actor, vm.accessTreeLock);
  yield* writeLock(actor, vm.accessTreeLock);
  yield writing(author);
  // Somebody may have come in between.
  if (mem.load(author) === 0) mem.store(author, actor.id);
  yield* writeUnlock(actor, vm.accessTreeLock);
  if (upgrades) yield* readUnlock(actor, vm.accessTreeLock);
}
