/**
 * One memory access of an emulated instruction: callbacks, decision, effect, in that order, for each page piece.
 *
 * The effect happens under access_tree_lock, after looking at the policy once more (E2): between the callback's answer
 * and the store another actor may have tightened the page, and its flush does not wait for an emulating vCPU (RC-05).
 *
 * @source arch/x86/kvm/x86.c with KVMI: emulator_read_write_onepage, emulator_cmpxchg_emulated
 */
import { NOTIFIER_KVMI } from '../../shared/layout/access-tree.ts';
import { ACCESS_R, ACCESS_W, ACCESS_X } from '../../shared/layout/cpu.ts';
import { SLOT_INVALID, SLOT_READONLY } from '../../shared/layout/memslot.ts';
import type { Mem } from '../../shared/mem.ts';
import {
  BUG_INVALID_AS_MMIO,
  BUG_LOCK_AS_WRITE,
  BUG_RW_RECURSIVE_READ,
  REF_EMU_CHECK_THEN_ACT,
  REF_RETRY_LEAKS_MAP,
  REF_SRCU_ACROSS_EVENT,
} from '../../shared/quirks.ts';
import { type Path, reading, updating, writing } from '../../shared/sync/point.ts';
import { readLock, readUnlock } from '../../shared/sync/rw-lock.ts';
import { spinLock, spinUnlock } from '../../shared/sync/spinlock.ts';
import { type PfVerdict, pfEventEnabled, trackPreAccess } from '../introspector/vcpu-side.ts';
import { readPolicy } from '../mmu/access-tree.ts';
import { codePageWritten } from '../mmu/code-map.ts';
import { restrictedPageAccess } from '../mmu/gfn-access.ts';
import { awaitSlot, markDirty } from '../mmu/page-fault.ts';
import { askBefore, dispatch, pageTrackStored, type TrackedAccess } from '../mmu/page-track.ts';
import { gfnToSlot, type Slot } from '../mmu/slot-sets.ts';
import type { Vcpu } from './vcpu.ts';

/** What happened to one piece. */
export type PieceResult =
  /** Done; `value` is what a read gave. */
  | { readonly kind: 'done'; readonly value: bigint }
  /** Start the instruction again: RETRY, or the slot is being changed. */
  | { readonly kind: 'retry' }
  /** No RAM behind it, or a write to a read-only slot. */
  | { readonly kind: 'mmio' };

export interface Piece {
  readonly gpa: number;
  readonly gva: bigint;
  /** 1 … 64; does not cross a page. */
  readonly size: number;
  /** ACCESS_R, ACCESS_W, or ACCESS_X for instruction bytes. */
  readonly access: number;
  /** ACCESS_W: what to store, zero extended. */
  readonly value: bigint;
  /**
   * A LOCK operation on 1, 2, 4 or 8 aligned bytes: store only if this is still there, else restart. Null for a plain
   * access. Other LOCK operations are {@link accessSplit}'s.
   */
  readonly expect: bigint | null;
}

const RETRY: PieceResult = { kind: 'retry' };

/**
 * Carries out one piece with its callbacks.
 *
 * @locking inside kvm.srcu when called and when it returns; may sleep for the introspector, outside of it by default
 */
export function* accessPiece(vcpu: Vcpu, piece: Piece): Path<PieceResult> {
  const { vm, mem } = vcpu;
  const gfn = Math.floor(piece.gpa / 4096);
  const mapsFirst = piece.expect !== null;
  // No RAM page, no callback: MMIO is not tracked.
  const slot = yield* gfnToSlot(vm, mem.load(vcpu.word('AS_ID')), gfn);
  if (slot === null) return { kind: 'mmio' };
  for (;;) {
    // The kernel maps the page of a locked access before it asks (emulator_cmpxchg_emulated).
    if (mapsFirst) mem.add(vm.word('MAPPED'), 1);
    const verdict = yield* preAccess(vcpu, piece);
    if (verdict.kind === 'given') return { kind: 'done', value: verdict.value };
    if (verdict.kind === 'stopped') {
      if (mapsFirst && !vm.quirk(REF_RETRY_LEAKS_MAP)) mem.add(vm.word('MAPPED'), -1);
      return RETRY;
    }
    const result = yield* effect(vcpu, piece, verdict);
    if (mapsFirst) mem.add(vm.word('MAPPED'), -1);
    if (result !== 'denied') return result;
  }
}

