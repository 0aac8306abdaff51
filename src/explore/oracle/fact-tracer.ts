/** A tracer that records nothing: it passes on what the machine's code says it does. */
import { Tracer } from '../../shared/trace/tracer.ts';
import type { World } from '../world/world.ts';
import { FACT_BEGIN, FACT_END, FACT_INSTANT, type FactPhase } from './oracle.ts';

export type FactListener = (phase: FactPhase, kind: number, a: number, b: number, c: number) => void;

/** To a listener, and before that to the tracer that was there before. Lanes and flows are for those who record. */
export class FactTracer extends Tracer {
  next: Tracer | null = null;
  readonly #tell: FactListener;

  constructor(world: World, tell: FactListener) {
    // No ring: a base that may be read is all that it needs.
    super({ mem: world.vm.mem, base: world.vm.layout.vm, bytes: 0, clock: () => 0 });
    this.#tell = tell;
  }

  override begin(kind: number, a = 0, b = 0, c = 0, flow = 0, wide = 0n): void {
    this.next?.begin(kind, a, b, c, flow, wide);
    this.#tell(FACT_BEGIN, kind, a, b, c);
  }
  override end(kind: number, a = 0, b = 0, c = 0, wide = 0n): void {
    this.next?.end(kind, a, b, c, wide);
    this.#tell(FACT_END, kind, a, b, c);
  }
  override instant(kind: number, a = 0, b = 0, c = 0, flow = 0, wide = 0n): void {
    this.next?.instant(kind, a, b, c, flow, wide);
    this.#tell(FACT_INSTANT, kind, a, b, c);
  }
  override now(): number {
    return this.next?.now() ?? 0;
  }
  override instantAt(time: number, kind: number, a = 0, b = 0, c = 0, flow = 0, wide = 0n): void {
    this.next?.instantAt(time, kind, a, b, c, flow, wide);
    this.#tell(FACT_INSTANT, kind, a, b, c);
  }
  override beginOn(lane: number, kind: number, a = 0, b = 0, c = 0, flow = 0, wide = 0n): void {
    this.next?.beginOn(lane, kind, a, b, c, flow, wide);
    this.#tell(FACT_BEGIN, kind, a, b, c);
  }
  override endOn(lane: number, kind: number, a = 0, b = 0, c = 0, wide = 0n): void {
    this.next?.endOn(lane, kind, a, b, c, wide);
    this.#tell(FACT_END, kind, a, b, c);
  }
}
