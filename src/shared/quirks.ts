/**
 * Weaknesses of the reference design (the seed patch and the kernel text around it). The default machine has none of
 * them; `--reference` switches all of them on. Each is one visible deviation at its place in the code, found by
 * searching for its name.
 *
 * @source spec section 12, "Known weaknesses of the reference"
 */

export const REF_CREATE_SLOT_GAP = 1 << 0;
export const REF_TRACK_INVALID_SLOT = 1 << 1;
export const REF_MOVE_FAIL_NO_RETRACK = 1 << 2;
export const REF_ACTIVE_KEY_NO_AS = 1 << 3;
export const REF_EMU_CHECK_THEN_ACT = 1 << 4;
export const REF_EXEC_PROTECT_NO_FLUSH = 1 << 5;
export const REF_PREWRITE_NO_PROTECT = 1 << 6;
export const REF_READ_PROTECT_KEEPS_MMU_W = 1 << 7;
export const REF_ACC_TRACK_RESTORE = 1 << 8;
export const REF_SRCU_ACROSS_EVENT = 1 << 9;
export const REF_KILLABLE_COMPLETION = 1 << 10;
export const REF_RETRY_LEAKS_MAP = 1 << 11;
export const REF_STORE_BY_PIECE = 1 << 12;
export const REF_SLOTS_NEED_SESSION = 1 << 13;

export interface Quirk {
  readonly bit: number;
  /** Item of the race corpus. */
  readonly item: string;
  readonly name: string;
  readonly weakness: string;
}

export const QUIRKS: readonly Quirk[] = [
  {
    bit: REF_CREATE_SLOT_GAP,
    item: 'RC-01',
    name: 'createSlotGap',
    weakness: 'a restriction set between create_slot and activation is stored but never tracked',
  },
  {
    bit: REF_TRACK_INVALID_SLOT,
    item: 'RC-02',
    name: 'trackInvalidSlot',
    weakness: 'tracking is added to an INVALID slot; the next slot with that id stays untracked',
  },
  {
    bit: REF_MOVE_FAIL_NO_RETRACK,
    item: 'RC-03',
    name: 'moveFailNoRetrack',
    weakness: 'a failed MOVE or DELETE re-activates the old slot with its tracking already dropped',
  },
  {
    bit: REF_ACTIVE_KEY_NO_AS,
    item: 'RC-04',
    name: 'activeKeyNoAs',
    weakness: 'the active bitset is keyed by slot id without the address space; only space 0 is tracked',
  },
  {
    bit: REF_EMU_CHECK_THEN_ACT,
    item: 'RC-05',
    name: 'emuCheckThenAct',
    weakness: 'an emulated access is checked, then done later: a tightening can complete in between',
  },
  {
    bit: REF_EXEC_PROTECT_NO_FLUSH,
    item: 'RC-07',
    name: 'execProtectNoFlush',
    weakness: 'removing X (or R) from an entry that stays writable does not flush TLBs',
  },
  {
    bit: REF_PREWRITE_NO_PROTECT,
    item: 'RC-11',
    name: 'prewriteNoProtect',
    weakness: 'adding PREWRITE leaves an existing writable spte writable',
  },
  {
    bit: REF_READ_PROTECT_KEEPS_MMU_W,
    item: 'RC-12',
    name: 'readProtectKeepsMmuW',
    weakness: 'read-protection leaves MMU-writable set: the fast path makes W without R',
  },
  {
    bit: REF_ACC_TRACK_RESTORE,
    item: 'RC-26',
    name: 'accTrackRestore',
    weakness: 'tightening leaves the saved R and X of an access-tracked entry: they come back',
  },
  {
    bit: REF_SRCU_ACROSS_EVENT,
    item: 'RC-25',
    name: 'srcuAcrossEvent',
    weakness: 'events are sent and awaited inside kvm.srcu and track_srcu: memslot updates wait for the tool',
  },
  {
    bit: REF_KILLABLE_COMPLETION,
    item: 'RC-23',
    name: 'killableCompletion',
    weakness: 'an interrupted wait for the last reference is ignored: the block is freed under its users',
  },
  {
    bit: REF_RETRY_LEAKS_MAP,
    item: 'RC-18',
    name: 'retryLeaksMap',
    weakness: 'a locked access answered RETRY leaves its page mapped',
  },
  {
    bit: REF_STORE_BY_PIECE,
    item: 'RC-82',
    name: 'storeByPiece',
    weakness:
      'a read-modify-write across pages answered RETRY at its second page is applied twice to the first',
  },
  {
    bit: REF_SLOTS_NEED_SESSION,
    item: 'RC-83',
    name: 'slotsNeedSession',
    weakness:
      'slots that change between the end of a session and unhook are not followed: a move loses its counts, unhook underflows',
  },
];

/** All of them: what `--reference` means. RC-35 (fail-open) is the default of both builds; `--strict` changes it. */
export const REFERENCE_QUIRKS = QUIRKS.reduce((bits, quirk) => bits | quirk.bit, 0);
