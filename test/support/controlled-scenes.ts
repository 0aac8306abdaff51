/** Scenarios for the controlled engine, made anew in each thread. */

import { setMemoryRegion } from '../../src/actors/mmu/memslots.ts';
import type { Scenario } from '../../src/explore/scenario/scenario.ts';
import { CONTINUE, RETRY, read, scene, slotOf, write } from '../../src/explore/scenario/scene.ts';
import { mutexLock } from '../../src/shared/sync/mutex.ts';
import { choosing, stepping, waiting } from '../../src/shared/sync/point.ts';

const COUNTER = 0x100_000;
const slots = [{ id: 1, gfn: 0x20, pages: 4, ramPage: 20 }];
const vcpus = [[read(0x20_000), write(0x21_000, 7n)], [write(0x21_008, 9n)]];

/** Events, answers chosen by the engine, a slot that goes and comes, a wait that times out. */
export function busy(): Scenario {
  return scene({
    name: 'busy',
    title: 'everything',
    slots,
    vcpus,
    restrict: { 33: 1 },
    *tool(world, event, session) {
      if ((yield choosing(2)) === 1) yield* session.setPageAccess(event.pf!.gpa, 7, { needSlot: false });
      return world.events.length > 2 ? CONTINUE : RETRY;
    },
    *control(world) {
      const request = slotOf({ slots, vcpus }, 1);
      yield* setMemoryRegion(world.control, world.vm, { ...request, npages: 0 });
      yield* setMemoryRegion(world.control, world.vm, request);
    },
    others: {
      *timer(world, actor) {
        const cell = world.vm.word('MMIO_ACCESSES');
        actor.timeoutMs = 5;
        actor.expect = 0;
        yield waiting(cell);
        yield* world.newSession(actor).setPageAccess(0x20_000, 1, { needSlot: false });
      },
    },
    check: (world) => [`${world.events.length} events`],
  });
}

export function counting(): Scenario {
  return scene({
    name: 'counting',
    title: 'two vCPUs count up one word',
    slots: [{ id: 1, gfn: 0x100, pages: 1 }],
    vcpus: [0, 1].map(
      () => `inc qword [${COUNTER}]\n mov al, 0x41\n out 0xe9, al\n xor eax, eax\n out 0xf4, eax`,
    ),
    check: (world) => [`counter ${world.vm.mem.u64[world.vm.ramPage(0x100) / 8]}, ${world.consoles.join()}`],
  });
}

/** Two who lock each other out, in some schedules; one who throws, in others. */
export function broken(): Scenario {
  return scene({
    name: 'broken',
    title: 'a deadlock, a lock order, an exception',
    vcpus: [[read(0)]],
    others: {
      *first(world, actor) {
        if ((yield choosing(2)) === 1) return;
        yield* mutexLock(actor, world.vm.slotsLock);
        yield* mutexLock(actor, world.vm.kvmiLock);
      },
      *second(world, actor) {
        yield* mutexLock(actor, world.vm.kvmiLock);
        yield stepping();
        const way = yield choosing(3);
        if (way === 2) throw new RangeError('as it was asked to');
        if (way === 1) {
          actor.expect = world.vm.mem.load(world.vm.word('MMIO_ACCESSES'));
          yield waiting(world.vm.word('MMIO_ACCESSES'));
        }
        yield* mutexLock(actor, world.vm.slotsLock);
      },
    },
  });
}
