/**
 * What a session does differently on each wire: its VM commands, and the form of its events. And what both have in
 * common of that: the commands' effects, from values that are decoded already.
 */
import type { Actor } from '../../../shared/sync/actor.ts';
import { drive } from '../../../shared/sync/point.ts';
import { EINVAL, ENOENT, EPERM } from '../../mmu/errno.ts';
import type { Vm } from '../../mmu/vm.ts';
import { commandAllowed, eventAllowed } from '../hook.ts';
import { KVMI_VCPU_EVENT_PAUSE } from '../kvmi/constants.ts';
import { kvmi_control_events, kvmi_vm_get_info_reply } from '../kvmi/protocol.ts';
import type { Wire } from '../kvmi/wires.ts';
import type { Session, SessionEvent } from '../session.ts';
import type { EventState } from '../vcpu-state.ts';

/** What the receiver answers. Null: the connection is to be closed. */
export type VmAnswer = {
  /** 0, or a negative errno. */
  readonly error: number;
  readonly data?: Uint8Array;
  /** To be done once this is on its way. */
  readonly after?: () => void;
} | null;

export const CLOSE = null;
export const OK = { error: 0 } as const;
export const INVALID = { error: -EINVAL } as const;

/**
 * Which answers to commands are sent: all, or only what has data (which then closes the connection). Errors that are not
 * sent may be told by an event.
 */
export type Replies = 'all' | 'none' | 'errors as events';

export interface Dialect {
  readonly wire: Wire;
  readonly replies: Replies;
  /** A message for a vCPU with something in the padding of its header is refused, or closes the connection. */
  readonly dirtyHeader: VmAnswer;
  /** Carries out a command that the receiver answers. `machine`: the command, inside the machine. */
  vmCommand(machine: number, payload: Uint8Array): VmAnswer;
  /** The message of an event of a vCPU. */
  event(seq: number, event: SessionEvent, state: EventState): Uint8Array;
  /** The message that asks the tool to end the session; null when it does not want it. */
  unhookEvent(): Uint8Array | null;
  /** The message that tells of an error without a reply; null where there is none. */
  errorEvent(id: number, seq: number, error: number): Uint8Array | null;
}

/** The session whose commands these are. */
export interface Receiver {
  readonly actor: Actor;
  readonly vm: Vm;
  readonly session: Session;
}

const PAGE = 4096;

/** Effects of VM commands. @throws never for anything a tool can send */
export class VmEffects {
  readonly #receiver: Receiver;
  readonly #wire: Wire;
  /** Events of the VM that the tool wants, by their numbers inside the machine. */
  readonly #wanted = new Set<number>();

  constructor(receiver: Receiver, wire: Wire) {
    this.#receiver = receiver;
    this.#wire = wire;
  }

  wants(event: number): boolean {
    return this.#wanted.has(event);
  }

  /** Sequence number of an event of the VM itself. */
  eventSeq(): number {
    return drive(this.#receiver.actor, this.#receiver.session.vmEventSeq());
  }

  getInfo(): VmAnswer {
    const { vcpuCount } = this.#receiver.vm;
    return { error: 0, data: kvmi_vm_get_info_reply.encode({ vcpu_count: vcpuCount }) };
  }

  /** May the tool use this? `unknown`: what an id is answered that there is not. */
  check(what: 'command' | 'event', id: number, unknown: number): VmAnswer {
    const { vm } = this.#receiver;
    const spec = (what === 'command' ? this.#wire.commands : this.#wire.events).get(id);
    if (spec === undefined) return { error: unknown };
    const allowed = what === 'command' ? commandAllowed(vm, spec.machine) : eventAllowed(vm, spec.machine);
    return allowed ? OK : { error: -EPERM };
  }

  controlEvents(payload: Uint8Array): VmAnswer {
    const { event_id, enable } = kvmi_control_events.decode(payload);
    if (!kvmi_control_events.clean(payload)) return INVALID;
    if (enable > 1 && this.#wire.rules.flagsAreBits) return INVALID;
    const event = this.#wire.events.get(event_id);
    if (event?.switchedBy.includes('vm') !== true) return INVALID;
    if (!eventAllowed(this.#receiver.vm, event.machine)) return { error: -EPERM };
    if (enable !== 0) this.#wanted.add(event.machine);
    else this.#wanted.delete(event.machine);
    return OK;
  }

  readPhysical(gpa: bigint, size: bigint): VmAnswer {
    if (!inOnePage(gpa, size)) return INVALID;
    const { actor, session } = this.#receiver;
    const data = drive(actor, session.readPhysical(Number(gpa), Number(size)));
    return data === null ? { error: -ENOENT } : { error: 0, data };
  }

  /** `bytes`: what came behind the request's head, as long as it says or longer. */
  writePhysical(gpa: bigint, size: bigint, bytes: Uint8Array): VmAnswer {
    if (!inOnePage(gpa, size)) return INVALID;
    if (gpa > Number.MAX_SAFE_INTEGER) return { error: -ENOENT };
    const { actor, session } = this.#receiver;
    const error = drive(actor, session.writePhysical(Number(gpa), bytes.subarray(0, Number(size))));
    return { error };
  }

  get mayPause(): boolean {
    return eventAllowed(this.#receiver.vm, KVMI_VCPU_EVENT_PAUSE);
  }

  pause(vcpu: number, wait: boolean): VmAnswer {
    const { actor, vm, session } = this.#receiver;
    if (!lives(vm, vcpu)) return INVALID;
    return { error: drive(actor, session.pause(vcpu, wait)) };
  }

  /** One page. @returns 0 or a negative errno; when it returns 0 the new access holds for every vCPU */
  setPageAccess(gpa: bigint, access: number): number {
    const { actor, session } = this.#receiver;
    return drive(actor, session.setPageAccess(Number(gpa), access));
  }

  controlCleanup(enable: boolean): VmAnswer {
    const { actor, session } = this.#receiver;
    drive(actor, session.controlCleanup(enable));
    return OK;
  }

  maxGfn(): number {
    const { actor, session } = this.#receiver;
    return drive(actor, session.maxGfn());
  }
}

/** A vCPU whose thread has ended is none on the wire. */
export function lives(vm: Vm, vcpu: number): boolean {
  return vcpu < vm.vcpuCount && vm.mem.load(vm.vcpuWord(vcpu, 'ENDED')) === 0;
}

function inOnePage(gpa: bigint, size: bigint): boolean {
  return size > 0n && (gpa & BigInt(PAGE - 1)) + size <= PAGE;
}
