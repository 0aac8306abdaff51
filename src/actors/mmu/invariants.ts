/**
 * The invariants that can be checked while nobody moves: tests, the run command and (later) the explorer call this.
 *
 * Quiescent means: every vCPU outside guest mode with no flush pending, no memslot change in progress. Checking takes
 * mmu_lock and access_tree_lock all the same, so a caller that is wrong about quiescence sees a wait, not nonsense.
 */
import { NOTIFIER_KVMI, NOTIFIER_LIMIT, NOTIFIER_MMU } from '../../shared/layout/access-tree.ts';
import { CPU } from '../../shared/layout/cpu.ts';
import { SLOT_LIMIT, TRACK_MODE_NAMES, TRACK_MODES } from '../../shared/layout/memslot.ts';
import { ROOT_LIMIT } from '../../shared/layout/spte.ts';
import { REQ_MMU_RELOAD, REQ_TLB_FLUSH } from '../../shared/layout/vcpu.ts';
import { ADDRESS_SPACES } from '../../shared/layout/vm.ts';
import { REF_ACTIVE_KEY_NO_AS } from '../../shared/quirks.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import type { Path } from '../../shared/sync/point.ts';
import { readLock, readUnlock, writeLock, writeUnlock } from '../../shared/sync/rw-lock.ts';
import { entriesOf, entryCount, entryWord, isActive, isInactive, lookupEntry } from './access-tree.ts';
import { TRACKED_BITS } from './gfn-access.ts';
import { activeSet, GENERATION_IN_FLUX, isVisible, type Slot, setGeneration, slotsOf } from './memslots.ts';
import { notifierWord } from './page-track.ts';
import { rootWord } from './roots.ts';
import { archAddress, archIsLive, rmapWord, trackCounter } from './slot-arena.ts';
import {
  describeAccess,
  illegalSpte,
  isMmio,
  isPresent,
  makeSpte,
  mmioGeneration,
  spteAccess,
  spteAddress,
  spteMmioGeneration,
  sptePfn,
} from './spte.ts';
import type { OracleFinding, Vm } from './vm.ts';

/** One TLB entry, as the owner's thread or the checker lists it. */
export interface TlbEntryView {
  readonly access: number;
  readonly gfn: number;
  readonly gva: bigint;
}

export interface CheckResult {
  readonly findings: readonly OracleFinding[];
  /** How many single facts were looked at, per invariant. */
  readonly checks: Readonly<Record<string, number>>;
}

/**
 * Checks I3, I4, I5, I6, I7, I8, I9 and I18.
 *
 * @param tlbOf  the filled TLB entries of a vCPU; the caller vouches that it is outside guest mode
 */
export function* checkInvariants(
  actor: Actor,
  vm: Vm,
  tlbOf: (vcpu: number) => Iterable<TlbEntryView>,
): Path<CheckResult> {
  const found = new Findings();
  yield* writeLock(actor, vm.mmuLock);
  yield* readLock(actor, vm.accessTreeLock);
  const slots = allSlots(vm);
  checkTracking(vm, slots, found);
  checkSptes(vm, slots, found);
  checkTlbs(vm, tlbOf, found);
  checkSlots(vm, slots, found);
  checkBalance(vm, found);
  yield* readUnlock(actor, vm.accessTreeLock);
  yield* writeUnlock(actor, vm.mmuLock);
  return { findings: found.list, checks: found.checks };
}

class Findings {
  readonly list: OracleFinding[] = [];
  readonly checks: Record<string, number> = {};

  /** Counts one look; reports when `broken` is a text. */
  look(id: string, broken: string | null): void {
    this.passed(id, 1);
    if (broken !== null) this.list.push({ id, detail: broken });
  }

  /** Counts looks that found nothing broken. */
  passed(id: string, looks: number): void {
    this.checks[id] = (this.checks[id] ?? 0) + looks;
  }
}

const hex = (n: number | bigint) => `0x${n.toString(16)}`;
const name = (slot: Slot) => `slot ${slot.asId}:${slot.id} (gfns ${hex(slot.baseGfn)}+${slot.npages})`;

function allSlots(vm: Vm): Slot[] {
  const slots: Slot[] = [];
  for (let asId = 0; asId < ADDRESS_SPACES; asId++) slots.push(...slotsOf(vm, activeSet(vm, asId)));
  return slots;
}

/**
 * I3 of one page of a visible slot, a result for each kind of access: null, or what does not agree.
 *
 * @locking mmu_lock and slots_lock held, or nobody moves
 */
