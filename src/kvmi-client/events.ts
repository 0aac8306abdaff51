/** Events as a tool has them: names for numbers, values for bytes. */

import {
  KVMI_VCPU_EVENT,
  KVMI_VCPU_EVENT_BREAKPOINT,
  KVMI_VCPU_EVENT_CR,
  KVMI_VCPU_EVENT_DESCRIPTOR,
  KVMI_VCPU_EVENT_HYPERCALL,
  KVMI_VCPU_EVENT_MSR,
  KVMI_VCPU_EVENT_PAUSE,
  KVMI_VCPU_EVENT_PF,
  KVMI_VCPU_EVENT_SINGLESTEP,
  KVMI_VCPU_EVENT_TRAP,
  KVMI_VCPU_EVENT_XSETBV,
} from '../actors/introspector/kvmi/constants.ts';
import { KVMI_EVENT_CMD_ERROR, KVMI_EVENT_UNHOOK } from '../actors/introspector/kvmi/constants-7.ts';
import { ONLY_7_EVENT_CPUID, ONLY_7_EVENT_CREATE_VCPU } from '../actors/introspector/kvmi/machine-ids.ts';
import {
  kvmi_event_hdr,
  kvmi_vcpu_event,
  kvmi_vcpu_event_breakpoint,
  kvmi_vcpu_event_cr,
  kvmi_vcpu_event_descriptor,
  kvmi_vcpu_event_msr,
  kvmi_vcpu_event_pf,
  kvmi_vcpu_event_singlestep,
  kvmi_vcpu_event_trap,
  kvmi_vcpu_event_xsetbv,
} from '../actors/introspector/kvmi/protocol.ts';
import {
  kvmi_event,
  kvmi_event_cmd_error,
  kvmi_event_cpuid,
} from '../actors/introspector/kvmi/protocol-7.ts';
import type { WireFields, WireStruct, WireValues } from '../actors/introspector/kvmi/wire-struct.ts';
import { WIRE_7, WIRE_12, type Wire } from '../actors/introspector/kvmi/wires.ts';
import type { Registers } from '../actors/introspector/tool.ts';
import { decodeRegisters } from '../actors/introspector/tool-values.ts';
import type { WireMessage } from '../actors/introspector/wire/framing.ts';

type Data<Struct> = Struct extends WireStruct<infer Fields extends WireFields> ? WireValues<Fields> : never;

/** By kind: what an event says besides registers. */
export interface EventData {
  pause: Record<never, never>;
  hypercall: Record<never, never>;
  breakpoint: Data<typeof kvmi_vcpu_event_breakpoint>;
  cr: Data<typeof kvmi_vcpu_event_cr>;
  trap: Data<typeof kvmi_vcpu_event_trap>;
  /** Wire-7 does not say which values. */
  xsetbv: Partial<Data<typeof kvmi_vcpu_event_xsetbv>>;
  descriptor: Data<typeof kvmi_vcpu_event_descriptor>;
  msr: Data<typeof kvmi_vcpu_event_msr>;
  pf: Data<typeof kvmi_vcpu_event_pf>;
  singlestep: Data<typeof kvmi_vcpu_event_singlestep>;
  /** Wire-7. */
  cpuid: Data<typeof kvmi_event_cpuid>;
  /** Wire-7. */
  createVcpu: Record<never, never>;
}
export type EventKind = keyof EventData;

/** An event of a vCPU, which stands still until it is answered. */
export interface VcpuEvent<Kind extends EventKind = EventKind> {
  readonly kind: Kind;
  /** As the wire has it. */
  readonly id: number;
  readonly vcpu: number;
  readonly seq: number;
  /** Bytes after the message header. */
  readonly size: number;
  /** 2, 4 or 8: bytes of an address. */
  readonly mode: number;
  readonly registers: Registers;
  /** kvm_sregs, 312 bytes. */
  readonly sregs: Uint8Array;
  readonly msrs: Readonly<
    Record<
      | 'sysenter_cs'
      | 'sysenter_esp'
      | 'sysenter_eip'
      | 'efer'
      | 'star'
      | 'lstar'
      | 'cstar'
      | 'pat'
      | 'shadow_gs',
      bigint
    >
  >;
  readonly data: EventData[Kind];
}

/** The machine asks the tool to end the session. It has no answer. */
export interface UnhookEvent {
  readonly kind: 'unhook';
  readonly seq: number;
  readonly size: number;
}

/** A command that was not to be answered has gone wrong: wire-7. It has no answer. */
export interface CommandErrorEvent {
  readonly kind: 'commandError';
  readonly seq: number;
  readonly size: number;
  readonly data: Data<typeof kvmi_event_cmd_error>;
}

/** Some event of a vCPU: `kind` says which `data` it has. */
export type AnyVcpuEvent = { [Kind in EventKind]: VcpuEvent<Kind> }[EventKind];
export type KvmiEvent = AnyVcpuEvent | UnhookEvent | CommandErrorEvent;

