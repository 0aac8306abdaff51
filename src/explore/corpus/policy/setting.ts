/**
 * What the items about access policy and page tracking have in common: a machine of one vCPU and a few pages, a tool
 * that runs a script of commands while its receiver answers events, and a watch over a page's stores.
 *
 *   gfn       RAM page   what
 *   ────────  ─────────  ──────────────────────────────────────────
 *   8 … 11    8 … 11     slot 1, the victim; {@link GFN} is its first
 *   16 … 19              where it is moved to
 */
import { KVMI_EVENT_ACTION_CONTINUE } from '../../../actors/introspector/kvmi/constants.ts';
import type { Session, SessionEvent } from '../../../actors/introspector/session.ts';
import type { SlotRequest } from '../../../actors/mmu/memslots.ts';
import type { Access } from '../../../actors/vcpu/access-program.ts';
import { ACCESS_R, ACCESS_W, ACCESS_X } from '../../../shared/layout/cpu.ts';
import { quirkById } from '../../../shared/quirks.ts';
import type { Path } from '../../../shared/sync/point.ts';
import type { Participant } from '../../engine/execution.ts';
import type { Scenario } from '../../scenario/scenario.ts';
import type { World, WorldOptions } from '../../world/world.ts';
import type { CorpusItem } from '../item.ts';

export const R = ACCESS_R;
export const W = ACCESS_W;
export const X = ACCESS_X;
export const CONTINUE = KVMI_EVENT_ACTION_CONTINUE;

export const PAGE = 4096;
export const GFN = 8;
export const VICTIM: SlotRequest = { id: 1, asId: 0, flags: 0, baseGfn: GFN, npages: 4, ramPage: GFN };

/** What a machine is like in the beginning, and who does what in it. */
export interface Setting {
  /** Default: {@link VICTIM}. */
  readonly slots?: readonly SlotRequest[];
  /** What is left allowed on some pages from the start, with a slot or without. */
  readonly policy?: readonly (readonly [gfn: number, access: number])[];
  /** More setting-up, alone: what maps pages and fills TLBs. */
  prepare?(world: World): void;
  participants(world: World): readonly Participant[];
}

export interface ItemFacts {
  readonly depth: number;
  readonly origin: CorpusItem['origin'];
  readonly rules: readonly string[];
  readonly place: string;
}

/** The item of quirk `id`: its setting with the quirk, or without. */
export function policyItem(id: number, facts: ItemFacts, setting: Setting): CorpusItem {
  const quirk = quirkById(id);
  return {
    id: quirk.item,
    name: quirk.name,
    title: quirk.weakness,
    ...facts,
    scenario: (mutated) =>
      scenarioOf(quirk.item, quirk.weakness, mutated, { quirks: mutated ? [id] : [] }, setting),
  };
}

/** @param variant  what is different about the machine with the mistake, or without it */
export function scenarioOf(
  item: string,
  title: string,
  mutated: boolean,
  variant: WorldOptions,
  setting: Setting,
): Scenario {
  return {
    name: item.toLowerCase() + (mutated ? '' : '-correct'),
    title,
    machine: { ramPages: 24, gfnCount: 32, accessLimit: 8, ...variant },
    setUp(world) {
      for (const slot of setting.slots ?? [VICTIM]) world.slot(slot);
      world.hook();
      world.enablePf(...world.vcpus.keys());
      for (const [gfn, access] of setting.policy ?? []) {
        world.alone(world.session.setPageAccess(gfn * PAGE, access, { needSlot: false }));
      }
      setting.prepare?.(world);
    },
    participants: (world) => setting.participants(world),
  };
}

/**
 * The tool's own commands, with or without a slot at the page. They have an actor of their own, so that events are
 * answered meanwhile: more orders than a single receiver has.
 */
export function commands(world: World, script: (session: Session) => Path<unknown>): Participant {
  const actor = world.actor('tool');
  return { name: 'tool', waiter: actor, path: script(world.newSession(actor)) };
}

/** Commands that leave `access` allowed on one page after the other. */
export function restricts(world: World, ...pages: readonly (readonly [gfn: number, access: number])[]) {
  return commands(world, function* (session) {
    for (const [gfn, access] of pages) {
      yield* session.setPageAccess(gfn * PAGE, access, { needSlot: false });
    }
  });
}

/** A receiver that lets every access through. */
export function allowsAll(world: World): Participant {
  return world.toolRunner(function* () {
    return CONTINUE;
  });
}

/** A store of one byte into the page. */
export function write(gfn: number, value: number): Access {
  return { kind: 'write', gpa: gfn * PAGE, size: 1, value: BigInt(value) };
}

/**
 * Watches the first byte of a page: who stores there after the tightening was acknowledged must have been let through
 * by an answer.
 */
export class StoreWatch {
  readonly #world: World;
  readonly #gfn: number;
  readonly #rule: string;
  readonly #host: number;
  #tight = false;
  #approvals = 0;

  /**
   * @param rule     what is broken: I1 for a page that is restricted from the start, I2 for one that is tightened
   * @param ramPage  behind `gfn`
   */
  constructor(world: World, rule: 'I1' | 'I2', gfn = GFN, ramPage = gfn) {
    this.#world = world;
    this.#rule = rule;
    this.#gfn = gfn;
    this.#host = world.vm.ramPage(ramPage);
    this.#tight = rule === 'I1';
  }

  /**
   * The commands of a tool that takes W, and what else `access` denies, away from the page.
   *
   * @param needSlot  false: be there a slot or not
   */
  tightens(access: number, needSlot = true): Participant {
    return commands(this.#world, (session) => this.#tighten(session, access, needSlot));
  }

  *#tighten(session: Session, access: number, needSlot: boolean): Path<void> {
    yield* session.setPageAccess(this.#gfn * PAGE, access, { needSlot });
    this.#tight = true;
  }

  /** A receiver that lets every access through, and notes it. */
  receiver(): Participant {
    const note = (event: SessionEvent) => this.#note(event);
    return this.#world.toolRunner(function* (event) {
      note(event);
      return CONTINUE;
    });
  }

  #note({ pf }: SessionEvent): void {
    if (pf !== null && pf.access === W && Math.floor(pf.gpa / PAGE) === this.#gfn) this.#approvals += 1;
  }

  /** vCPU `index` makes these accesses under the watch. */
  vcpuRunner(index: number, accesses: readonly Access[]): Participant {
    const runner = this.#world.vcpuRunner(index, accesses);
    return { ...runner, path: this.#over(runner.path, index) };
  }

  *#over(path: Participant['path'], vcpu: number): Path<void> {
    const { vm } = this.#world;
    let byte = vm.mem.u8[this.#host]!;
    for (let step = path.next(0); step.done !== true; ) {
      step = path.next(yield step.value);
      const now = vm.mem.u8[this.#host]!;
      if (now === byte) continue;
      byte = now;
      if (this.#tight && this.#approvals === 0) {
        vm.onFinding({
          id: this.#rule,
          detail: `vCPU ${vcpu}: store to gfn 0x${this.#gfn.toString(16)}, which denies W, without an event`,
        });
      }
      this.#approvals = 0;
    }
  }
}
