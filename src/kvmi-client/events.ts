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
import type { WireFields, WireStruct, WireValues } from '../actors/introspector/kvmi/wire-struct.ts';
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
  xsetbv: Data<typeof kvmi_vcpu_event_xsetbv>;
  descriptor: Data<typeof kvmi_vcpu_event_descriptor>;
  msr: Data<typeof kvmi_vcpu_event_msr>;
  pf: Data<typeof kvmi_vcpu_event_pf>;
  singlestep: Data<typeof kvmi_vcpu_event_singlestep>;
}
export type EventKind = keyof EventData;

/** An event of a vCPU, which stands still until it is answered. */
export interface VcpuEvent<Kind extends EventKind = EventKind> {
  readonly kind: Kind;
  /** KVMI_VCPU_EVENT_*. */
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

/** Some event of a vCPU: `kind` says which `data` it has. */
export type AnyVcpuEvent = { [Kind in EventKind]: VcpuEvent<Kind> }[EventKind];
export type KvmiEvent = AnyVcpuEvent | UnhookEvent;

interface KindSpec {
  readonly kind: EventKind;
  readonly decode: ((message: Uint8Array, offset: number) => object) | null;
}

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
]);

/** KVMI's id of an event by its kind. */
export function eventId(kind: EventKind): number {
  for (const [id, spec] of KINDS) if (spec.kind === kind) return id;
  throw new RangeError(`there is no event '${kind}'`);
}

/** @throws RangeError for an event that is not known */
export function decodeKvmiEvent({ id, seq, payload }: WireMessage): KvmiEvent {
  const size = payload.length;
  if (id !== KVMI_VCPU_EVENT) return { kind: 'unhook', seq, size };
  const { event } = kvmi_event_hdr.decode(payload);
  const spec = KINDS.get(event);
  if (spec === undefined) throw new RangeError(`there is no event ${event}`);
  const common = kvmi_vcpu_event.decode(payload, kvmi_event_hdr.bytes);
  const { vcpu, mode, regs, sregs, size: commonBytes } = common;
  const { sysenter_cs, sysenter_esp, sysenter_eip, efer, star, lstar, cstar, pat, shadow_gs } = common;
  return {
    kind: spec.kind,
    id: event,
    vcpu,
    seq,
    size,
    mode,
    registers: decodeRegisters(regs),
    sregs,
    msrs: { sysenter_cs, sysenter_esp, sysenter_eip, efer, star, lstar, cstar, pat, shadow_gs },
    data: spec.decode?.(payload, kvmi_event_hdr.bytes + commonBytes) ?? {},
  } as AnyVcpuEvent;
}
