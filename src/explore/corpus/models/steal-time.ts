/**
 * A guest's own TLB shootdown with the help of its host: a vCPU that the host says is not running gets no interrupt,
 * only a flag that makes the host flush for it before it runs again.
 *
 *   FLAGS   1: FLUSH_TLB (the guest asks)   0: PREEMPTED (the host says)
 *
 * @source arch/x86/kvm/x86.c: record_steal_time, kvm_steal_time_set_preempted; arch/x86/kernel/kvm.c: kvm_flush_tlb_multi
 */
import type { Vm } from '../../../actors/mmu/vm.ts';
import { BUG_FLUSH_FLAG_LOST, BUG_PREEMPTED_MID_INSN } from '../../../shared/quirks.ts';
import { i32, struct } from '../../../shared/struct.ts';
import type { Actor } from '../../../shared/sync/actor.ts';
import { notifying, type Path, reading, updating, waiting, writing } from '../../../shared/sync/point.ts';
import { wordsOf } from './cells.ts';

const PREEMPTED = 1;
const FLUSH_TLB = 2;

/** The interrupt that asks for a flush; 0: none. */
const ASKED = 1;
const DONE = 2;
/** The vCPU need not listen any more. */
const OVER = 3;

/** Frames of the guest. */
const FIRST = 1;
const SECOND = 2;

const STEAL = struct('steal-time', {
  FLAGS: i32('host (or, exchange), guest (cas)', 'st->preempted, see above'),
  PTE: i32('the guest', 'frame that the guest maps'),
  TLB: i32('the vCPU', 'frame that its TLB says; 0: nothing'),
  INTERRUPT: i32('the guest; the vCPU', '0 | ASKED | DONE | OVER'),
  REUSED: i32('the guest', '1: the first frame is somebody else’s now'),
});

const word = wordsOf(STEAL);

/** The vCPU has used the mapping already. */
export function mapFirst(vm: Vm): void {
  vm.mem.store(word(vm, 'PTE'), FIRST);
  vm.mem.store(word(vm, 'TLB'), FIRST);
}

/** The vCPU: stores through the mapping, each time as one instruction that the host emulates, and listens to the end. */
export function* storesBetweenSwitches(actor: Actor, vm: Vm, stores: number): Path<void> {
  const { mem } = vm;
  for (let store = 0; store < stores; store++) {
    yield* takeInterrupt(vm);
    if (!vm.quirk(BUG_PREEMPTED_MID_INSN)) yield* switchedOut(vm);
    const frame = yield* translate(vm);
    // Whoever is switched out here is in the middle of an instruction, and has its translation in hand.
    if (vm.quirk(BUG_PREEMPTED_MID_INSN)) yield* switchedOut(vm);
    yield writing(word(vm, 'REUSED'));
    if (frame === FIRST && mem.load(word(vm, 'REUSED')) !== 0) {
      vm.onFinding({
        id: 'I6',
        detail: 'a store through a translation that the guest had flushed everywhere',
      });
    }
  }
  const interrupt = word(vm, 'INTERRUPT');
  for (;;) {
    yield* takeInterrupt(vm);
    const seen = mem.load(interrupt);
    if (seen === OVER) return;
    actor.expect = seen;
    yield waiting(interrupt);
  }
}

function* translate(vm: Vm): Path<number> {
  const { mem } = vm;
  if (mem.load(word(vm, 'TLB')) === 0) {
    yield reading(word(vm, 'PTE'));
    mem.store(word(vm, 'TLB'), mem.load(word(vm, 'PTE')));
  }
  return mem.load(word(vm, 'TLB'));
}

/** The host takes the vCPU off its processor, and brings it back. */
function* switchedOut(vm: Vm): Path<void> {
  const { mem } = vm;
  const flags = word(vm, 'FLAGS');
  yield updating(flags);
  mem.or(flags, PREEMPTED);
  let found: number;
  if (vm.quirk(BUG_FLUSH_FLAG_LOST)) {
    // What the host keeps is a copy: looked at, cleared, and written back as a whole.
    yield reading(flags);
    found = mem.load(flags);
    yield writing(flags);
    mem.store(flags, 0);
  } else {
    yield updating(flags);
    found = mem.exchange(flags, 0);
  }
  if ((found & FLUSH_TLB) !== 0) mem.store(word(vm, 'TLB'), 0);
}

function* takeInterrupt(vm: Vm): Path<void> {
  const { mem } = vm;
  const interrupt = word(vm, 'INTERRUPT');
  yield reading(interrupt);
  if (mem.load(interrupt) !== ASKED) return;
  mem.store(word(vm, 'TLB'), 0);
  yield writing(interrupt);
  mem.store(interrupt, DONE);
  yield notifying(interrupt);
  mem.notify(interrupt);
}

/** The guest on another vCPU: maps the second frame, shoots the old translation down, and uses the first for others. */
export function* shootDown(actor: Actor, vm: Vm): Path<void> {
  const { mem } = vm;
  const interrupt = word(vm, 'INTERRUPT');
  yield writing(word(vm, 'PTE'));
  mem.store(word(vm, 'PTE'), SECOND);
  if (!(yield* leaveItToHost(vm))) {
    yield writing(interrupt);
    mem.store(interrupt, ASKED);
    yield notifying(interrupt);
    mem.notify(interrupt);
    for (;;) {
      yield reading(interrupt);
      if (mem.load(interrupt) === DONE) break;
      actor.expect = ASKED;
      yield waiting(interrupt);
    }
  }
  yield writing(word(vm, 'REUSED'));
  mem.store(word(vm, 'REUSED'), 1);
  yield writing(interrupt);
  mem.store(interrupt, OVER);
  yield notifying(interrupt);
  mem.notify(interrupt);
}

/** Is the vCPU off its processor? Then the flag is enough. */
function* leaveItToHost(vm: Vm): Path<boolean> {
  const flags = word(vm, 'FLAGS');
  yield reading(flags);
  const seen = vm.mem.load(flags);
  if ((seen & PREEMPTED) === 0) return false;
  yield updating(flags);
  return vm.mem.cas(flags, seen, seen | FLUSH_TLB) === seen;
}
