/** Events that come late, twice, or not at all, and jobs that run when nobody waits for them. */
import { KVMI_EVENT_ACTION_RETRY } from '../../../actors/introspector/kvmi/constants.ts';
import { jobRing } from '../../../actors/introspector/vcpu-side.ts';
import { requestWord } from '../../../actors/mmu/requests.ts';
import { FULL_ACCESS } from '../../../shared/layout/access-tree.ts';
import { ACCESS_W, ACCESS_X } from '../../../shared/layout/cpu.ts';
import { REQ_INTROSPECTION, VCPU, VCPU_WAITING } from '../../../shared/layout/vcpu.ts';
import { type Path, reading, waiting } from '../../../shared/sync/point.ts';
import type { World } from '../../world/world.ts';
import { CONTINUE, hooked, NOT_W } from '../control/setting.ts';
import type { NegativeControl } from '../item.ts';
import { commands, restricts } from '../policy/setting.ts';
import { allowsAll, before, GFN, PAGE, read, runner, write } from '../tlb/setting.ts';
import { negativeControl, observed } from './setting.ts';

/** A counter of vCPU 0. */
function counter({ vm, vcpus }: World, name: keyof typeof VCPU.at): number {
  return Number(vm.mem.i64[(vcpus[0]!.ctl + VCPU.at[name]) / 8]);
}

const loosenedMeanwhile = negativeControl(
  'NC-01',
  'an event for a page that was loosened after the check, before the event was read',
  (shown) => ({
    setUp: hooked([GFN, NOT_W]),
    participants: (world) => [
      world.vcpuRunner(0, [write(GFN, 1)]),
      restricts(world, [GFN, FULL_ACCESS]),
      world.toolRunner(function* (_event, session) {
        if ((yield* session.getPageAccess(GFN * PAGE)) === FULL_ACCESS) shown();
        return CONTINUE;
      }),
    ],
  }),
);

const againAfterRetry = negativeControl('NC-02', 'the same event once more after RETRY', (shown) => ({
  setUp: hooked([GFN, NOT_W]),
  participants: (world) => [
    world.vcpuRunner(0, [write(GFN, 1)]),
    world.toolRunner(function* () {
      if (world.events.length === 1) return KVMI_EVENT_ACTION_RETRY;
      shown();
      return CONTINUE;
    }),
  ],
}));

const faultWithoutEvent = negativeControl(
  'NC-03',
  'one more fault after loosening, for the TLB and the spte are still strict, and no event',
  (shown) => ({
    setUp(world) {
      hooked([GFN, NOT_W])(world);
      before(world, 0, read(GFN));
    },
    participants: (world) => [
      world.vcpuRunner(0, [read(GFN), write(GFN, 1)]),
      restricts(world, [GFN, FULL_ACCESS]),
      allowsAll(world),
    ],
    atEnd(world) {
      const faults = counter(world, 'FAULTS_SLOW') + counter(world, 'FAULTS_FAST');
      if (faults > 1 && world.events.length === 0) shown();
      return [];
    },
  }),
);

/** The store of eight bytes of which the first four are in a page that nobody restricts. */
const CROSSING = {
  kind: 'write',
  gpa: (GFN + 1) * PAGE - 4,
  size: 8,
  value: 0x1122_3344_5566_7788n,
} as const;

const firstPieceVisible = negativeControl(
  'NC-04',
  'the first piece of a store across pages can be seen, although the second one was answered RETRY',
  (shown) => ({
    setUp: hooked([GFN + 1, NOT_W]),
    participants: (world) => [
      world.vcpuRunner(0, [CROSSING]),
      world.toolRunner(function* () {
        if (world.events.length > 1) return CONTINUE;
        if (world.byte(CROSSING.gpa) !== 0) shown();
        return KVMI_EVENT_ACTION_RETRY;
      }),
    ],
  }),
);

const spuriousRequest = negativeControl(
  'NC-06',
  'a request bit that is still set after its jobs were run inside an event wait',
  (shown) => ({
    setUp: hooked([GFN, NOT_W]),
    participants: (world) => [
      observed(world.vcpuRunner(0, [write(GFN, 1), read(GFN + 1)]), () => {
        const { vm } = world;
        const bits = vm.mem.load(requestWord(vm, 0)) & REQ_INTROSPECTION;
        const waits = vm.mem.load(vm.vcpuWord(0, 'STATE')) === VCPU_WAITING;
        if (bits !== 0 && !waits && jobRing(vm, 0).empty && counter(world, 'JOBS_RUN') > 0) shown();
      }),
      allowsAll(world),
    ],
  }),
);

const jobBehindReply = negativeControl(
  'NC-07',
  'a job behind a reply runs before the event returns, when the vCPU does not wait any more',
  (shown) => ({
    setUp: hooked([GFN, NOT_W]),
    participants: (world) => [
      observed(world.vcpuRunner(0, [write(GFN, 1)]), () => {
        const { vm } = world;
        const over = vm.mem.load(vm.vcpuWord(0, 'WAITING')) === 0;
        const still = vm.mem.load(vm.vcpuWord(0, 'STATE')) === VCPU_WAITING;
        if (over && still && counter(world, 'JOBS_RUN') > 1) shown();
      }),
      { ...runner(world.receiver, repliesAndAsks(world)), background: true },
    ],
  }),
);

/** Answers an event, and asks for registers at once. */
function* repliesAndAsks({ receiver, session, vm }: World): Path<void> {
  const bell = vm.word('RECEIVER_BELL');
  for (;;) {
    yield reading(bell);
    receiver.expect = vm.mem.load(bell);
    const message = yield* session.poll();
    if (message === null) {
      yield waiting(bell);
      continue;
    }
    if (message.kind !== 'event') continue;
    yield* session.reply(message.event.vcpu, message.event.seq, CONTINUE);
    yield* session.getRegisters(message.event.vcpu);
  }
}

const failOpen = negativeControl(
  'NC-13',
  'an access whose event nobody answers is carried out, on a machine that is not strict',
  (shown) => ({
    setUp: hooked([GFN, NOT_W]),
    participants: (world) => [
      world.vcpuRunner(0, [write(GFN, 1)]),
      world.toolRunner(function* () {
        yield* world.tool.hangUp();
        return CONTINUE;
      }),
    ],
    atEnd({ vm, vcpus }) {
      const lost = vm.mem.i64[(vcpus[0]!.ctl + VCPU.at.PF_FAIL_OPEN) / 8 + ACCESS_W - 1];
      if (lost === 1n) shown();
      return [];
    },
  }),
);

const blockedCommand = negativeControl(
  'NC-14',
  'SET_PAGE_ACCESS has to wait for mmu_lock until a vCPU has mapped its page',
  (shown) => ({
    setUp: hooked(),
    participants(world) {
      const { vm } = world;
      const tool = commands(world, (session) => session.setPageAccess(GFN * PAGE, ACCESS_X));
      const waits = vm.mmuLock.addr;
      return [
        world.vcpuRunner(0, [write(GFN + 1, 1)]),
        observed(tool, () => {
          if ((vm.mem.load(waits) & 2) !== 0) shown();
        }),
        allowsAll(world),
      ];
    },
  }),
);

export const eventControls: readonly NegativeControl[] = [
  loosenedMeanwhile,
  againAfterRetry,
  faultWithoutEvent,
  firstPieceVisible,
  spuriousRequest,
  jobBehindReply,
  failOpen,
  blockedCommand,
];
