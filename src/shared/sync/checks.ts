/**
 * The lock rules, checked as an actor takes and releases locks.
 *
 *   L1      locks are taken in rank order; two of one rank never nest
 *   L2      nobody who holds a no-sleep lock waits for another actor
 *   L3      no grace period inside its own read section, nor under a lock its readers may wait for
 *   L4      nobody waits for the introspector under a lock the introspector's commands need
 *   L5      no lock is taken twice by one actor: no recursion, no upgrade
 *   L6      who gives the last KVMI reference back only signals: it takes nothing and waits for nobody
 *   L7      a host invalidation takes neither slots_lock nor slots_arch_lock
 *   L8      what was found under a lock or in a section is not used after it
 *   L9      what is written because of what was read before a lock is written under it
 *   UNHELD  nothing is released that is not held
 *
 * and, where there is a validator (shared/lockdep), which keeps an order graph of all actors:
 *
 *   CYCLE   what actors have waited for under what, put together, can deadlock
 *   ORDER   something is waited for under something, and the declared order knows nothing of it
 *
 * A rule broken is a finding about the code that ran, whether or not this schedule deadlocked: it is reported and the
 * actor goes on. One object per actor, plain memory: nothing here is shared but the validator. What an actor holds is
 * noted here and nowhere else: the validator's chains are places of these entries.
 */
import { cycleLines, cycleText, edgeLines } from '../lockdep/cycle-text.ts';
import { type How, howTaken, RECURSIVE, UNAWAITED, useOf, WAITED } from '../lockdep/dependency.ts';
import type { Chain, Discovery, LockValidator } from '../lockdep/validator.ts';
import { callerStack } from './caller-stack.ts';
import {
  DONE_KVMI,
  HOST_INVALIDATION,
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
  WAIT_REPLY,
} from './lock-class.ts';

export type LockRule =
  | 'L1'
  | 'L2'
  | 'L3'
  | 'L4'
  | 'L5'
  | 'L6'
  | 'L7'
  | 'L8'
  | 'L9'
  | 'UNHELD'
  | 'CYCLE'
  | 'ORDER';

export interface LockFinding {
  readonly rule: LockRule;
  /** Who broke it. */
  readonly actor: string;
  readonly message: string;
  /** What the actor held, oldest first. */
  readonly held: readonly string[];
  /** Where it was, innermost frame first, without frames of the lock code itself. */
  readonly stack: string;
  /** CYCLE, ORDER: each edge, with both its stacks. */
  readonly details: readonly string[];
}

export interface HeldLock {
  readonly cls: LockClass;
  /** 0 for a debt, see {@link LockChecks.owes}. */
  readonly addr: number;
  readonly mode: LockMode;
  /** SRCU: the side the section is counted in. Otherwise 0. */
  readonly side: number;
}

interface Held extends HeldLock {
  /** Its place in the validator's tree; null without one. */
  chain: Chain | null;
}

/** What an actor is about to take, or waits for. */
export type WantedLock = Pick<HeldLock, 'cls' | 'addr' | 'mode'>;

export interface LockChecksOptions {
  /** The actor's name, for findings. */
  readonly actor: string;
  readonly onFinding: (finding: LockFinding) => void;
  /** Learns the order graph. May be shared by all actors of a thread. */
  readonly validator?: LockValidator | null;
}

/** Locks that a reader of kvm.srcu may wait for, so that none of them may be held across its grace period. */
const UNDER_KVM_SRCU: readonly LockClass[] = [LOCK_KVM, LOCK_KVMI, LOCK_SLOTS_ARCH];

const NEVER_ACROSS_A_REPLY: readonly LockClass[] = [LOCK_ACCESS_TREE, LOCK_MMU, LOCK_JOB, LOCK_SLOTS];

export class LockChecks {
  readonly #actor: string;
  readonly #onFinding: (finding: LockFinding) => void;
  readonly #validator: LockValidator | null;
  readonly #held: Held[] = [];
  #wantedClass: LockClass | null = null;
  #wantedAddr = 0;
  #wantedMode: LockMode = 'write';
  /** What it awaits. Locks may be taken meanwhile: jobs are run while a reply is waited for. */
  #event: LockClass | null = null;
  /** Where the wanted lock will stand. */
  #next: Chain | null = null;
  /** What it is doing that may only signal. */
  #signals: string | null = null;

  constructor(opts: LockChecksOptions) {
    this.#actor = opts.actor;
    this.#onFinding = opts.onFinding;
    this.#validator = opts.validator ?? null;
  }

  /** Everything held now, oldest first. */
  get held(): readonly HeldLock[] {
    return this.#held;
  }

