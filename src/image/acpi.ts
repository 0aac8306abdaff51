/**
 * ACPI tables for the board (actors/vcpu/platform): where its APICs are, how it is switched off, and no more.
 *
 *   RSDP → XSDT → FADT → DSDT (\_S5), FACS
 *               → MADT
 *
 * @source ACPI specification 6.5, "ACPI Software Programming Model": "Root System Description Pointer", "Fixed ACPI
 *         Description Table (FADT)", "Multiple APIC Description Table (MADT)"; "ACPI Machine Language (AML) Specification"
 */
import { invariant } from '../shared/invariant.ts';
import {
  PM_CONTROL_PORT,
  PM_EVENT_PORT,
  PM_TIMER_PORT,
  RESET_PORT,
  RESET_VALUE,
  SCI_IRQ,
  SLEEP_TYPE_S5,
} from '../shared/x86/acpi-ports.ts';
import { IOAPIC_GPA, LAPIC_GPA } from '../shared/x86/apic.ts';

/** Where the tables are: in what firmware keeps for itself below 1 MiB. */
export const ACPI_GPA = 0xe0000;
export const ACPI_BYTES = 0x4000;

const OEM_ID = 'FAULTL';
const OEM_TABLE_ID = 'FAULTLIN';
const CREATOR_ID = 'FLTL';

// Offsets that more than one place knows.
const HEADER_BYTES = 36;
const HEADER_CHECKSUM = 9;
const FACS_BYTES = 64;
const RSDP_BYTES = 36;
const RSDP_OLD_BYTES = 20;
const FADT_BYTES = 268;

/** FADT flags: WBINVD works; C1 by HLT; no power or sleep button in the fixed registers; there is a reset register. */
const FADT_FLAGS = (1 << 0) | (1 << 2) | (1 << 4) | (1 << 5) | (1 << 10);
/** IAPC_BOOT_ARCH: legacy devices, no keyboard controller, no VGA. */
const BOOT_ARCHITECTURE = (1 << 0) | (1 << 2);
const CMOS_CENTURY = 0x32;
/** No C2, no C3. */
const NO_LATENCY = 0xffff;

const MADT_LOCAL_APIC = 0;
const MADT_IO_APIC = 1;
const MADT_OVERRIDE = 2;
const MADT_LOCAL_NMI = 4;
/** Of an override: active high, level triggered. */
const LEVEL_HIGH = 0xd;
const ALL_PROCESSORS = 0xff;

/** @returns gpa of the RSDP */
export function writeAcpiTables(ram: Uint8Array, options: { readonly vcpuCount: number }): number {
  let next = ACPI_GPA;
  const place = (bytes: Uint8Array): number => {
    const gpa = next;
    next = gpa + Math.ceil(bytes.length / 64) * 64;
    invariant(next <= ACPI_GPA + ACPI_BYTES, 'ACPI tables outgrow their place');
    ram.set(bytes, gpa);
    return gpa;
  };
  const rsdp = place(new Uint8Array(RSDP_BYTES));
  const facs = place(facsTable());
  const dsdt = place(table('DSDT', 2, sleepPackage()));
  const fadt = place(fadtTable(facs, dsdt));
  const madt = place(madtTable(options.vcpuCount));
  const entries = new Uint8Array(16);
  const view = new DataView(entries.buffer);
  view.setBigUint64(0, BigInt(fadt), true);
  view.setBigUint64(8, BigInt(madt), true);
  const xsdt = place(table('XSDT', 1, entries));
  ram.set(rootPointer(xsdt), rsdp);
  return rsdp;
}

function rootPointer(xsdt: number): Uint8Array {
  const bytes = new Uint8Array(RSDP_BYTES);
  const view = new DataView(bytes.buffer);
  text(bytes, 0, 'RSD PTR ');
  text(bytes, 9, OEM_ID);
  bytes[15] = 2;
  view.setUint32(20, RSDP_BYTES, true);
  view.setBigUint64(24, BigInt(xsdt), true);
  bytes[8] = checksum(bytes.subarray(0, RSDP_OLD_BYTES));
  bytes[32] = checksum(bytes);
  return bytes;
}

