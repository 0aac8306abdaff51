/** Page walks against the SDM's rules, written down a second time for single entries with named attributes. */
import test, { type ExecutionContext } from 'ava';
import { type GuestWalk, type WalkResult, walkGuest } from '../../../src/actors/mmu/page-walk.ts';
import { dirtyWord } from '../../../src/actors/mmu/slot-arena.ts';
import { Prng } from '../../../src/shared/prng.ts';
import { drive } from '../../../src/shared/sync/point.ts';
import { A, D, P, PAGE, PAGE_TABLE, PML4, RW, SystemBed, US, USER } from '../../support/system-bed.ts';

const R = 1;
const W = 2;
const X = 4;
const SEED = BigInt(process.env['SEED'] ?? 0x5eed);
const WALKS = 6000;

/** Tables of the random walks, one page for each level, in the user part of the bed. */
const TABLES = [0x24000, 0x23000, 0x22000, 0x21000] as const;
const M = 40;

/** One entry, in words. */
interface Entry {
  present: boolean;
  writable: boolean;
  user: boolean;
  executeDisable: boolean;
  accessed: boolean;
  dirty: boolean;
  /** PS: a page of this level's size. */
  large: boolean;
  /** A reserved address bit between M and 51, or 0. */
  reservedBit: number;
  /** Low address bits of a large page that must be 0, as bit numbers. */
  lowBit: number;
}

interface Case {
  /** PML4E first. */
  readonly entries: readonly Entry[];
  readonly leafLevel: number;
  readonly walk: Omit<GuestWalk, 'cr3'>;
  readonly pageBase: bigint;
}

const BITS_OF_LEVEL = [12, 21, 30, 39] as const;

function randomEntry(prng: Prng, level: number, leaf: boolean): Entry {
  const rarely = (): boolean => prng.chance(0.04);
  const low = leaf && (level === 1 || level === 2) && prng.chance(0.08);
  return {
    present: !rarely(),
    writable: prng.chance(0.75),
    user: prng.chance(0.75),
    executeDisable: prng.chance(0.15),
    accessed: prng.chance(0.5),
    dirty: prng.chance(0.5),
    // PS means something in a PDE and a PDPTE only; in a PML4E it is reserved, in a PTE it is PAT.
    large: level === 1 || level === 2 ? leaf : level === 3 ? rarely() : prng.chance(0.5),
    reservedBit: rarely() ? M + prng.below(52 - M) : 0,
    lowBit: low ? 13 + prng.below(BITS_OF_LEVEL[level]! - 13) : 0,
  };
}

function randomCase(prng: Prng): Case {
  const leafLevel = prng.pick([0, 0, 1, 2]);
  const entries: Entry[] = [];
  for (let level = 3; level >= leafLevel; level--) {
    entries.push(randomEntry(prng, level, level === leafLevel));
  }
  const gva = BigInt.asUintN(
    64,
    BigInt.asIntN(48, (BigInt(prng.u32()) << 20n) | BigInt(prng.below(1 << 20))),
  );
  return {
    entries,
    leafLevel,
    pageBase:
      (BigInt(prng.u32()) << 12n) & ~((1n << BigInt(BITS_OF_LEVEL[leafLevel]!)) - 1n) & ((1n << 40n) - 1n),
    walk: {
      gva,
      access: prng.pick([R, W, X, R | W]),
      user: prng.chance(0.5),
      writeProtect: prng.chance(0.5),
      noExecute: prng.chance(0.75),
      smep: prng.chance(0.3),
    },
  };
}

function entryBits(entry: Entry, address: bigint): bigint {
  let bits = address;
  if (entry.present) bits |= 1n;
  if (entry.writable) bits |= 1n << 1n;
  if (entry.user) bits |= 1n << 2n;
  if (entry.accessed) bits |= 1n << 5n;
  if (entry.dirty) bits |= 1n << 6n;
  if (entry.large) bits |= 1n << 7n;
  if (entry.executeDisable) bits |= 1n << 63n;
  if (entry.reservedBit > 0) bits |= 1n << BigInt(entry.reservedBit);
  if (entry.lowBit > 0) bits |= 1n << BigInt(entry.lowBit);
  return bits;
}

function entryAddress(level: number, gva: bigint): number {
  return TABLES[level]! + Number((gva >> BigInt(BITS_OF_LEVEL[level]!)) % 512n) * 8;
}

function writeCase(bed: SystemBed, { entries, leafLevel, walk, pageBase }: Case): void {
  for (const [i, entry] of entries.entries()) {
    const level = 3 - i;
    const target = level === leafLevel ? pageBase : BigInt(TABLES[level - 1]!);
    bed.write64(entryAddress(level, walk.gva), entryBits(entry, target));
  }
}

