/** Where the storm's memory is: a slot that stays, and the victim slot, which vanishes, returns and moves. */
import type { MemoryRegion } from '../machine/options.ts';
import { STORM_PAGES, STORM_TEST_GPA, STORM_VICTIM_GPA } from './guest-image.ts';

const PAGE = 4096;
const REGION_BYTES = STORM_PAGES * PAGE;

/** The image, its counters, the test region: identity, so that a gpa is an offset into RAM. */
export const STABLE: MemoryRegion = { slot: 0, gpa: 0, bytes: STORM_TEST_GPA + REGION_BYTES };
export const VICTIM: MemoryRegion = {
  slot: 1,
  gpa: STORM_VICTIM_GPA,
  bytes: REGION_BYTES,
  ramOffset: STABLE.bytes,
};
/** Where the victim is moved to, and from there back. */
export const AWAY_GPA = VICTIM.gpa + 2 * REGION_BYTES;

export const STORM_RAM_BYTES = STABLE.bytes + REGION_BYTES;
export const STORM_GPA_BYTES = AWAY_GPA + REGION_BYTES;
/** First gpa of each region whose pages the tool restricts; both have STORM_PAGES. */
export const RESTRICTED_GPAS = [STORM_TEST_GPA, STORM_VICTIM_GPA] as const;
