/** The wire's structs, ids and sizes against the protocol's description, as numbers typed from there. */
import test from 'ava';
import * as ids from '../../../src/actors/introspector/kvmi/constants.ts';
import * as protocol from '../../../src/actors/introspector/kvmi/protocol.ts';
import { blob, pad, wireStruct } from '../../../src/actors/introspector/kvmi/wire-struct.ts';

// name, id, request bytes without vcpu_hdr, reply bytes
const COMMANDS: readonly [string, number, number, number][] = [
  ['KVMI_GET_VERSION', 2, 0, 16],
  ['KVMI_VM_CHECK_COMMAND', 4, 8, 0],
  ['KVMI_VM_CHECK_EVENT', 6, 8, 0],
  ['KVMI_VM_GET_INFO', 8, 0, 16],
  ['KVMI_VM_CONTROL_EVENTS', 10, 8, 0],
  ['KVMI_VM_READ_PHYSICAL', 12, 16, 0],
  ['KVMI_VM_WRITE_PHYSICAL', 14, 16, 0],
  ['KVMI_VM_PAUSE_VCPU', 16, 8, 0],
  ['KVMI_VM_CONTROL_CLEANUP', 18, 8, 0],
  ['KVMI_VM_SET_PAGE_ACCESS', 20, 8, 0],
  ['KVMI_VCPU_GET_INFO', 3, 0, 8],
  ['KVMI_VCPU_CONTROL_EVENTS', 5, 8, 0],
  ['KVMI_VCPU_GET_REGISTERS', 7, 8, 472],
  ['KVMI_VCPU_SET_REGISTERS', 9, 144, 0],
  ['KVMI_VCPU_GET_CPUID', 11, 8, 16],
  ['KVMI_VCPU_CONTROL_CR', 13, 8, 0],
  ['KVMI_VCPU_INJECT_EXCEPTION', 15, 16, 0],
  ['KVMI_VCPU_GET_XCR', 17, 8, 8],
  ['KVMI_VCPU_GET_XSAVE', 19, 0, 4096],
  ['KVMI_VCPU_SET_XSAVE', 21, 4096, 0],
  ['KVMI_VCPU_GET_MTRR_TYPE', 23, 8, 8],
  ['KVMI_VCPU_CONTROL_MSR', 25, 8, 0],
  ['KVMI_VCPU_CONTROL_SINGLESTEP', 27, 8, 0],
  ['KVMI_VCPU_TRANSLATE_GVA', 29, 8, 8],
];

// name, id, bytes after 552, reply extra, legal actions
const EVENTS: readonly [string, number, number, number, string][] = [
  ['KVMI_VCPU_EVENT_PAUSE', 1, 0, 0, '02'],
  ['KVMI_VCPU_EVENT_HYPERCALL', 3, 0, 0, '02'],
  ['KVMI_VCPU_EVENT_BREAKPOINT', 5, 16, 0, '012'],
  ['KVMI_VCPU_EVENT_CR', 7, 24, 8, '02'],
  ['KVMI_VCPU_EVENT_TRAP', 9, 16, 0, '02'],
  ['KVMI_VCPU_EVENT_XSETBV', 11, 24, 0, '02'],
  ['KVMI_VCPU_EVENT_DESCRIPTOR', 13, 8, 0, '012'],
  ['KVMI_VCPU_EVENT_MSR', 15, 24, 8, '02'],
  ['KVMI_VCPU_EVENT_PF', 17, 24, 0, '012'],
  ['KVMI_VCPU_EVENT_SINGLESTEP', 19, 8, 0, '02'],
];

test('commands have their ids and sizes, and there are no others', (t) => {
  for (const [name, id, request, reply] of COMMANDS) {
    const spec = protocol.COMMANDS.get(id);
    t.is(spec?.name, name);
    t.is(spec?.request?.bytes ?? 0, request, `${name}: request`);
    t.is(spec?.reply?.bytes ?? 0, reply, `${name}: reply`);
    t.is(spec?.answers, id % 2 === 0 ? 'vm' : 'vcpu');
    t.is((ids as Record<string, unknown>)[name], id);
  }
  t.is(protocol.COMMANDS.size, COMMANDS.length);
  t.is(ids.KVMI_NEXT_COMMAND, 30);
  t.deepEqual(protocol.ALWAYS_ALLOWED, [2, 4, 6]);
});

