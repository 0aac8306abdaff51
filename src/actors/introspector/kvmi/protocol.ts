/**
 * Wire-12 as data: every command and event with its structs, and who answers it.
 *
 * Requests of vCPU commands are given without the kvmi_vcpu_hdr before them; replies without the kvmi_error_code; events
 * without the kvmi_vcpu_event (registers) before their own struct.
 *
 * @source include/uapi/linux/kvmi.h, arch/x86/include/uapi/asm/kvmi.h of the series "VM introspection", v12
 */
import {
  KVMI_EVENT_ACTION_CONTINUE as CONTINUE,
  KVMI_EVENT_ACTION_CRASH as CRASH,
  KVM_REGS_BYTES,
  KVM_SREGS_BYTES,
  KVM_XSAVE_BYTES,
  KVMI_GET_VERSION,
  KVMI_VCPU_CONTROL_CR,
  KVMI_VCPU_CONTROL_EVENTS,
  KVMI_VCPU_CONTROL_MSR,
  KVMI_VCPU_CONTROL_SINGLESTEP,
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
  KVMI_VCPU_GET_CPUID,
  KVMI_VCPU_GET_INFO,
  KVMI_VCPU_GET_MTRR_TYPE,
  KVMI_VCPU_GET_REGISTERS,
  KVMI_VCPU_GET_XCR,
  KVMI_VCPU_GET_XSAVE,
  KVMI_VCPU_INJECT_EXCEPTION,
  KVMI_VCPU_SET_REGISTERS,
  KVMI_VCPU_SET_XSAVE,
  KVMI_VCPU_TRANSLATE_GVA,
  KVMI_VM_CHECK_COMMAND,
  KVMI_VM_CHECK_EVENT,
  KVMI_VM_CONTROL_CLEANUP,
  KVMI_VM_CONTROL_EVENTS,
  KVMI_VM_EVENT_UNHOOK,
  KVMI_VM_GET_INFO,
  KVMI_VM_PAUSE_VCPU,
  KVMI_VM_READ_PHYSICAL,
  KVMI_VM_SET_PAGE_ACCESS,
  KVMI_VM_WRITE_PHYSICAL,
  KVMI_EVENT_ACTION_RETRY as RETRY,
} from './constants.ts';
import { kvm_regs as general, kvm_sregs } from './registers.ts';
import { type AnyWireStruct, blob, pad, wireStruct } from './wire-struct.ts';

// ── what every message has ──────────────────────────────────────────────────────────────────────────────────
export const kvmi_msg_hdr = wireStruct('kvmi_msg_hdr', { id: 'u16', size: 'u16', seq: 'u32' });
export const kvmi_error_code = wireStruct('kvmi_error_code', { err: 's32', padding: pad(4) });
export const kvmi_vcpu_hdr = wireStruct('kvmi_vcpu_hdr', { vcpu: 'u16', padding1: pad(2), padding2: pad(4) });
export const kvmi_event_hdr = wireStruct('kvmi_event_hdr', { event: 'u16', padding: pad(6) });
/** Registers as every event has them, on both wires. */
export const kvmi_vcpu_state = {
  regs: blob(KVM_REGS_BYTES, general),
  sregs: blob(KVM_SREGS_BYTES, kvm_sregs),
  sysenter_cs: 'u64',
  sysenter_esp: 'u64',
  sysenter_eip: 'u64',
  efer: 'u64',
  star: 'u64',
  lstar: 'u64',
  cstar: 'u64',
  pat: 'u64',
  shadow_gs: 'u64',
} as const;
/** Of every event of a vCPU, after the kvmi_event_hdr: what the vCPU was like. `size` is its own. */
export const kvmi_vcpu_event = wireStruct('kvmi_vcpu_event', {
  size: 'u16',
  vcpu: 'u16',
  padding: pad(4),
  mode: 'u8',
  padding_arch: pad(7),
  ...kvmi_vcpu_state,
});
export const kvmi_vcpu_event_reply = wireStruct('kvmi_vcpu_event_reply', {
  action: 'u8',
  event: 'u8',
  padding1: pad(2),
  padding2: pad(4),
});

