/** Memslots that change between the end of a session and unhook: policy is still there, and so is what carries it out. */
import test from 'ava';
import { unhook } from '../../../src/actors/introspector/hook.ts';
import { type Quirks, REF_SLOTS_NEED_SESSION } from '../../../src/shared/quirks.ts';
import { SmallMachine } from '../../support/small-machine.ts';

const R = 1;
const SLOT = { id: 1, asId: 0, flags: 0, baseGfn: 32, npages: 8, ramPage: 16 };

/** A machine with a restricted page in its slot. The session is over; unhook is still to come. */
function afterSession(quirks: Quirks = []): SmallMachine {
  const machine = new SmallMachine({ quirks });
  machine.slot(SLOT);
  machine.hook();
  machine.access(33, R);
  machine.alone(machine.session.close());
  return machine;
}

function unhooked(machine: SmallMachine): string[] {
  machine.alone(unhook(machine.control, machine.vm));
  return machine.verdict();
}

test('a slot that goes and comes again is tracked as its policy says', (t) => {
  const machine = afterSession();
  t.is(machine.slot({ ...SLOT, npages: 0 }), 0);
  t.deepEqual(machine.verdict(), [], 'gone');
  t.is(machine.slot(SLOT), 0);
  t.deepEqual(machine.verdict(), [], 'there again');
  t.deepEqual(unhooked(machine), []);
});

test('a slot that moves takes along what of its new place is tracked, and unhook finds every count', (t) => {
  const machine = afterSession();
  t.is(machine.slot({ ...SLOT, baseGfn: 30 }), 0);
  t.deepEqual(machine.verdict(), [], 'moved, the page is still in it');
  t.is(machine.slot({ ...SLOT, baseGfn: 64 }), 0);
  t.deepEqual(machine.verdict(), [], 'moved away');
  t.is(machine.slot({ ...SLOT, baseGfn: 33 }), 0);
  t.deepEqual(unhooked(machine), []);
});

test('slotsNeedSession (RC-83): without a session the reference follows no move, and unhook underflows', (t) => {
  const machine = afterSession([REF_SLOTS_NEED_SESSION]);
  machine.slot({ ...SLOT, baseGfn: 30 });
  t.true(machine.verdict().some((line) => line.startsWith('I3: gfn 0x21')));
  t.true(unhooked(machine).some((line) => /^I4: .* would go below 0/.test(line)));
});
