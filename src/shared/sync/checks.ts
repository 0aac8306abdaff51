/**
 * The lock rules, checked as an actor takes and releases locks.
 *
 *   L1      locks are taken in rank order; two of one rank never nest
 *   L2      nobody who holds a no-sleep lock waits for another actor
 *   L3      no grace period inside its own read section, nor under a lock its readers may wait for
 *   L4      nobody waits for the introspector under a lock the introspector's commands need
 *   L5      no lock is taken twice by one actor: no recursion, no upgrade
 *   UNHELD  nothing is released that is not held
 *
 * A rule broken is a finding about the code that ran, whether or not this schedule deadlocked: it is reported and the
 * actor goes on. One object per actor, plain memory: nothing here is shared.
 */
import {
  LOCK_ACCESS_TREE,
  LOCK_JOB,
  LOCK_KVM,
  LOCK_KVMI,
  LOCK_MMU,
  LOCK_SLOTS,
  LOCK_SLOTS_ARCH,
  type LockClass,
  type LockMode,
  NO_RANK,
  SRCU_KVM,
} from './lock-class.ts';

export type LockRule = 'L1' | 'L2' | 'L3' | 'L4' | 'L5' | 'UNHELD';

export interface LockFinding {
  readonly rule: LockRule;
  /** Who broke it. */
  readonly actor: string;
  readonly message: string;
  /** What the actor held, oldest first. */
  readonly held: readonly string[];
  /** Where it was, innermost frame first, without frames of the lock code itself. */
  readonly stack: string;
}

export interface HeldLock {
  readonly cls: LockClass;
  readonly addr: number;
  readonly mode: LockMode;
  /** SRCU: the side the section is counted in. Otherwise 0. */
  readonly side: number;
  /** `file:line` that took it; empty unless stacks are traced. */
  readonly site: string;
}

/** What an actor can be inside of that is no lock. */
export type LockContext = 'kvmi_ref';

export interface LockChecksOptions {
  /** The actor's name, for findings. */
  readonly actor: string;
  readonly onFinding: (finding: LockFinding) => void;
  /** Note where each lock was taken. Some microseconds per acquisition. */
  readonly traceStacks?: boolean;
}

/** Locks that a reader of kvm.srcu may wait for, so that none of them may be held across its grace period. */
const UNDER_KVM_SRCU: readonly LockClass[] = [LOCK_KVM, LOCK_KVMI, LOCK_SLOTS_ARCH];

const NEVER_ACROSS_A_REPLY: readonly LockClass[] = [LOCK_ACCESS_TREE, LOCK_MMU, LOCK_JOB, LOCK_SLOTS];

const STACK_FRAMES = 30;

export class LockChecks {
  traceStacks: boolean;
  readonly #actor: string;
  readonly #onFinding: (finding: LockFinding) => void;
  readonly #held: HeldLock[] = [];
  readonly #contexts = new Map<LockContext, number>();
  readonly #allowed: string[] = [];

  constructor(opts: LockChecksOptions) {
    this.#actor = opts.actor;
    this.#onFinding = opts.onFinding;
    this.traceStacks = opts.traceStacks ?? false;
  }

  /** Everything held now, oldest first. */
  get held(): readonly HeldLock[] {
    return this.#held;
  }

