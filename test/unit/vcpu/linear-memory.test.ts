/** Emulated accesses by linear address: pieces, faults, RETRY, LOCK operations, and the events they raise. */
import test from 'ava';
import {
  KVMI_EVENT_ACTION_CONTINUE as CONTINUE,
  KVMI_EVENT_ACTION_RETRY as RETRY,
} from '../../../src/actors/introspector/kvmi/constants.ts';
import { codeVersion, codeWord, HAS_CODE } from '../../../src/actors/mmu/code-map.ts';
import { dirtyWord } from '../../../src/actors/mmu/slot-arena.ts';
import { isCanonical } from '../../../src/actors/vcpu/canonical.ts';
import {
  fetchLinear,
  lockedLinear,
  readLinear,
  writeLinear,
} from '../../../src/actors/vcpu/linear-memory.ts';
import { OUTCOME_FAULT, OUTCOME_OK, OUTCOME_RETRY } from '../../../src/actors/vcpu/vcpu.ts';
import { CPU } from '../../../src/shared/layout/cpu.ts';
import { REQ_CODE_FLUSH } from '../../../src/shared/layout/vcpu.ts';
import { type Quirks, REF_EMU_CHECK_THEN_ACT } from '../../../src/shared/quirks.ts';
import type { Tool } from '../../support/small-machine.ts';
import { A, D, fault, KERNEL_DATA, P, PAGE, RW, SystemBed, US, USER } from '../../support/system-bed.ts';

const R = 1;
const W = 2;
const X = 4;
const at = (gpa: number): bigint => BigInt(gpa);
/** The last byte before a page boundary, with user pages on both sides. */
const BORDER = USER + 3 * PAGE;
const ALWAYS = (action: number): Tool =>
  function* () {
    return action;
  };

/** A bed with USER + 2 pages restricted to `access`, both sides of BORDER. */
function restricted(access: number, quirks: Quirks = []): SystemBed {
  const bed = new SystemBed({ quirks });
  bed.introspect();
  bed.access(BORDER / PAGE - 1, access);
  bed.access(BORDER / PAGE, access);
  return bed;
}

const events = (bed: SystemBed): (readonly [number, number])[] =>
  bed.events.map((event) => [event.pf!.access, event.pf!.gpa] as const);

test('canonical is what sign extension from bit 47 leaves alone', (t) => {
  for (const good of [0n, 0x7fff_ffff_ffffn, 0xffff_8000_0000_0000n, 0xffff_ffff_ffff_ffffn])
    t.true(isCanonical(good));
  for (const bad of [0x8000_0000_0000n, 0xffff_7fff_ffff_ffffn, 1n << 63n]) t.false(isCanonical(bad));
});

test('every size at every offset around a page boundary reads and writes what a byte array holds', (t) => {
  const bed = new SystemBed();
  // The two pages are swapped in RAM, so that the second piece cannot come from the neighbour.
  bed.setPte(BORDER, at(USER + 5 * PAGE) | P | RW | US | A | D);
  const model = new Uint8Array(64);
  const gva = BORDER - 32;
  const host = (i: number): number => (i < 32 ? gva + i : USER + 5 * PAGE + i - 32);
  for (let i = 0; i < 64; i++) {
    model[i] = 0x40 + i;
    bed.bytes(host(i), model[i]!);
  }
  for (const size of [1, 2, 4, 8, 10, 16]) {
    for (let offset = 0; offset + size <= 64; offset++) {
      t.is(bed.run(readLinear(bed.vcpu, at(gva + offset), size)), OUTCOME_OK);
      let wanted = 0n;
      for (let i = size - 1; i >= 0; i--) wanted = (wanted << 8n) | BigInt(model[offset + i]!);
      t.is(bed.vcpu.value, wanted, `${size} bytes at ${offset}`);
      const value = BigInt.asUintN(8 * size, (wanted * 0x9e37n) ^ 0x1234_5678_9abc_def0_0fed_cba9n);
      t.is(bed.run(writeLinear(bed.vcpu, at(gva + offset), size, value)), OUTCOME_OK);
      for (let i = 0; i < size; i++) model[offset + i] = Number((value >> BigInt(8 * i)) & 0xffn);
    }
  }
  t.deepEqual(
    Array.from({ length: 64 }, (_, i) => bed.byte(host(i))),
    [...model],
  );
});

