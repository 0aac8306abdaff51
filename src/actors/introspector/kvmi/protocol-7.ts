/**
 * Wire-7 as data: its structs, where they differ from wire-12's (protocol.ts), and every command and event with what it
 * is inside the machine.
 *
 * Requests of vCPU commands are given without the kvmi_vcpu_hdr before them, replies without the kvmi_error_code, events
 * without the kvmi_event (registers) before their own struct.
 *
 * @source kernel branch kvmi-v7: include/uapi/linux/kvmi.h, arch/x86/include/uapi/asm/kvmi.h; libkvmi master
 */

import * as machine from './constants.ts';
import * as id from './constants-7.ts';
import * as beyond from './machine-ids.ts';
import {
  type CommandSpec,
  type EventSpec,
  kvm_regs,
  kvm_xsave,
  kvmi_control_events,
  kvmi_vcpu_control_msr,
  kvmi_vcpu_control_singlestep,
  kvmi_vcpu_event_breakpoint,
  kvmi_vcpu_event_cr,
  kvmi_vcpu_event_descriptor,
  kvmi_vcpu_event_msr,
  kvmi_vcpu_event_pf,
  kvmi_vcpu_event_reply_value,
  kvmi_vcpu_event_singlestep,
  kvmi_vcpu_event_trap,
  kvmi_vcpu_get_cpuid,
  kvmi_vcpu_get_cpuid_reply,
  kvmi_vcpu_get_info_reply,
  kvmi_vcpu_get_mtrr_type,
  kvmi_vcpu_get_mtrr_type_reply,
  kvmi_vcpu_get_registers,
  kvmi_vcpu_get_registers_reply,
  kvmi_vcpu_get_xcr,
  kvmi_vcpu_get_xcr_reply,
  kvmi_vcpu_inject_exception,
  kvmi_vcpu_state,
  kvmi_vcpu_translate_gva,
  kvmi_vcpu_translate_gva_reply,
  kvmi_vm_check_command,
  kvmi_vm_check_event,
  kvmi_vm_get_info_reply,
  TAILS,
  type Tail,
} from './protocol.ts';
import { type AnyWireStruct, blob, pad, wireStruct } from './wire-struct.ts';

/** Before the struct of every event, 544 bytes. Of events of the VM everything but `size` and `event` is 0. */
export const kvmi_event = wireStruct('kvmi_event', {
  size: 'u16',
  vcpu: 'u16',
  event: 'u8',
  padding: pad(3),
  mode: 'u8',
  padding1: pad(1),
  view: 'u16',
  padding2: pad(4),
  ...kvmi_vcpu_state,
});

// ── commands ────────────────────────────────────────────────────────────────────────────────────────────────
export const kvmi_get_version_reply_7 = wireStruct('kvmi_get_version_reply', {
  version: 'u32',
  padding: pad(4),
  spp: 'u8',
  vmfunc: 'u8',
  eptp: 'u8',
  ve: 'u8',
  singlestep: 'u8',
  padding1: pad(3),
});
/** Reading and writing; the data to write follows. */
export const kvmi_access_physical = wireStruct('kvmi_read_physical', { gpa: 'u64', size: 'u64' });
/** After a kvmi_vcpu_hdr, though the receiver carries it out. */
export const kvmi_pause_vcpu = wireStruct('kvmi_pause_vcpu', {
  wait: 'u8',
  padding1: pad(1),
  padding2: pad(2),
  padding3: pad(4),
});
export const kvmi_control_cr = wireStruct('kvmi_control_cr', {
  enable: 'u8',
  padding1: pad(1),
  padding2: pad(2),
  cr: 'u32',
});
/** `count` entries (kvmi_page_access_entry) follow. */
export const kvmi_set_page_access = wireStruct('kvmi_set_page_access', {
  view: 'u16',
  count: 'u16',
  padding: pad(4),
});
export const kvmi_control_spp = wireStruct('kvmi_control_spp', { enable: 'u8', padding: pad(7) });
/** `count` entries of 16 bytes follow. */
export const kvmi_set_page_write_bitmap = wireStruct('kvmi_set_page_write_bitmap', {
  view: 'u16',
  count: 'u16',
  padding: pad(4),
});
export const kvmi_page_write_bitmap_entry = wireStruct('kvmi_page_write_bitmap_entry', {
  gpa: 'u64',
  bitmap: 'u32',
  padding: pad(4),
});
export const kvmi_control_cmd_response = wireStruct('kvmi_control_cmd_response', {
  enable: 'u8',
  now: 'u8',
  flags: 'u8',
  padding1: pad(1),
  padding2: pad(4),
});
export const kvmi_set_ve_info_page = wireStruct('kvmi_set_ve_info_page', {
  gpa: 'u64',
  trigger_vmexit: 'u8',
  padding: pad(7),
});
export const kvmi_get_max_gfn_reply = wireStruct('kvmi_get_max_gfn_reply', { gfn: 'u64' });
/** Of SWITCH, GET, CREATE and DESTROY alike. */
export const kvmi_ept_view = wireStruct('kvmi_switch_ept_view_req', { view: 'u16', padding: pad(6) });
export const kvmi_control_ept_view = wireStruct('kvmi_control_ept_view_req', {
  view: 'u16',
  visible: 'u8',
  padding1: pad(1),
  padding2: pad(4),
});

