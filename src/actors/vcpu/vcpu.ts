/**
 * One vCPU as its own thread sees it: handles on its registers (shared memory) and the few things that live between
 * two steps of one instruction.
 */
import { availableParallelism } from 'node:os';
import { invariant } from '../../shared/invariant.ts';
import { ACCESS_R, CPU } from '../../shared/layout/cpu.ts';
import {
  REQ_PARK,
  REQ_STOP,
  REQ_VM_DEAD,
  VCPU,
  VCPU_CRASHED,
  VCPU_EXITED,
  VCPU_STOPPED,
} from '../../shared/layout/vcpu.ts';
import type { Mem } from '../../shared/mem.ts';
import { Prng } from '../../shared/prng.ts';
import { REF_SRCU_ACROSS_EVENT } from '../../shared/quirks.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import { AdaptiveSpin } from '../../shared/sync/adaptive-spin.ts';
import type { Path } from '../../shared/sync/point.ts';
import { srcuReadLock, srcuReadUnlock } from '../../shared/sync/srcu.ts';
import { MSR_SYSENTER_CS, MSR_SYSENTER_EIP, MSR_SYSENTER_ESP } from '../../shared/x86/msr.ts';
import { RFLAGS_DEFINED, RFLAGS_FIXED } from '../../shared/x86/rflags.ts';
import { Intercepts } from '../introspector/intercepts.ts';
import type { IntrospectedVcpu } from '../introspector/vcpu-side.ts';
import { KVM_REGS_ORDER } from '../introspector/vcpu-state.ts';
import { walkGuest } from '../mmu/page-walk.ts';
import { beginTurn, endTurn } from '../mmu/requests.ts';
import type { Vm } from '../mmu/vm.ts';
import { BLOCK_START_HANDLER, BlockCache } from './block-cache.ts';
import { isCanonical } from './canonical.ts';
import { type CpuidResult, cpuid, hasLeaf } from './cpuid.ts';
import { readXsave, writeXsave } from './extended-state.ts';
import type { Core } from './isa/core.ts';
import { HEAT_NEVER, START } from './isa/uop.ts';
import { Jit, type JitOptions } from './jit/jit.ts';
import { readMsr } from './msr-file.ts';
import { memoryType, WRITE_BACK } from './platform/memory-type.ts';
import type { Platform } from './platform/platform.ts';
import { CLOCK_HZ, withPlatform } from './platform/platform-cpuid.ts';
import { MachinePorts, type PortBus } from './port-bus.ts';

/** What became of a step that touched guest memory or privileged state. */
export const OUTCOME_OK = 0;
/** The guest must take an exception: `vcpu.fault` says which. Nothing of the step is committed. */
export const OUTCOME_FAULT = 1;
/** The introspector answered RETRY (or an atomic lost a race): start the instruction again. */
export const OUTCOME_RETRY = 2;
/** The machine is going down (CRASH, triple fault, stop): leave the run loop. */
export const OUTCOME_DEAD = 3;
export type Outcome = 0 | 1 | 2 | 3;

/** An exception the guest must take. */
export interface GuestFault {
  vector: number;
  /** −1 when the vector pushes none. */
  errorCode: number;
  /** #PF: the linear address for CR2. */
  address: bigint;
}

type Word64 =
  | 'RIP'
  | 'RFLAGS'
  | 'FS_BASE'
  | 'GS_BASE'
  | 'CR0'
  | 'CR2'
  | 'CR3'
  | 'CR4'
  | 'CR8'
  | 'EFER'
  | 'GDTR_BASE'
  | 'IDTR_BASE'
  | 'TR_BASE'
  | 'LDTR_BASE'
  | 'KERNEL_GS_BASE'
  | 'STAR'
  | 'LSTAR'
  | 'CSTAR'
  | 'SFMASK'
  | 'TSC_OFFSET'
  | 'RETIRED'
  | 'MISC_FEATURES'
  | 'PAT'
  | 'APIC_BASE'
  | 'TSC_AUX'
  | 'XCR0'
  | 'FIP'
  | 'FDP'
  | 'SHADOW'
  | 'TIME_SKIPPED'
  | 'EXIT_GVA';
type Word32 =
  | 'CPL'
  | 'MXCSR'
  | 'FCW'
  | 'FSW'
  | 'FTW'
  | 'FOP'
  | 'BUDGET'
  | 'TLB'
  | 'REQUESTS'
  | 'EXIT_KIND'
  | 'EXIT_UOP'
  | 'EXIT_SIZE'
  | 'EXIT_ACCESS'
  | 'EXIT_LINK'
  | 'EXIT_VECTOR'
  | 'LOG_COUNT'
  | 'LOG_NEXT'
  | 'GDTR_LIMIT'
  | 'IDTR_LIMIT'
  | 'TR_LIMIT'
  | 'LDTR_LIMIT';

