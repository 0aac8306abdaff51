/** The soft TLB against a map that forgets nothing, and what INVLPG drops. */
import test from 'ava';
import {
  type Entry,
  filledEntries,
  flushPage,
  flushTlb,
  insert,
  lookup,
} from '../../../src/actors/vcpu/tlb.ts';
import {
  CPU,
  CPU_JUMP_CACHE,
  CPU_SCRATCH_UOP,
  FILLED_LIMIT,
  JUMP_ENTRIES,
  JUMP_ENTRY_BYTES,
  TLB_ENTRIES,
} from '../../../src/shared/layout/cpu.ts';
import { Mem, sharedMemory } from '../../../src/shared/mem.ts';
import { Prng } from '../../../src/shared/prng.ts';

const SEED = BigInt(process.env['SEED'] ?? 0x5eed);
const CPU_AT = 0x10000;
const PAGE = 4096n;
/** 4 KiB, 2 MiB, 1 GiB. */
const SHIFTS = [12n, 21n, 30n] as const;

function emptyTlb(): Mem {
  const mem = new Mem(sharedMemory(CPU_AT + CPU_SCRATCH_UOP));
  flushTlb(mem, CPU_AT);
  return mem;
}

const entryOf = (what: Partial<Entry>): Entry => ({
  ...{ user: false, access: 1, gva: 0x5000n, host: 0x7000, gfn: 7, level: 0, slow: false },
  ...what,
});
const found = (mem: Mem, { user, access, gva }: Entry) => lookup(mem, CPU_AT, user, access, gva);
const known = (mem: Mem) => mem.i32[(CPU_AT + CPU.at.TLB_FILLED) >>> 2]!;

test('whatever is entered and dropped, the TLB never knows more than what was entered last', (t) => {
  t.log(`SEED=${SEED}`);
  const prng = new Prng(SEED);
  const mem = emptyTlb();
  const entered = new Map<string, Entry>();
  const keyOf = ({ user, access, gva }: Entry) => `${user} ${access} ${gva}`;
  let hits = 0;
  for (let round = 0; round < 20_000; round++) {
    const base = prng.chance(0.5) ? 0xffff_8000_0000_0000n : 0n;
    const gva = base + BigInt(prng.below(3)) * (1n << 30n) + BigInt(prng.below(3 * TLB_ENTRIES)) * PAGE;
    const entry = entryOf({
      user: prng.chance(0.5),
      access: 1 << prng.below(3),
      gva,
      host: prng.below(4) * 4096,
      gfn: prng.below(1 << 28),
      level: prng.below(3),
    });
    if (prng.chance(0.9)) {
      insert(mem, CPU_AT, entry);
      entered.set(keyOf(entry), entry);
      t.is(found(mem, { ...entry, gva: gva + 0x123n }), entry.host + 0x123);
    } else if (prng.chance(0.002)) {
      flushTlb(mem, CPU_AT);
      entered.clear();
    } else {
      flushPage(mem, CPU_AT, gva);
      for (const [key, old] of entered) {
        const shift = SHIFTS[old.level]!;
        if (old.gva >> shift === gva >> shift) entered.delete(key);
      }
    }
    if (round % 500 > 0) continue;
    const filled = [...filledEntries(mem, CPU_AT)];
    for (const { access, gva: page, gfn } of filled) {
      const of = [false, true].map((user) => entered.get(`${user} ${access} ${page}`));
      t.true(of.some((each) => each?.gfn === gfn));
    }
    for (const each of entered.values()) if (found(mem, each) !== -1) hits += 1;
    t.is([...entered.values()].filter((each) => found(mem, each) !== -1).length, filled.length);
  }
  t.true(hits > 10_000);
});

test('INVLPG drops the page in both privilege sets and all kinds, and no other', (t) => {
  const mem = emptyTlb();
  const kinds = [1, 2, 4].flatMap((access) => [false, true].map((user) => entryOf({ access, user })));
  const others = [0x4000n, 0x6000n, 0x5000n + 2n ** 32n].map((gva, i) => entryOf({ gva, access: 1 << i }));
  for (const entry of [...kinds, ...others]) insert(mem, CPU_AT, entry);
  flushPage(mem, CPU_AT, 0x5fffn);
  for (const entry of kinds.slice(2)) t.is(found(mem, entry), -1);
  for (const entry of others) t.not(found(mem, entry), -1);
});

test('INVLPG drops all parts of a large page', (t) => {
  for (const [level, bytes] of [
    [1, 2n ** 21n],
    [2, 2n ** 30n],
  ] as const) {
    const mem = emptyTlb();
    const parts = [bytes, bytes + PAGE, bytes * 2n - PAGE].map((gva) => entryOf({ gva, level }));
    const outside = [bytes - PAGE, bytes * 2n + PAGE * 3n].map((gva) => entryOf({ gva, level }));
    for (const entry of [...parts, ...outside]) insert(mem, CPU_AT, entry);
    flushPage(mem, CPU_AT, bytes + bytes / 2n);
    for (const entry of parts) t.is(found(mem, entry), -1);
    for (const entry of outside) t.not(found(mem, entry), -1);
  }
});

function jumpInto(mem: Mem): void {
  mem.i32[(CPU_AT + CPU_JUMP_CACHE + 5 * JUMP_ENTRY_BYTES) >>> 2] = 0x77;
  mem.i32[(CPU_AT + CPU.at.JUMPS_EMPTY) >>> 2] = 0;
}
const jumpsLeft = (mem: Mem) =>
  mem.i32
    .subarray(
      (CPU_AT + CPU_JUMP_CACHE) >>> 2,
      (CPU_AT + CPU_JUMP_CACHE + JUMP_ENTRIES * JUMP_ENTRY_BYTES) >>> 2,
    )
    .some((word) => word !== -1);

test('INVLPG of a page with code drops jumps, and of one without leaves them', (t) => {
  const mem = emptyTlb();
  insert(mem, CPU_AT, entryOf({ access: 4 }));
  insert(mem, CPU_AT, entryOf({ gva: 0x6000n }));
  jumpInto(mem);
  flushPage(mem, CPU_AT, 0x6000n);
  flushPage(mem, CPU_AT, 0x9000n);
  t.true(jumpsLeft(mem));
  flushPage(mem, CPU_AT, 0x5000n);
  t.false(jumpsLeft(mem));
});

test('INVLPG of a page whose fetch entry another page has taken drops jumps', (t) => {
  const mem = emptyTlb();
  insert(mem, CPU_AT, entryOf({ access: 4 }));
  jumpInto(mem);
  insert(mem, CPU_AT, entryOf({ access: 4, gva: 0x5000n + BigInt(TLB_ENTRIES) * PAGE }));
  flushPage(mem, CPU_AT, 0x5000n);
  t.false(jumpsLeft(mem));
});

test('more entries than the list has room for are all found, and all flushed', (t) => {
  const mem = emptyTlb();
  const entries = Array.from({ length: FILLED_LIMIT + 10 }, (_, i) =>
    entryOf({ gva: BigInt(i % TLB_ENTRIES) * PAGE, access: i < TLB_ENTRIES ? 1 : 2 }),
  );
  for (const entry of entries) insert(mem, CPU_AT, entry);
  t.is(known(mem), 0);
  t.is([...filledEntries(mem, CPU_AT)].length, entries.length);
  flushTlb(mem, CPU_AT);
  t.is(known(mem), 1);
  for (const entry of entries) t.is(found(mem, entry), -1);
});