  /** What it has asked for and not got. */
  get wanted(): WantedLock | null {
    const cls = this.#wantedClass;
    if (cls !== null) return { cls, addr: this.#wantedAddr, mode: this.#wantedMode };
    return this.#event === null ? null : { cls: this.#event, addr: 0, mode: 'write' };
  }

  /** A lock is about to be taken, waiting if need be (L1, L2, L3, L5, L6, L7). */
  acquiring(cls: LockClass, addr: number, mode: LockMode): void {
    this.#want(cls, addr, mode);
    if (cls.waits !== 'never') this.#checkTaking(cls, addr, mode);
    if (this.#validator !== null) this.#next = this.#extend(cls, howTaken(cls, mode));
  }

  /** @param side  see {@link HeldLock.side} */
  acquired(cls: LockClass, addr: number, mode: LockMode, side: number): void {
    let chain: Chain | null = null;
    if (this.#validator !== null) {
      const waited = this.#wantedClass === cls && this.#wantedAddr === addr;
      chain = waited ? this.#next : this.#extend(cls, howTaken(cls, mode) | UNAWAITED);
    }
    this.#wantedClass = null;
    this.#held.push({ cls, addr, mode, side, chain });
  }

  /** A lock is about to be released. Order does not matter, only that it is held this way. */
  releasing(cls: LockClass, addr: number, mode: LockMode, side: number): void {
    for (let i = this.#held.length - 1; i >= 0; i--) {
      const own = this.#held[i]!;
      if (own.addr === addr && own.cls === cls && own.mode === mode && own.side === side) {
        this.#remove(i);
        return;
      }
    }
    this.#report('UNHELD', `${describe(cls, addr, mode)} released by an actor that does not hold it so`);
  }

  /**
   * The actor may be about to wait for another one (L2, L6).
   *
   * @param what  what it waits for, for the report
   */
  mayBlock(what: string): void {
    this.#checkSignals(what);
    for (const own of this.#held) {
      if (!own.cls.sleep) {
        this.#report('L2', `may wait for ${what} while holding ${own.cls.name}, whose holder must not sleep`);
        return;
      }
    }
  }

  /** A grace period is about to be waited for (L2, L3, L6). */
  synchronizing(cls: LockClass, addr: number): void {
    this.#want(cls, addr, 'write');
    this.mayBlock(`a grace period of ${cls.name}`);
    this.#checkGracePeriod(cls, addr);
    if (this.#validator !== null) this.#extend(cls, WAITED);
  }

  /**
   * Something is about to be waited for that is no lock (L2, L4, L6), until {@link awaited}.
   *
   * @param cls  of kind 'event' or 'completion'
   */
  awaiting(cls: LockClass): void {
    this.#event = cls;
    const broken = cls === WAIT_REPLY && this.#checkReply();
    if (broken) this.#checkSignals(cls.name);
    else if (cls.waits === 'sleeps') this.mayBlock(cls.name);
    if (this.#validator !== null) this.#extend(cls, WAITED);
  }

  /** The grace period has passed, or what was awaited has come. */
  awaited(): void {
    this.#wantedClass = null;
    this.#event = null;
  }

  /**
   * From here on somebody may wait for what only this actor can bring about: an answer, its acknowledgement, its KVMI
   * reference. Whatever it waits for meanwhile, they wait for. Nests; until {@link settles}.
   */
  owes(cls: LockClass): void {
    const chain = this.#validator === null ? null : this.#extend(cls, RECURSIVE | UNAWAITED);
    this.#held.push({ cls, addr: 0, mode: 'read', side: 0, chain });
  }

  settles(cls: LockClass): void {
    for (let i = this.#held.length - 1; i >= 0; i--) {
      if (this.#held[i]!.cls !== cls) continue;
      this.#remove(i);
      return;
    }
    this.#report('UNHELD', `${cls.name} settled by an actor that does not owe it`);
  }

  /** Until {@link endSignal} the actor may take nothing and wait for nobody: `what` may run anywhere (L6). */
  beginSignal(what: string): void {
    this.#signals = what;
  }

  endSignal(): void {
    this.#signals = null;
  }

  /**
   * What happens here is right only under a lock or in a section of one of these classes (L8, L9).
   *
   * @param what  for the report: "`what` without mmu_lock"
   */
  expectHeld(rule: 'L8' | 'L9', what: string, ...classes: readonly LockClass[]): void {
    for (const own of this.#held) if (classes.includes(own.cls)) return;
    this.#report(rule, `${what} without ${classes.map(({ name }) => name).join(' or ')}`);
  }

  holds(cls: LockClass): boolean {
    for (const own of this.#held) if (own.cls === cls) return true;
    return false;
  }

  #want(cls: LockClass, addr: number, mode: LockMode): void {
    this.#wantedClass = cls;
    this.#wantedAddr = addr;
    this.#wantedMode = mode;
  }

  #checkTaking(cls: LockClass, addr: number, mode: LockMode): void {
    if (cls.waits === 'sleeps') this.mayBlock(cls.name);
    else this.#checkSignals(cls.name);
    if (cls === LOCK_KVMI && this.holds(DONE_KVMI)) {
      this.#report(
        'L3',
        'kvmi_lock taken while holding a KVMI reference: unhook waits for references under it',
      );
    }
    if (cls === LOCK_SLOTS && this.holds(SRCU_KVM)) {
      this.#report(
        'L3',
        'slots_lock taken inside a kvm.srcu section: its holder may wait for the section to end',
      );
    }
    if ((cls === LOCK_SLOTS || cls === LOCK_SLOTS_ARCH) && this.holds(HOST_INVALIDATION)) {
      this.#report(
        'L7',
        `${cls.name} taken in a host invalidation, for which a memslot change may wait under it`,
      );
    }
    let later: Held | null = null;
    for (const own of this.#held) {
      if (own.addr === addr && own.cls === cls) {
        this.#report(
          'L5',
          `${describe(cls, addr, mode)} taken by an actor that already has it for ${own.mode}`,
        );
        return;
      }
      if (own.cls.rank >= cls.rank && cls.rank !== NO_RANK) later ??= own;
    }
    if (later === null) return;
    const order = later.cls.rank === cls.rank ? 'which has the same rank' : 'which comes later in the order';
    this.#report('L1', `${describe(cls, addr, mode)} taken while holding ${later.cls.name}, ${order}`);
  }

  #checkGracePeriod(cls: LockClass, addr: number): void {
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

  /** An event has been sent and its reply is about to be waited for. L2 is for the no-sleep locks that L4 leaves out. */
  #checkReply(): boolean {
    for (const own of this.#held) {
      if (NEVER_ACROSS_A_REPLY.includes(own.cls)) {
        this.#report('L4', `waits for the introspector while holding ${own.cls.name}`);
        return true;
      }
    }
    return false;
  }

