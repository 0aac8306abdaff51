/**
 * Introspection that only watches changes nothing: random programs run unwatched, watched with CONTINUE, with random
 * RETRYs and restrictions that come and go, and with a tool that leaves in the middle. Registers, flags, memory and the
 * number of instructions are the same in the end.
 *
 * Repeat one failure: `SEED=… PROGRAMS=1 npx ava dist/test/seed/random-programs.test.js`; more: `PROGRAMS=1000`.
 */
import test, { type ExecutionContext } from 'ava';
import { unhook } from '../../src/actors/introspector/hook.ts';
import {
  KVMI_EVENT_ACTION_CONTINUE as CONTINUE,
  KVMI_EVENT_ACTION_RETRY as RETRY,
} from '../../src/actors/introspector/kvmi/constants.ts';
import { VCPU_EXITED } from '../../src/shared/layout/vcpu.ts';
import { Prng } from '../../src/shared/prng.ts';
import { stepping } from '../../src/shared/sync/point.ts';
import { asm } from '../support/asm.ts';
import { ProgramWriter } from '../support/random-program.ts';
import type { Tool } from '../support/small-machine.ts';
import { at, PAGES, Scene, STOP } from './scene.ts';

const FIRST_SEED = Number(process.env['SEED'] ?? 1);
const PROGRAMS = Number(process.env['PROGRAMS'] ?? 30);

const FULL = 7;
const TABLE = 0x9000;
const HANDLERS = 0x10_0000;
const DIVIDE_ERROR = HANDLERS;
const PAGE_FAULT = HANDLERS + 0x100;
const INTERRUPT = HANDLERS + 0x200;
const FUNCTIONS = ['f0', 'f1', 'f2'];
const FUNCTIONS_AT = at('code2', 0x800);
/** Everything a program touches, its tables and handlers included. */
const TOUCHED = [...Object.values(PAGES), 1, 2, 3, TABLE / 4096, HANDLERS / 4096].filter(
  (gfn) => gfn !== PAGES.stop,
);

interface Program {
  readonly main: string;
  readonly functions: string;
}

function write(seed: number): Program {
  const prng = new Prng(BigInt(seed)).fork('program');
  const code = new ProgramWriter(prng, {
    length: 24,
    functions: FUNCTIONS,
    division: true,
    interrupts: [0x40],
  });
  return {
    main: code.main(),
    functions: FUNCTIONS.map((name) => `${name}: ${code.leaf()}`).join('\n'),
  };
}

/** The program behind `code`'s end, so that one instruction may lie in both pages; one page of dst is not present. */
function stage({ main, functions }: Program, seed: number): Scene {
  const leaves = asm(FUNCTIONS_AT, functions);
  const named = main.replace(/\bf\d\b/g, (name) => `${leaves.labels[name]}`);
  const prng = new Prng(BigInt(seed)).fork('registers');
  const random = () => (BigInt(prng.u32()) << 32n) | BigInt(prng.u32());
  const machine = new Scene({
    code: `${named}\n jmp ${STOP}`,
    place: at('code2', -1 - prng.below(80)),
    registers: {
      ...{ rax: random(), rbx: random(), rdx: random(), r8: random(), r9: random(), r10: random() },
      r12: BigInt(at('src')),
      r13: BigInt(at('dst')),
      // So near to the end of its page that some frames cross it.
      rsp: BigInt(at('stack', 8 * prng.below(16) + 3)),
      rbp: BigInt(at('stack', 0x800)),
    },
  });
  machine.load(leaves.bytes, FUNCTIONS_AT);
  const page = machine.splitLargePage(at('dst2'), TABLE);
  machine.setQuad(page, machine.quad(page) & ~1n);
  machine.load(asm(DIVIDE_ERROR, 'add qword [rsp], 2 \n iretq').bytes, DIVIDE_ERROR);
  machine.load(asm(PAGE_FAULT, `or qword [${page}], 1 \n add rsp, 8 \n iretq`).bytes, PAGE_FAULT);
  machine.load(asm(INTERRUPT, `inc qword [${at('src2', 0xff8)}] \n iretq`).bytes, INTERRUPT);
  machine.gate(0, DIVIDE_ERROR);
  machine.gate(14, PAGE_FAULT);
  machine.gate(0x40, INTERRUPT);
  return machine;
}

