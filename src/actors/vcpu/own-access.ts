/**
 * What a processor reads and writes on its own account, while it delivers an exception, returns from one or loads a
 * segment: by the TLB, in guest mode, as if the core did it. No instruction's operand, so no emulator's callbacks: a
 * page that is tracked for the access has no entry, and goes the emulator's way (linear-memory.ts).
 *
 * Guest mode is entered for one access: whoever tightens the page either finds the mode and waits for it to be over, or
 * has posted its request before, and then the entry is not used.
 */
import { ACCESS_R, ACCESS_W } from '../../shared/layout/cpu.ts';
import { IN_GUEST } from '../../shared/layout/vcpu.ts';
import { WAIT_ACK } from '../../shared/sync/lock-class.ts';
import { type Path, reading, writing } from '../../shared/sync/point.ts';
import { leaveGuestMode, requestWord } from '../mmu/requests.ts';
import { crossesPage } from './linear-address.ts';
import { lookup } from './tlb.ts';
import { handleMiss } from './tlb-fill.ts';
import { load, store } from './tracked-access.ts';
import type { Vcpu } from './vcpu.ts';

/**
 * Reads `size` bytes into `vcpu.value`.
 *
 * @param gva   canonical, unsigned 64 bits
 * @param size  1 … 16
 * @param user  CPL 3, and no access of the supervisor
 * @returns     false when it has to be done by hand: nothing has happened
 * @locking     inside kvm.srcu; may take mmu_lock
 */
export function* readOwn(vcpu: Vcpu, gva: bigint, size: number, user: boolean): Path<boolean> {
  const host = yield* hostOf(vcpu, gva, size, ACCESS_R, user);
  if (host === -1 || !(yield* enter(vcpu))) return false;
  yield reading(host);
  vcpu.value = load(vcpu.mem, host, size);
  yield* leave(vcpu);
  return true;
}

/** Stores the low `size` bytes of `value`. As {@link readOwn}. */
export function* writeOwn(
  vcpu: Vcpu,
  gva: bigint,
  size: number,
  value: bigint,
  user: boolean,
): Path<boolean> {
  const host = yield* hostOf(vcpu, gva, size, ACCESS_W, user);
  if (host === -1 || !(yield* enter(vcpu))) return false;
  yield writing(host);
  store(vcpu.mem, host, size, value);
  yield* leave(vcpu);
  return true;
}

/** Where the bytes are; −1 when no TLB entry can be had for them. */
function* hostOf(vcpu: Vcpu, gva: bigint, size: number, access: number, user: boolean): Path<number> {
  if (crossesPage(gva, size)) return -1;
  const host = lookup(vcpu.mem, vcpu.cpu, user, access, gva);
  if (host !== -1) return host;
  if ((yield* handleMiss(vcpu, gva, access, user)) !== 'again') return -1;
  return lookup(vcpu.mem, vcpu.cpu, user, access, gva);
}

/** False when something has to be looked at first, which may be a flush. */
function* enter(vcpu: Vcpu): Path<boolean> {
  const { vm, mem, index } = vcpu;
  // ORDER: mode before requests, as in enterGuest.
  yield writing(vcpu.word('MODE'));
  mem.store(vcpu.word('MODE'), IN_GUEST);
  vcpu.actor.checks?.owes(WAIT_ACK);
  yield reading(requestWord(vm, index));
  if (mem.load(requestWord(vm, index)) === 0) return true;
  yield* leave(vcpu);
  return false;
}

function* leave(vcpu: Vcpu): Path<void> {
  yield* leaveGuestMode(vcpu.vm, vcpu.index, vcpu.actor.tracer);
  vcpu.actor.checks?.settles(WAIT_ACK);
}
