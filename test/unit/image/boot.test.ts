import { readFileSync } from 'node:fs';
import test from 'ava';
import * as boot from '../../../src/image/boot.ts';
import { InvariantError } from '../../../src/shared/invariant.ts';
import { VCPU_LIMIT } from '../../../src/shared/layout/machine.ts';

const MIB = 1024 ** 2;

function booted(options: Partial<boot.BootTableOptions> = {}): DataView {
  // A slice at an odd place of a larger shared buffer, full of rubbish: what a machine's RAM may look like.
  const ram = new Uint8Array(new SharedArrayBuffer(2 * MIB), 0x10008, MIB).fill(0xcc);
  boot.writeBootTables(ram, { vcpuCount: 2, ...options });
  return new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
}

/** Walks the tables as the SDM says; null where an entry is absent. */
function walk(view: DataView, gva: number): { gpa: number; bits: bigint } | null {
  const pml4e = view.getBigUint64(boot.PML4_GPA + Math.floor(gva / 2 ** 39) * 8, true);
  if ((pml4e & 1n) === 0n) return null;
  const pdpte = view.getBigUint64(Number(pml4e & ~0xfffn) + (Math.floor(gva / 2 ** 30) % 512) * 8, true);
  if ((pdpte & 1n) === 0n) return null;
  const pde = view.getBigUint64(Number(pdpte & ~0xfffn) + (Math.floor(gva / 2 ** 21) % 512) * 8, true);
  if ((pde & 1n) === 0n) return null;
  return { gpa: Number(pde & ~0x1fffffn) + (gva % 2 ** 21), bits: pml4e & pdpte & pde & 0x67n };
}

/** Base, limit and access byte of a 16-byte system descriptor. */
function systemDescriptor(view: DataView, at: number) {
  const low = view.getBigUint64(at, true);
  const high = view.getBigUint64(at + 8, true);
  return {
    base: ((low >> 16n) & 0xffffffn) | ((low >> 32n) & 0xff000000n) | (high << 32n),
    limit: Number((low & 0xffffn) | ((low >> 32n) & 0xf0000n)),
    access: Number((low >> 40n) & 0xffn),
  };
}

test('the first 4 GiB are mapped to themselves, writable, executable and open to ring 3', (t) => {
  const view = booted();
  for (const gva of [0, 0xfff, 0x200000, 0x4000000, 0x3fffffff, 0x40000000, 0xfee00123, 0xffffffff]) {
    // P, R/W, U/S, A at every level; bit 6 is D in the page and ignored above, where it is clear.
    t.deepEqual(walk(view, gva), { gpa: gva, bits: 0x27n }, `gva ${gva.toString(16)}`);
  }
  t.is(walk(view, 0x100000000), null);
});

test('paging stops at gpaLimit, rounded up to a large page', (t) => {
  const view = booted({ gpaLimit: 0x40000001 });
  t.is(walk(view, 0x401fffff)?.gpa, 0x401fffff);
  t.is(walk(view, 0x40200000), null);
  t.is(walk(view, 0x80000000), null);
});

test('mappings can be closed to ring 3, and left for the page walk to mark accessed', (t) => {
  t.is(walk(booted({ user: false }), 0x200000)?.bits, 0x23n);
  const fresh = booted({ accessed: false });
  t.is(walk(fresh, 0x200000)?.bits, 0x07n);
  t.is(fresh.getBigUint64(boot.PAGE_DIRECTORY_GPA + 8, true), 0x200087n);
});

test('each vCPU has a busy TSS descriptor that agrees with its TR', (t) => {
  const view = booted({ vcpuCount: VCPU_LIMIT });
  for (let index = 0; index < VCPU_LIMIT; index++) {
    const state = boot.bootState(index, VCPU_LIMIT, 0x200000);
    const selector = state.SELECTORS[7]!;
    t.true(selector + 15 <= state.GDTR_LIMIT);
    t.deepEqual(systemDescriptor(view, Number(state.GDTR_BASE) + selector), {
      base: state.TR_BASE,
      limit: state.TR_LIMIT,
      access: 0x8b,
    });
  }
});

