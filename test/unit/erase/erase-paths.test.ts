// biome-ignore-all lint/suspicious/noTemplateCurlyInString: code in strings
/** Paths without their points: what goes, what stays, and that nothing else is touched. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { misplacedCalls } from '../../../scripts/erase/check-calls.ts';
import { erasePaths, findGenerators } from '../../../scripts/erase/erase-paths.ts';
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

test('a wait or a choice stays, and keeps its answer', (t) => {
  t.is(
    erased(`function* f() { yield waiting(w); if ((yield waiting(w)) === 2) return; }`),
    `function f() {  waiting(w); if (( waiting(w)) === 2) return; }`,
  );
  t.is(
    erased(`function* f() { const n = yield choosing(3, 1); yield relaxing(w); }`),
    `function f() { const n =  choosing(3, 1); ; }`,
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
  t.deepEqual(erasePaths(source), { text: source, paths: [], kept: ['below', 'all'] });
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

test('what would mean something else without its yield is refused', (t) => {
  for (const [body, message] of [
    ['return (yield reading(x)) + 1;', /in an expression/],
    ['yield reading(x), g();', /in an expression/],
    ['const a = b ? 1 : yield reading(x), c = 1;', /in an expression/],
    ['yield reading(x++);', /would take '\+\+' along/],
    ['yield reading((x = 1));', /would take an assignment along/],
    ['yield reading(x >= 1 && y === 2 && z != 3 ? a : b);', null],
    ['yield reading(next(x));', /would take the call of next along/],
    ['yield reading(yield* g());', /would take 'yield' along/],
    ['yield* g() ?? h();', /anything but one call/],
    ['yield* (a ? g() : h());', /anything but one call/],
    ['const path = g(); yield* path;', /anything but one call/],
    ['const a = b ? yield* f() : yield* g();', null],
    ['yield* vm.list[g(1)].path(x)(y);', null],
    ['return yield*\n g();', /a line ends/],
    ['yield reading(x); yield 5;', /yields points and something else/],
  ] as const) {
    const erase = () => erasePaths(`function* f() { ${body} }`);
    if (message === null) t.notThrows(erase, body);
    else t.throws(erase, { message }, body);
  }
  t.throws(() => erasePaths(`yield reading(x);`), { message: /outside every generator/ });
  t.throws(() => erasePaths(`async function* f() {}`), { message: /an async generator/ });
  t.throws(() => erasePaths(`class A { async *f() {} }`), { message: /an async generator/ });
  t.throws(() => erasePaths(`class A { *[Symbol.iterator]() {} }`), { message: /a computed name/ });
});

/** The complaints about one file that has these paths: f, g and a method m; and a generator `each` that is none. */
function misplaced(body: string, others: readonly string[] = []): string[] {
  const source = `import { run, every } from './run.js';
function* f() {} function* g(a) {} class A { *m() {} } function* each() { yield 1; }
${body}`;
  const tokens = tokenize(source);
  const file = { name: 'x.js', source, tokens, erased: erasePaths(source, tokens) };
  const run = 'function* run() {} function* every() { yield [1]; }';
  const imported = { name: 'run.js', source: run, tokens: tokenize(run), erased: erasePaths(run) };
  return misplacedCalls([file, imported], others.map(tokenize));
}

test('paths that run where they are made, or are handed to the caller, are erasable', (t) => {
  for (const body of [
    'function* a(x) { yield* f(); const y = (yield* x.m()) + (yield* g(yield* f())); return yield* run(); }',
    'function* a(x) { if (!(yield* x[1].b(2).m())) return; x.use(() => g(1), each()); }',
    'const a = (x) => { const r = drive(x, x?.b.m()); return r; };',
    'const a = (x) => g(x); function b(x) { return x.m(); }',
    'function* a() { yield* later(function* () { yield* f(); }, () => { return f(); }); }',
    'for (const x of each()) use(x); function* all() { yield 2; yield* each(); }',
    // Somebody else's f, run and g.
    'function a(f, own) { own.f(1); const run = own.run(); }',
    "import { g as h, plain as other } from './run.js'; const a = other(); const b = h();",
  ]) {
    t.deepEqual(misplaced(body), [], body);
  }
  t.deepEqual(misplaced('const a = b.m();', ['const b = { m: () => 1 };']), [], 'm is not always a path');
});

test('paths that are kept, handed on, gone through or given back by a path are not', (t) => {
  for (const [body, name] of [
    ['const p = f(); drive(x, p);', 'f'],
    ['function* a() { yield* within(lock, g(1)); }', 'g'],
    ['function* a(x) { const p = x.m(); yield* f(); drive(p); }', 'm'],
    ['function* a(x) { yield* f(); const r = x.b ? x.m() : 1; }', 'm'],
    ['function* a() { return f(); }', 'f'],
    ['for (const point of f()) use(point);', 'f'],
    ['const list = [...g(1)];', 'g'],
    ['later(1, run());', 'run'],
    ['f();', 'f'],
    ["import { run as start } from './run.js'; const a = start();", 'start'],
  ] as const) {
    const [complaint, ...more] = misplaced(body);
    t.regex(complaint ?? '', new RegExp(`^x.js:3: (the path ${name}|${name} is a path)`), body);
    t.deepEqual(more, []);
  }
  t.regex(misplaced('drive(x, each());')[0]!, /each is no path, and is driven/);
  const delegating = 'function* a() { yield reading(1); yield* every(); }';
  t.regex(misplaced(delegating)[0]!, /every is no path, and is delegated/);
});

test('no variable, parameter or promise holds a path: only what functions return is one', (t) => {
  const erased: Record<string, string> = JSON.parse(readFileSync('dist/src/erased.json', 'utf8'));
  const held = Object.keys(erased)
    .map((file) => file.replace(/\.js$/, '.ts'))
    .filter((file) => !file.endsWith('sync/point.ts'))
    .flatMap((file) => {
      const lines = readFileSync(join('src', file), 'utf8').split('\n');
      return lines.filter((line) => /(?<!\): |=> )\bPath</.test(line)).map((line) => `${file}: ${line}`);
    });
  t.deepEqual(held, []);
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
  const left = names.flatMap((file) => {
    const tokens = tokenize(readFileSync(join('dist/src', file), 'utf8'));
    return findGenerators(tokens).map(({ name }) => name);
  });
  const iterators = ['filledEntries'];
  t.deepEqual(
    left.filter((name) => !iterators.includes(name)),
    [],
    'iterators, which are no paths, are all that still yields',
  );
});
