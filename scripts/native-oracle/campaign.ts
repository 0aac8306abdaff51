/** The cases of one seed, round by round: every slot, scarce operations more often, sequences between them. */
import { FORMS } from '../../src/actors/vcpu/isa/forms.ts';
import { Prng } from '../../src/shared/prng.ts';
import type { OracleCase } from './case.ts';
import { SLOTS, type Slot } from './encodings.ts';
import { makeCase } from './generate.ts';
import { makeSequence } from './sequence.ts';

/** Cases of an operation in a round, at least. */
const SCARCE = 24;
/** Of an operation with more slots than meanings, one slot in so many takes part in a round. */
const THINNED: { readonly [op: string]: number } = { nop: 12, prefetch: 5 };
const SEQUENCES = 500;
/** Variants that the core picks by what comes after an instruction. */
const VARIANTS = FORMS.filter((form) => form.jcc >= 0 || !form.flags);

/** A case in the making, so that a round can be shuffled before the work is done. */
type Maker = (rng: Prng) => OracleCase;

/**
 * Cases without end; the same for the same seed.
 *
 * @param only  operations to make cases of, and no sequences then; null for all
 */
export function* campaign(seed: bigint, only: RegExp | null = null): Generator<OracleCase, never> {
  const rng = new Prng(seed);
  for (;;) for (const make of shuffled(round(rng, only), rng)) yield make(rng);
}

function round(rng: Prng, only: RegExp | null): Maker[] {
  const makers: Maker[] = [];
  const slotsOfOp = new Map<string, number>();
  for (const { encoding } of SLOTS) slotsOfOp.set(encoding.op, (slotsOfOp.get(encoding.op) ?? 0) + 1);
  for (const slot of SLOTS) {
    if (only !== null && !only.test(slot.encoding.op)) continue;
    for (let turn = turns(slot, slotsOfOp, rng); turn > 0; turn--) makers.push((r) => makeCase(slot, r));
  }
  if (only !== null) {
    if (makers.length === 0) throw new Error(`no operation is called like ${only.source}`);
    return makers;
  }
  for (const form of VARIANTS) makers.push((r) => makeSequence(r, form));
  for (let i = 0; i < SEQUENCES; i++) makers.push((r) => makeSequence(r));
  return makers;
}

function turns({ encoding }: Slot, slotsOfOp: ReadonlyMap<string, number>, rng: Prng): number {
  const thinned = THINNED[encoding.op];
  if (thinned !== undefined) return rng.below(thinned) === 0 ? 1 : 0;
  return Math.max(1, Math.ceil(SCARCE / slotsOfOp.get(encoding.op)!));
}

function shuffled<T>(items: T[], rng: Prng): T[] {
  for (let i = items.length - 1; i > 0; i--) {
    const j = rng.below(i + 1);
    [items[i], items[j]] = [items[j]!, items[i]!];
  }
  return items;
}
