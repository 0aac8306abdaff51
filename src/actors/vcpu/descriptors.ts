/**
 * Segment descriptors: reading them from the GDT or LDT, and loading the segment registers that 64-bit mode still has.
 *
 * Nothing of a descriptor is cached but the bases of FS, GS, LDTR and TR, the limits of the last two, and the DPL of
 * data segments, which a return to an outer ring asks for.
 *
 * LIMIT: MOV SS and POP SS do not hold events back for one instruction; there are none to hold back yet.
 *
 * @source Intel SDM vol. 3A, "Segment Descriptors", "Protection"; vol. 2B, "MOV—Move"; vol. 2A, "LLDT", "LTR", "LGDT/LIDT"
 */
import type { Path } from '../../shared/sync/point.ts';
import {
  DESC_ACCESSED,
  DESC_CODE,
  DESC_CONFORMING,
  DESC_DB,
  DESC_DPL_SHIFT,
  DESC_G,
  DESC_L,
  DESC_P,
  DESC_READABLE,
  DESC_S,
  DESC_TSS_BUSY,
  DESC_TYPE_SHIFT,
  DESC_WRITABLE,
  SEG_FS,
  SEG_GS,
  SEG_LDTR,
  SEG_SS,
  SEG_TR,
  SELECTOR_RPL,
  SELECTOR_TI,
  TYPE_LDT,
  TYPE_TSS_AVAILABLE,
} from '../../shared/x86/descriptors.ts';
import { VECTOR_GP, VECTOR_NP, VECTOR_SS } from '../../shared/x86/vectors.ts';
import { isCanonical } from './canonical.ts';
import { lockedLinear, readLinear, writeLinear } from './linear-memory.ts';
import { OUTCOME_OK, OUTCOME_RETRY, type Outcome, type Vcpu } from './vcpu.ts';

const SYSTEM = { system: true, own: true };

/** The index part of a selector, for an error code. */
export function selectorError(selector: number): number {
  return selector & 0xfffc;
}

export function isNull(selector: number): boolean {
  return selectorError(selector) === 0;
}

export function descriptorDpl(descriptor: bigint): number {
  return Number((descriptor >> DESC_DPL_SHIFT) & 3n);
}

/** Type field with S: 0…15 system, 16…31 code and data. */
function systemType(descriptor: bigint): number {
  return Number((descriptor >> DESC_TYPE_SHIFT) & 0x1fn);
}

/** Base of an 8-byte descriptor. */
function descriptorBase(descriptor: bigint): bigint {
  return ((descriptor >> 16n) & 0xff_ffffn) | ((descriptor >> 32n) & 0xff00_0000n);
}

/** Limit in bytes, the last valid offset. */
function descriptorLimit(descriptor: bigint): number {
  const limit = Number(((descriptor >> 32n) & 0xf_0000n) | (descriptor & 0xffffn));
  return (descriptor & DESC_G) === 0n ? limit : limit * 4096 + 4095;
}

/** Address of a descriptor of `bytes` bytes, or −1 when its table ends before it does. */
function descriptorAddress(vcpu: Vcpu, selector: number, bytes: number): bigint {
  const local = (selector & SELECTOR_TI) !== 0;
  if (local && isNull(vcpu.selector(SEG_LDTR))) return -1n;
  const limit = vcpu.get32(local ? 'LDTR_LIMIT' : 'GDTR_LIMIT') >>> 0;
  const offset = selector & 0xfff8;
  if (offset + bytes - 1 > limit) return -1n;
  return BigInt.asUintN(64, vcpu.get64(local ? 'LDTR_BASE' : 'GDTR_BASE') + BigInt(offset));
}

/**
 * Reads the descriptor of a selector that is not null into `vcpu.value`, `bytes` 8 or 16.
 * @returns #GP(selector) when it lies outside its table
 */
export function* readDescriptor(vcpu: Vcpu, selector: number, bytes = 8): Path<Outcome> {
  const address = descriptorAddress(vcpu, selector, bytes);
  if (address < 0n) return vcpu.raise(VECTOR_GP, selectorError(selector));
  return yield* readLinear(vcpu, address, bytes, SYSTEM);
}

/** Sets bits in a descriptor, as the processor does: atomically, and only when they are not set yet. */
function* setDescriptorBits(vcpu: Vcpu, selector: number, descriptor: bigint, bits: bigint): Path<Outcome> {
  const low = BigInt.asUintN(64, descriptor);
  if ((low & bits) === bits) return OUTCOME_OK;
  const address = descriptorAddress(vcpu, selector, 8);
  if (address < 0n) return OUTCOME_RETRY;
  return yield* lockedLinear(vcpu, address, 8, { expect: low, value: low | bits }, SYSTEM);
}

