/** Who holds what since which step, and what each actor is trying to get: bookkeeping for other oracles. */
import type { LockTraceKind } from '../../shared/sync/actor.ts';
import type { LockClass, LockMode } from '../../shared/sync/lock-class.ts';
import type { Execution } from '../engine/execution.ts';
import type { Oracle } from './oracle.ts';

export interface HeldSince {
  readonly cls: LockClass;
  readonly addr: number;
  readonly mode: LockMode;
  /** SRCU: the side the section is counted in. Otherwise 0. */
  readonly side: number;
  readonly step: number;
}

/** What an actor is in the middle of getting: a lock, a grace period (an srcu for write), a completion. */
export interface Wanted {
  readonly cls: LockClass;
  readonly addr: number;
  readonly mode: LockMode;
}

interface Want {
  cls: LockClass | null;
  addr: number;
  mode: LockMode;
}

export class HeldLocks implements Oracle {
  readonly #held: HeldSince[][] = [];
  /** Per actor what it wants; of one that wants nothing the class is null. */
  readonly #wanted: Want[] = [];

  begin(execution: Execution): void {
    for (let actor = 0; actor < execution.actorCount; actor++) {
      this.#held[actor] = [];
      this.#wanted[actor] = { cls: null, addr: 0, mode: 'write' };
    }
  }

  lock(
    execution: Execution,
    actor: number,
    event: LockTraceKind,
    cls: LockClass,
    addr: number,
    mode: LockMode,
    side: number,
  ): void {
    switch (event) {
      case 'acquire':
      case 'wait': {
        const want = this.#wanted[actor]!;
        want.cls = cls;
        want.addr = addr;
        want.mode = mode;
        return;
      }
      case 'wake':
        this.#wanted[actor]!.cls = null;
        return;
      case 'acquired':
        this.#wanted[actor]!.cls = null;
        this.#held[actor]!.push({ cls, addr, mode, side, step: execution.step });
        return;
      case 'release': {
        const held = this.#held[actor]!;
        for (let i = held.length - 1; i >= 0; i--) {
          const own = held[i]!;
          if (own.addr !== addr || own.mode !== mode || own.side !== side) continue;
          if (i === held.length - 1) held.pop();
          else held.splice(i, 1);
          return;
        }
      }
    }
  }

  /** Oldest first. */
  of(actor: number): readonly HeldSince[] {
    return this.#held[actor] ?? [];
  }

  wantedBy(actor: number): Wanted | null {
    const want = this.#wanted[actor];
    return want === undefined || want.cls === null ? null : (want as Wanted);
  }
}

export function describeHeld({ cls, mode, side, step }: HeldSince): string {
  const how = cls.kind === 'rwlock' ? ` for ${mode}` : cls.kind === 'srcu' ? ` (side ${side})` : '';
  return `${cls.name}${how} since step ${step}`;
}
