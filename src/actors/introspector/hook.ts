/**
 * Hook and unhook: the life of the introspection block. Run by the VM control actor.
 *
 * @source virt/kvm/introspection/kvmi.c: __kvmi_hook, __kvmi_unhook; the seed: kvmi_arch_hook, kvmi_arch_unhook
 */
import { NOTIFIER_KVMI } from '../../shared/layout/access-tree.ts';
import { COMMAND_WORDS } from '../../shared/layout/vm.ts';
import { BUG_REHOOK_EARLY, BUG_SEQ_RESET, REF_KILLABLE_COMPLETION } from '../../shared/quirks.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import { reinitCompletion, waitForCompletion } from '../../shared/sync/completion.ts';
import { mutexLock, mutexUnlock } from '../../shared/sync/mutex.ts';
import { notifying, type Path, updating, writing } from '../../shared/sync/point.ts';
import { TRACE_HOOK, TRACE_UNHOOK } from '../../shared/trace/kinds.ts';
import { EAGAIN, EEXIST, EFAULT, EINVAL, ENOMEM, EPERM } from '../mmu/errno.ts';
import { clearAllAccess } from '../mmu/gfn-access.ts';
import { registerNotifier, unregisterNotifier } from '../mmu/page-track.ts';
import type { Vm } from '../mmu/vm.ts';
import type { Allowed, WireVersion } from './introspector.api.ts';
import { ALWAYS_ALLOWED } from './kvmi/protocol.ts';
import { wireOfVersion } from './kvmi/wires.ts';

/** As QEMU does it unless told otherwise. */
const ALL_ALLOWED: Allowed = { commands: new Array(COMMAND_WORDS).fill(~0), events: ~0 };

/** Per word. */
const ALWAYS = Array.from({ length: COMMAND_WORDS }, (_, word) =>
  ALWAYS_ALLOWED.filter((id) => id >>> 5 === word).reduce((bits, id) => bits | (1 << id), 0),
);

/**
 * kvmi_hook: introspection starts. The count is set last: callbacks that come earlier see "not introspected".
 *
 * @returns the session number (> 0), −EEXIST when hooked, −EAGAIN while a vCPU still has its old block
 */
export function* hook(actor: Actor, vm: Vm, allowed = ALL_ALLOWED): Path<number> {
  const { mem } = vm;
  actor.tracer?.begin(TRACE_HOOK);
  yield* mutexLock(actor, vm.kvmiLock);
  let result = 0;
  if (mem.load(vm.word('KVMI_HOOKED')) !== 0) result = -EEXIST;
  for (let index = 0; index < vm.vcpuCount && result === 0; index++) {
    if (mem.load(vm.vcpuWord(index, 'KVMI_BLOCK')) !== 0 && !vm.quirk(BUG_REHOOK_EARLY)) result = -EAGAIN;
  }
  if (result === 0) {
    for (let index = 0; index < vm.vcpuCount; index++) {
      const block = vm.vcpuWord(index, 'KVMI_BLOCK');
      mem.store(block, 1);
      // ORDER: the block before the look. A vCPU that ends says so before it gives its block up (endIntrospection).
      if (mem.load(vm.vcpuWord(index, 'ENDED')) !== 0) {
        mem.store(block, 0);
        continue;
      }
      mem.store(vm.vcpuWord(index, 'EVENTS'), 0);
      mem.store(vm.vcpuWord(index, 'PAUSE_REQUESTS'), 0);
      mem.store(vm.vcpuWord(index, 'WAITING'), 0);
    }
    mem.store(vm.word('KVMI_SHUT'), 0);
    mem.store(vm.word('KVMI_CLEANUP'), 1);
    mem.store(vm.word('KVMI_WIRE'), 12);
    for (const [i, always] of ALWAYS.entries()) {
      mem.store(commandWord(vm, i), (allowed.commands[i] ?? 0) | always);
    }
    mem.store(vm.word('KVMI_EVENTS'), allowed.events);
    yield writing(vm.word('KVMI_HOOKED'));
    mem.store(vm.word('KVMI_HOOKED'), 1);
    const node = yield* registerNotifier(actor, vm, NOTIFIER_KVMI);
    if (node < 0) {
      mem.store(vm.word('KVMI_HOOKED'), 0);
      result = -ENOMEM;
    } else {
      mem.store(vm.word('KVMI_NODE'), node + 1);
      yield* reinitCompletion(actor, vm.kvmiComplete);
      result = mem.add(vm.word('KVMI_SESSION'), 1) + 1;
      if (vm.quirk(BUG_SEQ_RESET)) mem.store(vm.word('EVENT_SEQ'), 0);
      mem.store(vm.word('EVENTS_BEFORE'), mem.load(vm.word('EVENT_SEQ')));
      // The receiver's own reference.
      mem.store(vm.word('KVMI_RECEIVER'), 1);
      yield writing(vm.word('KVMI_REF'));
      mem.store(vm.word('KVMI_REF'), 1);
    }
  }
  yield* mutexUnlock(actor, vm.kvmiLock);
  actor.tracer?.end(TRACE_HOOK, Math.min(result, 0));
  return result;
}

