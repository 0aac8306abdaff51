/**
 * What an execution adds to what a campaign has seen: its switches, each by what the one actor has just done and what
 * the other does next. Few enough to be counted, and new ones become rare when little is left to see.
 */
import type { Trace } from '../engine/trace.ts';

/** @param note  gets a hash for each feature; the same one as often as it comes */
export function featuresOf({ length, actor, point }: Trace, note: (hash: number) => void): void {
  for (let i = 1; i < length; i++) {
    if (actor[i] === actor[i - 1]) continue;
    note(mix(mix(mix(actor[i - 1]!, point[i - 1]!), actor[i]!), point[i]!));
  }
}

function mix(hash: number, value: number): number {
  let x = Math.imul(hash ^ value, 0x9e3779b1);
  x = Math.imul(x ^ (x >>> 15) ^ Math.floor(value / 2 ** 32), 0x85ebca6b);
  return x ^ (x >>> 13);
}
