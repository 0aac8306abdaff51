/**
 * Compiled code beside the interpreter: random programs and the guests, states compared at exits of regions and wherever a
 * random number of instructions stops both.
 *
 * Repeat one failure: `SEED=… PROGRAMS=1 npx ava dist/test/unit/jit/lockstep.test.js`; more: `PROGRAMS=1000`.
 */
import { readFileSync } from 'node:fs';
import test, { type ExecutionContext } from 'ava';
import { loadImage, writeImage } from '../../../src/image/load.ts';
import { VCPU_EXITED } from '../../../src/shared/layout/vcpu.ts';
import { Prng } from '../../../src/shared/prng.ts';
import { asm } from '../../support/asm.ts';
import { Lockstep, type LockstepGuest } from '../../support/lockstep.ts';
import { ProgramWriter } from '../../support/random-program.ts';

const FIRST_SEED = Number(process.env['SEED'] ?? 1);
const PROGRAMS = Number(process.env['PROGRAMS'] ?? 12);

const CODE_GPA = 0x10_0000;
const AREAS_GPA = 0x14_0000;
const STACK_GPA = 0x18_0000;
const RAM_BYTES = 0x20_0000;
const ROUNDS = 12;

/** A random program, run several times over by a loop that calls it. */
function randomGuest(seed: number): LockstepGuest {
  const prng = new Prng(BigInt(seed)).fork('program');
  const functions = ['f0', 'f1', 'f2'];
  const writer = new ProgramWriter(prng, { length: 30, functions });
  const random = (): string => `0x${((BigInt(prng.u32()) << 32n) | BigInt(prng.u32())).toString(16)}`;
  const registers = ['rax', 'rbx', 'rdx', 'r8', 'r9', 'r10'].map((name) => `mov ${name}, ${random()}`);
  const text = [
    `mov rsp, ${STACK_GPA}`,
    `mov r12, ${AREAS_GPA}`,
    `mov r13, ${AREAS_GPA + 0x4000}`,
    `mov rbp, ${STACK_GPA + 0x1000}`,
    ...registers,
    `mov r15d, ${ROUNDS}`,
    'again: call program',
    'dec r15d',
    'jne again',
    'mov eax, 0',
    'out 0xf4, eax',
    `program: ${writer.main()}`,
    'ret',
    ...functions.map((name) => `${name}: ${writer.leaf()}`),
  ].join('\n');
  const { bytes } = asm(CODE_GPA, text);
  return { ramBytes: RAM_BYTES, entry: CODE_GPA, write: (ram) => ram.set(bytes, CODE_GPA) };
}

test(`random programs, ${PROGRAMS} from SEED=${FIRST_SEED} on`, (t) => {
  let exits = 0;
  let compared = 0;
  for (let seed = FIRST_SEED; seed < FIRST_SEED + PROGRAMS; seed++) {
    const lockstep = new Lockstep(randomGuest(seed), { heat: seed % 3 });
    t.is(lockstep.run(new Prng(BigInt(seed)), 600), null, `SEED=${seed}`);
    t.is(exitState(lockstep), VCPU_EXITED, `SEED=${seed}`);
    exits += lockstep.exits;
    compared += lockstep.compared;
  }
  t.true(exits > PROGRAMS * 20, `${exits} exits`);
  t.log(`${exits} exits of regions, ${compared} states compared`);
});

function exitState(lockstep: Lockstep): number {
  return lockstep.compiled.mem.load(lockstep.compiled.word('STATE'));
}

/** Guests of one vCPU, and after how many instructions at most they are compared: often where they are short. */
const GUESTS: Readonly<Record<string, number>> = {
  'selftest-isa': 200_000,
  memory: 50_000,
  exceptions: 500,
  paging: 500,
  rings: 500,
  'self-modifying': 300,
  'rep-movs': 2_000,
  system: 1_000,
  strict: 500,
  'bench-sieve': 50_000,
  'bench-recursion': 50_000,
  'bench-sha256': 50_000,
  'bench-registers': 50_000,
};

for (const [name, step] of Object.entries(GUESTS)) {
  test(`guest ${name}`, (t) => {
    const lockstep = new Lockstep(imageGuest(name), { heat: 4 });
    t.is(lockstep.run(new Prng(1n), step), null);
    report(t, lockstep);
  });
}

function imageGuest(name: string): LockstepGuest {
  const ramBytes = 4 * 1024 ** 2;
  const image = loadImage(readFileSync(`test/guests/images/${name}.elf`), { ramBytes, vcpuCount: 1 });
  return { ramBytes, entry: image.entry, write: (ram) => writeImage(image, ram) };
}

function report(t: ExecutionContext, lockstep: Lockstep): void {
  const { compiled, exits, compared } = lockstep;
  t.is(exitState(lockstep), VCPU_EXITED);
  t.true(compiled.jit!.counters.regions > 0);
  t.log(`${compiled.get64('RETIRED')} instructions, ${exits} exits of regions, ${compared} states compared`);
}
