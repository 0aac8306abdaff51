/** A session from hook to unhook: who holds it, who ends it, and whose reply is whose. */
import { hook, unhook } from '../../../actors/introspector/hook.ts';
import { KVMI_VCPU_EVENT_PF } from '../../../actors/introspector/kvmi/constants.ts';
import type { SessionEvent, SessionMessage } from '../../../actors/introspector/session.ts';
import { kvmiGet, kvmiPut } from '../../../actors/mmu/kvmi-ref.ts';
import {
  BUG_GET_PLAIN_INC,
  BUG_LOST_WAKEUP_REPLY,
  BUG_NESTED_EVENT,
  BUG_REHOOK_EARLY,
  BUG_RELEASE_BEFORE_SHUTDOWN,
  BUG_RELEASE_IN_PUT,
  BUG_REPLY_NO_SEQ_CHECK,
  BUG_SEQ_RESET,
  BUG_VCPU_BORN_UNHOOKED,
  REF_KILLABLE_COMPLETION,
} from '../../../shared/quirks.ts';
import { type Path, reading, relaxing, waiting } from '../../../shared/sync/point.ts';
import { writeLock, writeUnlock } from '../../../shared/sync/rw-lock.ts';
import type { Participant } from '../../engine/execution.ts';
import type { World } from '../../world/world.ts';
import {
  allowsAll,
  haltedUntilStopped,
  read,
  runner,
  stops,
  unhooks,
  unhooksKillable,
  write,
} from '../cast.ts';
import type { CorpusItem } from '../item.ts';
import { createVcpu, unborn, useBlock } from '../models/vcpu-birth.ts';
import { CONTINUE, corpusItem, GFN, hooked, NOT_W } from '../setting.ts';

const lostWakeupReply = corpusItem(
  BUG_LOST_WAKEUP_REPLY,
  { depth: 2, origin: 'MUT', rules: ['I10'], place: 'introspector/vcpu-side.ts: sendVcpuEvent' },
  () => ({
    setUp: hooked([GFN, NOT_W]),
    participants: (world) => [world.vcpuRunner(0, [write(GFN, 1)]), allowsAll(world)],
  }),
);

/** A receiver that does nothing but end. */
function closes({ receiver, session }: World): Participant {
  return runner(receiver, session.close());
}

const releaseBeforeShutdown = corpusItem(
  BUG_RELEASE_BEFORE_SHUTDOWN,
  {
    depth: 2,
    origin: 'MUT',
    rules: ['I10', 'I9'],
    place: 'introspector/session.ts: close; introspector/vcpu-side.ts: runJob',
  },
  () => ({
    setUp: hooked([GFN, NOT_W]),
    participants: (world) => [
      world.vcpuRunner(0, [read(GFN + 1), write(GFN, 1)]),
      closes(world),
      unhooks(world),
    ],
  }),
);

const killableCompletion = corpusItem(
  REF_KILLABLE_COMPLETION,
  { depth: 2, origin: 'REF', rules: ['I12'], place: 'introspector/hook.ts: unhook' },
  () => ({
    setUp: hooked([GFN, NOT_W]),
    participants: (world) => [world.vcpuRunner(0, [write(GFN, 1)]), unhooksKillable(world), allowsAll(world)],
  }),
);

const vcpuBornUnhooked = corpusItem(
  BUG_VCPU_BORN_UNHOOKED,
  {
    depth: 2,
    origin: 'MUT',
    rules: ['I12', 'race'],
    place:
      'explore/corpus/models/vcpu-birth.ts: createVcpu. A model, for all of our vCPUs are there from the start',
  },
  () => ({
    machine: { vcpuCount: 2 },
    setUp: ({ vm }) => unborn(vm, 1),
    participants: (world) => [
      world.controlRunner(hook(world.control, world.vm)),
      runner(world.vcpus[1]!.actor, bornAndUsed(world)),
    ],
  }),
);

function* bornAndUsed({ vm, vcpus }: World): Path<void> {
  const { actor } = vcpus[1]!;
  yield* createVcpu(actor, vm, 1);
  yield* useBlock(actor, vm, 1);
}

// Under mmu_lock a callback asks KVMI about a page: the last put may be that one's.
const releaseInPut = corpusItem(
  BUG_RELEASE_IN_PUT,
  { depth: 2, origin: 'HIST', rules: ['L6', 'L5', 'I10'], place: 'mmu/kvmi-ref.ts: kvmiPut' },
  () => ({
    setUp: hooked(),
    participants: (world) => [
      runner(world.vcpus[0]!.actor, asksUnderMmuLock(world)),
      closes(world),
      unhooks(world),
    ],
  }),
);

function* asksUnderMmuLock({ vm, vcpus }: World): Path<void> {
  const { actor } = vcpus[0]!;
  yield* writeLock(actor, vm.mmuLock);
  if (yield* kvmiGet(actor, vm)) yield* kvmiPut(actor, vm);
  yield* writeUnlock(actor, vm.mmuLock);
}

