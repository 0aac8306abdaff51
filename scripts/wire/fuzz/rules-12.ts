/** Wire-12: what becomes of each message. */
import type { Payload } from './bytes.ts';
import {
  type Answer,
  done,
  EBUSY,
  EINVAL,
  ENOENT,
  EOPNOTSUPP,
  type EventRule,
  type Fate,
  type FuzzedMachine,
  inOnePage,
  perhaps,
  refused,
  type WireRules,
} from './rules.ts';

const VM_IDS = [2, 4, 6, 8, 10, 12, 14, 16, 18, 20];
const VCPU_IDS = [3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29];
const COMMAND_IDS = [...VM_IDS, ...VCPU_IDS];
const EVENT_IDS = [0, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19];

function access(p: Payload, { ramBytes }: FuzzedMachine, data: boolean): Fate {
  const [gpa, size] = [p.u64(0), p.u16(8)];
  if (!data && 16 + size > p.length) return 'close';
  if (!inOnePage(gpa, BigInt(size)) || !p.zero(10, 16)) return refused(EINVAL);
  if (gpa >= BigInt(ramBytes)) return refused(ENOENT);
  return done(data ? size : 0);
}

function setPageAccess(p: Payload, { ramBytes }: FuzzedMachine): Fate {
  const count = p.u16(0);
  if (8 + 16 * count > p.length) return 'close';
  if (!p.zero(2, 8)) return refused(EINVAL);
  for (let at = 8; at < 8 + 16 * count; at += 16) {
    const wrong = p.u8(at + 8) > 7 || !p.zero(at + 9, at + 16) || p.u64(at) >= BigInt(ramBytes);
    if (wrong) return refused(EINVAL);
  }
  return done();
}

const flagAndPadding = (p: Payload, flag: number, from: number, to: number) =>
  p.u8(flag) <= 1 && p.zero(from, to);

const vm: WireRules['vm'] = new Map<number, (p: Payload, machine: FuzzedMachine) => Fate>([
  [2, () => done(16)],
  [4, (p) => (p.zero(2, 8) ? (COMMAND_IDS.includes(p.u16(0)) ? done() : refused(ENOENT)) : refused(EINVAL))],
  [6, (p) => (p.zero(2, 8) ? (EVENT_IDS.includes(p.u16(0)) ? done() : refused(ENOENT)) : refused(EINVAL))],
  [8, () => done(16)],
  [10, (p) => (flagAndPadding(p, 2, 3, 8) && p.u16(0) === 0 ? done() : refused(EINVAL))],
  [12, (p, machine) => access(p, machine, true)],
  [14, (p, machine) => access(p, machine, false)],
  [
    16,
    (p, { vcpuCount }) =>
      flagAndPadding(p, 2, 3, 8) && p.u16(0) < vcpuCount ? perhaps(0, EBUSY) : refused(EINVAL),
  ],
  [18, (p) => (flagAndPadding(p, 0, 1, 8) ? done() : refused(EINVAL))],
  [20, setPageAccess],
]);

function getRegisters(p: Payload): Answer {
  const count = p.u16(0);
  if (!p.zero(2, 8) || 8 + 4 * count > p.length || 8 + 472 + 16 * count > 8184) return refused(EINVAL);
  let known = true;
  for (let i = 0; i < count; i++) known &&= p.u32(8 + 4 * i) === 0xc0000080;
  return known ? done(472 + 16 * count) : perhaps(472 + 16 * count, EINVAL);
}

const msrFits = (msr: number) => msr <= 0x1fff || (msr >= 0xc0000000 && msr <= 0xc0001fff);

const vcpu: WireRules['vcpu'] = new Map<number, (p: Payload) => Answer>([
  [3, () => done(8)],
  [
    5,
    (p) =>
      flagAndPadding(p, 2, 3, 8) && p.u16(0) % 2 === 1 && EVENT_IDS.includes(p.u16(0))
        ? done()
        : refused(EINVAL),
  ],
  [7, getRegisters],
  [9, (p) => (p.length < 144 ? refused(EINVAL) : perhaps(0, EOPNOTSUPP))],
  [11, () => perhaps(16, ENOENT)],
  [13, (p) => (flagAndPadding(p, 1, 2, 8) && [0, 3, 4].includes(p.u8(0)) ? done() : refused(EINVAL))],
  [15, (p) => (p.zero(1, 4) ? perhaps(0, EBUSY) : refused(EINVAL))],
  [17, (p) => (p.zero(0, 8) ? done(8) : refused(EINVAL))],
  [19, () => done(4096)],
  [21, (p) => (p.length < 4096 ? refused(EINVAL) : perhaps(0, EINVAL))],
  [23, () => done(8)],
  [25, (p) => (flagAndPadding(p, 0, 1, 4) && msrFits(p.u32(4)) ? done() : refused(EINVAL))],
  [27, (p) => (flagAndPadding(p, 0, 1, 8) ? done() : refused(EINVAL))],
  [29, () => done(8)],
]);

const CONTINUE_CRASH = [0, 2];
const ANY = [0, 1, 2];
const events = new Map<number, EventRule>([
  [1, { extra: 0, actions: CONTINUE_CRASH }],
  [3, { extra: 0, actions: CONTINUE_CRASH }],
  [5, { extra: 0, actions: ANY }],
  [7, { extra: 8, actions: CONTINUE_CRASH, valueAt: 16 }],
  [9, { extra: 0, actions: CONTINUE_CRASH }],
  [11, { extra: 0, actions: CONTINUE_CRASH }],
  [13, { extra: 0, actions: ANY }],
  [15, { extra: 8, actions: CONTINUE_CRASH, valueAt: 16 }],
  [17, { extra: 0, actions: ANY }],
  [19, { extra: 0, actions: CONTINUE_CRASH }],
]);

export const RULES_12: WireRules = {
  version: 12,
  vm,
  vcpu,
  eventReply: 1,
  dirtyHeader: refused(EINVAL),
  events,
  wrongActionCloses: true,
  seen(id, seq, payload) {
    if (id !== 1 || payload.length < 552) return 'answer';
    const registers = payload.bytes.slice(24, 24 + 144);
    return { vcpu: payload.u16(10), event: payload.u16(0), seq, data: payload.from(552), registers };
  },
};
