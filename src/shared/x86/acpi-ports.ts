/** Where the fixed ACPI registers are: the devices (actors/vcpu/platform) and the tables (image/acpi.ts) agree here. */
export const PM_EVENT_PORT = 0x600;
export const PM_CONTROL_PORT = 0x604;
export const PM_TIMER_PORT = 0x608;
export const PM_TIMER_HZ = 3_579_545;
export const RESET_PORT = 0xcf9;
/** Written to {@link RESET_PORT}. */
export const RESET_VALUE = 6;
/** SLP_TYP of \_S5: off. */
export const SLEEP_TYPE_S5 = 5;
export const SCI_IRQ = 9;
