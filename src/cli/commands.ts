/** The commands there are: what each is for, what it takes, and what carries it out. */
import { EXIT, SimError } from '../shared/errors.ts';
import { suggest } from '../shared/suggest.ts';
import { corpus } from './corpus.ts';
import { CORPUS_FLAGS } from './corpus-flags.ts';
import { explore } from './explore.ts';
import { EXPLORE_FLAGS } from './explore-flags.ts';
import type { Flag } from './flags.ts';
import { commandHelp, overview } from './help.ts';
import { locks } from './locks.ts';
import { LOCKS_FLAGS } from './locks-flags.ts';
import { replay } from './replay.ts';
import { REPLAY_FLAGS } from './replay-flags.ts';
import { run } from './run.ts';
import { RUN_FLAGS } from './run-flags.ts';
import { version } from './version.ts';

export interface Command {
  readonly name: string;
  /** Other names. */
  readonly also?: readonly string[];
  readonly summary: string;
  /** What it takes beside flags, for its help. */
  readonly words?: string;
  readonly flags: readonly Flag[];
  /** Lines below the flags in its help. */
  readonly notes: string;
  /** `words`: what follows the command's name. @returns the exit code */
  readonly main: (words: readonly string[]) => Promise<number>;
}

export const COMMANDS: readonly Command[] = [
  {
    name: 'run',
    also: ['storm'],
    summary: 'run a guest, or the bundled storm, and say whether everything held',
    flags: RUN_FLAGS,
    notes: `Without --kernel it runs the storm: vCPUs read, write and execute restricted pages, some across page
boundaries, while memslots vanish, return and move, and a tool answers and changes access.

Exit code: 0 every vCPU exited with code 0 (the storm: ran its time) and all invariants held;
1 a finding, or the guest exited with another code; 2 bad usage; 3 the guest crashed: triple fault,
or the tool answered CRASH; 4 the guest had not ended after --seconds or --max-instructions, or the
tool did not answer in time; 70 a thread was lost; 128 + n ended by signal n.
QEMU's -smp, -m, -kernel, -nographic, -no-reboot are understood.`,
    main: run,
  },
  {
    name: 'explore',
    summary: 'execute a scenario in many orders, and explain what breaks',
    words: 'SCENARIO',
    flags: EXPLORE_FLAGS,
    notes: `SCENARIO is the name of a bundled one (--list) or the path of a module whose default export is one.
Each finding is shrunk, explained, and ends with the command that repeats it.

Exit code: 0 nothing found; 1 a finding; 2 bad usage, or a scenario that throws, never ends, or cannot be
repeated because it uses time or chance; 4 --time was over before all --schedules were executed; 70 a bug of
ours; 128 + n ended by signal n, with what was found until then.`,
    main: explore,
  },
  {
    name: 'replay',
    summary: 'execute what a finding said, and see it again',
    words: 'TOKEN [SCENARIO]',
    flags: REPLAY_FLAGS,
    notes: `TOKEN is what a finding's report ends with, or a file that holds it. SCENARIO is needed for modules of your own.

Exit code: 1 reproduced; 5 diverged: the same schedule does not show it any more; 2 not replayable: a damaged
token, one of another version or another scenario.`,
    main: replay,
  },
  {
    name: 'locks',
    summary: 'show who waits for which lock under which, in a scenario or a run',
    words: '[SCENARIO]',
    flags: LOCKS_FLAGS,
    notes: `faultline locks [SCENARIO] explores a bundled scenario (lock-tour); faultline locks --run runs a storm, and
takes what run takes. The text lists classes with their times, waits with the places that were seen first,
and circles; dot draws the circle if there is one, else the order; json has everything.

A circle is a deadlock that was predicted; --realise looks for a schedule in which it happens.
Exit code: 0 no circle and all waits are declared; 1 a circle, or an undeclared wait; 2 bad usage.`,
    main: locks,
  },
  {
    name: 'corpus',
    summary: 'look for each of the known races, and for reports where there is none',
    flags: CORPUS_FLAGS,
    notes: `Each item of the race corpus is a known mistake behind a switch. It is found when an oracle names one of its
rules, the schedule shows it again 20 times of 20, and the corrected machine comes out of it clean. Corrected
machines and negative controls, which look like mistakes and are none, must have nothing reported.

Exit code: 0 everything asked for was found, and nothing was reported falsely; 1 otherwise; 2 bad usage;
70 a bug of ours; 128 + n ended by signal n.`,
    main: corpus,
  },
];

/** Carries out a command line. @throws SimError SIM_USAGE */
export async function dispatch(words: readonly string[]): Promise<number> {
  const [first, ...rest] = words;
  if (first === undefined || first === '--help' || first === '-h' || first === 'help') {
    const wanted = rest[0] === undefined ? undefined : find(rest[0]);
    process.stdout.write(wanted === undefined ? overview(COMMANDS) : commandHelp(wanted));
    return EXIT.OK;
  }
  if (first === '--version' || first === '-V' || first === 'version') {
    process.stdout.write(`faultline ${version()}\n`);
    return EXIT.OK;
  }
  // A flag in the command's place: QEMU has no commands, and nobody should have to learn ours for -kernel.
  if (first.startsWith('-')) return find('run').main(words);
  const command = find(first);
  if (rest.includes('--help') || rest.includes('-h')) {
    process.stdout.write(commandHelp(command));
    return EXIT.OK;
  }
  return command.main(rest);
}

function find(name: string): Command {
  const command = COMMANDS.find((c) => c.name === name || c.also?.includes(name) === true);
  if (command !== undefined) return command;
  const near = suggest(
    name,
    COMMANDS.flatMap((c) => [c.name, ...(c.also ?? [])]),
  );
  throw new SimError('SIM_USAGE', `there is no command '${name}'`, {
    hint: near === null ? 'faultline --help lists them all' : `did you mean ${near}?`,
  });
}