const VCPU_COMMANDS: ReadonlySet<number> = new Set([
  id.KVMI_GET_VCPU_INFO,
  id.KVMI_CONTROL_EVENTS,
  id.KVMI_CONTROL_CR,
  id.KVMI_CONTROL_MSR,
  id.KVMI_GET_REGISTERS,
  id.KVMI_SET_REGISTERS,
  id.KVMI_GET_CPUID,
  id.KVMI_GET_XSAVE,
  id.KVMI_INJECT_EXCEPTION,
  id.KVMI_GET_MTRR_TYPE,
  id.KVMI_SET_VE_INFO_PAGE,
  id.KVMI_SWITCH_EPT_VIEW,
  id.KVMI_DISABLE_VE,
  id.KVMI_GET_EPT_VIEW,
  id.KVMI_VCPU_TRANSLATE_GVA,
  id.KVMI_CONTROL_EPT_VIEW,
  id.KVMI_VCPU_GET_XCR,
  id.KVMI_VCPU_SET_XSAVE,
  id.KVMI_VCPU_CONTROL_SINGLESTEP,
]);

function command(
  wireId: number,
  name: string,
  inMachine: number,
  request: AnyWireStruct | null,
  reply: AnyWireStruct | null,
): CommandSpec {
  const answers = VCPU_COMMANDS.has(wireId) ? 'vcpu' : 'vm';
  return { id: wireId, name, machine: inMachine, answers, request, reply };
}

