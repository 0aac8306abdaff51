/** What others may ask of the introspector's thread, and what it asks of them. Types only. */
import type { MessagePort } from 'node:worker_threads';
import type { ThreadTask } from '../thread.ts';
import type { Answer, ToolEvent, ToolEventKind, ToolSession } from './tool.ts';
import type { MachineIdentity } from './wire/handshake.ts';

/** A tool module to load in the introspector's thread. */
export interface ToolSource {
  /** URL of the module. */
  readonly href: string;
  /** Given to the module when it exports a function. Must survive structured cloning. */
  readonly options: unknown;
}

/** What the tool of a session may use: ids inside the machine as bits. */
export interface Allowed {
  /** Per word of 32 ids. */
  readonly commands: readonly number[];
  readonly events: number;
}

/** Where a tool is to be found: at a unix socket it listens at, or one that we listen at. */
export interface KvmiEndpoint {
  readonly kind: 'connect' | 'listen';
  readonly path: string;
}

/** A form of the protocol: of the kernel series v12, or of its branch kvmi-v7. */
export type WireVersion = 12 | 7;
/** Which one; auto: told apart by the tool's first command after GET_VERSION. */
export type WireChoice = WireVersion | 'auto';

/** Introspection over the wire. */
export interface KvmiPlan {
  readonly wire: WireChoice;
  /** Null: tools come by themselves, see {@link IntrospectorApi.accept}. */
  readonly endpoint: KvmiEndpoint | null;
  readonly identity: MachineIdentity;
  /** What a tool has to know; null: any tool. */
  readonly secret: string | null;
  readonly handshakeMs: number;
  /** From one attempt to connect to the next. */
  readonly reconnectMs: number;
  /** File to write all that goes over the wire to, or null. */
  readonly pcap: string | null;
}

export interface IntrospectorTask extends ThreadTask {
  readonly tool: ToolSource | null;
  /** Null: the tool is in process. */
  readonly kvmi: KvmiPlan | null;
  /** Limit for an answer, ms; Infinity for none. */
  readonly replyTimeoutMs: number;
  /** Where the {@link IntrospectorApi} is served. */
  readonly control: MessagePort;
  /** Where a {@link HandlerApi} is served, for handlers in the main thread. */
  readonly handlers: MessagePort;
}

/** Served by the introspector's thread. The commands of the session are refused (SIM_CLOSED) outside of one. */
export interface IntrospectorApi extends ToolSession {
  /** Loads the tool module. @returns the events it handles itself */
  load(): Promise<readonly ToolEventKind[]>;
  /** Begins to look for tools on the wire. Throws what keeps it from listening. */
  link(): Promise<void>;
  /** A tool at the other end of a port that carries bytes, see wire/port-channel.ts. @returns false: no tool can come */
  accept(port: MessagePort): boolean;
  /** Asks the tool on the wire to end its session. @returns 0, −EFAULT without one, −ENOENT if it does not listen to that */
  preUnhook(): number;
  /**
   * Lets no further tool come. One that has enabled the UNHOOK event is asked to go; settles when it has, or when it has
   * taken `waitMs` for it.
   */
  leave(waitMs: number): Promise<void>;
  /** The machine has been hooked: begins a session, and returns when the tool is ready. Throws what it did wrong. */
  attach(): Promise<void>;
  /** Events of this kind are (no longer) answered by the main thread. */
  handle(kind: ToolEventKind, on: boolean): Promise<void>;
  /** Announce each event and answer as a fact. */
  watch(on: boolean): void;
  /** Ends the session, if there is one. */
  detach(reason: string): void;
  /** Ends the thread's task. */
  end(): void;
}

/** Served by the main thread. */
export interface HandlerApi {
  /** The answer is checked by the caller. */
  event(event: ToolEvent): Promise<Answer>;
  /** A tool on the wire is there: hooks the machine for it. @returns 0, or a negative errno */
  hook(): Promise<number>;
  /** It has gone. */
  unhook(): Promise<void>;
}
