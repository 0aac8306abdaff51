/**
 * Which blocks are compiled together: those that a hot one leads to and that have been run often enough themselves, the
 * nearest first, until the region is full. Calls are followed, and what comes behind them. Inner loops become hot before
 * outer ones: they stay where they have been compiled, and the outer ones go there and come back.
 */
import type { DecodedBlock } from '../decoded-block.ts';
import { isIndirect, lastInsn, type Region, type RegionBlock, regionBlock, returnSite } from './region.ts';

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
  /** Blocks that have been found by their address, not by a link: what indirect branches go to. */
  jumpTargets(): readonly bigint[];
  /** Has it been entered often enough to be worth its place? */
  isWarm(block: DecodedBlock): boolean;
}

export function selectRegion(hot: DecodedBlock, around: Surroundings): Region {
  const blocks = new Map<bigint, RegionBlock>();
  const entries = new Set<bigint>([hot.rip]);
  const jumpedTo = new Set<bigint>();
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
    const { op } = lastInsn(block).insn;
    if (op === 'jmpind' || op === 'callind') {
      for (const target of around.jumpTargets()) {
        wanted.push(target);
        entries.add(target);
        jumpedTo.add(target);
      }
    }
    if (site === null) continue;
    // A return comes in from anywhere; so does a call.
    wanted.push(site);
    entries.add(site);
    if (member.taken !== null) entries.add(member.taken);
  }
  predict(blocks, jumpedTo);
  return { blocks, entries: [...entries].filter((rip) => blocks.has(rip)), count };
}

/** Comparisons with addresses before the jump cache is asked, at most. */
const PREDICTIONS_MAX = 3;

/** A return goes to where calls of its function return to; other indirect branches to what is jumped to. */
function predict(blocks: Map<bigint, RegionBlock>, jumpTargets: ReadonlySet<bigint>): void {
  const targets = [...jumpTargets].filter((rip) => blocks.has(rip));
  const sitesOf = new Map<bigint, Set<bigint>>();
  for (const { block, taken } of blocks.values()) {
    const site = returnSite(block);
    if (site === null || !blocks.has(site)) continue;
    for (const target of taken === null ? targets : [taken]) {
      const known = sitesOf.get(target);
      if (known === undefined) sitesOf.set(target, new Set([site]));
      else known.add(site);
    }
  }
  const returns = new Map<bigint, Set<bigint>>();
  for (const [target, sites] of sitesOf) {
    for (const rip of returnsOf(target, blocks)) {
      returns.set(rip, new Set([...(returns.get(rip) ?? []), ...sites]));
    }
  }
  for (const [rip, member] of blocks) {
    if (!isIndirect(member.block)) continue;
    const isReturn = lastInsn(member.block).insn.op === 'ret';
    const predicted = isReturn ? [...(returns.get(rip) ?? [])] : targets;
    if (predicted.length <= PREDICTIONS_MAX) blocks.set(rip, { ...member, predicted });
  }
}

/** Blocks of the function at `target` that end with a return. */
function returnsOf(target: bigint, blocks: ReadonlyMap<bigint, RegionBlock>): bigint[] {
  const seen = new Set<bigint>();
  const open = [target];
  const found: bigint[] = [];
  for (let rip = open.pop(); rip !== undefined; rip = open.pop()) {
    const member = blocks.get(rip);
    if (member === undefined || seen.has(rip)) continue;
    seen.add(rip);
    const site = returnSite(member.block);
    if (site !== null) open.push(site);
    else open.push(...[member.taken, member.next].filter((to): to is bigint => to !== null));
    if (lastInsn(member.block).insn.op === 'ret') found.push(rip);
  }
  return found;
}
