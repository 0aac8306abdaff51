/**
 * One memory access of an emulated instruction: callbacks, decision, effect, in that order, for each page piece.
 *
 * The effect happens under access_tree_lock, after looking at the policy once more (E2): between the callback's answer
 * and the store another actor may have tightened the page, and its flush does not wait for an emulating vCPU (RC-05).
 *
 * @source arch/x86/kvm/x86.c with KVMI: emulator_read_write_onepage, emulator_cmpxchg_emulated
 */
import { NOTIFIER_KVMI } from '../../shared/layout/access-tree.ts';
import { ACCESS_R, ACCESS_W } from '../../shared/layout/cpu.ts';
import { SLOT_INVALID, SLOT_READONLY } from '../../shared/layout/memslot.ts';
import { REF_EMU_CHECK_THEN_ACT, REF_RETRY_LEAKS_MAP, REF_SRCU_ACROSS_EVENT } from '../../shared/quirks.ts';
import { type Path, reading, updating, writing } from '../../shared/sync/point.ts';
import { readLock, readUnlock } from '../../shared/sync/rw-lock.ts';
import { type PfVerdict, pfEventEnabled, trackPreAccess } from '../introspector/vcpu-side.ts';
import { readPolicy } from '../mmu/access-tree.ts';
import { gfnToSlot } from '../mmu/memslots.ts';
import { markDirty } from '../mmu/page-fault.ts';
import { dispatch } from '../mmu/page-track.ts';
import type { Vcpu } from './vcpu.ts';

/** What happened to one piece. */
export type PieceResult =
  /** Done; `value` is what a read gave. */
  | { readonly kind: 'done'; readonly value: bigint }
  /** Start the instruction again: RETRY, or the slot is being changed. */
  | { readonly kind: 'retry' }
  /** No RAM behind it. */
  | { readonly kind: 'mmio' };

export interface Piece {
  readonly gpa: number;
  readonly gva: bigint;
  /** 1, 2, 4 or 8; does not cross a page. */
  readonly size: number;
  /** ACCESS_R or ACCESS_W. */
  readonly access: number;
  /** ACCESS_W: what to store, zero extended. */
  readonly value: bigint;
  /** A LOCK operation: store only if this is still there, else restart. Null for a plain access. */
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
    if (verdict.kind === 'stopped') {
      if (mapsFirst && !vm.quirk(REF_RETRY_LEAKS_MAP)) mem.add(vm.word('MAPPED'), -1);
      return RETRY;
    }
    const result = yield* effect(vcpu, piece, gfn, verdict);
    if (mapsFirst) mem.add(vm.word('MAPPED'), -1);
    if (result !== 'denied') return result;
  }
}

