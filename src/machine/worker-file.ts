/**
 * Which file a thread is started with: the erased one if the build made it from what is there now, else the original,
 * which does the same more slowly.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

const EXTENSION = import.meta.url.slice(-3);
const SOURCES = new URL('../', import.meta.url);

/** URL of a worker below src/actors, `path` without its extension. */
export function workerFile(path: string): string {
  return new URL(`actors/${path}${pathsAreErased() ? '.erased' : ''}${EXTENSION}`, SOURCES).href;
}

let known: boolean | null = null;

/** Do threads run paths without scheduling points? FAULTLINE_DRIVEN=1 says no. */
export function pathsAreErased(): boolean {
  known ??= process.env['FAULTLINE_DRIVEN'] !== '1' && erasedFilesAreCurrent();
  return known;
}

function erasedFilesAreCurrent(): boolean {
  let madeFrom: Record<string, string>;
  try {
    madeFrom = JSON.parse(readFileSync(new URL('erased.json', SOURCES), 'utf8'));
  } catch {
    // Not built, or built by tsc alone: there are only the originals.
    return false;
  }
  return Object.entries(madeFrom).every(([file, hash]) => {
    try {
      return (
        createHash('sha1')
          .update(readFileSync(new URL(file, SOURCES)))
          .digest('hex') === hash
      );
    } catch {
      // A file that is gone was renamed since.
      return false;
    }
  });
}
