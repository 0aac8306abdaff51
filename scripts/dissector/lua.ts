/** The protocol's tables as Lua: what the dissector's engine reads. */
import * as constants from '../../src/actors/introspector/kvmi/constants.ts';
import * as constants7 from '../../src/actors/introspector/kvmi/constants-7.ts';
import {
  COMMANDS,
  EVENTS,
  kvmi_error_code,
  kvmi_event_hdr,
  kvmi_msg_hdr,
  kvmi_vcpu_event,
  kvmi_vcpu_event_reply,
  kvmi_vcpu_hdr,
  TAILS,
  type Tail,
} from '../../src/actors/introspector/kvmi/protocol.ts';
import { COMMANDS_7, EVENTS_7, kvmi_event, TAILS_7 } from '../../src/actors/introspector/kvmi/protocol-7.ts';
import type { AnyWireStruct, Scalar, WireField } from '../../src/actors/introspector/kvmi/wire-struct.ts';
import { DISSECTORS } from '../../src/actors/introspector/wire/capture.ts';
import {
  qemu_vmi_from_introspector,
  qemu_vmi_to_introspector,
} from '../../src/actors/introspector/wire/handshake.ts';
import * as errno from '../../src/actors/mmu/errno.ts';

/** One wire, as the dissector has it. */
interface WireTables {
  readonly title: string;
  readonly commands: ReadonlyMap<number, CommandTable>;
  readonly events: ReadonlyMap<number, EventTable>;
  /** By message id: the structs before the event's own, or before what a reply carries besides. */
  readonly eventMessages: ReadonlyMap<number, readonly AnyWireStruct[]>;
  readonly eventReplies: ReadonlyMap<number, readonly AnyWireStruct[]>;
  /** By the machine's numbers. */
  readonly tails: ReadonlyMap<number, Tail>;
}

interface CommandTable {
  readonly name: string;
  /** Its number inside the machine. */
  readonly machine: number;
  readonly answers: 'vm' | 'vcpu';
  readonly request: AnyWireStruct | null;
  readonly reply: AnyWireStruct | null;
}

interface EventTable {
  readonly name: string;
  readonly data: AnyWireStruct | null;
  readonly reply: AnyWireStruct | null;
}

const WIRES: Readonly<Record<string, WireTables>> = {
  [DISSECTORS[12]]: {
    title: 'wire-12',
    commands: COMMANDS,
    events: EVENTS,
    eventMessages: new Map([
      [constants.KVMI_VM_EVENT, [kvmi_event_hdr]],
      [constants.KVMI_VCPU_EVENT, [kvmi_event_hdr, kvmi_vcpu_event]],
    ]),
    eventReplies: new Map([[constants.KVMI_VCPU_EVENT, [kvmi_vcpu_hdr, kvmi_vcpu_event_reply]]]),
    tails: TAILS,
  },
  [DISSECTORS[7]]: {
    title: 'wire-7',
    commands: COMMANDS_7,
    events: EVENTS_7,
    eventMessages: new Map([[constants7.KVMI_EVENT, [kvmi_event]]]),
    eventReplies: new Map([[constants7.KVMI_EVENT_REPLY, [kvmi_vcpu_hdr, kvmi_vcpu_event_reply]]]),
    tails: TAILS_7,
  },
};

/** What numbers of a field, or of a struct's field, stand for: a table below, or the wire's commands or events. */
const NAMES: Readonly<Record<string, string>> = {
  'kvmi_msg_hdr.id': 'commands',
  'kvmi_vm_check_command.id': 'commands',
  'kvmi_vm_check_event.id': 'events',
  event: 'events',
  event_id: 'events',
  action: 'actions',
  access: 'access',
  descriptor: 'descriptors',
  err: 'errors',
};

/** Fields in the list of packets, in this order. */
const SHOWN = 'vcpu gva gpa access cr msr xcr descriptor event_id nr enable size count action'.split(' ');
/** Shown in decimal; the others in hexadecimal, with decimals behind if they are short. */
const DECIMAL = new Set(
  'id seq size vcpu count nmsrs mode action event event_id enable wait vcpu_count version max_msg_size err struct_size cr xcr nr insn_len tsc_speed start_time'.split(
    ' ',
  ),
);

/** The whole file. `engine`: the part that is Lua already. */
export function dissector(engine: string): string {
  const structs = new Map<string, AnyWireStruct>();
  const names = new Map<AnyWireStruct, string>();
  const use: Use = (struct) => {
    const known = names.get(struct);
    if (known !== undefined) return known;
    // The two wires have structs of one name and two shapes.
    const name = structs.has(struct.name) ? `${struct.name} of wire-7` : struct.name;
    names.set(struct, name);
    structs.set(name, struct);
    for (const field of Object.values(struct.fields)) {
      if (typeof field === 'object' && 'bytes' in field && field.of !== undefined) use(field.of);
    }
    return name;
  };
  const wires = Object.entries(WIRES).map(([name, wire]) => [name, wireTable(wire, use)] as const);
  const [header, vcpuHeader, error] = [kvmi_msg_hdr, kvmi_vcpu_hdr, kvmi_error_code].map(use);
  const handshake = {
    dissector: DISSECTORS.handshake,
    from_vm: use(qemu_vmi_to_introspector),
    from_tool: use(qemu_vmi_from_introspector),
  };
  const tables = {
    STRUCTS: Object.fromEntries([...structs].map(([name, struct]) => [name, structTable(struct)])),
    FIELDS: fieldTable(structs.values()),
    WIRES: Object.fromEntries(wires),
    NAMES,
    TABLES: nameTables(),
    SHOWN,
    HEADER: header,
    VCPU_HEADER: vcpuHeader,
    ERROR: error,
    HANDSHAKE: handshake,
  };
  const lines = Object.entries(tables).map(([name, value]) => `local ${name} = ${lua(value, 0)}`);
  return `${HEAD}\n${lines.join('\n')}\n\n${engine}`;
}

