/**
 * Captures: the file byte by byte as the pcapng draft and Wireshark's exported PDUs have it; and, where tshark is
 * installed, every message of the protocol decoded by the dissector of the package.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { dissector } from '../../scripts/dissector/lua.ts';
import type { WireChoice } from '../../src/actors/introspector/introspector.api.ts';
import { TAILS } from '../../src/actors/introspector/kvmi/protocol.ts';
import { TAILS_7 } from '../../src/actors/introspector/kvmi/protocol-7.ts';
import type { AnyWireStruct } from '../../src/actors/introspector/kvmi/wire-struct.ts';
import { WIRE_7, WIRE_12, type Wire } from '../../src/actors/introspector/kvmi/wires.ts';
import { Capture } from '../../src/actors/introspector/wire/capture.ts';
import type { ByteChannel, ChannelUser } from '../../src/actors/introspector/wire/channel.ts';
import { Machine } from '../../src/index.ts';
import type { AnyVcpuEvent } from '../../src/kvmi-client/events.ts';
import { KvmiListener } from '../../src/kvmi-client/listener.ts';
import { faultline, start, startWithSmallFiles } from '../support/cli.ts';
import { type Packet, readPcapng } from './pcapng-reader.ts';
import { GUEST, join8, rig, TEST_GPA, u8, u16, u32, u64, zeros } from './rig.ts';

const DISSECTOR = 'wireshark/kvmi.lua';
const HAS_TSHARK = spawnSync('tshark', ['--version']).status === 0;

function folder(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'faultline-pcap-'));
  t.teardown(() => rmSync(path, { recursive: true }));
  return path;
}

/** A channel that nobody is at the other end of. */
class Loose implements ByteChannel {
  user: ChannelUser | null = null;
  readonly backlog = 0;
  use(user: ChannelUser): void {
    this.user = user;
  }
  write(): void {}
  pause(): void {}
  resume(): void {}
  shut(): void {}
}

/** What is said in both directions, in a file. */
function captured(
  path: string,
  said: readonly (readonly ['in' | 'out', Uint8Array])[],
  wire: WireChoice = 12,
): void {
  const failed = (error: Error) => {
    throw error;
  };
  const capture = new Capture({ path, peer: 'nobody', wire, failed });
  const loose = new Loose();
  const channel = capture.watch(loose);
  channel.use({ received: () => {}, drained: () => {}, closed: () => {} });
  for (const [way, bytes] of said) {
    if (way === 'in') loose.user!.received(bytes);
    else channel.write(bytes);
  }
  channel.shut();
  capture.close();
}

/** tshark's fields of each packet. */
function decoded(path: string, filter: string, ...fields: string[]): string[][] {
  const words = ['-X', `lua_script:${DISSECTOR}`, '-r', path, '-T', 'fields', '-E', 'occurrence=f'];
  const all = [
    ...words,
    ...(filter === '' ? [] : ['-Y', filter]),
    ...fields.flatMap((field) => ['-e', field]),
  ];
  const { stdout, stderr, status } = spawnSync('tshark', all, { encoding: 'utf8' });
  if (status !== 0 || /Lua:|lua:/.test(stderr)) throw new Error(`tshark: ${status} ${stderr}`);
  return stdout
    .trimEnd()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => line.split('\t'));
}

const message = (id: number, seq: number, ...parts: Uint8Array[]) => {
  const payload = join8(...parts);
  return join8(u16(id), u16(payload.length), u32(seq), payload);
};
const HELLO = [
  'out',
  join8(u32(104), zeros(28), Buffer.from('box'.padEnd(64, '\0')), u64(0x3000000)),
] as const;
const ANSWER = ['in', join8(u32(24), zeros(20))] as const;

test('the dissector in the package is the one that the protocol has', (t) => {
  const engine = readFileSync('scripts/dissector/engine.lua', 'utf8');
  t.true(readFileSync(DISSECTOR, 'utf8') === dissector(engine), 'npm run build:dissector makes it anew');
});

test('a file byte by byte', (t) => {
  const path = join(folder(t), 'a.pcapng');
  captured(path, [ANSWER]);
  const bytes = readFileSync(path);
  const hex = (from: number, to: number) => bytes.subarray(from, to).toString('hex');
  // Section header: type, length 48, byte order, version 1.0, unknown length, shb_userappl "faultline", end, length.
  t.is(
    hex(0, 48),
    `0a0d0d0a300000004d3c2b1a01000000${'ff'.repeat(8)}0400090066617${'56c746c696e65'}0000000000000030000000`,
  );
  // Interface: type, length 56, link type 252, no limit, if_name, if_description, if_tsresol 9, end.
  t.is(
    hex(48, 104),
    '0100000038000000fc0000000000000002000600' +
      `${Buffer.from('kvmi 1\0\0').toString('hex')}03000600${Buffer.from('nobody\0\0').toString('hex')}` +
      '09000100090000000000000038000000',
  );
});

