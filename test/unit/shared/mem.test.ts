import test from 'ava';
import { JournaledMem } from '../../../src/explore/world/journaled-mem.ts';
import { entryNumber, Mem } from '../../../src/shared/mem.ts';
import { Prng } from '../../../src/shared/prng.ts';

const SEED = BigInt(process.env['SEED'] ?? 0x5eed);

test('a table entry is bits 51…0 as a number, negative with bit 63: in both kinds of memory', (t) => {
  t.log(`SEED=${SEED}`);
  const prng = new Prng(SEED);
  const wasm = () => new WebAssembly.Memory({ initial: 1, maximum: 3, shared: true });
  const memories = [new Mem(wasm()), new JournaledMem(wasm())];
  const random = () => BigInt.asUintN(64, (BigInt(prng.below(2 ** 32)) << 32n) | BigInt(prng.below(2 ** 32)));
  const values = [0n, 1n, 1n << 51n, (1n << 52n) - 1n, 1n << 52n, (1n << 63n) | 1n, (1n << 64n) - 1n];
  for (const value of [...values, ...Array.from({ length: 1000 }, random)]) {
    const bits = Number(value & ((1n << 52n) - 1n));
    const expected = value >> 63n === 0n ? bits : -bits;
    for (const mem of memories) {
      mem.store64(64, value);
      t.is(mem.loadEntry(64), expected);
    }
    t.is(entryNumber(Number(value & 0xffff_ffffn) | 0, Number(value >> 32n) | 0), expected);
  }
});
