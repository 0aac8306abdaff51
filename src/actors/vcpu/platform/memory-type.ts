/**
 * The memory type of a guest page, by the MTRRs.
 *
 * @source Intel SDM vol. 3A, "Memory Type Range Registers (MTRRs)", "MTRR Precedences"; linux arch/x86/kvm/mtrr.c:
 *         kvm_mtrr_get_guest_memory_type
 */
import { CPU, MTRR_FIXED, MTRR_VARIABLE } from '../../../shared/layout/cpu.ts';
import type { Mem } from '../../../shared/mem.ts';

const UNCACHABLE = 0;
const WRITE_THROUGH = 4;
export const WRITE_BACK = 6;

/** Bits of MTRR_DEF_TYPE. */
const ENABLED = 1n << 11n;
const FIXED_ENABLED = 1n << 10n;
/** Bit of a variable range's mask. */
const VALID = 1n << 11n;
const PAGE = 4096n;
const TYPE = 0xffn;

/** Where the fixed ranges begin, how many bytes each field of a register stands for, and in which register they begin. */
const FIXED = [
  { from: 0n, bytes: 0x10000n, register: 0 },
  { from: 0x80000n, bytes: 0x4000n, register: 1 },
  { from: 0xc0000n, bytes: 0x1000n, register: 3 },
] as const;
const FIXED_END = 0x100000n;

/** 0 uncached, 1 write combining, 4 write through, 5 write protected, 6 write back. */
export function memoryType(vcpu: { readonly mem: Mem; readonly cpu: number }, gpa: bigint): number {
  const word = (index: number) => vcpu.mem.u64[(vcpu.cpu + CPU.at.MTRR) / 8 + index]!;
  const defaults = word(0);
  if ((defaults & ENABLED) === 0n) return UNCACHABLE;
  if ((defaults & FIXED_ENABLED) !== 0n && gpa < FIXED_END) {
    const range = FIXED.findLast(({ from }) => gpa >= from)!;
    const field = (gpa - range.from) / range.bytes;
    return Number((word(1 + range.register + Number(field / 8n)) >> ((field % 8n) * 8n)) & TYPE);
  }
  const types: number[] = [];
  for (let i = 0; i < MTRR_VARIABLE; i++) {
    const base = word(1 + MTRR_FIXED + 2 * i);
    const mask = word(1 + MTRR_FIXED + 2 * i + 1);
    // Ranges are whole pages: the low bits of both say something else.
    const bits = mask & ~(PAGE - 1n);
    if ((mask & VALID) !== 0n && (gpa & bits) === (base & bits)) types.push(Number(base & TYPE));
  }
  return combined(types) ?? Number(defaults & TYPE);
}

/** Of ranges that overlap: uncached wins, then write through over write back. What the SDM leaves open is uncached. */
function combined(types: readonly number[]): number | null {
  const [first] = types;
  if (first === undefined) return null;
  if (types.every((type) => type === first)) return first;
  return types.every((type) => type === WRITE_BACK || type === WRITE_THROUGH) ? WRITE_THROUGH : UNCACHABLE;
}
