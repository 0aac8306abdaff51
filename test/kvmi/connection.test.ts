/**
 * The connection, sentence by sentence: who connects to whom and how often, the handshake byte by byte, what is refused,
 * how it ends, and over what it may go.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { Duplex, PassThrough } from 'node:stream';
import test, { type ExecutionContext } from 'ava';
import { Machine } from '../../src/index.ts';
import { KvmiClient } from '../../src/kvmi-client/client.ts';
import { connectTo, KvmiListener } from '../../src/kvmi-client/listener.ts';
import { until } from '../support/boot.ts';
import { duplexPair } from './duplex-pair.ts';
import { join8, machineOf, rig, socketPlace, TEST_GPA, u32, zeros } from './rig.ts';

const ANSWER = join8(u32(24), zeros(20));
const GET_VERSION = Uint8Array.of(2, 0, 0, 0, 7, 0, 0, 0);
/** Of the reply to it: header, error code, struct. */
const VERSION_BYTES = 8 + 8 + 16;

async function read(socket: Socket, count: number): Promise<Buffer> {
  for (;;) {
    const bytes = socket.read(count) as Buffer | null;
    if (bytes !== null) return bytes;
    await once(socket, 'readable');
  }
}

/** A socket of the rig's machine before its handshake: the rig's own tool has gone. */
async function beforeHandshake(t: ExecutionContext, kvmi: { secret?: string; handshakeMs?: number } = {}) {
  const made = await rig(t, { kvmi, started: false, ...(kvmi.secret === undefined ? {} : kvmi) });
  await made.client.close();
  return { ...made, socket: await made.listener.nextSocket() };
}

/** Is the socket the machine's, and does it serve? */
async function serves(socket: Socket): Promise<boolean> {
  socket.write(GET_VERSION);
  const reply = await read(socket, VERSION_BYTES);
  return reply[0] === 2 && reply.readUInt32LE(4) === 7;
}

// ── connecting ──────────────────────────────────────────────────────────────────────────────────────────────

test.serial('a machine tries until a tool listens, whatever is in its place before', async (t) => {
  const path = socketPlace(t);
  const { remarks } = await machineOf(t, { kvmi: { endpoint: `unix:${path}`, reconnectMs: 1 } });
  await until(() => remarks.includes(`waits for a tool at ${path} (ENOENT)`));
  // A tool that is killed leaves its socket behind.
  const killed = await deadTool(t, path, '');
  killed.kill('SIGKILL');
  await once(killed, 'exit');
  t.true(existsSync(path));
  await until(() => remarks.includes(`waits for a tool at ${path} (ECONNREFUSED)`));
  const listener = await KvmiListener.at(path);
  t.teardown(() => listener.close());
  t.is((await (await listener.next()).getVersion()).version, 1);
  const again = remarks.filter((text, i) => text === remarks[i - 1]);
  t.deepEqual(again, [], 'the same is not said again and again');
});

/** A tool in a process of its own: shakes hands, sends bytes (hexadecimal), and sits there. */
async function deadTool(t: ExecutionContext, path: string, bytes: string): Promise<ChildProcess> {
  const program = `
    const server = require('node:net').createServer((socket) => {
      socket.on('error', () => {});
      socket.write(Buffer.from('${Buffer.from(ANSWER).toString('hex')}${bytes}', 'hex'), () => console.log('sent'));
    });
    server.listen(process.argv[1], () => console.log('listens'));`;
  const child = spawn(process.execPath, ['-e', program, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.teardown(() => child.kill('SIGKILL'));
  let out = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    out += text;
  });
  await until(() => out.includes('sent'));
  return child;
}

