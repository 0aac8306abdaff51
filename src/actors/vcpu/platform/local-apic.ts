/**
 * The local APIC of one vCPU, used by its own thread: registers, priorities, timer. What comes from others is posted
 * into it by interrupts.ts.
 *
 * LIMIT: no SMI, no error interrupts of the APIC bus, no performance or thermal interrupts: their LVT entries are stored.
 *
 * @source Intel SDM vol. 3A, "Local APIC", "Local Vector Table", "APIC Timer", "Issuing Interprocessor Interrupts",
 *         "Interrupt, Task, and Processor Priority", "Signaling Interrupt Servicing Completion", "Extended XAPIC (x2APIC)"
 */
import { LAPIC, LVT_COUNT, LVT_ERROR, LVT_LINT0, LVT_TIMER } from '../../../shared/layout/board.ts';
import type { Path } from '../../../shared/sync/point.ts';
import {
  APIC_BASE_X2APIC,
  APIC_CURRENT_COUNT,
  APIC_DFR,
  APIC_DIVIDE,
  APIC_EOI,
  APIC_ESR,
  APIC_ICR_HIGH,
  APIC_ICR_LOW,
  APIC_ID,
  APIC_INITIAL_COUNT,
  APIC_IRR,
  APIC_ISR,
  APIC_LDR,
  APIC_LVT_ERROR,
  APIC_LVT_TIMER,
  APIC_PPR,
  APIC_SELF_IPI,
  APIC_SVR,
  APIC_TMR,
  APIC_TPR,
  APIC_VERSION,
  APIC_VERSION_VALUE,
  DELIVER_EXTINT,
  DELIVER_FIXED,
  DELIVER_INIT,
  DELIVER_STARTUP,
  ESR_REGISTER,
  ESR_SEND_ILLEGAL,
  ICR_ASSERT,
  ICR_LEVEL,
  ICR_LOGICAL,
  ICR_SHORTHAND_SHIFT,
  LAPIC_SVR_ENABLE,
  LVT_MASKED,
  LVT_TIMER_DEADLINE,
  LVT_TIMER_PERIODIC,
  SVR_RESET,
} from '../../../shared/x86/apic.ts';
import { APIC_BASE_ENABLE } from '../../../shared/x86/msr.ts';
import type { Vm } from '../../mmu/vm.ts';
import { type InterruptMessage, post, targetsOf } from './interrupts.ts';
import { Words } from './records.ts';

/** What the APIC needs of its vCPU. */
export interface ApicHost {
  readonly vm: Vm;
  readonly index: number;
  /** MSR APIC_BASE. */
  readonly apicBase: bigint;
  now(): number;
  /** Time at which the time stamp counter is `tsc`, ns. */
  timeOfTsc(tsc: bigint): number;
  /** The task priority has changed: its upper half is CR8. */
  priorityChanged(cr8: number): void;
}

/** Bits that can be written, by LVT entry. */
const LVT_WRITABLE = [0x710ff, 0x117ff, 0x117ff, 0x1f7ff, 0x1f7ff, 0x110ff];
/** Lowest legal vector. */
const VECTOR_MIN = 16;
const SHORTHAND_SELF = 1;
const SHORTHAND_ALL = 2;
const SHORTHAND_OTHERS = 3;
const ICR_XAPIC = 0xff00_0000_000c_cfffn;
const ICR_X2APIC = 0xffff_ffff_000c_cfffn;
const LOW_32 = 0xffff_ffffn;

export class LocalApic {
  readonly words: Words<keyof typeof LAPIC.at>;
  readonly #host: ApicHost;

  constructor(host: ApicHost) {
    const { vm, index } = host;
    this.#host = host;
    this.words = new Words(vm.mem, LAPIC, vm.layout.lapics + index * LAPIC.bytes);
  }

