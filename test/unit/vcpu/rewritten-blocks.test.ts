import test from 'ava';
import { RewrittenBlocks } from '../../../src/actors/vcpu/rewritten-blocks.ts';

const PAGE = 4096;
const RIP = 0x7000_0000_0100n;

test('a block is known while every byte that was looked at is the same, in the same page', (t) => {
  const blocks = new RewrittenBlocks<string>();
  const code = new Uint8Array(PAGE).map((_, i) => i * 7);
  blocks.keep(RIP, 5, code, ['add', 'ret'], 0x110);
  t.deepEqual(blocks.find(RIP, 5, code), ['add', 'ret']);
  t.is(blocks.find(RIP + 1n, 5, code), null);
  t.is(blocks.find(RIP, 6, code), null);
  for (let at = 0; at < PAGE; at++) {
    const changed = code.slice();
    changed[at]! ^= 1;
    // From the block's start to where the longest instruction at its end would end.
    const matters = at >= 0x100 && at < 0x110 + 15;
    t.is(blocks.find(RIP, 5, changed) === null, matters, `offset ${at}`);
  }
});

test('at the end of a page nothing behind it counts', (t) => {
  const blocks = new RewrittenBlocks<string>();
  const code = new Uint8Array(PAGE);
  blocks.keep(0xffan, 1, code, ['nop'], 0xffe);
  t.deepEqual(blocks.find(0xffan, 1, code), ['nop']);
});

test('only so many are kept', (t) => {
  const blocks = new RewrittenBlocks<number>();
  const code = new Uint8Array(PAGE);
  for (let n = 0; n < 10_000; n++) blocks.keep(BigInt(n) * 4096n, n, code, [n], 0);
  const known = Array.from({ length: 10_000 }, (_, n) => blocks.find(BigInt(n) * 4096n, n, code));
  t.true(known.filter((items) => items !== null).length <= 1024);
  t.deepEqual(known.at(-1), [9_999]);
});
