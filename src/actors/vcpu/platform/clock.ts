/**
 * The course of time as a PC's devices and its time stamp counter see it: nanoseconds, from 0. One clock for all of them,
 * so that what the guest calibrates by one agrees with the others.
 *
 *   real      the host's: what runs on real threads in real time
 *   virtual   one nanosecond per instruction, and a halted vCPU is where its next timer is at once: a run repeats
 *
 * LIMIT: virtual time is that of one vCPU. Several would each have their own, and their time stamps would disagree.
 */

export interface Clock {
  /** Whole nanoseconds. */
  now(): number;
  /** Goes to `due`, if nothing will happen before it; false when that has to be waited for. */
  skipTo(due: number): boolean;
}

/** @param base  `process.hrtime.bigint()` of the moment that is 0, in all threads */
export function realClock(base: bigint): Clock {
  return {
    now: () => Number(process.hrtime.bigint() - base),
    skipTo: () => false,
  };
}

/** Where virtual time is kept: with the vCPU, so that it is part of its state. */
export interface TimeKeeper {
  retired(): bigint;
  /** Nanoseconds passed over so far. */
  skipped: bigint;
}

export function virtualClock(keeper: TimeKeeper): Clock {
  const now = () => Number(keeper.retired() + keeper.skipped);
  return {
    now,
    skipTo(due) {
      const ahead = Math.ceil(due) - now();
      if (ahead > 0) keeper.skipped += BigInt(ahead);
      return true;
    },
  };
}
