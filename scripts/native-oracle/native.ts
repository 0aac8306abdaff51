/** Runs oracle cases on the host processor: builds harness.c where there is a compiler, and feeds it. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import * as arena from './arena.ts';
import {
  type CaseResult,
  CHANGED_LIMIT,
  CODE_LIMIT,
  type OracleCase,
  PATCH_LIMIT,
  REPLY_BYTES,
  REQUEST_BYTES,
  readReply,
  writeRequest,
} from './case.ts';
import { FPU_BYTES } from './fpu-case.ts';

/** From the root of the checkout, where npm runs scripts and tests. */
const SOURCE = 'scripts/native-oracle/harness.c';
const BUILD_FOLDER = '.build';
const SECONDS_LIMIT = 120;

const DEFINITIONS = {
  ARENA_BASE: arena.ARENA_BASE,
  ARENA_BYTES: arena.ARENA_BYTES,
  CODE_BASE: arena.CODE_BASE,
  CODE_OFFSET: arena.CODE_OFFSET,
  CODE_BYTES: arena.CODE_BYTES,
  DATA_OFFSET: arena.DATA_OFFSET,
  DATA_BYTES: arena.DATA_BYTES,
  READ_ONLY_OFFSET: arena.READ_ONLY_OFFSET,
  READ_ONLY_BYTES: arena.READ_ONLY_BYTES,
  CODE_LIMIT,
  PATCH_LIMIT,
  CHANGED_LIMIT,
  REQUEST_BYTES,
  REPLY_BYTES,
  FPU_BYTES,
  SECONDS_LIMIT,
};

/** Why there can be no native run here, or null. */
export function nativeObstacle(): string | null {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return `cases run natively on Linux x86-64 only, not on ${process.platform} ${process.arch}`;
  }
  return spawnSync('gcc', ['--version']).status === 0 ? null : 'no gcc';
}

/** The processor that answers, for messages and for the vectors' header. */
export function hostProcessor(): string {
  return cpus()[0]?.model.trim() ?? 'unknown processor';
}

export class NativeRunner {
  readonly #harness: string;

  private constructor(harness: string) {
    this.#harness = harness;
  }

  /**
   * Compiles the harness unless this very one is there already.
   *
   * @throws Error with gcc's words if it does not compile
   */
  static build(): NativeRunner {
    const options = Object.entries(DEFINITIONS).map(([name, value]) => `-D${name}=${value}`);
    const source = readFileSync(SOURCE);
    const key = createHash('sha256').update(source).update(options.join()).digest('hex').slice(0, 16);
    const harness = `${BUILD_FOLDER}/native-oracle-${key}`;
    if (!existsSync(harness)) {
      mkdirSync(BUILD_FOLDER, { recursive: true });
      const flags = ['-O2', '-Wall', '-Wextra', '-Werror', '-fno-stack-protector', '-mno-red-zone'];
      const { status, stderr } = spawnSync('gcc', [...flags, ...options, '-o', harness, SOURCE]);
      if (status !== 0) throw new Error(`gcc could not build ${SOURCE}:\n${stderr}`);
    }
    return new NativeRunner(harness);
  }

  /**
   * Runs all cases in one process.
   *
   * @throws Error if the process dies: a case ran for ever, or did what no handler can undo
   */
  run(cases: readonly OracleCase[]): CaseResult[] {
    const replies = this.#exchange(cases);
    return cases.map((item, index) => readReply(replies, index * REPLY_BYTES, item));
  }

  #exchange(cases: readonly OracleCase[]): Uint8Array {
    const head = 4 + arena.DATA_BYTES + arena.READ_ONLY_BYTES;
    const input = new Uint8Array(head + cases.length * REQUEST_BYTES);
    new DataView(input.buffer).setUint32(0, cases.length, true);
    const { BACKGROUND, DATA_OFFSET, DATA_BYTES, READ_ONLY_OFFSET, READ_ONLY_BYTES } = arena;
    input.set(BACKGROUND.subarray(DATA_OFFSET, DATA_OFFSET + DATA_BYTES), 4);
    input.set(BACKGROUND.subarray(READ_ONLY_OFFSET, READ_ONLY_OFFSET + READ_ONLY_BYTES), 4 + DATA_BYTES);
    for (const [index, item] of cases.entries()) writeRequest(input, head + index * REQUEST_BYTES, item);
    const bytes = cases.length * REPLY_BYTES;
    const { status, signal, stdout, stderr, error } = spawnSync(this.#harness, {
      input,
      maxBuffer: bytes + 65536,
    });
    if (error !== undefined) throw new Error('the native harness did not run', { cause: error });
    if (status !== 0 || stdout.length !== bytes) {
      throw new Error(`the native harness ended with ${signal ?? status}, ${stdout.length} bytes: ${stderr}`);
    }
    return new Uint8Array(stdout.buffer, stdout.byteOffset, stdout.length);
  }
}
