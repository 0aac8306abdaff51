/**
 * Brings the tokens in pages up to date: a change of the code that leaves a finding where it was still changes the steps
 * that its token remembers. A token that no longer shows its finding is named, and stays.
 *
 *   node dist/scripts/refresh-tokens.js docs/*.md README.md
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { Attempts } from '../src/explore/finding/attempt.ts';
import { replayExplored, scenarioOf } from '../src/explore/finding/replay.ts';
import { decodeToken, encodeToken, hashOf, traceHashBits } from '../src/explore/finding/token.ts';
import { KNOWN_SCENARIOS } from '../src/explore/scenario/known.ts';

for (const page of process.argv.slice(2)) {
  const text = readFileSync(page, 'utf8');
  const fresh = text.replaceAll(/FL1\.[\w-]+/g, (token) => refreshed(page, token));
  if (fresh !== text) writeFileSync(page, fresh);
}

function refreshed(page: string, text: string): string {
  const token = decodeToken(text);
  const known = KNOWN_SCENARIOS.find(({ name }) => hashOf(name) === token.scenario);
  // Of a module of the user's.
  if (known === undefined) return text;
  const { scenario } = scenarioOf(token, known);
  const { finding, steps } = replayExplored(scenario, token);
  const hit = finding === null ? null : new Attempts(scenario, finding.key).hit(token.schedule);
  if (hit === null) {
    process.stderr.write(`${page}: ${text} shows nothing any more, after ${steps} steps\n`);
    process.exitCode = 1;
    return text;
  }
  return encodeToken({ ...token, trace: traceHashBits(hit.traceHash) });
}
