/**
 * One more execution of a schedule, slowly: every step with the cell it touches, what that held before and after, and
 * the source line it comes from; who held and wanted which lock in the end.
 */
import { cellAt } from '../../shared/state/cell-name.ts';
import type { ScalarType } from '../../shared/struct.ts';
import { Actor } from '../../shared/sync/actor.ts';
import type { LockMode } from '../../shared/sync/lock-class.ts';
import {
  CHOICE_WAYS,
  CHOOSING,
  NOTIFYING,
  type Path,
  POINT_KINDS,
  type Point,
  READING,
  RELAXING,
  STEPPING,
  UPDATING,
  WAIT_TIMED_OUT,
  WAITING,
  WRITING,
  watchPoints,
} from '../../shared/sync/point.ts';
import { hex } from '../../shared/units.ts';
import type { Execution, Observer, Participant } from '../engine/execution.ts';
import type { Finding } from '../engine/finding.ts';
import { Replay, type Schedule } from '../engine/schedule.ts';
import { defaultPick } from '../engine/strategy.ts';
import { FELL_ASLEEP } from '../engine/trace.ts';
import { type Scenario, wrapped } from '../scenario/scenario.ts';
import { stageOf } from '../scenario/stage.ts';
import type { World } from '../world/world.ts';
import { EXPLORER, type RawFrame, rawStack, type SourceLine, SourceLines } from './source-line.ts';

/** What a step did: the kinds of points, by their words. */
export type StepKind = 'read' | 'write' | 'update' | 'wait' | 'notify' | 'step' | 'choose' | 'relax';

export interface Step {
  /** From 0. */
  readonly index: number;
  readonly actor: number;
  /** Steps that this actor had taken before. */
  readonly taken: number;
  readonly point: Point;
  readonly kind: StepKind;
  /** The cell it touched, by name; of a choice its ways, of a step without a cell empty. */
  readonly cell: string;
  /** The lock that the cell is part of. */
  readonly lock: string | null;
  /** Counters and free lists: what nothing decides by. */
  readonly bookkeeping: boolean;
  /** What the cell held before and after; null without a cell. */
  readonly before: string | null;
  readonly after: string | null;
  /** Of a wait or a choice: what became of it. */
  readonly answer: 'fell asleep' | 'timed out' | `way ${number}` | null;
  /** Innermost first. */
  readonly stack: readonly SourceLine[];
  /** The lock operation it belongs to (`writeLock`), and its number: equal for all steps of one call. */
  readonly sync: { readonly name: string; readonly call: number } | null;
  /** Here the schedule deviates from the default policy; `preempts`: somebody else could have gone on. */
  readonly deviates: boolean;
  readonly preempts: boolean;
}

export interface HeldLock {
  readonly lock: string;
  readonly mode: LockMode;
  /** Index of the step that got it. */
  readonly since: number;
  readonly at: SourceLine | null;
}

/** An actor when the execution ended. */
export interface ActorEnd {
  readonly name: string;
  readonly state: 'ended' | 'asleep' | 'could go on';
  readonly holds: readonly HeldLock[];
  /** The lock it is trying to get. */
  readonly wants: { readonly lock: string; readonly mode: LockMode } | null;
  /** The cell it sleeps on, or stands before. */
  readonly cell: string;
  readonly at: SourceLine | null;
}

export interface Explained {
  readonly actors: readonly string[];
  readonly steps: readonly Step[];
  readonly ends: readonly ActorEnd[];
  readonly findings: readonly Finding[];
  readonly traceHash: string;
}

const KINDS: readonly StepKind[] = (() => {
  const kinds: StepKind[] = [];
  kinds[READING] = 'read';
  kinds[WRITING] = 'write';
  kinds[UPDATING] = 'update';
  kinds[WAITING] = 'wait';
  kinds[NOTIFYING] = 'notify';
  kinds[STEPPING] = 'step';
  kinds[CHOOSING] = 'choose';
  kinds[RELAXING] = 'relax';
  return kinds;
})();

/** @param observe  further observers of the same execution */
export function explain(
  scenario: Scenario,
  schedule: Schedule,
  observe: readonly Observer[] = [],
): Explained {
  const recorder = new Recorder(scenario);
  const stage = stageOf(recorder.scenario);
  watchPoints(() => recorder.pointMade(rawStack()));
  try {
    const execution = stage.execute(new Replay(schedule), 0, [recorder, ...observe]);
    if (execution === null) throw new Error('a replay has nothing to try');
    return recorder.result(execution);
  } finally {
    watchPoints(null);
  }
}

/** A lock event of an actor, before it is known what became of it. */
interface OpenLock {
  readonly addr: number;
  readonly mode: LockMode;
  readonly since: number;
  readonly at: readonly RawFrame[];
}

