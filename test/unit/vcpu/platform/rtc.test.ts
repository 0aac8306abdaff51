import test from 'ava';
import { Rtc } from '../../../../src/actors/vcpu/platform/rtc.ts';
import { bytesOf, DeviceBed } from '../../../support/device-bed.ts';

const EPOCH = Date.UTC(2026, 10, 30, 23, 59, 58);
const SECOND = 1e9;

function bed() {
  const services = new DeviceBed();
  const rtc = new Rtc(services.mem, services.layout, services, EPOCH);
  rtc.reset();
  const ports = bytesOf(rtc);
  const get = (index: number) => {
    ports.out(0x70, index);
    return ports.in(0x71);
  };
  const set = (index: number, value: number) => {
    ports.out(0x70, index);
    ports.out(0x71, value);
  };
  return { services, rtc, get, set };
}

test('the time is in decimal, and goes on', (t) => {
  const { services, get } = bed();
  const clock = () => [0x32, 9, 8, 7, 4, 2, 0].map(get);
  t.deepEqual(clock(), [0x20, 0x26, 0x11, 0x30, 0x23, 0x59, 0x58]);
  t.is(get(6), 2, 'a Monday');
  services.time = 3 * SECOND;
  t.deepEqual(clock(), [0x20, 0x26, 0x12, 0x01, 0x00, 0x00, 0x01]);
});

test('in binary when it is asked for', (t) => {
  const { get, set } = bed();
  set(11, get(11) | 4);
  t.deepEqual([9, 7, 0].map(get), [26, 30, 58]);
});

test('the guest can set it', (t) => {
  const { services, get, set } = bed();
  set(11, 0x82);
  set(0x32, 0x19);
  set(9, 0x99);
  set(8, 0x02);
  set(7, 0x28);
  set(4, 0x12);
  set(2, 0x34);
  set(0, 0x56);
  services.time = 100 * SECOND;
  t.is(get(0), 0x56, 'it stands while it is being set');
  set(11, 0x02);
  services.time = 106 * SECOND;
  t.deepEqual([0x32, 9, 8, 7, 4, 2, 0].map(get), [0x19, 0x99, 0x02, 0x28, 0x12, 0x35, 0x02]);
});

test('periodic interrupts at 1024 Hz, one for each time C is read', (t) => {
  const { services, rtc, get, set } = bed();
  set(11, 0x42);
  t.true(rtc.due < SECOND / 1000);
  for (let i = 1; i <= 5; i++) {
    services.time = rtc.due;
    rtc.advance(services.time);
    t.is(services.risen(8), i);
    t.is(get(12), 0xc0);
    t.is(services.lines.get(8), false);
  }
  t.true(Math.abs(services.time - (5 * SECOND) / 1024) < 1000);
});

test('the alarm rings at its second, and every second where it does not care', (t) => {
  const { services, rtc, get, set } = bed();
  set(5, 0x00);
  set(3, 0x00);
  set(1, 0x01);
  set(11, 0x22);
  const rings: number[] = [];
  for (let i = 0; i < 6; i++) {
    services.time = rtc.due;
    rtc.advance(services.time);
    if ((get(12) & 0x20) !== 0) rings.push(Math.round(services.time / SECOND));
  }
  t.deepEqual(rings, [3]);
  set(5, 0xff);
  set(3, 0xff);
  set(1, 0xff);
  services.time = rtc.due;
  rtc.advance(services.time);
  t.is(get(12) & 0xa0, 0xa0);
});

test('CMOS RAM keeps what it is given; an update is announced', (t) => {
  const { services, get, set } = bed();
  set(0x40, 0xab);
  t.is(get(0x40), 0xab);
  t.is(get(10), 0x26);
  services.time = 0.9999 * SECOND;
  t.is(get(10), 0xa6);
  t.is(get(13), 0x80);
});
