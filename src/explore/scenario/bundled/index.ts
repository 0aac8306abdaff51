/** The scenarios that come with the package, by name. */
import type { Scenario } from '../scenario.ts';
import { createSlot } from './create-slot.ts';
import { flush } from './flush.ts';
import { lockTour } from './lock-tour.ts';

export const BUNDLED: readonly Scenario[] = [createSlot, flush, lockTour];
