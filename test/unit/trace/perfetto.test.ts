/** The Perfetto file, read back by a decoder that shares nothing with the writer (decoded.ts). */
import test from 'ava';
import {
  LANE_OPEN_EVENT,
  LANE_SRCU,
  PHASE_BEGIN,
  PHASE_END,
  PHASE_INSTANT,
  PHASE_LOST,
} from '../../../src/shared/layout/trace.ts';
import { REQ_PARK, REQ_TLB_FLUSH } from '../../../src/shared/layout/vcpu.ts';
import { LOCK_JOB, LOCK_MMU, SRCU_KVM } from '../../../src/shared/sync/lock-class.ts';
import {
  ackFlow,
  eventFlow,
  FAULT_RESULTS,
  lockCode,
  SLOT_CHANGES,
  TRACE_ACK,
  TRACE_ASK,
  TRACE_EMULATE,
  TRACE_FAULT,
  TRACE_FLUSH,
  TRACE_HANDLE_PF,
  TRACE_HOLD,
  TRACE_KINDS,
  TRACE_MEMSLOT,
  TRACE_PF,
  TRACE_REPLIED,
  TRACE_REPLY,
  TRACE_SERVE,
} from '../../../src/shared/trace/kinds.ts';
import { perfetto, record } from './trial.ts';

const begin = PHASE_BEGIN;
const end = PHASE_END;
const instant = PHASE_INSTANT;
const SECTION = lockCode(SRCU_KVM, true);

test('one process, a thread track per actor in order, and counters below their actors', (t) => {
  const trace = perfetto((sink) => sink.counter(1, 50, 7), {
    actors: ['vcpu 0', 'introspector', 'müchine'],
    counters: [
      { name: 'instructions per second', actor: 0 },
      { name: 'events per second', actor: -1 },
    ],
  });
  const [process, ...rest] = trace.tracks;
  t.like(process, { kind: 'process', name: 'faultline', pid: 1 });
  const threads = rest.filter((track) => track.kind === 'thread');
  t.deepEqual(
    threads.map((track) => track.name),
    ['vcpu 0', 'introspector', 'müchine'],
  );
  t.true(threads.every((track) => track.pid === 1));
  const tids = threads.map((track) => track.tid!);
  t.deepEqual(
    tids,
    [...tids].sort((a, b) => a - b),
  );
  t.false(tids.includes(1), 'the thread with the id of its process is the main thread to Perfetto');
  t.is(trace.track('instructions per second').parent, trace.track('vcpu 0').uuid);
  t.is(trace.track('events per second').parent, process!.uuid);
  t.like(trace.counters, [{ time: 50, value: 7 }]);
});

test('slices nest as they were recorded, with names, categories and arguments', (t) => {
  const trace = perfetto((sink) => {
    sink.record(0, record({ time: 10, phase: begin, kind: TRACE_FAULT, a: 0xabcde, b: 2 }));
    const hold = { kind: TRACE_HOLD, depth: 1, a: lockCode(LOCK_MMU, false), b: 0x200 };
    sink.record(0, record({ time: 20, phase: begin, ...hold }));
    sink.record(0, record({ time: 30, phase: end, ...hold }));
    const result = FAULT_RESULTS.indexOf('emulate');
    sink.record(0, record({ time: 40, phase: end, kind: TRACE_FAULT, a: result }));
    const rip = 0xffff_ffff_8000_1234n;
    sink.record(0, record({ time: 41, phase: begin, kind: TRACE_EMULATE, wide: rip }));
    sink.record(0, record({ time: 45, phase: end, kind: TRACE_EMULATE, a: 2 }));
  });
  const [hold, fault, emulate] = trace.slices;
  t.like(hold, { name: 'mmu_lock write', category: 'lock', begin: 20, end: 30, depth: 1, parent: fault });
  t.deepEqual(hold!.args, { lock: 0x200n });
  t.like(fault, { name: 'page fault', category: 'mmu', begin: 10, end: 40, depth: 0 });
  t.deepEqual(fault!.args, { gfn: 0xabcden, access: 'W', result: 'emulate' });
  t.is(fault!.track, trace.track('vcpu 0'));
  t.deepEqual(emulate!.args, { rip: 0xffff_ffff_8000_1234n, outcome: 'retry' });
});

test('names follow the argument that completes them; errors and missing replies are shown as such', (t) => {
  const trace = perfetto((sink) => {
    for (const [index] of SLOT_CHANGES.entries()) {
      const time = 10 * (index + 1);
      sink.record(0, record({ time, phase: begin, kind: TRACE_MEMSLOT, a: index, b: 3, c: 0x40 }));
      sink.record(0, record({ time: time + 1, phase: end, kind: TRACE_MEMSLOT, a: -12 }));
    }
    sink.record(0, record({ time: 100, phase: begin, kind: TRACE_PF, a: 1 }));
    sink.record(0, record({ time: 110, phase: end, kind: TRACE_PF, a: -4 }));
  });
  t.deepEqual(
    trace.slices.map((slice) => slice.name),
    ['memslot create', 'memslot delete', 'memslot move', 'memslot flags', 'PF event'],
  );
  t.deepEqual(trace.slices[0]!.args, { id: 3, 'base gfn': 0x40n, error: -12 });
  t.is(trace.slices[4]!.args['action'], 'no reply');
});

