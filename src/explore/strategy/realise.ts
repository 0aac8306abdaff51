/**
 * Tries to make a predicted deadlock come true: steers actors so that each holds its lock of the circle and asks for the
 * next, keeps those that have come so far where they are, and lets all go when the circle is closed.
 *
 * Which actor plays which edge: one of the kind that was seen to do it (`vcpu 0` and `vcpu 1` are of one kind). With
 * each execution the parts are dealt anew.
 */
import type { LockCycle, SeenEdge } from '../../shared/lockdep/lock-graph.ts';
import { Prng } from '../../shared/prng.ts';
import type { LockChecks } from '../../shared/sync/checks.ts';
import { nthOf, population, type RunInfo, type Strategy, type View } from '../engine/strategy.ts';

/** One who takes part: its name, and what it holds and asks for. */
export interface CastMember {
  readonly name: string;
  readonly checks: LockChecks | null;
}

/** One pick in this many goes to somebody who has no part: a part may need what others do first. */
const OTHERS_EVERY = 8;

export class Realise implements Strategy {
  readonly name = 'realise';
  readonly #cycle: LockCycle;
  readonly #cast: () => readonly CastMember[];
  #prng = new Prng(0n);
  #members: readonly CastMember[] = [];
  /** The actor that plays edge `i` of the circle. */
  #players: readonly number[] = [];
  #letGo = false;
  #closed = false;

  /** @param cast  the participants of the execution that begins, by number */
  constructor(cycle: LockCycle, cast: () => readonly CastMember[]) {
    this.#cycle = cycle;
    this.#cast = cast;
  }

  /** Did each player hold its lock and ask for the next, at one time? */
  get closed(): boolean {
    return this.#closed;
  }

  /** Who played the edges, by number, in this execution. */
  get players(): readonly number[] {
    return this.#players;
  }

  /** False when no cast can play this circle. */
  begin({ index, seed }: RunInfo): boolean {
    this.#prng = new Prng(BigInt(seed));
    this.#members = this.#cast();
    this.#letGo = false;
    this.#closed = false;
    const castings = castingsOf(this.#cycle.edges, this.#members);
    if (castings.length === 0) return false;
    this.#players = castings[index % castings.length]!;
    return true;
  }

  pick(view: View): number {
    const { runnable, timed } = view;
    if (!this.#letGo) {
      let waiting = 0;
      let playing = 0;
      for (const [i, player] of this.#players.entries()) {
        playing |= 1 << player;
        if (this.#isInPlace(view, player, this.#cycle.edges[i]!)) waiting |= 1 << player;
      }
      if (waiting === playing) {
        this.#closed = true;
        this.#letGo = true;
      } else {
        const forward = runnable & playing & ~waiting;
        const others = runnable & ~playing;
        const first = others !== 0 && this.#prng.below(OTHERS_EVERY) === 0 ? others : forward || others;
        if (first !== 0) return this.#oneOf(first);
        if ((timed & ~waiting) !== 0) return this.#oneOf(timed & ~waiting);
        // Those in place stand in the way of the rest: this cast cannot do it from here.
        this.#letGo = true;
      }
    }
    return this.#oneOf(runnable !== 0 ? runnable : timed);
  }

  choose(_view: View, _actor: number, ways: number): number {
    return this.#prng.below(ways);
  }

  /**
   * Has it its lock, and asked for the next? Who waits for an event has to be asleep: what it waits for is brought about
   * by others only once it has said so.
   */
  #isInPlace({ runnable }: View, player: number, { from, to }: SeenEdge): boolean {
    const { checks } = this.#members[player]!;
    const wanted = checks?.wanted;
    if (checks == null || wanted == null || wanted.cls.name !== to) return false;
    if (wanted.cls.kind === 'event' && (runnable & (1 << player)) !== 0) return false;
    return checks.held.some(({ cls }) => cls.name === from);
  }

  #oneOf(mask: number): number {
    return nthOf(mask, this.#prng.below(population(mask)));
  }
}

/** Every way to give the edges to different actors of the kinds that were seen with them. */
function castingsOf(edges: readonly SeenEdge[], members: readonly CastMember[]): number[][] {
  let castings: number[][] = [[]];
  for (const { actor } of edges) {
    castings = castings.flatMap((casting) =>
      members.flatMap(({ name }, member) =>
        kindOf(name) === kindOf(actor) && !casting.includes(member) ? [[...casting, member]] : [],
      ),
    );
  }
  return castings;
}

function kindOf(name: string): string {
  return name.replace(/[\s\d]+$/, '');
}
