/** Help texts, from the tables of commands and flags. */
import type { Command } from './commands.ts';

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
