/**
 * What a device of the board is, and what it may ask of the board. A device is plain code over words of shared memory:
 * it is called with board_lock held, in the thread of whichever vCPU makes the access, and never waits.
 */

export interface PortDevice {
  /** First port and how many, for each stretch. */
  readonly ports: readonly (readonly [first: number, count: number])[];
  /** Takes accesses of several bytes as they are; others get them byte by byte. */
  readonly wide?: true;
  /** @param size 1, 2 or 4 bytes; returns as many, unsigned */
  read(port: number, size: number): number;
  /** @param value unsigned, `size` bytes */
  write(port: number, size: number, value: number): void;
}

export interface MmioDevice {
  readonly gpa: number;
  readonly bytes: number;
  /** @param offset from `gpa`; the access lies in the device @param size 1 … 8 */
  read(offset: number, size: number): bigint;
  write(offset: number, size: number, value: bigint): void;
}

/** A device that does something by itself when its time has come. */
export interface TimedDevice {
  /** When it wants to be called next, ns; Infinity for never. */
  readonly due: number;
  advance(now: number): void;
}

export interface BoardServices {
  /** Nanoseconds of the machine's clock. */
  now(): number;
  /** Level of an interrupt line: numbers of the I/O APIC's pins and, below 16, of the 8259s' lines. */
  setLine(line: number, high: boolean): void;
}