test('events have their ids, sizes and answers, and there are no others', (t) => {
  for (const [name, id, data, reply, actions] of EVENTS) {
    const spec = protocol.EVENTS.get(id);
    t.is(spec?.name, name);
    t.is(spec?.data?.bytes ?? 0, data, name);
    t.is(spec?.reply?.bytes ?? 0, reply, `${name}: reply`);
    t.is(spec?.actions.join(''), actions, `${name}: actions`);
  }
  t.is(protocol.EVENTS.get(0)?.of, 'vm');
  t.is(protocol.EVENTS.size, EVENTS.length + 1);
  t.is(ids.KVMI_NEXT_EVENT, 20);
});

test('fields stand where the kernel has them', (t) => {
  t.like(protocol.kvmi_msg_hdr.at, { id: 0, size: 2, seq: 4 });
  t.is(protocol.kvmi_msg_hdr.bytes, 8);
  t.is(protocol.kvmi_vcpu_hdr.bytes, 8);
  t.is(protocol.kvmi_error_code.bytes, 8);
  t.is(protocol.kvmi_event_hdr.bytes, 8);
  t.is(protocol.kvmi_vcpu_event_reply.bytes, 8);
  // Of the common part, offsets from the start of the message's payload.
  const at = (name: keyof typeof protocol.kvmi_vcpu_event.at) => 8 + protocol.kvmi_vcpu_event.at[name];
  t.is(protocol.kvmi_vcpu_event.bytes, 544);
  t.deepEqual(
    [at('size'), at('vcpu'), at('mode'), at('regs'), at('sregs'), at('sysenter_cs'), at('efer')],
    [8, 10, 16, 24, 168, 480, 504],
  );
  t.deepEqual([at('star'), at('lstar'), at('cstar'), at('pat'), at('shadow_gs')], [512, 520, 528, 536, 544]);
  t.like(protocol.kvmi_get_version_reply.at, { version: 0, max_msg_size: 4, singlestep: 8 });
  t.like(protocol.kvmi_control_events.at, { event_id: 0, enable: 2 });
  t.like(protocol.kvmi_vm_access_physical.at, { gpa: 0, size: 8 });
  t.like(protocol.kvmi_vm_pause_vcpu.at, { vcpu: 0, wait: 2 });
  t.like(protocol.kvmi_page_access_entry.at, { gpa: 0, access: 8 });
  t.is(protocol.kvmi_page_access_entry.bytes, 16);
  t.like(protocol.kvmi_vcpu_get_registers_reply.at, { mode: 0, regs: 8, sregs: 152, nmsrs: 464 });
  t.like(protocol.kvm_msr_entry.at, { index: 0, data: 8 });
  t.like(protocol.kvmi_vcpu_control_cr.at, { cr: 0, enable: 1 });
  t.like(protocol.kvmi_vcpu_inject_exception.at, { nr: 0, error_code: 4, address: 8 });
  t.like(protocol.kvmi_vcpu_control_msr.at, { enable: 0, msr: 4 });
  t.like(protocol.kvmi_vcpu_event_breakpoint.at, { gpa: 0, insn_len: 8 });
  t.like(protocol.kvmi_vcpu_event_cr.at, { cr: 0, old_value: 8, new_value: 16 });
  t.like(protocol.kvmi_vcpu_event_trap.at, { nr: 0, error_code: 4, address: 8 });
  t.like(protocol.kvmi_vcpu_event_msr.at, { msr: 0, old_value: 8, new_value: 16 });
  t.like(protocol.kvmi_vcpu_event_pf.at, { gva: 0, gpa: 8, access: 16 });
  t.like(protocol.kvmi_vcpu_event_descriptor.at, { descriptor: 0, write: 1 });
  t.is(ids.KVMI_MAX_MSG_SIZE, 8184);
});

test('a struct survives the way there and back; what is missing is 0, what is too long is cut off', (t) => {
  const all = wireStruct('all', { a: 'u8', p: pad(1), b: 'u16', c: 's32', d: 'u64', e: blob(3), q: pad(1) });
  const values = { a: 0xfe, b: 0xfedc, c: -1000, d: 0xfedc_ba98_7654_3210n, e: Uint8Array.of(1, 2, 3) };
  const bytes = all.encode(values);
  t.deepEqual(all.decode(bytes), values);
  t.deepEqual(all.decode(Uint8Array.of(9, 9, 9, ...bytes, 9), 3), values);
  t.is(all.decode(bytes.subarray(0, 3)).b, 0xdc);
  t.deepEqual(all.decode(new Uint8Array(0)), { a: 0, b: 0, c: 0, d: 0n, e: new Uint8Array(3) });
  t.true(all.clean(bytes));
  t.true(all.clean(bytes.subarray(0, 1)));
  bytes[1] = 1;
  t.false(all.clean(bytes));
  t.throws(() => wireStruct('crooked', { a: 'u8', b: 'u16' }), { message: /crooked\.b is not aligned/ });
});
