/** Introspection over the wire, as the owner of a machine asks for it. */
import { createHash } from 'node:crypto';
import type { Allowed, KvmiEndpoint, KvmiPlan, WireChoice } from '../actors/introspector/introspector.api.ts';
import { WIRE_7, WIRE_12, type Wire } from '../actors/introspector/kvmi/wires.ts';
import { NAME_BYTES_MAX } from '../actors/introspector/wire/handshake.ts';
import { SimError } from '../shared/errors.ts';
import { COMMAND_WORDS } from '../shared/layout/vm.ts';

export interface KvmiOptions {
  /**
   * `unix:PATH` connects to a tool that listens there, again and again until one does, and after each session anew;
   * `listen:PATH` lets tools connect. Absent: tools are given as streams, `machine.introspector.serve(stream)`.
   */
  readonly endpoint?: string;
  /**
   * Form of the protocol: 12 (the kernel series v12; default), 7 (libkvmi's releases and LibVMI), or `auto`, which the
   * tool's first command after GET_VERSION decides for each session.
   */
  readonly wire?: WireChoice;
  /** Name of the machine in the handshake. Default: faultline. */
  readonly name?: string;
  /** 16 bytes in hexadecimal, with or without dashes. Default: made from the name. */
  readonly uuid?: string;
  /** What the tool must know: the handshake compares SHA-1 sums. */
  readonly secret?: string;
  /** Commands the tool may use, by name or id. Default: all. GET_VERSION and the two CHECK commands always. */
  readonly commands?: readonly (string | number)[];
  /** Events the tool may have, by name or id. Default: all. */
  readonly events?: readonly (string | number)[];
  /** How long a tool may take for its half of the handshake, ms. Default: 10 000. */
  readonly handshakeMs?: number;
  /** How long until the next try to connect, ms. Default: 200. */
  readonly reconnectMs?: number;
  /** File to write all that goes over the wire to, as pcapng. */
  readonly pcap?: string;
  /** How long a tool that has enabled the UNHOOK event may take to leave when the machine is stopped, ms. Default: 5 000. */
  readonly unhookMs?: number;
}

const UNHOOK_MS = 5_000;

/** How long the end of a machine waits for its tool, ms. @throws SimError SIM_CONFIG_RANGE */
export function unhookMsOf({ unhookMs = UNHOOK_MS }: KvmiOptions): number {
  checkMs({ unhookMs });
  return unhookMs;
}

// LIMIT: twelve days. Timers of Node count to twice that.
const MS_MAX = 2 ** 30;

function checkMs(durations: Readonly<Record<string, number>>): void {
  for (const [name, ms] of Object.entries(durations)) {
    if (ms >= 0 && ms <= MS_MAX) continue;
    throw new SimError('SIM_CONFIG_RANGE', `kvmi.${name}: ${ms}`, {
      hint: `give 0 to ${MS_MAX} milliseconds`,
    });
  }
}

function checkName(name: string): void {
  const bytes = Buffer.byteLength(name);
  if (bytes <= NAME_BYTES_MAX && !name.includes('\0')) return;
  throw new SimError('SIM_CONFIG_RANGE', `kvmi.name has ${bytes} bytes`, {
    hint: `the handshake has room for ${NAME_BYTES_MAX}, none of them NUL`,
  });
}

/** @throws SimError SIM_USAGE, SIM_CONFIG_RANGE */
export function planKvmi(options: KvmiOptions, maxGpa: number): KvmiPlan {
  const { name = 'faultline', handshakeMs = 10_000, reconnectMs = 200 } = options;
  checkName(name);
  checkMs({ handshakeMs, reconnectMs });
  return {
    wire: wireChoice(options.wire),
    endpoint: options.endpoint === undefined ? null : parseEndpoint(options.endpoint),
    identity: {
      uuid: parseUuid(options.uuid, name),
      name,
      startTime: Math.floor(Date.now() / 1000),
      maxGpa,
    },
    secret: options.secret ?? null,
    handshakeMs,
    reconnectMs,
    pcap: options.pcap ?? null,
  };
}

