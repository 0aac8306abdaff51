/**
 * Accesses of vCPUs at the step at which they take effect (I1, I2, I6, I7, I17), and what a vCPU in guest mode could do
 * without asking.
 *
 *   I1   denied by a command that has returned, and no event for it was answered CONTINUE
 *   I2   the same, where the denying command came while the instruction was emulated, or after the event that it was
 *        approved by; in guest mode, where it came during this execution
 *   I6   by a TLB entry that the spte does not back although a waited flush that began after the spte was changed is
 *        over; or that it never backed. While a flush is still owed the entry may be used (a dirty log is harvested so)
 *   I7   by a TLB entry or an event to another RAM page than the spte says
 *   I15  after a waited pause has returned, by a vCPU that still owes the PAUSE event
 *   I17  in guest mode after CRASH was answered and every vCPU told
 *
 * Accesses of an access program are seen one by one. Guest code is looked at before each run of the core: all that its
 * TLB would let it do.
 */

import {
  KVMI_EVENT_ACTION_CONTINUE,
  KVMI_EVENT_ACTION_CRASH,
  KVMI_VCPU_EVENT_PF,
} from '../../actors/introspector/kvmi/constants.ts';
import { vcpuEventBit } from '../../actors/introspector/kvmi/messages.ts';
import { rootIsStale } from '../../actors/mmu/roots.ts';
import { isPresent, spteAccess, spteAddress, sptePfn } from '../../actors/mmu/spte.ts';
import {
  CPU,
  CPU_TLB,
  TLB_ENTRIES,
  TLB_ENTRY,
  TLB_FETCH,
  TLB_READ,
  TLB_SET_BYTES,
  TLB_WRITE,
  tlbGfn,
} from '../../shared/layout/cpu.ts';
import { PAGE_BYTES } from '../../shared/layout/machine.ts';
import { ROOT_LIMIT } from '../../shared/layout/spte.ts';
import { EXITING_GUEST, IN_GUEST, REQ_MMU_RELOAD, REQ_TLB_FLUSH } from '../../shared/layout/vcpu.ts';
import { addressOf, kindOf, READING, STEPPING, UPDATING, WRITING } from '../../shared/sync/point.ts';
import { isHeldForWrite, RWLOCK } from '../../shared/sync/rw-lock.ts';
import { TRACE_EMULATE, TRACE_FLUSH, TRACE_PAUSE, TRACE_PF } from '../../shared/trace/kinds.ts';
import type { Execution } from '../engine/execution.ts';
import { genericKey } from '../engine/finding.ts';
import type { SessionCall } from '../world/recorded-session.ts';
import type { World } from '../world/world.ts';
import { FACT_BEGIN, FACT_END, type FactPhase, type Oracle } from './oracle.ts';
import type { PolicyLedger } from './policy-ledger.ts';
import { vcpuOf } from './who.ts';

/** An event of the instruction that a vCPU is at. */
interface Asked {
  readonly gfn: number;
  readonly access: number;
  readonly sent: number;
  approved: boolean;
}

/** Requests that empty a TLB. */
const FLUSHES = REQ_TLB_FLUSH | REQ_MMU_RELOAD;
const tables = (...kinds: number[]) => kinds.flatMap((kind) => [false, true].map((user) => ({ user, kind })));
const READ_TABLES = tables(TLB_READ, TLB_FETCH);
const WRITE_TABLES = tables(TLB_WRITE);
const KIND_NAMES: Readonly<Record<number, string>> = { 1: 'read', 2: 'write', 4: 'fetch' };

