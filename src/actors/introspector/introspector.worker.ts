/** Thread entry of the introspector in a storm: the receiver, with a tool behind it that answers by chance. */
import { STOP_NOW } from '../../shared/layout/vm.ts';
import { Prng } from '../../shared/prng.ts';
import { drive } from '../../shared/sync/point.ts';
import { stormPage } from '../../storm.ts';
import { startThread, type ThreadResult, type ThreadTask } from '../thread.ts';
import { KVMI_EVENT_ACTION_CONTINUE, KVMI_EVENT_ACTION_RETRY, KVMI_VCPU_EVENT_PF } from './kvmi/constants.ts';
import { Session } from './session.ts';

/** How long it sleeps before it looks whether the machine has stopped. */
const LOOK_AGAIN_MS = 50;
const FULL = 7;

export default function introspectorThread(task: ThreadTask): ThreadResult {
  const { vm, actor, findings } = startThread(task);
  const { mem } = vm;
  const session = new Session(actor, vm);
  const prng = new Prng(task.seed);
  const bell = vm.word('RECEIVER_BELL');
  const allow = (gpa: number, access: number) =>
    drive(actor, session.setPageAccess(gpa, access, { needSlot: false }));

  for (let vcpu = 0; vcpu < vm.vcpuCount; vcpu++) {
    drive(actor, session.controlEvents(vcpu, KVMI_VCPU_EVENT_PF, true));
  }
  for (let n = 0; n < 24; n++) allow(stormPage(prng) * 4096, prng.below(FULL));

  while (mem.load(vm.word('STOP')) !== STOP_NOW && mem.load(vm.word('LIVE_VCPUS')) > 0) {
    const seen = mem.load(bell);
    for (
      let message = drive(actor, session.poll());
      message !== null;
      message = drive(actor, session.poll())
    ) {
      if (message.kind === 'answer') {
        if (message.error !== 0) {
          vm.onFinding({
            id: 'I9',
            detail: `vCPU ${message.vcpu} refused a command: error ${message.error}`,
          });
        }
        continue;
      }
      const { vcpu, seq, pf } = message.event;
      let action = KVMI_EVENT_ACTION_CONTINUE;
      if (pf !== null && prng.chance(0.25)) {
        // RETRY needs a change, or the same event comes for ever; another page is restricted in its place.
        allow(pf.gpa, FULL);
        allow(stormPage(prng) * 4096, prng.below(FULL));
        action = KVMI_EVENT_ACTION_RETRY;
      } else if (prng.chance(0.1)) {
        allow(stormPage(prng) * 4096, prng.below(FULL));
      }
      const error = drive(actor, session.reply(vcpu, seq, action));
      if (error !== 0)
        vm.onFinding({ id: 'I9', detail: `reply to event ${seq} of vCPU ${vcpu} refused: ${error}` });
    }
    Atomics.wait(mem.i32, bell >>> 2, seen, LOOK_AGAIN_MS);
  }
  drive(actor, session.close());
  return { findings };
}
