/** The trace as JSON lines. */
import test from 'ava';
import {
  LANE_OPEN_EVENT,
  LANE_SRCU,
  PHASE_BEGIN,
  PHASE_END,
  PHASE_INSTANT,
  PHASE_LOST,
} from '../../../src/shared/layout/trace.ts';
import { LOCK_MMU, SRCU_KVM } from '../../../src/shared/sync/lock-class.ts';
import { JsonLinesSink } from '../../../src/shared/trace/json-lines.ts';
import {
  eventFlow,
  lockCode,
  TRACE_FAULT,
  TRACE_HANDLE_PF,
  TRACE_HOLD,
  TRACE_KINDS,
  TRACE_MEMSLOT,
  TRACE_REPLY,
} from '../../../src/shared/trace/kinds.ts';
import { Gathered, record } from './trial.ts';

function lines(fill: (sink: JsonLinesSink) => void, actors = ['vcpu 0', 'introspector']): unknown[] {
  const gathered = new Gathered();
  const counters = [{ name: 'instructions per second', actor: 0 }];
  const sink = new JsonLinesSink({ actors, counters, write: gathered.write });
  fill(sink);
  sink.close(99);
  const text = new TextDecoder().decode(gathered.bytes);
  if (!text.endsWith('\n')) throw new Error('the last line is not whole');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown);
}

test('each record is a line, between one that names the format and one that counts', (t) => {
  const all = lines((sink) => {
    sink.record(0, record({ time: 5, phase: PHASE_BEGIN, kind: TRACE_FAULT, a: 255, b: 3 }));
    sink.record(0, record({ time: 6, phase: PHASE_END, kind: TRACE_FAULT, a: 3 }));
    sink.record(0, record({ time: 7, phase: PHASE_LOST, a: 12 }));
    sink.counter(0, 8, 1000);
  });
  t.deepEqual(all, [
    { event: 'trace', version: 1, actors: ['vcpu 0', 'introspector'] },
    {
      time: 5,
      actor: 'vcpu 0',
      event: 'begin',
      name: 'page fault',
      category: 'mmu',
      depth: 0,
      args: { gfn: '0xff', access: 'RW' },
    },
    {
      time: 6,
      actor: 'vcpu 0',
      event: 'end',
      name: 'page fault',
      category: 'mmu',
      depth: 0,
      args: { result: 'retry' },
    },
    { time: 7, actor: 'vcpu 0', event: 'lost', records: 12 },
    { time: 8, actor: 'vcpu 0', event: 'counter', name: 'instructions per second', value: 1000 },
    { time: 99, event: 'end', records: 3, lost: 12 },
  ]);
});

test('lanes, flows and wide arguments', (t) => {
  const flow = eventFlow(9);
  const all = lines((sink) => {
    const gva = 0xffff_ffff_ffff_ffffn;
    const lane = LANE_OPEN_EVENT + 3;
    sink.record(1, record({ time: 1, lane, kind: TRACE_HANDLE_PF, a: 9, b: 0x2000, c: 4, flow, wide: gva }));
    sink.record(1, record({ time: 2, phase: PHASE_INSTANT, kind: TRACE_REPLY, a: 9, b: 1, c: 3, flow }));
    sink.record(
      0,
      record({ time: 3, lane: LANE_SRCU, kind: TRACE_HOLD, a: lockCode(SRCU_KVM, true), b: 64 }),
    );
  });
  t.like(all[1], {
    actor: 'introspector',
    lane: 'vcpu 3',
    name: 'handle PF',
    flow,
    args: { seq: 9, gpa: '0x2000', access: 'X', gva: '0xffffffffffffffff' },
  });
  t.deepEqual(all[2], {
    time: 2,
    actor: 'introspector',
    event: 'instant',
    name: 'reply',
    category: 'event',
    flow,
    args: { seq: 9, action: 'RETRY', vcpu: 3 },
  });
  t.like(all[3], { lane: 'srcu', name: 'kvm.srcu', args: { lock: '0x40' } });
});

test('an end is named like its begin where it can be, and never by an argument that means something else', (t) => {
  const all = lines((sink) => {
    const a = lockCode(LOCK_MMU, true);
    sink.record(0, record({ phase: PHASE_END, kind: TRACE_HOLD, a }));
    sink.record(0, record({ phase: PHASE_BEGIN, kind: TRACE_MEMSLOT, a: 1 }));
    sink.record(0, record({ phase: PHASE_END, kind: TRACE_MEMSLOT, a: 0 }));
  }) as { name?: string }[];
  t.deepEqual(
    all.slice(1, 4).map((line) => line.name),
    ['mmu_lock read', 'memslot delete', 'memslot'],
  );
});

test('every kind in every phase is one JSON object, also for an actor with a strange name', (t) => {
  const actors = ['vcpu "0"\n\\'];
  const all = lines((sink) => {
    for (const { id } of TRACE_KINDS) {
      for (const phase of [PHASE_BEGIN, PHASE_END, PHASE_INSTANT]) {
        sink.record(0, record({ phase, kind: id, a: 1, b: 2, c: 3, wide: 4n }));
      }
    }
  }, actors) as { actor?: string }[];
  t.is(all.length, 3 * TRACE_KINDS.length + 2);
  t.true(all.slice(1, -1).every((line) => line.actor === actors[0]));
});

test('a long trace is written in pieces and is whole', (t) => {
  const count = 5000;
  const all = lines((sink) => {
    for (let time = 0; time < count; time++) {
      sink.record(0, record({ time, phase: PHASE_INSTANT, kind: TRACE_REPLY }));
    }
  }) as { time?: number }[];
  t.deepEqual(
    all.slice(1, -1).map((line) => line.time),
    Array.from({ length: count }, (_, time) => time),
  );
});