/** What a tool is asked about. */
interface AskedAccess extends TrackedAccess {
  /** Bytes. */
  readonly size: number;
}

/** Dispatches the pre-callback of the piece to every notifier; a stop from one is final, but all are asked. */
export function* preAccess(vcpu: Vcpu, piece: AskedAccess): Path<PfVerdict> {
  const asked: Asked = { verdict: { kind: 'allowed' }, kvmi: false, stopped: false };
  yield* dispatch(vcpu.actor, vcpu.vm, (kind) => askNotifier(vcpu, piece, kind, asked));
  // Outside the section KVMI's own reference keeps its block alive (RC-25).
  if (asked.kvmi) asked.verdict = yield* trackPreAccess(vcpu, piece.gpa, piece.gva, piece.access, piece.size);
  return asked.stopped ? { kind: 'stopped' } : asked.verdict;
}

/** What the notifiers have said so far. */
interface Asked {
  /** KVMI's. */
  verdict: PfVerdict;
  /** KVMI is among them, and to be asked after the section. */
  kvmi: boolean;
  /** Another one has said stop. */
  stopped: boolean;
}

function* askNotifier(vcpu: Vcpu, piece: AskedAccess, kind: number, asked: Asked): Path<void> {
  if (kind !== NOTIFIER_KVMI) {
    if (!(yield* askBefore(kind, vcpu, piece))) asked.stopped = true;
    return;
  }
  // The seed sends the event from here, inside track_srcu and kvm.srcu: a memslot change then waits for the tool.
  if (vcpu.vm.quirk(REF_SRCU_ACROSS_EVENT)) {
    asked.verdict = yield* trackPreAccess(vcpu, piece.gpa, piece.gva, piece.access, piece.size);
  } else asked.kvmi = true;
}

/**
 * Is this access still allowed by what the policy says now?
 *
 * @locking access_tree_lock held for read
 */
function stillAllowed(vcpu: Vcpu, gfn: number, access: number, verdict: PfVerdict): boolean {
  const policy = readPolicy(vcpu.vm, gfn);
  if ((access & ~policy.access) === 0) return true;
  return verdict.kind === 'approved' && verdict.version === policy.version;
}

/** Where an effect takes place. */
interface Place {
  readonly slot: Slot;
  readonly gfn: number;
  readonly ramPage: number;
  /** Address in shared memory. */
  readonly host: number;
}

/** Looks a piece's memory up, after the event that may have been waited for outside kvm.srcu. Holding nothing else. */
function* locate(vcpu: Vcpu, gpa: number, access: number): Path<Place | 'mmio' | 'retry'> {
  const { vm, mem } = vcpu;
  const gfn = Math.floor(gpa / 4096);
  const slot = yield* gfnToSlot(vm, mem.load(vcpu.word('AS_ID')), gfn);
  if (slot === null || gfn >= vm.layout.config.gfnCount) return 'mmio';
  if ((slot.flags & SLOT_INVALID) !== 0) {
    if (vm.quirk(BUG_INVALID_AS_MMIO)) return 'mmio';
    yield* awaitSlot(vcpu, gfn);
    return 'retry';
  }
  if (access === ACCESS_W && (slot.flags & SLOT_READONLY) !== 0) return 'mmio';
  const ramPage = slot.ramPage + gfn - slot.baseGfn;
  return { slot, gfn, ramPage, host: vm.ramPage(ramPage) + (gpa % 4096) };
}

