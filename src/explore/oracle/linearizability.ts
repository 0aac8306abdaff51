/**
 * Linearizability of the outer interface: what callers were told must be what one sequential object could have told
 * them. Two objects a frame, searched apart, frame by frame:
 *
 *   its policy   SET_PAGE_ACCESS writes it, GET_PAGE_ACCESS and the decision behind a PF event read it, unhook resets it
 *   its slot     memslot changes write whether the frame is visible; a set that insists on a slot and READ_PHYSICAL
 *                read it
 *
 * A set that insists on a slot asks for it first and changes the policy later: two operations, as in the kernel. So is
 * a MOVE: the frame goes, and comes back elsewhere; one that fails goes and comes back. Answers to events are the
 * ledger's matter (event-ledger.ts).
 */
import { activeSet, isVisible, type Slot, slotsOf } from '../../actors/mmu/slot-sets.ts';
import { describeAccess } from '../../actors/mmu/spte.ts';
import { FULL_ACCESS } from '../../shared/layout/access-tree.ts';
import { PAGE_BYTES } from '../../shared/layout/machine.ts';
import {
  TRACE_EMULATE,
  TRACE_MEMSLOT,
  TRACE_PF,
  TRACE_SET_ACCESS,
  TRACE_UNHOOK,
} from '../../shared/trace/kinds.ts';
import type { Execution } from '../engine/execution.ts';
import { generic } from '../engine/finding.ts';
import type { SessionCall } from '../world/recorded-session.ts';
import type { World } from '../world/world.ts';
import { FACT_BEGIN, FACT_END, type FactPhase, type Oracle } from './oracle.ts';
import type { PolicyLedger } from './policy-ledger.ts';
import { type Operation, unexplained } from './wing-gong.ts';

/** An operation that is being recorded. */
interface Recorded extends Operation<number> {
  returned: number;
  after?: number;
}

type History = Map<number, Recorded[]>;

const EINVAL = -22;
const ENOMEM = -12;
const VISIBLE = 1;

/** One memslot change, from slots_lock taken to slots_lock freed. */
interface Change {
  readonly called: number;
  readonly id: number;
  readonly before: readonly Slot[];
}

/** One that is over: what it took away and what it put there. */
interface Changed {
  readonly called: number;
  readonly returned: number;
  readonly by: string;
  readonly failed: boolean;
  readonly old: Slot | undefined;
  readonly fresh: Slot | undefined;
}

export class LinearizabilityOracle implements Oracle {
  readonly kinds = [TRACE_EMULATE, TRACE_SET_ACCESS, TRACE_PF, TRACE_UNHOOK, TRACE_MEMSLOT];
  readonly #world: World;
  readonly #policy: History = new Map();
  /** What was found of each frame's slot; what was done to it follows from the changes. */
  readonly #slots: History = new Map();
  readonly #changed: Changed[] = [];
  readonly #book: PolicyLedger;
  #slotsThen: readonly Slot[] | null = null;
  readonly #calls = new Map<SessionCall, Recorded | number>();
  /** Step of each call, return or fact: in one step there may be several, one after the other. */
  readonly #moments: number[] = [];
  /** Per actor. */
  readonly #setting: (Recorded | null)[] = [];
  readonly #changes: (Change | null)[] = [];
  /** Per actor: since when the instruction is emulated whose events come. */
  readonly #emulates: number[] = [];

  /** @param book  knows what the policy was in the beginning */
  constructor(world: World, book: PolicyLedger) {
    this.#world = world;
    this.#book = book;
  }

  begin(): void {
    this.#moments.length = 0;
    this.#policy.clear();
    this.#slots.clear();
    this.#changed.length = 0;
    this.#calls.clear();
    this.#changes.length = 0;
    this.#setting.length = 0;
    this.#emulates.length = 0;
    // Every execution begins with the same machine.
    this.#slotsThen ??= this.#visibleSlots();
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
    const now = this.#moment(execution);
    const { name: by } = execution.participants[actor]!;
    switch (kind) {
      case TRACE_EMULATE:
        this.#emulates[actor] = now;
        return;
      case TRACE_SET_ACCESS:
        if (phase === FACT_BEGIN) {
          const text = () => `set ${describeAccess(b)} by ${by}`;
          this.#setting[actor] = this.#add(this.#policy, a, { called: now, text, apply: () => b });
        } else {
          const setting = this.#setting[actor];
          if (setting !== null && setting !== undefined) setting.returned = now;
        }
        return;
      case TRACE_PF: {
        if (phase === FACT_END) {
          this.#emulates[actor] = now;
          return;
        }
        const gfn = Math.floor(b / PAGE_BYTES);
        const text = () => `${by} is denied ${describeAccess(c)}`;
        const apply = (policy: number) => ((policy & c) === 0 ? policy : null);
        this.#add(this.#policy, gfn, { called: this.#emulates[actor] ?? 0, text, apply }).returned = now;
        return;
      }
      case TRACE_UNHOOK:
        if (phase === FACT_BEGIN) this.#resetAll(now, by);
        return;
      case TRACE_MEMSLOT:
        if (phase === FACT_BEGIN) {
          this.#changes[actor] = { called: now, id: b, before: this.#visibleSlots() };
        } else this.#changeEnds(actor, now, by, a);
    }
  }

