import test from 'ava';
import { Pics } from '../../../../src/actors/vcpu/platform/pic.ts';
import { bytesOf, DeviceBed } from '../../../support/device-bed.ts';

interface Bed {
  readonly pics: Pics;
  readonly out: (port: number, ...values: number[]) => void;
  readonly in: (port: number) => number;
  readonly asks: () => boolean;
}

/** Both chips as Linux sets them up: vectors 0x30 and 0x38, everything unmasked. */
function bed(icw4 = 1): Bed {
  const { mem, layout } = new DeviceBed();
  let high = false;
  const pics = new Pics(mem, layout, (now) => {
    high = now;
  });
  pics.reset();
  const ports = bytesOf(pics);
  ports.out(0x20, 0x11);
  ports.out(0x21, 0x30, 4, icw4);
  ports.out(0xa0, 0x11);
  ports.out(0xa1, 0x38, 2, icw4);
  ports.out(0x21, 0);
  ports.out(0xa1, 0);
  return { pics, ...ports, asks: () => high };
}

test('an edge asks once, and again only when it comes again', (t) => {
  const { pics, out, asks } = bed();
  pics.setLine(3, true);
  t.true(asks());
  t.is(pics.acknowledge(), 0x33);
  t.false(asks());
  out(0x20, 0x20);
  t.false(asks(), 'it is still high, but that is no edge');
  pics.setLine(3, false);
  pics.setLine(3, true);
  t.true(asks());
});

test('a higher line interrupts the service of a lower one, not the other way round', (t) => {
  const { pics, out, asks } = bed();
  pics.setLine(4, true);
  t.is(pics.acknowledge(), 0x34);
  pics.setLine(6, true);
  t.false(asks());
  pics.setLine(1, true);
  t.true(asks());
  t.is(pics.acknowledge(), 0x31);
  out(0x20, 0x20);
  t.false(asks(), '4 is served still');
  out(0x20, 0x20);
  t.is(pics.acknowledge(), 0x36);
});

test('the second chip comes through line 2 of the first, and needs two EOIs', (t) => {
  const { pics, out, in: read, asks } = bed();
  pics.setLine(12, true);
  t.is(pics.acknowledge(), 0x3c);
  out(0x20, 0x0b);
  out(0xa0, 0x0b);
  t.is(read(0x20), 1 << 2);
  t.is(read(0xa0), 1 << 4);
  out(0xa0, 0x20);
  pics.setLine(13, true);
  t.false(asks(), 'the first chip is at it still');
  out(0x20, 0x20);
  t.true(asks());
});

test('masked lines are remembered; a request that goes away is spurious', (t) => {
  const { pics, out, asks } = bed();
  out(0x21, 0x20);
  pics.setLine(5, true);
  t.false(asks());
  out(0x21, 0);
  t.true(asks());
  pics.setLine(5, false);
  t.false(asks());
  t.is(pics.acknowledge(), 0x37);
});

test('a level asks for as long as it is high', (t) => {
  const { pics, out, asks } = bed();
  out(0x4d1, 0x02);
  pics.setLine(9, true);
  t.is(pics.acknowledge(), 0x39);
  out(0xa0, 0x20);
  out(0x20, 0x20);
  t.true(asks());
  t.is(pics.acknowledge(), 0x39);
  pics.setLine(9, false);
  out(0xa0, 0x20);
  out(0x20, 0x20);
  t.false(asks());
});

test('lines that are edges by nature cannot be made levels', (t) => {
  const { out, in: read } = bed();
  out(0x4d0, 0xff);
  out(0x4d1, 0xff);
  t.is(read(0x4d0), 0xf8);
  t.is(read(0x4d1), 0xde);
});

test('an EOI can name its line, rotate, and be automatic', (t) => {
  const { pics, out, in: read } = bed();
  for (const line of [3, 1]) {
    pics.setLine(line, true);
    pics.acknowledge();
  }
  out(0x20, 0x63, 0x0b);
  t.is(read(0x20), 1 << 1, 'line 3 is done, line 1 is not');
  out(0x20, 0xa0);
  for (const line of [0, 4]) {
    pics.setLine(line, false);
    pics.setLine(line, true);
  }
  t.is(pics.acknowledge(), 0x34, 'line 1 is the lowest now, 2 the highest');

  const automatic = bed(3);
  automatic.pics.setLine(3, true);
  automatic.pics.acknowledge();
  automatic.out(0x20, 0x0b);
  t.is(automatic.in(0x20), 0);
});

test('a poll tells the line and serves it', (t) => {
  const { pics, out, in: read } = bed();
  out(0x20, 0x0c);
  t.is(read(0x20), 0);
  pics.setLine(6, true);
  out(0x20, 0x0c);
  t.is(read(0x20), 0x86);
  out(0x20, 0x0b);
  t.is(read(0x20), 1 << 6);
});
