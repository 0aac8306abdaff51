import test from 'ava';
import fc from 'fast-check';
import { ENGINE_ABI } from '../../../src/explore/engine/abi.ts';
import type { Deviation } from '../../../src/explore/engine/schedule.ts';
import { BitReader, BitWriter, OutOfBits, symbolsOf, textOf } from '../../../src/explore/finding/bits.ts';
import {
  decodeToken,
  encodeToken,
  hashOf,
  isReference,
  sortedSchedule,
  type Token,
} from '../../../src/explore/finding/token.ts';
import { KNOWN_SCENARIOS } from '../../../src/explore/scenario/known.ts';
import { SimError } from '../../../src/shared/errors.ts';
import { QUIRK_LIMIT, REFERENCE_QUIRKS } from '../../../src/shared/quirks.ts';

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

const deviations = fc.uniqueArray(
  fc.record({
    actor: fc.integer({ min: -1, max: 29 }),
    taken: fc.oneof(fc.nat(200), fc.nat(20_000)),
    to: fc.nat(63),
    choice: fc.boolean(),
  }),
  { maxLength: 40, selector: ({ actor, taken, choice }) => `${actor} ${taken} ${choice}` },
);
const ascending = (max: number, maxLength: number) =>
  fc.uniqueArray(fc.nat(max), { maxLength }).map((list) => list.sort((a, b) => a - b));
const tokens: fc.Arbitrary<Token> = fc.record({
  scenario: fc.nat(2 ** 18 - 1),
  finding: fc.nat(2 ** 12 - 1),
  trace: fc.nat(2 ** 12 - 1),
  quirks: fc.oneof(ascending(QUIRK_LIMIT - 1, 6), fc.constant([...REFERENCE_QUIRKS])),
  dropped: ascending(40, 8),
  schedule: deviations,
});

const shrunk: Deviation[] = [
  { actor: 0, taken: 18, to: 1, choice: false },
  { actor: 1, taken: 30, to: 2, choice: false },
  { actor: 2, taken: 44, to: 0, choice: false },
];
const SHRUNK: Token = {
  scenario: hashOf('create-slot'),
  finding: 0x123,
  trace: 0xabc,
  quirks: [0],
  dropped: [],
  schedule: shrunk,
};

const code = (text: string): string => {
  try {
    decodeToken(text);
    return 'intact';
  } catch (error) {
    return error instanceof SimError ? error.code : String(error);
  }
};

test('every token comes back as it was', (t) => {
  fc.assert(
    fc.property(tokens, (token) => {
      const text = encodeToken(token);
      t.regex(text, /^FL1\.[\w-]+$/);
      t.deepEqual(decodeToken(text), { ...token, schedule: sortedSchedule(token.schedule) });
    }),
  );
});

test('a shrunk finding fits into 32 characters, with three preemptions among three actors and a quirk', (t) => {
  const text = encodeToken(SHRUNK);
  t.true(text.length <= 28, text);
  const six = [...shrunk, ...shrunk.map((d) => ({ ...d, taken: d.taken + 12 }))];
  t.true(encodeToken({ ...SHRUNK, schedule: six }).length <= 36);
});

test('every character that is wrong is seen', (t) => {
  fc.assert(
    fc.property(tokens, fc.nat(), (token, at) => {
      const text = encodeToken(token);
      const place = at % text.length;
      for (const other of `${ALPHABET}. é`) {
        if (other === text[place]) continue;
        t.not(code(text.slice(0, place) + other + text.slice(place + 1)), 'intact', `${text} at ${place}`);
      }
    }),
    { numRuns: 60 },
  );
});

test('every single place of a short token: wrong, missing, doubled, exchanged with the next', (t) => {
  const text = encodeToken(SHRUNK);
  for (let place = 0; place < text.length; place++) {
    const [left, right] = [text.slice(0, place), text.slice(place + 1)];
    for (const other of ALPHABET) if (other !== text[place]) t.is(code(left + other + right), 'SIM_TOKEN');
    t.is(code(left + right), 'SIM_TOKEN', `without ${place}`);
    if (place < text.length - 1 && text[place] !== text[place + 1]) {
      t.is(code(left + right[0]! + text[place]! + right.slice(1)), 'SIM_TOKEN', `exchanged at ${place}`);
    }
    t.is(code(left + text[place]! + text[place]! + right), 'SIM_TOKEN', `doubled ${place}`);
  }
});

test('what is no token says so; one of another version says which', (t) => {
  for (const text of ['', 'FL1.', 'FL1.AAAA', 'hello', 'fl1.abc', 'FL1.é', '🙂'])
    t.is(code(text), 'SIM_TOKEN', text);
  t.throws(() => decodeToken('FL2.AAAA'), { message: 'a token of version 2; this is version 1' });
});

test('a token of another engine ABI says so', (t) => {
  const symbols = symbolsOf(encodeToken(SHRUNK).slice(4))!.slice(0, -3);
  symbols[0] = ENGINE_ABI + 1;
  // Only its checksum is missing: it is found by trying, for nobody but decodeToken can tell.
  let message = '';
  for (let sum = 0; sum < 2 ** 18 && !message.includes('engine ABI'); sum++) {
    const text = `FL1.${textOf([...symbols, sum >>> 12, (sum >>> 6) & 63, sum & 63])}`;
    try {
      decodeToken(text);
    } catch (error) {
      message = (error as SimError).message;
    }
  }
  t.is(message, `a token of engine ABI ${ENGINE_ABI + 1}; this engine has ABI ${ENGINE_ABI}`);
});

test('the quirks of the reference design take three bits', (t) => {
  t.true(isReference([...REFERENCE_QUIRKS].reverse()));
  t.false(isReference(REFERENCE_QUIRKS.slice(1)));
  const reference = encodeToken({ ...SHRUNK, quirks: REFERENCE_QUIRKS });
  t.true(reference.length <= encodeToken(SHRUNK).length);
  t.deepEqual(decodeToken(reference).quirks, REFERENCE_QUIRKS);
});

test('no two bundled scenarios have the same hash', (t) => {
  t.is(new Set(KNOWN_SCENARIOS.map(({ name }) => hashOf(name))).size, KNOWN_SCENARIOS.length);
});

test('numbers as bits: each comes back, and reading past the end is seen', (t) => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(2 ** 30 - 1), fc.nat(6))), (numbers) => {
      const out = new BitWriter();
      for (const [value, order] of numbers) out.golomb(value, order);
      const bits = new BitReader(symbolsOf(textOf(out.symbols()))!);
      for (const [value, order] of numbers) t.is(bits.golomb(order), value);
      t.true(bits.atEnd());
      t.throws(() => bits.bits(7), { instanceOf: OutOfBits });
    }),
  );
  t.throws(() => new BitWriter().golomb(-1, 0), { instanceOf: RangeError });
  t.throws(() => new BitReader([0, 0, 0, 0, 0, 0, 63, 63]).golomb(0), { instanceOf: OutOfBits });
});
