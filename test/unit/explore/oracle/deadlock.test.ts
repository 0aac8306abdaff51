/** Deadlocks of every kind of wait, and waits that are none. */
import test from 'ava';
import { KVMI_EVENT_ACTION_CONTINUE } from '../../../../src/actors/introspector/kvmi/constants.ts';
import { setMemoryRegion } from '../../../../src/actors/mmu/memslots.ts';
import { REF_SRCU_ACROSS_EVENT } from '../../../../src/shared/quirks.ts';
import { waitForCompletion } from '../../../../src/shared/sync/completion.ts';
import { FREE } from '../../../../src/shared/sync/futex.ts';
import { mutexLock, mutexUnlock } from '../../../../src/shared/sync/mutex.ts';
import { type Path, reading, relaxing, updating, waiting } from '../../../../src/shared/sync/point.ts';
import { readLock, readUnlock, writeLock, writeUnlock } from '../../../../src/shared/sync/rw-lock.ts';
import { srcuReadLock, srcuReadUnlock, synchronizeSrcu } from '../../../../src/shared/sync/srcu.ts';
import { TRACE_HOOK } from '../../../../src/shared/trace/kinds.ts';
import type { Tracer } from '../../../../src/shared/trace/tracer.ts';
import { look } from '../../../support/look.ts';
import { LOW, PAGE, runner, stageOf, VICTIM } from '../../../support/oracle-scenarios.ts';

/** Lock rules are another oracle's: here the schedule has to go on to the deadlock. */
function deadlocks(...args: Parameters<typeof look>) {
  return look(...args).findings.filter(({ oracle }) => oracle === 'deadlock');
}

const twoMutexes = (swapped: boolean) =>
  stageOf((world) => {
    const { kvmLock, slotsLock } = world.vm;
    const orders = [[kvmLock, slotsLock], swapped ? [slotsLock, kvmLock] : [kvmLock, slotsLock]] as const;
    return orders.map(([first, second], n) =>
      runner(world, `host ${n}`, function* (actor) {
        // The lock rules end an execution first.
        actor.checks = null;
        yield* mutexLock(actor, first!);
        yield* mutexLock(actor, second!);
        yield* mutexUnlock(actor, second!);
        yield* mutexUnlock(actor, first!);
      }),
    );
  });

test('two locks in two orders: the finding names the cycle, who holds what and since when', (t) => {
  const [found, ...more] = deadlocks(twoMutexes(true));
  t.is(more.length, 0, 'one cause, one key');
  t.regex(
    found!.message,
    /host \d waits for (kvm.lock|slots_lock): host \d holds (kvm.lock|slots_lock) since step \d+; /,
  );
  t.is(found!.rule, 'I10');
  t.is(found!.key, 'deadlock kvm.lock → slots_lock');
  t.is(found!.details!.length, 2);
});

test('two locks in one order: no deadlock', (t) => {
  t.deepEqual(look(twoMutexes(false)).findings, []);
});

test('a cycle among two is found while a third one goes on polling', (t) => {
  const scenario = twoMutexes(true);
  const [found] = deadlocks({
    ...scenario,
    participants: (world) => [
      ...scenario.participants(world),
      runner(world, 'poller', function* () {
        for (;;) yield relaxing();
      }),
    ],
  });
  t.regex(found!.message, /holds slots_lock since step/);
  t.true(found!.step < 1000);
});

const readers = (second: 'read' | 'none') =>
  stageOf((world) => {
    const { accessTreeLock: lock } = world.vm;
    return [
      runner(world, 'reader', function* (actor) {
        actor.checks = null;
        yield* readLock(actor, lock);
        if (second === 'read') {
          yield* readLock(actor, lock);
          yield* readUnlock(actor, lock);
        }
        yield* readUnlock(actor, lock);
      }),
      runner(world, 'writer', function* (actor) {
        yield* writeLock(actor, lock);
        yield* writeUnlock(actor, lock);
      }),
    ];
  });

test('a reader that enters again behind a waiting writer (RC-54)', (t) => {
  const [found] = deadlocks(readers('read'), 200);
  t.regex(
    found!.message,
    /writer waits for access_tree_lock for write: reader holds access_tree_lock for read/,
  );
  t.regex(found!.message, /reader waits for access_tree_lock for read/);
  t.deepEqual(deadlocks(readers('none'), 200), []);
});

test('a grace period inside its own section (RC-67): a cycle of one', (t) => {
  const inside = (ownSection: boolean) =>
    stageOf((world) => [
      runner(world, 'host', function* (actor) {
        actor.checks = null;
        const section = yield* srcuReadLock(actor, world.vm.trackSrcu);
        if (!ownSection) yield* srcuReadUnlock(actor, world.vm.trackSrcu, section);
        yield* synchronizeSrcu(actor, world.vm.trackSrcu);
        if (ownSection) yield* srcuReadUnlock(actor, world.vm.trackSrcu, section);
      }),
    ]);
  const [found] = deadlocks(inside(true), 1);
  t.regex(
    found!.message,
    /^host waits for a grace period of track_srcu, side \d: host holds track_srcu \(side \d\)/,
  );
  t.deepEqual(deadlocks(inside(false), 1), []);
});

