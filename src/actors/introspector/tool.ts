/**
 * What a tool is, and what it may ask for: the introspection session with types instead of wire structs.
 *
 * A tool is either a module that the introspector's own thread loads (its default export is a {@link Tool}, or a
 * function of its options that makes one), or handlers given to `machine.introspector.on` in the main thread. The
 * first answers an event in the time of a thread switch, the second goes through two more threads' event loops.
 *
 * ```ts
 * const tool: Tool = {
 *   async attached(session) {
 *     await session.setPageAccess([{ gpa: 0x2000000, access: 'r--' }]);
 *   },
 *   pageFault: (event) => (event.access === 'W' ? 'retry' : 'continue'),
 * };
 * export default tool;
 * ```
 */
import type { AccessKind } from '../../shared/hub.ts';
import type { Gpa, Gva } from '../../shared/units.ts';

/**
 * What happens to the access of a page-fault event: it is carried out; the instruction starts again; the whole
 * machine goes down.
 */
export type Answer = 'continue' | 'retry' | 'crash';
/** A PAUSE event has no access to repeat. */
export type PauseAnswer = 'continue' | 'crash';

/** KVMI_VCPU_EVENT_PF: a vCPU wants to make an access that the tool has denied. */
export interface PageFaultEvent {
  readonly kind: 'pageFault';
  readonly vcpu: number;
  /** Number of the event, VM-wide. */
  readonly seq: number;
  readonly gpa: Gpa;
  /** All ones when the access has no linear address. */
  readonly gva: Gva;
  /** One of them, even for an instruction that makes several accesses: each has its own event. */
  readonly access: AccessKind;
}

/** KVMI_VCPU_EVENT_PAUSE: the vCPU stands still until this is answered. One for each `pauseVcpu`. */
export interface PauseEvent {
  readonly kind: 'pause';
  readonly vcpu: number;
  readonly seq: number;
}

export type ToolEvent = PageFaultEvent | PauseEvent;
export type ToolEventKind = ToolEvent['kind'];
export const TOOL_EVENT_KINDS: readonly ToolEventKind[] = ['pageFault', 'pause'];

/** What is still allowed on a page. `rwx` forgets the page. */
export type PageAccess = '---' | 'r--' | '-w-' | 'rw-' | '--x' | 'r-x' | '-wx' | 'rwx';

export interface PageAccessEntry {
  /** Any address in the page, bytes. */
  readonly gpa: number;
  readonly access: PageAccess;
}

/** kvm_regs: sixteen general registers, instruction pointer, flags. Unsigned 64 bits. */
export interface Registers {
  rax: bigint;
  rbx: bigint;
  rcx: bigint;
  rdx: bigint;
  rsi: bigint;
  rdi: bigint;
  rsp: bigint;
  rbp: bigint;
  r8: bigint;
  r9: bigint;
  r10: bigint;
  r11: bigint;
  r12: bigint;
  r13: bigint;
  r14: bigint;
  r15: bigint;
  rip: bigint;
  rflags: bigint;
}

/** KVMI_GET_VM_INFO. */
export interface VmInfo {
  readonly vcpuCount: number;
  /** Number of this session: each hook begins another. */
  readonly session: number;
}

/**
 * Commands. Each rejects with a CommandError when the machine refuses it, with SIM_CLOSED once the session is over.
 *
 * Inside a tool module the commands about the whole machine have already taken effect when the call returns, so a
 * handler can use them without becoming asynchronous; those about one vCPU are carried out by its thread, and settle
 * later. A command nobody awaits may fail without ending anything.
 */
export interface ToolSession {
  getInfo(): Promise<VmInfo>;
  /**
   * KVMI_VM_SET_PAGE_ACCESS. When it settles, no vCPU can make an access that is now denied without a new event.
   *
   * All entries are processed; the error is that of the first one refused, those before and after it stay applied.
   *
   * @param opts.visible  refuse (EINVAL) a page that no memslot shows, as the wire command does. Default true; with
   *                      false the access is kept and takes hold when a slot appears
   */
  setPageAccess(pages: readonly PageAccessEntry[], opts?: { readonly visible?: boolean }): Promise<void>;
  /** What the tool has left allowed on a page; `rwx` for one it never named. */
  getPageAccess(gpa: number): Promise<PageAccess>;
  /** KVMI_VCPU_CONTROL_EVENTS: does this vCPU report such events? */
  controlEvents(vcpu: number, kind: ToolEventKind, enable: boolean): Promise<void>;
  /**
   * KVMI_VM_PAUSE_VCPU: one PAUSE event will come for each call.
   *
   * @param opts.wait  settle only when the vCPU has left guest mode
   */
  pauseVcpu(vcpu: number, opts?: { readonly wait?: boolean }): Promise<void>;
  /** KVMI_VCPU_GET_REGISTERS. */
  getRegisters(vcpu: number): Promise<Registers>;
  /** KVMI_VCPU_SET_REGISTERS: only for a vCPU that waits for an answer (else EOPNOTSUPP); holds from that answer on. */
  setRegisters(vcpu: number, registers: Registers): Promise<void>;
  /** KVMI_VM_READ_PHYSICAL: within one page. No restriction applies, no event is raised. */
  readPhysical(gpa: number, bytes: number): Promise<Uint8Array>;
  /** KVMI_VM_WRITE_PHYSICAL: within one page; not synchronised with running vCPUs. */
  writePhysical(gpa: number, data: Uint8Array): Promise<void>;
  /** Ends the session as a lost connection would: vCPUs that wait go on, nothing is introspected any more. */
  close(): Promise<void>;
}

/** Handlers, all optional. An event without a handler is answered `continue`. */
export interface Tool {
  /** The session begins; the machine does not start before this has settled. Its events are on already. */
  attached?(session: ToolSession): void | Promise<void>;
  /** While a promised answer is due, events of other vCPUs are still delivered; answers may come in any order. */
  pageFault?(event: PageFaultEvent, session: ToolSession): Answer | Promise<Answer>;
  pause?(event: PauseEvent, session: ToolSession): PauseAnswer | Promise<PauseAnswer>;
  /** The session is over: the machine ended, was unhooked, or the tool failed. */
  detached?(reason: string): void;
}

/** Default export of a tool module. */
export type ToolModule = Tool | ((options: unknown) => Tool | Promise<Tool>);
