/**
 * What makes a vCPU one of a PC: its local APIC, the board, the clock; and from these, what it is to do before it enters
 * the guest: which interrupt it takes, how long it may run, how long it may sleep.
 *
 * @source arch/x86/kvm/x86.c: inject_pending_event, kvm_vcpu_has_events; arch/x86/kvm/lapic.c
 */
import { LAPIC_NMI } from '../../../shared/layout/board.ts';
import { REQ_STOP, VCPU_EXITED } from '../../../shared/layout/vcpu.ts';
import { type Path, updating } from '../../../shared/sync/point.ts';
import { APIC_BYTES } from '../../../shared/x86/apic.ts';
import { RFLAGS_IF } from '../../../shared/x86/rflags.ts';
import { VECTOR_NMI } from '../../../shared/x86/vectors.ts';
import { kick, makeRequest } from '../../mmu/requests.ts';
import type { Vcpu } from '../vcpu.ts';
import { BOOT_VCPU, Board } from './board.ts';
import { type Clock, realClock, virtualClock } from './clock.ts';
import { LocalApic } from './local-apic.ts';
import { SerialOutput } from './serial-output.ts';

/** How a PC is set up; the same in all its threads. */
export interface PlatformOptions {
  readonly clock:
    | { readonly kind: 'real' /** process.hrtime at time 0. */; readonly base: bigint }
    | { readonly kind: 'virtual' };
  /** Time of day at time 0, ms since 1970. */
  readonly epochMs: number;
}

/** Instructions between two looks at the clock: some tenths of a millisecond. */
const SLICE = 1 << 16;
const NS_PER_MS = 1e6;
const APIC_BASE_PAGE = (1n << 52n) - (1n << 12n);

/** What the vCPU takes next. */
type Pending = { readonly vector: number; readonly from: 'apic' | 'pics' | 'nmi' };

export class Platform {
  readonly apic: LocalApic;
  readonly board: Board;
  readonly clock: Clock;
  readonly #serial: SerialOutput;
  readonly #vcpu: Vcpu;

  /** @param send  takes what the serial port has sent, piece by piece */
  constructor(vcpu: Vcpu, options: PlatformOptions, send: (bytes: Uint8Array) => void) {
    const { vm, index, actor } = vcpu;
    this.#vcpu = vcpu;
    this.clock =
      options.clock.kind === 'real'
        ? realClock(options.clock.base)
        : virtualClock({
            retired: () => vcpu.get64('RETIRED'),
            get skipped() {
              return vcpu.get64('TIME_SKIPPED');
            },
            set skipped(ns) {
              vcpu.set64('TIME_SKIPPED', ns);
            },
          });
    const now = () => this.clock.now();
    this.#serial = new SerialOutput(send);
    const serial = (byte: number) => this.#serial.put(byte, now());
    this.board = new Board({ vm, actor, vcpu: index, now, epochMs: options.epochMs, serial });
    this.apic = new LocalApic({
      vm,
      index,
      get apicBase() {
        return vcpu.get64('APIC_BASE');
      },
      now,
      timeOfTsc: (tsc) => Number(BigInt.asIntN(64, tsc - vcpu.get64('TSC_OFFSET'))),
      priorityChanged: (cr8) => vcpu.set64('CR8', BigInt(cr8)),
    });
  }

