/** The thread of one participant: takes steps when it is asked to, on the one shared memory, with real Atomics. */
import { kindOf, type Path, WAITING } from '../../shared/sync/point.ts';
import type { Participant } from '../engine/execution.ts';
import { World } from '../world/world.ts';
import { ASK_BEGIN, ASK_QUIT, Line, SAY_ENDED, SAY_NOTIFY, SAY_POINT, SAY_THROWN } from './line.ts';
import { scenarioFrom } from './source.ts';
import type { ParticipantTask } from './task.ts';
import { type Told, tellAll } from './told.ts';

export default async function participate(task: ParticipantTask): Promise<void> {
  const scenario = await scenarioFrom(task.scenario);
  const player = new Player(task, new World(scenario.machine, task.memory), (world) =>
    scenario.participants(world),
  );
  Atomics.add(new Int32Array(task.ready), 0, 1);
  Atomics.notify(new Int32Array(task.ready), 0);
  player.play();
}

class Player {
  readonly #line: Line;
  readonly #world: World;
  readonly #index: number;
  readonly #participants: (world: World) => readonly Participant[];
  #told: Told[] = [];
  #waiter: Participant['waiter'] = { expect: 0, timeoutMs: 0 };
  #path: Pick<Path<unknown>, 'next'> | null = null;
  /** How much of the world's lists has been told. */
  readonly #sent = { lockFindings: 0, events: 0, answers: 0, consoles: new Map<number, number>() };

  constructor(task: ParticipantTask, world: World, participants: (world: World) => readonly Participant[]) {
    this.#line = new Line(task.line);
    this.#world = world;
    this.#index = task.index;
    this.#participants = participants;
    world.vm.mem.waker = (addr, count) => {
      // The engine wakes, in its order; what has been told so far comes before.
      this.#say(SAY_NOTIFY, addr, Math.min(count, 0x7fffffff), 0);
      this.#line.listen();
      return this.#line.answered;
    };
  }

  play(): void {
    for (;;) {
      const verb = this.#line.listen();
      if (verb === ASK_QUIT) return;
      if (verb === ASK_BEGIN) this.#begin(this.#line.answered);
      this.#step(verb === ASK_BEGIN ? 0 : this.#line.answered);
    }
  }

  /** Everything anew, on the memory that the engine has restored. */
  #begin(heard: number): void {
    const world = this.#world;
    world.populate();
    const participant = this.#participants(world)[this.#index]!;
    tellAll(world, heard, (told) => this.#tell(told));
    this.#path = participant.path;
    this.#waiter = participant.waiter;
    this.#told = [];
    Object.assign(this.#sent, { lockFindings: 0, events: 0, answers: 0 });
    this.#sent.consoles.clear();
  }

  #tell(told: Told): void {
    const last = this.#told.at(-1);
    // There are many of them in a step.
    if (told[0] === 'accesses' && last?.[0] === 'accesses') last[1].push(...told[1]);
    else this.#told.push(told);
  }

  #step(answer: number): void {
    try {
      const next = this.#path!.next(answer);
      if (next.done === true) this.#say(SAY_ENDED, -1, 0, 0);
      else this.#sayPoint(next.value);
    } catch (error) {
      this.#told.push(['thrown', error instanceof Error ? error : new Error(String(error))]);
      this.#say(SAY_THROWN, -1, 0, 0);
    }
  }

  #sayPoint(point: number): void {
    const waiter = this.#waiter;
    const { expect, timeoutMs } = waiter;
    if (kindOf(point) === WAITING) waiter.timeoutMs = Number.POSITIVE_INFINITY;
    this.#say(SAY_POINT, point, expect, timeoutMs);
  }

  #say(verb: number, place: number, count: number, timeoutMs: number): void {
    this.#gather();
    const told = this.#told;
    this.#told = [];
    this.#line.say(verb, place, count, timeoutMs, told);
  }

  #gather(): void {
    const { lockFindings, events, answers, consoles } = this.#world;
    const sent = this.#sent;
    while (sent.lockFindings < lockFindings.length)
      this.#told.push(['lock finding', lockFindings[sent.lockFindings++]!]);
    while (sent.events < events.length) this.#told.push(['event', events[sent.events++]!]);
    while (sent.answers < answers.length) this.#told.push(['answer', answers[sent.answers++]!]);
    for (const [vcpu, text] of consoles.entries()) {
      const before = sent.consoles.get(vcpu) ?? 0;
      if (text.length === before) continue;
      this.#told.push(['console', vcpu, text.slice(before)]);
      sent.consoles.set(vcpu, text.length);
    }
  }
}
