/**
 * The word under spinlocks and mutexes.
 *
 *   value        meaning
 *   ───────────  ──────────────────────────────────────────────────────────────
 *   0            free
 *   id × 2       held by actor `id`
 *   id × 2 + 1   held by actor `id`, and somebody may be asleep on this word
 *
 * Three states, so that a release wakes only when somebody may sleep. Not fair: a newcomer may overtake the one that
 * has just been woken. One who has slept takes the word with the low bit set, since others may still sleep behind it.
 *
 * @source Ulrich Drepper, "Futexes Are Tricky", section "Mutex, Take 2"
 */
import type { Actor } from './actor.ts';
import { notifying, type Path, reading, updating, WAIT_WOKEN, waiting } from './point.ts';

const SLEEPERS = 1;

/** Nobody holds the word. */
export const FREE = 0;

/** What the word says while `actor` holds it and nobody sleeps. */
export function heldBy(actor: Actor): number {
  return actor.id * 2;
}

/** The holder of a word found at `value`; 0 for nobody. */
export function holderOf(value: number): number {
  return value >>> 1;
}

/** Takes the word at `addr`, which a first try found at `found`, not free. Looks `spins` times before it sleeps. */
export function* futexLockSlow(actor: Actor, addr: number, found: number, spins: number): Path<void> {
  const { mem } = actor;
  let seen = found;
  for (let i = 0; i < spins && seen !== FREE; i++) {
    yield reading(addr);
    seen = mem.load(addr);
  }
  let mine = heldBy(actor);
  for (;;) {
    if (seen === FREE) {
      yield updating(addr);
      seen = mem.cas(addr, FREE, mine);
      if (seen === FREE) return;
    } else if ((seen & SLEEPERS) === 0) {
      yield updating(addr);
      const now = mem.cas(addr, seen, seen | SLEEPERS);
      seen = now === seen ? seen | SLEEPERS : now;
    } else {
      actor.expect = seen;
      // ORDER: the release stores FREE before it wakes, so the try that follows finds it unless overtaken.
      if ((yield waiting(addr)) === WAIT_WOKEN) mine |= SLEEPERS;
      seen = FREE;
    }
  }
}

/** Frees the word at `addr`, held by `actor`. */
export function* futexUnlock(actor: Actor, addr: number): Path<void> {
  const { mem } = actor;
  yield updating(addr);
  if ((mem.exchange(addr, FREE) & SLEEPERS) !== 0) {
    yield notifying(addr);
    mem.notify(addr, 1);
  }
}
