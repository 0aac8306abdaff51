/**
 * Hands events to a tool, one at a time, and its answers to the vCPUs, in whatever order they come.
 *
 * A synchronous answer goes back before the handler's caller does anything else: no promise, no timer. Whatever the
 * tool does wrong (it throws, answers nonsense, or not in time) ends its session once, the way a lost connection does.
 */

import { SimError, type SimErrorCode } from '../../shared/errors.ts';
import type { AccessKind, EventAnswer } from '../../shared/hub.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import { drive } from '../../shared/sync/point.ts';
import { hex } from '../../shared/units.ts';
import type { Vm } from '../mmu/vm.ts';
import {
  KVMI_EVENT_ACTION_CONTINUE,
  KVMI_EVENT_ACTION_CRASH,
  KVMI_EVENT_ACTION_RETRY,
} from './kvmi/constants.ts';
import { Session, type SessionEvent, type SessionMessage } from './session.ts';
import { type Answer, TOOL_EVENT_KINDS, type Tool, type ToolEvent, type ToolEventKind } from './tool.ts';
import { LocalSession } from './tool-session.ts';
import { toolEvent } from './tool-values.ts';

const ACTIONS: Readonly<Record<Answer, number>> = {
  continue: KVMI_EVENT_ACTION_CONTINUE,
  retry: KVMI_EVENT_ACTION_RETRY,
  crash: KVMI_EVENT_ACTION_CRASH,
};
const ALLOWED: Readonly<Record<ToolEventKind, readonly Answer[]>> = {
  pageFault: ['continue', 'retry', 'crash'],
  pause: ['continue', 'crash'],
};

/** What the host tells whoever runs it. */
export interface ToolHostReports {
  /** The session is over. Once. */
  ended(reason: string): void;
  /** The tool failed; its session is over already. */
  failed(error: SimError): void;
  pageFault(event: Extract<ToolEvent, { kind: 'pageFault' }>): void;
  reply(vcpu: number, seq: number, answer: EventAnswer): void;
}

export interface ToolHostOptions {
  readonly actor: Actor;
  readonly vm: Vm;
  readonly tool: Tool;
  /** Limit for an answer that is promised, ms; Infinity for none. */
  readonly replyTimeoutMs: number;
  readonly reports: ToolHostReports;
}

