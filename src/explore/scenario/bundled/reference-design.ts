/**
 * The scenarios that docs/reference-design.md was made with: each a neighbourhood of the seed, wide enough for several
 * weaknesses of the reference design and for those that nobody has thought of. In the default build all are clean.
 */
import { unhook } from '../../../actors/introspector/hook.ts';
import { harvestDirtyLog } from '../../../actors/mmu/dirty-log.ts';
import { setMemoryRegion } from '../../../actors/mmu/memslots.ts';
import { ageGfn } from '../../../actors/mmu/protect.ts';
import { gfnToSlot } from '../../../actors/mmu/slot-sets.ts';
import { SLOT_LOG_DIRTY } from '../../../shared/layout/memslot.ts';
import type { Actor } from '../../../shared/sync/actor.ts';
import { choosing, type Path } from '../../../shared/sync/point.ts';
import { srcuReadLock, srcuReadUnlock } from '../../../shared/sync/srcu.ts';
import type { World } from '../../world/world.ts';
import type { Scenario } from '../scenario.ts';
import { CONTINUE, execute, R, RETRY, read, type Scene, scene, slotOf, W, write, X } from '../scene.ts';

const PAGE = 0x20;
const at = (gfn: number, offset = 0): number => gfn * 4096 + offset;

/** Events that a tool does something about. If it answered RETRY, or tightened before CONTINUE, for ever: no end. */
const RETRIES = 2;

/** Whether there is memory for the next change is the schedule's choice. */
function* memoryMayBeShort({ vm }: World): Path<void> {
  vm.mem.store(vm.word('FAIL_ALLOCATIONS'), yield choosing(2));
}

/** The tool's own commands, on an actor of its own: it restricts pages, be there a slot or not. */
const restricting = (...pages: readonly (readonly [gfn: number, access: number])[]) =>
  function* (world: World, actor: Actor): Path<void> {
    const session = world.newSession(actor);
    for (const [gfn, access] of pages) yield* session.setPageAccess(at(gfn), access, { needSlot: false });
  };

const slots = {
  slots: [{ id: 1, gfn: PAGE, pages: 2 }],
  vcpus: [[write(at(PAGE), 1n), write(at(PAGE + 2), 2n)], [write(at(PAGE, 8), 3n)]],
} as const satisfies Partial<Scene>;

const referenceSlots = scene({
  name: 'reference-slots',
  title:
    'a memslot is deleted, made again and moved, or not for lack of memory, while the tool restricts pages',
  ...slots,
  restrict: { [PAGE + 1]: R },
  *control(world) {
    const { control, vm } = world;
    const slot = slotOf(slots, 1);
    yield* setMemoryRegion(control, vm, { ...slot, npages: 0 });
    yield* setMemoryRegion(control, vm, slot);
    yield* memoryMayBeShort(world);
    yield* setMemoryRegion(control, vm, { ...slot, baseGfn: PAGE + 1 });
  },
  others: { tool: restricting([PAGE, R | X], [PAGE + 2, R]) },
});

const spaces = {
  slots: [
    { id: 1, gfn: PAGE, pages: 2 },
    { id: 2, gfn: 0x28, pages: 1 },
  ],
  vcpus: [[write(at(PAGE), 1n)], [write(at(PAGE, 8), 2n)]],
} as const satisfies Partial<Scene>;

const referenceSpaces = scene({
  name: 'reference-spaces',
  title: 'a slot of the second address space comes and goes, with a vCPU in each space',
  ...spaces,
  restrict: { [PAGE]: R },
  prepare({ vm }) {
    vm.mem.store(vm.vcpuWord(1, 'AS_ID'), 1);
  },
  *control({ control, vm }) {
    const twin = { ...slotOf(spaces, 1), asId: 1 };
    yield* setMemoryRegion(control, vm, twin);
    yield* setMemoryRegion(control, vm, { ...twin, npages: 0 });
  },
  others: { tool: restricting([PAGE, R | X]) },
});

const access = {
  slots: [{ id: 1, gfn: PAGE, pages: 3, logDirty: true }],
  vcpus: [
    [write(at(PAGE + 1) - 4, 0x1122_3344_5566_7788n), read(at(PAGE + 2)), execute(at(PAGE + 2))],
    [write(at(PAGE, 16), 1n), execute(at(PAGE)), write(at(PAGE + 2, 16), 2n)],
  ],
} as const satisfies Partial<Scene>;

