/**
 * What a vCPU is like, as KVMI's structs have it: kvm_regs, kvm_sregs, and the registers that every event carries.
 *
 * Segments have no hidden parts here: in 64-bit mode they follow from the selector and the privilege level.
 *
 * @source arch/x86/include/uapi/asm/kvm.h: kvm_regs, kvm_sregs, kvm_segment, kvm_dtable; arch/x86/kvm/kvmi.c:
 *         kvmi_arch_setup_vcpu_event
 */
import { CPU } from '../../shared/layout/cpu.ts';
import {
  SEG_CS,
  SEG_DS,
  SEG_ES,
  SEG_FS,
  SEG_GS,
  SEG_LDTR,
  SEG_SS,
  SEG_TR,
  SELECTOR_RPL,
  TYPE_LDT,
  TYPE_TSS_BUSY,
} from '../../shared/x86/descriptors.ts';
import { RFLAGS_FIXED } from '../../shared/x86/rflags.ts';
import type { Vm } from '../mmu/vm.ts';
import { KVM_REGS_BYTES, KVM_SREGS_BYTES } from './kvmi/constants.ts';
import type { kvmi_vcpu_event } from './kvmi/protocol.ts';
import { kvm_dtable, kvm_segment, kvm_sregs } from './kvmi/registers.ts';
import type { WireValues } from './kvmi/wire-struct.ts';

/** Order of general registers in kvm_regs, as x86 encoding numbers. */
export const KVM_REGS_ORDER = [0, 3, 1, 2, 6, 7, 4, 5, 8, 9, 10, 11, 12, 13, 14, 15] as const;

/** 64-bit code: the only mode there is. */
export const MODE_LONG = 8;

/** kvm_regs from a CPU area. `rflags` comes from whoever knows the lazy flags. */
export function readKvmRegs(vm: Vm, index: number, rflags: bigint): Uint8Array<ArrayBuffer> {
  const regs = new Uint8Array(KVM_REGS_BYTES);
  const view = new DataView(regs.buffer);
  const cpu = vm.cpu(index);
  for (const [i, reg] of KVM_REGS_ORDER.entries()) {
    view.setBigUint64(i * 8, vm.mem.u64[(cpu + CPU.at.GPR) / 8 + reg]!, true);
  }
  view.setBigUint64(128, vm.mem.u64[(cpu + CPU.at.RIP) / 8]!, true);
  view.setBigUint64(136, rflags, true);
  return regs;
}

/** kvm_sregs from a CPU area. */
export function readKvmSregs(vm: Vm, index: number): Uint8Array<ArrayBuffer> {
  const words = new CpuWords(vm, index);
  const sregs = kvm_sregs.encode({
    cs: codeSegment(words),
    ds: dataSegment(words, SEG_DS),
    es: dataSegment(words, SEG_ES),
    fs: dataSegment(words, SEG_FS, words.u64('FS_BASE')),
    gs: dataSegment(words, SEG_GS, words.u64('GS_BASE')),
    ss: dataSegment(words, SEG_SS),
    tr: systemSegment(words, SEG_TR, TYPE_TSS_BUSY),
    ldt: systemSegment(words, SEG_LDTR, TYPE_LDT),
    gdt: kvm_dtable.encode({ base: words.u64('GDTR_BASE'), limit: words.u32('GDTR_LIMIT') }),
    idt: kvm_dtable.encode({ base: words.u64('IDTR_BASE'), limit: words.u32('IDTR_LIMIT') }),
    cr0: words.u64('CR0'),
    cr2: words.u64('CR2'),
    cr3: words.u64('CR3'),
    cr4: words.u64('CR4'),
    cr8: words.u64('CR8'),
    efer: words.u64('EFER'),
    apic_base: words.u64('APIC_BASE'),
  });
  return sregs.subarray(0, KVM_SREGS_BYTES);
}

/** What every event says of its vCPU. */
export type EventState = Omit<WireValues<(typeof kvmi_vcpu_event)['fields']>, 'size'>;

/**
 * What an event says of a vCPU that waits for its reply: it has settled its flags, and changes nothing until it has it.
 */
export function readEventState(vm: Vm, index: number): EventState {
  const words = new CpuWords(vm, index);
  // SHARED: plain reads. Whoever took the event from the vCPU's ring sees what it had written before.
  const rflags = words.u64('RFLAGS') | words.u64('FLAGS_RESULT_A') | BigInt(RFLAGS_FIXED);
  return {
    vcpu: index,
    mode: MODE_LONG,
    regs: readKvmRegs(vm, index, rflags),
    sregs: readKvmSregs(vm, index),
    efer: words.u64('EFER'),
    star: words.u64('STAR'),
    lstar: words.u64('LSTAR'),
    cstar: words.u64('CSTAR'),
    pat: words.u64('PAT'),
    shadow_gs: words.u64('KERNEL_GS_BASE'),
    sysenter_cs: 0n,
    sysenter_esp: 0n,
    sysenter_eip: 0n,
  };
}

class CpuWords {
  readonly #vm: Vm;
  readonly #cpu: number;

  constructor(vm: Vm, index: number) {
    this.#vm = vm;
    this.#cpu = vm.cpu(index);
  }

  u64(name: keyof typeof CPU.at): bigint {
    return this.#vm.mem.u64[(this.#cpu + CPU.at[name]) / 8]!;
  }
  u32(name: keyof typeof CPU.at, index = 0): number {
    return this.#vm.mem.u32[((this.#cpu + CPU.at[name]) >>> 2) + index]!;
  }
}

const FLAT_LIMIT = 0xffff_ffff;
/** Execute, read, accessed. */
const CODE_TYPE = 0xb;
/** Read, write, accessed. */
const DATA_TYPE = 3;

function codeSegment(words: CpuWords): Uint8Array {
  return kvm_segment.encode({
    limit: FLAT_LIMIT,
    selector: words.u32('SELECTORS', SEG_CS),
    type: CODE_TYPE,
    present: 1,
    dpl: words.u32('CPL'),
    s: 1,
    l: 1,
    g: 1,
  });
}

function dataSegment(words: CpuWords, segment: number, base = 0n): Uint8Array {
  const selector = words.u32('SELECTORS', segment);
  if ((selector & ~SELECTOR_RPL) === 0) return kvm_segment.encode({ base, selector, unusable: 1 });
  return kvm_segment.encode({
    base,
    limit: FLAT_LIMIT,
    selector,
    type: DATA_TYPE,
    present: 1,
    dpl: words.u32('SEGMENT_DPL', segment),
    db: 1,
    s: 1,
    g: 1,
  });
}

function systemSegment(words: CpuWords, segment: number, type: number): Uint8Array {
  const selector = words.u32('SELECTORS', segment);
  const name = segment === SEG_TR ? 'TR' : 'LDTR';
  const base = words.u64(`${name}_BASE`);
  const limit = words.u32(`${name}_LIMIT`);
  if ((selector & ~SELECTOR_RPL) === 0) return kvm_segment.encode({ selector, unusable: 1 });
  return kvm_segment.encode({ base, limit, selector, type, present: 1 });
}
