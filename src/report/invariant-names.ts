/** What each invariant says, in a few words: the heading of a finding. */

const NAMES: Readonly<Record<string, string>> = {
  I1: 'a denied access took effect without an event answered CONTINUE',
  I2: 'a denied access took effect after the page was tightened',
  I3: 'policy and tracking disagree',
  I4: 'track counters are not what their owners put in',
  I5: 'a shadow page-table entry is illegal, or grants more than tracking allows',
  I6: 'a TLB grants what its page-table entry does not, and no flush is pending',
  I7: 'something reachable refers to what was freed',
  I8: 'memslot generations are not settled, or an MMIO entry is out of date',
  I9: 'a reply or a command went to the wrong vCPU or event',
  I10: 'something waits for itself',
  I11: 'a lock rule was broken',
  I12: 'the introspection block was used without a reference',
  I13: 'RETRY left a trace, or a locked operation was not atomic',
  I14: 'a written page is missing from the dirty log',
  I15: 'a paused vCPU had an effect',
  I16: 'faults without end',
  I17: 'a vCPU ran after CRASH',
  GUEST: 'the guest found something wrong',
  I18: 'a page mapped for an access was not unmapped',
};

/** `I11/L2` → what I11 says. Empty for what is no invariant. */
export function invariantName(id: string): string {
  return NAMES[id.split('/')[0]!] ?? '';
}
