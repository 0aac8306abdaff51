/**
 * What can be traced, as data: the name a slice or an instant gets, and what its arguments are called.
 *
 * A kind is a small number in a record. The places that record use these constants; the exporters read the table.
 */
import { LOCK_CLASSES, type LockClass } from '../sync/lock-class.ts';

/** How an argument is shown: a number, an address, access bits as letters, a word by index, 0 or a negative errno. */
export type ArgFormat = 'number' | 'hex' | 'access' | 'requests' | 'action' | readonly string[];

export interface TraceArg {
  readonly name: string;
  readonly format: ArgFormat;
}

/** Names and formats of the arguments that a record has; those left out are not shown. */
export interface TraceArgs {
  readonly a?: TraceArg;
  readonly b?: TraceArg;
  readonly c?: TraceArg;
  readonly wide?: TraceArg;
}

export interface TraceKind {
  readonly id: number;
  readonly name: string;
  readonly category: string;
  /** By argument `a`: replaces `name` where it has an entry. */
  readonly names: readonly string[];
  /** Arguments of a begin or an instant. */
  readonly args: TraceArgs;
  /** Arguments of an end. */
  readonly endArgs: TraceArgs;
}

interface KindSpec {
  readonly names?: readonly string[];
  readonly args?: TraceArgs;
  readonly endArgs?: TraceArgs;
}

// Number 0 is no kind: it stands in records that have none.
const kinds: TraceKind[] = [{ id: 0, name: 'unknown', category: 'trace', names: [], args: {}, endArgs: {} }];

function kind(name: string, category: string, spec: KindSpec = {}): number {
  const { names = [], args = {}, endArgs = {} } = spec;
  const id = kinds.length;
  kinds.push({ id, name, category, names, args, endArgs });
  return id;
}

const number = (name: string): TraceArg => ({ name, format: 'number' });
const hex = (name: string): TraceArg => ({ name, format: 'hex' });
const access: TraceArg = { name: 'access', format: 'access' };
const action: TraceArg = { name: 'action', format: 'action' };
const error = number('error');

/** Results of a page fault: `FaultResult` of actors/mmu/page-fault.ts, as words by index. */
export const FAULT_RESULTS = ['fixed-slow', 'fixed-fast', 'spurious', 'retry', 'emulate', 'mmio'] as const;
/** Kinds of memslot changes: `SlotChange` of actors/mmu/memslots.ts, as words by index. */
export const SLOT_CHANGES = ['create', 'delete', 'move', 'flags'] as const;
/** Jobs a vCPU runs for the introspector. */
export const JOBS = [
  'event reply',
  'release',
  'control events',
  'get registers',
  'set registers',
  'other',
] as const;
/** How one emulated instruction ended: OUTCOME_* of actors/vcpu/vcpu.ts, as words by value. */
export const EMULATIONS = ['done', 'fault', 'retry', 'dead'] as const;

/** I1…I18. */
const INVARIANTS = 18;

/** Argument `a` of TRACE_HOLD and TRACE_WAIT. */
export function lockCode(cls: LockClass, read: boolean): number {
  return cls.id * 2 + (read ? 1 : 0);
}

function lockNames(name: (cls: LockClass, mode: string) => string): string[] {
  return LOCK_CLASSES.flatMap((cls) => [name(cls, 'write'), name(cls, 'read')]);
}

const holds = lockNames((cls, mode) => (cls.kind === 'rwlock' ? `${cls.name} ${mode}` : cls.name));
const waits = lockNames((cls, mode) => {
  if (cls.kind === 'srcu') return `synchronize ${cls.name}`;
  return cls.kind === 'rwlock' ? `wait ${cls.name} ${mode}` : `wait ${cls.name}`;
});

/** A lock held, from acquired to release; an SRCU read section. a: lockCode. */
export const TRACE_HOLD = kind('hold', 'lock', { names: holds, args: { b: hex('lock') } });
/** A lock waited for, if it was busy; an SRCU grace period; a completion. a: lockCode. */
export const TRACE_WAIT = kind('wait', 'lock', { names: waits, args: { b: hex('lock') } });

