/**
 * The x87 register stack of a vCPU, its tags, and how exceptions get into the status word.
 *
 * @source Intel SDM vol. 1, "x87 FPU Register Stack", "Stack Overflow or Underflow Exception", "x87 FPU Exception
 *         Handling"
 */
import {
  FCW_INIT,
  FCW_ONES,
  FCW_PRECISION_SHIFT,
  FCW_ROUNDING_SHIFT,
  FCW_WRITABLE,
  FP_EXCEPTIONS,
  FP_INEXACT,
  FP_INVALID,
  FSW_C1,
  FSW_SF,
  FSW_TOP,
  FSW_TOP_SHIFT,
} from '../../../shared/x86/x87.ts';
import { setX87Register, withSummary, x87Register, x87Top } from '../fxsave.ts';
import type { Vcpu } from '../vcpu.ts';
import type { RoundingMode } from './number.ts';
import { INDEFINITE, type X87Control } from './x87-arithmetic.ts';

const PRECISIONS = [24, 24, 53, 64];

export class X87 {
  readonly #vcpu: Vcpu;

  constructor(vcpu: Vcpu) {
    this.#vcpu = vcpu;
  }

  get control(): X87Control {
    const control = this.#vcpu.get32('FCW');
    return {
      mode: ((control >> FCW_ROUNDING_SHIFT) & 3) as RoundingMode,
      precision: PRECISIONS[(control >> FCW_PRECISION_SHIFT) & 3]!,
      unmasked: ~control & FP_EXCEPTIONS,
    };
  }
  get status(): number {
    return this.#vcpu.get32('FSW');
  }
  setStatus(value: number): void {
    this.#vcpu.set32('FSW', withSummary(value, this.#vcpu.get32('FCW')));
  }
  setControl(value: number): void {
    this.#vcpu.set32('FCW', (value & FCW_WRITABLE) | FCW_ONES);
    this.setStatus(this.status);
  }
  /** FNINIT. */
  reset(): void {
    this.#vcpu.set32('FCW', FCW_INIT);
    for (const name of ['FSW', 'FTW', 'FOP'] as const) this.#vcpu.set32(name, 0);
    for (const name of ['FIP', 'FDP'] as const) this.#vcpu.set64(name, 0n);
  }

  // ── the stack ───────────────────────────────────────────────────────────────────────────────────────────────
  #physical(i: number): number {
    return (x87Top(this.#vcpu) + i) & 7;
  }
  isEmpty(i: number): boolean {
    return (this.#vcpu.get32('FTW') & (1 << this.#physical(i))) === 0;
  }
  /** ST(i), 80 bits, whether it is empty or not. */
  get(i: number): bigint {
    return x87Register(this.#vcpu, this.#physical(i));
  }
  set(i: number, value: bigint): void {
    setX87Register(this.#vcpu, this.#physical(i), value);
    this.#vcpu.set32('FTW', this.#vcpu.get32('FTW') | (1 << this.#physical(i)));
  }
  free(i: number): void {
    this.#vcpu.set32('FTW', this.#vcpu.get32('FTW') & ~(1 << this.#physical(i)));
  }
  /** Moves TOP: −1 is what a push does. */
  turn(by: number): void {
    const top = (x87Top(this.#vcpu) + by) & 7;
    this.#vcpu.set32('FSW', (this.status & ~FSW_TOP) | (top << FSW_TOP_SHIFT));
  }
  pop(): void {
    this.free(0);
    this.turn(1);
  }

  // ── exceptions ──────────────────────────────────────────────────────────────────────────────────────────────
  /** Adds exceptions and sets C1. */
  raise(exceptions: number, c1 = false): void {
    this.setStatus((this.status & ~FSW_C1) | exceptions | (c1 ? FSW_C1 : 0));
  }
  /** Clears C1, as an instruction that raises nothing does. */
  clearC1(): void {
    this.raise(0);
  }
  /** Notes what an operation has raised; false if it must not store its result. */
  accept(raised: number, up: boolean, stops: number): boolean {
    this.raise(raised, (raised & FP_INEXACT) !== 0 && up);
    return (raised & this.control.unmasked & stops) === 0;
  }
  /** An empty register was to be read. True if the indefinite number is to take its place. */
  underflow(): boolean {
    this.raise(FP_INVALID | FSW_SF);
    return (this.control.unmasked & FP_INVALID) === 0;
  }
  /** Pushes, unless the register is in use and that exception is not masked. */
  push(value: bigint): boolean {
    if (!this.isEmpty(-1)) {
      this.raise(FP_INVALID | FSW_SF, true);
      if ((this.control.unmasked & FP_INVALID) !== 0) return false;
      this.turn(-1);
      this.set(0, INDEFINITE);
      return true;
    }
    this.turn(-1);
    this.set(0, value);
    return true;
  }
}
