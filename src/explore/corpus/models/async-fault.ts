/**
 * An asynchronous page fault: a worker brings the page in for a vCPU, and tells it. The vCPU may be gone by then.
 *
 * @source virt/kvm/async_pf.c: async_pf_execute, kvm_clear_async_pf_completion_queue; commit "KVM: Always flush async #PF
 *         workqueue when vCPU is being destroyed"
 */
import type { Vm } from '../../../actors/mmu/vm.ts';
import { BUG_ASYNC_NO_FLUSH } from '../../../shared/quirks.ts';
import { i32, struct } from '../../../shared/struct.ts';
import type { Actor } from '../../../shared/sync/actor.ts';
import {
  notifying,
  type Path,
  reading,
  stepping,
  updating,
  waiting,
  writing,
} from '../../../shared/sync/point.ts';
import { wordsOf } from './cells.ts';

const IDLE = 0;
const QUEUED = 1;
/** Off the queue, in the worker's hands. */
const RUNNING = 2;
/** No more of it: the worker ends. */
const CLOSED = 3;

const ASYNC = struct('async-fault', {
  WORK: i32('vCPU, worker, destroyer (cas)', 'IDLE | QUEUED | RUNNING | CLOSED'),
  GONE: i32('who destroys the vCPU', '1: its memory is freed'),
  READY: i32('worker', 'pages that have come for it'),
});

const word = wordsOf(ASYNC);

function* move(vm: Vm, from: number, to: number): Path<boolean> {
  const work = word(vm, 'WORK');
  yield updating(work);
  if (vm.mem.cas(work, from, to) !== from) return false;
  yield notifying(work);
  vm.mem.notify(work);
  return true;
}

/** The vCPU faults: the page is asked for, and the guest goes on with something else. */
export function* queueFault(vm: Vm): Path<void> {
  yield* move(vm, IDLE, QUEUED);
}

/** Destroys the vCPU after what it has queued is cancelled or done. */
export function* destroyVcpu(actor: Actor, vm: Vm): Path<void> {
  const { mem } = vm;
  const work = word(vm, 'WORK');
  const cancelled = yield* move(vm, QUEUED, IDLE);
  // An empty queue says nothing about the worker.
  while (!cancelled && !vm.quirk(BUG_ASYNC_NO_FLUSH)) {
    yield reading(work);
    const seen = mem.load(work);
    if (seen === IDLE) break;
    actor.expect = seen;
    yield waiting(work);
  }
  yield writing(word(vm, 'GONE'));
  mem.store(word(vm, 'GONE'), 1);
  yield writing(work);
  mem.store(work, CLOSED);
  yield notifying(work);
  mem.notify(work);
}

/** The worker, until its queue is closed. */
export function* worker(actor: Actor, vm: Vm): Path<void> {
  const { mem } = vm;
  const work = word(vm, 'WORK');
  for (;;) {
    yield reading(work);
    const seen = mem.load(work);
    if (seen === CLOSED) return;
    if (seen !== QUEUED || !(yield* move(vm, QUEUED, RUNNING))) {
      actor.expect = seen;
      yield waiting(work);
      continue;
    }
    yield stepping();
    yield updating(word(vm, 'READY'));
    if (mem.load(word(vm, 'GONE')) !== 0) {
      vm.onFinding({
        id: 'I12',
        detail: 'the worker tells a vCPU that has been destroyed that its page is there',
      });
    }
    mem.add(word(vm, 'READY'), 1);
    yield* move(vm, RUNNING, IDLE);
  }
}
