/** The items about access policy: a machine with a session, slots and a policy, and what differs. */
import type { SlotRequest } from '../../../actors/mmu/memslots.ts';
import type { Participant } from '../../engine/execution.ts';
import type { World } from '../../world/world.ts';
import type { CorpusItem } from '../item.ts';
import { corpusItem, hookedOn, type ItemFacts, type PagePolicy, type Setting, SLOT } from '../setting.ts';

export interface PolicySetting {
  /** Default: {@link SLOT}. */
  readonly slots?: readonly SlotRequest[];
  readonly policy?: readonly PagePolicy[];
  /** More setting-up, alone: what maps pages and fills TLBs. */
  prepare?(world: World): void;
  participants(world: World): readonly Participant[];
}

/** The item of quirk `id`: its setting with the quirk, or without. */
export function policyItem(id: number, facts: ItemFacts, setting: PolicySetting): CorpusItem {
  return corpusItem(id, facts, () => settingOf(setting));
}

export function settingOf({ slots = [SLOT], policy = [], prepare, participants }: PolicySetting): Setting {
  return {
    setUp(world) {
      hookedOn(slots, ...policy)(world);
      prepare?.(world);
    },
    participants,
  };
}