test('messages are put together from pieces, in both directions, to the last byte', (t) => {
  const path = join(folder(t), 'pieces.pcapng');
  const stream = join8(
    ANSWER[1],
    message(2, 1),
    message(12, 2, u64(0x1000), u16(4), zeros(6)),
    u8(14),
    u8(0),
  );
  const said: (readonly ['in' | 'out', Uint8Array])[] = [HELLO];
  for (let at = 0; at < stream.length; at += 3) said.push(['in', stream.subarray(at, at + 3)]);
  said.push(['out', join8(message(2, 1, zeros(24)), message(12, 2, zeros(8), u32(0xdeadbeef)))]);
  captured(path, said);
  const packets = readPcapng(readFileSync(path));
  t.deepEqual(
    packets.map(({ inbound, dissector: name, data, bytes }) => [inbound, name, data.length, bytes]),
    [
      [false, 'kvmi_handshake', 104, 104],
      [true, 'kvmi_handshake', 24, 24],
      [true, 'kvmi12', 8, 8],
      [true, 'kvmi12', 24, 24],
      [false, 'kvmi12', 32, 32],
      [false, 'kvmi12', 20, 20],
      // It had begun and never ended: as much as its header would have been.
      [true, 'kvmi12', 2, 8],
    ],
  );
});

const ones = (count: number) => new Uint8Array(count).fill(1);

/** Every message that there is, with a byte in each place where one may be; and what it is called. */
function everything(wire: Wire): { said: (readonly ['in' | 'out', Uint8Array])[]; names: string[] } {
  const said: (readonly ['in' | 'out', Uint8Array])[] = [HELLO, ANSWER];
  const names: string[] = ['handshake of the VM', 'handshake of the tool'];
  const tails = wire.version === 7 ? TAILS_7 : TAILS;
  let seq = 100;
  const filled = (struct: AnyWireStruct | null): Uint8Array => {
    if (struct === null) return zeros(0);
    const parts = Object.values(struct.fields).map((field) => {
      if (typeof field === 'string') return ones({ u8: 1, u16: 2, u32: 4, s32: 4, u64: 8 }[field]);
      if ('pad' in field) return zeros(field.pad);
      return field.of === undefined ? ones(field.bytes) : filled(field.of);
    });
    return join8(...parts);
  };
  const tail = (what: AnyWireStruct | 'bytes' | undefined) =>
    what === undefined ? zeros(0) : what === 'bytes' ? u32(7) : join8(filled(what), filled(what));
  for (const [id, { name, answers, request, reply, machine }] of wire.commands) {
    seq += 1;
    const head = answers === 'vcpu' ? zeros(8) : zeros(0);
    said.push(['in', message(id, seq, head, filled(request), tail(tails.get(machine)?.request))]);
    said.push(['out', message(id, seq, zeros(8), filled(reply), tail(tails.get(machine)?.reply))]);
    said.push(['out', message(id, seq, u32(-22), zeros(4))]);
    names.push(name, `answer: ${name}`, `answer: ${name}: EINVAL`);
  }
  for (const [id, { name, of, data, reply }] of wire.events) {
    seq += 1;
    const event = wire.version === 7 ? join8(u16(544), u16(0), u8(id), zeros(539)) : join8(u16(id), zeros(6));
    const registers = wire.version === 7 || of === 'vm' ? zeros(0) : join8(u16(544), zeros(542));
    said.push([
      'out',
      message(wire.version === 7 || of === 'vcpu' ? 1 : 0, seq, event, registers, filled(data)),
    ]);
    names.push(name);
    if (of === 'vm') continue;
    said.push(['in', message(wire.eventReply, seq, zeros(8), u8(0), u8(id), zeros(6), filled(reply))]);
    names.push(`reply: ${name}`);
  }
  return { said, names };
}

const tshark = HAS_TSHARK ? test : test.skip;

for (const wire of [WIRE_12, WIRE_7]) {
  tshark(`tshark decodes every command, event and reply of wire-${wire.version}, to the last byte`, (t) => {
    const path = join(folder(t), 'all.pcapng');
    const { said, names } = everything(wire);
    captured(path, said, wire.version);
    const wrong = ['malformed', 'ignored', 'missing', 'unknown', 'not_zero'];
    const rows = decoded(
      path,
      '',
      'kvmi.message',
      '_ws.malformed',
      ...wrong.slice(1).map((field) => `kvmi.${field}`),
    );
    t.deepEqual(
      rows.map(([name]) => name),
      names,
    );
    for (const [name, ...found] of rows) {
      t.deepEqual(
        found.filter((field) => field !== ''),
        [],
        name,
      );
    }
    // What each is an answer to.
    const answers = decoded(path, 'kvmi.request_in', 'frame.number', 'kvmi.request_in');
    for (const [number, asked] of answers) t.is(Number(asked), Number(number) - 1);
    const events = [...wire.events.values()].filter(({ of }) => of === 'vcpu');
    t.is(answers.length, wire.commands.size + events.length);
  });
}

