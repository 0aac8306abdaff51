import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import test from 'ava';
import {
  type Exception,
  importCycles,
  importsOf,
  importViolations,
  type Sources,
} from '../support/import-rules.ts';

/** Wrong by the rules, with the reason why it stays (or until when). */
const EXCEPTIONS: readonly Exception[] = [
  {
    from: 'actors/vcpu/*',
    to: 'actors/introspector/vcpu-side.ts',
    reason:
      "the vCPU's half of introspection runs in the vCPU's thread: its jobs, its events, its wait for replies",
  },
  {
    from: 'actors/vcpu/*',
    to: 'actors/introspector/vcpu-events.ts',
    reason: 'the same: instructions that the tool wants to know of ask it in the thread of the vCPU',
  },
  {
    from: 'actors/vcpu/*',
    to: 'actors/introspector/intercepts.ts',
    reason: 'the same: which instructions those are',
  },
  {
    from: 'actors/vcpu/vcpu.ts',
    to: 'actors/introspector/vcpu-state.ts',
    reason: 'the order in which the tool has registers',
  },
  {
    from: 'actors/mmu/control.worker.ts',
    to: 'actors/vcpu/tlb.ts',
    reason: 'the I6 oracle reads the TLBs of parked vCPUs',
  },
  {
    from: 'actors/mmu/control.worker.ts',
    to: 'actors/introspector/hook.ts',
    reason: 'hook and unhook are what VM control does to the introspection block',
  },
  {
    from: 'actors/vcpu/vcpu.worker.ts',
    to: 'actors/introspector/hook.ts',
    reason: 'a vCPU that ends rings the bell, as one that sends an event does',
  },
  {
    from: 'explore/scenario/load.ts',
    to: '(computed)',
    reason: 'scenarios are modules that the user names',
  },
  {
    from: 'explore/controlled/source.ts',
    to: '(computed)',
    reason: 'scenarios are modules that the user names',
  },
  ...['introspector/introspector', 'mmu/control', 'vcpu/vcpu'].map((worker) => ({
    from: `actors/${worker}.worker.ts`,
    to: '(computed)',
    reason: 'tools, control scripts and access programs are modules that the user names',
  })),
];

/** Files that know each other's types in a circle, with the reason. */
const TYPE_CYCLES: readonly { readonly files: readonly string[]; readonly reason: string }[] = [
  {
    files: ['actors/introspector/vcpu-commands.ts', 'actors/introspector/vcpu-side.ts'],
    reason: 'a vCPU runs commands among its jobs; what a command needs of the vCPU stands beside the jobs',
  },
  {
    files: [
      'actors/vcpu/block-cache.ts',
      'actors/vcpu/extended-state.ts',
      'actors/vcpu/fxsave.ts',
      'actors/vcpu/msr-file.ts',
      'actors/vcpu/platform/platform-cpuid.ts',
      'actors/vcpu/platform/platform-msrs.ts',
      'actors/vcpu/platform/platform.ts',
      'actors/vcpu/port-bus.ts',
      'actors/vcpu/vcpu.ts',
    ],
    reason:
      'a vCPU has a block cache, a port bus, MSRs, extended state and what makes it one of a PC, which work on it',
  },
  {
    files: ['actors/vcpu/isa/forms.ts', 'actors/vcpu/isa/hot-forms.ts', 'actors/vcpu/isa/vector-forms.ts'],
    reason: 'vector forms and the bodies in the loop are some of the forms',
  },
  {
    files: ['explore/engine/execution.ts', 'explore/engine/lock-table.ts', 'explore/engine/strategy.ts'],
    reason: 'an execution asks a strategy, which sees the execution and its locks',
  },
  {
    files: ['shared/sync/actor.ts', 'shared/trace/tracer.ts'],
    reason: 'an actor tells its tracer about locks in the words of the lock code',
  },
];

function readSources(root: string): Sources {
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((file) =>
    file.endsWith('.ts'),
  );
  return new Map(
    files.map((file) => [
      relative(root, join(root, file)).split(sep).join('/'),
      readFileSync(join(root, file), 'utf8'),
    ]),
  );
}

/** ava runs in the project's directory, whether tests run from dist or not. */
const sources = readSources('src');

test('no import in src goes the wrong way', (t) => {
  t.true(sources.size > 50);
  const wrong = importViolations(sources, EXCEPTIONS).map(({ from, to, rule }) => `${from} → ${to}: ${rule}`);
  t.deepEqual(wrong, []);
});

test('no files in src import each other in a circle, and types only where it is listed', (t) => {
  t.deepEqual(importCycles(sources), []);
  t.deepEqual(
    importCycles(sources, true),
    TYPE_CYCLES.map(({ files }) => [...files]),
  );
});

test('index.ts re-exports and does nothing else', (t) => {
  const text = sources.get('index.ts') ?? '';
  const rest = text
    .replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')
    .replaceAll(/^export\s[^;]*\sfrom\s+'[^']+';$/gm, '')
    .trim();
  t.is(rest, '');
});

// ── the checker itself, on trees that do not exist ──────────────────────────────────────────────────────────
/** A tree from import lines: `'a.ts': './b.ts ./c.ts'`. Files that are only imported exist too. */
function tree(files: Readonly<Record<string, string>>): Sources {
  return new Map(
    Object.entries(files).map(([path, imports]) => [
      path,
      imports
        .split(' ')
        .filter((specifier) => specifier !== '')
        .map((specifier) => `import { x } from '${specifier}';\n`)
        .join(''),
    ]),
  );
}

