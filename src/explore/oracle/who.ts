/** Who is who: from the actors of a world to the numbers that an execution gives its participants, and back. */
import type { Actor } from '../../shared/sync/actor.ts';
import type { Execution, Participant } from '../engine/execution.ts';
import type { World } from '../world/world.ts';

/** −1 for one that takes no part. */
export function numberOf(execution: Execution, actor: Actor): number {
  return execution.participants.findIndex(({ waiter }) => waiter === actor);
}

/** Index of the vCPU that a participant is; −1 for others. */
export function vcpuOf({ vcpus }: World, { waiter }: Participant): number {
  return vcpus.findIndex(({ actor }) => actor === waiter);
}
