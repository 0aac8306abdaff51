/**
 * What must be given back by the end (I10, I12, I18 and the rules of locks): locks, srcu sections, KVMI references, tree
 * nodes. Looked at once everybody has ended; a server that never ends keeps what it says it holds.
 */
import { entriesOf, entryCount } from '../../actors/mmu/access-tree.ts';
import { MEM_ACCESS, POOL, TREE_FANOUT, TREE_LEVELS, TREE_NODE } from '../../shared/layout/access-tree.ts';
import { VCPU_LOCKS, VM_LOCKS } from '../../shared/layout/machine.ts';
import { Actor } from '../../shared/sync/actor.ts';
import { DONE_KVMI, LOCK_BYTES } from '../../shared/sync/lock-class.ts';
import { POINT_KINDS } from '../../shared/sync/point.ts';
import { RWLOCK } from '../../shared/sync/rw-lock.ts';
import { SRCU } from '../../shared/sync/srcu.ts';
import type { Execution } from '../engine/execution.ts';
import { generic } from '../engine/finding.ts';
import type { World } from '../world/world.ts';
import { describeHeld, type HeldLocks } from './held-locks.ts';
import type { Oracle } from './oracle.ts';

export class BalanceOracle implements Oracle {
  readonly #world: World;
  readonly #held: HeldLocks;

  constructor(world: World, held: HeldLocks) {
    this.#world = world;
    this.#held = held;
  }

  atEnd(execution: Execution, stuck: boolean): void {
    if (stuck) return;
    for (const [actor, { name }] of execution.participants.entries()) {
      if (!execution.hasEnded(actor)) continue;
      for (const own of this.#held.of(actor)) {
        this.#report(execution, 'L', `${name} has ended and still holds ${describeHeld(own)}`, actor);
      }
    }
    this.#checkWords(execution);
    this.#checkReferences(execution);
    this.#checkTree(execution);
  }