test('an address that is not canonical is #GP(0), on the stack #SS(0), and reaches into the hole by its last byte', (t) => {
  const bed = new SystemBed();
  const { vcpu } = bed;
  for (const [gva, size] of [
    [0x8000_0000_0000n, 1],
    [0x7fff_ffff_fff9n, 8],
    [0xffff_7fff_ffff_ffffn, 2],
  ] as const) {
    t.is(bed.run(readLinear(vcpu, gva, size)), OUTCOME_FAULT);
    t.deepEqual(fault(vcpu), { vector: 13, errorCode: 0 });
    t.is(bed.run(writeLinear(vcpu, gva, size, 0n, { stack: true })), OUTCOME_FAULT);
    t.deepEqual(fault(vcpu), { vector: 12, errorCode: 0 });
    t.is(bed.run(lockedLinear(vcpu, gva, size, { expect: 0n, value: 0n })), OUTCOME_FAULT);
    t.is(bed.run(fetchLinear(vcpu, 0x8000_0000_0000n, 15)), OUTCOME_FAULT);
    t.deepEqual(fault(vcpu), { vector: 13, errorCode: 0 });
  }
});

test('the last bytes before the hole are canonical', (t) => {
  const bed = new SystemBed();
  t.is(bed.run(readLinear(bed.vcpu, 0x7fff_ffff_fff8n, 8)), OUTCOME_FAULT);
  t.deepEqual(fault(bed.vcpu), { vector: 14, errorCode: 0, address: 0x7fff_ffff_fff8n });
});

test('without EFER.NXE the execute-disable bit is a reserved one', (t) => {
  const bed = new SystemBed();
  const { vcpu } = bed;
  bed.setPte(USER, at(USER) | P | RW | US | A | D | (1n << 63n));
  t.is(bed.run(readLinear(vcpu, at(USER), 1)), OUTCOME_OK);
  t.is(bed.run(fetchLinear(vcpu, at(USER), 1)), OUTCOME_FAULT);
  t.deepEqual(fault(vcpu), { vector: 14, errorCode: 0x11, address: at(USER) });
  vcpu.set64('EFER', vcpu.get64('EFER') & ~(1n << 11n));
  t.is(bed.run(readLinear(vcpu, at(USER), 1)), OUTCOME_FAULT);
  t.deepEqual(fault(vcpu), { vector: 14, errorCode: 9, address: at(USER) });
});

test('a page fault names the address of its piece, the attempt and the privilege', (t) => {
  const bed = new SystemBed();
  bed.setPte(BORDER, 0n);
  const { vcpu } = bed;
  t.is(bed.run(readLinear(vcpu, at(BORDER - 2), 8)), OUTCOME_FAULT);
  t.deepEqual(fault(vcpu), { vector: 14, errorCode: 0, address: at(BORDER) });
  t.is(bed.run(writeLinear(vcpu, at(BORDER - 2), 8, 0n)), OUTCOME_FAULT);
  t.deepEqual(fault(vcpu), { vector: 14, errorCode: 2, address: at(BORDER) });
  t.is(bed.run(readLinear(vcpu, at(BORDER + 6), 1, { rmw: true })), OUTCOME_FAULT);
  t.deepEqual(fault(vcpu), { vector: 14, errorCode: 2, address: at(BORDER + 6) });
  t.is(bed.run(fetchLinear(vcpu, at(BORDER), 15)), OUTCOME_FAULT);
  t.deepEqual(fault(vcpu), { vector: 14, errorCode: 0x10, address: at(BORDER) });
  bed.enterUser();
  t.is(bed.run(readLinear(vcpu, at(KERNEL_DATA), 4)), OUTCOME_FAULT);
  t.deepEqual(fault(vcpu), { vector: 14, errorCode: 5, address: at(KERNEL_DATA) });
  t.is(bed.run(fetchLinear(vcpu, at(KERNEL_DATA), 4)), OUTCOME_FAULT);
  t.deepEqual(fault(vcpu), { vector: 14, errorCode: 0x15, address: at(KERNEL_DATA) });
  t.is(
    bed.run(readLinear(vcpu, at(KERNEL_DATA), 4, { system: true })),
    OUTCOME_OK,
    'the processor itself may',
  );
});