// ── VM commands ─────────────────────────────────────────────────────────────────────────────────────────────
export const kvmi_get_version_reply = wireStruct('kvmi_get_version_reply', {
  version: 'u32',
  max_msg_size: 'u32',
  singlestep: 'u8',
  padding: pad(7),
});
export const kvmi_vm_check_command = wireStruct('kvmi_vm_check_command', {
  id: 'u16',
  padding1: pad(2),
  padding2: pad(4),
});
export const kvmi_vm_check_event = wireStruct('kvmi_vm_check_event', {
  id: 'u16',
  padding1: pad(2),
  padding2: pad(4),
});
export const kvmi_vm_get_info_reply = wireStruct('kvmi_vm_get_info_reply', {
  vcpu_count: 'u32',
  padding: pad(12),
});
/** Of VM and vCPU events alike. */
export const kvmi_control_events = wireStruct('kvmi_vcpu_control_events', {
  event_id: 'u16',
  enable: 'u8',
  padding1: pad(1),
  padding2: pad(4),
});
/** Reading and writing; the data to write follows. */
export const kvmi_vm_access_physical = wireStruct('kvmi_vm_read_physical', {
  gpa: 'u64',
  size: 'u16',
  padding1: pad(2),
  padding2: pad(4),
});
/** Has no kvmi_vcpu_hdr: the receiver carries it out. */
export const kvmi_vm_pause_vcpu = wireStruct('kvmi_vm_pause_vcpu', {
  vcpu: 'u16',
  wait: 'u8',
  padding1: pad(1),
  padding2: pad(4),
});
export const kvmi_vm_control_cleanup = wireStruct('kvmi_vm_control_cleanup', {
  enable: 'u8',
  padding: pad(7),
});
/** `count` entries follow. */
export const kvmi_vm_set_page_access = wireStruct('kvmi_vm_set_page_access', {
  count: 'u16',
  padding1: pad(2),
  padding2: pad(4),
});
export const kvmi_page_access_entry = wireStruct('kvmi_page_access_entry', {
  gpa: 'u64',
  access: 'u8',
  padding: pad(7),
});

// ── vCPU commands ───────────────────────────────────────────────────────────────────────────────────────────
export const kvmi_vcpu_get_info_reply = wireStruct('kvmi_vcpu_get_info_reply', { tsc_speed: 'u64' });
/** `nmsrs` numbers follow, u32 each. */
export const kvmi_vcpu_get_registers = wireStruct('kvmi_vcpu_get_registers', {
  nmsrs: 'u16',
  padding1: pad(2),
  padding2: pad(4),
});
/** `nmsrs` entries follow. */
export const kvmi_vcpu_get_registers_reply = wireStruct('kvmi_vcpu_get_registers_reply', {
  mode: 'u32',
  padding: pad(4),
  regs: blob(KVM_REGS_BYTES, general),
  sregs: blob(KVM_SREGS_BYTES, kvm_sregs),
  nmsrs: 'u32',
  padding_msrs: pad(4),
});
export const kvm_msr_entry = wireStruct('kvm_msr_entry', { index: 'u32', reserved: pad(4), data: 'u64' });
export const kvm_regs = wireStruct('kvm_regs', { regs: blob(KVM_REGS_BYTES, general) });
export const kvmi_vcpu_get_cpuid = wireStruct('kvmi_vcpu_get_cpuid', { function: 'u32', index: 'u32' });
export const kvmi_vcpu_get_cpuid_reply = wireStruct('kvmi_vcpu_get_cpuid_reply', {
  eax: 'u32',
  ebx: 'u32',
  ecx: 'u32',
  edx: 'u32',
});
export const kvmi_vcpu_control_cr = wireStruct('kvmi_vcpu_control_cr', {
  cr: 'u8',
  enable: 'u8',
  padding1: pad(2),
  padding2: pad(4),
});
export const kvmi_vcpu_inject_exception = wireStruct('kvmi_vcpu_inject_exception', {
  nr: 'u8',
  padding1: pad(1),
  padding2: pad(2),
  error_code: 'u32',
  address: 'u64',
});
export const kvmi_vcpu_get_xcr = wireStruct('kvmi_vcpu_get_xcr', { xcr: 'u8', padding: pad(7) });
export const kvmi_vcpu_get_xcr_reply = wireStruct('kvmi_vcpu_get_xcr_reply', { value: 'u64' });
export const kvm_xsave = wireStruct('kvm_xsave', { region: blob(KVM_XSAVE_BYTES) });
export const kvmi_vcpu_get_mtrr_type = wireStruct('kvmi_vcpu_get_mtrr_type', { gpa: 'u64' });
export const kvmi_vcpu_get_mtrr_type_reply = wireStruct('kvmi_vcpu_get_mtrr_type_reply', {
  type: 'u8',
  padding: pad(7),
});
export const kvmi_vcpu_control_msr = wireStruct('kvmi_vcpu_control_msr', {
  enable: 'u8',
  padding1: pad(1),
  padding2: pad(2),
  msr: 'u32',
});
export const kvmi_vcpu_control_singlestep = wireStruct('kvmi_vcpu_control_singlestep', {
  enable: 'u8',
  padding: pad(7),
});
export const kvmi_vcpu_translate_gva = wireStruct('kvmi_vcpu_translate_gva', { gva: 'u64' });
export const kvmi_vcpu_translate_gva_reply = wireStruct('kvmi_vcpu_translate_gva_reply', { gpa: 'u64' });

