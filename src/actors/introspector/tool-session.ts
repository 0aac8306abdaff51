/**
 * The session's commands as a tool calls them, in the introspector's own thread: typed values in, promises out.
 *
 * A command about the whole machine has happened when the call returns. One about a vCPU is a job for that vCPU's
 * thread; its answer is matched here by sequence number and vCPU.
 */
import { SimError } from '../../shared/errors.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import { drive, type Path } from '../../shared/sync/point.ts';
import { EINVAL, ENOENT } from '../mmu/errno.ts';
import type { Vm } from '../mmu/vm.ts';
import { CommandError } from './command-error.ts';
import { kvmi_vcpu_get_registers_reply } from './kvmi/protocol.ts';
import type { Session, SessionMessage } from './session.ts';
import type { PageAccess, PageAccessEntry, Registers, ToolEventKind, ToolSession, VmInfo } from './tool.ts';
import { accessBits, accessText, decodeRegisters, EVENT_IDS, encodeRegisters } from './tool-values.ts';

interface PendingCommand {
  readonly command: string;
  readonly vcpu: number;
  readonly resolve: (data: Uint8Array) => void;
  readonly reject: (error: Error) => void;
}

export class LocalSession implements ToolSession {
  readonly #actor: Actor;
  readonly #vm: Vm;
  readonly #session: Session;
  readonly #onClose: () => void;
  readonly #pending = new Map<number, PendingCommand>();
  #over = false;

  /** `onClose`: the tool wants the session to end. */
  constructor(actor: Actor, vm: Vm, session: Session, onClose: () => void) {
    this.#actor = actor;
    this.#vm = vm;
    this.#session = session;
    this.#onClose = onClose;
  }

  getInfo(): Promise<VmInfo> {
    const { mem, vcpuCount } = this.#vm;
    return this.#now(() => ({ vcpuCount, session: mem.load(this.#vm.word('KVMI_SESSION')) }));
  }

