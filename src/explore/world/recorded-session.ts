/** A session whose calls are noted, each with its beginning and its end: the history that linearizability is about. */
import { Session } from '../../actors/introspector/session.ts';
import type { Vm } from '../../actors/mmu/vm.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import type { Path } from '../../shared/sync/point.ts';

/** One call, told twice: when it is made, and when it has returned. */
export interface SessionCall {
  readonly actor: Actor;
  readonly op: 'set' | 'get' | 'read' | 'pause';
  /** The frame, or the vCPU to pause. */
  readonly target: number;
  /** set: what remains allowed. pause: 1 if it waits. Otherwise 0. */
  readonly argument: number;
  /** set: refuses a frame without a visible slot. */
  readonly needSlot: boolean;
  /** What it returned; of `read` 0 or −ENOENT. Undefined until then. */
  result: number | undefined;
}

export type CallListener = (call: SessionCall) => void;

const NO_RAM = -2;

export class RecordedSession extends Session {
  readonly #by: Actor;
  readonly #tell: CallListener;

  constructor(actor: Actor, vm: Vm, tell: CallListener) {
    super(actor, vm);
    this.#by = actor;
    this.#tell = tell;
  }

  override *setPageAccess(gpa: number, access: number, opts = { needSlot: true }): Path<number> {
    const call = this.#begin('set', Math.floor(gpa / 4096), access, opts.needSlot);
    return this.#end(call, yield* super.setPageAccess(gpa, access, opts));
  }

  override *getPageAccess(gpa: number): Path<number> {
    const call = this.#begin('get', Math.floor(gpa / 4096));
    return this.#end(call, yield* super.getPageAccess(gpa));
  }

  override *readPhysical(gpa: number, bytes: number): Path<Uint8Array | null> {
    const call = this.#begin('read', Math.floor(gpa / 4096));
    const data = yield* super.readPhysical(gpa, bytes);
    this.#end(call, data === null ? NO_RAM : 0);
    return data;
  }

  override *pause(vcpu: number, wait: boolean): Path<number> {
    const call = this.#begin('pause', vcpu, wait ? 1 : 0);
    return this.#end(call, yield* super.pause(vcpu, wait));
  }

  #begin(op: SessionCall['op'], target: number, argument = 0, needSlot = false): SessionCall {
    const call: SessionCall = { actor: this.#by, op, target, argument, needSlot, result: undefined };
    this.#tell(call);
    return call;
  }

  #end(call: SessionCall, result: number): number {
    call.result = result;
    this.#tell(call);
    return result;
  }
}