/** Arithmetic flags, which the emulator core keeps lazily. */
export interface FlagsSource {
  rflags(): bigint;
  setRflags(value: bigint): void;
}

/** What is around a vCPU, besides memory. */
export interface VcpuSurroundings {
  /** Seed of RDRAND. */
  readonly seed?: bigint;
  /** Takes each byte that the guest writes to its console. */
  readonly console?: (byte: number) => void;
  /** What executes guest code. A vCPU that only carries out access programs needs none. */
  readonly core?: Core;
  /** Compile what is hot. Absent: everything is interpreted. */
  readonly jit?: JitOptions;
  /** Guest frames whose loads and stores are scheduling points, each by itself. Absent: none. */
  readonly watched?: (gfn: number) => boolean;
}

// LIMIT: names of ports and MSRs that are kept; a guest that tries them all is none to diagnose.
const UNKNOWN_PLACES_MAX = 256;

/** Misses of one instruction until it is emulated: more than it has pages, and A, D and dirty logging to see to. */
const MISSES_MAX = 16;

/** Looks for the answer to an event: longer than a tool in process takes that answers at once. */
const REPLY_SPIN_NS_MAX = 30_000;
/** The same where a processor is left for those who answer: longer than one at the other end of a socket takes. */
const LONG_REPLY_SPIN_NS_MAX = 100_000;

/** Registers of SYSENTER, which is not there: the tool may read them, the guest may not. */
const SYSENTER_MSRS: readonly number[] = [MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP];
/** gpa of an address that is not mapped. */
const NOWHERE = 0xffff_ffff_ffff_ffffn;

function longestLook(vcpuCount: number): number {
  return availableParallelism() > vcpuCount ? LONG_REPLY_SPIN_NS_MAX : REPLY_SPIN_NS_MAX;
}

export class Vcpu implements IntrospectedVcpu {
  readonly index: number;
  readonly vm: Vm;
  readonly mem: Mem;
  readonly actor: Actor;
  readonly replySpin: AdaptiveSpin;
  readonly flags: FlagsSource;
  /** Address of the CPU area. */
  readonly cpu: number;
  /** Address of the control block. */
  readonly ctl: number;
  /** Valid after OUTCOME_FAULT. */
  readonly fault: GuestFault = { vector: 0, errorCode: -1, address: 0n };
  /** What the last linear read gave, zero extended. */
  value = 0n;
  /** Bytes that the last fetch put into FETCH_BYTES. */
  fetched = 0;
  readonly ports: PortBus;
  /** Local APIC, devices and clock; null on a bare machine. Set before the first instruction. */
  platform: Platform | null = null;

  /** Is each access to this guest frame to be a scheduling point? */
  readonly watches: (gfn: number) => boolean;

  readonly intercepts = new Intercepts();
  /** Undefined opcodes met, by name. */
  readonly undefinedOpcodes = new Map<string, number>();
  /** Ports and MSRs that are not there and were asked for, by name. */
  readonly unknownPlaces = new Map<string, number>();
  #missed = { rip: 0n, retired: 0n, times: 0 };
  readonly #seed: bigint;
  #random: Prng | null = null;
  readonly #core: Core | null;
  readonly #blocks: BlockCache | null;
  /** Null: everything is interpreted. */
  readonly jit: Jit | null;

