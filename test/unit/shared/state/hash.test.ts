import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import fc from 'fast-check';
import {
  type LayoutConfig,
  type MachineLayout,
  machineLayout,
} from '../../../../src/shared/layout/machine.ts';
import { Mem } from '../../../../src/shared/mem.ts';
import { Prng } from '../../../../src/shared/prng.ts';
import { type StateHash, StateHasher, stateHash } from '../../../../src/shared/state/hash.ts';
import { makeScans, STEP, type Unit } from '../../../../src/shared/state/scan.ts';
import { SCALAR_BYTES } from '../../../../src/shared/struct.ts';
import { workedMachine } from './worked-machine.ts';

const WASM_PAGE_BYTES = 65536;
const SMALL: LayoutConfig = {
  vcpuCount: 2,
  ramPages: 4,
  gfnCount: 64,
  accessLimit: 4,
  traceBytes: 256,
  actorCount: 4,
};
const SEED = BigInt(process.env['SEED'] ?? 0x5eed);

function memory(pages: number): Mem {
  return new Mem(new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }));
}

function fresh(config = SMALL): { mem: Mem; layout: MachineLayout } {
  const layout = machineLayout(config);
  return { mem: memory(layout.bytes / WASM_PAGE_BYTES), layout };
}

/** Fills a machine with bytes that the seed decides, whatever they mean. */
function scribbled(): { mem: Mem; layout: MachineLayout } {
  const { mem, layout } = fresh();
  const random = new Prng(SEED);
  // The micro-op arenas are most of the memory and of no interest.
  for (let at = 0; at < layout.cpus; at += 4) mem.u32[at >>> 2] = random.u32();
  for (let at = layout.ram; at < layout.bytes; at += 4) mem.u32[at >>> 2] = random.u32();
  for (let vcpu = 0; vcpu < SMALL.vcpuCount; vcpu++) {
    const from = layout.cpus + vcpu * layout.cpuStride;
    for (let at = from; at < from + 0x10000; at += 4) mem.u32[at >>> 2] = random.u32();
  }
  return { mem, layout };
}

/** Where hashed fields stand: of each field those in the first and last records. */
interface Place {
  readonly region: string;
  readonly field: string;
  readonly at: number;
  readonly bytes: number;
}

function hashedPlaces(layout: MachineLayout): Place[] {
  const ends = (count: number) => (count > 1 ? [0, count - 1] : [0]);
  const places: Place[] = [];
  for (const region of layout.regions.filter(({ hashed }) => hashed)) {
    for (const part of region.parts.filter(({ cache }) => cache !== true)) {
      for (const field of part.struct.fields.filter((candidate) => candidate.volatile !== true)) {
        for (const element of ends(region.count)) {
          for (const record of ends(part.count)) {
            const at = region.base + element * region.stride + part.offset + record * part.struct.bytes;
            const bytes = SCALAR_BYTES[field.type] * field.count;
            const name = `${part.struct.name}.${field.name}`;
            places.push({ region: region.name, field: name, at: at + field.offset, bytes });
          }
        }
      }
    }
  }
  return places;
}

/** A 1 for every byte that the hash covers, from the declarations. */
function coverage(layout: MachineLayout): Uint8Array {
  const covered = new Uint8Array(layout.bytes);
  for (const { base, stride, count, parts } of layout.regions.filter(({ hashed }) => hashed)) {
    for (const { struct, offset, count: records } of parts.filter(({ cache }) => cache !== true)) {
      for (const field of struct.fields.filter((candidate) => candidate.volatile !== true)) {
        const bytes = SCALAR_BYTES[field.type] * field.count;
        for (let element = 0; element < count; element++) {
          for (let record = 0; record < records; record++) {
            const at = base + element * stride + offset + record * struct.bytes + field.offset;
            covered.fill(1, at, at + bytes);
          }
        }
      }
    }
  }
  return covered;
}

const changedRegions = (a: StateHash, b: StateHash) =>
  Object.keys(a.regions).filter((name) => a.regions[name] !== b.regions[name]);

test('machines that did the same have the same hash', (t) => {
  const [one, two] = [workedMachine(), workedMachine()];
  t.deepEqual(stateHash(one.vm.mem, one.vm.layout), stateHash(two.vm.mem, two.vm.layout));
});

