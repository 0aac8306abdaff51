/** The order as data: what spec section 10 lists, and what every lock record promises. */
import test from 'ava';
import { COMPLETION } from '../../../src/shared/sync/completion.ts';
import { LOCK_BYTES, LOCK_CLASSES, NO_RANK } from '../../../src/shared/sync/lock-class.ts';
import { MUTEX } from '../../../src/shared/sync/mutex.ts';
import { RWLOCK } from '../../../src/shared/sync/rw-lock.ts';
import { SPINLOCK } from '../../../src/shared/sync/spinlock.ts';
import { SRCU } from '../../../src/shared/sync/srcu.ts';
import { WAIT_QUEUE } from '../../../src/shared/sync/wait-queue.ts';

const named = (...names: string[]) => LOCK_CLASSES.filter((cls) => names.includes(cls.name));

test('classes are numbered by their place in the list and named once', (t) => {
  for (const [index, cls] of LOCK_CLASSES.entries()) t.is(cls.id, index);
  t.is(new Set(LOCK_CLASSES.map((cls) => cls.name)).size, LOCK_CLASSES.length);
});

test('the acquisition order is the model’s', (t) => {
  const order = LOCK_CLASSES.filter((cls) => cls.rank !== NO_RANK).toSorted((a, b) => a.rank - b.rank);
  t.deepEqual(
    order.map((cls) => cls.name),
    [
      'kvm.lock',
      'vcpu.mutex',
      'kvmi_lock',
      'slots_lock',
      'slots_arch_lock',
      'mmu_lock',
      'access_tree_lock',
      'mn_invalidate_lock',
      'tdp_mmu_pages_lock',
      'mmu_unsync_pages_lock',
      'split_lock',
      'job_lock',
      'connection_lock',
      'board_lock',
    ],
  );
  // Never together, whatever comes first.
  for (const pair of [
    ['kvmi_lock', 'slots_lock'],
    ['access_tree_lock', 'mn_invalidate_lock', 'tdp_mmu_pages_lock', 'mmu_unsync_pages_lock'],
    ['job_lock', 'connection_lock'],
  ]) {
    t.is(new Set(named(...pair).map((cls) => cls.rank)).size, 1, pair.join());
  }
});

test('holders of spinning locks may not sleep, all others may', (t) => {
  for (const { name, kind, sleep } of LOCK_CLASSES) {
    // A vCPU in guest mode is what flushes wait for under mmu_lock.
    if (kind !== 'event') t.is(sleep, kind !== 'spinlock' && kind !== 'rwlock', name);
    else t.is(sleep, name !== 'request acknowledgement', name);
  }
});

test('srcu, completions and events have no rank', (t) => {
  for (const { name, kind, rank } of LOCK_CLASSES) {
    t.is(rank === NO_RANK, ['srcu', 'completion', 'event'].includes(kind), name);
  }
});

test('every lock is one cache line', (t) => {
  for (const record of [SPINLOCK, MUTEX, RWLOCK, SRCU, COMPLETION, WAIT_QUEUE]) {
    t.is(record.bytes, LOCK_BYTES, record.name);
  }
});
