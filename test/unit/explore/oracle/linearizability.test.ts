/** Histories that one sequential object explains, and those that none does. */
import test from 'ava';
import { setMemoryRegion } from '../../../../src/actors/mmu/memslots.ts';
import { OPERATIONS_MAX, type Operation, unexplained } from '../../../../src/explore/oracle/wing-gong.ts';
import type { World } from '../../../../src/explore/world/world.ts';
import { Prng } from '../../../../src/shared/prng.ts';
import type { Actor } from '../../../../src/shared/sync/actor.ts';
import { waitForCompletion } from '../../../../src/shared/sync/completion.ts';
import { mutexLock } from '../../../../src/shared/sync/mutex.ts';
import { type Path, relaxing, stepping } from '../../../../src/shared/sync/point.ts';
import { TRACE_EMULATE, TRACE_PF } from '../../../../src/shared/trace/kinds.ts';
import { lines, look } from '../../../support/look.ts';
import { PAGE, runner, stageOf, VICTIM } from '../../../support/oracle-scenarios.ts';

const set = (called: number, returned: number, value: number): Operation<number> => ({
  called,
  returned,
  apply: () => value,
  text: () => `set ${value}`,
});
const get = (called: number, returned: number, value: number): Operation<number> => ({
  called,
  returned,
  apply: (state) => (state === value ? state : null),
  text: () => `get ${value}`,
});
const key = (state: number) => state;

/** Tells the oracle of a call on the victim's first frame that nobody has made, and of its result. */
function* pretended(world: World, actor: Actor, op: 'get' | 'read', result: number): Path<void> {
  const call = {
    actor,
    op,
    target: VICTIM.baseGfn,
    argument: 0,
    needSlot: false,
    result: undefined as number | undefined,
  };
  world.onCall!(call);
  yield stepping();
  call.result = result;
  world.onCall!(call);
}

test('a register: overlapping calls may come in either order, others not', (t) => {
  t.is(unexplained([set(0, 10, 1), get(2, 3, 0), get(4, 5, 1)], 0, key), null);
  t.not(unexplained([set(0, 10, 1), get(2, 3, 1), get(4, 5, 0)], 0, key), null, 'new, then old');
  t.not(unexplained([set(0, 1, 1), get(2, 3, 0)], 0, key), null, 'stale');
  t.is(unexplained([set(0, 4, 1), set(1, 5, 2), get(6, 7, 1)], 0, key), null);
  t.not(unexplained([get(0, 1, 5)], 0, key), null, 'out of nowhere');
});

test('a call that never returned may have taken effect, or not', (t) => {
  const pending = set(0, Number.POSITIVE_INFINITY, 1);
  t.is(unexplained([pending, get(2, 3, 0)], 0, key), null);
  t.is(unexplained([pending, get(2, 3, 1)], 0, key), null);
  t.not(unexplained([pending, get(2, 3, 1), get(4, 5, 0)], 0, key), null);
});

test('two halves of one call keep their order', (t) => {
  const halves: Operation<number>[] = [set(0, 9, 0), { ...set(0, 9, 1), after: 0 }];
  t.is(unexplained([...halves, get(2, 3, 0), get(4, 5, 1)], 1, key), null);
  t.not(unexplained([...halves, get(2, 3, 1), get(4, 5, 0), get(10, 11, 0)], 1, key), null);
});

test('a history that is too long is cut without a false word', (t) => {
  const long = Array.from({ length: OPERATIONS_MAX - 1 }, (_, i) => set(2 * i, 2 * i + 1, 3));
  const end = 2 * OPERATIONS_MAX;
  // The last one that is looked at reads what one wrote that is not.
  const history = [...long, get(end, end + 9, 8), set(end + 1, end + 2, 8)];
  t.is(unexplained(history, 0, key), null);
});

test('random histories of a real register are explained; with one result changed most are not', (t) => {
  const seed = Number(process.env['SEED'] ?? 11);
  const prng = new Prng(BigInt(seed));
  let caught = 0;
  for (let round = 0; round < 200; round++) {
    let state = 0;
    const history: Operation<number>[] = [];
    for (let at = 0; at < 10; at++) {
      const called = at * 10 - prng.below(15);
      const returned = at * 10 + 1 + prng.below(15);
      if (prng.chance(0.5)) {
        state = prng.below(8);
        history.push(set(called, returned, state));
      } else history.push(get(called, returned, state));
    }
    history.sort((a, b) => a.called - b.called);
    t.is(unexplained(history, 0, key), null, `SEED=${seed} round ${round}`);
    const wrong = [...history, get(200, 201, 9)];
    if (unexplained(wrong, 0, key) !== null) caught += 1;
  }
  t.is(caught, 200);
});

