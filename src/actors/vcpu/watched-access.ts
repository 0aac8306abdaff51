/**
 * Loads and stores that are scheduling points by themselves, in guest mode: what an explorer watches.
 *
 * A watched page has TLB entries that the core does not use (TLB_SLOW): it leaves with EXIT_MEMORY. The instruction is
 * then carried out here, access by access, through those very entries, without leaving guest mode: whatever the TLB
 * still grants is used, as the processor would, and whoever tightens the page has to wait for this vCPU.
 *
 * Never in the parallel engine, where nothing is watched.
 */
import {
  ACCESS_R,
  ACCESS_W,
  CPU_SCRATCH_UOP,
  EXIT_ACCESS,
  EXIT_DONE,
  EXIT_MEMORY,
  LOG_CAS,
  LOG_CHECK_WRITABLE,
  LOG_READ,
  LOG_READ_MODIFY,
} from '../../shared/layout/cpu.ts';
import { type Path, reading, updating, writing } from '../../shared/sync/point.ts';
import { getLogged, type LoggedAccess, loggedAccess, prepareStep, setLogged } from './emulate.ts';
import { crossesPage } from './linear-address.ts';
import { lookup } from './tlb.ts';
import { allOnes, load, store } from './tracked-access.ts';
import type { Vcpu } from './vcpu.ts';

/**
 * After EXIT_MEMORY: carries the instruction out, if it missed only because its page is watched.
 *
 * @returns true when it is complete (a REP: one iteration of it); EXIT_UOP is its record as before. False with the exit
 *          as it was, or with another one that says what is in the way
 * @locking in guest mode, and stays there
 */
export function* watchedInsn(vcpu: Vcpu): Path<boolean> {
  const gva = vcpu.get64('EXIT_GVA');
  if (crossesPage(gva, vcpu.get32('EXIT_SIZE'))) return false;
  if (watchedHost(vcpu, gva, vcpu.get32('EXIT_ACCESS')) === -1) return false;
  const insn = vcpu.blocks.insnAt(vcpu.get64('RIP'));
  if (insn === null) return false;
  // Each run of the core sets the exit words anew.
  const record = vcpu.get32('EXIT_UOP');
  const done = prepareStep(vcpu, insn) !== null && (yield* accessByAccess(vcpu));
  vcpu.set32('EXIT_UOP', record);
  return done;
}

function* accessByAccess(vcpu: Vcpu): Path<boolean> {
  vcpu.set32('LOG_COUNT', 0);
  for (;;) {
    vcpu.core.run(vcpu.cpu + CPU_SCRATCH_UOP, vcpu.cpu);
    const exit = vcpu.get32('EXIT_KIND');
    if (exit === EXIT_DONE) return true;
    if (exit !== EXIT_ACCESS) return false;
    const index = vcpu.get32('LOG_NEXT');
    const done = yield* carryOut(vcpu, loggedAccess(vcpu, index));
    if (done === false) return false;
    // Somebody came between what was read and what is stored: the instruction starts again, from the top.
    vcpu.set32('LOG_COUNT', done === 'lost' ? 0 : index + 1);
  }
}

/** True when it is done, false when there is no entry for it (the exit words say so), 'lost' when LOG_CAS came too late. */
function* carryOut(vcpu: Vcpu, logged: LoggedAccess): Path<boolean | 'lost'> {
  const { mem } = vcpu;
  const { kind, size, gva, values, expects } = logged;
  const access = kind === LOG_READ ? ACCESS_R : kind === LOG_READ_MODIFY ? ACCESS_R | ACCESS_W : ACCESS_W;
  const host = crossesPage(gva, size) || (kind === LOG_CAS && size > 8) ? -1 : watchedHost(vcpu, gva, access);
  if (host === -1) {
    vcpu.set32('EXIT_KIND', EXIT_MEMORY);
    vcpu.set64('EXIT_GVA', gva);
    vcpu.set32('EXIT_SIZE', size);
    vcpu.set32('EXIT_ACCESS', access);
    return false;
  }
  if (kind === LOG_CHECK_WRITABLE) return true;
  if (kind === LOG_READ || kind === LOG_READ_MODIFY) {
    yield reading(host);
    setLogged(vcpu, values, size, load(mem, host, size));
    return true;
  }
  yield kind === LOG_CAS ? updating(host) : writing(host);
  if (kind === LOG_CAS && load(mem, host, size) !== (mem.u64[expects]! & allOnes(size))) return 'lost';
  store(mem, host, size, getLogged(vcpu, values, size));
  return true;
}

/** Address that all entries for `access` agree on, watched or not; −1 when one is missing. */
function watchedHost(vcpu: Vcpu, gva: bigint, access: number): number {
  const user = vcpu.get32('CPL') === 3;
  let host = -1;
  for (const bit of [ACCESS_R, ACCESS_W]) {
    if ((access & bit) === 0) continue;
    host = lookup(vcpu.mem, vcpu.cpu, user, bit, gva);
    if (host === -1) return -1;
  }
  return host;
}
