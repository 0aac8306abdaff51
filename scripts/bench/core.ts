/** The interpreter: guest instructions a second on one vCPU, without introspection. */
import { CORE_GUESTS, guestImage, guestRate, roundsFor } from './guests.ts';
import { geometricMean, interleaved, type Row, row, type Suite } from './suite.ts';

export const core: Suite = {
  name: 'core',
  about: 'guest instructions a second of the generated interpreter, one vCPU',
  async run({ quick }) {
    const images = CORE_GUESTS.map((name) => guestImage(name, roundsFor(name, quick ? 0.1 : 0.5)));
    const variants = Object.fromEntries(
      CORE_GUESTS.map((name, i) => [
        name,
        () => guestRate({ vcpuCount: 1, image: images[i]!, introspected: false }),
      ]),
    );
    const taken = await interleaved(quick ? 1 : 5, variants);
    const rows: Row[] = CORE_GUESTS.map((name) => row(name, 'M/s', taken[name]!));
    const means = taken[CORE_GUESTS[0]]!.map((_, i) => geometricMean(CORE_GUESTS.map((g) => taken[g]![i]!)));
    rows.push(row('geometric mean', 'M/s', means, { is: 'at least', value: 200 }));
    return rows;
  },
};