export function trackingOf(vm: Vm, slot: Slot, gfn: number): (string | null)[] {
  const entry = lookupEntry(vm, gfn);
  return TRACKED_BITS.map(({ bit, mode }) => {
    const count = vm.mem.load16(trackCounter(vm, slot.arch, mode, gfn - slot.baseGfn));
    const denied = entry >= 0 && (vm.mem.load(entryWord(vm, entry, 'ACCESS')) & bit) === 0;
    const active = entry >= 0 && isActive(vm, entry, mode, slot);
    const own = denied ? 1 : 0;
    if (denied === active && (count === own || (count > own && othersTrack(vm)))) return null;
    return (
      `gfn ${hex(gfn)} in ${name(slot)}: policy ${denied ? 'denies' : 'allows'} ${describeAccess(bit)}, ` +
      `active bit ${active ? 'set' : 'clear'}, ${TRACK_MODE_NAMES[mode]} count ${count}`
    );
  });
}

/** Is there a user of page tracking beside KVMI? What it tracks, and how often, is its own affair. */
function othersTrack(vm: Vm): boolean {
  for (let node = 0; node < NOTIFIER_LIMIT; node++) {
    const kind = vm.mem.load(notifierWord(vm, node, 'KIND'));
    if (kind !== 0 && kind !== NOTIFIER_MMU && kind !== NOTIFIER_KVMI) return true;
  }
  return false;
}

/** I3, I4: policy ⇔ active bit ⇔ exactly one count of KVMI's. */
function checkTracking(vm: Vm, slots: readonly Slot[], found: Findings): void {
  const entries = entriesOf(vm);
  for (const slot of slots) {
    if (!isVisible(slot)) continue;
    for (let gfn = slot.baseGfn; gfn < slot.baseGfn + slot.npages; gfn++) {
      // Most pages have neither a policy nor a count, and many pages are checked.
      const plain = (entries.length === 0 || lookupEntry(vm, gfn) < 0) && countsNothing(vm, slot, gfn);
      if (plain) found.passed('I3', TRACKED_BITS.length);
      else for (const broken of trackingOf(vm, slot, gfn)) found.look('I3', broken);
    }
  }
  // A bit for a slot that does not exist makes the next slot with that id look tracked (RC-02).
  // By id alone (RC-04), a bit is that of whichever slot covers the frame.
  const byIdAlone = vm.quirk(REF_ACTIVE_KEY_NO_AS);
  for (const [gfn, entry] of entries) {
    if (isInactive(vm, entry)) continue;
    for (let mode = 0; mode < TRACK_MODES; mode++) {
      for (let asId = 0; asId < (byIdAlone ? 1 : ADDRESS_SPACES); asId++) {
        for (let id = 0; id < SLOT_LIMIT; id++) {
          if (!isActive(vm, entry, mode, { id, asId })) continue;
          const covered = slots.some(
            (slot) =>
              slot.id === id &&
              (byIdAlone || slot.asId === asId) &&
              gfn >= slot.baseGfn &&
              gfn < slot.baseGfn + slot.npages,
          );
          found.look(
            'I3',
            covered ? null : `gfn ${hex(gfn)}: active bit of slot ${asId}:${id}, which does not cover it`,
          );
        }
      }
    }
  }
  if (vm.mem.load(vm.word('KVMI_HOOKED')) === 0) {
    found.look('I4', entryCount(vm) === 0 ? null : `${entryCount(vm)} access entries left after unhook`);
  }
}

function countsNothing(vm: Vm, slot: Slot, gfn: number): boolean {
  for (const { mode } of TRACKED_BITS) {
    if (vm.mem.load16(trackCounter(vm, slot.arch, mode, gfn - slot.baseGfn)) !== 0) return false;
  }
  return true;
}

/** Is the 64-bit word at `address` zero? Without making a bigint of it, as most are; mmu_lock held. */
function isZero(vm: Vm, address: number): boolean {
  return vm.mem.load(address) === 0 && vm.mem.load(address + 4) === 0;
}

