/**
 * What the introspector denies, as far as it is certain: known from the commands that have returned.
 *
 * While a command for a page runs, the page is denied only what is denied before and after. Known from unhook on:
 * nothing.
 */
import { entriesOf, entryWord } from '../../actors/mmu/access-tree.ts';
import { FULL_ACCESS } from '../../shared/layout/access-tree.ts';
import { TRACE_HOOK, TRACE_SET_ACCESS, TRACE_UNHOOK } from '../../shared/trace/kinds.ts';
import type { Execution } from '../engine/execution.ts';
import type { World } from '../world/world.ts';
import { FACT_BEGIN, type FactPhase, type Oracle } from './oracle.ts';

interface PagePolicy {
  /** ACCESS_* bits that are denied for certain. */
  denied: number;
  /** Per bit R W X: the step at which the command began that denies it. */
  readonly since: [number, number, number];
  /** Per bit: since when it may have been denied without a break; −1: it is certainly allowed. */
  readonly possible: [number, number, number];
  /** Commands that run, and when the first of them began. */
  running: number;
  began: number;
  /** What all commands that overlap leave denied: of them it is not known which came last. */
  common: number;
  /** What any of them denies. */
  any: number;
}

const BITS = [1, 2, 4] as const;

const firstStep = (access: number, bit: number): number => ((access & bit) === 0 ? 0 : -1);

export class PolicyLedger implements Oracle {
  readonly kinds = [TRACE_SET_ACCESS, TRACE_HOOK, TRACE_UNHOOK];
  readonly #world: World;
  #initial: readonly { readonly gfn: number; readonly access: number }[] | null = null;
  readonly #pages = new Map<number, PagePolicy>();
  /** Per actor: the page its command is about. */
  readonly #command: { gfn: number; access: number }[] = [];
  #unhooking = false;

  constructor(world: World) {
    this.#world = world;
  }

  begin(): void {
    const { vm } = this.#world;
    this.#pages.clear();
    this.#unhooking = false;
    // Every execution begins with the same machine.
    this.#initial ??= entriesOf(vm).map(([gfn, entry]) => ({
      gfn,
      access: vm.mem.i32[entryWord(vm, entry, 'ACCESS') >>> 2]!,
    }));
    for (const { gfn, access } of this.#initial) {
      this.#pages.set(gfn, {
        denied: FULL_ACCESS & ~access,
        since: [0, 0, 0],
        possible: [firstStep(access, 1), firstStep(access, 2), firstStep(access, 4)],
        running: 0,
        began: 0,
        common: 0,
        any: 0,
      });
    }
  }

  fact(execution: Execution, actor: number, phase: FactPhase, kind: number, a: number, b: number): void {
    if (kind === TRACE_SET_ACCESS) {
      if (phase === FACT_BEGIN) this.#commandBegins(execution, actor, a, b);
      else this.#commandEnds(actor);
    } else if (kind === TRACE_UNHOOK || kind === TRACE_HOOK) {
      this.#unhooking = kind === TRACE_UNHOOK && phase === FACT_BEGIN;
      for (const page of this.#pages.values()) {
        page.denied = 0;
        page.possible.fill(-1);
      }
    }
  }

  /** Frames that commands have been about. */
  get frames(): Iterable<number> {
    return this.#pages.keys();
  }

  /** What was allowed on each restricted page before the first step. */
  get initial(): readonly { readonly gfn: number; readonly access: number }[] {
    return this.#initial ?? [];
  }

  /** ACCESS_* bits that are denied on `gfn` for certain. */
  denied(gfn: number): number {
    return this.#pages.get(gfn)?.denied ?? 0;
  }

  /**
   * Step at which the command began that denies `bit` on `gfn`. An event sent before that was about another policy; one
   * sent while the command ran may have been sent because of it.
   */
  deniedSince(gfn: number, bit: number): number {
    return this.#pages.get(gfn)?.since[BITS.indexOf(bit as 1)] ?? 0;
  }

  #commandBegins(execution: Execution, actor: number, gfn: number, access: number): void {
    this.#command[actor] = { gfn, access };
    let page = this.#pages.get(gfn);
    if (page === undefined) {
      page = {
        denied: 0,
        since: [0, 0, 0],
        possible: [-1, -1, -1],
        running: 0,
        began: 0,
        common: FULL_ACCESS,
        any: 0,
      };
      this.#pages.set(gfn, page);
    }
    if (page.running === 0) {
      page.common = FULL_ACCESS;
      page.any = 0;
      page.began = execution.step;
    }
    page.running += 1;
    page.common &= ~access;
    page.any |= FULL_ACCESS & ~access;
    page.denied &= ~access;
    for (const [i, bit] of BITS.entries()) {
      if ((access & bit) === 0 && page.possible[i]! < 0) page.possible[i] = execution.step;
    }
  }

  #commandEnds(actor: number): void {
    const page = this.#pages.get(this.#command[actor]!.gfn)!;
    page.running -= 1;
    // A command that still runs may have come before this one or after it.
    if (page.running > 0 || this.#unhooking) return;
    for (const [i, bit] of BITS.entries()) {
      // Of two commands at one time it is not known which came last. Who was asked then, was asked because of the one.
      if ((page.common & ~page.denied & bit) !== 0) page.since[i] = Math.min(page.began, page.possible[i]!);
      if ((page.any & bit) === 0) page.possible[i] = -1;
    }
    page.denied = page.common;
  }
}
