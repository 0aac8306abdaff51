import test from 'ava';
import { harvestDirtyLog } from '../../../src/actors/mmu/dirty-log.ts';
import { ENOENT } from '../../../src/actors/mmu/errno.ts';
import { ACCESS_R, ACCESS_W, ACCESS_X } from '../../../src/shared/layout/cpu.ts';
import { SLOT_LOG_DIRTY } from '../../../src/shared/layout/memslot.ts';
import type { Path } from '../../../src/shared/sync/point.ts';
import { SmallMachine } from '../../support/small-machine.ts';

const PAGE = 4096;
const SLOT = { id: 1, asId: 0, flags: SLOT_LOG_DIRTY, baseGfn: 16, npages: 40, ramPage: 16 };
const SEEDS = 300;

const harvest = (m: SmallMachine) => m.alone(harvestDirtyLog(m.control, m.vm, 0, 1));
const store = (gfn: number, value: bigint) => ({ kind: 'write', gpa: gfn * PAGE, size: 1, value }) as const;

test('a harvest has the pages written since the last one', (t) => {
  const m = new SmallMachine();
  m.slot(SLOT);
  t.deepEqual(harvest(m), [0, 0]);
  m.alone(m.program(0, [store(16, 1n), store(19, 1n), store(49, 1n)]));
  m.alone(m.program(0, [{ kind: 'read', gpa: 20 * PAGE, size: 1 }]));
  t.deepEqual(harvest(m), [0b1001, 0b10]);
  t.deepEqual(harvest(m), [0, 0]);
  m.alone(m.program(0, [store(19, 2n)]));
  t.deepEqual(harvest(m), [0b1000, 0]);
  t.deepEqual(m.verdict(), []);
});

test('a slot that does not log, or does not exist, has no log', (t) => {
  const m = new SmallMachine();
  m.slot({ ...SLOT, flags: 0 });
  t.is(harvest(m), -ENOENT);
  t.is(m.alone(harvestDirtyLog(m.control, m.vm, 1, 1)), -ENOENT);
});

test('a page that changes after a harvest is in the next one (I14)', (t) => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const m = new SmallMachine({ vcpuCount: 2 });
    m.slot({ ...SLOT, npages: 4 });
    const page = () => m.byte(16 * PAGE);
    let copy = 0;
    const migrates = function* (): Path<void> {
      for (let round = 0; round < 3; round++) {
        const log = yield* harvestDirtyLog(m.control, m.vm, 0, 1);
        if (Array.isArray(log) && (log[0]! & 1) !== 0) copy = page();
      }
    };
    m.together(
      seed,
      m.vcpuRunner(0, [store(16, 1n), store(16, 2n), store(16, 3n)]),
      m.vcpuRunner(1, [store(16, 4n), store(16, 5n)]),
      m.controlRunner(migrates()),
    );
    const last = harvest(m);
    if (Array.isArray(last) && (last[0]! & 1) !== 0) copy = page();
    t.is(copy, page(), `seed ${seed}`);
    t.deepEqual(m.verdict(), [], `seed ${seed}`);
  }
});

test('two first faults on a logged page, a write and a read: whoever is later takes W from nobody’s TLB (I6)', (t) => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const m = new SmallMachine({ vcpuCount: 2 });
    m.slot(SLOT);
    m.together(
      seed,
      m.vcpuRunner(0, [store(16, 1n)]),
      m.vcpuRunner(1, [{ kind: 'read', gpa: 16 * PAGE, size: 1 }]),
    );
    t.deepEqual(m.verdict(), [], `seed ${seed}`);
  }
});

test('a fetch that maps X into a logged page flushes those who had W there (I6)', (t) => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const m = new SmallMachine({ vcpuCount: 2 });
    m.slot(SLOT);
    m.hook();
    // Without X, then with it again: the entry itself stays as it was, until somebody fetches.
    m.access(16, ACCESS_R | ACCESS_W);
    m.alone(m.program(0, [store(16, 1n)]));
    m.access(16, ACCESS_R | ACCESS_W | ACCESS_X);
    m.together(
      seed,
      m.vcpuRunner(0, [store(16, 2n), store(16, 3n)]),
      m.vcpuRunner(1, [{ kind: 'execute', gpa: 16 * PAGE, size: 1 }]),
    );
    t.is(m.byte(16 * PAGE), 3);
    t.deepEqual(m.verdict(), [], `seed ${seed}`);
  }
});
