/** What the machine gives a vCPU's thread. Types only: a vCPU is asked things through shared memory. */
import type { ThreadTask } from '../thread.ts';
import type { Access } from './access-program.ts';
import type { PlatformOptions } from './platform/platform.ts';

export type { PlatformOptions };

export interface VcpuTask extends ThreadTask {
  readonly index: number;
  readonly seed: bigint;
  /** Accesses in place of guest code; null to run what is in memory. */
  readonly program: ProgramSource | null;
  /** The emulator core, compiled once for all vCPUs; null when there is a program. */
  readonly core: WebAssembly.Module | null;
  /** The machine is a PC; null: it is bare. */
  readonly platform: PlatformOptions | null;
  /** Stop after so many instructions; Infinity for no limit. */
  readonly instructionLimit: number;
  /** Compile what is hot. */
  readonly jit: boolean;
}

/** An access program for each vCPU, from a module. */
export interface ProgramSource {
  /** URL of the module; its default export is a {@link ProgramModule}. */
  readonly href: string;
  /** Must survive structured cloning. */
  readonly options: unknown;
}

/** The accesses of vCPU `index`, in order; it exits with code 0 after the last. */
export type ProgramModule = (index: number, options: unknown) => Iterable<Access>;
