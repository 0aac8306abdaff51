/**
 * Guest memory by linear address, for everything that is emulated: instructions of the single-step emulator, host
 * operations, exception delivery.
 *
 * An access is cut at the page boundary, low addresses first. Each piece is translated, asked for and carried out
 * before the next one starts (spec 7.2), so a store across pages can have stored its first piece when the second one
 * is answered RETRY. That does no harm where the instruction only stores it again; the store of one that has read
 * memory is done as a whole ({@link LinearOptions.whole}, RC-82). What the guest's own tables deny is found out before
 * anything is stored.
 *
 * Results: OUTCOME_OK; OUTCOME_FAULT with `vcpu.fault` filled in; OUTCOME_RETRY, start the instruction again.
 *
 * @source arch/x86/kvm/emulate.c: __linearize, segmented_read, segmented_write, segmented_cmpxchg;
 *         arch/x86/kvm/x86.c: emulator_read_write, emulator_cmpxchg_emulated
 */
import { ACCESS_R, ACCESS_W, ACCESS_X, CPU } from '../../shared/layout/cpu.ts';
import { REF_STORE_BY_PIECE } from '../../shared/quirks.ts';
import { type Path, updating } from '../../shared/sync/point.ts';
import { VECTOR_GP, VECTOR_SS } from '../../shared/x86/vectors.ts';
import { isCanonical } from './canonical.ts';
import { bytesInPage, crossesPage, walkLinear } from './linear-address.ts';
import { readOwn, writeOwn } from './own-access.ts';
import { accessPiece, accessSplit, allOnes, type SplitPart } from './tracked-access.ts';
import { OUTCOME_FAULT, OUTCOME_OK, OUTCOME_RETRY, type Outcome, type Vcpu } from './vcpu.ts';

export interface LinearOptions {
  /** The processor's own access, supervisor at any CPL: descriptor tables, TSS, pushes to an inner stack. */
  readonly system?: boolean;
  /** Not by an instruction's operand: goes by the TLB where it can (own-access.ts). */
  readonly own?: boolean;
  /** A stack reference: #SS instead of #GP when the address is not canonical. */
  readonly stack?: boolean;
  /** A read whose operand will be written: it must be writable already. */
  readonly rmw?: boolean;
  /** A store of what has been read: across pages it is done as a whole, when both have been asked for. */
  readonly whole?: boolean;
}

const NO_OPTIONS: LinearOptions = {};

/**
 * Reads `size` bytes into `vcpu.value`, zero extended.
 *
 * @param gva   unsigned 64 bits
 * @param size  1 … 64
 * @locking inside kvm.srcu; may sleep for the introspector
 */
export function* readLinear(
  vcpu: Vcpu,
  gva: bigint,
  size: number,
  options: LinearOptions = NO_OPTIONS,
): Path<Outcome> {
  if (!rangeIsCanonical(gva, size)) return raiseNotCanonical(vcpu, options);
  if (options.own === true && (yield* readOwn(vcpu, gva, size, isUser(vcpu, options)))) return OUTCOME_OK;
  const kind = options.rmw === true ? ACCESS_R | ACCESS_W : ACCESS_R;
  let value = 0n;
  for (let skip = 0; skip < size; ) {
    const at = BigInt.asUintN(64, gva + BigInt(skip));
    const bytes = bytesInPage(at, size - skip);
    const gpa = yield* translate(vcpu, at, kind, options);
    if (gpa < 0) return outcomeOf(gpa);
    const piece = { gpa, gva: at, size: bytes, access: ACCESS_R, value: 0n, expect: null };
    const result = yield* accessPiece(vcpu, piece);
    if (result.kind === 'retry') return OUTCOME_RETRY;
    const got = result.kind === 'mmio' ? yield* loadMmio(vcpu, gpa, bytes) : result.value;
    value |= got << BigInt(8 * skip);
    skip += bytes;
  }
  vcpu.value = value;
  return OUTCOME_OK;
}

/**
 * Stores the low `size` bytes of `value`.
 *
 * @param gva   unsigned 64 bits
 * @param size  1 … 64
 * @locking as {@link readLinear}
 */
