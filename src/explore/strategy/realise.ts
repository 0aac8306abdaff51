/**
 * Tries to make a predicted deadlock come true: steers actors so that each holds its lock of the circle and asks for the
 * next, keeps those that have come so far where they are, and lets all go when the circle is closed.
 *
 * Which actor plays which edge: with each execution the parts are dealt anew, those first in which most edges are played
 * by one of the kind that was seen to do it (`vcpu 0` and `vcpu 1` are of one kind). Others may do the same.
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

/** How many picks of 16 go to those who have no part: a part may need what they do first. One for each execution. */
const OTHERS_SHARES = [2, 8, 14] as const;
/** One pick in this many goes to anybody who is not in place. */
const ANYBODY_EVERY = 32;

export class Realise implements Strategy {
  readonly name = 'realise';
  readonly #cycle: LockCycle;
  readonly #cast: () => readonly CastMember[];
  #prng = new Prng(0n);
  #members: readonly CastMember[] = [];
  /** The actor that plays edge `i` of the circle. */
  #players: readonly number[] = [];
  /** Edges in the order in which their players come into place: one who is in place may stand in the next one's way. */
  #order: readonly number[] = [];
  #othersShare = 0;
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
    this.#othersShare = this.#prng.pick(OTHERS_SHARES);
    this.#order = this.#shuffled([...this.#players.keys()]);
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
        const free = runnable & ~waiting;
        const others = runnable & ~playing;
        if (free !== 0) {
          if (this.#prng.below(ANYBODY_EVERY) === 0) return this.#oneOf(free);
          if (others !== 0 && this.#prng.below(16) < this.#othersShare) return this.#oneOf(others);
          const next = this.#order.find((edge) => (waiting & (1 << this.#players[edge]!)) === 0)!;
          const player = 1 << this.#players[next]!;
          return this.#oneOf((free & player) !== 0 ? player : others !== 0 ? others : free);
        }
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

  #shuffled(items: number[]): number[] {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.#prng.below(i + 1);
      [items[i], items[j]] = [items[j]!, items[i]!];
    }
    return items;
  }

  #oneOf(mask: number): number {
    return nthOf(mask, this.#prng.below(population(mask)));
  }
}

/** Every way to give the edges to different actors; first the ways that are most like what was seen. */
function castingsOf(edges: readonly SeenEdge[], members: readonly CastMember[]): number[][] {
  let castings: number[][] = [[]];
  for (const _edge of edges) {
    castings = castings.flatMap((casting) =>
      [...members.keys()].flatMap((member) => (casting.includes(member) ? [] : [[...casting, member]])),
    );
  }
  const asSeen = (casting: readonly number[]): number =>
    casting.filter((member, i) => kindOf(members[member]!.name) === kindOf(edges[i]!.actor)).length;
  return castings.sort((a, b) => asSeen(b) - asSeen(a));
}

function kindOf(name: string): string {
  return name.replace(/[\s\d]+$/, '');
}
