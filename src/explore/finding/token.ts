/**
 * A finding as one printable word: enough to see it again, on this machine or another.
 *
 *   FL1.  version of what follows
 *   …     bits, six to a character (bits.ts):
 *           engine ABI 6 · scenario 18 · finding 12 · trace 12        hashes of their names
 *           quirks: 0 none · 10 one, 7 · 110 as --reference · 111 several, count and 7 each
 *           parts that are dropped: count, distance from the one before
 *           deviations by actor, then place: count; each its actor's distance from the one before, its place's
 *           distance from the actor's one before, 1 bit for a choice, who goes next or the way taken
 *   ccc   checksum of the characters before it
 *
 * Numbers are exponential Golomb codes, so that a shrunk finding (three deviations or so) takes some 25 characters and
 * none is too long to be written. The checksum is a CRC of 18 bits, three characters: every change of up to three
 * neighbouring characters is seen for certain, any other but once in 262 144.
 */
import { SimError } from '../../shared/errors.ts';
import { QUIRK_LIMIT, type Quirks, REFERENCE_QUIRKS } from '../../shared/quirks.ts';
import { ENGINE_ABI } from '../engine/abi.ts';
import type { Deviation, Schedule } from '../engine/schedule.ts';
import { BITS_PER_CHARACTER, BitReader, BitWriter, OutOfBits, symbolsOf, textOf } from './bits.ts';

export interface Token {
  /** {@link hashOf} of the scenario's name. */
  readonly scenario: number;
  /** Quirks on beside the scenario's own. */
  readonly quirks: Quirks;
  /** Places of the parts that the scenario is executed without. */
  readonly dropped: readonly number[];
  readonly schedule: Schedule;
  /** {@link findingHash} of the finding's key. */
  readonly finding: number;
  /** {@link traceHashBits} of the execution that it was seen in. */
  readonly trace: number;
}

const PREFIX = 'FL1.';
const ABI_BITS = 6;
const SCENARIO_BITS = 18;
const FINDING_BITS = 12;
const TRACE_BITS = 12;
const QUIRK_BITS = Math.log2(QUIRK_LIMIT);
const CHECK_CHARACTERS = 3;

// Orders of the codes: what is likely is below 2^order.
const COUNT = 1;
const ACTOR = 0;
const PLACE = 4;
const TO = 1;

/** The first 18 bits of a name's hash; unit tests keep bundled scenarios apart. */
export function hashOf(name: string): number {
  return fold(name, SCENARIO_BITS);
}

export function findingHash(key: string): number {
  return fold(key, FINDING_BITS);
}

/** @param hash  of a trace, hexadecimal */
export function traceHashBits(hash: string): number {
  return Number.parseInt(hash.slice(0, 8), 16) >>> (32 - TRACE_BITS);
}

/** By actor, then place: what a schedule means does not depend on its order, and its token has this one. */
export function sortedSchedule(schedule: Schedule): Deviation[] {
  return [...schedule].sort(
    (a, b) => a.actor - b.actor || a.taken - b.taken || Number(a.choice) - Number(b.choice),
  );
}

export function encodeToken(token: Token): string {
  const out = new BitWriter();
  out.bits(ENGINE_ABI, ABI_BITS);
  out.bits(token.scenario, SCENARIO_BITS);
  out.bits(token.finding, FINDING_BITS);
  out.bits(token.trace, TRACE_BITS);
  writeQuirks(out, token.quirks);
  const dropped = [...token.dropped].sort((a, b) => a - b);
  out.golomb(dropped.length, 0);
  for (const [i, place] of dropped.entries()) out.golomb(place - (dropped[i - 1] ?? -1) - 1, COUNT);
  const schedule = sortedSchedule(token.schedule);
  out.golomb(schedule.length, COUNT);
  let actor = -1;
  let taken = 0;
  for (const deviation of schedule) {
    out.golomb(deviation.actor - actor, ACTOR);
    if (deviation.actor !== actor) taken = 0;
    out.golomb(deviation.taken - taken, PLACE);
    out.bits(deviation.choice ? 1 : 0, 1);
    out.golomb(deviation.to, TO);
    ({ actor, taken } = deviation);
  }
  const symbols = out.symbols();
  return PREFIX + textOf([...symbols, ...checksum(symbols)]);
}

/**
 * @throws SimError SIM_TOKEN: no token, damaged, of another version of the format or of the engine
 */
