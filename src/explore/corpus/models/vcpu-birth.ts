/**
 * A vCPU that is created while the machine runs. Ours are all there before it starts; the unborn one is one that hook
 * passes over, as it does with those that have ended. Hook, its locks and the blocks are the machine's own.
 *
 * @source virt/kvm/kvm_main.c: kvm_vm_ioctl_create_vcpu; KVMI v6, v7: kvmi_vcpu_init
 */
import { kvmiGet, kvmiPut } from '../../../actors/mmu/kvmi-ref.ts';
import type { Vm } from '../../../actors/mmu/vm.ts';
import { BUG_VCPU_BORN_UNHOOKED } from '../../../shared/quirks.ts';
import type { Actor } from '../../../shared/sync/actor.ts';
import { mutexLock, mutexUnlock } from '../../../shared/sync/mutex.ts';
import { type Path, reading, writing } from '../../../shared/sync/point.ts';

/** vCPU `index` is not there yet. */
export function unborn(vm: Vm, index: number): void {
  vm.mem.store(vm.vcpuWord(index, 'ENDED'), 1);
}

/** KVM_CREATE_VCPU. While it is made, hook does not run: either of them gives it its block. */
export function* createVcpu(actor: Actor, vm: Vm, index: number): Path<void> {
  const { mem } = vm;
  const locked = !vm.quirk(BUG_VCPU_BORN_UNHOOKED);
  if (locked) yield* mutexLock(actor, vm.kvmiLock);
  yield reading(vm.word('KVMI_HOOKED'));
  if (mem.load(vm.word('KVMI_HOOKED')) !== 0) mem.store(vm.vcpuWord(index, 'KVMI_BLOCK'), 1);
  yield writing(vm.vcpuWord(index, 'ENDED'));
  mem.store(vm.vcpuWord(index, 'ENDED'), 0);
  if (locked) yield* mutexUnlock(actor, vm.kvmiLock);
}

/** What every callback does first, and the block it then uses. */
export function* useBlock(actor: Actor, vm: Vm, index: number): Path<void> {
  if (!(yield* kvmiGet(actor, vm))) return;
  const block = vm.vcpuWord(index, 'KVMI_BLOCK');
  yield reading(block);
  if (vm.mem.load(block) === 0) {
    vm.onFinding({ id: 'I12', detail: `vCPU ${index} is introspected, but has no introspection block` });
  }
  yield* kvmiPut(actor, vm);
}
