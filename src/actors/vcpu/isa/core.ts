/**
 * The emulator core: a WebAssembly module generated from the semantics, with two handlers for an operand form.
 *
 *   table entry                       handler
 *   ────────────────────────────────  ─────────────────────────────────────────────────────────────────────────
 *   form                              fast: accesses go through the soft TLB, a miss leaves with precise state
 *   EMULATED_BASE + form              single step: every access is logged and carried out by the host
 *   from COMPILED_BASE on             compiled regions, see actors/vcpu/jit
 *
 * A handler is `(record, cpu) → next record`, −1 having left. `run` does one record after the other until one leaves:
 * what compiled code consists of by a copy of the handler inside its loop (run-records.ts), the rest by a call.
 * Everything else (misses, host instructions, block lookup) is TypeScript around it.
 *
 * The module is the same for every vCPU, thread and machine: it is generated and compiled once, and travels between
 * threads as a `WebAssembly.Module`.
 */
import { CPU } from '../../../shared/layout/cpu.ts';
import type { Mem } from '../../../shared/mem.ts';
import { ARITHMETIC_FLAGS, RFLAGS_FIXED } from '../../../shared/x86/rflags.ts';
import { softCalls } from '../float/soft-call.ts';
import { buildHelpers, mapHelpers } from './core-helpers.ts';
import { EmulatedEmitter } from './emulated-emitter.ts';
import { FastEmitter } from './fast-emitter.ts';
import { FLAGS_BITS } from './flags.ts';
import { FORMS, type Form, generalForm } from './forms.ts';
import { buildRun } from './run-records.ts';
import { emitInstruction } from './semantics.ts';
import { I32, ModuleBuilder } from './wasm-module.ts';

/** Handlers of the single step follow those of the interpreter. */
export const EMULATED_BASE = FORMS.length;
/** Compiled code follows both. */
export const COMPILED_BASE = EMULATED_BASE + FORMS.length;

const INTERPRETER_ONLY: ReadonlySet<Form['op']> = new Set(['blockstart', 'host', 'fall']);
/** The widest import any machine's memory satisfies, in 64 KiB pages. */
export const ANY_SHARED_MEMORY = { module: 'machine', name: 'memory', min: 1, max: 65536 };

/** Generates the module. Some tens of milliseconds; do it once for a process. */
export function generateCore(): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder();
  const helpers = buildHelpers(module);
  const handler = (): ReturnType<ModuleBuilder['function']> => module.function([I32, I32], [I32]);
  const run = buildRun(module, helpers);
  const never = handler();
  never.unreachable();
  const fast = FORMS.map((form) => {
    if (run.selfContained.has(form) && form.op !== 'blockstart') return never.index;
    const fn = handler();
    emitFast(new FastEmitter(fn, form, helpers));
    return fn.index;
  });
  const emulated = FORMS.map((form) => {
    const fn = handler();
    const e = new EmulatedEmitter(fn, form, helpers);
    if (hasEmulated(form)) emitInstruction(e);
    e.unreachable();
    return fn.index;
  });
  module.table([...fast, ...emulated], 'table');
  module.export('run', run.fn);
  mapHelpers(helpers, (name, helper) => {
    module.export(name, helper);
    return helper;
  });
  return module.encode(ANY_SHARED_MEMORY);
}

/** The single step uses the general memory shape only, and knows nothing of blocks and what they know. */
function hasEmulated(form: Form): boolean {
  if (!form.flags || form.jcc >= 0) return false;
  const general = generalForm(form);
  return !INTERPRETER_ONLY.has(form.op) && general.dst === form.dst && general.src === form.src;
}

function emitFast(e: FastEmitter): void {
  if (e.form.op === 'blockstart') e.hot();
  else if (e.form.op === 'host') e.host();
  else emitInstruction(e);
  e.unreachable();
}

let compiled: WebAssembly.Module | null = null;

/** The compiled module of this process, made on first use. Threads get it posted. */
export function compileCore(): WebAssembly.Module {
  compiled ??= new WebAssembly.Module(generateCore());
  return compiled;
}

interface CoreExports extends WebAssembly.Exports {
  run(record: number, cpu: number): void;
  flags(cpu: number): number;
  readonly table: WebAssembly.Table;
}

/** The core over one machine's memory. One serves all vCPUs of its thread. */
export class Core {
  readonly #mem: Mem;
  readonly #exports: CoreExports;

  constructor(module: WebAssembly.Module, mem: Mem) {
    this.#mem = mem;
    const instance = new WebAssembly.Instance(module, {
      [ANY_SHARED_MEMORY.module]: {
        [ANY_SHARED_MEMORY.name]: mem.wasm,
        soft: softCalls(mem),
      },
    });
    this.#exports = instance.exports as unknown as CoreExports;
  }

  /** What compiled code imports: the memory, the handlers' table, and each of the Helpers by its name. */
  get imports(): WebAssembly.Imports {
    return { core: this.#exports, [ANY_SHARED_MEMORY.module]: { [ANY_SHARED_MEMORY.name]: this.#mem.wasm } };
  }
  /** Handlers, and behind them compiled code. */
  get table(): WebAssembly.Table {
    return this.#exports.table;
  }

  /**
   * Executes from a record on until something has to be done outside; CPU.EXIT_KIND says what. A record of the
   * emulated forms leaves at each access and at its end.
   *
   * @param record  address of the record, in the same CPU area
   * @param cpu     address of the CPU area; its vCPU is in guest mode
   */
  run(record: number, cpu: number): void {
    this.#exports.run(record, cpu);
  }

  /** RFLAGS with the lazy flags worked out. */
  rflags(cpu: number): bigint {
    const system = this.#mem.u64[(cpu + CPU.at.RFLAGS) / 8]!;
    return system | BigInt(this.#exports.flags(cpu) | RFLAGS_FIXED);
  }

  /** Sets them, and leaves the lazy flags in the one form that depends on nothing but their values. */
  setRflags(cpu: number, value: bigint): void {
    const { u64, i32 } = this.#mem;
    const arithmetic = BigInt(ARITHMETIC_FLAGS);
    u64[(cpu + CPU.at.FLAGS_RESULT_A) / 8] = value & arithmetic;
    u64[(cpu + CPU.at.FLAGS_RESULT_B) / 8] = 0n;
    i32[(cpu + CPU.at.FLAGS_KIND) >>> 2] = FLAGS_BITS;
    u64[(cpu + CPU.at.RFLAGS) / 8] = value & ~arithmetic & ~BigInt(RFLAGS_FIXED);
  }
}
