import test from 'ava';
import { CONTINUE, R, scene, W, write, X } from '../../../../src/explore/scenario/scene.ts';
import { stageOf } from '../../../../src/explore/scenario/stage.ts';
import { strategyByName } from '../../../../src/explore/strategy/registry.ts';

const GPA = 0x20_000;
const SEED = Number(process.env['SEED'] ?? 1);

const overlapping = scene({
  name: 'overlapping-commands',
  title: 'two tools set the access of a page at one time, and the first of them once more before it answers',
  slots: [{ id: 1, gfn: 0x20, pages: 1 }],
  restrict: { 32: R },
  vcpus: [[write(GPA, 1n)], [write(GPA + 8, 2n)]],
  *tool({ events }, _event, session) {
    if (events.length > 1) return CONTINUE;
    yield* session.setPageAccess(GPA, W);
    yield* session.setPageAccess(GPA, R | X);
    return CONTINUE;
  },
  others: {
    *tool(world, actor) {
      yield* world.newSession(actor).setPageAccess(GPA, R);
    },
  },
});

test('what one of two overlapping commands denies, and a later one too, may have been denied all the time', (t) => {
  const stage = stageOf(overlapping);
  const strategies = ['random', 'pos', 'pct3'].map((name) => strategyByName(name));
  for (let i = 0; i < 1500; i++) {
    const outcome = stage.outcome(strategies[i % 3]!, SEED + i)!;
    if (outcome.findings.length > 0) return t.fail(`seed ${SEED + i}: ${outcome.findings[0]!.message}`);
  }
  t.pass();
});
