import test from 'ava';
import { SimError } from '../../../../src/shared/errors.ts';
import { CPU } from '../../../../src/shared/layout/cpu.ts';
import { type LayoutConfig, machineLayout, VM_LOCKS } from '../../../../src/shared/layout/machine.ts';
import { VCPU } from '../../../../src/shared/layout/vcpu.ts';
import { VM } from '../../../../src/shared/layout/vm.ts';
import { Mem } from '../../../../src/shared/mem.ts';
import { dumpRegion } from '../../../../src/shared/state/dump.ts';
import { STATS } from '../../../../src/shared/sync/stats.ts';
import { workedMachine } from './worked-machine.ts';

const SMALL: LayoutConfig = {
  vcpuCount: 2,
  ramPages: 4,
  gfnCount: 64,
  accessLimit: 4,
  traceBytes: 256,
  actorCount: 4,
};

function fresh() {
  const layout = machineLayout(SMALL);
  const pages = layout.bytes / 65536;
  return { layout, mem: new Mem(new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true })) };
}

function usageError(name: string, opts = {}): SimError {
  const { mem, layout } = fresh();
  try {
    dumpRegion(mem, layout, name, opts);
  } catch (error) {
    if (error instanceof SimError) return error;
    throw error;
  }
  throw new Error(`printed ${name} ${JSON.stringify(opts)}`);
}

test('a dump of a worked machine reads like this', (t) => {
  const { vm } = workedMachine();
  // Addresses move whenever a region before them grows.
  const print = (name: string, opts = {}) =>
    t.snapshot(
      dumpRegion(vm.mem, vm.layout, name, opts).replaceAll(/ at 0x.*|(?<=^\S+) 0x[0-9a-f]+/gm, ''),
      name,
    );
  const regions = [
    'header',
    'notifiers',
    'slot-sets',
    'pools',
    'tree-nodes',
    'access-nodes',
    'sptes',
    'locks',
  ];
  for (const name of regions) print(name);
  print('roots', { verbose: true });
  print('ram', { first: 1, count: 3 });
});

test('every field of every record is printed once, by its name', (t) => {
  const { mem, layout } = fresh();
  for (const { base, parts } of layout.regions) {
    for (const { struct, offset } of parts) {
      mem.u8.fill(1, base + offset, base + offset + Math.min(64, struct.bytes));
    }
  }
  for (const { name, count, parts } of layout.regions) {
    const text = dumpRegion(mem, layout, name, {
      first: 0,
      count: Math.min(count, 1),
      verbose: true,
      caches: true,
    });
    const printed = text.split('\n').flatMap((line) => /^ {2}([A-Z]\w*)/.exec(line)?.[1] ?? []);
    const declared = parts.flatMap(({ struct }) => struct.fields.map((field) => field.name));
    t.deepEqual(printed.sort(), declared.sort(), name);
  }
});

test('a verbose dump says who writes each word and what it means', (t) => {
  const { mem, layout } = fresh();
  mem.store(layout.vm + VM.at.VCPU_COUNT, 2);
  const text = dumpRegion(mem, layout, 'vm', { verbose: true });
  for (const { name, writer, meaning } of VM.fields) {
    t.true(text.includes(`${writer}: ${meaning}`), name);
  }
});

test('records of zeros are named, not printed', (t) => {
  const { mem, layout } = fresh();
  mem.store(layout.roots, 1);
  mem.store(layout.roots + 16 * 2, 1);
  const lines = dumpRegion(mem, layout, 'roots').split('\n');
  t.deepEqual(
    lines.slice(1).map((line) => line.replace(/ 0x[0-9a-f]+ .*/, '')),
    ['[0]', 'zero: [1]', '[2]', 'zero: [3]'],
  );
});

test('only the elements asked for are printed', (t) => {
  const { mem, layout } = fresh();
  mem.u8.fill(1, layout.ram, layout.ram + 4 * 4096);
  const pages = (opts: object) => dumpRegion(mem, layout, 'ram', opts).match(/^\[\d\]/gm);
  t.deepEqual(pages({}), ['[0]', '[1]', '[2]', '[3]']);
  t.deepEqual(pages({ first: 2 }), ['[2]', '[3]']);
  t.deepEqual(pages({ first: 1, count: 2 }), ['[1]', '[2]']);
});

