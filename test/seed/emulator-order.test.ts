/**
 * Which events an instruction leads to, and in which order: the whole table of the spec's section 7.1, then page
 * crossings (7.2). Code, data, stack and system tables are restricted entirely, and the tool answers CONTINUE.
 *
 * Each instruction then runs again as often as it has events: the n-th of them is answered RETRY once. Registers, flags
 * and RIP at that moment are those of its start (7.4), its events come again from the first, and everything the guest
 * can see in the end is as if nobody had watched.
 */
import test from 'ava';
import {
  KVMI_EVENT_ACTION_CONTINUE as CONTINUE,
  KVMI_EVENT_ACTION_RETRY as RETRY,
} from '../../src/actors/introspector/kvmi/constants.ts';
import { VCPU_EXITED } from '../../src/shared/layout/vcpu.ts';
import { asm } from '../support/asm.ts';
import type { Registers } from '../support/guest-machine.ts';
import type { Tool } from '../support/small-machine.ts';
import { at, type PageName, Scene, type SceneOptions, SRC, STACK, STOP } from './scene.ts';

/**
 * Assembly, the events, registers that differ from RSI = src+40, RDI = dst+40, RSP = stack+800; of a REP also which
 * events begin an iteration.
 */
type Row = readonly [
  code: string,
  events: string,
  registers?: Partial<Registers>,
  starts?: readonly number[],
];

/** Where branches find their targets. */
const TARGETS = [SRC, STACK, at('stack', -1)];

