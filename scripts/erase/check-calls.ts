/**
 * Whether every path runs where it is made. Erased, a path runs when it is called; driven, when somebody delegates to it.
 * That comes to the same where the call is the operand of `yield*` or of `drive`, or stands in a function whose result is
 * (an arrow, a `return`). A path kept in a variable, handed on as an argument, or iterated over would run too early.
 *
 * Goes by names: those of functions that a file defines or imports, and those of methods that are paths wherever they
 * occur. The other direction is looked at as well: what is delegated to or driven must not be a generator that was kept.
 */
import { posix } from 'node:path';
import { ANONYMOUS, type Erased, findGenerators, ownerOf } from './erase-paths.ts';
import { closing, isPunctuation, type Token } from './tokens.ts';

export interface CheckedFile {
  readonly name: string;
  readonly source: string;
  readonly tokens: readonly Token[];
  readonly erased: Erased;
}

const IMPORTED = /\bimport\s*\{([^}]*)\}\s*from\s*['"](\.[^'"]+)['"]/g;

type Kind = 'path' | 'kept';

/**
 * One line for each call that is neither run where it is made nor handed on to who made the call.
 *
 * @param files   named by their path, as they import each other
 * @param others  tokens of files that were not erased, and may define methods of the same names
 */
export function misplacedCalls(
  files: readonly CheckedFile[],
  others: readonly (readonly Token[])[] = [],
): string[] {
  const plain = new Set([...files.map(({ tokens }) => tokens), ...others].flatMap(plainFunctions));
  const methods = new Map(files.flatMap((file) => generatorsOf(file, 'method')));
  const functions = new Map(files.map((file) => [file.name, new Map(generatorsOf(file, 'function'))]));
  const found: string[] = [];
  for (const { name, source, tokens, erased } of files) {
    const generators = findGenerators(tokens);
    const known = new Map(functions.get(name));
    for (const [, list, specifier] of source.matchAll(IMPORTED)) {
      const exported = functions.get(posix.join(posix.dirname(name), specifier!));
      for (const item of list!.split(',')) {
        const [original, local = original] = item.trim().split(/\s+as\s+/);
        const kind = exported?.get(original!);
        if (kind !== undefined) known.set(local!, kind);
      }
    }
    for (const [index, { kind, text, start }] of tokens.entries()) {
      if (kind !== 'word' || !isCall(tokens, index)) continue;
      const isMember = followsDot(tokens, index);
      const called = isMember ? (plain.has(text) ? undefined : methods.get(text)) : known.get(text);
      const owner = ownerOf(generators, index);
      if (called === undefined || (owner !== null && erased.kept.includes(owner.name))) continue;
      const place = placeOf(tokens, chainStart(tokens, index));
      const complain = (what: string) =>
        found.push(`${name}:${source.slice(0, start).split('\n').length}: ${what}`);
      if (called === 'kept') {
        if (place === 'delegated' || place === 'driven') complain(`${text} is no path, and is ${place}`);
      } else if (place === null) {
        complain(`${text} is a path, and does not run where it is made`);
      } else if (place === 'returned' && owner !== null && !inPlainFunction(tokens, index)) {
        complain(`the path ${text} is returned from a path`);
      }
    }
  }
  return found;
}

/** The named generators of a file: what erasing made of each. */
function generatorsOf({ tokens, erased }: CheckedFile, which: 'function' | 'method'): [string, Kind][] {
  return findGenerators(tokens)
    .filter(({ name }) => name !== ANONYMOUS)
    .filter(({ star }) => (tokens[star - 1]?.text === 'function') === (which === 'function'))
    .map(({ name }) => [name, erased.kept.includes(name) ? 'kept' : 'path']);
}

function isCall(tokens: readonly Token[], index: number): boolean {
  if (!isPunctuation(tokens[index + 1], '(')) return false;
  const before = tokens[index - 1];
  if (isPunctuation(before, '*')) return tokens[index - 2]?.text === 'yield';
  // The definition of a method or function.
  return before?.text !== 'function' && !isPunctuation(tokens[closing(tokens, index + 1) + 1], '{');
}

