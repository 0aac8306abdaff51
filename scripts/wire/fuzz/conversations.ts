/**
 * What tools really say, message by message, and what may become of that on the way: the fuzzer's vocabulary.
 *
 * Bodies are the same on both wires except where a wire is asked for.
 */
import type { Prng } from '../../../src/shared/prng.ts';
import { HEADER_BYTES, join, message, PAYLOAD_BYTES_MAX, u8, u16, u32, u64, zeros } from './bytes.ts';
import type { SeenEvent } from './rules.ts';

/** Pages that may be written and restricted. */
export const SCRATCH_GPA = 0x2000000;
export const SCRATCH_BYTES = 4 * 4096;
/** Where the guest is told what to do: test/guests/kvmi-selftest.asm. */
export const MAILBOX_GPA = 0x1ff000;
export const MAILBOX_BYTES = 64;
/** Below it are actions that come back. */
export const MAILBOX_ACTIONS = 8;

export interface Speaker {
  readonly version: 7 | 12;
  readonly prng: Prng;
  readonly vcpuCount: number;
  /** The guest has just been told to do something: it should get the time. */
  patient: boolean;
  /** The event that a vCPU is known to wait with. */
  openOf(vcpu: number): SeenEvent | undefined;
}

type Body = (speaker: Speaker) => Uint8Array;

const below = ({ prng }: Speaker, n: number) => prng.below(n);
const flag = (s: Speaker) => u8(below(s, 20) === 0 ? 2 : below(s, 2));
const gpa = (s: Speaker) => u64(SCRATCH_GPA + below(s, SCRATCH_BYTES));
const random = (s: Speaker, count: number) => Uint8Array.from({ length: count }, () => below(s, 256));

const none: Body = () => zeros(0);
const check: Body = (s) => join(u16(below(s, 70)), zeros(6));
const controlEvents: Body = (s) => join(u16(below(s, 22)), flag(s), zeros(5));
const size = (s: Speaker, bytes: number) => (s.version === 7 ? u64(bytes) : join(u16(bytes), zeros(6)));
const read: Body = (s) =>
  join(u64(below(s, 4) === 0 ? below(s, 2 ** 30) * 1024 : below(s, 2 ** 20)), size(s, below(s, 5000)));
const write: Body = (s) => {
  if (below(s, 3) > 0) {
    const box = MAILBOX_GPA + MAILBOX_BYTES * below(s, s.vcpuCount);
    const action = below(s, 2) === 0 ? 0 : below(s, MAILBOX_ACTIONS);
    s.patient ||= action > 0;
    return join(u64(box), size(s, 4), u32(action));
  }
  const data = random(s, below(s, 200));
  return join(gpa(s), size(s, data.length), data);
};
const setPageAccess: Body = (s) => {
  const count = below(s, 6);
  const entries = Array.from({ length: count }, () =>
    join(u64(SCRATCH_GPA + below(s, 8) * 4096), u8(below(s, 30) === 0 ? 8 : below(s, 8)), zeros(7)),
  );
  const head =
    s.version === 7 ? join(u16(below(s, 20) === 0 ? 1 : 0), u16(count)) : join(u16(count), zeros(2));
  return join(head, zeros(4), ...entries);
};
const getRegisters: Body = (s) => {
  const count = below(s, 8) === 0 ? below(s, 600) : below(s, 4);
  const msrs = Array.from({ length: count }, () => u32(below(s, 10) === 0 ? s.prng.u32() : 0xc0000080));
  return join(u16(count), zeros(6), ...msrs);
};
const cpuid: Body = (s) => join(u32(below(s, 3) * 0x40000000 + below(s, 10)), u32(below(s, 2)));
const controlCr: Body = (s) =>
  s.version === 7 ? join(flag(s), zeros(3), u32(below(s, 6))) : join(u8(below(s, 6)), flag(s), zeros(6));
