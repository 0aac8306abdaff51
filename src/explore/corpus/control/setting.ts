/**
 * What the items about memslots, the control plane and locks have in common: {@link corpusItem}, the tool and the
 * watches of the other two sections, and a few participants.
 *
 *   gfn       RAM page   what
 *   ────────  ─────────  ────────────────────────────────────────────
 *   8 … 11    8 … 11     slot 1; {@link GFN} is its first
 *   12, 13    12, 13     slot 2 in some of them
 *             20 … 23    no slot: memory of the models (models/cells.ts)
 */

import { unhook } from '../../../actors/introspector/hook.ts';
import { KVMI_EVENT_ACTION_CONTINUE } from '../../../actors/introspector/kvmi/constants.ts';
import { type SlotRequest, setMemoryRegion } from '../../../actors/mmu/memslots.ts';
import { kick, makeRequest } from '../../../actors/mmu/requests.ts';
import type { Vm } from '../../../actors/mmu/vm.ts';
import { sleepHalted } from '../../../actors/vcpu/entry.ts';
import type { Vcpu } from '../../../actors/vcpu/vcpu.ts';
import { ACCESS_R, ACCESS_X } from '../../../shared/layout/cpu.ts';
import { REQ_STOP, VCPU_HALTED } from '../../../shared/layout/vcpu.ts';
import type { Quirks } from '../../../shared/quirks.ts';
import { choosing, type Path } from '../../../shared/sync/point.ts';
import type { Participant } from '../../engine/execution.ts';
import { withQuirks } from '../../scenario/scenario.ts';
import type { World } from '../../world/world.ts';
import type { CorpusItem } from '../item.ts';
import { GFN, PAGE, SLOT, write } from '../tlb/setting.ts';

/** What the tool leaves of a page. */
export const NOT_W = ACCESS_R | ACCESS_X;
export const CONTINUE = KVMI_EVENT_ACTION_CONTINUE;
export const OTHER_SLOT: SlotRequest = {
  id: 2,
  asId: 0,
  flags: 0,
  baseGfn: GFN + 4,
  npages: 2,
  ramPage: GFN + 4,
};

/** Slot 1, a session with PF events of all vCPUs, and what is left allowed on some pages. */
export function hooked(...policy: readonly (readonly [gfn: number, access: number])[]) {
  return (world: World): void => {
    world.slot(SLOT);
    world.hook();
    world.enablePf(...world.vcpus.keys());
    for (const [gfn, access] of policy) world.alone(world.session.setPageAccess(gfn * PAGE, access));
  };
}

/** VM control makes or changes a slot. */
export function changesSlot(world: World, request: SlotRequest): Participant {
  return world.controlRunner(setMemoryRegion(world.control, world.vm, request));
}

export function unhooks(world: World): Participant {
  return world.controlRunner(unhook(world.control, world.vm));
}

/** Whether a signal interrupts the wait is the schedule's choice. */
export function unhooksKillable(world: World): Participant {
  function* unhookOrNot(): Path<void> {
    const interrupted = (yield choosing(2)) === 1;
    yield* unhook(world.control, world.vm, interrupted);
  }
  return world.controlRunner(unhookOrNot());
}

/** vCPU `index` does this once, inside a section of kvm.srcu, without entering the guest. */
export function byHand(world: World, index: number, work: (vcpu: Vcpu) => Path<unknown>): Participant {
  const vcpu = world.vcpus[index]!;
  function* life(): Path<void> {
    yield* vcpu.enterSrcu();
    yield* work(vcpu);
    yield* vcpu.leaveSrcu();
  }
  return { name: `vcpu ${index}`, waiter: vcpu.actor, path: life() };
}

/** vCPU `index` stands still until it is stopped, or by mistake goes on: then it stores to the page. */
export function* haltedUntilStopped(world: World, index: number): Path<void> {
  const vcpu = world.vcpus[index]!;
  const state = vcpu.word('STATE');
  vcpu.mem.store(state, VCPU_HALTED);
  yield* vcpu.enterSrcu();
  let goesOn = true;
  while (goesOn && vcpu.mem.load(state) === VCPU_HALTED) goesOn = yield* sleepHalted(vcpu);
  yield* vcpu.leaveSrcu();
  if (goesOn) yield* world.program(index, [write(GFN, 1)]);
}

export function* stops(vm: Vm, index: number): Path<void> {
  yield* makeRequest(vm, index, REQ_STOP);
  yield* kick(vm, index);
}

/** The item on a machine that has some other quirks besides, mistaken or not. */
export function onTopOf(quirks: Quirks, item: CorpusItem): CorpusItem {
  return { ...item, scenario: (mutated) => withQuirks(item.scenario(mutated), quirks) };
}
