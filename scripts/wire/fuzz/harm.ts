/** What a tool may not do here because it rightly could: ruin the guest, or end it. Such messages are not sent. */
import type { Message } from './bytes.ts';
import { MAILBOX_ACTIONS, MAILBOX_BYTES, MAILBOX_GPA, SCRATCH_BYTES, SCRATCH_GPA } from './conversations.ts';
import type { Oracle } from './oracle.ts';
import type { FuzzedMachine } from './rules.ts';

const CRASH = 2;
/** Exceptions that the guest has handlers for. */
const HANDLED = [3, 6];

interface Ids {
  readonly write: number;
  readonly setRegisters: number;
  readonly inject: number;
  readonly pfEvent: number;
}
const IDS: Readonly<Record<7 | 12, Ids>> = {
  7: { write: 18, setRegisters: 14, inject: 19, pfEvent: 6 },
  12: { write: 14, setRegisters: 9, inject: 15, pfEvent: 17 },
};

export function harmful(message: Message, oracle: Oracle, machine: FuzzedMachine): boolean {
  const { id, seq, payload } = message;
  const { version, eventReply, vm } = oracle.rules;
  const ids = IDS[version];
  if (id === ids.write) {
    const fate = vm.get(id)!(payload, machine);
    if (fate === 'close' || !fate.errors.includes(0)) return false;
    const [gpa, size] = [payload.u64(0), version === 7 ? payload.u64(8) : BigInt(payload.u16(8))];
    return !mayBeWritten(gpa, size, payload.u32(16), machine.vcpuCount);
  }
  const vcpu = payload.u16(0);
  if (vcpu >= machine.vcpuCount || !payload.zero(2, 8)) return false;
  const body = payload.from(8);
  if (id === ids.setRegisters) {
    const refused = version === 12 && body.length < 144;
    const same = oracle.openOf(vcpu)?.registers;
    return !refused && !(same !== undefined && Buffer.from(body.bytes).equals(same));
  }
  if (id === ids.inject) return !HANDLED.includes(body.u8(0));
  if (id !== eventReply) return false;
  if (body.u8(0) === CRASH) return true;
  const event = oracle.open(seq);
  // An event that is on its way could be any.
  if (event === undefined) return body.length > 8;
  const { valueAt } = oracle.rules.events.get(event.event)!;
  if (valueAt !== undefined) return body.length < 16 || body.u64(8) !== event.data.u64(valueAt);
  // What the guest is to read instead of what is there.
  return event.event === ids.pfEvent && body.u32(8 + 8) !== 0;
}

function mayBeWritten(gpa: bigint, size: bigint, value: number, vcpuCount: number): boolean {
  if (gpa >= SCRATCH_GPA && gpa + size <= SCRATCH_GPA + SCRATCH_BYTES) return true;
  const box = Number(gpa) - MAILBOX_GPA;
  const isBox = box >= 0 && box % MAILBOX_BYTES === 0 && box < vcpuCount * MAILBOX_BYTES;
  return isBox && size === 4n && value < MAILBOX_ACTIONS;
}
