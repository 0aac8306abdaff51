import test from 'ava';
import fc from 'fast-check';
import { Framing, frame, type WireMessage } from '../../../src/actors/introspector/wire/framing.ts';
import {
  cookieHash,
  encodeIdentity,
  HandshakeAnswer,
} from '../../../src/actors/introspector/wire/handshake.ts';

const message = fc.record({
  id: fc.nat(0xffff),
  seq: fc.nat(0xffff_ffff),
  payload: fc.uint8Array({ maxLength: 300 }),
});

/** Cuts bytes into pieces, at places that numbers from 0 to 1 say. */
function pieces(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const places = [...cuts.map((cut) => Math.floor(cut * bytes.length)), bytes.length].sort((a, b) => a - b);
  let from = 0;
  return places.map((to) => {
    const piece = bytes.subarray(from, to);
    from = to;
    return piece;
  });
}

test('messages come out as they went in, however the stream is cut', (t) => {
  const fraction = fc.double({ min: 0, max: 1, noNaN: true });
  fc.assert(
    fc.property(fc.array(message, { maxLength: 8 }), fc.array(fraction), (messages, cuts) => {
      const stream = Buffer.concat(messages.map(({ id, seq, payload }) => frame(id, seq, payload)));
      const framing = new Framing();
      const came: WireMessage[] = [];
      for (const piece of pieces(stream, cuts)) framing.feed(piece, (one) => came.push(one) > 0);
      t.deepEqual(came, messages);
      t.is(framing.pending, 0);
    }),
  );
});

test('the longest message is 8184 bytes after its header; one more ends the stream before it has come', (t) => {
  const framing = new Framing();
  const sizes: number[] = [];
  const deliver = ({ payload }: WireMessage) => sizes.push(payload.length) > 0;
  t.true(framing.feed(frame(12, 1, new Uint8Array(8184)), deliver));
  t.deepEqual(sizes, [8184]);
  t.false(framing.feed(Uint8Array.of(12, 0, 0xf9, 0x1f, 0, 0, 0, 0), deliver));
  t.false(new Framing().feed(Uint8Array.of(0, 0, 0xff, 0xff, 0, 0, 0, 0), deliver));
});

test('who wants no more gets no more', (t) => {
  const framing = new Framing();
  let came = 0;
  const two = Buffer.concat([frame(2, 0), frame(2, 1)]);
  t.false(
    framing.feed(two, () => {
      came += 1;
      return false;
    }),
  );
  t.is(came, 1);
});

test("the machine's half of the handshake is 104 bytes", (t) => {
  const uuid = Uint8Array.from({ length: 16 }, (_, i) => i);
  const bytes = Buffer.from(
    encodeIdentity({ uuid, name: 'n'.repeat(80), startTime: 1_700_000_000, maxGpa: 0x1_0000_0000 }),
  );
  t.is(bytes.length, 104);
  t.is(bytes.readUInt32LE(0), 104);
  t.deepEqual([...bytes.subarray(4, 20)], [...uuid]);
  t.is(bytes.readUInt32LE(20), 0);
  t.is(bytes.readBigInt64LE(24), 1_700_000_000n);
  t.is(bytes.toString('latin1', 32, 96), `${'n'.repeat(63)}\0`);
  t.is(bytes.readBigUInt64LE(96), 0x1_0000_0000n);
});

test("the tool's half: any cookie without a secret, the right one with it, and room for later fields", (t) => {
  const half = (size: number, cookie: Uint8Array) => {
    const bytes = Buffer.alloc(size);
    bytes.writeUInt32LE(size);
    bytes.set(cookie, 4);
    return bytes;
  };
  t.is(new HandshakeAnswer(null).feed(half(24, new Uint8Array(20))).kind, 'accepted');
  t.is(new HandshakeAnswer('s3cret').feed(half(24, new Uint8Array(20))).kind, 'refused');
  t.is(new HandshakeAnswer('s3cret').feed(half(24, cookieHash('s3cret'))).kind, 'accepted');
  t.is(Buffer.from(cookieHash('abc')).toString('hex'), 'a9993e364706816aba3e25717850c26c9cd0d89d');
  const answer = new HandshakeAnswer(null);
  const whole = Buffer.concat([half(40, new Uint8Array(20)), Buffer.from('KVMI')]);
  for (const byte of whole.subarray(0, 39)) t.is(answer.feed(Uint8Array.of(byte)).kind, 'more');
  const last = answer.feed(whole.subarray(39));
  t.is(last.kind, 'accepted');
  t.is(last.kind === 'accepted' && Buffer.from(last.rest).toString(), 'KVMI');
  for (const size of [0, 23, 70_000]) {
    const head = Buffer.alloc(4);
    head.writeUInt32LE(size);
    t.is(new HandshakeAnswer(null).feed(head).kind, 'refused', String(size));
  }
});
