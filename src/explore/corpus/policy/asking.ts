/** Asking the tool: what is looked up for it, what is held meanwhile, and what is done with its answer. */
import { KVMI_EVENT_ACTION_RETRY } from '../../../actors/introspector/kvmi/constants.ts';
import { readLinear, writeLinear } from '../../../actors/vcpu/linear-memory.ts';
import { accessPiece } from '../../../actors/vcpu/tracked-access.ts';
import { OUTCOME_OK, OUTCOME_RETRY, type Vcpu } from '../../../actors/vcpu/vcpu.ts';
import { FULL_ACCESS } from '../../../shared/layout/access-tree.ts';
import { VCPU } from '../../../shared/layout/vcpu.ts';
import {
  BUG_ACCESS_AFTER_UNLOCK,
  BUG_EVENT_UNDER_TREE_LOCK,
  BUG_NO_TREE_READ_LOCK,
  REF_EMU_CHECK_THEN_ACT,
  REF_RETRY_LEAKS_MAP,
  REF_STORE_BY_PIECE,
} from '../../../shared/quirks.ts';
import { choosing, type Path } from '../../../shared/sync/point.ts';
import { PTE_A, PTE_D, PTE_P, PTE_PS, PTE_RW } from '../../../shared/x86/paging.ts';
import type { Participant } from '../../engine/execution.ts';
import type { World } from '../../world/world.ts';
import { allowsAll, byHand, observed, restricts, write } from '../cast.ts';
import type { CorpusItem } from '../item.ts';
import { CONTINUE, GFN, PAGE, R, SLOT, scenarioName, scenarioOf, W } from '../setting.ts';
import { type PolicySetting, policyItem, settingOf } from './policy-item.ts';

// The store crosses into a restricted page, so both of its pieces are emulated; the tool tightens the page of the first.
const emuCheckThenAct = policyItem(
  REF_EMU_CHECK_THEN_ACT,
  { depth: 2, origin: 'REF', rules: ['I2'], place: 'vcpu/tracked-access.ts: effect' },
  {
    policy: [[GFN + 1, R]],
    participants: (world) => [
      world.vcpuRunner(0, [
        { kind: 'write', gpa: (GFN + 1) * PAGE - 4, size: 8, value: 0x1122_3344_5566_7788n },
      ]),
      restricts(world, [GFN, R]),
      allowsAll(world),
    ],
  },
);

const eventUnderTreeLock = policyItem(
  BUG_EVENT_UNDER_TREE_LOCK,
  { depth: 1, origin: 'MUT', rules: ['L4', 'L2', 'I10'], place: 'introspector/vcpu-side.ts: pfEvent' },
  {
    policy: [[GFN, R]],
    participants: (world) => [
      world.vcpuRunner(0, [write(GFN, 1)]),
      world.toolRunner(function* (_event, session) {
        yield* session.setPageAccess(GFN * PAGE, FULL_ACCESS);
        return CONTINUE;
      }),
    ],
  },
);

/** A store to a restricted page, against a tool that forgets the page. */
const storeAgainstRemoval: PolicySetting = {
  policy: [[GFN, R]],
  participants: (world) => [
    world.vcpuRunner(0, [write(GFN, 1)]),
    restricts(world, [GFN, FULL_ACCESS]),
    allowsAll(world),
  ],
};

const accessAfterUnlock = policyItem(
  BUG_ACCESS_AFTER_UNLOCK,
  { depth: 2, origin: 'MUT', rules: ['I12', 'race'], place: 'mmu/gfn-access.ts: restrictedPageAccess' },
  storeAgainstRemoval,
);

const noTreeReadLock = policyItem(
  BUG_NO_TREE_READ_LOCK,
  { depth: 2, origin: 'MUT', rules: ['I12', 'race'], place: 'mmu/gfn-access.ts: restrictedPageAccess' },
  storeAgainstRemoval,
);

/** A tool that may answer RETRY once: the schedule's choice. */
function mayRetry(world: World): Participant {
  let answered = false;
  return world.toolRunner(function* () {
    const retry = !answered && (yield choosing(2)) === 1;
    answered = true;
    return retry ? KVMI_EVENT_ACTION_RETRY : CONTINUE;
  });
}

const retryLeaksMap = policyItem(
  REF_RETRY_LEAKS_MAP,
  { depth: 0, origin: 'HIST', rules: ['I18'], place: 'vcpu/tracked-access.ts: accessPiece' },
  {
    policy: [[GFN, R]],
    participants: (world) => [byHand(world, 0, lockedStore), mayRetry(world)],
  },
);

/** LOCK CMPXCHG of a word that is 0. */
function* lockedStore(vcpu: Vcpu): Path<void> {
  const piece = { gpa: GFN * PAGE, gva: BigInt(GFN * PAGE), size: 4, access: W, value: 1n, expect: 0n };
  let result = yield* accessPiece(vcpu, piece);
  while (result.kind === 'retry') result = yield* accessPiece(vcpu, piece);
}