test.serial('a tool that is killed in the middle of a message leaves the guest running', async (t) => {
  const { machine, client, listener, socketPath, remarks } = await rig(t);
  listener.close();
  await client.close();
  // SET_PAGE_ACCESS of 256 pages, of which two have come.
  const half = join8(Uint8Array.of(20, 0, 8, 16, 1, 0, 0, 0, 0, 1), zeros(6), zeros(32));
  const tool = await deadTool(t, socketPath, Buffer.from(half).toString('hex'));
  await until(() => remarks.filter((text) => text === 'connected').length === 2);
  tool.kill('SIGKILL');
  await once(tool, 'exit');
  const next = await KvmiListener.at(socketPath);
  t.teardown(() => next.close());
  const after = await next.next();
  const before = machine.status().instructions;
  await until(() => machine.status().instructions > before + 1000);
  t.is((await after.getInfo()).vcpu_count, 1);
});

test.serial('one tool at a time: the next is served when the one before it has gone', async (t) => {
  const path = socketPlace(t);
  const { machine, remarks } = await machineOf(t, { kvmi: { endpoint: `listen:${path}` } });
  t.true(remarks.length === 0 || remarks[0] === `listens at ${path}`);
  const first = await connectTo(path);
  const second = connectTo(path);
  // A third that gives up while it waits is nobody.
  const third = connect(path);
  await once(third, 'connect');
  third.destroy();
  const last = connectTo(path);
  t.is((await first.getVersion()).version, 1);
  await first.close();
  const served = await second;
  t.is((await served.getInfo()).vcpu_count, 1);
  await served.close();
  t.is((await (await last).getInfo()).vcpu_count, 1);
  await machine.stop();
  t.false(existsSync(path), 'the socket is gone with the machine');
});

test.serial('tools beyond those that may wait are sent away', async (t) => {
  const path = socketPlace(t);
  await machineOf(t, { kvmi: { endpoint: `listen:${path}` } });
  const first = await connectTo(path);
  await first.getVersion();
  const sockets = Array.from({ length: 20 }, () =>
    connect(path)
      .on('error', () => {})
      .resume(),
  );
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
  });
  await until(() => sockets.filter(({ destroyed }) => destroyed).length === 4);
  t.is((await first.getInfo()).vcpu_count, 1);
});

test.serial('listening takes the place of a socket that was left, and of nothing else', async (t) => {
  const path = socketPlace(t);
  const listening = (endpoint: string) =>
    Machine.create({ vcpuCount: 1, image: 'test/guests/images/hello.elf', kvmi: { endpoint } });
  const left = await deadListener(t, path);
  t.true(existsSync(left));
  const { machine } = await machineOf(t, { kvmi: { endpoint: `listen:${left}` } });
  t.is((await (await connectTo(left)).getVersion()).version, 1);
  const taken = await t.throwsAsync(listening(`listen:${left}`), { code: 'SIM_FILE' });
  t.regex(taken.message, /somebody listens there/);
  await machine.stop();
  const file = `${path}.txt`;
  writeFileSync(file, 'precious');
  const noSocket = await t.throwsAsync(listening(`listen:${file}`), { code: 'SIM_FILE' });
  t.regex(noSocket.message, /is no socket/);
  t.is(readFileSync(file, 'utf8'), 'precious');
  mkdirSync(`${path}.d`);
  // A listener of the client has the same rules.
  for (const place of [file, `${path}.d`, `${path}.none/x`]) {
    await t.throwsAsync(KvmiListener.at(place), { code: 'SIM_FILE' });
  }
});

