/**
 * The oracle's command line: cases of a seed, run on the host processor and in Faultline, and held against each other.
 *
 *   npm run oracle -- --cases 1000000 --seed 7     compare; exit code 1 if anything differs
 *   npm run oracle -- --record test/vectors/instructions.bin.gz --cases 20000
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { type LabMode, VcpuLab } from '../../test/support/core-lab.ts';
import { campaign } from './campaign.ts';
import type { CaseResult, OracleCase } from './case.ts';
import { type Difference, differences } from './compare.ts';
import { Coverage, opsWithoutEncoding } from './coverage.ts';
import { describe } from './describe.ts';
import { hostProcessor, NativeRunner, nativeObstacle } from './native.ts';
import { packVectors } from './vectors.ts';

const HELP = `npm run oracle -- [--cases N] [--seed N] [--mode fast|emulated|compiled|both|all] [--undefined]
                  [--only REGEX] [--show N] [--coverage] [--record FILE]

Runs random instructions on this machine's processor and in Faultline's core, and prints where they
differ. --only takes operations whose name matches. --undefined compares what the SDM leaves undefined as well. --coverage prints all forms with
their counts. --record writes the cases with the processor's results to FILE and compares nothing.
Exit code 0: all agree; 1: something differs; 2: bad usage, or no native run possible here.`;

const BATCH = 10_000;
const NUMBER = /^(0x[0-9a-f]+|[0-9]+)$/i;

interface Options {
  readonly cases: number;
  readonly seed: bigint;
  readonly modes: readonly LabMode[];
  readonly undefinedToo: boolean;
  readonly show: number;
  readonly coverage: boolean;
  readonly record: string | null;
  readonly only: RegExp | null;
}

function main(): number {
  const options = readOptions();
  if (options === null) return 2;
  const obstacle = nativeObstacle();
  if (obstacle !== null) {
    process.stderr.write(`oracle: ${obstacle}\n`);
    return 2;
  }
  return options.record === null ? compare(options) : record(options, options.record);
}

function readOptions(): Options | null {
  const { values } = parseArgs({
    options: {
      cases: { type: 'string', default: '100000' },
      seed: { type: 'string', default: '1' },
      mode: { type: 'string', default: 'both' },
      undefined: { type: 'boolean', default: false },
      show: { type: 'string', default: '5' },
      coverage: { type: 'boolean', default: false },
      record: { type: 'string' },
      only: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  const numbers = [values.cases, values.seed, values.show].every((text) => NUMBER.test(text));
  const modes = {
    fast: ['fast'],
    emulated: ['emulated'],
    compiled: ['compiled'],
    both: ['fast', 'emulated'],
    all: ['fast', 'emulated', 'compiled'],
  } as const;
  if (values.help || !numbers || !(values.mode in modes)) {
    process.stderr.write(`${HELP}\n`);
    return null;
  }
  return {
    cases: Number(values.cases),
    seed: BigInt(values.seed),
    modes: modes[values.mode as keyof typeof modes],
    undefinedToo: values.undefined,
    show: Number(values.show),
    coverage: values.coverage,
    record: values.record ?? null,
    only: values.only === undefined ? null : new RegExp(`^(?:${values.only})$`),
  };
}

/** Batches of cases with native results. */
function* answered({
  cases: total,
  seed,
  only,
}: Options): Generator<{ cases: OracleCase[]; results: CaseResult[] }> {
  const native = NativeRunner.build();
  const source = campaign(seed, only);
  for (let done = 0; done < total; ) {
    const cases = Array.from({ length: Math.min(BATCH, total - done) }, () => source.next().value);
    yield { cases, results: native.run(cases) };
    done += cases.length;
  }
}

function record(options: Options, file: string): number {
  const cases: OracleCase[] = [];
  const results: CaseResult[] = [];
  for (const batch of answered(options)) {
    cases.push(...batch.cases);
    results.push(...batch.results);
  }
  const packed = packVectors({ seed: options.seed, host: hostProcessor(), cases, results });
  writeFileSync(file, packed);
  process.stdout.write(`${cases.length} cases, ${packed.length} bytes, from ${hostProcessor()}\n`);
  return 0;
}

interface MismatchClass {
  count: number;
  readonly groups: Set<string>;
}

function compare(options: Options): number {
  const lab = new VcpuLab();
  const coverage = new Coverage();
  const classes = new Map<string, MismatchClass>();
  let compared = 0;
  let shown = 0;
  for (const { cases, results } of answered(options)) {
    for (const [index, item] of cases.entries()) {
      coverage.add(item);
      for (const mode of options.modes) {
        const native = results[index]!;
        const ours = lab.run(item, mode);
        compared++;
        const found = differences(item, native, ours, options);
        if (found.length === 0) continue;
        note(classes, className(item, mode, found), item.group);
        if (shown++ < options.show) {
          process.stdout.write(`mismatch (${mode})\n${describe(item, native, ours, found)}\n\n`);
        }
      }
    }
    process.stderr.write(`${compared} comparisons, ${mismatches(classes)} mismatches\n`);
  }
  if (lab.regions > 0) process.stderr.write(`${lab.regions} regions compiled\n`);
  report({ options, coverage, classes, compared });
  return mismatches(classes) === 0 ? 0 : 1;
}

/** What mismatches have in common: "shld fast: flags". */
function className(item: OracleCase, mode: LabMode, found: readonly Difference[]): string {
  const what = found.map((one) => (/^[A-Z]/.test(one.what) ? 'flags' : one.what));
  const [op] = item.group.split(' ');
  return `${op} ${mode}: ${[...new Set(what)].join(' ')}`;
}

function note(classes: Map<string, MismatchClass>, name: string, group: string): void {
  const entry = classes.get(name) ?? { count: 0, groups: new Set() };
  entry.count++;
  entry.groups.add(group);
  classes.set(name, entry);
}

function mismatches(classes: ReadonlyMap<string, MismatchClass>): number {
  return [...classes.values()].reduce((sum, { count }) => sum + count, 0);
}

function report(what: {
  options: Options;
  coverage: Coverage;
  classes: ReadonlyMap<string, MismatchClass>;
  compared: number;
}): void {
  const { options, coverage, classes, compared } = what;
  const lines: string[] = [];
  if (options.coverage) lines.push(coverage.table(), '');
  for (const { op, reason } of opsWithoutEncoding())
    lines.push(`not covered: ${op}, ${reason ?? 'no reason given'}`);
  const missing = options.only === null ? coverage.missingForms() : [];
  if (missing.length > 0) lines.push(`forms without a case: ${missing.join('; ')}`);
  for (const [name, { count, groups }] of [...classes].sort(([, a], [, b]) => b.count - a.count)) {
    const examples = [...groups].slice(0, 4).join('; ');
    lines.push(`${String(count).padStart(7)}  ${name}   (${examples})`);
  }
  const verdict = mismatches(classes) === 0 ? 'all agree' : `${mismatches(classes)} differ`;
  lines.push(`${compared} comparisons with ${hostProcessor()}, seed ${options.seed}: ${verdict}`);
  process.stdout.write(`${lines.join('\n')}\n`);
}

process.exitCode = main();
