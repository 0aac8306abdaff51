/**
 * Takes the scheduling points out of compiled paths (src/shared/sync/point.ts): what threads run need not stop at them.
 *
 *   function* f(actor) {            function f(actor) {
 *     yield updating(word);           ;
 *     const x = yield* g(actor);      const x = g(actor);
 *     yield waiting(word);            waiting(word);
 *   }                               }
 *
 * A point before a visible operation disappears with its arguments, which compute an address and have no effects;
 * points with an answer stay, as calls that give it: `waiting` really waits, `choosing` gives 0 (point.erased.ts).
 * Generators that yield anything else are no paths and stay as they are. Lines stay where they are, so that source maps
 * still hold.
 *
 * Whatever would mean something else without its `yield` is refused. What one file cannot tell, whether each path runs
 * where it is made, check-calls.ts looks at.
 */
import { closing, isPunctuation, type Token, tokenize } from './tokens.ts';

export interface Erased {
  readonly text: string;
  /** Names of the generators that became plain functions. */
  readonly paths: readonly string[];
  /** Names of the generators that are no paths. */
  readonly kept: readonly string[];
}

export interface GeneratorFunction {
  readonly name: string;
  /** Indices of tokens: the star, and the braces of the body. */
  readonly star: number;
  readonly from: number;
  readonly to: number;
}

export const ANONYMOUS = '(anonymous)';

