/** @source expectations: Linux, Documentation/arch/x86/boot.rst, zero-page.rst */
import test from 'ava';
import { isBzImage, type LinuxOptions, loadLinux } from '../../../src/image/linux.ts';
import { SimError } from '../../../src/shared/errors.ts';
import { INIT_BYTES, PREF_GPA, smallLinux } from '../../support/small-linux.ts';

const MIB = 1024 ** 2;
const RSI = 6;

function loaded(file: Uint8Array, options: Partial<LinuxOptions> = {}) {
  const ramBytes = options.ramBytes ?? 32 * MIB;
  const ram = new Uint8Array(ramBytes);
  const state = loadLinux(file, ram, { ramBytes, vcpuCount: 1, ...options });
  const params = Number(state.GPR[RSI]);
  return { ram, state, params: new DataView(ram.buffer, params, 4096), view: new DataView(ram.buffer) };
}

function refusal(body: () => unknown): SimError {
  try {
    body();
  } catch (error) {
    if (error instanceof SimError) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

test('the kernel stands where it wants to be, and is entered 512 bytes behind its start', (t) => {
  const { ram, state } = loaded(smallLinux('hlt'));
  t.is(state.RIP, BigInt(PREF_GPA + 0x200));
  t.is(ram[PREF_GPA + 0x200], 0xf4);
});

test('segments, paging and registers are those of the 64-bit protocol', (t) => {
  const { state, view } = loaded(smallLinux('hlt'));
  const [es, cs, ss, ds] = state.SELECTORS;
  t.deepEqual([es, cs, ss, ds], [0x18, 0x10, 0x18, 0x18]);
  const descriptor = (selector: number) => view.getBigUint64(Number(state.GDTR_BASE) + selector, true);
  t.is((descriptor(0x10) >> 53n) & 1n, 1n, 'L');
  t.is((descriptor(0x18) >> 41n) & 1n, 1n, 'writable');
  t.is(state.RFLAGS & 0x200n, 0n, 'interrupts are off');
  t.is(state.CR0 & 0x8000_0001n, 0x8000_0001n);
  t.is(state.EFER & 0x500n, 0x500n);
  // gpa = gva, by 2 MiB pages, up to 4 GiB.
  const pml4e = view.getBigUint64(Number(state.CR3), true);
  const pdpte = view.getBigUint64(Number(pml4e & ~0xfffn) + 3 * 8, true);
  const pde = view.getBigUint64(Number(pdpte & ~0xfffn) + 511 * 8, true);
  t.is(pde & ~0x1f_ffffn, 0xffe0_0000n);
  t.is(pde & 0x83n, 0x83n);
});

test('boot_params has the header, the command line, the RAM disk and the memory map', (t) => {
  const initrd = new Uint8Array(5000).fill(7);
  const { params, ram } = loaded(smallLinux('hlt'), { initrd, commandLine: 'console=ttyS0 quiet' });
  t.is(params.getUint32(0x202, true), 0x53726448);
  t.is(params.getUint32(0x260, true), INIT_BYTES);
  t.is(params.getUint8(0x210), 0xff);
  const line = params.getUint32(0x228, true);
  t.is(Buffer.from(ram.subarray(line, line + 20)).toString(), 'console=ttyS0 quiet\0');
  const disk = params.getUint32(0x218, true);
  t.is(params.getUint32(0x21c, true), 5000);
  t.is(disk % 4096, 0);
  t.true(disk + 5000 <= 32 * MIB && disk + 8192 > 32 * MIB - 4096, 'as high as it may be');
  t.true(ram.subarray(disk, disk + 5000).every((byte) => byte === 7));
  t.is(params.getBigUint64(0x70, true), 0xe0000n, 'ACPI');
  const entries = Array.from({ length: params.getUint8(0x1e8) }, (_, i) => [
    Number(params.getBigUint64(0x2d0 + 20 * i, true)),
    Number(params.getBigUint64(0x2d8 + 20 * i, true)),
    params.getUint32(0x2e0 + 20 * i, true),
  ]);
  t.deepEqual(entries, [
    [0, 0x9fc00, 1],
    [0x9fc00, 0x400, 2],
    [0xe0000, 0x20000, 2],
    [MIB, 31 * MIB, 1],
  ]);
});

test('a RAM disk stays below initrd_addr_max', (t) => {
  const file = smallLinux('hlt', (header) => header.setUint32(0x22c, 24 * MIB - 1, true));
  const { params } = loaded(file, { initrd: new Uint8Array(4096) });
  t.is(params.getUint32(0x218, true), 24 * MIB - 4096);
});

test('kernels that cannot be entered in 64-bit mode are refused, with what would do', (t) => {
  const refused = (change: (header: DataView) => void) => refusal(() => loaded(smallLinux('hlt', change)));
  const old = refused((header) => header.setUint16(0x206, 0x20b, true));
  t.is(old.code, 'SIM_IMAGE_FORMAT');
  t.regex(old.message, /2\.11: 2\.12 is the least/);
  t.regex(refused((header) => header.setUint16(0x236, 0, true)).message, /32-bit/);
  t.regex(refused((header) => header.setUint8(0x1f1, 60)).message, /ends in its/);
  t.regex(refusal(() => loaded(smallLinux('hlt').subarray(0, 0x250))).message, /only 592 bytes/);
});

test('what does not fit is said with its numbers', (t) => {
  const small = refusal(() => loaded(smallLinux('hlt'), { ramBytes: 16 * MIB }));
  t.is(small.code, 'SIM_CONFIG_RANGE');
  t.regex(small.message, /2M from 0x1000000 on, the machine has 16M/);
  const disk = refusal(() => loaded(smallLinux('hlt'), { initrd: new Uint8Array(20 * MIB) }));
  t.regex(disk.message, /RAM disk of 20971520 bytes does not fit/);
  const line = refusal(() => loaded(smallLinux('hlt'), { commandLine: 'x'.repeat(3000) }));
  t.is(line.code, 'SIM_USAGE');
  t.regex(line.hint, /2047/);
});

test('a kernel is told by its header', (t) => {
  t.true(isBzImage(smallLinux('hlt')));
  t.false(isBzImage(new Uint8Array(4096)));
  t.false(isBzImage(Uint8Array.of(0x7f, 0x45, 0x4c, 0x46)));
});
