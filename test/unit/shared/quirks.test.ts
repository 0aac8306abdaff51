import test from 'ava';
import * as quirks from '../../../src/shared/quirks.ts';

const { QUIRKS, REFERENCE_QUIRKS } = quirks;

test('each quirk has a bit, a name and an item of its own', (t) => {
  for (const field of ['bit', 'name', 'item'] as const) {
    t.is(new Set(QUIRKS.map((quirk) => quirk[field])).size, QUIRKS.length, field);
  }
  for (const { bit } of QUIRKS) t.is(Math.log2(bit) % 1, 0);
});

test('every REF_ constant is the bit of one quirk', (t) => {
  const bits = Object.entries(quirks).flatMap(([name, value]) => (name.startsWith('REF_') ? [value] : []));
  t.deepEqual(new Set(bits.sort()), new Set(QUIRKS.map(({ bit }) => bit).sort()));
});

test('the reference design has all of them', (t) => {
  t.true(QUIRKS.every(({ bit }) => (REFERENCE_QUIRKS & bit) !== 0));
  t.is(REFERENCE_QUIRKS.toString(2).replaceAll('0', '').length, QUIRKS.length);
});
