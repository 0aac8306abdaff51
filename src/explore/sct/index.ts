/** The shapes, by name. */
import type { Program } from '../program/program.ts';
import { carter01, deadlock01, philosophers, stringBuffer, wrongLock } from './locking.ts';
import { account, bluetooth, lazy01, tokenRing } from './order.ts';
import { earlyPublication, reorder, twostage } from './publication.ts';
import { boundedBuffer, circularBuffer, queue, safeStack, stack, workStealing } from './queues.ts';

export const SCT_SHAPES: readonly Program[] = [
  reorder(3),
  reorder(4),
  reorder(5),
  reorder(10),
  reorder(20),
  twostage(3),
  twostage(20),
  wrongLock(3),
  wrongLock(7),
  lazy01,
  account,
  deadlock01,
  carter01,
  bluetooth,
  stack,
  tokenRing,
  stringBuffer,
  philosophers(3),
  philosophers(7),
  circularBuffer,
  queue,
  boundedBuffer,
  earlyPublication,
  workStealing,
  safeStack,
];
