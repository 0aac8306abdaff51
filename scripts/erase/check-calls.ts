/**
 * Whether every path runs where it is made. Erased, a path runs when it is called; driven, when somebody delegates to it.
 * That comes to the same where the call is the operand of `yield*` or of `drive`, or stands in a function whose result is
 * (an arrow, a `return`). A path kept in a variable, handed on as an argument, or iterated over would run too early.
 *
 * Goes by names: those of functions that a file defines or imports, and those of methods that are paths wherever they
 * occur. The other direction is looked at as well: what is delegated to or driven must not be a generator that was kept.
 */
import { ANONYMOUS, type Erased, findGenerators, ownerOf } from './erase-paths.ts';
import { closing, isPunctuation, type Token } from './tokens.ts';

export interface CheckedFile {
  readonly name: string;
  readonly source: string;
  readonly tokens: readonly Token[];
  readonly erased: Erased;
}

const IMPORTED = /\bimport\s*\{([^}]*)\}/g;

/**
 * One line for each call that is neither run where it is made nor handed on to who made the call.
 *
 * @param others  tokens of files that were not erased, and may define functions of the same names
 */
export function misplacedCalls(
  files: readonly CheckedFile[],
  others: readonly (readonly Token[])[] = [],
): string[] {
  const names = (which: 'paths' | 'kept') => new Set(files.flatMap(({ erased }) => erased[which]));
  const paths = names('paths');
  const kept = names('kept');
  paths.delete(ANONYMOUS);
  const methods = new Set(files.flatMap(({ tokens }) => generatorMethods(tokens)));
  const plain = new Set([...files.map(({ tokens }) => tokens), ...others].flatMap(plainFunctions));
  const found: string[] = [];
  for (const { name, source, tokens, erased } of files) {
    const generators = findGenerators(tokens);
    const known = new Set([
      ...generators.map((generator) => generator.name),
      ...[...source.matchAll(IMPORTED)].flatMap(([, list]) => list!.split(',').map((item) => item.trim())),
    ]);
    const stays = (index: number) => erased.kept.includes(ownerOf(generators, index)?.name ?? '');
    for (const [index, { kind, text, start }] of tokens.entries()) {
      if (kind !== 'word' || !isCall(tokens, index)) continue;
      const isMember = followsDot(tokens, index);
      if (isMember ? plain.has(text) || !methods.has(text) : !known.has(text)) continue;
      const line = source.slice(0, start).split('\n').length;
      const runs = placeOf(tokens, chainStart(tokens, index));
      if (kept.has(text) && (runs === 'delegated' || runs === 'driven') && !stays(index)) {
        found.push(`${name}:${line}: ${text} is no path, and is ${runs}`);
      }
      if (!paths.has(text) || stays(index)) continue;
      const inGenerator = ownerOf(generators, index) !== null;
      if (runs === null) found.push(`${name}:${line}: ${text} is a path, and does not run where it is made`);
      else if (runs === 'returned' && inGenerator && !inPlainFunction(tokens, index)) {
        found.push(`${name}:${line}: the path ${text} is returned from a path`);
      }
    }
  }
  return found;
}

function isCall(tokens: readonly Token[], index: number): boolean {
  if (!isPunctuation(tokens[index + 1], '(')) return false;
  const before = tokens[index - 1];
  if (isPunctuation(before, '*')) return tokens[index - 2]?.text === 'yield';
  // The definition of a method or function.
  return before?.text !== 'function' && !isPunctuation(tokens[closing(tokens, index + 1) + 1], '{');
}

function generatorMethods(tokens: readonly Token[]): string[] {
  return findGenerators(tokens)
    .filter(({ star }) => tokens[star - 1]?.text !== 'function')
    .map(({ name }) => name);
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