/** I5, I7: every spte is legal, within what tracking allows now, and maps the page its slot names. */
function checkSptes(vm: Vm, slots: readonly Slot[], found: Findings): void {
  const validGen = vm.mem.load(vm.word('MMU_VALID_GEN'));
  for (let root = 0; root < ROOT_LIMIT; root++) {
    if (vm.mem.load(rootWord(vm, root, 'STATE')) !== 1) continue;
    if (vm.mem.load(rootWord(vm, root, 'VALID_GEN')) !== validGen) continue;
    const asId = vm.mem.load(rootWord(vm, root, 'AS_ID'));
    for (let gfn = 0; gfn < vm.layout.config.gfnCount; gfn++) {
      const address = spteAddress(vm, root, gfn);
      if (isZero(vm, address)) continue;
      const spte = vm.mem.load64(address);
      if (isMmio(spte)) continue;
      const slot = slots.find((s) => s.asId === asId && gfn >= s.baseGfn && gfn < s.baseGfn + s.npages);
      const illegal = illegalSpte(spte);
      found.look('I5', illegal === null ? null : `spte of gfn ${hex(gfn)} is ${hex(spte)}: ${illegal}`);
      if (!isPresent(spte)) continue;
      if (slot === undefined) {
        found.look(
          'I7',
          `spte of gfn ${hex(gfn)} maps RAM page ${hex(sptePfn(spte))}, but no slot covers it`,
        );
        continue;
      }
      const page = slot.ramPage + gfn - slot.baseGfn;
      const right = sptePfn(spte) === page;
      found.look(
        'I7',
        right
          ? null
          : `spte of gfn ${hex(gfn)} maps page ${hex(sptePfn(spte))}, ${name(slot)} says ${hex(page)}`,
      );
      const mapped = (vm.mem.load(rmapWord(vm, slot.arch, gfn - slot.baseGfn)) & (1 << root)) !== 0;
      found.look(
        'I7',
        mapped ? null : `spte of gfn ${hex(gfn)} under root ${root} is not in the rmap of ${name(slot)}`,
      );
      const excess = spteAccess(spte) & ~spteAccess(makeSpte(vm, slot, gfn, true));
      found.look(
        'I5',
        excess === 0
          ? null
          : `spte of gfn ${hex(gfn)} grants ${describeAccess(excess)}, which tracking denies`,
      );
    }
  }
}

/** I6: no TLB grants what the spte does not, unless a flush is still pending for it. */
function checkTlbs(vm: Vm, tlbOf: (vcpu: number) => Iterable<TlbEntryView>, found: Findings): void {
  for (let vcpu = 0; vcpu < vm.vcpuCount; vcpu++) {
    const pending = vm.mem.load(vm.cpu(vcpu) + CPU.at.REQUESTS) & (REQ_TLB_FLUSH | REQ_MMU_RELOAD);
    const root = vm.mem.load(vm.vcpuWord(vcpu, 'ROOT'));
    if (pending !== 0 || root < 0) continue;
    for (const { access, gfn, gva } of tlbOf(vcpu)) {
      const spte = vm.mem.load64(spteAddress(vm, root, gfn));
      found.look(
        'I6',
        (spteAccess(spte) & access) === access
          ? null
          : `TLB of vCPU ${vcpu} grants ${describeAccess(access)} on gfn ${hex(gfn)} (gva ${hex(gva)}), its spte ` +
              `only ${describeAccess(spteAccess(spte))}, and no flush is pending`,
      );
    }
  }
}

/** I7, I8: slots use live arrays; generations are settled; MMIO entries agree with them. */
function checkSlots(vm: Vm, slots: readonly Slot[], found: Findings): void {
  for (const slot of slots) {
    found.look('I7', archIsLive(vm, slot.arch) ? null : `${name(slot)} uses freed arch block ${slot.arch}`);
    const pages = vm.mem.load(archAddress(vm, slot.arch, 'NPAGES'));
    found.look(
      'I7',
      pages === slot.npages ? null : `${name(slot)}: arch block ${slot.arch} covers ${pages} pages`,
    );
  }
  for (let asId = 0; asId < ADDRESS_SPACES; asId++) {
    const generation = setGeneration(vm, activeSet(vm, asId));
    const settled = (generation & GENERATION_IN_FLUX) === 0n;
    found.look(
      'I8',
      settled ? null : `address space ${asId}: generation ${hex(generation)} is still in flux`,
    );
    for (let root = 0; root < ROOT_LIMIT; root++) {
      if (vm.mem.load(rootWord(vm, root, 'STATE')) !== 1) continue;
      if (vm.mem.load(rootWord(vm, root, 'AS_ID')) !== asId) continue;
      for (const slot of slots) {
        if (slot.asId !== asId || !isVisible(slot)) continue;
        for (let gfn = slot.baseGfn; gfn < slot.baseGfn + slot.npages; gfn++) {
          const address = spteAddress(vm, root, gfn);
          if (isZero(vm, address)) continue;
          const spte = vm.mem.load64(address);
          if (!isMmio(spte)) continue;
          const stale = spteMmioGeneration(spte) !== mmioGeneration(generation);
          found.look('I8', stale ? null : `gfn ${hex(gfn)} is RAM of ${name(slot)} and a current MMIO entry`);
        }
      }
    }
  }
}

/** I4, I18: host invalidations that have ended are not counted; pages mapped for an access are unmapped again. */
function checkBalance(vm: Vm, found: Findings): void {
  const mapped = vm.mem.load(vm.word('MAPPED'));
  const counted = vm.mem.load(vm.word('MMU_NOTIFIER_COUNT'));
  const active = vm.mem.load(vm.word('MN_ACTIVE_INVALIDATE'));
  found.look(
    'I4',
    counted === 0 || active !== 0 ? null : `${counted} host invalidations counted, but none is in progress`,
  );
  found.look('I18', mapped === 0 ? null : `${mapped} pages mapped for an access were never unmapped`);
}
