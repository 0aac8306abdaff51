/** The pages of docs/ say what happens: every token in them still shows its finding. */
import { readFileSync } from 'node:fs';
import test from 'ava';
import { replayExplored, scenarioOf } from '../../../src/explore/finding/replay.ts';
import { decodeToken, hashOf } from '../../../src/explore/finding/token.ts';
import { KNOWN_SCENARIOS } from '../../../src/explore/scenario/known.ts';

/** ava runs in the project's directory. */
const TOKEN = /faultline replay (FL1\.[\w-]+)/g;

for (const page of ['docs/reference-design.md', 'docs/reports.md', 'README.md']) {
  test(`the tokens of ${page}`, (t) => {
    const tokens = [...readFileSync(page, 'utf8').matchAll(TOKEN)].map(([, token]) => token!);
    t.true(tokens.length > 0);
    const lost = [...new Set(tokens)].filter((text) => {
      const token = decodeToken(text);
      const scenario = KNOWN_SCENARIOS.find(({ name }) => hashOf(name) === token.scenario);
      return (
        scenario === undefined || replayExplored(scenarioOf(token, scenario).scenario, token).finding === null
      );
    });
    t.deepEqual(lost, [], 'make them again: node dist/scripts/reference-study.js');
  });
}
