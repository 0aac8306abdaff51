/** Scenarios that oracles are tried on: storms of the whole protocol, each the same for its seed. */

import { hook, unhook } from '../../src/actors/introspector/hook.ts';
import {
  KVMI_EVENT_ACTION_CONTINUE,
  KVMI_EVENT_ACTION_RETRY,
} from '../../src/actors/introspector/kvmi/constants.ts';
import type { Session } from '../../src/actors/introspector/session.ts';
import { setMemoryRegion } from '../../src/actors/mmu/memslots.ts';
import type { Access } from '../../src/actors/vcpu/access-program.ts';
import type { Participant } from '../../src/explore/engine/execution.ts';
import type { Scenario } from '../../src/explore/scenario/scenario.ts';
import type { Tool } from '../../src/explore/world/tool-side.ts';
import type { World, WorldOptions } from '../../src/explore/world/world.ts';
import { Prng } from '../../src/shared/prng.ts';
import type { Quirks } from '../../src/shared/quirks.ts';
import type { Actor } from '../../src/shared/sync/actor.ts';
import type { Path } from '../../src/shared/sync/point.ts';

export const PAGE = 4096;
export const LOW = { id: 0, asId: 0, flags: 0, baseGfn: 0, npages: 16, ramPage: 0 };
export const VICTIM = { id: 1, asId: 0, flags: 0, baseGfn: 32, npages: 8, ramPage: 16 };

export interface StormShape {
  readonly quirks?: Quirks;
  readonly vcpuCount?: number;
  readonly accesses?: number;
  readonly rounds?: number;
  /** The control thread unhooks at its end. */
  readonly unhooks?: boolean;
}

/** vCPUs that read, write and execute; a tool that changes access; memslots that go, come and move. */
export function storm(seed: number, shape: StormShape = {}): Scenario {
  const { quirks = [], vcpuCount = 2, accesses = 8, rounds = 2, unhooks = false } = shape;

  function someAccess(prng: Prng): Access {
    const within = prng.chance(0.25) ? PAGE - 1 - prng.below(3) : prng.below(PAGE - 8);
    return {
      kind: prng.pick(['read', 'write', 'execute'] as const),
      gpa: (VICTIM.baseGfn + prng.below(VICTIM.npages)) * PAGE + within,
      size: prng.pick([1, 2, 4, 8] as const),
      value: BigInt(prng.below(0xffff)),
    };
  }

  function* control(world: World, prng: Prng): Path<void> {
    const { vm } = world;
    const actor = world.control;
    for (let round = 0; round < rounds; round++) {
      switch (prng.below(4)) {
        case 0:
          yield* setMemoryRegion(actor, vm, { ...VICTIM, npages: 0 });
          yield* setMemoryRegion(actor, vm, VICTIM);
          break;
        case 1:
          yield* setMemoryRegion(actor, vm, { ...VICTIM, baseGfn: 64 });
          yield* setMemoryRegion(actor, vm, VICTIM);
          break;
        case 2:
          vm.mem.store(vm.word('FAIL_ALLOCATIONS'), 1);
          yield* setMemoryRegion(actor, vm, { ...VICTIM, baseGfn: 64 });
          vm.mem.store(vm.word('FAIL_ALLOCATIONS'), 0);
          break;
        default:
          yield* world.newSession(actor).getPageAccess((VICTIM.baseGfn + prng.below(8)) * PAGE);
      }
    }
    if (unhooks) {
      yield* unhook(actor, vm);
      yield* hook(actor, vm);
    }
  }

  const toolOf = (prng: Prng): Tool =>
    function* (event, session) {
      if (prng.below(3) === 0) {
        const gfn = VICTIM.baseGfn + prng.below(VICTIM.npages);
        yield* session.setPageAccess(gfn * PAGE, prng.below(8), { needSlot: prng.chance(0.3) });
      }
      if (prng.below(3) > 0 || event.pf === null) return KVMI_EVENT_ACTION_CONTINUE;
      yield* session.setPageAccess(event.pf.gpa, 7, { needSlot: false });
      return KVMI_EVENT_ACTION_RETRY;
    };

  /** The tool sets access on its own, beside events. */
  function* command(session: Session, prng: Prng): Path<void> {
    for (let n = 0; n < rounds; n++) {
      const gpa = (VICTIM.baseGfn + prng.below(VICTIM.npages)) * PAGE;
      if (prng.chance(0.3)) yield* session.getPageAccess(gpa);
      else yield* session.setPageAccess(gpa, prng.below(8), { needSlot: false });
    }
  }

  return {
    name: `storm-${seed}`,
    title: 'everything at once',
    machine: { vcpuCount, quirks },
    setUp(world) {
      const prng = new Prng(BigInt(seed));
      world.slot(LOW);
      world.slot(VICTIM);
      world.hook();
      world.enablePf(...world.vcpus.keys());
      for (let gfn = 32; gfn < 40; gfn++) world.access(gfn, prng.below(8));
    },
    participants(world) {
      const prng = new Prng(BigInt(seed) + 1000n);
      const fork = (name: string) => prng.fork(name);
      const vcpus = world.vcpus.map((_, index) => {
        const own = fork(`vcpu ${index}`);
        return world.vcpuRunner(
          index,
          Array.from({ length: accesses }, () => someAccess(own)),
        );
      });
      const commander = world.actor('commander');
      const path = command(world.newSession(commander), fork('commander'));
      return [
        ...vcpus,
        world.toolRunner(toolOf(fork('tool'))),
        world.controlRunner(control(world, fork('control'))),
        ...(unhooks ? [] : [{ name: 'commander', waiter: commander, path }]),
      ];
    },
  };
}

/** Paths of a test's own in a machine with two slots and introspection on. */
export function stageOf(
  participants: (world: World) => readonly Participant[],
  options: {
    readonly machine?: WorldOptions;
    readonly setUp?: (world: World) => void;
    readonly stepLimit?: number;
  } = {},
): Scenario {
  const { machine = {}, setUp, stepLimit } = options;
  return {
    name: 'test',
    title: 'a test of its own',
    machine,
    setUp(world) {
      world.slot(LOW);
      world.slot(VICTIM);
      world.hook();
      world.enablePf(...world.vcpus.keys());
      setUp?.(world);
    },
    participants,
    ...(stepLimit === undefined ? {} : { stepLimit }),
  };
}

/** An actor of its own with a path. */
export function runner(world: World, name: string, path: (actor: Actor) => Path<unknown>): Participant {
  const actor = world.actor(name);
  return { name, waiter: actor, path: path(actor) };
}