/** Marks a code or data descriptor accessed. The descriptor is the one read a moment ago. */
export function* markAccessed(vcpu: Vcpu, selector: number, descriptor: bigint): Path<Outcome> {
  return yield* setDescriptorBits(vcpu, selector, descriptor, DESC_ACCESSED);
}

/** What a descriptor is to a far transfer. */
export interface CodeSegment {
  readonly conforming: boolean;
  readonly dpl: number;
  readonly present: boolean;
}

/** The 64-bit code segment that a descriptor describes; null when it describes anything else. */
export function codeSegment(descriptor: bigint): CodeSegment | null {
  if ((descriptor & DESC_S) === 0n || (descriptor & DESC_CODE) === 0n) return null;
  // LIMIT: compatibility mode (L clear) is not there; L with D is reserved anyhow.
  if ((descriptor & DESC_L) === 0n || (descriptor & DESC_DB) !== 0n) return null;
  return {
    conforming: (descriptor & DESC_CONFORMING) !== 0n,
    dpl: descriptorDpl(descriptor),
    present: (descriptor & DESC_P) !== 0n,
  };
}

/**
 * Is this a stack segment for privilege level `cpl`? Raises the fault if not. The selector is not null.
 * @source Intel SDM vol. 2A, "IRET", "RETURN-TO-OUTER-PRIVILEGE-LEVEL"; vol. 2B, "MOV—Move", "IF SS is loaded"
 */
export function checkStackSegment(vcpu: Vcpu, selector: number, descriptor: bigint, cpl: number): Outcome {
  const writableData =
    (descriptor & DESC_S) !== 0n && (descriptor & DESC_CODE) === 0n && (descriptor & DESC_WRITABLE) !== 0n;
  const error = selectorError(selector);
  if ((selector & SELECTOR_RPL) !== cpl || !writableData || descriptorDpl(descriptor) !== cpl) {
    return vcpu.raise(VECTOR_GP, error);
  }
  return (descriptor & DESC_P) === 0n ? vcpu.raise(VECTOR_SS, error) : OUTCOME_OK;
}

/** MOV and POP to ES, SS, DS, FS, GS, with every check; the register changes only on OUTCOME_OK. */
export function* loadSegment(vcpu: Vcpu, segment: number, selector: number): Path<Outcome> {
  const cpl = vcpu.get32('CPL');
  const rpl = selector & SELECTOR_RPL;
  if (isNull(selector)) {
    if (segment === SEG_SS && (cpl === 3 || cpl !== rpl)) return vcpu.raise(VECTOR_GP, 0);
    commitSegment(vcpu, segment, selector, 0n);
    return OUTCOME_OK;
  }
  const read = yield* readDescriptor(vcpu, selector);
  if (read !== OUTCOME_OK) return read;
  const descriptor = vcpu.value;
  const check =
    segment === SEG_SS
      ? checkStackSegment(vcpu, selector, descriptor, cpl)
      : checkDataSegment(vcpu, selector, descriptor);
  if (check !== OUTCOME_OK) return check;
  const marked = yield* markAccessed(vcpu, selector, descriptor);
  if (marked !== OUTCOME_OK) return marked;
  commitSegment(vcpu, segment, selector, descriptor);
  return OUTCOME_OK;
}

function checkDataSegment(vcpu: Vcpu, selector: number, descriptor: bigint): Outcome {
  const error = selectorError(selector);
  const code = (descriptor & DESC_CODE) !== 0n;
  if ((descriptor & DESC_S) === 0n || (code && (descriptor & DESC_READABLE) === 0n)) {
    return vcpu.raise(VECTOR_GP, error);
  }
  const dpl = descriptorDpl(descriptor);
  const anyLevel = code && (descriptor & DESC_CONFORMING) !== 0n;
  if (!anyLevel && ((selector & SELECTOR_RPL) > dpl || vcpu.get32('CPL') > dpl)) {
    return vcpu.raise(VECTOR_GP, error);
  }
  return (descriptor & DESC_P) === 0n ? vcpu.raise(VECTOR_NP, error) : OUTCOME_OK;
}

/** A conforming code segment in a data segment register is readable at every level. */
const ANY_LEVEL = 3;

