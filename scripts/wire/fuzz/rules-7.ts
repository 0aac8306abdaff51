/** Wire-7: what becomes of each message. Where the kernel of that time is vague, so is this. */
import type { Payload } from './bytes.ts';
import {
  type Answer,
  done,
  EBUSY,
  EINVAL,
  ENOENT,
  ENOMEM,
  EOPNOTSUPP,
  EPERM,
  type EventRule,
  type Fate,
  type FuzzedMachine,
  inOnePage,
  perhaps,
  refused,
  type WireRules,
} from './rules.ts';

const VIEWS = 3;
const VM_IDS = [2, 3, 4, 5, 7, 8, 17, 18, 21, 24, 26, 27, 29, 43, 44];
const VCPU_IDS = [6, 9, 10, 11, 13, 14, 15, 16, 19, 23, 28, 32, 33, 34, 35, 36, 37, 38, 63];

/** Ids below the limit that are nothing: that a tool may not use them is all there is to say. */
function check(p: Payload, limit: number, known: (id: number) => boolean): Fate {
  if (!p.zero(2, 8) || p.u16(0) >= limit) return refused(EINVAL);
  return known(p.u16(0)) ? done() : refused(EPERM, ENOENT, EINVAL);
}

function access(p: Payload, { ramBytes }: FuzzedMachine, data: boolean): Fate {
  const [gpa, size] = [p.u64(0), p.u64(8)];
  if (!data && BigInt(p.length) < BigInt.asUintN(64, 16n + size)) return 'close';
  if (!inOnePage(gpa, size)) return refused(EINVAL);
  if (gpa >= BigInt(ramBytes)) return refused(ENOENT);
  return done(data ? Number(size) : 0);
}

function setPageAccess(p: Payload): Fate {
  const [view, count] = [p.u16(0), p.u16(2)];
  if (!p.zero(4, 8) || p.length < 8 + 16 * count || view >= VIEWS) return refused(EINVAL);
  if (view !== 0) return refused(EOPNOTSUPP);
  // A page that no slot has is passed over.
  for (let at = 8; at < 8 + 16 * count; at += 16) {
    if (p.u8(at + 8) > 7 || !p.zero(at + 9, at + 16)) return refused(EINVAL);
  }
  return done();
}

const vm: WireRules['vm'] = new Map<number, (p: Payload, machine: FuzzedMachine) => Fate>([
  [2, () => done(16)],
  [3, (p) => check(p, 64, (id) => VM_IDS.includes(id) || VCPU_IDS.includes(id))],
  [4, (p) => check(p, 14, () => true)],
  [5, () => done(16)],
  [
    7,
    (p, { vcpuCount }) => {
      if (!p.zero(2, 8) || !p.zero(9, 16)) return 'close';
      return p.u16(0) < vcpuCount ? perhaps(0, EBUSY) : refused(EINVAL);
    },
  ],
  [8, (p) => (p.zero(3, 8) && [0, 9, 12].includes(p.u16(0)) ? done() : refused(EINVAL))],
  [17, (p, machine) => access(p, machine, true)],
  [18, (p, machine) => access(p, machine, false)],
  [21, setPageAccess],
  [24, (p) => refused(p.zero(1, 8) ? EOPNOTSUPP : EINVAL)],
  [26, (p) => refused(p.zero(4, 8) && p.length >= 8 + 16 * p.u16(2) ? EOPNOTSUPP : EINVAL)],
  [27, (p) => (p.zero(3, 8) ? done() : 'close')],
  [29, () => done(8)],
  [43, () => refused(EOPNOTSUPP)],
  [44, () => refused(EINVAL)],
]);

function getRegisters(p: Payload): Answer {
  const count = p.u16(0);
  if (!p.zero(2, 8) || 8 + 4 * count > p.length) return refused(EINVAL);
  if (8 + 472 + 16 * count > 8184) return refused(ENOMEM);
  return done(472 + 16 * count);
}

function view(p: Payload, padding: number): Answer {
  if (!p.zero(padding, 8) || p.u16(0) >= VIEWS) return refused(EINVAL);
  return p.u16(0) === 0 ? done() : refused(EOPNOTSUPP);
}

const msrFits = (msr: number) => msr <= 0x1ffe || (msr >= 0xc0000001 && msr <= 0xc0001ffe);

const vcpu: WireRules['vcpu'] = new Map<number, (p: Payload) => Answer>([
  [6, () => done(8)],
  // Which events a vCPU switches is a table of its own; UNHOOK and CREATE_VCPU are none.
  [
    9,
    (p) =>
      !p.zero(3, 8) || p.u16(0) >= 14 || [0, 9].includes(p.u16(0)) ? refused(EINVAL) : perhaps(0, EINVAL),
  ],
  [10, (p) => (p.zero(1, 4) && [0, 3, 4].includes(p.u32(4)) ? done() : refused(EINVAL))],
  [11, (p) => (p.zero(1, 4) && msrFits(p.u32(4)) ? done() : refused(EINVAL))],
  [13, getRegisters],
  [14, () => perhaps(0, EINVAL, EOPNOTSUPP)],
  [15, () => perhaps(16, ENOENT)],
  [16, () => done(4096)],
  [19, (p) => (p.zero(1, 4) ? perhaps(0, EBUSY) : refused(EINVAL))],
  [23, () => done(8)],
  [28, () => refused(EINVAL, EOPNOTSUPP)],
  [32, (p) => view(p, 2)],
  [33, () => done()],
  [34, () => done(8)],
  [35, () => done(8)],
  [36, (p) => view(p, 3)],
  [37, (p) => (p.u8(0) === 0 ? done(8) : refused(EINVAL))],
  [38, () => perhaps(0, EINVAL)],
  [63, (p) => (p.zero(1, 8) ? done() : refused(EINVAL))],
]);

const CONTINUE_CRASH = [0, 2];
const ANY = [0, 1, 2];
const events = new Map<number, EventRule>([
  [1, { extra: 8, actions: CONTINUE_CRASH, valueAt: 16 }],
  [2, { extra: 8, actions: CONTINUE_CRASH, valueAt: 16 }],
  [3, { extra: 0, actions: CONTINUE_CRASH }],
  [4, { extra: 0, actions: ANY }],
  [5, { extra: 0, actions: CONTINUE_CRASH }],
  [6, { extra: 272, actions: ANY, padding: [[12, 13], [14, 16]] }], // biome-ignore format: pairs
  [7, { extra: 0, actions: CONTINUE_CRASH }],
  [8, { extra: 0, actions: ANY }],
  [10, { extra: 0, actions: CONTINUE_CRASH }],
  [11, { extra: 0, actions: CONTINUE_CRASH }],
  [13, { extra: 0, actions: CONTINUE_CRASH }],
]);
/** Of the VM: nobody waits. */
const NO_REPLY = [0, 9, 12];

export const RULES_7: WireRules = {
  version: 7,
  vm,
  vcpu,
  eventReply: 0,
  dirtyHeader: 'close',
  events,
  wrongActionCloses: false,
  seen(id, seq, payload) {
    if (id !== 1 || payload.length < 544) return 'answer';
    if (NO_REPLY.includes(payload.u8(4))) return null;
    const registers = payload.bytes.slice(16, 16 + 144);
    return { vcpu: payload.u16(2), event: payload.u8(4), seq, data: payload.from(544), registers };
  },
  repliesAfter(id, payload) {
    return id === 27 ? { on: payload.u8(0) !== 0, now: payload.u8(1) === 1 } : null;
  },
};
