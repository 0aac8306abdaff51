import test from 'ava';
import { Uart } from '../../../../src/actors/vcpu/platform/uart.ts';
import { SerialInput } from '../../../../src/machine/serial-input.ts';
import { SERIAL_INPUT_BYTES } from '../../../../src/shared/layout/board.ts';
import { bytesOf, DeviceBed } from '../../../support/device-bed.ts';

const IRQ = 4;

function bed() {
  const services = new DeviceBed();
  const sent: number[] = [];
  const uart = new Uart(services.mem, services.layout, services, (byte) => sent.push(byte));
  uart.reset();
  return { services, uart, sent, input: new SerialInput(services.mem, services.layout), ...bytesOf(uart) };
}

test('what is written is sent at once, and the transmitter is always empty', (t) => {
  const { out, in: read, sent } = bed();
  out(0x3f8, 0x48, 0x69);
  t.deepEqual(sent, [0x48, 0x69]);
  t.is(read(0x3fd) & 0x60, 0x60);
});

test('the divisor is behind DLAB, and changes nothing else', (t) => {
  const { out, in: read, sent } = bed();
  out(0x3fb, 0x83);
  out(0x3f8, 0x01);
  out(0x3f9, 0x02);
  t.is(read(0x3f8), 1);
  t.is(read(0x3f9), 2);
  out(0x3fb, 0x03);
  t.is(read(0x3f9), 0);
  t.deepEqual(sent, []);
});

test('each byte sent is an edge; reading IIR takes the cause away', (t) => {
  const { services, out, in: read } = bed();
  out(0x3fc, 8);
  out(0x3f9, 2);
  t.is(services.risen(IRQ), 1);
  t.is(read(0x3fa), 2);
  t.is(services.lines.get(IRQ), false);
  t.is(read(0x3fa), 1);
  out(0x3f8, 1, 2, 3);
  t.is(services.risen(IRQ), 4);
});

test('without OUT2 nothing reaches the line', (t) => {
  const { services, out } = bed();
  out(0x3f9, 3);
  out(0x3f8, 1);
  t.is(services.risen(IRQ), 0);
});

test('input interrupts until it has been read, byte by byte', (t) => {
  const { services, uart, out, in: read, input } = bed();
  out(0x3fc, 8);
  out(0x3f9, 1);
  t.is(input.put(Uint8Array.of(7, 8)), 2);
  t.true(uart.hasInput);
  uart.update();
  t.is(read(0x3fa), 4);
  t.is(read(0x3fd) & 1, 1);
  t.is(read(0x3f8), 7);
  t.is(services.risen(IRQ), 2, 'the second one is an edge of its own');
  t.is(read(0x3f8), 8);
  t.is(read(0x3fa), 1);
  t.is(services.lines.get(IRQ), false);
});

test('the ring takes what it has room for, round its end too', (t) => {
  const { in: read, input } = bed();
  const many = Uint8Array.from({ length: SERIAL_INPUT_BYTES + 5 }, (_, i) => i % 251);
  t.is(input.put(many), SERIAL_INPUT_BYTES);
  t.is(input.put(many), 0);
  for (let i = 0; i < 100; i++) t.is(read(0x3f8), i % 251);
  t.is(input.put(many), 100);
  for (let i = 100; i < SERIAL_INPUT_BYTES; i++) read(0x3f8);
  for (let i = 0; i < 100; i++) t.is(read(0x3f8), i % 251);
});

test('loopback: what is sent comes back, and the modem lines show what was set', (t) => {
  const { out, in: read, sent } = bed();
  out(0x3fc, 0x1a);
  t.is(read(0x3fe) & 0xf0, 0x90, 'as Linux looks for it');
  out(0x3f8, 0x55);
  t.is(read(0x3fd) & 1, 1);
  t.is(read(0x3f8), 0x55);
  t.deepEqual(sent, []);
});

test('the FIFO shows in IIR, and can be cleared', (t) => {
  const { out, in: read, input, uart } = bed();
  t.is(read(0x3fa) & 0xc0, 0);
  input.put(Uint8Array.of(1, 2, 3));
  out(0x3fa, 0x07);
  t.is(read(0x3fa) & 0xc0, 0xc0);
  t.false(uart.hasInput);
});