const TABLES = { id: 0, asId: 0, flags: 0, baseGfn: 0, npages: 4, ramPage: 0 };
/** Eight bytes, four on each side of the boundary into the restricted page. */
const OPERAND = (GFN + 1) * PAGE - 4;
const BEFORE = 0x7_ffff_ffffn;

const storeByPiece = policyItem(
  REF_STORE_BY_PIECE,
  { depth: 0, origin: 'REF', rules: ['I13'], place: 'vcpu/linear-memory.ts: writeLinear' },
  {
    slots: [TABLES, SLOT],
    policy: [[GFN + 1, R]],
    prepare({ vm, vcpus }) {
      // gva = gpa for the first 2 MiB.
      const entry = PTE_P | PTE_RW | PTE_A | PTE_D;
      const pml4 = 1;
      vm.mem.store64(vm.ramPage(pml4), BigInt(2 * PAGE) | entry);
      vm.mem.store64(vm.ramPage(2), BigInt(3 * PAGE) | entry);
      vm.mem.store64(vm.ramPage(3), PTE_PS | entry);
      vcpus[0]!.set64('CR3', BigInt(pml4 * PAGE));
      bytesAt(vm.layout.ram + OPERAND, vm.mem.u8).setBigUint64(0, BEFORE, true);
    },
    participants: (world) => [byHand(world, 0, increment), mayRetry(world)],
  },
);

const bytesAt = (at: number, u8: Uint8Array): DataView => new DataView(u8.buffer, at, 8);

/** INC of the operand: read, then stored, and all of it again after RETRY. */
function* increment(vcpu: Vcpu): Path<void> {
  const { vm, mem } = vcpu;
  let outcome = OUTCOME_RETRY as number;
  while (outcome === OUTCOME_RETRY) {
    outcome = yield* readLinear(vcpu, BigInt(OPERAND), 8, { rmw: true });
    if (outcome !== OUTCOME_OK) continue;
    outcome = yield* writeLinear(vcpu, BigInt(OPERAND), 8, vcpu.value + 1n, { whole: true });
  }
  const after = bytesAt(vm.layout.ram + OPERAND, mem.u8).getBigUint64(0, true);
  if (after !== BEFORE + 1n) {
    const detail = `one INC made 0x${BEFORE.toString(16)} into 0x${after.toString(16)}`;
    vm.onFinding({ id: 'I13', detail });
  }
}

const STRICT_TITLE = 'an access whose event nobody answers is carried out';

const unanswered: PolicySetting = {
  policy: [[GFN, R]],
  participants: (world) => [
    unansweredWatch(world),
    // The tool hangs up instead of answering; the reply that follows finds no event any more.
    world.toolRunner(function* (_event, session) {
      yield* session.close();
      return CONTINUE;
    }),
  ],
};

/** No quirk but a policy: the machine is strict, or it is not. */
const strictOracle: CorpusItem = {
  id: 'RC-35',
  name: 'strictOracle',
  title: STRICT_TITLE,
  depth: 1,
  origin: 'REF',
  rules: ['I1-strict'],
  place: 'introspector/vcpu-side.ts: pfEvent, of a machine that is not strict',
  scenario: (mutated) =>
    scenarioOf(scenarioName('RC-35', mutated), STRICT_TITLE, settingOf(unanswered), { strict: !mutated }),
};

/** vCPU 0 stores to the page; the attempt that raised an event nobody answered must not be the one that stores. */
function unansweredWatch(world: World): Participant {
  const { vm } = world;
  const { ctl } = world.vcpus[0]!;
  const counter = (name: 'EXITS' | 'PF_FAIL_OPEN', kind = 0): bigint =>
    vm.mem.i64[(ctl + VCPU.at[name]) / 8 + kind]!;
  const unansweredStores = (): bigint => counter('PF_FAIL_OPEN', W - 1);
  let lost = unansweredStores();
  let attempt = -1n;
  return observed(world.vcpuRunner(0, [write(GFN, 1)]), () => {
    if (unansweredStores() !== lost) attempt = counter('EXITS');
    lost = unansweredStores();
    if (attempt === counter('EXITS') && vm.mem.u8[vm.ramPage(GFN)] !== 0) {
      vm.onFinding({ id: 'I1-strict', detail: 'vCPU 0: a store although its event was never answered' });
      attempt = -1n;
    }
  });
}

export const askingItems: readonly CorpusItem[] = [
  emuCheckThenAct,
  eventUnderTreeLock,
  accessAfterUnlock,
  noTreeReadLock,
  retryLeaksMap,
  strictOracle,
  storeByPiece,
];