export function* writeLinear(
  vcpu: Vcpu,
  gva: bigint,
  size: number,
  value: bigint,
  options: LinearOptions = NO_OPTIONS,
): Path<Outcome> {
  if (!rangeIsCanonical(gva, size)) return raiseNotCanonical(vcpu, options);
  if (options.own === true && (yield* writeOwn(vcpu, gva, size, value, isUser(vcpu, options))))
    return OUTCOME_OK;
  if (crossesPage(gva, size)) {
    if (options.whole === true && !vcpu.vm.quirk(REF_STORE_BY_PIECE)) {
      return yield* writeWhole(vcpu, gva, size, value, options);
    }
    // Where the guest's tables deny one of two pages, the processor stores nothing (KVM's emulator would store half).
    const outcome = yield* checkWritable(vcpu, gva, size, options);
    if (outcome !== OUTCOME_OK) return outcome;
  }
  for (let skip = 0; skip < size; ) {
    const at = BigInt.asUintN(64, gva + BigInt(skip));
    const bytes = bytesInPage(at, size - skip);
    const gpa = yield* translate(vcpu, at, ACCESS_W, options);
    if (gpa < 0) return outcomeOf(gpa);
    const part = (value >> BigInt(8 * skip)) & allOnes(bytes);
    const piece = { gpa, gva: at, size: bytes, access: ACCESS_W, value: part, expect: null };
    const outcome = yield* stored(vcpu, piece, (yield* accessPiece(vcpu, piece)).kind);
    if (outcome !== OUTCOME_OK) return outcome;
    skip += bytes;
  }
  return OUTCOME_OK;
}

/**
 * Faults as a write there would, and does nothing: no callback, no event.
 *
 * @locking inside kvm.srcu
 */
export function* checkWritable(
  vcpu: Vcpu,
  gva: bigint,
  size: number,
  options: LinearOptions = NO_OPTIONS,
): Path<Outcome> {
  if (!rangeIsCanonical(gva, size)) return raiseNotCanonical(vcpu, options);
  const parts = yield* translateParts(vcpu, gva, size, ACCESS_W, options);
  return typeof parts === 'number' ? parts : OUTCOME_OK;
}

/** Across pages: nothing is stored unless all of it is. */
function* writeWhole(
  vcpu: Vcpu,
  gva: bigint,
  size: number,
  value: bigint,
  options: LinearOptions,
): Path<Outcome> {
  const parts = yield* translateParts(vcpu, gva, size, ACCESS_W, options);
  if (typeof parts === 'number') return parts;
  const operand = { expect: null, value: value & allOnes(size) };
  return yield* stored(vcpu, null, yield* accessSplit(vcpu, parts, operand));
}

/**
 * The outcome of a store. One that found no RAM goes to the device that is there; without one it is lost, and counted.
 *
 * @param piece  null: stored with others, and no device takes part in that
 */
function* stored(
  vcpu: Vcpu,
  piece: { readonly gpa: number; readonly size: number; readonly value: bigint } | null,
  result: 'done' | 'retry' | 'mmio',
): Path<Outcome> {
  if (result === 'retry') return OUTCOME_RETRY;
  if (result !== 'mmio') return OUTCOME_OK;
  const { platform } = vcpu;
  const taken =
    platform !== null && piece !== null && (yield* platform.storeMmio(piece.gpa, piece.size, piece.value));
  if (!taken) yield* countMmio(vcpu);
  return OUTCOME_OK;
}

/** A load that found no RAM: from the device that is there, or all ones, and counted. */
function* loadMmio(vcpu: Vcpu, gpa: number, size: number): Path<bigint> {
  const { platform } = vcpu;
  const value = platform === null ? null : yield* platform.loadMmio(gpa, size);
  if (value !== null) return value;
  yield* countMmio(vcpu);
  return allOnes(size);
}

/** Every piece of an access, or the outcome that ends it. */
function* translateParts(
  vcpu: Vcpu,
  gva: bigint,
  size: number,
  access: number,
  options: LinearOptions,
): Path<SplitPart[] | Outcome> {
  const parts: SplitPart[] = [];
  for (let skip = 0; skip < size; ) {
    const at = BigInt.asUintN(64, gva + BigInt(skip));
    const bytes = bytesInPage(at, size - skip);
    const gpa = yield* translate(vcpu, at, access, options);
    if (gpa < 0) return outcomeOf(gpa);
    parts.push({ gpa, gva: at, size: bytes });
    skip += bytes;
  }
  return parts;
}

/** A compare-exchange: stores `value` if `expect` is still there. The high halves are those of 16 bytes. */
export interface LockedOperand {
  readonly expect: bigint;
  readonly value: bigint;
  readonly expectHigh?: bigint;
  readonly valueHigh?: bigint;
}

