/**
 * Messages between APICs: to whom they go, and what they do there. This is the one way to interrupt a vCPU.
 *
 * @source Intel SDM vol. 3A, "Determining IPI Destination", "Handling Interrupts", "Logical Destination Mode in x2APIC
 *         Mode"
 */
import { LAPIC, LAPIC_INIT, LAPIC_NMI, LAPIC_STARTUP } from '../../../shared/layout/board.ts';
import { CPU } from '../../../shared/layout/cpu.ts';
import { REQ_INTERRUPT } from '../../../shared/layout/vcpu.ts';
import { type Path, updating } from '../../../shared/sync/point.ts';
import {
  APIC_BASE_X2APIC,
  DELIVER_EXTINT,
  DELIVER_FIXED,
  DELIVER_INIT,
  DELIVER_LOWEST,
  DELIVER_NMI,
  DELIVER_STARTUP,
  LAPIC_SVR_ENABLE,
} from '../../../shared/x86/apic.ts';
import { APIC_BASE_ENABLE } from '../../../shared/x86/msr.ts';
import { kick, makeRequest } from '../../mmu/requests.ts';
import type { Vm } from '../../mmu/vm.ts';

export interface InterruptMessage {
  /** DELIVER_*. */
  readonly mode: number;
  readonly vector: number;
  /** Level triggered: its EOI is to be told to the I/O APIC. */
  readonly level: boolean;
  readonly logical: boolean;
  readonly destination: number;
  /** The destination has 32 bits (x2APIC), not 8. */
  readonly wide: boolean;
}

const LOWEST_LEGAL_VECTOR = 16;
const FLAT = 0xf;
const ALL_XAPIC = 0xff;
const ALL_X2APIC = 0xffff_ffff;

/** The vCPUs that a message goes to. `LOWEST` is settled here: one of them. */
export function targetsOf(vm: Vm, message: InterruptMessage): number[] {
  const all = Array.from({ length: vm.vcpuCount }, (_, index) => index);
  const matching = all.filter((index) => matches(vm, index, message));
  if (message.mode !== DELIVER_LOWEST || matching.length < 2) return matching;
  const priority = (index: number) => vm.mem.load(lapicWord(vm, index, 'TPR'));
  return [matching.reduce((best, index) => (priority(index) < priority(best) ? index : best))];
}

/** Does the local APIC of vCPU `index` accept what is sent to this destination? */
function matches(vm: Vm, index: number, { destination, logical, wide }: InterruptMessage): boolean {
  const base = vm.mem.u64[(vm.cpu(index) + CPU.at.APIC_BASE) / 8]!;
  if ((base & APIC_BASE_ENABLE) === 0n) return false;
  const x2apic = (base & APIC_BASE_X2APIC) !== 0n;
  if (destination === (wide ? ALL_X2APIC : ALL_XAPIC)) return true;
  if (!logical) return vm.mem.load(lapicWord(vm, index, 'ID')) === destination;
  const ldr = vm.mem.load(lapicWord(vm, index, 'LDR')) >>> 0;
  if (x2apic) return ldr >>> 16 === destination >>> 16 && (ldr & destination & 0xffff) !== 0;
  const own = ldr >>> 24;
  if (vm.mem.load(lapicWord(vm, index, 'DFR')) >>> 28 === FLAT) return (own & destination) !== 0;
  const cluster = destination >>> 4;
  return (cluster === 0xf || cluster === own >>> 4) && (own & destination & 0xf) !== 0;
}

/**
 * Delivers to the local APIC of one vCPU, and makes it look.
 *
 * @locking takes nothing
 */
export function* post(
  vm: Vm,
  index: number,
  message: Pick<InterruptMessage, 'mode' | 'vector' | 'level'>,
): Path<void> {
  const { mem } = vm;
  const { mode, vector, level } = message;
  const pending = lapicWord(vm, index, 'PENDING');
  switch (mode) {
    case DELIVER_FIXED:
    case DELIVER_LOWEST: {
      const enabled = (mem.load(lapicWord(vm, index, 'SVR')) & LAPIC_SVR_ENABLE) !== 0;
      if (!enabled || vector < LOWEST_LEGAL_VECTOR) return;
      const word = 4 * (vector >> 5);
      const bit = 1 << (vector & 31);
      const trigger = lapicWord(vm, index, 'TMR') + word;
      yield updating(trigger);
      if (level) mem.or(trigger, bit);
      else mem.and(trigger, ~bit);
      const request = lapicWord(vm, index, 'IRR') + word;
      yield updating(request);
      // It waits already: its vCPU has been told.
      if ((mem.or(request, bit) & bit) !== 0) return;
      break;
    }
    case DELIVER_NMI:
      yield updating(pending);
      mem.or(pending, LAPIC_NMI);
      break;
    case DELIVER_INIT:
      yield updating(pending);
      mem.or(pending, LAPIC_INIT);
      break;
    case DELIVER_STARTUP:
      mem.store(lapicWord(vm, index, 'STARTUP_VECTOR'), vector);
      yield updating(pending);
      mem.or(pending, LAPIC_STARTUP);
      break;
    case DELIVER_EXTINT:
      break;
    default:
      // SMI: there is no SMM handler that it could reach.
      return;
  }
  yield* alert(vm, index);
}

/**
 * Makes a vCPU look at its interrupts.
 *
 * ORDER: what it is to see first, then the request, then the kick.
 */
export function* alert(vm: Vm, index: number): Path<void> {
  yield* makeRequest(vm, index, REQ_INTERRUPT);
  yield* kick(vm, index);
}

export function lapicWord(vm: Vm, index: number, name: keyof typeof LAPIC.at): number {
  return vm.layout.lapics + index * LAPIC.bytes + LAPIC.at[name];
}