/** The tool changes the memory layout before it answers. */
const hostage = (quirks: number[]) =>
  stageOf(
    (world) => [
      world.vcpuRunner(0, [{ kind: 'write', gpa: VICTIM.baseGfn * PAGE, size: 4, value: 1n }]),
      world.toolRunner(function* () {
        yield* setMemoryRegion(world.receiver, world.vm, { ...LOW, npages: 0 });
        return KVMI_EVENT_ACTION_CONTINUE;
      }),
    ],
    { machine: { quirks }, setUp: (world) => void world.access(VICTIM.baseGfn, 1) },
  );

test('a vCPU asleep for the tool inside kvm.srcu, the tool waiting for its grace period (RC-25)', (t) => {
  const [found] = deadlocks(hostage([REF_SRCU_ACROSS_EVENT]), 5);
  t.regex(found!.message, /receiver waits for a grace period of kvm.srcu/);
  t.regex(found!.message, /vcpu 0 waits for the reply to event 1: receiver took the event at step \d+/);
  t.deepEqual(look(hostage([]), 20).findings, []);
});

const sleepyLock = (notifies: boolean) =>
  stageOf((world) => {
    const { kvmLock } = world.vm;
    return ['first', 'second'].map((name) =>
      runner(world, name, function* (actor) {
        yield* mutexLock(actor, kvmLock);
        if (notifies) {
          yield* mutexUnlock(actor, kvmLock);
          return;
        }
        actor.releasing(kvmLock.cls, kvmLock.addr, 'write');
        yield updating(kvmLock.addr);
        actor.mem.exchange(kvmLock.addr, FREE);
      }),
    );
  });

test('an unlock that notifies nobody (RC-73): asleep on a free lock', (t) => {
  const [found] = deadlocks(sleepyLock(false));
  t.regex(
    found!.message,
    /^asleep on a free lock: (first|second) sleeps for kvm.lock, but kvm.lock is free$/,
  );
  t.deepEqual(look(sleepyLock(true)).findings, []);
});

/** Looks, then sleeps on whatever the word says by then: what came between the two is slept over. */
const sleeper = (armsFirst: boolean) =>
  stageOf((world) => {
    const bell = world.vm.word('RECEIVER_BELL');
    const flag = world.vm.word('KVMI_CLEANUP');
    function* wait(actor: { mem: typeof world.vm.mem; expect: number }): Path<void> {
      for (;;) {
        yield reading(bell);
        const before = actor.mem.load(bell);
        yield reading(flag);
        if (actor.mem.load(flag) === 7) return;
        yield reading(bell);
        actor.expect = armsFirst ? before : actor.mem.load(bell);
        yield waiting(bell);
      }
    }
    return [
      runner(world, 'sleeper', wait),
      runner(world, 'waker', function* (actor) {
        yield updating(flag);
        actor.mem.store(flag, 7);
        yield updating(bell);
        actor.mem.add(bell, 1);
        actor.mem.notify(bell);
      }),
    ];
  });

test('a condition that is looked at before the wait is armed (RC-21): nobody is left to wake the sleeper', (t) => {
  const [found] = deadlocks(sleeper(false), 200);
  t.regex(found!.message, /^nobody can move, and nobody is left to wake sleeper for messages$/);
  t.deepEqual(look(sleeper(true), 200).findings, []);
});

test('a wait for the last reference says who has one', (t) => {
  const scenario = stageOf((world) => [
    world.toolRunner(function* () {
      return KVMI_EVENT_ACTION_CONTINUE;
    }),
    runner(world, 'host', (actor) => waitForCompletion(actor, world.vm.kvmiComplete)),
  ]);
  const [found] = deadlocks(scenario, 1);
  t.regex(found!.message, /host for kvmi_complete/);
  t.true(found!.details!.some((line) => line.includes("receiver has the receiver's reference")));
});

test('who listened to locks and traces before oracles came is still told', (t) => {
  const heard: string[] = [];
  const scenario = stageOf((world) => {
    const host = runner(world, 'host', function* (actor) {
      yield* mutexLock(actor, world.vm.kvmLock);
      actor.tracer!.begin(TRACE_HOOK);
      yield* mutexUnlock(actor, world.vm.kvmLock);
    });
    const actor = world.actors.at(-1)!;
    actor.trace = (event) => heard.push(event);
    actor.tracer = { begin: (kind: number) => heard.push(`begins ${kind}`) } as unknown as Tracer;
    return [host];
  });
  t.deepEqual(look(scenario, 1).findings, []);
  t.deepEqual(heard, ['acquire', 'acquired', `begins ${TRACE_HOOK}`, 'release']);
});
