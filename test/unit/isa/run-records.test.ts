/** The run loop: what stands in it, and that it stays small enough to be compiled well. */
import test from 'ava';
import { buildHelpers } from '../../../src/actors/vcpu/isa/core-helpers.ts';
import { FORMS, type Form, HOT_FORMS, isMemory } from '../../../src/actors/vcpu/isa/forms.ts';
import { isHot, RUN_BYTES_MAX } from '../../../src/actors/vcpu/isa/hot-forms.ts';
import { buildRun } from '../../../src/actors/vcpu/isa/run-records.ts';
import { ModuleBuilder } from '../../../src/actors/vcpu/isa/wasm-module.ts';

const module = new ModuleBuilder();
const run = buildRun(module, buildHelpers(module));

test('hot forms are the first ones, and nothing else is', (t) => {
  t.deepEqual(
    FORMS.map(isHot),
    FORMS.map((_, index) => index < HOT_FORMS),
  );
});

test('the loop stays where the engine compiles it well', (t) => {
  const { length } = run.fn.code;
  t.true(length <= RUN_BYTES_MAX, `${length} bytes`);
});

test('whatever touches memory keeps a handler for the miss, quiet register forms need none', (t) => {
  const touches = ({ op, dst, src }: Form): boolean =>
    ['push', 'pop', 'call', 'callind', 'ret', 'leave'].includes(op) ||
    (op !== 'lea' && (isMemory(dst) || isMemory(src)));
  const hot = FORMS.slice(0, HOT_FORMS);
  t.deepEqual(
    hot.filter(touches).filter((form) => run.selfContained.has(form)),
    [],
  );
  const quiet = hot.filter((form) => !form.flags && !touches(form));
  t.true(quiet.length > 0);
  t.deepEqual(
    quiet.filter((form) => !run.selfContained.has(form)),
    [],
  );
  t.true([...run.selfContained].every(isHot));
});