test('a read-modify-write of a read-only page faults as a write, before anything is read or asked', (t) => {
  const bed = restricted(0);
  bed.setPte(BORDER, at(BORDER) | P | US | A);
  t.is(bed.runWithTool(ALWAYS(CONTINUE), readLinear(bed.vcpu, at(BORDER), 4, { rmw: true })), OUTCOME_FAULT);
  t.deepEqual(fault(bed.vcpu), { vector: 14, errorCode: 3, address: at(BORDER) });
  t.deepEqual(events(bed), []);
});

test('with CR0.WP clear the supervisor writes read-only pages, the user does not', (t) => {
  const bed = new SystemBed();
  bed.setPte(USER, at(USER) | P | US | A | D);
  const { vcpu } = bed;
  t.is(bed.run(writeLinear(vcpu, at(USER), 1, 2n)), OUTCOME_FAULT);
  t.deepEqual(fault(vcpu), { vector: 14, errorCode: 3, address: at(USER) });
  vcpu.set64('CR0', vcpu.get64('CR0') & ~(1n << 16n));
  t.is(bed.run(writeLinear(vcpu, at(USER), 1, 1n)), OUTCOME_OK);
  bed.enterUser();
  t.is(bed.run(writeLinear(vcpu, at(USER), 1, 3n)), OUTCOME_FAULT);
  t.is(bed.byte(USER), 1);
});

test('pieces are asked for and carried out one after the other, low page first', (t) => {
  const bed = restricted(0);
  let stored = -1;
  const tool: Tool = function* () {
    if (bed.events.length === 2) stored = bed.byte(BORDER - 1);
    return CONTINUE;
  };
  t.is(bed.runWithTool(tool, writeLinear(bed.vcpu, at(BORDER - 1), 2, 0xbbaan)), OUTCOME_OK);
  t.deepEqual(events(bed), [
    [W, BORDER - 1],
    [W, BORDER],
  ]);
  t.is(stored, 0xaa, 'the first piece had taken effect when the second was asked for');
  t.is(bed.byte(BORDER), 0xbb);
  t.deepEqual(bed.verdict(), []);
});

test('RETRY on the second piece leaves the first one stored', (t) => {
  const bed = restricted(0);
  const tool: Tool = function* (event) {
    return event.pf!.gpa === BORDER ? RETRY : CONTINUE;
  };
  t.is(bed.runWithTool(tool, writeLinear(bed.vcpu, at(BORDER - 1), 2, 0xbbaan)), OUTCOME_RETRY);
  t.is(bed.byte(BORDER - 1), 0xaa);
  t.is(bed.byte(BORDER), 0);
});

test('where the guest denies the second page, nothing is stored and nobody asked, as on the processor', (t) => {
  const bed = restricted(0);
  bed.setPte(BORDER, 0n);
  t.is(bed.runWithTool(ALWAYS(CONTINUE), writeLinear(bed.vcpu, at(BORDER - 1), 2, 0xbbaan)), OUTCOME_FAULT);
  t.deepEqual(events(bed), []);
  t.is(bed.byte(BORDER - 1), 0);
});

