/**
 * A machine of a few pages whose actors are paths in one thread: what a scenario plays in.
 *
 * All state that matters is in its memory. `save` notes it as it is after the setting-up, `restore` brings it back and
 * makes the objects around it anew, so that each schedule begins with the same machine.
 */
import { KVMI_VCPU_EVENT_PF } from '../../actors/introspector/kvmi/constants.ts';
import type { Session, SessionEvent } from '../../actors/introspector/session.ts';
import { endIntrospection } from '../../actors/introspector/vcpu-side.ts';
import { allocateMemory, initializeVm } from '../../actors/mmu/create-vm.ts';
import { checkInvariants } from '../../actors/mmu/invariants.ts';
import { type SlotRequest, setMemoryRegion } from '../../actors/mmu/memslots.ts';
import { type OracleFinding, Vm } from '../../actors/mmu/vm.ts';
import { type Access, runAccess } from '../../actors/vcpu/access-program.ts';
import type { Core } from '../../actors/vcpu/isa/core.ts';
import { resetMsrs } from '../../actors/vcpu/msr-file.ts';
import { Platform } from '../../actors/vcpu/platform/platform.ts';
import { filledEntries, flushTlb } from '../../actors/vcpu/tlb.ts';
import { Vcpu, type VcpuSurroundings } from '../../actors/vcpu/vcpu.ts';
import { invariant } from '../../shared/invariant.ts';
import { CPU, CPU_SCRATCH_UOP } from '../../shared/layout/cpu.ts';
import { machineLayout } from '../../shared/layout/machine.ts';
import type { LockValidator } from '../../shared/lockdep/validator.ts';
import type { Quirks } from '../../shared/quirks.ts';
import { Actor } from '../../shared/sync/actor.ts';
import { LockChecks, type LockFinding } from '../../shared/sync/checks.ts';
import { drive, type Path } from '../../shared/sync/point.ts';
import { STATS_BYTES } from '../../shared/sync/stats.ts';
import type { Participant } from '../engine/execution.ts';
import { type ByteRange, JournaledMem } from './journaled-mem.ts';
import { type CallListener, RecordedSession } from './recorded-session.ts';
import { type Answer, type Tool, ToolSide } from './tool-side.ts';
import { type MemWatcher, WatchedMem } from './watched-mem.ts';

export interface WorldOptions {
  readonly vcpuCount?: number;
  readonly quirks?: Quirks;
  readonly strict?: boolean;
  readonly ramPages?: number;
  readonly gfnCount?: number;
  /** Pages that may be restricted at one time. */
  readonly accessLimit?: number;
  /** Learns the order graph of all its actors; whoever gives it may keep it from run to run. */
  readonly validator?: LockValidator;
  /** Keep lock statistics, by {@link World.clock}. Default: none, they cost time. */
  readonly lockTimes?: boolean;
  /** What its vCPUs execute guest code with. */
  readonly core?: (vm: Vm) => Core;
  /** Of every vCPU. */
  readonly surroundings?: VcpuSurroundings;
  /** Its vCPUs are those of a PC, each in virtual time of its own. */
  readonly board?: boolean;
}

const FIRST_VCPU_ID = 3;

export class World {
  readonly vm: Vm;
  readonly #options: WorldOptions;
  readonly #core: Core | undefined;
  /** Made anew by {@link restore}, as everything below. */
  #control!: Actor;
  #nextActorId = 0;
  tool!: ToolSide;
  /** Everybody there is, in the order made. */
  readonly actors: Actor[] = [];
  /** Is told of what sessions are asked to do; null: nobody listens. */
  onCall: CallListener | null = null;
  readonly vcpus: Vcpu[] = [];
  readonly findings: OracleFinding[] = [];
  readonly lockFindings: LockFinding[] = [];
  /** What each vCPU's guest has written to the console port. */
  readonly consoles: string[] = [];
  /** What each vCPU's guest has sent through the serial port. */
  readonly serials: string[] = [];
  /** What time it is for lock statistics, ns. */
  clock: () => number = () => 0;
  readonly #mem: WatchedMem;
  /** The same; null in a world on another's memory. */
  readonly #journal: JournaledMem | null;
  /** The CPU structs: the core writes them unseen. */
  readonly #cpus: readonly ByteRange[];
  readonly #quirkWords: Int32Array;