const LEAVES = {
  'shared/errors.ts': '',
  'shared/layout/vm.ts': '',
  'shared/sync/mutex.ts': '',
  'actors/vcpu/run-loop.ts': '',
  'actors/vcpu/vcpu.worker.ts': '',
  'actors/introspector/introspector.api.ts': '',
  'actors/introspector/session.ts': '',
  'actors/mmu/page-walk.ts': '',
  'actors/thread.ts': '',
  'image/elf.ts': '',
  'machine.ts': '',
};

for (const [file, specifier, rule] of [
  ['shared/hub.ts', '../actors/vcpu/run-loop.ts', 'shared imports only shared'],
  ['shared/hub.ts', '../machine.ts', 'shared imports only shared'],
  ['shared/sync/rw-lock.ts', '../layout/vm.ts', 'locks know no layout: the words they use are passed in'],
  ['machine.ts', './actors/vcpu/vcpu.worker.ts', 'a worker is named by URL and imported by nobody'],
  ['actors/vcpu/entry.ts', '../introspector/session.ts', 'an actor imports only the *.api.ts of another'],
  ['actors/mmu/hook.ts', '../vcpu/run-loop.ts', 'an actor imports only the *.api.ts of another'],
  ['actors/vcpu/entry.ts', '../../machine.ts', 'actors know nothing of who composes them'],
  ['actors/vcpu/entry.ts', '../../image/elf.ts', 'actors know nothing of who composes them'],
  ['image/load.ts', '../actors/mmu/page-walk.ts', 'image imports only shared'],
  ['cli.ts', '../test/support/fake.ts', 'src imports only what is in src'],
  ['actors/thread.ts', 'piscina', 'only some files import piscina'],
  ['machine.ts', 'comlink', 'only some files import comlink'],
  ['machine.ts', 'eventemitter3', 'only some files import eventemitter3'],
  ['cli.ts', 'lodash', 'no rule says who may import this package'],
] as const) {
  test(`${file} may not import ${specifier}`, (t) => {
    const [violation, ...more] = importViolations(tree({ ...LEAVES, [file]: specifier }), []);
    t.like(violation, { from: file, rule });
    t.is(more.length, 0);
  });
}

for (const [file, specifier] of [
  ['shared/layout/machine.ts', '../sync/mutex.ts'],
  ['actors/vcpu/entry.ts', '../introspector/introspector.api.ts'],
  ['actors/vcpu/entry.ts', '../mmu/page-walk.ts'],
  ['actors/vcpu/entry.ts', './run-loop.ts'],
  ['actors/vcpu/vcpu.worker.ts', '../thread.ts'],
  ['actors/thread.ts', './mmu/page-walk.ts'],
  ['image/load.ts', './elf.ts'],
  ['image/load.ts', '../shared/errors.ts'],
  ['machine.ts', 'piscina'],
  ['machine/pool.ts', 'piscina'],
  ['machine.ts', './actors/introspector/session.ts'],
  ['shared/rpc.ts', 'comlink'],
  ['shared/hub.ts', 'eventemitter3'],
  ['cli.ts', 'node:fs'],
] as const) {
  test(`${file} may import ${specifier}`, (t) => {
    t.deepEqual(importViolations(tree({ ...LEAVES, [file]: specifier }), []), []);
  });
}

test('an exception excuses its edge, and must be needed', (t) => {
  const edge = { from: 'actors/vcpu/entry.ts', to: 'actors/introspector/session.ts' };
  const exceptions = [{ ...edge, reason: 'runs in the thread of the vCPU' }];
  t.deepEqual(
    importViolations(tree({ ...LEAVES, [edge.from]: '../introspector/session.ts' }), exceptions),
    [],
  );
  const all = [{ ...exceptions[0]!, from: 'actors/vcpu/*' }];
  t.deepEqual(importViolations(tree({ ...LEAVES, [edge.from]: '../introspector/session.ts' }), all), []);
  const [stale] = importViolations(tree(LEAVES), exceptions);
  t.like(stale, { ...edge, rule: 'this exception is not needed any more' });
});

test('every form of import is seen, and none in comments', (t) => {
  const text = `
/** import { no } from './comment.ts'; */
// import { no } from './line-comment.ts';
import './side-effect.ts';
import type { A } from './types.ts';
import B, {
  C,
} from "../several-lines.ts";
export { D } from './re-export.ts';
export * from './all.ts';
const e = await import('./dynamic.ts');
const f = await import(name);
`;
  t.deepEqual(
    importsOf(new Map([['a/b.ts', text]]))
      .map(({ to }) => to)
      .sort(),
    [
      '(computed)',
      'a/all.ts',
      'a/dynamic.ts',
      'a/re-export.ts',
      'a/side-effect.ts',
      'a/types.ts',
      'several-lines.ts',
    ],
  );
});

test('a circle of types only is one of types', (t) => {
  const text = (line: string) =>
    new Map([
      ['a.ts', "import { b } from './b.ts';"],
      ['b.ts', line],
    ]);
  t.deepEqual(importCycles(text("import type { A } from './a.ts';")), []);
  t.deepEqual(importCycles(text("import type { A } from './a.ts';"), true), [['a.ts', 'b.ts']]);
  t.deepEqual(importCycles(text("export type { A } from './a.ts';")), []);
  t.deepEqual(importCycles(text("import { type A } from './a.ts';")), [['a.ts', 'b.ts']]);
});

test('circles are found, with all files on them and no others', (t) => {
  const files = {
    'a.ts': './b.ts ./leaf.ts',
    'b.ts': './c.ts',
    'c.ts': './a.ts',
    'leaf.ts': '',
    'user.ts': './a.ts',
    'self.ts': './self.ts',
  };
  t.deepEqual(importCycles(tree(files)), [['a.ts', 'b.ts', 'c.ts'], ['self.ts']]);
});
