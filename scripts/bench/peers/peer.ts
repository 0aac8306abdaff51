/** Somebody who can run a benchmark guest: Faultline, or what it is compared with. */
import { spawn, spawnSync } from 'node:child_process';
import type { BenchGuest } from '../guests.ts';
import { TimedConsole, type TimedRun } from '../timed-console.ts';

export interface Job {
  readonly guest: BenchGuest;
  /** How often it does its work: bench_rounds. */
  readonly rounds: number;
  readonly vcpuCount: number;
}

export interface Peer {
  readonly name: string;
  /** Makes ready. @throws PeerAbsent when the peer is not installed */
  prepare(): Promise<void>;
  can(job: Job): boolean;
  /** Runs a guest to its end. @throws Error when it does not end well */
  run(job: Job): Promise<TimedRun>;
  /** Removes what `prepare` made. */
  close(): void;
}

/** A peer that is not there, and what to install. */
export class PeerAbsent extends Error {
  constructor(peer: string, remedy: string) {
    super(`peer '${peer}' is not installed: ${remedy}`);
  }
}

/** @throws PeerAbsent unless the command can be run */
export function needCommand(peer: string, command: string, debianPackage: string): void {
  if (spawnSync(command, ['--version'], { stdio: 'ignore' }).error === undefined) return;
  throw new PeerAbsent(peer, `no command '${command}'; apt-get install ${debianPackage}`);
}

/** Nobody is that slow: something hangs. */
const TIMEOUT_MS = 300_000;

/**
 * Runs a command whose standard output is a guest's console.
 *
 * @param end  its exit status when all is well; 'checksum': it does not end by itself, and is ended when the guest has
 *             said its checksum
 */
export async function runCommand(
  command: string,
  args: readonly string[],
  end: number | 'checksum' = 0,
): Promise<TimedRun> {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const console = new TimedConsole();
  let stderr = '';
  child.stdout.setEncoding('latin1');
  child.stderr.setEncoding('latin1');
  child.stdout.on('data', (text: string) => {
    console.put(text);
    if (end === 'checksum' && console.isComplete) child.kill('SIGKILL');
  });
  child.stderr.on('data', (text: string) => {
    stderr = (stderr + text).slice(-4000);
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), TIMEOUT_MS);
  const status = await new Promise<number | string | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve(code ?? signal));
  });
  clearTimeout(timer);
  const well = end === 'checksum' ? console.isComplete : status === end;
  if (!well) throw new Error(`${command} ended with ${status}: ${console.text.slice(-4000)} ${stderr}`);
  return console.result();
}
