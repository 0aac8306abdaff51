/** Storms of guest code: the correct build holds, and each weakness of the reference shows. */
import test from 'ava';
import {
  REF_ACTIVE_KEY_NO_AS,
  REF_CREATE_SLOT_GAP,
  REF_EMU_CHECK_THEN_ACT,
  REF_EXEC_PROTECT_NO_FLUSH,
  REF_KILLABLE_COMPLETION,
  REF_MOVE_FAIL_NO_RETRACK,
  REF_PREWRITE_NO_PROTECT,
  REF_READ_PROTECT_KEEPS_MMU_W,
  REF_RETRY_LEAKS_MAP,
  REF_SRCU_ACROSS_EVENT,
  REF_TRACK_INVALID_SLOT,
} from '../../src/shared/quirks.ts';
import { guestStorm } from './guest-storm.ts';

const SEEDS = Number(process.env['SEEDS'] ?? 60);
const FIRST = Number(process.env['SEED'] ?? 1);
/** Seeds a weakness is looked for in; the slowest to show needs 45. */
const SEEDS_MAX = 400;

test(`the correct build: no finding in ${SEEDS} storms of guest code from SEED=${FIRST} on`, (t) => {
  for (let seed = FIRST; seed < FIRST + SEEDS; seed++)
    t.deepEqual(guestStorm(seed).findings, [], `SEED=${seed}`);
});

test('a page is restricted while its slot is INVALID: no TLB keeps what was denied (seed 172)', (t) => {
  t.deepEqual(guestStorm(172).findings, []);
});

test('a page is allowed again while its slot moves onto itself: the counts stay with the new place (178, 203, 459)', (t) => {
  for (const seed of [178, 203, 459]) t.deepEqual(guestStorm(seed).findings, [], `SEED=${seed}`);
});

/** What each weakness, alone, breaks first in these storms. */
const SHOWN: readonly [name: string, quirk: number, finding: RegExp][] = [
  ['createSlotGap (RC-01)', REF_CREATE_SLOT_GAP, /^I[234]/],
  ['trackInvalidSlot (RC-02)', REF_TRACK_INVALID_SLOT, /^I[34]/],
  ['moveFailNoRetrack (RC-03)', REF_MOVE_FAIL_NO_RETRACK, /^I[123]/],
  ['activeKeyNoAs (RC-04)', REF_ACTIVE_KEY_NO_AS, /^I[234]/],
  ['emuCheckThenAct (RC-05)', REF_EMU_CHECK_THEN_ACT, /^I2: .*took effect after the page was tightened/],
  ['execProtectNoFlush (RC-07)', REF_EXEC_PROTECT_NO_FLUSH, /^I[26]/],
  ['prewriteNoProtect (RC-11)', REF_PREWRITE_NO_PROTECT, /^I[125]/],
  ['readProtectKeepsMmuW (RC-12)', REF_READ_PROTECT_KEEPS_MMU_W, /^I5: .*W without R/],
  ['srcuAcrossEvent (RC-25)', REF_SRCU_ACROSS_EVENT, /^I10/],
  ['killableCompletion (RC-23)', REF_KILLABLE_COMPLETION, /^I12/],
  ['retryLeaksMap (RC-18)', REF_RETRY_LEAKS_MAP, /^I18/],
];
for (const [name, quirk, finding] of SHOWN) {
  test(`${name} alone breaks an invariant that the report names`, (t) => {
    for (let seed = 1; seed <= SEEDS_MAX; seed++) {
      const { findings } = guestStorm(seed, { quirks: [quirk] });
      if (findings.length === 0) continue;
      t.log(`seed ${seed}: ${findings[0]}`);
      t.true(
        findings.some((line) => finding.test(line)),
        findings.join('\n'),
      );
      return;
    }
    t.fail(`nothing in ${SEEDS_MAX} seeds`);
  });
}