const referenceAccess = scene({
  name: 'reference-access',
  title: 'a tool changes access while vCPUs wait, in pages that the host ages and whose writes it logs',
  ...access,
  restrict: { [PAGE + 1]: R },
  *tool({ events }, { pf }, session) {
    if (pf === null || events.length > RETRIES) return CONTINUE;
    // What was asked for is allowed, W without R too; a page is tightened, maybe the same.
    yield* session.setPageAccess(pf.gpa, pf.access);
    yield* session.setPageAccess(at(PAGE), R | X);
    return (yield choosing(2)) === 1 ? RETRY : CONTINUE;
  },
  *control({ control, vm }) {
    yield* harvestDirtyLog(control, vm, 0, 1);
    yield* setMemoryRegion(control, vm, { ...slotOf(access, 1), flags: 0 });
    yield* setMemoryRegion(control, vm, { ...slotOf(access, 1), flags: SLOT_LOG_DIRTY });
  },
  others: {
    tool: restricting([PAGE + 2, R | W], [PAGE, R]),
    *host({ vm }, actor) {
      const section = yield* srcuReadLock(actor, vm.srcu);
      const slot = yield* gfnToSlot(vm, 0, PAGE + 2);
      if (slot !== null) yield* ageGfn(actor, vm, slot, PAGE + 2);
      yield* srcuReadUnlock(actor, vm.srcu, section);
    },
  },
});

const events = {
  slots: [
    { id: 1, gfn: PAGE, pages: 1 },
    { id: 2, gfn: 0x28, pages: 1 },
  ],
  vcpus: [[write(at(PAGE), 1n)]],
} as const satisfies Partial<Scene>;

const referenceEvents = scene({
  name: 'reference-events',
  title: 'before it answers, a tool has the memory layout changed',
  ...events,
  restrict: { [PAGE]: R },
  *tool({ receiver, vm }) {
    yield* setMemoryRegion(receiver, vm, { ...slotOf(events, 2), npages: 0 });
    return CONTINUE;
  },
});

const session = {
  slots: [{ id: 1, gfn: PAGE, pages: 2 }],
  vcpus: [[write(at(PAGE), 1n), write(at(PAGE + 1), 2n)], [write(at(PAGE + 1, 8), 3n)]],
} as const satisfies Partial<Scene>;

const referenceSession = scene({
  name: 'reference-session',
  title: 'a tool hangs up, a slot moves, and unhook is killed while it waits, or not',
  ...session,
  restrict: { [PAGE]: R, [PAGE + 1]: R | X },
  *tool(world) {
    if ((yield choosing(2)) === 1) yield* world.tool.hangUp();
    return CONTINUE;
  },
  *control({ control, vm }) {
    yield* setMemoryRegion(control, vm, { ...slotOf(session, 1), baseGfn: PAGE + 1 });
    yield* unhook(control, vm, (yield choosing(2)) === 1);
  },
});

const WORD = 0x100_000;
/** One for each page that the two instructions write, and one more. */
const GUEST_RETRIES = 4;

const referenceGuest = scene({
  name: 'reference-guest',
  title: 'guest code: locked operations, and an INC across pages, whose tool may say RETRY',
  slots: [{ id: 1, gfn: 0x100, pages: 2 }],
  restrict: { 256: R | X, 257: R | X },
  vcpus: [
    `inc qword [${WORD + 0xffc}]\n xor eax, eax\n out 0xf4, eax`,
    `lock inc qword [${WORD}]\n xor eax, eax\n out 0xf4, eax`,
  ],
  prepare({ vm }) {
    // So that the INC carries from the one page into the other.
    const at = vm.ramPage(0x100) + 0xffc;
    new DataView(vm.mem.u8.buffer).setBigUint64(at, 0xffff_ffffn, true);
  },
  *tool({ events }) {
    return events.length <= GUEST_RETRIES && (yield choosing(2)) === 1 ? RETRY : CONTINUE;
  },
  check({ vm }) {
    const word = vm.mem.u64[vm.ramPage(0x100) / 8]!;
    const across = new DataView(vm.mem.u8.buffer).getBigUint64(vm.ramPage(0x100) + 0xffc, true);
    return [
      ...(word === 1n ? [] : [{ rule: 'I13', message: `one LOCK INC made 0 into ${word}` }]),
      ...(across === 0x1_0000_0000n
        ? []
        : [{ rule: 'I13', message: `one INC made 0xffffffff into 0x${across.toString(16)}` }]),
    ];
  },
});

export const REFERENCE_DESIGN: readonly Scenario[] = [
  referenceSlots,
  referenceSpaces,
  referenceAccess,
  referenceEvents,
  referenceSession,
  referenceGuest,
];
