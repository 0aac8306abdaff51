/** The introspection session as the main thread has it: the tool's commands, and handlers in place of a tool. */
import type { Duplex } from 'node:stream';
import { CommandError } from '../actors/introspector/command-error.ts';
import type { HandlerApi, IntrospectorApi } from '../actors/introspector/introspector.api.ts';
import type {
  Answer,
  PageAccess,
  PageAccessEntry,
  PageFaultEvent,
  PauseAnswer,
  PauseEvent,
  Registers,
  ToolEvent,
  ToolEventKind,
  ToolSession,
  VmInfo,
} from '../actors/introspector/tool.ts';
import { EPERM } from '../actors/mmu/errno.ts';
import { SimError } from '../shared/errors.ts';
import { transfer } from '../shared/rpc.ts';
import type { ThreadCalls } from './actor-thread.ts';
import { relay } from './stream-relay.ts';

export type PageFaultHandler = (event: PageFaultEvent) => Answer | Promise<Answer>;
export type PauseHandler = (event: PauseEvent) => PauseAnswer | Promise<PauseAnswer>;

/** What a tool on the wire has done to the machine as it comes and goes. */
export interface ToolLine {
  hook(): Promise<void>;
  unhook(): Promise<unknown>;
}

export class IntrospectorFront implements ToolSession {
  readonly #calls: ThreadCalls<IntrospectorApi>;
  readonly #handlers: Partial<Record<ToolEventKind, (event: never) => Answer | Promise<Answer>>> = {};
  readonly #pending = new Set<Promise<void>>();
  readonly #line: ToolLine;
  #sawTool: () => void = () => {};
  /** Settles when the first tool on the wire has its session. */
  readonly #firstTool = new Promise<void>((resolve) => {
    this.#sawTool = resolve;
  });
  /** What the tool module answers itself. */
  #taken: readonly ToolEventKind[] = [];

  constructor(calls: ThreadCalls<IntrospectorApi>, line: ToolLine) {
    this.#calls = calls;
    this.#line = line;
  }

  /**
   * Answers an event in this thread. The event is turned on for every vCPU; `controlEvents` can turn it off for some.
   *
   * An async handler has to say what it returns, `async (event): Promise<Answer> => …`, or TypeScript takes its answer
   * for any string. One handler for each kind: an event has one answer. Before `start` it takes hold before the guest runs, later
   * within a moment.
   *
   * @returns a function that takes the handler away again
   * @throws SimError SIM_USAGE when the tool module or another handler answers such events
   */
  on(kind: 'pageFault', handler: PageFaultHandler): () => void;
  on(kind: 'pause', handler: PauseHandler): () => void;
  on(kind: ToolEventKind, handler: PageFaultHandler | PauseHandler): () => void {
    if (this.#taken.includes(kind) || this.#handlers[kind] !== undefined) {
      const who = this.#taken.includes(kind) ? 'the tool module' : 'another handler';
      throw new SimError('SIM_USAGE', `'${kind}' is already answered by ${who}`, {
        hint: 'an event has one answer: listen to facts to watch without answering',
      });
    }
    this.#handlers[kind] = handler;
    this.#tell(kind, true);
    return () => {
      if (this.#handlers[kind] !== handler) return;
      delete this.#handlers[kind];
      this.#tell(kind, false);
    };
  }

  getInfo(): Promise<VmInfo> {
    return this.#calls.call((remote) => remote.getInfo());
  }
  setPageAccess(pages: readonly PageAccessEntry[], opts?: { readonly visible?: boolean }): Promise<void> {
    return this.#calls.call((remote) => remote.setPageAccess(pages, opts));
  }
  getPageAccess(gpa: number): Promise<PageAccess> {
    return this.#calls.call((remote) => remote.getPageAccess(gpa));
  }
  controlEvents(vcpu: number, kind: ToolEventKind, enable: boolean): Promise<void> {
    return this.#calls.call((remote) => remote.controlEvents(vcpu, kind, enable));
  }
  pauseVcpu(vcpu: number, opts?: { readonly wait?: boolean }): Promise<void> {
    return this.#calls.call((remote) => remote.pauseVcpu(vcpu, opts));
  }
  getRegisters(vcpu: number): Promise<Registers> {
    return this.#calls.call((remote) => remote.getRegisters(vcpu));
  }
  setRegisters(vcpu: number, registers: Registers): Promise<void> {
    return this.#calls.call((remote) => remote.setRegisters(vcpu, registers));
  }
  readPhysical(gpa: number, bytes: number): Promise<Uint8Array> {
    return this.#calls.call((remote) => remote.readPhysical(gpa, bytes));
  }
  writePhysical(gpa: number, data: Uint8Array): Promise<void> {
    return this.#calls.call((remote) => remote.writePhysical(gpa, data));
  }
  close(): Promise<void> {
    return this.#calls.call((remote) => remote.close());
  }

  // ── tools on the wire ─────────────────────────────────────────────────────────────────────────────────────

  /**
   * Serves a tool at the other end of a stream of bytes, handshake and all: one after the other. The stream belongs to the
   * machine from now on.
   *
   * @throws SimError SIM_USAGE for a machine that was not made with `kvmi`, or a stream of something else than bytes;
   *         SIM_CLOSED when the machine has ended
   */
  async serve(stream: Duplex): Promise<void> {
    const port = relay(stream);
    try {
      const served = await this.#calls.call((remote) => remote.accept(transfer(port, [port])));
      if (served) return;
    } catch (error) {
      stream.destroy();
      throw error;
    }
    throw new SimError('SIM_USAGE', 'this machine serves no tool on a wire', {
      hint: 'make it with { kvmi: {} }',
    });
  }

  /** Settles when a tool on the wire has begun the first session. */
  connected(): Promise<void> {
    return this.#firstTool;
  }

  /**
   * KVM_INTROSPECTION_PREUNHOOK: asks the tool on the wire to end its session, before the machine is stopped or saved.
   *
   * @throws CommandError EFAULT without a session, ENOENT when the tool has not enabled the UNHOOK event
   */
  async preUnhook(): Promise<void> {
    const result = await this.#calls.call((remote) => remote.preUnhook());
    if (result < 0) throw new CommandError('preUnhook', result);
  }

  // ── for the machine ───────────────────────────────────────────────────────────────────────────────────────

  /** Loads the tool module. @throws SimError SIM_TOOL_FAILED */
  async load(): Promise<void> {
    this.#taken = await this.#calls.call((remote) => remote.load());
  }

  /** Begins to look for tools on the wire. @throws SimError SIM_FILE */
  link(): Promise<void> {
    return this.#calls.call((remote) => remote.link());
  }

  attach(): Promise<void> {
    return this.#calls.call((remote) => remote.attach());
  }

  /** Settles when every `on` so far has taken hold. */
  async settled(): Promise<void> {
    await Promise.all(this.#pending);
  }

  /** What the introspector's thread calls. */
  readonly served: HandlerApi = {
    event: async (event: ToolEvent): Promise<Answer> => {
      // A handler that was taken away a moment ago leaves its event unanswered: nobody minds.
      const handler = this.#handlers[event.kind];
      return handler === undefined ? 'continue' : handler(event as never);
    },
    hook: () =>
      this.#errnoOf(async () => {
        await this.#line.hook();
        this.#sawTool();
      }),
    unhook: async () => {
      await this.#errnoOf(() => this.#line.unhook());
    },
  };

  /** 0, or the negative errno of what the machine refuses; −EPERM when it ends. */
  async #errnoOf(body: () => Promise<unknown>): Promise<number> {
    try {
      await body();
      return 0;
    } catch (error) {
      if (!(error instanceof SimError)) throw error;
      return -((error as Partial<CommandError>).errno ?? EPERM);
    }
  }

  #tell(kind: ToolEventKind, on: boolean): void {
    const told = this.#calls
      .call((remote) => remote.handle(kind, on))
      // The session may be over meanwhile. Then there are no events, and the machine says why.
      .catch((error: unknown) => {
        if (!(error instanceof SimError)) throw error;
      });
    this.#pending.add(told);
    void told.finally(() => this.#pending.delete(told));
  }
}
