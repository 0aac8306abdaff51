/** `npm run cycles:wire` in short: tools that come, restrict and go leave no thread, no descriptor and no restriction. */
import test from 'ava';
import { cycles, type Holdings } from '../../scripts/wire/cycles.ts';

test.serial('tools that come and go leave nothing in the process', async (t) => {
  const samples: Holdings[] = [];
  const findings = await cycles({ count: 60, every: 20, sample: (holdings) => samples.push(holdings) });
  t.deepEqual(findings, []);
  const [first, ...others] = samples;
  for (const { threads, descriptors } of others) {
    // V8's own threads may still come; those of a tool would be twenty more at each look.
    t.true(Math.abs(threads - first!.threads) <= 4, `${first!.threads} threads, then ${threads}`);
    // The next connection may be there already, or not yet; at first also what threads load from.
    t.true(descriptors - first!.descriptors <= 2, `${first!.descriptors}, then ${descriptors}`);
  }
});
