/** The code map: versions, flags, and that no vCPU keeps code that somebody has overwritten. */
import test from 'ava';
import {
  codePageWritten,
  codeVersion,
  codeWord,
  HAS_CODE,
  markCodePage,
  mayWriteDirectly,
} from '../../../src/actors/mmu/code-map.ts';
import { leaveGuestMode, requestWord } from '../../../src/actors/mmu/requests.ts';
import {
  IN_GUEST,
  OUTSIDE_GUEST,
  READING_TABLES,
  REQ_CODE_FLUSH,
  REQ_TLB_FLUSH,
} from '../../../src/shared/layout/vcpu.ts';
import { type Path, reading, updating, writing } from '../../../src/shared/sync/point.ts';
import { SystemBed } from '../../support/system-bed.ts';

const PAGE = 0x21;
/** A byte of that page, in shared memory. */
const byteOf = (bed: SystemBed): number => bed.vm.ramPage(PAGE) + 12;
const SEEDS = Number(process.env['SEEDS'] ?? 400);

test('marking sets the flag once, flushes every write entry once, and gives the version', (t) => {
  const bed = new SystemBed({ vcpuCount: 2 });
  const { vm, vcpu } = bed;
  t.is(bed.run(markCodePage(vcpu.actor, vm, PAGE, 0)), 0);
  t.is(vm.mem.load(codeWord(vm, PAGE)), HAS_CODE);
  for (const { index } of bed.vcpus) t.is(vm.mem.exchange(requestWord(vm, index), 0), REQ_TLB_FLUSH);
  t.is(bed.run(markCodePage(vcpu.actor, vm, PAGE, 0)), 0);
  for (const { index } of bed.vcpus)
    t.is(vm.mem.load(requestWord(vm, index)), 0, 'nothing to flush any more');
});

test('a store voids what is there, and nothing when nothing is', (t) => {
  const bed = new SystemBed({ vcpuCount: 2 });
  const { vm, vcpu } = bed;
  bed.run(codePageWritten(vcpu.actor, vm, PAGE, 0));
  t.is(vm.mem.load(codeWord(vm, PAGE)), 0);
  t.is(vm.mem.load(requestWord(vm, 1)), 0);
  bed.run(markCodePage(vcpu.actor, vm, PAGE, 0));
  bed.run(codePageWritten(vcpu.actor, vm, PAGE, 0));
  t.is(codeVersion(vm, PAGE), 1);
  for (const { index } of bed.vcpus) {
    t.is(vm.mem.exchange(requestWord(vm, index), 0), REQ_TLB_FLUSH | REQ_CODE_FLUSH);
  }
  t.is(bed.run(markCodePage(vcpu.actor, vm, PAGE, 0)), 1);
  t.is(codeVersion(vm, PAGE + 1), 0, 'the neighbour is another page');
  t.is(vm.mem.load(vm.word('CODE_FLUX')), 0);
});

test('the version wraps without meeting the flag', (t) => {
  const bed = new SystemBed();
  const { vm, vcpu } = bed;
  vm.mem.store(codeWord(vm, PAGE), -1);
  bed.run(codePageWritten(vcpu.actor, vm, PAGE, 0));
  t.is(vm.mem.load(codeWord(vm, PAGE)), 0);
});

test('a direct write is allowed without code only, and never while a flush is under way', (t) => {
  const bed = new SystemBed();
  const { vm, vcpu } = bed;
  t.true(bed.run(mayWriteDirectly(vm, PAGE)));
  bed.run(markCodePage(vcpu.actor, vm, PAGE, 0));
  t.false(bed.run(mayWriteDirectly(vm, PAGE)));
  bed.run(codePageWritten(vcpu.actor, vm, PAGE, 0));
  t.true(bed.run(mayWriteDirectly(vm, PAGE)));
  vm.mem.store(vm.word('CODE_FLUX'), 1);
  t.false(bed.run(mayWriteDirectly(vm, PAGE)));
});

/** A vCPU of the races below: a one-entry write TLB, one decoded "block", and a done flag between writer and runner. */
class CodeUser {
  writable = false;
  block: { version: number; byte: number } | null = null;

  readonly bed: SystemBed;
  readonly index: number;

  constructor(bed: SystemBed, index: number) {
    this.bed = bed;
    this.index = index;
  }

