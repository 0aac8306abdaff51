/** The race detector: what is ordered, what is marked, and what is neither. */
import test from 'ava';
import { lookupEntry } from '../../../../src/actors/mmu/access-tree.ts';
import { spteAddress } from '../../../../src/actors/mmu/spte.ts';
import { Stage } from '../../../../src/explore/explorer.ts';
import { explainRace } from '../../../../src/explore/oracle/explain-race.ts';
import { MachineTarget } from '../../../../src/explore/scenario/machine-target.ts';
import { RandomWalk } from '../../../../src/explore/strategy/random-walk.ts';
import type { World } from '../../../../src/explore/world/world.ts';
import type { Actor } from '../../../../src/shared/sync/actor.ts';
import { complete, waitForCompletion } from '../../../../src/shared/sync/completion.ts';
import { mutexLock, mutexUnlock } from '../../../../src/shared/sync/mutex.ts';
import { type Path, reading, relaxing, stepping, writing } from '../../../../src/shared/sync/point.ts';
import { readLock, readUnlock } from '../../../../src/shared/sync/rw-lock.ts';
import { srcuReadLock, srcuReadUnlock, synchronizeSrcu } from '../../../../src/shared/sync/srcu.ts';
import { lines, look } from '../../../support/look.ts';
import { runner, stageOf } from '../../../support/oracle-scenarios.ts';

type Side = (world: World, actor: Actor) => Path<unknown>;

const two = (left: Side, right: Side) =>
  stageOf((world) => [
    runner(world, 'left', (actor) => left(world, actor)),
    runner(world, 'right', (actor) => right(world, actor)),
  ]);
const races = (left: Side, right: Side, schedules = 30) =>
  look(two(left, right), schedules).findings.filter(({ oracle }) => oracle === 'race');

/** A word that nobody else uses. */
const word = ({ vm }: World) => vm.word('TSC_BASE');

test('two plain stores that nothing orders', (t) => {
  const side: Side = function* (world) {
    yield stepping();
    world.vm.mem.poke(word(world), 1);
  };
  const [found, ...more] = races(side, side);
  t.is(more.length, 0);
  t.like(found, {
    oracle: 'race',
    key: 'race TSC_BASE plain write after step / plain write after step',
  });
  t.regex(
    found!.message,
    /^TSC_BASE: plain write by (left|right), and a plain write by (left|right) that nothing/,
  );
});

test('a marked store and a plain load; two marked ones are no race', (t) => {
  const marked: Side = function* ({ vm }, actor) {
    yield writing(vm.word('TSC_BASE'));
    actor.mem.store(vm.word('TSC_BASE'), 1);
  };
  const plain: Side = function* (world) {
    yield stepping();
    world.vm.mem.load(word(world));
  };
  const announced: Side = function* (world) {
    yield reading(word(world));
    world.vm.mem.load(word(world));
  };
  t.regex(races(marked, plain)[0]!.key, /marked write .* plain read/);
  t.deepEqual(races(marked, marked), []);
  t.deepEqual(races(marked, announced), []);
  t.deepEqual(races(plain, plain), [], 'loads');
});

test('a mutex orders, on both sides only', (t) => {
  const locked: Side = function* (world, actor) {
    yield* mutexLock(actor, world.vm.kvmLock);
    world.vm.mem.poke(word(world), 1);
    yield* mutexUnlock(actor, world.vm.kvmLock);
  };
  const unlocked: Side = function* (world) {
    yield stepping();
    world.vm.mem.peek(word(world));
  };
  t.deepEqual(races(locked, locked), []);
  t.is(races(locked, unlocked).length, 1);
});

test('a completion, a wake-up and a publication order what came before them', (t) => {
  t.deepEqual(
    races(
      function* (world, actor) {
        yield stepping();
        world.vm.mem.poke(word(world), 1);
        yield* complete(actor, world.vm.kvmiComplete);
      },
      function* (world, actor) {
        yield* waitForCompletion(actor, world.vm.kvmiComplete);
        world.vm.mem.peek(word(world));
      },
    ),
    [],
  );
});

test('a grace period orders the readers that it has waited for; without it they race', (t) => {
  const scenario = (waits: boolean) =>
    two(
      function* (world, actor) {
        const section = yield* srcuReadLock(actor, world.vm.trackSrcu);
        world.vm.mem.peek(word(world));
        // Told behind the detector's back.
        world.vm.mem.i32[word(world) / 4 + 1] = 1;
        yield* srcuReadUnlock(actor, world.vm.trackSrcu, section);
      },
      function* (world, actor) {
        // After the reader has entered, and not because of anything that it has said.
        const { i32 } = world.vm.mem;
        do yield relaxing();
        while (i32[word(world) / 4 + 1] === 0);
        if (waits) yield* synchronizeSrcu(actor, world.vm.trackSrcu);
        world.vm.mem.poke(word(world), 1);
      },
    );
  const of = (waits: boolean) => look(scenario(waits), 60).findings.filter(({ oracle }) => oracle === 'race');
  t.is(of(false).length, 1);
  t.deepEqual(of(true), []);
});

const setting: Side = (world, actor) => world.newSession(actor).setPageAccess(0x20000, 1);
const looking = (locks: boolean): Side =>
  function* (world, actor) {
    const { vm } = world;
    if (locks) yield* readLock(actor, vm.accessTreeLock);
    else yield stepping();
    lookupEntry(vm, 0x20);
    if (locks) yield* readUnlock(actor, vm.accessTreeLock);
  };

test('the access tree looked at without its lock (RC-16)', (t) => {
  const [found] = races(setting, looking(false), 60);
  t.regex(found!.message, /^tree-nodes\[\d+\]/);
  t.deepEqual(races(setting, looking(true), 60), []);
});

test('both sides with their stacks, when the schedule is executed once more', (t) => {
  const scenario = two(setting, looking(false));
  const stage = new Stage(new MachineTarget(scenario));
  const strategy = new RandomWalk();
  for (let seed = 1; seed < 100; seed++) {
    const { findings, schedule } = stage.outcome(strategy, seed)!;
    if (findings[0]?.oracle !== 'race') continue;
    const { key, details } = explainRace(scenario, schedule, findings[0]);
    t.is(key, findings[0].key);
    const frames = details!.filter((line) => line.startsWith('    '));
    t.true(
      frames.some((line) => line.includes('lookupEntry')),
      details!.join('\n'),
    );
    t.true(
      frames.some((line) => line.includes('insertEntry')),
      details!.join('\n'),
    );
    return;
  }
  t.fail('no race in 100 seeds');
});

test('half of an spte (RC-55)', (t) => {
  const [found] = races(
    function* ({ vm }) {
      const at = spteAddress(vm, 0, 0x20);
      yield writing(at);
      vm.mem.store(at, 1);
    },
    function* () {},
    1,
  );
  t.like(found, { rule: 'torn' });
});

test('races of vCPUs on guest memory are not looked at (NC-11)', (t) => {
  const scenario = stageOf(
    (world) =>
      [0, 1].map((index) => world.vcpuRunner(index, [{ kind: 'write', gpa: 0x20000, size: 4, value: 1n }])),
    { machine: { vcpuCount: 2 } },
  );
  t.deepEqual(lines(look(scenario, 60)), []);
});
