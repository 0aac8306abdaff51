/**
 * Ids that the machine uses and no wire has. Inside, commands and events go by wire-12's numbers; what only wire-7 has gets
 * numbers that wire-12 does not use.
 */

export const ONLY_7_GET_MAX_GFN = 32;
export const ONLY_7_CONTROL_CMD_RESPONSE = 33;
export const ONLY_7_CONTROL_SPP = 34;
export const ONLY_7_SET_PAGE_WRITE_BITMAP = 35;
export const ONLY_7_SET_VE_INFO_PAGE = 36;
export const ONLY_7_DISABLE_VE = 37;
export const ONLY_7_SWITCH_EPT_VIEW = 38;
export const ONLY_7_GET_EPT_VIEW = 39;
export const ONLY_7_CONTROL_EPT_VIEW = 40;
export const ONLY_7_CREATE_EPT_VIEW = 41;
export const ONLY_7_DESTROY_EPT_VIEW = 42;

export const ONLY_7_EVENT_CPUID = 21;
export const ONLY_7_EVENT_CREATE_VCPU = 23;
export const ONLY_7_EVENT_CMD_ERROR = 25;

/** A reply to an event that no vCPU waits for, wire-7. Answered like a command, inside the machine only. */
export const JOB_STRAY_REPLY = 0x10001;
/** Release this vCPU from introspection: the connection is gone. */
export const JOB_RELEASE = 0x10000;
