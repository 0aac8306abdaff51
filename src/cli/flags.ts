/**
 * Flags from the words of a command line: our `--name value`, and QEMU's `-name value` where QEMU has the same thing.
 *
 * Nothing here knows what a flag means, except whether it takes a value. Whatever is wrong is one SIM_USAGE that names
 * the word and says what would be right.
 */
import { parseArgs } from 'node:util';
import { SimError } from '../shared/errors.ts';
import { suggest } from '../shared/suggest.ts';

export interface Flag {
  /** Without dashes. */
  readonly name: string;
  /** What its value is called in the help; absent for a switch. */
  readonly value?: string;
  /** Other names, without dashes: QEMU's. */
  readonly also?: readonly string[];
  /** Absent for what is accepted, does nothing and needs no mention. */
  readonly help?: string;
}

export interface ParsedFlags {
  /** Is the switch on? */
  has(name: string): boolean;
  /** The value of a flag, or undefined when it was not given. */
  value(name: string): string | undefined;
  /** Was the flag written the way QEMU writes it (`-m`, not `--mem`)? */
  byOtherName(name: string): boolean;
  readonly positionals: readonly string[];
}

/** Flags of QEMU that mean something we do not have, and what to say about them. */
const NOT_YET: Readonly<Record<string, string>> = {
  gdb: 'there is no debugger port yet',
  s: 'there is no debugger port yet',
  S: 'a machine starts at once; from a program, call start() when you like',
  qmp: 'there is no control socket yet',
  monitor: 'there is no monitor',
  drive: 'there are no disks',
  hda: 'there are no disks',
  cdrom: 'there are no disks',
  netdev: 'there is no network',
  nic: 'there is no network',
  cpu: 'there is one kind of vCPU',
  machine: 'there is one kind of machine',
  enableKvm: 'nothing of the host is used',
};

/**
 * @param flags    what this command knows
 * @param command  its name, for hints
 * @throws SimError SIM_USAGE: an unknown flag, a value missing or too many, a flag twice with different values
 */
export function parseFlags(words: readonly string[], flags: readonly Flag[], command = 'run'): ParsedFlags {
  const byName = new Map<string, Flag>();
  for (const flag of flags) for (const name of [flag.name, ...(flag.also ?? [])]) byName.set(name, flag);
  const { tokens } = parseArgs({
    args: words.map(doubleDash),
    options: Object.fromEntries(
      [...byName].map(([name, flag]) => [name, { type: flag.value === undefined ? 'boolean' : 'string' }]),
    ),
    strict: false,
    tokens: true,
    allowPositionals: true,
  });
  const values = new Map<string, string | true>();
  const written = new Map<string, string>();
  const positionals: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value);
    if (token.kind !== 'option') continue;
    const shown = words[token.index] ?? token.rawName;
    const flag = byName.get(token.name);
    if (flag === undefined) throw unknown(shown, token.name, byName, command);
    const value = valueIn(flag, shown, token.value);
    const before = values.get(flag.name);
    if (before !== undefined && before !== value) {
      throw usage(`${shown.split('=')[0]} is given twice: ${before} and ${value}`, 'give it once');
    }
    values.set(flag.name, value);
    written.set(flag.name, token.name);
  }
  return {
    has: (name) => values.get(name) === true,
    value: (name) => {
      const value = values.get(name);
      return typeof value === 'string' ? value : undefined;
    },
    byOtherName: (name) => (written.get(name) ?? name) !== name,
    positionals,
  };
}

/** `-smp` → `--smp`, which would otherwise be taken for three letters. */
function doubleDash(word: string): string {
  return /^-[a-zA-Z]/.test(word) ? `-${word}` : word;
}

function valueIn(flag: Flag, shown: string, value: string | undefined): string | true {
  const name = shown.split('=')[0]!;
  if (flag.value === undefined) {
    if (value === undefined) return true;
    throw usage(`${name} takes no value, and '${value}' was given`, `write just ${name}`);
  }
  if (value === undefined || value === '' || value.startsWith('--')) {
    throw usage(`${name} needs a value`, `write ${name} ${flag.value}`);
  }
  return value;
}

function unknown(shown: string, name: string, known: ReadonlyMap<string, Flag>, command: string): SimError {
  const word = shown.split('=')[0]!;
  const notYet = NOT_YET[name === 'enable-kvm' ? 'enableKvm' : name];
  if (notYet !== undefined) return usage(`${word} is not supported`, notYet);
  const near = suggest(
    name,
    [...known.values()].filter(({ help }) => help !== undefined).map((flag) => flag.name),
  );
  return usage(
    `there is no flag ${word}`,
    near === null ? `faultline ${command} --help lists them all` : `did you mean --${near}?`,
  );
}

/** A mistake on the command line, and what to write instead. */
export function usage(message: string, hint: string): SimError {
  return new SimError('SIM_USAGE', message, { hint });
}
