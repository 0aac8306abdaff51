import test from 'ava';
import fc from 'fast-check';
import { spteAddress, stretchWord } from '../../../src/actors/mmu/spte.ts';
import { Vm } from '../../../src/actors/mmu/vm.ts';
import {
  CPU,
  CPU_AREA_BYTES,
  CPU_FILLED,
  CPU_JUMP_CACHE,
  CPU_SCRATCH_UOP,
  CPU_TLB,
  CPU_UOPS,
  FILLED,
  JUMP_ENTRIES,
  JUMP_ENTRY,
  JUMP_ENTRY_BYTES,
  TLB_ENTRIES,
  TLB_ENTRY,
  TLB_FETCH,
  TLB_SET_BYTES,
  TLB_TABLE_BYTES,
  tlbTable,
} from '../../../src/shared/layout/cpu.ts';
import {
  type LayoutConfig,
  type MachineLayout,
  machineLayout,
  PAGE_BYTES,
  type Region,
} from '../../../src/shared/layout/machine.ts';
import { SPTE, STRETCH } from '../../../src/shared/layout/spte.ts';
import { VCPU } from '../../../src/shared/layout/vcpu.ts';
import { VM } from '../../../src/shared/layout/vm.ts';
import { Mem } from '../../../src/shared/mem.ts';
import { SCALAR_BYTES } from '../../../src/shared/struct.ts';

const CACHE_LINE_BYTES = 64;
const WASM_PAGE_BYTES = 65536;

const SMALL: LayoutConfig = {
  vcpuCount: 2,
  ramPages: 16,
  gfnCount: 600,
  accessLimit: 8,
  traceBytes: 4096,
  actorCount: 5,
};

const configs: fc.Arbitrary<LayoutConfig> = fc
  .record({
    vcpuCount: fc.integer({ min: 1, max: 16 }),
    ramPages: fc.integer({ min: 1, max: 100_000 }),
    gfnCount: fc.integer({ min: 1, max: 200_000 }),
    accessLimit: fc.integer({ min: 1, max: 100_000 }),
    traceLines: fc.integer({ min: 0, max: 1000 }),
    moreActors: fc.integer({ min: 0, max: 5 }),
  })
  .map(({ traceLines, moreActors, ...rest }) => ({
    ...rest,
    traceBytes: traceLines * CACHE_LINE_BYTES,
    actorCount: rest.vcpuCount + moreActors,
  }));

/** Checks every configuration that fast-check thinks of; a failure prints its seed and path. */
function forEveryLayout(check: (layout: MachineLayout) => void): void {
  fc.assert(
    fc.property(configs, (config) => {
      check(machineLayout(config));
    }),
    { numRuns: 60 },
  );
}

const endOf = (region: Region) => region.base + region.stride * region.count;

test('regions stand one after the other, each on a cache line of its own', (t) => {
  forEveryLayout((layout) => {
    let end = 0;
    for (const region of layout.regions) {
      if (region.base < end) throw new Error(`${region.name} begins inside the region before it`);
      if (region.base % CACHE_LINE_BYTES !== 0) throw new Error(`${region.name} begins inside a cache line`);
      end = endOf(region);
    }
    if (layout.bytes < end || layout.bytes % WASM_PAGE_BYTES !== 0) throw new Error(`${layout.bytes} bytes`);
  });
  t.pass();
});

test('CPU areas begin on pages, RAM on a WebAssembly page and last', (t) => {
  forEveryLayout((layout) => {
    if (layout.cpus % PAGE_BYTES !== 0 || layout.cpuStride % PAGE_BYTES !== 0) throw new Error('cpus');
    if (layout.ram % WASM_PAGE_BYTES !== 0 || layout.regions.at(-1)?.base !== layout.ram)
      throw new Error('ram');
  });
  t.pass();
});

test('the records of an element lie inside it, in order, and do not overlap', (t) => {
  forEveryLayout(({ regions }) => {
    for (const region of regions) {
      let end = 0;
      for (const { struct, offset, count } of region.parts) {
        if (offset < end) throw new Error(`${region.name}: ${struct.name} overlaps the part before it`);
        end = offset + struct.bytes * count;
      }
      if (end > region.stride)
        throw new Error(`${region.name}: its parts need ${end} of ${region.stride} bytes`);
    }
  });
  t.pass();
});

