/**
 * `npm run fuzz:wire [-- --wire 12|7|both] [--messages N] [--seed S] [--replay S] [--times N]`: senseless tools, a million
 * messages on each wire unless told otherwise. Exit code 1 for a machine that did something wrong, with the seed of the
 * conversation that shows it; `--replay` says that conversation again, as often as `--times` says.
 */
import { parseArgs } from 'node:util';
import { campaign, FuzzFailure, replay } from './wire/fuzz/campaign.ts';
import type { Tally } from './wire/fuzz/tool.ts';

const PROGRESS_EVERY_MS = 10_000;

const { values } = parseArgs({
  options: {
    wire: { type: 'string', default: 'both' },
    messages: { type: 'string', default: '1000000' },
    seed: { type: 'string', default: String(Date.now()) },
    replay: { type: 'string' },
    times: { type: 'string', default: '20' },
  },
});
const wires =
  values.wire === 'both' ? ([12, 7] as const) : values.wire === '7' ? ([7] as const) : ([12] as const);
const messages = Number(values.messages);
const times = Number(values.times);
if (!['12', '7', 'both'].includes(values.wire) || !(messages > 0) || !(times > 0)) {
  process.stderr.write('--wire 12, 7 or both; --messages and --times are numbers above 0\n');
  process.exit(2);
}

for (const wire of wires) {
  const began = performance.now();
  let said = began;
  const line = (tally: Tally) => {
    const seconds = (performance.now() - began) / 1000;
    const { conversations, messages: sent, answers, events, closed } = tally;
    process.stdout.write(
      `wire-${wire} ${seconds.toFixed(0)} s: ${sent} messages in ${conversations} conversations, ${answers} answers, ${events} events, ${closed} closed by the machine\n`,
    );
  };
  try {
    if (values.replay !== undefined) {
      line(await replay(wire, BigInt(values.replay), times));
      continue;
    }
    process.stdout.write(`wire-${wire} --seed ${values.seed}\n`);
    const progress = (tally: Tally) => {
      if (performance.now() - said < PROGRESS_EVERY_MS) return;
      said = performance.now();
      line(tally);
    };
    line(await campaign({ wire, seed: BigInt(values.seed), messages, progress }));
  } catch (error) {
    if (!(error instanceof FuzzFailure)) throw error;
    process.stdout.write(`${error.stack}\n`);
    process.stdout.write(`npm run fuzz:wire -- --wire ${error.wire} --replay 0x${error.seed.toString(16)}\n`);
    process.exitCode = 1;
  }
}
