/** The scenarios that come with the package, by name. */
import type { Scenario } from '../scenario.ts';
import { createSlot } from './create-slot.ts';
import { flush } from './flush.ts';
import { lockTour } from './lock-tour.ts';
import { rehook } from './rehook.ts';
import { sharedCounter } from './shared-counter.ts';
import { slotGoes } from './slot-goes.ts';
import { tighten } from './tighten.ts';
import { wholeLife } from './whole-life.ts';

export const BUNDLED: readonly Scenario[] = [
  createSlot,
  flush,
  lockTour,
  // The worked examples of docs/scenarios.md, from ten lines up.
  tighten,
  slotGoes,
  sharedCounter,
  rehook,
  wholeLife,
];
