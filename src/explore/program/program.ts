/**
 * A program: a few paths over a few words of memory, and what must hold in the end. For lock tests and for programs
 * from the literature; it knows nothing of machines.
 */
import { Mem, sharedMemory } from '../../shared/mem.ts';
import { Actor } from '../../shared/sync/actor.ts';
import type { Path } from '../../shared/sync/point.ts';
import type { Observer, Participant } from '../engine/execution.ts';
import { genericKey } from '../engine/finding.ts';
import type { Target } from '../engine/target.ts';

/** One who takes part in a program: what it does, as `actor`. */
export type Part = (actor: Actor) => Path<unknown>;

export interface Program {
  /** Lower case, digits and hyphens. */
  readonly name: string;
  /** One line. */
  readonly title: string;
  /** Memory it uses from address 0, zero when it begins. */
  readonly bytes: number;
  /** Values other than zero. */
  setUp?(mem: Mem): void;
  readonly parts: Readonly<Record<string, Part>>;
  /** What is wrong once all have ended, a sentence each. */
  atEnd?(mem: Mem): readonly string[];
  /** Default {@link PROGRAM_STEP_LIMIT}. */
  readonly stepLimit?: number;
}

const PROGRAM_STEP_LIMIT = 10_000;

export class ProgramTarget implements Target {
  readonly program: Program;
  readonly mem: Mem;
  readonly stepLimit: number;
  readonly oracle: Observer;

  constructor(program: Program) {
    this.program = program;
    this.mem = new Mem(sharedMemory(program.bytes));
    this.stepLimit = program.stepLimit ?? PROGRAM_STEP_LIMIT;
    this.oracle = {
      atEnd: (execution, stuck) => {
        if (stuck) return;
        for (const message of program.atEnd?.(this.mem) ?? []) {
          execution.report({
            oracle: 'scenario',
            rule: program.name,
            message,
            key: genericKey('scenario', message),
          });
        }
      },
    };
  }

  get name(): string {
    return this.program.name;
  }

  get title(): string {
    return this.program.title;
  }

  begin(): readonly Participant[] {
    const { mem, program } = this;
    mem.u8.fill(0, 0, program.bytes);
    program.setUp?.(mem);
    return Object.entries(program.parts).map(([name, part], index) => {
      const actor = new Actor({ id: index + 1, name, mem, spinLimit: 0 });
      return { name, waiter: actor, path: part(actor) };
    });
  }
}
