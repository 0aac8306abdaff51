/**
 * Ids of wire-7, the older form of KVMI: libkvmi's releases and LibVMI speak it. Names as in libkvmi, which differ from
 * those of wire-12 (constants.ts) and from the kernel's of that time. What both have in common (actions, page access,
 * descriptors, sizes) is in constants.ts.
 *
 * @source libkvmi master: include/linux/kvmi.h; kernel branch kvmi-v7: include/uapi/linux/kvmi.h
 */

/** The reply to an event of a vCPU. */
export const KVMI_EVENT_REPLY = 0;
/** Any event. */
export const KVMI_EVENT = 1;
export const KVMI_GET_VERSION = 2;
export const KVMI_CHECK_COMMAND = 3;
export const KVMI_CHECK_EVENT = 4;
export const KVMI_GET_GUEST_INFO = 5;
export const KVMI_GET_VCPU_INFO = 6;
export const KVMI_PAUSE_VCPU = 7;
export const KVMI_CONTROL_VM_EVENTS = 8;
export const KVMI_CONTROL_EVENTS = 9;
export const KVMI_CONTROL_CR = 10;
export const KVMI_CONTROL_MSR = 11;
export const KVMI_GET_REGISTERS = 13;
export const KVMI_SET_REGISTERS = 14;
export const KVMI_GET_CPUID = 15;
export const KVMI_GET_XSAVE = 16;
export const KVMI_READ_PHYSICAL = 17;
export const KVMI_WRITE_PHYSICAL = 18;
export const KVMI_INJECT_EXCEPTION = 19;
export const KVMI_SET_PAGE_ACCESS = 21;
export const KVMI_GET_MTRR_TYPE = 23;
export const KVMI_CONTROL_SPP = 24;
export const KVMI_SET_PAGE_WRITE_BITMAP = 26;
export const KVMI_CONTROL_CMD_RESPONSE = 27;
export const KVMI_SET_VE_INFO_PAGE = 28;
export const KVMI_GET_MAX_GFN = 29;
export const KVMI_SWITCH_EPT_VIEW = 32;
export const KVMI_DISABLE_VE = 33;
export const KVMI_GET_EPT_VIEW = 34;
export const KVMI_VCPU_TRANSLATE_GVA = 35;
export const KVMI_CONTROL_EPT_VIEW = 36;
export const KVMI_VCPU_GET_XCR = 37;
export const KVMI_VCPU_SET_XSAVE = 38;
export const KVMI_CREATE_EPT_VIEW = 43;
export const KVMI_DESTROY_EPT_VIEW = 44;
export const KVMI_VCPU_CONTROL_SINGLESTEP = 63;
/** Message ids end before it. */
export const KVMI_NUM_MESSAGES = 64;

export const KVMI_EVENT_UNHOOK = 0;
export const KVMI_EVENT_CR = 1;
export const KVMI_EVENT_MSR = 2;
export const KVMI_EVENT_XSETBV = 3;
export const KVMI_EVENT_BREAKPOINT = 4;
export const KVMI_EVENT_HYPERCALL = 5;
export const KVMI_EVENT_PF = 6;
export const KVMI_EVENT_TRAP = 7;
export const KVMI_EVENT_DESCRIPTOR = 8;
export const KVMI_EVENT_CREATE_VCPU = 9;
export const KVMI_EVENT_PAUSE_VCPU = 10;
export const KVMI_EVENT_SINGLESTEP = 11;
export const KVMI_EVENT_CMD_ERROR = 12;
export const KVMI_EVENT_CPUID = 13;
/** Event ids end before it. */
export const KVMI_NUM_EVENTS = 14;

/** EPT views that a number may name; there is one here, number 0. */
export const KVM_MAX_EPT_VIEWS = 3;

/** kvmi_control_cmd_response.flags: errors of commands without a reply are told by an event. */
export const CMD_RESPONSE_WITH_EVENT = 1;
