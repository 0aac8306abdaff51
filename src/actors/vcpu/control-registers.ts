/**
 * Control and debug registers, as MOV, SMSW, LMSW and CLTS see them. Privilege is checked here.
 *
 * LIMIT: long mode is never left: LME, PG, PE and PAE cannot be cleared. All of it is #GP on hardware too, from 64-bit
 * code, except by way of compatibility mode, which is not there.
 * LIMIT: debug registers are stored and nothing else: no breakpoint fires, DR7.GD is ignored.
 *
 * @source Intel SDM vol. 3A, "Control Registers", "Debug Registers"; vol. 2B, "MOV—Move to/from Control Registers",
 *         "MOV—Move to/from Debug Registers"
 */
import type { Path } from '../../shared/sync/point.ts';
import {
  CR0_CD,
  CR0_EM,
  CR0_ET,
  CR0_MP,
  CR0_NW,
  CR0_PE,
  CR0_PG,
  CR0_TS,
  CR0_WP,
  CR4_FSGSBASE,
  CR4_OSFXSR,
  CR4_OSXMMEXCPT,
  CR4_OSXSAVE,
  CR4_PAE,
  CR4_PGE,
  CR4_PSE,
  CR4_SMEP,
  CR4_TSD,
  DR6_ONES,
  DR6_WRITABLE,
  DR7_ONES,
  DR7_WRITABLE,
} from '../../shared/x86/control-registers.ts';
import { PHYSICAL_ADDRESS_BITS } from '../../shared/x86/paging.ts';
import { VECTOR_GP } from '../../shared/x86/vectors.ts';
import { crEvent } from '../introspector/vcpu-events.ts';
import { requireRing0 } from './privilege.ts';
import { flushTlb } from './tlb.ts';
import { OUTCOME_OK, OUTCOME_RETRY, type Outcome, type Vcpu } from './vcpu.ts';

/** What CPUID offers, and nothing else: setting another bit is #GP. */
const CR4_SUPPORTED =
  CR4_TSD | CR4_PSE | CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_FSGSBASE | CR4_OSXSAVE | CR4_SMEP;
/** MOV to CR3 with any of these set is #GP. */
const CR3_RESERVED = (1n << 64n) - (1n << BigInt(PHYSICAL_ADDRESS_BITS));
const LOW_32 = 0xffff_ffffn;

/** MOV from CR0, CR2, CR3, CR4, CR8: the value is in `vcpu.value`. */
export function readControl(vcpu: Vcpu, number: number): Outcome {
  const privileged = requireRing0(vcpu);
  if (privileged !== OUTCOME_OK) return privileged;
  vcpu.value = vcpu.get64(controlName(number));
  return OUTCOME_OK;
}

/**
 * MOV to CR0, CR2, CR3, CR4, CR8.
 *
 * @locking inside kvm.srcu; may sleep for the introspector
 */
export function* writeControl(vcpu: Vcpu, number: number, value: bigint): Path<Outcome> {
  const privileged = requireRing0(vcpu);
  if (privileged !== OUTCOME_OK) return privileged;
  if (!acceptsControl(number, value)) return vcpu.raise(VECTOR_GP, 0);
  if (number === 8 && vcpu.platform !== null) {
    vcpu.platform.apic.setPriority(Number(value));
    return OUTCOME_OK;
  }
  if (number === 2 || number === 8) {
    vcpu.set64(controlName(number), value);
    return OUTCOME_OK;
  }
  const old = vcpu.get64(controlName(number));
  const wanted = yield* crEvent(vcpu, number, old, number === 0 ? value | CR0_ET : value);
  if (wanted < 0n) return OUTCOME_RETRY;
  // What the tool puts in its place has to be a value that a processor takes, as if the guest had written it.
  if (!acceptsControl(number, wanted)) return vcpu.raise(VECTOR_GP, 0);
  loadControl(vcpu, number, old, wanted);
  return OUTCOME_OK;
}

function acceptsControl(number: number, value: bigint): boolean {
  switch (number) {
    case 0: {
      const needed = CR0_PE | CR0_PG;
      const cacheContradiction = (value & CR0_NW) !== 0n && (value & CR0_CD) === 0n;
      return value <= LOW_32 && (value & needed) === needed && !cacheContradiction;
    }
    case 3:
      return (value & CR3_RESERVED) === 0n;
    case 4:
      return (value & ~CR4_SUPPORTED) === 0n && (value & CR4_PAE) !== 0n;
    case 8:
      return value <= 15n;
    default:
      return true;
  }
}

function loadControl(vcpu: Vcpu, number: number, old: bigint, value: bigint): void {
  const changed = old ^ value;
  vcpu.set64(controlName(number), number === 0 ? value | CR0_ET : value);
  const stale =
    // Global entries may be kept; nothing asks for it.
    number === 3 ||
    // Supervisor write entries were made under the old WP.
    (number === 0 && (changed & CR0_WP) !== 0n) ||
    (number === 4 && (changed & (CR4_PGE | CR4_PSE | CR4_SMEP)) !== 0n);
  if (stale) flushTlb(vcpu.mem, vcpu.cpu);
}

function controlName(number: number): 'CR0' | 'CR2' | 'CR3' | 'CR4' | 'CR8' {
  switch (number) {
    case 0:
      return 'CR0';
    case 3:
      return 'CR3';
    case 4:
      return 'CR4';
    case 8:
      return 'CR8';
    default:
      return 'CR2';
  }
}

/** CLTS. */
export function clearTaskSwitched(vcpu: Vcpu): Outcome {
  const privileged = requireRing0(vcpu);
  if (privileged === OUTCOME_OK) vcpu.set64('CR0', vcpu.get64('CR0') & ~CR0_TS);
  return privileged;
}

/** LMSW: PE, MP, EM and TS from a 16-bit operand; PE can be set only. */
export function* loadMachineStatus(vcpu: Vcpu, value: bigint): Path<Outcome> {
  const mask = CR0_MP | CR0_EM | CR0_TS;
  return yield* writeControl(vcpu, 0, (vcpu.get64('CR0') & ~mask) | (value & (mask | CR0_PE)));
}

/** MOV from a debug register; 4 and 5 are 6 and 7 while CR4.DE is clear, and it cannot be set. */
export function readDebug(vcpu: Vcpu, number: number): Outcome {
  const privileged = requireRing0(vcpu);
  if (privileged !== OUTCOME_OK) return privileged;
  const actual = aliasOf(number);
  const stored = vcpu.debugRegister(actual);
  vcpu.value = actual === 6 ? stored | DR6_ONES : actual === 7 ? stored | DR7_ONES : stored;
  return OUTCOME_OK;
}

/** MOV to a debug register. */
export function writeDebug(vcpu: Vcpu, number: number, value: bigint): Outcome {
  const privileged = requireRing0(vcpu);
  if (privileged !== OUTCOME_OK) return privileged;
  const actual = aliasOf(number);
  if (actual >= 6 && value > LOW_32) return vcpu.raise(VECTOR_GP, 0);
  const mask = actual === 6 ? DR6_WRITABLE : actual === 7 ? DR7_WRITABLE : ~0n;
  vcpu.setDebugRegister(actual, BigInt.asUintN(64, value & mask));
  return OUTCOME_OK;
}

function aliasOf(number: number): number {
  return number === 4 || number === 5 ? number + 2 : number;
}
