/** Between the tool's values and KVMI's: access strings ↔ bits, registers ↔ kvm_regs, events from their structs. */
import type { AccessKind } from '../../shared/hub.ts';
import { ACCESS_R, ACCESS_W, ACCESS_X } from '../../shared/layout/cpu.ts';
import { gpa, gva } from '../../shared/units.ts';
import { KVM_REGS_BYTES, KVMI_VCPU_EVENT_PAUSE, KVMI_VCPU_EVENT_PF } from './kvmi/constants.ts';
import type { SessionEvent } from './session.ts';
import type { PageAccess, Registers, ToolEvent, ToolEventKind } from './tool.ts';

/** Indexed by ACCESS_* bits. */
const ACCESS_TEXTS: readonly PageAccess[] = ['---', 'r--', '-w-', 'rw-', '--x', 'r-x', '-wx', 'rwx'];

/** ACCESS_* bits, or −1 for a text that is none. */
export function accessBits(access: unknown): number {
  return ACCESS_TEXTS.indexOf(access as PageAccess);
}

export function accessText(bits: number): PageAccess {
  return ACCESS_TEXTS[bits & 7]!;
}

const KINDS = new Map<number, AccessKind>([
  [ACCESS_R, 'R'],
  [ACCESS_W, 'W'],
  [ACCESS_X, 'X'],
]);

/** KVMI's id of an event the tool knows by name. */
export const EVENT_IDS: Readonly<Record<ToolEventKind, number>> = {
  pageFault: KVMI_VCPU_EVENT_PF,
  pause: KVMI_VCPU_EVENT_PAUSE,
};

/** Null for an event that tools do not get. */
export function toolEvent(event: SessionEvent): ToolEvent | null {
  const { vcpu, seq, pf } = event;
  if (pf !== null) {
    const access = KINDS.get(pf.access);
    return access === undefined
      ? null
      : { kind: 'pageFault', vcpu, seq, gpa: gpa(pf.gpa), gva: gva(pf.gva), access };
  }
  return event.event === KVMI_VCPU_EVENT_PAUSE ? { kind: 'pause', vcpu, seq } : null;
}

/** In the order of struct kvm_regs. */
const REGISTER_NAMES: readonly (keyof Registers)[] = [
  'rax',
  'rbx',
  'rcx',
  'rdx',
  'rsi',
  'rdi',
  'rsp',
  'rbp',
  'r8',
  'r9',
  'r10',
  'r11',
  'r12',
  'r13',
  'r14',
  'r15',
  'rip',
  'rflags',
];

/** @throws RangeError when it is not KVM_REGS_BYTES long */
export function decodeRegisters(bytes: Uint8Array): Registers {
  const view = new DataView(bytes.buffer, bytes.byteOffset, KVM_REGS_BYTES);
  const values = REGISTER_NAMES.map((name, i) => [name, view.getBigUint64(i * 8, true)] as const);
  return Object.fromEntries(values) as unknown as Registers;
}

/** Null when a register is missing, or no bigint of 64 bits. */
export function encodeRegisters(registers: Registers): Uint8Array | null {
  const bytes = new Uint8Array(KVM_REGS_BYTES);
  const view = new DataView(bytes.buffer);
  for (const [i, name] of REGISTER_NAMES.entries()) {
    const value: unknown = registers[name];
    if (typeof value !== 'bigint' || value !== BigInt.asUintN(64, value)) return null;
    view.setBigUint64(i * 8, value, true);
  }
  return bytes;
}
