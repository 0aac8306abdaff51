/**
 * The machine: composes shared memory, threads and ports, watches over them, and says how it went.
 * The only file that imports piscina.
 *
 * ```ts
 * await using machine = await Machine.create({ vcpuCount: 2, ramBytes: 64 * 1024 ** 2, image: 'guest.elf' });
 * machine.introspector.on('pageFault', (event) => (event.access === 'X' ? 'retry' : 'continue'));
 * await machine.start();
 * const report = await machine.ended;
 * ```
 *
 *   main thread              introspector         control              vCPU 0 … n−1
 *   ──────────────────────   ──────────────────   ──────────────────   ───────────────────
 *   Machine                  receiver, tool       memslots, checks     guest code, faults
 *     calls (Comlink) ─────▶ IntrospectorApi      ControlApi
 *     HandlerApi ◀─────────── handlers
 *     facts ◀──────────────── one port from each thread, never back ──────────────┘
 *   one shared WebAssembly.Memory under all of them: RAM, tables, locks, rings, registers
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { errnoName } from './actors/introspector/command-error.ts';
import { unhook } from './actors/introspector/hook.ts';
import type { IntrospectorApi, IntrospectorTask } from './actors/introspector/introspector.api.ts';
import type { ControlApi, ControlTask } from './actors/mmu/control.api.ts';
import { allocateMemory, initializeVm } from './actors/mmu/create-vm.ts';
import { checkInvariants } from './actors/mmu/invariants.ts';
import { setMemoryRegion } from './actors/mmu/memslots.ts';
import { kick, makeRequest } from './actors/mmu/requests.ts';
import type { OracleFinding, Vm } from './actors/mmu/vm.ts';
import { type ErrorNote, identify } from './actors/thread.ts';
import { readGuestCrash } from './actors/vcpu/exceptions.ts';
import { compileCore } from './actors/vcpu/isa/core.ts';
import type { JitCounters } from './actors/vcpu/jit/jit.api.ts';
import { alert, lapicWord } from './actors/vcpu/platform/interrupts.ts';
import type { VcpuTask } from './actors/vcpu/vcpu.api.ts';
import { ActorThread, type Launch, type Said, ThreadCalls } from './machine/actor-thread.ts';
import { ControlFront } from './machine/control-front.ts';
import { boardGuest, guestRam } from './machine/guest.ts';
import { IntrospectorFront } from './machine/introspector-front.ts';
import { bury, buryControl, buryIntrospector, buryVcpu } from './machine/lost-actor.ts';
import { describeRegion, type MachineOptions, type MachinePlan, planMachine } from './machine/options.ts';
import { SerialInput } from './machine/serial-input.ts';
import { Watchdog, whereabouts } from './machine/watchdog.ts';
import { workerFile } from './machine/worker-file.ts';
import {
  type Counters,
  type Ending,
  type Finding,
  instructionsOf,
  type RunReport,
  readCounters,
} from './report/run-report.ts';
import { judge } from './report/verdict.ts';
import { SimError } from './shared/errors.ts';
import { Hub, type Listener, type MachineFacts } from './shared/hub.ts';
import { CPU } from './shared/layout/cpu.ts';
import { TRACE_BYTES } from './shared/layout/trace.ts';
import { REQ_STOP, VCPU_CRASHED, VCPU_STATE_NAMES } from './shared/layout/vcpu.ts';
import { STOP_NOW, STOP_ORDERLY } from './shared/layout/vm.ts';
import { cycleLines, cycleText } from './shared/lockdep/cycle-text.ts';
import { LockGraph, type SeenEdge } from './shared/lockdep/lock-graph.ts';
import { Prng } from './shared/prng.ts';
import { REFERENCE_QUIRKS } from './shared/quirks.ts';
import { expose } from './shared/rpc.ts';
import { StateHasher } from './shared/state/hash.ts';
import type { Actor } from './shared/sync/actor.ts';
import { drive } from './shared/sync/point.ts';
import { TRACE_DRAIN_MS, TraceCollector, type TraceSummary } from './shared/trace/collector.ts';
import { hex } from './shared/units.ts';
import { RFLAGS_IF } from './shared/x86/rflags.ts';
import { VECTOR_NAMES, VECTOR_PF } from './shared/x86/vectors.ts';

/** How the machine is doing, cheap enough to ask many times a second. */
export interface MachineStatus {
  readonly seconds: number;
  readonly instructions: number;
  readonly events: number;
  readonly slotChanges: number;
  readonly flushes: number;
}

