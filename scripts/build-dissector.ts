/**
 * `npm run build:dissector [-- --check]`: makes wireshark/kvmi.lua from the protocol's tables and an engine that knows
 * no message by name (scripts/dissector/engine.lua). `--check` only says whether the committed file is that one.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { dissector } from './dissector/lua.ts';

export const DISSECTOR_FILE = 'wireshark/kvmi.lua';
export const ENGINE_FILE = 'scripts/dissector/engine.lua';

const made = dissector(readFileSync(ENGINE_FILE, 'utf8'));
if (!process.argv.includes('--check')) {
  writeFileSync(DISSECTOR_FILE, made);
} else if (readFileSync(DISSECTOR_FILE, 'utf8') !== made) {
  process.stderr.write(`${DISSECTOR_FILE} is not what the protocol's tables say: npm run build:dissector\n`);
  process.exitCode = 1;
}