/** @throws SimError SIM_USAGE for a name that none has */
export function planAllowed(options: KvmiOptions | undefined): Allowed {
  const wires = wiresOf(wireChoice(options?.wire));
  const commands = options?.commands?.flatMap((one) =>
    idsOf(
      'command',
      one,
      wires.flatMap((wire) => [...wire.commands.values()]),
    ),
  );
  const events = options?.events?.flatMap((one) =>
    idsOf(
      'event',
      one,
      wires.flatMap((wire) => [...wire.events.values()]),
    ),
  );
  return {
    commands: Array.from({ length: COMMAND_WORDS }, (_, word) =>
      commands === undefined ? ~0 : idBits(commands.filter((id) => id >>> 5 === word)),
    ),
    events: events === undefined ? ~0 : idBits(events),
  };
}

/** @throws SimError SIM_USAGE */
function wireChoice(choice: unknown): WireChoice {
  if (choice === undefined) return 12;
  for (const known of [12, 7, 'auto'] as const) if (String(choice) === String(known)) return known;
  throw new SimError('SIM_USAGE', `there is no KVMI wire '${choice}'`, {
    hint: 'write 12, 7 (libkvmi up to master, LibVMI), or auto',
  });
}

/** In whose words commands and events may be given; numbers are those of the first. */
function wiresOf(choice: WireChoice): readonly Wire[] {
  if (choice === 'auto') return [WIRE_12, WIRE_7];
  return [choice === 7 ? WIRE_7 : WIRE_12];
}

function parseEndpoint(text: string): KvmiEndpoint {
  const parts = /^(unix|listen):(.+)$/s.exec(text);
  if (parts === null) {
    throw new SimError('SIM_USAGE', `'${text}' is no place for an introspection tool`, {
      hint: 'write unix:PATH to connect to a tool, or listen:PATH to let tools connect',
    });
  }
  const path = parts[2]!;
  if (path.includes('\0')) throw new SimError('SIM_USAGE', 'the path of a socket has a NUL in it');
  if (Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX) {
    throw new SimError('SIM_USAGE', `the path of a unix socket has ${Buffer.byteLength(path)} bytes`, {
      hint: `${SOCKET_PATH_BYTES_MAX} are the most`,
    });
  }
  return { kind: parts[1] === 'unix' ? 'connect' : 'listen', path };
}

/** sockaddr_un.sun_path without its NUL. */
const SOCKET_PATH_BYTES_MAX = 107;

function parseUuid(text: string | undefined, name: string): Uint8Array {
  if (text === undefined) return createHash('sha1').update(`faultline ${name}`).digest().subarray(0, 16);
  const digits = text.replaceAll('-', '');
  if (/^[0-9a-f]{32}$/i.test(digits)) return Buffer.from(digits, 'hex');
  throw new SimError('SIM_USAGE', `'${text}' is no UUID`, { hint: 'write 16 bytes in hexadecimal' });
}

function idBits(ids: readonly number[]): number {
  return ids.reduce((bits, id) => bits | (1 << id), 0);
}

interface Named {
  readonly id: number;
  readonly name: string;
  readonly machine: number;
}

/** Ids inside the machine: of a number one, of a name all that are called so (GET_INFO: of the VM and of a vCPU). */
function idsOf(what: string, wanted: string | number, known: readonly Named[]): number[] {
  const text = String(wanted).toUpperCase();
  const byNumber = known.find(({ id }) => text === String(id));
  if (byNumber !== undefined) return [byNumber.machine];
  const found = known.filter(({ name }) => namesOf(name).includes(text));
  if (found.length > 0) return found.map(({ machine }) => machine);
  const names = [...new Set(known.map(({ name }) => name))].join(', ');
  throw new SimError('SIM_USAGE', `there is no KVMI ${what} '${wanted}'`, { hint: `there are ${names}` });
}

/** KVMI_VCPU_EVENT_PF, VCPU_EVENT_PF, EVENT_PF, PF. */
function namesOf(name: string): string[] {
  const names = [name];
  for (const prefix of [/^KVMI_/, /^(VM|VCPU)_/, /^EVENT_/]) names.push(names.at(-1)!.replace(prefix, ''));
  return names;
}
