/**
 * Bodies for the run loop (run-records.ts): what a handler of the interpreter does, but written into the loop, so that
 * going on to the next instruction is a jump and not a return and a call.
 *
 * A body stays small by giving up early. As long as it has stored nothing it can be done again from its start, so
 * where it would call a function (the TLB misses, flags are of an unusual kind) it goes to the form's own handler
 * instead, which finds the same thing and deals with it. Transfers between blocks stand in the loop once, for all.
 */
import { EXIT_BUDGET } from '../../../shared/layout/cpu.ts';
import { type Size, Value, type Variable } from './code.ts';
import { chargeBlock, type Helpers } from './core-helpers.ts';
import { FastEmitter } from './fast-emitter.ts';
import type { Form } from './forms.ts';
import { START, UOP } from './uop.ts';
import {
  type AtomicOperation,
  type Callee,
  type FunctionBody,
  I32,
  type Label,
  type ValueType,
} from './wasm-module.ts';

/** The parts of the loop around the bodies, and what they take. */
export interface LoopParts {
  /** Runs the instruction at `record`. */
  readonly next: Label;
  /** The same if `record` is one, out if it is −1. */
  readonly check: Label;
  /** Runs the instruction at `record` by its handler. */
  readonly handler: Label;
  /** Enters the block at `start`. */
  readonly enter: Label;
  /** Resolves the branch to `rip` whose link word is at `link`. */
  readonly resolve: Label;
  readonly record: Variable;
  readonly start: Variable;
  readonly rip: Variable;
  readonly link: Variable;
}

/** Code within the loop. */
export class LoopEmitter extends FastEmitter {
  protected readonly parts: LoopParts;

  constructor(fn: FunctionBody, form: Form, helpers: Helpers, parts: LoopParts) {
    super(fn, form, helpers);
    this.parts = parts;
  }
  protected override goOn(record: Value): void {
    this.parts.record.assign(record);
    this.fn.jump(this.parts.next);
  }
  override return(recordOrNone: Value): void {
    this.parts.record.assign(recordOrNone);
    this.fn.jump(this.parts.check);
  }
  override enterBlock(start: Value): void {
    this.parts.start.assign(start);
    this.fn.jump(this.parts.enter);
  }
  /**
   * The loop's own part: on with the block at `start`. Its handler is called, the block's compiled code or what asks for
   * it, once the block has been entered as often as its heat allows.
   */
  enter(start: Value): void {
    const heat = this.let(this.load(I32, 4, start, START.HEAT).sub(1));
    this.if(heat.ltS(0), () => {
      this.parts.record.assign(start);
      this.fn.jump(this.parts.handler);
    });
    this.store(4, start, START.HEAT, heat);
    chargeBlock(this, start, this.cpu, () =>
      this.return(this.call(I32, this.helpers.leave, start, this.cpu, this.i32(EXIT_BUDGET))),
    );
    this.goOn(start.add(UOP.bytes));
  }
}

/** The body of a hot form. */
export class HotEmitter extends LoopEmitter {
  /** May anything have been stored, on a way that leads here? */
  #begun = false;
  #givesUp = false;

  /** Does it ever go to the form's handler? */
  get givesUp(): boolean {
    return this.#givesUp;
  }
  override store(bytes: Size, base: Value, offset: number, value: Value): void {
    super.store(bytes, base, offset, value);
    this.#begun = true;
  }
  override storeVector(base: Value, offset: number, value: Value): void {
    super.storeVector(base, offset, value);
    this.#begun = true;
  }
  protected override atomic(
    operation: AtomicOperation,
    size: Size,
    host: Value,
    operands: readonly Value[],
  ): Value {
    const found = super.atomic(operation, size, host, operands);
    this.#begun = true;
    return found;
  }
  override loopWhile(body: () => Value): void {
    // The second turn comes after what the first one stores.
    this.#begun = true;
    super.loopWhile(body);
  }
  override call(type: ValueType, callee: Callee, ...values: readonly Value[]): Value {
    const called = super.call(type, callee, ...values);
    return new Value(this.fn, type, () => {
      if (this.#begun) called.put();
      else this.#giveUp();
    });
  }
  override raise(vector: number): void {
    if (this.#begun) super.raise(vector);
    else this.#giveUp();
  }
  #giveUp(): void {
    this.fn.jump(this.parts.handler);
    this.#givesUp = true;
  }
  override resolve(rip: Value, link: Value): void {
    this.parts.rip.assign(rip);
    this.parts.link.assign(link);
    this.fn.jump(this.parts.resolve);
  }
}