test('every field is aligned to its own size, wherever its record stands', (t) => {
  forEveryLayout(({ regions }) => {
    for (const { name, base, stride, count, parts } of regions) {
      for (const { struct, offset, count: records } of parts) {
        for (const field of struct.fields) {
          const size = SCALAR_BYTES[field.type];
          const steps = [base + offset + field.offset];
          if (count > 1) steps.push(stride);
          if (records > 1) steps.push(struct.bytes);
          if (steps.some((step) => step % size !== 0)) {
            throw new Error(`${name}: ${struct.name}.${field.name} is not aligned to ${size} bytes`);
          }
        }
      }
    }
  });
  t.pass();
});

test('region names are unique, and so are the names of the parts of an element', (t) => {
  const { regions } = machineLayout(SMALL);
  t.is(new Set(regions.map(({ name }) => name)).size, regions.length);
  for (const { name, parts } of regions) {
    t.is(new Set(parts.map(({ label, struct }) => label ?? struct.name)).size, parts.length, name);
  }
});

test('the addresses by name are those of the regions', (t) => {
  const layout = machineLayout(SMALL);
  const base = (name: string) => layout.regions.find((region) => region.name === name)?.base;
  t.like(layout, {
    vm: base('vm'),
    locks: base('locks'),
    vcpuLocks: base('vcpu-locks'),
    vcpus: base('vcpus'),
    notifiers: base('notifiers'),
    roots: base('roots'),
    slotSets: base('slot-sets'),
    pendingSlots: base('pending-slots'),
    archs: base('slot-archs'),
    pools: base('pools'),
    treeNodes: base('tree-nodes'),
    accessNodes: base('access-nodes'),
    codeMap: base('code-map'),
    stretches: base('spte-stretches'),
    sptes: base('sptes'),
    archArena: base('slot-arch-arena'),
    jobRings: base('job-rings'),
    messageRings: base('message-rings'),
    stats: base('lock-statistics'),
    traces: base('trace-rings'),
    cpus: base('cpus'),
    ram: base('ram'),
  });
});

test('a layout depends on its configuration alone', (t) => {
  const config = Object.freeze({ ...SMALL });
  t.deepEqual(machineLayout(config), machineLayout(structuredClone(config)));
  t.notDeepEqual(machineLayout(config), machineLayout({ ...config, ramPages: 17 }));
});

test('blocks that different threads write are whole cache lines', (t) => {
  for (const struct of [VM, VCPU, CPU]) t.is(struct.bytes % CACHE_LINE_BYTES, 0, struct.name);
  const { regions } = machineLayout(SMALL);
  const shared = ['vcpus', 'locks', 'vcpu-locks', 'job-rings', 'message-rings', 'lock-statistics', 'cpus'];
  for (const name of shared) {
    t.is(regions.find((region) => region.name === name)!.stride % CACHE_LINE_BYTES, 0, name);
  }
});

test('a CPU area holds registers, jump cache, TLBs, scratch record and micro-ops, in this order', (t) => {
  t.true(CPU.bytes <= CPU_JUMP_CACHE);
  t.true(CPU_JUMP_CACHE + JUMP_ENTRIES * JUMP_ENTRY_BYTES <= CPU_FILLED);
  t.true(CPU_FILLED + FILLED.bytes <= CPU_TLB);
  t.true(tlbTable(0, true, TLB_FETCH) + TLB_TABLE_BYTES <= CPU_SCRATCH_UOP);
  t.true(CPU_SCRATCH_UOP < CPU_UOPS);
  t.true(CPU_UOPS < CPU_AREA_BYTES);
  const { cpuStride } = machineLayout(SMALL);
  t.true(CPU_AREA_BYTES <= cpuStride);
});

test('what the emulator core computes with agrees with the declared records', (t) => {
  t.is(TLB_TABLE_BYTES, TLB_ENTRIES * TLB_ENTRY.bytes);
  t.is(JUMP_ENTRY_BYTES, JUMP_ENTRY.bytes);
  t.is(tlbTable(0, true, 0) - tlbTable(0, false, 0), TLB_SET_BYTES);
});

test('the mmu finds the last spte and the last stretch of the last root at the end of their regions', (t) => {
  const layout = machineLayout(SMALL);
  const vm = new Vm(new Mem(new WebAssembly.Memory({ initial: 0, maximum: 1, shared: true })), layout);
  const region = (name: string) => layout.regions.find((candidate) => candidate.name === name)!;
  const roots = region('sptes').count;
  const last = SMALL.gfnCount - 1;
  t.is(spteAddress(vm, roots - 1, last) + SPTE.bytes, endOf(region('sptes')));
  t.is(stretchWord(vm, roots - 1, last) + STRETCH.bytes, endOf(region('spte-stretches')));
});
