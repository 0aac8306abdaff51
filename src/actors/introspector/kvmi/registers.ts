/**
 * KVM's register structs, which KVMI's messages carry whole.
 *
 * @source arch/x86/include/uapi/asm/kvm.h: kvm_regs, kvm_sregs, kvm_segment, kvm_dtable
 */
import { blob, pad, wireStruct } from './wire-struct.ts';

export const kvm_regs = wireStruct('kvm_regs', {
  rax: 'u64',
  rbx: 'u64',
  rcx: 'u64',
  rdx: 'u64',
  rsi: 'u64',
  rdi: 'u64',
  rsp: 'u64',
  rbp: 'u64',
  r8: 'u64',
  r9: 'u64',
  r10: 'u64',
  r11: 'u64',
  r12: 'u64',
  r13: 'u64',
  r14: 'u64',
  r15: 'u64',
  rip: 'u64',
  rflags: 'u64',
});

export const kvm_segment = wireStruct('kvm_segment', {
  base: 'u64',
  limit: 'u32',
  selector: 'u16',
  type: 'u8',
  present: 'u8',
  dpl: 'u8',
  db: 'u8',
  s: 'u8',
  l: 'u8',
  g: 'u8',
  avl: 'u8',
  unusable: 'u8',
  padding: pad(1),
});
export const kvm_dtable = wireStruct('kvm_dtable', { base: 'u64', limit: 'u16', padding: pad(6) });
const SEGMENT = blob(kvm_segment.bytes, kvm_segment);
const DTABLE = blob(kvm_dtable.bytes, kvm_dtable);
export const kvm_sregs = wireStruct('kvm_sregs', {
  cs: SEGMENT,
  ds: SEGMENT,
  es: SEGMENT,
  fs: SEGMENT,
  gs: SEGMENT,
  ss: SEGMENT,
  tr: SEGMENT,
  ldt: SEGMENT,
  gdt: DTABLE,
  idt: DTABLE,
  cr0: 'u64',
  cr2: 'u64',
  cr3: 'u64',
  cr4: 'u64',
  cr8: 'u64',
  efer: 'u64',
  apic_base: 'u64',
  interrupt_bitmap: blob(32),
});
