/**
 * Registers and bits of the local APIC and the I/O APIC.
 *
 * @source Intel SDM vol. 3A, "Advanced Programmable Interrupt Controller (APIC)", "Local APIC Register Address Map",
 *         "x2APIC Register Address Space"; 82093AA I/O Advanced Programmable Interrupt Controller (IOAPIC) datasheet
 */
export const LAPIC_GPA = 0xfee0_0000;
export const IOAPIC_GPA = 0xfec0_0000;
export const APIC_BYTES = 0x1000;

// Registers by number: the offset in the page is 16 times that, the x2APIC MSR is 0x800 plus it.
export const APIC_ID = 0x02;
export const APIC_VERSION = 0x03;
export const APIC_TPR = 0x08;
export const APIC_APR = 0x09;
export const APIC_PPR = 0x0a;
export const APIC_EOI = 0x0b;
export const APIC_RRD = 0x0c;
export const APIC_LDR = 0x0d;
export const APIC_DFR = 0x0e;
export const APIC_SVR = 0x0f;
export const APIC_ISR = 0x10;
export const APIC_TMR = 0x18;
export const APIC_IRR = 0x20;
export const APIC_ESR = 0x28;
export const APIC_LVT_CMCI = 0x2f;
export const APIC_ICR_LOW = 0x30;
export const APIC_ICR_HIGH = 0x31;
export const APIC_LVT_TIMER = 0x32;
export const APIC_LVT_ERROR = 0x37;
export const APIC_INITIAL_COUNT = 0x38;
export const APIC_CURRENT_COUNT = 0x39;
export const APIC_DIVIDE = 0x3e;
/** x2APIC only. */
export const APIC_SELF_IPI = 0x3f;

/** First MSR of the x2APIC, and how many there are. */
export const MSR_X2APIC = 0x800;
export const X2APIC_MSRS = 0x40;

/** Version 0x14, six LVT entries, no suppression of EOI broadcasts. */
export const APIC_VERSION_VALUE = 0x14 | (5 << 16);
export const LAPIC_SVR_ENABLE = 1 << 8;
export const SVR_RESET = 0xff;

export const LVT_MASKED = 1 << 16;
export const LVT_PENDING = 1 << 12;
export const LVT_TIMER_PERIODIC = 1 << 17;
export const LVT_TIMER_DEADLINE = 1 << 18;

// Delivery modes, in bits 10:8 of an LVT entry, ICR, redirection entry.
export const DELIVER_FIXED = 0;
export const DELIVER_LOWEST = 1;
export const DELIVER_SMI = 2;
export const DELIVER_NMI = 4;
export const DELIVER_INIT = 5;
export const DELIVER_STARTUP = 6;
export const DELIVER_EXTINT = 7;

export const ICR_LOGICAL = 1 << 11;
export const ICR_ASSERT = 1 << 14;
export const ICR_LEVEL = 1 << 15;
/** Bits 19:18: 0 the destination field, 1 self, 2 all, 3 all but self. */
export const ICR_SHORTHAND_SHIFT = 18;

export const ESR_SEND_ILLEGAL = 1 << 5;
export const ESR_RECEIVE_ILLEGAL = 1 << 6;
export const ESR_REGISTER = 1 << 7;

// I/O APIC.
export const IOAPIC_PINS = 24;
export const IOAPIC_VERSION_VALUE = 0x20 | ((IOAPIC_PINS - 1) << 16);
export const REDIRECTION_LOGICAL = 1n << 11n;
export const REDIRECTION_STATUS = 1n << 12n;
export const REDIRECTION_LOW_ACTIVE = 1n << 13n;
export const REDIRECTION_REMOTE_IRR = 1n << 14n;
export const REDIRECTION_LEVEL = 1n << 15n;
export const REDIRECTION_MASKED = 1n << 16n;
export const REDIRECTION_DESTINATION_SHIFT = 56n;

/** APIC_BASE: x2APIC mode. */
export const APIC_BASE_X2APIC = 1n << 10n;