  /** To guest mode, serving what was asked for. */
  *enter(): Path<void> {
    const { vm } = this.bed;
    const requests = requestWord(vm, this.index);
    const mode = vm.vcpuWord(this.index, 'MODE');
    for (;;) {
      yield updating(requests);
      const bits = vm.mem.exchange(requests, 0);
      if ((bits & REQ_TLB_FLUSH) !== 0) this.writable = false;
      if ((bits & REQ_CODE_FLUSH) !== 0 && this.block !== null) {
        if (this.block.version !== codeVersion(vm, PAGE)) this.block = null;
      }
      yield writing(mode);
      vm.mem.store(mode, IN_GUEST);
      yield reading(requests);
      if (vm.mem.load(requests) === 0) return;
      yield* leaveGuestMode(vm, this.index);
    }
  }

  *exit(): Path<void> {
    yield* leaveGuestMode(this.bed.vm, this.index);
  }

  /** One guest store: directly if the TLB has the page, else as emulation does it. */
  *store(value: number): Path<void> {
    const { vm } = this.bed;
    yield* this.enter();
    if (!this.writable) {
      yield* this.exit();
      const mode = vm.vcpuWord(this.index, 'MODE');
      yield writing(mode);
      vm.mem.store(mode, READING_TABLES);
      if (yield* mayWriteDirectly(vm, PAGE)) this.writable = true;
      yield writing(mode);
      vm.mem.store(mode, OUTSIDE_GUEST);
      yield* leaveGuestMode(vm, this.index);
      yield* this.enter();
    }
    if (this.writable) {
      yield writing(byteOf(this.bed));
      vm.mem.u8[byteOf(this.bed)] = value;
      yield* this.exit();
      return;
    }
    yield* this.exit();
    yield writing(byteOf(this.bed));
    vm.mem.u8[byteOf(this.bed)] = value;
    yield* codePageWritten(this.bed.vcpus[this.index]!.actor, vm, PAGE, this.index);
  }

  /** Runs the code byte: what it decoded, decoding first if it has nothing. Ends with a serialising exit. */
  *execute(): Path<number> {
    const { vm } = this.bed;
    yield* this.enter();
    if (this.block === null) {
      yield* this.exit();
      const version = yield* markCodePage(this.bed.vcpus[this.index]!.actor, vm, PAGE, this.index);
      yield reading(byteOf(this.bed));
      this.block = { version, byte: vm.mem.u8[byteOf(this.bed)]! };
      yield* this.enter();
    }
    // A flush that came with this entry may have taken it again.
    const byte = this.block?.byte ?? -1;
    yield* this.exit();
    return byte;
  }
}

test('after a store and a flag that says so, a serialised vCPU runs the new code, however they race', (t) => {
  let direct = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    const bed = new SystemBed({ vcpuCount: 4 });
    const { vm } = bed;
    /** The guest's own word: the last value that a finished store left there. One writer at a time counts up. */
    const flags = [vm.ramPage(PAGE + 2), vm.ramPage(PAGE + 2) + 4];
    const users = bed.vcpus.map((_, index) => new CodeUser(bed, index));
    const writer = function* (index: number): Path<void> {
      for (let value = 1; value <= 3; value++) {
        // Writer 0 counts 1 2 3, writer 1 counts 101 102 103; they share the byte's page, not the byte's meaning.
        yield* users[index]!.store(value + 100 * index);
        if (users[index]!.writable) direct++;
        yield writing(flags[index]!);
        vm.mem.store(flags[index]!, value);
      }
    };
    const runner = function* (index: number): Path<void> {
      for (let n = 0; n < 12; n++) {
        yield reading(flags[0]!);
        const before = [vm.mem.load(flags[0]!), vm.mem.load(flags[1]!)];
        const byte = yield* users[index]!.execute();
        if (byte < 0) continue;
        const owner = byte >= 100 ? 1 : 0;
        const value = byte % 100;
        // With one writer a value older than what its flag says is stale; with two the other one may have overwritten.
        const bothDone = before[0] === 3 && before[1] === 3;
        if (bothDone && byte !== vm.mem.u8[byteOf(bed)])
          t.fail(`seed ${seed}: runs ${byte}, RAM has another`);
        if (value !== 0 && value < before[owner]!)
          t.fail(`seed ${seed}: runs ${byte}, flag says ${before[owner]}`);
        if (value === 0 && before[0]! + before[1]! > 0)
          t.fail(`seed ${seed}: runs the first code after a store`);
      }
    };
    bed.together(
      seed,
      { name: 'writer 0', waiter: bed.vcpus[0]!.actor, path: writer(0) },
      { name: 'writer 1', waiter: bed.vcpus[1]!.actor, path: writer(1) },
      { name: 'runner 2', waiter: bed.vcpus[2]!.actor, path: runner(2) },
      { name: 'runner 3', waiter: bed.vcpus[3]!.actor, path: runner(3) },
    );
    t.is(vm.mem.load(vm.word('CODE_FLUX')), 0);
  }
  t.true(direct > 0, 'some stores went through the TLB');
});