// biome-ignore format: table
export const COMMANDS_7: ReadonlyMap<number, CommandSpec> = new Map([
  command(id.KVMI_GET_VERSION,             'KVMI_GET_VERSION',             machine.KVMI_GET_VERSION,             null,                         kvmi_get_version_reply_7),
  command(id.KVMI_CHECK_COMMAND,           'KVMI_CHECK_COMMAND',           machine.KVMI_VM_CHECK_COMMAND,        kvmi_vm_check_command,        null),
  command(id.KVMI_CHECK_EVENT,             'KVMI_CHECK_EVENT',             machine.KVMI_VM_CHECK_EVENT,          kvmi_vm_check_event,          null),
  command(id.KVMI_GET_GUEST_INFO,          'KVMI_GET_GUEST_INFO',          machine.KVMI_VM_GET_INFO,             null,                         kvmi_vm_get_info_reply),
  command(id.KVMI_GET_VCPU_INFO,           'KVMI_GET_VCPU_INFO',           machine.KVMI_VCPU_GET_INFO,           null,                         kvmi_vcpu_get_info_reply),
  command(id.KVMI_PAUSE_VCPU,              'KVMI_PAUSE_VCPU',              machine.KVMI_VM_PAUSE_VCPU,           kvmi_pause_vcpu,              null),
  command(id.KVMI_CONTROL_VM_EVENTS,       'KVMI_CONTROL_VM_EVENTS',       machine.KVMI_VM_CONTROL_EVENTS,       kvmi_control_events,          null),
  command(id.KVMI_CONTROL_EVENTS,          'KVMI_CONTROL_EVENTS',          machine.KVMI_VCPU_CONTROL_EVENTS,     kvmi_control_events,          null),
  command(id.KVMI_CONTROL_CR,              'KVMI_CONTROL_CR',              machine.KVMI_VCPU_CONTROL_CR,         kvmi_control_cr,              null),
  command(id.KVMI_CONTROL_MSR,             'KVMI_CONTROL_MSR',             machine.KVMI_VCPU_CONTROL_MSR,        kvmi_vcpu_control_msr,        null),
  command(id.KVMI_GET_REGISTERS,           'KVMI_GET_REGISTERS',           machine.KVMI_VCPU_GET_REGISTERS,      kvmi_vcpu_get_registers,      kvmi_vcpu_get_registers_reply),
  command(id.KVMI_SET_REGISTERS,           'KVMI_SET_REGISTERS',           machine.KVMI_VCPU_SET_REGISTERS,      kvm_regs,                     null),
  command(id.KVMI_GET_CPUID,               'KVMI_GET_CPUID',               machine.KVMI_VCPU_GET_CPUID,          kvmi_vcpu_get_cpuid,          kvmi_vcpu_get_cpuid_reply),
  command(id.KVMI_GET_XSAVE,               'KVMI_GET_XSAVE',               machine.KVMI_VCPU_GET_XSAVE,          null,                         kvm_xsave),
  command(id.KVMI_READ_PHYSICAL,           'KVMI_READ_PHYSICAL',           machine.KVMI_VM_READ_PHYSICAL,        kvmi_access_physical,         null),
  command(id.KVMI_WRITE_PHYSICAL,          'KVMI_WRITE_PHYSICAL',          machine.KVMI_VM_WRITE_PHYSICAL,       kvmi_access_physical,         null),
  command(id.KVMI_INJECT_EXCEPTION,        'KVMI_INJECT_EXCEPTION',        machine.KVMI_VCPU_INJECT_EXCEPTION,   kvmi_vcpu_inject_exception,   null),
  command(id.KVMI_SET_PAGE_ACCESS,         'KVMI_SET_PAGE_ACCESS',         machine.KVMI_VM_SET_PAGE_ACCESS,      kvmi_set_page_access,         null),
  command(id.KVMI_GET_MTRR_TYPE,           'KVMI_GET_MTRR_TYPE',           machine.KVMI_VCPU_GET_MTRR_TYPE,      kvmi_vcpu_get_mtrr_type,      kvmi_vcpu_get_mtrr_type_reply),
  command(id.KVMI_CONTROL_SPP,             'KVMI_CONTROL_SPP',             beyond.ONLY_7_CONTROL_SPP,           kvmi_control_spp,             null),
  command(id.KVMI_SET_PAGE_WRITE_BITMAP,   'KVMI_SET_PAGE_WRITE_BITMAP',   beyond.ONLY_7_SET_PAGE_WRITE_BITMAP, kvmi_set_page_write_bitmap,   null),
  command(id.KVMI_CONTROL_CMD_RESPONSE,    'KVMI_CONTROL_CMD_RESPONSE',    beyond.ONLY_7_CONTROL_CMD_RESPONSE,  kvmi_control_cmd_response,    null),
  command(id.KVMI_SET_VE_INFO_PAGE,        'KVMI_SET_VE_INFO_PAGE',        beyond.ONLY_7_SET_VE_INFO_PAGE,      kvmi_set_ve_info_page,        null),
  command(id.KVMI_GET_MAX_GFN,             'KVMI_GET_MAX_GFN',             beyond.ONLY_7_GET_MAX_GFN,           null,                         kvmi_get_max_gfn_reply),
  command(id.KVMI_SWITCH_EPT_VIEW,         'KVMI_SWITCH_EPT_VIEW',         beyond.ONLY_7_SWITCH_EPT_VIEW,       kvmi_ept_view,                null),
  command(id.KVMI_DISABLE_VE,              'KVMI_DISABLE_VE',              beyond.ONLY_7_DISABLE_VE,            null,                         null),
  command(id.KVMI_GET_EPT_VIEW,            'KVMI_GET_EPT_VIEW',            beyond.ONLY_7_GET_EPT_VIEW,          null,                         kvmi_ept_view),
  command(id.KVMI_VCPU_TRANSLATE_GVA,      'KVMI_VCPU_TRANSLATE_GVA',      machine.KVMI_VCPU_TRANSLATE_GVA,      kvmi_vcpu_translate_gva,      kvmi_vcpu_translate_gva_reply),
  command(id.KVMI_CONTROL_EPT_VIEW,        'KVMI_CONTROL_EPT_VIEW',        beyond.ONLY_7_CONTROL_EPT_VIEW,      kvmi_control_ept_view,        null),
  command(id.KVMI_VCPU_GET_XCR,            'KVMI_VCPU_GET_XCR',            machine.KVMI_VCPU_GET_XCR,            kvmi_vcpu_get_xcr,            kvmi_vcpu_get_xcr_reply),
  command(id.KVMI_VCPU_SET_XSAVE,          'KVMI_VCPU_SET_XSAVE',          machine.KVMI_VCPU_SET_XSAVE,          kvm_xsave,                    null),
  command(id.KVMI_CREATE_EPT_VIEW,         'KVMI_CREATE_EPT_VIEW',         beyond.ONLY_7_CREATE_EPT_VIEW,       null,                         kvmi_ept_view),
  command(id.KVMI_DESTROY_EPT_VIEW,        'KVMI_DESTROY_EPT_VIEW',        beyond.ONLY_7_DESTROY_EPT_VIEW,      kvmi_ept_view,                null),
  command(id.KVMI_VCPU_CONTROL_SINGLESTEP, 'KVMI_VCPU_CONTROL_SINGLESTEP', machine.KVMI_VCPU_CONTROL_SINGLESTEP, kvmi_vcpu_control_singlestep, null),
].map((spec) => [spec.id, spec]));

