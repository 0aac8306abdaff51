/** What a description of one wire says: the fate of every message. Written from the protocol's text, not from the code. */
import type { Payload } from './bytes.ts';

export const EPERM = -1;
export const ENOENT = -2;
export const ENOMEM = -12;
export const EBUSY = -16;
export const EINVAL = -22;
export const EOPNOTSUPP = -95;
export const ENOSYS = -1000;

/** An answer: one of these errors (0 among them, perhaps), and so many bytes of data if it is 0; null: any number. */
export interface Answer {
  readonly errors: readonly number[];
  readonly bytes: number | null;
}
export type Fate = Answer | 'close';

export const refused = (...errors: readonly number[]): Answer => ({ errors, bytes: 0 });
export const done = (bytes: number | null = 0): Answer => ({ errors: [0], bytes });
export const perhaps = (bytes: number | null, ...errors: readonly number[]): Answer => ({
  errors: [0, ...errors],
  bytes,
});

/** What the machine of the fuzzer is like. */
export interface FuzzedMachine {
  readonly vcpuCount: number;
  readonly ramBytes: number;
}

export interface EventRule {
  /** Bytes that a reply may have after its 8. */
  readonly extra: number;
  readonly actions: readonly number[];
  /** A reply must give back the value at this place of the event's own struct, or the guest gets another. */
  readonly valueAt?: number;
  /** Must be 0 in what a reply has after its 8: from, to. */
  readonly padding?: readonly (readonly [from: number, to: number])[];
}

/** An event as it came. */
export interface SeenEvent {
  readonly vcpu: number;
  readonly event: number;
  readonly seq: number;
  /** Its own struct. */
  readonly data: Payload;
  /** kvm_regs. */
  readonly registers: Uint8Array;
}

export interface WireRules {
  readonly version: 7 | 12;
  readonly vm: ReadonlyMap<number, (payload: Payload, machine: FuzzedMachine) => Fate>;
  /** Of what follows the vcpu header. */
  readonly vcpu: ReadonlyMap<number, (body: Payload) => Answer>;
  /** Id of a reply to an event. */
  readonly eventReply: number;
  /** Something in the padding of a vcpu header. */
  readonly dirtyHeader: Fate;
  readonly events: ReadonlyMap<number, EventRule>;
  /** An action that the event does not have. */
  readonly wrongActionCloses: boolean;
  /** The event in a message to the tool; null: it is none that a vCPU waits with. 'answer': it is no event at all. */
  seen(id: number, seq: number, payload: Payload): SeenEvent | null | 'answer';
  /** Of a message that sets whether there are answers; null for any other. */
  repliesAfter?(id: number, payload: Payload): { readonly on: boolean; readonly now: boolean } | null;
}

export function inOnePage(gpa: bigint, size: bigint): boolean {
  return size > 0n && (gpa & 4095n) + size <= 4096n;
}