/** Writes a segment register that has been checked. A null selector (descriptor 0) clears the base of FS and GS. */
export function commitSegment(vcpu: Vcpu, segment: number, selector: number, descriptor: bigint): void {
  const conforming = (descriptor & DESC_CODE) !== 0n && (descriptor & DESC_CONFORMING) !== 0n;
  vcpu.setSelector(segment, selector);
  vcpu.setSegmentDpl(segment, conforming ? ANY_LEVEL : descriptorDpl(descriptor));
  if (segment === SEG_FS) vcpu.set64('FS_BASE', descriptorBase(descriptor));
  if (segment === SEG_GS) vcpu.set64('GS_BASE', descriptorBase(descriptor));
}

/** LLDT. Privilege is the caller's check. */
export function* loadLdt(vcpu: Vcpu, selector: number): Path<Outcome> {
  if (isNull(selector)) {
    vcpu.setSelector(SEG_LDTR, selector);
    vcpu.set64('LDTR_BASE', 0n);
    vcpu.set32('LDTR_LIMIT', 0);
    return OUTCOME_OK;
  }
  const outcome = yield* readSystemDescriptor(vcpu, selector, TYPE_LDT);
  if (outcome !== OUTCOME_OK) return outcome;
  const descriptor = vcpu.value;
  vcpu.setSelector(SEG_LDTR, selector);
  vcpu.set64('LDTR_BASE', systemBase(descriptor));
  vcpu.set32('LDTR_LIMIT', descriptorLimit(descriptor) | 0);
  return OUTCOME_OK;
}

/** LTR: loads an available TSS and marks it busy. Privilege is the caller's check. */
export function* loadTaskRegister(vcpu: Vcpu, selector: number): Path<Outcome> {
  if (isNull(selector)) return vcpu.raise(VECTOR_GP, 0);
  const outcome = yield* readSystemDescriptor(vcpu, selector, TYPE_TSS_AVAILABLE);
  if (outcome !== OUTCOME_OK) return outcome;
  const descriptor = vcpu.value;
  const marked = yield* setDescriptorBits(vcpu, selector, descriptor, DESC_TSS_BUSY);
  if (marked !== OUTCOME_OK) return marked;
  vcpu.setSelector(SEG_TR, selector);
  vcpu.set64('TR_BASE', systemBase(descriptor));
  vcpu.set32('TR_LIMIT', descriptorLimit(descriptor) | 0);
  return OUTCOME_OK;
}

/** Reads a 16-byte descriptor of the GDT, of this type and present, into `vcpu.value`. */
function* readSystemDescriptor(vcpu: Vcpu, selector: number, type: number): Path<Outcome> {
  const error = selectorError(selector);
  if ((selector & SELECTOR_TI) !== 0) return vcpu.raise(VECTOR_GP, error);
  const outcome = yield* readDescriptor(vcpu, selector, 16);
  if (outcome !== OUTCOME_OK) return outcome;
  const descriptor = vcpu.value;
  // The type field of the upper half is 0, so that nobody takes it for a descriptor.
  const upperType = systemType(descriptor >> 64n);
  if (systemType(descriptor) !== type || upperType !== 0) return vcpu.raise(VECTOR_GP, error);
  if ((descriptor & DESC_P) === 0n) return vcpu.raise(VECTOR_NP, error);
  return isCanonical(systemBase(descriptor)) ? OUTCOME_OK : vcpu.raise(VECTOR_GP, error);
}

function systemBase(descriptor: bigint): bigint {
  return descriptorBase(descriptor) | (((descriptor >> 64n) & 0xffff_ffffn) << 32n);
}

type TableRegister = 'GDTR' | 'IDTR';

/** LGDT, LIDT: 2 bytes of limit, 8 of base. */
export function* loadTable(vcpu: Vcpu, register: TableRegister, gva: bigint, stack: boolean): Path<Outcome> {
  const outcome = yield* readLinear(vcpu, gva, 10, { stack });
  if (outcome !== OUTCOME_OK) return outcome;
  const base = vcpu.value >> 16n;
  if (!isCanonical(base)) return vcpu.raise(VECTOR_GP, 0);
  vcpu.set64(`${register}_BASE`, base);
  vcpu.set32(`${register}_LIMIT`, Number(vcpu.value & 0xffffn));
  return OUTCOME_OK;
}

/** SGDT, SIDT. */
export function* storeTable(vcpu: Vcpu, register: TableRegister, gva: bigint, stack: boolean): Path<Outcome> {
  const limit = BigInt(vcpu.get32(`${register}_LIMIT`) & 0xffff);
  return yield* writeLinear(vcpu, gva, 10, (vcpu.get64(`${register}_BASE`) << 16n) | limit, { stack });
}
