/** Progress: who gets nowhere is found long before the step limit; who is kept from moving is not blamed. */
import test from 'ava';
import type { Strategy } from '../../../../src/explore/engine/strategy.ts';
import { Stage } from '../../../../src/explore/explorer.ts';
import { MachineTarget } from '../../../../src/explore/scenario/machine-target.ts';
import { CPU } from '../../../../src/shared/layout/cpu.ts';
import { type Path, relaxing, stepping } from '../../../../src/shared/sync/point.ts';
import { FAULT_RESULTS, TRACE_FAULT } from '../../../../src/shared/trace/kinds.ts';
import { look } from '../../../support/look.ts';
import { runner, stageOf } from '../../../support/oracle-scenarios.ts';

test('two that poll each other: livelock within the budget, with what they did most', (t) => {
  const scenario = stageOf((world) =>
    ['left', 'right'].map((name) =>
      runner(world, name, function* () {
        for (;;) yield relaxing(world.vm.word('DEAD'));
      }),
    ),
  );
  const [found, ...more] = look(scenario, 3).findings;
  t.is(more.length, 0);
  t.like(found, { oracle: 'livelock', rule: 'I10' });
  t.true(found!.step < 5000, `found at step ${found!.step}`);
  t.true(found!.details!.some((line) => /left meanwhile: \d+ × polling DEAD/.test(line)));
});

test('who retires instructions makes progress, however long it takes', (t) => {
  const scenario = stageOf(
    (world) => [
      runner(world, 'guest', function* (): Path<void> {
        const retired = world.vm.cpu(0) + CPU.at.RETIRED;
        for (let n = 0; n < 12_000; n++) {
          yield stepping();
          if (n % 1000 === 0) world.vm.mem.u64[retired / 8]! += 1n;
        }
      }),
    ],
    { stepLimit: 50_000 },
  );
  t.deepEqual(look(scenario, 1).findings, []);
});

test('a schedule that lets only one poll is to blame itself: the step limit ends it', (t) => {
  const starving: Strategy = { name: 'starving', begin: () => true, pick: () => 0 };
  const scenario = stageOf(
    (world) => [
      runner(world, 'poller', function* () {
        for (;;) yield relaxing();
      }),
      runner(world, 'worker', function* () {
        yield stepping();
      }),
    ],
    { stepLimit: 10_000 },
  );
  const execution = new Stage(new MachineTarget(scenario)).execute(starving, 1)!;
  t.is(execution.step, 10_000);
  t.regex(execution.findings[0]!.message, /^no end after 10000 steps/);
});

test('faults that mend something again and again at one instruction (I16)', (t) => {
  const faults = (count: number) =>
    stageOf((world) => [
      {
        name: 'vcpu 0',
        waiter: world.vcpus[0]!.actor,
        path: (function* (): Path<void> {
          for (let n = 0; n < count; n++) {
            yield stepping();
            world.vcpus[0]!.actor.tracer!.end(TRACE_FAULT, FAULT_RESULTS.indexOf('fixed-fast'));
          }
        })(),
      },
    ]);
  t.like(look(faults(300), 1).findings[0], { oracle: 'livelock', rule: 'I16' });
  t.deepEqual(look(faults(100), 1).findings, []);
});