/** Without its event enabled, a vCPU breaks restrictions silently: that is policy, not a race. */
function* isWatched(vcpu: Vcpu): Path<boolean> {
  return vcpu.mem.load(vcpu.vm.word('KVMI_REF')) !== 0 && (yield* pfEventEnabled(vcpu));
}

function* effect(vcpu: Vcpu, piece: Piece, verdict: PfVerdict): Path<PieceResult | 'denied'> {
  const { vm, actor } = vcpu;
  const place = yield* locate(vcpu, piece.gpa, piece.access);
  if (place === 'mmio') return { kind: 'mmio' };
  if (place === 'retry') return RETRY;
  const { gfn, host } = place;

  const checked = !vm.quirk(REF_EMU_CHECK_THEN_ACT);
  const watched = yield* isWatched(vcpu);
  if (checked) yield* readLock(actor, vm.accessTreeLock);
  if (checked && vm.quirk(BUG_RW_RECURSIVE_READ)) yield* restrictedPageAccess(actor, vm, gfn, piece.access);
  let result: PieceResult | 'denied';
  if (checked && watched && !stillAllowed(vcpu, gfn, piece.access, verdict)) {
    result = 'denied';
  } else {
    yield piece.access !== ACCESS_W ? reading(host) : piece.expect === null ? writing(host) : updating(host);
    if (!checked && watched) reportIfDenied(vcpu, piece, gfn, verdict);
    if (vm.onEffect !== null) vm.onEffect(vcpu.index, piece.gpa, piece.access);
    if (piece.expect !== null && vm.quirk(BUG_LOCK_AS_WRITE))
      result = yield* performInSteps(vcpu, piece, host);
    else result = perform(vcpu, piece, host);
    if (result.kind === 'done' && piece.access === ACCESS_W) markDirty(vm, place.slot, gfn);
  }
  if (checked) yield* readUnlock(actor, vm.accessTreeLock);
  if (piece.access === ACCESS_W && result !== 'denied' && result.kind === 'done') {
    yield* codePageWritten(actor, vm, place.ramPage, vcpu.index);
    yield* pageTrackStored(vcpu, piece);
  }
  return result;
}

const KIND_NAMES: { readonly [access: number]: string } = {
  [ACCESS_R]: 'read',
  [ACCESS_W]: 'write',
  [ACCESS_X]: 'fetch',
};

/** The oracle of the unchecked build: an effect that the policy of this moment denies. */
function reportIfDenied(
  vcpu: Vcpu,
  piece: { gpa: number; size: number; access: number },
  gfn: number,
  verdict: PfVerdict,
): void {
  // Who listens to effects judges for himself, by what commands have returned.
  if (!vcpu.vm.checked || vcpu.vm.onEffect !== null || stillAllowed(vcpu, gfn, piece.access, verdict)) return;
  vcpu.vm.onFinding({
    id: 'I2',
    detail:
      `vCPU ${vcpu.index}: ${KIND_NAMES[piece.access]} of ${piece.size} bytes at gpa ` +
      `0x${piece.gpa.toString(16)} took effect after the page was tightened, without an event`,
  });
}

function perform(vcpu: Vcpu, piece: Piece, host: number): PieceResult {
  const { mem } = vcpu;
  if (piece.access !== ACCESS_W) return { kind: 'done', value: load(mem, host, piece.size) };
  if (piece.expect === null) {
    store(mem, host, piece.size, piece.value);
    return { kind: 'done', value: 0n };
  }
  const found = compareExchange(vcpu, host, piece.size, piece.expect, piece.value);
  return found === piece.expect ? { kind: 'done', value: found } : RETRY;
}

