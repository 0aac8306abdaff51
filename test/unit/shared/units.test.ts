import test from 'ava';
import fc from 'fast-check';
import { SimError } from '../../../src/shared/errors.ts';
import {
  DURATION_LIMIT_MS,
  formatCount,
  formatNs,
  formatSize,
  GPA_LIMIT,
  gfn,
  gfnOf,
  gpa,
  gpaOf,
  gva,
  hex,
  parseDuration,
  parseSize,
} from '../../../src/shared/units.ts';

const integersBelow = (limit: number) => fc.integer({ min: 0, max: limit - 1 });

test('a guest physical address is an integer below 2^52', (t) => {
  for (const value of [0, 1, 4096, GPA_LIMIT - 1]) t.is<number, number>(gpa(value), value);
  for (const value of [-1, 0.5, GPA_LIMIT, Number.NaN, Number.POSITIVE_INFINITY]) {
    t.throws(() => gpa(value), {
      instanceOf: SimError,
      code: 'SIM_CONFIG_RANGE',
      message: new RegExp(`^${value} `),
    });
  }
});

test('a guest frame number is an integer below 2^40', (t) => {
  for (const value of [0, 2 ** 40 - 1]) t.is<number, number>(gfn(value), value);
  for (const value of [-1, 1.5, 2 ** 40]) {
    t.throws(() => gfn(value), { instanceOf: SimError, code: 'SIM_CONFIG_RANGE' });
  }
});

test('frames and addresses agree, above 32 bits too', (t) => {
  fc.assert(
    fc.property(integersBelow(GPA_LIMIT), (value) => {
      const address = gpa(value);
      const start = gpaOf(gfnOf(address));
      return start <= address && address - start < 4096 && start % 4096 === 0;
    }),
  );
  t.is<number, number>(gfnOf(gpa(0x1_0000_2fff)), 0x10_0002);
  t.is<number, number>(gpaOf(gfn(0x10_0002)), 0x1_0000_2000);
});

test('a guest virtual address is cut to 64 bits', (t) => {
  t.is<bigint, bigint>(gva(5), 5n);
  t.is<bigint, bigint>(gva(-1n), 0xffff_ffff_ffff_ffffn);
  t.is<bigint, bigint>(gva(2n ** 64n + 7n), 7n);
});

test('hex prints without leading zeros, unless digits are asked for, and negative numbers as 64 bits', (t) => {
  t.is(hex(0), '0x0');
  t.is(hex(255), '0xff');
  t.is(hex(255, 4), '0x00ff');
  t.is(hex(0x1_0000_0000n), '0x100000000');
  t.is(hex(-1), '0xffffffffffffffff');
  t.is(hex(-2n), '0xfffffffffffffffe');
});

test('sizes are read in powers of 1024, in either case, or as plain or hexadecimal bytes', (t) => {
  for (const [text, bytes] of [
    ['0', 0],
    ['4096', 4096],
    ['4K', 4096],
    ['4k', 4096],
    ['256M', 256 * 2 ** 20],
    ['1G', 2 ** 30],
    ['0x1000', 4096],
    ['0xFF', 255],
  ] as const) {
    t.is(parseSize(text), bytes, text);
  }
});

test('what is no size is a usage error that names the flag and the text', (t) => {
  for (const text of [
    '',
    'K',
    '-1',
    '1.5M',
    '4KB',
    '0x',
    '0x10K',
    ' 4K',
    '4 K',
    '1T',
    '9007199254740992',
    '9999999G',
  ]) {
    t.throws(() => parseSize(text, '--mem'), {
      instanceOf: SimError,
      code: 'SIM_USAGE',
      message: `--mem: '${text}' is not a size`,
    });
  }
});

test('a printed size reads back as itself', (t) => {
  fc.assert(fc.property(integersBelow(2 ** 53), (bytes) => parseSize(formatSize(bytes)) === bytes));
  t.deepEqual([4096, 4097, 2 ** 20, 3 * 2 ** 30, 0].map(formatSize), ['4K', '4097', '1M', '3G', '0']);
});

test('durations are read in milliseconds, seconds and minutes; seconds without a unit', (t) => {
  for (const [text, ms] of [
    ['500ms', 500],
    ['5s', 5000],
    ['5', 5000],
    ['2m', 120_000],
    ['0.5s', 500],
    ['1.5', 1500],
  ] as const) {
    t.is(parseDuration(text), ms, text);
  }
  t.is(parseDuration(`${DURATION_LIMIT_MS}ms`), DURATION_LIMIT_MS);
});

test('what is no duration, or none that a timer can run, is a usage error', (t) => {
  for (const text of [
    '',
    's',
    '0',
    '0ms',
    '-1s',
    '1h',
    '1 s',
    '5S',
    '.5s',
    `${DURATION_LIMIT_MS + 1}ms`,
    '25d',
  ]) {
    t.throws(() => parseDuration(text, '--seconds'), {
      instanceOf: SimError,
      code: 'SIM_USAGE',
      message: `--seconds: '${text}' is not a duration`,
    });
  }
});

test('counts are printed in groups of three digits', (t) => {
  const printed = [0, 999, 1000, 1234567, -1234, 12345678901234567890n].map(formatCount);
  t.deepEqual(printed, ['0', '999', '1 000', '1 234 567', '-1 234', '12 345 678 901 234 567 890']);
  t.is(formatCount(0.5), '0.5');
});

test('times are printed with three digits and a unit', (t) => {
  for (const [ns, text] of [
    [0, '0 ns'],
    [850, '850 ns'],
    [999.4, '999 ns'],
    [1000, '1.00 µs'],
    [12_345, '12.3 µs'],
    [123_456, '123 µs'],
    [999_499, '999 µs'],
    [999_500, '1.00 ms'],
    [1_050_000, '1.05 ms'],
    [2.5e9, '2.50 s'],
    [9.996e9, '10.0 s'],
    [1e12, '1000 s'],
  ] as const) {
    t.is(formatNs(ns), text);
  }
});

test('a printed time has three digits, whatever it is', (t) => {
  fc.assert(
    fc.property(fc.double({ min: 1000, max: 9.99e11, noNaN: true }), (ns) => {
      const digits = formatNs(ns).replace(/ .*/, '').replace('.', '');
      return digits.length === 3;
    }),
  );
  t.pass();
});