test('an event is one flow: sent, handled, answered, accepted', (t) => {
  const flow = eventFlow(77);
  const actors = ['vcpu 0', 'vcpu 1', 'introspector'];
  const lane = LANE_OPEN_EVENT + 1;
  const trace = perfetto(
    (sink) => {
      const gva = 0xffff_8000_0000_0000n;
      const what = { a: 77, b: 0x5000, c: 4, flow, wide: gva };
      sink.record(1, record({ time: 10, phase: begin, kind: TRACE_PF, ...what }));
      sink.record(2, record({ time: 20, phase: begin, kind: TRACE_HANDLE_PF, lane, ...what }));
      sink.record(2, record({ time: 30, phase: instant, kind: TRACE_REPLY, a: 77, b: 0, c: 1, flow }));
      sink.record(2, record({ time: 31, phase: end, kind: TRACE_HANDLE_PF, lane, a: 0 }));
      sink.record(1, record({ time: 40, phase: instant, kind: TRACE_REPLIED, a: 77, b: 0, flow }));
      sink.record(1, record({ time: 50, phase: end, kind: TRACE_PF, a: 0 }));
    },
    { actors },
  );
  const linked = trace.events.filter((event) => event.flows.includes(flow));
  t.deepEqual(
    linked.map((event) => [event.time, event.name, event.track.name]),
    [
      [10, 'PF event', 'vcpu 1'],
      [20, 'handle PF', 'open event of vcpu 1'],
      [30, 'reply', 'introspector'],
      [40, 'reply accepted', 'vcpu 1'],
    ],
  );
  t.is(trace.track('open event of vcpu 1').parent, trace.track('introspector').uuid);
  const pf = trace.slices.find((slice) => slice.name === 'PF event')!;
  t.deepEqual(pf.args, {
    seq: 77,
    gpa: 0x5000n,
    access: 'X',
    gva: 0xffff_8000_0000_0000n,
    action: 'CONTINUE',
  });
});

test('a waited flush: the flows of its acknowledgements are as many as vCPUs asked', (t) => {
  const trace = perfetto(
    (sink) => {
      sink.record(2, record({ time: 1, phase: begin, kind: TRACE_FLUSH, a: REQ_TLB_FLUSH | REQ_PARK }));
      sink.record(2, record({ time: 2, phase: instant, kind: TRACE_ASK, a: 0, flow: ackFlow(0, 9) }));
      sink.record(2, record({ time: 3, phase: instant, kind: TRACE_ASK, a: 1, flow: ackFlow(1, 9) }));
      sink.record(0, record({ time: 5, phase: instant, kind: TRACE_ACK, a: 1, flow: ackFlow(0, 9) }));
      sink.record(1, record({ time: 6, phase: instant, kind: TRACE_ACK, a: 1, flow: ackFlow(1, 9) }));
      sink.record(2, record({ time: 7, phase: end, kind: TRACE_FLUSH, a: 2 }));
    },
    { actors: ['vcpu 0', 'vcpu 1', 'control'] },
  );
  t.deepEqual(trace.slices[0]!.args, { requests: 'TLB_FLUSH | PARK', acknowledgements: 2 });
  const flows = new Map<number, string[]>();
  for (const event of trace.instants) {
    for (const flow of event.flows)
      flows.set(flow, [...(flows.get(flow) ?? []), `${event.name} ${event.track.name}`]);
  }
  t.deepEqual(
    [...flows.values()],
    [
      ['ask control', 'acknowledge vcpu 0'],
      ['ask control', 'acknowledge vcpu 1'],
    ],
  );
});

test('flow numbers of different events and vCPUs never meet, and are exact', (t) => {
  const flows = [eventFlow(-1), eventFlow(1), ackFlow(0, -1), ackFlow(0, 1), ackFlow(15, -1), ackFlow(15, 1)];
  t.is(new Set(flows).size, flows.length);
  const trace = perfetto((sink) => {
    for (const [index, flow] of flows.entries()) {
      sink.record(0, record({ time: index, phase: instant, kind: TRACE_SERVE, flow }));
    }
  });
  t.deepEqual(
    trace.instants.map((event) => event.flows),
    flows.map((flow) => [flow]),
  );
});

