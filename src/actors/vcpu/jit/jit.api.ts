/** What is told of a vCPU's compiler. */
export interface JitCounters {
  /** Number of the vCPU. */
  readonly vcpu: number;
  /** Regions compiled, and how many of them there still are. */
  readonly regions: number;
  readonly kept: number;
  /** Guest instructions compiled; one may be in several regions. */
  readonly insns: number;
  /** Bytes of WebAssembly written, and of what is kept. */
  readonly bytes: number;
  readonly keptBytes: number;
  /** Milliseconds that the vCPU has stood still for compiling, the longest time at a stretch, and stretches over 10 ms. */
  readonly ms: number;
  readonly msMax: number;
  readonly longPauses: number;
}