  /** A lock is about to be taken, waiting if need be (L1, L3, L5). */
  acquiring(cls: LockClass, addr: number, mode: LockMode): void {
    if (cls === LOCK_KVMI && this.inside('kvmi_ref')) {
      this.#report(
        'L3',
        'kvmi_lock taken while holding a KVMI reference: unhook waits for references under it',
      );
    }
    if (cls === LOCK_SLOTS && this.#holds(SRCU_KVM)) {
      this.#report(
        'L3',
        'slots_lock taken inside a kvm.srcu section: its holder may wait for the section to end',
      );
    }
    if (cls.rank === NO_RANK) return;
    for (const own of this.#held) {
      if (own.addr === addr && own.cls === cls) {
        this.#report(
          'L5',
          `${describe(cls, addr, mode)} taken by an actor that already has it for ${own.mode}`,
        );
        return;
      }
    }
    for (const own of this.#held) {
      if (own.cls.rank >= cls.rank) {
        const order =
          own.cls.rank === cls.rank ? 'which has the same rank' : 'which comes later in the order';
        this.#report('L1', `${describe(cls, addr, mode)} taken while holding ${own.cls.name}, ${order}`);
        return;
      }
    }
  }

  acquired(cls: LockClass, addr: number, mode: LockMode, side: number): void {
    this.#held.push({ cls, addr, mode, side, site: this.traceStacks ? callerStack(1) : '' });
  }

  /** A lock is about to be released. Order does not matter, only that it is held this way. */
  releasing(cls: LockClass, addr: number, mode: LockMode, side: number): void {
    for (let i = this.#held.length - 1; i >= 0; i--) {
      const own = this.#held[i]!;
      if (own.addr === addr && own.cls === cls && own.mode === mode && own.side === side) {
        this.#held.splice(i, 1);
        return;
      }
    }
    this.#report('UNHELD', `${describe(cls, addr, mode)} released by an actor that does not hold it so`);
  }

  /**
   * The actor may be about to wait for another one (L2).
   *
   * @param what       what it waits for, for the report
   * @param allowable  false where {@link allowWait} makes no exception
   */
  mayBlock(what: string, allowable = true): void {
    if (allowable && this.#allowed.length > 0) return;
    for (const own of this.#held) {
      if (!own.cls.sleep) {
        this.#report('L2', `may wait for ${what} while holding ${own.cls.name}, whose holder must not sleep`);
        return;
      }
    }
  }

  /**
   * Makes an exception to L2 until {@link endAllowedWait}, for a wait whose other side needs no lock. The one case of
   * the model is the waited TLB request under mmu_lock.
   */
  allowWait(reason: string): void {
    this.#allowed.push(reason);
  }

  endAllowedWait(): void {
    if (this.#allowed.pop() === undefined) this.#report('UNHELD', 'an allowed wait ended that never began');
  }

  /** A grace period is about to be waited for (L2, L3). */
  synchronizing(cls: LockClass, addr: number): void {
    this.mayBlock(`a grace period of ${cls.name}`, false);
    for (const own of this.#held) {
      if (own.cls === cls && own.addr === addr) {
        this.#report('L3', `grace period of ${cls.name} inside a read section of ${cls.name}: it never ends`);
        return;
      }
    }
    if (cls !== SRCU_KVM) return;
    for (const own of this.#held) {
      if (UNDER_KVM_SRCU.includes(own.cls)) {
        this.#report(
          'L3',
          `grace period of ${cls.name} under ${own.cls.name}, which its readers may wait for`,
        );
        return;
      }
    }
  }

  /** An event has been sent and its reply is about to be waited for (L4; L2 for the no-sleep locks it leaves out). */
  waitingForIntrospector(): void {
    for (const own of this.#held) {
      if (NEVER_ACROSS_A_REPLY.includes(own.cls)) {
        this.#report('L4', `waits for the introspector while holding ${own.cls.name}`);
        return;
      }
    }
    this.mayBlock('the introspector', false);
  }

  /** The actor got something that counts for the rules but is no lock. Nests. */
  enter(context: LockContext): void {
    this.#contexts.set(context, (this.#contexts.get(context) ?? 0) + 1);
  }

  leave(context: LockContext): void {
    const depth = this.#contexts.get(context) ?? 0;
    if (depth === 0) this.#report('UNHELD', `${context} left by an actor that is not inside it`);
    else this.#contexts.set(context, depth - 1);
  }

  inside(context: LockContext): boolean {
    return (this.#contexts.get(context) ?? 0) > 0;
  }

  #holds(cls: LockClass): boolean {
    return this.#held.some((own) => own.cls === cls);
  }

  #report(rule: LockRule, message: string): void {
    const held = this.#held.map(
      ({ cls, addr, mode, site }) => describe(cls, addr, mode) + (site === '' ? '' : ` taken at ${site}`),
    );
    for (const [context, depth] of this.#contexts) if (depth > 0) held.push(`${context} (${depth})`);
    this.#onFinding({ rule, actor: this.#actor, message, held, stack: callerStack(STACK_FRAMES) });
  }
}

function describe(cls: LockClass, addr: number, mode: LockMode): string {
  return `${cls.name} (${mode}) at 0x${addr.toString(16)}`;
}

/** The innermost `frames` calls outside the lock code, one a line. */
function callerStack(frames: number): string {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = STACK_FRAMES;
  const lines = (new Error().stack ?? '').split('\n').slice(1);
  Error.stackTraceLimit = limit;
  // The first frame is this function. What it says of its folder is what the other frames of the lock code say, be it
  // a URL or, where Node applies source maps, a path to the source.
  const here = lines[0] ?? '';
  const folder = here.slice(here.indexOf('(') + 1, here.lastIndexOf('checks.'));
  return lines
    .filter((line) => !line.includes(folder) && !line.includes('(<anonymous>)'))
    .slice(0, frames)
    .map((line) => line.trim().replace(/^at /, ''))
    .join('\n');
}