/** Header and checksum around `body`. */
function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + body.length);
  const view = new DataView(bytes.buffer);
  text(bytes, 0, signature);
  view.setUint32(4, bytes.length, true);
  bytes[8] = revision;
  text(bytes, 10, OEM_ID);
  text(bytes, 16, OEM_TABLE_ID);
  view.setUint32(24, 1, true);
  text(bytes, 28, CREATOR_ID);
  view.setUint32(32, 1, true);
  bytes.set(body, HEADER_BYTES);
  bytes[HEADER_CHECKSUM] = checksum(bytes);
  return bytes;
}

function facsTable(): Uint8Array {
  const bytes = new Uint8Array(FACS_BYTES);
  text(bytes, 0, 'FACS');
  new DataView(bytes.buffer).setUint32(4, FACS_BYTES, true);
  bytes[32] = 2;
  return bytes;
}

function fadtTable(facs: number, dsdt: number): Uint8Array {
  const body = new Uint8Array(FADT_BYTES - HEADER_BYTES);
  const view = new DataView(body.buffer);
  const u8 = (at: number, value: number) => view.setUint8(at - HEADER_BYTES, value);
  const u16 = (at: number, value: number) => view.setUint16(at - HEADER_BYTES, value, true);
  const u32 = (at: number, value: number) => view.setUint32(at - HEADER_BYTES, value, true);
  const u64 = (at: number, value: number) => view.setBigUint64(at - HEADER_BYTES, BigInt(value), true);
  /** Generic address structure of a port. */
  const port = (at: number, number: number, bytes: number, accessSize: number) => {
    u8(at, 1);
    u8(at + 1, bytes * 8);
    u8(at + 3, accessSize);
    u64(at + 4, number);
  };
  u32(36, facs);
  u32(40, dsdt);
  u16(46, SCI_IRQ);
  u32(56, PM_EVENT_PORT);
  u32(64, PM_CONTROL_PORT);
  u32(76, PM_TIMER_PORT);
  u8(88, 4);
  u8(89, 2);
  u8(91, 4);
  u16(96, NO_LATENCY);
  u16(98, NO_LATENCY);
  u8(108, CMOS_CENTURY);
  u16(109, BOOT_ARCHITECTURE);
  u32(112, FADT_FLAGS);
  port(116, RESET_PORT, 1, 1);
  u8(128, RESET_VALUE);
  u64(132, facs);
  u64(140, dsdt);
  port(148, PM_EVENT_PORT, 4, 2);
  port(172, PM_CONTROL_PORT, 2, 2);
  port(208, PM_TIMER_PORT, 4, 3);
  return table('FACP', 5, body);
}

function madtTable(vcpuCount: number): Uint8Array {
  const bytes: number[] = [];
  const word = (value: number) => [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24];
  // The 8259s are there.
  bytes.push(...word(LAPIC_GPA), ...word(1));
  for (let index = 0; index < vcpuCount; index++) bytes.push(MADT_LOCAL_APIC, 8, index, index, ...word(1));
  bytes.push(MADT_IO_APIC, 12, vcpuCount, 0, ...word(IOAPIC_GPA), ...word(0));
  const override = (irq: number, pin: number, flags: number) =>
    bytes.push(MADT_OVERRIDE, 10, 0, irq, ...word(pin), flags, 0);
  override(0, 2, 0);
  override(SCI_IRQ, SCI_IRQ, LEVEL_HIGH);
  bytes.push(MADT_LOCAL_NMI, 6, ALL_PROCESSORS, 0, 0, 1);
  return table('APIC', 3, Uint8Array.from(bytes));
}

/** Name (\_S5, Package () { type, type, 0, 0 }) */
function sleepPackage(): Uint8Array {
  const [NAME, PACKAGE, BYTE, ZERO] = [0x08, 0x12, 0x0a, 0x00];
  const elements = [BYTE, SLEEP_TYPE_S5, BYTE, SLEEP_TYPE_S5, ZERO, ZERO];
  const content = [4, ...elements];
  const name = [...'_S5_'].map((letter) => letter.charCodeAt(0));
  return Uint8Array.from([NAME, ...name, PACKAGE, content.length + 1, ...content]);
}

function text(bytes: Uint8Array, at: number, value: string): void {
  for (let i = 0; i < value.length; i++) bytes[at + i] = value.charCodeAt(i);
}

/** What makes all bytes add up to 0. */
function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}
