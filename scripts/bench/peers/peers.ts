/** Everybody Faultline can be compared with. */
import { bochs } from './bochs.ts';
import { native } from './native.ts';
import type { Peer } from './peer.ts';
import { qemu } from './qemu.ts';
import { v86 } from './v86.ts';

export const PEERS: readonly Peer[] = [qemu, v86, bochs, native];