tshark('tshark shows what is wrong with a message', (t) => {
  const path = join(folder(t), 'wrong.pcapng');
  captured(path, [
    HELLO,
    ANSWER,
    ['in', message(0x7777, 1, u8(5))],
    ['out', message(0x7777, 1, u32(-1000), zeros(4))],
    ['in', message(16, 2, u16(1), u8(1), u8(9), zeros(4))],
    ['in', message(16, 3, u16(1))],
    ['in', message(16, 4, zeros(8), u32(1))],
    ['in', message(1, 5, u16(9), zeros(14))],
    ['out', message(1, 5, u32(-22), zeros(4))],
    ['in', u16(12)],
    ['in', join8(u16(16), u32(6), zeros(3))],
  ]);
  const rows = decoded(path, 'kvmi.id', '_ws.col.Info', '_ws.expert.message');
  t.deepEqual(rows, [
    ['command 30583, seq 1', 'Neither command nor event'],
    ['answer: command 30583: ENOSYS, seq 1', 'Refused'],
    ['KVMI_VM_PAUSE_VCPU, seq 2, vcpu 1', 'Padding that is not 0'],
    ['KVMI_VM_PAUSE_VCPU, seq 3, vcpu 1', 'kvmi_vm_pause_vcpu has 8 bytes'],
    ['KVMI_VM_PAUSE_VCPU, seq 4, vcpu 0', ''],
    ['reply: KVMI_VM_EVENT_UNHOOK, seq 5, vcpu 9, action CONTINUE', ''],
    ['answer: command 1: EINVAL, seq 5', 'Refused'],
    ['KVMI_VM_READ_PHYSICAL, seq 6', 'kvmi_vm_read_physical has 16 bytes'],
  ]);
  t.is(decoded(path, 'kvmi.never_whole', 'frame.number').length, 1);
  t.is(decoded(path, 'kvmi.ignored', 'kvmi.ignored')[0]![0], '01000000');
});

test('with --wire auto each connection is taken for what it speaks', (t) => {
  const path = join(folder(t), 'auto.pcapng');
  const hello = (id: number): (readonly ['in' | 'out', Uint8Array])[] => [
    HELLO,
    ANSWER,
    ['in', message(2, 1)],
    ['in', message(id, 2)],
    ['out', message(id, 2, zeros(24))],
  ];
  for (const [id, name] of [
    [5, 'kvmi7'],
    [8, 'kvmi12'],
  ] as const) {
    captured(path, hello(id), 'auto');
    const names = readPcapng(readFileSync(path)).map((packet) => packet.dissector);
    t.deepEqual(names, ['kvmi_handshake', 'kvmi_handshake', 'kvmi12', name, name]);
  }
});

test.serial('a machine writes what it says and hears; two tools are two interfaces', async (t) => {
  const path = join(folder(t), 'run.pcapng');
  const { machine, client, listener, event, guest, remarks } = await rig(t, { kvmi: { pcap: path } });
  await client.controlEvents(0, 'pf', true);
  await client.setPageAccess([{ gpa: BigInt(TEST_GPA), access: 1 }]);
  const store = await guest(GUEST.pf);
  client.reply((await event('pf', 576)) as AnyVcpuEvent, 'continue');
  await store.done();
  await client.close();
  const next = await listener.next();
  await next.getVersion();
  await next.close();
  await machine.stop();
  const packets = readPcapng(readFileSync(path));
  t.true(remarks.includes(`${packets.length} messages in ${path}`));
  const of = (on: number, inbound: boolean) =>
    packets.filter((packet) => packet.on === on && packet.inbound === inbound);
  const version = (packet: Packet) => packet.data[0] === 2;
  t.is(of(1, true).filter(version).length, 1);
  t.is(of(1, false).filter(version).length, 1);
  const times = packets.map(({ timeNs }) => timeNs);
  t.deepEqual(
    [...times].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0)),
    times,
  );
  t.true(Math.abs(Number(times[0]! / 1_000_000n) - Date.now()) < 600_000);
  const fault = of(0, false).find(({ data }) => data[0] === 1 && data.length === 584)!;
  t.is(fault.data.readBigUInt64LE(8 + 552 + 8), BigInt(TEST_GPA));
  if (!HAS_TSHARK) return;
  const gpa = `0x${TEST_GPA.toString(16).padStart(16, '0')}`;
  const [row] = decoded(
    path,
    'kvmi.message == "KVMI_VCPU_EVENT_PF"',
    'kvmi.gpa',
    'frame.interface_name',
    '_ws.col.Info',
  );
  t.deepEqual(row!.slice(0, 2), [gpa, 'kvmi 1']);
  t.regex(row![2]!, /^KVMI_VCPU_EVENT_PF, seq 1, vcpu 0, gva 0x\w+, gpa 0x2000000, access -w-$/);
  t.deepEqual(decoded(path, '_ws.malformed or kvmi.unknown or kvmi.missing', 'frame.number'), []);
});

