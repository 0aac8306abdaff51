/**
 * The selftest's rig: a machine whose guest does on request what the host is about to be told of, and a tool at a real
 * unix socket. Requests are written byte by byte here, from the protocol's description, not with the codec under test.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { Machine, type MachineOptions } from '../../src/index.ts';
import type { KvmiClient } from '../../src/kvmi-client/client.ts';
import type { AnyVcpuEvent, EventKind, VcpuEvent } from '../../src/kvmi-client/events.ts';
import type { WireVersion } from '../../src/kvmi-client/index.ts';
import { KvmiListener } from '../../src/kvmi-client/listener.ts';

// Error numbers of the wire.
export const EPERM = 1;
export const ENOENT = 2;
export const EBUSY = 16;
export const EINVAL = 22;
export const EOPNOTSUPP = 95;
export const ENOSYS = 1000;

/** What the guest does, by its number (test/guests/kvmi-selftest.asm). */
export const GUEST = {
  bp: 1,
  cr: 2,
  descriptor: 3,
  hypercall: 4,
  msr: 5,
  pf: 6,
  three: 7,
  xcr: 8,
  halt: 9,
  exit: 0xff,
} as const;

export const TEST_GPA = 0x2000000;
const MAILBOX = 0x1ff000;
const MAILBOX_BYTES = 64;

// ── bytes ───────────────────────────────────────────────────────────────────────────────────────────────────
export const u8 = (value: number) => Uint8Array.of(value);
export const u16 = (value: number) => Uint8Array.of(value, value >>> 8);
export const u32 = (value: number) => Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24);
export const u64 = (value: bigint | number) => {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
  return bytes;
};
export const zeros = (count: number) => new Uint8Array(count);
/** kvmi_vcpu_hdr. */
export const vcpuHdr = (vcpu: number) => join8(u16(vcpu), zeros(6));

export function join8(...parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

export function at64(bytes: Uint8Array, offset: number): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(offset, true);
}

// ── the rig ─────────────────────────────────────────────────────────────────────────────────────────────────
export interface RigOptions extends Omit<Partial<MachineOptions>, 'kvmi'> {
  readonly kvmi?: Omit<NonNullable<MachineOptions['kvmi']>, 'endpoint'>;
  readonly secret?: string;
  /** Which form of the protocol both sides speak. Default 12. */
  readonly wire?: WireVersion;
  /** Default true. */
  readonly started?: boolean;
}

export interface Rig {
  readonly machine: Machine;
  readonly client: KvmiClient;
  readonly listener: KvmiListener;
  readonly socketPath: string;
  /** What the machine says of its tools. */
  readonly remarks: string[];
  /** Sends a command and checks the sizes that every reply must have. @returns error (positive) or 0 */
  command(id: number, bytes: number, ...request: readonly Uint8Array[]): Promise<Uint8Array>;
  /** The same for one that is refused. */
  refused(id: number, errno: number, ...request: readonly Uint8Array[]): Promise<void>;
  /** The next event, which is of this kind and this size. */
  event<Kind extends EventKind>(kind: Kind, size: number): Promise<VcpuEvent<Kind>>;
  /** Lets the guest do something; `done` waits until it has, and until it is ready for more. */
  guest(action: number, vcpu?: number): Promise<{ done(): Promise<void> }>;
  /** A 64-bit word of a vCPU's mailbox. */
  mailbox(offset: number, vcpu?: number): Promise<bigint>;
  /** Settles when a started guest has its handlers in place. */
  ready(): Promise<void>;
}

/** The same on wire-12 and on wire-7. */
export function onBothWires(
  title: string,
  body: (t: ExecutionContext, wire: WireVersion) => Promise<void>,
): void {
  test.serial(title, (t) => body(t, 12));
  test.serial(`wire-7: ${title}`, (t) => body(t, 7));
}

/** A place for a unix socket, until the test ends. */
export function socketPlace(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'faultline-kvmi-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  return join(folder, 'tool.sock');
}