/**
 * kvmi_unhook: asks the receiver to go, waits until nobody uses the block, drops all policy, takes the notifier away.
 *
 * @param interrupted  the wait for the last reference is interrupted by a signal. The reference build ignores that and
 *                     frees under its users (RC-23); ours waits uninterruptibly, so it makes no difference
 * @returns false when nothing was hooked
 */
export function* unhook(actor: Actor, vm: Vm, interrupted = false): Path<boolean> {
  const { mem } = vm;
  actor.tracer?.begin(TRACE_UNHOOK);
  yield* mutexLock(actor, vm.kvmiLock);
  const hooked = mem.load(vm.word('KVMI_HOOKED')) !== 0;
  if (hooked) {
    yield* shutConnection(vm);
    if (!(interrupted && vm.quirk(REF_KILLABLE_COMPLETION))) yield* waitForCompletion(actor, vm.kvmiComplete);
    if (mem.load(vm.word('KVMI_REF')) !== 0) {
      vm.onFinding({
        id: 'I12',
        detail: `unhook frees the introspection block with ${mem.load(vm.word('KVMI_REF'))} references left`,
      });
    }
    // ORDER: policy before the node. A slot that changes between the two would not be followed (RC-83).
    yield* clearAllAccess(actor, vm);
    yield* unregisterNotifier(actor, vm, mem.load(vm.word('KVMI_NODE')) - 1);
    mem.store(vm.word('KVMI_NODE'), 0);
    yield writing(vm.word('KVMI_HOOKED'));
    mem.store(vm.word('KVMI_HOOKED'), 0);
  }
  yield* mutexUnlock(actor, vm.kvmiLock);
  actor.tracer?.end(TRACE_UNHOOK);
  return hooked;
}

/** kvmi_sock_shutdown: no message goes either way from now on; the receiver finds out when it looks. */
export function* shutConnection(vm: Vm): Path<void> {
  const { mem } = vm;
  yield updating(vm.word('KVMI_SHUT'));
  mem.store(vm.word('KVMI_SHUT'), 1);
  yield* ringBell(vm);
}

/** Wakes the receiver. */
export function* ringBell(vm: Vm): Path<void> {
  const bell = vm.word('RECEIVER_BELL');
  yield updating(bell);
  vm.mem.add(bell, 1);
  // ORDER: the bell before the flag. Whoever stops looking clears the flag, and then looks once more.
  if (vm.mem.load(vm.word('RECEIVER_LOOKS')) !== 0) return;
  yield notifying(bell);
  vm.mem.notify(bell);
}

/**
 * KVM_INTROSPECTION_COMMAND and KVM_INTROSPECTION_EVENT: allows the tool a command or an event, or takes it away.
 *
 * @param id    −1 for all
 * @param wire  whose ids these are. One that it does not have is allowed to no effect
 * @returns 0, −EINVAL, −EFAULT when nothing is hooked, −EPERM for a command that cannot be disallowed
 */
export function* allow(
  actor: Actor,
  vm: Vm,
  what: 'command' | 'event',
  id: number,
  allowed: number,
  wire: WireVersion = 12,
): Path<number> {
  const { commands, events, commandLimit, eventLimit } = wireOfVersion(wire);
  const limit = what === 'command' ? commandLimit : eventLimit;
  if (!Number.isInteger(id) || id < -1 || id >= limit || (allowed !== 0 && allowed !== 1)) return -EINVAL;
  const inMachine = id < 0 ? id : (what === 'command' ? commands : events).get(id)?.machine;
  yield* mutexLock(actor, vm.kvmiLock);
  let result = 0;
  if (vm.mem.load(vm.word('KVMI_HOOKED')) === 0) result = -EFAULT;
  else if (inMachine === undefined) result = 0;
  else if (what === 'event') yield* setAllowed(vm, vm.word('KVMI_EVENTS'), inMachine, allowed);
  else if (allowed === 0 && ALWAYS_ALLOWED.includes(inMachine)) result = -EPERM;
  else {
    for (const [i, always] of ALWAYS.entries()) {
      if (inMachine < 0 || inMachine >>> 5 === i) {
        yield* setAllowed(vm, commandWord(vm, i), inMachine, allowed, always);
      }
    }
  }
  yield* mutexUnlock(actor, vm.kvmiLock);
  return result;
}

/** `id`: −1 for all of the word. */
function* setAllowed(vm: Vm, word: number, id: number, allowed: number, always = 0): Path<void> {
  const bits = id < 0 ? ~0 : 1 << id;
  yield updating(word);
  const before = vm.mem.load(word);
  vm.mem.store(word, allowed === 1 ? before | bits : (before & ~bits) | always);
}

function commandWord(vm: Vm, index: number): number {
  return vm.word('KVMI_COMMANDS') + 4 * index;
}

/** `id`: inside the machine, as for {@link eventAllowed}. */
export function commandAllowed(vm: Vm, id: number): boolean {
  return ((vm.mem.load(commandWord(vm, id >>> 5)) >>> id) & 1) !== 0;
}

export function eventAllowed(vm: Vm, id: number): boolean {
  return ((vm.mem.load(vm.word('KVMI_EVENTS')) >>> id) & 1) !== 0;
}