const ROWS: Readonly<Record<string, readonly Row[]>> = {
  'no memory operand': [
    ['nop', 'F'],
    ['mov rax, 0x1122334455667788', 'F'],
    ['add eax, ebx', 'F'],
    ['lea rax, [rsi + rdi*4 + 8]', 'F'],
    [`jmp ${STOP}`, 'F'],
    ['cpuid', 'F'],
    ['xchg rax, rbx', 'F'],
  ],
  'register from memory, and comparisons with one memory operand': [
    ['mov al, [rsi]', 'F, R src+40'],
    ['mov rax, [rsi]', 'F, R src+40'],
    ['movzx eax, byte [rsi]', 'F, R src+40'],
    ['movsx rax, word [rsi]', 'F, R src+40'],
    ['movsxd rax, dword [rsi]', 'F, R src+40'],
    ['add eax, [rsi]', 'F, R src+40'],
    ['imul eax, [rsi]', 'F, R src+40'],
    ['imul eax, [rsi], 7', 'F, R src+40'],
    ['mul dword [rsi]', 'F, R src+40'],
    ['div dword [rsi]', 'F, R src+40', { rdx: 0n }],
    ['cmovne eax, [rsi]', 'F, R src+40'],
    ['bsf eax, [rsi]', 'F, R src+40'],
    ['cmp [rdi], eax', 'F, R dst+40'],
    ['cmp eax, [rsi]', 'F, R src+40'],
    ['cmp byte [rdi], 5', 'F, R dst+40'],
    ['test [rdi], eax', 'F, R dst+40'],
    ['bt dword [rdi], 3', 'F, R dst+40'],
    ['bt [rdi], eax', 'F, R dst+44', { rax: 35n }],
    ['xlatb', 'F, R src+45', { rbx: BigInt(SRC), rax: 5n }],
    ['jmp qword [rsi]', 'F, R src+40'],
  ],
  'memory from register or immediate': [
    ['mov [rdi], al', 'F, W dst+40'],
    ['mov [rdi], rax', 'F, W dst+40'],
    ['mov dword [rdi], 7', 'F, W dst+40'],
    ['setne byte [rdi]', 'F, W dst+40'],
  ],
  'strings without a prefix': [
    ['stosb', 'F, W dst+40'],
    ['stosq', 'F, W dst+40'],
    ['movsb', 'F, R src+40, W dst+40'],
    ['movsd', 'F, R src+40, W dst+40'],
    ['cmpsb', 'F, R src+40, R dst+40'],
    ['cmpsq', 'F, R src+40, R dst+40'],
    ['scasb', 'F, R dst+40'],
    ['lodsb', 'F, R src+40'],
    ['lodsq', 'F, R src+40'],
    ['outsb', 'F, R src+40', { rdx: 0x80n }],
    ['insb', 'F, W dst+40', { rdx: 0x80n }],
  ],
  'strings with REP: one fetch, then each iteration its accesses': [
    ['rep stosd', 'F, W dst+40, W dst+44, W dst+48', { rcx: 3n }, [1, 2, 3]],
    ['rep movsb', 'F, R src+40, W dst+40, R src+41, W dst+41', { rcx: 2n }, [1, 3]],
    ['rep movsq', 'F, R src+40, W dst+40, R src+48, W dst+48', { rcx: 2n }, [1, 3]],
    ['repe cmpsb', 'F, R src+40, R dst+40', { rcx: 3n }, [1]],
    ['repne scasb', 'F, R dst+40, R dst+41', { rcx: 2n, rax: 0xeen }, [1, 2]],
    ['rep lodsd', 'F, R src+40, R src+44', { rcx: 2n }, [1, 2]],
    ['rep movsb', 'F', { rcx: 0n }],
  ],
  'read-modify-write, not locked': [
    ['add [rdi], eax', 'F, R dst+40, W dst+40'],
    ['adc [rdi], al', 'F, R dst+40, W dst+40'],
    ['sub qword [rdi], 5', 'F, R dst+40, W dst+40'],
    ['and [rdi], rax', 'F, R dst+40, W dst+40'],
    ['inc dword [rdi]', 'F, R dst+40, W dst+40'],
    ['dec byte [rdi]', 'F, R dst+40, W dst+40'],
    ['not qword [rdi]', 'F, R dst+40, W dst+40'],
    ['neg dword [rdi]', 'F, R dst+40, W dst+40'],
    ['shl dword [rdi], 3', 'F, R dst+40, W dst+40'],
    ['sar qword [rdi], cl', 'F, R dst+40, W dst+40', { rcx: 9n }],
    ['rcr word [rdi], 1', 'F, R dst+40, W dst+40'],
    ['shld [rdi], eax, 4', 'F, R dst+40, W dst+40'],
    ['bts dword [rdi], 3', 'F, R dst+40, W dst+40'],
    ['btc [rdi], rax', 'F, R dst+38, W dst+38', { rax: -1n }],
    ['xadd [rdi], eax', 'F, R dst+40, W dst+40'],
  ],
  'locked, and XCHG, which always is': [
    ['lock add [rdi], eax', 'F, R dst+40, W dst+40'],
    ['lock adc [rdi], rax', 'F, R dst+40, W dst+40'],
    ['lock neg dword [rdi]', 'F, R dst+40, W dst+40'],
    ['lock xadd [rdi], ax', 'F, R dst+40, W dst+40'],
    ['lock bts dword [rdi], 3', 'F, R dst+40, W dst+40'],
    ['lock inc byte [rdi]', 'F, R dst+40, W dst+40'],
    ['xchg [rdi], rax', 'F, R dst+40, W dst+40'],
    ['xchg [rdi], al', 'F, R dst+40, W dst+40'],
  ],
  'CMPXCHG writes even when the comparison fails': [
    ['cmpxchg [rdi], ebx', 'F, R dst+40, W dst+40', { rax: 1n }],
    ['lock cmpxchg [rdi], ebx', 'F, R dst+40, W dst+40', { rax: 1n }],
    ['lock cmpxchg8b qword [rdi]', 'F, R dst+40, W dst+40'],
    ['cmpxchg8b qword [rdi]', 'F, R dst+40, W dst+40'],
    // 16 bytes are read by halves and written in one.
    ['lock cmpxchg16b oword [rdi]', 'F, R dst+40, R dst+48, W dst+40'],
  ],
  stack: [
    ['push rax', 'F, W stack+7f8'],
    ['push -2', 'F, W stack+7f8'],
    ['pushfq', 'F, W stack+7f8'],
    ['push qword [rsi]', 'F, R src+40, W stack+7f8'],
    ['pop rax', 'F, R stack+800'],
    ['popfq', 'F, R stack+f00', { rsp: BigInt(at('stack', 0xf00)) }],
    ['pop qword [rdi]', 'F, R stack+800, W dst+40'],
    [`call ${STOP}`, 'F, W stack+7f8'],
    ['call rax', 'F, W stack+7f8', { rax: BigInt(STOP) }],
    ['call qword [rsi]', 'F, R src+40, W stack+7f8'],
    ['ret', 'F, R stack+800'],
    ['enter 32, 0', 'F, W stack+7f8'],
    ['enter 32, 2', 'F, W stack+7f8, R stack+8f8, W stack+7f0, W stack+7e8', { rbp: BigInt(STACK + 0x100) }],
    ['leave', 'F, R stack+900', { rbp: BigInt(STACK + 0x100) }],
  ],
  'data across a page boundary: a piece for each page, low addresses first': [
    ['mov rax, [rsi]', 'F, R src+ffd, R src2+0', { rsi: BigInt(at('src2') - 3) }],
    ['mov [rdi], ax', 'F, W dst+fff, W dst2+0', { rdi: BigInt(at('dst2') - 1) }],
    ['mov [rdi], rax', 'F, W dst+ffb, W dst2+0', { rdi: BigInt(at('dst2') - 5) }],
    ['cmp [rdi], eax', 'F, R dst+ffe, R dst2+0', { rdi: BigInt(at('dst2') - 2) }],
    ['add [rdi], rax', 'F, R dst+ffd, R dst2+0, W dst+ffd, W dst2+0', { rdi: BigInt(at('dst2') - 3) }],
    ['shl dword [rdi], 5', 'F, R dst+ffd, R dst2+0, W dst+ffd, W dst2+0', { rdi: BigInt(at('dst2') - 3) }],
    // The split lock is taken when both pages have been asked for.
    ['lock add [rdi], rax', 'F, R dst+ffd, R dst2+0, W dst+ffd, W dst2+0', { rdi: BigInt(at('dst2') - 3) }],
    ['xchg [rdi], ax', 'F, R dst+fff, R dst2+0, W dst+fff, W dst2+0', { rdi: BigInt(at('dst2') - 1) }],
    ['cmpxchg [rdi], ebx', 'F, R dst+fff, R dst2+0, W dst+fff, W dst2+0', { rdi: BigInt(at('dst2') - 1) }],
    [
      'movsq',
      'F, R src+ff9, R src2+0, W dst+fff, W dst2+0',
      { rsi: BigInt(at('src2') - 7), rdi: BigInt(at('dst2') - 1) },
    ],
    [
      'rep movsd',
      'F, R src+ff8, W dst+ffa, R src+ffc, W dst+ffe, W dst2+0',
      { rcx: 2n, rsi: BigInt(at('src2') - 8), rdi: BigInt(at('dst2') - 6) },
      [1, 3],
    ],
    ['push rax', 'F, W low+ffc, W stack+0', { rsp: BigInt(at('stack', 4)) }],
    ['pop qword [rdi]', 'F, R low+ffc, R stack+0, W dst+40', { rsp: BigInt(at('stack', -4)) }],
    [`call ${STOP}`, 'F, W low+ff9, W stack+0', { rsp: BigInt(at('stack', 1)) }],
    ['ret', 'F, R low+fff, R stack+0', { rsp: BigInt(at('stack', -1)) }],
  ],
  'system tables and far transfers': [
    ['mov ds, ax', 'F, R gdt+510', { rax: 0x10n }],
    ['int 0x40', 'F, R idt+400, R gdt+508, W stack+7f8, W stack+7f0, W stack+7e8, W stack+7e0, W stack+7d8'],
    [
      'iretq',
      'F, R stack+e00, R stack+e08, R stack+e10, R stack+e18, R stack+e20, R gdt+508, R gdt+510',
      { rsp: BigInt(at('stack', 0xe00)) },
    ],
    ['retfq', 'F, R stack+e00, R stack+e08, R gdt+508', { rsp: BigInt(at('stack', 0xe00)) }],
  ],
};

