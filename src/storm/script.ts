/** What VM control does in a storm: the victim slot is deleted and returns, moves, changes its flags, fails to move. */
import type { ScriptContext } from '../actors/mmu/control.api.ts';
import { type MemoryRegion, slotRequest } from '../machine/options.ts';
import { AWAY_GPA, VICTIM } from './memory.ts';

export default function stormScript({ vm, prng, setMemoryRegion }: ScriptContext): () => void {
  const set = (change: Partial<MemoryRegion>) => setMemoryRegion(slotRequest({ ...VICTIM, ...change }));
  return () => {
    switch (prng.below(4)) {
      case 0:
        set({ bytes: 0 });
        set({});
        break;
      case 1:
        set({ gpa: AWAY_GPA });
        set({});
        break;
      case 2:
        set({ logDirty: true });
        set({});
        break;
      default:
        // A MOVE that finds no memory: the old slot must come back tracked as it was (RC-03).
        vm.mem.store(vm.word('FAIL_ALLOCATIONS'), 1);
        set({ gpa: AWAY_GPA });
        vm.mem.store(vm.word('FAIL_ALLOCATIONS'), 0);
    }
  };
}
