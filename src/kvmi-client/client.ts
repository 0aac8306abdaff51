/**
 * A KVMI tool's side of a session, wire-12, with types.
 *
 * ```ts
 * const listener = await KvmiListener.at('/tmp/tool.sock');
 * const client = await listener.next();
 * await client.controlEvents(0, 'pf', true);
 * await client.setPageAccess([{ gpa: 0x200000n, access: 5 }]);
 * for await (const event of client) client.reply(event, 'continue');
 * ```
 */
import type { Duplex } from 'node:stream';
import {
  KVMI_EVENT_ACTION_CONTINUE,
  KVMI_EVENT_ACTION_CRASH,
  KVMI_EVENT_ACTION_RETRY,
  KVMI_GET_VERSION,
  KVMI_VCPU_CONTROL_CR,
  KVMI_VCPU_CONTROL_EVENTS,
  KVMI_VCPU_CONTROL_MSR,
  KVMI_VCPU_CONTROL_SINGLESTEP,
  KVMI_VCPU_EVENT,
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
} from '../actors/introspector/kvmi/constants.ts';
import {
  COMMANDS,
  kvm_msr_entry,
  kvmi_control_events,
  kvmi_get_version_reply,
  kvmi_page_access_entry,
  kvmi_vcpu_control_cr,
  kvmi_vcpu_control_msr,
  kvmi_vcpu_control_singlestep,
  kvmi_vcpu_event_reply,
  kvmi_vcpu_event_reply_value,
  kvmi_vcpu_get_cpuid,
  kvmi_vcpu_get_cpuid_reply,
  kvmi_vcpu_get_info_reply,
  kvmi_vcpu_get_mtrr_type,
  kvmi_vcpu_get_mtrr_type_reply,
  kvmi_vcpu_get_registers,
  kvmi_vcpu_get_registers_reply,
  kvmi_vcpu_get_xcr,
  kvmi_vcpu_get_xcr_reply,
  kvmi_vcpu_hdr,
  kvmi_vcpu_inject_exception,
  kvmi_vcpu_translate_gva,
  kvmi_vcpu_translate_gva_reply,
  kvmi_vm_access_physical,
  kvmi_vm_check_command,
  kvmi_vm_check_event,
  kvmi_vm_control_cleanup,
  kvmi_vm_get_info_reply,
  kvmi_vm_pause_vcpu,
  kvmi_vm_set_page_access,
} from '../actors/introspector/kvmi/protocol.ts';
import type { Registers } from '../actors/introspector/tool.ts';
import { decodeRegisters, encodeRegisters } from '../actors/introspector/tool-values.ts';
import { Connection, type ConnectionOptions, type VmIdentity } from './connection.ts';
import { type AnyVcpuEvent, decodeKvmiEvent, type EventKind, eventId, type KvmiEvent } from './events.ts';

/** A command that the machine has refused. */
export class KvmiError extends Error {
  override readonly name = 'KvmiError';
  /** Positive: 22 for EINVAL. */
  readonly errno: number;

  constructor(id: number, errno: number) {
    super(`${COMMANDS.get(id)?.name ?? `command ${id}`}: error ${errno}`);
    this.errno = errno;
  }
}

/** What a vCPU is like. */
export interface VcpuState {
  readonly mode: number;
  readonly registers: Registers;
  /** kvm_sregs, 312 bytes. */
  readonly sregs: Uint8Array;
  /** In the order asked for. */
  readonly msrs: readonly { readonly index: number; readonly data: bigint }[];
}

const ACTIONS = {
  continue: KVMI_EVENT_ACTION_CONTINUE,
  retry: KVMI_EVENT_ACTION_RETRY,
  crash: KVMI_EVENT_ACTION_CRASH,
} as const;

/** Every method of a command rejects with a {@link KvmiError} when it is refused, ConnectionClosed when nobody answers. */
export class KvmiClient {
  readonly connection: Connection;
  readonly machine: VmIdentity;

  private constructor(connection: Connection, machine: VmIdentity) {
    this.connection = connection;
    this.machine = machine;
  }

  /** Shakes hands over a stream on which a machine has connected. */
  static async open(stream: Duplex, options: ConnectionOptions = {}): Promise<KvmiClient> {
    const { connection, machine } = await Connection.open(stream, options);
    return new KvmiClient(connection, machine);
  }

