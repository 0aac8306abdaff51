/**
 * `npm run cycles:wire [-- --count N]`: 10 000 tools connect, shake hands, restrict and go. Exit code 1 when memory,
 * threads or descriptors have grown with them, or the machine has found something wrong with itself. Linux only.
 */
import { parseArgs } from 'node:util';
import { cycles, type Holdings } from './wire/cycles.ts';

/** What the heaps of a process breathe by. */
const MEMORY_SLACK_MIB = 16;

const { values } = parseArgs({ options: { count: { type: 'string', default: '10000' } } });
const count = Number(values.count);
if (!Number.isInteger(count) || count < 40) {
  process.stderr.write(`--count ${values.count}: give a number of 40 or more\n`);
  process.exit(2);
}

const samples: Holdings[] = [];
const began = performance.now();
const findings = await cycles({
  count,
  every: Math.floor(count / 20),
  sample: (holdings) => {
    samples.push(holdings);
    const { cycles: done, rssMib, threads, descriptors } = holdings;
    process.stdout.write(
      `${String(done).padStart(7)} cycles  ${rssMib.toFixed(1)} MiB  ${threads} threads  ${descriptors} descriptors\n`,
    );
  },
});
const seconds = (performance.now() - began) / 1000;
process.stdout.write(`${count} cycles in ${seconds.toFixed(1)} s\n`);

// The first half warms up: code is compiled, heaps find their size.
const half = samples.slice(0, samples.length / 2);
const rest = samples.slice(samples.length / 2);
const most = (of: readonly Holdings[], what: keyof Holdings) => Math.max(...of.map((sample) => sample[what]));
const wrong = [...findings];
if (most(rest, 'rssMib') > most(half, 'rssMib') + MEMORY_SLACK_MIB) wrong.push('memory has grown');
for (const what of ['threads', 'descriptors'] as const) {
  if (most(rest, what) > most(half, what)) wrong.push(`${what} have grown`);
}
for (const line of wrong) process.stdout.write(`${line}\n`);
process.exitCode = wrong.length === 0 ? 0 : 1;