interface KindSpec {
  readonly kind: EventKind;
  readonly decode: ((message: Uint8Array, offset: number) => object) | null;
}

/** By what the event is inside the machine. */
// biome-ignore format: table
const KINDS: ReadonlyMap<number, KindSpec> = new Map<number, KindSpec>([
  [KVMI_VCPU_EVENT_PAUSE,      { kind: 'pause',      decode: null }],
  [KVMI_VCPU_EVENT_HYPERCALL,  { kind: 'hypercall',  decode: null }],
  [KVMI_VCPU_EVENT_BREAKPOINT, { kind: 'breakpoint', decode: kvmi_vcpu_event_breakpoint.decode }],
  [KVMI_VCPU_EVENT_CR,         { kind: 'cr',         decode: kvmi_vcpu_event_cr.decode }],
  [KVMI_VCPU_EVENT_TRAP,       { kind: 'trap',       decode: kvmi_vcpu_event_trap.decode }],
  [KVMI_VCPU_EVENT_XSETBV,     { kind: 'xsetbv',     decode: kvmi_vcpu_event_xsetbv.decode }],
  [KVMI_VCPU_EVENT_DESCRIPTOR, { kind: 'descriptor', decode: kvmi_vcpu_event_descriptor.decode }],
  [KVMI_VCPU_EVENT_MSR,        { kind: 'msr',        decode: kvmi_vcpu_event_msr.decode }],
  [KVMI_VCPU_EVENT_PF,         { kind: 'pf',         decode: kvmi_vcpu_event_pf.decode }],
  [KVMI_VCPU_EVENT_SINGLESTEP, { kind: 'singlestep', decode: kvmi_vcpu_event_singlestep.decode }],
  [ONLY_7_EVENT_CPUID,         { kind: 'cpuid',      decode: kvmi_event_cpuid.decode }],
  [ONLY_7_EVENT_CREATE_VCPU,   { kind: 'createVcpu', decode: null }],
]);

/** The wire's id of an event by its kind. @throws RangeError for one that it does not have */
export function eventId(kind: EventKind, wire: Wire): number {
  for (const [machine, spec] of KINDS) {
    const event = spec.kind === kind ? wire.eventOf.get(machine) : undefined;
    if (event !== undefined) return event.id;
  }
  throw new RangeError(`wire-${wire.version} has no event '${kind}'`);
}

/** @throws RangeError for an event that is not known */
export function decodeKvmiEvent(message: WireMessage, wire: Wire): KvmiEvent {
  return wire.version === 7 ? decode7(message) : decode12(message);
}

function decode12({ id, seq, payload }: WireMessage): KvmiEvent {
  const size = payload.length;
  if (id !== KVMI_VCPU_EVENT) return { kind: 'unhook', seq, size };
  const { event } = kvmi_event_hdr.decode(payload);
  const common = kvmi_vcpu_event.decode(payload, kvmi_event_hdr.bytes);
  return vcpuEvent(WIRE_12, event, { seq, payload }, common, kvmi_event_hdr.bytes + common.size);
}

function decode7({ seq, payload }: WireMessage): KvmiEvent {
  const size = payload.length;
  const { event, ...common } = kvmi_event.decode(payload);
  if (event === KVMI_EVENT_UNHOOK) return { kind: 'unhook', seq, size };
  if (event === KVMI_EVENT_CMD_ERROR) {
    return { kind: 'commandError', seq, size, data: kvmi_event_cmd_error.decode(payload, common.size) };
  }
  return vcpuEvent(WIRE_7, event, { seq, payload }, common, common.size);
}

/** `at`: where the event's own struct begins. */
function vcpuEvent(
  wire: Wire,
  id: number,
  { seq, payload }: Pick<WireMessage, 'seq' | 'payload'>,
  common: Data<typeof kvmi_vcpu_event>,
  at: number,
): AnyVcpuEvent {
  const known = wire.events.get(id);
  const spec = known === undefined ? undefined : KINDS.get(known.machine);
  if (known === undefined || spec === undefined) throw new RangeError(`there is no event ${id}`);
  const { vcpu, mode, regs, sregs } = common;
  const { sysenter_cs, sysenter_esp, sysenter_eip, efer, star, lstar, cstar, pat, shadow_gs } = common;
  return {
    kind: spec.kind,
    id,
    vcpu,
    seq,
    size: payload.length,
    mode,
    registers: decodeRegisters(regs),
    sregs,
    msrs: { sysenter_cs, sysenter_esp, sysenter_eip, efer, star, lstar, cstar, pat, shadow_gs },
    data: known.data === null ? {} : (spec.decode?.(payload, at) ?? {}),
  } as AnyVcpuEvent;
}