test('a read across pages asks for both, and RETRY forgets what was read', (t) => {
  const bed = restricted(0);
  bed.vcpu.value = 77n;
  const tool: Tool = function* (event) {
    return event.pf!.gpa === BORDER ? RETRY : CONTINUE;
  };
  t.is(bed.runWithTool(tool, readLinear(bed.vcpu, at(BORDER - 4), 8)), OUTCOME_RETRY);
  t.is(bed.vcpu.value, 77n);
  t.deepEqual(events(bed), [
    [R, BORDER - 4],
    [R, BORDER],
  ]);
});

test('a fetch has one event for each chunk, a chunk ends with its page, and gva is the fetch address', (t) => {
  const bed = restricted(R | W);
  const { vcpu } = bed;
  const code = Array.from({ length: 15 }, (_, i) => 0x90 + i);
  bed.bytes(BORDER - 6, ...code);
  const from = vcpu.cpu + CPU.at.FETCH_BYTES;
  bed.vm.mem.u8[from + 15] = 0x77;
  const fetch = function* () {
    const first = yield* fetchLinear(vcpu, at(BORDER - 6), 15);
    const got = [first, vcpu.fetched];
    const second = yield* fetchLinear(vcpu, at(BORDER), 9, 6);
    return [...got, second, vcpu.fetched];
  };
  t.deepEqual(bed.runWithTool(ALWAYS(CONTINUE), fetch()), [OUTCOME_OK, 6, OUTCOME_OK, 9]);
  t.deepEqual([...bed.vm.mem.u8.slice(from, from + 16)], [...code, 0x77]);
  t.deepEqual(
    bed.events.map((event) => event.pf),
    [
      { gva: at(BORDER - 6), gpa: BORDER - 6, access: X },
      { gva: at(BORDER), gpa: BORDER, access: X },
    ],
  );
});

test('a fetch answered RETRY gives no bytes; one tightened after CONTINUE is asked again', (t) => {
  const bed = restricted(R | W);
  t.is(bed.runWithTool(ALWAYS(RETRY), fetchLinear(bed.vcpu, at(BORDER), 15)), OUTCOME_RETRY);
  t.is(bed.vcpu.fetched, 0);

  const raced = restricted(R | W);
  const tool: Tool = function* (_event, session) {
    if (raced.events.length === 1) {
      // Given away and taken back: the approval to come is for an older policy.
      yield* session.setPageAccess(BORDER, 7);
      yield* session.setPageAccess(BORDER, R | W);
    }
    return CONTINUE;
  };
  t.is(raced.runWithTool(tool, fetchLinear(raced.vcpu, at(BORDER), 15)), OUTCOME_OK);
  t.is(raced.events.length, 2);
  t.deepEqual(raced.verdict(), []);
});

test('where no memslot is, reads give ones, writes are lost, both are counted', (t) => {
  const bed = new SystemBed();
  const { vm, vcpu } = bed;
  bed.setPte(BORDER, 0x60000n | P | RW | US | A | D);
  bed.bytes(BORDER - 1, 0x11);
  t.is(bed.run(readLinear(vcpu, at(BORDER - 1), 4)), OUTCOME_OK);
  t.is(vcpu.value, 0xffff_ff11n);
  t.is(vm.mem.load(vm.word('MMIO_ACCESSES')), 1);
  t.is(bed.run(writeLinear(vcpu, at(BORDER - 1), 2, 0x2233n)), OUTCOME_OK);
  t.is(bed.byte(BORDER - 1), 0x33);
  t.is(bed.run(fetchLinear(vcpu, at(BORDER), 3)), OUTCOME_OK);
  t.is(bed.vm.mem.u8[vcpu.cpu + CPU.at.FETCH_BYTES + 2], 0xff);
  t.is(bed.run(lockedLinear(vcpu, at(BORDER), 4, { expect: 0xffff_ffffn, value: 0n })), OUTCOME_OK);
  t.is(vm.mem.load(vm.word('MMIO_ACCESSES')), 4);
});

