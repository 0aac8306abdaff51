/**
 * The end of a VM: no vCPU enters the guest again (I17).
 *
 * @source virt/kvm/kvm_main.c: kvm_vm_dead; KVM_REQ_VM_DEAD
 */
import { REQ_VM_DEAD } from '../../shared/layout/vcpu.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import { type Path, writing } from '../../shared/sync/point.ts';
import { makeRequest, requestAll } from './requests.ts';
import type { Vm } from './vm.ts';

/**
 * Marks the VM dead and tells every vCPU; when it returns, none but the caller is in guest mode.
 *
 * @param index  the vCPU whose thread calls, outside guest mode
 * @locking waits for acknowledgements, with no lock held but kvm.srcu
 */
export function* declareDead(actor: Actor, vm: Vm, index: number): Path<void> {
  yield writing(vm.word('DEAD'));
  vm.mem.store(vm.word('DEAD'), 1);
  yield* requestAll(actor, vm, { bits: REQ_VM_DEAD, wait: true, wakeup: true, except: index });
  yield* makeRequest(vm, index, REQ_VM_DEAD);
}
