/** The declared order: free of circles, at one with the ranks, and what is not in it is a finding. */
import test from 'ava';
import { EN, SN } from '../../../src/shared/lockdep/dependency.ts';
import { LockGraph } from '../../../src/shared/lockdep/lock-graph.ts';
import { LOCK_ORDER } from '../../../src/shared/lockdep/lock-order.ts';
import { LockValidator } from '../../../src/shared/lockdep/validator.ts';
import { LockChecks, type LockFinding } from '../../../src/shared/sync/checks.ts';
import * as classes from '../../../src/shared/sync/lock-class.ts';

test('the declared order has no circle that can deadlock', (t) => {
  const graph = new LockGraph();
  for (const { from, to } of LOCK_ORDER.edges) {
    const kind = from.kind === 'mutex' || from.kind === 'spinlock' || from.kind === 'rwlock' ? EN : SN;
    const seen = { from: from.name, to: to.name, kind, direct: true, actor: '', heldAt: '', takenAt: '' };
    t.is(graph.add(seen).cycle, null, `${from.name} → ${to.name}`);
  }
});

test('nothing follows from the declared order that the ranks forbid, or a rule', (t) => {
  const byId = new Map(classes.LOCK_CLASSES.map((cls) => [cls.id, cls]));
  for (const [id, after] of LOCK_ORDER.after) {
    const from = byId.get(id)!;
    for (const to of [...after].map((next) => byId.get(next)!)) {
      const name = `${from.name} → ${to.name}`;
      t.not(from, to, name);
      if (from.rank !== classes.NO_RANK && to.rank !== classes.NO_RANK) t.true(from.rank < to.rank, name);
      if (!from.sleep) t.not(to.waits, 'sleeps', name);
    }
  }
});

test('each edge is declared once, and says why', (t) => {
  const names = LOCK_ORDER.edges.map(({ from, to }) => `${from.name} → ${to.name}`);
  t.is(new Set(names).size, names.length);
  for (const { why } of LOCK_ORDER.edges) t.true(why.length > 10);
});

function subject() {
  const findings: LockFinding[] = [];
  const validator = new LockValidator();
  const checks = new LockChecks({ actor: 'control', onFinding: (f) => findings.push(f), validator });
  const take = (cls: classes.LockClass, mode: classes.LockMode = 'write') => {
    checks.acquiring(cls, 64 * cls.id, mode);
    checks.acquired(cls, 64 * cls.id, mode, 0);
  };
  return { checks, take, rules: () => findings.map(({ rule }) => rule), findings };
}

test('the order that users come to study is declared: kvm.srcu → mmu_lock → access_tree_lock', (t) => {
  const { take, checks, rules } = subject();
  take(classes.SRCU_KVM, 'read');
  take(classes.LOCK_MMU);
  take(classes.LOCK_ACCESS_TREE);
  checks.awaiting(classes.WAIT_ACK);
  checks.awaited();
  t.deepEqual(rules(), []);
});

test('an edge that nobody declared is a finding, although it closes no circle and climbs in rank', (t) => {
  const { take, findings } = subject();
  take(classes.LOCK_KVM);
  take(classes.LOCK_SLOTS);
  t.is(findings.length, 1);
  t.is(findings[0]!.rule, 'ORDER');
  t.is(
    findings[0]!.message,
    'waits for slots_lock while holding kvm.lock, which the declared order does not know',
  );
  t.true(findings[0]!.details.some((line) => line.includes('lock-order.test')));
});

test('an undeclared edge is reported once', (t) => {
  const { take, checks, rules } = subject();
  for (let i = 0; i < 3; i++) {
    take(classes.LOCK_VCPU);
    take(classes.LOCK_SLOTS);
    checks.releasing(classes.LOCK_SLOTS, 64 * classes.LOCK_SLOTS.id, 'write', 0);
    checks.releasing(classes.LOCK_VCPU, 64 * classes.LOCK_VCPU.id, 'write', 0);
  }
  t.deepEqual(rules(), ['ORDER']);
});

test('sections may be entered, and debts begun, under anything', (t) => {
  const { take, checks, rules } = subject();
  take(classes.LOCK_SLOTS);
  take(classes.SRCU_TRACK, 'read');
  checks.owes(classes.DONE_KVMI);
  take(classes.SRCU_KVM, 'read');
  take(classes.LOCK_MMU);
  t.deepEqual(rules(), []);
});

test('a reply awaited inside kvm.srcu is not declared (RC-25)', (t) => {
  const { take, checks, rules } = subject();
  take(classes.SRCU_KVM, 'read');
  checks.awaiting(classes.WAIT_REPLY);
  t.deepEqual(rules(), ['ORDER']);
});
