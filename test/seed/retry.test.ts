/**
 * RETRY where more than one instruction is concerned: REP in the middle (spec 7.3), faults that the guest takes on the
 * way, exceptions delivered to a restricted stack (7.4), and registers that the tool has changed.
 */
import test, { type ExecutionContext } from 'ava';
import {
  KVMI_EVENT_ACTION_CONTINUE as CONTINUE,
  KVMI_EVENT_ACTION_RETRY as RETRY,
} from '../../src/actors/introspector/kvmi/constants.ts';
import { VCPU_EXITED } from '../../src/shared/layout/vcpu.ts';
import { asm } from '../support/asm.ts';
import { at, DST, Scene, type SceneOptions, SRC, STACK, STOP } from './scene.ts';

const R = 1;
const W = 2;
/** Free memory of the low slot. */
const TABLE = 0x9000;
const HANDLER = 0x10_0000;

const exits = `\n jmp ${STOP}`;

/** Runs `make()` unwatched, watched, and once for each event with that event answered RETRY: all end alike. */
function sameForEachRetry(t: ExecutionContext, make: (watched: boolean) => Scene, story: string): void {
  const free = make(false);
  free.runGuests();
  t.is(free.state(0), VCPU_EXITED);
  const expected = free.outcome;
  const count = story.split(', ').length;
  for (let n = -1; n < count; n++) {
    const machine = make(true);
    machine.runWith(function* () {
      return machine.events.length === n + 1 ? RETRY : CONTINUE;
    });
    if (n < 0) t.is(machine.story, story);
    else t.true(machine.events.length > count, `RETRY of event ${n}`);
    t.deepEqual(machine.outcome, expected, `RETRY of event ${n}`);
    t.deepEqual(machine.verdict(), [], `RETRY of event ${n}`);
  }
}

/** dst is not present until the guest's handler says so. */
function faulting(watched: boolean, options: SceneOptions & { missing?: 'dst' | 'dst2' }): Scene {
  const { access, missing = 'dst', ...rest } = options;
  const machine = new Scene(rest);
  const page = machine.splitLargePage(at(missing), TABLE);
  machine.setQuad(page, machine.quad(page) & ~1n);
  machine.gate(14, HANDLER);
  machine.load(asm(HANDLER, `or qword [${page}], 1 \n add rsp, 8 \n iretq`).bytes, HANDLER);
  if (watched) machine.restrict(access ?? {});
  return machine;
}

test('a page fault of the guest: what had been read is read again after the handler', (t) => {
  const make = (watched: boolean) =>
    faulting(watched, { code: `movsq ${exits}`, access: { code: R, src: 0, dst: 0 } });
  sameForEachRetry(t, make, 'F, R src+40, F, R src+40, W dst+40, F code+2');
});

test('a page fault of the guest goes to a handler whose tables and stack are restricted', (t) => {
  const make = (watched: boolean) =>
    faulting(watched, { code: `add [rdi], rax ${exits}`, access: { idt: 0, gdt: 0, stack: 0, dst: 0 } });
  const frame = ['7f8', '7f0', '7e8', '7e0', '7d8', '7d0'].map((offset) => `W stack+${offset}`).join(', ');
  const back = ['7d8', '7e0', '7e8', '7f0', '7f8'].map((offset) => `R stack+${offset}`).join(', ');
  const story = `R idt+e0, R gdt+508, ${frame}, ${back}, R gdt+508, R gdt+510, R dst+40, W dst+40`;
  sameForEachRetry(t, make, story);
});

test('a store across pages whose second page is not present: nothing is asked or stored before the fault', (t) => {
  const registers = { rdi: BigInt(at('dst2', -3)) };
  const make = (watched: boolean) =>
    faulting(watched, {
      code: `mov [rdi], rax ${exits}`,
      registers: { ...registers, rax: 0x8877_6655_4433_2211n },
      access: { idt: 0, dst: R, dst2: R },
      missing: 'dst2',
    });
  sameForEachRetry(t, make, 'R idt+e0, W dst+ffd, W dst2+0');
});

test('an exception whose frame goes to a restricted stack: each push is asked for, RETRY starts the instruction', (t) => {
  const make = (watched: boolean): Scene => {
    const machine = new Scene({ code: `div ecx ${exits}`, registers: { rbx: 1n } });
    machine.gate(0, HANDLER);
    // Skips the DIV.
    machine.load(asm(HANDLER, 'add qword [rsp], 2 \n iretq').bytes, HANDLER);
    if (watched) machine.restrict({ code: R, stack: 0 });
    return machine;
  };
  const frame = ['7f8', '7f0', '7e8', '7e0', '7d8'];
  const pushes = frame.map((offset) => `W stack+${offset}`).join(', ');
  const pops = frame
    .toReversed()
    .map((offset) => `R stack+${offset}`)
    .join(', ');
  sameForEachRetry(t, make, `F, ${pushes}, R stack+7d8, W stack+7d8, ${pops}, F code+2`);

  const machine = make(true);
  const seen: unknown[] = [];
  machine.runWith(function* () {
    if (machine.events.length !== 4) return CONTINUE;
    seen.push(yield* machine.registers(0));
    return RETRY;
  });
  const first = machine.story.split(', ').slice(0, 7).join(', ');
  t.is(first, 'F, W stack+7f8, W stack+7f0, W stack+7e8, F, W stack+7f8, W stack+7f0');
  t.like(seen[0], { rip: BigInt(at('code')), rsp: BigInt(STACK) });
});

