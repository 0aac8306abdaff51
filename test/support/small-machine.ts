/** A machine of a few pages whose actors are paths in one thread: for tests of the protocol. */
import { hook } from '../../src/actors/introspector/hook.ts';
import { KVMI_VCPU_EVENT_PF } from '../../src/actors/introspector/kvmi/constants.ts';
import { Session, type SessionEvent, type SessionMessage } from '../../src/actors/introspector/session.ts';
import { allocateMemory, initializeVm, openVm } from '../../src/actors/mmu/create-vm.ts';
import { checkInvariants } from '../../src/actors/mmu/invariants.ts';
import { type SlotRequest, setMemoryRegion } from '../../src/actors/mmu/memslots.ts';
import type { OracleFinding, Vm } from '../../src/actors/mmu/vm.ts';
import { type Access, runAccess } from '../../src/actors/vcpu/access-program.ts';
import type { Core } from '../../src/actors/vcpu/isa/core.ts';
import { filledEntries, flushTlb } from '../../src/actors/vcpu/tlb.ts';
import { Vcpu, type VcpuSurroundings } from '../../src/actors/vcpu/vcpu.ts';
import type { Quirks } from '../../src/shared/quirks.ts';
import { Actor } from '../../src/shared/sync/actor.ts';
import { LockChecks, type LockFinding } from '../../src/shared/sync/checks.ts';
import { drive, type Path, reading, waiting } from '../../src/shared/sync/point.ts';
import { type Runner, together } from './together.ts';

export interface SmallMachineOptions {
  readonly vcpuCount?: number;
  readonly quirks?: Quirks;
  readonly strict?: boolean;
  readonly ramPages?: number;
  readonly gfnCount?: number;
  /** Pages that may be restricted at one time. */
  readonly accessLimit?: number;
  /** What its vCPUs execute guest code with. */
  readonly core?: (vm: Vm) => Core;
  /** Of every vCPU. */
  readonly surroundings?: VcpuSurroundings;
}

/** What a test's tool does with an event: an action, after whatever commands it likes. */
export type Tool = (event: SessionEvent, session: Session) => Path<number>;

export class SmallMachine {
  readonly vm: Vm;
  readonly control: Actor;
  readonly receiver: Actor;
  session: Session;
  readonly vcpus: Vcpu[] = [];
  readonly findings: OracleFinding[] = [];
  readonly lockFindings: LockFinding[] = [];
  readonly events: SessionEvent[] = [];
  /** What each vCPU's guest has written to the console port. */
  readonly consoles: string[] = [];
  readonly answers: Extract<SessionMessage, { kind: 'answer' }>[] = [];

  constructor(options: SmallMachineOptions = {}) {
    const { vcpuCount = 1, quirks = [], strict = false, ramPages = 64, gfnCount = 128 } = options;
    const { accessLimit = 64 } = options;
    const { memory, layout } = allocateMemory({
      vcpuCount,
      ramPages,
      gfnCount,
      accessLimit,
      traceBytes: 0,
      actorCount: vcpuCount + 2,
    });
    this.vm = openVm(memory, layout);
    this.vm.onFinding = (finding) => this.findings.push(finding);
    this.control = this.#actor(1, 'control');
    this.receiver = this.#actor(2, 'receiver');
    this.session = new Session(this.receiver, this.vm);
    drive(this.control, initializeVm(this.control, this.vm, { quirks, strict, checked: true }));
    const core = options.core?.(this.vm);
    for (let index = 0; index < vcpuCount; index++) {
      this.consoles.push('');
      const vcpu = new Vcpu(this.vm, index, this.#actor(3 + index, `vcpu ${index}`), {
        ...options.surroundings,
        ...(core === undefined ? {} : { core }),
        console: (byte) => {
          options.surroundings?.console?.(byte);
          this.consoles[index] += String.fromCharCode(byte);
        },
      });
      flushTlb(this.vm.mem, vcpu.cpu);
      this.vcpus.push(vcpu);
    }
  }

  #actor(id: number, name: string): Actor {
    const { mem } = this.vm;
    const checks = new LockChecks({ actor: name, onFinding: (finding) => this.lockFindings.push(finding) });
    return new Actor({ id, name, mem, checks, spinLimit: 0 });
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
    return this.alone(hook(this.control, this.vm));
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

  /** vCPU `index` makes these accesses; `seen` gets the value of each read. */
  *program(index: number, accesses: readonly Access[], seen: bigint[] = []): Path<void> {
    const vcpu = this.vcpus[index]!;
    yield* vcpu.enterSrcu();
    for (const access of accesses) {
      if (!(yield* runAccess(vcpu, access))) break;
      if (access.kind === 'read') seen.push(vcpu.value);
    }
    yield* vcpu.leaveSrcu();
  }

  vcpuRunner(index: number, accesses: readonly Access[], seen: bigint[] = []): Runner {
    return {
      name: `vcpu ${index}`,
      waiter: this.vcpus[index]!.actor,
      path: this.program(index, accesses, seen),
    };
  }

  /** The receiver thread with a tool behind it. */
  toolRunner(tool: Tool): Runner {
    const { vm, session, receiver, events, answers } = this;
    function* serve(): Path<void> {
      const bell = vm.word('RECEIVER_BELL');
      for (;;) {
        yield reading(bell);
        const seen = vm.mem.load(bell);
        for (let message = yield* session.poll(); message !== null; message = yield* session.poll()) {
          if (message.kind === 'answer') {
            answers.push(message);
            continue;
          }
          events.push(message.event);
          const action = yield* tool(message.event, session);
          yield* session.reply(message.event.vcpu, message.event.seq, action);
        }
        receiver.expect = seen;
        yield waiting(bell);
      }
    }
    return { name: 'receiver', waiter: receiver, path: serve(), background: true };
  }

  controlRunner(path: Path<unknown>): Runner {
    return { name: 'control', waiter: this.control, path };
  }

  /** How long a runner tends to go on (see together.ts). */
  stay = 0;

  together(seed: number, ...runners: Runner[]): void {
    together(runners, { mem: this.vm.mem, seed, stay: this.stay });
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
