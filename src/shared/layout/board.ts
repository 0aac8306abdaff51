/**
 * The board of a PC: what a machine with devices has beside its vCPUs. Nothing of it exists in a bare machine.
 *
 * A local APIC belongs to its vCPU: only that one reads and writes its registers. What others may do to it (post a
 * vector, INIT, a start-up) are read-modify-writes of four words, followed by REQ_INTERRUPT and a kick.
 *
 * The other devices belong to whoever holds board_lock. Time is in nanoseconds of the machine's clock
 * (actors/vcpu/platform/clock.ts), as f64: exact for a hundred days.
 */
import { f64, i32, i64, struct, u8, u32, volatile } from '../struct.ts';

const OWN = 'this vCPU';
const BOARD_LOCK = 'board_lock';

/** Entries of the local vector table, in the order of {@link LAPIC}.LVT. */
export const LVT_TIMER = 0;
export const LVT_THERMAL = 1;
export const LVT_PERFORMANCE = 2;
export const LVT_LINT0 = 3;
export const LVT_LINT1 = 4;
export const LVT_ERROR = 5;
export const LVT_COUNT = 6;

/** One local APIC. */
export const LAPIC = struct(
  'lapic',
  {
    IRR: i32('anyone (or), this vCPU (and)', 'vectors that wait: bit v % 32 of word v / 32', 8),
    TMR: i32('anyone (or, and), before IRR', 'of a vector that waits or is served: 1 for a level', 8),
    ISR: i32(OWN, 'vectors that are served', 8),
    PENDING: i32('anyone (or), this vCPU (and)', 'LAPIC_NMI | LAPIC_INIT | LAPIC_STARTUP'),
    STARTUP_VECTOR: i32('anyone, before LAPIC_STARTUP', 'page of the last start-up'),
    WAITING: i32(OWN, '1 after INIT, until a start-up'),
    ID: i32(OWN, 'APIC id'),
    TPR: i32(OWN, 'task priority, 0…255; CR8 is its upper half'),
    LDR: i32(OWN, 'logical destination, bits 31:24'),
    DFR: i32(OWN, 'destination format, bits 31:28'),
    SVR: i32(OWN, 'spurious vector | LAPIC_SVR_ENABLE'),
    ESR: i32(OWN, 'errors that the guest sees'),
    ESR_NEW: i32(OWN, 'errors since the guest wrote ESR'),
    ICR: i64(OWN, 'interrupt command'),
    LVT: i32(OWN, 'timer thermal performance lint0 lint1 error', LVT_COUNT),
    DIVIDE: i32(OWN, 'divide configuration'),
    INITIAL_COUNT: u32(OWN, 'of the timer; 0: it stands'),
    TIMER_START: volatile(f64(OWN, 'when the count was loaded, ns')),
    TIMER_DUE: volatile(f64(OWN, 'when the timer fires next, ns; 0 for never')),
    DEADLINE: i64(OWN, 'MSR TSC_DEADLINE; 0 for none'),
    NMI_BLOCKED: i32(OWN, '1 from an NMI to the next IRET'),
    /** The vector taken from IRR whose handler has not been entered, plus 1. */
    TAKEN: i32(OWN, '1 + vector that is being delivered, 0 for none'),
  },
  64,
);

export const LAPIC_NMI = 1;
export const LAPIC_INIT = 2;
export const LAPIC_STARTUP = 4;

/** One 8259A. */
export const PIC = struct('pic', {
  IRR: i32(BOARD_LOCK, 'requests'),
  IMR: i32(BOARD_LOCK, 'masked'),
  ISR: i32(BOARD_LOCK, 'served'),
  LINES: i32(BOARD_LOCK, 'lines that are high'),
  ELCR: i32(BOARD_LOCK, 'level triggered lines'),
  VECTOR: i32(BOARD_LOCK, 'ICW2: vector of line 0'),
  INIT_STEP: i32(BOARD_LOCK, '0: ready; 2, 3, 4: the ICW that comes next'),
  INIT_4: i32(BOARD_LOCK, '1: ICW4 will come'),
  AUTO_EOI: i32(BOARD_LOCK, 'ICW4'),
  SPECIAL_NESTED: i32(BOARD_LOCK, 'ICW4'),
  SPECIAL_MASK: i32(BOARD_LOCK, 'OCW3'),
  READ_ISR: i32(BOARD_LOCK, 'OCW3: 1: the command port reads ISR'),
  POLL: i32(BOARD_LOCK, 'OCW3: the next read is a poll'),
  LOWEST: i32(BOARD_LOCK, 'line of the lowest priority'),
  ROTATE_AEOI: i32(BOARD_LOCK, 'OCW2: rotate in automatic EOI'),
});

