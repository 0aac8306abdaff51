/** Everybody Faultline can be compared with. */
import { native } from './native.ts';
import type { Peer } from './peer.ts';
import { qemu } from './qemu.ts';

export const PEERS: readonly Peer[] = [qemu, native];
