/** A vCPU's registers before its first instruction, put into its CPU area. */
import type { Vm } from '../actors/mmu/vm.ts';
import type { InitialState } from '../image/boot.ts';
import { CPU, TLB_READ, tlbTable } from '../shared/layout/cpu.ts';
import { ARITHMETIC_FLAGS } from '../shared/x86/rflags.ts';

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
  // CPL is that of CS.
  set32('CPL', state.SELECTORS[1]! & 3);
  set32('TLB', tlbTable(cpu, (state.SELECTORS[1]! & 3) === 3, TLB_READ));
}