/** The socket of a process that was killed. */
async function deadListener(t: ExecutionContext, path: string): Promise<string> {
  const child = spawn(
    process.execPath,
    ['-e', `require('node:net').createServer().listen(process.argv[1], () => console.log('listens'))`, path],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  t.teardown(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'exit');
  return path;
}

// ── the handshake ───────────────────────────────────────────────────────────────────────────────────────────

test.serial('the machine speaks first: 104 bytes, and nothing before its command', async (t) => {
  const { socket } = await beforeHandshake(t);
  const half = await read(socket, 104);
  t.is(half.readUInt32LE(0), 104, 'struct_size');
  t.deepEqual(
    half.subarray(4, 20),
    createHash('sha1').update('faultline faultline').digest().subarray(0, 16),
  );
  t.is(half.readUInt32LE(20), 0, 'padding');
  const started = Number(half.readBigInt64LE(24));
  const now = Date.now() / 1000;
  t.true(started > now - 600 && started <= now, 'seconds since 1970');
  t.is(half.subarray(32, 96).toString(), 'faultline'.padEnd(64, '\0'));
  t.is(half.readBigUInt64LE(96), BigInt(48 * 1024 ** 2), 'first byte after the highest of RAM');
  socket.write(ANSWER);
  t.true(await serves(socket), 'the next byte is of the reply to the first command');
});

test.serial(
  "a tool's half of the handshake may come in pieces, with a command behind it, longer, with a cookie",
  async (t) => {
    const { socket, listener } = await beforeHandshake(t);
    let tool = socket;
    for (const pieces of [
      [...ANSWER, ...GET_VERSION].map((byte) => Uint8Array.of(byte)),
      [join8(ANSWER, GET_VERSION)],
      [join8(u32(40), zeros(36)), GET_VERSION],
      [join8(u32(24), new Uint8Array(20).fill(7)), GET_VERSION],
    ]) {
      await read(tool, 104);
      tool.setNoDelay(true);
      for (const piece of pieces) {
        tool.write(piece);
        await new Promise((resolve) => setImmediate(resolve));
      }
      t.is((await read(tool, VERSION_BYTES))[0], 2);
      tool.destroy();
      tool = await listener.nextSocket();
    }
  },
);

test.serial('a half of the handshake that is wrong is refused, and the next tool may try', async (t) => {
  const { socket, listener, remarks } = await beforeHandshake(t, { secret: 's3cret' });
  const cookie = (secret: string) => createHash('sha1').update(secret).digest();
  let tool = socket;
  for (const [bytes, why] of [
    [join8(u32(23), zeros(19)), 'its half of the handshake is said to have 23 bytes'],
    [u32(0), 'its half of the handshake is said to have 0 bytes'],
    [u32(0xffff_ffff), 'its half of the handshake is said to have 4294967295 bytes'],
    [ANSWER, 'it does not know the secret'],
    [join8(u32(24), zeros(19)), 'it has closed the connection in the middle of the handshake'],
    [join8(u32(24), cookie('s3cre')), 'it does not know the secret'],
  ] as const) {
    await read(tool, 104);
    remarks.length = 0;
    tool.end(bytes);
    tool.resume();
    await once(tool, 'close');
    await until(() => remarks.includes(`refused: ${why}`));
    tool = await listener.nextSocket();
  }
  await read(tool, 104);
  tool.write(join8(u32(24), cookie('s3cret')));
  t.true(await serves(tool));
});

test.serial('a tool that hangs up at any byte of the handshake is replaced by the next', async (t) => {
  const { socket, listener } = await beforeHandshake(t);
  socket.destroy();
  for (let sent = 0; sent <= 24; sent += 4) {
    const tool = await listener.nextSocket();
    tool.write(ANSWER.subarray(0, sent));
    tool.destroySoon();
  }
  const last = await listener.nextSocket();
  await read(last, 104);
  last.write(ANSWER);
  t.true(await serves(last));
});

test.serial('a tool that is silent in the handshake is given up', async (t) => {
  const path = socketPlace(t);
  const listener = await KvmiListener.at(path);
  t.teardown(() => listener.close());
  const kvmi = { endpoint: `unix:${path}`, handshakeMs: 50, reconnectMs: 5 };
  const { remarks } = await machineOf(t, { kvmi });
  const silent = await listener.nextSocket();
  silent.resume();
  await once(silent, 'close');
  await until(() => remarks.includes('refused: no handshake within 50 ms'));
  // A machine that is so impatient may give up this one, too.
  let version = 0;
  while (version === 0) {
    version = await listener
      .next()
      .then(
        async (tool) => (await tool.getVersion()).version,
        () => 0,
      )
      .catch(() => 0);
  }
  t.is(version, 1);
});

test.serial('what the handshake has no room for is refused before anything starts', async (t) => {
  const made = (kvmi: object) =>
    Machine.create({ vcpuCount: 1, image: 'test/guests/images/hello.elf', kvmi });
  await t.throwsAsync(made({ name: 'x'.repeat(64) }), { code: 'SIM_CONFIG_RANGE', message: /64 bytes/ });
  await t.throwsAsync(made({ name: 'ä'.repeat(32) }), { code: 'SIM_CONFIG_RANGE', message: /64 bytes/ });
  await t.throwsAsync(made({ name: 'a\0b' }), { code: 'SIM_CONFIG_RANGE' });
  await t.throwsAsync(made({ uuid: '0011' }), { code: 'SIM_USAGE' });
  await t.throwsAsync(made({ endpoint: 'unix:a\0b' }), { code: 'SIM_USAGE' });
  for (const name of ['handshakeMs', 'reconnectMs', 'unhookMs']) {
    for (const ms of [-1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31]) {
      await t.throwsAsync(made({ [name]: ms }), { code: 'SIM_CONFIG_RANGE', message: new RegExp(name) });
    }
  }
});

// ── its end ─────────────────────────────────────────────────────────────────────────────────────────────────

test.serial('a tool that stops writing has gone, though it still reads', async (t) => {
  const { client, listener, machine } = await rig(t);
  await client.pauseVcpu(0, { wait: true });
  await client.close();
  const socket = await listener.nextSocket();
  await read(socket, 104);
  socket.write(join8(ANSWER, GET_VERSION));
  await read(socket, VERSION_BYTES);
  socket.end();
  socket.resume();
  await once(socket, 'close');
  t.is((await (await listener.next()).getInfo()).vcpu_count, 1);
  t.is(machine.stateOf(0), 'running');
});

test.serial(
  'a machine that is stopped asks its tool to leave, and lets it undo what it has done',
  async (t) => {
    const { machine, client, listener } = await rig(t);
    await client.controlUnhookEvent(true);
    await client.setPageAccess([{ gpa: BigInt(TEST_GPA), access: 1 }]);
    const ended = machine.stop();
    const event = await client.nextEvent();
    t.deepEqual(event, { kind: 'unhook', seq: 1, size: 8 });
    await client.setPageAccess([{ gpa: BigInt(TEST_GPA), access: 7 }]);
    t.is((await client.getInfo()).vcpu_count, 1, 'it is still served');
    await client.close();
    t.is((await ended).ending, 'stopped');
    const next = listener.nextSocket();
    listener.close();
    await t.throwsAsync(next, { message: 'the listener is closed' });
  },
);

test.serial('a tool that was asked to leave, and stays, is left', async (t) => {
  const { machine, client, remarks } = await rig(t, { kvmi: { unhookMs: 20 } });
  await client.controlUnhookEvent(true);
  const ended = machine.stop();
  t.is((await client.nextEvent())?.kind, 'unhook');
  await client.connection.closed;
  t.is((await ended).ending, 'stopped');
  t.true(remarks.includes('session over: the tool was asked to leave, and stayed'));
});

test.serial('a tool that does not want to know is not asked', async (t) => {
  const { machine, client } = await rig(t, { kvmi: { unhookMs: 2 ** 30 } });
  const ended = machine.stop();
  t.is(await client.nextEvent(), null);
  t.is((await ended).ending, 'stopped');
});

test.serial('a machine ends in the middle of a handshake, and while it waits for a tool', async (t) => {
  const { machine, socket } = await beforeHandshake(t);
  await read(socket, 104);
  socket.resume();
  t.is((await machine.stop()).ending, 'stopped');
  if (!socket.destroyed) await once(socket, 'close');
  const alone = await machineOf(t, { kvmi: { endpoint: `unix:${socketPlace(t)}`, reconnectMs: 2 ** 30 } });
  t.is((await alone.machine.stop()).ending, 'stopped');
});

test.serial('a guest that ends by itself ends the session', async (t) => {
  const { machine, client, guest } = await rig(t);
  await client.controlUnhookEvent(true);
  await guest(0xff);
  await client.connection.closed;
  t.is((await machine.ended).ending, 'exited');
});

// ── over what it may go ─────────────────────────────────────────────────────────────────────────────────────

test.serial('a machine serves any stream: one in memory, one made of two, one of TCP', async (t) => {
  const { machine } = await machineOf(t, { kvmi: {} });
  const server = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
  t.teardown(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const tcp = async (): Promise<[Duplex, Duplex]> => {
    const ours = connect(port, '127.0.0.1');
    const [theirs] = (await once(server, 'connection')) as [Socket];
    return [ours, theirs];
  };
  const pipes = (): [Duplex, Duplex] => {
    const [there, back] = [new PassThrough(), new PassThrough()];
    return [
      Duplex.from({ readable: back, writable: there }),
      Duplex.from({ readable: there, writable: back }),
    ];
  };
  for (const made of [duplexPair, pipes, tcp, duplexPair]) {
    const [ours, theirs] = await made();
    await machine.introspector.serve(theirs);
    const client = await KvmiClient.open(ours);
    t.is((await client.getInfo()).vcpu_count, 1, made.name);
    const pages = await Promise.all(Array.from({ length: 100 }, () => client.readPhysical(0n, 4096)));
    t.true(pages.every((page) => page.length === 4096));
    await client.close();
  }
});

test.serial('streams wait for their turn, and end with the machine', async (t) => {
  const { machine } = await machineOf(t, { kvmi: {} });
  const pairs = [duplexPair(), duplexPair(), duplexPair()];
  for (const [, theirs] of pairs) await machine.introspector.serve(theirs);
  const first = await KvmiClient.open(pairs[0]![0]);
  const second = KvmiClient.open(pairs[1]![0]);
  t.is((await first.getVersion()).version, 1);
  await first.close();
  t.is((await (await second).getVersion()).version, 1);
  await machine.stop();
  for (const [, theirs] of pairs) if (!theirs.destroyed) await once(theirs, 'close');
  await t.throwsAsync(KvmiClient.open(pairs[2]![0]), { name: 'ConnectionClosed' });
});

test.serial('what is no stream of bytes, or comes to the wrong machine, is refused', async (t) => {
  const { machine } = await machineOf(t, { kvmi: {} });
  const text = new PassThrough().setEncoding('utf8');
  await t.throwsAsync(machine.introspector.serve(text), { code: 'SIM_USAGE', message: /text \(utf8\)/ });
  const objects = new PassThrough({ objectMode: true });
  await t.throwsAsync(machine.introspector.serve(objects), { code: 'SIM_USAGE', message: /objects/ });
  // A stream that has ended before is a tool that has gone.
  const gone = new PassThrough().destroy();
  await machine.introspector.serve(gone);
  const [ours, theirs] = duplexPair();
  await machine.introspector.serve(theirs);
  t.is((await (await KvmiClient.open(ours)).getVersion()).version, 1);

  const plain = await Machine.create({ vcpuCount: 1, image: 'test/guests/images/hello.elf' });
  t.teardown(() => plain.stop());
  const [, lost] = duplexPair();
  await t.throwsAsync(plain.introspector.serve(lost), { code: 'SIM_USAGE', message: /no tool on a wire/ });
  if (!lost.destroyed) await once(lost, 'close');
  await plain.stop();
  const [, late] = duplexPair();
  await t.throwsAsync(plain.introspector.serve(late), { code: 'SIM_CLOSED' });
  t.true(late.destroyed);
});
