import test from 'ava';
import { policyItems } from '../../../src/explore/corpus/policy/index.ts';
import { Stage } from '../../../src/explore/explorer.ts';
import { flush } from '../../../src/explore/scenario/bundled/flush.ts';
import { MachineTarget } from '../../../src/explore/scenario/machine-target.ts';
import { scene } from '../../../src/explore/scenario/scene.ts';
import { RandomWalk } from '../../../src/explore/strategy/random-walk.ts';

const COUNTER = 0x100_000;

const scenarios = [
  flush,
  ...policyItems.flatMap((item) => [item.scenario(false), item.scenario(true)]),
  scene({
    name: 'guest',
    title: 'guest code that stores to low and to watched memory, and to its stack',
    slots: [{ id: 1, gfn: 0x100, pages: 2 }],
    vcpus: [0, 1].map(
      (index) => `
        mov qword [${COUNTER}], 1
        mov qword [${0xc0000 + index * 8}], 7
        push rax
        lock inc dword [${COUNTER + 4096}]
        mov edi, 0xc1000
        mov ecx, 100
        rep stosq
        xor eax, eax
        out 0xf4, eax`,
    ),
  }),
];

for (const [i, scenario] of scenarios.entries()) {
  test(`a world is restored to the last byte (${i}: ${scenario.name}, ${scenario.title})`, (t) => {
    const target = new MachineTarget(scenario);
    const stage = new Stage(target);
    for (let seed = 1; seed <= 5; seed++) {
      stage.execute(new RandomWalk(), seed);
      target.world.restore();
      t.is(target.world.firstDifference, -1);
    }
  });
}
