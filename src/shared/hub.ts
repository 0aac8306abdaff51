/**
 * The hub: facts about the machine, announced on the main thread after they have happened. It never steers: nothing
 * waits for a listener, and no listener can change what it is told about.
 *
 * The only file that imports eventemitter3. Failures do not travel here but through promises: eventemitter3 drops an
 * `error` that nobody listens to.
 */
import { EventEmitter } from 'eventemitter3';
import { SimError } from './errors.ts';
import type { Gpa, Gva } from './units.ts';

export type AccessKind = 'R' | 'W' | 'X';
export type EventAnswer = 'continue' | 'retry' | 'crash' | 'failOpen';

/** What a machine announces, by name. */
export interface MachineFacts {
  /** A vCPU is doing something else now; `state` is one of `VCPU_STATE_NAMES`. */
  vcpuState: { readonly vcpu: number; readonly state: string };
  /** A page-fault event was raised. */
  pageFault: {
    readonly vcpu: number;
    readonly seq: number;
    readonly gpa: Gpa;
    readonly gva: Gva;
    readonly access: AccessKind;
  };
  /** An event was answered, or given up (`failOpen`). */
  reply: { readonly vcpu: number; readonly seq: number; readonly answer: EventAnswer };
  /** A memslot change is complete: both sets are published and every reader has moved on. */
  slot: {
    readonly change: 'create' | 'delete' | 'move' | 'flags';
    readonly id: number;
    readonly gpa: Gpa;
    readonly bytes: number;
  };
  /** The guest wrote to its console. */
  console: { readonly vcpu: number; readonly text: string };
  /** The guest's serial port has sent something. */
  serial: { readonly bytes: Uint8Array };
  /** An oracle fired. */
  finding: { readonly id: string; readonly title: string };
  /** The introspector connected or left. */
  session: { readonly session: number; readonly connected: boolean };
  /** Something about the tool on the wire, or about the line to it, in words. */
  tool: { readonly text: string };
  /** The thread of an actor has ended. */
  actorExit: { readonly actor: string; readonly error: unknown };
}

export type Listener<Fact> = (fact: Fact) => void;

/** Announces facts to whoever listens, in the order in which they subscribed. */
export class Hub<Facts extends object = MachineFacts> {
  readonly #emitter = new EventEmitter<Record<string, [unknown]>>();

  /** Listens until the returned function is called. The same function may listen several times. */
  on<Name extends keyof Facts & string>(name: Name, listener: Listener<Facts[Name]>): () => void {
    const guarded = (fact: unknown) => listener(fact as Facts[Name]);
    this.#emitter.on(name, guarded);
    return () => {
      this.#emitter.off(name, guarded);
    };
  }

  /** Listens for the next such fact only. */
  once<Name extends keyof Facts & string>(name: Name, listener: Listener<Facts[Name]>): () => void {
    const stop = this.on(name, (fact) => {
      stop();
      listener(fact);
    });
    return stop;
  }

  /**
   * Tells every listener. One that throws does not keep the fact from the others.
   *
   * @throws SimError SIM_TOOL_FAILED, after all were told, with the first listener's error as its cause
   */
  announce<Name extends keyof Facts & string>(name: Name, fact: Facts[Name]): void {
    const errors: unknown[] = [];
    // A copy, so that listeners may come and go while they are told.
    for (const listener of this.#emitter.listeners(name)) {
      try {
        listener(fact);
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length === 0) return;
    throw new SimError('SIM_TOOL_FAILED', `${errors.length} listener(s) of '${name}' threw`, {
      hint: 'a listener has to handle its own errors: the machine has nobody to give them to',
      cause: errors[0],
    });
  }

  listenerCount(name: keyof Facts & string): number {
    return this.#emitter.listenerCount(name);
  }

  /** Forgets every listener. */
  clear(): void {
    this.#emitter.removeAllListeners();
  }
}
