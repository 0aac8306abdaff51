/** Lock statistics of a whole machine: what the actors' blocks (stats.ts) say together, per class. */
import type { Mem } from '../mem.ts';
import { LOCK_CLASSES } from './lock-class.ts';
import { STATS, STATS_BYTES, statsAddress } from './stats.ts';

export interface LockTimes {
  readonly name: string;
  readonly acquisitions: number;
  /** Times it was busy; for srcu, grace periods; for completions and events, waits. */
  readonly waits: number;
  readonly waitNs: number;
  readonly waitNsMax: number;
  readonly holdNs: number;
  readonly holdNsMax: number;
}

/** Of every class that was used, in their order. `stats`: address of the block of actor 0. */
export function lockTimesOf(mem: Mem, stats: number, actorCount: number): LockTimes[] {
  return LOCK_CLASSES.map((cls) => {
    const times = {
      name: cls.name,
      acquisitions: 0,
      waits: 0,
      waitNs: 0,
      waitNsMax: 0,
      holdNs: 0,
      holdNsMax: 0,
    };
    for (let actor = 0; actor < actorCount; actor++) {
      const at = statsAddress(stats + actor * STATS_BYTES, cls);
      const value = (name: keyof typeof STATS.at) => mem.f64[(at + STATS.at[name]) / 8]!;
      times.acquisitions += value('ACQUISITIONS');
      times.waits += value('CONTENDED');
      times.waitNs += value('WAIT_NS');
      times.waitNsMax = Math.max(times.waitNsMax, value('WAIT_NS_MAX'));
      times.holdNs += value('HOLD_NS');
      times.holdNsMax = Math.max(times.holdNsMax, value('HOLD_NS_MAX'));
    }
    return times;
  }).filter((times) => times.acquisitions + times.waits > 0);
}

/** Two runs as one. */
export function mergeLockTimes(a: readonly LockTimes[], b: readonly LockTimes[]): LockTimes[] {
  const merged = new Map(a.map((times) => [times.name, times]));
  for (const more of b) {
    const before = merged.get(more.name);
    merged.set(
      more.name,
      before === undefined
        ? more
        : {
            name: more.name,
            acquisitions: before.acquisitions + more.acquisitions,
            waits: before.waits + more.waits,
            waitNs: before.waitNs + more.waitNs,
            waitNsMax: Math.max(before.waitNsMax, more.waitNsMax),
            holdNs: before.holdNs + more.holdNs,
            holdNsMax: Math.max(before.holdNsMax, more.holdNsMax),
          },
    );
  }
  return LOCK_CLASSES.flatMap(({ name }) => merged.get(name) ?? []);
}