export interface CommandSpec {
  readonly id: number;
  readonly name: string;
  /** What it is inside the machine: wire-12's id, or one that no wire has. */
  readonly machine: number;
  /** The receiver itself, or the thread of the vCPU that its kvmi_vcpu_hdr names. */
  readonly answers: 'vm' | 'vcpu';
  /** Null: nothing is read of it. */
  readonly request: AnyWireStruct | null;
  /** Null: the error code is all. */
  readonly reply: AnyWireStruct | null;
}

function command(
  id: number,
  name: string,
  request: AnyWireStruct | null,
  reply: AnyWireStruct | null,
): CommandSpec {
  return { id, name, machine: id, answers: id % 2 === 0 ? 'vm' : 'vcpu', request, reply };
}

// biome-ignore format: table
export const COMMANDS: ReadonlyMap<number, CommandSpec> = new Map([
  command(KVMI_GET_VERSION,             'KVMI_GET_VERSION',             null,                         kvmi_get_version_reply),
  command(KVMI_VM_CHECK_COMMAND,        'KVMI_VM_CHECK_COMMAND',        kvmi_vm_check_command,        null),
  command(KVMI_VM_CHECK_EVENT,          'KVMI_VM_CHECK_EVENT',          kvmi_vm_check_event,          null),
  command(KVMI_VM_GET_INFO,             'KVMI_VM_GET_INFO',             null,                         kvmi_vm_get_info_reply),
  command(KVMI_VM_CONTROL_EVENTS,       'KVMI_VM_CONTROL_EVENTS',       kvmi_control_events,          null),
  command(KVMI_VM_READ_PHYSICAL,        'KVMI_VM_READ_PHYSICAL',        kvmi_vm_access_physical,      null),
  command(KVMI_VM_WRITE_PHYSICAL,       'KVMI_VM_WRITE_PHYSICAL',       kvmi_vm_access_physical,      null),
  command(KVMI_VM_PAUSE_VCPU,           'KVMI_VM_PAUSE_VCPU',           kvmi_vm_pause_vcpu,           null),
  command(KVMI_VM_CONTROL_CLEANUP,      'KVMI_VM_CONTROL_CLEANUP',      kvmi_vm_control_cleanup,      null),
  command(KVMI_VM_SET_PAGE_ACCESS,      'KVMI_VM_SET_PAGE_ACCESS',      kvmi_vm_set_page_access,      null),
  command(KVMI_VCPU_GET_INFO,           'KVMI_VCPU_GET_INFO',           null,                         kvmi_vcpu_get_info_reply),
  command(KVMI_VCPU_CONTROL_EVENTS,     'KVMI_VCPU_CONTROL_EVENTS',     kvmi_control_events,          null),
  command(KVMI_VCPU_GET_REGISTERS,      'KVMI_VCPU_GET_REGISTERS',      kvmi_vcpu_get_registers,      kvmi_vcpu_get_registers_reply),
  command(KVMI_VCPU_SET_REGISTERS,      'KVMI_VCPU_SET_REGISTERS',      kvm_regs,                     null),
  command(KVMI_VCPU_GET_CPUID,          'KVMI_VCPU_GET_CPUID',          kvmi_vcpu_get_cpuid,          kvmi_vcpu_get_cpuid_reply),
  command(KVMI_VCPU_CONTROL_CR,         'KVMI_VCPU_CONTROL_CR',         kvmi_vcpu_control_cr,         null),
  command(KVMI_VCPU_INJECT_EXCEPTION,   'KVMI_VCPU_INJECT_EXCEPTION',   kvmi_vcpu_inject_exception,   null),
  command(KVMI_VCPU_GET_XCR,            'KVMI_VCPU_GET_XCR',            kvmi_vcpu_get_xcr,            kvmi_vcpu_get_xcr_reply),
  command(KVMI_VCPU_GET_XSAVE,          'KVMI_VCPU_GET_XSAVE',          null,                         kvm_xsave),
  command(KVMI_VCPU_SET_XSAVE,          'KVMI_VCPU_SET_XSAVE',          kvm_xsave,                    null),
  command(KVMI_VCPU_GET_MTRR_TYPE,      'KVMI_VCPU_GET_MTRR_TYPE',      kvmi_vcpu_get_mtrr_type,      kvmi_vcpu_get_mtrr_type_reply),
  command(KVMI_VCPU_CONTROL_MSR,        'KVMI_VCPU_CONTROL_MSR',        kvmi_vcpu_control_msr,        null),
  command(KVMI_VCPU_CONTROL_SINGLESTEP, 'KVMI_VCPU_CONTROL_SINGLESTEP', kvmi_vcpu_control_singlestep, null),
  command(KVMI_VCPU_TRANSLATE_GVA,      'KVMI_VCPU_TRANSLATE_GVA',      kvmi_vcpu_translate_gva,      kvmi_vcpu_translate_gva_reply),
].map((spec) => [spec.id, spec]));

