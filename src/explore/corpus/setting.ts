/**
 * What the scenarios of the corpus have in common: a machine of a few pages, and how an item or a negative control comes
 * of what differs. Who takes part is put together from cast.ts, who watches a page from page-watch.ts.
 *
 *   gfn       RAM page   what
 *   ────────  ─────────  ──────────────────────────────────────────────────
 *   8 … 11    8 … 11     slot 1, {@link SLOT}; {@link GFN} is its first
 *   12, 13    12, 13     slot 2 in some, {@link OTHER_SLOT}
 *   16 … 19              where slot 1 is moved to
 *             20 … 23    no slot: memory of the models (models/cells.ts)
 */
import { KVMI_EVENT_ACTION_CONTINUE } from '../../actors/introspector/kvmi/constants.ts';
import type { SlotRequest } from '../../actors/mmu/memslots.ts';
import { ACCESS_R, ACCESS_W, ACCESS_X } from '../../shared/layout/cpu.ts';
import { PAGE_BYTES } from '../../shared/layout/machine.ts';
import { SLOT_LOG_DIRTY } from '../../shared/layout/memslot.ts';
import { quirkById } from '../../shared/quirks.ts';
import type { Participant } from '../engine/execution.ts';
import type { Broken, Scenario } from '../scenario/scenario.ts';
import type { World, WorldOptions } from '../world/world.ts';
import type { CorpusItem, NegativeControl } from './item.ts';

export const R = ACCESS_R;
export const W = ACCESS_W;
export const X = ACCESS_X;
/** What the tool leaves of a page in most of them. */
export const NOT_W = R | X;
export const CONTINUE = KVMI_EVENT_ACTION_CONTINUE;

export const PAGE = PAGE_BYTES;
export const GFN = 8;
export const SLOT: SlotRequest = { id: 1, asId: 0, flags: 0, baseGfn: GFN, npages: 4, ramPage: GFN };
export const LOGGED: SlotRequest = { ...SLOT, flags: SLOT_LOG_DIRTY };
/** The request that deletes it. */
export const DELETED: SlotRequest = { ...SLOT, npages: 0 };
export const OTHER_SLOT: SlotRequest = { ...SLOT, id: 2, baseGfn: GFN + 4, npages: 2, ramPage: GFN + 4 };

/** The machine of a scenario, and who does what in it. Made anew for each scenario: it may keep notes. */
export interface Setting {
  readonly machine?: WorldOptions;
  setUp?(world: World): void;
  participants(world: World): readonly Participant[];
  atEnd?(world: World): readonly (string | Broken)[];
}

/** What an item says of itself, beside its quirk. */
export type ItemFacts = Pick<CorpusItem, 'depth' | 'origin' | 'rules' | 'place'>;

/** The item of quirk `id`: its setting with the quirk, or without. */
export function corpusItem(id: number, facts: ItemFacts, setting: () => Setting): CorpusItem {
  const { item, name, weakness } = quirkById(id);
  return {
    id: item,
    name,
    title: weakness,
    ...facts,
    scenario: (mutated) =>
      scenarioOf(scenarioName(item, mutated), weakness, setting(), { quirks: mutated ? [id] : [] }),
  };
}

/** The setting is made for each scenario; it calls `shown` when it sees what the title says. */
export function negativeControl(
  id: string,
  title: string,
  setting: (shown: () => void) => Setting,
): NegativeControl {
  return { id, title, scenario: (shown) => scenarioOf(id.toLowerCase(), title, setting(shown)) };
}

/** @param variant  what is different about the machine with the mistake, or without it */
export function scenarioOf(
  name: string,
  title: string,
  { machine, setUp, participants, atEnd }: Setting,
  variant: WorldOptions = {},
): Scenario {
  return {
    name,
    title,
    machine: { ramPages: 24, gfnCount: 32, accessLimit: 8, ...machine, ...variant },
    setUp: (world) => setUp?.(world),
    participants,
    ...(atEnd === undefined ? {} : { atEnd }),
  };
}

/** Of an item's scenario, with its mistake or without. */
export function scenarioName(item: string, mutated: boolean): string {
  return item.toLowerCase() + (mutated ? '' : '-correct');
}

/** What is left allowed on a page from the start, be there a slot or not. */
export type PagePolicy = readonly [gfn: number, access: number];

/** Slot 1, a session with PF events of all vCPUs, and a policy. */
export function hooked(...policy: readonly PagePolicy[]): (world: World) => void {
  return hookedOn([SLOT], ...policy);
}

/** The same with other slots. */
export function hookedOn(
  slots: readonly SlotRequest[],
  ...policy: readonly PagePolicy[]
): (world: World) => void {
  return (world) => {
    for (const slot of slots) world.slot(slot);
    world.hook();
    world.enablePf(...world.vcpus.keys());
    for (const [gfn, access] of policy)
      world.alone(world.session.setPageAccess(gfn * PAGE, access, { needSlot: false }));
  };
}
