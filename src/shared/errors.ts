/**
 * What a user can run into: errors with a stable code, and the exit codes of the command line.
 *
 * A `SimError` says that a run cannot start or go on, for a reason outside our code. What the guest does wrong is a
 * value in the run loop, a race is a finding in the report, and a mistake of ours is an `InvariantError`.
 */

/** Exit codes of the command line. A run killed by signal n exits with 128 + n, as shells expect. */
export const EXIT = {
  /** Ended as expected. */
  OK: 0,
  /** A finding: race, deadlock, inversion, a broken invariant. */
  FINDING: 1,
  /** Bad usage: flags, images, tool modules. */
  USAGE: 2,
  /** Triple fault, or the introspector answered CRASH. */
  GUEST_CRASH: 3,
  /** A limit or a timeout ended the run. */
  LIMIT: 4,
  /** A replay took another way than the recording. */
  DIVERGED: 5,
  /** Our bug. */
  BUG: 70,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** Every code, and the exit code it ends the command line with. Codes are never renamed. */
// biome-ignore format: table
const CODES = {
  /** A flag, a value or a call that makes no sense. */
  SIM_USAGE:         EXIT.USAGE,
  /** A number in a configuration lies outside what the machine can be built with. */
  SIM_CONFIG_RANGE:  EXIT.USAGE,
  /** The image is no program we can load. */
  SIM_IMAGE_FORMAT:  EXIT.USAGE,
  /** The image cannot be read. */
  SIM_IMAGE_MISSING: EXIT.USAGE,
  /** A file the user named cannot be read or written. */
  SIM_FILE:          EXIT.USAGE,
  /** A memslot change the machine refuses. */
  SIM_MEMSLOT:       EXIT.USAGE,
  /** The introspection tool threw, or answered something that is no answer. */
  SIM_TOOL_FAILED:   EXIT.USAGE,
  /** A command of the introspection tool that the machine refuses: its `errno` says why. */
  SIM_COMMAND:       EXIT.USAGE,
  /** A token that cannot be replayed here: damaged, of another version, of another scenario. */
  SIM_TOKEN:         EXIT.USAGE,
  /** A scenario that cannot be executed, or not repeated: it throws, never ends, uses time or randomness. */
  SIM_SCENARIO:      EXIT.USAGE,
  /** The machine was used after it was closed. */
  SIM_CLOSED:        EXIT.USAGE,
  /** The guest cannot go on: triple fault, or an event answered CRASH. */
  SIM_GUEST_CRASH:   EXIT.GUEST_CRASH,
  /** No reply to an event within the time given for it. */
  SIM_REPLY_TIMEOUT: EXIT.LIMIT,
  /** The run reached a limit it was given. */
  SIM_LIMIT:         EXIT.LIMIT,
  /** A replay took another way than the recording. */
  SIM_DIVERGED:      EXIT.DIVERGED,
  /** The thread of a vCPU ended by itself. */
  SIM_VCPU_LOST:     EXIT.BUG,
  /** The thread of another actor ended by itself. */
  SIM_ACTOR_LOST:    EXIT.BUG,
} as const satisfies Record<string, ExitCode>;

export type SimErrorCode = keyof typeof CODES;

export const SIM_ERROR_CODES = Object.keys(CODES) as readonly SimErrorCode[];

export interface SimErrorOptions {
  /** What to do about it: one sentence, or empty when there is nothing to say. */
  readonly hint?: string;
  readonly cause?: unknown;
}

/** The run cannot start or go on. `message` gives the value that was wrong, `hint` what would be right. */
export class SimError extends Error {
  override readonly name = 'SimError';
  readonly code: SimErrorCode;
  readonly hint: string;

  constructor(code: SimErrorCode, message: string, opts: SimErrorOptions = {}) {
    super(message, 'cause' in opts ? { cause: opts.cause } : undefined);
    this.code = code;
    this.hint = opts.hint ?? '';
  }
}

export function isSimErrorCode(code: unknown): code is SimErrorCode {
  return typeof code === 'string' && Object.hasOwn(CODES, code);
}

/** The exit code an error ends the command line with. Anything that is no `SimError` is our bug. */
export function exitCodeOf(error: unknown): ExitCode {
  return error instanceof SimError ? CODES[error.code] : EXIT.BUG;
}

/**
 * An error as the command line prints it: `code: message`, the hint, and the messages of its causes.
 * A bug of ours is printed with its stack.
 */
export function formatError(error: unknown): string {
  const lines: string[] = [];
  if (error instanceof SimError) {
    lines.push(`${error.code}: ${error.message}`);
    if (error.hint !== '') lines.push(`  hint: ${error.hint}`);
  } else if (error instanceof Error) {
    lines.push(`bug: ${error.stack ?? `${error.name}: ${error.message}`}`);
  } else {
    lines.push(`bug: thrown value ${String(error)}`);
  }
  const seen = new Set<unknown>([error]);
  let cause = error instanceof Error ? error.cause : undefined;
  while (cause !== undefined && !seen.has(cause)) {
    seen.add(cause);
    lines.push(`  cause: ${cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause)}`);
    cause = cause instanceof Error ? cause.cause : undefined;
  }
  return lines.join('\n');
}
