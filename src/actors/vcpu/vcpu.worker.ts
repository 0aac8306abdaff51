/** Thread entry of one vCPU: serves requests until the machine starts, then runs its guest to its end. */
import { VCPU_EXITED, VCPU_RUNNING, VCPU_STATE_NAMES } from '../../shared/layout/vcpu.ts';
import { STOP_NOW } from '../../shared/layout/vm.ts';
import { drive, type Path, reading, waiting } from '../../shared/sync/point.ts';
import { ringBell } from '../introspector/hook.ts';
import { endIntrospection } from '../introspector/vcpu-side.ts';
import { requestWord } from '../mmu/requests.ts';
import { startThread } from '../thread.ts';
import { type Access, runAccess } from './access-program.ts';
import { ConsoleLines } from './console.ts';
import { serveRequests } from './entry.ts';
import { Core } from './isa/core.ts';
import { resetMsrs } from './msr-file.ts';
import { Platform } from './platform/platform.ts';
import { runVcpu } from './run-loop.ts';
import { flushTlb } from './tlb.ts';
import type { ProgramModule, VcpuTask } from './vcpu.api.ts';
import { Vcpu } from './vcpu.ts';

export default async function vcpuThread(task: VcpuTask): Promise<void> {
  const { vm, actor, announce, opcodes, unknown, compiled } = startThread(task);
  const { mem } = vm;
  const console = new ConsoleLines((text) => announce('console', { vcpu: task.index, text }));
  const vcpu = new Vcpu(vm, task.index, actor, {
    seed: task.seed,
    console: (byte) => console.put(byte),
    ...(task.core === null ? {} : { core: new Core(task.core, mem) }),
    ...(task.jit ? { jit: {} } : {}),
  });
  const say = () =>
    announce('vcpuState', {
      vcpu: task.index,
      state: VCPU_STATE_NAMES[mem.load(vcpu.word('STATE'))]!,
    });
  const guest = await guestOf(task, vcpu);
  flushTlb(mem, vcpu.cpu);
  resetMsrs(vcpu);
  if (task.platform !== null) {
    vcpu.platform = new Platform(vcpu, task.platform, (bytes) => announce('serial', { bytes }));
    vcpu.platform.reset();
  }
  if (drive(actor, untilStarted(vcpu))) {
    mem.store(vcpu.word('STATE'), VCPU_RUNNING);
    say();
    drive(actor, guest());
  }
  console.flush();
  vcpu.platform?.flushSerial();
  if (vcpu.jit !== null) compiled({ vcpu: task.index, ...vcpu.jit.counters });
  if (vcpu.unknownPlaces.size > 0) unknown(Object.fromEntries(vcpu.unknownPlaces));
  if (vcpu.undefinedOpcodes.size > 0) opcodes(Object.fromEntries(vcpu.undefinedOpcodes));
  if (mem.load(vcpu.word('STATE')) < VCPU_EXITED) {
    mem.store(vcpu.word('STATE'), vcpu.endState);
  }
  say();
  if (endIntrospection(vm, task.index)) {
    mem.add(vm.word('LIVE_VCPUS'), -1);
    mem.notify(vm.word('PARKED'));
    drive(actor, ringBell(vm));
  }
}

/**
 * A vCPU that is not started yet takes jobs, pauses and checks all the same (RC-34). False: it must not start.
 *
 * @locking begins and ends outside kvm.srcu
 */
function* untilStarted(vcpu: Vcpu): Path<boolean> {
  const { vm, mem, actor } = vcpu;
  const wake = vcpu.word('WAKE_SEQ');
  const requests = requestWord(vm, vcpu.index);
  for (;;) {
    // ORDER: the wake word before what it announces. Whoever changes that bumps the word afterwards.
    yield reading(wake);
    const seen = mem.load(wake);
    yield reading(requests);
    if (mem.load(requests) !== 0) {
      yield* vcpu.enterSrcu();
      const goesOn = yield* serveRequests(vcpu);
      yield* vcpu.leaveSrcu();
      if (!goesOn) return false;
      continue;
    }
    if (mem.load(vm.word('STOP')) === STOP_NOW) return false;
    if (mem.load(vm.word('STARTED')) === 1) return true;
    actor.checks?.mayBlock('the start');
    actor.expect = seen;
    yield waiting(wake);
  }
}

/** What this vCPU runs: begins and ends outside kvm.srcu, and leaves the reason in STATE. */
async function guestOf(task: VcpuTask, vcpu: Vcpu): Promise<() => Path<void>> {
  const { program, instructionLimit } = task;
  if (program === null) {
    const limits = Number.isFinite(instructionLimit) ? { instructions: BigInt(instructionLimit) } : {};
    return () => runVcpu(vcpu, limits);
  }
  const { default: accesses } = (await import(program.href)) as { default: ProgramModule };
  return () => runAccesses(vcpu, accesses(vcpu.index, program.options));
}

function* runAccesses(vcpu: Vcpu, accesses: Iterable<Access>): Path<void> {
  const { vm, mem } = vcpu;
  yield* vcpu.enterSrcu();
  let goesOn = true;
  for (const access of accesses) {
    goesOn = mem.load(vm.word('STOP')) !== STOP_NOW && (yield* runAccess(vcpu, access));
    if (!goesOn) break;
  }
  yield* vcpu.leaveSrcu();
  if (goesOn) mem.store(vcpu.word('STATE'), VCPU_EXITED);
}
