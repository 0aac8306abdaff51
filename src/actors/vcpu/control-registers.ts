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
  CR4_PAE,
  CR4_PGE,
  CR4_PSE,
  CR4_TSD,
  DR6_ONES,
  DR6_WRITABLE,
  DR7_ONES,
  DR7_WRITABLE,
} from '../../shared/x86/control-registers.ts';
import { PHYSICAL_ADDRESS_BITS } from '../../shared/x86/paging.ts';
import { VECTOR_GP } from '../../shared/x86/vectors.ts';
import { requireRing0 } from './privilege.ts';
import { flushTlb } from './tlb.ts';
import { OUTCOME_OK, type Outcome, type Vcpu } from './vcpu.ts';

/** What CPUID offers, and nothing else: setting another bit is #GP. */
const CR4_SUPPORTED = CR4_TSD | CR4_PSE | CR4_PAE | CR4_PGE | CR4_FSGSBASE;
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

/** MOV to CR0, CR2, CR3, CR4, CR8. */
export function writeControl(vcpu: Vcpu, number: number, value: bigint): Outcome {
  const privileged = requireRing0(vcpu);
  if (privileged !== OUTCOME_OK) return privileged;
  switch (number) {
    case 0:
      return writeCr0(vcpu, value);
    case 3:
      if ((value & CR3_RESERVED) !== 0n) return vcpu.raise(VECTOR_GP, 0);
      vcpu.set64('CR3', value);
      // Global entries may be kept; nothing asks for it.
      flushTlb(vcpu.mem, vcpu.cpu);
      return OUTCOME_OK;
    case 4:
      return writeCr4(vcpu, value);
    case 8:
      if (value > 15n) return vcpu.raise(VECTOR_GP, 0);
      vcpu.set64('CR8', value);
      return OUTCOME_OK;
    default:
      vcpu.set64('CR2', value);
      return OUTCOME_OK;
  }
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

function writeCr0(vcpu: Vcpu, value: bigint): Outcome {
  const needed = CR0_PE | CR0_PG;
  const cacheContradiction = (value & CR0_NW) !== 0n && (value & CR0_CD) === 0n;
  if (value > LOW_32 || (value & needed) !== needed || cacheContradiction) return vcpu.raise(VECTOR_GP, 0);
  const changed = vcpu.get64('CR0') ^ value;
  vcpu.set64('CR0', value | CR0_ET);
  // Supervisor write entries were made under the old WP.
  if ((changed & CR0_WP) !== 0n) flushTlb(vcpu.mem, vcpu.cpu);
  return OUTCOME_OK;
}

function writeCr4(vcpu: Vcpu, value: bigint): Outcome {
  if ((value & ~CR4_SUPPORTED) !== 0n || (value & CR4_PAE) === 0n) return vcpu.raise(VECTOR_GP, 0);
  const changed = vcpu.get64('CR4') ^ value;
  vcpu.set64('CR4', value);
  if ((changed & (CR4_PGE | CR4_PSE)) !== 0n) flushTlb(vcpu.mem, vcpu.cpu);
  return OUTCOME_OK;
}

/** CLTS. */
export function clearTaskSwitched(vcpu: Vcpu): Outcome {
  const privileged = requireRing0(vcpu);
  if (privileged === OUTCOME_OK) vcpu.set64('CR0', vcpu.get64('CR0') & ~CR0_TS);
  return privileged;
}

/** LMSW: PE, MP, EM and TS from a 16-bit operand; PE can be set only. */
export function loadMachineStatus(vcpu: Vcpu, value: bigint): Outcome {
  const privileged = requireRing0(vcpu);
  if (privileged !== OUTCOME_OK) return privileged;
  const mask = CR0_MP | CR0_EM | CR0_TS;
  vcpu.set64('CR0', (vcpu.get64('CR0') & ~mask) | (value & (mask | CR0_PE)));
  return OUTCOME_OK;
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
