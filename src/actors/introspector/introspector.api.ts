/** What others may ask of the introspector's thread, and what it asks of them. Types only. */
import type { MessagePort } from 'node:worker_threads';
import type { ThreadTask } from '../thread.ts';
import type { Answer, ToolEvent, ToolEventKind, ToolSession } from './tool.ts';

/** A tool module to load in the introspector's thread. */
export interface ToolSource {
  /** URL of the module. */
  readonly href: string;
  /** Given to the module when it exports a function. Must survive structured cloning. */
  readonly options: unknown;
}

export interface IntrospectorTask extends ThreadTask {
  readonly tool: ToolSource | null;
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
}
