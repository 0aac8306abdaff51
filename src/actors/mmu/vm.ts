/**
 * One thread's handle on the machine: `struct kvm` as seen from here. Holds addresses and lock objects, no state of
 * its own: everything that matters is in shared memory.
 */
import { tlbTable } from '../../shared/layout/cpu.ts';
import type { MachineLayout, VmLockName } from '../../shared/layout/machine.ts';
import { VCPU_LOCKS, VM_LOCKS } from '../../shared/layout/machine.ts';
import { VCPU } from '../../shared/layout/vcpu.ts';
import { VM } from '../../shared/layout/vm.ts';
import type { Mem } from '../../shared/mem.ts';
import { QUIRK_LIMIT } from '../../shared/quirks.ts';
import { Completion } from '../../shared/sync/completion.ts';
import {
  DONE_KVMI,
  LOCK_ACCESS_TREE,
  LOCK_BOARD,
  LOCK_BYTES,
  LOCK_CONNECTION,
  LOCK_JOB,
  LOCK_KVM,
  LOCK_KVMI,
  LOCK_MMU,
  LOCK_MN_INVALIDATE,
  LOCK_SLOTS,
  LOCK_SLOTS_ARCH,
  LOCK_SPLIT,
  LOCK_VCPU,
  SRCU_KVM,
  SRCU_TRACK,
} from '../../shared/sync/lock-class.ts';
import { Mutex } from '../../shared/sync/mutex.ts';
import { RwLock } from '../../shared/sync/rw-lock.ts';
import { SpinLock } from '../../shared/sync/spinlock.ts';
import { Srcu } from '../../shared/sync/srcu.ts';

/** A broken invariant of the machine, seen by an oracle at run time. Not an error: the run goes on and reports it. */
export interface OracleFinding {
  /** I1…I18. */
  readonly id: string;
  readonly detail: string;
}

export class Vm {
  readonly mem: Mem;
  readonly layout: MachineLayout;
  readonly vcpuCount: number;
  readonly kvmLock: Mutex;
  readonly kvmiLock: Mutex;
  readonly slotsLock: Mutex;
  readonly slotsArchLock: Mutex;
  readonly mmuLock: RwLock;
  readonly accessTreeLock: RwLock;
  readonly mnInvalidateLock: SpinLock;
  readonly connectionLock: Mutex;
  readonly splitLock: SpinLock;
  readonly boardLock: SpinLock;
  readonly srcu: Srcu;
  readonly trackSrcu: Srcu;
  readonly kvmiComplete: Completion;
  readonly vcpuMutexes: readonly Mutex[];
  readonly jobLocks: readonly SpinLock[];
  /** Where oracles of this thread report; the engine sets it. */
  onFinding: (finding: OracleFinding) => void = () => {};
  /** Is told of each emulated access at its effect; null: nobody listens. */
  onEffect: ((vcpu: number, gpa: number, access: number) => void) | null = null;

  constructor(mem: Mem, layout: MachineLayout) {
    const at = (name: VmLockName) => layout.locks + VM_LOCKS.indexOf(name) * LOCK_BYTES;
    const vcpuLock = (index: number, which: number) =>
      layout.vcpuLocks + (index * VCPU_LOCKS + which) * LOCK_BYTES;
    const indices = Array.from({ length: layout.config.vcpuCount }, (_, index) => index);
    this.mem = mem;
    this.layout = layout;
    this.vcpuCount = layout.config.vcpuCount;
    this.kvmLock = new Mutex(at('kvm.lock'), LOCK_KVM);
    this.kvmiLock = new Mutex(at('kvmi_lock'), LOCK_KVMI);
    this.slotsLock = new Mutex(at('slots_lock'), LOCK_SLOTS);
    this.slotsArchLock = new Mutex(at('slots_arch_lock'), LOCK_SLOTS_ARCH);
    this.mmuLock = new RwLock(at('mmu_lock'), LOCK_MMU);
    this.accessTreeLock = new RwLock(at('access_tree_lock'), LOCK_ACCESS_TREE);
    this.mnInvalidateLock = new SpinLock(at('mn_invalidate_lock'), LOCK_MN_INVALIDATE);
    this.connectionLock = new Mutex(at('connection_lock'), LOCK_CONNECTION);
    this.splitLock = new SpinLock(at('split_lock'), LOCK_SPLIT);
    this.boardLock = new SpinLock(at('board_lock'), LOCK_BOARD);
    this.srcu = new Srcu(at('kvm.srcu'), SRCU_KVM);
    this.trackSrcu = new Srcu(at('track_srcu'), SRCU_TRACK);
    this.kvmiComplete = new Completion(at('kvmi_complete'), DONE_KVMI);
    this.vcpuMutexes = indices.map((index) => new Mutex(vcpuLock(index, 0), LOCK_VCPU));
    this.jobLocks = indices.map((index) => new SpinLock(vcpuLock(index, 1), LOCK_JOB));
  }

  /** Address of a VM-wide word. */
  word(name: keyof typeof VM.at): number {
    return this.layout.vm + VM.at[name];
  }

  /** Address of a word of vCPU `index`'s control block. */
  vcpuWord(index: number, name: keyof typeof VCPU.at): number {
    return this.layout.vcpus + index * VCPU.bytes + VCPU.at[name];
  }

  /** Address of vCPU `index`'s CPU area (shared/layout/cpu.ts). */
  cpu(index: number): number {
    return this.layout.cpus + index * this.layout.cpuStride;
  }

  tlb(index: number, user: boolean, kind: number): number {
    return tlbTable(this.cpu(index), user, kind);
  }

  /** Is this deviation switched on? `id` is a constant of shared/quirks.ts. */
  quirk(id: number): boolean {
    return (this.mem.i32[(this.word('QUIRKS') >>> 2) + (id >>> 5)]! & (1 << (id & 31))) !== 0;
  }

  /** A view of the words behind {@link quirk}, for actors. */
  get quirkWords(): Int32Array {
    const at = this.word('QUIRKS') >>> 2;
    return this.mem.i32.subarray(at, at + QUIRK_LIMIT / 32);
  }

  get checked(): boolean {
    return this.mem.i32[this.word('CHECKED') >>> 2] !== 0;
  }

  /** Address of guest RAM page `page`. */
  ramPage(page: number): number {
    return this.layout.ram + page * 4096;
  }
}
