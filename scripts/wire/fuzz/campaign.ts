/**
 * One machine after whose tools nothing may be left: conversations with it, and between them a look at whether the guest
 * still does what it should, nothing is restricted any more, and all invariants hold.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Machine } from '../../../src/index.ts';
import { KvmiClient } from '../../../src/kvmi-client/client.ts';
import { KvmiListener } from '../../../src/kvmi-client/listener.ts';
import { Prng } from '../../../src/shared/prng.ts';
import { u32 } from './bytes.ts';
import { MAILBOX_ACTIONS, MAILBOX_BYTES, MAILBOX_GPA } from './conversations.ts';
import type { FuzzedMachine, WireRules } from './rules.ts';
import { RULES_7 } from './rules-7.ts';
import { RULES_12 } from './rules-12.ts';
import { FuzzTool, type Tally } from './tool.ts';

export const RULES: Readonly<Record<7 | 12, WireRules>> = { 7: RULES_7, 12: RULES_12 };

const MACHINE: FuzzedMachine = { vcpuCount: 2, ramBytes: 48 * 1024 ** 2 };
const IMAGE = 'test/guests/images/kvmi-selftest.elf';
/** Conversations from one look at the machine to the next. */
const LOOK_EVERY = 25;
/** However busy the host is. */
const HANG_MS = 60_000;

export interface CampaignOptions {
  readonly wire: 7 | 12;
  readonly seed: bigint;
  /** Stops after so many messages. */
  readonly messages: number;
  readonly progress?: (tally: Tally) => void;
}

/** What the machine did wrong, and in which conversation. */
export class FuzzFailure extends Error {
  override readonly name = 'FuzzFailure';
  readonly wire: 7 | 12;
  /** Of the conversation. */
  readonly seed: bigint;

  constructor(wire: 7 | 12, seed: bigint, cause: unknown) {
    const why = cause instanceof Error ? cause.message : String(cause);
    super(`wire-${wire}, conversation 0x${seed.toString(16)}: ${why}`, { cause });
    this.wire = wire;
    this.seed = seed;
  }
}

/** @throws FuzzFailure */
export async function campaign({ wire, seed, messages, progress }: CampaignOptions): Promise<Tally> {
  const tally: Tally = { conversations: 0, messages: 0, answers: 0, events: 0, closed: 0 };
  const seeds = new Prng(seed);
  await withMachine(wire, async (bed) => {
    while (tally.messages < messages) {
      const one = (BigInt(seeds.u32()) << 32n) | BigInt(seeds.u32());
      await bed.conversation(one, tally);
      if (tally.conversations % LOOK_EVERY === 0) progress?.(tally);
    }
  });
  return tally;
}

/** One conversation, by its own seed, again and again on one machine. @throws FuzzFailure */
export async function replay(wire: 7 | 12, seed: bigint, times: number): Promise<Tally> {
  const tally: Tally = { conversations: 0, messages: 0, answers: 0, events: 0, closed: 0 };
  await withMachine(wire, async (bed) => {
    for (let i = 0; i < times; i++) await bed.conversation(seed, tally);
  });
  return tally;
}

interface Bed {
  conversation(seed: bigint, tally: Tally): Promise<void>;
}

async function withMachine(wire: 7 | 12, body: (bed: Bed) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'faultline-fuzz-'));
  const listener = await KvmiListener.at(join(folder, 'tool.sock'), { wire });
  const machine = await Machine.create({
    ...MACHINE,
    image: IMAGE,
    kvmi: { endpoint: `unix:${join(folder, 'tool.sock')}`, reconnectMs: 5, wire },
  });
  let last = 0n;
  let sinceLook = 0;
  try {
    const first = await listener.next();
    await first.getVersion();
    await machine.start();
    await handlersInPlace(first);
    await first.close();
    await body({
      conversation: async (seed, tally) => {
        last = seed;
        const socket = await next(listener, machine);
        await new FuzzTool(socket, seed, RULES[wire], MACHINE, tally).converse();
        sinceLook += 1;
        if (sinceLook < LOOK_EVERY) return;
        sinceLook = 0;
        await look(listener, machine, wire, new Prng(seed));
      },
    });
    await look(listener, machine, wire, new Prng(last));
    const { findings, error } = await machine.stop();
    if (findings.length > 0) throw new Error(findings.map(({ id, detail }) => `${id}: ${detail}`).join('\n'));
    if (error !== null) throw error;
  } catch (error) {
    throw new FuzzFailure(wire, last, error);
  } finally {
    await machine.stop();
    listener.close();
    rmSync(folder, { recursive: true });
  }
}

/** Settles when every vCPU of the guest can take an exception. */
async function handlersInPlace(tool: KvmiClient): Promise<void> {
  for (let vcpu = 0; vcpu < MACHINE.vcpuCount; vcpu++) {
    const ready = BigInt(MAILBOX_GPA + vcpu * MAILBOX_BYTES + 12);
    while ((await tool.readPhysical(ready, 1))[0] !== 1);
  }
}

/** The machine comes back, or has ended and says why. */
async function next(listener: KvmiListener, machine: Machine): Promise<Socket> {
  const socket = await Promise.race([
    listener.nextSocket(),
    machine.ended.then((report) => {
      throw new Error(`the machine has ended: ${report.verdict}`);
    }),
  ]);
  return socket;
}

/** A tool in its right mind. @throws Error for what others have left behind */
async function look(listener: KvmiListener, machine: Machine, wire: 7 | 12, prng: Prng): Promise<void> {
  // Before the handshake nothing is hooked: nothing may be restricted.
  const socket = await next(listener, machine);
  const check = await machine.control.checkInvariants();
  if (check === null) throw new Error('the machine does not come to rest');
  if (check.findings.length > 0)
    throw new Error(check.findings.map(({ id, detail }) => `${id}: ${detail}`).join('\n'));
  const tool = await KvmiClient.open(socket, { wire });
  await tool.getVersion();
  for (let vcpu = 0; vcpu < MACHINE.vcpuCount; vcpu++) {
    const box = BigInt(MAILBOX_GPA + vcpu * MAILBOX_BYTES);
    const done = async (wanted: number) => {
      const began = performance.now();
      while ((await tool.readPhysical(box + 4n, 1))[0] !== wanted) {
        if (performance.now() - began > HANG_MS) throw new Error(`the guest does not go on: vCPU ${vcpu}`);
      }
    };
    await tool.writePhysical(box, u32(0));
    await done(0);
    await tool.writePhysical(box, u32(1 + prng.below(MAILBOX_ACTIONS - 1)));
    await done(1);
    await tool.writePhysical(box, u32(0));
    await done(0);
  }
  if (tool.connection.eventsWaiting > 0) throw new Error('events that nobody has enabled');
  await tool.close();
}