  setPageAccess(pages: readonly PageAccessEntry[], opts: { readonly visible?: boolean } = {}): Promise<void> {
    return this.#now(() => {
      // A text that is no access becomes bits that the session refuses, so that it counts as one of the batch.
      const entries = pages.map(({ gpa, access }) => ({ gpa, access: accessBits(access) }));
      const needSlot = opts.visible ?? true;
      this.#check('setPageAccess', () => this.#session.setPagesAccess(entries, { needSlot }));
    });
  }

  getPageAccess(gpa: number): Promise<PageAccess> {
    return this.#now(() => accessText(this.#check('getPageAccess', () => this.#session.getPageAccess(gpa))));
  }

  controlEvents(vcpu: number, kind: ToolEventKind, enable: boolean): Promise<void> {
    const id = EVENT_IDS[kind];
    if (id === undefined) return refused(new CommandError('controlEvents', -EINVAL, `'${kind}' is no event`));
    const path = () => this.#session.controlEvents(vcpu, id, enable);
    return quiet(this.#job('controlEvents', vcpu, path).then(() => undefined));
  }

  pauseVcpu(vcpu: number, opts: { readonly wait?: boolean } = {}): Promise<void> {
    return this.#now(() => {
      this.#mustLive('pauseVcpu', vcpu);
      this.#check('pauseVcpu', () => this.#session.pause(vcpu, opts.wait ?? false));
    });
  }

  getRegisters(vcpu: number): Promise<Registers> {
    return quiet(
      this.#job('getRegisters', vcpu, () => this.#session.getRegisters(vcpu)).then((data) =>
        decodeRegisters(kvmi_vcpu_get_registers_reply.decode(data).regs),
      ),
    );
  }

  setRegisters(vcpu: number, registers: Registers): Promise<void> {
    const bytes = encodeRegisters(registers);
    if (bytes === null) {
      return refused(new CommandError('setRegisters', -EINVAL, 'a register is no unsigned 64-bit bigint'));
    }
    return quiet(
      this.#job('setRegisters', vcpu, () => this.#session.setRegisters(vcpu, bytes)).then(() => undefined),
    );
  }

  readPhysical(gpa: number, bytes: number): Promise<Uint8Array> {
    return this.#now(() => {
      const data = drive(this.#actor, this.#session.readPhysical(gpa, bytes));
      if (data === null) throw new CommandError('readPhysical', -ENOENT, where(gpa, bytes));
      return data;
    });
  }

  writePhysical(gpa: number, data: Uint8Array): Promise<void> {
    return this.#now(() => {
      this.#check('writePhysical', () => this.#session.writePhysical(gpa, data), where(gpa, data.length));
    });
  }

  close(): Promise<void> {
    return this.#now(() => this.#onClose());
  }

  // ── for the host of the tool ──────────────────────────────────────────────────────────────────────────────

  /** Is a command still to be answered? Then somebody has to look whether its vCPU has ended. */
  get waits(): boolean {
    return this.#pending.size > 0;
  }

  answered(message: Extract<SessionMessage, { kind: 'answer' }>): void {
    const pending = this.#pending.get(message.seq);
    if (pending === undefined || pending.vcpu !== message.vcpu) return;
    this.#pending.delete(message.seq);
    if (message.error === 0) pending.resolve(message.data);
    else pending.reject(new CommandError(pending.command, message.error));
  }

  /** Gives up commands to vCPUs whose thread has ended. Call it when their last messages have been taken. */
  giveUpEnded(): void {
    for (const [seq, { command, vcpu, reject }] of this.#pending) {
      if (!this.#ended(vcpu)) continue;
      this.#pending.delete(seq);
      reject(new CommandError(command, -ENOENT, `vCPU ${vcpu} has ended`));
    }
  }

  /** The session is over: whatever is outstanding, and whatever comes, is refused. */
  end(): void {
    this.#over = true;
    for (const { reject } of this.#pending.values()) reject(closed());
    this.#pending.clear();
  }

  #now<T>(body: () => T): Promise<T> {
    if (this.#over) return refused(closed());
    try {
      return Promise.resolve(body());
    } catch (error) {
      return refused(error);
    }
  }

  #job(command: string, vcpu: number, path: () => Path<number>): Promise<Uint8Array> {
    if (this.#over) return refused(closed());
    try {
      this.#mustLive(command, vcpu);
      const seq = this.#check(command, path);
      return quiet(
        new Promise((resolve, reject) => {
          this.#pending.set(seq, { command, vcpu, resolve, reject });
        }),
      );
    } catch (error) {
      return refused(error);
    }
  }

  #mustLive(command: string, vcpu: number): void {
    const exists = Number.isInteger(vcpu) && vcpu >= 0 && vcpu < this.#vm.vcpuCount;
    if (!exists) throw new CommandError(command, -EINVAL, `there is no vCPU ${vcpu}`);
    if (this.#ended(vcpu)) throw new CommandError(command, -ENOENT, `vCPU ${vcpu} has ended`);
  }

  #ended(vcpu: number): boolean {
    return this.#vm.mem.load(this.#vm.vcpuWord(vcpu, 'ENDED')) !== 0;
  }

  #check(command: string, path: () => Path<number>, why = ''): number {
    const result = drive(this.#actor, path());
    if (result < 0) throw new CommandError(command, result, why);
    return result;
  }
}

function where(gpa: number, bytes: number): string {
  return `no RAM, or more than one page: ${bytes} bytes at gpa 0x${gpa.toString(16)}`;
}

function closed(): SimError {
  return new SimError('SIM_CLOSED', 'the introspection session is over', {
    hint: 'a new one begins with control.hook()',
  });
}

/** A rejected command that the tool does not look at must not end the thread it runs in. */
function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

function refused<T>(error: unknown): Promise<T> {
  return quiet(Promise.reject(error));
}
