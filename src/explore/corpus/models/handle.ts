/**
 * A device that a VM's user creates: a handle that anyone can find, and a reference of its own to the VM.
 *
 * @source virt/kvm/kvm_main.c: kvm_ioctl_create_device, kvm_device_release; commit "kvm: fix kvm_ioctl_create_device()
 *         reference counting"
 */
import type { Vm } from '../../../actors/mmu/vm.ts';
import { BUG_PUBLISH_BEFORE_REF } from '../../../shared/quirks.ts';
import { i32, struct } from '../../../shared/struct.ts';
import { type Path, updating, writing } from '../../../shared/sync/point.ts';
import { wordsOf } from './cells.ts';

const DEVICE = struct('device', {
  REFERENCES: i32('anyone (add)', 'to the VM; the first is that of its own handle. 0: it has been destroyed'),
  HANDLE: i32('creator (store 1), closer (exchange 0)', '1: the device can be found, and closed'),
});

const word = wordsOf(DEVICE);

/** The VM, open. */
export function openVm(vm: Vm): void {
  vm.mem.store(word(vm, 'REFERENCES'), 1);
}

/** The creator's own handle of the VM keeps it until this has returned. */
export function* createDevice(vm: Vm): Path<void> {
  const early = vm.quirk(BUG_PUBLISH_BEFORE_REF);
  if (early) yield* publish(vm);
  yield updating(word(vm, 'REFERENCES'));
  if (vm.mem.add(word(vm, 'REFERENCES'), 1) === 0) {
    vm.onFinding({ id: 'I12', detail: 'a device takes its reference to a VM that has been destroyed' });
  }
  if (!early) yield* publish(vm);
}

function* publish(vm: Vm): Path<void> {
  yield writing(word(vm, 'HANDLE'));
  vm.mem.store(word(vm, 'HANDLE'), 1);
}

/** Guesses the handle, and closes it if it is there: the device's reference goes with it. */
export function* closeDevice(vm: Vm): Path<void> {
  yield updating(word(vm, 'HANDLE'));
  if (vm.mem.exchange(word(vm, 'HANDLE'), 0) === 0) return;
  yield updating(word(vm, 'REFERENCES'));
  vm.mem.add(word(vm, 'REFERENCES'), -1);
}
