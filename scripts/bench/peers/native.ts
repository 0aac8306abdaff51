/** The same C, compiled with the same flags, as a program of this machine: what an emulator could reach at best. Needs gcc. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { codeFlags, inGuests, linkNatively } from '../../compile-guest.ts';
import { needCommand, type Peer, runCommand } from './peer.ts';

let work = '';
/** Programs by guest. */
const built = new Map<string, string>();

function buildNative(source: string, name: string): string {
  return linkNatively(name, [source], codeFlags(source), work);
}

export const native: Peer = {
  name: 'native',
  async prepare() {
    needCommand('native', 'gcc', 'gcc');
    work = mkdtempSync(join(tmpdir(), 'faultline-bench-'));
  },
  can: ({ guest, vcpuCount }) => vcpuCount === 1 && guest.native,
  run({ guest, rounds }) {
    const program = built.get(guest.name) ?? buildNative(inGuests(`${guest.name}.c`), guest.name);
    built.set(guest.name, program);
    return runCommand(program, [String(rounds)]);
  },
  close() {
    if (work !== '') rmSync(work, { recursive: true });
  },
};