/** One session of one tool, from hook to its end. */
export class ToolHost {
  readonly commands: LocalSession;
  readonly #actor: Actor;
  readonly #tool: Tool;
  readonly #session: Session;
  readonly #replyTimeoutMs: number;
  readonly #reports: ToolHostReports;
  /** Events whose answers are promised, by number, with the timer that limits each. */
  readonly #promised = new Map<number, { event: ToolEvent; timer: ReturnType<typeof setTimeout> | null }>();
  #over = false;
  #endedNow: () => void = () => {};
  /** Settles when the session is over. */
  readonly #ended = new Promise<void>((resolve) => {
    this.#endedNow = resolve;
  });
  /** Tell `reports` of each event and answer. Off unless somebody listens: it costs a message for each. */
  watched = false;

  constructor(options: ToolHostOptions) {
    const { actor, vm, tool, replyTimeoutMs, reports } = options;
    this.#actor = actor;
    this.#tool = tool;
    this.#replyTimeoutMs = replyTimeoutMs;
    this.#reports = reports;
    this.#session = new Session(actor, vm);
    this.commands = new LocalSession(actor, vm, this.#session, () => this.end('closed by the tool'));
  }

  /** What the tool did wrong, once it has. */
  failure: SimError | null = null;

  get over(): boolean {
    return this.#over;
  }

  /** The connection was shut by the other side: unhook, or a protocol error. The session has to be ended. */
  get shut(): boolean {
    return this.#session.shut;
  }

  /** Turns on the events the tool handles, on every vCPU, then lets it prepare. */
  async attach(): Promise<void> {
    const handled = TOOL_EVENT_KINDS.filter((kind) => typeof this.#tool[kind] === 'function');
    await this.enable(handled, true);
    const limit = this.#replyTimeoutMs;
    const late = () => this.#fail('SIM_REPLY_TIMEOUT', `its 'attached' handler took more than ${limit} ms`);
    const timer = Number.isFinite(limit) ? setTimeout(late, limit) : undefined;
    try {
      await Promise.race([this.#tool.attached?.(this.commands), this.#ended]);
    } catch (error) {
      this.#fail('SIM_TOOL_FAILED', "its 'attached' handler threw", error);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Switches events on or off on every vCPU that still lives. */
  async enable(kinds: readonly ToolEventKind[], on: boolean): Promise<void> {
    const { vcpuCount } = await this.commands.getInfo();
    const all = Array.from({ length: vcpuCount }, (_, vcpu) =>
      kinds.map((kind) => this.commands.controlEvents(vcpu, kind, on)),
    ).flat();
    for (const settled of await Promise.allSettled(all)) {
      // One that has ended raises no events any more; one that is released while we ask is not introspected.
      if (settled.status === 'rejected' && !(settled.reason instanceof SimError)) throw settled.reason;
    }
  }

  /** Takes one message, or returns false when there was none. */
  poll(): boolean {
    if (this.#over) return false;
    const message: SessionMessage | null = drive(this.#actor, this.#session.poll());
    if (message === null) {
      if (this.commands.waits) this.commands.giveUpEnded();
      return false;
    }
    if (message.kind === 'answer') this.commands.answered(message);
    else this.#deliver(message.event);
    return true;
  }

  /** Ends the session: every vCPU that waits goes on as if the connection were lost. Once. */
  end(reason: string): void {
    if (this.#over) return;
    this.#over = true;
    for (const { event, timer } of this.#promised.values()) {
      if (timer !== null) clearTimeout(timer);
      if (this.watched) this.#reports.reply(event.vcpu, event.seq, 'failOpen');
    }
    this.#promised.clear();
    drive(this.#actor, this.#session.close());
    this.commands.end();
    this.#endedNow();
    this.#reports.ended(reason);
    try {
      this.#tool.detached?.(reason);
    } catch (error) {
      this.#reports.failed(toolError("its 'detached' handler threw", error));
    }
  }

  #deliver(sent: SessionEvent): void {
    const event = toolEvent(sent);
    if (event === null) {
      drive(this.#actor, this.#session.reply(sent.vcpu, sent.seq, KVMI_EVENT_ACTION_CONTINUE));
      return;
    }
    if (this.watched && event.kind === 'pageFault') this.#reports.pageFault(event);
    const handler = this.#tool[event.kind];
    if (handler === undefined) {
      this.#answer(event, 'continue');
      return;
    }
    let answer: unknown;
    try {
      answer = handler.call(this.#tool, event as never, this.commands);
    } catch (error) {
      this.#fail('SIM_TOOL_FAILED', `its '${event.kind}' handler threw at ${describe(event)}`, error);
      return;
    }
    if (isPromise(answer)) this.#await(event, answer);
    else this.#answer(event, answer);
  }

  #await(event: ToolEvent, promise: PromiseLike<unknown>): void {
    const limit = this.#replyTimeoutMs;
    const timer = Number.isFinite(limit) ? setTimeout(() => this.#late(event, limit), limit) : null;
    this.#promised.set(event.seq, { event, timer });
    promise.then(
      (answer) => {
        if (this.#settled(event)) this.#answer(event, answer);
      },
      (error) => {
        if (!this.#settled(event)) return;
        this.#fail('SIM_TOOL_FAILED', `its '${event.kind}' handler rejected at ${describe(event)}`, error);
      },
    );
  }

  /** False for an answer that comes after the session has ended. */
  #settled(event: ToolEvent): boolean {
    const promised = this.#promised.get(event.seq);
    if (promised === undefined) return false;
    if (promised.timer !== null) clearTimeout(promised.timer);
    this.#promised.delete(event.seq);
    return true;
  }

  #late(event: ToolEvent, limitMs: number): void {
    this.#fail('SIM_REPLY_TIMEOUT', `no answer within ${limitMs} ms to ${describe(event)}`);
  }

  #answer(event: ToolEvent, answer: unknown): void {
    if (this.#over) return;
    if (!ALLOWED[event.kind].includes(answer as Answer)) {
      this.#fail('SIM_TOOL_FAILED', `${shown(answer)} is no answer to ${describe(event)}`, undefined, {
        hint: `answer ${ALLOWED[event.kind].map((word) => `'${word}'`).join(', ')}, or a promise of one`,
      });
      return;
    }
    drive(this.#actor, this.#session.reply(event.vcpu, event.seq, ACTIONS[answer as Answer]));
    if (this.watched) this.#reports.reply(event.vcpu, event.seq, answer as Answer);
  }

  #fail(code: SimErrorCode, what: string, cause?: unknown, opts: { hint?: string } = {}): void {
    if (this.#over) return;
    const error = toolError(what, cause, code, opts.hint);
    this.failure = error;
    // ORDER: the session first. When the failure is known, nobody waits for this tool any more.
    this.end('the tool failed');
    this.#reports.failed(error);
  }
}

function toolError(
  what: string,
  cause?: unknown,
  code: SimErrorCode = 'SIM_TOOL_FAILED',
  hint?: string,
): SimError {
  return new SimError(code, `introspection tool: ${what}`, {
    hint:
      hint ??
      (code === 'SIM_REPLY_TIMEOUT'
        ? 'answer sooner, or raise the limit (--reply-timeout)'
        : 'the session was closed; vCPUs went on without introspection'),
    ...(cause === undefined ? {} : { cause }),
  });
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
  );
}

function describe(event: ToolEvent): string {
  const name = `event ${event.seq} (${event.kind}) of vCPU ${event.vcpu}`;
  return event.kind === 'pageFault' ? `${name}: ${accessName(event.access)} at gpa ${hex(event.gpa)}` : name;
}

function accessName(access: AccessKind): string {
  return { R: 'read', W: 'write', X: 'execute' }[access];
}

function shown(answer: unknown): string {
  if (typeof answer === 'string') return `'${answer}'`;
  return typeof answer === 'object' && answer !== null ? 'an object' : String(answer);
}