/** What follows the struct of a message, to its end: entries of a struct, or plain bytes. */
export interface Tail {
  readonly request?: AnyWireStruct | 'bytes';
  readonly reply?: AnyWireStruct | 'bytes';
}

const msr_index = wireStruct('msr_index', { msr: 'u32' });

/** Of commands that have one, by their numbers inside the machine. */
export const TAILS: ReadonlyMap<number, Tail> = new Map<number, Tail>([
  [KVMI_VM_READ_PHYSICAL, { reply: 'bytes' }],
  [KVMI_VM_WRITE_PHYSICAL, { request: 'bytes' }],
  [KVMI_VM_SET_PAGE_ACCESS, { request: kvmi_page_access_entry }],
  [KVMI_VCPU_GET_REGISTERS, { request: msr_index, reply: kvm_msr_entry }],
]);

/** Cannot be disallowed; numbers inside the machine. */
export const ALWAYS_ALLOWED: readonly number[] = [
  KVMI_GET_VERSION,
  KVMI_VM_CHECK_COMMAND,
  KVMI_VM_CHECK_EVENT,
];

// ── events ──────────────────────────────────────────────────────────────────────────────────────────────────
export const kvmi_vcpu_event_breakpoint = wireStruct('kvmi_vcpu_event_breakpoint', {
  gpa: 'u64',
  insn_len: 'u8',
  padding: pad(7),
});
export const kvmi_vcpu_event_cr = wireStruct('kvmi_vcpu_event_cr', {
  cr: 'u8',
  padding: pad(7),
  old_value: 'u64',
  new_value: 'u64',
});
export const kvmi_vcpu_event_trap = wireStruct('kvmi_vcpu_event_trap', {
  nr: 'u8',
  padding1: pad(1),
  padding2: pad(2),
  error_code: 'u32',
  address: 'u64',
});
export const kvmi_vcpu_event_xsetbv = wireStruct('kvmi_vcpu_event_xsetbv', {
  xcr: 'u8',
  padding: pad(7),
  old_value: 'u64',
  new_value: 'u64',
});
export const kvmi_vcpu_event_descriptor = wireStruct('kvmi_vcpu_event_descriptor', {
  descriptor: 'u8',
  write: 'u8',
  padding: pad(6),
});
export const kvmi_vcpu_event_msr = wireStruct('kvmi_vcpu_event_msr', {
  msr: 'u32',
  padding: pad(4),
  old_value: 'u64',
  new_value: 'u64',
});
export const kvmi_vcpu_event_pf = wireStruct('kvmi_vcpu_event_pf', {
  gva: 'u64',
  gpa: 'u64',
  access: 'u8',
  padding1: pad(1),
  padding2: pad(2),
  padding3: pad(4),
});
export const kvmi_vcpu_event_singlestep = wireStruct('kvmi_vcpu_event_singlestep', {
  failed: 'u8',
  padding: pad(7),
});
/** What the reply to a CR or MSR event carries besides. */
export const kvmi_vcpu_event_reply_value = wireStruct('kvmi_vcpu_event_cr_reply', { new_val: 'u64' });

