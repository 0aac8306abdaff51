/** What introspection costs a guest that nobody restricts. */
import { CORE_GUESTS, guestImage, guestRate, roundsFor } from './guests.ts';
import { geometricMean, interleaved, row, type Suite } from './suite.ts';

export const hooked: Suite = {
  name: 'hooked',
  about: 'introspection hooked, nothing restricted, against the same guests unhooked',
  async run({ quick }) {
    const images = CORE_GUESTS.map((name) => guestImage(name, roundsFor(name, quick ? 0.1 : 0.3)));
    const all = async (introspected: boolean): Promise<number> => {
      const rates: number[] = [];
      for (const image of images) rates.push(await guestRate({ vcpuCount: 1, image, introspected }));
      return geometricMean(rates);
    };
    const taken = await interleaved(quick ? 2 : 7, {
      unhooked: () => all(false),
      hooked: () => all(true),
    });
    const slower = taken.hooked.map((rate, i) => (taken.unhooked[i]! / rate - 1) * 100);
    return [
      row('unhooked', 'M/s', taken.unhooked),
      row('hooked', 'M/s', taken.hooked),
      row('slower', '%', slower, { is: 'at most', value: 2 }),
    ];
  },
};
