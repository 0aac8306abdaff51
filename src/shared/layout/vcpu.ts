/**
 * vCPU control block: the words a vCPU shares with everyone else (`struct kvm_vcpu`, `vcpu->arch.kvmi`).
 * The one request word lives in CPU.REQUESTS, where the emulator core polls it.
 */
import { f64, i32, i64, struct, volatile } from '../struct.ts';

const OWN = 'this vCPU';

export const VCPU = struct(
  'vcpu',
  {
    MODE: i32(
      'this vCPU; kicker (IN_GUEST → EXITING)',
      'OUTSIDE_GUEST | IN_GUEST | EXITING_GUEST | READING_TABLES',
    ),
    OUTSIDE_COUNT: volatile(
      i32(OWN, 'bumped on every transition to OUTSIDE_GUEST: what a waited request waits for'),
    ),
    TURN: volatile(
      i32(
        OWN,
        'odd from entry to entry, while it may have effects of its own: not while it serves requests or waits for a reply',
      ),
    ),
    WAKE_SEQ: volatile(
      i32('anyone (add)', 'sequence word: kicks, jobs and replies wake a sleeping vCPU through it'),
    ),
    STATE: i32(OWN, 'VCPU_*: what it is doing, for people'),
    ROOT: i32('mmu_lock', 'index of the root it uses, −1 for none'),
    ROOT_GEN: i32('mmu_lock', 'generation of that root when it was loaded'),
    AS_ID: i32(OWN, 'address space: 0 normal, 1 SMM'),
    SRCU_INDEX: i32(OWN, 'kvm.srcu section it is in: index, −1 when outside'),

    EVENTS: i32(OWN, 'bit n: KVMI vCPU event with number n is enabled'),
    TURN_WAITERS: volatile(i32('who pauses (add)', 'how many wait for the end of its turn')),
    PAUSE_REQUESTS: i32('receiver (add), this vCPU (sub)', 'pauses not yet turned into a PAUSE event'),
    WAITING: i32(OWN, '1 while it waits for an event reply'),
    REPLY_SEQ: i32(OWN, 'event it waits for'),
    REPLY_SESSION: i32(OWN, 'session that event belongs to'),
    REPLY_ERROR: i32(OWN, '0, or a negative errno: no (valid) reply came'),
    REPLY_ACTION: i32(OWN, 'KVMI_EVENT_ACTION_* of the accepted reply'),
    REPLY_EVENT: i32(OWN, 'which event that is: its id inside the machine'),
    REPLY_VALUE: i64(OWN, 'what it carried: the value to put in place of the one reported'),
    PENDING_REGS: i32(OWN, '1: SET_REGISTERS waits for the reply to take effect'),
    KVMI_BLOCK: i32('hook (store 1), this vCPU (store 0)', '1: the per-vCPU interception block exists'),

    PARKED: volatile(i32(OWN, '1 while it is counted in VM.PARKED')),
    ENDED: i32('this vCPU; machine (cas 0 → 1)', '1: it is no longer counted in VM.LIVE_VCPUS'),
    EXIT_CODE: i32(OWN, 'value written to the exit port, when STATE is VCPU_EXITED'),
    FAULTS_FAST: volatile(i64(OWN, 'page faults fixed without mmu_lock')),
    FAULTS_SLOW: volatile(i64(OWN, 'page faults fixed under mmu_lock')),
    FAULTS_SPURIOUS: volatile(i64(OWN, 'page faults that found the mapping already there')),
    FAULTS_RETRY: volatile(i64(OWN, 'page faults given up for a re-entry (root, slot or notifier changed)')),
    FAULTS_MMIO: volatile(i64(OWN, 'page faults on a gpa without a slot')),
    FAULTS_EMULATED: volatile(i64(OWN, 'page faults on a tracked page: the instruction was emulated')),
    EXITS: volatile(i64(OWN, 'returns from the emulator core')),
    GUEST_EXCEPTIONS: volatile(i64(OWN, 'exceptions delivered to the guest')),
    UNKNOWN_PORTS: volatile(i64(OWN, 'accesses to ports that no device has')),
    TLB_FLUSHES: volatile(i64(OWN, 'TLB flush requests served')),
    JOBS_RUN: volatile(i64(OWN, 'introspection jobs run')),
    EVENTS_SENT: volatile(i64(OWN, 'per access kind R W X: PF events sent', 3)),
    PF_CONTINUE: volatile(i64(OWN, 'per access kind: PF events answered CONTINUE', 3)),
    PF_RETRY: volatile(i64(OWN, 'per access kind: PF events answered RETRY', 3)),
    PF_CRASH: volatile(i64(OWN, 'per access kind: PF events answered CRASH', 3)),
    PF_FAIL_OPEN: volatile(i64(OWN, 'per access kind: PF events that ended without a valid reply', 3)),
    PAUSES: volatile(i64(OWN, 'PAUSE events sent')),
    STARTED_NS: volatile(f64(OWN, 'engine clock at the first entry')),
  },
  64,
);

// MODE, as in the kernel's vcpu->mode.
export const OUTSIDE_GUEST = 0;
export const IN_GUEST = 1;
export const EXITING_GUEST = 2;
export const READING_TABLES = 3;

// STATE
export const VCPU_CREATED = 0;
export const VCPU_RUNNING = 1;
export const VCPU_HALTED = 2;
/** Sleeping for the introspector's answer. */
export const VCPU_WAITING = 3;
/** The guest wrote the exit port. */
export const VCPU_EXITED = 4;
/** Triple fault, or the introspector answered CRASH. */
export const VCPU_CRASHED = 5;
/** Told to stop by the machine. */
export const VCPU_STOPPED = 6;
/** Its worker thread died. */
export const VCPU_LOST = 7;
export const VCPU_STATE_NAMES = [
  'created',
  'running',
  'halted',
  'waiting',
  'exited',
  'crashed',
  'stopped',
  'lost',
] as const;

// Bits of CPU.REQUESTS.
export const REQ_TLB_FLUSH = 1;
export const REQ_MMU_RELOAD = 2;
/** KVM_REQ_INTROSPECTION: look at the job list and the pause count. */
export const REQ_INTROSPECTION = 4;
export const REQ_VM_DEAD = 8;
/** A kick with nothing behind it: leave guest mode once. */
export const REQ_UNBLOCK = 16;
/** Code of another vCPU's block cache may be stale: drop the frames listed in the code map. */
export const REQ_CODE_FLUSH = 32;
/** The machine wants it to stop for good. */
export const REQ_STOP = 64;
/** Quiescence: park until VM-wide release (see mmu/quiesce.ts). */
export const REQ_PARK = 128;
/** Something has come for its local APIC: look before the next entry. */
export const REQ_INTERRUPT = 256;
