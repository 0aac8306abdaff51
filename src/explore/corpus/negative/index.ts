/** Negative controls, section 7 of the race corpus. */
import type { NegativeControl } from '../item.ts';
import { eventControls } from './events.ts';
import { pageControls } from './pages.ts';

export const negativeControls: readonly NegativeControl[] = [...eventControls, ...pageControls].sort(
  (a, b) => (a.id < b.id ? -1 : 1),
);
