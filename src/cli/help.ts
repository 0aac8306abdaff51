/** What a command says of itself, and the help texts made of that. */
import type { Flag } from './flags.ts';

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

export function overview(commands: readonly Command[]): string {
  const lines = commands.map(({ name, summary }) => `  ${name.padEnd(10)} ${summary}`);
  return `faultline: KVM memory introspection and its races, in user space

usage: faultline COMMAND [flags]

${lines.join('\n')}

faultline COMMAND --help says more; faultline --version which one this is.
`;
}

export function commandHelp({ name, summary, flags, notes, words = '' }: Command): string {
  const listed = flags.filter((flag) => flag.help !== undefined);
  const left = (flag: (typeof flags)[number]) =>
    `--${flag.name}${flag.value === undefined ? '' : ` ${flag.value}`}`;
  const width = Math.max(...listed.map((flag) => left(flag).length));
  const lines = listed.map((flag) => `  ${left(flag).padEnd(width)}  ${flag.help}`);
  return `faultline ${name}: ${summary}

usage: faultline ${name}${words === '' ? '' : ` ${words}`} [flags]

${lines.join('\n')}

${notes}
`;
}
