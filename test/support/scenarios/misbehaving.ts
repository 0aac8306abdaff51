/** For tests of `faultline explore`: a scenario that does one thing no scenario may do, at a place of the test's choice. */
import type { Scenario } from '../../../src/explore/scenario/scenario.ts';
import { type Path, reading } from '../../../src/shared/sync/point.ts';

/** What it does, and where. */
export interface Misdeed {
  readonly setUp?: () => void;
  readonly participants?: () => void;
  readonly step?: () => void;
  readonly atEnd?: () => void;
}

export function misbehaving({ setUp, participants, step, atEnd }: Misdeed): Scenario {
  return {
    name: 'misbehaving',
    title: 'does what no scenario may do',
    machine: {},
    setUp: () => setUp?.(),
    participants(world) {
      participants?.();
      const { vm } = world;
      const path = function* (): Path<void> {
        yield reading(vm.word('DEAD'));
        step?.();
        yield reading(vm.word('DEAD'));
      };
      return ['one', 'two'].map((name) => ({ name, waiter: world.actor(name), path: path() }));
    },
    atEnd() {
      atEnd?.();
      return [];
    },
  };
}
