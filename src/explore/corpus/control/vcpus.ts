/** Pauses, requests and the end of a VM: what vCPUs are told, and when they have heard it. */
import { KVMI_EVENT_ACTION_CRASH } from '../../../actors/introspector/kvmi/constants.ts';
import { VCPU } from '../../../shared/layout/vcpu.ts';
import {
  BUG_CLEAR_AFTER_HANDLE,
  BUG_CRASH_LOCAL,
  BUG_PAUSE_ABORTS_BLOCK,
  BUG_PAUSE_COUNTER,
  BUG_PAUSE_IGNORES_EMU,
} from '../../../shared/quirks.ts';
import type { Path } from '../../../shared/sync/point.ts';
import type { World } from '../../world/world.ts';
import { allowsAll, before, commands, haltedUntilStopped, runner, stops, whenOver, write } from '../cast.ts';
import type { CorpusItem } from '../item.ts';
import { PageWatch } from '../page-watch.ts';
import { CONTINUE, corpusItem, GFN, hooked, NOT_W } from '../setting.ts';

// No event, for nobody listens to them; but the page is tracked, so that the store is emulated.
const pauseIgnoresEmu = corpusItem(
  BUG_PAUSE_IGNORES_EMU,
  { depth: 2, origin: 'REF', rules: ['I15'], place: 'introspector/session.ts: pause' },
  () => ({
    setUp(world) {
      hooked([GFN, NOT_W])(world);
      world.vm.mem.store(world.vm.vcpuWord(0, 'EVENTS'), 0);
    },
    participants(world) {
      const watch = new PageWatch(world, 'I15');
      let over = false;
      return [
        watch.over(world.vcpuRunner(0, [write(GFN, 1)])),
        commands(world, function* (session) {
          yield* session.pause(0, true);
          if (!over) watch.closed = 'after a waited pause';
        }),
        world.toolRunner(function* () {
          over = true;
          watch.closed = null;
          return CONTINUE;
        }),
      ];
    },
  }),
);

const pauseAbortsBlock = corpusItem(
  BUG_PAUSE_ABORTS_BLOCK,
  { depth: 1, origin: 'HIST', rules: ['I15'], place: 'vcpu/entry.ts: sleepHalted' },
  () => ({
    setUp: hooked(),
    participants(world) {
      const watch = new PageWatch(world, 'I15');
      watch.closed = 'before it was started';
      return [
        watch.over(runner(world.vcpus[0]!.actor, haltedUntilStopped(world, 0))),
        commands(world, function* (session) {
          yield* session.pause(0, false);
          yield* stops(world.vm, 0);
        }),
        allowsAll(world),
      ];
    },
  }),
);

const PAUSES = 2;

const pauseCounter = corpusItem(
  BUG_PAUSE_COUNTER,
  { depth: 2, origin: 'MUT', rules: ['I15'], place: 'introspector/session.ts: pause' },
  () => ({
    setUp: hooked(),
    participants: (world) => [
      runner(world.vcpus[0]!.actor, haltedUntilStopped(world, 0)),
      commands(world, function* (session) {
        for (let i = 0; i < PAUSES; i++) yield* session.pause(0, false);
        yield* stops(world.vm, 0);
      }),
      allowsAll(world),
    ],
    atEnd({ vm, vcpus }) {
      const sent = Number(vm.mem.i64[(vcpus[0]!.ctl + VCPU.at.PAUSES) / 8]);
      const open = vm.mem.load(vm.vcpuWord(0, 'PAUSE_REQUESTS'));
      if (sent + open === PAUSES) return [];
      return [{ rule: 'I15', message: `${PAUSES} pauses became ${sent} events, with ${open} still to come` }];
    },
  }),
);

const crashLocal = corpusItem(
  BUG_CRASH_LOCAL,
  { depth: 1, origin: 'REF', rules: ['I17'], place: 'introspector/vcpu-side.ts: handleCommonEventActions' },
  () => ({
    machine: { vcpuCount: 2 },
    setUp(world) {
      hooked([GFN + 1, NOT_W])(world);
      before(world, 1, write(GFN, 1));
    },
    participants(world) {
      const watch = new PageWatch(world, 'I17');
      return [
        whenOver(world.vcpuRunner(0, [write(GFN + 1, 1)]), () => {
          watch.closed = 'after the VM had crashed';
        }),
        watch.over(world.vcpuRunner(1, [write(GFN, 2), write(GFN, 3)])),
        world.toolRunner(function* () {
          return KVMI_EVENT_ACTION_CRASH;
        }),
      ];
    },
  }),
);

const clearAfterHandle = corpusItem(
  BUG_CLEAR_AFTER_HANDLE,
  { depth: 2, origin: 'MUT', rules: ['I10'], place: 'vcpu/entry.ts: serveRequests' },
  () => ({
    setUp: hooked(),
    participants: (world) => [
      runner(world.vcpus[0]!.actor, haltedUntilStopped(world, 0)),
      runner(world.receiver, asksTwice(world)),
    ],
  }),
);

function* asksTwice(world: World): Path<void> {
  yield* world.tool.registers(0);
  yield* world.tool.registers(0);
  yield* stops(world.vm, 0);
}

export const vcpuItems: readonly CorpusItem[] = [
  pauseIgnoresEmu,
  pauseAbortsBlock,
  pauseCounter,
  crashLocal,
  clearAfterHandle,
];