const POINT = /\b(?:reading|writing|updating|notifying|stepping|relaxing|waiting|choosing)\(/;
/** Points with an answer. */
const ANSWERED = /\b(?:waiting|choosing)\(/;
/** Functions that a point's argument may call: those that name a point, and those that say where a word is. */
const PURE = /^(?:reading|writing|updating|notifying|stepping|relaxing|\w*[wW]ord|\w*Address)$/;

/** @throws Error for anything that cannot be erased: what it is, and where in the source */
export function erasePaths(source: string, tokens: readonly Token[] = tokenize(source)): Erased {
  const generators = findGenerators(tokens);
  const yields = tokens.flatMap((token, index) => {
    if (token.kind !== 'word' || token.text !== 'yield' || isPunctuation(tokens[index - 1], '.')) return [];
    const generator = ownerOf(generators, index);
    if (generator === null) throw new Error(`a yield outside every generator at ${token.start}`);
    const delegates = isPunctuation(tokens[index + 1], '*');
    const statement = isStatementStart(tokens, index);
    const end = operandEnd(tokens, index);
    const operand = source.slice(tokens[index + 1]!.start, tokens[end - 1]!.end);
    // `return yield*` with its operand on the next line would return without it.
    if (source.slice(token.end, tokens[index + (delegates ? 2 : 1)]!.start).includes('\n')) {
      throw new Error(`a line ends before what is yielded at ${token.start}: ${operand}`);
    }
    return [{ index, generator, delegates, statement, end, operand }];
  });
  const kept = new Set(
    yields.filter(({ delegates, operand }) => !delegates && !POINT.test(operand)).map((y) => y.generator),
  );
  // Whoever delegates to one that is no path is none either.
  for (let before = -1; before !== kept.size; ) {
    before = kept.size;
    const names = new Set([...kept].map(({ name }) => name));
    for (const { index, generator, delegates } of yields) {
      if (delegates && names.has(tokens[index + 2]!.text)) kept.add(generator);
    }
  }
  for (const { generator, delegates, operand } of yields) {
    if (delegates || !kept.has(generator) || !POINT.test(operand)) continue;
    throw new Error(`${generator.name} yields points and something else: it is a path, or it is none`);
  }

  const edits: Edit[] = [];
  for (const generator of generators) {
    if (!kept.has(generator)) edits.push(cut(tokens[generator.star]!, tokens[generator.star]!));
  }
  for (const { index, generator, delegates, statement, end, operand } of yields) {
    if (kept.has(generator)) continue;
    if (delegates && !isOneCall(tokens, index + 2, end)) {
      throw new Error(`delegation to anything but one call at ${tokens[index]!.start}: ${operand}`);
    }
    const last = delegates ? tokens[index + 1]! : tokens[index]!;
    if (delegates || ANSWERED.test(operand)) edits.push(cut(tokens[index]!, last));
    else if (!statement || !isPunctuation(tokens[end], ';')) {
      throw new Error(`a point in an expression at ${tokens[index]!.start}: ${operand}`);
    } else {
      const effect = effectIn(tokens, index + 1, end);
      if (effect !== null) throw new Error(`the point ${operand} would take ${effect} along`);
      edits.push(cut(tokens[index]!, tokens[end - 1]!));
    }
  }
  return {
    text: apply(source, edits),
    paths: generators.filter((generator) => !kept.has(generator)).map(({ name }) => name),
    kept: [...kept].map(({ name }) => name),
  };
}

/** @throws Error for a generator of a kind that is never a path */
export function findGenerators(tokens: readonly Token[]): GeneratorFunction[] {
  const found: GeneratorFunction[] = [];
  for (const [index, token] of tokens.entries()) {
    if (!isPunctuation(token, '*')) continue;
    const before = tokens[index - 1];
    const isFunction = before?.text === 'function';
    const next = tokens[index + 1];
    const named = next?.kind === 'word' || next?.kind === 'string';
    const computed = isPunctuation(next, '[');
    if (!isFunction && !((named || computed) && mayBeginMember(before))) continue;
    const isAsync = tokens[index - (isFunction ? 2 : 1)]?.text === 'async';
    if (isAsync || computed) {
      const what = isAsync ? 'an async generator' : 'a generator with a computed name';
      throw new Error(`${what} at ${token.start}`);
    }
    const open = index + (named ? 2 : 1);
    if (!isPunctuation(tokens[open], '(')) continue;
    const from = closing(tokens, open) + 1;
    if (!isPunctuation(tokens[from], '{')) continue;
    const name = named ? next.text : ANONYMOUS;
    found.push({ name, star: index, from, to: closing(tokens, from) });
  }
  return found;
}

/** The innermost generator whose body the token is in. */
export function ownerOf(generators: readonly GeneratorFunction[], index: number): GeneratorFunction | null {
  return generators
    .filter(({ from, to }) => from < index && index < to)
    .reduce<GeneratorFunction | null>(
      (inner, g) => (inner === null || g.from > inner.from ? g : inner),
      null,
    );
}

/** Are the tokens `a.b[c].d(e)` and nothing else? What binds more tightly than `yield*` would get the result of the call. */
function isOneCall(tokens: readonly Token[], from: number, to: number): boolean {
  for (let i = from; i < to; i++) {
    const { kind, text } = tokens[i]!;
    if (kind === 'word' || (kind === 'punctuation' && (text === '.' || text === '!'))) continue;
    if (i === from || !(isPunctuation(tokens[i], '(') || isPunctuation(tokens[i], '['))) return false;
    i = closing(tokens, i);
  }
  return isPunctuation(tokens[to - 1], ')');
}

/** What the tokens do besides computing an address; null when nothing. */
function effectIn(tokens: readonly Token[], from: number, to: number): string | null {
  for (let i = from; i < to; i++) {
    const { kind, text, start } = tokens[i]!;
    const next = tokens[i + 1]!;
    if (kind === 'word' && ['yield', 'await', 'new', 'delete'].includes(text)) return `'${text}'`;
    if (kind === 'word' && isPunctuation(next, '(') && !PURE.test(text)) return `the call of ${text}`;
    if (kind !== 'punctuation') continue;
    if ((text === '+' || text === '-') && isPunctuation(next, text) && next.start === start + 1) {
      return `'${text}${text}'`;
    }
    if (text !== '=') continue;
    // ==, ===, !=, <=, >= and => assign nothing.
    const before = tokens[i - 1]!;
    const adjoins = before.end === start && '=!<>'.includes(before.text);
    if (!adjoins && !(next.start === start + 1 && '=>'.includes(next.text))) return 'an assignment';
  }
  return null;
}

/** May a method begin after this? */
function mayBeginMember(before: Token | undefined): boolean {
  if (before?.kind === 'word') return before.text === 'static' || before.text === 'async';
  return before !== undefined && before.kind === 'punctuation' && '{};,'.includes(before.text);
}

/** Does the yield at `index` stand by itself? */
function isStatementStart(tokens: readonly Token[], index: number): boolean {
  const before = tokens[index - 1]!;
  if (before.kind === 'word') return before.text === 'else' || before.text === 'do';
  if (before.text === ')') return isControlHead(tokens, index - 1);
  return before.kind === 'punctuation' && '{};:'.includes(before.text);
}

/** Is the `)` at `index` the end of the head of an if or a loop? */
function isControlHead(tokens: readonly Token[], index: number): boolean {
  let depth = 0;
  for (let i = index; i >= 0; i--) {
    if (tokens[i]!.kind !== 'punctuation') continue;
    if (tokens[i]!.text === ')') depth += 1;
    if (tokens[i]!.text === '(') depth -= 1;
    if (depth === 0) return ['if', 'for', 'while'].includes(tokens[i - 1]?.text ?? '');
  }
  return false;
}

/** Index of the token after what is yielded at `index`. */
function operandEnd(tokens: readonly Token[], index: number): number {
  /** Conditions of the operand's own whose `:` is still to come. */
  let conditions = 0;
  for (let i = index + 1; i < tokens.length; i++) {
    const { kind, text } = tokens[i]!;
    // The operand stands in a template, which goes on.
    if (kind === 'template' && text.startsWith('}')) return i;
    if (kind !== 'punctuation') continue;
    if (text === '(' || text === '[' || text === '{') i = closing(tokens, i);
    else if (';)]},'.includes(text)) return i;
    else if (text === '?' && !'.?'.includes(tokens[i + 1]!.text) && !isPunctuation(tokens[i - 1], '?')) {
      conditions += 1;
    } else if (text === ':') {
      if (conditions === 0) return i;
      conditions -= 1;
    }
  }
  throw new Error(`a yield without an end at ${tokens[index]!.start}`);
}

interface Edit {
  readonly start: number;
  readonly end: number;
}

function cut(first: Token, last: Token): Edit {
  return { start: first.start, end: last.end };
}

/** Takes the ranges out, leaving their line ends. */
function apply(source: string, edits: readonly Edit[]): string {
  let text = '';
  let at = 0;
  for (const { start, end } of [...edits].sort((a, b) => a.start - b.start)) {
    text += source.slice(at, start) + source.slice(start, end).replaceAll(/[^\n]/g, '');
    at = end;
  }
  return text + source.slice(at);
}