const inject: Body = (s) => join(u8(below(s, 2) === 0 ? 3 : 6), zeros(15));
const xcr: Body = (s) => join(u8(below(s, 8) === 0 ? 1 : 0), zeros(7));
const setXsave: Body = (s) => (below(s, 2) === 0 ? zeros(4096) : random(s, below(s, 4200)));
const address: Body = (s) => (below(s, 2) === 0 ? gpa(s) : random(s, 8));
const controlMsr: Body = (s) => join(flag(s), zeros(3), u32(below(s, 3) === 0 ? s.prng.u32() : 0x140));
const onOff: Body = (s) => join(flag(s), zeros(7));
const view: Body = (s) => join(u16(below(s, 6) === 0 ? below(s, 5) : 0), zeros(6));

/** By id: the body, and whether a vcpu header stands before it. */
type Vocabulary = readonly (readonly [id: number, forVcpu: boolean, body: Body, weight: number])[];

// biome-ignore format: table
const VOCABULARY_12: Vocabulary = [
  [2, false, none, 1], [4, false, check, 1], [6, false, check, 1], [8, false, none, 1],
  [10, false, (s) => join(u16(below(s, 3)), flag(s), zeros(5)), 1], [12, false, read, 6], [14, false, write, 12],
  [16, false, (s) => join(u16(below(s, s.vcpuCount + 1)), flag(s), zeros(5)), 2], [18, false, onOff, 1],
  [20, false, setPageAccess, 6],
  [3, true, none, 1], [5, true, controlEvents, 6], [7, true, getRegisters, 3], [11, true, cpuid, 1],
  [13, true, controlCr, 2], [15, true, inject, 1], [17, true, xcr, 1], [19, true, none, 1], [21, true, setXsave, 1],
  [23, true, address, 1], [25, true, controlMsr, 2], [27, true, onOff, 1], [29, true, address, 1],
];
// biome-ignore format: table
const VOCABULARY_7: Vocabulary = [
  [2, false, none, 1], [3, false, check, 1], [4, false, check, 1], [5, false, none, 1],
  [7, true, onOff, 2], [8, false, (s) => join(u16(below(s, 14)), flag(s), zeros(5)), 1], [17, false, read, 6],
  [18, false, write, 12], [21, false, setPageAccess, 6], [24, false, onOff, 1], [26, false, setPageAccess, 1],
  [27, false, (s) => join(u8(below(s, 30) === 0 ? 0 : 1), u8(below(s, 2)), u8(0), zeros(5)), 2],
  [29, false, none, 1], [43, false, none, 1], [44, false, view, 1],
  [6, true, none, 1], [9, true, (s) => join(u16(below(s, 14)), flag(s), zeros(5)), 6], [10, true, controlCr, 2],
  [11, true, controlMsr, 2], [13, true, getRegisters, 3], [15, true, cpuid, 1], [16, true, none, 1],
  [19, true, inject, 1], [23, true, address, 1], [28, true, address, 1], [32, true, view, 1], [33, true, none, 1],
  [34, true, none, 1], [35, true, address, 1], [36, true, view, 1], [37, true, xcr, 1], [38, true, setXsave, 1],
  [63, true, onOff, 1],
];

/** A right message, or nearly. */
export function something(s: Speaker, seq: number): Uint8Array {
  if (below(s, 40) === 0) return registersAsTheyAre(s, seq);
  const vocabulary = s.version === 7 ? VOCABULARY_7 : VOCABULARY_12;
  let pick = below(
    s,
    vocabulary.reduce((sum, [, , , weight]) => sum + weight, 0),
  );
  for (const [id, forVcpu, body, weight] of vocabulary) {
    pick -= weight;
    if (pick < 0) return message(id, seq, forVcpu ? vcpuHeader(s) : zeros(0), body(s));
  }
  throw new RangeError('weights that do not add up');
}

function vcpuHeader(s: Speaker): Uint8Array {
  const strange = below(s, 60) === 0;
  return join(u16(strange ? s.vcpuCount + below(s, 100) : below(s, s.vcpuCount)), zeros(6));
}

