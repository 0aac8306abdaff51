/**
 * What the items about TLBs, sptes and the fault path have in common.
 *
 *   gfn       RAM page   what
 *   ────────  ─────────  ────────────────────────────────────────────
 *   8 … 11    8 … 11     slot 1; {@link GFN} is its first
 *             20 … 23    no slot: memory of the models (models/cells.ts)
 */
import { KVMI_EVENT_ACTION_CONTINUE } from '../../../actors/introspector/kvmi/constants.ts';
import type { SlotRequest } from '../../../actors/mmu/memslots.ts';
import type { Access } from '../../../actors/vcpu/access-program.ts';
import { ACCESS_R, ACCESS_X } from '../../../shared/layout/cpu.ts';
import { SLOT_LOG_DIRTY } from '../../../shared/layout/memslot.ts';
import { quirkById } from '../../../shared/quirks.ts';
import type { Actor } from '../../../shared/sync/actor.ts';
import { drive, type Path } from '../../../shared/sync/point.ts';
import type { Participant } from '../../engine/execution.ts';
import type { Broken } from '../../scenario/scenario.ts';
import type { World, WorldOptions } from '../../world/world.ts';
import type { CorpusItem } from '../item.ts';

export const PAGE = 4096;
export const GFN = 8;
export const SLOT: SlotRequest = { id: 1, asId: 0, flags: 0, baseGfn: GFN, npages: 4, ramPage: GFN };
export const LOGGED: SlotRequest = { ...SLOT, flags: SLOT_LOG_DIRTY };

/** What differs from item to item. */
export interface ItemFacts {
  readonly depth: number;
  readonly origin: CorpusItem['origin'];
  readonly rules: readonly string[];
  readonly place: string;
}

/** The machine of an item's scenario, and who does what in it. Made anew for each scenario: it may keep notes. */
export interface Setting {
  readonly machine?: WorldOptions;
  setUp?(world: World): void;
  participants(world: World): readonly Participant[];
  atEnd?(world: World): readonly (string | Broken)[];
}

/** The item of quirk `id`: its setting with the quirk, or without. */
export function tlbItem(id: number, facts: ItemFacts, setting: () => Setting): CorpusItem {
  const quirk = quirkById(id);
  return {
    id: quirk.item,
    name: quirk.name,
    title: quirk.weakness,
    ...facts,
    scenario(mutated) {
      const { machine, setUp, participants, atEnd } = setting();
      return {
        name: quirk.item.toLowerCase() + (mutated ? '' : '-correct'),
        title: quirk.weakness,
        machine: { ramPages: 24, gfnCount: 32, accessLimit: 8, ...machine, quirks: mutated ? [id] : [] },
        setUp: (world) => setUp?.(world),
        participants,
        ...(atEnd === undefined ? {} : { atEnd }),
      };
    },
  };
}

/** A participant of its own making. */
export function runner(waiter: Actor, path: Path<unknown>): Participant {
  return { name: waiter.name, waiter, path };
}

/** vCPU `index` makes these accesses alone, before anything begins: what maps pages and fills its TLB. */
export function before(world: World, index: number, ...accesses: Access[]): void {
  drive(world.vcpus[index]!.actor, world.program(index, accesses));
}

export function read(gfn: number): Access {
  return { kind: 'read', gpa: gfn * PAGE, size: 1 };
}

export function write(gfn: number, value: number): Access {
  return { kind: 'write', gpa: gfn * PAGE, size: 1, value: BigInt(value) };
}

/** The tool's command that takes W away from {@link GFN}, on the path of `actor`. */
export function takesW(world: World, actor: Actor): Path<number> {
  return world.newSession(actor).setPageAccess(GFN * PAGE, ACCESS_R | ACCESS_X, { needSlot: false });
}

/** A receiver that lets every access through. */
export function allowsAll(world: World): Participant {
  return world.toolRunner(function* () {
    return KVMI_EVENT_ACTION_CONTINUE;
  });
}

/**
 * Looks at a page after each step of an actor that may store to it: a change that falls into a time when it must not
 * change is reported.
 */
export class PageWatch {
  readonly #world: World;
  readonly #host: number;
  readonly #rule: string;
  /** Why it must not change now; null when it may. */
  closed: string | null = null;

  constructor(world: World, rule: string, ramPage = GFN) {
    this.#world = world;
    this.#host = world.vm.ramPage(ramPage);
    this.#rule = rule;
  }

  over(participant: Participant): Participant {
    return { ...participant, path: this.#follow(participant) };
  }

  *#follow({ path, name }: Participant): Path<void> {
    const { vm } = this.#world;
    for (let step = path.next(0); step.done !== true; ) {
      const answer = yield step.value;
      const byte = vm.mem.u8[this.#host]!;
      step = path.next(answer);
      if (this.closed === null || vm.mem.u8[this.#host] === byte) continue;
      vm.onFinding({ id: this.#rule, detail: `${name} stored to a page ${this.closed}` });
    }
  }
}
