import test from 'ava';
import { handlePageFault } from '../../../src/actors/mmu/page-fault.ts';
import { zapAllRoots } from '../../../src/actors/mmu/roots.ts';
import { ACCESS_W } from '../../../src/shared/layout/cpu.ts';
import { drive } from '../../../src/shared/sync/point.ts';
import { SmallMachine } from '../../support/small-machine.ts';

const GFN = 0x20;

test('a root that was thrown away and is another space’s by now says nothing about MMIO', (t) => {
  const m = new SmallMachine({ vcpuCount: 2 });
  m.slot({ id: 1, baseGfn: GFN, npages: 1, ramPage: 20 });
  m.vm.mem.store(m.vm.vcpuWord(1, 'AS_ID'), 1);
  const root = (vcpu: number) => m.vm.mem.load(m.vm.vcpuWord(vcpu, 'ROOT'));
  m.alone(m.program(0, [{ kind: 'read', gpa: GFN * 4096, size: 1 }]));
  const stale = root(0);
  m.alone(zapAllRoots(m.control, m.vm));
  // In its space there is no slot at all.
  m.alone(m.program(1, [{ kind: 'read', gpa: GFN * 4096, size: 1 }]));
  t.is(root(1), stale);
  t.is(root(0), stale);

  const vcpu = m.vcpus[0]!;
  function* fault() {
    yield* vcpu.enterSrcu();
    const result = yield* handlePageFault(vcpu, GFN, ACCESS_W);
    yield* vcpu.leaveSrcu();
    return result;
  }
  t.is(drive(vcpu.actor, fault()), 'retry');
});