/** The SDM's rules, sentence by sentence. */
function expected({ entries, leafLevel, walk, pageBase }: Case): WalkResult {
  const write = walk.access === W || walk.access === (R | W);
  const code = (cause: { present: boolean; reserved?: boolean }): WalkResult => ({
    kind: 'fault',
    errorCode:
      Number(cause.present) +
      2 * Number(write) +
      4 * Number(walk.user) +
      8 * Number(cause.reserved === true) +
      16 * Number(walk.access === X && (walk.noExecute || walk.smep === true)),
  });
  for (const [i, entry] of entries.entries()) {
    const level = 3 - i;
    if (!entry.present) return code({ present: false });
    const reserved =
      entry.reservedBit > 0 ||
      (entry.executeDisable && !walk.noExecute) ||
      (level === 3 && entry.large) ||
      entry.lowBit > 0;
    if (reserved) return code({ present: true, reserved: true });
  }
  const user = entries.every((entry) => entry.user);
  const everyWritable = entries.every((entry) => entry.writable);
  const supervisorKeptOut = walk.smep === true && !walk.user && user;
  const executable = entries.every((entry) => !entry.executeDisable) && !supervisorKeptOut;
  let writable: boolean;
  let denied = false;
  if (walk.user) {
    denied = !user;
    writable = everyWritable;
  } else {
    writable = everyWritable || !walk.writeProtect;
  }
  denied ||= write && !writable;
  denied ||= walk.access === X && !executable;
  if (denied) return code({ present: true });
  const offset = walk.gva % (1n << BigInt(BITS_OF_LEVEL[leafLevel]!));
  const gpa = Number(pageBase + offset);
  const dirty = write || entries.at(-1)!.dirty;
  return { kind: 'page', gpa, userPage: user, writable, executable, dirty, level: leafLevel };
}

function walk(bed: SystemBed, request: Partial<GuestWalk>): WalkResult {
  const whole = { cr3: 0x1000n, gva: 0n, access: R, user: false, writeProtect: true, noExecute: true };
  return bed.run(walkGuest(bed.vm, 0, { ...whole, ...request }));
}

test('random tables: every permission, page size, reserved bit and flag, as a second reading of the SDM has it', (t) => {
  const prng = new Prng(SEED);
  const bed = new SystemBed();
  const seen = new Map<string, number>();
  t.log(`SEED=${SEED}`);
  for (let n = 0; n < WALKS; n++) {
    const given = randomCase(prng);
    writeCase(bed, given);
    const before = given.entries.map((_, i) => bed.read64(entryAddress(3 - i, given.walk.gva)));
    // Flag bits of CR3 mean nothing to a walk.
    const result = walk(bed, { ...given.walk, cr3: BigInt(TABLES[3]) | 0x18n });
    const wanted = expected(given);
    const name = result.kind === 'fault' ? `fault ${result.errorCode}` : `${result.kind} ${given.leafLevel}`;
    seen.set(name, (seen.get(name) ?? 0) + 1);
    const description = JSON.stringify(given, (_key, v) =>
      typeof v === 'bigint' ? `0x${v.toString(16)}` : v,
    );
    t.deepEqual(result, wanted, `walk ${n}: ${description}`);
    // A in every entry used, D in the last by a write, and both only when the walk succeeds.
    for (const [i, old] of before.entries()) {
      const leaf = i === before.length - 1;
      const writes = (given.walk.access & W) !== 0;
      const flags = wanted.kind === 'page' ? A | (leaf && writes ? D : 0n) : 0n;
      t.is(bed.read64(entryAddress(3 - i, given.walk.gva)), old | flags, `entry ${i} of walk ${n}`);
    }
  }
  // The generator reaches every kind of result: pages of three sizes, all three causes for all four attempts.
  for (const kind of ['page 0', 'page 1', 'page 2']) t.true((seen.get(kind) ?? 0) > 50, kind);
  for (const cause of [0, 1, 9]) {
    for (const attempt of [0, 2, 4, 6, 16, 20]) {
      if (cause === 1 && attempt === 0) continue; // a supervisor read is never denied
      t.true((seen.get(`fault ${cause | attempt}`) ?? 0) > 0, `fault ${cause | attempt}`);
    }
  }
});

test('a table in no memslot reads as all ones: reserved bits are set', (t) => {
  const bed = new SystemBed();
  t.deepEqual(walk(bed, { cr3: 0x70000n }), { kind: 'fault', errorCode: 9 });
  t.deepEqual(walk(bed, { cr3: 0x70000n, access: W, user: true }), { kind: 'fault', errorCode: 15 });
});

test('a table above the layout is in no memslot either', (t) => {
  const bed = new SystemBed();
  t.deepEqual(walk(bed, { cr3: 0xff_ffff_f000n }), { kind: 'fault', errorCode: 9 });
});

