/** What others may ask of VM control's thread. Types only. */
import type { MessagePort } from 'node:worker_threads';
import type { Prng } from '../../shared/prng.ts';
import type { Allowed, WireVersion } from '../introspector/introspector.api.ts';
import type { Identity, ThreadTask } from '../thread.ts';
import type { CheckResult } from './invariants.ts';
import type { SlotRequest } from './memslots.ts';

export interface ControlTask extends ThreadTask {
  /** Where the {@link ControlApi} is served. */
  readonly control: MessagePort;
}

/** Served by VM control's thread, one call after the other. Numbers below 0 are errnos. */
export interface ControlApi {
  /** Returns when the thread serves calls. */
  ready(): void;
  /** KVM_SET_USER_MEMORY_REGION. */
  setMemoryRegion(request: SlotRequest): number;
  /** @returns the number of the session */
  hook(allowed: Allowed): number;
  /** KVM_INTROSPECTION_COMMAND, KVM_INTROSPECTION_EVENT; id −1 for all. */
  allow(what: 'command' | 'event', id: number, allowed: number, wire: WireVersion): number;
  /** Returns when the last user of the introspection block is gone. @returns false when nothing was hooked */
  unhook(): boolean;
  /**
   * Parks the vCPUs and checks every invariant.
   *
   * @param giveUpMs  how long parked vCPUs wait for one that the introspector keeps
   * @returns null when not everyone could be parked, or the machine stopped
   */
  checkInvariants(giveUpMs: number): CheckResult | null;
  /** Announce each slot change as a fact. */
  watch(on: boolean): void;
  /** Loads a script and steps it until `stopScript`, serving calls between the steps. */
  runScript(source: ScriptSource): Promise<void>;
  /** Returns when the script has ended, its last step included. */
  stopScript(): Promise<void>;
  /** Ends the thread's task. */
  end(): void;
}

export interface ScriptSource {
  /** URL of the module; its default export is a {@link ScriptModule}. */
  readonly href: string;
  /** Must survive structured cloning. */
  readonly options: unknown;
  readonly seed: bigint;
}

/** What a script works with: VM control's identity and its own randomness. */
export interface ScriptContext extends Identity {
  readonly prng: Prng;
  readonly options: unknown;
  /** As ControlApi.setMemoryRegion. */
  setMemoryRegion(request: SlotRequest): number;
}

/** Makes the step that is repeated: it may block the thread, for well under a second. */
export type ScriptModule = (context: ScriptContext) => () => void;
