/**
 * The two forms of the protocol, wire-12 and wire-7: their vocabulary as tables, and in what their rules differ. The
 * machine itself knows one set of numbers for commands and events, wire-12's and a few beyond; a wire translates.
 *
 * @source kernel branches kvmi-v12 and kvmi-v7: virt/kvm/introspection/kvmi_msg.c, arch/x86/kvm/kvmi.c
 */
import { EINVAL, ENOMEM } from '../../mmu/errno.ts';
import type { Vm } from '../../mmu/vm.ts';
import type { WireVersion } from '../introspector.api.ts';
import { KVMI_NEXT_COMMAND, KVMI_NEXT_EVENT, KVMI_VCPU_EVENT } from './constants.ts';
import { KVMI_EVENT_REPLY, KVMI_NUM_EVENTS, KVMI_NUM_MESSAGES } from './constants-7.ts';
import { COMMANDS, type CommandSpec, EVENTS, type EventSpec } from './protocol.ts';
import { COMMANDS_7, EVENTS_7 } from './protocol-7.ts';

export interface Wire {
  readonly version: WireVersion;
  /** By the wire's ids. */
  readonly commands: ReadonlyMap<number, CommandSpec>;
  readonly events: ReadonlyMap<number, EventSpec>;
  /** By the machine's ids. */
  readonly commandOf: ReadonlyMap<number, CommandSpec>;
  readonly eventOf: ReadonlyMap<number, EventSpec>;
  /** Ids end before these. */
  readonly commandLimit: number;
  readonly eventLimit: number;
  /** Id of a reply to an event. */
  readonly eventReply: number;
  readonly rules: WireRules;
}

/** What the kernels of the two wires make of the same thing. */
export interface WireRules {
  /** A flag above 1 is refused; otherwise anything but 0 is "on". */
  readonly flagsAreBits: boolean;
  /** A message that is shorter than a fixed struct is refused where wire-12 looks; otherwise zeros follow. */
  readonly wholeStructs: boolean;
  /** A tool needs to be allowed TRAP to inject exceptions, SINGLESTEP to step. */
  readonly commandsNeedEvents: boolean;
  /** An MSR that does not exist refuses GET_REGISTERS; otherwise it and those after it read as 0. */
  readonly unknownMsrRefused: boolean;
  /** The error of GET_REGISTERS when its answer would be too long. */
  readonly tooManyMsrs: number;
  /** MSRs that CONTROL_MSR takes: first and last of each range. */
  readonly msrRanges: readonly (readonly [first: number, last: number])[];
  /** SINGLESTEP events have to be enabled, besides the command that steps. */
  readonly singlestepEnabled: boolean;
  /** An action that the event does not have closes the connection; otherwise it is none. */
  readonly wrongActionCloses: boolean;
}

export const WIRE_12: Wire = wire({
  version: 12,
  commands: COMMANDS,
  events: EVENTS,
  commandLimit: KVMI_NEXT_COMMAND,
  eventLimit: KVMI_NEXT_EVENT,
  eventReply: KVMI_VCPU_EVENT,
  rules: {
    flagsAreBits: true,
    wholeStructs: true,
    commandsNeedEvents: true,
    unknownMsrRefused: true,
    tooManyMsrs: -EINVAL,
    msrRanges: [
      [0, 0x1fff],
      [0xc000_0000, 0xc000_1fff],
    ],
    singlestepEnabled: false,
    wrongActionCloses: true,
  },
});

export const WIRE_7: Wire = wire({
  version: 7,
  commands: COMMANDS_7,
  events: EVENTS_7,
  commandLimit: KVMI_NUM_MESSAGES,
  eventLimit: KVMI_NUM_EVENTS,
  eventReply: KVMI_EVENT_REPLY,
  rules: {
    flagsAreBits: false,
    wholeStructs: false,
    commandsNeedEvents: false,
    unknownMsrRefused: false,
    tooManyMsrs: -ENOMEM,
    // Without the first of the upper range and the last of both: kvmi_msr_valid.
    msrRanges: [
      [0, 0x1ffe],
      [0xc000_0001, 0xc000_1ffe],
    ],
    singlestepEnabled: true,
    wrongActionCloses: false,
  },
});

export function wireOfVersion(version: WireVersion): Wire {
  return version === 7 ? WIRE_7 : WIRE_12;
}

/** The wire of the present session. Tools in process count as wire-12. */
export function wireOf(vm: Vm): Wire {
  // SHARED: written before the first message of a session that could depend on it.
  return vm.mem.load(vm.word('KVMI_WIRE')) === 7 ? WIRE_7 : WIRE_12;
}

function wire(given: Omit<Wire, 'commandOf' | 'eventOf'>): Wire {
  return { ...given, commandOf: byMachineId(given.commands), eventOf: byMachineId(given.events) };
}

function byMachineId<Spec extends { readonly machine: number }>(
  specs: ReadonlyMap<number, Spec>,
): ReadonlyMap<number, Spec> {
  return new Map([...specs.values()].map((spec) => [spec.machine, spec]));
}