  /** Power up; INIT does the same, but for the id. */
  reset(): void {
    const { words } = this;
    for (let word = 0; word < 8; word++) {
      words.mem.store(words.at('IRR') + 4 * word, 0);
      words.mem.store(words.at('TMR') + 4 * word, 0);
      words.set('ISR', 0, word);
    }
    for (const name of [
      'TPR',
      'LDR',
      'ESR',
      'ESR_NEW',
      'DIVIDE',
      'INITIAL_COUNT',
      'TAKEN',
      'NMI_BLOCKED',
    ] as const) {
      words.set(name, 0);
    }
    words.set('ID', this.#host.index);
    words.set('DFR', -1);
    words.set('SVR', SVR_RESET);
    words.set64('ICR', 0n);
    words.set64('DEADLINE', 0n);
    words.setTime('TIMER_DUE', 0);
    for (let entry = 0; entry < LVT_COUNT; entry++) words.set('LVT', LVT_MASKED, entry);
    // The boot processor is wired to the 8259s, as firmware leaves it (KVM: KVM_X86_QUIRK_LINT0_REENABLED).
    if (this.#host.index === 0) words.set('LVT', DELIVER_EXTINT << 8, LVT_LINT0);
    this.#host.priorityChanged(0);
  }

  get enabled(): boolean {
    return (this.#host.apicBase & APIC_BASE_ENABLE) !== 0n;
  }
  get x2apic(): boolean {
    return (this.#host.apicBase & APIC_BASE_X2APIC) !== 0n;
  }

  // ── what the vCPU is to take ──────────────────────────────────────────────────────────────────────────────

  /** The vector that is more urgent than all that is going on, or −1. */
  get deliverable(): number {
    const vector = this.#highest('IRR');
    return vector >= 0 && vector >> 4 > this.#processorPriority() >> 4 ? vector : -1;
  }

  /** Takes `vector` out of the waiting ones: it is served now. */
  accept(vector: number): void {
    const { words } = this;
    const word = vector >> 5;
    const bit = 1 << (vector & 31);
    words.mem.and(words.at('IRR') + 4 * word, ~bit);
    words.set('ISR', words.get('ISR', word) | bit, word);
  }

  /** Does what comes from the 8259s reach this vCPU? Yes too while the APIC is switched off altogether. */
  get takesExternal(): boolean {
    if (!this.enabled) return this.#host.index === 0;
    const lint0 = this.words.get('LVT', LVT_LINT0);
    return (lint0 & LVT_MASKED) === 0 && ((lint0 >> 8) & 7) === DELIVER_EXTINT;
  }

  /** TPR as CR8 has it, 0…15. */
  setPriority(cr8: number): void {
    this.words.set('TPR', cr8 << 4);
    this.#host.priorityChanged(cr8);
  }

  // ── registers ─────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * One register, as 32 bits; ICR as 64 in x2APIC mode.
   *
   * @returns null where there is none: #GP in x2APIC mode, zero otherwise
   */
  read(register: number): bigint | null {
    const { words } = this;
    if (register >= APIC_ISR && register < APIC_ESR) {
      const name = register < APIC_TMR ? 'ISR' : register < APIC_IRR ? 'TMR' : 'IRR';
      return unsigned(words.mem.load(words.at(name) + 4 * (register & 7)));
    }
    const lvt = lvtOf(register);
    if (lvt >= 0) return unsigned(words.get('LVT', lvt));
    switch (register) {
      case APIC_ID:
        return unsigned(this.x2apic ? words.get('ID') : words.get('ID') << 24);
      case APIC_VERSION:
        return unsigned(APIC_VERSION_VALUE);
      case APIC_TPR:
        return unsigned(words.get('TPR'));
      case APIC_PPR:
        return unsigned(this.#processorPriority());
      case APIC_LDR:
        return unsigned(words.get('LDR'));
      case APIC_DFR:
        return this.x2apic ? null : unsigned(words.get('DFR'));
      case APIC_SVR:
        return unsigned(words.get('SVR'));
      case APIC_ESR:
        return unsigned(words.get('ESR'));
      case APIC_ICR_LOW:
        return this.x2apic ? words.get64('ICR') : words.get64('ICR') & LOW_32;
      case APIC_ICR_HIGH:
        return this.x2apic ? null : words.get64('ICR') >> 32n;
      case APIC_INITIAL_COUNT:
        return unsigned(words.get('INITIAL_COUNT'));
      case APIC_CURRENT_COUNT:
        return unsigned(this.#currentCount());
      case APIC_DIVIDE:
        return unsigned(words.get('DIVIDE'));
      default:
        return null;
    }
  }

  /**
   * Writes one register.
   *
   * @returns 'eoi' with the vector when the I/O APIC has to hear of it; 'none' where there is no such register
   * @locking takes nothing; posts to other vCPUs
   */
  *command(register: number, value: bigint): Path<{ readonly eoi: number } | 'done' | 'none'> {
    const { words } = this;
    const low = Number(BigInt.asIntN(32, value));
    const lvt = lvtOf(register);
    if (lvt >= 0) {
      this.#writeLvt(lvt, low);
      return 'done';
    }
    switch (register) {
      case APIC_TPR:
        words.set('TPR', low & 0xff);
        this.#host.priorityChanged((low & 0xff) >> 4);
        return 'done';
      case APIC_EOI:
        return this.#endOfInterrupt();
      case APIC_LDR:
        if (this.x2apic) return 'none';
        words.set('LDR', low & 0xff00_0000);
        return 'done';
      case APIC_DFR:
        if (this.x2apic) return 'none';
        words.set('DFR', low | 0x0fff_ffff);
        return 'done';
      case APIC_SVR:
        this.#writeSvr(low);
        return 'done';
      case APIC_ESR:
        words.set('ESR', words.get('ESR_NEW'));
        words.set('ESR_NEW', 0);
        return 'done';
      case APIC_ICR_LOW: {
        const icr = this.x2apic ? value & ICR_X2APIC : (words.get64('ICR') & ~LOW_32) | (value & LOW_32);
        words.set64('ICR', icr & (this.x2apic ? ICR_X2APIC : ICR_XAPIC));
        yield* this.#sendIpi(icr);
        return 'done';
      }
      case APIC_ICR_HIGH:
        if (this.x2apic) return 'none';
        words.set64('ICR', (words.get64('ICR') & LOW_32) | ((value & 0xff00_0000n) << 32n));
        return 'done';
      case APIC_INITIAL_COUNT:
        this.#startTimer(low >>> 0);
        return 'done';
      case APIC_DIVIDE:
        this.#changeDivide(low & 0xb);
        return 'done';
      case APIC_SELF_IPI:
        if (!this.x2apic) return 'none';
        yield* this.#sendIpi(value & 0xffn, [this.#host.index]);
        return 'done';
      default:
        if (!this.x2apic) words.set('ESR_NEW', words.get('ESR_NEW') | ESR_REGISTER);
        return 'none';
    }
  }

  /** In x2APIC mode ids and logical ids are what the processor says. */
  enterX2apic(): void {
    const { index } = this.#host;
    this.words.set('ID', index);
    this.words.set('LDR', ((index >> 4) << 16) | (1 << (index & 15)));
  }

  // ── timer ─────────────────────────────────────────────────────────────────────────────────────────────────

  /** When the timer fires next, ns; Infinity for never. */
  get due(): number {
    return this.words.time('TIMER_DUE') || Number.POSITIVE_INFINITY;
  }

  /** Fires the timer if its time has come. */
  advance(now: number): void {
    const { words } = this;
    const due = words.time('TIMER_DUE');
    if (due === 0 || now < due) return;
    const entry = words.get('LVT', LVT_TIMER);
    const periodic = (entry & LVT_TIMER_PERIODIC) !== 0;
    const period = this.#periodNs();
    words.setTime('TIMER_DUE', periodic ? due + Math.ceil((now - due + 1) / period) * period : 0);
    if ((entry & LVT_TIMER_DEADLINE) !== 0) words.set64('DEADLINE', 0n);
    const vector = entry & 0xff;
    if ((entry & LVT_MASKED) !== 0 || vector < VECTOR_MIN) return;
    const word = 4 * (vector >> 5);
    words.mem.and(words.at('TMR') + word, ~(1 << (vector & 31)));
    words.mem.or(words.at('IRR') + word, 1 << (vector & 31));
  }

  /** MSR TSC_DEADLINE: nothing unless the timer is in that mode. */
  readDeadline(): bigint {
    return this.#inDeadlineMode() ? this.words.get64('DEADLINE') : 0n;
  }

  writeDeadline(tsc: bigint): void {
    if (!this.#inDeadlineMode()) return;
    this.words.set64('DEADLINE', tsc);
    // A deadline that is over fires at once. 0 is the word for never.
    this.words.setTime('TIMER_DUE', tsc === 0n ? 0 : Math.max(this.#host.timeOfTsc(tsc), 1));
  }

  /** The time stamp counter has been set: the deadline is another moment. */
  tscChanged(): void {
    const deadline = this.readDeadline();
    if (deadline !== 0n) this.writeDeadline(deadline);
  }

  #inDeadlineMode(): boolean {
    return (this.words.get('LVT', LVT_TIMER) & LVT_TIMER_DEADLINE) !== 0;
  }

  #startTimer(count: number): void {
    if (this.#inDeadlineMode()) return;
    const { words } = this;
    const now = this.#host.now();
    words.set('INITIAL_COUNT', count | 0);
    words.setTime('TIMER_START', now);
    words.setTime('TIMER_DUE', count === 0 ? 0 : now + this.#periodNs());
  }

  #changeDivide(divide: number): void {
    const left = this.#currentCount();
    this.words.set('DIVIDE', divide);
    if (this.words.time('TIMER_DUE') === 0 || this.#inDeadlineMode()) return;
    const now = this.#host.now();
    const count = this.words.get('INITIAL_COUNT') >>> 0;
    this.words.setTime('TIMER_START', now - (count - left) * this.#tickNs());
    this.words.setTime('TIMER_DUE', now + left * this.#tickNs());
  }

  /** The timer counts at 1 GHz, divided. */
  #tickNs(): number {
    const divide = this.words.get('DIVIDE');
    return 2 ** ((((divide & 8) >> 1) | (divide & 3)) === 7 ? 0 : (((divide & 8) >> 1) | (divide & 3)) + 1);
  }
  #periodNs(): number {
    return (this.words.get('INITIAL_COUNT') >>> 0) * this.#tickNs();
  }

  #currentCount(): number {
    const { words } = this;
    const count = words.get('INITIAL_COUNT') >>> 0;
    if (count === 0 || this.#inDeadlineMode()) return 0;
    const ticks = Math.floor((this.#host.now() - words.time('TIMER_START')) / this.#tickNs());
    if ((words.get('LVT', LVT_TIMER) & LVT_TIMER_PERIODIC) !== 0) return count - (ticks % count);
    return Math.max(count - ticks, 0);
  }

  // ── parts ─────────────────────────────────────────────────────────────────────────────────────────────────

  #writeLvt(entry: number, value: number): void {
    const { words } = this;
    let kept = value & LVT_WRITABLE[entry]!;
    if ((words.get('SVR') & LAPIC_SVR_ENABLE) === 0) kept |= LVT_MASKED;
    const modes = LVT_TIMER_DEADLINE | LVT_TIMER_PERIODIC;
    const newMode = entry === LVT_TIMER && ((kept ^ words.get('LVT', LVT_TIMER)) & modes) !== 0;
    words.set('LVT', kept, entry);
    if (!newMode) return;
    // A change of mode disarms the deadline; between the other two the count goes on.
    words.set64('DEADLINE', 0n);
    if ((kept & LVT_TIMER_DEADLINE) !== 0) words.set('INITIAL_COUNT', 0);
    const running = words.get('INITIAL_COUNT') !== 0 && this.#currentCount() > 0;
    words.setTime('TIMER_DUE', running ? this.#host.now() + this.#currentCount() * this.#tickNs() : 0);
  }

  #writeSvr(value: number): void {
    this.words.set('SVR', value & (0xff | LAPIC_SVR_ENABLE | (1 << 9)));
    if ((value & LAPIC_SVR_ENABLE) !== 0) return;
    for (let entry = 0; entry < LVT_COUNT; entry++) {
      this.words.set('LVT', this.words.get('LVT', entry) | LVT_MASKED, entry);
    }
  }

  #endOfInterrupt(): { readonly eoi: number } | 'done' {
    const vector = this.#highest('ISR');
    if (vector < 0) return 'done';
    const { words } = this;
    const word = vector >> 5;
    const bit = 1 << (vector & 31);
    words.set('ISR', words.get('ISR', word) & ~bit, word);
    const level = (words.mem.load(words.at('TMR') + 4 * word) & bit) !== 0;
    return level ? { eoi: vector } : 'done';
  }

  *#sendIpi(icr: bigint, only: readonly number[] | null = null): Path<void> {
    const low = Number(icr & LOW_32);
    const mode = (low >> 8) & 7;
    const vector = low & 0xff;
    const { vm, index } = this.#host;
    if (mode <= 1 && vector < VECTOR_MIN) {
      this.#error(ESR_SEND_ILLEGAL);
      return;
    }
    // INIT level de-assert, by which old APICs took new arbitration ids.
    if (mode === DELIVER_INIT && (low & ICR_LEVEL) !== 0 && (low & ICR_ASSERT) === 0) return;
    const message: InterruptMessage = {
      mode,
      vector,
      level: false,
      logical: (low & ICR_LOGICAL) !== 0,
      destination: Number(this.x2apic ? icr >> 32n : icr >> 56n),
      wide: this.x2apic,
    };
    for (const target of only ?? this.#targets(message, (low >> ICR_SHORTHAND_SHIFT) & 3)) {
      // To oneself only what can be: INIT and start-up are for others.
      if (target === index && (mode === DELIVER_INIT || mode === DELIVER_STARTUP)) continue;
      yield* post(vm, target, message);
    }
  }

  #targets(message: InterruptMessage, shorthand: number): readonly number[] {
    const { vm, index } = this.#host;
    const everyone = { ...message, mode: DELIVER_FIXED, destination: message.wide ? 0xffff_ffff : 0xff };
    switch (shorthand) {
      case SHORTHAND_SELF:
        return [index];
      case SHORTHAND_ALL:
        return targetsOf(vm, everyone);
      case SHORTHAND_OTHERS:
        return targetsOf(vm, everyone).filter((target) => target !== index);
      default:
        return targetsOf(vm, message);
    }
  }

  #error(bit: number): void {
    this.words.set('ESR_NEW', this.words.get('ESR_NEW') | bit);
    const entry = this.words.get('LVT', LVT_ERROR);
    const vector = entry & 0xff;
    if ((entry & LVT_MASKED) !== 0 || vector < VECTOR_MIN) return;
    this.words.mem.or(this.words.at('IRR') + 4 * (vector >> 5), 1 << (vector & 31));
  }

  #processorPriority(): number {
    const priority = this.words.get('TPR');
    const served = Math.max(this.#highest('ISR'), 0);
    return priority >> 4 >= served >> 4 ? priority : served & 0xf0;
  }

  #highest(name: 'IRR' | 'ISR'): number {
    const { mem } = this.words;
    for (let word = 7; word >= 0; word--) {
      const bits = mem.load(this.words.at(name) + 4 * word);
      if (bits !== 0) return 32 * word + 31 - Math.clz32(bits);
    }
    return -1;
  }
}

/** Index in LVT of a register, or −1. */
function lvtOf(register: number): number {
  return register >= APIC_LVT_TIMER && register <= APIC_LVT_ERROR ? register - APIC_LVT_TIMER : -1;
}

function unsigned(word: number): bigint {
  return BigInt(word >>> 0);
}
