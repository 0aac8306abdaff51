import test from 'ava';
import { invalidateRangeEnd, invalidateRangeStart } from '../../../src/actors/mmu/host-invalidation.ts';
import { setMemoryRegion } from '../../../src/actors/mmu/memslots.ts';
import { isPresent, spteAddress } from '../../../src/actors/mmu/spte.ts';
import { type Path, stepping } from '../../../src/shared/sync/point.ts';
import { SmallMachine } from '../../support/small-machine.ts';

const PAGE = 4096;
const SLOT = { id: 1, asId: 0, flags: 0, baseGfn: 16, npages: 8, ramPage: 4 };
const SEEDS = 200;

const present = ({ vm }: SmallMachine, gfn: number, root = 0): boolean =>
  isPresent(vm.mem.load64(spteAddress(vm, root, gfn)));

test('what the host takes is unmapped wherever the guest sees it, and nothing else', (t) => {
  const m = new SmallMachine();
  m.slot(SLOT);
  m.slot({ ...SLOT, id: 2, baseGfn: 40 });
  for (const gfn of [17, 18, 41]) m.alone(m.program(0, [{ kind: 'write', gpa: gfn * PAGE, size: 1 }]));
  m.alone(invalidateRangeStart(m.control, m.vm, { ramPage: 5, npages: 1 }));
  t.false(present(m, 17));
  t.false(present(m, 41));
  t.true(present(m, 18));
  t.is(m.vm.mem.load(m.vm.word('MMU_NOTIFIER_COUNT')), 1);
  m.alone(invalidateRangeEnd(m.control, m.vm, { ramPage: 5, npages: 1 }));
  t.is(m.vm.mem.load(m.vm.word('MMU_NOTIFIER_COUNT')), 0);
  t.is(m.vm.mem.load(m.vm.word('MMU_NOTIFIER_SEQ')), 1);
  t.deepEqual(m.verdict(), []);
});

test('a range that no slot shows is nobody’s business', (t) => {
  const m = new SmallMachine();
  m.slot(SLOT);
  m.alone(invalidateRangeStart(m.control, m.vm, { ramPage: 30, npages: 4 }));
  t.is(m.vm.mem.load(m.vm.word('MMU_NOTIFIER_COUNT')), 0);
  t.is(m.vm.mem.load(m.vm.word('MN_ACTIVE_INVALIDATE')), 1);
  m.alone(invalidateRangeEnd(m.control, m.vm, { ramPage: 30, npages: 4 }));
  t.is(m.vm.mem.load(m.vm.word('MN_ACTIVE_INVALIDATE')), 0);
});

test('while the host has a page no vCPU maps it or has it in its TLB; afterwards each gets on', (t) => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const m = new SmallMachine({ vcpuCount: 2 });
    m.slot(SLOT);
    const takes = function* (): Path<void> {
      const range = { ramPage: 4, npages: 3 };
      yield* invalidateRangeStart(m.control, m.vm, range);
      for (let look = 0; look < 10; look++) {
        yield stepping();
        for (const gfn of [16, 17, 18]) t.false(present(m, gfn), `seed ${seed}`);
      }
      yield* invalidateRangeEnd(m.control, m.vm, range);
    };
    const seen: bigint[] = [];
    m.together(
      seed,
      m.vcpuRunner(0, [
        { kind: 'write', gpa: 16 * PAGE, size: 1, value: 7n },
        { kind: 'write', gpa: 18 * PAGE, size: 1, value: 8n },
      ]),
      m.vcpuRunner(1, [{ kind: 'read', gpa: 20 * PAGE, size: 1 }], seen),
      m.controlRunner(takes()),
    );
    t.is(m.vm.mem.u8[m.vm.ramPage(4)], 7);
    t.is(m.vm.mem.u8[m.vm.ramPage(6)], 8);
    t.deepEqual(seen, [0n]);
    t.deepEqual(m.verdict(), [], `seed ${seed}`);
  }
});

test('slot sets are not swapped inside an invalidation', (t) => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const m = new SmallMachine();
    m.slot(SLOT);
    m.alone(m.program(0, [{ kind: 'write', gpa: 16 * PAGE, size: 1 }]));
    const host = m.actor('host');
    const active = m.vm.word('ACTIVE_SET');
    const invalidates = function* (): Path<void> {
      const range = { ramPage: 4, npages: 1 };
      yield* invalidateRangeStart(host, m.vm, range);
      const before = m.vm.mem.load(active);
      for (let look = 0; look < 20; look++) yield stepping();
      t.is(m.vm.mem.load(active), before, `seed ${seed}`);
      yield* invalidateRangeEnd(host, m.vm, range);
    };
    m.together(
      seed,
      { name: 'host', waiter: host, path: invalidates() },
      m.controlRunner(setMemoryRegion(m.control, m.vm, { ...SLOT, npages: 0 })),
    );
    t.is(m.vm.mem.load(m.vm.word('MMU_NOTIFIER_COUNT')), 0);
    t.deepEqual(m.verdict(), [], `seed ${seed}`);
  }
});