export interface EventSpec {
  readonly id: number;
  readonly name: string;
  /** What it is inside the machine: wire-12's id, or one that no wire has. */
  readonly machine: number;
  /** Whose: of the VM, which needs no reply, or of a vCPU. */
  readonly of: 'vm' | 'vcpu';
  /** Which commands switch it on and off: those about the VM, or about one vCPU. */
  readonly switchedBy: readonly ('vm' | 'vcpu')[];
  /** Null: nothing but registers. */
  readonly data: AnyWireStruct | null;
  /** What a reply may carry after its kvmi_vcpu_event_reply; null: nothing. */
  readonly reply: AnyWireStruct | null;
  /** What the tool may answer. */
  readonly actions: readonly number[];
}

function event(
  id: number,
  name: string,
  data: AnyWireStruct | null,
  actions: readonly number[],
  reply: AnyWireStruct | null = null,
): EventSpec {
  const of = id % 2 === 0 ? 'vm' : 'vcpu';
  return { id, name, machine: id, of, switchedBy: [of], data, reply, actions };
}

const ANY = [CONTINUE, RETRY, CRASH];
const NO_RETRY = [CONTINUE, CRASH];

// biome-ignore format: table
export const EVENTS: ReadonlyMap<number, EventSpec> = new Map([
  event(KVMI_VM_EVENT_UNHOOK,       'KVMI_VM_EVENT_UNHOOK',       null,                       []),
  event(KVMI_VCPU_EVENT_PAUSE,      'KVMI_VCPU_EVENT_PAUSE',      null,                       NO_RETRY),
  event(KVMI_VCPU_EVENT_HYPERCALL,  'KVMI_VCPU_EVENT_HYPERCALL',  null,                       NO_RETRY),
  event(KVMI_VCPU_EVENT_BREAKPOINT, 'KVMI_VCPU_EVENT_BREAKPOINT', kvmi_vcpu_event_breakpoint, ANY),
  event(KVMI_VCPU_EVENT_CR,         'KVMI_VCPU_EVENT_CR',         kvmi_vcpu_event_cr,         NO_RETRY, kvmi_vcpu_event_reply_value),
  event(KVMI_VCPU_EVENT_TRAP,       'KVMI_VCPU_EVENT_TRAP',       kvmi_vcpu_event_trap,       NO_RETRY),
  event(KVMI_VCPU_EVENT_XSETBV,     'KVMI_VCPU_EVENT_XSETBV',     kvmi_vcpu_event_xsetbv,     NO_RETRY),
  event(KVMI_VCPU_EVENT_DESCRIPTOR, 'KVMI_VCPU_EVENT_DESCRIPTOR', kvmi_vcpu_event_descriptor, ANY),
  event(KVMI_VCPU_EVENT_MSR,        'KVMI_VCPU_EVENT_MSR',        kvmi_vcpu_event_msr,        NO_RETRY, kvmi_vcpu_event_reply_value),
  event(KVMI_VCPU_EVENT_PF,         'KVMI_VCPU_EVENT_PF',         kvmi_vcpu_event_pf,         ANY),
  event(KVMI_VCPU_EVENT_SINGLESTEP, 'KVMI_VCPU_EVENT_SINGLESTEP', kvmi_vcpu_event_singlestep, NO_RETRY),
].map((spec) => [spec.id, spec]));
