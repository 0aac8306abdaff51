/** What must be given back by the end. */
import test from 'ava';
import { releaseReserve, reserveEntry } from '../../../../src/actors/mmu/access-tree.ts';
import { kvmiGet, kvmiPut } from '../../../../src/actors/mmu/kvmi-ref.ts';
import type { World } from '../../../../src/explore/world/world.ts';
import type { Actor } from '../../../../src/shared/sync/actor.ts';
import { mutexLock, mutexUnlock } from '../../../../src/shared/sync/mutex.ts';
import type { Path } from '../../../../src/shared/sync/point.ts';
import { srcuReadLock, srcuReadUnlock } from '../../../../src/shared/sync/srcu.ts';
import { look } from '../../../support/look.ts';
import { runner, stageOf } from '../../../support/oracle-scenarios.ts';

function after(path: (actor: Actor, world: World) => Path<unknown>): string[] {
  const scenario = stageOf((world) => [runner(world, 'host', (actor) => path(actor, world))]);
  return look(scenario, 1)
    .findings.filter(({ oracle }) => oracle === 'balance')
    .map(({ rule, message }) => `${rule}: ${message}`);
}

test('a lock that is kept', (t) => {
  const kept = after((actor, { vm }) => mutexLock(actor, vm.kvmLock));
  t.regex(kept[0]!, /host has ended and still holds kvm.lock since step \d+/);
  const given = after(function* (actor, { vm }) {
    yield* mutexLock(actor, vm.kvmLock);
    yield* mutexUnlock(actor, vm.kvmLock);
  });
  t.deepEqual(given, []);
});

test('a lock word that is left taken by somebody unknown', (t) => {
  const [left] = after(function* (_actor, { vm }) {
    vm.mem.store(vm.splitLock.addr, 8);
  });
  t.regex(left!, /split_lock is left taken/);
});

test('a section that is left twice, or not at all', (t) => {
  const stayed = after((actor, { vm }) => srcuReadLock(actor, vm.trackSrcu));
  t.true(stayed.some((line) => /still holds track_srcu \(side 0\)/.test(line)));
  const twice = after(function* (actor, { vm }) {
    const side = yield* srcuReadLock(actor, vm.trackSrcu);
    yield* srcuReadUnlock(actor, vm.trackSrcu, side);
    actor.checks = null;
    yield* srcuReadUnlock(actor, vm.trackSrcu, side);
  });
  t.true(
    twice.some((line) => /track_srcu: -1 readers are counted on side 0, 0 are inside/.test(line)),
    twice.join(),
  );
});

test('a KVMI reference that is kept', (t) => {
  const [kept] = after((actor, { vm }) => kvmiGet(actor, vm));
  t.is(kept, 'I12: 2 KVMI references are left; only the receiver has one');
  const given = after(function* (actor, { vm }) {
    yield* kvmiGet(actor, vm);
    yield* kvmiPut(actor, vm);
  });
  t.deepEqual(given, []);
});

test('tree nodes that are lost, freed twice, or freed in use (RC-76)', (t) => {
  const [lost] = after((_actor, { vm }) => reserveEntry(vm));
  t.is(lost, 'balance: 1 access nodes are neither in use nor free');
  const twice = after(function* (_actor, { vm }) {
    const reserve = (yield* reserveEntry(vm))!;
    const { entry } = reserve;
    yield* releaseReserve(vm, reserve);
    yield* releaseReserve(vm, { entry, nodes: [] });
  });
  t.true(
    twice.some((line) => /^I12: access node 0 is in the free list and in use, or in it twice/.test(line)),
  );
  const inUse = after(function* (actor, world) {
    yield* world.newSession(actor).setPageAccess(0x20000, 1);
    yield* releaseReserve(world.vm, { entry: 0, nodes: [] });
  });
  t.true(
    inUse.some((line) => /^I12: access node 0 is in the free list and in use/.test(line)),
    inUse.join(),
  );
  const fine = after(function* (actor, world) {
    const session = world.newSession(actor);
    yield* session.setPageAccess(0x20000, 1);
    yield* session.setPageAccess(0x21000, 3);
    yield* session.setPageAccess(0x20000, 7);
  });
  t.deepEqual(fine, []);
});
