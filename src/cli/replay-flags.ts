/** The flags of `faultline replay`, and what they ask for. */
import { existsSync, readFileSync } from 'node:fs';
import type { ReplayEngine } from '../explore/campaign/task.ts';
import { SimError } from '../shared/errors.ts';
import { type Flag, parseFlags, usage } from './flags.ts';

const ENGINES: readonly ReplayEngine[] = ['explored', 'controlled'];

export const REPLAY_FLAGS: readonly Flag[] = [
  {
    name: 'engine',
    value: 'NAME',
    help: 'explored: coroutines in one thread; controlled: real threads (explored)',
  },
  { name: 'step', help: 'print every step' },
  {
    name: 'trace',
    value: 'FILE',
    help: 'write a trace for ui.perfetto.dev, or JSON lines if it ends in .jsonl',
  },
  { name: 'json', help: 'one JSON object a line' },
  { name: 'help', also: ['h'], help: 'this text' },
];

export interface ReplayRequest {
  /** Text of the token. */
  readonly token: string;
  /** As it was given: the token, or its file. */
  readonly given: string;
  readonly scenario: string | null;
  readonly engine: ReplayEngine;
  readonly step: boolean;
  readonly trace: string | null;
  readonly json: boolean;
}

// LIMIT: bytes of a file with a token: many times what the longest schedule takes.
const TOKEN_FILE_LIMIT = 4 * 1024 ** 2;

/** @throws SimError SIM_USAGE, SIM_FILE */
export function parseReplay(words: readonly string[]): ReplayRequest {
  const flags = parseFlags(words, REPLAY_FLAGS, 'replay');
  const [given, scenario, third] = flags.positionals;
  if (given === undefined) {
    throw usage('which token?', "give what a finding's report ends with: FL1.…");
  }
  if (third !== undefined) {
    throw usage(`'${third}' is one word too many`, 'faultline replay TOKEN [SCENARIO]');
  }
  const engine = flags.value('engine') ?? 'explored';
  if (!isEngine(engine)) {
    throw usage(`--engine: there is no engine '${engine}'`, `give one of ${ENGINES.join(', ')}`);
  }
  return {
    token: tokenText(given),
    given,
    scenario: scenario ?? null,
    engine,
    step: flags.has('step'),
    trace: flags.value('trace') ?? null,
    json: flags.has('json'),
  };
}

function isEngine(name: string): name is ReplayEngine {
  return (ENGINES as readonly string[]).includes(name);
}

/** The token itself, or what is in its file. */
function tokenText(given: string): string {
  if (/^FL\d+\./.test(given) || !existsSync(given)) return given;
  try {
    const text = readFileSync(given, 'utf8');
    if (text.length <= TOKEN_FILE_LIMIT) return text.trim();
  } catch (cause) {
    throw new SimError('SIM_FILE', `cannot read the token in '${given}'`, { cause });
  }
  throw new SimError('SIM_FILE', `'${given}' is too long for a token`, { hint: 'a token is one line' });
}
