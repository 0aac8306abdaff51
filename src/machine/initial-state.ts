/** A vCPU's registers before its first instruction, put into its CPU area. */
import type { Vm } from '../actors/mmu/vm.ts';
import type { InitialState } from '../image/boot.ts';
import { CPU, TLB_READ, tlbTable } from '../shared/layout/cpu.ts';
import { ARITHMETIC_FLAGS } from '../shared/x86/rflags.ts';
import { FCW_INIT, MXCSR_INIT } from '../shared/x86/x87.ts';
import { XCR0_X87 } from '../shared/x86/xsave.ts';

/** The core keeps them apart from the others; with FLAGS_KIND 0 they stand in FLAGS_RESULT_A in place. */
const ARITHMETIC = BigInt(ARITHMETIC_FLAGS);

/** @locking takes nothing: before the vCPU's thread starts, or while it is parked */
export function writeInitialState(vm: Vm, index: number, state: InitialState): void {
  const { mem } = vm;
  const cpu = vm.cpu(index);
  const set64 = (name: keyof typeof CPU.at, value: bigint) => {
    mem.u64[(cpu + CPU.at[name]) / 8] = value;
  };
  const set32 = (name: keyof typeof CPU.at, value: number) => {
    mem.i32[(cpu + CPU.at[name]) >>> 2] = value;
  };
  for (const [reg, value] of state.GPR.entries()) mem.u64[(cpu + CPU.at.GPR) / 8 + reg] = value;
  for (const [i, value] of state.SELECTORS.entries()) {
    mem.i32[((cpu + CPU.at.SELECTORS) >>> 2) + i] = value;
  }
  set64('RIP', state.RIP);
  set64('RFLAGS', state.RFLAGS & ~ARITHMETIC);
  set64('FLAGS_RESULT_A', state.RFLAGS & ARITHMETIC);
  set64('FLAGS_RESULT_B', 0n);
  set32('FLAGS_KIND', 0);
  for (const name of ['CR0', 'CR3', 'CR4', 'EFER', 'GDTR_BASE', 'IDTR_BASE', 'TR_BASE'] as const) {
    set64(name, state[name]);
  }
  for (const name of ['GDTR_LIMIT', 'IDTR_LIMIT', 'TR_LIMIT'] as const) set32(name, state[name]);
  mem.u64.fill(0n, (cpu + CPU.at.XMM) / 8, (cpu + CPU.at.MXCSR) / 8);
  set32('MXCSR', MXCSR_INIT);
  set32('FCW', FCW_INIT);
  set64('XCR0', XCR0_X87);
  for (const name of ['FSW', 'FTW', 'FOP'] as const) set32(name, 0);
  for (const name of ['FIP', 'FDP'] as const) set64(name, 0n);
  // CPL is that of CS.
  set32('CPL', state.SELECTORS[1]! & 3);
  set32('TLB', tlbTable(cpu, (state.SELECTORS[1]! & 3) === 3, TLB_READ));
}
