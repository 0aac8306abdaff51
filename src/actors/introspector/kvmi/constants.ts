/**
 * Ids and values of the KVMI wire, v12, and what it has in common with v7 (constants-7.ts). Official spelling; nothing
 * else in the project types these numbers.
 */

export const KVMI_VERSION = 1;

// VM messages are even, vCPU messages odd.
export const KVMI_VM_EVENT = 0;
export const KVMI_GET_VERSION = 2;
export const KVMI_VM_CHECK_COMMAND = 4;
export const KVMI_VM_CHECK_EVENT = 6;
export const KVMI_VM_GET_INFO = 8;
export const KVMI_VM_CONTROL_EVENTS = 10;
export const KVMI_VM_READ_PHYSICAL = 12;
export const KVMI_VM_WRITE_PHYSICAL = 14;
export const KVMI_VM_PAUSE_VCPU = 16;
export const KVMI_VM_CONTROL_CLEANUP = 18;
export const KVMI_VM_SET_PAGE_ACCESS = 20;

/** An event of a vCPU, and the reply to it. */
export const KVMI_VCPU_EVENT = 1;
export const KVMI_VCPU_GET_INFO = 3;
export const KVMI_VCPU_CONTROL_EVENTS = 5;
export const KVMI_VCPU_GET_REGISTERS = 7;
export const KVMI_VCPU_SET_REGISTERS = 9;
export const KVMI_VCPU_GET_CPUID = 11;
export const KVMI_VCPU_CONTROL_CR = 13;
export const KVMI_VCPU_INJECT_EXCEPTION = 15;
export const KVMI_VCPU_GET_XCR = 17;
export const KVMI_VCPU_GET_XSAVE = 19;
export const KVMI_VCPU_SET_XSAVE = 21;
export const KVMI_VCPU_GET_MTRR_TYPE = 23;
export const KVMI_VCPU_CONTROL_MSR = 25;
export const KVMI_VCPU_CONTROL_SINGLESTEP = 27;
export const KVMI_VCPU_TRANSLATE_GVA = 29;
/** Message ids end before it. */
export const KVMI_NEXT_COMMAND = 30;

export const KVMI_VM_EVENT_UNHOOK = 0;
export const KVMI_VCPU_EVENT_PAUSE = 1;
export const KVMI_VCPU_EVENT_HYPERCALL = 3;
export const KVMI_VCPU_EVENT_BREAKPOINT = 5;
export const KVMI_VCPU_EVENT_CR = 7;
export const KVMI_VCPU_EVENT_TRAP = 9;
export const KVMI_VCPU_EVENT_XSETBV = 11;
export const KVMI_VCPU_EVENT_DESCRIPTOR = 13;
export const KVMI_VCPU_EVENT_MSR = 15;
export const KVMI_VCPU_EVENT_PF = 17;
export const KVMI_VCPU_EVENT_SINGLESTEP = 19;
/** Event ids end before it. */
export const KVMI_NEXT_EVENT = 20;

export const KVMI_EVENT_ACTION_CONTINUE = 0;
export const KVMI_EVENT_ACTION_RETRY = 1;
export const KVMI_EVENT_ACTION_CRASH = 2;

export const KVMI_PAGE_ACCESS_R = 1;
export const KVMI_PAGE_ACCESS_W = 2;
export const KVMI_PAGE_ACCESS_X = 4;

export const KVMI_DESC_IDTR = 1;
export const KVMI_DESC_GDTR = 2;
export const KVMI_DESC_LDTR = 3;
export const KVMI_DESC_TR = 4;

/** struct kvmi_msg_hdr: u16 id, u16 size of what follows, u32 seq. */
export const KVMI_MSG_HDR_BYTES = 8;
/** Bytes after the header of the longest message. */
export const KVMI_MAX_MSG_SIZE = 8192 - KVMI_MSG_HDR_BYTES;

/** gva of an event that has none, gpa of an address that is not mapped. */
export const UNMAPPED_GVA = 0xffff_ffff_ffff_ffffn;

/** kvm_regs: rax rbx rcx rdx rsi rdi rsp rbp r8…r15 rip rflags. */
export const KVM_REGS_BYTES = 144;
export const KVM_SREGS_BYTES = 312;
export const KVM_XSAVE_BYTES = 4096;