  constructor(vm: Vm, index: number, actor: Actor, surroundings: VcpuSurroundings = {}) {
    const { core = null, console = () => {}, seed = BigInt(index), watched = () => false } = surroundings;
    this.index = index;
    this.vm = vm;
    this.mem = vm.mem;
    this.actor = actor;
    this.replySpin = new AdaptiveSpin(actor.spinLimit > 0 ? longestLook(vm.vcpuCount) : 0);
    this.cpu = vm.cpu(index);
    this.ctl = vm.layout.vcpus + index * VCPU.bytes;
    this.flags =
      core === null
        ? {
            rflags: () => this.get64('RFLAGS') | BigInt(RFLAGS_FIXED),
            setRflags: (value) => this.set64('RFLAGS', value & ~BigInt(RFLAGS_FIXED)),
          }
        : {
            rflags: () => core.rflags(this.cpu),
            setRflags: (value) => core.setRflags(this.cpu, value),
          };
    this.ports = new MachinePorts(this, console);
    this.#seed = seed;
    this.watches = watched;
    this.#core = core;
    this.#blocks = core === null ? null : new BlockCache(this);
    const { jit } = surroundings;
    this.jit =
      core === null || this.#blocks === null || jit === undefined
        ? null
        : new Jit(this.mem, core, this.#blocks, BLOCK_START_HANDLER, jit);
    if (this.#blocks !== null) this.#blocks.compiler = this.jit;
  }

  /** @throws InvariantError without one */
  get core(): Core {
    invariant(this.#core !== null, `vCPU ${this.index} has no core to execute guest code with`);
    return this.#core;
  }
  /** Where RDRAND gets its numbers. */
  get random(): Prng {
    this.#random ??= new Prng(this.#seed).fork('rdrand');
    return this.#random;
  }
  get blocks(): BlockCache {
    invariant(this.#blocks !== null, `vCPU ${this.index} has no core to decode guest code for`);
    return this.#blocks;
  }
  /** After EXIT_HOT, outside guest mode. */
  heated(): void {
    const start = this.get32('EXIT_UOP');
    if (this.jit !== null) this.jit.heated(this.get64('RIP'), start);
    else this.mem.i32[(start + START.HEAT) >>> 2] = HEAT_NEVER;
  }
  /** REQ_CODE_FLUSH: decoded code of pages written since is dropped. */
  dropStaleCode(): void {
    this.#blocks?.dropStale();
  }
  /** What has become of it, when it has to end and has not said why. */
  get endState(): number {
    if (this.mem.load(this.vm.word('DEAD')) !== 0) return VCPU_CRASHED;
    return this.platform === null || this.platform.board.isOn ? VCPU_STOPPED : VCPU_EXITED;
  }
  /** Must it stand still or end, rather than look at something before its next entry? */
  get mustStop(): boolean {
    const bits = REQ_STOP | REQ_VM_DEAD | REQ_PARK;
    return (this.mem.load(this.cpu + CPU.at.REQUESTS) & bits) !== 0;
  }
  /**
   * The same flags can follow from many instructions, and be kept in as many forms. For whoever compares states, they
   * are brought into one.
   */
  settleFlags(): void {
    this.flags.setRflags(this.flags.rflags());
  }
  /** Counts instructions that are complete. */
  retire(count: number): void {
    this.set64('RETIRED', this.get64('RETIRED') + BigInt(count));
  }
  /** Notes a port or an MSR that is not there, for whoever wonders what a guest was looking for. */
  noteUnknown(name: string): void {
    const count = this.unknownPlaces.get(name);
    if (count === undefined && this.unknownPlaces.size >= UNKNOWN_PLACES_MAX) return;
    this.unknownPlaces.set(name, (count ?? 0) + 1);
  }
  /**
   * Called for each miss: has the same instruction missed so often that it needs two pages whose entries share a place,
   * as CMPS may? Then it has to do without the TLB.
   */
  missesAgain(): boolean {
    const rip = this.get64('RIP');
    const retired = this.get64('RETIRED');
    const same = rip === this.#missed.rip && retired === this.#missed.retired;
    this.#missed = { rip, retired, times: same ? this.#missed.times + 1 : 1 };
    if (this.#missed.times <= MISSES_MAX) return false;
    this.#missed.times = 0;
    return true;
  }
  countUndefined(name: string): void {
    this.undefinedOpcodes.set(name, (this.undefinedOpcodes.get(name) ?? 0) + 1);
  }

  /** General register by encoding number, unsigned 64 bits. */
  gpr(n: number): bigint {
    return this.mem.u64[(this.cpu + CPU.at.GPR) / 8 + n]!;
  }
  setGpr(n: number, value: bigint): void {
    this.mem.u64[(this.cpu + CPU.at.GPR) / 8 + n] = value;
  }
  /** A 64-bit word of the CPU struct, unsigned. */
  get64(name: Word64): bigint {
    return this.mem.u64[(this.cpu + CPU.at[name]) / 8]!;
  }
  set64(name: Word64, value: bigint): void {
    this.mem.u64[(this.cpu + CPU.at[name]) / 8] = value;
  }
  /** A 32-bit word of the CPU struct, signed. */
  get32(name: Word32): number {
    return this.mem.i32[(this.cpu + CPU.at[name]) >>> 2]!;
  }
  set32(name: Word32, value: number): void {
    this.mem.i32[(this.cpu + CPU.at[name]) >>> 2] = value;
  }
  /** Selector: 0 es, 1 cs, 2 ss, 3 ds, 4 fs, 5 gs, 6 ldtr, 7 tr. */
  selector(n: number): number {
    return this.mem.i32[((this.cpu + CPU.at.SELECTORS) >>> 2) + n]!;
  }
  setSelector(n: number, value: number): void {
    this.mem.i32[((this.cpu + CPU.at.SELECTORS) >>> 2) + n] = value;
  }
  /** Privilege level of the descriptor that segment register `n` (0…5) was loaded from. */
  segmentDpl(n: number): number {
    return this.mem.i32[((this.cpu + CPU.at.SEGMENT_DPL) >>> 2) + n]!;
  }
  setSegmentDpl(n: number, dpl: number): void {
    this.mem.i32[((this.cpu + CPU.at.SEGMENT_DPL) >>> 2) + n] = dpl;
  }
  /** Debug register as stored. */
  debugRegister(n: number): bigint {
    return this.mem.u64[(this.cpu + CPU.at.DR) / 8 + n]!;
  }
  setDebugRegister(n: number, value: bigint): void {
    this.mem.u64[(this.cpu + CPU.at.DR) / 8 + n] = value;
  }
  /** Bumps a counter of the control block. */
  count(name: keyof typeof VCPU.at, kind = 0): void {
    const at = this.ctl + VCPU.at[name] + kind * 8;
    this.mem.touch(at, 8);
    this.mem.i64[at / 8]! += 1n;
  }
  /** Address of a word of the control block. */
  word(name: keyof typeof VCPU.at): number {
    return this.ctl + VCPU.at[name];
  }

  /** Notes the exception and says so. */
  raise(vector: number, errorCode = -1, address = 0n): Outcome {
    this.fault.vector = vector;
    this.fault.errorCode = errorCode;
    this.fault.address = address;
    return OUTCOME_FAULT;
  }

  // ── introspection ─────────────────────────────────────────────────────────────────────────────────────────
  readMsr(number: number): bigint | null {
    return readMsr(this, number) ?? (SYSENTER_MSRS.includes(number) ? 0n : null);
  }

  cpuid(leaf: number, subleaf: number): CpuidResult | null {
    const processor = hasLeaf(leaf, subleaf) ? cpuid(leaf, subleaf, this) : null;
    return this.platform === null ? processor : withPlatform(this, leaf, subleaf, processor);
  }

  /** Hz; 0 where time is counted in instructions. */
  get tscHz(): bigint {
    return this.platform === null ? 0n : BigInt(CLOCK_HZ);
  }

  /** Without a board there are no MTRRs, and all memory is of one kind. */
  memoryType(gpa: bigint): number {
    return this.platform === null ? WRITE_BACK : memoryType(this, gpa);
  }

  get xcr0(): bigint {
    return this.get64('XCR0');
  }

  readXsave(): Uint8Array<ArrayBuffer> {
    return readXsave(this);
  }

  writeXsave(area: Uint8Array): boolean {
    return writeXsave(this, area);
  }

  *translate(gva: bigint): Path<bigint> {
    if (!isCanonical(gva)) return NOWHERE;
    const section = yield* srcuReadLock(this.actor, this.vm.srcu);
    const walk = yield* walkGuest(this.vm, this.mem.load(this.word('AS_ID')), {
      cr3: this.get64('CR3'),
      gva,
      access: ACCESS_R,
      user: false,
      writeProtect: false,
      noExecute: false,
    });
    yield* srcuReadUnlock(this.actor, this.vm.srcu, section);
    return walk.kind === 'page' ? BigInt(walk.gpa) : NOWHERE;
  }

  setRegisters(regs: Uint8Array): void {
    this.#pendingRegisters = regs.slice();
  }

  applyRegisters(): void {
    if (this.#pendingRegisters === null) return;
    const view = new DataView(this.#pendingRegisters.buffer);
    for (const [i, reg] of KVM_REGS_ORDER.entries()) this.setGpr(reg, view.getBigUint64(i * 8, true));
    this.set64('RIP', view.getBigUint64(128, true));
    this.flags.setRflags(view.getBigUint64(136, true) & BigInt(RFLAGS_DEFINED));
    this.#pendingRegisters = null;
  }

  /** The default build waits outside kvm.srcu, so that memslots can change meanwhile (RC-25). */
  *beforeEventWait(): Path<void> {
    this.#leftTurn = (this.mem.load(this.word('TURN')) & 1) === 1;
    yield* endTurn(this.actor, this.vm, this.index);
    this.#leftSection = !this.vm.quirk(REF_SRCU_ACROSS_EVENT) && this.#section >= 0;
    if (this.#leftSection) yield* this.leaveSrcu();
  }

  *afterEventWait(): Path<void> {
    if (this.#leftSection) yield* this.enterSrcu();
    if (this.#leftTurn) beginTurn(this.actor, this.vm, this.index);
    // Without a reply they are forgotten.
    this.#pendingRegisters = null;
  }

  /** From an exit to the next entry a vCPU is a reader of the memslots. */
  *enterSrcu(): Path<void> {
    this.#section = yield* srcuReadLock(this.actor, this.vm.srcu);
    this.mem.store(this.word('SRCU_INDEX'), this.#section);
  }

  *leaveSrcu(): Path<void> {
    const section = this.#section;
    this.#section = -1;
    this.mem.store(this.word('SRCU_INDEX'), -1);
    yield* srcuReadUnlock(this.actor, this.vm.srcu, section);
  }

  #section = -1;
  #leftSection = false;
  #leftTurn = false;
  #pendingRegisters: Uint8Array | null = null;
}