const GPA = VICTIM.baseGfn * PAGE;
const with_ = (...paths: ((world: World, actor: Actor) => Path<unknown>)[]) =>
  stageOf((world) => paths.map((path, i) => runner(world, `caller ${i}`, (actor) => path(world, actor))));

test('sets, gets and memslot changes at once: one order explains all of it', (t) => {
  const scenario = with_(
    function* (world, actor) {
      const session = world.newSession(actor);
      yield* session.setPageAccess(GPA, 1, { needSlot: true });
      yield* session.getPageAccess(GPA);
      yield* session.setPageAccess(GPA, 5, { needSlot: true });
    },
    function* (world, actor) {
      const session = world.newSession(actor);
      yield* session.getPageAccess(GPA);
      yield* session.readPhysical(GPA, 4);
      yield* session.setPageAccess(GPA, 7, { needSlot: true });
      yield* session.readPhysical(GPA, 4);
    },
    function* ({ vm }, actor) {
      yield* setMemoryRegion(actor, vm, { ...VICTIM, baseGfn: 34 });
      yield* setMemoryRegion(actor, vm, { ...VICTIM, npages: 0 });
      yield* setMemoryRegion(actor, vm, VICTIM);
    },
  );
  t.deepEqual(lines(look(scenario, 150)), []);
});

test('a get that shows what nobody has set (RC-17)', (t) => {
  const scenario = with_(function* (world, actor) {
    const session = world.newSession(actor);
    yield* session.setPageAccess(GPA, 1);
    yield* pretended(world, actor, 'get', 7);
  });
  const [found] = look(scenario, 1).findings;
  t.like(found, { oracle: 'linearizability', rule: 'policy' });
  t.true(found!.details!.some((line) => /get by caller 0 gives rwx/.test(line)));
});

test('an event for a page that nobody restricts (RC-15)', (t) => {
  const scenario = with_(
    function* (_world, actor) {
      yield stepping();
      actor.tracer!.begin(TRACE_EMULATE);
      actor.tracer!.begin(TRACE_PF, 1, GPA, 2);
    },
    (world, actor) => world.newSession(actor).getPageAccess(GPA),
  );
  const { findings } = look(scenario, 1);
  t.true(findings.some(({ oracle, rule }) => oracle === 'linearizability' && rule === 'policy'));
});

test('a memslot change that never ends: what it has done so far is not held against anybody', (t) => {
  // Slots 0 and 1 have been made: two changes, one publication each.
  const published = 2;
  const scenario = with_(
    function* ({ vm }, actor) {
      // Taken while the change waits for its first grace period, kept for ever.
      do yield relaxing();
      while (vm.mem.i32[vm.word('SLOT_PUBLICATIONS') >>> 2] === published);
      yield* mutexLock(actor, vm.slotsArchLock);
      yield* waitForCompletion(actor, vm.kvmiComplete);
    },
    function* (world, actor) {
      do yield relaxing();
      while (world.vm.mem.i32[world.vm.word('SLOT_PUBLICATIONS') >>> 2] === published);
      const session = world.newSession(actor);
      yield* session.readPhysical(GPA, 4);
      yield* session.readPhysical(GPA, 4);
    },
    ({ vm }, actor) => setMemoryRegion(actor, vm, { ...VICTIM, npages: 0 }),
  );
  const { findings } = look(scenario, 10);
  t.deepEqual([...new Set(findings.map(({ oracle }) => oracle))], ['deadlock']);
});

test('a slot that is found while it is gone', (t) => {
  const scenario = with_(function* (world, actor) {
    yield* setMemoryRegion(actor, world.vm, { ...VICTIM, npages: 0 });
    yield* pretended(world, actor, 'read', 0);
  });
  const [found] = look(scenario, 1).findings;
  t.like(found, { oracle: 'linearizability', rule: 'slot' });
});
