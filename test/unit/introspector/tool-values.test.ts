/** Between the tool's values and KVMI's: nothing lost, nothing wrong accepted. */

import test from 'ava';
import fc from 'fast-check';
import {
  KVMI_VCPU_EVENT_PAUSE,
  KVMI_VCPU_EVENT_PF,
} from '../../../src/actors/introspector/kvmi/constants.ts';
import type { Registers } from '../../../src/actors/introspector/tool.ts';
import {
  accessBits,
  accessText,
  decodeRegisters,
  encodeRegisters,
  toolEvent,
} from '../../../src/actors/introspector/tool-values.ts';

const NAMES = 'rax rbx rcx rdx rsi rdi rsp rbp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags'.split(' ');

test('access strings are read and written the same way; anything else is no access', (t) => {
  for (let bits = 0; bits < 8; bits++) t.is(accessBits(accessText(bits)), bits);
  t.is(accessText(1), 'r--');
  t.is(accessText(2), '-w-');
  t.is(accessText(4), '--x');
  for (const wrong of ['', 'rw', 'RWX', 'xwr', 7, null, undefined]) t.is(accessBits(wrong), -1);
});

test('registers survive the way there and back', (t) => {
  fc.assert(
    fc.property(fc.array(fc.bigInt(0n, 2n ** 64n - 1n), { minLength: 18, maxLength: 18 }), (values) => {
      const registers = Object.fromEntries(
        NAMES.map((name, i) => [name, values[i]!]),
      ) as unknown as Registers;
      t.deepEqual(decodeRegisters(encodeRegisters(registers)!), registers);
    }),
  );
});

test('kvm_regs has rax first, then rbx; rip and rflags last', (t) => {
  const registers = Object.fromEntries(NAMES.map((name, i) => [name, BigInt(i + 1)])) as unknown as Registers;
  const view = new DataView(encodeRegisters(registers)!.buffer);
  t.is(view.byteLength, 144);
  t.is(view.getBigUint64(8, true), 2n);
  t.is(view.getBigUint64(128, true), 17n);
  t.is(view.getBigUint64(136, true), 18n);
});

test('a register that is missing, no bigint or too large is refused', (t) => {
  const registers = Object.fromEntries(NAMES.map((name) => [name, 0n])) as unknown as Registers;
  for (const wrong of [undefined, 5, -1n, 2n ** 64n]) {
    t.is(encodeRegisters({ ...registers, rbp: wrong as bigint }), null);
  }
});

test('events get their names; one that tools do not know is none', (t) => {
  const sent = { vcpu: 1, seq: 7, data: new Uint8Array(0), pf: null };
  t.deepEqual(toolEvent({ ...sent, event: KVMI_VCPU_EVENT_PAUSE }), { kind: 'pause', vcpu: 1, seq: 7 });
  t.is(toolEvent({ ...sent, event: 3 }), null);
  const pf = { gva: 2n ** 64n - 1n, gpa: 0x5008, access: 4 };
  t.deepEqual(toolEvent({ ...sent, event: KVMI_VCPU_EVENT_PF, pf }), {
    kind: 'pageFault',
    vcpu: 1,
    seq: 7,
    gpa: 0x5008,
    gva: 2n ** 64n - 1n,
    access: 'X',
  } as never);
});