/** Dispatches the pre-callback of the piece to every notifier; a stop from one is final, but all are asked. */
export function* preAccess(vcpu: Vcpu, piece: { gpa: number; gva: bigint; access: number }): Path<PfVerdict> {
  const { vm, actor } = vcpu;
  const inside = vm.quirk(REF_SRCU_ACROSS_EVENT);
  let verdict: PfVerdict = { kind: 'allowed' };
  let kvmi = false;
  yield* dispatch(actor, vm, function* (kind) {
    if (kind !== NOTIFIER_KVMI) return;
    // The seed sends the event from here, inside track_srcu and kvm.srcu: a memslot change then waits for the tool.
    if (inside) verdict = yield* trackPreAccess(vcpu, piece.gpa, piece.gva, piece.access);
    else kvmi = true;
  });
  // Outside the section KVMI's own reference keeps its block alive (RC-25).
  if (kvmi) verdict = yield* trackPreAccess(vcpu, piece.gpa, piece.gva, piece.access);
  return verdict;
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

function* effect(vcpu: Vcpu, piece: Piece, gfn: number, verdict: PfVerdict): Path<PieceResult | 'denied'> {
  const { vm, mem, actor } = vcpu;
  // The event may have been waited for outside kvm.srcu: look the slot up again.
  const slot = yield* gfnToSlot(vm, mem.load(vcpu.word('AS_ID')), gfn);
  if (slot === null || gfn >= vm.layout.config.gfnCount) return { kind: 'mmio' };
  if ((slot.flags & SLOT_INVALID) !== 0) return RETRY;
  const host = vm.ramPage(slot.ramPage + gfn - slot.baseGfn) + (piece.gpa % 4096);

  const checked = !vm.quirk(REF_EMU_CHECK_THEN_ACT);
  // Without its event enabled, a vCPU breaks restrictions silently: that is policy, not a race.
  const watched = mem.load(vm.word('KVMI_REF')) !== 0 && (yield* pfEventEnabled(vcpu));
  if (checked) yield* readLock(actor, vm.accessTreeLock);
  let result: PieceResult | 'denied';
  if (checked && watched && !stillAllowed(vcpu, gfn, piece.access, verdict)) {
    result = 'denied';
  } else {
    yield piece.access === ACCESS_R ? reading(host) : piece.expect === null ? writing(host) : updating(host);
    if (!checked && watched && vm.checked && !stillAllowed(vcpu, gfn, piece.access, verdict)) {
      vm.onFinding({
        id: 'I2',
        detail:
          `vCPU ${vcpu.index}: ${piece.access === ACCESS_R ? 'read' : 'write'} of ${piece.size} bytes at gpa ` +
          `0x${piece.gpa.toString(16)} took effect after the page was tightened, without an event`,
      });
    }
    result = perform(vcpu, piece, host);
    if (result.kind === 'done' && piece.access === ACCESS_W && (slot.flags & SLOT_READONLY) === 0) {
      markDirty(vm, slot, gfn);
    }
  }
  if (checked) yield* readUnlock(actor, vm.accessTreeLock);
  return result;
}

function perform(vcpu: Vcpu, piece: Piece, host: number): PieceResult {
  const { mem } = vcpu;
  if (piece.access === ACCESS_R) return { kind: 'done', value: load(mem.u8, host, piece.size) };
  if (piece.expect === null) {
    store(mem.u8, host, piece.size, piece.value);
    return { kind: 'done', value: 0n };
  }
  const found = compareExchange(vcpu, host, piece.size, piece.expect, piece.value);
  return found === piece.expect ? { kind: 'done', value: found } : RETRY;
}

/** Little-endian; aligned sizes as one access, so that another vCPU never sees half of it. */
export function load(bytes: Uint8Array<SharedArrayBuffer>, at: number, size: number): bigint {
  if (size === 1) return BigInt(bytes[at]!);
  if (size === 8 && at % 8 === 0) return new BigUint64Array(bytes.buffer, at, 1)[0]!;
  if (size === 4 && at % 4 === 0) return BigInt(new Uint32Array(bytes.buffer, at, 1)[0]!);
  if (size === 2 && at % 2 === 0) return BigInt(new Uint16Array(bytes.buffer, at, 1)[0]!);
  let value = 0n;
  for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[at + i]!);
  return value;
}

export function store(bytes: Uint8Array<SharedArrayBuffer>, at: number, size: number, value: bigint): void {
  if (size === 1) bytes[at] = Number(value & 0xffn);
  else if (size === 8 && at % 8 === 0) new BigUint64Array(bytes.buffer, at, 1)[0] = value;
  else if (size === 4 && at % 4 === 0) new Uint32Array(bytes.buffer, at, 1)[0] = Number(value & 0xffff_ffffn);
  else if (size === 2 && at % 2 === 0) new Uint16Array(bytes.buffer, at, 1)[0] = Number(value & 0xffffn);
  else for (let i = 0; i < size; i++) bytes[at + i] = Number((value >> BigInt(8 * i)) & 0xffn);
}

/** Atomic where the size is; the caller holds the split lock when the operand is misaligned. Returns what was found. */
function compareExchange(vcpu: Vcpu, at: number, size: number, expect: bigint, value: bigint): bigint {
  const { buffer } = vcpu.mem.u8;
  if (at % size !== 0) {
    const found = load(vcpu.mem.u8, at, size);
    if (found === expect) store(vcpu.mem.u8, at, size, value);
    return found;
  }
  if (size === 8) return Atomics.compareExchange(new BigUint64Array(buffer, at, 1), 0, expect, value);
  const cells =
    size === 4
      ? new Uint32Array(buffer, at, 1)
      : size === 2
        ? new Uint16Array(buffer, at, 1)
        : new Uint8Array(buffer, at, 1);
  return BigInt(Atomics.compareExchange(cells, 0, Number(expect), Number(value)));
}
