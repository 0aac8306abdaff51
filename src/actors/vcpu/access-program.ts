/**
 * vCPUs without an instruction set: a list of accesses, carried out through the same TLB, fault path, callbacks and
 * effects as those of guest code. For scenarios that are about the protocol, not about instructions.
 */
import { ACCESS_R, ACCESS_W, ACCESS_X } from '../../shared/layout/cpu.ts';
import { type Path, reading, updating, writing } from '../../shared/sync/point.ts';
import { EMULATIONS, TRACE_EMULATE } from '../../shared/trace/kinds.ts';
import { endTurn } from '../mmu/requests.ts';
import { enterGuest, exitGuest } from './entry.ts';
import { lookup } from './tlb.ts';
import { countedPageFault, fillTlb } from './tlb-fill.ts';
import { accessPiece, allOnes, load, preAccess, store } from './tracked-access.ts';
import type { Vcpu } from './vcpu.ts';

/** One access; gva and gpa are the same number (paging off). */
export interface Access {
  readonly kind: 'read' | 'write' | 'execute';
  /** Bytes. The access may cross a page. */
  readonly gpa: number;
  /** 1, 2, 4 or 8. For `execute` the bytes fetched. */
  readonly size: 1 | 2 | 4 | 8;
  /** What a write stores, zero extended. */
  readonly value?: bigint;
}

/** One page's part of an access. */
interface Part {
  readonly gpa: number;
  readonly size: number;
  /** Bytes of the value that come before it. */
  readonly skip: number;
}

const BITS = { read: ACCESS_R, write: ACCESS_W, execute: ACCESS_X } as const;
/**
 * Carries out one access to its end, as often as RETRY starts it again.
 *
 * @returns false when the vCPU must stop; a read leaves its value in `vcpu.value`
 * @locking inside kvm.srcu when called and when it returns
 */
export function* runAccess(vcpu: Vcpu, access: Access): Path<boolean> {
  const { vm, mem } = vcpu;
  const bit = BITS[access.kind];
  const parts = split(access);
  let done = false;
  do {
    vcpu.set64('RIP', access.kind === 'execute' ? BigInt(access.gpa) : 0n);
    if (!(yield* enterGuest(vcpu))) break;
    const hosts = parts.map((part) => lookup(mem, vcpu.cpu, false, bit, BigInt(part.gpa)));
    const missing = hosts.indexOf(-1);
    if (missing < 0) {
      // In guest mode, by a TLB that a waited flush would have emptied first.
      let value = 0n;
      for (const [i, part] of parts.entries()) {
        const host = hosts[i]!;
        yield access.kind === 'write' ? writing(host) : reading(host);
        if (access.kind === 'write') store(mem, host, part.size, partValue(access, part));
        else value |= load(mem, host, part.size) << BigInt(8 * part.skip);
      }
      vcpu.value = value;
      retire(vcpu);
      done = true;
    }
    yield* exitGuest(vcpu);
    if (done) break;
    const part = parts[missing]!;
    const gfn = Math.floor(part.gpa / 4096);
    const result = yield* countedPageFault(vcpu, gfn, bit);
    if (result === 'emulate' || result === 'mmio') {
      const { tracer } = vcpu.actor;
      tracer?.begin(TRACE_EMULATE, 0, 0, 0, 0, BigInt(access.gpa));
      done = yield* emulate(vcpu, access, parts);
      tracer?.end(TRACE_EMULATE, EMULATIONS.indexOf(done ? 'done' : 'retry'));
      if (done) retire(vcpu);
    } else if (result !== 'retry') {
      yield* fillTlb(vcpu, { gva: BigInt(part.gpa), gfn, level: 0, access: bit, user: false, also: 0 });
    }
  } while (!done && mem.load(vm.word('DEAD')) === 0);
  yield* endTurn(vcpu.actor, vm, vcpu.index);
  return done;
}

function retire(vcpu: Vcpu): void {
  vcpu.set64('RETIRED', vcpu.get64('RETIRED') + 1n);
}

/** The emulator: piece by piece, low addresses first, each with its callback and its effect. False: start again. */
function* emulate(vcpu: Vcpu, access: Access, parts: readonly Part[]): Path<boolean> {
  const { vm } = vcpu;
  let read = 0n;
  for (const part of parts) {
    const { gpa, size } = part;
    const gva = BigInt(gpa);
    if (access.kind === 'execute') {
      if ((yield* preAccess(vcpu, { gpa, gva, size, access: ACCESS_X })).kind === 'stopped') return false;
      continue;
    }
    const bit = BITS[access.kind];
    const value = partValue(access, part);
    const done = yield* accessPiece(vcpu, { gpa, gva, access: bit, size, value, expect: null });
    if (done.kind === 'retry') return false;
    if (done.kind === 'mmio') {
      yield updating(vm.word('MMIO_ACCESSES'));
      vcpu.mem.add(vm.word('MMIO_ACCESSES'), 1);
    }
    const got = done.kind === 'done' ? done.value : allOnes(part.size);
    read |= got << BigInt(8 * part.skip);
  }
  vcpu.value = read;
  return true;
}

function split(access: Access): Part[] {
  const room = 4096 - (access.gpa % 4096);
  if (access.size <= room) return [{ gpa: access.gpa, size: access.size, skip: 0 }];
  return [
    { gpa: access.gpa, size: room, skip: 0 },
    { gpa: access.gpa + room, size: access.size - room, skip: room },
  ];
}

function partValue(access: Access, part: Part): bigint {
  return ((access.value ?? 0n) >> BigInt(8 * part.skip)) & allOnes(part.size);
}
