/**
 * The last step of the build: beside each compiled file of the workers that has to do with paths, the same file without
 * scheduling points (`x.erased.js`). Threads run those; everything else, tests and explorers above all, the originals.
 *
 * `dist/src/erased.json` says what each was made from, so that a machine never runs erased files that are out of date.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, posix, relative, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { type CheckedFile, misplacedCalls } from './erase/check-calls.ts';
import { erasePaths } from './erase/erase-paths.ts';
import { tokenize } from './erase/tokens.ts';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '../src');
/** Written by hand: what the erased files have in its place. */
const POINT = 'shared/sync/point.js';
const IMPORT = /(\bfrom\s*|\bimport\s*)(['"])(\.[^'"]+)\2/g;

const files = readdirSync(ROOT, { recursive: true, encoding: 'utf8' })
  .map((file) => file.split(sep).join('/'))
  .filter((file) => file.endsWith('.js'));
const handWritten = POINT.replace(/\.js$/, '.erased.js');
const texts = new Map(
  files
    .filter((file) => !file.endsWith('.erased.js'))
    .map((file) => [file, readFileSync(join(ROOT, file), 'utf8')]),
);

const imports = new Map(
  [...texts].map(([file, text]) => [
    file,
    [...text.matchAll(IMPORT)].map((match) => posix.join(posix.dirname(file), match[3]!)),
  ]),
);
// Workers of explorers take steps: theirs are not erased.
const workers = files.filter((file) => /^actors\/.*\.worker\.js$/.test(file));
const reachable = closure(workers, (file) => imports.get(file) ?? []);
const importers = (file: string) => [...imports].filter(([, to]) => to.includes(file)).map(([from]) => from);
// A path that only delegates to others needs no point of its own, and so no import of them.
const delegating = [...reachable].filter((file) => /\byield\s*\*/.test(texts.get(file) ?? ''));
const concerned = closure([POINT, ...delegating], importers);
const members = [...reachable].filter((file) => concerned.has(file) && file !== POINT).sort();

const checked = members.map(eraseFile);
const others = [...reachable].filter((file) => !members.includes(file));
const misplaced = misplacedCalls(
  checked,
  others.map((file) => tokenize(texts.get(file)!)),
);
if (misplaced.length > 0) throw new Error(`paths that cannot be erased:\n  ${misplaced.join('\n  ')}`);
for (const { name: file, erased } of checked) {
  const text = erased.text.replaceAll(IMPORT, (whole, before, quote, specifier) => {
    const target = posix.join(posix.dirname(file), specifier);
    if (target !== POINT && !members.includes(target)) return whole;
    return `${before}${quote}${specifier.replace(/\.js$/, '.erased.js')}${quote}`;
  });
  writeFileSync(join(ROOT, erasedName(file)), text);
}
for (const file of files) {
  const stale =
    file.endsWith('.erased.js') && file !== handWritten && !members.map(erasedName).includes(file);
  if (stale) rmSync(join(ROOT, file));
}
// Loading them tells whether they are still programs, and whether all that they import is there.
for (const worker of workers) await import(pathToFileURL(join(ROOT, erasedName(worker))).href);
// Last: until it is written, machines find that nothing fits and run the originals.
const madeFrom = Object.fromEntries(
  [...reachable].sort().map((file) => [file, createHash('sha1').update(texts.get(file)!).digest('hex')]),
);
writeFileSync(join(ROOT, 'erased.json'), `${JSON.stringify(madeFrom, null, 1)}\n`);
if (process.argv.includes('--verbose')) {
  const paths = checked.flatMap(({ erased }) => erased.paths).length;
  process.stdout.write(`${paths} paths erased in ${members.length} files below ${relative('.', ROOT)}\n`);
  for (const { name, erased } of checked) {
    for (const kept of erased.kept) process.stdout.write(`  kept ${name}: ${kept}\n`);
  }
}

function eraseFile(name: string): CheckedFile {
  const source = texts.get(name)!;
  try {
    const tokens = tokenize(source);
    return { name, source, tokens, erased: erasePaths(source, tokens) };
  } catch (cause) {
    throw new Error(`${name} cannot be erased`, { cause });
  }
}

function erasedName(file: string): string {
  return file.replace(/\.js$/, '.erased.js');
}

function closure(start: readonly string[], next: (file: string) => readonly string[]): Set<string> {
  const seen = new Set<string>(start);
  const open = [...start];
  for (let file = open.pop(); file !== undefined; file = open.pop()) {
    for (const other of next(file)) {
      if (seen.has(other)) continue;
      seen.add(other);
      open.push(other);
    }
  }
  return seen;
}
