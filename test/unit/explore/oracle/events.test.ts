/** The event ledger: what it says of events that go astray, and of those that do not. */
import test from 'ava';
import {
  KVMI_EVENT_ACTION_CONTINUE,
  KVMI_EVENT_ACTION_CRASH,
  KVMI_EVENT_ACTION_RETRY,
} from '../../../../src/actors/introspector/kvmi/constants.ts';
import type { World } from '../../../../src/explore/world/world.ts';
import { type Path, stepping } from '../../../../src/shared/sync/point.ts';
import { TRACE_HANDLE_PF, TRACE_PF, TRACE_REPLIED, TRACE_REPLY } from '../../../../src/shared/trace/kinds.ts';
import type { Tracer } from '../../../../src/shared/trace/tracer.ts';
import { lines, look } from '../../../support/look.ts';
import { PAGE, stageOf, VICTIM } from '../../../support/oracle-scenarios.ts';

const GPA = VICTIM.baseGfn * PAGE;

/** What a vCPU and a receiver would say, one after the other. */
function said(...facts: ((vcpu: Tracer, receiver: Tracer, other: Tracer) => void)[]) {
  return stageOf(
    (world: World) => {
      const [vcpu, other] = world.vcpus.map(({ actor }) => actor);
      function* path(): Path<void> {
        yield stepping();
        for (const fact of facts) {
          fact(vcpu!.tracer!, world.receiver.tracer!, other!.tracer!);
          yield stepping();
        }
      }
      const nothing = function* (): Path<void> {};
      return [
        { name: 'vcpu 0', waiter: vcpu!, path: path() },
        { name: 'vcpu 1', waiter: other!, path: nothing() },
        { name: 'receiver', waiter: world.receiver, path: nothing() },
      ];
    },
    { machine: { vcpuCount: 2 } },
  );
}

const sent = (seq: number) => (vcpu: Tracer) => vcpu.begin(TRACE_PF, seq, GPA, 2);
const taken = (seq: number) => (_: Tracer, receiver: Tracer) =>
  receiver.beginOn(9, TRACE_HANDLE_PF, seq, GPA, 2);
const answered = (seq: number, action: number) => (_: Tracer, receiver: Tracer) =>
  receiver.instant(TRACE_REPLY, seq, action, 0);
const accepted = (seq: number, action: number) => (vcpu: Tracer) => vcpu.instant(TRACE_REPLIED, seq, action);
const over = (action: number) => (vcpu: Tracer) => vcpu.end(TRACE_PF, action);

test('sent, taken, answered, accepted, over: nothing to say', (t) => {
  const { findings } = look(said(sent(1), taken(1), answered(1, 1), accepted(1, 1), over(1)), 1);
  t.deepEqual(findings, []);
});

for (const [title, key, facts] of [
  ['received twice', 'event twice', [sent(1), taken(1), taken(1)]],
  ['answered twice', 'event answered twice', [sent(1), taken(1), answered(1, 1), answered(1, 1)]],
  ['answered before it was received', 'event early', [sent(1), answered(1, 1)]],
  ['a reply nobody gave', 'event reply', [sent(1), taken(1), accepted(1, 1)]],
  ['another action than was given', 'event reply', [sent(1), taken(1), answered(1, 1), accepted(1, 0)]],
  [
    "another vCPU's reply (RC-57)",
    'event reply',
    [
      sent(1),
      taken(1),
      answered(1, 1),
      (_: Tracer, __: Tracer, other: Tracer) => other.instant(TRACE_REPLIED, 1, 1),
    ],
  ],
  ['a reply of an event before (RC-79)', 'event reply', [sent(2), taken(2), answered(2, 1), accepted(1, 1)]],
  ['an event inside an event (RC-33)', 'event nested', [sent(1), sent(2)]],
  ['went on as if answered', 'event action', [sent(1), taken(1), over(1)]],
  ['given up while the connection stands', 'event given up', [sent(1), taken(1), over(-4)]],
  ['never received', 'event lost', [sent(1)]],
] as const) {
  test(title, (t) => {
    const { findings } = look(said(...facts), 1);
    t.like(findings[0], { oracle: 'event', rule: 'I9', key });
  });
}

const real = (answer: number, dies = false) =>
  stageOf(
    (world) => [
      ...world.vcpus.map((_, index) =>
        world.vcpuRunner(index, [
          { kind: 'write', gpa: GPA + 8 * index, size: 4, value: 1n },
          { kind: 'read', gpa: GPA + PAGE, size: 4 },
        ]),
      ),
      world.toolRunner(function* (event, session) {
        if (dies) yield* session.close();
        if (answer === KVMI_EVENT_ACTION_RETRY) yield* session.setPageAccess(event.pf!.gpa, 7);
        return answer;
      }),
    ],
    {
      machine: { vcpuCount: 2 },
      setUp(world) {
        world.access(VICTIM.baseGfn, 1);
        world.access(VICTIM.baseGfn + 1, 2);
      },
    },
  );

test('two vCPUs and a tool that answers: RETRY, and with it the same event again, is no duplicate (NC-02)', (t) => {
  t.deepEqual(lines(look(real(KVMI_EVENT_ACTION_CONTINUE), 60)), []);
  t.deepEqual(lines(look(real(KVMI_EVENT_ACTION_RETRY), 60)), []);
  t.deepEqual(lines(look(real(KVMI_EVENT_ACTION_CRASH), 60)), []);
});

test('a tool that goes away: its events end without a reply, and that is no loss (NC-13)', (t) => {
  t.deepEqual(lines(look(real(KVMI_EVENT_ACTION_CONTINUE, true), 60)), []);
});
