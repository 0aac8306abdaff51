/** Properties of an exported trace, whatever was recorded. */
import test from 'ava';
import fc from 'fast-check';
import {
  LANE_MAIN,
  LANE_SRCU,
  PHASE_BEGIN,
  PHASE_END,
  PHASE_INSTANT,
} from '../../../src/shared/layout/trace.ts';
import { LOCK_CLASSES } from '../../../src/shared/sync/lock-class.ts';
import { TRACE_FAULT, TRACE_KINDS, TRACE_PF } from '../../../src/shared/trace/kinds.ts';
import { perfetto, record, testRing } from './trial.ts';

const SEED = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
const RUNS = 300;

const kind = fc.constantFrom(TRACE_FAULT, TRACE_PF, TRACE_KINDS.length - 1);

/** What an actor may do to its tracer, in any order: ends without begins, locks released out of order, pauses. */
const step = fc.oneof(
  fc.record({ do: fc.constant('begin' as const), kind, lane: fc.constantFrom(LANE_MAIN, LANE_SRCU, 2, 5) }),
  fc.record({ do: fc.constant('end' as const), kind, lane: fc.constantFrom(LANE_MAIN, LANE_SRCU, 2, 5) }),
  fc.record({ do: fc.constant('instant' as const), kind }),
  fc.record({ do: fc.constant('lock' as const), cls: fc.nat(LOCK_CLASSES.length - 1), addr: fc.nat(2) }),
  fc.record({ do: fc.constant('unlock' as const), cls: fc.nat(LOCK_CLASSES.length - 1), addr: fc.nat(2) }),
  fc.record({ do: fc.constant('drain' as const) }),
  fc.record({ do: fc.constant('clock' as const), by: fc.integer({ min: -3, max: 1000 }) }),
);

test(`any use of a tracer, through rings of any size, gives balanced slices and times in order (SEED=${SEED})`, (t) => {
  let losing = 0;
  fc.assert(
    fc.property(fc.array(step, { maxLength: 120 }), fc.integer({ min: 1, max: 40 }), (steps, capacity) => {
      let now = 1000;
      let recorded = 0;
      const ring = testRing(capacity, () => {
        recorded += 1;
        return now;
      });
      // The decoder throws on an end without a begin, a begin without an end, and times that go back.
      const trace = perfetto(
        (sink) => {
          const drain = () => ring.reader.drain((taken) => sink.record(0, taken));
          for (const s of steps) {
            if (s.do === 'begin') ring.tracer.beginOn(s.lane, s.kind, 1);
            else if (s.do === 'end') ring.tracer.endOn(s.lane, s.kind, 1);
            else if (s.do === 'instant') ring.tracer.instant(s.kind, 1);
            else if (s.do === 'lock') ring.tracer.locks('acquired', LOCK_CLASSES[s.cls]!, s.addr, 'read');
            else if (s.do === 'unlock') ring.tracer.locks('release', LOCK_CLASSES[s.cls]!, s.addr, 'read');
            else if (s.do === 'drain') drain();
            else now += s.by;
          }
          drain();
          if (ring.reader.lostAtEnd > 0) {
            sink.record(0, record({ time: now, phase: 4, kind: 0, a: ring.reader.lostAtEnd }));
          }
        },
        { end: now },
      );
      const said = trace.instants
        .map((event) => /^(\d+) records lost$/.exec(event.name))
        .reduce((sum, match) => sum + Number(match?.[1] ?? 0), 0);
      if (said > 0) losing += 1;
      // Nothing vanishes without being counted.
      const ownInstants = trace.instants.filter((event) => !event.name.endsWith('lost')).length;
      const begun = trace.slices.filter((slice) => slice.args['continued'] !== true).length;
      return said === ring.reader.lost && begun + ownInstants <= recorded && said <= recorded;
    }),
    { seed: SEED, numRuns: RUNS },
  );
  t.true(losing > 0, 'the rings were small enough to lose something');
});

test(`without losses every begin is one slice, as deep as the locks held (SEED=${SEED})`, (t) => {
  const locks = fc.array(fc.record({ cls: fc.nat(5), hold: fc.boolean() }), { maxLength: 60 });
  fc.assert(
    fc.property(locks, (uses) => {
      let now = 0;
      const ring = testRing(1000, () => ++now);
      const held: number[] = [];
      let begun = 0;
      let depthMax = 0;
      for (const { cls, hold } of uses) {
        if (hold && !held.includes(cls)) {
          ring.tracer.locks('acquired', LOCK_CLASSES[cls]!, 64 * cls, 'write');
          held.push(cls);
          begun += 1;
          depthMax = Math.max(depthMax, held.length);
        } else if (!hold && held.includes(cls)) {
          ring.tracer.locks('release', LOCK_CLASSES[cls]!, 64 * cls, 'write');
          held.splice(held.indexOf(cls), 1);
        }
      }
      const trace = perfetto((sink) => ring.reader.drain((taken) => sink.record(0, taken)), { end: now });
      const fresh = trace.slices.filter((slice) => slice.args['continued'] !== true);
      const deepest = Math.max(0, ...trace.slices.map((slice) => slice.depth + 1));
      // What every class was held for is the sum of its slices, interrupted or not.
      const heldFor = new Map<string, number>();
      for (const slice of trace.slices) {
        heldFor.set(slice.name, (heldFor.get(slice.name) ?? 0) + slice.end - slice.begin);
      }
      return fresh.length === begun && deepest === depthMax && sameTotals(heldFor, uses, now);
    }),
    { seed: SEED, numRuns: RUNS },
  );
  t.pass();
});

/** Computes how long each class was held, one tick per recorded call, and compares. */
function sameTotals(
  heldFor: ReadonlyMap<string, number>,
  uses: readonly { readonly cls: number; readonly hold: boolean }[],
  end: number,
): boolean {
  const since = new Map<number, number>();
  const totals = new Map<number, number>();
  let now = 0;
  for (const { cls, hold } of uses) {
    if (hold && !since.has(cls)) since.set(cls, ++now);
    else if (!hold && since.has(cls)) {
      totals.set(cls, (totals.get(cls) ?? 0) + ++now - since.get(cls)!);
      since.delete(cls);
    }
  }
  for (const [cls, from] of since) totals.set(cls, (totals.get(cls) ?? 0) + end - from);
  return [...totals].every(([cls, total]) => {
    const { name, kind: lockKind } = LOCK_CLASSES[cls]!;
    return heldFor.get(lockKind === 'rwlock' ? `${name} write` : name) === total;
  });
}

test('raw records that no tracer would make are survived', (t) => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          time: fc.integer({ min: 0, max: 10_000 }),
          phase: fc.constantFrom(PHASE_BEGIN, PHASE_END, PHASE_INSTANT, 4, 9),
          kind: fc.nat(255),
          lane: fc.nat(255),
          depth: fc.nat(255),
          a: fc.integer(),
          b: fc.integer(),
          c: fc.integer(),
          wide: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        }),
        { maxLength: 60 },
      ),
      (records) => {
        const trace = perfetto((sink) => {
          for (const fields of records) sink.record(0, record(fields));
        });
        // That it was decoded at all says that its slices are balanced.
        return trace.slices.every((slice) => slice.begin <= slice.end && slice.end <= 10_000);
      },
    ),
    { seed: SEED, numRuns: RUNS },
  );
  t.pass();
});