const ALL: readonly PageName[] = [
  'gdt',
  'tss',
  'idt',
  'code',
  'code2',
  'src',
  'src2',
  'dst',
  'dst2',
  'low',
  'stack',
];
const NOTHING = Object.fromEntries(ALL.map((page) => [page, 0]));

/** The instruction at the end of its page: behind it is code2, or `stop` when that is given as its place. */
function scene(code: string, registers: Partial<Registers>, options: Partial<SceneOptions> = {}): Scene {
  const machine = new Scene({
    code,
    registers: { rax: 0x1122_3344_5566_7788n, rbx: 5n, rdx: 3n, ...registers },
    place: STOP - sizeOf(code),
    ...options,
  });
  for (const gpa of TARGETS) machine.setQuad(gpa, BigInt(STOP));
  // What IRET and RETF find: RIP CS RFLAGS RSP SS. What POPF finds: no flag that would trap.
  const frame = [STOP, 8, 0x202, STACK, 0x10];
  for (const [i, value] of frame.entries()) machine.setQuad(at('stack', 0xe00 + i * 8), BigInt(value));
  machine.setQuad(at('stack', 0xf00), 0x8d5n);
  machine.gate(0x40, STOP);
  return machine;
}

const sizes = new Map<string, number>();
function sizeOf(code: string): number {
  const known = sizes.get(code) ?? asmSize(code);
  sizes.set(code, known);
  return known;
}
function asmSize(code: string): number {
  const machine = new Scene({ code, place: -1 });
  return at('code2') - machine.start;
}