  /** Lock words: nobody inside but who is known to be. */
  #checkWords(execution: Execution): void {
    const { layout, vcpuCount } = this.#world.vm;
    for (const [i, name] of VM_LOCKS.entries()) {
      const at = layout.locks + i * LOCK_BYTES;
      if (name === 'kvm.srcu' || name === 'track_srcu') this.#checkSrcu(execution, name, at);
      else if (name !== 'kvmi_complete') this.#checkLock(execution, name, at);
    }
    for (let i = 0; i < vcpuCount * VCPU_LOCKS; i++) {
      this.#checkLock(
        execution,
        i % VCPU_LOCKS === 0 ? 'vcpu.mutex' : 'job_lock',
        layout.vcpuLocks + i * LOCK_BYTES,
      );
    }
  }

  #checkLock(execution: Execution, name: string, at: number): void {
    const word = this.#load(at + RWLOCK.at.STATE);
    if (word === 0 || this.#holders(execution, at) > 0 || isAbout(execution, at, LOCK_BYTES)) return;
    this.#report(
      execution,
      'L',
      `${name} is left taken (0x${word.toString(16)}), and nobody is left to free it`,
    );
  }

  #checkSrcu(execution: Execution, name: string, at: number): void {
    for (const side of [0, 1]) {
      const readers = this.#load(at + SRCU.at.READERS + side * 4) >> 1;
      const known = this.#holders(execution, at, side);
      if (readers === known || (readers > known && isAbout(execution, at, LOCK_BYTES))) continue;
      this.#report(
        execution,
        'L',
        `${name}: ${readers} readers are counted on side ${side}, ${known} are inside`,
      );
    }
  }

  #holders(execution: Execution, addr: number, side = 0): number {
    let count = 0;
    for (let actor = 0; actor < execution.actorCount; actor++) {
      count += this.#held.of(actor).filter((own) => own.addr === addr && own.side === side).length;
    }
    return count;
  }

  #checkReferences(execution: Execution): void {
    const { vm } = this.#world;
    const count = this.#load(vm.word('KVMI_REF'));
    const receiver = this.#load(vm.word('KVMI_RECEIVER'));
    // Of actors that have not ended it is not known how many references they are inside of: any number will do.
    const busy = execution.participants.some(
      ({ waiter }, actor) =>
        !execution.hasEnded(actor) && waiter instanceof Actor && waiter.checks?.holds(DONE_KVMI) === true,
    );
    const changing = isAbout(execution, vm.word('KVMI_REF'), 4);
    if (busy || changing ? count >= receiver : count === receiver) return;
    const what = `${count} KVMI references are left; ${receiver === 1 ? 'only the receiver has one' : 'nobody has one'}`;
    this.#report(execution, 'I12', what);
  }

  /** Nodes of the access tree: each is in the tree, in the free list, or never used; in one place only. */
  #checkTree(execution: Execution): void {
    const { vm } = this.#world;
    const linked = entriesOf(vm).map(([, entry]) => entry);
    const pools = [
      {
        name: 'access node',
        pool: 0,
        records: vm.layout.accessNodes,
        bytes: MEM_ACCESS.bytes,
        next: MEM_ACCESS.at.NEXT,
        used: linked,
      },
      {
        name: 'tree node',
        pool: 1,
        records: vm.layout.treeNodes + TREE_NODE.bytes,
        bytes: TREE_NODE.bytes,
        next: TREE_NODE.at.NEXT,
        used: this.#treeNodes(),
      },
    ];
    for (const { name, pool, records, bytes, next, used } of pools) {
      const at = vm.layout.pools + pool * POOL.bytes;
      const fresh = this.#load(at + POOL.at.FRESH);
      const seen = new Set<number>(used);
      if (seen.size < used.length)
        this.#report(execution, 'I12', `an ${name} stands in the access tree twice`);
      let free = this.#load(at + POOL.at.HEAD);
      let length = 0;
      for (; free !== 0 && length <= fresh; length++) {
        if (seen.has(free - 1)) {
          this.#report(
            execution,
            'I12',
            `${name} ${free - 1} is in the free list and in use, or in it twice`,
          );
          break;
        }
        seen.add(free - 1);
        free = this.#load(records + (free - 1) * bytes + next);
      }
      const lost = fresh - seen.size;
      if (lost > 0 && free === 0) {
        this.#report(execution, 'balance', `${lost} ${name}s are neither in use nor free`);
      }
    }
    const counted = entryCount(vm);
    if (counted !== linked.length) {
      this.#report(
        execution,
        'balance',
        `${counted} access entries are counted, ${linked.length} are in the tree`,
      );
    }
  }

  /** Indices in the pool of all nodes below the root. */
  #treeNodes(): number[] {
    const { treeNodes } = this.#world.vm.layout;
    const nodes: number[] = [];
    const below = (node: number, level: number): void => {
      if (level === TREE_LEVELS - 1) return;
      for (let i = 0; i < TREE_FANOUT; i++) {
        const child = this.#load(treeNodes + node * TREE_NODE.bytes + TREE_NODE.at.CHILD + i * 4);
        if (child === 0) continue;
        nodes.push(child - 2);
        below(child - 1, level + 1);
      }
    };
    below(0, 0);
    return nodes;
  }

  #load(addr: number): number {
    return this.#world.vm.mem.i32[addr >>> 2]!;
  }

  #report(execution: Execution, rule: string, message: string, actor?: number): void {
    execution.report({
      oracle: 'balance',
      rule: rule === 'L' ? 'balance' : rule,
      message,
      key: generic(`balance ${message.replace(/ since step \d+/, '')}`),
      ...(actor === undefined ? {} : { actor }),
    });
  }
}

/** Does a server that never ends stand before a step of its own on these words: a release that it has begun? */
function isAbout({ at, participants }: Execution, addr: number, bytes: number): boolean {
  return participants.some((_participant, actor) => {
    const cell = Math.floor(at[actor]! / POINT_KINDS);
    return at[actor]! >= 0 && cell >= addr && cell < addr + bytes;
  });
}
