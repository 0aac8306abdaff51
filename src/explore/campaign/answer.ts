/** Errors of a worker as data: a SimError keeps its code on the way to another thread. */
import { isSimErrorCode, SimError } from '../../shared/errors.ts';

export type Answer<T> = { readonly value: T } | { readonly error: ErrorData };

export interface ErrorData {
  readonly code: string | null;
  readonly message: string;
  readonly hint: string;
  readonly stack: string;
  readonly cause: string | null;
}

export function errorAnswer(error: unknown): { readonly error: ErrorData } {
  if (!(error instanceof Error)) {
    return { error: { code: null, message: String(error), hint: '', stack: '', cause: null } };
  }
  const { cause } = error;
  return {
    error: {
      code: error instanceof SimError ? error.code : null,
      message: error.message,
      hint: error instanceof SimError ? error.hint : '',
      stack: error.stack ?? '',
      cause: cause === undefined ? null : causeText(cause),
    },
  };
}

/** @throws the error that it is, as it was */
export function valueIn<T>(answer: Answer<T>): T {
  if ('value' in answer) return answer.value;
  const { code, message, hint, stack, cause } = answer.error;
  if (isSimErrorCode(code)) throw new SimError(code, message, cause === null ? { hint } : { hint, cause });
  const error = new Error(message);
  error.stack = stack;
  throw error;
}

/** What a user needs of an error of their own: its message and its first line. */
function causeText(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  const at = (cause.stack ?? '').split('\n').find((line) => /^\s+at /.test(line));
  return `${cause.name}: ${cause.message}${at === undefined ? '' : ` (${at.trim()})`}`;
}
