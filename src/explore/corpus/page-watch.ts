/** Who looks at a page of the corpus' machine after each step of those that may store to it. */
import type { Session, SessionEvent } from '../../actors/introspector/session.ts';
import type { Access } from '../../actors/vcpu/access-program.ts';
import type { Path } from '../../shared/sync/point.ts';
import { hex } from '../../shared/units.ts';
import type { Participant } from '../engine/execution.ts';
import type { World } from '../world/world.ts';
import { commands, observed } from './cast.ts';
import { CONTINUE, GFN, PAGE, W } from './setting.ts';

/** The page may change, but not at certain times. */
export class PageWatch {
  readonly #world: World;
  readonly #host: number;
  readonly #rule: string;
  /** Why it must not change now; null when it may. */
  closed: string | null = null;

  constructor(world: World, rule: string, ramPage = GFN) {
    this.#world = world;
    this.#host = world.vm.ramPage(ramPage);
    this.#rule = rule;
  }

  over(participant: Participant): Participant {
    const { vm } = this.#world;
    let byte = 0;
    const look = () => {
      if (this.closed === null || vm.mem.u8[this.#host] === byte) return;
      vm.onFinding({ id: this.#rule, detail: `${participant.name} stored to a page ${this.closed}` });
    };
    return observed(participant, look, () => {
      byte = vm.mem.u8[this.#host]!;
    });
  }
}

/** Who stores to the page after its tightening was acknowledged must have been let through by an answer. */
export class StoreWatch {
  readonly #world: World;
  readonly #rule: string;
  readonly #host: number;
  #tight: boolean;
  /** Stores that were let through and are still to come. */
  #approvals = 0;

  /** @param rule  what is broken: I1 for a page that is restricted from the start, I2 for one that is tightened */
  constructor(world: World, rule: 'I1' | 'I2') {
    this.#world = world;
    this.#rule = rule;
    this.#host = world.vm.ramPage(GFN);
    this.#tight = rule === 'I1';
  }

  /**
   * The commands of a tool that takes W, and what else `access` denies, away from the page.
   *
   * @param needSlot  false: be there a slot or not
   */
  tightens(access: number, needSlot = true): Participant {
    return commands(this.#world, (session) => this.#tighten(session, access, needSlot));
  }

  *#tighten(session: Session, access: number, needSlot: boolean): Path<void> {
    yield* session.setPageAccess(GFN * PAGE, access, { needSlot });
    this.#tight = true;
  }

  /** A receiver that lets every access through, and notes it. */
  receiver(): Participant {
    const note = (event: SessionEvent) => this.#note(event);
    return this.#world.toolRunner(function* (event) {
      note(event);
      return CONTINUE;
    });
  }

  #note({ pf }: SessionEvent): void {
    if (pf !== null && pf.access === W && Math.floor(pf.gpa / PAGE) === GFN) this.#approvals += 1;
  }

  /** vCPU `index` makes these accesses under the watch. */
  vcpuRunner(index: number, ...accesses: readonly Access[]): Participant {
    const { vm } = this.#world;
    let byte = vm.mem.u8[this.#host]!;
    return observed(this.#world.vcpuRunner(index, accesses), () => {
      const now = vm.mem.u8[this.#host]!;
      if (now === byte) return;
      byte = now;
      if (this.#tight && this.#approvals === 0) {
        vm.onFinding({
          id: this.#rule,
          detail: `vCPU ${index}: store to gfn ${hex(GFN)}, which denies W, without an event`,
        });
      }
      this.#approvals = 0;
    });
  }
}
