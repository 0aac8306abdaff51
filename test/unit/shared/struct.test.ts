import test from 'ava';
import fc from 'fast-check';
import {
  type FieldSpec,
  f64,
  i32,
  i64,
  roundUp,
  SCALAR_BYTES,
  struct,
  u8,
  u16,
  u32,
  volatile,
} from '../../../src/shared/struct.ts';

test('fields follow each other in the order of their declaration, each aligned to its own size', (t) => {
  const { at, bytes } = struct('mixed', {
    A: u8('w', 'm'),
    B: u16('w', 'm'),
    C: u8('w', 'm'),
    D: u32('w', 'm'),
    E: i64('w', 'm'),
    F: i32('w', 'm', 3),
    G: f64('w', 'm'),
  });
  t.deepEqual(at, { A: 0, B: 2, C: 4, D: 8, E: 16, F: 24, G: 40 });
  t.is(bytes, 48);
});

test('the record is padded to its alignment, 8 if not said', (t) => {
  t.is(struct('byte', { A: u8('w', 'm') }).bytes, 8);
  t.is(struct('byte', { A: u8('w', 'm') }, 1).bytes, 1);
  t.is(struct('line', { A: i64('w', 'm', 9) }, 64).bytes, 128);
});

test('a field keeps its declaration: name, type, count, writer, meaning', (t) => {
  const { name, fields } = struct('counter', { NAMES: u8('machine', 'ASCII', 12) });
  t.is(name, 'counter');
  t.deepEqual(fields, [
    { name: 'NAMES', type: 'u8', count: 12, writer: 'machine', meaning: 'ASCII', offset: 0 },
  ]);
});

test('volatile marks a field and changes nothing else', (t) => {
  const plain = i32('anyone', 'how often');
  t.deepEqual(volatile(plain), { ...plain, volatile: true });
  t.is(plain.volatile, undefined);
});

test('no two fields overlap and all are aligned, whatever is declared', (t) => {
  const specs = fc.array(
    fc.tuple(fc.constantFrom(u8, u16, i32, u32, i64, f64), fc.integer({ min: 1, max: 20 })),
    { minLength: 1, maxLength: 12 },
  );
  fc.assert(
    fc.property(specs, fc.constantFrom(1, 8, 64), (list, align) => {
      const declared: Record<string, FieldSpec> = {};
      for (const [i, [type, count]] of list.entries()) declared[`F${i}`] = type('w', 'm', count);
      const record = struct('any', declared, align);
      let end = 0;
      for (const { type, count, offset } of record.fields) {
        if (offset < end || offset % SCALAR_BYTES[type] !== 0) return false;
        end = offset + SCALAR_BYTES[type] * count;
      }
      return record.bytes >= end && record.bytes % align === 0 && record.bytes < end + align;
    }),
  );
  t.pass();
});

test('roundUp gives the smallest multiple that is at least the value', (t) => {
  t.deepEqual(
    [0, 1, 63, 64, 65].map((value) => roundUp(value, 64)),
    [0, 64, 64, 64, 128],
  );
  t.is(roundUp(2 ** 40 + 1, 4096), 2 ** 40 + 4096);
});
