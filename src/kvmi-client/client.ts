/**
 * A KVMI tool's side of a session, on either wire, with types.
 *
 * ```ts
 * const listener = await KvmiListener.at('/tmp/tool.sock');
 * const client = await listener.next();
 * await client.controlEvents(0, 'pf', true);
 * await client.setPageAccess([{ gpa: 0x200000n, access: 5 }]);
 * for await (const event of client) if ('vcpu' in event) client.reply(event, 'continue');
 * ```
 */
import type { Duplex } from 'node:stream';
import { errnoName } from '../actors/introspector/command-error.ts';
import type { WireVersion } from '../actors/introspector/introspector.api.ts';
import {
  KVMI_GET_VERSION,
  KVMI_VCPU_CONTROL_EVENTS,
  KVMI_VCPU_CONTROL_MSR,
  KVMI_VCPU_CONTROL_SINGLESTEP,
  KVMI_VCPU_GET_CPUID,
  KVMI_VCPU_GET_INFO,
  KVMI_VCPU_GET_MTRR_TYPE,
  KVMI_VCPU_GET_REGISTERS,
  KVMI_VCPU_GET_XCR,
  KVMI_VCPU_GET_XSAVE,
  KVMI_VCPU_INJECT_EXCEPTION,
  KVMI_VCPU_SET_XSAVE,
  KVMI_VCPU_TRANSLATE_GVA,
  KVMI_VM_CHECK_COMMAND,
  KVMI_VM_CHECK_EVENT,
  KVMI_VM_CONTROL_CLEANUP,
  KVMI_VM_CONTROL_EVENTS,
  KVMI_VM_EVENT_UNHOOK,
  KVMI_VM_GET_INFO,
} from '../actors/introspector/kvmi/constants.ts';
import { CMD_RESPONSE_WITH_EVENT } from '../actors/introspector/kvmi/constants-7.ts';
import {
  ONLY_7_CONTROL_CMD_RESPONSE,
  ONLY_7_CONTROL_EPT_VIEW,
  ONLY_7_CREATE_EPT_VIEW,
  ONLY_7_DESTROY_EPT_VIEW,
  ONLY_7_GET_EPT_VIEW,
  ONLY_7_GET_MAX_GFN,
  ONLY_7_SWITCH_EPT_VIEW,
} from '../actors/introspector/kvmi/machine-ids.ts';
import {
  kvm_msr_entry,
  kvmi_control_events,
  kvmi_vcpu_control_msr,
  kvmi_vcpu_control_singlestep,
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
  kvmi_vcpu_translate_gva,
  kvmi_vcpu_translate_gva_reply,
  kvmi_vm_check_command,
  kvmi_vm_check_event,
  kvmi_vm_control_cleanup,
  kvmi_vm_get_info_reply,
} from '../actors/introspector/kvmi/protocol.ts';
import {
  kvmi_control_cmd_response,
  kvmi_control_ept_view,
  kvmi_ept_view,
  kvmi_get_max_gfn_reply,
} from '../actors/introspector/kvmi/protocol-7.ts';
import type { Wire } from '../actors/introspector/kvmi/wires.ts';
import type { Registers } from '../actors/introspector/tool.ts';
import { decodeRegisters } from '../actors/introspector/tool-values.ts';
import { Connection, type ConnectionOptions, type VmIdentity } from './connection.ts';
import { type AnyVcpuEvent, decodeKvmiEvent, type EventKind, eventId, type KvmiEvent } from './events.ts';
import { type Action, type PfReply, type Request, Requests, type Version } from './requests.ts';

/** A command that the machine has refused. */
export class KvmiError extends Error {
  override readonly name = 'KvmiError';
  /** Positive: 22 for EINVAL, 1000 for KVM's ENOSYS. */
  readonly errno: number;
  readonly errnoName: string;