export class AccessOracle implements Oracle {
  readonly kinds = [TRACE_EMULATE, TRACE_PF, TRACE_PAUSE, TRACE_FLUSH];
  readonly looksAt = [READING, WRITING, UPDATING, STEPPING];
  readonly #world: World;
  readonly #policy: PolicyLedger;
  readonly #ram: number;
  readonly #sptes: number;
  readonly #sptesEnd: number;
  /** Per actor: its vCPU, −1 for others. */
  readonly #vcpu: number[] = [];
  /** Per actor. */
  readonly #asked: Asked[][] = [];
  /** Per actor: the step at which the instruction began that it emulates. */
  readonly #emulates: number[] = [];
  /** Sptes that have lost a permission or changed their page, and when. */
  readonly #tightened = new Map<number, number>();
  #spteBefore = 0n;
  /** Per actor: the step at which the waited flush began that it waits for, −1 for none. */
  readonly #flushing: number[] = [];
  /** Of all waited flushes that are over: the latest beginning. */
  #flushed = -1;
  /** Per vCPU: the step at which a waited pause returned whose PAUSE is not over, −1 for none. */
  readonly #paused: number[] = [];
  /** Step at which a CRASH was over, −1: none. */
  #crashed = -1;
  /** Per actor: its last event was answered CRASH. */
  readonly #dying: boolean[] = [];

  constructor(world: World, policy: PolicyLedger) {
    const { sptes, config, ram } = world.vm.layout;
    this.#world = world;
    this.#policy = policy;
    this.#ram = ram;
    this.#sptes = sptes;
    this.#sptesEnd = sptes + ROOT_LIMIT * config.gfnCount * 8;
  }

  begin(execution: Execution): void {
    const { vcpus } = this.#world;
    this.#crashed = -1;
    this.#dying.length = 0;
    this.#flushed = -1;
    this.#tightened.clear();
    for (const { index } of vcpus) this.#paused[index] = -1;
    for (const [actor, participant] of execution.participants.entries()) {
      this.#vcpu[actor] = vcpuOf(this.#world, participant);
      this.#asked[actor] = [];
    }
  }

