/** What negative controls have in common: the machine of the items (control/setting.ts), correct. */

import type { Path } from '../../../shared/sync/point.ts';
import type { Participant } from '../../engine/execution.ts';
import type { NegativeControl } from '../item.ts';
import type { Setting } from '../tlb/setting.ts';

/** The setting is made for each scenario; it calls `shown` when it sees what the title says. */
export function negativeControl(
  id: string,
  title: string,
  setting: (shown: () => void) => Setting,
): NegativeControl {
  return {
    id,
    title,
    scenario(shown) {
      const { machine, setUp, participants, atEnd } = setting(shown);
      return {
        name: id.toLowerCase(),
        title,
        machine: { ramPages: 24, gfnCount: 32, accessLimit: 8, ...machine },
        setUp: (world) => setUp?.(world),
        participants,
        ...(atEnd === undefined ? {} : { atEnd }),
      };
    },
  };
}

/** Looks on after each step of a participant. */
export function observed(participant: Participant, look: () => void): Participant {
  function* follow(): Path<void> {
    const { path } = participant;
    for (let step = path.next(0); step.done !== true; ) {
      step = path.next(yield step.value);
      look();
    }
  }
  return { ...participant, path: follow() };
}