/** What follows the struct of a message, as on wire-12 and besides. */
export const TAILS_7: ReadonlyMap<number, Tail> = new Map([
  ...TAILS,
  [beyond.ONLY_7_SET_PAGE_WRITE_BITMAP, { request: kvmi_page_write_bitmap_entry }],
]);

// ── events ──────────────────────────────────────────────────────────────────────────────────────────────────
export const kvmi_event_cpuid = wireStruct('kvmi_event_cpuid', {
  function: 'u32',
  index: 'u32',
  insn_length: 'u8',
  padding1: pad(3),
  padding2: pad(4),
});
/** Has no answer. */
export const kvmi_event_cmd_error = wireStruct('kvmi_event_cmd_error', {
  err: 's32',
  msg_seq: 'u32',
  msg_id: 'u16',
  padding: pad(6),
});
/** Bytes of ctx_data. */
export const PF_CONTEXT_BYTES = 256;
/**
 * What the reply to a PF event may carry: `ctx_size` bytes of what the guest is to read at `ctx_addr` (linear) instead of
 * what is there, and whether the rest of a REP instruction goes on without events.
 */
export const kvmi_event_pf_reply = wireStruct('kvmi_event_pf_reply', {
  ctx_addr: 'u64',
  ctx_size: 'u32',
  padding1: pad(1),
  rep_complete: 'u8',
  padding2: pad(2),
  ctx_data: blob(PF_CONTEXT_BYTES),
});

const { KVMI_EVENT_ACTION_CONTINUE, KVMI_EVENT_ACTION_RETRY, KVMI_EVENT_ACTION_CRASH } = machine;
const ANY = [KVMI_EVENT_ACTION_CONTINUE, KVMI_EVENT_ACTION_RETRY, KVMI_EVENT_ACTION_CRASH];
const NO_RETRY = [KVMI_EVENT_ACTION_CONTINUE, KVMI_EVENT_ACTION_CRASH];
const VALUE = kvmi_vcpu_event_reply_value;

