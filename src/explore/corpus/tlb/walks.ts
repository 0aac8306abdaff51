/** The walk of the guest's own tables: entries that are read twice, or written where they are not. */
import { type GuestWalk, type WalkResult, walkGuest } from '../../../actors/mmu/page-walk.ts';
import type { Access } from '../../../actors/vcpu/access-program.ts';
import { ACCESS_R, ACCESS_W } from '../../../shared/layout/cpu.ts';
import { BUG_AD_WRONG_ADDRESS, BUG_DOUBLE_FETCH } from '../../../shared/quirks.ts';
import { i32, struct } from '../../../shared/struct.ts';
import type { Path } from '../../../shared/sync/point.ts';
import { PTE_A, PTE_D, PTE_P, PTE_RW, PTE_US } from '../../../shared/x86/paging.ts';
import type { World } from '../../world/world.ts';
import { before, runner } from '../cast.ts';
import type { CorpusItem } from '../item.ts';
import { wordsOf } from '../models/cells.ts';
import { corpusItem, GFN, PAGE, SLOT } from '../setting.ts';

/** gfns of the tables through which gva 0 is found. */
const PML4 = GFN;
const PDPT = GFN + 1;
const PD = GFN + 2;
const PT = GFN + 3;
/** Frames it leads to. */
const ONE = 5;
const OTHER = 6;

const OPEN = PTE_P | PTE_RW | PTE_US;
const USED = PTE_A | PTE_D;

function entry(gfn: number, bits: bigint): bigint {
  return BigInt(gfn * PAGE) | bits;
}

/** Writes the first entry of the table in RAM page `ramPage`. */
function fill({ vm }: World, ramPage: number, value: bigint): void {
  vm.mem.store64(vm.ramPage(ramPage), value);
}

function tables(world: World, leaf: bigint): void {
  world.slot(SLOT);
  fill(world, PML4, entry(PDPT, OPEN | USED));
  fill(world, PDPT, entry(PD, OPEN | USED));
  fill(world, PD, entry(PT, OPEN | USED));
  fill(world, PT, leaf);
}

function* walk(world: World, index: number, access: number): Path<WalkResult> {
  const vcpu = world.vcpus[index]!;
  const how: GuestWalk = {
    cr3: BigInt(PML4 * PAGE),
    gva: 0n,
    access,
    user: true,
    writeProtect: true,
    noExecute: true,
  };
  yield* vcpu.enterSrcu();
  const result = yield* walkGuest(world.vm, 0, how);
  yield* vcpu.leaveSrcu();
  return result;
}

/** Writes the first entry of the table in frame `gfn`. */
function writeEntry(gfn: number, value: bigint): Access {
  return { kind: 'write', gpa: gfn * PAGE, size: 8, value };
}

/** In the memory, which is all that a participant's thread shares with whoever checks. */
const noted = wordsOf(struct('walk', { GPA: i32('the walk', 'where it led; 0: nowhere yet') }));

const doubleFetch = corpusItem(
  BUG_DOUBLE_FETCH,
  { depth: 2, origin: 'HIST', rules: ['snapshot'], place: 'mmu/page-walk.ts: walkGuest' },
  () => ({
    machine: { vcpuCount: 2 },
    setUp(world) {
      tables(world, entry(ONE, OPEN | USED));
      before(world, 1, writeEntry(PT, entry(ONE, OPEN | USED)));
    },
    participants(world) {
      const walks = function* (): Path<void> {
        const result = yield* walk(world, 0, ACCESS_R | ACCESS_W);
        if (result.kind === 'page') world.vm.mem.store(noted(world.vm, 'GPA'), result.gpa);
      };
      return [
        runner(world.vcpus[0]!.actor, walks()),
        world.vcpuRunner(1, [writeEntry(PT, entry(OTHER, PTE_P | USED))]),
      ];
    },
    atEnd: ({ vm }) =>
      vm.mem.load(noted(vm, 'GPA')) === OTHER * PAGE
        ? [
            {
              rule: 'snapshot',
              message: `the walk lets a user write frame ${OTHER}, by the rights that the entry gave on frame ${ONE}`,
            },
          ]
        : [],
  }),
);

/** A second place for the last table, whose RAM does not lie where its gfn suggests; what lies there is another slot's. */
const FAR = { ...SLOT, id: 2, baseGfn: 16, npages: 1, ramPage: 12 };
const BYSTANDER = { ...SLOT, id: 3, baseGfn: 20, npages: 1, ramPage: 16 };

const adWrongAddress = corpusItem(
  BUG_AD_WRONG_ADDRESS,
  { depth: 1, origin: 'HIST', rules: ['I7'], place: 'mmu/page-walk.ts: walkGuest' },
  () => {
    const leaf = entry(ONE, OPEN);
    return {
      machine: { vcpuCount: 2 },
      setUp(world) {
        tables(world, leaf);
        world.slot(FAR);
        world.slot(BYSTANDER);
        fill(world, FAR.ramPage, leaf);
        fill(world, BYSTANDER.ramPage, leaf);
        before(world, 1, writeEntry(PD, entry(PT, OPEN | USED)));
      },
      participants: (world) => [
        runner(world.vcpus[0]!.actor, walk(world, 0, ACCESS_R)),
        world.vcpuRunner(1, [writeEntry(PD, entry(FAR.baseGfn, OPEN | USED))]),
      ],
      atEnd: ({ vm }) =>
        vm.mem.load64(vm.ramPage(BYSTANDER.ramPage)) === leaf
          ? []
          : [
              {
                rule: 'I7',
                message: `the walk wrote to gfn 0x${BYSTANDER.baseGfn.toString(16)}, which is no table`,
              },
            ],
    };
  },
);

export const walkItems: readonly CorpusItem[] = [doubleFetch, adWrongAddress];
