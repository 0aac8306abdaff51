/** The protocol buffer writer, against the wire format's own examples and the decoder of these tests. */
import test from 'ava';
import fc from 'fast-check';
import { ProtobufWriter } from '../../../src/shared/trace/protobuf.ts';
import { decodeMessage } from './decoded.ts';

test('numbers and texts as in the description of the encoding', (t) => {
  const out = new ProtobufWriter(16);
  out.int(1, 150);
  out.text(2, 'testing');
  t.deepEqual([...out.written], [0x08, 0x96, 0x01, 0x12, 0x07, ...new TextEncoder().encode('testing')]);
});

test('a nested message has its length, whatever is in it', (t) => {
  for (const length of [0, 1, 127, 128, 5000, 16_000]) {
    const out = new ProtobufWriter(16);
    const nested = out.open(3);
    out.text(1, 'x'.repeat(length));
    out.close(nested);
    const [field, ...rest] = decodeMessage(out.written);
    t.deepEqual(rest, []);
    t.is(field!.number, 3);
    t.is(decodeMessage(field!.bytes)[0]!.bytes.length, length);
  }
});

test('a nested message too long for its length is our bug', (t) => {
  const out = new ProtobufWriter();
  const nested = out.open(3);
  out.text(1, 'x'.repeat(20_000));
  t.throws(() => out.close(nested), { name: 'InvariantError', message: /20\d\d\d bytes/ });
});

test('every whole number up to 2⁵³, negative ones, 64-bit ones and fixed ones come back', (t) => {
  fc.assert(
    fc.property(
      fc.maxSafeInteger(),
      fc.maxSafeNat(),
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      fc.integer({ min: 1, max: 2 ** 28 }),
      (integer, nat, wide, field) => {
        const out = new ProtobufWriter(16);
        out.int(field, integer);
        out.int(field, nat);
        out.uint64(field, wide);
        out.fixed64(field, nat);
        const fields = decodeMessage(out.written);
        return (
          fields.every(({ number }) => number === field) &&
          BigInt.asIntN(64, fields[0]!.value) === BigInt(integer) &&
          fields[1]!.value === BigInt(nat) &&
          fields[2]!.value === wide &&
          fields[3]!.value === BigInt(nat)
        );
      },
    ),
  );
  t.pass();
});

test('any text comes back', (t) => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 200 }), (text) => {
      const out = new ProtobufWriter(16);
      out.text(1, text);
      return new TextDecoder().decode(decodeMessage(out.written)[0]!.bytes) === text;
    }),
  );
  t.pass();
});
