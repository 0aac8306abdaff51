/** Thread entry of one vCPU: runs its access program until it is told to stop. */
import { VCPU_CRASHED, VCPU_RUNNING, VCPU_STOPPED } from '../../shared/layout/vcpu.ts';
import { STOP_NOW } from '../../shared/layout/vm.ts';
import { Prng } from '../../shared/prng.ts';
import { drive } from '../../shared/sync/point.ts';
import { stormAccess } from '../../storm.ts';
import { startThread, type ThreadResult, type ThreadTask } from '../thread.ts';
import { runAccess } from './access-program.ts';
import { flushTlb } from './tlb.ts';
import { Vcpu } from './vcpu.ts';

export default function vcpuThread(task: ThreadTask): ThreadResult {
  const { vm, actor, findings } = startThread(task);
  const { mem } = vm;
  const vcpu = new Vcpu(vm, task.actor, actor);
  const prng = new Prng(task.seed);
  flushTlb(mem, vcpu.cpu);
  mem.store(vcpu.word('STATE'), VCPU_RUNNING);
  drive(actor, vcpu.enterSrcu());
  while (mem.load(vm.word('STOP')) !== STOP_NOW && drive(actor, runAccess(vcpu, stormAccess(prng)))) {
    // The next access.
  }
  drive(actor, vcpu.leaveSrcu());
  mem.store(vcpu.word('STATE'), mem.load(vm.word('DEAD')) === 1 ? VCPU_CRASHED : VCPU_STOPPED);
  mem.add(vm.word('LIVE_VCPUS'), -1);
  mem.notify(vm.word('LIVE_VCPUS'));
  mem.notify(vm.word('PARKED'));
  return { findings };
}