test('another process computes the same hash', (t) => {
  const { vm } = workedMachine();
  const script = fileURLToPath(new URL(`./worked-machine${import.meta.url.slice(-3)}`, import.meta.url));
  const printed = execFileSync(process.execPath, [script, 'print'], { encoding: 'utf8' });
  t.deepEqual(JSON.parse(printed), stateHash(vm.mem, vm.layout));
});

test('memory nobody wrote has hash 0 in every region', (t) => {
  const { mem, layout } = fresh();
  const { total, regions } = stateHash(mem, layout);
  t.is(total, '0'.repeat(16));
  t.true(Object.values(regions).every((hash) => hash === total));
});

test('the hash has a part for each hashed region and only for those', (t) => {
  const { mem, layout } = fresh();
  const expected = layout.regions.filter(({ hashed }) => hashed).map(({ name }) => name);
  t.deepEqual(Object.keys(stateHash(mem, layout).regions), expected);
  for (const name of ['locks', 'lock-statistics', 'trace-rings', 'code-map'])
    t.false(expected.includes(name));
});

test('where the regions stand does not matter', (t) => {
  const near = fresh();
  const far = fresh({ ...SMALL, traceBytes: 64 * 1024, actorCount: 9 });
  t.not(near.layout.ram, far.layout.ram);
  const random = new Prng(SEED);
  for (const [index, region] of near.layout.regions.entries()) {
    if (!region.hashed) continue;
    const elsewhere = far.layout.regions[index]!;
    for (let n = 0; n < 50; n++) {
      const at = random.below(region.stride * region.count);
      near.mem.u8[region.base + at] = far.mem.u8[elsewhere.base + at] = random.below(256);
    }
  }
  t.deepEqual(stateHash(near.mem, near.layout), stateHash(far.mem, far.layout));
});

for (const [background, make] of [
  ['zeros', fresh],
  ['data', scribbled],
] as const) {
  test(`flipping any bit of a hashed field changes its region and the total, over ${background}`, (t) => {
    const { mem, layout } = make();
    const hasher = new StateHasher(mem, layout);
    const before = hasher.hash();
    const random = new Prng(SEED);
    let flips = 0;
    for (const { region, field, at, bytes } of hashedPlaces(layout)) {
      // All of a small field; of a large one the first and last word and some bytes between.
      const offsets =
        bytes <= 128
          ? Array.from({ length: bytes }, (_, i) => i)
          : [0, 7, bytes - 8, bytes - 1, ...Array.from({ length: 4 }, () => random.below(bytes))];
      for (const offset of offsets) {
        const bit = 1 << (bytes <= 4 ? flips % 8 : random.below(8));
        mem.u8[at + offset]! ^= bit;
        const after = hasher.hash();
        mem.u8[at + offset]! ^= bit;
        if (changedRegions(before, after).join() !== region) {
          t.fail(
            `${region} ${field} + ${offset}, bit ${bit}: changed ${changedRegions(before, after)} (${SEED})`,
          );
        }
        flips++;
      }
    }
    t.true(flips > 1000);
    t.deepEqual(hasher.hash(), before);
  });
}

test('flipping each single bit of the VM-wide words changes the hash, and no two flips give the same one', (t) => {
  const { mem, layout } = scribbled();
  const hasher = new StateHasher(mem, layout);
  const totals = new Set([hasher.hash().total]);
  let flips = 0;
  for (const { at, bytes } of hashedPlaces(layout).filter(({ region }) => region === 'vm')) {
    for (let bit = 0; bit < bytes * 8; bit++, flips++) {
      mem.u8[at + (bit >> 3)]! ^= 1 << (bit & 7);
      totals.add(hasher.hash().total);
      mem.u8[at + (bit >> 3)]! ^= 1 << (bit & 7);
    }
  }
  t.is(totals.size, flips + 1);
});

test('nothing outside the hashed fields counts: statistics, times, locks, caches, traces, padding', (t) => {
  const { mem, layout } = scribbled();
  const before = stateHash(mem, layout);
  const covered = coverage(layout);
  let outside = 0;
  for (let at = 0; at < layout.bytes; at++) {
    if (covered[at] !== 0) continue;
    mem.u8[at]! ^= 0xff;
    outside++;
  }
  t.true(outside > layout.cpuStride);
  t.deepEqual(stateHash(mem, layout), before);
});

