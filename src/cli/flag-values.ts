/** What the values of flags mean that several commands have. */
import { availableParallelism } from 'node:os';
import { QUIRKS, quirkByName, REFERENCE_QUIRKS } from '../shared/quirks.ts';
import { suggest } from '../shared/suggest.ts';
import { type ParsedFlags, usage } from './flags.ts';

const JOBS_LIMIT = 64;

/** `500`, `10k`, `2m`. @throws SimError SIM_USAGE */
export function countOf(text: string, name: string, least = 1): number {
  const parts = /^(\d{1,15})([kmg]?)$/i.exec(text);
  const unit = { '': 1, k: 1e3, m: 1e6, g: 1e9 }[(parts?.[2] ?? '').toLowerCase()]!;
  const count = parts === null ? -1 : Number(parts[1]) * unit;
  if (Number.isSafeInteger(count) && count >= least) return count;
  throw usage(
    `${name}: '${text}' is no count`,
    `write a number from ${least} on, or one with k, m, g for thousands, millions, billions: 500m`,
  );
}

/** Threads: as many as there are cores, unless told otherwise. @throws SimError SIM_USAGE */
export function jobsOf(text: string | undefined): number {
  if (text === undefined) return Math.min(availableParallelism(), JOBS_LIMIT);
  if (/^\d{1,3}$/.test(text) && Number(text) >= 1 && Number(text) <= JOBS_LIMIT) return Number(text);
  throw usage(`--jobs: '${text}' is no number of threads`, `give 1 to ${JOBS_LIMIT}`);
}

/** The seed of an exploration. @throws SimError SIM_USAGE */
export function seed32(text: string): number {
  const seed = /^(0x[0-9a-f]{1,8}|\d{1,10})$/i.test(text) ? Number(text) : Number.NaN;
  if (seed <= 0xffffffff) return seed;
  throw usage(`--seed: '${text}' is no unsigned 32-bit number`, 'write 123 or 0x7b');
}

/** The seed of a run. @throws SimError SIM_USAGE */
export function seed64(text: string): bigint {
  if (/^(0x[0-9a-f]{1,16}|\d{1,20})$/i.test(text)) {
    const seed = BigInt(text);
    if (seed === BigInt.asUintN(64, seed)) return seed;
  }
  throw usage(`--seed: '${text}' is no unsigned 64-bit number`, 'write 123 or 0x7b');
}

/** What --bug and --reference switch on, by id. @throws SimError SIM_USAGE */
export function quirksOf(flags: ParsedFlags): number[] {
  const ids = new Set(flags.has('reference') ? REFERENCE_QUIRKS : []);
  for (const name of flags.value('bug')?.split(',') ?? []) {
    const quirk = quirkByName(name) ?? QUIRKS.find(({ item }) => item === name.toUpperCase());
    if (quirk === undefined) {
      const near = suggest(
        name,
        QUIRKS.map((candidate) => candidate.name),
      );
      throw usage(
        `--bug: there is no known bug '${name}'`,
        near === null ? 'give a name like createSlotGap, or a number like RC-01' : `did you mean ${near}?`,
      );
    }
    ids.add(quirk.id);
  }
  return [...ids].sort((a, b) => a - b);
}
