/**
 * Which blocks are compiled together: those that a hot one leads to and that have been run often enough themselves, the
 * nearest first, until the region is full. Calls are followed, and what comes behind them. Inner loops become hot before
 * outer ones: they stay where they have been compiled, and the outer ones go there and come back.
 */
import type { DecodedBlock } from '../decoded-block.ts';
import { type Region, type RegionBlock, regionBlock, returnSite } from './region.ts';

/**
 * LIMIT: guest instructions in a region, unless its first block has more. Compiling has to be short, and past 8192
 * virtual registers the engine compiles a function quickly instead of well; an instruction takes about ten.
 */
export const REGION_INSNS_MAX = 200;

/** What is known of the code around a hot block. */
export interface Surroundings {
  /** The block at `rip`, if it may be in the same region as the hot one. */
  blockAt(rip: bigint): DecodedBlock | null;
  /** Does it begin a loop that has been compiled? */
  isCompiledLoop(block: DecodedBlock): boolean;
  /** Has it been entered often enough to be worth its place? */
  isWarm(block: DecodedBlock): boolean;
}

export function selectRegion(hot: DecodedBlock, around: Surroundings): Region {
  const blocks = new Map<bigint, RegionBlock>();
  const entries = new Set<bigint>([hot.rip]);
  const wanted: bigint[] = [hot.rip];
  let count = 0;
  for (let rip = wanted.shift(); rip !== undefined; rip = wanted.shift()) {
    if (blocks.has(rip)) continue;
    const block = rip === hot.rip ? hot : around.blockAt(rip);
    if (block === null) continue;
    if (rip !== hot.rip && (!around.isWarm(block) || around.isCompiledLoop(block))) continue;
    if (blocks.size > 0 && count + block.count > REGION_INSNS_MAX) continue;
    const member = regionBlock(block);
    blocks.set(rip, member);
    count += block.count;
    const site = returnSite(block);
    if (member.taken !== null) wanted.push(member.taken);
    if (member.next !== null) wanted.push(member.next);
    if (site === null) continue;
    // A return comes in from anywhere; so does a call.
    wanted.push(site);
    entries.add(site);
    if (member.taken !== null) entries.add(member.taken);
  }
  return { blocks, entries: [...entries].filter((rip) => blocks.has(rip)), count };
}
