/**
 * Policy, track counts and sptes, while the machine runs (I3, I5, I8).
 *
 *   I3   the policy of a page, its active bits and its counts agree whenever mmu_lock and slots_lock are both free
 *   I5   an spte that was changed is legal and within what tracking allows, whenever mmu_lock is free
 *   I8   a fault takes a page for MMIO only when no slot covers it
 *
 * Only what has changed is looked at, once the locks are free. Checks of the whole machine, at rest, are those of
 * mmu/invariants.ts.
 */
import { trackingOf } from '../../actors/mmu/invariants.ts';
import { rootWord } from '../../actors/mmu/roots.ts';
import { activeSet, findSlot, isVisible } from '../../actors/mmu/slot-sets.ts';
import { describeAccess, illegalSpte, isPresent, makeSpte, spteAccess } from '../../actors/mmu/spte.ts';
import { ROOT_LIMIT } from '../../shared/layout/spte.ts';
import { ADDRESS_SPACES } from '../../shared/layout/vm.ts';
import type { LockTraceKind } from '../../shared/sync/actor.ts';
import { holderOf } from '../../shared/sync/futex.ts';
import { LOCK_MMU, LOCK_SLOTS, type LockClass } from '../../shared/sync/lock-class.ts';
import { addressOf, kindOf, UPDATING, WRITING } from '../../shared/sync/point.ts';
import { isHeld, RWLOCK } from '../../shared/sync/rw-lock.ts';
import { FAULT_RESULTS, TRACE_FAULT } from '../../shared/trace/kinds.ts';
import type { Execution } from '../engine/execution.ts';
import { generic } from '../engine/finding.ts';
import type { World } from '../world/world.ts';
import { FACT_BEGIN, type FactPhase, type Oracle } from './oracle.ts';
import type { PolicyLedger } from './policy-ledger.ts';
import { vcpuOf } from './who.ts';

const MMIO = FAULT_RESULTS.indexOf('mmio');

interface Fault {
  readonly gfn: number;
  readonly set: number;
  readonly publications: number;
}

export class AgreementOracle implements Oracle {
  readonly kinds = [TRACE_FAULT];
  readonly #world: World;
  readonly #policy: PolicyLedger;
  readonly #sptes: { readonly from: number; readonly to: number };
  /** Addresses of sptes changed since mmu_lock was last free. */
  readonly #changed: number[] = [];
  /** Locks that guard tracking have been released since it was last looked at. */
  #released = false;
  /** Per actor: the fault it handles. */
  readonly #fault: Fault[] = [];
  /** Per actor: the number of its vCPU, −1 for others. */
  readonly #vcpu: number[] = [];

  constructor(world: World, policy: PolicyLedger) {
    const { sptes, config } = world.vm.layout;
    this.#world = world;
    this.#policy = policy;
    this.#sptes = { from: sptes, to: sptes + ROOT_LIMIT * config.gfnCount * 8 };
  }

  begin(execution: Execution): void {
    this.#changed.length = 0;
    this.#released = false;
    for (const [actor, participant] of execution.participants.entries()) {
      this.#vcpu[actor] = vcpuOf(this.#world, participant);
    }
  }

  lock(_execution: Execution, _actor: number, event: LockTraceKind, cls: LockClass): void {
    if (event === 'release' && (cls === LOCK_MMU || cls === LOCK_SLOTS)) this.#released = true;
  }

  fact(execution: Execution, actor: number, phase: FactPhase, kind: number, a: number): void {
    if (kind !== TRACE_FAULT || this.#vcpu[actor]! < 0) return;
    const { vm } = this.#world;
    const publications = this.#load(vm.word('SLOT_PUBLICATIONS'));
    const set = activeSet(vm, this.#load(vm.vcpuWord(this.#vcpu[actor]!, 'AS_ID')));
    if (phase === FACT_BEGIN) {
      this.#fault[actor] = { gfn: a, set, publications };
      return;
    }
    const fault = this.#fault[actor];
    if (a !== MMIO || fault === undefined) return;
    if (fault.publications !== publications || fault.set !== set) return;
    const slot = findSlot(vm, set, fault.gfn);
    if (slot === null) return;
    const { name } = execution.participants[actor]!;
    const state = isVisible(slot) ? 'a slot' : 'a slot that is being changed';
    this.#report(
      execution,
      'I8',
      `${name} takes gfn 0x${fault.gfn.toString(16)} for MMIO, which ${state} covers`,
    );
  }

  after(execution: Execution, _actor: number, point: number): void {
    const kind = kindOf(point);
    if (kind === UPDATING || kind === WRITING) {
      const cell = addressOf(point);
      if (cell >= this.#sptes.from && cell < this.#sptes.to) this.#changed.push(cell);
    }
    if (this.#changed.length === 0 && !this.#released) return;
    const { vm } = this.#world;
    if (isHeld(this.#load(vm.mmuLock.addr + RWLOCK.at.STATE))) return;
    if (this.#changed.length > 0) {
      for (const address of new Set(this.#changed)) this.#checkSpte(execution, address);
      this.#changed.length = 0;
    }
    if (!this.#released || holderOf(this.#load(vm.slotsLock.addr)) !== 0) return;
    this.#released = false;
    this.#checkTracking(execution);
  }

  #checkSpte(execution: Execution, address: number): void {
    const { vm } = this.#world;
    const { gfnCount } = vm.layout.config;
    const number = (address - this.#sptes.from) / 8;
    const root = Math.floor(number / gfnCount);
    const gfn = number % gfnCount;
    const current =
      this.#load(rootWord(vm, root, 'STATE')) === 1 &&
      this.#load(rootWord(vm, root, 'VALID_GEN')) === this.#load(vm.word('MMU_VALID_GEN'));
    const spte = vm.mem.u64[address / 8]!;
    if (!current || !isPresent(spte)) return;
    const illegal = illegalSpte(spte);
    if (illegal !== null) {
      this.#report(
        execution,
        'I5',
        `spte of gfn 0x${gfn.toString(16)} is 0x${spte.toString(16)}: ${illegal}`,
      );
    }
    const slot = findSlot(vm, activeSet(vm, this.#load(rootWord(vm, root, 'AS_ID'))), gfn);
    if (slot === null || !isVisible(slot)) return;
    const excess = spteAccess(spte) & ~spteAccess(makeSpte(vm, slot, gfn, true));
    if (excess === 0) return;
    const what = `spte of gfn 0x${gfn.toString(16)} grants ${describeAccess(excess)}, which tracking denies`;
    this.#report(execution, 'I5', `${what}, and mmu_lock is free`);
  }

  #checkTracking(execution: Execution): void {
    const { vm } = this.#world;
    // See mmu/invariants.ts: policy without mechanism from the end of the session to unhook.
    if (this.#load(vm.word('KVMI_REF')) === 0) return;
    for (const gfn of this.#policy.frames) {
      for (let asId = 0; asId < ADDRESS_SPACES; asId++) {
        const slot = findSlot(vm, activeSet(vm, asId), gfn);
        if (slot === null || !isVisible(slot)) continue;
        for (const broken of trackingOf(vm, slot, gfn)) {
          if (broken !== null) this.#report(execution, 'I3', `${broken}, and both its locks are free`);
        }
      }
    }
  }

  #load(addr: number): number {
    return this.#world.vm.mem.i32[addr >>> 2]!;
  }

  #report(execution: Execution, rule: string, message: string): void {
    execution.report({ oracle: 'invariant', rule, message, key: `${rule} ${generic(message)}` });
  }
}
