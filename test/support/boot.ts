/** Whole machines on real threads, for tests: one call to have one, conditions to wait for, gone with the test. */
import type { ExecutionContext } from 'ava';
import type { Access } from '../../src/actors/vcpu/access-program.ts';
import {
  type Answer,
  Machine,
  type MachineFacts,
  type MachineOptions,
  type PageFaultEvent,
  type PauseEvent,
  type ToolEventKind,
} from '../../src/index.ts';
import type { Behaviour } from './tool.ts';

export const PAGE = 4096;

export interface BootOptions extends Omit<MachineOptions, 'vcpuCount' | 'image' | 'program' | 'tool'> {
  /** Default: one for each list of accesses, or 1. */
  readonly vcpuCount?: number;
  /** Name of an image in test/guests/images. */
  readonly guest?: string;
  /** Accesses of each vCPU, in place of a guest. Default: each touches page 5 for ever. */
  readonly accesses?: readonly (readonly Access[])[];
  /** Each vCPU repeats its accesses for ever. */
  readonly endless?: boolean;
  /** Behaviour of test/support/tool.ts, in the introspector's thread. */
  readonly tool?: Behaviour;
}

/** A machine that is not started yet. It ends with the test. */
export async function boot(t: ExecutionContext, options: BootOptions = {}): Promise<Machine> {
  const {
    guest,
    accesses = [[{ kind: 'write', gpa: 5 * PAGE, size: 8, value: 1n }]],
    tool,
    ...rest
  } = options;
  const { vcpuCount = guest === undefined ? accesses.length : 1, endless, ...plain } = rest;
  const machine = await Machine.create({
    ...plain,
    vcpuCount,
    ...(guest === undefined
      ? { program: { href: support('access-lists'), options: { accesses, endless: endless ?? false } } }
      : { image: `test/guests/images/${guest}.elf` }),
    ...(tool === undefined ? {} : { tool: { module: new URL(support('tool')), options: tool } }),
  });
  t.teardown(() => machine.stop());
  return machine;
}

export function support(name: string): string {
  return new URL(`./${name}${import.meta.url.slice(-3)}`, import.meta.url).href;
}

/** An event that the test holds, and answers when it likes. */
export interface HeldEvent<Event> {
  readonly event: Event;
  answer(answer: Answer): void;
}

/** Takes a machine's events of one kind, one after the other. */
export function holdEvents(machine: Machine, kind: 'pageFault'): () => Promise<HeldEvent<PageFaultEvent>>;
export function holdEvents(machine: Machine, kind: 'pause'): () => Promise<HeldEvent<PauseEvent>>;
export function holdEvents(machine: Machine, kind: ToolEventKind): () => Promise<HeldEvent<never>> {
  const came: HeldEvent<never>[] = [];
  const wanted: ((held: HeldEvent<never>) => void)[] = [];
  machine.introspector.on(
    kind as 'pageFault',
    (event: unknown) =>
      new Promise<never>((resolve) => {
        const held = { event: event as never, answer: resolve as unknown as (answer: Answer) => void };
        const next = wanted.shift();
        if (next === undefined) came.push(held);
        else next(held);
      }),
  );
  return () => {
    const held = came.shift();
    return held === undefined ? new Promise((resolve) => wanted.push(resolve)) : Promise.resolve(held);
  };
}

/** The next fact of a name that is as wanted. */
export function nextFact<Name extends keyof MachineFacts>(
  machine: Machine,
  name: Name,
  wanted: (fact: MachineFacts[Name]) => boolean = () => true,
): Promise<MachineFacts[Name]> {
  return new Promise((resolve) => {
    const stop = machine.on(name, (fact) => {
      if (!wanted(fact)) return;
      stop();
      resolve(fact);
    });
  });
}

/** Waits until `condition` holds: looks again whenever the event loop has turned. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}