/** One counter of the 8254. */
export const PIT_CHANNEL = struct('pit-channel', {
  MODE: i32(BOARD_LOCK, '0…5'),
  ACCESS: i32(BOARD_LOCK, '1 low byte, 2 high byte, 3 both'),
  BCD: i32(BOARD_LOCK, '1: counts in decimal'),
  RELOAD: i32(BOARD_LOCK, '1 … 65536'),
  WRITE_LOW: i32(BOARD_LOCK, 'low byte that waits for its high byte, or -1'),
  READ_HIGH: i32(BOARD_LOCK, '1: the next read gives the high byte'),
  LATCH: i32(BOARD_LOCK, 'latched count, or -1'),
  LATCH_STATUS: i32(BOARD_LOCK, 'latched status, or -1'),
  GATE: i32(BOARD_LOCK, 'level of the gate'),
  LOADED: i32(BOARD_LOCK, '1: a count was written'),
  START: volatile(f64(BOARD_LOCK, 'when counting began, ns')),
});

/** All devices that share board_lock. */
export const BOARD = struct(
  'board',
  {
    DUE: volatile(f64(BOARD_LOCK, 'when a device wants to be looked at, ns; 0 for never')),
    /** The 8259s' way to vCPU 0. */
    EXTINT: i32(BOARD_LOCK, '1: the first 8259 asks for an interrupt'),
    POWER: i32('anyone (cas from 0)', 'POWER_ON | POWER_OFF | POWER_RESET'),

    IOAPIC_SELECT: i32(BOARD_LOCK, 'IOREGSEL'),
    IOAPIC_ID: i32(BOARD_LOCK, 'bits 27:24'),
    IOAPIC_LINES: i32(BOARD_LOCK, 'pins that are high'),
    IOAPIC_REDIRECTION: i64(BOARD_LOCK, 'redirection table', 24),

    PIT_IRQ: i32(BOARD_LOCK, 'level of its output, as the line has it'),
    PIT_NEXT: volatile(f64(BOARD_LOCK, 'when channel 0 fires next, ns; 0 for never')),
    SPEAKER: i32(BOARD_LOCK, 'port 0x61: bits 0 and 1'),

    CMOS_INDEX: i32(BOARD_LOCK, 'port 0x70'),
    CMOS: u8(BOARD_LOCK, 'bytes of CMOS RAM; the first 14 are the clock', 128),
    RTC_SHIFT_MS: f64(BOARD_LOCK, 'time of day as the guest has set it, minus that of the host'),
    RTC_SEEN: volatile(f64(BOARD_LOCK, 'when the clock was looked at last, ns')),
    RTC_NEXT: volatile(f64(BOARD_LOCK, 'when the clock interrupts next, ns; 0 for never')),

    UART_IER: i32(BOARD_LOCK, 'interrupts enabled'),
    UART_LCR: i32(BOARD_LOCK, 'line control'),
    UART_MCR: i32(BOARD_LOCK, 'modem control'),
    UART_SCRATCH: i32(BOARD_LOCK, 'scratch'),
    UART_DIVISOR: i32(BOARD_LOCK, 'baud rate divisor'),
    UART_FIFO: i32(BOARD_LOCK, '1: the FIFOs are on'),
    UART_THR_EMPTIED: i32(BOARD_LOCK, '1: the transmitter interrupts until IIR is read'),
    UART_LOOPED: i32(BOARD_LOCK, 'byte that came back in loopback mode, or -1'),

    PM_STATUS: i32(BOARD_LOCK, 'PM1 status'),
    PM_ENABLE: i32(BOARD_LOCK, 'PM1 enable'),
    PM_CONTROL: i32(BOARD_LOCK, 'PM1 control'),
  },
  64,
);

export const POWER_ON = 0;
export const POWER_OFF = 1;
export const POWER_RESET = 2;

/** Serial input: bytes from the main thread to the 16550. */
export const SERIAL_INPUT_BYTES = 4096;
export const SERIAL_INPUT = struct(
  'serial-input',
  {
    HEAD: i32('board_lock', 'bytes taken'),
    TAIL: volatile(i32('main thread', 'bytes put in')),
    DATA: u8('main thread', 'ring', SERIAL_INPUT_BYTES),
  },
  64,
);
