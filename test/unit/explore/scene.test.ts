import test from 'ava';
import { setMemoryRegion } from '../../../src/actors/mmu/memslots.ts';
import { Replay } from '../../../src/explore/engine/schedule.ts';
import { Stage } from '../../../src/explore/explorer.ts';
import { MachineTarget } from '../../../src/explore/scenario/machine-target.ts';
import type { Scenario } from '../../../src/explore/scenario/scenario.ts';
import { CONTINUE, R, RETRY, read, scene, slotOf, write, X } from '../../../src/explore/scenario/scene.ts';
import { RandomWalk } from '../../../src/explore/strategy/random-walk.ts';
import type { World } from '../../../src/explore/world/world.ts';
import { stepping } from '../../../src/shared/sync/point.ts';

const COUNTER = 0x100_000;

/** Messages of every finding in `count` random schedules, without repetition. */
function messages(scenario: Scenario, count: number): string[] {
  const stage = new Stage(new MachineTarget(scenario));
  const strategy = new RandomWalk();
  const found = new Set<string>();
  for (let seed = 1; seed <= count; seed++) {
    for (const { message } of stage.outcome(strategy, seed)!.findings) found.add(message);
  }
  return [...found].sort();
}

function counting(instruction: string): Scenario {
  return scene({
    name: 'counting',
    title: 'two vCPUs count up one word',
    slots: [{ id: 1, gfn: 0x100, pages: 1 }],
    vcpus: [0, 1].map(() => `${instruction} qword [${COUNTER}]\n xor eax, eax\n out 0xf4, eax`),
    check: (world) => [`counter ${world.vm.mem.u64[world.vm.ramPage(0x100) / 8]}`],
  });
}

test('an INC is a load and a store to others: explored, it loses a count', (t) => {
  t.deepEqual(messages(counting('inc'), 60), ['counter 1', 'counter 2']);
});

test('a LOCK INC is one step to others', (t) => {
  t.deepEqual(messages(counting('lock inc'), 60), ['counter 2']);
});

test('store buffers are not modelled: of the litmus test SB the outcome 0, 0 is never seen, every other is', (t) => {
  const [x, y] = [COUNTER, COUNTER + 8];
  const half = (mine: number, theirs: number) =>
    `mov qword [${mine}], 1\n mov rax, qword [${theirs}]\n mov qword [${mine + 16}], rax\n xor eax, eax\n out 0xf4, eax`;
  const litmus = scene({
    name: 'sb',
    title: 'store buffering',
    slots: [{ id: 1, gfn: 0x100, pages: 1 }],
    vcpus: [half(x, y), half(y, x)],
    check(world) {
      const at = world.vm.ramPage(0x100) / 8;
      return [`r0=${world.vm.mem.u64[at + 2]} r1=${world.vm.mem.u64[at + 3]}`];
    },
  });
  t.deepEqual(messages(litmus, 200), ['r0=0 r1=1', 'r0=1 r1=0', 'r0=1 r1=1']);
});

test('watched or not, guest code does and counts the same', (t) => {
  const copy = scene({
    name: 'copy',
    title: 'a copy of 40 bytes, with calls and a push of what was copied',
    slots: [{ id: 1, gfn: 0x100, pages: 2 }],
    vcpus: [
      `mov rax, 0x1122334455667788\n mov edi, ${COUNTER}\n mov ecx, 5\n rep stosq
       mov esi, ${COUNTER}\n mov edi, ${COUNTER + 0x1000}\n mov ecx, 40\n rep movsb
       push qword [${COUNTER}]\n pop qword [${COUNTER + 0x1100}]
       mov rsp, ${COUNTER + 0x1800}\n call next\n next: add dword [${COUNTER + 0x1004}], 5\n cmp byte [${COUNTER}], 3
       jne end\n inc rcx\n end: mov eax, ecx\n out 0xf4, eax`,
    ],
    check(world) {
      const to = world.vm.ramPage(0x101);
      const bytes = Buffer.from(world.vm.mem.u8.slice(to, to + 0x1000)).toString('base64');
      return [`${bytes} ${world.vcpus[0]!.get64('RETIRED')} ${world.vcpus[0]!.get64('RIP')}`];
    },
  });
  const blind: Scenario = { ...copy, machine: { ...copy.machine, surroundings: {} } };
  t.deepEqual(messages(copy, 3), messages(blind, 1));
});

