/**
 * What the storm's guest must leave behind: no failed check of its own, and for each page a shared counter that is the
 * sum of what the vCPUs counted themselves: no LOCKed increment was lost, and none was done twice.
 */
import type { OracleFinding } from '../actors/mmu/vm.ts';
import { type LoadedImage, symbolValue } from '../image/load.ts';
import type { GuestEnd } from '../machine/options.ts';
import { hex } from '../shared/units.ts';
import {
  STORM_COUNTER_OFFSET,
  STORM_PAGES,
  STORM_SPLIT_COUNTER_OFFSET,
  STORM_STRIDE,
} from './guest-image.ts';
import { RESTRICTED_GPAS } from './memory.ts';

const PAGE = 4096;
const COUNTERS = [
  { name: 'counter', symbol: 'storm_counts', offset: STORM_COUNTER_OFFSET },
  { name: 'split counter', symbol: 'storm_split_counts', offset: STORM_SPLIT_COUNTER_OFFSET },
] as const;

export function stormOracle(image: LoadedImage): (end: GuestEnd) => OracleFinding[] {
  return ({ ram, vcpuCount, exited }) => {
    const view = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
    const at = (symbol: string, offset: number) =>
      view.getBigUint64(symbolValue(image, symbol) + offset, true);
    const findings: OracleFinding[] = [];
    for (let vcpu = 0; vcpu < vcpuCount; vcpu++) {
      const errors = at('storm_errors', vcpu * STORM_STRIDE);
      if (errors === 0n) continue;
      const gpa = at('storm_error_gpa', vcpu * STORM_STRIDE);
      const vector = at('storm_error_vector', vcpu * STORM_STRIDE);
      const what = vector === BigInt.asUintN(64, -1n) ? 'a wrong value' : `exception ${vector}`;
      findings.push({
        id: 'GUEST',
        detail: `vCPU ${vcpu}: ${errors} failed checks; the last one: ${what} at ${hex(gpa)}`,
      });
    }
    // A vCPU that was stopped on its way may have incremented, and not yet counted that for itself.
    const ahead = BigInt(exited.filter((ended) => !ended).length);
    for (const { name, symbol, offset } of COUNTERS) {
      for (let page = 0; page < STORM_PAGES; page++) {
        let own = 0n;
        for (let vcpu = 0; vcpu < vcpuCount; vcpu++) own += at(symbol, (vcpu * STORM_PAGES + page) * 8);
        const gpa = RESTRICTED_GPAS[0] + page * PAGE + offset;
        const shared = view.getBigUint64(gpa, true);
        if (shared >= own && shared <= own + ahead) continue;
        findings.push({
          id: 'I13',
          detail: `${name} at gpa ${hex(gpa)} is ${shared}, the vCPUs counted ${own} increments`,
        });
      }
    }
    return findings;
  };
}