/** handlePageFault. */
export const TRACE_FAULT = kind('page fault', 'mmu', {
  args: { a: hex('gfn'), b: access },
  endArgs: { a: { name: 'result', format: FAULT_RESULTS } },
});
/** One instruction carried out by the emulator; of an access program one access, with its gpa for a rip. */
export const TRACE_EMULATE = kind('emulate', 'emulate', {
  args: { wide: hex('rip') },
  endArgs: { a: { name: 'outcome', format: EMULATIONS } },
});
/** A PF event on the vCPU, from sending it to going on. Flow: eventFlow. */
export const TRACE_PF = kind('PF event', 'event', {
  args: { a: number('seq'), b: hex('gpa'), c: access, wide: hex('gva') },
  endArgs: { a: action },
});
/** A pause on the vCPU: the PAUSE event, from sending it to its reply. Flow: eventFlow. */
export const TRACE_PAUSE = kind('paused', 'event', { args: { a: number('seq') }, endArgs: { a: action } });
/** Any other event of a vCPU. Flow: eventFlow. */
export const TRACE_EVENT = kind('event', 'event', {
  args: { a: number('seq'), b: number('event') },
  endArgs: { a: action },
});
/** Instant: the reply has reached the vCPU and was accepted. Flow: eventFlow. */
export const TRACE_REPLIED = kind('reply accepted', 'event', { args: { a: number('seq'), b: action } });
/** On the introspector, in the lane of the vCPU: from taking a PF event to answering it. Flow: eventFlow. */
export const TRACE_HANDLE_PF = kind('handle PF', 'event', {
  args: { a: number('seq'), b: hex('gpa'), c: access, wide: hex('gva') },
  endArgs: { a: action },
});
/** The same for any other event. */
export const TRACE_HANDLE_EVENT = kind('handle event', 'event', {
  args: { a: number('seq'), b: number('event') },
  endArgs: { a: action },
});
/** Instant on the introspector: it answers. Flow: eventFlow. */
export const TRACE_REPLY = kind('reply', 'event', {
  args: { a: number('seq'), b: action, c: number('vcpu') },
});
/** A job on the vCPU. a: index into JOBS. */
export const TRACE_JOB = kind('job', 'event', {
  names: JOBS.map((name) => `job: ${name}`),
  args: { b: number('seq') },
});
/** setGfnAccess: policy changes and takes hold. */
export const TRACE_SET_ACCESS = kind('set page access', 'policy', {
  args: { a: hex('gfn'), b: access },
  endArgs: { a: number('flushed') },
});
/** Hook and unhook. */
export const TRACE_HOOK = kind('hook', 'policy', { endArgs: { a: error } });
export const TRACE_UNHOOK = kind('unhook', 'policy');

/** A request that waits for acknowledgements; a: REQ_* bits. */
export const TRACE_FLUSH = kind('waited request', 'flush', {
  args: { a: { name: 'requests', format: 'requests' } },
  endArgs: { a: number('acknowledgements') },
});
/** Instant on the requester: this vCPU has to acknowledge. Flow: ackFlow. */
export const TRACE_ASK = kind('ask', 'flush', { args: { a: number('vcpu') } });
/** Instant on a vCPU: it has left guest mode with requests pending. Flow: ackFlow, which begins where somebody waits. */
export const TRACE_ACK = kind('acknowledge', 'flush', {
  args: { a: { name: 'requests', format: 'requests' } },
});
/** Instant on a vCPU: it has taken these request bits and acts on them. */
export const TRACE_SERVE = kind('serve requests', 'flush', {
  args: { a: { name: 'requests', format: 'requests' } },
});

/** A memslot change, slots_lock held. a: index into SLOT_CHANGES. */
export const TRACE_MEMSLOT = kind('memslot', 'memslot', {
  names: SLOT_CHANGES.map((change) => `memslot ${change}`),
  args: { b: number('id'), c: hex('base gfn') },
  endArgs: { a: error },
});
/** KVMI's part of a slot that comes (a: 1) or goes (a: 0). */
export const TRACE_RETRACK = kind('retrack slot', 'memslot', {
  names: ['drop tracking of slot', 'track slot'],
  args: { b: number('id'), c: hex('base gfn') },
});
/** All vCPUs stand still for the invariant checker. */
export const TRACE_PARKED = kind('parked', 'machine');

/** Instant: an exception is delivered to the guest. b: its error code, −1 for none; wide: CR2. */
export const TRACE_EXCEPTION = kind('exception', 'guest', {
  args: { a: number('vector'), b: number('error code'), wide: hex('address') },
});
/** Instant: an oracle found a broken invariant. a: its number. */
export const TRACE_FINDING = kind('finding', 'finding', {
  names: Array.from({ length: INVARIANTS + 1 }, (_, n) => (n === 0 ? 'finding' : `finding I${n}`)),
});

/** Every kind, indexed by its number. */
export const TRACE_KINDS: readonly TraceKind[] = kinds;

const FLOW_SPACE = 2 ** 32;

/** Flow of event `seq`: from the vCPU that sends it, through the introspector, back to the reply. */
export function eventFlow(seq: number): number {
  return FLOW_SPACE + (seq >>> 0);
}

/** Flow of an acknowledgement: from the request to the moment vCPU `index` was outside guest mode `count` times. */
export function ackFlow(index: number, count: number): number {
  return FLOW_SPACE * (2 + index) + (count >>> 0);
}