test('a read-only memslot is read as RAM and written as MMIO', (t) => {
  const bed = new SystemBed();
  bed.bytes(KERNEL_DATA, 0x5a);
  bed.slotFlags(2);
  t.is(bed.run(readLinear(bed.vcpu, at(KERNEL_DATA), 1)), OUTCOME_OK);
  t.is(bed.vcpu.value, 0x5an);
  t.is(bed.run(writeLinear(bed.vcpu, at(KERNEL_DATA), 1, 1n)), OUTCOME_OK);
  t.is(
    bed.run(lockedLinear(bed.vcpu, at(KERNEL_DATA + 1), 4, { expect: 0xffff_ffffn, value: 1n })),
    OUTCOME_OK,
  );
  t.is(bed.byte(KERNEL_DATA), 0x5a);
  t.is(bed.vm.mem.load(bed.vm.word('MMIO_ACCESSES')), 2);
});

test('an INVALID memslot means RETRY for every kind of access', (t) => {
  const bed = new SystemBed();
  bed.slotFlags(1 << 16);
  const { vcpu } = bed;
  t.is(bed.run(readLinear(vcpu, at(USER), 1)), OUTCOME_RETRY);
  t.is(bed.run(writeLinear(vcpu, at(USER), 1, 0n)), OUTCOME_RETRY);
  t.is(bed.run(lockedLinear(vcpu, at(USER), 4, { expect: 0n, value: 0n })), OUTCOME_RETRY);
  t.is(bed.run(fetchLinear(vcpu, at(USER), 1)), OUTCOME_RETRY);
});

// ── LOCK ────────────────────────────────────────────────────────────────────────────────────────

test('LOCK of 1, 2, 4 and 8 bytes, aligned, misaligned and across pages: stored if all of it is there', (t) => {
  const bed = new SystemBed();
  bed.setPte(BORDER, at(USER + 5 * PAGE) | P | RW | US | A | D);
  const { vm, vcpu } = bed;
  const read = (gva: number, size: number): bigint => {
    bed.run(readLinear(vcpu, at(gva), size));
    return vcpu.value;
  };
  let split = 0;
  for (const size of [1, 2, 4, 8, 16]) {
    for (let gva = BORDER - 17; gva <= BORDER + 1; gva++) {
      const expect = BigInt.asUintN(8 * size, 0x1122_3344_5566_7788_99aa_bbcc_ddee_ff01n);
      const value = BigInt.asUintN(8 * size, 0xfedc_ba98_7654_3210_0246_8ace_1357_9bdfn);
      const operand = (e: bigint) => ({
        expect: BigInt.asUintN(64, e),
        value: BigInt.asUintN(64, value),
        expectHigh: e >> 64n,
        valueHigh: value >> 64n,
      });
      bed.run(writeLinear(vcpu, at(gva), size, expect));
      if (size === 16 || gva % size !== 0) split += 1 + 8 * size;
      for (let bit = 0; bit < 8 * size; bit++) {
        // One wrong bit anywhere, and nothing at all is stored.
        const outcome = bed.run(lockedLinear(vcpu, at(gva), size, operand(expect ^ (1n << BigInt(bit)))));
        if (outcome !== OUTCOME_RETRY)
          t.fail(`bit ${bit} of ${size} bytes at ${gva - BORDER} was not compared`);
      }
      t.is(read(gva, size), expect);
      t.is(bed.run(lockedLinear(vcpu, at(gva), size, operand(expect))), OUTCOME_OK);
      t.is(read(gva, size), value, `${size} bytes at ${gva - BORDER}`);
    }
  }
  t.is(vm.mem.load(vm.word('SPLIT_LOCKS')), split);
  t.is(vm.mem.load(vm.word('MAPPED')), 0);
  t.deepEqual(bed.lockFindings, []);
});