  call(execution: Execution, _actor: number, call: SessionCall): void {
    const now = this.#moment(execution);
    const by = call.actor.name;
    if (call.op === 'pause') return;
    if (call.result === undefined) {
      this.#calls.set(call, now);
      return;
    }
    const called = this.#calls.get(call) as number | undefined;
    this.#calls.delete(call);
    if (called === undefined) return;
    const { result, target: gfn } = call;
    if (call.op === 'get') {
      if (result < 0) return;
      const text = () => `get by ${by} gives ${describeAccess(result)}`;
      const apply = (policy: number) => (policy === result ? policy : null);
      this.#add(this.#policy, gfn, { called, text, apply }).returned = now;
      return;
    }
    const asksForSlot = call.op === 'read' || call.needSlot;
    if (!asksForSlot || result === ENOMEM) return;
    // Of what it refuses for other reasons nothing follows.
    if (call.op === 'set' && (call.argument & ~FULL_ACCESS) !== 0) return;
    const found = result === EINVAL || (call.op === 'read' && result < 0) ? 0 : VISIBLE;
    const text = () => `${call.op} by ${by} finds ${found === VISIBLE ? 'a' : 'no'} slot`;
    const apply = (visible: number) => (visible === found ? visible : null);
    this.#add(this.#slots, gfn, { called, text, apply }).returned = now;
  }

  atEnd(execution: Execution): void {
    for (const [gfn, operations] of this.#policy) {
      this.#check(execution, 'policy', gfn, operations, this.#policyThen(gfn), describeAccess);
    }
    // What a change that is not over has done to which frame is not known.
    if (this.#changes.some((change) => change !== null && change !== undefined)) return;
    for (const [gfn, found] of this.#slots) {
      const operations = [...this.#changesOf(gfn), ...found];
      const visible = this.#slotsThen!.some((slot) => covers(slot, gfn)) ? VISIBLE : 0;
      this.#check(execution, 'slot', gfn, operations, visible, (s) => (s === VISIBLE ? 'visible' : 'none'));
    }
  }

  #policyThen(gfn: number): number {
    return this.#book.initial.find((page) => page.gfn === gfn)?.access ?? FULL_ACCESS;
  }

  /** A time that has not been before. */
  #moment(execution: Execution): number {
    this.#moments.push(execution.step);
    return this.#moments.length;
  }

  #check(
    execution: Execution,
    what: string,
    gfn: number,
    operations: readonly Recorded[],
    initial: number,
    name: (state: number) => string,
  ): void {
    // Nobody was told anything that another one could contradict.
    if (operations.length < 2) return;
    const byCall = [...operations].sort((x, y) => x.called - y.called);
    const index = new Map(operations.map((op, i) => [i, byCall.indexOf(op)]));
    const history = byCall.map((op) =>
      op.after === undefined ? op : { ...op, after: index.get(op.after)! },
    );
    const wrong = unexplained(history, initial, (state) => state);
    if (wrong === null) return;
    const step = (moment: number) => this.#moments[moment - 1] ?? (moment <= 0 ? 'before' : 'never');
    const lines = wrong.map((op) => `steps ${step(op.called)} to ${step(op.returned)}: ${op.text()}`);
    execution.report({
      oracle: 'linearizability',
      rule: what,
      message: `the ${what} of gfn 0x${gfn.toString(16)}, at first ${name(initial)}: no order of these calls gives these results`,
      key: generic(`linearizability ${what}`),
      details: lines,
    });
  }

  #add(
    history: History,
    gfn: number,
    operation: { called: number; text: () => string; apply: (state: number) => number | null },
  ): Recorded {
    let list = history.get(gfn);
    if (list === undefined) {
      list = [];
      history.set(gfn, list);
    }
    const recorded = { ...operation, returned: Number.POSITIVE_INFINITY };
    list.push(recorded);
    return recorded;
  }

  /** Unhook forgets every page: at some time, each. */
  #resetAll(now: number, by: string): void {
    const frames = new Set([...this.#book.initial.map(({ gfn }) => gfn), ...this.#policy.keys()]);
    for (const gfn of frames) {
      this.#add(this.#policy, gfn, { called: now, text: () => `unhook by ${by}`, apply: () => FULL_ACCESS });
    }
  }

  #changeEnds(actor: number, now: number, by: string, error: number): void {
    const change = this.#changes[actor];
    if (change === null || change === undefined) return;
    this.#changes[actor] = null;
    const after = this.#visibleSlots();
    const old = change.before.find(({ id }) => id === change.id);
    const fresh = after.find(({ id }) => id === change.id);
    // The same place with other flags: its readers see one or the other.
    const stays = error === 0 && old !== undefined && fresh !== undefined && old.instance === fresh.instance;
    if (stays) return;
    this.#changed.push({ called: change.called, returned: now, by, failed: error !== 0, old, fresh });
  }

  /** What memslot changes have done to a frame, in order: where one goes and comes, the second follows the first. */
  #changesOf(gfn: number): Recorded[] {
    const writes: Recorded[] = [];
    for (const { called, returned, by, failed, old, fresh } of this.#changed) {
      const goes = covers(old, gfn);
      if (goes) writes.push({ called, returned, text: () => `slot goes by ${by}`, apply: () => 0 });
      if (!covers(fresh, gfn)) continue;
      const text = () => `slot comes${failed ? ' back' : ''} by ${by}`;
      const comes = { called, returned, text, apply: () => VISIBLE };
      writes.push(goes ? { ...comes, after: writes.length - 1 } : comes);
    }
    return writes;
  }

  #visibleSlots(): readonly Slot[] {
    const { vm } = this.#world;
    return slotsOf(vm, activeSet(vm, 0)).filter(isVisible);
  }
}

function covers(slot: Slot | undefined, gfn: number): boolean {
  return slot !== undefined && gfn >= slot.baseGfn && gfn < slot.baseGfn + slot.npages;
}
