/** The scenarios that come with the package, by name. */
import type { Scenario } from '../scenario.ts';
import { createSlot } from './create-slot.ts';
import { flush } from './flush.ts';

export const BUNDLED: readonly Scenario[] = [createSlot, flush];
