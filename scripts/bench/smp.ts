/** Independent work on two vCPUs against one. */
import { CORE_GUESTS, guestImage, guestRate, roundsFor } from './guests.ts';
import { geometricMean, interleaved, row, type Suite } from './suite.ts';

export const smp: Suite = {
  name: 'smp',
  about: 'the same work on each of two vCPUs: instructions a second of both against one alone',
  async run({ quick }) {
    const images = CORE_GUESTS.map((name) => guestImage(name, roundsFor(name, quick ? 0.1 : 0.3)));
    const all = async (vcpuCount: number): Promise<number> => {
      const rates: number[] = [];
      for (const image of images) rates.push(await guestRate({ vcpuCount, image, introspected: false }));
      return geometricMean(rates);
    };
    const taken = await interleaved(quick ? 1 : 5, { one: () => all(1), two: () => all(2) });
    const ratios = taken.two.map((rate, i) => rate / taken.one[i]!);
    return [
      row('one vCPU', 'M/s', taken.one),
      row('two vCPUs', 'M/s', taken.two),
      row('two over one', '×', ratios, { is: 'at least', value: 1.9 }),
    ];
  },
};
