/**
 * Who waits for whom, and why: a graph over actors, drawn from what each of them is in the middle of.
 *
 *   waits for                      edge to
 *   ─────────────────────────────  ─────────────────────────────────────────────────────────────────────
 *   a lock                         each holder that stands in its way; behind a queue, its head
 *   a grace period of an srcu      each reader of the side that drains; behind another one, whoever waits first
 *   an acknowledgement             the vCPU that is to leave guest mode
 *   the end of a turn              the vCPU that a pause waits for
 *   the reply to an event          the receiver, behind which the tool is
 *   the last KVMI reference        each actor that has one, and the receiver
 *   vCPUs to park                  each that has not
 *   a memslot publication          whoever has slots_lock
 *
 * An actor goes on only when *all* it waits for have moved, so a cycle is a deadlock, whoever else still runs. A wait
 * with a timeout ends by itself and has no edges.
 */
import { jobRing, messageRing } from '../../actors/introspector/vcpu-side.ts';
import { VCPU, VCPU_WAITING } from '../../shared/layout/vcpu.ts';
import { cellName } from '../../shared/state/cell-name.ts';
import { Actor } from '../../shared/sync/actor.ts';
import { holderOf } from '../../shared/sync/futex.ts';
import { DONE_KVMI, LOCK_BYTES } from '../../shared/sync/lock-class.ts';
import { isHeld, RWLOCK } from '../../shared/sync/rw-lock.ts';
import { readerCount, SRCU } from '../../shared/sync/srcu.ts';
import type { Execution } from '../engine/execution.ts';
import type { World } from '../world/world.ts';
import type { EventLedger } from './event-ledger.ts';
import { describeHeld, type HeldLocks, type HeldSince, type Wanted } from './held-locks.ts';
import { pointName } from './point-name.ts';
import { numberOf } from './who.ts';

/** One actor stands in another one's way. */
export interface WaitEdge {
  readonly to: number;
  /** What it has that the other one needs: `holds mmu_lock for read since step 12`. */
  readonly because: string;
}

/** What a sleeper waits for. */
export interface Wait {
  /** `mmu_lock for write`, `the reply to event 3`: without addresses. */
  readonly what: string;
  readonly edges: readonly WaitEdge[];
  /** It need not wait any more and sleeps all the same. Only right when nobody can move. */
  readonly missed: string | null;
}

export class WaitGraph {
  readonly #world: World;
  readonly #held: HeldLocks;
  readonly #events: EventLedger;
  /** Of the search that is going on: a mask of actors. */
  #seen = 0;

  constructor(world: World, held: HeldLocks, events: EventLedger) {
    this.#world = world;
    this.#held = held;
    this.#events = events;
  }

  /** What `actor` sleeps for; null for one that does not sleep, or whose wait ends by itself. */
  waitOf(execution: Execution, actor: number): Wait | null {
    const wait = this.#waitOf(execution, actor);
    if (wait === null || wait.missed !== null) return wait;
    const cell = execution.sleepsOn(actor);
    const { expect } = execution.participants[actor]!.waiter;
    const now = this.#load(cell);
    return now === expect
      ? wait
      : { ...wait, missed: `${this.#name(cell)} was ${expect} when it fell asleep and is ${now}` };
  }