  async getVersion(): Promise<{ version: number; max_msg_size: number; singlestep: number }> {
    return kvmi_get_version_reply.decode(await this.#vm(KVMI_GET_VERSION));
  }

  async checkCommand(id: number): Promise<void> {
    await this.#vm(KVMI_VM_CHECK_COMMAND, kvmi_vm_check_command.encode({ id }));
  }

  async checkEvent(id: number): Promise<void> {
    await this.#vm(KVMI_VM_CHECK_EVENT, kvmi_vm_check_event.encode({ id }));
  }

  async getInfo(): Promise<{ vcpu_count: number }> {
    return kvmi_vm_get_info_reply.decode(await this.#vm(KVMI_VM_GET_INFO));
  }

  /** The UNHOOK event. */
  async controlUnhookEvent(enable: boolean): Promise<void> {
    const request = kvmi_control_events.encode({ event_id: KVMI_VM_EVENT_UNHOOK, enable: enable ? 1 : 0 });
    await this.#vm(KVMI_VM_CONTROL_EVENTS, request);
  }

  /** Within one page. */
  readPhysical(gpa: bigint, size: number): Promise<Uint8Array> {
    return this.#vm(KVMI_VM_READ_PHYSICAL, kvmi_vm_access_physical.encode({ gpa, size }));
  }

  /** Within one page. */
  async writePhysical(gpa: bigint, data: Uint8Array): Promise<void> {
    await this.#vm(KVMI_VM_WRITE_PHYSICAL, kvmi_vm_access_physical.encode({ gpa, size: data.length }), data);
  }

  /** One PAUSE event will come for each call. */
  async pauseVcpu(vcpu: number, opts: { readonly wait?: boolean } = {}): Promise<void> {
    const wait = opts.wait === true ? 1 : 0;
    await this.#vm(KVMI_VM_PAUSE_VCPU, kvmi_vm_pause_vcpu.encode({ vcpu, wait }));
  }

  async controlCleanup(enable: boolean): Promise<void> {
    await this.#vm(KVMI_VM_CONTROL_CLEANUP, kvmi_vm_control_cleanup.encode({ enable: enable ? 1 : 0 }));
  }

  /** `access`: KVMI_PAGE_ACCESS_* that stay allowed. All entries are processed; the error is the first one's. */
  async setPageAccess(pages: readonly { readonly gpa: bigint; readonly access: number }[]): Promise<void> {
    const head = kvmi_vm_set_page_access.encode({ count: pages.length });
    await this.#vm(
      KVMI_VM_SET_PAGE_ACCESS,
      head,
      ...pages.map((page) => kvmi_page_access_entry.encode(page)),
    );
  }

  /** Hz; 0 when unknown. */
  async getTscSpeed(vcpu: number): Promise<bigint> {
    return kvmi_vcpu_get_info_reply.decode(await this.#vcpu(KVMI_VCPU_GET_INFO, vcpu)).tsc_speed;
  }

  async controlEvents(vcpu: number, kind: EventKind, enable: boolean): Promise<void> {
    const request = kvmi_control_events.encode({ event_id: eventId(kind), enable: enable ? 1 : 0 });
    await this.#vcpu(KVMI_VCPU_CONTROL_EVENTS, vcpu, request);
  }

  async getRegisters(vcpu: number, msrs: readonly number[] = []): Promise<VcpuState> {
    const head = kvmi_vcpu_get_registers.encode({ nmsrs: msrs.length });
    const numbers = new Uint8Array(4 * msrs.length);
    const view = new DataView(numbers.buffer);
    for (const [i, index] of msrs.entries()) view.setUint32(4 * i, index, true);
    const data = await this.#vcpu(KVMI_VCPU_GET_REGISTERS, vcpu, head, numbers);
    const { mode, regs, sregs, nmsrs } = kvmi_vcpu_get_registers_reply.decode(data);
    return {
      mode,
      registers: decodeRegisters(regs),
      sregs,
      msrs: Array.from({ length: nmsrs }, (_, i) =>
        kvm_msr_entry.decode(data, kvmi_vcpu_get_registers_reply.bytes + i * kvm_msr_entry.bytes),
      ),
    };
  }

  /** For a vCPU that waits for a reply; holds from that reply on. @throws RangeError for what is no register */
  async setRegisters(vcpu: number, registers: Registers): Promise<void> {
    const regs = encodeRegisters(registers);
    if (regs === null) throw new RangeError('a register is no unsigned 64-bit bigint');
    await this.#vcpu(KVMI_VCPU_SET_REGISTERS, vcpu, regs);
  }

  async getCpuid(
    vcpu: number,
    leaf: number,
    index = 0,
  ): Promise<{ eax: number; ebx: number; ecx: number; edx: number }> {
    const request = kvmi_vcpu_get_cpuid.encode({ function: leaf, index });
    return kvmi_vcpu_get_cpuid_reply.decode(await this.#vcpu(KVMI_VCPU_GET_CPUID, vcpu, request));
  }

  async controlCr(vcpu: number, cr: number, enable: boolean): Promise<void> {
    await this.#vcpu(KVMI_VCPU_CONTROL_CR, vcpu, kvmi_vcpu_control_cr.encode({ cr, enable: enable ? 1 : 0 }));
  }

  async controlMsr(vcpu: number, msr: number, enable: boolean): Promise<void> {
    const request = kvmi_vcpu_control_msr.encode({ msr, enable: enable ? 1 : 0 });
    await this.#vcpu(KVMI_VCPU_CONTROL_MSR, vcpu, request);
  }

  async controlSinglestep(vcpu: number, enable: boolean): Promise<void> {
    const request = kvmi_vcpu_control_singlestep.encode({ enable: enable ? 1 : 0 });
    await this.#vcpu(KVMI_VCPU_CONTROL_SINGLESTEP, vcpu, request);
  }

  /** A TRAP event will say which exception the guest really takes. */
  async injectException(
    vcpu: number,
    exception: { readonly nr: number; readonly errorCode?: number; readonly address?: bigint },
  ): Promise<void> {
    const { nr, errorCode = 0, address = 0n } = exception;
    const request = kvmi_vcpu_inject_exception.encode({ nr, error_code: errorCode, address });
    await this.#vcpu(KVMI_VCPU_INJECT_EXCEPTION, vcpu, request);
  }

  async getXcr(vcpu: number, xcr: number): Promise<bigint> {
    const reply = await this.#vcpu(KVMI_VCPU_GET_XCR, vcpu, kvmi_vcpu_get_xcr.encode({ xcr }));
    return kvmi_vcpu_get_xcr_reply.decode(reply).value;
  }

  /** 4096 bytes. */
  getXsave(vcpu: number): Promise<Uint8Array> {
    return this.#vcpu(KVMI_VCPU_GET_XSAVE, vcpu);
  }

  async setXsave(vcpu: number, area: Uint8Array): Promise<void> {
    await this.#vcpu(KVMI_VCPU_SET_XSAVE, vcpu, area);
  }

  async getMtrrType(vcpu: number, gpa: bigint): Promise<number> {
    const reply = await this.#vcpu(KVMI_VCPU_GET_MTRR_TYPE, vcpu, kvmi_vcpu_get_mtrr_type.encode({ gpa }));
    return kvmi_vcpu_get_mtrr_type_reply.decode(reply).type;
  }

  /** All ones for an address that is not mapped. */
  async translateGva(vcpu: number, gva: bigint): Promise<bigint> {
    const reply = await this.#vcpu(KVMI_VCPU_TRANSLATE_GVA, vcpu, kvmi_vcpu_translate_gva.encode({ gva }));
    return kvmi_vcpu_translate_gva_reply.decode(reply).gpa;
  }

  /** The next event; null when the session is over. */
  async nextEvent(): Promise<KvmiEvent | null> {
    const message = await this.connection.nextEvent();
    return message === null ? null : decodeKvmiEvent(message);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<KvmiEvent> {
    for (let event = await this.nextEvent(); event !== null; event = await this.nextEvent()) yield event;
  }

  /**
   * Answers an event.
   *
   * @param newValue  of a CR or MSR event: what the register gets; without it, what the guest wanted
   */
  reply(event: AnyVcpuEvent, action: keyof typeof ACTIONS, newValue?: bigint): void {
    const { vcpu, id, seq } = event;
    const parts = [
      kvmi_vcpu_hdr.encode({ vcpu }),
      kvmi_vcpu_event_reply.encode({ action: ACTIONS[action], event: id }),
    ];
    if (event.kind === 'cr' || event.kind === 'msr') {
      parts.push(kvmi_vcpu_event_reply_value.encode({ new_val: newValue ?? event.data.new_value }));
    }
    this.connection.send(KVMI_VCPU_EVENT, seq, ...parts);
  }

  /** Ends the session: vCPUs that wait go on, and the machine forgets all restrictions. */
  close(): Promise<void> {
    this.connection.close();
    return this.connection.closed;
  }

  async #vm(id: number, ...parts: readonly Uint8Array[]): Promise<Uint8Array> {
    const { error, data } = await this.connection.request(id, ...parts);
    if (error !== 0) throw new KvmiError(id, -error);
    return data;
  }

  #vcpu(id: number, vcpu: number, ...parts: readonly Uint8Array[]): Promise<Uint8Array> {
    return this.#vm(id, kvmi_vcpu_hdr.encode({ vcpu }), ...parts);
  }
}
