/**
 * Deadlocks of the race corpus as the validator sees them: predicted from edges that no one schedule need have together,
 * then made to happen. What comes close and cannot deadlock is not reported.
 */
import test from 'ava';
import { setMemoryRegion } from '../../../src/actors/mmu/memslots.ts';
import { exploreLocks } from '../../../src/explore/lockdep/explore-locks.ts';
import { lockTour } from '../../../src/explore/scenario/bundled/lock-tour.ts';
import { type Scenario, withQuirks } from '../../../src/explore/scenario/scenario.ts';
import { CONTINUE, R, read, type Scene, scene, slotOf, W, X } from '../../../src/explore/scenario/scene.ts';
import type { World } from '../../../src/explore/world/world.ts';
import {
  BUG_EVENT_UNDER_TREE_LOCK,
  BUG_LOCK_ORDER_SWAP,
  REF_SRCU_ACROSS_EVENT,
} from '../../../src/shared/quirks.ts';
import type { Actor } from '../../../src/shared/sync/actor.ts';
import { type Mutex, mutexLock, mutexUnlock } from '../../../src/shared/sync/mutex.ts';
import type { Path } from '../../../src/shared/sync/point.ts';
import { srcuReadLock, srcuReadUnlock } from '../../../src/shared/sync/srcu.ts';

const PAGE = 4096;
const SEED = 0x5eed;
const VICTIM = { id: 1, gfn: 0x20, pages: 2 } as const;
/** Of the low memory, which stays. */
const WATCHED = 1;
const shape = { slots: [VICTIM], vcpus: [[read(WATCHED * PAGE)]] };

const explored = (scenario: Scenario, schedules: number, attempts = 1000) =>
  exploreLocks(scenario, { schedules, attempts, seed: SEED });

/** Circles as classes and whether they came true, and the rules of all findings. */
function told(scenario: Scenario, schedules: number) {
  const { cycles, findings } = explored(scenario, schedules);
  return {
    circles: cycles.map(
      ({ cycle, realised }) => `${cycle.key}: ${realised === null ? 'predicted' : 'realised'}`,
    ),
    rules: [...new Set(findings.map(({ rule }) => rule))].sort(),
  };
}

/** VM control deletes the slot; the tool and others as said. */
function withControl(more: Partial<Scene>): Scenario {
  return scene({
    name: 'circle',
    title: 'a memslot is deleted meanwhile',
    ...shape,
    restrict: { [WATCHED]: W | X },
    *control({ control, vm }) {
      yield* setMemoryRegion(control, vm, { ...slotOf(shape, VICTIM.id), npages: 0 });
    },
    ...more,
  });
}

function* holding(actor: Actor, first: Mutex, second: Mutex): Path<void> {
  yield* mutexLock(actor, first);
  yield* mutexLock(actor, second);
  yield* mutexUnlock(actor, second);
  yield* mutexUnlock(actor, first);
}

function* inSection({ vm }: World, actor: Actor, lock: Mutex): Path<void> {
  const side = yield* srcuReadLock(actor, vm.srcu);
  yield* mutexLock(actor, lock);
  yield* mutexUnlock(actor, lock);
  yield* srcuReadUnlock(actor, vm.srcu, side);
}

test('the machine as it is: no circle, every wait declared', (t) => {
  t.deepEqual(told(lockTour, 30), { circles: [], rules: [] });
});

test('RC-13: access_tree_lock before mmu_lock in create_slot', (t) => {
  const { circles, rules } = told(withQuirks(lockTour, [BUG_LOCK_ORDER_SWAP]), 12);
  t.deepEqual(circles, ['access_tree_lock → mmu_lock: realised']);
  t.deepEqual(rules, ['CYCLE', 'I10', 'L1']);
});

test('RC-14: an event awaited under access_tree_lock', (t) => {
  const { circles, rules } = told(withQuirks(lockTour, [BUG_EVENT_UNDER_TREE_LOCK]), 12);
  t.true(circles.includes('access_tree_lock → event reply: realised'), circles.join());
  t.true(rules.includes('L4'));
});