const getPlainInc = corpusItem(
  BUG_GET_PLAIN_INC,
  { depth: 1, origin: 'MUT', rules: ['I12'], place: 'mmu/kvmi-ref.ts: kvmiGet' },
  () => ({
    setUp: hooked([GFN, NOT_W]),
    participants: (world) => [world.vcpuRunner(0, [write(GFN, 1)]), unhooks(world), allowsAll(world)],
  }),
);

const nestedEvent = corpusItem(
  BUG_NESTED_EVENT,
  { depth: 1, origin: 'MUT', rules: ['I9'], place: 'introspector/vcpu-side.ts: sendVcpuEvent' },
  () => ({
    setUp: hooked([GFN, NOT_W]),
    participants: (world) => [
      world.vcpuRunner(0, [write(GFN, 1)]),
      world.toolRunner(function* ({ event, vcpu }, session) {
        if (event === KVMI_VCPU_EVENT_PF) yield* session.pause(vcpu, false);
        return CONTINUE;
      }),
    ],
  }),
);

const replyNoSeqCheck = corpusItem(
  BUG_REPLY_NO_SEQ_CHECK,
  {
    depth: 2,
    origin: 'MUT',
    rules: ['I9'],
    place: 'introspector/session.ts: reply; introspector/vcpu-side.ts: acceptReply',
  },
  () => ({
    machine: { vcpuCount: 2 },
    setUp: hooked([GFN, NOT_W]),
    participants: (world) => [
      world.vcpuRunner(0, [write(GFN, 1)]),
      world.vcpuRunner(1, [write(GFN, 2)]),
      { ...runner(world.receiver, answersLastFirst(world)), background: true },
    ],
  }),
);

/** Of two events that have come, the later one is answered first. */
function* answersLastFirst(world: World): Path<void> {
  for (;;) {
    const events = [yield* nextEvent(world)];
    const other = yield* world.session.poll();
    if (other?.kind === 'event') events.unshift(other.event);
    for (const { vcpu, seq } of events) yield* world.session.reply(vcpu, seq, CONTINUE);
  }
}

/** The next event of the session that is in force, slept for. */
function* nextEvent(world: World): Path<SessionEvent> {
  const { receiver, vm } = world;
  const bell = vm.word('RECEIVER_BELL');
  for (;;) {
    yield reading(bell);
    const seen = vm.mem.load(bell);
    const message: SessionMessage | null = yield* world.session.poll();
    if (message?.kind === 'event') return message.event;
    receiver.expect = seen;
    yield waiting(bell);
  }
}

// The vCPU's release is still among its jobs when the next session begins.
const rehookEarly = corpusItem(
  BUG_REHOOK_EARLY,
  { depth: 2, origin: 'MUT', rules: ['I12', 'race'], place: 'introspector/hook.ts: hook' },
  () => ({
    setUp: hooked(),
    participants: (world) => [
      world.vcpuRunner(0, [read(GFN), read(GFN)]),
      world.controlRunner(hooksAgain(world)),
      allowsAll(world),
    ],
  }),
);

function* hooksAgain({ control, vm, tool }: World): Path<void> {
  yield* unhook(control, vm);
  yield* tool.rehook(control);
}

// The tool thinks about the first event of a session until the next one has had its first. The vCPU stands still and is
// paused in each.
const seqReset = corpusItem(
  BUG_SEQ_RESET,
  { depth: 2, origin: 'MUT', rules: ['I9'], place: 'introspector/hook.ts: hook' },
  () => ({
    setUp: hooked(),
    participants: (world) => [
      runner(world.vcpus[0]!.actor, haltedUntilStopped(world, 0)),
      runner(world.control, pausesInEachSession(world)),
      runner(world.receiver, answersLate(world)),
    ],
  }),
);

function* pausesInEachSession(world: World): Path<void> {
  const { control, vm, tool } = world;
  yield* world.commands.pause(0, false);
  while (tool.events.length === 0) yield relaxing(vm.word('EVENT_SEQ'));
  yield* unhook(control, vm);
  // The vCPU must have seen its release.
  while ((yield* tool.rehook(control)) < 0) yield relaxing(vm.vcpuWord(0, 'KVMI_BLOCK'));
  yield* world.commands.pause(0, false);
}

function* answersLate(world: World): Path<void> {
  const { vm, tool } = world;
  const ended = world.session;
  const first = yield* nextEvent(world);
  tool.events.push(first);
  while (!ended.shut) yield relaxing(vm.word('KVMI_SHUT'));
  yield* tool.hangUp();
  yield* tool.nextSession();
  const second = yield* nextEvent(world);
  if ((yield* world.session.reply(first.vcpu, first.seq, CONTINUE)) === 0) {
    vm.onFinding({ id: 'I9', detail: `the reply to event ${first.seq} of session 1 was taken by session 2` });
  }
  yield* world.session.reply(second.vcpu, second.seq, CONTINUE);
  yield* stops(vm, 0);
}

export const sessionItems: readonly CorpusItem[] = [
  lostWakeupReply,
  releaseBeforeShutdown,
  killableCompletion,
  vcpuBornUnhooked,
  releaseInPut,
  getPlainInc,
  nestedEvent,
  replyNoSeqCheck,
  rehookEarly,
  seqReset,
];