  fact(
    execution: Execution,
    actor: number,
    phase: FactPhase,
    kind: number,
    a: number,
    b: number,
    c: number,
  ): void {
    if (kind === TRACE_FLUSH) {
      if (phase === FACT_BEGIN) this.#flushing[actor] = (a & FLUSHES) !== 0 ? execution.step : -1;
      else this.#flushed = Math.max(this.#flushed, this.#flushing[actor] ?? -1);
    } else if (kind === TRACE_PAUSE) {
      if (phase === FACT_END) this.#paused[this.#vcpu[actor]!] = -1;
    } else if (kind === TRACE_EMULATE) {
      this.#asked[actor]!.length = 0;
      this.#emulates[actor] = execution.step;
      // Declaring the VM dead is part of the instruction that was answered so.
      if (phase === FACT_END && this.#dying[actor] === true) this.#crashed = execution.step;
    } else if (kind === TRACE_PF && phase === FACT_BEGIN) {
      const gfn = Math.floor(b / PAGE_BYTES);
      this.#asked[actor]!.push({ gfn, access: c, sent: execution.step, approved: false });
    } else if (kind === TRACE_PF && phase === FACT_END) {
      const { vm } = this.#world;
      const failsOpen = a < 0 && this.#load(vm.word('STRICT')) === 0;
      const last = this.#asked[actor]!.at(-1);
      if (last !== undefined) last.approved = a === KVMI_EVENT_ACTION_CONTINUE || failsOpen;
      this.#dying[actor] = a === KVMI_EVENT_ACTION_CRASH;
    }
  }

  call(execution: Execution, _actor: number, { op, target, argument, result }: SessionCall): void {
    if (op !== 'pause' || argument !== 1 || result !== 0) return;
    // One that waits for a reply is stopped as it is; what the tool lets through then is the tool's affair.
    if (this.#load(this.#world.vm.vcpuWord(target, 'WAITING')) === 0) this.#paused[target] = execution.step;
  }

  before(execution: Execution, actor: number, point: number): void {
    const vcpu = this.#vcpu[actor]!;
    const kind = kindOf(point);
    if (this.#isSpte(point)) {
      this.#spteBefore = this.#world.vm.mem.u64[addressOf(point) / 8]!;
      return;
    }
    if (vcpu < 0) return;
    if (kind === STEPPING) {
      if (this.#inGuestMode(vcpu)) this.#lookAtTlb(execution, actor, vcpu);
      return;
    }
    const cell = addressOf(point);
    if (cell < this.#ram || !this.#inGuestMode(vcpu)) return;
    this.#directAccess(execution, actor, vcpu, cell, kind !== READING);
  }

  after(execution: Execution, _actor: number, point: number): void {
    if (!this.#isSpte(point)) return;
    const at = addressOf(point);
    const spte = this.#world.vm.mem.u64[at / 8]!;
    const lost = (spteAccess(this.#spteBefore) & ~spteAccess(spte)) !== 0;
    if (lost || sptePfn(spte) !== sptePfn(this.#spteBefore)) this.#tightened.set(at, execution.step);
  }

  /** Is it one at which an spte may change? */
  #isSpte(point: number): boolean {
    const kind = kindOf(point);
    if (kind !== UPDATING && kind !== WRITING) return false;
    const at = addressOf(point);
    return at >= this.#sptes && at < this.#sptesEnd;
  }

  effect(execution: Execution, actor: number, vcpu: number, gpa: number, access: number): void {
    const gfn = Math.floor(gpa / PAGE_BYTES);
    this.#checkPause(execution, actor, vcpu, `emulated ${KIND_NAMES[access]} of gfn 0x${gfn.toString(16)}`);
    if ((this.#policy.denied(gfn) & access) === 0 || !this.#isWatched(vcpu)) return;
    const asked = this.#asked[actor]!.filter((e) => e.gfn === gfn && e.access === access && e.approved).at(
      -1,
    );
    const since = this.#policy.deniedSince(gfn, access);
    if (asked !== undefined && asked.sent >= since) return;
    const what = `${KIND_NAMES[access]} of gfn 0x${gfn.toString(16)}`;
    if (asked === undefined) {
      this.#report(
        execution,
        actor,
        since > (this.#emulates[actor] ?? 0) ? 'I2' : 'I1',
        `emulated ${what} takes effect without an event: denied since step ${since}`,
      );
    } else {
      const old = `approved by an event of step ${asked.sent}, denied since step ${since}`;
      this.#report(execution, actor, 'I2', `emulated ${what} takes effect, ${old}`);
    }
  }

  /** An access program's access by its TLB. What only reads may be a fetch: both entries are looked at. */
  #directAccess(execution: Execution, actor: number, vcpu: number, host: number, writes: boolean): void {
    const { vm } = this.#world;
    const { i32, u64 } = vm.mem;
    if (i32[(vm.cpu(vcpu) + CPU.at.TLB_FILLED) >>> 2] === 1) return;
    const page = host - (host % PAGE_BYTES);
    for (const { user, kind } of writes ? WRITE_TABLES : READ_TABLES) {
      const table = vm.tlb(vcpu, user, kind);
      for (let at = table; at < table + TLB_ENTRIES * TLB_ENTRY.bytes; at += TLB_ENTRY.bytes) {
        if (i32[at >>> 2] === -1) continue;
        const gva = Number(u64[at / 8]! & 0xffff_f000n);
        if ((gva + i32[(at + TLB_ENTRY.at.ADDEND) >>> 2]!) >>> 0 !== page) continue;
        this.#check(execution, actor, vcpu, tlbGfn(i32[(at + TLB_ENTRY.at.PAGE) >>> 2]!), 1 << kind, page);
      }
    }
  }

  /** Guest code is about to run: everything its TLB allows. */
  #lookAtTlb(execution: Execution, actor: number, vcpu: number): void {
    const { vm } = this.#world;
    const { i32, u64 } = vm.mem;
    // It polls the request word before the first instruction.
    if (this.#load(vm.cpu(vcpu) + CPU.at.REQUESTS) !== 0) return;
    if (i32[(vm.cpu(vcpu) + CPU.at.TLB_FILLED) >>> 2] === 1) return;
    const table = TLB_ENTRIES * TLB_ENTRY.bytes;
    const from = vm.cpu(vcpu) + CPU_TLB;
    for (let offset = 0; offset < 2 * TLB_SET_BYTES; offset += TLB_ENTRY.bytes) {
      const at = from + offset;
      if (i32[at >>> 2] === -1) continue;
      const access = 1 << (Math.floor(offset / table) % 3);
      const host = (Number(u64[at / 8]! & 0xffff_f000n) + i32[(at + TLB_ENTRY.at.ADDEND) >>> 2]!) >>> 0;
      this.#check(execution, actor, vcpu, tlbGfn(i32[(at + TLB_ENTRY.at.PAGE) >>> 2]!), access, host);
    }
  }

  #check(
    execution: Execution,
    actor: number,
    vcpu: number,
    gfn: number,
    access: number,
    hostPage: number,
  ): void {
    const { vm } = this.#world;
    const what = `can make a ${KIND_NAMES[access]} of gfn 0x${gfn.toString(16)} in guest mode`;
    this.#checkPause(execution, actor, vcpu, what);
    if (this.#crashed >= 0) {
      this.#report(execution, actor, 'I17', `${what}; the VM was declared dead at step ${this.#crashed}`);
    }
    const root = this.#load(vm.vcpuWord(vcpu, 'ROOT'));
    const staleRoot = rootIsStale(vm, root, this.#load(vm.vcpuWord(vcpu, 'ROOT_GEN')));
    const spte = root < 0 ? 0n : vm.mem.u64[spteAddress(vm, root, gfn) / 8]!;
    const backed = !staleRoot && isPresent(spte) && (spteAccess(spte) & access) !== 0;
    // Whoever is taking permissions away may be about to wait for this vCPU.
    if (!isHeldForWrite(this.#load(vm.mmuLock.addr + RWLOCK.at.STATE))) {
      if (staleRoot) {
        this.#report(execution, actor, 'I6', `${what} under a root that has been thrown away`);
      } else if (!backed && this.#isPaid(spteAddress(vm, root, gfn))) {
        const now = `its spte (0x${spte.toString(16)}) does not allow it`;
        this.#report(execution, actor, 'I6', `${what} by its TLB; ${now}`);
      } else if (
        backed &&
        vm.ramPage(sptePfn(spte)) !== hostPage &&
        this.#isPaid(spteAddress(vm, root, gfn))
      ) {
        this.#report(execution, actor, 'I7', `${what} by a translation to another page than its spte says`);
      }
    }
    // Between the end of a session and unhook nobody follows slots that come: policy without mechanism.
    if ((this.#policy.denied(gfn) & access) !== 0 && this.#load(vm.word('KVMI_REF')) !== 0) {
      const since = this.#policy.deniedSince(gfn, access);
      const how = backed ? 'which its spte allows' : 'by a stale TLB entry';
      this.#report(execution, actor, since > 0 ? 'I2' : 'I1', `${what}, ${how}: denied since step ${since}`);
    }
  }

  /** Has a flush been waited for since the spte at `at` was changed, or was it never changed? */
  #isPaid(at: number): boolean {
    const changed = this.#tightened.get(at);
    return changed === undefined || changed <= this.#flushed;
  }

  /** The count of pauses goes down when a PAUSE event is about to be sent, or when the vCPU is released. */
  #checkPause(execution: Execution, actor: number, vcpu: number, what: string): void {
    const since = this.#paused[vcpu]!;
    const { vm } = this.#world;
    if (since < 0 || this.#load(vm.vcpuWord(vcpu, 'PAUSE_REQUESTS')) <= 0) return;
    this.#report(execution, actor, 'I15', `${what}; a waited pause of this vCPU returned at step ${since}`);
  }

  #inGuestMode(vcpu: number): boolean {
    const mode = this.#load(this.#world.vm.vcpuWord(vcpu, 'MODE'));
    return mode === IN_GUEST || mode === EXITING_GUEST;
  }

  /** Without its event enabled, a vCPU breaks restrictions silently: that is policy. */
  #isWatched(vcpu: number): boolean {
    const { vm } = this.#world;
    const bit = vcpuEventBit(KVMI_VCPU_EVENT_PF);
    return this.#load(vm.word('KVMI_REF')) !== 0 && (this.#load(vm.vcpuWord(vcpu, 'EVENTS')) & bit) !== 0;
  }

  #load(addr: number): number {
    return this.#world.vm.mem.i32[addr >>> 2]!;
  }

  #report(execution: Execution, actor: number, rule: string, what: string): void {
    const { name } = execution.participants[actor]!;
    const message = `${name} ${what}`;
    execution.report({ oracle: 'invariant', rule, message, key: genericKey(rule, what), actor });
  }
}