/** How often the main thread looks at limits and at the clock. */
const TICK_MS = 20;
const WATCH_EVERY_MS = 500;
/** How long the guest may take to exit when it is asked to. */
const GUEST_GRACE_MS = 5_000;
/** How long the tool may still answer events when the machine is told to end. */
const TOOL_GRACE_MS = 500;
/** How long an actor may take to end once it was told to. */
const END_GRACE_MS = 5_000;
/** The same when it is known that some of them cannot. */
const FORCE_GRACE_MS = 300;
/** Added to the tool's limit before its whole thread counts as stuck: the thread's own timer comes first. */
const STUCK_EXTRA_MS = 1_000;
// LIMIT: different findings that are kept. More of them would only bury the first.
const FINDINGS_MAX = 200;
/** Console text that a report keeps; older text goes first. */
const CONSOLE_CHARS_MAX = 1_000_000;
/** How long a check waits for vCPUs that are with the tool. */
const CHECK_GIVE_UP_MS = 200;

type Phase = 'boarding' | 'ready' | 'running' | 'ending' | 'ended';

export class Machine {
  readonly introspector: IntrospectorFront;
  readonly control: ControlFront;
  /** Who has waited for what under what, in all threads. Stays empty without `lockdep`. */
  readonly lockGraph = new LockGraph();
  /** Settles when every thread is gone: never rejects, what went wrong is in the report. */
  readonly ended: Promise<RunReport>;

  readonly #plan: MachinePlan;
  readonly #vm: Vm;
  /** The main thread's own identity. */
  readonly #actor: Actor;
  readonly #pool: Piscina;
  readonly #hub = new Hub();
  readonly #vcpus: ActorThread[];
  readonly #introspectorThread: ActorThread;
  readonly #controlThread: ActorThread;
  readonly #introspectorCalls: ThreadCalls<IntrospectorApi>;
  readonly #controlCalls: ThreadCalls<ControlApi>;
  readonly #handlerPort: MessagePort;
  readonly #serialInput: SerialInput;
  readonly #trace: TraceCollector | null;
  readonly #watchdog: Watchdog;
  readonly #drainer: ReturnType<typeof setInterval> | null;
  #ticker: ReturnType<typeof setInterval> | null = null;
  #phase: Phase = 'boarding';
  /** Settles when the threads know what somebody listens to: whoever listens before the start misses nothing. */
  #watching: Promise<unknown> = Promise.resolve();
  #resolveEnded: (report: RunReport) => void = () => {};
  #startedMs = 0;
  #endedMs = 0;
  #error: SimError | null = null;
  /** By id and text: a standing fault is found again at each check. */
  readonly #findings = new Map<string, Finding>();
  #retiredAtTick = -1;
  #checkRounds = 0;
  #checksSkipped = 0;
  readonly #checkFacts: Record<string, number> = {};
  #checking = false;
  #lastCheckMs = 0;
  #lastWatchMs = 0;
  #console = '';
  readonly #serialText = new TextDecoder();
  readonly #opcodes: Record<string, number> = {};
  readonly #compiled: JitCounters[] = [];
  readonly #unknownPlaces: Record<string, number> = {};
  /** Threads that we ended by force, and the error that stands for it; null for those that did not end when told to. */
  readonly #forced = new Map<ActorThread, SimError | null>();
  /** A thread died, whoever ended it. */
  #anyLost = false;
  /** Somebody waits for a lock that nobody will release. */
  #blocked = false;
  readonly #waitingSince = new Map<number, { seq: number; sinceMs: number }>();

  /**
   * Builds a machine with its threads, its memory slots and its guest in RAM; introspected and with its tool attached,
   * unless told otherwise. Nothing runs before `start`.
   *
   * @throws SimError SIM_CONFIG_RANGE, SIM_USAGE, SIM_IMAGE_*, SIM_MEMSLOT, SIM_FILE, SIM_TOOL_FAILED
   */
  static async create(options: MachineOptions): Promise<Machine> {
    const machine = new Machine(planMachine(options, options.trace === undefined ? 0 : TRACE_BYTES));
    try {
      await machine.#board();
    } catch (error) {
      machine.#finish('failed');
      await machine.ended;
      throw error;
    }
    return machine;
  }