  /** @param shared  the memory of a world with equal options, in another thread, which saves and restores it */
  constructor(options: WorldOptions = {}, shared?: WebAssembly.Memory) {
    const { vcpuCount = 1, quirks = [], strict = false, ramPages = 64, gfnCount = 128 } = options;
    const { accessLimit = 64, board = false } = options;
    const actorCount = vcpuCount + 2;
    const config = { vcpuCount, ramPages, gfnCount, accessLimit, traceBytes: 0, actorCount, board };
    const { memory, layout } =
      shared === undefined ? allocateMemory(config) : { memory: shared, layout: machineLayout(config) };
    this.#options = options;
    this.#journal = shared === undefined ? new JournaledMem(memory) : null;
    this.#mem = this.#journal ?? new WatchedMem(memory);
    this.vm = new Vm(this.#mem, layout);
    this.#quirkWords = this.vm.quirkWords;
    this.#cpus = Array.from({ length: vcpuCount }, (_, index) => [
      this.vm.cpu(index),
      this.vm.cpu(index) + CPU.bytes,
    ]);
    this.vm.onFinding = (finding) => this.findings.push(finding);
    this.#core = options.core?.(this.vm);
    if (shared === undefined) this.#initialize(quirks, strict);
    this.populate();
    if (shared === undefined && board) this.#powerUp();
  }

  #initialize(quirks: Quirks, strict: boolean): void {
    const boot = new Actor({ id: 1, name: 'boot', mem: this.vm.mem, spinLimit: 0 });
    drive(boot, initializeVm(boot, this.vm, { quirks, strict, checked: true }));
    for (let index = 0; index < this.vm.vcpuCount; index++) flushTlb(this.vm.mem, this.vm.cpu(index));
  }

  /** VM control: memslots, hook, unhook. */
  get control(): Actor {
    return this.#control;
  }
  /** The receiver of the introspector. */
  get receiver(): Actor {
    return this.tool.receiver;
  }
  /** The receiver's. */
  get session(): Session {
    return this.tool.session;
  }
  /** Commands that VM control gives: those that need no answer of a vCPU. */
  get commands(): Session {
    return this.newSession(this.#control);
  }
  /** Every event the tool was shown. */
  get events(): SessionEvent[] {
    return this.tool.events;
  }
  get answers(): Answer[] {
    return this.tool.answers;
  }

  /** Has `watcher` told of every access of its actors, for good. Whoever watched before is told first. */
  watchMemory(watcher: MemWatcher): void {
    const before = this.#mem.watcher;
    if (before === null) this.#mem.watcher = watcher;
    else {
      this.#mem.watcher = (kind, addr, bytes) => {
        before(kind, addr, bytes);
        watcher(kind, addr, bytes);
      };
    }
  }

  /** Null: nobody watches. For whoever hears of accesses that were made elsewhere. */
  get memoryWatcher(): MemWatcher | null {
    return this.#mem.watcher;
  }

  /** Notes the machine as it is: what {@link restore} brings back. */
  save(): void {
    this.#journalled.mark(this.#kept(), this.#cpus);
  }

  /** The machine as it was saved, with new actors, vCPUs and session. Paths made before must not be used again. */
  restore({ everything } = { everything: false }): void {
    if (everything) this.#journalled.rewindAll(this.#kept());
    else this.#journalled.rewind();
    if (this.#options.lockTimes === true) {
      // Statistics are written unseen.
      const { stats, config } = this.vm.layout;
      this.vm.mem.u8.fill(0, stats, stats + config.actorCount * STATS_BYTES);
    }
    this.populate();
  }

  /** Address of a word that {@link restore} has not brought back; −1 when there is none. Looks at everything: slow. */
  get firstDifference(): number {
    return this.#journalled.firstDifference(this.#kept());
  }

  get #journalled(): JournaledMem {
    invariant(this.#journal !== null, "a world on another's memory is saved and restored by the other");
    return this.#journal;
  }

  /** All of the memory but decoded code, which new block caches begin again. */
  #kept(): ByteRange[] {
    const { vm } = this;
    const ranges: ByteRange[] = [];
    let from = 0;
    for (let index = 0; index < vm.vcpuCount; index++) {
      ranges.push([from, vm.cpu(index) + CPU_SCRATCH_UOP]);
      from = vm.cpu(index) + vm.layout.cpuStride;
    }
    return [...ranges, [from, vm.layout.bytes]];
  }

  /** New actors, vCPUs and session on the memory as it is. */
  populate(): void {
    for (const list of [
      this.actors,
      this.vcpus,
      this.findings,
      this.lockFindings,
      this.consoles,
      this.serials,
    ])
      list.length = 0;
    const { surroundings, board } = this.#options;
    this.#nextActorId = 1;
    this.#control = this.actor('control');
    const receiver = this.actor('receiver');
    this.tool = new ToolSide(receiver, this.vm, () => this.newSession(receiver));
    this.#nextActorId = FIRST_VCPU_ID;
    for (let index = 0; index < this.vm.vcpuCount; index++) {
      this.consoles.push('');
      this.vcpus.push(
        new Vcpu(this.vm, index, this.actor(`vcpu ${index}`), {
          ...surroundings,
          ...(this.#core === undefined ? {} : { core: this.#core }),
          console: (byte) => {
            surroundings?.console?.(byte);
            this.consoles[index] += String.fromCharCode(byte);
          },
        }),
      );
      if (board === true) this.#addPlatform(this.vcpus[index]!);
    }
  }

  #powerUp(): void {
    for (const vcpu of this.vcpus) {
      resetMsrs(vcpu);
      vcpu.platform?.reset();
    }
  }

  #addPlatform(vcpu: Vcpu): void {
    this.serials.push('');
    vcpu.platform = new Platform(vcpu, { clock: { kind: 'virtual' }, epochMs: 0 }, (bytes) => {
      this.serials[vcpu.index] += String.fromCharCode(...bytes);
    });
  }

  /** One more actor, with its own locks: a second control thread, the host. */
  actor(name: string): Actor {
    const { mem } = this.vm;
    const checks = new LockChecks({
      actor: name,
      onFinding: (finding) => this.lockFindings.push(finding),
      validator: this.#options.validator ?? null,
    });
    const id = this.#nextActorId++;
    const timed = this.#options.lockTimes === true && id <= this.vm.layout.config.actorCount;
    const actor = new Actor({
      id,
      name,
      mem,
      checks,
      ...(timed ? { stats: this.vm.layout.stats + (id - 1) * STATS_BYTES, clock: () => this.clock() } : {}),
      spinLimit: 0,
      quirks: this.#quirkWords,
    });
    this.actors.push(actor);
    return actor;
  }

  /** Commands on the path of another actor than the receiver; two paths must not share one. */
  newSession(actor: Actor): Session {
    return new RecordedSession(actor, this.vm, (call) => this.onCall?.(call));
  }

  /** Runs a control path alone. Nothing it does may need another actor. */
  alone<T>(path: Path<T>): T {
    return drive(this.control, path);
  }

  slot(request: Partial<SlotRequest>): number {
    const whole = { id: 0, asId: 0, flags: 0, baseGfn: 0, npages: 16, ramPage: 0, ...request };
    return this.alone(setMemoryRegion(this.control, this.vm, whole));
  }

  hook(): number {
    const number = this.alone(this.tool.rehook(this.control));
    if (number > 0) this.tool.begin();
    return number;
  }

  access(gfn: number, bits: number): number {
    return this.alone(this.session.setPageAccess(gfn * 4096, bits));
  }

  /** Turns PF events on, as VCPU_CONTROL_EVENTS would. */
  enablePf(...vcpus: number[]): void {
    for (const index of vcpus) {
      this.vm.mem.or(this.vm.vcpuWord(index, 'EVENTS'), 1 << ((KVMI_VCPU_EVENT_PF - 1) / 2));
    }
  }

  /**
   * vCPU `index` makes these accesses; `seen` gets the value of each read.
   *
   * @param ends  what comes after is the end of its thread
   */
  *program(index: number, accesses: readonly Access[], seen: bigint[] = [], ends = false): Path<void> {
    const vcpu = this.vcpus[index]!;
    yield* vcpu.enterSrcu();
    for (const access of accesses) {
      if (!(yield* runAccess(vcpu, access))) break;
      if (access.kind === 'read') seen.push(vcpu.value);
    }
    yield* vcpu.leaveSrcu();
    if (ends) endIntrospection(this.vm, index);
  }

  vcpuRunner(index: number, accesses: readonly Access[], seen: bigint[] = []): Participant {
    return {
      name: `vcpu ${index}`,
      waiter: this.vcpus[index]!.actor,
      path: this.program(index, accesses, seen, true),
    };
  }

  /** The receiver thread with a tool behind it. */
  toolRunner(tool: Tool): Participant {
    return this.tool.participant(tool);
  }

  controlRunner(path: Path<unknown>): Participant {
    return { name: 'control', waiter: this.control, path };
  }

  /** Findings of the run-time oracles and lock rules, and of the invariant check now. */
  verdict(): string[] {
    const { findings } = this.alone(
      checkInvariants(this.control, this.vm, (vcpu) => filledEntries(this.vm.mem, this.vm.cpu(vcpu))),
    );
    return [
      ...this.findings.map((f) => `${f.id}: ${f.detail}`),
      ...findings.map((f) => `${f.id}: ${f.detail}`),
      ...this.lockFindings.map((f) => `${f.rule} (${f.actor}): ${f.message}`),
    ];
  }

  byte(gpa: number): number {
    return this.vm.mem.u8[this.vm.layout.ram + gpa]!;
  }
}
