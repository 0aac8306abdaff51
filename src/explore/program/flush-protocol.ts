/**
 * What faults and the deletion of their memslot owe each other, and nothing else: a slot, an spte for each vCPU, the
 * memory behind them, and the machine's own locks. Of the size that engines are compared by, and small enough for a
 * proof; the machine itself plays it in scenario `flush`, which takes six times as many steps.
 *
 *   fault      in kvm.srcu: look for the slot; if it is there map its memory, under mmu_lock for read
 *   deletion   take the slot away; wait for the readers of kvm.srcu; unmap, under mmu_lock for write; free the memory
 *
 * @source virt/kvm/kvm_main.c (5.17): kvm_delete_memslot, kvm_swap_active_memslots; arch/x86/kvm/mmu/mmu.c:
 *         direct_page_fault
 */
import type { Actor } from '../../shared/sync/actor.ts';
import { LOCK_BYTES, LOCK_MMU, LOCK_SLOTS, SRCU_KVM } from '../../shared/sync/lock-class.ts';
import { Mutex, mutexLock, mutexUnlock } from '../../shared/sync/mutex.ts';
import { type Path, reading, writing } from '../../shared/sync/point.ts';
import { RwLock, readLock, readUnlock, writeLock, writeUnlock } from '../../shared/sync/rw-lock.ts';
import { Srcu, srcuReadLock, srcuReadUnlock, synchronizeSrcu } from '../../shared/sync/srcu.ts';
import type { Part, Program } from './program.ts';

export interface FlushProtocolOptions {
  readonly vcpuCount: number;
  /** Of each vCPU. Default 1. */
  readonly faultCount?: number;
  /** Does the deletion wait for the readers of kvm.srcu? Default: yes; without it memory is used after it was freed. */
  readonly grace?: boolean;
}

const line = (n: number): number => n * LOCK_BYTES;
const slotsLock = new Mutex(line(0), LOCK_SLOTS);
const mmuLock = new RwLock(line(1), LOCK_MMU);
const srcu = new Srcu(line(2), SRCU_KVM);
/** 1: the slot can be found. */
const SLOT = line(3);
/** 1: its memory is there. */
const MEMORY = line(4);
const spteOf = (vcpu: number): number => line(5 + vcpu);

export function flushProtocol({ vcpuCount, faultCount = 1, grace = true }: FlushProtocolOptions): Program {
  const vcpus = Array.from({ length: vcpuCount }, (_, vcpu) => vcpu);
  const faults = vcpus.map((vcpu): [string, Part] => [
    `vcpu ${vcpu}`,
    function* (actor) {
      for (let i = 0; i < faultCount; i++) yield* fault(actor, spteOf(vcpu));
    },
  ]);
  return {
    name: grace ? 'flush-protocol' : 'flush-protocol-no-grace',
    title: `${vcpuCount} vCPUs map memory of a memslot while it is deleted`,
    bytes: line(5 + vcpuCount),
    setUp(mem) {
      mem.store(SLOT, 1);
      mem.store(MEMORY, 1);
    },
    parts: {
      ...Object.fromEntries(faults),
      *control(actor) {
        yield* mutexLock(actor, slotsLock);
        yield* set(actor, SLOT, 0);
        if (grace) yield* synchronizeSrcu(actor, srcu);
        yield* writeLock(actor, mmuLock);
        for (const vcpu of vcpus) yield* set(actor, spteOf(vcpu), 0);
        yield* writeUnlock(actor, mmuLock);
        yield* set(actor, MEMORY, 0);
        yield* mutexUnlock(actor, slotsLock);
      },
    },
    atEnd: (mem) =>
      vcpus
        .filter((vcpu) => mem.load(spteOf(vcpu)) !== 0)
        .map((vcpu) => `vcpu ${vcpu} still maps memory that was freed`),
  };
}

function* fault(actor: Actor, spte: number): Path<void> {
  const side = yield* srcuReadLock(actor, srcu);
  if ((yield* get(actor, SLOT)) === 1) {
    yield* readLock(actor, mmuLock);
    if ((yield* get(actor, MEMORY)) === 0) throw new Error('memory is mapped after it was freed');
    yield* set(actor, spte, 1);
    yield* readUnlock(actor, mmuLock);
  }
  yield* srcuReadUnlock(actor, srcu, side);
}

function* get({ mem }: Actor, addr: number): Path<number> {
  yield reading(addr);
  return mem.load(addr);
}

function* set({ mem }: Actor, addr: number, value: number): Path<void> {
  yield writing(addr);
  mem.store(addr, value);
}
