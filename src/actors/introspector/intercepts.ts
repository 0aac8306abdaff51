/**
 * What the tool wants one vCPU to stop for, and what it has given it to do: known to the vCPU's thread alone, changed by
 * its jobs, forgotten when it is released.
 *
 * @source include/linux/kvmi_host.h: struct kvm_vcpu_introspection; arch/x86/include/asm/kvmi_host.h
 */

import type { EventReply, ReadContext } from './kvmi/messages.ts';

/** An exception as KVMI's structs have it. */
export interface InjectedException {
  readonly nr: number;
  readonly errorCode: number;
  /** #PF: goes to CR2. */
  readonly address: bigint;
}

const NO_REPLY: EventReply = { action: 0, value: 0n, context: null, repComplete: false };

/**
 * One emulated instruction, as far as replies to its PF events shape it.
 *
 * @source kernel branch kvmi-v7, virt/kvm/introspection/kvmi.c: kvmi_init_emulate, use_custom_input,
 *         kvmi_activate_rep_complete
 */
class EmulatedInsn {
  #context: ReadContext | null = null;
  #repComplete = false;
  /** A cycle of REP has passed since the tool wanted no more events of it. */
  silent = false;

  /** Another instruction. */
  begin(): void {
    this.#context = null;
    this.#repComplete = false;
    this.silent = false;
  }

  /** Its next cycle, with REP. */
  nextCycle(): void {
    this.silent = this.#repComplete;
  }

  /** CONTINUE, to a PF event. */
  answered({ context, repComplete }: EventReply): void {
    this.#context = context;
    this.#repComplete = repComplete;
  }

  /** What the tool has given for a read, zero extended. Null for nothing, or not for all of it. */
  given(gva: bigint, bytes: number): bigint | null {
    if (this.#context === null) return null;
    const { gva: from, data } = this.#context;
    const at = gva - from;
    if (at < 0n || at + BigInt(bytes) > BigInt(data.length)) return null;
    let value = 0n;
    for (let i = bytes - 1; i >= 0; i--) value = (value << 8n) | BigInt(data[Number(at) + i]!);
    return value;
  }
}

export class Intercepts {
  /** Control registers whose changes are reported. */
  readonly crs = new Set<number>();
  /** MSRs whose changes are reported. */
  readonly msrs = new Set<number>();
  /** An event after each instruction. */
  singleStep = false;
  /** To be taken by the guest before its next instruction. */
  injection: InjectedException | null = null;
  /** The tool has been told of it. */
  reported = false;
  /** The last reply that was accepted. */
  reply: EventReply = NO_REPLY;
  /** What replies of wire-7 have said about the rest of this instruction. */
  readonly insn = new EmulatedInsn();

  clear(): void {
    this.crs.clear();
    this.msrs.clear();
    this.singleStep = false;
    this.injection = null;
    this.insn.begin();
  }
}
