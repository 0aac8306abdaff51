/**
 * The parts of a region's function that all its instructions share: where guest registers and flags are, and the ways out.
 *
 *   (start record, cpu) → record for the interpreter's loop, or −1
 *
 *     registers and flags from the CPU struct to locals
 *     ┌ out
 *     │ ┌ exit
 *     │ │  code, which notes where to and jumps to exit, or to out when the CPU struct has everything already
 *     │ └
 *     │ registers and flags back to the CPU struct
 *     └
 *     budget back; what is left to be asked of the core's functions; return
 *
 * Those functions are called at the very end because the engine keeps everything that lives across a call in memory, also
 * where the call is hardly ever made.
 */
import { CPU } from '../../../shared/layout/cpu.ts';
import { Code, type Value, Variable } from '../isa/code.ts';
import type { Helpers } from '../isa/core-helpers.ts';
import type { KnownFlags } from '../isa/flags.ts';
import { START, UOP } from '../isa/uop.ts';
import { type FunctionBody, I32, I64, type Label } from '../isa/wasm-module.ts';

const GPRS = 16;

/** What is to be asked before the loop goes on. */
const ASK_NOTHING = 0;
const ASK_ENTER = 1;
const ASK_LINK = 2;
const ASK_BLOCK = 3;

export class RegionCode extends Code {
  readonly helpers: Helpers;
  /** Start record of the block that it was entered at, or that control comes back to the root for. */
  readonly start: Variable;
  /** Its entry number here. The record may name one of another region that has taken it over since. */
  readonly entry: Variable;
  readonly cpu: Variable;
  readonly goOn: Variable;
  /** One of Asking, about goOn and rip. */
  readonly asking: Variable;
  readonly rip: Variable;
  /** Instructions left, with the block that is running paid for. */
  readonly budget: Variable;
  readonly tlb: Variable;
  readonly flagsA: Variable;
  readonly flagsB: Variable;
  /** As CPU.FLAGS_KIND: kind | size << 8. */
  readonly flagsKind: Variable;
  /** What the flags' kind and size are known to be here. */
  known: Pick<KnownFlags, 'kind' | 'size'> | null = null;
  /** Is it known here that SSE may be used? */
  sseChecked = false;
  readonly #gprs: readonly Variable[];
  readonly #used: boolean[] = new Array(GPRS).fill(false);
  readonly #changed: boolean[] = new Array(GPRS).fill(false);
  readonly #out: Label;
  readonly #exit: Label;

  constructor(fn: FunctionBody, helpers: Helpers) {
    super(fn);
    this.helpers = helpers;
    const local = (type: typeof I32 | typeof I64): Variable => new Variable(fn, type, fn.local(type));
    this.start = new Variable(fn, I32, 0);
    this.cpu = new Variable(fn, I32, 1);
    this.entry = local(I32);
    this.goOn = local(I32);
    this.asking = local(I32);
    this.rip = local(I64);
    this.budget = local(I32);
    this.tlb = local(I32);
    this.flagsKind = local(I32);
    this.flagsA = local(I64);
    this.flagsB = local(I64);
    this.#gprs = Array.from({ length: GPRS }, () => local(I64));
    this.loadLater();
    this.budget.assign(this.load(I32, 4, this.cpu, CPU.at.BUDGET));
    this.tlb.assign(this.load(I32, 4, this.cpu, CPU.at.TLB));
    this.entry.assign(this.load(I32, 4, this.start, START.ENTRY));
    this.#out = fn.block();
    this.#exit = fn.block();
  }

  gpr(index: number): Variable {
    this.#used[index] = true;
    return this.#gprs[index]!;
  }
  setGpr(index: number, value: Value): void {
    this.#used[index] = true;
    this.#changed[index] = true;
    this.#gprs[index]!.assign(value);
  }
  /** What is known of the flags here, as far as it can be worked with. */
  knownFlags(): KnownFlags | null {
    return this.known === null ? null : { ...this.known, a: this.flagsA, b: this.flagsB };
  }

  /** To the interpreter's loop with `record`; the CPU struct is given what has changed. */
  exit(record: Value): void {
    this.#leave(this.#exit, ASK_NOTHING, record);
  }
  /** The same when the CPU struct has it all, or −1. */
  out(record: Value): void {
    this.#leave(this.#out, ASK_NOTHING, record);
  }
  /** The interpreter enters the block at `start`, or leaves in front of it. */
  exitToStart(start: Value): void {
    this.#leave(this.#exit, ASK_ENTER, start);
  }
  /** By the link word at `link`, of the record before it, to `rip`. */
  exitByLink(link: number, rip: bigint): void {
    this.rip.assign(this.i64(rip));
    this.#leave(this.#exit, ASK_LINK, this.i32(link));
  }
  /** To `rip`, which the jump cache does not know, from the branch at `record`. */
  exitToRip(record: number, rip: Value): void {
    this.rip.assign(rip);
    this.#leave(this.#exit, ASK_BLOCK, this.i32(record));
  }
  #leave(label: Label, asking: number, goOn: Value): void {
    this.goOn.assign(goOn);
    this.asking.assign(this.i32(asking));
    this.fn.jump(label);
  }
  /** Ends the function. */
  finish(): void {
    this.unreachable();
    this.fn.end();
    this.storeLater();
    this.fn.end();
    this.store(4, this.cpu, CPU.at.BUDGET, this.budget);
    const { goOn, asking, cpu, rip, helpers } = this;
    this.if(asking, () => {
      this.if(asking.eq(ASK_ENTER), () => this.return(this.call(I32, helpers.enter, goOn, cpu)));
      this.if(asking.eq(ASK_LINK), () => {
        const record = this.let(this.load(I32, 4, goOn, 0));
        this.if(record.gtS(0), () => this.return(record));
        // Records are aligned to their size.
        const branch = goOn.and(-UOP.bytes);
        this.return(this.call(I32, helpers.resolve, branch, cpu, rip, goOn));
      });
      this.return(this.call(I32, helpers.leaveBlock, goOn, cpu, rip, this.i32(0)));
    });
    goOn.put();
  }

  /** Registers and flags from the CPU struct: those that the function turns out to use. */
  loadLater(): void {
    this.fn.insertLater(() => {
      for (const [index, used] of this.#used.entries()) {
        if (used) this.#gprs[index]!.assign(this.load(I64, 8, this.cpu, CPU.at.GPR + index * 8));
      }
      this.flagsA.assign(this.load(I64, 8, this.cpu, CPU.at.FLAGS_RESULT_A));
      this.flagsB.assign(this.load(I64, 8, this.cpu, CPU.at.FLAGS_RESULT_B));
      this.flagsKind.assign(this.load(I32, 4, this.cpu, CPU.at.FLAGS_KIND));
    });
  }
  /** And back: those that it turns out to change. */
  storeLater(): void {
    this.fn.insertLater(() => {
      for (const [index, changed] of this.#changed.entries()) {
        if (changed) this.store(8, this.cpu, CPU.at.GPR + index * 8, this.#gprs[index]!);
      }
    });
    this.storeFlags();
  }
  storeFlags(): void {
    this.store(8, this.cpu, CPU.at.FLAGS_RESULT_A, this.flagsA);
    this.store(8, this.cpu, CPU.at.FLAGS_RESULT_B, this.flagsB);
    this.store(4, this.cpu, CPU.at.FLAGS_KIND, this.flagsKind);
  }
}