/** Answers by chance; RETRY mostly with the page allowed until one of the next events. */
function moody(machine: Scene, prng: Prng): Tool {
  const allowed: number[] = [];
  return function* (event, session) {
    const { gpa } = event.pf!;
    while (allowed.length > 0 && prng.chance(0.6)) {
      const access = prng.chance(0.5) ? 0 : prng.below(FULL);
      yield* session.setPageAccess(allowed.pop()!, access, { needSlot: false });
    }
    if (prng.chance(0.5)) return CONTINUE;
    if (prng.chance(0.8)) {
      yield* session.setPageAccess(gpa, FULL, { needSlot: false });
      allowed.push(gpa);
    }
    // Now and then a look at the registers, which must not disturb anything.
    if (prng.chance(0.2)) yield* machine.registers(event.vcpu);
    return RETRY;
  };
}

function agree(t: ExecutionContext, seed: number): void {
  const program = write(seed);
  const label = `SEED=${seed}`;
  const free = stage(program, seed);
  free.runGuests();
  if (free.state(0) !== VCPU_EXITED) t.log(program.main, program.functions);
  t.is(free.state(0), VCPU_EXITED, `${label}: unwatched`);
  const expected = free.outcome;
  const compare = (machine: Scene, how: string): void => {
    const { outcome } = machine;
    const same =
      JSON.stringify(outcome, bigints) === JSON.stringify(expected, bigints) &&
      machine.verdict().length === 0;
    if (!same) t.log(program.main, program.functions);
    t.deepEqual(outcome, expected, `${label}: ${how}`);
    t.deepEqual(machine.verdict(), [], `${label}: ${how}`);
    for (const { pf } of machine.events) {
      t.is(pf!.gva & 0xfffn, BigInt(pf!.gpa % 4096));
      t.true([1, 2, 4].includes(pf!.access));
    }
  };

  const stepped = stage(program, seed);
  stepped.runGuests({ slice: 1 });
  compare(stepped, 'single steps');

  const watched = stage(program, seed);
  for (const gfn of TOUCHED) watched.access(gfn, 0);
  watched.runWith(function* () {
    return CONTINUE;
  });
  compare(watched, 'everything restricted, CONTINUE');

  const retried = stage(program, seed);
  for (const gfn of TOUCHED) retried.access(gfn, 0);
  const prng = new Prng(BigInt(seed)).fork('tool');
  retried.runWith(moody(retried, prng), { slice: 64 + prng.below(64) }, seed);
  compare(retried, 'RETRY by chance');

  const left = stage(program, seed);
  for (const gfn of TOUCHED) left.access(gfn, 0);
  const last = prng.below(watched.events.length) + 1;
  const leaving = function* () {
    while (left.events.length < last && left.state(0) !== VCPU_EXITED) yield stepping();
    yield* unhook(left.control, left.vm);
  };
  left.together(
    seed,
    left.toolRunner(moody(left, prng.fork('leaving'))),
    left.guestRunner(0),
    left.controlRunner(leaving()),
  );
  compare(left, `unhook at event ${last}`);
}

const bigints = (_key: string, value: unknown) => (typeof value === 'bigint' ? `${value}` : value);

test(`${PROGRAMS} random programs from SEED=${FIRST_SEED} on: watched, retried and left, they end as unwatched`, (t) => {
  for (let seed = FIRST_SEED; seed < FIRST_SEED + PROGRAMS; seed++) agree(t, seed);
});
