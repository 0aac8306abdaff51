/**
 * Notices that something waits for itself: an actor that has waited for one lock too long, or a vCPU that runs and
 * gets nowhere. A vCPU that waits for the tool's answer is neither: people may take their time.
 */
import type { Vm } from '../actors/mmu/vm.ts';
import { CPU } from '../shared/layout/cpu.ts';
import { VCPU_RUNNING, VCPU_STATE_NAMES } from '../shared/layout/vcpu.ts';
import { LOCK_CLASSES } from '../shared/sync/lock-class.ts';
import { STATS, STATS_BYTES, statsAddress } from '../shared/sync/stats.ts';
import { RCX } from '../shared/x86/registers.ts';

/** A wait or a standstill of this long is a finding. */
export const STALL_MS = 10_000;

interface Seen {
  /** Changes whenever there is progress. */
  mark: string;
  sinceMs: number;
}

export class Watchdog {
  readonly #vm: Vm;
  readonly #names: readonly string[];
  readonly #seen = new Map<string, Seen>();

  /** `names`: of the actors, by index. */
  constructor(vm: Vm, names: readonly string[]) {
    this.#vm = vm;
    this.#names = names;
  }

  /** What is wrong, or null. `nowMs` must not go back. */
  look(nowMs: number): string | null {
    for (const [actor, name] of this.#names.entries()) {
      for (const cls of LOCK_CLASSES) {
        // A tool may think as long as it likes.
        if (cls.kind === 'event') continue;
        const record = statsAddress(this.#vm.layout.stats + actor * STATS_BYTES, cls);
        const waits = this.#vm.mem.load(record + STATS.at.WAITING) !== 0;
        const mark = waits ? `waiting ${this.#vm.mem.f64[(record + STATS.at.CONTENDED) / 8]}` : '';
        if (this.#stuck(`${name} ${cls.name}`, mark, nowMs)) {
          return `${name} has waited for ${cls.name} for ${STALL_MS / 1000} s: ${whereabouts(this.#vm)}`;
        }
      }
    }
    for (let vcpu = 0; vcpu < this.#vm.vcpuCount; vcpu++) {
      if (this.#stuck(`vcpu ${vcpu}`, this.#progress(vcpu), nowMs)) {
        return `vCPU ${vcpu} has got nowhere for ${STALL_MS / 1000} s: ${whereabouts(this.#vm)}`;
      }
    }
    return null;
  }

  #progress(vcpu: number): string {
    const { mem } = this.#vm;
    if (mem.load(this.#vm.vcpuWord(vcpu, 'STATE')) !== VCPU_RUNNING) return '';
    if (mem.load(this.#vm.vcpuWord(vcpu, 'PARKED')) !== 0) return '';
    const retired = mem.u64[(this.#vm.cpu(vcpu) + CPU.at.RETIRED) / 8]!;
    const jobs = mem.i64[this.#vm.vcpuWord(vcpu, 'JOBS_RUN') / 8]!;
    // A REP that copies megabytes is one instruction, and its count goes down.
    const left = mem.u64[(this.#vm.cpu(vcpu) + CPU.at.GPR) / 8 + RCX]!;
    return `${retired} ${jobs} ${left}`;
  }

  /** An empty mark is progress. */
  #stuck(what: string, mark: string, nowMs: number): boolean {
    const seen = this.#seen.get(what);
    if (seen === undefined || mark === '' || seen.mark !== mark) {
      this.#seen.set(what, { mark, sinceMs: nowMs });
      return false;
    }
    return nowMs - seen.sinceMs >= STALL_MS;
  }
}

/** Who is where, for a report about a standstill. */
export function whereabouts(vm: Vm): string {
  const { mem } = vm;
  const vcpus = Array.from({ length: vm.vcpuCount }, (_, index) => {
    const state = VCPU_STATE_NAMES[mem.load(vm.vcpuWord(index, 'STATE'))]!;
    const waiting = mem.load(vm.vcpuWord(index, 'WAITING')) === 1;
    const event = waiting ? `, for the answer to event ${mem.load(vm.vcpuWord(index, 'REPLY_SEQ'))}` : '';
    return `vCPU ${index} ${state}${event}`;
  });
  return vcpus.join('; ');
}