/** RC-56: a LOCK operation as a load, a comparison and a store. */
function* performInSteps(vcpu: Vcpu, piece: Piece, host: number): Path<PieceResult> {
  const found = load(vcpu.mem, host, piece.size);
  if (found !== piece.expect) return RETRY;
  yield writing(host);
  store(vcpu.mem, host, piece.size, piece.value);
  return { kind: 'done', value: found };
}

/** One page's part of a store that is done as a whole. */
export interface SplitPart {
  readonly gpa: number;
  readonly gva: bigint;
  readonly size: number;
}

/**
 * A store that is done as a whole or not at all. All parts are asked for before any is touched; then, with the policy of
 * every part looked at once more, they are stored. There are two kinds:
 *
 *   - a LOCK operation that is no single aligned word (misaligned, across a page boundary, or 16 bytes): under the split
 *     lock the whole operand is compared, and stored if it is as expected
 *   - the store of an instruction that has read memory, across a page boundary: `expect` is null. Stored by pieces, a
 *     RETRY at the second would let the instruction read its own half-stored result
 *
 * A part without RAM reads as all ones, and what is stored to it is lost.
 *
 * LIMIT: atomic against other operations that take the split lock, not against single-word stores of other vCPUs
 * that hit the operand between the comparison and the store (RC-56).
 *
 * @param parts  low addresses first; `expect` and `value` are the operand as a whole, little-endian
 * @returns      'mmio' when at least one part has no RAM behind it and the rest is done
 * @locking      inside kvm.srcu when called and when it returns; may sleep for the introspector. Takes
 *               access_tree_lock and, inside it, the split lock; never while it waits for the introspector (L4)
 */
export function* accessSplit(
  vcpu: Vcpu,
  parts: readonly SplitPart[],
  operand: { expect: bigint | null; value: bigint },
): Path<'done' | 'retry' | 'mmio'> {
  const { vm, mem, actor } = vcpu;
  const locked = operand.expect !== null;
  const verdicts: PfVerdict[] = [];
  const ask = function* (part: SplitPart): Path<PfVerdict> {
    const slot = yield* gfnToSlot(vm, mem.load(vcpu.word('AS_ID')), Math.floor(part.gpa / 4096));
    if (slot === null) return { kind: 'allowed' };
    return yield* preAccess(vcpu, { ...part, access: ACCESS_W });
  };
  for (const part of parts) {
    const verdict = yield* ask(part);
    if (verdict.kind === 'stopped') return 'retry';
    verdicts.push(verdict);
  }
  for (;;) {
    const places: (Place | null)[] = [];
    for (const part of parts) {
      const place = yield* locate(vcpu, part.gpa, ACCESS_W);
      if (place === 'retry') return 'retry';
      places.push(place === 'mmio' ? null : place);
    }
    const checked = !vm.quirk(REF_EMU_CHECK_THEN_ACT);
    const watched = yield* isWatched(vcpu);
    if (checked) yield* readLock(actor, vm.accessTreeLock);
    const denied = places.findIndex(
      (place, i) => place !== null && watched && !stillAllowed(vcpu, place.gfn, ACCESS_W, verdicts[i]!),
    );
    let matched = false;
    if (!checked || denied < 0) {
      if (locked) yield* spinLock(actor, vm.splitLock);
      for (const place of places)
        if (place !== null) yield locked ? updating(place.host) : writing(place.host);
      if (denied >= 0)
        reportIfDenied(vcpu, { ...parts[denied]!, access: ACCESS_W }, places[denied]!.gfn, verdicts[denied]!);
      if (vm.onEffect !== null) for (const { gpa } of parts) vm.onEffect(vcpu.index, gpa, ACCESS_W);
      matched = exchangeParts(vcpu, parts, places, operand);
      if (locked) yield* spinUnlock(actor, vm.splitLock);
      if (matched) for (const place of places) if (place !== null) markDirty(vm, place.slot, place.gfn);
    }
    if (checked) yield* readUnlock(actor, vm.accessTreeLock);
    if (checked && denied >= 0) {
      const verdict = yield* ask(parts[denied]!);
      if (verdict.kind === 'stopped') return 'retry';
      verdicts[denied] = verdict;
      continue;
    }
    if (locked) {
      yield updating(vm.word('SPLIT_LOCKS'));
      mem.add(vm.word('SPLIT_LOCKS'), 1);
    }
    if (!matched) return 'retry';
    for (const [i, place] of places.entries()) {
      if (place === null) continue;
      yield* codePageWritten(actor, vm, place.ramPage, vcpu.index);
      yield* pageTrackStored(vcpu, { ...parts[i]!, access: ACCESS_W });
    }
    return places.includes(null) ? 'mmio' : 'done';
  }
}

