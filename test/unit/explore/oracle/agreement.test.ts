/** Policy, counts and sptes while the machine runs, and whole storms in which nothing is to be found. */
import test from 'ava';
import { hook, unhook } from '../../../../src/actors/introspector/hook.ts';
import { KVMI_EVENT_ACTION_CONTINUE } from '../../../../src/actors/introspector/kvmi/constants.ts';
import { trackRemove } from '../../../../src/actors/mmu/page-track.ts';
import { loadRoot } from '../../../../src/actors/mmu/roots.ts';
import { activeSet, findSlot } from '../../../../src/actors/mmu/slot-sets.ts';
import { spteAddress } from '../../../../src/actors/mmu/spte.ts';
import type { World } from '../../../../src/explore/world/world.ts';
import { TRACK_PREWRITE } from '../../../../src/shared/layout/memslot.ts';
import {
  SPTE_HOST_WRITABLE,
  SPTE_MMU_WRITABLE,
  SPTE_PRESENT,
  SPTE_R,
  SPTE_W,
} from '../../../../src/shared/layout/spte.ts';
import {
  REF_CREATE_SLOT_GAP,
  REF_MOVE_FAIL_NO_RETRACK,
  REF_READ_PROTECT_KEEPS_MMU_W,
  REF_TRACK_INVALID_SLOT,
} from '../../../../src/shared/quirks.ts';
import type { Actor } from '../../../../src/shared/sync/actor.ts';
import { type Path, reading, updating, waiting } from '../../../../src/shared/sync/point.ts';
import { writeLock, writeUnlock } from '../../../../src/shared/sync/rw-lock.ts';
import { FAULT_RESULTS, TRACE_FAULT } from '../../../../src/shared/trace/kinds.ts';
import { lines, look } from '../../../support/look.ts';
import { PAGE, runner, stageOf, storm, VICTIM } from '../../../support/oracle-scenarios.ts';

const GFN = VICTIM.baseGfn;

/** While it runs: what is only looked at in the end says nothing about the moment. */
function during(path: (world: World, actor: Actor) => Path<unknown>): string[] {
  const scenario = stageOf((world) => [runner(world, 'host', (actor) => path(world, actor))], {
    setUp: (world) => void world.access(GFN, 1),
  });
  return lines(look(scenario, 1)).filter((line) => / is free|locks are free|for MMIO/.test(line));
}

test('a count that goes although the policy stays (I3)', (t) => {
  const [found] = during(function* ({ vm }, actor) {
    yield* writeLock(actor, vm.mmuLock);
    yield* trackRemove(vm, findSlot(vm, activeSet(vm, 0), GFN)!, GFN, TRACK_PREWRITE);
    yield* writeUnlock(actor, vm.mmuLock);
  });
  t.regex(
    found!,
    /I3: gfn 0x20 .* policy denies -w-, active bit set, PREWRITE count 0, and both its locks are free/,
  );
});

for (const [what, bits, expected] of [
  [
    'grants what tracking denies',
    SPTE_R | SPTE_W | SPTE_MMU_WRITABLE | SPTE_HOST_WRITABLE,
    /I5: .* grants -w-/,
  ],
  ['is no legal entry', SPTE_W | SPTE_MMU_WRITABLE | SPTE_HOST_WRITABLE, /I5: .* W without R/],
] as const) {
  test(`an spte that ${what} (I5)`, (t) => {
    const scenario = stageOf(
      (world) => [
        runner(world, 'host', function* (actor) {
          const { vm } = world;
          yield* loadRoot(actor, vm, 0);
          const at = spteAddress(vm, vm.mem.load(vm.vcpuWord(0, 'ROOT')), GFN);
          yield* writeLock(actor, vm.mmuLock);
          yield updating(at);
          vm.mem.store64(at, SPTE_PRESENT | bits | (16n << 12n));
          yield* writeUnlock(actor, vm.mmuLock);
        }),
      ],
      { setUp: (world) => void world.access(GFN, 1) },
    );
    const found = lines(look(scenario, 1));
    t.true(
      found.some((line) => expected.test(line)),
      found.join('\n'),
    );
  });
}

