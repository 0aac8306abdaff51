import test from 'ava';
import fc from 'fast-check';
import { Prng, splitmix64 } from '../../../src/shared/prng.ts';

const SEEDS = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const draws = (prng: Prng, count: number) => Array.from({ length: count }, () => prng.u32());

test('splitmix64 gives the published numbers', (t) => {
  const first = splitmix64(0n);
  const second = splitmix64(first.state);
  t.is(first.value, 0xe220a8397b1dcdafn);
  t.is(second.value, 0x6e789e6aa1b965f4n);
  t.is(splitmix64(second.state).value, 0x06c45d188009454fn);
});

/** xoshiro128** as published, in bigints. */
function* reference(seed: bigint): Generator<number> {
  const cut = (x: bigint) => BigInt.asUintN(32, x);
  const rotl = (x: bigint, k: bigint) => cut((x << k) | (x >> (32n - k)));
  const first = splitmix64(seed);
  const { value } = splitmix64(first.state);
  const s = [cut(first.value), first.value >> 32n, cut(value), value >> 32n] as [
    bigint,
    bigint,
    bigint,
    bigint,
  ];
  for (;;) {
    yield Number(cut(rotl(cut(s[1] * 5n), 7n) * 9n));
    const t = cut(s[1] << 9n);
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 11n);
  }
}

test('numbers are those of xoshiro128** seeded by splitmix64', (t) => {
  fc.assert(
    fc.property(SEEDS, (seed) => {
      const expected = reference(seed);
      return draws(new Prng(seed), 20).every((drawn) => drawn === expected.next().value);
    }),
  );
  t.pass();
});

test('the numbers of a seed never change: recorded seeds repeat their runs', (t) => {
  t.deepEqual(draws(new Prng(0x5eedn), 4), [3301592408, 1162876812, 2530983789, 2862617477]);
});

test('seeds are cut to 64 bits', (t) => {
  t.is(new Prng(2n ** 64n + 3n).seed, 3n);
  t.is(new Prng(-1n).seed, 2n ** 64n - 1n);
  t.deepEqual(draws(new Prng(2n ** 64n + 3n), 5), draws(new Prng(3n), 5));
});

test('below gives integers in range, each about as often', (t) => {
  const prng = new Prng(1n);
  const counts = new Array<number>(7).fill(0);
  for (let i = 0; i < 7000; i++) counts[prng.below(7)]!++;
  for (const count of counts) t.true(count > 850 && count < 1150, `${counts}`);
});

test('below draws again what would make small results likelier', (t) => {
  // With n just above 2^31, almost half of all draws are beyond the largest multiple of n.
  const n = 2 ** 31 + 1;
  const [ours, raw] = [new Prng(9n), new Prng(9n)];
  for (let i = 0; i < 100; i++) {
    let expected = raw.u32();
    while (expected >= n) expected = raw.u32();
    t.is(ours.below(n), expected);
  }
});

test('below takes 1 to 2^32 and nothing else', (t) => {
  t.is(new Prng(1n).below(1), 0);
  t.is(new Prng(1n).below(2 ** 32), new Prng(1n).u32());
  for (const n of [0, -1, 1.5, 2 ** 32 + 1, Number.NaN]) {
    t.throws(() => new Prng(1n).below(n), { instanceOf: RangeError });
  }
});

test('chance is never at 0, always at 1, and draws one number whatever its argument', (t) => {
  const [a, b] = [new Prng(4n), new Prng(4n)];
  for (let i = 0; i < 100; i++) {
    t.false(a.chance(0));
    t.true(b.chance(1));
  }
  t.is(a.u32(), b.u32());
  const hits = Array.from({ length: 4000 }, () => a.chance(0.25)).filter(Boolean).length;
  t.true(hits > 850 && hits < 1150, `${hits} of 4000`);
});

test('pick gives every item in the end', (t) => {
  const prng = new Prng(2n);
  const seen = new Set(Array.from({ length: 100 }, () => prng.pick(['a', 'b', 'c'])));
  t.deepEqual([...seen].sort(), ['a', 'b', 'c']);
});

test('a fork depends on seed and label, not on what was drawn before', (t) => {
  fc.assert(
    fc.property(SEEDS, fc.string(), fc.nat(10), (seed, label, drawn) => {
      const used = new Prng(seed);
      draws(used, drawn);
      const [a, b] = [used.fork(label), new Prng(seed).fork(label)];
      return a.seed === b.seed && a.u32() === b.u32();
    }),
  );
  t.pass();
});

test('forks with other labels, and the generator they come from, are other generators', (t) => {
  const prng = new Prng(7n);
  const seeds = [prng.seed, ...['', 'a', 'b', 'ab', 'ba', 'schedule'].map((label) => prng.fork(label).seed)];
  t.is(new Set(seeds).size, seeds.length);
});