// ── files that cannot be written ────────────────────────────────────────────────────────────────────────────
const WORDS = ['run', '--kernel', 'test/guests/images/kvmi-selftest.elf', '--smp', '1', '--mem', '48M'];

test.serial('a file that cannot be written is refused before anything starts', async (t) => {
  const place = folder(t);
  spawnSync('mkfifo', [join(place, 'pipe')]);
  mkdirSync(join(place, 'sub'));
  for (const [path, reason] of [
    [join(place, 'no', 'file'), /SIM_FILE: cannot write the capture '.*file': ENOENT/],
    [join(place, 'sub'), /SIM_FILE: cannot write the capture '.*sub': EISDIR/],
    [join(place, 'pipe'), /SIM_FILE: cannot write the capture '.*pipe': it is a pipe/],
    ['/dev/full', /SIM_FILE: cannot write the capture '\/dev\/full': ENOSPC/],
  ] as const) {
    const { code, err } = await faultline(t, ...WORDS, '--kvmi', 'unix:/nowhere', '--pcap', path);
    t.is(code, 2, path);
    t.regex(err, reason);
  }
  const { code, err } = await faultline(t, ...WORDS, '--pcap', join(place, 'x'));
  t.is(code, 2);
  t.regex(err, /--pcap without --kvmi/);
});

test.serial(
  'a disk that becomes full costs the capture and not the session; what is there can be read',
  async (t) => {
    const place = folder(t);
    const socket = join(place, 'tool.sock');
    const path = join(place, 'full.pcapng');
    const listener = await KvmiListener.at(socket);
    t.teardown(() => listener.close());
    const words = [...WORDS, '--quiet', '--kvmi', `unix:${socket}`, '--pcap', path];
    const { ended } = startWithSmallFiles(t, 2, ...words);
    const tool = await listener.next();
    for (let i = 0; i < 20; i++) await tool.readPhysical(0n, 64);
    await tool.writePhysical(0x1ff000n, Uint8Array.of(GUEST.exit, 0, 0, 0));
    const { code, out, err } = await ended;
    t.is(code, 2);
    t.is(
      err.match(/cannot write the capture '.*full\.pcapng': EFBIG; the session goes on without it/g)?.length,
      1,
    );
    t.regex(out, /SIM_FILE/);
    t.true(readPcapng(readFileSync(path)).length > 5);
  },
);

test.serial('after kill -9 everything that was said is in the file', async (t) => {
  const place = folder(t);
  const socket = join(place, 'tool.sock');
  const path = join(place, 'killed.pcapng');
  const listener = await KvmiListener.at(socket);
  t.teardown(() => listener.close());
  const { child, ended } = start(t, ...WORDS, '--quiet', '--kvmi', `unix:${socket}`, '--pcap', path);
  const tool = await listener.next();
  for (let i = 0; i < 20; i++) await tool.readPhysical(0n, 64);
  child.kill('SIGKILL');
  await ended;
  const packets = readPcapng(readFileSync(path));
  t.is(packets.filter(({ inbound, data }) => !inbound && data[0] === 12).length, 20);
  t.true(statSync(path).size > 0);
});

test.serial('a stream that is given to the machine is captured too', async (t) => {
  const path = join(folder(t), 'stream.pcapng');
  const { duplexPair } = await import('./duplex-pair.ts');
  const { KvmiClient } = await import('../../src/kvmi-client/client.ts');
  const machine = await Machine.create({
    vcpuCount: 1,
    ramBytes: 48 * 1024 ** 2,
    image: 'test/guests/images/kvmi-selftest.elf',
    kvmi: { pcap: path },
  });
  t.teardown(() => machine.stop());
  const [ours, theirs] = duplexPair();
  await machine.introspector.serve(theirs);
  const client = await KvmiClient.open(ours);
  await client.getInfo();
  await client.close();
  await machine.stop();
  t.is(readPcapng(readFileSync(path)).length, 4);
});
