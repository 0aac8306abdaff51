/** Who takes part in the scenarios of the corpus: the tool and its receiver, vCPUs, VM control. */
import { unhook } from '../../actors/introspector/hook.ts';
import type { Session } from '../../actors/introspector/session.ts';
import { type SlotRequest, setMemoryRegion } from '../../actors/mmu/memslots.ts';
import { kick, makeRequest } from '../../actors/mmu/requests.ts';
import type { Vm } from '../../actors/mmu/vm.ts';
import type { Access } from '../../actors/vcpu/access-program.ts';
import { sleepHalted } from '../../actors/vcpu/entry.ts';
import type { Vcpu } from '../../actors/vcpu/vcpu.ts';
import { REQ_STOP, VCPU_HALTED } from '../../shared/layout/vcpu.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import { choosing, drive, type Path } from '../../shared/sync/point.ts';
import type { Participant } from '../engine/execution.ts';
import type { World } from '../world/world.ts';
import { CONTINUE, GFN, PAGE, type PagePolicy } from './setting.ts';

/** A participant of its own making. */
export function runner(waiter: Actor, path: Path<unknown>): Participant {
  return { name: waiter.name, waiter, path };
}

/** Looks on after each step of a participant, and before. */
export function observed(
  participant: Participant,
  afterStep: () => void,
  beforeStep: () => void = () => {},
): Participant {
  const { path } = participant;
  function* follow(): Path<void> {
    for (let step = path.next(0); step.done !== true; ) {
      const answer = yield step.value;
      beforeStep();
      step = path.next(answer);
      afterStep();
    }
  }
  return { ...participant, path: follow() };
}

/** The participant, and `then` once it has ended. */
export function whenOver(participant: Participant, then: () => void): Participant {
  function* life(): Path<void> {
    yield* participant.path as Path<unknown>;
    then();
  }
  return { ...participant, path: life() };
}

// ── the tool ──────────────────────────────────────────────────────────────────────────────────────────────────
/** A receiver that lets every access through. */
export function allowsAll(world: World): Participant {
  return world.toolRunner(function* () {
    return CONTINUE;
  });
}

/**
 * The tool's own commands. They have an actor of their own, so that events are answered meanwhile: more orders than a
 * single receiver has.
 */
export function commands(world: World, script: (session: Session) => Path<unknown>): Participant {
  const actor = world.actor('tool');
  return runner(actor, script(world.newSession(actor)));
}

/** Commands that leave `access` allowed on one page after the other, be there slots or not. */
export function restricts(world: World, ...policy: readonly PagePolicy[]): Participant {
  return commands(world, function* (session) {
    for (const [gfn, access] of policy) {
      yield* session.setPageAccess(gfn * PAGE, access, { needSlot: false });
    }
  });
}

// ── vCPUs ─────────────────────────────────────────────────────────────────────────────────────────────────────
export function read(gfn: number): Access {
  return { kind: 'read', gpa: gfn * PAGE, size: 1 };
}

export function write(gfn: number, value: number): Access {
  return { kind: 'write', gpa: gfn * PAGE, size: 1, value: BigInt(value) };
}

export function execute(gfn: number): Access {
  return { kind: 'execute', gpa: gfn * PAGE, size: 1 };
}

/** vCPU `index` makes these accesses alone, before anything begins: what maps pages and fills its TLB. */
export function before(world: World, index: number, ...accesses: readonly Access[]): void {
  drive(world.vcpus[index]!.actor, world.program(index, accesses));
}

/** vCPU `index` does this once, inside a section of kvm.srcu, without entering the guest. */
export function byHand(world: World, index: number, work: (vcpu: Vcpu) => Path<unknown>): Participant {
  const vcpu = world.vcpus[index]!;
  function* life(): Path<void> {
    yield* vcpu.enterSrcu();
    yield* work(vcpu);
    yield* vcpu.leaveSrcu();
  }
  return runner(vcpu.actor, life());
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

/** Ends the wait of {@link haltedUntilStopped}. */
export function* stops(vm: Vm, index: number): Path<void> {
  yield* makeRequest(vm, index, REQ_STOP);
  yield* kick(vm, index);
}

// ── VM control ────────────────────────────────────────────────────────────────────────────────────────────────
/** It makes or changes a slot. */
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
