/** From the actors' rings to a file on disk. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { allocateMemory } from '../../../src/actors/mmu/create-vm.ts';
import { identify } from '../../../src/actors/thread.ts';
import { CPU } from '../../../src/shared/layout/cpu.ts';
import { VCPU } from '../../../src/shared/layout/vcpu.ts';
import { Mem } from '../../../src/shared/mem.ts';
import { roundUp } from '../../../src/shared/struct.ts';
import { mutexLock, mutexUnlock } from '../../../src/shared/sync/mutex.ts';
import { drive } from '../../../src/shared/sync/point.ts';
import { TraceCollector, type TraceCollectorOptions } from '../../../src/shared/trace/collector.ts';
import { TRACE_FAULT, TRACE_SERVE } from '../../../src/shared/trace/kinds.ts';
import { decodeTrace } from './decoded.ts';
import { ringBytes, ticking } from './trial.ts';

const ACTORS = ['vcpu 0', 'vcpu 1', 'introspector', 'control', 'machine'];

function machine(records = 100) {
  const config = {
    vcpuCount: 2,
    ramPages: 4,
    gfnCount: 64,
    accessLimit: 8,
    traceBytes: roundUp(ringBytes(records), 64),
    actorCount: ACTORS.length,
  };
  const { memory, layout } = allocateMemory(config);
  const mem = new Mem(memory);
  const start = (actor: number) =>
    identify({ memory, config, actor, name: ACTORS[actor]!, lockdep: false }, () => {});
  return { mem, layout, start };
}

async function folder(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'faultline-trace-'));
  t.teardown(() => rm(path, { recursive: true }));
  return path;
}

test('every actor that starts with trace rings is in the file, under its name', async (t) => {
  const { mem, layout, start } = machine();
  const path = join(await folder(t), 'x.pftrace');
  const trace = new TraceCollector({ mem, layout, path, actors: ACTORS });
  for (const [index] of ACTORS.entries()) {
    const { actor, vm } = start(index);
    drive(actor, mutexLock(actor, vm.slotsLock));
    drive(actor, mutexUnlock(actor, vm.slotsLock));
    actor.tracer!.begin(TRACE_FAULT, index, 1);
    if (index % 2 === 0) actor.tracer!.end(TRACE_FAULT, 0);
    if (index === 2) trace.drain();
  }
  const summary = await trace.close();
  const bytes = await readFile(path);
  t.deepEqual(summary, {
    path,
    format: 'perfetto',
    bytes: bytes.length,
    records: 5 * 4 - 2,
    lost: 0,
  });
  const decoded = decodeTrace(bytes);
  t.deepEqual(
    decoded.tracks.filter((track) => track.kind === 'thread').map((track) => track.name),
    ACTORS,
  );
  for (const [index, name] of ACTORS.entries()) {
    const own = decoded.slices.filter((slice) => slice.track.name === name);
    t.deepEqual(
      own.map((slice) => slice.name),
      ['slots_lock', 'page fault'],
    );
    t.is(own[1]!.args['gfn'], BigInt(index));
  }
});

test('without trace rings an actor has no tracer', (t) => {
  const config = {
    vcpuCount: 1,
    ramPages: 4,
    gfnCount: 64,
    accessLimit: 8,
    traceBytes: 0,
    actorCount: 1,
  };
  const { memory } = allocateMemory(config);
  const { actor } = identify({ memory, config, actor: 0, name: 'vcpu 0', lockdep: false }, () => {});
  t.is(actor.tracer, null);
  t.is(actor.trace, null);
});

test('a broken invariant that an oracle sees is marked on its actor', async (t) => {
  const { mem, layout, start } = machine();
  const path = join(await folder(t), 'x.pftrace');
  const trace = new TraceCollector({ mem, layout, path, actors: ACTORS });
  start(1).vm.onFinding({ id: 'I11/L1', detail: 'made up' });
  await trace.close();
  const { instants } = decodeTrace(await readFile(path));
  t.deepEqual(
    instants.map((event) => [event.name, event.track.name]),
    [['finding I11', 'vcpu 1']],
  );
});

test('what was lost is in the summary and in the file, also when nothing came after it', async (t) => {
  const { mem, layout, start } = machine(10);
  const path = join(await folder(t), 'x.pftrace');
  const trace = new TraceCollector({ mem, layout, path, actors: ACTORS });
  const { actor } = start(3);
  for (let n = 0; n < 25; n++) actor.tracer!.instant(TRACE_SERVE, n);
  const summary = await trace.close();
  t.like(summary, { records: 10, lost: 15 });
  actor.tracer!.instant(TRACE_SERVE);
  // A timer that fires late does no harm.
  t.notThrows(() => trace.drain());
  const { instants } = decodeTrace(await readFile(path));
  t.is(instants.length, 11);
  t.is(instants.at(-1)!.name, '15 records lost');
});

test('counters show what was counted per second of the clock', async (t) => {
  const { mem, layout } = machine();
  const path = join(await folder(t), 'x.pftrace');
  let now = 1e9;
  const trace = new TraceCollector({ mem, layout, path, actors: ACTORS, clock: () => now });
  const retired = (layout.cpus + layout.cpuStride + CPU.at.RETIRED) / 8;
  mem.u64[retired] = 5n;
  trace.drain();
  mem.u64[retired] = 1_000_005n;
  mem.i64[(layout.vcpus + VCPU.at.EVENTS_SENT) / 8] = 3n;
  mem.i64[(layout.vcpus + VCPU.bytes + VCPU.at.EVENTS_SENT) / 8 + 2] = 4n;
  now += 5e8;
  trace.drain();
  await trace.close();
  const { counters, track } = decodeTrace(await readFile(path));
  const vcpu1 = track('vcpu 1').uuid;
  const values = counters.map((event) => [
    event.track.name,
    event.track.parent === vcpu1,
    event.time,
    event.value,
  ]);
  t.deepEqual(values, [
    ['instructions per second', false, 1.5e9, 0],
    ['instructions per second', true, 1.5e9, 2_000_000],
    ['events per second', false, 1.5e9, 14],
  ]);
});

test('a name that ends in .jsonl asks for JSON lines', async (t) => {
  const { mem, layout, start } = machine();
  const path = join(await folder(t), 'x.jsonl');
  const trace = new TraceCollector({ mem, layout, path, actors: ACTORS, clock: ticking() });
  start(0).actor.tracer!.instant(TRACE_SERVE, 1);
  const summary = await trace.close();
  t.is(summary.format, 'json-lines');
  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
  t.deepEqual(
    lines.map((line) => (JSON.parse(line) as { event: string }).event),
    ['trace', 'instant', 'end'],
  );
});

test('a file that cannot be opened is a SIM_FILE error at once', (t) => {
  const { mem, layout } = machine();
  const open = (path: string, extra: Partial<TraceCollectorOptions> = {}) =>
    new TraceCollector({ mem, layout, path, actors: ACTORS, ...extra });
  t.throws(() => open('/nonexistent/folder/x.pftrace'), { name: 'SimError', code: 'SIM_FILE' });
  t.throws(() => open(tmpdir()), { name: 'SimError', code: 'SIM_FILE' });
});

test('a disk that is full does not stop the machine: the end says so', async (t) => {
  const { mem, layout, start } = machine();
  const trace = new TraceCollector({ mem, layout, path: '/dev/full', actors: ACTORS });
  const { actor } = start(0);
  for (let n = 0; n < 500; n++) {
    actor.tracer!.instant(TRACE_SERVE, n);
    if (n % 50 === 0) t.notThrows(() => trace.drain());
  }
  await t.throwsAsync(trace.close(), { name: 'SimError', code: 'SIM_FILE', message: /\/dev\/full/ });
  t.is(mem.load(layout.traces + 4), 0, 'the ring was emptied all the same');
});