  constructor(wire: Wire, id: number, errno: number) {
    super(`${wire.commands.get(id)?.name ?? `command ${id}`}: ${errnoName(errno)}`);
    this.errno = errno;
    this.errnoName = errnoName(errno);
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

export interface ClientOptions extends ConnectionOptions {
  /** Which form of the protocol to speak. Default: 12. */
  readonly wire?: WireVersion;
}

/** Every method of a command rejects with a {@link KvmiError} when it is refused, ConnectionClosed when nobody answers. */
export class KvmiClient {
  readonly connection: Connection;
  readonly machine: VmIdentity;

  /** Commands as messages, for {@link batch}. */
  readonly requests: Requests;

  private constructor(connection: Connection, machine: VmIdentity, wire: WireVersion) {
    this.connection = connection;
    this.machine = machine;
    this.requests = new Requests(wire);
  }

  /** Shakes hands over a stream on which a machine has connected. */
  static async open(stream: Duplex, options: ClientOptions = {}): Promise<KvmiClient> {
    const { connection, machine } = await Connection.open(stream, options);
    return new KvmiClient(connection, machine, options.wire ?? 12);
  }

  async getVersion(): Promise<Version> {
    return this.requests.version(await this.#vm(KVMI_GET_VERSION));
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
    const { id: event_id } = this.requests.wire.eventOf.get(KVMI_VM_EVENT_UNHOOK)!;
    const request = kvmi_control_events.encode({ event_id, enable: enable ? 1 : 0 });
    await this.#vm(KVMI_VM_CONTROL_EVENTS, request);
  }

  /** The first frame behind the machine's memory. */
  async getMaxGfn(): Promise<bigint> {
    // Wire-12 has no command for it: the handshake says it.
    if (this.requests.wire.version === 12) return this.machine.maxGpa / 4096n;
    return kvmi_get_max_gfn_reply.decode(await this.#vm(ONLY_7_GET_MAX_GFN)).gfn;
  }

  /** Within one page. */
  readPhysical(gpa: bigint, size: number): Promise<Uint8Array> {
    return this.#ask(this.requests.readPhysical(gpa, size));
  }

  /** Within one page. */
  async writePhysical(gpa: bigint, data: Uint8Array): Promise<void> {
    await this.#ask(this.requests.writePhysical(gpa, data));
  }

  /** One PAUSE event will come for each call. */
  async pauseVcpu(vcpu: number, opts: { readonly wait?: boolean } = {}): Promise<void> {
    await this.#ask(this.requests.pauseVcpu(vcpu, opts));
  }

  async controlCleanup(enable: boolean): Promise<void> {
    await this.#vm(KVMI_VM_CONTROL_CLEANUP, kvmi_vm_control_cleanup.encode({ enable: enable ? 1 : 0 }));
  }

  /** `access`: KVMI_PAGE_ACCESS_* that stay allowed. All entries are processed; the error is the first one's. */
  async setPageAccess(pages: readonly { readonly gpa: bigint; readonly access: number }[]): Promise<void> {
    await this.#ask(this.requests.setPageAccess(pages));
  }

  /** Hz; 0 when unknown. */
  async getTscSpeed(vcpu: number): Promise<bigint> {
    return kvmi_vcpu_get_info_reply.decode(await this.#vcpu(KVMI_VCPU_GET_INFO, vcpu)).tsc_speed;
  }

  async controlEvents(vcpu: number, kind: EventKind, enable: boolean): Promise<void> {
    const event_id = eventId(kind, this.requests.wire);
    const request = kvmi_control_events.encode({ event_id, enable: enable ? 1 : 0 });
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
    await this.#ask(this.requests.setRegisters(vcpu, registers));
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
    await this.#ask(this.requests.controlCr(vcpu, cr, enable));
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
    return message === null ? null : decodeKvmiEvent(message, this.requests.wire);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<KvmiEvent> {
    for (let event = await this.nextEvent(); event !== null; event = await this.nextEvent()) yield event;
  }

  // ── wire-7 only: RangeError on the other ──────────────────────────────────────────────────────────────────

  /**
   * Whether commands are answered, from the next one on or (`now`) from this one. Unanswered, one that has more to say than
   * an error closes the connection.
   *
   * @param opts.errorEvents  tell of errors by events
   */
  async controlCmdResponse(
    enable: boolean,
    opts: { readonly now?: boolean; readonly errorEvents?: boolean } = {},
  ): Promise<void> {
    const request = this.#cmdResponse(enable, opts.now === true, opts.errorEvents === true);
    const answered = opts.now === true ? enable : this.#answered;
    this.#answered = enable;
    if (answered) await this.#ask(request);
    else this.connection.send(request.id, this.connection.nextSeq(), ...request.parts);
  }
  #answered = true;

  /**
   * Sends commands of {@link requests} at once and without their replies, as libkvmi does. Settles when the machine has
   * dealt with all that it answers itself; what was wrong with one of them is not told.
   */
  async batch(requests: readonly Request[]): Promise<void> {
    const { connection } = this;
    let last: Promise<Uint8Array> | null = null;
    connection.together(() => {
      for (const { id, parts } of [this.#cmdResponse(false, true), ...requests]) {
        connection.send(id, connection.nextSeq(), ...parts);
      }
      last = this.#ask(this.#cmdResponse(true, true));
    });
    await last;
  }

  #cmdResponse(enable: boolean, now: boolean, errorEvents = false): Request {
    const values = {
      enable: enable ? 1 : 0,
      now: now ? 1 : 0,
      flags: errorEvents ? CMD_RESPONSE_WITH_EVENT : 0,
    };
    return this.requests.command(ONLY_7_CONTROL_CMD_RESPONSE, kvmi_control_cmd_response.encode(values));
  }

  async getEptView(vcpu: number): Promise<number> {
    return kvmi_ept_view.decode(await this.#vcpu(ONLY_7_GET_EPT_VIEW, vcpu)).view;
  }

  async switchEptView(vcpu: number, view: number): Promise<void> {
    await this.#vcpu(ONLY_7_SWITCH_EPT_VIEW, vcpu, kvmi_ept_view.encode({ view }));
  }

  async controlEptView(vcpu: number, view: number, visible: boolean): Promise<void> {
    const request = kvmi_control_ept_view.encode({ view, visible: visible ? 1 : 0 });
    await this.#vcpu(ONLY_7_CONTROL_EPT_VIEW, vcpu, request);
  }

  async createEptView(): Promise<number> {
    return kvmi_ept_view.decode(await this.#vm(ONLY_7_CREATE_EPT_VIEW)).view;
  }

  async destroyEptView(view: number): Promise<void> {
    await this.#vm(ONLY_7_DESTROY_EPT_VIEW, kvmi_ept_view.encode({ view }));
  }

  // ── answers ───────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Answers an event.
   *
   * @param extra  of a CR or MSR event: what the register gets; without it, what the guest wanted. Of a PF event, on
   *               wire-7: what the guest reads instead of its memory, and whether a REP instruction raises no more events
   */
  reply(event: AnyVcpuEvent, action: Action, extra?: bigint | PfReply): void {
    const { id, parts } = this.requests.reply(event, action, extra);
    this.connection.send(id, event.seq, ...parts);
  }

  /** Ends the session: vCPUs that wait go on, and the machine forgets all restrictions. */
  close(): Promise<void> {
    this.connection.close();
    return this.connection.closed;
  }

  /** `machine`: the command by its number inside the machine, wire-12's. */
  #vm(machine: number, ...parts: readonly Uint8Array[]): Promise<Uint8Array> {
    return this.#ask(this.requests.command(machine, ...parts));
  }

  #vcpu(machine: number, vcpu: number, ...parts: readonly Uint8Array[]): Promise<Uint8Array> {
    return this.#ask(this.requests.ofVcpu(machine, vcpu, ...parts));
  }

  async #ask({ id, parts }: Request): Promise<Uint8Array> {
    const { error, data } = await this.connection.request(id, ...parts);
    if (error !== 0) throw new KvmiError(this.requests.wire, id, -error);
    return data;
  }
}
