/** What introspection costs a guest that nobody restricts, and one that runs beside restricted pages. */
import type { MachineOptions } from '../../src/index.ts';
import { CORE_GUESTS, guestImage, roundsFor, runGuest } from './guests.ts';
import type { RestrictedPages } from './restrict-tool.ts';
import { geometricMean, interleaved, row, type Suite } from './suite.ts';

const RAM_BYTES = 64 * 1024 ** 2;
/** Where no guest of these has anything. */
const UNRELATED: RestrictedPages = { gpa: 32 * 1024 ** 2, count: 1000 };

/** Of a machine: nobody introspects it; a tool does, and restricts nothing; a tool does, and restricts {@link UNRELATED}. */
const VARIANTS: Readonly<Record<'unhooked' | 'hooked' | 'restricted', Partial<MachineOptions>>> = {
  unhooked: { introspected: false },
  hooked: { introspected: true },
  restricted: {
    introspected: true,
    tool: {
      module: new URL(`./restrict-tool${import.meta.url.slice(-3)}`, import.meta.url),
      options: UNRELATED,
    },
  },
};

export const hooked: Suite = {
  name: 'hooked',
  about: `introspection hooked, nothing or ${UNRELATED.count} unrelated pages restricted, against the same guests unhooked`,
  async run({ quick }) {
    const images = CORE_GUESTS.map((name) => guestImage(name, roundsFor(name, quick ? 0.1 : 0.3)));
    const all = async (variant: keyof typeof VARIANTS): Promise<number> => {
      const rates: number[] = [];
      for (const image of images) {
        const report = await runGuest({ vcpuCount: 1, ramBytes: RAM_BYTES, image, ...VARIANTS[variant] });
        const sent = report.events.reduce((total, event) => total + event.sent, 0);
        if (sent > 0) throw new Error(`${variant}: ${sent} events of pages that nobody uses`);
        rates.push(report.instructions / report.seconds / 1e6);
      }
      return geometricMean(rates);
    };
    const taken = await interleaved(quick ? 2 : 7, {
      unhooked: () => all('unhooked'),
      hooked: () => all('hooked'),
      restricted: () => all('restricted'),
    });
    const slower = (rates: readonly number[]) =>
      rates.map((rate, i) => (taken.unhooked[i]! / rate - 1) * 100);
    return [
      row('unhooked', 'M/s', taken.unhooked),
      row('hooked', 'M/s', taken.hooked),
      row('slower', '%', slower(taken.hooked), { is: 'at most', value: 2 }),
      row(`${UNRELATED.count} pages restricted`, 'M/s', taken.restricted),
      row('slower', '%', slower(taken.restricted), { is: 'at most', value: 3 }),
    ];
  },
};
