/** Memory types by the MTRRs, as the SDM has them. */
import test from 'ava';
import { memoryType } from '../../../src/actors/vcpu/platform/memory-type.ts';
import { CPU, MTRR_FIXED, MTRR_WORDS } from '../../../src/shared/layout/cpu.ts';
import { SystemBed } from '../../support/system-bed.ts';

const UC = 0;
const WC = 1;
const WT = 4;
const WB = 6;
const ENABLED = 0x800n;
const FIXED_ENABLED = 0x400n;
/** Of 40 bits of address. */
const maskOf = (bytes: bigint) => ((1n << 40n) - bytes) | 0x800n;

/** MTRRs by place: 0 the default, 1… the fixed ones, then pairs of base and mask. */
function typesWith(registers: readonly (readonly [index: number, value: bigint])[]) {
  const { vcpu } = new SystemBed();
  const words = vcpu.mem.u64.subarray(
    (vcpu.cpu + CPU.at.MTRR) / 8,
    (vcpu.cpu + CPU.at.MTRR) / 8 + MTRR_WORDS,
  );
  for (const [index, value] of registers) words[index] = value;
  return (gpa: bigint) => memoryType(vcpu, gpa);
}
const variable = (n: number, base: bigint, bytes: bigint, type: number) =>
  [
    [1 + MTRR_FIXED + 2 * n, base | BigInt(type)],
    [2 + MTRR_FIXED + 2 * n, maskOf(bytes)],
  ] as const;

test('all memory is uncached while MTRRs are off', (t) => {
  const type = typesWith([[0, BigInt(WB)], ...variable(0, 0n, 1n << 30n, WT)]);
  t.is(type(0n), UC);
  t.is(type(1n << 39n), UC);
});

test('what no range has is of the default type', (t) => {
  const type = typesWith([[0, ENABLED | BigInt(WB)], ...variable(0, 0xc000_0000n, 1n << 30n, UC)]);
  t.is(type(0xbfff_ffffn), WB);
  t.is(type(0xc000_0000n), UC);
  t.is(type(0xffff_f000n), UC);
  t.is(type(0x1_0000_0000n), WB);
  t.is(type(0xffff_ffff_ffff_f000n), WB);
});

test('fixed ranges are those below 1 MiB, byte by byte, and come before variable ones', (t) => {
  const fields = (...types: number[]) =>
    types.reduce((value, type, i) => value | (BigInt(type) << BigInt(8 * i)), 0n);
  const ranges = [
    [1, fields(WB, WT, WB, WB, WB, WB, WB, WC)],
    [2, fields(UC, WB, WB, WB, WB, WB, WB, WT)],
    [3, fields(WC, UC, UC, UC, UC, UC, UC, WB)],
    [4, fields(WT, UC, UC, UC, UC, UC, UC, WC)],
    [11, fields(UC, UC, UC, UC, UC, UC, UC, WT)],
  ] as const;
  const rest = variable(0, 0n, 1n << 30n, WC);
  const on = typesWith([[0, ENABLED | FIXED_ENABLED | BigInt(WB)], ...ranges, ...rest]);
  t.deepEqual(
    [
      0n,
      0xffffn,
      0x10000n,
      0x7ffffn,
      0x80000n,
      0x84000n,
      0x9ffffn,
      0xa0000n,
      0xbffffn,
      0xc0000n,
      0xc7fffn,
      0xff000n,
    ].map(on),
    [WB, WB, WT, WC, UC, WB, WT, WC, WB, WT, WC, WT],
  );
  t.is(on(0x100000n), WC, 'above it they say nothing');
  const off = typesWith([[0, ENABLED | BigInt(WB)], ...ranges, ...rest]);
  t.is(off(0x10000n), WC);
});

test('of ranges that overlap uncached wins, and write through over write back', (t) => {
  const both = (a: number, b: number) =>
    typesWith([
      [0, ENABLED | BigInt(WB)],
      ...variable(0, 0n, 1n << 30n, a),
      ...variable(7, 0n, 1n << 20n, b),
    ])(0x1000n);
  t.is(both(WB, UC), UC);
  t.is(both(UC, WT), UC);
  t.is(both(WB, WT), WT);
  t.is(both(WT, WB), WT);
  t.is(both(WC, WC), WC);
  t.is(both(WC, WB), UC, 'undefined, so the safe one');
});

test('a range that is not valid is none', (t) => {
  const [base, mask] = variable(0, 0n, 1n << 30n, UC);
  const type = typesWith([[0, ENABLED | BigInt(WB)], base, [mask[0], mask[1] & ~0x800n]]);
  t.is(type(0x1000n), WB);
});
