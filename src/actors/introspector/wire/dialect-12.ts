/**
 * Wire-12: its VM commands and events.
 *
 * @source kernel branch kvmi-v12: virt/kvm/introspection/kvmi_msg.c: handle_vm_*
 */
import { ENOENT, ENOSYS, EPERM } from '../../mmu/errno.ts';
import {
  KVMI_GET_VERSION,
  KVMI_MAX_MSG_SIZE,
  KVMI_VCPU_EVENT,
  KVMI_VERSION,
  KVMI_VM_CHECK_COMMAND,
  KVMI_VM_CHECK_EVENT,
  KVMI_VM_CONTROL_CLEANUP,
  KVMI_VM_CONTROL_EVENTS,
  KVMI_VM_EVENT,
  KVMI_VM_EVENT_UNHOOK,
  KVMI_VM_GET_INFO,
  KVMI_VM_PAUSE_VCPU,
  KVMI_VM_READ_PHYSICAL,
  KVMI_VM_SET_PAGE_ACCESS,
  KVMI_VM_WRITE_PHYSICAL,
} from '../kvmi/constants.ts';
import {
  kvmi_event_hdr,
  kvmi_get_version_reply,
  kvmi_page_access_entry,
  kvmi_vcpu_event,
  kvmi_vm_access_physical,
  kvmi_vm_check_command,
  kvmi_vm_control_cleanup,
  kvmi_vm_pause_vcpu,
  kvmi_vm_set_page_access,
} from '../kvmi/protocol.ts';
import { WIRE_12 } from '../kvmi/wires.ts';
import type { SessionEvent } from '../session.ts';
import type { EventState } from '../vcpu-state.ts';
import { CLOSE, type Dialect, INVALID, type Receiver, type VmAnswer, VmEffects } from './dialect.ts';
import { frame } from './framing.ts';

export class Dialect12 implements Dialect {
  readonly wire = WIRE_12;
  readonly replies = 'all';
  readonly dirtyHeader = INVALID;
  readonly #vm: VmEffects;

  readonly #features: boolean;

  /** `sure`: it is this wire. Otherwise what the version says of features must be right on wire-7 as well. */
  constructor(receiver: Receiver, sure: boolean) {
    this.#features = sure;
    this.#vm = new VmEffects(receiver, WIRE_12);
  }

  vmCommand(machine: number, payload: Uint8Array): VmAnswer {
    switch (machine) {
      case KVMI_GET_VERSION: {
        // Where wire-12 has single-stepping, wire-7 has sub-page permissions.
        const singlestep = this.#features ? 1 : 0;
        const reply = { version: KVMI_VERSION, max_msg_size: KVMI_MAX_MSG_SIZE, singlestep };
        return { error: 0, data: kvmi_get_version_reply.encode(reply) };
      }
      case KVMI_VM_CHECK_COMMAND:
      case KVMI_VM_CHECK_EVENT: {
        if (!kvmi_vm_check_command.clean(payload)) return INVALID;
        const what = machine === KVMI_VM_CHECK_COMMAND ? 'command' : 'event';
        return this.#vm.check(what, kvmi_vm_check_command.decode(payload).id, -ENOENT);
      }
      case KVMI_VM_GET_INFO:
        return this.#vm.getInfo();
      case KVMI_VM_CONTROL_EVENTS:
        return this.#vm.controlEvents(payload);
      case KVMI_VM_READ_PHYSICAL: {
        const { gpa, size } = kvmi_vm_access_physical.decode(payload);
        if (!kvmi_vm_access_physical.clean(payload)) return INVALID;
        return this.#vm.readPhysical(gpa, BigInt(size));
      }
      case KVMI_VM_WRITE_PHYSICAL:
        return this.#writePhysical(payload);
      case KVMI_VM_PAUSE_VCPU: {
        const { vcpu, wait } = kvmi_vm_pause_vcpu.decode(payload);
        if (!kvmi_vm_pause_vcpu.clean(payload) || wait > 1) return INVALID;
        return this.#vm.mayPause ? this.#vm.pause(vcpu, wait === 1) : { error: -EPERM };
      }
      case KVMI_VM_CONTROL_CLEANUP: {
        const { enable } = kvmi_vm_control_cleanup.decode(payload);
        if (!kvmi_vm_control_cleanup.clean(payload) || enable > 1) return INVALID;
        return this.#vm.controlCleanup(enable === 1);
      }
      case KVMI_VM_SET_PAGE_ACCESS:
        return this.#setPageAccess(payload);
      default:
        return { error: -ENOSYS };
    }
  }

  #writePhysical(payload: Uint8Array): VmAnswer {
    const { bytes } = kvmi_vm_access_physical;
    const { gpa, size } = kvmi_vm_access_physical.decode(payload);
    if (bytes + size > payload.length) return CLOSE;
    if (!kvmi_vm_access_physical.clean(payload)) return INVALID;
    return this.#vm.writePhysical(gpa, BigInt(size), payload.subarray(bytes));
  }

  /** Processed to the end; the answer is the first error, what came before and after it holds. */
  #setPageAccess(payload: Uint8Array): VmAnswer {
    const head = kvmi_vm_set_page_access.bytes;
    const each = kvmi_page_access_entry.bytes;
    const { count } = kvmi_vm_set_page_access.decode(payload);
    if (head + each * count > payload.length) return CLOSE;
    if (!kvmi_vm_set_page_access.clean(payload)) return INVALID;
    let first = 0;
    for (let at = head; at < head + each * count; at += each) {
      const { gpa, access } = kvmi_page_access_entry.decode(payload, at);
      // An entry with something in its padding becomes one that the session refuses.
      const clean = kvmi_page_access_entry.clean(payload, at);
      const error = this.#vm.setPageAccess(gpa, clean ? access : -1);
      if (first === 0) first = error;
    }
    return { error: first };
  }

  event(seq: number, { event, data }: SessionEvent, state: EventState): Uint8Array {
    const head = kvmi_event_hdr.encode({ event });
    const common = kvmi_vcpu_event.encode({ ...state, size: kvmi_vcpu_event.bytes });
    return frame(KVMI_VCPU_EVENT, seq, head, common, data);
  }

  unhookEvent(): Uint8Array | null {
    if (!this.#vm.wants(KVMI_VM_EVENT_UNHOOK)) return null;
    const head = kvmi_event_hdr.encode({ event: KVMI_VM_EVENT_UNHOOK });
    return frame(KVMI_VM_EVENT, this.#vm.eventSeq(), head);
  }

  errorEvent(): null {
    return null;
  }
}
