/** Guest code through the whole of one vCPU: decoding, blocks, TLB, faults, emulation, exits. */
import test from 'ava';
import { KVMI_EVENT_ACTION_CONTINUE as CONTINUE } from '../../../src/actors/introspector/kvmi/constants.ts';
import { whileParked } from '../../../src/actors/mmu/quiesce.ts';
import { VCPU_EXITED, VCPU_STOPPED } from '../../../src/shared/layout/vcpu.ts';
import { stateHash } from '../../../src/shared/state/hash.ts';
import { type Path, stepping } from '../../../src/shared/sync/point.ts';
import { CODE_GPA, GuestMachine, VICTIM_GFN, VICTIM_GPA } from '../../support/guest-machine.ts';

// out 0xf4, eax
const EXIT = [0xe7, 0xf4];
const RAX = 0;
const RBX = 3;

function le32(value: number): number[] {
  return [value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >>> 24) & 255];
}

test('a guest runs to its exit port, and its instructions are counted exactly', (t) => {
  const machine = new GuestMachine();
  // mov ecx, 1000; dec ecx; jnz; mov eax, 7
  machine.load([0xb9, ...le32(1000), 0xff, 0xc9, 0x75, 0xfc, 0xb8, ...le32(7), ...EXIT]);
  machine.runGuests();
  t.is(machine.state(0), VCPU_EXITED);
  t.is(machine.exitCode(0), 7);
  // The OUT that ends it does not retire.
  t.is(machine.vcpus[0]!.get64('RETIRED'), 2002n);
});

test('an instruction limit stops it there, whatever the blocks look like', (t) => {
  const code = [0xb9, ...le32(1000), 0xff, 0xc9, 0x75, 0xfc, ...EXIT];
  const counts = [1, 2, 3, 63, 64, 65, 66, 127, 500, 1999].map((limit) => {
    const machine = new GuestMachine();
    machine.load(code);
    machine.runGuests({ instructions: BigInt(limit) });
    t.is(machine.state(0), VCPU_STOPPED);
    // After the MOV each turn is two instructions, the first of which decrements.
    t.is(Number(machine.vcpus[0]!.gpr(1)), limit === 0 ? 0 : 1000 - Math.floor(limit / 2));
    return machine.vcpus[0]!.get64('RETIRED');
  });
  t.deepEqual(counts, [1n, 2n, 3n, 63n, 64n, 65n, 66n, 127n, 500n, 1999n]);
});

test('code that the vCPU itself overwrites is seen at once, in the same block', (t) => {
  const machine = new GuestMachine();
  // mov byte [rip+1], 42 changes the immediate of the mov al, 1 that follows.
  machine.load([0xc6, 0x05, ...le32(1), 42, 0xb0, 1, ...EXIT]);
  machine.runGuests();
  t.is(machine.exitCode(0), 42);
});

test('a page that holds code and data that changes all the time stays right', (t) => {
  const machine = new GuestMachine();
  // mov ecx, 50; L: inc dword [rip+d]; dec ecx; jnz L; mov eax, [rip+d]; exit; data in the same page
  const loop = [0xff, 0x05, ...le32(0), 0xff, 0xc9, 0x75, 0xf6, 0x8b, 0x05, ...le32(0), ...EXIT];
  const code = [0xb9, ...le32(50), ...loop];
  const data = 64;
  code.splice(7, 4, ...le32(data - 11));
  code.splice(17, 4, ...le32(data - 21));
  machine.load(code);
  machine.runGuests();
  t.is(machine.exitCode(0), 50);
});

test('another vCPU changes the code: it is seen no later than after the flush', (t) => {
  const machine = new GuestMachine({ vcpuCount: 2 });
  // vCPU 0: L: mov al, 1; cmp al, 1; je L; exit.   vCPU 1: mov byte [L+1], 9; mov al, 0; exit
  machine.load([0xb0, 1, 0x3c, 1, 0x74, 0xfa, ...EXIT]);
  const writer = CODE_GPA + 0x5000;
  machine.load([0xc6, 0x04, 0x25, ...le32(CODE_GPA + 1), 9, 0xb0, 0, ...EXIT], writer);
  machine.boot(machine.vcpus[1]!, writer);
  for (const seed of [1, 2, 3, 4, 5]) {
    machine.load([0xb0, 1], CODE_GPA);
    machine.boot(machine.vcpus[0]!, CODE_GPA);
    machine.boot(machine.vcpus[1]!, writer);
    machine.runGuests({}, seed);
    t.is(machine.exitCode(0), 9);
  }
});

test('an instruction across two pages runs from both, and only while both are mapped', (t) => {
  const machine = new GuestMachine();
  const start = VICTIM_GPA + 4096 - 2;
  // mov eax, 0x11223344 (5 bytes, 2 in the first page); exit
  machine.load([0xb8, ...le32(0x11223344), ...EXIT], start);
  machine.boot(machine.vcpus[0]!, start);
  machine.runGuests();
  t.is(machine.exitCode(0), 0x44);
  t.is(machine.vcpus[0]!.gpr(RAX), 0x11223344n);
});

