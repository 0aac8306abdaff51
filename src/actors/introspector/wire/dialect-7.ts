/**
 * Wire-7: its VM commands and events, and commands without replies.
 *
 * @source kernel branch kvmi-v7: virt/kvm/introspection/kvmi_msg.c; arch/x86/kvm/kvmi.c: kvmi_arch_cmd_set_page_access,
 *         kvmi_arch_cmd_set_page_write_bitmap
 */
import { EINVAL, ENOSYS, EOPNOTSUPP, EPERM } from '../../mmu/errno.ts';
import type { Vm } from '../../mmu/vm.ts';
import { eventAllowed } from '../hook.ts';
import {
  KVMI_GET_VERSION,
  KVMI_PAGE_ACCESS_R,
  KVMI_PAGE_ACCESS_W,
  KVMI_PAGE_ACCESS_X,
  KVMI_VERSION,
  KVMI_VM_CHECK_COMMAND,
  KVMI_VM_CHECK_EVENT,
  KVMI_VM_CONTROL_EVENTS,
  KVMI_VM_EVENT_UNHOOK,
  KVMI_VM_GET_INFO,
  KVMI_VM_PAUSE_VCPU,
  KVMI_VM_READ_PHYSICAL,
  KVMI_VM_SET_PAGE_ACCESS,
  KVMI_VM_WRITE_PHYSICAL,
} from '../kvmi/constants.ts';
import {
  CMD_RESPONSE_WITH_EVENT,
  KVM_MAX_EPT_VIEWS,
  KVMI_EVENT,
  KVMI_EVENT_CMD_ERROR,
  KVMI_EVENT_UNHOOK,
} from '../kvmi/constants-7.ts';
import {
  ONLY_7_CONTROL_CMD_RESPONSE,
  ONLY_7_CONTROL_SPP,
  ONLY_7_CREATE_EPT_VIEW,
  ONLY_7_DESTROY_EPT_VIEW,
  ONLY_7_EVENT_CMD_ERROR,
  ONLY_7_GET_MAX_GFN,
  ONLY_7_SET_PAGE_WRITE_BITMAP,
} from '../kvmi/machine-ids.ts';
import { kvmi_page_access_entry, kvmi_vcpu_hdr, kvmi_vm_check_command } from '../kvmi/protocol.ts';
import {
  kvmi_access_physical,
  kvmi_control_cmd_response,
  kvmi_control_spp,
  kvmi_event,
  kvmi_event_cmd_error,
  kvmi_get_max_gfn_reply,
  kvmi_get_version_reply_7,
  kvmi_page_write_bitmap_entry,
  kvmi_pause_vcpu,
  kvmi_set_page_access,
  kvmi_set_page_write_bitmap,
} from '../kvmi/protocol-7.ts';
import { WIRE_7 } from '../kvmi/wires.ts';
import type { SessionEvent } from '../session.ts';
import type { EventState } from '../vcpu-state.ts';
import {
  CLOSE,
  type Dialect,
  INVALID,
  OK,
  type Receiver,
  type Replies,
  type VmAnswer,
  VmEffects,
} from './dialect.ts';
import { frame } from './framing.ts';

const NOT_SUPPORTED: VmAnswer = { error: -EOPNOTSUPP };
const FULL_ACCESS = KVMI_PAGE_ACCESS_R | KVMI_PAGE_ACCESS_W | KVMI_PAGE_ACCESS_X;

export class Dialect7 implements Dialect {
  readonly wire = WIRE_7;
  readonly dirtyHeader = CLOSE;
  replies: Replies = 'all';
  readonly #machine: Vm;
  readonly #vm: VmEffects;

  constructor(receiver: Receiver) {
    this.#machine = receiver.vm;
    this.#vm = new VmEffects(receiver, WIRE_7);
  }

