/** A scheduling point as words, for findings: `updating mmu_lock.STATE`. */
import type { Vm } from '../../actors/mmu/vm.ts';
import { cellName } from '../../shared/state/cell-name.ts';
import {
  CHOOSING,
  NOTIFYING,
  POINT_KINDS,
  type Point,
  READING,
  RELAXING,
  STEPPING,
  UPDATING,
  WAITING,
  WRITING,
} from '../../shared/sync/point.ts';

const VERBS = new Map<number, string>([
  [READING, 'reading'],
  [WRITING, 'writing'],
  [UPDATING, 'updating'],
  [WAITING, 'waiting on'],
  [NOTIFYING, 'notifying'],
  [STEPPING, 'step'],
  [CHOOSING, 'choice'],
  [RELAXING, 'polling'],
]);

export function pointName({ mem, layout }: Vm, point: Point): string {
  const kind = point % POINT_KINDS;
  const cell = Math.floor(point / POINT_KINDS);
  const verb = VERBS.get(kind)!;
  if (kind === STEPPING || kind === CHOOSING || cell === 0) return verb;
  return `${verb} ${cellName(layout, mem, cell)}`;
}
