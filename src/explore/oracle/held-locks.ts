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

export class HeldLocks implements Oracle {
  readonly #held: HeldSince[][] = [];
  readonly #wanted: (Wanted | null)[] = [];

  begin(execution: Execution): void {
    for (let actor = 0; actor < execution.actorCount; actor++) {
      this.#held[actor] = [];
      this.#wanted[actor] = null;
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
      case 'wait':
        this.#wanted[actor] = { cls, addr, mode };
        return;
      case 'wake':
        this.#wanted[actor] = null;
        return;
      case 'acquired':
        this.#wanted[actor] = null;
        this.#held[actor]!.push({ cls, addr, mode, side, step: execution.step });
        return;
      case 'release': {
        const held = this.#held[actor]!;
        for (let i = held.length - 1; i >= 0; i--) {
          const own = held[i]!;
          if (own.addr !== addr || own.mode !== mode || own.side !== side) continue;
          held.splice(i, 1);
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
    return this.#wanted[actor] ?? null;
  }
}

export function describeHeld({ cls, mode, side, step }: HeldSince): string {
  const how = cls.kind === 'rwlock' ? ` for ${mode}` : cls.kind === 'srcu' ? ` (side ${side})` : '';
  return `${cls.name}${how} since step ${step}`;
}