/** What is known of a step before it is taken. */
interface Before {
  readonly cell: string;
  readonly type: ScalarType | null;
  readonly value: string | null;
  readonly lock: string | null;
  readonly bookkeeping: boolean;
}

class Recorder implements Observer {
  readonly scenario: Scenario;
  readonly #lines = new SourceLines();
  readonly #steps: Step[] = [];
  /** Who moves now: between steps, whoever moved last. */
  #moving = -1;
  #world: World | null = null;
  #names: string[] = [];
  /** By actor: the stack of the point it stands before. */
  #stacks: RawFrame[][] = [];
  readonly #held: OpenLock[][] = [];
  readonly #wanted: (OpenLock | null)[] = [];
  /** By actor: the lock operation it is in. */
  readonly #calls: ({ name: string; call: number; site: string } | null)[] = [];
  #callCount = 0;
  #before: Before | null = null;
  #relaxed = false;

  constructor(scenario: Scenario) {
    this.scenario = wrapped(scenario, (inner) => ({
      participants: (world) => this.#tapped(world, inner.participants(world)),
    }));
  }

  pointMade(stack: RawFrame[]): void {
    this.#stacks[this.#moving] = stack;
  }

  before(execution: Execution, actor: number, point: number): void {
    const kind = KINDS[point % POINT_KINDS]!;
    const number = Math.floor(point / POINT_KINDS);
    if (kind === 'choose') {
      const cell = `of ${number % CHOICE_WAYS}`;
      this.#before = { cell, type: null, value: null, lock: null, bookkeeping: false };
      return;
    }
    const { vm } = this.#world!;
    const cell =
      kind === 'step' || (kind === 'relax' && number === 0) ? null : cellAt(vm.layout, vm.mem, number);
    const type = cell?.type ?? null;
    this.#before = {
      cell: cell?.name ?? (kind === 'step' || number === 0 ? '' : hex(number)),
      type,
      value: type === null ? null : this.#value(number, type),
      lock: cell?.lock ?? null,
      bookkeeping: cell?.bookkeeping ?? false,
    };
    this.#note(execution, actor, point, kind);
  }

  after(execution: Execution, actor: number, point: number): void {
    const kind = KINDS[point % POINT_KINDS]!;
    if (kind === 'choose') this.#note(execution, actor, point, kind);
    const index = this.#steps.length - 1;
    const step = this.#steps[index]!;
    const { type } = this.#before!;
    const given = execution.trace.answer[index]!;
    let answer: Step['answer'] = null;
    if (kind === 'choose') answer = `way ${given}`;
    else if (kind === 'wait' && given === FELL_ASLEEP) answer = 'fell asleep';
    else if (kind === 'wait' && given === WAIT_TIMED_OUT) answer = 'timed out';
    const after = type === null ? null : this.#value(Math.floor(point / POINT_KINDS), type);
    this.#steps[index] = { ...step, after, answer };
  }

  /** The step as it begins; its stack is that of the point, which the actor leaves now. */
  #note(execution: Execution, actor: number, point: number, kind: StepKind): void {
    const { runnable, timed, last } = execution;
    // `before` comes before the step is counted, the note of a choice after.
    const counted = kind === 'choose' ? 1 : 0;
    const index = execution.step - counted;
    const { trace } = execution;
    const previous = index === 0 ? -1 : trace.actor[index - 1]!;
    const could = counted === 1 ? trace.runnable[index]! : runnable;
    const couldBeTimed = counted === 1 ? trace.timed[index]! : timed;
    const policy = defaultPick(could, couldBeTimed, counted === 1 ? previous : last, this.#relaxed);
    this.#relaxed = kind === 'relax';
    const { cell, value, lock, bookkeeping } = this.#before!;
    const frames = this.#stacks[actor] ?? [];
    this.#steps.push({
      index,
      actor,
      taken: execution.taken[actor]! - counted,
      point,
      kind,
      cell,
      lock,
      bookkeeping,
      before: value,
      after: null,
      answer: null,
      stack: sourceFrames(frames).map((frame) => this.#lines.of(frame)),
      sync: this.#syncOf(actor, frames),
      deviates: actor !== policy,
      preempts: previous >= 0 && actor !== previous && (could & (1 << previous)) !== 0,
    });
  }

  result(execution: Execution): Explained {
    const { vm } = this.#world!;
    const name = (addr: number) => cellAt(vm.layout, vm.mem, addr)?.lock ?? hex(addr);
    const lineOf = (frames: readonly RawFrame[] | undefined): SourceLine | null => {
      const frame = sourceFrames(frames ?? []).find(({ url }) => !isSync(url));
      return frame === undefined ? null : this.#lines.of(frame);
    };
    const ends = this.#names.map((actorName, actor): ActorEnd => {
      const ended = execution.hasEnded(actor);
      const wanted = this.#wanted[actor] ?? null;
      const point = execution.at[actor]!;
      const cell = ended ? null : cellAt(vm.layout, vm.mem, Math.floor(point / POINT_KINDS));
      return {
        name: actorName,
        state: ended ? 'ended' : execution.sleepsOn(actor) >= 0 ? 'asleep' : 'could go on',
        holds: this.#held[actor]!.map(({ addr, mode, since, at }) => ({
          lock: name(addr),
          mode,
          since,
          at: lineOf(at),
        })),
        wants: wanted === null ? null : { lock: name(wanted.addr), mode: wanted.mode },
        cell: cell?.name ?? '',
        at: ended ? null : lineOf(this.#stacks[actor]),
      };
    });
    return {
      actors: this.#names,
      steps: this.#steps,
      ends,
      findings: execution.findings,
      traceHash: execution.trace.hash(),
    };
  }

  /** The participants, with an eye on each: who moves, and which locks it takes and gives back. */
  #tapped(world: World, participants: readonly Participant[]): Participant[] {
    this.#world = world;
    this.#names = participants.map(({ name }) => name);
    this.#stacks = participants.map(() => []);
    return participants.map((participant, actor) => {
      this.#held[actor] = [];
      this.#wanted[actor] = null;
      this.#calls[actor] = null;
      const { waiter, path } = participant;
      return { ...participant, path: this.#following(actor, waiter, path) };
    });
  }

  /** `path`, which says when it moves. */
  *#following(actor: number, waiter: unknown, path: Participant['path']): Path<unknown> {
    // By now whoever else listens to its locks has said so.
    if (waiter instanceof Actor) this.#followLocks(actor, waiter);
    for (let answer = 0; ; ) {
      this.#moving = actor;
      const next = path.next(answer);
      if (next.done === true) return next.value;
      answer = yield next.value;
    }
  }

  /** Notes what the actor holds and wants, and passes it on. */
  #followLocks(actor: number, waiter: Actor): void {
    const others = waiter.trace;
    const held = this.#held[actor]!;
    waiter.trace = (event, cls, addr, mode, side) => {
      const at = () => ({ addr, mode, since: Math.max(0, this.#steps.length - 1), at: rawStack() });
      if (event === 'acquire' || event === 'wait') this.#wanted[actor] ??= at();
      if (event === 'acquired') {
        this.#wanted[actor] = null;
        held.push(at());
      }
      if (event === 'release') {
        const place = held.findLastIndex((lock) => lock.addr === addr);
        if (place >= 0) held.splice(place, 1);
      }
      others?.(event, cls, addr, mode, side);
    };
  }

  /** Is the actor in a lock operation, and since when? One call keeps its number until its caller's line changes. */
  #syncOf(actor: number, frames: readonly RawFrame[]): Step['sync'] {
    const outermost = frames.findLastIndex(({ url }) => isSync(url));
    if (outermost < 0) {
      this.#calls[actor] = null;
      return null;
    }
    const { function: name } = frames[outermost]!;
    const caller = frames[outermost + 1];
    const site = `${name} ${caller?.url}:${caller?.line}:${caller?.column}`;
    const current = this.#calls[actor];
    if (current?.site === site) return { name: current.name, call: current.call };
    this.#calls[actor] = { name, call: this.#callCount++, site };
    return { name, call: this.#calls[actor].call };
  }

  #value(addr: number, type: ScalarType): string {
    const { mem } = this.#world!.vm;
    switch (type) {
      case 'i64':
        return hex(mem.u64[addr / 8]!);
      case 'f64':
        return String(mem.f64[addr / 8]!);
      case 'i32':
      case 'u32':
        return numberText(mem.i32[addr >>> 2]!);
      case 'u16':
        return numberText(mem.u16[addr >>> 1]!);
      case 'u8':
        return numberText(mem.u8[addr]!);
    }
  }
}

/** Without the explorer's own frames, and those of the points. */
function sourceFrames(frames: readonly RawFrame[]): RawFrame[] {
  return frames.filter(({ url }) => !EXPLORER.test(url) && !POINTS.test(url));
}

const POINTS = /\/sync\/point\.|\/sync\/actor\./;

/** A file of the lock code, below the actors that use it. */
function isSync(url: string): boolean {
  return /\/shared\/sync\/(?!point\.|actor\.)/.test(url);
}

function numberText(value: number): string {
  return value >= 0 && value < 10 ? String(value) : hex(value >>> 0);
}
