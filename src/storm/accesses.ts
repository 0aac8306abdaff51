/** The storm for vCPUs without an instruction set: endless accesses by chance. One in eight crosses a page. */
import type { Access } from '../actors/vcpu/access-program.ts';
import { Prng } from '../shared/prng.ts';
import { STORM_PAGES } from './memory.ts';

const KINDS = ['read', 'write', 'execute'] as const;
const SIZES = [1, 2, 4, 8] as const;

/** `options`: the seed. */
export default function* accesses(index: number, options: unknown): Iterable<Access> {
  const prng = new Prng(options as bigint).fork(`vcpu ${index}`);
  for (;;) {
    const size = SIZES[prng.below(4)]!;
    const kind = KINDS[prng.below(3)]!;
    const crosses = size > 1 && prng.chance(0.125);
    const offset = crosses ? 4096 - 1 - prng.below(size - 1) : prng.below(4096 / size) * size;
    yield { kind, size, gpa: prng.below(STORM_PAGES) * 4096 + offset, value: BigInt(prng.u32()) };
  }
}
