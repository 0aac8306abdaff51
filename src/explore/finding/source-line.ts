/** Where in the sources a path is: from V8's stack of the moment, through source maps where the code was built. */
import { existsSync, readFileSync } from 'node:fs';
import { SourceMap } from 'node:module';
import { basename, dirname, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

/** One frame of a path: a place in the sources. */
export interface SourceLine {
  /** Absolute path of the source file. */
  readonly file: string;
  /** From 1. */
  readonly line: number;
  /** Innermost named function around it; empty when it has none. */
  readonly function: string;
}

/** Frames of V8 as it has them: of the code that runs, not of its source. */
export interface RawFrame {
  readonly url: string;
  readonly line: number;
  readonly column: number;
  readonly function: string;
}

const FRAMES = 40;

/** The stack of the caller, innermost first, without frames of Node's own. */
export function rawStack(): RawFrame[] {
  const { prepareStackTrace, stackTraceLimit } = Error;
  Error.stackTraceLimit = FRAMES;
  // biome-ignore lint/suspicious/noExplicitAny: what V8 puts into `stack` is what this function returns
  Error.prepareStackTrace = (_error, sites): any => sites;
  const sites = new Error().stack as unknown as NodeJS.CallSite[];
  Error.prepareStackTrace = prepareStackTrace;
  Error.stackTraceLimit = stackTraceLimit;
  return sites.slice(1).flatMap((site) => {
    const url = site.getFileName();
    if (typeof url !== 'string' || url.startsWith('node:')) return [];
    const line = site.getLineNumber() ?? 0;
    return [{ url, line, column: site.getColumnNumber() ?? 0, function: site.getFunctionName() ?? '' }];
  });
}

/** Looks source lines up, each source map once. */
export class SourceLines {
  readonly #maps = new Map<string, SourceMap | null>();

  of(frame: RawFrame): SourceLine {
    const file = frame.url.startsWith('file:') ? fileURLToPath(frame.url) : frame.url;
    const entry = this.#map(file)?.findEntry(frame.line - 1, frame.column - 1);
    const whole = { file, line: frame.line, function: lastWord(frame.function) };
    if (entry === undefined || !('originalSource' in entry)) return whole;
    return { ...whole, file: resolve(dirname(file), entry.originalSource), line: entry.originalLine + 1 };
  }

  #map(file: string): SourceMap | null {
    const known = this.#maps.get(file);
    if (known !== undefined) return known;
    const at = `${file}.map`;
    const map = existsSync(at) ? new SourceMap(JSON.parse(readFileSync(at, 'utf8'))) : null;
    this.#maps.set(file, map);
    return map;
  }
}

/** `at name (file:///x.js:1:2)`, and the same without `at`, as lock findings have it. */
const STACK_LINE = /^\s*(?:at )?(?:(.+?) \()?((?:file:\/\/|\/|[A-Z]:\\|node:)[^()]*?):(\d+):(\d+)\)?$/;

/**
 * Lines of which some are stacks, each after a line that says whose: their frames become places in the sources, without
 * those of Node, of generators and of the explorer.
 *
 * @returns tops: of each stack its innermost place
 */
export function readableStacks(
  text: readonly string[],
  lines: SourceLines,
): { readonly text: string[]; readonly tops: SourceLine[] } {
  const tops: SourceLine[] = [];
  let begins = true;
  const readable = text.flatMap((line) => {
    const parts = STACK_LINE.exec(line);
    if (parts === null) {
      if (/^\s*at /.test(line)) return [];
      begins = true;
      return [line];
    }
    const [, name = '', url = '', row, column] = parts;
    if (url.startsWith('node:') || EXPLORER.test(url)) return [];
    const place = lines.of({ url, line: Number(row), column: Number(column), function: name });
    if (begins) tops.push(place);
    begins = false;
    return [`at ${shortPlace(place)}${place.function === '' ? '' : ` ${place.function}`}`];
  });
  return { text: readable, tops };
}

/** Files of the explorer, which are below every path that it executes. */
export const EXPLORER = /\/explore\/(?:finding|engine|explorer|campaign)\b|\/piscina\//;

/** `memslots.ts:226`. */
export function shortPlace({ file, line }: SourceLine): string {
  return `${basename(file)}:${line}`;
}

/** `World.program` → `program`. */
function lastWord(name: string): string {
  if (name === '<anonymous>') return '';
  return name.slice(name.lastIndexOf('.') + 1);
}