test('no two stacks overlap, and none reaches the tables or the image', (t) => {
  const view = booted({ vcpuCount: VCPU_LIMIT });
  const areas = [{ from: boot.GDT_GPA, to: boot.IDT_GPA + boot.IDT_BYTES }];
  for (let index = 0; index < VCPU_LIMIT; index++) {
    const state = boot.bootState(index, VCPU_LIMIT, 0x200000);
    const tss = Number(state.TR_BASE);
    const rsp = Number(state.GPR[4]);
    const rsp0 = Number(view.getBigUint64(tss + 4, true));
    const ist1 = Number(view.getBigUint64(tss + 0x24, true));
    areas.push({ from: rsp - boot.STACK_BYTES, to: rsp });
    areas.push({ from: rsp0 - boot.RSP0_STACK_BYTES, to: rsp0 });
    areas.push({ from: ist1 - boot.IST1_STACK_BYTES, to: ist1 });
  }
  areas.sort((a, b) => a.from - b.from);
  for (const [index, area] of areas.entries()) {
    t.true(area.to <= (areas[index + 1]?.from ?? boot.IMAGE_GPA_MIN), `area at ${area.from.toString(16)}`);
    t.is(area.to % 16, 0);
  }
});

test('the TSS denies every port to ring 3', (t) => {
  t.is(booted().getUint16(boot.TSS_GPA + 0x66, true), boot.TSS_BYTES);
});

test('selectors name descriptors of the right privilege and kind', (t) => {
  const view = booted();
  const access = (selector: number) => view.getUint8(boot.GDT_GPA + (selector & ~7) + 5);
  const long = (selector: number) => (view.getUint8(boot.GDT_GPA + (selector & ~7) + 6) & 0x20) !== 0;
  t.is(access(boot.KERNEL_CODE_SELECTOR), 0x9b);
  t.is(access(boot.KERNEL_DATA_SELECTOR), 0x93);
  t.is(access(boot.USER_DATA_SELECTOR), 0xf3);
  t.is(access(boot.USER_CODE_SELECTOR), 0xfb);
  t.true(long(boot.KERNEL_CODE_SELECTOR) && long(boot.USER_CODE_SELECTOR));
  t.false(long(boot.KERNEL_DATA_SELECTOR));
  t.is(view.getBigUint64(boot.GDT_GPA, true), 0n);
});

test('a vCPU starts in long mode with its index, the count and the entry point', (t) => {
  const state = boot.bootState(1, 4, 0x200010);
  t.is(state.RIP, 0x200010n);
  t.is(state.GPR[7], 1n);
  t.is(state.GPR[6], 4n);
  t.is(state.GPR[4], 0x88000n);
  t.deepEqual(
    state.GPR.filter((_, index) => index < 4 || index === 5 || index > 7),
    new Array<bigint>(13).fill(0n),
  );
  t.is(state.CR0, 0x80010033n);
  t.is(state.CR3, 0x1000n);
  t.is(state.CR4, 0xa0n);
  t.is(state.EFER, 0xd01n);
  t.is(state.RFLAGS, 2n);
  t.deepEqual(state.SELECTORS, [0x10, 0x08, 0x10, 0x10, 0, 0, 0, 0x38]);
  t.is(state.IDTR_BASE, 0x8000n);
  t.is(state.IDTR_LIMIT, 0xfff);
});

test('the IDT is empty, whatever was in RAM', (t) => {
  const view = booted();
  for (let at = 0; at < boot.IDT_BYTES; at += 8) t.is(view.getBigUint64(boot.IDT_GPA + at, true), 0n);
});

test('RAM below the tables and above them is left alone', (t) => {
  const view = booted();
  t.is(view.getUint8(boot.GDT_GPA - 1), 0xcc);
  t.is(view.getUint8(boot.IDT_GPA + boot.IDT_BYTES), 0xcc);
});

test('arguments out of range are refused', (t) => {
  const ram = new Uint8Array(MIB);
  const refused = (act: () => void, message: RegExp) =>
    t.throws(act, { instanceOf: InvariantError, message });
  refused(() => boot.writeBootTables(ram.subarray(1), { vcpuCount: 1 }), /1048575 bytes/);
  refused(() => boot.writeBootTables(ram, { vcpuCount: VCPU_LIMIT + 1 }), /17 vCPUs/);
  refused(() => boot.writeBootTables(ram, { vcpuCount: 1, gpaLimit: 2 ** 32 + 1 }), /4294967297 bytes/);
  refused(() => boot.writeBootTables(ram, { vcpuCount: 1, gpaLimit: 0 }), /of 0 bytes/);
  refused(() => boot.bootState(2, 2, 0x200000), /vcpu 2 of 2/);
  refused(() => boot.bootState(0, 1, -1), /entry point -1/);
});

test('boot.inc tells guests the same numbers', (t) => {
  const constants = new Map<string, number>();
  for (const line of readFileSync('test/guests/boot.inc', 'utf8').split('\n')) {
    const match = /^(\w+)\s+equ\s+(0x[0-9a-f]+)/.exec(line);
    if (match !== null) constants.set(match[1]!, Number(match[2]));
  }
  t.true(constants.size >= 10);
  const exported: Record<string, unknown> = { ...boot };
  for (const [name, value] of constants) t.is(exported[name], value, name);
});