function event(
  wireId: number,
  name: string,
  inMachine: number,
  data: AnyWireStruct | null,
  actions: readonly number[],
  reply: AnyWireStruct | null = null,
): EventSpec {
  return { id: wireId, name, machine: inMachine, of: 'vcpu', switchedBy: ['vcpu'], data, reply, actions };
}

// biome-ignore format: table
export const EVENTS_7: ReadonlyMap<number, EventSpec> = new Map(([
  { ...event(id.KVMI_EVENT_UNHOOK,      'KVMI_EVENT_UNHOOK',      machine.KVMI_VM_EVENT_UNHOOK,       null,                       []), of: 'vm', switchedBy: ['vm'] },
  event(id.KVMI_EVENT_CR,               'KVMI_EVENT_CR',          machine.KVMI_VCPU_EVENT_CR,         kvmi_vcpu_event_cr,         NO_RETRY, VALUE),
  event(id.KVMI_EVENT_MSR,              'KVMI_EVENT_MSR',         machine.KVMI_VCPU_EVENT_MSR,        kvmi_vcpu_event_msr,        NO_RETRY, VALUE),
  event(id.KVMI_EVENT_XSETBV,           'KVMI_EVENT_XSETBV',      machine.KVMI_VCPU_EVENT_XSETBV,     null,                       NO_RETRY),
  event(id.KVMI_EVENT_BREAKPOINT,       'KVMI_EVENT_BREAKPOINT',  machine.KVMI_VCPU_EVENT_BREAKPOINT, kvmi_vcpu_event_breakpoint, ANY),
  event(id.KVMI_EVENT_HYPERCALL,        'KVMI_EVENT_HYPERCALL',   machine.KVMI_VCPU_EVENT_HYPERCALL,  null,                       NO_RETRY),
  event(id.KVMI_EVENT_PF,               'KVMI_EVENT_PF',          machine.KVMI_VCPU_EVENT_PF,         kvmi_vcpu_event_pf,         ANY, kvmi_event_pf_reply),
  event(id.KVMI_EVENT_TRAP,             'KVMI_EVENT_TRAP',        machine.KVMI_VCPU_EVENT_TRAP,       kvmi_vcpu_event_trap,       NO_RETRY),
  event(id.KVMI_EVENT_DESCRIPTOR,       'KVMI_EVENT_DESCRIPTOR',  machine.KVMI_VCPU_EVENT_DESCRIPTOR, kvmi_vcpu_event_descriptor, ANY),
  { ...event(id.KVMI_EVENT_CREATE_VCPU, 'KVMI_EVENT_CREATE_VCPU', beyond.ONLY_7_EVENT_CREATE_VCPU,   null,                       NO_RETRY), switchedBy: ['vm'] },
  event(id.KVMI_EVENT_PAUSE_VCPU,       'KVMI_EVENT_PAUSE_VCPU',  machine.KVMI_VCPU_EVENT_PAUSE,      null,                       NO_RETRY),
  event(id.KVMI_EVENT_SINGLESTEP,       'KVMI_EVENT_SINGLESTEP',  machine.KVMI_VCPU_EVENT_SINGLESTEP, kvmi_vcpu_event_singlestep, NO_RETRY),
  { ...event(id.KVMI_EVENT_CMD_ERROR,   'KVMI_EVENT_CMD_ERROR',   beyond.ONLY_7_EVENT_CMD_ERROR,     kvmi_event_cmd_error,       []), of: 'vm', switchedBy: ['vm', 'vcpu'] },
  event(id.KVMI_EVENT_CPUID,            'KVMI_EVENT_CPUID',       beyond.ONLY_7_EVENT_CPUID,         kvmi_event_cpuid,           NO_RETRY),
] satisfies EventSpec[]).map((spec) => [spec.id, spec]));
