/**
 * The event ledger (I9): every event is received once, answered at most once, and its answer takes effect on the vCPU
 * and in the session it was sent by, and nowhere else.
 *
 *   sent ──▶ taken by the tool ──▶ answered ──▶ accepted by the vCPU ──▶ over
 *
 * An event may end without an answer when its connection or the machine does (fail-open): never otherwise.
 */
import { STOP_NOW } from '../../shared/layout/vm.ts';
import {
  TRACE_EVENT,
  TRACE_HANDLE_EVENT,
  TRACE_HANDLE_PF,
  TRACE_PAUSE,
  TRACE_PF,
  TRACE_REPLIED,
  TRACE_REPLY,
} from '../../shared/trace/kinds.ts';
import type { Execution } from '../engine/execution.ts';
import type { World } from '../world/world.ts';
import { FACT_BEGIN, FACT_END, FACT_INSTANT, type FactPhase, type Oracle } from './oracle.ts';

/** One event; steps are −1 for what has not happened. */
export interface EventRecord {
  readonly seq: number;
  /** Actor that sent it. */
  readonly sender: number;
  /** KVMI_SESSION then. */
  readonly session: number;
  readonly sent: number;
  taken: number;
  answered: number;
  answer: number;
  accepted: number;
  over: number;
}

const isEvent = (kind: number) => kind === TRACE_PF || kind === TRACE_PAUSE || kind === TRACE_EVENT;
const isHandling = (kind: number) => kind === TRACE_HANDLE_PF || kind === TRACE_HANDLE_EVENT;

export class EventLedger implements Oracle {
  readonly kinds = [
    TRACE_PF,
    TRACE_PAUSE,
    TRACE_EVENT,
    TRACE_HANDLE_PF,
    TRACE_HANDLE_EVENT,
    TRACE_REPLY,
    TRACE_REPLIED,
  ];
  readonly #world: World;
  /** In order of sending. */
  readonly #events = new Map<number, EventRecord>();
  /** Per actor: the event it waits for. */
  readonly #open = new Map<number, EventRecord>();

  constructor(world: World) {
    this.#world = world;
  }

  begin(): void {
    this.#events.clear();
    this.#open.clear();
  }

  /** The event that `actor` waits to be answered. */
  openOf(actor: number): EventRecord | null {
    return this.#open.get(actor) ?? null;
  }

  fact(execution: Execution, actor: number, phase: FactPhase, kind: number, a: number, b: number): void {
    if (phase === FACT_BEGIN && isEvent(kind)) this.#sent(execution, actor, a);
    else if (phase === FACT_END && isEvent(kind)) this.#over(execution, actor, a);
    else if (phase === FACT_BEGIN && isHandling(kind)) this.#taken(execution, actor, a);
    else if (phase === FACT_INSTANT && kind === TRACE_REPLY) this.#answered(execution, actor, a, b);
    else if (phase === FACT_INSTANT && kind === TRACE_REPLIED) this.#accepted(execution, actor, a, b);
  }

  atEnd(execution: Execution, stuck: boolean): void {
    if (stuck || this.#connectionGone(null)) return;
    for (const event of this.#events.values()) {
      if (event.taken >= 0 || this.#connectionGone(event)) continue;
      this.#report(execution, event.sender, 'lost', `event ${event.seq} was sent and never received`);
    }
  }

  #sent(execution: Execution, actor: number, seq: number): void {
    const open = this.#open.get(actor);
    if (open !== undefined) {
      const what = `event ${seq} is sent while event ${open.seq} of the same vCPU waits for its reply`;
      this.#report(execution, actor, 'nested', what);
    }
    const { vm } = this.#world;
    const event: EventRecord = {
      seq,
      sender: actor,
      session: vm.mem.i32[vm.word('KVMI_SESSION') >>> 2]!,
      sent: execution.step,
      taken: -1,
      answered: -1,
      answer: 0,
      accepted: -1,
      over: -1,
    };
    if (this.#events.has(seq)) this.#report(execution, actor, 'number', `two events bear the number ${seq}`);
    this.#events.set(seq, event);
    this.#open.set(actor, event);
  }

  #taken(execution: Execution, actor: number, seq: number): void {
    const event = this.#events.get(seq);
    // One from before the execution began.
    if (event === undefined) return;
    if (event.taken >= 0) this.#report(execution, actor, 'twice', `event ${seq} was received twice`);
    event.taken = execution.step;
  }

  #answered(execution: Execution, actor: number, seq: number, action: number): void {
    const event = this.#events.get(seq);
    if (event === undefined) return;
    if (event.taken < 0)
      this.#report(execution, actor, 'early', `event ${seq} is answered and was never received`);
    if (event.answered >= 0) {
      this.#report(execution, actor, 'answered twice', `event ${seq} is answered a second time`);
    }
    event.answered = execution.step;
    event.answer = action;
  }

  #accepted(execution: Execution, actor: number, seq: number, action: number): void {
    const event = this.#events.get(seq);
    const wrong = this.#wrongReply(execution, actor, event, action);
    if (wrong === null) {
      event!.accepted = execution.step;
      return;
    }
    const { name } = execution.participants[actor]!;
    this.#report(execution, actor, 'reply', `${name} accepts the reply to event ${seq}, ${wrong}`);
  }

  #wrongReply(
    execution: Execution,
    actor: number,
    event: EventRecord | undefined,
    action: number,
  ): string | null {
    if (event === undefined) return 'which nobody has sent';
    if (event.sender !== actor) return `which ${execution.participants[event.sender]!.name} has sent`;
    if (this.#open.get(actor) !== event) return 'which it does not wait for';
    if (event.accepted >= 0) return 'which it has accepted before';
    if (event.answered < 0) return 'which nobody has answered';
    if (event.answer !== action) return `as action ${action}; the tool answered action ${event.answer}`;
    return null;
  }

  #over(execution: Execution, actor: number, action: number): void {
    const event = this.#open.get(actor);
    if (event === undefined) return;
    this.#open.delete(actor);
    event.over = execution.step;
    const { name } = execution.participants[actor]!;
    if (action >= 0) {
      if (event.accepted >= 0 && event.answer === action) return;
      const what = `${name} goes on with action ${action} for event ${event.seq}, which was not answered so`;
      this.#report(execution, actor, 'action', what);
    } else if (!this.#connectionGone(event)) {
      const what = `${name} gives event ${event.seq} up without a reply, although its connection stands`;
      this.#report(execution, actor, 'given up', what);
    }
  }

  /** Has what an event needs for its answer ended, at least once since it was sent? */
  #connectionGone(event: EventRecord | null): boolean {
    const { vm } = this.#world;
    const word = (name: Parameters<typeof vm.word>[0]) => vm.mem.i32[vm.word(name) >>> 2]!;
    return (
      word('KVMI_SHUT') !== 0 ||
      word('KVMI_REF') === 0 ||
      word('DEAD') !== 0 ||
      word('STOP') === STOP_NOW ||
      (event !== null && word('KVMI_SESSION') !== event.session)
    );
  }

  #report(execution: Execution, actor: number, what: string, message: string): void {
    execution.report({ oracle: 'event', rule: 'I9', message, key: `event ${what}`, actor });
  }
}