const always = (action: number): Tool =>
  function* () {
    return action;
  };

for (const [title, rows] of Object.entries(ROWS)) {
  test(title, (t) => {
    for (const [code, events, registers = {}, starts = []] of rows) {
      const free = scene(code, registers);
      free.runGuests();
      t.is(free.state(0), VCPU_EXITED, `${code}: unwatched`);
      const expected = free.outcome;

      const watched = scene(code, registers, { access: NOTHING });
      const before = watched.outcome;
      watched.runWith(always(CONTINUE));
      t.is(watched.story, events, code);
      t.deepEqual(watched.outcome, expected, `${code}: watched`);
      t.deepEqual(watched.verdict(), [], code);

      const told = events.split(', ');
      for (const [n, event] of told.entries()) {
        const machine = scene(code, registers, { access: NOTHING });
        let seen: Registers | null = null;
        machine.runWith(function* () {
          if (machine.events.length !== n + 1) return CONTINUE;
          seen = yield* machine.registers(0);
          return RETRY;
        });
        const what = `${code}: RETRY of ${event}`;
        // A REP goes on with the iteration it was in (7.3); nothing else shows in the registers.
        const done = starts.findLastIndex((start) => start <= n);
        const again = done < 0 ? told : [told[0], ...told.slice(starts[done])];
        t.is(machine.story, [...told.slice(0, n + 1), ...again].join(', '), what);
        t.deepEqual(machine.outcome, expected, what);
        const moved = BigInt(Math.max(done, 0));
        const step = moved * BigInt(STEPS[code.at(-1)!] ?? 0);
        const [rax, rcx, , , rsp, , rsi, rdi] = before.registers as [bigint, ...bigint[]];
        const expectedThen = {
          rip: before.rip,
          rflags: before.rflags,
          rsp,
          rcx: rcx! - moved,
          rsi: rsi! + (/movs|cmps|lods/.test(code) ? step : 0n),
          rdi: rdi! + (/lods/.test(code) ? 0n : step),
        };
        t.like(
          seen,
          code.startsWith('repe') || code.startsWith('repne')
            ? { ...expectedThen, rflags: seen!.rflags }
            : expectedThen,
          what,
        );
        if (!code.includes('lods')) t.is(seen!.rax, rax, what);
      }
    }
  });
}

