import test from 'ava';
import { cellAt } from '../../../../src/shared/state/cell-name.ts';
import { SmallMachine } from '../../../support/small-machine.ts';

const machine = new SmallMachine({ vcpuCount: 2 });
machine.slot({ id: 0, baseGfn: 0, npages: 16, ramPage: 0 });
machine.hook();
machine.access(5, 1);
const { vm } = machine;
const { mem, layout } = vm;
const name = (address: number) => cellAt(layout, mem, address)?.name;

test('cells have the names that people use', (t) => {
  t.is(name(vm.word('KVMI_REF')), 'KVMI_REF');
  t.is(name(vm.word('ACTIVE_SET') + 4), 'ACTIVE_SET[1]');
  t.is(name(vm.vcpuWord(1, 'WAKE_SEQ')), 'vcpu 1 WAKE_SEQ');
  t.is(name(vm.mmuLock.addr), 'mmu_lock.STATE');
  t.is(name(layout.sptes + 8 * 0x21), 'spte of gfn 0x21');
  t.is(name(layout.sptes + 8 * (layout.config.gfnCount + 3)), 'spte of gfn 0x3 in root 1');
  t.is(name(layout.ram + 4096 * 2 + 0x10), 'ram page 2+0x10');
  t.regex(name(layout.cpus) ?? '', /^cpu 0 \w+/);
  t.regex(name(layout.accessNodes + 4) ?? '', /^ACCESS of gfn 0x\d+$/);
  t.is(name(layout.slotSets), 'slot set 0 GENERATION');
});

test('a lock is told by its name, with its vCPU where each has one', (t) => {
  t.is(cellAt(layout, mem, vm.slotsLock.addr)?.lock, 'slots_lock');
  t.regex(cellAt(layout, mem, layout.vcpuLocks + 3 * 64)?.lock ?? '', /^vcpu 1 /);
  t.is(cellAt(layout, mem, vm.word('KVMI_REF'))?.lock, undefined);
});

test('statistics are told from state', (t) => {
  t.true(cellAt(layout, mem, vm.word('FLUSH_REQUESTS'))?.bookkeeping);
  t.true(cellAt(layout, mem, layout.pools)?.bookkeeping);
  t.false(cellAt(layout, mem, vm.word('DEAD'))?.bookkeeping);
});

test('every word of every region has a name, and only these', (t) => {
  for (const { base, parts, stride } of layout.regions) {
    for (const { struct, offset, count } of parts) {
      if (count === 0 || stride === 0) continue;
      for (const field of struct.fields)
        t.truthy(name(base + offset + field.offset), `${struct.name}.${field.name}`);
    }
  }
  t.is(cellAt(layout, mem, -8), null);
  t.is(cellAt(layout, mem, layout.bytes), null);
});
