/** Accesses that take effect against the policy or by a stale translation, and those that may. */
import test from 'ava';
import {
  KVMI_EVENT_ACTION_CONTINUE,
  KVMI_EVENT_ACTION_CRASH,
} from '../../../../src/actors/introspector/kvmi/constants.ts';
import { spteAddress } from '../../../../src/actors/mmu/spte.ts';
import type { World } from '../../../../src/explore/world/world.ts';
import { SPTE_MMU_WRITABLE, SPTE_W } from '../../../../src/shared/layout/spte.ts';
import { REQ_TLB_FLUSH } from '../../../../src/shared/layout/vcpu.ts';
import {
  BUG_PAUSE_IGNORES_EMU,
  REF_EMU_CHECK_THEN_ACT,
  REF_MOVE_FAIL_NO_RETRACK,
  REF_PREWRITE_NO_PROTECT,
} from '../../../../src/shared/quirks.ts';
import type { Actor } from '../../../../src/shared/sync/actor.ts';
import { type Path, relaxing, updating } from '../../../../src/shared/sync/point.ts';
import { writeLock, writeUnlock } from '../../../../src/shared/sync/rw-lock.ts';
import { TRACE_FLUSH, TRACE_PF, TRACE_SET_ACCESS } from '../../../../src/shared/trace/kinds.ts';
import { lines, look } from '../../../support/look.ts';
import { PAGE, runner, stageOf, storm, VICTIM } from '../../../support/oracle-scenarios.ts';

const GFN = VICTIM.baseGfn;
const WRITES = Array.from({ length: 4 }, (_, n) => ({
  kind: 'write' as const,
  gpa: GFN * PAGE + n,
  size: 1 as const,
  value: 1n,
}));

/** A vCPU that stores, and a tightening of one's own. */
function against(tighten: (world: World, actor: Actor) => Path<unknown>, quirks: number[] = []) {
  return stageOf(
    (world) => [
      world.vcpuRunner(0, WRITES),
      world.toolRunner(function* () {
        return KVMI_EVENT_ACTION_CONTINUE;
      }),
      runner(world, 'host', (actor) => tighten(world, actor)),
    ],
    { machine: { quirks } },
  );
}

const rules = (seen: ReturnType<typeof look>) => [...new Set(seen.findings.map(({ rule }) => rule))].sort();

test('a command that returns without having done anything: I2', (t) => {
  const broken = against(function* (_world, actor) {
    yield updating(8);
    actor.tracer!.begin(TRACE_SET_ACCESS, GFN, 1);
    actor.tracer!.end(TRACE_SET_ACCESS);
  });
  const { findings } = look(broken, 40);
  t.like(findings[0], { oracle: 'invariant', rule: 'I2' });
  t.regex(findings[0]!.message, /vcpu 0 can make a write of gfn 0x20 in guest mode, which its spte allows/);
});

test('an spte that loses W without a flush: I2 once the command has returned, I6 after the next flush (RC-06)', (t) => {
  const broken = (flushed: boolean) =>
    against(function* (world, actor) {
      const { vm } = world;
      const at = spteAddress(vm, 0, GFN);
      do yield relaxing(at);
      while ((vm.mem.load64(at) & SPTE_W) === 0n);
      actor.tracer!.begin(TRACE_SET_ACCESS, GFN, 1);
      yield* writeLock(actor, vm.mmuLock);
      yield updating(at);
      const old = vm.mem.load64(at);
      vm.mem.cas64(at, old, old & ~(SPTE_W | SPTE_MMU_WRITABLE));
      yield* writeUnlock(actor, vm.mmuLock);
      // Nobody is asked, and so nobody is waited for.
      if (flushed) actor.tracer!.begin(TRACE_FLUSH, REQ_TLB_FLUSH);
      if (flushed) actor.tracer!.end(TRACE_FLUSH, 0);
      if (!flushed) actor.tracer!.end(TRACE_SET_ACCESS);
    });
  const [first, second] = [broken(true), broken(false)].map((scenario) => rules(look(scenario, 60)));
  t.deepEqual([first, second], [['I6'], ['I2']]);
});

test('the real command, at any moment: nothing to say, a stale strict entry included (NC-03)', (t) => {
  const correct = against(function* (world, actor) {
    const session = world.newSession(actor);
    for (const access of [1, 7, 4, 3]) yield* session.setPageAccess(GFN * PAGE, access);
  });
  t.deepEqual(lines(look(correct, 150)), []);
});

test('PREWRITE that protects nothing (RC-11)', (t) => {
  const broken = against(
    (world, actor) => world.newSession(actor).setPageAccess(GFN * PAGE, 1),
    [REF_PREWRITE_NO_PROTECT],
  );
  const found = rules(look(broken, 60));
  t.true(found.includes('I5') || found.includes('I1'), found.join());
});

test('a store approved before the page was opened and tightened again (RC-05)', (t) => {
  const scenario = (quirks: number[]) =>
    stageOf(
      (world) => {
        let asked = 0;
        return [
          world.vcpuRunner(0, WRITES.slice(0, 1)),
          world.toolRunner(function* (_event, session) {
            asked += 1;
            if (asked === 1) {
              yield* session.setPageAccess(GFN * PAGE, 3);
              yield* session.setPageAccess(GFN * PAGE, 1);
            }
            return KVMI_EVENT_ACTION_CONTINUE;
          }),
        ];
      },
      { machine: { quirks }, setUp: (world) => void world.access(GFN, 1) },
    );
  const { findings } = look(scenario([REF_EMU_CHECK_THEN_ACT]), 3);
  t.true(
    findings.some(
      ({ rule, message }) => rule === 'I2' && /emulated write .* approved by an event/.test(message),
    ),
  );
  t.deepEqual(lines(look(scenario([]), 30)), []);
});

test('an emulated store after a waited pause has returned (RC-19)', (t) => {
  const scenario = (pauses: boolean) =>
    stageOf(
      (world) => [
        world.vcpuRunner(0, WRITES),
        world.toolRunner(function* () {
          return KVMI_EVENT_ACTION_CONTINUE;
        }),
        runner(world, 'host', (actor) => world.newSession(actor).pause(0, true)),
      ],
      {
        machine: { quirks: pauses ? [BUG_PAUSE_IGNORES_EMU] : [] },
        setUp(world) {
          world.access(GFN, 1);
          // Tracked, and nobody is asked.
          world.vm.mem.store(world.vm.vcpuWord(0, 'EVENTS'), 0);
        },
      },
    );
  t.true(rules(look(scenario(true), 300)).includes('I15'));
  t.deepEqual(lines(look(scenario(false), 100)), []);
});

test('guest mode after CRASH (I17)', (t) => {
  const broken = against(function* (world) {
    yield updating(8);
    world.vcpus[0]!.actor.tracer!.end(TRACE_PF, KVMI_EVENT_ACTION_CRASH);
  });
  t.true(rules(look(broken, 40)).includes('I17'));
});

test('the reference build: a failed MOVE leaves pages open, seen at the access that should have been stopped', (t) => {
  const found = new Set<string>();
  for (let seed = 1; seed <= 10; seed++) {
    for (const rule of rules(look(storm(seed, { quirks: [REF_MOVE_FAIL_NO_RETRACK] }), 10))) found.add(rule);
  }
  t.true(found.has('I1') && found.has('I3'), [...found].join());
});