/** The page is made read-only after `pause` steps of whoever does it. */
function tightened(vcpus: readonly (string | ReturnType<typeof write>[])[], pause: number): Scenario {
  const silent = (world: World): string[] => {
    const { mem } = world.vm;
    const events = world.events.length;
    return [`events ${events}, value ${mem.u64[world.vm.ramPage(Array.isArray(vcpus[0]) ? 16 : 0x100) / 8]}`];
  };
  return scene({
    name: 'tighten',
    title: 'a page is made read-only while a vCPU writes to it',
    slots: [{ id: 1, gfn: 0x100, pages: 1 }],
    vcpus,
    *control({ commands }) {
      for (let steps = pause; steps > 0; steps--) yield stepping();
      yield* commands.setPageAccess(COUNTER, R | X);
    },
    check: silent,
  });
}

test('accesses as a list and as guest code see the same restrictions', (t) => {
  const expected = ['events 0, value 2', 'events 1, value 2', 'events 2, value 2'];
  const seen = (program: string | ReturnType<typeof write>[]): string[] => {
    const pauses = Array.from({ length: 16 }, (_, i) => i * 8);
    return [...new Set(pauses.flatMap((pause) => messages(tightened([program], pause), 25)))].sort();
  };
  t.deepEqual(seen([write(COUNTER, 1n), write(COUNTER, 2n)]), expected);
  const code = `mov qword [${COUNTER}], 1\n mov qword [${COUNTER}], 2\n xor eax, eax\n out 0xf4, eax`;
  t.deepEqual(seen(code), expected);
});

test('guest code replays from its deviations', (t) => {
  const stage = new Stage(new MachineTarget(counting('inc')));
  for (let seed = 1; seed <= 10; seed++) {
    const first = stage.outcome(new RandomWalk(), seed)!;
    const again = stage.outcome(new Replay(first.schedule), 0)!;
    t.is(again.traceHash, first.traceHash);
  }
});

test('a tool, a slot that goes and comes, another actor: everything a scene can say', (t) => {
  const vcpus = [[read(0x20_000), write(0x21_000, 7n)]];
  const slots = [{ id: 1, gfn: 0x20, pages: 4, ramPage: 20 }];
  const busy = scene({
    name: 'busy',
    title: 'everything',
    slots,
    vcpus,
    restrict: { 33: R },
    *tool(world, event, session) {
      yield* session.setPageAccess(event.pf!.gpa, 7, { needSlot: false });
      return world.events.length > 1 ? CONTINUE : RETRY;
    },
    *control(world) {
      const request = slotOf({ slots, vcpus }, 1);
      yield* setMemoryRegion(world.control, world.vm, { ...request, npages: 0 });
      yield* setMemoryRegion(world.control, world.vm, request);
    },
    others: {
      *second(world, actor) {
        yield* world.newSession(actor).setPageAccess(0x20_000, R | X, { needSlot: false });
        t.is(actor.name, 'second');
      },
    },
  });
  t.deepEqual(messages(busy, 100), []);
  const names = busy.participants(new MachineTarget(busy).world).map(({ name }) => name);
  t.deepEqual(names, ['vcpu 0', 'receiver', 'control', 'second']);
});

for (const [what, spec, message] of [
  ['an unknown bug', { bugs: ['nothing'] }, /no bug is named nothing/],
  ['a slot in the place of the low memory', { slots: [{ id: 0, gfn: 1, pages: 1 }] }, /number slots from 1/],
  ['slots that overlap', { slots: [1, 2].map((id) => ({ id, gfn: 0x20, pages: 2 })) }, /slot 2 is refused/],
  ['a restriction of no memory', { restrict: { 28672: 1 } }, /restriction of gfn 28672 is refused/],
  ['both kinds of programs', { vcpus: [[read(0)], 'nop'] }, /use one kind/],
] as const) {
  test(`${what} is an error that names it`, (t) => {
    t.throws(() => new MachineTarget(scene({ name: 'bad', title: 'bad', vcpus: [[read(0)]], ...spec })), {
      message,
    });
  });
}
