/**
 * Which wire a tool speaks. Handshake and GET_VERSION are the same on both; the first command after them tells, by its id
 * and size: libkvmi asks for the number of vCPUs, which is (5, 0 bytes) on wire-7 and (8, 0 bytes) on wire-12.
 */

import type { WireVersion } from '../introspector.api.ts';
import { KVMI_GET_VERSION } from '../kvmi/constants.ts';
import { kvmi_vcpu_hdr } from '../kvmi/protocol.ts';
import { WIRE_7, WIRE_12, type Wire } from '../kvmi/wires.ts';
import type { WireMessage } from './framing.ts';

/** Null: nothing speaks for one rather than the other, as long as all that came is GET_VERSION. */
export function recognise({ id, payload }: WireMessage): WireVersion | null {
  if (id === KVMI_GET_VERSION) return null;
  return fits(WIRE_7, id, payload.length) && !fits(WIRE_12, id, payload.length) ? 7 : 12;
}

/** Is a message of this size a command as a tool would send it? */
function fits(wire: Wire, id: number, bytes: number): boolean {
  const spec = wire.commands.get(id);
  if (spec === undefined) return false;
  // The one command that the receiver carries out for a vCPU's header is wire-7's pause.
  const headed = spec.answers === 'vcpu' || (wire === WIRE_7 && spec.name === 'KVMI_PAUSE_VCPU');
  return bytes === (headed ? kvmi_vcpu_hdr.bytes : 0) + (spec.request?.bytes ?? 0);
}
