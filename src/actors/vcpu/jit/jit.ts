/**
 * The second tier: compiles what the interpreter finds hot. Blocks count their entries; one that has used up its heat
 * leaves with EXIT_HOT, and the region around it becomes a WebAssembly function that its start records lead to.
 *
 * All of it happens on the vCPU's thread, outside guest mode, so nobody waits for it.
 */
import type { Mem } from '../../../shared/mem.ts';
import type { BlockCompiler, DecodedBlock } from '../decoded-block.ts';
import { ANY_SHARED_MEMORY, type Core } from '../isa/core.ts';
import { buildHelpers, type Helpers, mapHelpers } from '../isa/core-helpers.ts';
import { HEAT_NEVER, START } from '../isa/uop.ts';
import { I32, ModuleBuilder } from '../isa/wasm-module.ts';
import { CodeStore } from './code-store.ts';
import { emitRegion } from './emit-region.ts';
import type { JitCounters } from './jit.api.ts';
import type { Region } from './region.ts';
import { selectRegion } from './select.ts';

export interface JitOptions {
  /** Entries of a block until it is hot. */
  readonly heat?: number;
  /** Bytes of WebAssembly that may be kept. */
  readonly bytesMax?: number;
}

const HEAT = 2000;
/** A block is worth a place in a region when it has been entered this fraction as often as a hot one. */
const WARM = 32;
const LONG_PAUSE_MS = 10;
const BYTES_MAX = 16 * 1024 ** 2;

/** Where decoded code is. */
export interface DecodedCode {
  /** RIPs that control has come to by their address, not by a link. */
  readonly jumpTargets: ReadonlySet<bigint>;
  decodedAt(rip: bigint): DecodedBlock | null;
}

export class Jit implements BlockCompiler {
  readonly heat: number;
  readonly #done = { regions: 0, insns: 0, bytes: 0, ms: 0, msMax: 0, longPauses: 0 };
  readonly store: CodeStore;
  readonly #mem: Mem;
  readonly #core: Core;
  readonly #code: DecodedCode;
  readonly #bytesMax: number;

  constructor(mem: Mem, core: Core, code: DecodedCode, interpreted: number, options: JitOptions = {}) {
    this.heat = options.heat ?? HEAT;
    this.#bytesMax = options.bytesMax ?? BYTES_MAX;
    this.#mem = mem;
    this.#core = core;
    this.#code = code;
    this.store = new CodeStore(mem, core.table, { handler: interpreted, heat: this.heat });
  }

  /** What has been done so far. */
  get counters(): Omit<JitCounters, 'vcpu'> {
    return { ...this.#done, kept: this.store.count, keptBytes: this.store.bytes };
  }

  pageDropped(page: number): void {
    this.store.dropPage(page);
  }
  allDropped(): void {
    this.store.dropAll();
  }

  /** After EXIT_HOT: the block at `rip`, whose start record is `start`, has used up its heat. */
  heated(rip: bigint, start: number): void {
    const block = this.#code.decodedAt(rip);
    // Until it is compiled, or for good where it cannot be.
    this.#mem.i32[(start + START.HEAT) >>> 2] = HEAT_NEVER;
    if (block === null || block.start !== start) return;
    const began = performance.now();
    const page = rip >> 12n;
    const region = selectRegion(block, {
      blockAt: (target) => (target >> 12n === page ? this.#code.decodedAt(target) : null),
      jumpTargets: () => [...this.#code.jumpTargets].filter((target) => target >> 12n === page),
      isCompiledLoop: ({ start: other }) => this.store.isLoop(other),
      isWarm: ({ start: other }) =>
        this.heat - this.#mem.i32[(other + START.HEAT) >>> 2]! >= this.heat / WARM,
    });
    this.#compile(region, block.page);
    const took = performance.now() - began;
    this.#done.ms += took;
    this.#done.msMax = Math.max(this.#done.msMax, took);
    if (took > LONG_PAUSE_MS) this.#done.longPauses += 1;
  }

  #compile(region: Region, page: number): void {
    const handler = this.store.reserve();
    if (handler < 0) return;
    const module = new ModuleBuilder();
    const helpers = importHelpers(module);
    const fn = module.function([I32, I32], [I32]);
    const { entries, loops } = emitRegion(fn, region, { handler, helpers });
    module.export('region', fn);
    const bytes = module.encode(ANY_SHARED_MEMORY);
    const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), this.#core.imports);
    const startOf = (rip: bigint): number => region.blocks.get(rip)!.block.start;
    const starts = entries.map(startOf);
    this.store.install(
      {
        handler,
        pages: [page],
        starts,
        loops: new Set(loops.map(startOf)),
        bytes: bytes.length,
        insns: region.count,
      },
      instance.exports['region'] as CallableFunction,
    );
    this.#done.regions += 1;
    this.#done.insns += region.count;
    this.#done.bytes += bytes.length;
    if (this.store.bytes > this.#bytesMax) this.store.shrink(this.#bytesMax / 2);
  }
}

/** The core's helper functions, as imports of `module`. */
function importHelpers(module: ModuleBuilder): Helpers {
  coreHelpers ??= buildHelpers(new ModuleBuilder());
  return mapHelpers(coreHelpers, (name, { params, results }) =>
    module.importFunction('core', name, params, results),
  );
}

/** Made once, for their names and types. */
let coreHelpers: Helpers | null = null;