/** The rig's machine, whose findings fail the test. */
export async function machineOf(
  t: ExecutionContext,
  options: Partial<MachineOptions> & Pick<MachineOptions, 'kvmi'>,
): Promise<{ readonly machine: Machine; readonly remarks: string[] }> {
  const machine = await Machine.create({
    vcpuCount: 1,
    ramBytes: 48 * 1024 ** 2,
    image: 'test/guests/images/kvmi-selftest.elf',
    ...options,
  });
  const remarks: string[] = [];
  machine.on('tool', ({ text }) => remarks.push(text));
  t.teardown(async () => {
    const report = await machine.stop();
    const found = report.findings.map(({ id, detail }) => `${id}: ${detail}`);
    if (found.length > 0) throw new Error(found.join('\n'));
  });
  return { machine, remarks };
}

export async function rig(t: ExecutionContext, options: RigOptions = {}): Promise<Rig> {
  const { kvmi, secret, started = true, wire = 12, ...rest } = options;
  const socketPath = socketPlace(t);
  const listener = await KvmiListener.at(socketPath, { wire, ...(secret === undefined ? {} : { secret }) });
  t.teardown(() => listener.close());
  const endpoint = `unix:${socketPath}`;
  const { machine, remarks } = await machineOf(t, {
    ...rest,
    kvmi: { reconnectMs: 5, wire, ...kvmi, endpoint },
  });
  const client = await listener.next();
  await machine.introspector.connected();
  const request = client.connection.request.bind(client.connection);
  const { guest, mailbox } = mailboxes(client);
  const ready = async () => {
    for (let vcpu = 0; vcpu < (options.vcpuCount ?? 1); vcpu++) {
      while ((await mailbox(8, vcpu)) >> 32n !== 1n);
    }
  };
  if (started) {
    await machine.start();
    await ready();
  }
  return {
    machine,
    ready,
    client,
    listener,
    socketPath,
    remarks,
    command: async (id, bytes, ...parts) => {
      const reply = await request(id, ...parts);
      t.is(reply.error, 0, `command ${id}`);
      t.is(reply.size, 8 + bytes, `command ${id}: size`);
      return reply.data;
    },
    refused: async (id, errno, ...parts) => {
      const reply = await request(id, ...parts);
      t.is(reply.error, -errno, `command ${id}`);
      t.is(reply.size, 8, `command ${id}: size`);
    },
    event: async (kind, size) => {
      const event = await client.nextEvent();
      t.is(event?.kind, kind);
      t.is(event?.size, size, `${kind}: size`);
      return event as never;
    },
    guest,
    mailbox,
  };
}

/** The guest as this client reaches it. */
export function mailboxes(client: KvmiClient): Pick<Rig, 'guest' | 'mailbox'> & {
  /** Waits until a vCPU has done what it was asked for, whoever has asked, and until it is ready for more. */
  finished(vcpu: number): Promise<void>;
} {
  const boxOf = (vcpu: number) => MAILBOX + vcpu * MAILBOX_BYTES;
  const read = (gpa: number) => client.readPhysical(BigInt(gpa), 8);
  const write = (gpa: number, value: number) => client.writePhysical(BigInt(gpa), u32(value));
  const finished = async (vcpu: number) => {
    const box = boxOf(vcpu);
    while ((await read(box + 4))[0] !== 1);
    await write(box, 0);
    while ((await read(box + 4))[0] !== 0);
  };
  return {
    finished,
    guest: async (action, vcpu = 0) => {
      await write(boxOf(vcpu), action);
      return { done: () => finished(vcpu) };
    },
    mailbox: async (offset, vcpu = 0) => at64(await read(boxOf(vcpu) + offset), 0),
  };
}

/** Bytes of a reply to an event: kvmi_vcpu_hdr, action, event, padding, and what else belongs to it. */
export function replyTo(event: AnyVcpuEvent, action: number, ...extra: readonly Uint8Array[]): Uint8Array {
  return join8(vcpuHdr(event.vcpu), u8(action), u8(event.id), zeros(6), ...extra);
}
