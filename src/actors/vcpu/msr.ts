/**
 * RDMSR, WRMSR, RDTSC and RDTSCP.
 *
 * @source Intel SDM vol. 2B, "RDMSR", "RDTSC"; vol. 2C, "WRMSR"
 */
import type { Path } from '../../shared/sync/point.ts';
import { CR4_TSD } from '../../shared/x86/control-registers.ts';
import { RAX, RCX, RDX } from '../../shared/x86/registers.ts';
import { VECTOR_GP } from '../../shared/x86/vectors.ts';
import { msrEvent } from '../introspector/vcpu-events.ts';
import { readMsr, timeStamp, writeMsr } from './msr-file.ts';
import { writePlatformMsr } from './platform/platform-msrs.ts';
import { requireRing0 } from './privilege.ts';
import { OUTCOME_OK, OUTCOME_RETRY, type Outcome, type Vcpu } from './vcpu.ts';

const LOW_32 = 0xffff_ffffn;

/** RDMSR. */
export function rdmsr(vcpu: Vcpu): Outcome {
  const privileged = requireRing0(vcpu);
  if (privileged !== OUTCOME_OK) return privileged;
  const number = Number(vcpu.gpr(RCX) & LOW_32);
  const value = readMsr(vcpu, number);
  if (value === null) return noMsr(vcpu, 'rdmsr', number);
  setPair(vcpu, value);
  return OUTCOME_OK;
}

/**
 * WRMSR.
 *
 * @locking inside kvm.srcu; may sleep for the introspector
 */
export function* wrmsr(vcpu: Vcpu): Path<Outcome> {
  const privileged = requireRing0(vcpu);
  if (privileged !== OUTCOME_OK) return privileged;
  const number = Number(vcpu.gpr(RCX) & LOW_32);
  const value = yield* msrEvent(vcpu, number, ((vcpu.gpr(RDX) & LOW_32) << 32n) | (vcpu.gpr(RAX) & LOW_32));
  if (value < 0n) return OUTCOME_RETRY;
  const done = (yield* writePlatformMsr(vcpu, number, value)) ?? writeMsr(vcpu, number, value);
  return done ? OUTCOME_OK : noMsr(vcpu, 'wrmsr', number);
}

function noMsr(vcpu: Vcpu, what: 'rdmsr' | 'wrmsr', number: number): Outcome {
  vcpu.noteUnknown(`${what} 0x${number.toString(16)}`);
  return vcpu.raise(VECTOR_GP, 0);
}

/** RDTSC, and RDTSCP with TSC_AUX in ECX. */
export function rdtsc(vcpu: Vcpu, withAux: boolean): Outcome {
  if ((vcpu.get64('CR4') & CR4_TSD) !== 0n) {
    const privileged = requireRing0(vcpu);
    if (privileged !== OUTCOME_OK) return privileged;
  }
  setPair(vcpu, timeStamp(vcpu));
  if (withAux) vcpu.setGpr(RCX, vcpu.get64('TSC_AUX') & LOW_32);
  return OUTCOME_OK;
}

/** EDX:EAX, upper halves cleared. */
function setPair(vcpu: Vcpu, value: bigint): void {
  vcpu.setGpr(RAX, value & LOW_32);
  vcpu.setGpr(RDX, value >> 32n);
}
