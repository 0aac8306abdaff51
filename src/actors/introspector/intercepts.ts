/**
 * What the tool wants one vCPU to stop for, and what it has given it to do: known to the vCPU's thread alone, changed by
 * its jobs, forgotten when it is released.
 *
 * @source include/linux/kvmi_host.h: struct kvm_vcpu_introspection; arch/x86/include/asm/kvmi_host.h
 */

/** An exception as KVMI's structs have it. */
export interface InjectedException {
  readonly nr: number;
  readonly errorCode: number;
  /** #PF: goes to CR2. */
  readonly address: bigint;
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

  clear(): void {
    this.crs.clear();
    this.msrs.clear();
    this.singleStep = false;
    this.injection = null;
  }
}