test('a section that ends across other slices is on a track of its own', (t) => {
  const srcu = { kind: TRACE_HOLD, lane: LANE_SRCU, a: SECTION };
  const trace = perfetto((sink) => {
    sink.record(0, record({ time: 1, phase: begin, ...srcu }));
    sink.record(0, record({ time: 2, phase: begin, kind: TRACE_PF, a: 1 }));
    sink.record(0, record({ time: 3, phase: end, ...srcu }));
    sink.record(0, record({ time: 4, phase: begin, ...srcu }));
    sink.record(0, record({ time: 5, phase: end, kind: TRACE_PF, a: 0 }));
    sink.record(0, record({ time: 6, phase: end, ...srcu }));
  });
  t.deepEqual(
    trace.slices.map((slice) => [slice.name, slice.track.name, slice.begin, slice.end]),
    [
      ['kvm.srcu', 'vcpu 0: srcu', 1, 3],
      ['PF event', 'vcpu 0', 2, 5],
      ['kvm.srcu', 'vcpu 0: srcu', 4, 6],
    ],
  );
});

test('locks released out of order: the inner slice is interrupted and goes on', (t) => {
  const outer = { kind: TRACE_HOLD, a: lockCode(LOCK_MMU, false), b: 0x200 };
  const inner = { kind: TRACE_HOLD, a: lockCode(LOCK_JOB, false), b: 0x240, flow: 5 };
  const trace = perfetto((sink) => {
    sink.record(0, record({ time: 1, phase: begin, depth: 0, ...outer }));
    sink.record(0, record({ time: 2, phase: begin, depth: 1, ...inner }));
    sink.record(0, record({ time: 3, phase: end, depth: 0, ...outer }));
    sink.record(0, record({ time: 4, phase: end, depth: 0, ...inner }));
  });
  t.deepEqual(
    trace.slices.map(({ name, begin: from, end: to, depth, args }) => [
      name,
      from,
      to,
      depth,
      args['continued'],
    ]),
    [
      ['job_lock', 2, 3, 1, undefined],
      ['mmu_lock write', 1, 3, 0, undefined],
      ['job_lock', 3, 4, 0, true],
    ],
  );
  t.is(trace.slices.filter((slice) => slice.flows.includes(5)).length, 1, 'a flow arrives once');
});

test('what is still open at the end ends at the last moment', (t) => {
  const trace = perfetto(
    (sink) => {
      sink.record(0, record({ time: 1, phase: begin, kind: TRACE_FAULT }));
      sink.record(0, record({ time: 2, phase: begin, depth: 1, kind: TRACE_EMULATE }));
      sink.record(1, record({ time: 90, phase: instant, kind: TRACE_SERVE }));
    },
    { actors: ['vcpu 0', 'vcpu 1'], end: 90 },
  );
  t.deepEqual(
    trace.slices.map((slice) => [slice.name, slice.end]),
    [
      ['emulate', 90],
      ['page fault', 90],
    ],
  );
});

test('lost records: the file says how many, and nothing that was open is believed any longer', (t) => {
  const trace = perfetto((sink) => {
    sink.record(0, record({ time: 1, phase: begin, depth: 0, kind: TRACE_FAULT }));
    sink.record(0, record({ time: 2, phase: begin, depth: 1, kind: TRACE_EMULATE }));
    sink.record(0, record({ time: 3, phase: begin, lane: LANE_SRCU, kind: TRACE_HOLD, a: SECTION }));
    sink.record(0, record({ time: 5, phase: PHASE_LOST, a: 42 }));
    // Of the slices around these two nothing is known but that they exist.
    sink.record(0, record({ time: 7, phase: begin, depth: 2, kind: TRACE_PF }));
    sink.record(0, record({ time: 8, phase: end, depth: 0, kind: TRACE_FAULT }));
    sink.record(0, record({ time: 9, phase: end, depth: 1, kind: TRACE_PF }));
    sink.record(0, record({ time: 10, phase: end, depth: 0, kind: TRACE_EMULATE }));
  });
  t.deepEqual(
    trace.instants.map((event) => [event.name, event.time, event.track.name]),
    [['42 records lost', 5, 'vcpu 0']],
  );
  t.deepEqual(
    trace.slices.map((slice) => [slice.name, slice.begin, slice.end]),
    [
      ['emulate', 2, 5],
      ['page fault', 1, 5],
      ['kvm.srcu', 3, 5],
      ['PF event', 7, 9],
    ],
  );
});

test('times beyond 32 bits are exact, and a clock that goes back does not take the track with it', (t) => {
  const late = 2 ** 52 + 3;
  const trace = perfetto((sink) => {
    sink.record(0, record({ time: late, phase: instant, kind: TRACE_SERVE, a: 1 }));
    sink.record(0, record({ time: late - 10, phase: instant, kind: TRACE_SERVE, a: 2 }));
  });
  t.deepEqual(
    trace.instants.map((event) => event.time),
    [late, late],
  );
});

test('every kind can be written in every phase', (t) => {
  const trace = perfetto((sink) => {
    let time = 0;
    for (const { id } of TRACE_KINDS) {
      for (const phase of [begin, end, instant])
        sink.record(0, record({ time: ++time, phase, kind: id, a: 1 }));
    }
    sink.record(0, record({ time: ++time, phase: instant, kind: 255 }));
  });
  t.is(trace.slices.length, TRACE_KINDS.length);
  t.is(trace.instants.at(-1)!.name, 'unknown');
});
