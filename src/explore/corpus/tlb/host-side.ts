/** What a host does beside the machine: switches vCPUs, owns pages, brings them in later. */
import {
  BUG_ASYNC_NO_FLUSH,
  BUG_FLUSH_FLAG_LOST,
  BUG_NO_PAGE_REF,
  BUG_PREEMPTED_MID_INSN,
} from '../../../shared/quirks.ts';
import type { Path } from '../../../shared/sync/point.ts';
import { runner } from '../cast.ts';
import type { CorpusItem } from '../item.ts';
import { destroyVcpu, queueFault, worker } from '../models/async-fault.ts';
import { makePage, mapAndWrite, putPage } from '../models/owned-page.ts';
import { mapFirst, shootDown, storesBetweenSwitches } from '../models/steal-time.ts';
import { corpusItem, type Setting } from '../setting.ts';

/** vCPU 0 stores through a mapping, switched out and in; vCPU 1 changes it and shoots the old translation down. */
function shootdown(stores: number): Setting {
  return {
    machine: { vcpuCount: 2 },
    setUp: ({ vm }) => mapFirst(vm),
    participants({ vm, vcpus }) {
      const [stores0, shoots] = [vcpus[0]!.actor, vcpus[1]!.actor];
      return [
        runner(stores0, storesBetweenSwitches(stores0, vm, stores)),
        runner(shoots, shootDown(shoots, vm)),
      ];
    },
  };
}

const STEAL_TIME = 'models/steal-time.ts: we have no steal time and no flags in it';

const preemptedMidInsn = corpusItem(
  BUG_PREEMPTED_MID_INSN,
  { depth: 2, origin: 'HIST', rules: ['I6'], place: STEAL_TIME },
  () => shootdown(1),
);

const flushFlagLost = corpusItem(
  BUG_FLUSH_FLAG_LOST,
  { depth: 2, origin: 'HIST', rules: ['I6'], place: STEAL_TIME },
  () => shootdown(2),
);

const noPageRef = corpusItem(
  BUG_NO_PAGE_REF,
  {
    depth: 2,
    origin: 'HIST',
    rules: ['I7'],
    place: 'models/owned-page.ts: our guest RAM has one owner for ever',
  },
  () => ({
    machine: { vcpuCount: 2 },
    setUp: ({ vm }) => makePage(vm),
    participants: ({ vm, vcpus, control }) => [
      ...vcpus.map(({ actor }, index) => runner(actor, mapAndWrite(vm, index))),
      runner(control, putPage(vm)),
    ],
  }),
);

const asyncNoFlush = corpusItem(
  BUG_ASYNC_NO_FLUSH,
  {
    depth: 2,
    origin: 'HIST',
    rules: ['I12'],
    place: 'models/async-fault.ts: our faults are all answered at once',
  },
  () => ({
    participants(world) {
      const { vm } = world;
      const { actor } = world.vcpus[0]!;
      const async = world.actor('worker');
      const lives = function* (): Path<void> {
        yield* queueFault(vm);
        yield* destroyVcpu(actor, vm);
      };
      return [runner(actor, lives()), runner(async, worker(async, vm))];
    },
  }),
);

export const hostSideItems: readonly CorpusItem[] = [
  preemptedMidInsn,
  flushFlagLost,
  noPageRef,
  asyncNoFlush,
];