test('a long REP is fetched once for 1024 iterations', (t) => {
  const machine = new Scene({
    code: `rep stosb ${exits}`,
    registers: { rcx: 2500n, rax: 7n },
    access: { code: R },
  });
  const counts: bigint[] = [];
  machine.runWith(function* () {
    counts.push((yield* machine.registers(0)).rcx);
    return CONTINUE;
  });
  t.is(machine.story, 'F, F, F, F code+2');
  t.deepEqual(counts, [2500n, 2500n - 1024n, 2500n - 2048n, 0n]);
  t.deepEqual(new Set(machine.ram(DST, 2500)), new Set([7]));
});

test('RETRY in iteration n of a REP, with the page allowed: the rest runs by itself, from iteration n on', (t) => {
  for (const n of [0, 1, 7]) {
    const machine = new Scene({ code: `rep movsb ${exits}`, registers: { rcx: 100n }, access: { dst: R } });
    const before = machine.ram(DST, 100).slice();
    let then: Uint8Array | null = null;
    machine.runWith(function* (event, session) {
      if (machine.events.length !== n + 1) return CONTINUE;
      const { rcx, rsi, rdi, rip } = yield* machine.registers(0);
      t.deepEqual(
        [rcx, rsi, rdi, rip],
        [100n - BigInt(n), BigInt(SRC + n), BigInt(DST + n), BigInt(machine.start)],
      );
      then = machine.ram(DST, 100).slice();
      yield* session.setPageAccess(event.pf!.gpa, R | W);
      return RETRY;
    });
    t.is(machine.events.length, n + 1);
    t.deepEqual(then!.subarray(0, n), machine.ram(SRC, n));
    t.deepEqual(then!.subarray(n), before.subarray(n));
    t.deepEqual(machine.ram(DST, 100), machine.ram(SRC, 100));
  }
});

test('a REP that the tool moves to other memory in the middle goes on there', (t) => {
  const machine = new Scene({
    code: `rep stosb ${exits}`,
    registers: { rcx: 10n, rax: 7n },
    access: { dst: R },
  });
  machine.runWith(function* () {
    if (machine.events.length !== 4) return CONTINUE;
    yield* machine.setRegisters(0, { rdi: BigInt(SRC), rcx: 2n, rax: 9n });
    return RETRY;
  });
  t.is(machine.story, 'W dst+40, W dst+41, W dst+42, W dst+43');
  t.deepEqual([...machine.ram(DST, 3)], [7, 7, 7]);
  t.not(machine.byte(DST + 3), 7);
  t.deepEqual([...machine.ram(SRC, 2)], [9, 9]);
  t.is(machine.register('rdi'), BigInt(SRC + 2));
});

test('CONTINUE after SET_REGISTERS: the access asked about is done, and the next instruction is the next one', (t) => {
  const machine = new Scene({
    code: `mov [rdi], rax \n mov rbx, rax ${exits}`,
    registers: { rax: 5n },
    access: { dst: R },
  });
  machine.runWith(function* () {
    t.is(yield* machine.setRegisters(0, { rax: 6n, rdi: BigInt(SRC), rip: BigInt(STOP) }), 0);
    return CONTINUE;
  });
  t.is(machine.quad(DST), 5n);
  t.is(machine.register('rbx'), 6n);
  t.is(machine.register('rdi'), BigInt(SRC));
});

test('RETRY of a fetch after RIP was sent to another page runs there', (t) => {
  const machine = new Scene({ code: 'ud2', access: { code: R | W } });
  machine.load(asm(at('code2'), `mov ebx, 5 ${exits}`).bytes, at('code2'));
  machine.runWith(function* () {
    yield* machine.setRegisters(0, { rip: BigInt(at('code2')) });
    return RETRY;
  });
  t.is(machine.story, 'F');
  t.is(machine.register('rbx'), 5n);
});

test('a lost compare-exchange of a LOCK operation is asked for again, and no increment is lost', (t) => {
  let again = 0;
  for (let seed = 1; seed <= 30; seed++) {
    const machine = new Scene({
      code: `mov ecx, 5 \n again: lock inc qword [rdi] \n loop again ${exits}`,
      vcpuCount: 2,
      access: { dst: 0 },
    });
    machine.setQuad(DST, 0n);
    machine.runWith(
      function* () {
        return CONTINUE;
      },
      {},
      seed,
    );
    t.is(machine.quad(DST), 10n, `seed ${seed}`);
    // Two events for each of ten increments, unless a store of the other vCPU came between the two.
    if (machine.events.length > 20) again++;
    t.is(machine.vm.mem.load(machine.vm.word('MAPPED')), 0);
  }
  t.true(again > 0);
});
