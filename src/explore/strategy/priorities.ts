/** Strategies that give each actor a priority: who of a mask has the highest. */

/** @param mask  not empty; of equals the higher number wins */
export function highest(mask: number, priority: Int32Array): number {
  let best = 31 - Math.clz32(mask);
  for (let rest = mask ^ (1 << best); rest !== 0; ) {
    const actor = 31 - Math.clz32(rest);
    rest ^= 1 << actor;
    if (priority[actor]! > priority[best]!) best = actor;
  }
  return best;
}
