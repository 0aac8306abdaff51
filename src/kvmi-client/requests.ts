/** Commands as messages, on either wire: those whose structs differ, and those that may be sent in a batch. */
import type { WireVersion } from '../actors/introspector/introspector.api.ts';
import {
  KVMI_EVENT_ACTION_CONTINUE,
  KVMI_EVENT_ACTION_CRASH,
  KVMI_EVENT_ACTION_RETRY,
  KVMI_MAX_MSG_SIZE,
  KVMI_VCPU_CONTROL_CR,
  KVMI_VCPU_SET_REGISTERS,
  KVMI_VM_PAUSE_VCPU,
  KVMI_VM_READ_PHYSICAL,
  KVMI_VM_SET_PAGE_ACCESS,
  KVMI_VM_WRITE_PHYSICAL,
} from '../actors/introspector/kvmi/constants.ts';
import {
  kvmi_get_version_reply,
  kvmi_page_access_entry,
  kvmi_vcpu_control_cr,
  kvmi_vcpu_event_reply,
  kvmi_vcpu_event_reply_value,
  kvmi_vcpu_hdr,
  kvmi_vm_access_physical,
  kvmi_vm_pause_vcpu,
  kvmi_vm_set_page_access,
} from '../actors/introspector/kvmi/protocol.ts';
import {
  kvmi_access_physical,
  kvmi_control_cr,
  kvmi_event_pf_reply,
  kvmi_get_version_reply_7,
  kvmi_pause_vcpu,
  kvmi_set_page_access,
  PF_CONTEXT_BYTES,
} from '../actors/introspector/kvmi/protocol-7.ts';
import { type Wire, wireOfVersion } from '../actors/introspector/kvmi/wires.ts';
import type { Registers } from '../actors/introspector/tool.ts';
import { encodeRegisters } from '../actors/introspector/tool-values.ts';
import type { AnyVcpuEvent } from './events.ts';

/** One command, to be sent. */
export interface Request {
  /** As the wire has it. */
  readonly id: number;
  readonly parts: readonly Uint8Array[];
}

/** What a machine says of itself. Features of the other wire are 0. */
export interface Version {
  readonly version: number;
  readonly max_msg_size: number;
  readonly singlestep: number;
  readonly spp: number;
  readonly vmfunc: number;
  readonly eptp: number;
  readonly ve: number;
}

/** What the reply to a PF event can say on wire-7. */
export interface PfReply {
  /** At most 256 bytes that the instruction reads at a linear address, instead of what is there. */
  readonly context?: { readonly gva: bigint; readonly data: Uint8Array };
  readonly repComplete?: boolean;
}

const ACTIONS = {
  continue: KVMI_EVENT_ACTION_CONTINUE,
  retry: KVMI_EVENT_ACTION_RETRY,
  crash: KVMI_EVENT_ACTION_CRASH,
} as const;
export type Action = keyof typeof ACTIONS;

export class Requests {
  readonly wire: Wire;

  constructor(version: WireVersion) {
    this.wire = wireOfVersion(version);
  }

  /** By what the command is inside the machine. @throws RangeError for one that this wire does not have */
  command(machine: number, ...parts: readonly Uint8Array[]): Request {
    const spec = this.wire.commandOf.get(machine);
    if (spec === undefined) throw new RangeError(`wire-${this.wire.version} has no such command`);
    return { id: spec.id, parts };
  }

  ofVcpu(machine: number, vcpu: number, ...parts: readonly Uint8Array[]): Request {
    return this.command(machine, kvmi_vcpu_hdr.encode({ vcpu }), ...parts);
  }

  version(reply: Uint8Array): Version {
    const none = { singlestep: 0, spp: 0, vmfunc: 0, eptp: 0, ve: 0 };
    if (!this.#seven) return { ...none, ...kvmi_get_version_reply.decode(reply) };
    return { max_msg_size: KVMI_MAX_MSG_SIZE, ...kvmi_get_version_reply_7.decode(reply) };
  }

  readPhysical(gpa: bigint, size: number): Request {
    return this.command(KVMI_VM_READ_PHYSICAL, this.#range(gpa, size));
  }

  writePhysical(gpa: bigint, data: Uint8Array): Request {
    return this.command(KVMI_VM_WRITE_PHYSICAL, this.#range(gpa, data.length), data);
  }

  #range(gpa: bigint, size: number): Uint8Array {
    if (this.#seven) return kvmi_access_physical.encode({ gpa, size: BigInt(size) });
    return kvmi_vm_access_physical.encode({ gpa, size });
  }

  pauseVcpu(vcpu: number, opts: { readonly wait?: boolean } = {}): Request {
    const wait = opts.wait === true ? 1 : 0;
    if (this.#seven) return this.ofVcpu(KVMI_VM_PAUSE_VCPU, vcpu, kvmi_pause_vcpu.encode({ wait }));
    return this.command(KVMI_VM_PAUSE_VCPU, kvmi_vm_pause_vcpu.encode({ vcpu, wait }));
  }

  /** `access`: KVMI_PAGE_ACCESS_* that stay allowed. */
  setPageAccess(pages: readonly { readonly gpa: bigint; readonly access: number }[]): Request {
    const head = this.#seven ? kvmi_set_page_access : kvmi_vm_set_page_access;
    return this.command(
      KVMI_VM_SET_PAGE_ACCESS,
      head.encode({ count: pages.length }),
      ...pages.map((page) => kvmi_page_access_entry.encode(page)),
    );
  }

  /** @throws RangeError for what is no register */
  setRegisters(vcpu: number, registers: Registers): Request {
    const regs = encodeRegisters(registers);
    if (regs === null) throw new RangeError('a register is no unsigned 64-bit bigint');
    return this.ofVcpu(KVMI_VCPU_SET_REGISTERS, vcpu, regs);
  }

  controlCr(vcpu: number, cr: number, enable: boolean): Request {
    const struct = this.#seven ? kvmi_control_cr : kvmi_vcpu_control_cr;
    return this.ofVcpu(KVMI_VCPU_CONTROL_CR, vcpu, struct.encode({ cr, enable: enable ? 1 : 0 }));
  }

  /** The reply to an event, whose number the message has. See KvmiClient.reply. */
  reply(event: AnyVcpuEvent, action: Action, extra?: bigint | PfReply): Request {
    const { vcpu, id, kind } = event;
    const parts: Uint8Array[] = [
      kvmi_vcpu_hdr.encode({ vcpu }),
      kvmi_vcpu_event_reply.encode({ action: ACTIONS[action], event: id }),
    ];
    if (kind === 'cr' || kind === 'msr') {
      const newValue = typeof extra === 'bigint' ? extra : event.data.new_value;
      parts.push(kvmi_vcpu_event_reply_value.encode({ new_val: newValue }));
    }
    if (kind === 'pf' && this.#seven) parts.push(pfReply(typeof extra === 'object' ? extra : {}));
    return { id: this.wire.eventReply, parts };
  }

  get #seven(): boolean {
    return this.wire.version === 7;
  }
}

/** In full, as libkvmi's users send it. */
function pfReply({ context, repComplete = false }: PfReply): Uint8Array {
  return kvmi_event_pf_reply.encode({
    ctx_addr: context?.gva ?? 0n,
    ctx_size: context?.data.length ?? 0,
    rep_complete: repComplete ? 1 : 0,
    ...(context === undefined ? {} : { ctx_data: context.data.subarray(0, PF_CONTEXT_BYTES) }),
  });
}
