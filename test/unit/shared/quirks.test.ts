import test from 'ava';
import * as quirks from '../../../src/shared/quirks.ts';

const { QUIRKS, QUIRK_LIMIT, REFERENCE_QUIRKS, quirkByName, quirkWords } = quirks;

test('each quirk has an id, which is its place in the table, a name and an item of its own', (t) => {
  for (const field of ['id', 'name', 'item'] as const) {
    t.is(new Set(QUIRKS.map((quirk) => quirk[field])).size, QUIRKS.length, field);
  }
  t.true(QUIRKS.every(({ id }, place) => id === place && id < QUIRK_LIMIT));
});

test('every REF_ constant is a quirk of the reference, every BUG_ constant one that it does not have', (t) => {
  const ids = (prefix: string) =>
    Object.entries(quirks).flatMap(([name, value]) => (name.startsWith(prefix) ? [value] : []));
  const listed = (reference: boolean) => QUIRKS.filter((q) => q.reference === reference).map(({ id }) => id);
  const sorted = (values: readonly unknown[]) => [...values].sort((a, b) => Number(a) - Number(b));
  t.deepEqual(sorted(ids('REF_')), sorted(listed(true)));
  t.deepEqual(sorted(ids('BUG_')), sorted(listed(false)));
  t.deepEqual(sorted(REFERENCE_QUIRKS), sorted(listed(true)));
});

test('every item of the race corpus but the policy RC-35 has its quirk', (t) => {
  const items = QUIRKS.map(({ item }) => item).sort();
  const numbers = Array.from({ length: 84 }, (_, i) => i + 1).filter((n) => n !== 35);
  t.deepEqual(
    items,
    numbers.map((n) => `RC-${String(n).padStart(2, '0')}`),
  );
});

test('a quirk is one bit of the words', (t) => {
  for (const { id, name } of QUIRKS) {
    const words = [...quirkWords([id])];
    t.is(words.filter((word) => word !== 0).length, 1);
    t.is(words[id >>> 5], 1 << (id & 31));
    t.is(quirkByName(name)?.id, id);
  }
  t.is(quirkByName('no such thing'), undefined);
});