/** Compares the whole operand (split lock held) unless `expect` is null, and stores it if it is as expected. */
function exchangeParts(
  vcpu: Vcpu,
  parts: readonly SplitPart[],
  places: readonly (Place | null)[],
  operand: { expect: bigint | null; value: bigint },
): boolean {
  const { mem } = vcpu;
  let found = 0n;
  let skip = 0;
  for (const [i, part] of parts.entries()) {
    const place = places[i]!;
    const bytes = place === null ? allOnes(part.size) : load(mem, place.host, part.size);
    found |= bytes << BigInt(8 * skip);
    skip += part.size;
  }
  if (operand.expect !== null && found !== operand.expect) return false;
  skip = 0;
  for (const [i, part] of parts.entries()) {
    const place = places[i]!;
    const bytes = (operand.value >> BigInt(8 * skip)) & allOnes(part.size);
    if (place !== null) store(mem, place.host, part.size, bytes);
    skip += part.size;
  }
  return true;
}

/** What a read of no RAM gives. */
export function allOnes(size: number): bigint {
  return (1n << BigInt(8 * size)) - 1n;
}

/** Little-endian; aligned sizes as one access, so that another vCPU never sees half of it. */
export function load(mem: Mem, at: number, size: number): bigint {
  if (size === 1) return BigInt(mem.u8[at]!);
  if (size === 8 && at % 8 === 0) return mem.u64[at / 8]!;
  if (size === 4 && at % 4 === 0) return BigInt(mem.u32[at / 4]!);
  if (size === 2 && at % 2 === 0) return BigInt(mem.u16[at / 2]!);
  let value = 0n;
  if (size % 8 === 0 && at % 8 === 0) {
    for (let i = size / 8 - 1; i >= 0; i--) value = (value << 64n) | mem.u64[at / 8 + i]!;
    return value;
  }
  for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(mem.u8[at + i]!);
  return value;
}

export function store(mem: Mem, at: number, size: number, value: bigint): void {
  mem.touch(at, size);
  if (size === 1) mem.u8[at] = Number(value & 0xffn);
  else if (size === 8 && at % 8 === 0) mem.u64[at / 8] = value;
  else if (size === 4 && at % 4 === 0) mem.u32[at / 4] = Number(value & 0xffff_ffffn);
  else if (size === 2 && at % 2 === 0) mem.u16[at / 2] = Number(value & 0xffffn);
  else if (size % 8 === 0 && at % 8 === 0) {
    for (let i = 0; i < size / 8; i++) mem.u64[at / 8 + i] = value >> BigInt(64 * i);
  } else for (let i = 0; i < size; i++) mem.u8[at + i] = Number((value >> BigInt(8 * i)) & 0xffn);
}

/** Atomic: aligned sizes only. Returns what was found. */
function compareExchange(vcpu: Vcpu, at: number, size: number, expect: bigint, value: bigint): bigint {
  const { mem } = vcpu;
  if (size === 8) return mem.cas64(at, expect, value);
  mem.touch(at, size);
  const cells = size === 4 ? mem.u32 : size === 2 ? mem.u16 : mem.u8;
  return BigInt(Atomics.compareExchange(cells, at / size, Number(expect), Number(value)));
}
