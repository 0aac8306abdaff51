/** `npm run fuzz:wire` in short, and what its oracle makes of a few streams. */
import test from 'ava';
import { join, message, Payload, u8, u16, u32, u64, zeros } from '../../scripts/wire/fuzz/bytes.ts';
import { campaign } from '../../scripts/wire/fuzz/campaign.ts';
import { Oracle } from '../../scripts/wire/fuzz/oracle.ts';
import { RULES_7 } from '../../scripts/wire/fuzz/rules-7.ts';
import { RULES_12 } from '../../scripts/wire/fuzz/rules-12.ts';

const SEED = BigInt(process.env['SEED'] ?? Math.floor(Date.now()));
const MESSAGES = Number(process.env['MESSAGES'] ?? 1500);

for (const wire of [12, 7] as const) {
  test.serial(`senseless tools on wire-${wire}: every answer and every close is the right one`, async (t) => {
    t.log(`SEED=${SEED} MESSAGES=${MESSAGES}`);
    const tally = await campaign({ wire, seed: SEED, messages: MESSAGES });
    t.log(tally);
    t.true(tally.messages >= MESSAGES);
    t.true(tally.answers > MESSAGES / 4);
  });
}

const MACHINE = { vcpuCount: 2, ramBytes: 48 * 1024 ** 2 };
const answer = (error: number, bytes = 0) => new Payload(join(u32(error), zeros(4 + bytes)));

test('the oracle knows answers by place, error and size', (t) => {
  const oracle = new Oracle(RULES_12, MACHINE);
  oracle.sent(join(message(2, 1), message(3, 2, u16(0), zeros(6)), message(77, 3).subarray(0, 5)));
  oracle.sent(message(77, 3).subarray(5));
  t.is(oracle.owed, 3);
  t.regex(oracle.answered(2, 1, answer(0, 8)) ?? '', /expected 0, 16 bytes/);
  t.regex(oracle.answered(77, 3, answer(-1000)) ?? '', /nobody's turn/);
  t.is(oracle.answered(3, 2, answer(0, 8)), null);
  t.is(oracle.answered(2, 1, answer(0, 16)), null);
  t.is(oracle.answered(77, 3, answer(-1000)), null);
  t.is(oracle.owed, 0);
  t.is(oracle.closing, 'no');
});

test('the oracle knows what closes a connection', (t) => {
  const closing = (rules: typeof RULES_12, ...parts: Uint8Array[]) => {
    const oracle = new Oracle(rules, MACHINE);
    oracle.event({
      vcpu: 1,
      event: rules.version === 7 ? 6 : 17,
      seq: 5,
      data: new Payload(zeros(24)),
      registers: zeros(144),
    });
    for (const part of parts) oracle.sent(part);
    return oracle.closing;
  };
  const reply = (rules: typeof RULES_12, seq: number, action: number, extra = 0) =>
    message(rules.eventReply, seq, u16(1), zeros(6), u8(action), u8(17), zeros(6), zeros(extra));
  t.is(closing(RULES_12, join(u16(2), u16(8185), u32(1))), 'must');
  t.is(closing(RULES_12, message(14, 1, u64(0), u16(9), zeros(6), zeros(8))), 'must');
  t.is(closing(RULES_12, reply(RULES_12, 5, 0)), 'no');
  t.is(closing(RULES_12, reply(RULES_12, 5, 0), reply(RULES_12, 5, 0)), 'must');
  t.is(closing(RULES_12, reply(RULES_12, 5, 3)), 'must');
  t.is(closing(RULES_12, reply(RULES_12, 5, 0, 272)), 'must');
  t.is(closing(RULES_12, reply(RULES_12, 6, 0)), 'may');
  t.is(closing(RULES_7, reply(RULES_7, 5, 3, 272)), 'no');
  t.is(closing(RULES_7, reply(RULES_7, 5, 0, 273)), 'must');
  t.is(closing(RULES_7, message(27, 1, u8(0), u8(1), zeros(6)), message(29, 2)), 'must');
  t.is(closing(RULES_7, message(27, 1, u8(0), u8(1), zeros(6)), message(21, 2, zeros(8))), 'no');
});
