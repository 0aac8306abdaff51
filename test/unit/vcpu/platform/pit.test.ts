import test from 'ava';
import { Pit } from '../../../../src/actors/vcpu/platform/pit.ts';
import { bytesOf, DeviceBed } from '../../../support/device-bed.ts';

const TICK_NS = 1e9 / 1_193_182;

function bed() {
  const services = new DeviceBed();
  const pit = new Pit(services.mem, services.layout, services);
  pit.reset();
  services.rises.clear();
  return { services, pit, ...bytesOf(pit) };
}

test('mode 2 divides: one edge each period, also when nobody looks for a while', (t) => {
  const { services, pit, out } = bed();
  out(0x43, 0x34);
  out(0x40, 0xe8, 0x03);
  t.true(Math.abs(pit.due - 1000 * TICK_NS) < 1);
  for (let period = 1; period <= 3; period++) {
    services.time = period * 1000 * TICK_NS + 1;
    pit.advance(services.time);
    t.is(services.risen(0), period);
  }
  services.time = 10.5 * 1000 * TICK_NS;
  pit.advance(services.time);
  t.is(services.risen(0), 4, 'edges that were missed are lost');
  t.true(Math.abs(pit.due - 11 * 1000 * TICK_NS) < 2, 'and the beat is kept');
});

test('mode 0 rises once, when its count is over', (t) => {
  const { services, pit, out } = bed();
  out(0x43, 0x30);
  out(0x40, 100, 0);
  t.is(services.lines.get(0), false);
  services.time = 99 * TICK_NS;
  pit.advance(services.time);
  t.is(services.risen(0), 0);
  services.time = 101 * TICK_NS;
  pit.advance(services.time);
  t.is(services.risen(0), 1);
  t.is(pit.due, Number.POSITIVE_INFINITY);
});

test('counts go down, a latched one stays, and bytes come low first', (t) => {
  const { services, out, in: read } = bed();
  out(0x43, 0x34);
  out(0x40, 0x00, 0x10);
  services.time = 0x234 * TICK_NS + 1;
  out(0x43, 0x00);
  services.time = 0x500 * TICK_NS;
  t.is(read(0x40) | (read(0x40) << 8), 0x1000 - 0x234);
  const later = read(0x40) | (read(0x40) << 8);
  t.true(Math.abs(later - (0x1000 - 0x500)) <= 1);
});

test('the read-back command latches status and count of several channels', (t) => {
  const { services, out, in: read } = bed();
  out(0x43, 0x34);
  out(0x40, 0x10, 0);
  out(0x43, 0xb0);
  services.time = 4 * TICK_NS + 1;
  out(0x43, 0xca);
  t.is(read(0x40), 0xb4, 'output high, both bytes, mode 2');
  t.is(read(0x40), 12);
  t.is(read(0x40), 0);
  t.is(read(0x42) & 0x40, 0x40, 'nothing was loaded');
});

test('decimal counts', (t) => {
  const { services, out, in: read } = bed();
  out(0x43, 0x35);
  out(0x40, 0x00, 0x10);
  services.time = 1 * TICK_NS + 1;
  t.is(read(0x40) | (read(0x40) << 8), 0x0999);
});

test('channel 2 is gated and seen through port 0x61', (t) => {
  const { services, out, in: read } = bed();
  out(0x61, 1);
  out(0x43, 0xb0);
  out(0x42, 0x88, 0x13);
  t.is(read(0x61) & 0x21, 0x01);
  services.time = 5001 * TICK_NS;
  t.is(read(0x61) & 0x21, 0x21);
});
