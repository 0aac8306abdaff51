/** Thread entry of VM control in a storm: memslots go and come, the machine is checked between the rounds. */
import { SLOT_LOG_DIRTY } from '../../shared/layout/memslot.ts';
import { STOP_ORDERLY } from '../../shared/layout/vm.ts';
import { Prng } from '../../shared/prng.ts';
import { drive } from '../../shared/sync/point.ts';
import { VICTIM_AWAY_GFN, VICTIM_SLOT } from '../../storm.ts';
import { startThread, type ThreadResult, type ThreadTask } from '../thread.ts';
import { filledEntries } from '../vcpu/tlb.ts';
import { checkInvariants } from './invariants.ts';
import { setMemoryRegion } from './memslots.ts';
import { whileParked } from './quiesce.ts';

/** Between two checks of the whole machine, ms. */
const CHECK_EVERY_MS = 250;

export interface ControlResult extends ThreadResult {
  readonly rounds: number;
  readonly checks: Record<string, number>;
}

export default function controlThread(task: ThreadTask): ControlResult {
  const { vm, actor, findings } = startThread(task);
  const prng = new Prng(task.seed);
  const checks: Record<string, number> = {};
  let rounds = 0;
  let lastCheck = actor.clock();
  const set = (change: Partial<typeof VICTIM_SLOT>) =>
    drive(actor, setMemoryRegion(actor, vm, { ...VICTIM_SLOT, ...change }));

  while (vm.mem.load(vm.word('STOP')) < STOP_ORDERLY && vm.mem.load(vm.word('DEAD')) === 0) {
    switch (prng.below(4)) {
      case 0:
        set({ npages: 0 });
        set({});
        break;
      case 1:
        set({ baseGfn: VICTIM_AWAY_GFN });
        set({});
        break;
      case 2:
        set({ flags: SLOT_LOG_DIRTY });
        set({});
        break;
      default:
        // A MOVE that finds no memory: the old slot must come back tracked as it was (RC-03).
        vm.mem.store(vm.word('FAIL_ALLOCATIONS'), 1);
        set({ baseGfn: VICTIM_AWAY_GFN });
        vm.mem.store(vm.word('FAIL_ALLOCATIONS'), 0);
    }
    if (actor.clock() - lastCheck < CHECK_EVERY_MS * 1e6) continue;
    const result = drive(
      actor,
      whileParked(actor, vm, () => checkInvariants(actor, vm, (vcpu) => filledEntries(vm.mem, vm.cpu(vcpu)))),
    );
    if (result !== null) {
      rounds += 1;
      for (const [id, count] of Object.entries(result.checks)) checks[id] = (checks[id] ?? 0) + count;
      for (const finding of result.findings) vm.onFinding(finding);
    }
    lastCheck = actor.clock();
  }
  return { findings, rounds, checks };
}
