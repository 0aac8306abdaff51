// biome-ignore-all lint/suspicious/noTemplateCurlyInString: code in strings
/** Paths without their points: what goes, what stays, and that nothing else is touched. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { erasePaths } from '../../../scripts/erase/erase-paths.ts';
import { tokenize } from '../../../scripts/erase/tokens.ts';

const erased = (source: string) => erasePaths(source).text;

test('a path becomes a function, its points disappear with what they compute', (t) => {
  t.is(
    erased(`export function* f(vm) { yield reading(vm.word('A', [1, 2])); return vm.mem.load(1); }`),
    `export function f(vm) { ; return vm.mem.load(1); }`,
  );
});

test('delegation becomes a call, wherever it stands', (t) => {
  t.is(
    erased(
      `function* f(a) { const x = yield* g(a); if (!(yield* h())) return yield* k(); while (yield* m()) {} }`,
    ),
    `function f(a) { const x =  g(a); if (!( h())) return  k(); while ( m()) {} }`,
  );
});

test('a wait stays, and keeps its answer', (t) => {
  t.is(
    erased(`function* f() { yield waiting(w); if ((yield waiting(w)) === 2) return; }`),
    `function f() {  waiting(w); if (( waiting(w)) === 2) return; }`,
  );
});

test('methods, private ones, callbacks and functions in objects are paths as well', (t) => {
  t.is(
    erased(`class A { *a() { yield stepping(); } static *b() {} *#c(x = {}) { yield* this.a(); } }`),
    `class A { a() { ; } static b() {} #c(x = {}) {  this.a(); } }`,
  );
  t.is(
    erased(`on(1, { *x(a) { yield* y(a); } }, function* (k) { yield* z(k); });`),
    `on(1, { x(a) {  y(a); } }, function (k) {  z(k); });`,
  );
});

test('a point that is one of several goes whole, also without braces', (t) => {
  t.is(
    erased(`function* f() { if (a) yield b ? reading(x) : writing(x); else yield updating(x); done(); }`),
    `function f() { if (a) ; else ; done(); }`,
  );
});

test('a generator that yields something else stays, and so does who delegates to it', (t) => {
  const source = `function* all(n) { function* below(k) { yield [k, 1]; yield* below(k - 1); } yield* below(n); }`;
  t.deepEqual(erasePaths(source), { text: source, paths: 0, kept: ['below', 'all'] });
});

test('text that looks like code is left alone, as is a product', (t) => {
  for (const source of [
    `const s = 'function* f() { yield 1; }';`,
    `// yield reading(x)\n/* function* */`,
    'const t = `a ${b({ c: `yield ${d}` })} function* e() {}`;',
    `const r = /yield \\/ [/*] function\\*/g, q = a / b / c;`,
    `const x = a * b(c), y = { z: 1 } ;\nw = x *b(c);`,
  ]) {
    t.is(erased(source), source);
  }
});

test("points in templates are found: their braces are the template's own", (t) => {
  t.is(erased('function* f() { g(`a ${yield* h()} } ${1}`); }'), 'function f() { g(`a ${ h()} } ${1}`); }');
});

test('lines stay where they are', (t) => {
  const source = `function* f() {\n  yield updating(\n    a,\n    b,\n  );\n  return 1;\n}\n`;
  const { text } = erasePaths(source);
  t.is(text.split('\n').length, source.split('\n').length);
  t.is(text.split('\n')[5], '  return 1;');
});

test('a point in the middle of an expression is refused', (t) => {
  t.throws(() => erasePaths(`function* f() { return (yield reading(x)) + 1; }`), {
    message: /in an expression/,
  });
  t.throws(() => erasePaths(`yield reading(x);`), { message: /outside every generator/ });
});

test('every compiled file of src is read: what it consists of adds up to the text', (t) => {
  const files = readdirSync('dist/src', { recursive: true, encoding: 'utf8' }).filter((f) =>
    f.endsWith('.js'),
  );
  t.true(files.length > 50);
  for (const file of files) {
    const source = readFileSync(join('dist/src', file), 'utf8');
    let at = 0;
    for (const { text, start, end } of tokenize(source)) {
      t.is(source.slice(start, end), text);
      // Between two tokens there is only space and comment.
      const between = source.slice(at, start).replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*|^#!.*/g, '');
      if (between.trim() !== '') t.fail(`${file}: '${between}' is no token`);
      at = end;
    }
  }
});

test('what threads run has no point left in it', (t) => {
  const files = readdirSync('dist/src', { recursive: true, encoding: 'utf8' });
  const names = files.filter((file) => file.endsWith('.erased.js') && !file.endsWith('point.erased.js'));
  t.true(names.length > 20);
  const kept = names.flatMap((file) => {
    const yields = tokenize(readFileSync(join('dist/src', file), 'utf8')).filter(
      ({ text }) => text === 'yield',
    );
    return yields.length === 0 ? [] : [file];
  });
  t.deepEqual(kept, ['actors/mmu/access-tree.erased.js'], 'entriesOf is an iterator, no path');
});