const HEAD = `-- KVM introspection (KVMI) for Wireshark, as faultline --pcap writes it. To use it, put this file into the folder that
-- Wireshark names as "Personal Lua Plugins", or: tshark -X lua_script:kvmi.lua -r FILE
--
-- Made by npm run build:dissector from the simulator's own protocol tables: change those, not this.
`;

type Use = (struct: AnyWireStruct) => string;

function wireTable(wire: WireTables, use: Use): object {
  const optional = (struct: AnyWireStruct | null) => (struct === null ? undefined : use(struct));
  const tail = (what: AnyWireStruct | 'bytes' | undefined) =>
    what === undefined || what === 'bytes' ? what : use(what);
  const messages = (of: WireTables['eventMessages'], reply: boolean) =>
    new Map([...of].map(([id, structs]) => [id, { structs: structs.map(use), reply: reply || undefined }]));
  return {
    title: wire.title,
    commands: new Map(
      [...wire.commands].map(([id, { name, machine, answers, request, reply }]) => [
        id,
        {
          name,
          vcpu: answers === 'vcpu' || undefined,
          request: optional(request),
          request_tail: tail(wire.tails.get(machine)?.request),
          reply: optional(reply),
          reply_tail: tail(wire.tails.get(machine)?.reply),
        },
      ]),
    ),
    events: new Map(
      [...wire.events].map(([id, { name, data, reply }]) => [
        id,
        { name, data: optional(data), reply: optional(reply) },
      ]),
    ),
    event_messages: messages(wire.eventMessages, false),
    event_replies: messages(wire.eventReplies, true),
  };
}

const BYTES: Readonly<Record<Scalar, number>> = { u8: 1, u16: 2, u32: 4, s32: 4, u64: 8 };

function structTable({ fields, bytes }: AnyWireStruct): object {
  let at = 0;
  const places = Object.entries(fields).map(([name, field]) => {
    const place = { name, at, ...kindOf(field) };
    at += place.size;
    return place;
  });
  return { size: bytes, fields: places };
}

function kindOf(field: WireField): { kind: string; size: number; of?: string } {
  if (typeof field === 'string') return { kind: field, size: BYTES[field] };
  if ('pad' in field) return { kind: 'pad', size: field.pad };
  return {
    kind: 'blob',
    size: field.bytes,
    ...(field.of === undefined ? {} : { of: field.of.name }),
  };
}

/** A field for each name, wide enough for all structs that have it. */
function fieldTable(structs: Iterable<AnyWireStruct>): Record<string, { type: string; base: string }> {
  const table: Record<string, { type: string; base: string }> = {};
  for (const { fields } of structs) {
    for (const [name, field] of Object.entries(fields)) {
      if (typeof field === 'object') {
        if ('bytes' in field && field.of === undefined) table[name] = { type: 'bytes', base: 'NONE' };
        continue;
      }
      const wide = field === 'u64' || table[name]?.type === 'uint64';
      const type = wide ? 'uint64' : field === 's32' ? 'int32' : 'uint32';
      table[name] = { type, base: DECIMAL.has(name) ? 'DEC' : wide ? 'HEX' : 'HEX_DEC' };
    }
  }
  return table;
}

function nameTables(): Record<string, ReadonlyMap<number, string>> {
  const named = (prefix: string) =>
    new Map(
      Object.entries(constants)
        .filter(([name]) => name.startsWith(prefix))
        .map(([name, value]) => [Number(value), name.slice(prefix.length)]),
    );
  const { KVMI_PAGE_ACCESS_R: R, KVMI_PAGE_ACCESS_W: W, KVMI_PAGE_ACCESS_X: X } = constants;
  const access = (bits: number) =>
    [[R, 'r'] as const, [W, 'w'] as const, [X, 'x'] as const]
      .map(([bit, letter]) => ((bits & bit) === 0 ? '-' : letter))
      .join('');
  return {
    actions: named('KVMI_EVENT_ACTION_'),
    descriptors: named('KVMI_DESC_'),
    access: new Map(Array.from({ length: (R | W | X) + 1 }, (_, bits) => [bits, access(bits)])),
    errors: new Map([
      [0, 'done'],
      ...Object.entries(errno).map(([name, value]) => [-value, name] as [number, string]),
    ]),
  };
}

/** A value as Lua has it; what is undefined is left out. */
function lua(value: unknown, depth: number): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  const entries: string[] = Array.isArray(value)
    ? value.map((one) => lua(one, depth + 1))
    : [...(value instanceof Map ? value : Object.entries(value as object))]
        .filter(([, one]) => one !== undefined)
        .map(([key, one]) => `${luaKey(key)} = ${lua(one, depth + 1)}`);
  const flat = `{ ${entries.join(', ')} }`;
  if (entries.length === 0) return '{}';
  if (depth > 0 && flat.length <= 110 && !flat.includes('\n')) return flat;
  const indent = '  '.repeat(depth + 1);
  return `{\n${entries.map((entry) => `${indent}${entry},\n`).join('')}${'  '.repeat(depth)}}`;
}

/** Of Lua's own words those that a struct of C may have for a name. */
const LUA_WORDS = /^(?:and|elseif|end|function|in|local|nil|not|or|repeat|then|until)$/;

function luaKey(key: unknown): string {
  if (typeof key === 'number') return `[${key}]`;
  const name = String(key);
  return /^[A-Za-z_]\w*$/.test(name) && !LUA_WORDS.test(name) ? name : `[${JSON.stringify(name)}]`;
}
