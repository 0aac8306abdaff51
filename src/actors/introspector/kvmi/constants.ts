/** Ids and values of the KVMI wire, v12. Official spelling; nothing else in the project types these numbers. */

// VM messages are even, vCPU messages odd.
export const KVMI_VM_EVENT = 0;
export const KVMI_VCPU_EVENT = 1;
export const KVMI_VM_PAUSE_VCPU = 16;
export const KVMI_VM_SET_PAGE_ACCESS = 20;
export const KVMI_VCPU_GET_INFO = 3;
export const KVMI_VCPU_CONTROL_EVENTS = 5;
export const KVMI_VCPU_GET_REGISTERS = 7;
export const KVMI_VCPU_SET_REGISTERS = 9;

export const KVMI_VM_EVENT_UNHOOK = 0;
export const KVMI_VCPU_EVENT_PAUSE = 1;
export const KVMI_VCPU_EVENT_PF = 17;

export const KVMI_EVENT_ACTION_CONTINUE = 0;
export const KVMI_EVENT_ACTION_RETRY = 1;
export const KVMI_EVENT_ACTION_CRASH = 2;

export const KVMI_PAGE_ACCESS_R = 1;
export const KVMI_PAGE_ACCESS_W = 2;
export const KVMI_PAGE_ACCESS_X = 4;

/** gva of an event that has none. */
export const UNMAPPED_GVA = 0xffff_ffff_ffff_ffffn;

/** kvm_regs: rax rbx rcx rdx rsi rdi rsp rbp r8…r15 rip rflags. */
export const KVM_REGS_BYTES = 144;

/** Pending pauses of one vCPU above this: EBUSY. */
export const PAUSE_REQUESTS_MAX = 1001;

/** Internal to the machine: release this vCPU from introspection (the connection is gone). Not on the wire. */
export const JOB_RELEASE = 0x10000;
