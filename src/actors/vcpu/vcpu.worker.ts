/** Thread entry of one vCPU: serves requests until the machine starts, then runs its guest to its end. */
import {
  VCPU_CRASHED,
  VCPU_EXITED,
  VCPU_RUNNING,
  VCPU_STATE_NAMES,
  VCPU_STOPPED,
} from '../../shared/layout/vcpu.ts';
import { STOP_NOW } from '../../shared/layout/vm.ts';
import { drive, type Path, reading, waiting } from '../../shared/sync/point.ts';
import { ringBell } from '../introspector/hook.ts';
import { requestWord } from '../mmu/requests.ts';
import { startThread } from '../thread.ts';
import { type Access, runAccess } from './access-program.ts';
import { serveRequests } from './entry.ts';
import { flushTlb } from './tlb.ts';
import type { ProgramModule, ProgramSource, VcpuTask } from './vcpu.api.ts';
import { Vcpu } from './vcpu.ts';

export default async function vcpuThread(task: VcpuTask): Promise<void> {
  const { vm, actor, announce } = startThread(task);
  const { mem } = vm;
  const vcpu = new Vcpu(vm, task.index, actor);
  const say = () =>
    announce('vcpuState', {
      vcpu: task.index,
      state: VCPU_STATE_NAMES[mem.load(vcpu.word('STATE'))]!,
    });
  const guest = await guestOf(task.program, vcpu);
  flushTlb(mem, vcpu.cpu);
  drive(actor, vcpu.enterSrcu());
  if (drive(actor, untilStarted(vcpu))) {
    mem.store(vcpu.word('STATE'), VCPU_RUNNING);
    say();
    guest();
  }
  drive(actor, vcpu.leaveSrcu());
  if (mem.load(vcpu.word('STATE')) < VCPU_EXITED) {
    mem.store(vcpu.word('STATE'), mem.load(vm.word('DEAD')) === 1 ? VCPU_CRASHED : VCPU_STOPPED);
  }
  say();
  // No job of introspection will be run any more: its block goes with the vCPU.
  mem.store(vcpu.word('KVMI_BLOCK'), 0);
  if (mem.cas(vcpu.word('ENDED'), 0, 1) === 0) {
    mem.add(vm.word('LIVE_VCPUS'), -1);
    mem.notify(vm.word('PARKED'));
    drive(actor, ringBell(vm));
  }
}

/** A vCPU that is not started yet takes jobs, pauses and checks all the same (RC-34). False: it must not start. */
function* untilStarted(vcpu: Vcpu): Path<boolean> {
  const { vm, mem, actor } = vcpu;
  const wake = vcpu.word('WAKE_SEQ');
  for (;;) {
    // ORDER: the wake word before what it announces. Whoever changes that bumps the word afterwards.
    yield reading(wake);
    const seen = mem.load(wake);
    yield reading(requestWord(vm, vcpu.index));
    if (mem.load(requestWord(vm, vcpu.index)) !== 0) {
      if (!(yield* serveRequests(vcpu))) return false;
      continue;
    }
    if (mem.load(vm.word('STOP')) === STOP_NOW) return false;
    if (mem.load(vm.word('STARTED')) === 1) return true;
    yield* vcpu.leaveSrcu();
    actor.expect = seen;
    yield waiting(wake);
    yield* vcpu.enterSrcu();
  }
}

async function guestOf(program: ProgramSource | null, vcpu: Vcpu): Promise<() => void> {
  if (program === null) throw new Error('no guest code yet');
  const { default: accesses } = (await import(program.href)) as { default: ProgramModule };
  return () => runAccesses(vcpu, accesses(vcpu.index, program.options));
}

function runAccesses(vcpu: Vcpu, accesses: Iterable<Access>): void {
  const { vm, mem, actor } = vcpu;
  for (const access of accesses) {
    if (mem.load(vm.word('STOP')) === STOP_NOW || !drive(actor, runAccess(vcpu, access))) return;
  }
  mem.store(vcpu.word('STATE'), VCPU_EXITED);
}