test('RC-25: an event awaited inside the sections is undeclared; alone it is a stall, and no circle', (t) => {
  t.deepEqual(told(withQuirks(lockTour, [REF_SRCU_ACROSS_EVENT]), 12), { circles: [], rules: ['ORDER'] });
});

test('RC-64: a ring of two mutexes and a grace period, each pair of them in order', (t) => {
  const { circles } = told(
    withControl({
      others: {
        'an ioctl': ({ vm }, actor) => holding(actor, vm.kvmLock, vm.slotsLock),
        'a reader': (world, actor) => inSection(world, actor, world.vm.kvmLock),
      },
    }),
    12,
  );
  t.deepEqual(circles, ['kvm.lock → slots_lock → kvm.srcu: realised']);
});

test('RC-66: slots_lock inside a section of kvm.srcu', (t) => {
  const { circles, rules } = told(
    withControl({ others: { 'a reader': (world, actor) => inSection(world, actor, world.vm.slotsLock) } }),
    12,
  );
  t.deepEqual(circles, ['kvm.srcu → slots_lock: realised']);
  t.true(rules.includes('L3'));
});

/** The trap repair of RC-01: SET_PAGE_ACCESS under slots_lock. */
const slotsLockTool: NonNullable<Scene['tool']> = function* ({ receiver, vm }, _event, session) {
  yield* mutexLock(receiver, vm.slotsLock);
  yield* session.setPageAccess(WATCHED * PAGE, R);
  yield* mutexUnlock(receiver, vm.slotsLock);
  return CONTINUE;
};

test('RC-80: SET_PAGE_ACCESS under slots_lock, with events awaited inside kvm.srcu', (t) => {
  const { circles } = told(withQuirks(withControl({ tool: slotsLockTool }), [REF_SRCU_ACROSS_EVENT]), 12);
  t.deepEqual(circles, ['event reply → slots_lock → kvm.srcu: realised']);
});

test('RC-80 where events are awaited outside: undeclared, but no circle', (t) => {
  t.deepEqual(told(withControl({ tool: slotsLockTool }), 12), { circles: [], rules: ['ORDER'] });
});

test('the halves of a circle each have a schedule that shows them', (t) => {
  const { cycles } = explored(withQuirks(lockTour, [BUG_LOCK_ORDER_SWAP]), 12, 0);
  t.is(cycles.length, 1);
  const [{ witnesses, realised, cycle }] = cycles as [(typeof cycles)[number]];
  t.is(realised, null);
  t.is(witnesses.length, cycle.edges.length);
  t.true(witnesses.some(({ execution, steps }) => execution >= 0 && steps > 0));
  for (const edge of cycle.edges) {
    t.true(edge.heldAt.includes('gfn-access') || edge.heldAt.includes('access-tree'), edge.heldAt);
    t.true(edge.takenAt.includes('gfn-access') || edge.takenAt.includes('access-tree'), edge.takenAt);
  }
});

test('a circle comes true with both its stacks, and with who holds and waits for what', (t) => {
  const { cycles } = explored(withQuirks(lockTour, [BUG_LOCK_ORDER_SWAP]), 12);
  const { finding, schedule } = cycles[0]!.realised!;
  t.regex(finding.message, /^realised deadlock: /);
  t.is(finding.oracle, 'deadlock');
  t.true(schedule.length > 0);
  t.true(finding.details!.some((line) => /holds .*access_tree_lock and waits for mmu_lock/.test(line)));
  t.true(finding.details!.some((line) => /holds .*mmu_lock and waits for access_tree_lock/.test(line)));
});

test('the same exploration again gives the same graph and the same findings', (t) => {
  const twice = [0, 1].map(() => {
    const { graph, cycles, times } = explored(withQuirks(lockTour, [BUG_LOCK_ORDER_SWAP]), 10, 300);
    return { edges: graph.edges, schedules: cycles.map(({ realised }) => realised?.schedule ?? null), times };
  });
  t.deepEqual(twice[0], twice[1]);
});