  #checkSignals(what: string): void {
    if (this.#signals === null) return;
    this.#report('L6', `${what} in ${this.#signals}, which may run anywhere and so may only signal`);
  }

  /** The place after taking `cls` like this: there already, unless nobody has ever done it. */
  #extend(cls: LockClass, how: How): Chain {
    const { length } = this.#held;
    const top = length === 0 ? this.#validator!.root : this.#held[length - 1]!.chain!;
    return top.next[useOf(cls, how)] ?? this.#learn(top, cls, how);
  }

  #learn(top: Chain, cls: LockClass, how: How): Chain {
    const where = { actor: this.#actor, stack: callerStack() };
    for (const discovery of this.#validator!.learn(top, cls, how, where)) this.#reportDiscovery(discovery);
    return top.next[useOf(cls, how)]!;
  }

  #remove(index: number): void {
    const held = this.#held;
    if (index === held.length - 1) {
      held.pop();
      return;
    }
    held.splice(index, 1);
    if (this.#validator === null) return;
    let chain = index === 0 ? this.#validator.root : held[index - 1]!.chain!;
    for (let i = index; i < held.length; i++) {
      chain = this.#validator.moved(chain, held[i]!.chain!);
      held[i]!.chain = chain;
    }
  }

  #reportDiscovery(discovery: Discovery): void {
    if (discovery.kind === 'cycle') {
      const { cycle } = discovery;
      this.#report('CYCLE', `predicted deadlock: ${cycleText(cycle)}`, cycleLines(cycle));
      return;
    }
    const { edge } = discovery;
    this.#report(
      'ORDER',
      `waits for ${edge.to} while holding ${edge.from}, which the declared order does not know`,
      edgeLines(edge),
    );
  }

  #report(rule: LockRule, message: string, details: readonly string[] = []): void {
    const held = this.#held.map(({ cls, addr, mode, chain }) => {
      const site = chain?.stack.split('\n', 1)[0] ?? '';
      return describe(cls, addr, mode) + (site === '' ? '' : ` taken at ${site}`);
    });
    this.#onFinding({ rule, actor: this.#actor, message, held, stack: callerStack(), details });
  }
}

function describe(cls: LockClass, addr: number, mode: LockMode): string {
  if (addr === 0 && (cls.kind === 'event' || cls.kind === 'completion')) return `owes ${cls.name}`;
  return `${cls.name} (${mode}) at 0x${addr.toString(16)}`;
}
