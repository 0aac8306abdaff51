/** JavaScript as tokens: enough to find keywords and brackets that are code, not text. */

export interface Token {
  readonly kind: 'word' | 'punctuation' | 'string' | 'template' | 'regex' | 'number';
  readonly text: string;
  /** Place in the source, in UTF-16 units. */
  readonly start: number;
  readonly end: number;
}

const WORD = /[\p{ID_Start}$_#][\p{ID_Continue}$\u200c\u200d]*/uy;
const NUMBER = /(?:0[xob][\da-f_]+n?|\d[\d_]*(?:\.[\d_]*)?(?:e[+-]?\d+)?n?|\.\d[\d_]*(?:e[+-]?\d+)?)/iy;
const SPACE = /(?:\s|\/\/[^\n]*|\/\*[\s\S]*?\*\/|#![^\n]*)+/y;
const STRING = /'(?:[^'\\\n]|\\[\s\S])*'|"(?:[^"\\\n]|\\[\s\S])*"/y;
const REGEX = /\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y;
/** Up to `${` or the closing quote. */
const TEMPLATE_PART = /(?:[^`\\$]|\\[\s\S]|\$(?!\{))*(?:`|\$\{)/y;

/** After these a slash begins a regular expression; after a value it divides. */
const BEFORE_REGEX = /^(?:return|typeof|case|in|of|delete|void|throw|new|instanceof|else|do|yield|await)$/;

/** @throws Error where the text is no JavaScript that this reads */
export function tokenize(source: string): Token[] {
  const tokens: Token[] = [];
  /** For each open brace: does a template go on after it? */
  const braces: boolean[] = [];
  let at = 0;
  const take = (pattern: RegExp): string | null => {
    pattern.lastIndex = at;
    const found = pattern.exec(source);
    if (found === null) return null;
    at += found[0].length;
    return found[0];
  };
  const push = (kind: Token['kind'], text: string) =>
    tokens.push({ kind, text, start: at - text.length, end: at });
  /** A part of a template, with the backtick or the brace in front of it. */
  const template = () => {
    const part = take(TEMPLATE_PART);
    if (part === null) throw new Error(`a template without an end at ${at}`);
    push('template', source[at - part.length - 1] + part);
    if (part.endsWith('{')) braces.push(true);
  };
  while (at < source.length) {
    if (take(SPACE) !== null) continue;
    const char = source[at]!;
    const word = take(WORD);
    if (word !== null) {
      push('word', word);
      continue;
    }
    const number = take(NUMBER);
    if (number !== null) {
      push('number', number);
      continue;
    }
    const text = take(STRING);
    if (text !== null) {
      push('string', text);
      continue;
    }
    if (char === '/' && regexMayFollow(tokens.at(-1))) {
      const regex = take(REGEX);
      if (regex !== null) {
        push('regex', regex);
        continue;
      }
    }
    at += 1;
    if (char === '`') {
      template();
      continue;
    }
    // The braces around an expression in a template belong to the template.
    if (char === '}' && braces.pop() === true) {
      template();
      continue;
    }
    push('punctuation', char);
    if (char === '{') braces.push(false);
  }
  return tokens;
}

function regexMayFollow(before: Token | undefined): boolean {
  if (before === undefined) return true;
  if (before.kind === 'word') return BEFORE_REGEX.test(before.text);
  if (before.kind !== 'punctuation') return false;
  return before.text !== ')' && before.text !== ']' && before.text !== '}';
}

export function isPunctuation(token: Token | undefined, text: string): boolean {
  return token?.kind === 'punctuation' && token.text === text;
}

/** Index of the bracket that closes the one at `open`. */
export function closing(tokens: readonly Token[], open: number): number {
  let depth = 0;
  for (let i = open; i < tokens.length; i++) {
    const { kind, text } = tokens[i]!;
    if (kind === 'template') continue;
    if (text === '(' || text === '[' || text === '{') depth += 1;
    if (text === ')' || text === ']' || text === '}') depth -= 1;
    if (depth === 0) return i;
  }
  throw new Error(`nothing closes the bracket at ${tokens[open]!.start}`);
}
