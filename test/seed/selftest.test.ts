/**
 * The page-fault case of the kernel's KVMI selftest (test_event_pf), step by step, with its guest: the steps of test_pf and
 * cbk_test_event_pf are quoted beside what we do.
 *
 * @source tools/testing/selftests/kvm/x86_64/kvmi_test.c as the seed changes it
 */
import test from 'ava';
import {
  KVMI_VCPU_EVENT_PF,
  KVMI_EVENT_ACTION_RETRY as RETRY,
} from '../../src/actors/introspector/kvmi/constants.ts';
import { loadImage, writeImage } from '../../src/image/load.ts';
import { VCPU_EXITED } from '../../src/shared/layout/vcpu.ts';
import { type Path, stepping } from '../../src/shared/sync/point.ts';
import { GuestMachine, LOW_PAGES, VICTIM_GPA } from '../support/guest-machine.ts';

const IMAGE = new URL('../../../test/guests/images/pf-selftest.elf', import.meta.url).pathname;
const R = 1;
const W = 2;
const X = 4;
const GUEST_TEST_PF = 6;
const EXIT = 0xff;
/** Where the guest looks for its orders: test_id, and behind it "done". */
const MAILBOX = 0x1ff000;
const TEST_GPA = VICTIM_GPA;

test('test_event_pf', (t) => {
  for (let seed = 1; seed <= 10; seed++) {
    const machine = new GuestMachine();
    const { commands, vm } = machine;
    const image = loadImage(IMAGE, { ramBytes: LOW_PAGES * 4096, vcpuCount: 1 });
    writeImage(image, machine.ram(0, LOW_PAGES * 4096));
    machine.boot(machine.vcpus[0]!, image.entry);
    t.is(machine.hook() > 0, true);
    const order = (id: number) => vm.mem.store(vm.layout.ram + MAILBOX, id);
    const done = () => vm.mem.load(vm.layout.ram + MAILBOX + 4);
    const testByte = machine.ram(TEST_GPA, 1);

    function* testPf(): Path<void> {
      // set_page_access(test_gpa, KVMI_PAGE_ACCESS_R);
      t.is(yield* commands.setPageAccess(TEST_GPA, R), 0);
      // enable_vcpu_event(vm, event_id);
      yield* commands.controlEvents(0, KVMI_VCPU_EVENT_PF, true);
      // *((uint8_t *)test_hva) = ~GUEST_TEST_PF;
      testByte[0] = ~GUEST_TEST_PF;
      // vcpu_thread = start_vcpu_worker(&data);
      order(GUEST_TEST_PF);
      // receive_vcpu_event, cbk: the tool below.  wait_vcpu_worker(vcpu_thread);
      while (done() === 0) yield stepping();
      // TEST_ASSERT(*((uint8_t *)test_hva) == GUEST_TEST_PF)
      t.is(testByte[0], GUEST_TEST_PF);
      // disable_vcpu_event(vm, event_id);
      yield* commands.controlEvents(0, KVMI_VCPU_EVENT_PF, false);
      // set_page_access(test_gpa, R | W | X);
      t.is(yield* commands.setPageAccess(TEST_GPA, R | W | X), 0);
      order(0);
      while (done() !== 0) yield stepping();
      order(EXIT);
    }

    machine.together(
      seed,
      machine.toolRunner(function* (event, session) {
        // receive_vcpu_event(&hdr, &ev.vcpu_ev, sizeof(ev), event_id);
        t.is(event.event, KVMI_VCPU_EVENT_PF);
        // TEST_ASSERT(ev.pf.gpa == test_gpa && ev.pf.gva == test_gva)
        t.deepEqual(event.pf, { gva: BigInt(TEST_GPA), gpa: TEST_GPA, access: W });
        t.is(testByte[0], ~GUEST_TEST_PF & 0xff, 'not stored yet');
        // cbk_test_event_pf: set_page_access(test_gpa, R | W), while the vCPU is blocked
        t.is(yield* session.setPageAccess(TEST_GPA, R | W), 0);
        // reply_to_event(..., KVMI_EVENT_ACTION_RETRY, ...);
        return RETRY;
      }),
      machine.guestRunner(0, { slice: 64 }),
      machine.controlRunner(testPf()),
    );
    t.is(machine.events.length, 1, 'exactly one event');
    t.is(machine.state(0), VCPU_EXITED);
    t.is(machine.exitCode(0), 0);
    t.deepEqual(machine.verdict(), [], `seed ${seed}`);
  }
});
