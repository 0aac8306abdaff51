/**
 * The bundled storm: what its vCPUs, its memslots and its tool do. Pure choices from a seed; no threads here.
 *
 * Guest frames 0…63 are RAM that stays, 64…127 the victim slot, which vanishes, returns, and is moved to 192…255.
 */
import type { SlotRequest } from './actors/mmu/memslots.ts';
import type { Access } from './actors/vcpu/access-program.ts';
import type { Prng } from './shared/prng.ts';

const STABLE_PAGES = 64;
const VICTIM_PAGES = 64;
const VICTIM_GFN = 64;
export const VICTIM_AWAY_GFN = 192;

export const STABLE_SLOT: SlotRequest = {
  id: 0,
  asId: 0,
  flags: 0,
  baseGfn: 0,
  npages: STABLE_PAGES,
  ramPage: 0,
};
export const VICTIM_SLOT: SlotRequest = {
  id: 1,
  asId: 0,
  flags: 0,
  baseGfn: VICTIM_GFN,
  npages: VICTIM_PAGES,
  ramPage: STABLE_PAGES,
};
export const STORM_RAM_PAGES = STABLE_PAGES + VICTIM_PAGES;
export const STORM_GFNS = 256;

const KINDS = ['read', 'write', 'execute'] as const;
const SIZES = [1, 2, 4, 8] as const;

/** A page that the tool may restrict: any of the stable or the victim slot. */
export function stormPage(prng: Prng): number {
  return prng.below(VICTIM_GFN + VICTIM_PAGES);
}

/** The next access of a vCPU. One in eight crosses a page boundary. */
export function stormAccess(prng: Prng): Access {
  const size = SIZES[prng.below(4)]!;
  const kind = KINDS[prng.below(3)]!;
  const crosses = size > 1 && prng.chance(0.125);
  const offset = crosses ? 4096 - 1 - prng.below(size - 1) : prng.below(4096 / size) * size;
  return { kind, size, gpa: stormPage(prng) * 4096 + offset, value: BigInt(prng.u32()) };
}