const STEPS: Readonly<Record<string, number>> = { b: 1, w: 2, d: 4, q: 8 };

test('an instruction across two pages is fetched from both, the second only because it goes on there', (t) => {
  // 10 bytes, 2 of them in the first page; then 7 bytes that end with their page.
  const machine = new Scene({ code: `mov rax, 0x1122334455667788\njmp ${STOP}`, place: at('code2', -2) });
  machine.restrict({ code: 3, code2: 3 });
  machine.runWith(always(CONTINUE));
  t.is(machine.story, 'F, F code2+0, F code2+8');
  t.is(machine.register('rax'), 0x1122_3344_5566_7788n);
  t.deepEqual(
    machine.events.map((event) => [event.pf!.gva, event.pf!.gpa]),
    [at('code2', -2), at('code2'), at('code2', 8)].map((gpa) => [BigInt(gpa), gpa]),
  );

  const ending = new Scene({ code: 'mov eax, 0x11223344', place: at('code2', -5) });
  ending.load(asm(at('code2'), `jmp ${STOP}`).bytes, at('code2'));
  ending.restrict({ code: 3 });
  ending.runWith(always(CONTINUE));
  t.is(ending.story, 'F', 'the next page is not asked for by the instruction that ends before it');
});

test('only the restricted one of two code pages notifies', (t) => {
  for (const [restricted, story] of [
    ['code', 'F'],
    ['code2', 'F code2+0, F code2+8'],
  ] as const) {
    const machine = new Scene({ code: `mov rax, 0x1122334455667788\njmp ${STOP}`, place: at('code2', -2) });
    machine.restrict({ [restricted]: 3 });
    machine.runWith(always(CONTINUE));
    t.is(machine.story, story);
  }
});

test('RETRY of the second piece: the first is stored, no register shows it, and the whole store is done again', (t) => {
  const machine = new Scene({
    code: `mov [rdi], rax\njmp ${STOP}`,
    registers: { rax: 0x8877_6655_4433_2211n, rdi: BigInt(at('dst2', -3)) },
    access: { dst: 1, dst2: 1 },
  });
  let piece: number[] = [];
  machine.runWith(function* () {
    if (machine.events.length !== 2) return CONTINUE;
    piece = [...machine.ram(at('dst2', -3), 4)];
    return RETRY;
  });
  t.is(machine.story, 'W dst+ffd, W dst2+0, W dst+ffd, W dst2+0');
  t.deepEqual(piece.slice(0, 3), [0x11, 0x22, 0x33]);
  t.not(piece[3], 0x44);
  t.is(machine.quad(at('dst2', -3)), 0x8877_6655_4433_2211n);
});

test('a LOCK operation across pages stores nothing before both pages are answered', (t) => {
  const machine = new Scene({
    code: `lock add [rdi], rax\njmp ${STOP}`,
    registers: { rax: 0x0101_0101_0101_0101n, rdi: BigInt(at('dst2', -3)) },
    access: { dst: 1, dst2: 1 },
  });
  const before = machine.quad(at('dst2', -3));
  const seen: bigint[] = [];
  machine.runWith(function* () {
    seen.push(machine.quad(at('dst2', -3)));
    return machine.events.length === 2 ? RETRY : CONTINUE;
  });
  t.is(machine.story, 'W dst+ffd, W dst2+0, W dst+ffd, W dst2+0');
  t.deepEqual(new Set(seen), new Set([before]));
  t.is(machine.quad(at('dst2', -3)), BigInt.asUintN(64, before + 0x0101_0101_0101_0101n));
});
