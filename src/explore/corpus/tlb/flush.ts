/** Flushes that are left out, come to nobody, or are forgotten. */
import { harvestDirtyLog } from '../../../actors/mmu/dirty-log.ts';
import { activeSet, slotsOf } from '../../../actors/mmu/memslots.ts';
import { writeProtectSlot } from '../../../actors/mmu/protect.ts';
import { zapAllRoots } from '../../../actors/mmu/roots.ts';
import { dirtyWord } from '../../../actors/mmu/slot-arena.ts';
import {
  BUG_DEKKER_ORDER,
  BUG_FREE_NO_WALK_WAIT,
  BUG_HARVEST_NO_FLUSH,
  BUG_RO_MEANS_CLEAN,
  BUG_YIELD_DROPS_FLUSH,
} from '../../../shared/quirks.ts';
import { mutexLock, mutexUnlock } from '../../../shared/sync/mutex.ts';
import type { Path } from '../../../shared/sync/point.ts';
import type { Participant } from '../../engine/execution.ts';
import type { World } from '../../world/world.ts';
import type { CorpusItem } from '../item.ts';
import { hostTakes } from './host.ts';
import {
  allowsAll,
  before,
  GFN,
  LOGGED,
  PAGE,
  PageWatch,
  read,
  runner,
  SLOT,
  takesW,
  tlbItem,
  write,
} from './setting.ts';

/** Somebody takes W from the page by a command of the tool's; from its acknowledgement on each store needs an event. */
class Tightening {
  readonly #world: World;
  readonly #watch: PageWatch;
  readonly #actor;

  constructor(world: World) {
    this.#world = world;
    this.#watch = new PageWatch(world, 'I2');
    this.#actor = world.actor('tool');
  }

  get command(): Participant {
    return runner(this.#actor, this.#tighten());
  }

  *#tighten(): Path<void> {
    yield* takesW(this.#world, this.#actor);
    if (this.#world.events.length === 0) this.#watch.closed = 'that had been tightened, without an event';
  }

  vcpu(index: number, ...accesses: Parameters<typeof write>[]): Participant {
    const program = accesses.map((access) => write(...access));
    return this.#watch.over(this.#world.vcpuRunner(index, program));
  }

  get receiver(): Participant {
    const watch = this.#watch;
    const receiver = allowsAll(this.#world);
    const { events } = this.#world;
    const follow = function* (): Path<void> {
      for (let step = receiver.path.next(0); step.done !== true; ) {
        step = receiver.path.next(yield step.value);
        if (events.length > 0) watch.closed = null;
      }
    };
    return { ...receiver, path: follow() };
  }
}

const dekkerOrder = tlbItem(
  BUG_DEKKER_ORDER,
  { depth: 2, origin: 'MUT', rules: ['I2', 'I6'], place: 'vcpu/entry.ts: enterGuest' },
  () => ({
    setUp(world) {
      world.slot(SLOT);
      world.hook();
      world.enablePf(0);
      before(world, 0, write(GFN, 1));
    },
    participants(world) {
      const tightening = new Tightening(world);
      return [tightening.vcpu(0, [GFN, 2]), tightening.command, tightening.receiver];
    },
  }),
);

const roMeansClean = tlbItem(
  BUG_RO_MEANS_CLEAN,
  {
    depth: 2,
    origin: 'HIST',
    rules: ['I2', 'I6'],
    place: 'mmu/protect.ts: passesForClean',
  },
  () => ({
    setUp(world) {
      world.slot({ ...LOGGED, npages: 1 });
      world.hook();
      world.enablePf(0);
      before(world, 0, write(GFN, 1));
    },
    participants(world) {
      const tightening = new Tightening(world);
      return [
        tightening.vcpu(0, [GFN, 2]),
        world.controlRunner(writeProtect(world)),
        tightening.command,
        tightening.receiver,
      ];
    },
  }),
);

/** Every page of the slot faults on its next write, as when logging begins. */
function* writeProtect({ control, vm }: World): Path<void> {
  yield* mutexLock(control, vm.slotsLock);
  yield* writeProtectSlot(control, vm, slotsOf(vm, activeSet(vm, 0))[0]!);
  yield* mutexUnlock(control, vm.slotsLock);
}

const yieldDropsFlush = tlbItem(
  BUG_YIELD_DROPS_FLUSH,
  {
    depth: 2,
    origin: 'HIST',
    rules: ['I6', 'I7'],
    place: 'mmu/host-invalidation.ts: invalidateRangeStart',
  },
  () => ({
    machine: { vcpuCount: 2 },
    setUp(world) {
      world.slot(SLOT);
      before(world, 0, write(GFN, 1));
      before(world, 1, read(GFN + 2));
    },
    participants(world) {
      const watch = new PageWatch(world, 'I7');
      return [
        watch.over(world.vcpuRunner(0, [write(GFN, 2)])),
        // Not of the range: its fault waits for mmu_lock, and the invalidation makes room for it.
        world.vcpuRunner(1, [read(GFN + 3)]),
        world.controlRunner(hostTakes(world, watch, 2)),
      ];
    },
  }),
);

const harvestNoFlush = tlbItem(
  BUG_HARVEST_NO_FLUSH,
  { depth: 2, origin: 'MUT', rules: ['I14', 'I6'], place: 'mmu/dirty-log.ts: harvestDirtyLog' },
  () => {
    let harvested = 0;
    return {
      setUp(world) {
        world.slot(LOGGED);
        before(world, 0, write(GFN, 1));
      },
      participants(world) {
        harvested = 0;
        return [
          world.vcpuRunner(0, [write(GFN, 2)]),
          world.controlRunner(
            (function* (): Path<void> {
              yield* harvestDirtyLog(world.control, world.vm, LOGGED.asId, LOGGED.id);
              harvested = world.byte(GFN * PAGE);
            })(),
          ),
        ];
      },
      atEnd(world) {
        const now = world.byte(GFN * PAGE);
        return now === harvested || isLogged(world, 0)
          ? []
          : [
              {
                rule: 'I14',
                message: `page 0 of slot 1 holds ${now}, ${harvested} when its log was taken, and is not in the next log`,
              },
            ];
      },
    };
  },
);

/** Is this page of the only slot in its dirty log? */
export function isLogged({ vm }: World, page: number): boolean {
  const { arch } = slotsOf(vm, activeSet(vm, 0))[0]!;
  return (vm.mem.load(dirtyWord(vm, arch, page)) & (1 << page)) !== 0;
}

const freeNoWalkWait = tlbItem(
  BUG_FREE_NO_WALK_WAIT,
  { depth: 2, origin: 'MUT', rules: ['I7', 'I6'], place: 'mmu/roots.ts: zapAllRoots' },
  () => ({
    setUp(world) {
      world.slot(LOGGED);
      before(world, 0, read(GFN));
    },
    participants: (world) => [
      // Mapped for reading: the write goes to the fast path.
      world.vcpuRunner(0, [write(GFN, 1)]),
      world.controlRunner(zapAllRoots(world.control, world.vm)),
    ],
  }),
);

export const flushItems: readonly CorpusItem[] = [
  dekkerOrder,
  roMeansClean,
  yieldDropsFlush,
  freeNoWalkWait,
  harvestNoFlush,
];
