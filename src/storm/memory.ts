/** Where the storm's memory is: a slot that stays, and the victim slot, which vanishes, returns and moves. */
import type { MemoryRegion } from '../machine/options.ts';

const PAGE = 4096;
const STABLE_PAGES = 64;
const VICTIM_PAGES = 64;
const VICTIM_GFN = 64;
const AWAY_GFN = 192;

export const STORM_RAM_BYTES = (STABLE_PAGES + VICTIM_PAGES) * PAGE;
export const STORM_GPA_BYTES = 256 * PAGE;

export const STABLE: MemoryRegion = { slot: 0, gpa: 0, bytes: STABLE_PAGES * PAGE };
export const VICTIM: MemoryRegion = {
  slot: 1,
  gpa: VICTIM_GFN * PAGE,
  bytes: VICTIM_PAGES * PAGE,
  ramOffset: STABLE_PAGES * PAGE,
};
/** Where the victim is moved to, bytes. */
export const AWAY_GPA = AWAY_GFN * PAGE;
/** Pages that the storm's vCPUs touch and its tool restricts: from gpa 0 on. */
export const STORM_PAGES = VICTIM_GFN + VICTIM_PAGES;