test('a LOCK across pages asks for both pages before it touches either', (t) => {
  const bed = restricted(R);
  bed.bytes(BORDER - 2, 1, 2, 3, 4);
  const tool: Tool = function* () {
    t.deepEqual([bed.byte(BORDER - 2), bed.byte(BORDER)], [1, 3], 'nothing was stored yet');
    return CONTINUE;
  };
  const operand = { expect: 0x0403_0201n, value: 0x0807_0605n };
  t.is(bed.runWithTool(tool, lockedLinear(bed.vcpu, at(BORDER - 2), 4, operand)), OUTCOME_OK);
  t.deepEqual(events(bed), [
    [W, BORDER - 2],
    [W, BORDER],
  ]);
  t.deepEqual([bed.byte(BORDER - 2), bed.byte(BORDER + 1)], [5, 8]);
  t.deepEqual(bed.verdict(), []);
});

test('RETRY for the second page of a LOCK leaves the first page alone', (t) => {
  const bed = restricted(R);
  const tool: Tool = function* (event) {
    return event.pf!.gpa === BORDER ? RETRY : CONTINUE;
  };
  t.is(
    bed.runWithTool(tool, lockedLinear(bed.vcpu, at(BORDER - 2), 4, { expect: 0n, value: 0xffff_ffffn })),
    OUTCOME_RETRY,
  );
  t.is(bed.byte(BORDER - 1), 0);
  t.deepEqual(bed.verdict(), []);
});

test('a page tightened between its answer and the effect of a LOCK is asked for again', (t) => {
  const bed = restricted(R);
  const tool: Tool = function* (event, session) {
    // While the second page is asked for, the approval of the first one is made void.
    if (event.pf!.gpa === BORDER && bed.events.length === 2) {
      yield* session.setPageAccess(BORDER - PAGE, 7);
      yield* session.setPageAccess(BORDER - PAGE, R);
    }
    return CONTINUE;
  };
  t.is(
    bed.runWithTool(tool, lockedLinear(bed.vcpu, at(BORDER - 2), 4, { expect: 0n, value: 0xffff_ffffn })),
    OUTCOME_OK,
  );
  t.deepEqual(events(bed), [
    [W, BORDER - 2],
    [W, BORDER],
    [W, BORDER - 2],
  ]);
  t.is(bed.byte(BORDER - 1), 0xff);
  t.deepEqual(bed.verdict(), []);
});

test('the reference build stores in spite of that, and the oracle says so', (t) => {
  const bed = restricted(R, [REF_EMU_CHECK_THEN_ACT]);
  const tool: Tool = function* (event, session) {
    if (event.pf!.gpa === BORDER && bed.events.length === 2) {
      yield* session.setPageAccess(BORDER - PAGE, 7);
      yield* session.setPageAccess(BORDER - PAGE, R);
    }
    return CONTINUE;
  };
  t.is(
    bed.runWithTool(tool, lockedLinear(bed.vcpu, at(BORDER - 2), 4, { expect: 0n, value: 0xffff_ffffn })),
    OUTCOME_OK,
  );
  t.is(bed.events.length, 2);
  t.is(bed.findings[0]?.id, 'I2');
});

test('two vCPUs that add to one 16-byte and one misaligned counter lose nothing', (t) => {
  for (let seed = 0; seed < 12; seed++) {
    const bed = new SystemBed({ vcpuCount: 2 });
    const wide = USER + 0x100;
    const crossing = BORDER - 3;
    const add = function* (index: number, gva: number, size: number) {
      const vcpu = bed.vcpus[index]!;
      yield* vcpu.enterSrcu();
      for (let done = 0; done < 4; ) {
        yield* readLinear(vcpu, at(gva), size, { rmw: true });
        const old = vcpu.value;
        const sum = old + (1n << BigInt(8 * size - 16)) + 1n;
        const outcome = yield* lockedLinear(vcpu, at(gva), size, {
          expect: BigInt.asUintN(64, old),
          value: BigInt.asUintN(64, sum),
          expectHigh: old >> 64n,
          valueHigh: sum >> 64n,
        });
        if (outcome === OUTCOME_OK) done++;
      }
      yield* vcpu.leaveSrcu();
    };
    const both = function* (index: number) {
      yield* add(index, wide, 16);
      yield* add(index, crossing, 8);
    };
    bed.together(
      seed,
      ...bed.vcpus.map((vcpu, i) => ({ name: `vcpu ${i}`, waiter: vcpu.actor, path: both(i) })),
    );
    bed.run(readLinear(bed.vcpu, at(wide), 16));
    t.is(bed.vcpu.value, 8n * ((1n << 112n) + 1n), `seed ${seed}`);
    bed.run(readLinear(bed.vcpu, at(crossing), 8));
    t.is(bed.vcpu.value, 8n * ((1n << 48n) + 1n), `seed ${seed}`);
    t.deepEqual(bed.lockFindings, []);
  }
});