/** How a tool begins that means it: events on, registers watched, a page that may not be written. */
export function prelude(s: Speaker, seq: () => number): Uint8Array[] {
  const seven = s.version === 7;
  const vcpus = Array.from({ length: s.vcpuCount }, (_, vcpu) => join(u16(vcpu), zeros(6)));
  const events = seven ? [1, 2, 4, 5, 6, 7, 8, 11] : [3, 5, 7, 13, 15, 17];
  const access = join(u64(SCRATCH_GPA), u8(5), zeros(7));
  const page = seven ? join(u16(0), u16(1), zeros(4), access) : join(u16(1), zeros(6), access);
  return [
    message(2, seq()),
    message(seven ? 5 : 8, seq()),
    message(seven ? 21 : 20, seq(), page),
    ...vcpus.flatMap((vcpu) => [
      ...events.map((event) => message(seven ? 9 : 5, seq(), vcpu, u16(event), u8(1), zeros(5))),
      message(
        seven ? 10 : 13,
        seq(),
        vcpu,
        seven ? join(u8(1), zeros(3), u32(4)) : join(u8(4), u8(1), zeros(6)),
      ),
      message(seven ? 11 : 25, seq(), vcpu, u8(1), zeros(3), u32(0x140)),
    ]),
  ];
}

/** SET_REGISTERS that changes nothing, for a vCPU that waits. */
function registersAsTheyAre(s: Speaker, seq: number): Uint8Array {
  const vcpu = below(s, s.vcpuCount);
  const event = s.openOf(vcpu);
  const id = s.version === 7 ? 14 : 9;
  return message(id, seq, u16(vcpu), zeros(6), event?.registers ?? zeros(s.version === 7 ? 0 : 100));
}

const INTERESTING = [0, 1, 2, 3, 4, 7, 8, 0x7f, 0x80, 0xfe, 0xff];

/** What may happen to a message: most keep their form; some cost the connection, or the place where messages begin. */
export function mutated(s: Speaker, original: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(original);
  const payload = bytes.subarray(HEADER_BYTES);
  switch (below(s, 120)) {
    case 0:
      return resized(bytes, below(s, payload.length + 1));
    case 1:
    case 2: {
      const more = random(s, below(s, 40));
      return resized(join(bytes, more), Math.min(payload.length + more.length, PAYLOAD_BYTES_MAX));
    }
    case 3:
      bytes.set(u32(s.prng.u32()), 4);
      return bytes;
    case 4:
      bytes.set(u16(below(s, 2) === 0 ? below(s, 70) : below(s, 0x10000)), 0);
      return bytes;
    case 5:
      return join(bytes, bytes);
    case 6:
    case 7:
    case 8:
      if (payload.length > 0) payload[below(s, payload.length)]! ^= 1 << below(s, 8);
      return bytes;
    case 9:
    case 10:
      if (payload.length > 0) payload[below(s, payload.length)] = INTERESTING[below(s, INTERESTING.length)]!;
      return bytes;
    case 11:
      return below(s, 8) === 0 ? ruined(s, bytes) : bytes;
    default:
      return bytes;
  }
}

/** From here on the machine may see other messages than were meant. */
function ruined(s: Speaker, bytes: Uint8Array): Uint8Array {
  switch (below(s, 4)) {
    case 0:
      bytes.set(u16(PAYLOAD_BYTES_MAX + 1 + below(s, 50_000)), 2);
      return bytes;
    case 1:
      bytes.set(u16(below(s, 200)), 2);
      return bytes;
    case 2:
      return random(s, 1 + below(s, 30));
    default:
      return bytes.subarray(0, below(s, bytes.length));
  }
}

/** A message with so much payload. */
function resized(bytes: Uint8Array, size: number): Uint8Array {
  const whole = new Uint8Array(HEADER_BYTES + size);
  whole.set(bytes.subarray(0, whole.length));
  whole.set(u16(size), 2);
  return whole;
}

/** A reply that nobody waits for, or that is wrong in itself. */
export function strayReply(s: Speaker): Uint8Array {
  const id = s.version === 7 ? 0 : 1;
  const seq = below(s, 2) === 0 ? below(s, 100) : s.prng.u32();
  return message(id, seq, vcpuHeader(s), u8(0), random(s, 1), zeros(6), random(s, below(s, 20)));
}