  /** Without a look at whether what it sleeps on has changed. */
  #waitOf(execution: Execution, actor: number): Wait | null {
    const cell = execution.sleepsOn(actor);
    if (cell < 0 || (execution.timed & (1 << actor)) !== 0) return null;
    const wanted = this.#held.wantedBy(actor);
    const inside = wanted !== null && cell >= wanted.addr && cell < wanted.addr + LOCK_BYTES;
    return inside ? this.#lockWait(execution, actor, wanted, cell) : this.#cellWait(execution, cell);
  }

  /** Actors from `from` on, each waiting for the next and the last for the first; null if there is no such cycle. */
  cycleFrom(execution: Execution, from: number): number[] | null {
    this.#seen = 0;
    return this.#cycle(execution, from, []);
  }

  #cycle(execution: Execution, actor: number, path: number[]): number[] | null {
    this.#seen |= 1 << actor;
    const wait = this.#waitOf(execution, actor);
    if (wait === null) return null;
    path.push(actor);
    for (const { to } of wait.edges) {
      const at = path.indexOf(to);
      if (at >= 0) return path.slice(at);
      if (to < 0 || (this.#seen & (1 << to)) !== 0) continue;
      const cycle = this.#cycle(execution, to, path);
      if (cycle !== null) return cycle;
    }
    path.pop();
    return null;
  }

  /** What `actor` is doing, a line: where it stands, since when, and what it holds. */
  describe(execution: Execution, actor: number): string {
    const { name } = execution.participants[actor]!;
    const held = this.#held.of(actor).map(describeHeld);
    const holds = held.length === 0 ? '' : `; holds ${held.join(', ')}`;
    const since = lastStepOf(execution, actor);
    if (execution.hasEnded(actor)) return `${name}: has ended${holds}`;
    const cell = execution.sleepsOn(actor);
    if (cell < 0) return `${name}: can move, at ${pointName(this.#world.vm, execution.at[actor]!)}${holds}`;
    const wait = this.waitOf(execution, actor);
    if (wait === null)
      return `${name}: asleep since step ${since} at ${this.#name(cell)}, with a timeout${holds}`;
    const whom = wait.edges.map(({ to, because }) =>
      to < 0 ? because : `${execution.participants[to]!.name} ${because}`,
    );
    const reasons = whom.length === 0 ? '' : ` (${whom.join('; ')})`;
    return `${name}: asleep since step ${since}, waits for ${wait.what}${reasons}${holds}`;
  }

  // ── locks ─────────────────────────────────────────────────────────────────────────────────────────────────
  #lockWait(execution: Execution, actor: number, wanted: Wanted, cell: number): Wait {
    switch (wanted.cls.kind) {
      case 'srcu':
        return this.#graceWait(execution, wanted, cell);
      case 'completion':
        return this.#referenceWait(execution, actor, wanted);
      case 'rwlock':
        if (cell === wanted.addr + RWLOCK.at.SERVING) return this.#queueWait(execution, actor, wanted);
        break;
      default:
    }
    const inTheWay = (own: HeldSince) =>
      own.addr === wanted.addr && (wanted.mode === 'write' || own.mode === 'write');
    const edges = this.#holders(execution, inTheWay);
    const mode = wanted.cls.kind === 'rwlock' ? ` for ${wanted.mode}` : '';
    const what = `${wanted.cls.name}${mode}`;
    const free = edges.length === 0 && this.#isFree(wanted);
    return { what, edges, missed: free ? `${wanted.cls.name} is free` : null };
  }

  #isFree({ cls, addr }: Wanted): boolean {
    if (cls.kind !== 'rwlock') return holderOf(this.#load(addr)) === 0;
    return !isHeld(this.#load(addr + RWLOCK.at.STATE));
  }

  #queueWait(execution: Execution, actor: number, { cls, addr, mode }: Wanted): Wait {
    const head = execution.participants.findIndex((_, other) => {
      const wants = this.#held.wantedBy(other);
      return (
        other !== actor && wants?.addr === addr && execution.sleepsOn(other) !== addr + RWLOCK.at.SERVING
      );
    });
    const edges = head < 0 ? [] : [{ to: head, because: `is before it in the queue of ${cls.name}` }];
    return { what: `${cls.name} for ${mode}, in its queue`, edges, missed: null };
  }

  #graceWait(execution: Execution, { cls, addr }: Wanted, cell: number): Wait {
    const what = `a grace period of ${cls.name}`;
    if (cell === addr + SRCU.at.SYNCHRONIZER) {
      const id = holderOf(this.#load(cell));
      const first = execution.participants.findIndex(
        ({ waiter }) => waiter instanceof Actor && waiter.id === id,
      );
      const edges =
        first < 0 ? [] : [{ to: first, because: `waits for a grace period of ${cls.name} first` }];
      return { what, edges, missed: id === 0 ? 'nobody waits for one before it' : null };
    }
    const side = (cell - addr - SRCU.at.READERS) >>> 2;
    const edges = this.#holders(execution, (own) => own.addr === addr && own.side === side);
    const drained = readerCount(this.#load(cell)) === 0;
    return { what: `${what}, side ${side}`, edges, missed: drained ? 'its readers have left' : null };
  }

  #referenceWait(execution: Execution, actor: number, { cls }: Wanted): Wait {
    const world = this.#world;
    const edges: WaitEdge[] = [];
    for (const [other, { waiter }] of execution.participants.entries()) {
      if (other === actor || !(waiter instanceof Actor)) continue;
      const inside = waiter.checks?.holds(DONE_KVMI) ?? false;
      const receives =
        waiter === world.receiver && this.#load(world.vm.word('KVMI_RECEIVER')) === 1 && !inside;
      if (inside) edges.push({ to: other, because: 'has a KVMI reference' });
      else if (receives) edges.push({ to: other, because: "has the receiver's reference" });
    }
    return { what: `${cls.name} (the last KVMI reference)`, edges, missed: null };
  }

  #holders(execution: Execution, inTheWay: (own: HeldSince) => boolean): WaitEdge[] {
    const edges: WaitEdge[] = [];
    for (let other = 0; other < execution.actorCount; other++) {
      const own = this.#held.of(other).find(inTheWay);
      if (own !== undefined) edges.push({ to: other, because: `holds ${describeHeld(own)}` });
    }
    return edges;
  }

  // ── words ─────────────────────────────────────────────────────────────────────────────────────────────────
  #cellWait(execution: Execution, cell: number): Wait {
    const { vm } = this.#world;
    const offset = cell - vm.layout.vcpus;
    if (offset >= 0 && offset < vm.vcpuCount * VCPU.bytes) {
      const index = Math.floor(offset / VCPU.bytes);
      if (offset % VCPU.bytes === VCPU.at.OUTSIDE_COUNT) return this.#acknowledgementWait(execution, index);
      if (offset % VCPU.bytes === VCPU.at.TURN) return this.#turnWait(execution, index);
      if (offset % VCPU.bytes === VCPU.at.WAKE_SEQ) return this.#wakeWait(execution, index);
    }
    switch (cell) {
      case vm.word('RECEIVER_BELL'):
        return this.#bellWait();
      case vm.word('SLOT_PUBLICATIONS'): {
        const edges = this.#holders(execution, (own) => own.addr === vm.slotsLock.addr);
        return { what: 'a memslot change to be published', edges, missed: null };
      }
      case vm.word('MN_WAITERS'):
        return { what: 'host invalidations to end', edges: [], missed: null };
      case vm.word('PARKED'):
        return { what: 'vCPUs to park', edges: this.#unparked(execution), missed: null };
      case vm.word('PARK'):
        return { what: 'its release from parking', edges: [], missed: null };
      default:
        return { what: `a change of ${this.#name(cell)}`, edges: [], missed: null };
    }
  }

  #acknowledgementWait(execution: Execution, index: number): Wait {
    const to = numberOf(execution, this.#world.vcpus[index]!.actor);
    const edges = to < 0 ? [] : [{ to, because: 'is in guest mode or reads tables' }];
    return { what: `the acknowledgement of vcpu ${index}`, edges, missed: null };
  }

  #turnWait(execution: Execution, index: number): Wait {
    const to = numberOf(execution, this.#world.vcpus[index]!.actor);
    const edges = to < 0 ? [] : [{ to, because: 'is not done with what it left the guest for' }];
    return { what: `the end of a turn of vcpu ${index}`, edges, missed: null };
  }

  #wakeWait(execution: Execution, index: number): Wait {
    const { vm, vcpus, receiver } = this.#world;
    if (this.#load(vm.vcpuWord(index, 'STATE')) !== VCPU_WAITING) {
      return { what: 'a kick (halted)', edges: [], missed: null };
    }
    const jobs = !jobRing(vm, index).empty;
    const over = this.#load(vm.vcpuWord(index, 'WAITING')) === 0;
    const missed = jobs ? 'there is a job for it' : over ? 'it waits for no reply any more' : null;
    const open = this.#events.openOf(numberOf(execution, vcpus[index]!.actor));
    const seq = this.#load(vm.vcpuWord(index, 'REPLY_SEQ'));
    const to = numberOf(execution, receiver);
    let because = 'is to deliver the reply';
    if (open !== null && open.answered >= 0) because = `answered it at step ${open.answered}`;
    else if (open !== null && open.taken >= 0) because = `took the event at step ${open.taken}`;
    return { what: `the reply to event ${seq}`, edges: [{ to, because }].filter((e) => e.to >= 0), missed };
  }

  #bellWait(): Wait {
    const { vm, vcpus } = this.#world;
    const full = vcpus.find(({ index }) => !messageRing(vm, index).empty);
    const missed = full === undefined ? null : `there is a message of vcpu ${full.index}`;
    return { what: 'messages', edges: [], missed };
  }

  #unparked(execution: Execution): WaitEdge[] {
    const { vm, vcpus } = this.#world;
    return vcpus
      .filter(({ index }) => this.#load(vm.vcpuWord(index, 'PARKED')) === 0)
      .map(({ actor }) => ({ to: numberOf(execution, actor), because: 'has not parked' }))
      .filter(({ to }) => to >= 0 && !execution.hasEnded(to));
  }

  /** Plain: nobody moves while an oracle looks, and who watches the memory need not see it. */
  #load(addr: number): number {
    return this.#world.vm.mem.i32[addr >>> 2]!;
  }

  #name(cell: number): string {
    const { mem, layout } = this.#world.vm;
    return cellName(layout, mem, cell);
  }
}

/** Number of the last step that `actor` took, from 1; 0 if it took none. */
function lastStepOf(execution: Execution, actor: number): number {
  const { trace } = execution;
  for (let i = trace.length - 1; i >= 0; i--) if (trace.actor[i] === actor) return i + 1;
  return 0;
}