test('numbers are printed in decimal, and in hexadecimal where that says more', (t) => {
  const { mem, layout } = fresh();
  const vcpu = layout.vcpus;
  mem.store(vcpu + VCPU.at.ROOT, -1);
  mem.store(vcpu + VCPU.at.STATE, 7);
  mem.store(vcpu + VCPU.at.EVENTS, 0x100);
  mem.f64[(vcpu + VCPU.at.STARTED_NS) / 8] = 1.5;
  mem.u64[(vcpu + VCPU.at.PF_RETRY) / 8 + 2] = 3n;
  const text = dumpRegion(mem, layout, 'vcpus', { count: 1 });
  const value = (name: string) => new RegExp(`^ {2}${name} +(.*)$`, 'm').exec(text)?.[1];
  t.is(value('ROOT'), '-1 (0xffffffff)');
  t.is(value('STATE'), '7');
  t.is(value('EVENTS'), '256 (0x100)');
  t.is(value('STARTED_NS'), '1.5');
  t.is(value('PF_RETRY'), '[2] 3');
  t.is(value('PF_CRASH'), '0');
  mem.u64[(layout.cpus + CPU.at.GPR) / 8 + 4] = 0xffff_ffff_8000_0000n;
  t.regex(dumpRegion(mem, layout, 'cpus', { count: 1 }), /^ {2}GPR +\[4\] 0xffffffff80000000$/m);
});

test('bytes are printed in rows of sixteen with their offset, rows of zeros left out', (t) => {
  const { mem, layout } = fresh();
  mem.u8.set(new TextEncoder().encode('hello'), layout.ram + 4096 + 0x120);
  const lines = dumpRegion(mem, layout, 'ram', { first: 1, count: 1 }).split('\n');
  t.deepEqual(lines.slice(2), [
    '  BYTES',
    '    +0x0120  68 65 6c 6c 6f 00 00 00 00 00 00 00 00 00 00 00  |hello...........|',
  ]);
});

test('locks and lock statistics are printed by the names of the locks', (t) => {
  const { mem, layout } = fresh();
  mem.u8.fill(1, layout.locks, layout.locks + 64 * VM_LOCKS.length);
  const locks = dumpRegion(mem, layout, 'locks');
  for (const name of VM_LOCKS) t.regex(locks, new RegExp(`^${name} 0x`, 'm'));
  mem.f64[layout.stats / 8 + STATS.bytes / 8] = 5;
  t.regex(dumpRegion(mem, layout, 'lock-statistics'), /^\[0\]\.vcpu\.mutex 0x[0-9a-f]+ {2}ACQUISITIONS 5 /m);
});

test('caches are printed on request only', (t) => {
  const { mem, layout } = fresh();
  t.notRegex(dumpRegion(mem, layout, 'cpus'), /tlb|uops/);
  t.regex(dumpRegion(mem, layout, 'cpus', { caches: true }), /\[1\]\.tlb user fetch\[0…1023\]/);
});

test('an unknown region is a usage error that suggests the nearest and lists all', (t) => {
  const error = usageError('slotsets');
  t.like(error, { code: 'SIM_USAGE', message: "no region 'slotsets'" });
  t.regex(error.hint, /did you mean 'slot-sets'\? regions: header, vm, /);
  t.regex(usageError('nonsense').hint, /^regions: header, vm, .*, ram$/);
});

test('elements that are not there are a usage error that says which are', (t) => {
  const hint = 'its elements are 0 to 1';
  t.like(usageError('vcpus', { first: 2, count: 1 }), {
    code: 'SIM_USAGE',
    message: "'vcpus' has no elements 2 to 2",
    hint,
  });
  t.like(usageError('vcpus', { first: 0, count: 3 }), { code: 'SIM_USAGE', hint });
  for (const opts of [{ first: -1 }, { first: 0.5 }, { first: 3 }, { count: -1 }]) {
    t.is(usageError('vcpus', opts).code, 'SIM_USAGE', JSON.stringify(opts));
  }
});