/** Names of functions and methods that are no generators, whether written as such or as `name: () => …`. */
function plainFunctions(tokens: readonly Token[]): string[] {
  return tokens.flatMap(({ kind, text }, index) => {
    if (kind !== 'word') return [];
    if (isPunctuation(tokens[index + 1], ':') || isPunctuation(tokens[index + 1], '=')) {
      const open = index + (tokens[index + 2]?.text === 'async' ? 3 : 2);
      if (!isPunctuation(tokens[open], '(')) return [];
      const arrow = closing(tokens, open) + 1;
      return isPunctuation(tokens[arrow], '=') && isPunctuation(tokens[arrow + 1], '>') ? [text] : [];
    }
    if (!isPunctuation(tokens[index + 1], '(')) return [];
    if (['if', 'for', 'while', 'switch', 'catch', 'function'].includes(text)) return [];
    if (isPunctuation(tokens[index - 1], '*')) return [];
    return isPunctuation(tokens[closing(tokens, index + 1) + 1], '{') ? [text] : [];
  });
}

/** Index where the expression `a.b(c).d` begins whose last name is at `index`. */
function chainStart(tokens: readonly Token[], index: number): number {
  let at = index;
  while (followsDot(tokens, at)) {
    at -= isPunctuation(tokens[at - 2], '?') ? 3 : 2;
    for (
      ;
      isPunctuation(tokens[at], ')') || isPunctuation(tokens[at], ']') || isPunctuation(tokens[at], '!');
    )
      at = isPunctuation(tokens[at], '!') ? at - 1 : opening(tokens, at) - 1;
  }
  return at;
}

/** Is the name at `index` one of a member? The dots of a spread make it none. */
function followsDot(tokens: readonly Token[], index: number): boolean {
  return isPunctuation(tokens[index - 1], '.') && !isPunctuation(tokens[index - 2], '.');
}

type Place = 'delegated' | 'driven' | 'returned' | 'what an arrow gives';

/** What becomes of the value of the expression that begins at `index`; null when it is anything else. */
function placeOf(tokens: readonly Token[], index: number): Place | null {
  const before = tokens[index - 1];
  if (isPunctuation(before, '*') && tokens[index - 2]?.text === 'yield') return 'delegated';
  if (before?.kind === 'word' && before.text === 'return') return 'returned';
  if (isPunctuation(before, '>') && isPunctuation(tokens[index - 2], '=')) return 'what an arrow gives';
  if (isPunctuation(before, ',')) {
    const open = enclosing(tokens, index - 1);
    if (isPunctuation(tokens[open], '(') && tokens[open - 1]?.text === 'drive') return 'driven';
  }
  return null;
}

/** Is the innermost function around the token an arrow or a plain function? */
function inPlainFunction(tokens: readonly Token[], index: number): boolean {
  for (let open = enclosing(tokens, index); open >= 0; open = enclosing(tokens, open)) {
    if (!isPunctuation(tokens[open], '{')) continue;
    if (isPunctuation(tokens[open - 1], '>') && isPunctuation(tokens[open - 2], '=')) return true;
    if (!isPunctuation(tokens[open - 1], ')')) continue;
    const parameters = opening(tokens, open - 1);
    const named = tokens[parameters - 1];
    if (['if', 'for', 'while', 'switch', 'catch'].includes(named?.text ?? '')) continue;
    return !(isPunctuation(named, '*') || isPunctuation(tokens[parameters - 2], '*'));
  }
  return false;
}

/** Index of the bracket that is open at `index`; −1 at the top. */
function enclosing(tokens: readonly Token[], index: number): number {
  for (let i = index - 1; i >= 0; i--) {
    const { kind, text } = tokens[i]!;
    if (kind !== 'punctuation') continue;
    if (text === ')' || text === ']' || text === '}') i = opening(tokens, i);
    else if (text === '(' || text === '[' || text === '{') return i;
  }
  return -1;
}

/** Index of the bracket that the one at `close` closes. */
function opening(tokens: readonly Token[], close: number): number {
  let depth = 0;
  for (let i = close; i >= 0; i--) {
    const { kind, text } = tokens[i]!;
    if (kind !== 'punctuation') continue;
    if (text === ')' || text === ']' || text === '}') depth += 1;
    if (text === '(' || text === '[' || text === '{') depth -= 1;
    if (depth === 0) return i;
  }
  throw new Error(`nothing opens the bracket at ${tokens[close]!.start}`);
}