export function decodeToken(text: string): Token {
  const version = /^FL(\d+)\./.exec(text);
  if (version === null) throw damaged(text, `it does not begin with ${PREFIX}`);
  if (version[0] !== PREFIX) {
    throw new SimError('SIM_TOKEN', `a token of version ${version[1]}; this is version 1`, {
      hint: 'replay it with the faultline that made it',
    });
  }
  const all = symbolsOf(text.slice(PREFIX.length));
  if (all === null) throw damaged(text, 'a character that no token has');
  const symbols = all.slice(0, -CHECK_CHARACTERS);
  const check = all.slice(-CHECK_CHARACTERS);
  if (checksum(symbols).some((symbol, i) => symbol !== check[i]))
    throw damaged(text, 'its checksum is wrong');
  try {
    const bits = new BitReader(symbols);
    const abi = bits.bits(ABI_BITS);
    if (abi !== ENGINE_ABI) {
      throw new SimError('SIM_TOKEN', `a token of engine ABI ${abi}; this engine has ABI ${ENGINE_ABI}`, {
        hint: 'schedules mean something else since: replay it with the faultline that made it, or explore again',
      });
    }
    const token = readBody(bits);
    if (!bits.atEnd()) throw damaged(text, 'it has more than it says');
    return token;
  } catch (error) {
    // Intact by its checksum, so whoever made it made it wrong.
    if (error instanceof OutOfBits) throw damaged(text, 'it ends too early');
    throw error;
  }
}

function readBody(bits: BitReader): Token {
  const scenario = bits.bits(SCENARIO_BITS);
  const finding = bits.bits(FINDING_BITS);
  const trace = bits.bits(TRACE_BITS);
  const quirks = readQuirks(bits);
  const dropped: number[] = [];
  for (let left = bits.golomb(0); left > 0; left--)
    dropped.push((dropped.at(-1) ?? -1) + 1 + bits.golomb(COUNT));
  const schedule: Deviation[] = [];
  let actor = -1;
  let taken = 0;
  for (let left = bits.golomb(COUNT); left > 0; left--) {
    const further = bits.golomb(ACTOR);
    if (further > 0) taken = 0;
    actor += further;
    taken += bits.golomb(PLACE);
    const choice = bits.bits(1) === 1;
    schedule.push({ actor, taken, to: bits.golomb(TO), choice });
  }
  return { scenario, quirks, dropped, schedule, finding, trace };
}

function writeQuirks(out: BitWriter, quirks: Quirks): void {
  const ids = [...quirks].sort((a, b) => a - b);
  if (ids.length === 0) out.bits(0b0, 1);
  else if (ids.length === 1) {
    out.bits(0b10, 2);
    out.bits(ids[0]!, QUIRK_BITS);
  } else if (isReference(ids)) out.bits(0b110, 3);
  else {
    out.bits(0b111, 3);
    out.golomb(ids.length, COUNT);
    for (const id of ids) out.bits(id, QUIRK_BITS);
  }
}

function readQuirks(bits: BitReader): Quirks {
  if (bits.bits(1) === 0) return [];
  if (bits.bits(1) === 0) return [bits.bits(QUIRK_BITS)];
  if (bits.bits(1) === 0) return REFERENCE_QUIRKS;
  const ids: number[] = [];
  for (let left = bits.golomb(COUNT); left > 0; left--) ids.push(bits.bits(QUIRK_BITS));
  return ids;
}

/** Are these all quirks of the reference design, and no others? */
export function isReference(quirks: Quirks): boolean {
  return quirks.length === REFERENCE_QUIRKS.length && REFERENCE_QUIRKS.every((id) => quirks.includes(id));
}

function damaged(text: string, why: string): SimError {
  const shown = text.length > 40 ? `${text.slice(0, 40)}…` : text;
  return new SimError('SIM_TOKEN', `'${shown}' is no token, or a damaged one: ${why}`, {
    hint: 'copy it whole, from FL1. to its end',
  });
}

/** x^18 + x^7 + 1, primitive: single errors of up to 18 neighbouring bits always leave a remainder. */
const POLYNOMIAL = 0x81;
const CHECK_BITS = CHECK_CHARACTERS * BITS_PER_CHARACTER;

function checksum(symbols: readonly number[]): number[] {
  // Not zero, so that symbols missing in front are seen.
  let rest = 0x2f1a5;
  for (const symbol of symbols) {
    for (let bit = BITS_PER_CHARACTER - 1; bit >= 0; bit--) {
      const out = ((rest >>> (CHECK_BITS - 1)) ^ (symbol >>> bit)) & 1;
      rest = (rest << 1) & (2 ** CHECK_BITS - 1);
      if (out === 1) rest ^= POLYNOMIAL;
    }
  }
  return [rest >>> 12, (rest >>> 6) & 63, rest & 63];
}

/** FNV-1a of the text's UTF-16 units, folded to `width` bits. */
function fold(text: string, width: number): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  const whole = hash >>> 0;
  return (whole ^ (whole >>> width)) & (2 ** width - 1);
}
