/** The tables as an operating system reads them: from the RSDP on, by signature, with their checksums. */
import test from 'ava';
import { writeAcpiTables } from '../../../src/image/acpi.ts';

function tables(vcpuCount: number) {
  const ram = new Uint8Array(0x100000).fill(0xcc);
  const rsdp = writeAcpiTables(ram, { vcpuCount });
  const view = new DataView(ram.buffer);
  const text = (at: number, length: number) => Buffer.from(ram.subarray(at, at + length)).toString();
  const sum = (at: number, length: number) => ram.subarray(at, at + length).reduce((a, b) => a + b, 0) & 0xff;
  return { ram, rsdp, view, text, sum };
}

test('every table is found from the RSDP, and all bytes of each add up to 0', (t) => {
  const { rsdp, view, text, sum } = tables(2);
  t.is(text(rsdp, 8), 'RSD PTR ');
  t.is(rsdp % 16, 0);
  t.is(sum(rsdp, 20), 0);
  t.is(sum(rsdp, 36), 0);
  const xsdt = Number(view.getBigUint64(rsdp + 24, true));
  const found = [xsdt];
  for (let at = xsdt + 36; at < xsdt + view.getUint32(xsdt + 4, true); at += 8) {
    found.push(Number(view.getBigUint64(at, true)));
  }
  const fadt = found[1]!;
  found.push(Number(view.getBigUint64(fadt + 140, true)));
  t.deepEqual(
    found.map((at) => text(at, 4)),
    ['XSDT', 'FACP', 'APIC', 'DSDT'],
  );
  for (const at of found) t.is(sum(at, view.getUint32(at + 4, true)), 0, text(at, 4));
  t.is(text(view.getUint32(fadt + 36, true), 4), 'FACS');
});

test('the MADT has a local APIC for each vCPU, the I/O APIC and the timer on pin 2', (t) => {
  const { ram, rsdp, view } = tables(3);
  const xsdt = Number(view.getBigUint64(rsdp + 24, true));
  const madt = Number(view.getBigUint64(xsdt + 44, true));
  t.is(view.getUint32(madt + 36, true), 0xfee0_0000);
  const entries: number[][] = [];
  for (let at = madt + 44; at < madt + view.getUint32(madt + 4, true); at += ram[at + 1]!) {
    entries.push([...ram.subarray(at, at + ram[at + 1]!)]);
  }
  const ofType = (type: number) => entries.filter((entry) => entry[0] === type);
  t.deepEqual(
    ofType(0).map((entry) => entry.slice(2, 5)),
    [
      [0, 0, 1],
      [1, 1, 1],
      [2, 2, 1],
    ],
  );
  t.deepEqual(ofType(1)[0]!.slice(4), [0, 0, 0xc0, 0xfe, 0, 0, 0, 0]);
  t.deepEqual(ofType(2)[0]!.slice(2), [0, 0, 2, 0, 0, 0, 0, 0]);
});

test('\\_S5 is a package of four, as the interpreter wants it', (t) => {
  const { ram, rsdp, view } = tables(1);
  const xsdt = Number(view.getBigUint64(rsdp + 24, true));
  const fadt = Number(view.getBigUint64(xsdt + 36, true));
  const dsdt = view.getUint32(fadt + 40, true);
  const aml = [...ram.subarray(dsdt + 36, dsdt + view.getUint32(dsdt + 4, true))];
  t.deepEqual(aml, [0x08, 0x5f, 0x53, 0x35, 0x5f, 0x12, 0x08, 4, 0x0a, 5, 0x0a, 5, 0, 0]);
});
