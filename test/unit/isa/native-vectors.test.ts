/**
 * What a real processor made of thousands of instructions, against what our core makes of them, in both its ways to
 * execute. The vectors are recorded by `npm run oracle -- --record`; see scripts/native-oracle.
 */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { differences } from '../../../scripts/native-oracle/compare.ts';
import { Coverage, opsWithoutEncoding } from '../../../scripts/native-oracle/coverage.ts';
import { describe } from '../../../scripts/native-oracle/describe.ts';
import { packVectors, unpackVectors } from '../../../scripts/native-oracle/vectors.ts';
import { FORMS } from '../../../src/actors/vcpu/isa/forms.ts';
import { type LabMode, VcpuLab } from '../../support/core-lab.ts';

const { seed, host, cases, results } = unpackVectors(readFileSync('test/vectors/instructions.bin.gz'));
const PARTS = 4;
const PART_CASES = Math.ceil(cases.length / PARTS);
const SHOWN = 3;

const lab = new VcpuLab();
const handlersSeen = new Set<number>();

/** Every so many cases are compiled: each is a WebAssembly module or two. */
const COMPILED_STEP = 16;

/** Descriptions of what does not agree, of every `step`-th case of a part. */
function mismatches(part: number, mode: LabMode, step = 1): string[] {
  const texts: string[] = [];
  let count = 0;
  const end = Math.min((part + 1) * PART_CASES, cases.length);
  for (let index = part * PART_CASES; index < end; index += step) {
    const item = cases[index]!;
    const native = results[index]!;
    const ours = lab.run(item, mode);
    const found = differences(item, native, ours, { undefinedToo: false });
    if (found.length === 0) continue;
    if (count++ < SHOWN) texts.push(`case ${index}\n${describe(item, native, ours, found)}`);
  }
  return count > SHOWN ? [...texts, `${count} in all`] : texts;
}

for (let part = 0; part < PARTS; part++) {
  for (const mode of ['fast', 'emulated'] as const) {
    test.serial(`instructions do what a processor does, ${mode}, part ${part + 1} of ${PARTS}`, (t) => {
      t.deepEqual(mismatches(part, mode), []);
      if (mode === 'fast') for (const handler of lab.handlersInUse()) handlersSeen.add(handler);
    });
  }
}

test.serial('instructions do what a processor does, compiled', (t) => {
  for (let part = 0; part < PARTS; part++) t.deepEqual(mismatches(part, 'compiled', COMPILED_STEP), []);
  t.true(lab.regions >= cases.length / COMPILED_STEP, `${lab.regions} regions`);
});

test.serial('every handler of the core takes part', (t) => {
  // The generator puts no 66 before an F2 that belongs to the opcode: CRC32 of 16 bits is not recorded.
  const recorded = (form: (typeof FORMS)[number]) => form.op !== 'crc32' || form.srcSize !== 2;
  const unused = FORMS.filter((form, index) => recorded(form) && !handlersSeen.has(index));
  t.deepEqual(unused, []);
});

test('every operation of the core and every operand form has cases', (t) => {
  const coverage = new Coverage();
  for (const item of cases) coverage.add(item);
  t.deepEqual(coverage.missingForms(), []);
  t.deepEqual(
    opsWithoutEncoding().filter(({ reason }) => reason === undefined),
    [],
  );
  t.log(`${cases.length} cases from ${host}, seed ${seed}`);
});

test('vectors come out of the file as they went in', (t) => {
  const few = { seed, host, cases: cases.slice(0, 500), results: results.slice(0, 500) };
  t.deepEqual(unpackVectors(packVectors(few)), few);
});
