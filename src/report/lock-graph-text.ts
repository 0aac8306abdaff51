/** An order graph as text for people. */
import { formatCount, formatNs } from '../shared/units.ts';
import type { ShownCycle, ShownEdge, ShownLockGraph, ShownPlace } from './lock-graph.ts';
import { table } from './table.ts';

/** Frames shown of each stack; JSON has them all. */
const FRAMES_SHOWN = 3;

export function lockGraphText(graph: ShownLockGraph): string {
  const { title, classes, edges, cycles } = graph;
  const waits = edges.filter((edge) => edge.waits);
  const entries = edges.filter((edge) => !edge.waits);
  return [
    title,
    '',
    ...classLines(graph),
    '',
    'waits: what is held → what is waited for under it',
    ...waits.filter(({ direct }) => direct).flatMap(edgeLines),
    '',
    'the same with other locks in between',
    ...listed(waits.filter(({ direct }) => !direct)),
    '',
    'sections entered, which nobody waits for',
    ...listed(entries),
    '',
    ...(cycles.length === 0
      ? ['no circle: what was seen here cannot deadlock, in whatever order it comes']
      : cycles.flatMap(cycleLines)),
    '',
    `${counted(classes.length, 'class', 'es')}, ${counted(edges.length, 'edge')}, ${counted(cycles.length, 'circle')}`,
    '',
  ].join('\n');
}

function classLines({ classes, clock }: ShownLockGraph): string[] {
  const rows = classes.map((cls) => [
    cls.name,
    cls.kind,
    cls.rank === null ? '–' : String(cls.rank),
    formatCount(cls.acquisitions),
    formatCount(cls.waits),
    formatNs(mean(cls.waitNs, cls.waits)),
    formatNs(cls.waitNsMax),
    formatNs(mean(cls.holdNs, cls.acquisitions)),
    formatNs(cls.holdNsMax),
  ]);
  const head = ['class', 'kind', 'rank', 'taken', 'waits', 'wait', 'longest', 'hold', 'longest'];
  const note = clock === 'virtual' ? ['times are virtual: 1 µs a step'] : [];
  return [...table([head, ...rows], 2), ...note];
}

function counted(count: number, noun: string, plural = 's'): string {
  return `${formatCount(count)} ${noun}${count === 1 ? '' : plural}`;
}

function mean(total: number, count: number): number {
  return count === 0 ? 0 : total / count;
}

function edgeLines(edge: ShownEdge): string[] {
  const { why, places, declared } = edge;
  const remark = why ?? (declared ? 'follows from the declared order' : 'NOT DECLARED');
  return [`  ${arrow(edge)}`, `      ${remark}`, ...places.flatMap(placeLines)];
}

function listed(edges: readonly ShownEdge[]): string[] {
  if (edges.length === 0) return ['  none'];
  return edges.map((edge) => `  ${arrow(edge)}${edge.declared ? '' : '  NOT DECLARED'}`);
}

function arrow({ from, to, kinds }: ShownEdge): string {
  return `${`${from} → ${to}`.padEnd(48)} ${kinds.join(' ')}`;
}

function placeLines({ kind, actor, heldAt, takenAt }: ShownPlace): string[] {
  return [
    `      ${kind}, ${actor}: has it since`,
    ...heldAt.slice(0, FRAMES_SHOWN).map((frame) => `        ${frame}`),
    '      and waits at',
    ...takenAt.slice(0, FRAMES_SHOWN).map((frame) => `        ${frame}`),
  ];
}

function cycleLines({ classes, status, witnesses, details }: ShownCycle): string[] {
  return [
    `${status} deadlock: ${[...classes, classes[0]].join(' → ')}`,
    ...details.map((line) => `  ${line}`),
    ...witnesses.map((line) => `  ${line}`),
  ];
}
