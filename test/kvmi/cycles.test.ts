/** `npm run cycles:wire` in short: tools that come, restrict and go leave no thread, no descriptor and no restriction. */
import test from 'ava';
import { cycles, type Holdings } from '../../scripts/wire/cycles.ts';

test.serial('tools that come and go leave nothing in the process', async (t) => {
  const samples: Holdings[] = [];
  const findings = await cycles({ count: 60, every: 20, sample: (holdings) => samples.push(holdings) });
  t.deepEqual(findings, []);
  const [first, ...others] = samples;
  // One of either that each tool left would be twenty more at each look. A few come and go by themselves: V8's threads,
  // files that modules are loaded from, the next connection.
  for (const { threads, descriptors } of others) {
    t.true(threads - first!.threads < 10, `${first!.threads} threads, then ${threads}`);
    t.true(descriptors - first!.descriptors < 10, `${first!.descriptors} descriptors, then ${descriptors}`);
  }
});
