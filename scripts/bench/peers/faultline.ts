/** Faultline itself: a machine of this process, without introspection. */
import { guestImage, runGuest } from '../guests.ts';
import { TimedConsole } from '../timed-console.ts';
import type { Peer } from './peer.ts';

export const faultline: Peer = {
  name: 'faultline',
  async prepare() {},
  can: () => true,
  async run({ guest, rounds, vcpuCount }) {
    const console = new TimedConsole();
    await runGuest(
      { vcpuCount, ramBytes: guest.ramBytes, image: guestImage(guest.name, rounds), introspected: false },
      (text) => console.put(text),
    );
    return console.result();
  },
  close() {},
};