test('a page of a slot that is taken for MMIO (I8)', (t) => {
  const scenario = (gfn: number) =>
    stageOf((world) => [
      {
        name: 'vcpu 0',
        waiter: world.vcpus[0]!.actor,
        path: (function* (): Path<void> {
          yield updating(8);
          world.vcpus[0]!.actor.tracer!.begin(TRACE_FAULT, gfn, 2);
          yield updating(8);
          world.vcpus[0]!.actor.tracer!.end(TRACE_FAULT, FAULT_RESULTS.indexOf('mmio'));
        })(),
      },
    ]);
  t.regex(lines(look(scenario(GFN), 1))[0]!, /I8: vcpu 0 takes gfn 0x20 for MMIO, which a slot covers/);
  t.deepEqual(lines(look(scenario(100), 1)), []);
});

for (const [name, quirk, rule] of [
  ['createSlotGap (RC-01)', REF_CREATE_SLOT_GAP, 'I3'],
  ['trackInvalidSlot (RC-02)', REF_TRACK_INVALID_SLOT, 'I3'],
  ['moveFailNoRetrack (RC-03)', REF_MOVE_FAIL_NO_RETRACK, 'I3'],
  ['readProtectKeepsMmuW (RC-12)', REF_READ_PROTECT_KEEPS_MMU_W, 'I5'],
] as const) {
  test(`storms show ${name}`, (t) => {
    for (let seed = 1; seed <= 20; seed++) {
      const found = look(storm(seed, { quirks: [quirk] }), 10).findings.map((finding) => finding.rule);
      if (!found.includes(rule)) continue;
      t.pass();
      return;
    }
    t.fail('not in 20 storms');
  });
}

const SEEDS = Number(process.env['SEEDS'] ?? 12);

test(`the correct build: ${SEEDS} storms in 10 schedules each, and no oracle says a word (NC-01 … NC-14)`, (t) => {
  for (let seed = 1; seed <= SEEDS; seed++) t.deepEqual(lines(look(storm(seed), 10)), [], `storm ${seed}`);
});

/** A receiver that goes when its connection is shut, as the kernel's does. */
function* serveUntilShut(world: World): Path<void> {
  const { session, receiver, vm } = world;
  const bell = vm.word('RECEIVER_BELL');
  for (;;) {
    yield reading(bell);
    const seen = vm.mem.load(bell);
    for (let message = yield* session.poll(); message !== null; message = yield* session.poll()) {
      if (message.kind === 'answer') continue;
      const { vcpu, seq, pf } = message.event;
      yield* session.setPageAccess(pf!.gpa, 3);
      yield* session.reply(vcpu, seq, KVMI_EVENT_ACTION_CONTINUE);
    }
    if (session.shut) return yield* session.close();
    receiver.expect = seen;
    yield waiting(bell);
  }
}

test('unhook and hook under vCPUs that wait for replies: fail-open is no finding (NC-13)', (t) => {
  const scenario = stageOf(
    (world) => [
      ...world.vcpus.map((_, index) =>
        world.vcpuRunner(
          index,
          Array.from({ length: 6 }, (__, n) => ({
            kind: n % 2 === 0 ? ('write' as const) : ('read' as const),
            gpa: (GFN + (n % 3)) * PAGE + 8 * index,
            size: 4 as const,
          })),
        ),
      ),
      { name: 'receiver', waiter: world.receiver, path: serveUntilShut(world) },
      runner(world, 'host', function* (actor) {
        yield* unhook(actor, world.vm);
        yield* hook(actor, world.vm);
      }),
    ],
    {
      machine: { vcpuCount: 2 },
      setUp(world) {
        for (let gfn = GFN; gfn < GFN + 4; gfn++) world.access(gfn, gfn % 8);
      },
    },
  );
  const said = lines(look(scenario, 100));
  t.deepEqual(said, []);
});