// ── what a store leaves behind ──────────────────────────────────────────────────────────────────

test('every store is in the dirty log: plain, locked, and both pages of a split one', (t) => {
  const bed = new SystemBed();
  bed.slot({ id: 0, baseGfn: 0, npages: 64, ramPage: 0, flags: 1 });
  const { vm, vcpu } = bed;
  const dirty = (gva: number): boolean => {
    const page = gva / PAGE;
    return (vm.mem.load(dirtyWord(vm, 0, page)) & (1 << (page % 32))) !== 0;
  };
  bed.run(writeLinear(vcpu, at(USER), 1, 1n));
  t.deepEqual([dirty(USER), dirty(USER + PAGE)], [true, false]);
  bed.run(lockedLinear(vcpu, at(USER + PAGE), 4, { expect: 1n, value: 1n }));
  t.false(dirty(USER + PAGE), 'nothing was stored');
  bed.run(lockedLinear(vcpu, at(USER + PAGE), 4, { expect: 0n, value: 1n }));
  t.true(dirty(USER + PAGE));
  bed.run(lockedLinear(vcpu, at(BORDER - 2), 4, { expect: 0n, value: 1n }));
  t.deepEqual([dirty(BORDER - PAGE), dirty(BORDER)], [true, true]);
});

test('a store to a page with decoded code voids the code and tells every vCPU', (t) => {
  const stores = {
    plain: (bed: SystemBed) => bed.run(writeLinear(bed.vcpu, at(USER), 1, 1n)),
    locked: (bed: SystemBed) => bed.run(lockedLinear(bed.vcpu, at(USER), 4, { expect: 0n, value: 1n })),
    split: (bed: SystemBed) => bed.run(lockedLinear(bed.vcpu, at(USER + 1), 4, { expect: 0n, value: 1n })),
    introspector: (bed: SystemBed) => bed.alone(bed.session.writePhysical(USER, Uint8Array.of(1))),
  };
  for (const [name, store] of Object.entries(stores)) {
    const bed = new SystemBed({ vcpuCount: 2 });
    const { vm } = bed;
    const page = USER / PAGE;
    vm.mem.store(codeWord(vm, page), 6 | HAS_CODE);
    t.is(store(bed), 0, name);
    t.is(codeVersion(vm, page), 4, name);
    t.is(vm.mem.load(codeWord(vm, page)) & HAS_CODE, 0, name);
    for (const vcpu of bed.vcpus) t.is(vcpu.get32('REQUESTS'), REQ_CODE_FLUSH, name);
  }
});

test('a read, a fetch and a LOCK that stored nothing leave code alone', (t) => {
  const bed = new SystemBed();
  const { vm, vcpu } = bed;
  vm.mem.store(codeWord(vm, USER / PAGE), 7);
  bed.run(readLinear(vcpu, at(USER), 8));
  bed.run(fetchLinear(vcpu, at(USER), 8));
  bed.run(lockedLinear(vcpu, at(USER), 4, { expect: 1n, value: 2n }));
  bed.run(lockedLinear(vcpu, at(USER + 1), 4, { expect: 1n, value: 2n }));
  t.is(vm.mem.load(codeWord(vm, USER / PAGE)), 7);
  t.is(vcpu.get32('REQUESTS'), 0);
});