test('a table in an INVALID memslot means: try again', (t) => {
  const bed = new SystemBed();
  bed.slotFlags(1 << 16);
  t.deepEqual(walk(bed, { gva: BigInt(USER) }), { kind: 'retry', gfn: PML4 / PAGE });
});

test('in a read-only memslot A and D are left alone, and the walk succeeds', (t) => {
  const bed = new SystemBed();
  bed.slotFlags(2);
  bed.setPte(USER, BigInt(USER) | P | RW | US);
  const result = walk(bed, { gva: BigInt(USER) + 5n, access: W });
  t.like(result, { kind: 'page', gpa: USER + 5, dirty: false });
  t.is(bed.pte(USER), BigInt(USER) | P | RW | US);
});

test('an A or D bit that goes in marks the table page dirty, one that was there does not', (t) => {
  const bed = new SystemBed();
  bed.slot({ id: 0, baseGfn: 0, npages: 64, ramPage: 0, flags: 1 });
  const { vm } = bed;
  const isDirty = (page: number): boolean => (vm.mem.load(dirtyWord(vm, 0, page)) & (1 << (page % 32))) !== 0;
  walk(bed, { gva: BigInt(USER), access: W });
  t.false(isDirty(PAGE_TABLE / PAGE));
  bed.setPte(USER, BigInt(USER) | P | RW | US | A);
  walk(bed, { gva: BigInt(USER), access: R });
  t.false(isDirty(PAGE_TABLE / PAGE));
  walk(bed, { gva: BigInt(USER), access: W });
  t.true(isDirty(PAGE_TABLE / PAGE));
  t.is(bed.pte(USER) & D, D);
});

/** Walks, and lets `interfere` act as another vCPU just before the step number `at` takes place. */
function interfered(
  bed: SystemBed,
  request: Partial<GuestWalk>,
  at: number,
  interfere: () => void,
): { result: WalkResult; steps: number } {
  const { vcpu } = bed;
  const whole = { cr3: 0x1000n, gva: 0n, access: R, user: false, writeProtect: true, noExecute: true };
  drive(vcpu.actor, vcpu.enterSrcu());
  const path = walkGuest(bed.vm, 0, { ...whole, ...request });
  let steps = 0;
  let step = path.next(0);
  for (; !step.done; step = path.next(0)) {
    if (steps === at) interfere();
    steps++;
  }
  drive(vcpu.actor, vcpu.leaveSrcu());
  return { result: step.value, steps };
}

test('an entry that changes under the walk is never overwritten: the lost race walks again', (t) => {
  const clean = (bed: SystemBed): void => bed.setPte(USER, BigInt(USER) | P | RW | US);
  const request = { gva: BigInt(USER) + 8n, access: W };
  const bed = new SystemBed();
  clean(bed);
  const undisturbed = interfered(bed, request, -1, () => {});
  let lost = 0;
  for (let at = 0; at < undisturbed.steps; at++) {
    clean(bed);
    const other = BigInt(USER + 3 * PAGE) | P | RW | US;
    const { result, steps } = interfered(bed, request, at, () => bed.setPte(USER, other));
    if (steps > undisturbed.steps) lost++;
    // Either the walk saw the new entry, and then its flags are in it; the other one's address was never lost.
    t.is(bed.pte(USER) & ~(A | D), other, `step ${at}`);
    if (result.kind === 'page' && result.gpa === USER + 3 * PAGE + 8) t.is(bed.pte(USER) & (A | D), A | D);
    else t.is(result.kind, 'page', 'the old translation, of a moment before the change');
  }
  t.true(lost > 0, 'some step lost the race');
});

test('a permission withdrawn under the walk is seen by the walk that follows the lost race', (t) => {
  const bed = new SystemBed();
  bed.setPte(USER, BigInt(USER) | P | RW | US);
  const { steps } = interfered(bed, { gva: BigInt(USER), access: W }, -1, () => {});
  bed.setPte(USER, BigInt(USER) | P | RW | US);
  // The last step is the compare-exchange of the PTE.
  const { result } = interfered(bed, { gva: BigInt(USER), access: W }, steps - 1, () =>
    bed.setPte(USER, BigInt(USER) | P | US),
  );
  t.deepEqual(result, { kind: 'fault', errorCode: 3 });
  t.is(bed.pte(USER), BigInt(USER) | P | US);
});

test('a walk takes no lock and leaves none', (t: ExecutionContext) => {
  const bed = new SystemBed();
  walk(bed, { gva: BigInt(USER), access: W });
  t.deepEqual(bed.lockFindings, []);
  t.deepEqual(bed.vcpu.actor.checks?.held, []);
});
