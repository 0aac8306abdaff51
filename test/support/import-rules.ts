/**
 * Who may import whom in `src`, as rules over the import lines. Pure: takes file texts, gives the edges that go the
 * wrong way, so that it can be tried on trees that do not exist.
 *
 * An import of types only counts like any other: it is knowledge of the other file all the same.
 */
import { posix } from 'node:path';

/** Text of each file, by its path below `src`. */
export type Sources = ReadonlyMap<string, string>;

export interface Edge {
  readonly from: string;
  /** A path below `src`, or a package. */
  readonly to: string;
  /** Of types only: nothing is loaded at run time. */
  readonly typeOnly?: true;
}

export interface Violation extends Edge {
  readonly rule: string;
}

/** An edge that is wrong by the rules and right all the same. `from` may end in `*`: all files that begin so. */
export interface Exception extends Edge {
  readonly reason: string;
}

/** Packages, and the files that may import them. */
const PACKAGES: Readonly<Record<string, (file: string) => boolean>> = {
  piscina: isCompositionRoot,
  comlink: (file) => file === 'shared/rpc.ts',
  eventemitter3: (file) => file === 'shared/hub.ts',
  'iced-x86': (file) => file === 'explore/scenario/asm.ts',
};

const IMPORT = /^(?:import|export)(\s+type)?\b[^;'"]*\bfrom\s+['"]([^'"]+)['"]|^import\s+['"]([^'"]+)['"]/gm;
const DYNAMIC_IMPORT = /\bimport\(\s*(?:['"]([^'"]+)['"])?/g;
const COMMENT = /\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm;

/** What each file imports. Packages keep their name; files become paths below `src`. */
export function importsOf(sources: Sources): Edge[] {
  const edges: Edge[] = [];
  for (const [from, text] of sources) {
    const code = text.replaceAll(COMMENT, '');
    const add = (specifier: string, typeOnly: boolean) => {
      const to = specifier.startsWith('.') ? posix.join(posix.dirname(from), specifier) : specifier;
      edges.push(typeOnly ? { from, to, typeOnly } : { from, to });
    };
    for (const match of code.matchAll(IMPORT)) add(match[2] ?? match[3]!, match[1] !== undefined);
    for (const match of code.matchAll(DYNAMIC_IMPORT)) add(match[1] ?? '(computed)', false);
  }
  return edges;
}

/** Every edge that breaks a rule and is not excepted, and every exception that excepts nothing. */
export function importViolations(sources: Sources, exceptions: readonly Exception[]): Violation[] {
  const edges = importsOf(sources);
  const violations = edges.flatMap((edge) => {
    const rule = brokenRule(edge, sources);
    return rule === null || exceptions.some((exception) => excepts(exception, edge))
      ? []
      : [{ ...edge, rule }];
  });
  for (const exception of exceptions) {
    if (!edges.some((edge) => excepts(exception, edge) && brokenRule(edge, sources) !== null)) {
      violations.push({ ...exception, rule: 'this exception is not needed any more' });
    }
  }
  return violations;
}

function excepts({ from, to }: Exception, edge: Edge): boolean {
  if (edge.to !== to) return false;
  return from.endsWith('*') ? edge.from.startsWith(from.slice(0, -1)) : edge.from === from;
}

/** The first rule that `edge` breaks, or null. */
function brokenRule({ from, to }: Edge, sources: Sources): string | null {
  if (to.startsWith('node:')) return null;
  if (!to.endsWith('.ts')) {
    const mayImport = PACKAGES[to];
    if (mayImport === undefined) return 'no rule says who may import this package';
    return mayImport(from) ? null : `only some files import ${to}`;
  }
  if (!sources.has(to)) return 'src imports only what is in src';
  if (to.endsWith('.worker.ts')) return 'a worker is named by URL and imported by nobody';
  if (from.startsWith('shared/')) {
    if (!to.startsWith('shared/')) return 'shared imports only shared';
    if (from.startsWith('shared/sync/') && to.startsWith('shared/layout/')) {
      return 'locks know no layout: the words they use are passed in';
    }
    return null;
  }
  if (to.startsWith('shared/')) return null;
  if (from.startsWith('image/')) return to.startsWith('image/') ? null : 'image imports only shared';
  if (from.startsWith('actors/')) {
    if (!to.startsWith('actors/')) return 'actors know nothing of who composes them';
    const [ours, theirs] = [actorOf(from), actorOf(to)];
    if (ours === theirs || theirs === null || to.endsWith('.api.ts')) return null;
    // The mmu has no thread of its own for what faults need: its functions run in the thread of whoever calls them.
    if (theirs === 'mmu' || ours === null) return null;
    return 'an actor imports only the *.api.ts of another';
  }
  return null;
}

/** machine.ts, the folder it may grow into, and the threads of those who explore. */
function isCompositionRoot(file: string): boolean {
  return file === 'machine.ts' || file.startsWith('machine/') || file === 'explore/thread-pool.ts';
}

/** The folder of an actor; null for what all actors share (actors/thread.ts). */
function actorOf(path: string): string | null {
  return /^actors\/([^/]+)\//.exec(path)?.[1] ?? null;
}

/**
 * Groups of files that import each other in a circle, each sorted; the groups too.
 *
 * @param withTypes  whether imports of types only count: without them every file can be loaded after those it uses, with
 *                   them every file can be understood after those it uses
 */
export function importCycles(sources: Sources, withTypes = false): string[][] {
  const targets = new Map<string, string[]>();
  for (const { from, to, typeOnly } of importsOf(sources)) {
    if (withTypes || typeOnly !== true) targets.set(from, [...(targets.get(from) ?? []), to]);
  }
  const reachable = (start: string): Set<string> => {
    const seen = new Set<string>();
    const open = [...(targets.get(start) ?? [])];
    for (let file = open.pop(); file !== undefined; file = open.pop()) {
      if (seen.has(file)) continue;
      seen.add(file);
      open.push(...(targets.get(file) ?? []));
    }
    return seen;
  };
  const reach = new Map([...sources.keys()].map((file) => [file, reachable(file)]));
  const groups = new Map<string, string[]>();
  for (const [file, seen] of reach) {
    if (!seen.has(file)) continue;
    const group = [...seen].filter((other) => reach.get(other)?.has(file) === true).sort();
    groups.set(group.join(), group);
  }
  return [...groups.values()].sort((a, b) => (a.join() < b.join() ? -1 : 1));
}