test('words that depend on the time or on the engine are not hashed, words that decide are', (t) => {
  const { regions } = machineLayout(SMALL);
  const volatile = (region: string) => {
    const { fields } = regions.find(({ name }) => name === region)!.parts[0]!.struct;
    return new Map(fields.map((field) => [field.name, field.volatile === true]));
  };
  for (const name of ['FLUSH_WAIT_US_MAX', 'SPLIT_LOCKS', 'RECEIVER_BELL']) t.true(volatile('vm').get(name));
  for (const name of ['ACTIVE_SET', 'EVENT_SEQ', 'SLOT_CREATES']) t.false(volatile('vm').get(name));
  for (const name of ['STARTED_NS', 'EXITS', 'WAKE_SEQ']) t.true(volatile('vcpus').get(name));
  for (const name of ['ROOT', 'EVENTS', 'STATE']) t.false(volatile('vcpus').get(name));
  for (const name of ['BUDGET', 'TLB', 'EXIT_UOP']) t.true(volatile('cpus').get(name));
  for (const name of ['GPR', 'RIP', 'CR3', 'REQUESTS']) t.false(volatile('cpus').get(name));
});

// ── the scan ────────────────────────────────────────────────────────────────────────────────────────────────
const U64 = (value: bigint) => BigInt.asUintN(64, value);

/** The sum as scan.ts defines it, one unit at a time. */
function slowScan(mem: Mem, unit: Unit, column: Column): bigint {
  const { base, units, stride, records, key } = column;
  let sum = 0n;
  for (let index = 0; index < units * records; index++) {
    const at = base + Math.floor(index / units) * stride + (index % units) * unit;
    let value = 0n;
    for (let byte = unit - 1; byte >= 0; byte--) value = (value << 8n) | BigInt(mem.u8[at + byte]!);
    if (value !== 0n) sum += mix(value ^ U64(key + BigInt(index) * STEP));
  }
  return U64(sum);
}

function mix(word: bigint): bigint {
  let x = word;
  x = U64((x ^ (x >> 33n)) * 0xff51afd7ed558ccdn);
  x = U64((x ^ (x >> 33n)) * 0xc4ceb9fe1a85ec53n);
  return x ^ (x >> 33n);
}

interface Column {
  readonly base: number;
  readonly units: number;
  readonly stride: number;
  readonly records: number;
  readonly key: bigint;
}

const columns = (unit: Unit): fc.Arbitrary<Column> =>
  fc
    .record({
      base: fc.integer({ min: 0, max: 300 }),
      units: fc.integer({ min: 1, max: 80 }),
      gap: fc.integer({ min: 0, max: 70 }),
      records: fc.integer({ min: 1, max: 5 }),
      key: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    })
    .map(({ gap, ...rest }) => ({ ...rest, stride: rest.units * unit + gap }));

for (const unit of [1, 4, 8] as const) {
  test(`the generated scan by ${unit} bytes agrees with its definition, at any alignment, with zeros between`, (t) => {
    const mem = memory(1);
    const scan = makeScans(mem)[unit];
    // Mostly zeros, so that whole lines are skipped.
    const words = fc.array(fc.tuple(fc.nat(4095), fc.integer({ min: 1, max: 255 })), { maxLength: 60 });
    fc.assert(
      fc.property(columns(unit), words, (column, bytes) => {
        mem.u8.fill(0, 0, 4096);
        for (const [at, value] of bytes) mem.u8[at] = value;
        const { base, units, stride, records, key } = column;
        return U64(scan(base, units, stride, records, key)) === slowScan(mem, unit, column);
      }),
    );
    t.pass();
  });
}

test('the scan reaches the last byte of its memory', (t) => {
  const mem = memory(1);
  const scan = makeScans(mem)[8];
  const tail = { base: WASM_PAGE_BYTES - 200, units: 25, stride: 200, records: 1, key: 1n };
  mem.u8[WASM_PAGE_BYTES - 1] = 0x80;
  const sum = U64(scan(tail.base, tail.units, tail.stride, tail.records, tail.key));
  t.is(sum, slowScan(mem, 8, tail));
  t.not(sum, 0n);
});
