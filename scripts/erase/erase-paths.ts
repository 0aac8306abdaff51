/**
 * Takes the scheduling points out of compiled paths (src/shared/sync/point.ts): what threads run need not stop at them.
 *
 *   function* f(actor) {            function f(actor) {
 *     yield updating(word);           ;
 *     const x = yield* g(actor);      const x = g(actor);
 *     yield waiting(word);            waiting(word);
 *   }                               }
 *
 * A point before a visible operation disappears with its arguments, which have no effects; `waiting` stays, as the call
 * of a function that really waits (point.erased.ts). Generators that yield anything else are no paths and stay as they
 * are. Lines stay where they are, so that source maps still hold.
 */
import { closing, type Token, tokenize } from './tokens.ts';

export interface Erased {
  readonly text: string;
  /** How many generators became plain functions. */
  readonly paths: number;
  /** Names of the generators that are no paths. */
  readonly kept: readonly string[];
}

interface GeneratorFunction {
  readonly name: string;
  /** Indices of tokens: the star, and the braces of the body. */
  readonly star: number;
  readonly from: number;
  readonly to: number;
}

const POINT = /\b(?:reading|writing|updating|notifying|stepping|waiting)\(/;
const WAIT = /\bwaiting\(/;

/** @throws Error for a yield that is nowhere, or where a point stands that is neither a statement nor a wait */
export function erasePaths(source: string): Erased {
  const tokens = tokenize(source);
  const generators = findGenerators(tokens);
  const owner = (index: number) =>
    generators
      .filter(({ from, to }) => from < index && index < to)
      .reduce<GeneratorFunction | null>(
        (inner, g) => (inner === null || g.from > inner.from ? g : inner),
        null,
      );
  const yields = tokens.flatMap((token, index) => {
    if (token.kind !== 'word' || token.text !== 'yield') return [];
    const generator = owner(index);
    if (generator === null) throw new Error(`a yield outside every generator at ${token.start}`);
    const delegates = isPunctuation(tokens[index + 1], '*');
    const statement = isStatementStart(tokens, index);
    const end = operandEnd(tokens, index);
    const operand = source.slice(tokens[index + 1]!.start, tokens[end - 1]!.end);
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

  const edits: Edit[] = [];
  for (const generator of generators) {
    if (!kept.has(generator)) edits.push(cut(tokens[generator.star]!, tokens[generator.star]!));
  }
  for (const { index, generator, delegates, statement, end, operand } of yields) {
    if (kept.has(generator)) continue;
    const last = delegates ? tokens[index + 1]! : tokens[index]!;
    if (delegates || WAIT.test(operand)) edits.push(cut(tokens[index]!, last));
    else if (statement) edits.push(cut(tokens[index]!, tokens[end - 1]!));
    else throw new Error(`a point in an expression at ${tokens[index]!.start}: ${operand}`);
  }
  return {
    text: apply(source, edits),
    paths: generators.length - kept.size,
    kept: [...kept].map(({ name }) => name),
  };
}

function findGenerators(tokens: readonly Token[]): GeneratorFunction[] {
  const found: GeneratorFunction[] = [];
  for (const [index, token] of tokens.entries()) {
    if (!isPunctuation(token, '*')) continue;
    const before = tokens[index - 1];
    const isFunction = before?.text === 'function';
    const next = tokens[index + 1];
    const named = next?.kind === 'word' || next?.kind === 'string';
    if (!isFunction && !(named && mayBeginMember(before))) continue;
    const open = index + (named ? 2 : 1);
    if (!isPunctuation(tokens[open], '(')) continue;
    const from = closing(tokens, open) + 1;
    if (!isPunctuation(tokens[from], '{')) continue;
    const name = named ? next.text : '(anonymous)';
    found.push({ name, star: index, from, to: closing(tokens, from) });
  }
  return found;
}

/** May a method begin after this? */
function mayBeginMember(before: Token | undefined): boolean {
  if (before?.kind === 'word') return before.text === 'static';
  return before !== undefined && before.kind === 'punctuation' && '{};,'.includes(before.text);
}

function isPunctuation(token: Token | undefined, text: string): boolean {
  return token?.kind === 'punctuation' && token.text === text;
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
  for (let i = index + 1; i < tokens.length; i++) {
    const { kind, text } = tokens[i]!;
    if (kind !== 'punctuation') continue;
    if (text === '(' || text === '[' || text === '{') i = closing(tokens, i);
    else if (';)]},'.includes(text)) return i;
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