/**
 * The store of a LOCK operation, after its read: OUTCOME_RETRY when the value read is not there any more. Misaligned,
 * page-crossing and 16-byte operands take the split lock; nothing of them is stored unless all of it matched.
 *
 * @param size  1, 2, 4, 8 or 16
 * @locking as {@link readLinear}
 */
export function* lockedLinear(
  vcpu: Vcpu,
  gva: bigint,
  size: number,
  operand: LockedOperand,
  options: LinearOptions = NO_OPTIONS,
): Path<Outcome> {
  if (!rangeIsCanonical(gva, size)) return raiseNotCanonical(vcpu, options);
  const mask = allOnes(Math.min(size, 8));
  const expect = (operand.expect & mask) | ((operand.expectHigh ?? 0n) << 64n);
  const value = (operand.value & mask) | ((operand.valueHigh ?? 0n) << 64n);
  const parts = yield* translateParts(vcpu, gva, size, ACCESS_R | ACCESS_W, options);
  if (typeof parts === 'number') return parts;
  if (size <= 8 && gva % BigInt(size) === 0n) {
    const piece = { ...parts[0]!, access: ACCESS_W, value, expect };
    return yield* stored(vcpu, piece, (yield* accessPiece(vcpu, piece)).kind);
  }
  return yield* stored(vcpu, null, yield* accessSplit(vcpu, parts, { expect, value }));
}

/**
 * Fetches one chunk of instruction bytes into FETCH_BYTES, from offset `at` on; `vcpu.fetched` says how many. A chunk
 * ends with its page, and has one callback:
 *
 * ```ts
 * for (let have = 0; ; have += vcpu.fetched) {
 *   const outcome = yield* fetchLinear(vcpu, rip + BigInt(have), INSN_BYTES_MAX - have, have);
 *   if (outcome !== OUTCOME_OK) return outcome;
 *   // decode have + vcpu.fetched bytes; 'more' goes on with the next page
 * }
 * ```
 *
 * @param maxBytes  at most 15 − `at`
 * @locking as {@link readLinear}
 */
export function* fetchLinear(vcpu: Vcpu, gva: bigint, maxBytes: number, at = 0): Path<Outcome> {
  const start = BigInt.asUintN(64, gva);
  vcpu.fetched = 0;
  if (!isCanonical(start)) return raiseNotCanonical(vcpu, NO_OPTIONS);
  const bytes = bytesInPage(start, maxBytes);
  const gpa = yield* translate(vcpu, start, ACCESS_X, NO_OPTIONS);
  if (gpa < 0) return outcomeOf(gpa);
  const piece = { gpa, gva: start, size: bytes, access: ACCESS_X, value: 0n, expect: null };
  const result = yield* accessPiece(vcpu, piece);
  if (result.kind === 'retry') return OUTCOME_RETRY;
  if (result.kind === 'mmio') yield* countMmio(vcpu);
  const got = result.kind === 'mmio' ? allOnes(bytes) : result.value;
  const to = vcpu.cpu + CPU.at.FETCH_BYTES + at;
  for (let i = 0; i < bytes; i++) vcpu.mem.u8[to + i] = Number((got >> BigInt(8 * i)) & 0xffn);
  vcpu.fetched = bytes;
  return OUTCOME_OK;
}

/**
 * Translates the address of one piece.
 *
 * @returns the gpa, or minus the outcome that ends the access
 */
function* translate(vcpu: Vcpu, gva: bigint, access: number, options: LinearOptions): Path<number> {
  const result = yield* walkLinear(vcpu, gva, access, isUser(vcpu, options));
  if (result.kind === 'page') return result.gpa;
  return result.kind === 'retry' ? -OUTCOME_RETRY : -OUTCOME_FAULT;
}

function isUser(vcpu: Vcpu, options: LinearOptions): boolean {
  return options.system !== true && vcpu.get32('CPL') === 3;
}

function outcomeOf(negative: number): Outcome {
  return -negative as Outcome;
}

function rangeIsCanonical(gva: bigint, size: number): boolean {
  return isCanonical(gva) && isCanonical(BigInt.asUintN(64, gva + BigInt(size - 1)));
}

function raiseNotCanonical(vcpu: Vcpu, options: LinearOptions): Outcome {
  return vcpu.raise(options.stack === true ? VECTOR_SS : VECTOR_GP, 0);
}

function* countMmio(vcpu: Vcpu): Path<void> {
  yield updating(vcpu.vm.word('MMIO_ACCESSES'));
  vcpu.mem.add(vcpu.vm.word('MMIO_ACCESSES'), 1);
}