  /** Power up, before the first instruction; the boot vCPU's thread does it for the board. */
  reset(): void {
    this.apic.reset();
    if (this.#vcpu.index === BOOT_VCPU) this.board.reset();
    else this.apic.words.set('WAITING', 1);
  }

  // ── time ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** Most instructions until the clock is looked at again. */
  get slice(): number {
    return SLICE;
  }

  /** The vCPU has ended: nothing is sent later. */
  flushSerial(): void {
    this.#serial.flush();
  }

  /** Fires the timers whose time has come. @locking inside kvm.srcu; takes board_lock */
  *tick(): Path<void> {
    const now = this.clock.now();
    this.#serial.tick(now);
    this.apic.advance(now);
    if (this.#vcpu.index !== BOOT_VCPU) return;
    if (now >= this.board.due || this.board.uart.hasInput) yield* this.board.advance(now);
  }

  /**
   * How long a halted vCPU may sleep, ms; Infinity until it is kicked, 0 for not at all: virtual time has been brought to
   * the next timer.
   */
  sleepMs(): number {
    this.#serial.flush();
    const board = this.#vcpu.index === BOOT_VCPU ? this.board.due : Number.POSITIVE_INFINITY;
    const due = Math.min(this.apic.due, board);
    if (due === Number.POSITIVE_INFINITY) return due;
    if (this.clock.skipTo(due)) return 0;
    return Math.max((due - this.clock.now()) / NS_PER_MS, 0);
  }

  // ── interrupts ────────────────────────────────────────────────────────────────────────────────────────────

  /** Is there something that a vCPU at HLT wakes up for? */
  get wakes(): boolean {
    return this.#pending() !== null;
  }

  /** Must it stand still until another vCPU starts it? */
  get waitsForStart(): boolean {
    return this.apic.words.get('WAITING') !== 0;
  }

  /** Is an interrupt to be taken before the next instruction, or, after STI, before the one behind it? */
  get interrupted(): boolean {
    return this.apic.words.get('TAKEN') !== 0 || this.#pending() !== null;
  }

  /** The instruction after STI, MOV SS or POP SS: nothing comes between. */
  get inShadow(): boolean {
    return this.#vcpu.get64('SHADOW') === this.#vcpu.get64('RETIRED');
  }

  /**
   * The vector whose handler is to be entered now, the same one until that is {@link interruptTaken done}; null when it has
   * gone again.
   *
   * @locking inside kvm.srcu; takes board_lock
   */
  *takeInterrupt(): Path<number | null> {
    const { words } = this.apic;
    if (words.get('TAKEN') === 0) {
      const vector = yield* this.#take();
      if (vector === null) return null;
      words.set('TAKEN', vector + 1);
    }
    return words.get('TAKEN') - 1;
  }

  interruptTaken(): void {
    this.apic.words.set('TAKEN', 0);
  }

  /** IRET: NMIs may come again. */
  unblockNmi(): void {
    this.apic.words.set('NMI_BLOCKED', 0);
  }

  #pending(): Pending | null {
    const { apic, board } = this;
    const { mem } = this.#vcpu;
    const nmi = (mem.load(apic.words.at('PENDING')) & LAPIC_NMI) !== 0;
    if (nmi && apic.words.get('NMI_BLOCKED') === 0) return { vector: VECTOR_NMI, from: 'nmi' };
    if ((this.#vcpu.get64('RFLAGS') & BigInt(RFLAGS_IF)) === 0n) return null;
    if (this.#vcpu.index === BOOT_VCPU && board.asksExternal && apic.takesExternal) {
      return { vector: -1, from: 'pics' };
    }
    const vector = apic.enabled ? apic.deliverable : -1;
    return vector < 0 ? null : { vector, from: 'apic' };
  }

  *#take(): Path<number | null> {
    const pending = this.#pending();
    const { words } = this.apic;
    const pendingWord = words.at('PENDING');
    switch (pending?.from) {
      case 'nmi':
        yield updating(pendingWord);
        this.#vcpu.mem.and(pendingWord, ~LAPIC_NMI);
        words.set('NMI_BLOCKED', 1);
        return VECTOR_NMI;
      case 'pics':
        return yield* this.board.acknowledge();
      case 'apic':
        this.apic.accept(pending.vector);
        return pending.vector;
      default:
        return null;
    }
  }

  // ── accesses ──────────────────────────────────────────────────────────────────────────────────────────────

  /** A load where no RAM is; null where no device is either. */
  *loadMmio(gpa: number, size: number): Path<bigint | null> {
    const offset = this.#apicOffset(gpa);
    if (offset < 0) return yield* this.board.loadDevice(gpa, size);
    // Registers are 32 bits in the first four of sixteen bytes; what is around them reads as zero.
    const word = this.apic.read(offset >> 4) ?? 0n;
    return BigInt.asUintN(8 * size, (offset & 12) === 0 ? word >> BigInt(8 * (offset & 3)) : 0n);
  }

  /** A store where no RAM is; false where no device is either. */
  *storeMmio(gpa: number, size: number, value: bigint): Path<boolean> {
    const offset = this.#apicOffset(gpa);
    if (offset < 0) return yield* this.board.storeDevice(gpa, size, value);
    if ((offset & 15) === 0) yield* this.writeApic(offset >> 4, BigInt.asUintN(32, value));
    return true;
  }

  /** @returns false where there is no such register */
  *writeApic(register: number, value: bigint): Path<boolean> {
    const result = yield* this.apic.command(register, value);
    if (typeof result !== 'string') yield* this.board.endOfInterrupt(result.eoi);
    return result !== 'none';
  }

  /** Offset in the page of the local APIC, −1 outside. There is none in x2APIC mode. */
  #apicOffset(gpa: number): number {
    const offset = gpa - Number(this.#vcpu.get64('APIC_BASE') & APIC_BASE_PAGE);
    if (offset < 0 || offset >= APIC_BYTES) return -1;
    return this.apic.enabled && !this.apic.x2apic ? offset : -1;
  }

  // ── the end ───────────────────────────────────────────────────────────────────────────────────────────────

  /** The guest has switched the machine off, or reset it: that is the end of all vCPUs. */
  *powerDown(): Path<true> {
    const { vm, mem, index } = this.#vcpu;
    mem.store(this.#vcpu.word('STATE'), VCPU_EXITED);
    for (let other = 0; other < vm.vcpuCount; other++) {
      if (other === index) continue;
      yield* makeRequest(vm, other, REQ_STOP);
      yield* kick(vm, other);
    }
    return true;
  }
}