  private constructor(plan: MachinePlan) {
    const { config, lockdep } = plan;
    const { vcpuCount } = config;
    this.#plan = plan;
    const { memory } = allocateMemory(plan.config);
    const task = (actor: number, name: string) => ({ memory, config, actor, name, lockdep });
    const identity = identify(
      task(vcpuCount + 2, 'machine'),
      (finding) => this.#found(finding),
      (edge) => this.#learnLockEdge(edge),
    );
    this.#vm = identity.vm;
    this.#actor = identity.actor;
    this.#furnish();
    const names = [
      ...Array.from({ length: vcpuCount }, (_, index) => `vcpu ${index}`),
      'introspector',
      'control',
      'machine',
    ];
    const { mem, layout } = this.#vm;
    this.#serialInput = new SerialInput(mem, layout);
    this.#trace =
      plan.trace === null ? null : new TraceCollector({ mem, layout, path: plan.trace, actors: names });
    this.#watchdog = new Watchdog(this.#vm, names.slice(0, -1));
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });

    const threads = vcpuCount + 2;
    this.#pool = new Piscina({
      minThreads: threads,
      maxThreads: threads,
      concurrentTasksPerWorker: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      atomics: 'disabled',
    });
    const launch: Launch = (what, worker, transfer, signal) =>
      this.#pool.run(what, { filename: workerFile(worker), transferList: [...transfer], signal });
    const onMessage = (message: Said) => this.#receive(message);

    const toIntrospector = new MessageChannel();
    const handlers = new MessageChannel();
    this.#introspectorThread = new ActorThread<IntrospectorTask>({
      launch,
      worker: 'introspector/introspector.worker',
      task: {
        ...task(vcpuCount, 'introspector'),
        tool: plan.tool,
        kvmi: plan.kvmi,
        replyTimeoutMs: plan.replyTimeoutMs,
        control: toIntrospector.port2,
        handlers: handlers.port2,
      },
      transfer: [toIntrospector.port2, handlers.port2],
      onMessage,
    });
    this.#introspectorCalls = new ThreadCalls(toIntrospector.port1, this.#introspectorThread);
    this.introspector = new IntrospectorFront(this.#introspectorCalls, {
      hook: () => this.control.hook(),
      unhook: () => this.control.unhook(),
    });
    this.#handlerPort = handlers.port1;
    expose(this.introspector.served, handlers.port1);

    const toControl = new MessageChannel();
    this.#controlThread = new ActorThread<ControlTask>({
      launch,
      worker: 'mmu/control.worker',
      task: { ...task(vcpuCount + 1, 'control'), control: toControl.port2 },
      transfer: [toControl.port2],
      onMessage,
    });
    this.#controlCalls = new ThreadCalls(toControl.port1, this.#controlThread);
    this.control = new ControlFront(
      this.#controlCalls,
      () => this.introspector.attach(),
      plan.allowed,
      plan.kvmi?.wire === 7 ? 7 : 12,
    );

    const seeds = new Prng(plan.seed);
    const core = plan.program === null ? compileCore() : null;
    this.#vcpus = Array.from(
      { length: vcpuCount },
      (_, index) =>
        new ActorThread<VcpuTask>({
          launch,
          worker: 'vcpu/vcpu.worker',
          task: {
            ...task(index, `vcpu ${index}`),
            index,
            seed: seeds.fork(`vcpu ${index}`).seed,
            program: plan.program,
            core,
            platform: plan.platform,
            instructionLimit: plan.instructionLimit,
            jit: plan.jit,
          },
          onMessage,
        }),
    );
    for (const thread of this.#everyone()) void thread.exit.then((error) => this.#exited(thread, error));
    this.#drainer = this.#trace === null ? null : setInterval(() => this.#trace?.drain(), TRACE_DRAIN_MS);
  }

  /** Lets the vCPUs run. @throws SimError SIM_USAGE when it runs already, SIM_CLOSED when it has ended */
  async start(): Promise<void> {
    if (this.#phase === 'running') throw new SimError('SIM_USAGE', 'the machine runs already');
    this.#mustLive();
    await this.introspector.settled();
    await this.#watching;
    this.#mustLive();
    this.#phase = 'running';
    this.#startedMs = performance.now();
    this.#lastCheckMs = this.#startedMs;
    const { mem } = this.#vm;
    mem.store(this.#vm.word('STARTED'), 1);
    for (let index = 0; index < this.#vm.vcpuCount; index++) drive(this.#actor, kick(this.#vm, index));
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
    if (this.#plan.script !== null) await this.control.runScript(this.#plan.script);
  }

  /** Ends the machine in an orderly way. @returns what `ended` gives */
  stop(): Promise<RunReport> {
    this.#finish('stopped');
    return this.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /**
   * Listens to what has happened, until the returned function is called. A listener steers nothing; one that throws
   * is the run's error.
   */
  on<Name extends keyof MachineFacts>(name: Name, listener: Listener<MachineFacts[Name]>): () => void {
    const stop = this.#hub.on(name, listener);
    this.#watch(name);
    return () => {
      stop();
      this.#watch(name);
    };
  }

  status(): MachineStatus {
    const { events, slots, flushes } = readCounters(this.#vm);
    return {
      seconds: this.#seconds(),
      instructions: instructionsOf(this.#vm),
      events: events.reduce((total, { sent }) => total + sent, 0),
      slotChanges: slots.created + slots.deleted + slots.moved + slots.reflagged,
      flushes: flushes.requests,
    };
  }

  /**
   * Input for the guest's serial port.
   *
   * @returns how many bytes there was room for; the others are to be offered again
   * @throws  SimError SIM_USAGE for a machine without a board
   */
  sendSerial(bytes: Uint8Array): number {
    if (this.#plan.platform === null) {
      throw new SimError('SIM_USAGE', 'serial input for a machine without a serial port', {
        hint: 'give it a board',
      });
    }
    const taken = this.#serialInput.put(bytes);
    if (taken > 0) drive(this.#actor, alert(this.#vm, 0));
    return taken;
  }

  /** One of VCPU_STATE_NAMES. @throws SimError SIM_CONFIG_RANGE when there is no such vCPU */
  stateOf(vcpu: number): (typeof VCPU_STATE_NAMES)[number] {
    if (this.#vcpus[vcpu] === undefined) {
      throw new SimError('SIM_CONFIG_RANGE', `there is no vCPU ${vcpu}`, {
        hint: `there are 0 to ${this.#vcpus.length - 1}`,
      });
    }
    return VCPU_STATE_NAMES[this.#vm.mem.load(this.#vm.vcpuWord(vcpu, 'STATE'))]!;
  }

  /** Everything that is counted, so far. */
  counters(): Counters {
    return readCounters(this.#vm);
  }

  /**
   * Ends the thread of an actor wherever it is, as the operating system might. The machine treats it as lost
   * (SIM_VCPU_LOST, SIM_ACTOR_LOST) and goes on if it can.
   */
  kill(actor: { readonly vcpu: number } | 'introspector' | 'control'): void {
    const thread =
      actor === 'introspector'
        ? this.#introspectorThread
        : actor === 'control'
          ? this.#controlThread
          : this.#vcpus[actor.vcpu];
    thread?.kill();
  }

  // ── beginning ─────────────────────────────────────────────────────────────────────────────────────────────

  /** Everything in shared memory that must be there before a thread looks at it. */
  #furnish(): void {
    const { reference, strict, memory } = this.#plan;
    const vm = this.#vm;
    const quirks = reference ? REFERENCE_QUIRKS : [];
    drive(this.#actor, initializeVm(this.#actor, vm, { quirks, strict, checked: true }));
    boardGuest(vm, this.#plan);
    for (const region of memory) {
      const error = drive(this.#actor, setMemoryRegion(this.#actor, vm, region));
      if (error !== 0) {
        throw new SimError('SIM_MEMSLOT', `${describeRegion(region)}: ${errnoName(error)}`, {
          hint: 'memory lies in whole pages, within RAM and guest address space, and no two slots overlap',
        });
      }
    }
  }

  async #board(): Promise<void> {
    await this.#controlCalls.call((remote) => remote.ready());
    await this.introspector.load();
    if (this.#plan.kvmi !== null) await this.introspector.link();
    else if (this.#plan.introspected) await this.control.hook();
    if (this.#error !== null) throw this.#error;
    this.#phase = 'ready';
  }

  // ── while it runs ─────────────────────────────────────────────────────────────────────────────────────────

  #receive(message: Said): void {
    if (message.is === 'finding') this.#found(message.finding);
    else if (message.is === 'lockEdge') this.#learnLockEdge(message.edge);
    else if (message.is === 'failure') this.#fail(errorOf(message.error));
    else if (message.is === 'compiled') this.#compiled.push(message.counters);
    else if (message.is === 'unknown') count(this.#unknownPlaces, message.counts);
    else if (message.is === 'opcodes') {
      count(this.#opcodes, message.counts);
    } else {
      if (message.name === 'console') this.#keepText((message.fact as MachineFacts['console']).text);
      if (message.name === 'serial') {
        const { bytes } = message.fact as MachineFacts['serial'];
        this.#keepText(this.#serialText.decode(bytes, { stream: true }));
      }
      this.#announce(message.name, message.fact as never);
    }
  }

  #keepText(text: string): void {
    this.#console = (this.#console + text).slice(-CONSOLE_CHARS_MAX);
  }

  #announce<Name extends keyof MachineFacts>(name: Name, fact: MachineFacts[Name]): void {
    try {
      this.#hub.announce(name, fact);
    } catch (error) {
      if (!(error instanceof SimError)) throw error;
      this.#error ??= error;
    }
  }

  #found(finding: OracleFinding): void {
    const key = `${finding.id} ${finding.detail}`;
    const times = (this.#findings.get(key)?.times ?? 0) + 1;
    if (times === 1 && this.#findings.size >= FINDINGS_MAX) return;
    this.#findings.set(key, { ...finding, times });
    if (times === 1) this.#announce('finding', { id: finding.id, title: finding.detail });
  }

  /** Threads learn for themselves; what only all of them together could do to each other is found here. */
  #learnLockEdge(edge: SeenEdge): void {
    const { cycle } = this.lockGraph.add(edge);
    if (cycle === null) return;
    const detail = [`predicted deadlock: ${cycleText(cycle)}`, ...cycleLines(cycle)].join('\n  ');
    this.#found({ id: 'I11/CYCLE', detail });
  }

  /** The run is not what it was meant to be. */
  #fail(error: SimError): void {
    this.#error ??= error;
    const tool = error.code === 'SIM_TOOL_FAILED' || error.code === 'SIM_REPLY_TIMEOUT';
    if (!tool || this.#plan.onToolFailure === 'stop') this.#finish('failed');
  }

  #tick(): void {
    const now = performance.now();
    const { runMs, timeIsLimit, checkEveryMs } = this.#plan;
    if (now - this.#startedMs >= runMs) {
      if (timeIsLimit) {
        this.#error ??= new SimError('SIM_LIMIT', `the guest has not ended after ${runMs / 1000} s`, {
          hint: 'give it more time with --seconds',
        });
      }
      this.#finish('time');
      return;
    }
    if (this.#allHalted()) {
      this.#finish('halted');
      return;
    }
    this.#lookForStuckTool(now);
    if (now - this.#lastWatchMs >= WATCH_EVERY_MS) {
      this.#lastWatchMs = now;
      const stall = this.#watchdog.look(now);
      if (stall !== null) {
        this.#found({ id: 'I10', detail: stall });
        this.#finish('stalled');
        return;
      }
    }
    if (!this.#checking && now - this.#lastCheckMs >= checkEveryMs) void this.#check();
  }

  /**
   * A tool that never returns from its handler keeps the timer in its thread from running: then the thread is ended,
   * and its vCPUs go on as after a lost connection.
   */
  #lookForStuckTool(now: number): void {
    const limit = this.#plan.replyTimeoutMs + STUCK_EXTRA_MS;
    if (limit === Number.POSITIVE_INFINITY || this.#introspectorThread.ended) return;
    const { mem } = this.#vm;
    for (let vcpu = 0; vcpu < this.#vm.vcpuCount; vcpu++) {
      const seq = mem.load(this.#vm.vcpuWord(vcpu, 'REPLY_SEQ'));
      const waits = mem.load(this.#vm.vcpuWord(vcpu, 'WAITING')) === 1;
      const since = this.#waitingSince.get(vcpu);
      if (!waits) this.#waitingSince.delete(vcpu);
      else if (since?.seq !== seq) this.#waitingSince.set(vcpu, { seq, sinceMs: now });
      else if (now - since.sinceMs > limit) {
        const what = `introspection tool: no answer within ${this.#plan.replyTimeoutMs} ms to event ${seq} of vCPU ${vcpu}`;
        this.#end(
          this.#introspectorThread,
          new SimError('SIM_REPLY_TIMEOUT', `${what}, and its thread does not respond`, {
            hint: 'its handler does not return: the thread was ended, vCPUs went on without introspection',
          }),
        );
        return;
      }
    }
  }

  async #check(): Promise<void> {
    this.#checking = true;
    try {
      const result = await this.control.checkInvariants(CHECK_GIVE_UP_MS);
      if (result === null) this.#checksSkipped += 1;
      else this.#checked(result);
    } catch (error) {
      // VM control is lost: that is known already, and nothing can be checked any more.
      if (!(error instanceof SimError)) throw error;
    } finally {
      this.#checking = false;
      this.#lastCheckMs = performance.now();
    }
  }

  #checked(result: { findings: readonly OracleFinding[]; checks: Readonly<Record<string, number>> }): void {
    this.#checkRounds += 1;
    for (const [id, count] of Object.entries(result.checks)) {
      this.#checkFacts[id] = (this.#checkFacts[id] ?? 0) + count;
    }
    for (const finding of result.findings) this.#found(finding);
  }

  #watch(name: keyof MachineFacts): void {
    const on = this.#hub.listenerCount(name) > 0;
    const ignoreEnd = (error: unknown) => {
      if (!(error instanceof SimError)) throw error;
    };
    let told: Promise<void> | null = null;
    if (name === 'slot') told = this.#controlCalls.call((remote) => remote.watch(on)).catch(ignoreEnd);
    if (name === 'pageFault' || name === 'reply') {
      const either = this.#hub.listenerCount('pageFault') + this.#hub.listenerCount('reply') > 0;
      told = this.#introspectorCalls.call((remote) => remote.watch(either)).catch(ignoreEnd);
    }
    this.#watching = Promise.all([this.#watching, told]);
  }

  // ── ends of threads ───────────────────────────────────────────────────────────────────────────────────────

  #exited(thread: ActorThread, error: Error | null): void {
    this.#announce('actorExit', { actor: thread.name, error });
    if (error !== null) this.#lost(thread, error);
    if (this.#phase === 'ending' || this.#phase === 'ended') return;
    const vcpu = this.#vcpus.indexOf(thread);
    if (vcpu < 0) return;
    if (this.#vm.mem.load(this.#vm.vcpuWord(vcpu, 'STATE')) === VCPU_CRASHED) {
      this.#error ??= this.#crash();
      this.#finish('crashed');
    } else if (this.#vcpus.every(({ ended }) => ended)) {
      this.#finish(error === null ? this.#naturalEnd() : 'failed');
    }
  }

  /** Every vCPU has ended by itself: because the guest said so, or because it was not to run longer. */
  #naturalEnd(): Ending {
    const stopped = this.#vcpus.findIndex((_, index) => this.stateOf(index) === 'stopped');
    if (stopped < 0) return 'exited';
    const { instructionLimit } = this.#plan;
    this.#error ??= new SimError(
      'SIM_LIMIT',
      `vCPU ${stopped} has carried out ${instructionLimit} instructions`,
      { hint: 'give it more with --max-instructions' },
    );
    return 'limit';
  }

  /** HLT with nothing left that could wake it: without a board nothing can, with one it takes IF. */
  #allHalted(): boolean {
    if (this.#plan.platform !== null && !this.#standsDead()) return false;
    const live = this.#vcpus.flatMap((thread, index) => (thread.ended ? [] : [this.stateOf(index)]));
    return live.length > 0 && live.every((state) => state === 'halted');
  }

  /** No vCPU takes interrupts, and none has done anything since this was looked at last. */
  #standsDead(): boolean {
    const { mem } = this.#vm;
    const before = this.#retiredAtTick;
    this.#retiredAtTick = instructionsOf(this.#vm);
    if (this.#retiredAtTick !== before) return false;
    return this.#vcpus.every((_, index) => {
      const flags = mem.u64[(this.#vm.cpu(index) + CPU.at.RFLAGS) / 8]!;
      const waits = mem.load(lapicWord(this.#vm, index, 'WAITING')) !== 0;
      return waits || (flags & BigInt(RFLAGS_IF)) === 0n;
    });
  }

  #crash(): SimError {
    const crash = readGuestCrash(this.#vm);
    if (crash === null) return new SimError('SIM_GUEST_CRASH', 'the introspection tool answered CRASH');
    const rip = this.#vm.mem.u64[(this.#vm.cpu(crash.vcpu) + CPU.at.RIP) / 8]!;
    const event = VECTOR_NAMES[crash.vector] ?? `vector ${crash.vector}`;
    const cr2 = this.#vm.mem.u64[(this.#vm.cpu(crash.vcpu) + CPU.at.CR2) / 8]!;
    const where = crash.vector === VECTOR_PF ? `, address ${hex(cr2)}` : '';
    return new SimError(
      'SIM_GUEST_CRASH',
      `vCPU ${crash.vcpu}: triple fault, begun by ${event} at rip ${hex(rip)}${where}`,
      {
        hint: 'an exception came that the guest has no working handler for',
      },
    );
  }

  /** A thread died: by itself, or by force. */
  #lost(thread: ActorThread, cause: Error): void {
    const vcpu = this.#vcpus.indexOf(thread);
    const blocks = bury(this.#actor, this.#vm, thread.index);
    if (vcpu >= 0) buryVcpu(this.#actor, this.#vm, vcpu);
    else if (thread === this.#controlThread) buryControl(this.#vm);
    else if (blocks === null) buryIntrospector(this.#actor, this.#vm);
    if (blocks !== null) this.#blocked = true;
    this.#anyLost = true;
    const forced = this.#forced.get(thread);
    if (forced === null) return;
    const name = vcpu >= 0 ? `vCPU ${vcpu}` : thread.name;
    const why = blocks === null ? '' : `: ${blocks}, so the machine cannot go on`;
    this.#error ??=
      forced ??
      new SimError(vcpu >= 0 ? 'SIM_VCPU_LOST' : 'SIM_ACTOR_LOST', `the thread of ${name} died${why}`, {
        hint:
          blocks === null ? 'the others went on without it' : 'what the lock protects is in an unknown state',
        cause,
      });
    const tool = thread === this.#introspectorThread && this.#plan.onToolFailure === 'stop';
    if (blocks !== null || tool || this.#phase === 'boarding') this.#finish('failed');
  }

  /** Ends a thread by force, with the error that stands for it (null: none). */
  #end(thread: ActorThread, error: SimError | null): void {
    if (thread.ended || this.#forced.has(thread)) return;
    this.#forced.set(thread, error);
    thread.kill();
  }

  // ── the end of the machine ────────────────────────────────────────────────────────────────────────────────

  #finish(ending: Ending): void {
    if (this.#phase === 'ending' || this.#phase === 'ended') return;
    this.#phase = 'ending';
    if (this.#ticker !== null) clearInterval(this.#ticker);
    this.#endedMs = performance.now();
    void this.#leaveTool(ending)
      .then(() => this.#shutDown())
      .then(() => this.#report(ending))
      .then((report) => {
        this.#phase = 'ended';
        this.#resolveEnded(report);
      });
  }

  /** A machine that is told to end, while its guest would go on, gives a tool on the wire the time to undo what it did. */
  async #leaveTool(ending: Ending): Promise<void> {
    const { unhookMs } = this.#plan;
    if (unhookMs === null || this.#blocked || (ending !== 'stopped' && ending !== 'time')) return;
    const left = this.#quiet(this.#introspectorCalls, (i) => i.leave(unhookMs));
    const over = Promise.all(this.#vcpus.map(({ exit }) => exit));
    await within(unhookMs + END_GRACE_MS, Promise.race([left, over]));
  }

  /** VM control first, then the vCPUs, then the introspector: nobody is left waiting for one who has gone. */
  async #shutDown(): Promise<void> {
    const vm = this.#vm;
    const introspector = this.#introspectorThread;
    const control = this.#controlThread;
    const vcpusEnded = Promise.all(this.#vcpus.map(({ exit }) => exit));
    const scriptEnd = this.#quiet(this.#controlCalls, (c) => c.stopScript());
    if (!this.#blocked) await within(END_GRACE_MS, scriptEnd);
    if (!this.#blocked && this.#startedMs > 0) await this.#askGuest(vcpusEnded);
    vm.mem.store(vm.word('STOP'), STOP_ORDERLY);
    this.#kickAll(REQ_STOP);
    const left = () => this.#vcpus.some(({ ended }) => !ended);
    if (!this.#blocked) await within(TOOL_GRACE_MS, vcpusEnded);
    if (!this.#blocked && left()) {
      await this.#release();
      await within(END_GRACE_MS, vcpusEnded);
    }
    if (left()) {
      if (!this.#blocked && this.#error === null && this.#findings.size === 0) {
        this.#found({ id: 'I10', detail: `vCPUs did not end when told to: ${whereabouts(vm)}` });
      }
      vm.mem.store(vm.word('STOP'), STOP_NOW);
      this.#kickAll(REQ_STOP);
      vm.mem.notify(vm.word('PARK'));
      await within(FORCE_GRACE_MS, vcpusEnded);
      for (const thread of this.#vcpus) this.#end(thread, null);
    }
    // Calls are answered one after the other: with this answer VM control holds nothing any more. It may have had to
    // wait for a vCPU that waited for the tool.
    const controlIdle = !this.#blocked && (await within(END_GRACE_MS, scriptEnd));
    if (controlIdle && !left()) this.#checkStanding();
    void this.#quiet(this.#controlCalls, (c) => c.end());
    void this.#quiet(this.#introspectorCalls, (i) => i.end());
    // No call may come after these: a thread whose task is over is taken down wherever it is.
    const closed = () => new SimError('SIM_CLOSED', 'the machine has ended');
    this.#controlCalls.refuse(closed);
    this.#introspectorCalls.refuse(closed);
    if (!controlIdle) this.#end(control, null);
    const all = Promise.all(this.#everyone().map(({ exit }) => exit));
    await within(this.#blocked ? FORCE_GRACE_MS : END_GRACE_MS, all);
    for (const thread of [introspector, control]) this.#end(thread, null);
    await all;
    if (this.#drainer !== null) clearInterval(this.#drainer);
    await this.#pool.destroy();
    this.#introspectorCalls.close();
    this.#controlCalls.close();
    this.#handlerPort.close();
  }

  /** A guest that can be asked to exit does so where its data is in order. */
  async #askGuest(vcpusEnded: Promise<unknown>): Promise<void> {
    const { stopWord } = this.#plan;
    if (stopWord === null) return;
    this.#vm.mem.store(this.#vm.layout.ram + stopWord, 1);
    await within(GUEST_GRACE_MS, vcpusEnded);
  }

  /** Whoever still waits for the tool goes on as when the connection is lost. */
  async #release(): Promise<void> {
    const detach = this.#quiet(this.#introspectorCalls, (i) => i.detach('the machine ends'));
    if (await within(TOOL_GRACE_MS, detach)) return;
    const hint = 'its handler does not return: the thread was ended';
    this.#end(
      this.#introspectorThread,
      new SimError('SIM_TOOL_FAILED', 'introspection tool: its thread does not respond', { hint }),
    );
  }

  async #report(ending: Ending): Promise<RunReport> {
    const atRest = this.#atRest();
    const stateHash = atRest ? new StateHasher(this.#vm.mem, this.#vm.layout).hash().total : null;
    if (atRest) this.#checkUnhooked();
    if (atRest && !this.#anyLost && this.#startedMs > 0) this.#askOracle();
    let trace: TraceSummary | null = null;
    try {
      trace = (await this.#trace?.close()) ?? null;
    } catch (error) {
      if (!(error instanceof SimError)) throw error;
      this.#error ??= error;
    }
    const counters = readCounters(this.#vm);
    const outcome = {
      ending,
      error: this.#error,
      findings: [...this.#findings.values()],
      vcpus: counters.vcpus,
    };
    return {
      ...counters,
      ...outcome,
      seconds: this.#seconds(),
      seed: this.#plan.seed,
      checks: { rounds: this.#checkRounds, skipped: this.#checksSkipped, facts: this.#checkFacts },
      undefinedOpcodes: this.#opcodes,
      unknownPlaces: this.#unknownPlaces,
      compiled: this.#compiled.toSorted((a, b) => a.vcpu - b.vcpu),
      console: this.#console,
      trace,
      stateHash,
      ...judge(outcome),
    };
  }

  /** No vCPU runs any more, and the session is still there: what they left behind must be in order. */
  #checkStanding(): void {
    if (!this.#atRest()) return;
    this.#checkHere('at the end');
  }

  /** Every thread is gone: nothing of introspection may be left after unhook. */
  #checkUnhooked(): void {
    // A thread that was lost between counting its reference and taking it has left one for good.
    if (this.#anyLost && this.#vm.mem.load(this.#vm.word('KVMI_REF')) !== 0) return;
    drive(this.#actor, unhook(this.#actor, this.#vm));
    this.#checkHere('after unhook');
  }

  #checkHere(when: string): void {
    const { findings, checks } = drive(
      this.#actor,
      checkInvariants(this.#actor, this.#vm, () => []),
    );
    this.#checked({
      checks,
      findings: findings
        // What a lost vCPU had mapped is not unmapped any more (I18).
        .filter(({ id }) => !(this.#anyLost && id === 'I18'))
        .map(({ id, detail }) => ({ id, detail: `${when}: ${detail}` })),
    });
  }

  /** Has everyone ended where they wanted to, or died without a lock? Else the state is no state to judge. */
  #atRest(): boolean {
    return !this.#blocked && ![...this.#forced.values()].includes(null);
  }

  #askOracle(): void {
    const { oracle } = this.#plan;
    if (oracle === null || oracle === undefined) return;
    const exited = this.#vcpus.map((_, index) => this.stateOf(index) === 'exited');
    const ram = guestRam(this.#vm, this.#plan);
    for (const finding of oracle({ ram, vcpuCount: exited.length, exited })) this.#found(finding);
  }

  // ── small things ──────────────────────────────────────────────────────────────────────────────────────────

  #everyone(): ActorThread[] {
    return [...this.#vcpus, this.#introspectorThread, this.#controlThread];
  }

  #kickAll(bits: number): void {
    for (let index = 0; index < this.#vm.vcpuCount; index++) {
      drive(this.#actor, makeRequest(this.#vm, index, bits));
      drive(this.#actor, kick(this.#vm, index));
    }
  }

  #seconds(): number {
    if (this.#startedMs === 0) return 0;
    return ((this.#endedMs || performance.now()) - this.#startedMs) / 1000;
  }

  #mustLive(): void {
    if (this.#phase !== 'ending' && this.#phase !== 'ended') return;
    throw new SimError('SIM_CLOSED', 'the machine has ended', {
      ...(this.#error === null ? {} : { cause: this.#error }),
    });
  }

  /** A call on the way out: a thread that has gone already needs no telling. */
  async #quiet<Api>(calls: ThreadCalls<Api>, body: Parameters<ThreadCalls<Api>['call']>[0]): Promise<void> {
    try {
      await calls.call(body);
    } catch (error) {
      if (!(error instanceof SimError)) throw error;
    }
  }
}

function count(sums: Record<string, number>, counts: Readonly<Record<string, number>>): void {
  for (const [name, more] of Object.entries(counts)) sums[name] = (sums[name] ?? 0) + more;
}

function errorOf({ code, message, hint, cause }: ErrorNote): SimError {
  return new SimError(code, message, { hint, ...(cause === null ? {} : { cause: new Error(cause) }) });
}

/** Waits for `what`, at most `ms`. @returns whether it came in time */
async function within(ms: number, what: Promise<unknown>): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, ms, false);
  });
  const inTime = await Promise.race([what.then(() => true), late]);
  clearTimeout(timer);
  return inTime;
}
