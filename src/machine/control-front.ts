/** VM control as the main thread calls it: what userspace does to a virtual machine by ioctl. */
import { CommandError, errnoName } from '../actors/introspector/command-error.ts';
import type { Allowed, WireVersion } from '../actors/introspector/introspector.api.ts';
import type { ControlApi, ScriptSource } from '../actors/mmu/control.api.ts';
import type { CheckResult } from '../actors/mmu/invariants.ts';
import { SimError } from '../shared/errors.ts';
import type { ThreadCalls } from './actor-thread.ts';
import { describeRegion, type MemoryRegion, slotRequest } from './options.ts';

export class ControlFront {
  readonly #calls: ThreadCalls<ControlApi>;
  readonly #attach: () => Promise<void>;
  readonly #allowed: Allowed;
  readonly #wire: WireVersion;

  /**
   * @param attach   begins the introspector's session once the machine is hooked
   * @param allowed  what a tool may use from the start of each session
   * @param wire     whose ids commands and events have
   */
  constructor(
    calls: ThreadCalls<ControlApi>,
    attach: () => Promise<void>,
    allowed: Allowed,
    wire: WireVersion,
  ) {
    this.#calls = calls;
    this.#attach = attach;
    this.#allowed = allowed;
    this.#wire = wire;
  }

  /**
   * KVM_SET_USER_MEMORY_REGION: creates, deletes (0 bytes), moves or changes the flags of a memslot, under running
   * vCPUs. Settles when every reader of the old memslots is gone.
   *
   * @throws SimError SIM_MEMSLOT with the kernel's errno in its message: EINVAL, EEXIST, ENOMEM
   */
  async setMemoryRegion(region: MemoryRegion): Promise<void> {
    const request = slotRequest(region);
    const error = await this.#calls.call((remote) => remote.setMemoryRegion(request));
    if (error !== 0) {
      throw new SimError('SIM_MEMSLOT', `${describeRegion(request)}: ${errnoName(error)}`, {
        hint: 'a slot lies in whole pages, overlaps no other, and only moves or changes its flags once it exists',
      });
    }
  }

  /**
   * Begins introspection: a new session, and the tool is attached to it.
   *
   * @throws CommandError EEXIST when it is introspected already, EAGAIN while a vCPU is still leaving the last session
   */
  async hook(): Promise<void> {
    const result = await this.#calls.call((remote) => remote.hook(this.#allowed));
    if (result < 0) throw new CommandError('hook', result);
    await this.#attach();
  }

  /**
   * KVM_INTROSPECTION_COMMAND, KVM_INTROSPECTION_EVENT: lets the tool of the present session use a command or an event, or
   * takes it away.
   *
   * @param id  KVMI's, of wire-12 unless the machine was made for wire-7; −1 for all
   * @throws CommandError EINVAL, EFAULT when the machine is not introspected, EPERM for a command that is always allowed
   */
  async allow(what: 'command' | 'event', id: number, allowed: boolean): Promise<void> {
    const result = await this.#calls.call((remote) => remote.allow(what, id, allowed ? 1 : 0, this.#wire));
    if (result < 0) throw new CommandError('allow', result);
  }

  /** Ends introspection, and forgets all page access. @returns false when the machine was not introspected */
  unhook(): Promise<boolean> {
    return this.#calls.call((remote) => remote.unhook());
  }

  /**
   * Parks the vCPUs and checks all invariants.
   *
   * @param giveUpMs  how long those that have parked wait for one that is with the tool
   * @returns null when not everyone could be parked
   */
  checkInvariants(giveUpMs = 1000): Promise<CheckResult | null> {
    return this.#calls.call((remote) => remote.checkInvariants(giveUpMs));
  }

  /** For the machine itself. */
  runScript(source: ScriptSource): Promise<void> {
    return this.#calls.call((remote) => remote.runScript(source));
  }
}