  vmCommand(machine: number, payload: Uint8Array): VmAnswer {
    switch (machine) {
      case KVMI_GET_VERSION:
        return { error: 0, data: kvmi_get_version_reply_7.encode({ version: KVMI_VERSION, singlestep: 1 }) };
      case KVMI_VM_CHECK_COMMAND:
      case KVMI_VM_CHECK_EVENT:
        return this.#check(machine === KVMI_VM_CHECK_COMMAND ? 'command' : 'event', payload);
      case KVMI_VM_GET_INFO:
        return this.#vm.getInfo();
      case KVMI_VM_CONTROL_EVENTS:
        return this.#vm.controlEvents(payload);
      case KVMI_VM_READ_PHYSICAL: {
        const { gpa, size } = kvmi_access_physical.decode(payload);
        return this.#vm.readPhysical(gpa, size);
      }
      case KVMI_VM_WRITE_PHYSICAL: {
        const { bytes } = kvmi_access_physical;
        const { gpa, size } = kvmi_access_physical.decode(payload);
        // As the kernel adds: modulo 2^64.
        if (payload.length < BigInt.asUintN(64, BigInt(bytes) + size)) return CLOSE;
        return this.#vm.writePhysical(gpa, size, payload.subarray(bytes));
      }
      case KVMI_VM_PAUSE_VCPU:
        return this.#pauseVcpu(payload);
      case KVMI_VM_SET_PAGE_ACCESS:
        return this.#setPageAccess(payload);
      case ONLY_7_CONTROL_CMD_RESPONSE:
        return this.#controlCmdResponse(payload);
      case ONLY_7_GET_MAX_GFN:
        return { error: 0, data: kvmi_get_max_gfn_reply.encode({ gfn: BigInt(this.#vm.maxGfn()) }) };
      // There are no sub-page permissions, and one view.
      case ONLY_7_CONTROL_SPP:
        return kvmi_control_spp.clean(payload) ? NOT_SUPPORTED : INVALID;
      case ONLY_7_SET_PAGE_WRITE_BITMAP: {
        const { count } = kvmi_set_page_write_bitmap.decode(payload);
        const bytes = kvmi_set_page_write_bitmap.bytes + kvmi_page_write_bitmap_entry.bytes * count;
        if (!kvmi_set_page_write_bitmap.clean(payload) || payload.length < bytes) return INVALID;
        return NOT_SUPPORTED;
      }
      case ONLY_7_CREATE_EPT_VIEW:
        return NOT_SUPPORTED;
      case ONLY_7_DESTROY_EPT_VIEW:
        return INVALID;
      default:
        return { error: -ENOSYS };
    }
  }

  #check(what: 'command' | 'event', payload: Uint8Array): VmAnswer {
    const { id } = kvmi_vm_check_command.decode(payload);
    const limit = what === 'command' ? WIRE_7.commandLimit : WIRE_7.eventLimit;
    if (!kvmi_vm_check_command.clean(payload) || id >= limit) return INVALID;
    return this.#vm.check(what, id, -EPERM);
  }

  /** The kernel reads the vCPU's number where `wait` should be; here it is what the tool has asked for. */
  #pauseVcpu(payload: Uint8Array): VmAnswer {
    const { vcpu } = kvmi_vcpu_hdr.decode(payload);
    const { wait } = kvmi_pause_vcpu.decode(payload, kvmi_vcpu_hdr.bytes);
    if (!kvmi_pause_vcpu.clean(payload, kvmi_vcpu_hdr.bytes) || !kvmi_vcpu_hdr.clean(payload)) return CLOSE;
    return this.#vm.mayPause ? this.#vm.pause(vcpu, wait === 1) : CLOSE;
  }

  /** Processed to the end; the answer is the first error, what came before and after it holds. */
  #setPageAccess(payload: Uint8Array): VmAnswer {
    const head = kvmi_set_page_access.bytes;
    const each = kvmi_page_access_entry.bytes;
    const { view, count } = kvmi_set_page_access.decode(payload);
    if (!kvmi_set_page_access.clean(payload) || payload.length < head + each * count) return INVALID;
    if (view >= KVM_MAX_EPT_VIEWS) return INVALID;
    if (view !== 0) return NOT_SUPPORTED;
    let first = 0;
    for (let at = head; at < head + each * count; at += each) {
      const { gpa, access } = kvmi_page_access_entry.decode(payload, at);
      let error = -EINVAL;
      if (kvmi_page_access_entry.clean(payload, at) && (access & ~FULL_ACCESS) === 0) {
        error = this.#vm.setPageAccess(gpa, access);
        // kvmi_set_mem_access: a page that no memslot has is passed over.
        if (error === -EINVAL) error = 0;
      }
      if (first === 0) first = error;
    }
    return { error: first };
  }

  #controlCmdResponse(payload: Uint8Array): VmAnswer {
    const { enable, now, flags } = kvmi_control_cmd_response.decode(payload);
    if (!kvmi_control_cmd_response.clean(payload)) return CLOSE;
    let replies: Replies = enable !== 0 ? 'all' : 'none';
    if (enable === 0 && (flags & CMD_RESPONSE_WITH_EVENT) !== 0) replies = 'errors as events';
    if (replies === 'errors as events' && !eventAllowed(this.#machine, ONLY_7_EVENT_CMD_ERROR)) return CLOSE;
    const change = () => {
      this.replies = replies;
    };
    if (now !== 1) return { error: 0, after: change };
    change();
    return OK;
  }

  event(seq: number, event: SessionEvent, state: EventState): Uint8Array {
    const spec = WIRE_7.eventOf.get(event.event)!;
    const common = kvmi_event.encode({ ...state, size: kvmi_event.bytes, event: spec.id });
    // XSETBV has nothing to say here.
    const data = spec.data === null ? [] : [event.data];
    return frame(KVMI_EVENT, seq, common, ...data);
  }

  unhookEvent(): Uint8Array | null {
    if (!this.#vm.wants(KVMI_VM_EVENT_UNHOOK)) return null;
    return this.#vmEvent(KVMI_EVENT_UNHOOK);
  }

  errorEvent(id: number, seq: number, error: number): Uint8Array {
    const data = kvmi_event_cmd_error.encode({ err: error, msg_seq: seq, msg_id: id });
    return this.#vmEvent(KVMI_EVENT_CMD_ERROR, data);
  }

  #vmEvent(event: number, ...data: readonly Uint8Array[]): Uint8Array {
    const common = kvmi_event.encode({ size: kvmi_event.bytes, event });
    return frame(KVMI_EVENT, this.#vm.eventSeq(), common, ...data);
  }
}
