/** An execution as a trace file: what its actors do and hold, over virtual time. For ui.perfetto.dev, or JSON lines. */
import { closeSync, openSync, writeSync } from 'node:fs';
import { SimError } from '../../shared/errors.ts';
import { Mem, sharedMemory } from '../../shared/mem.ts';
import { Actor } from '../../shared/sync/actor.ts';
import { JsonLinesSink } from '../../shared/trace/json-lines.ts';
import { PerfettoSink } from '../../shared/trace/perfetto.ts';
import { TraceReader } from '../../shared/trace/reader.ts';
import { Tracer } from '../../shared/trace/tracer.ts';
import type { Execution } from '../engine/execution.ts';
import { Replay, type Schedule } from '../engine/schedule.ts';
import { Stage } from '../explorer.ts';
import { MachineTarget } from '../scenario/machine-target.ts';
import { type Scenario, wrapped } from '../scenario/scenario.ts';

/** Ring of one actor: some 15 000 records, more than an execution of STEP_LIMIT steps makes. */
const RING_BYTES = 2 ** 20;

/** @throws SimError SIM_FILE */
export function writeLogicalTrace(scenario: Scenario, schedule: Schedule, path: string): void {
  let execution: Execution | null = null;
  const names: string[] = [];
  let mem: Mem | null = null;
  const traced = wrapped(scenario, (inner) => ({
    participants: (world) => {
      const list = inner.participants(world);
      mem = new Mem(sharedMemory(RING_BYTES * list.length));
      for (const [index, { name, waiter }] of list.entries()) {
        names.push(name);
        if (!(waiter instanceof Actor)) continue;
        const clock = () => execution?.now ?? 0;
        waiter.tracer = new Tracer({ mem, base: index * RING_BYTES, bytes: RING_BYTES, clock });
        waiter.trace = waiter.tracer.locks;
      }
      return list;
    },
  }));
  const follow = {
    before: (now: Execution): void => {
      execution = now;
    },
  };
  // Without oracles: they listen where the tracers are.
  const done = new Stage(new MachineTarget(traced, { oracles: 'off' })).execute(new Replay(schedule), 0, [
    follow,
  ]);
  let fd: number;
  try {
    fd = openSync(path, 'w');
  } catch (cause) {
    throw new SimError('SIM_FILE', `cannot write the trace '${path}'`, { cause });
  }
  try {
    const write = (bytes: Uint8Array) => {
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
    };
    const Sink = path.endsWith('.jsonl') ? JsonLinesSink : PerfettoSink;
    const sink = new Sink({ actors: names, counters: [], write });
    for (const index of names.keys()) {
      new TraceReader(mem!, index * RING_BYTES, RING_BYTES).drain((record) => sink.record(index, record));
    }
    sink.close(done?.now ?? 0);
  } catch (cause) {
    throw new SimError('SIM_FILE', `cannot write the trace '${path}'`, { cause });
  } finally {
    closeSync(fd);
  }
}
