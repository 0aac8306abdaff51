/** Unix sockets by their path: connecting to one, and making room for one. */
import { lstatSync, unlinkSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { SimError } from '../../../shared/errors.ts';

/** A socket that is connected and paused, or why there is none. */
export function connected(path: string): Promise<Socket | Error> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.pause();
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      resolve(socket);
    });
    socket.once('error', resolve);
  });
}

/**
 * Removes a socket that somebody has left behind, and nothing else.
 *
 * @throws SimError SIM_FILE when something else is there, or somebody listens
 */
export async function clearPlace(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  const refuse = (why: string) =>
    new SimError('SIM_FILE', `cannot listen at ${path}: ${why}`, { hint: 'name another place' });
  if (!found.isSocket()) throw refuse('what is there is no socket');
  const other = await connected(path);
  if (!(other instanceof Error)) {
    other.destroy();
    throw refuse('somebody listens there');
  }
  unlinkSync(path);
}

/** What keeps us from listening. */
export function cannotListen(path: string, cause: unknown): SimError {
  return new SimError('SIM_FILE', `cannot listen at ${path}`, {
    hint: 'name a place where a unix socket can be made, and nobody listens yet',
    cause,
  });
}