test('fetches from a page without X are emulated, each with its event, at RIP', (t) => {
  const machine = new GuestMachine();
  machine.hook();
  machine.enablePf(0);
  // inc eax; inc eax; jmp back to the code page, which exits
  machine.load([0xb8, ...le32(VICTIM_GPA), 0xff, 0xd0, 0x90, ...EXIT]);
  machine.load([0x31, 0xc0, 0xff, 0xc0, 0xff, 0xc0, 0xc3], VICTIM_GPA);
  machine.access(VICTIM_GFN, 3);
  machine.together(
    1,
    machine.toolRunner(function* () {
      return CONTINUE;
    }),
    machine.guestRunner(0),
  );
  t.is(machine.exitCode(0), 2);
  t.deepEqual(
    machine.events.map((e) => [e.pf!.gpa - VICTIM_GPA, Number(e.pf!.gva) - VICTIM_GPA, e.pf!.access]),
    [0, 2, 4, 6].map((offset) => [offset, offset, 4]),
  );
  t.deepEqual(machine.verdict(), []);
});

test('an undefined opcode is counted by name', (t) => {
  const machine = new GuestMachine();
  machine.load([0x0f, 0x7a, 0xc1]); // no instruction, with no IDT: a triple fault
  machine.runGuests();
  t.deepEqual([...machine.vcpus[0]!.undefinedOpcodes], [['0f 7a', 1]]);
  t.is(machine.vm.mem.load(machine.vm.word('DEAD')), 1);
});

test('single steps and blocks end in the same state', (t) => {
  const state = (slice?: number) => {
    const machine = new GuestMachine();
    // mov ecx, 300; mov ebx, VICTIM+4094; L: add [rbx], ecx (crossing); adc eax, ecx; rol eax, 3; loop L; exit
    machine.load([
      0xb9,
      ...le32(300),
      0xbb,
      ...le32(VICTIM_GPA + 4094),
      0x01,
      0x0b,
      0x11,
      0xc8,
      0xc1,
      0xc0,
      3,
      0xe2,
      0xf7,
      ...EXIT,
    ]);
    machine.runGuests(slice === undefined ? {} : { slice });
    const [vcpu] = machine.vcpus;
    return {
      regs: Array.from({ length: 16 }, (_, n) => vcpu!.gpr(n)),
      rflags: vcpu!.flags.rflags(),
      retired: vcpu!.get64('RETIRED'),
      data: machine.quad(VICTIM_GPA + 4092),
      rbx: vcpu!.gpr(RBX),
    };
  };
  t.deepEqual(state(1), state());
});

/** Hashes of the CPU areas after `code`: of a vCPU parked in the loop behind it, and of one ended there by its limit. */
function cpuHashes(code: readonly number[]): { parked: string | undefined; ended: string | undefined } {
  const started = () => {
    const machine = new GuestMachine();
    // code; L: jmp L
    machine.load([...code, 0xeb, 0xfe]);
    return machine;
  };
  const hash = ({ vm }: GuestMachine) => stateHash(vm.mem, vm.layout).regions['cpus'];
  const machine = started();
  const { vm, control } = machine;
  let parked: string | undefined;
  function* check(): Path<void> {
    while (machine.vcpus[0]!.get64('RETIRED') < 500n) yield stepping();
    yield* whileParked(control, vm, function* () {
      parked = hash(machine);
    });
  }
  machine.together(
    1,
    machine.guestRunner(0, { instructions: 100_000n, slice: 100 }),
    machine.controlRunner(check()),
  );
  const alone = started();
  alone.runGuests({ instructions: 1000n });
  return { parked, ended: hash(alone) };
}

test('flags that are the same hash the same, whatever they followed from', (t) => {
  const [first, ...others] = [
    [0x29, 0xc0], // sub eax, eax
    [0x39, 0xc0], // cmp eax, eax
    [0x31, 0xc0], // xor eax, eax
    [0x85, 0xc0], // test eax, eax
  ].map((compare) => cpuHashes([0x31, 0xc0, ...compare]));
  t.regex(first!.parked ?? '', /^[0-9a-f]{16}$/);
  t.not(first!.parked, first!.ended);
  for (const other of others) t.deepEqual(other, first);
  // dec eax, sub al, 1; and what must not be the same: cmp al, 1.
  t.deepEqual(cpuHashes([0xff, 0xc0, 0xff, 0xc8]), cpuHashes([0xff, 0xc0, 0x2c, 0x01]));
  t.not(cpuHashes([0x31, 0xc0, 0x3c, 0x01]).ended, first!.ended);
});
