/** Bytes between a stream of the main thread and the introspector's: see wire/port-channel.ts for the other end. */
import type { Duplex } from 'node:stream';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { PortMessage } from '../actors/introspector/wire/port-channel.ts';
import { SimError } from '../shared/errors.ts';

/** How long the other side may take for the last bytes, ms. */
const FLUSH_MS_MAX = 1000;

/**
 * @returns the port to send to the introspector. When either side ends, the other does
 * @throws SimError SIM_USAGE for a stream that gives or takes something else than bytes
 */
export function relay(stream: Duplex): MessagePort {
  const { readableObjectMode, writableObjectMode, readableEncoding } = stream;
  if (readableObjectMode || writableObjectMode || readableEncoding !== null) {
    const what = readableEncoding === null ? 'objects' : `text (${readableEncoding})`;
    throw new SimError('SIM_USAGE', `a tool cannot be served over a stream of ${what}`, {
      hint: 'KVMI is bytes: give a stream without objectMode and setEncoding',
    });
  }
  const { port1, port2 } = new MessageChannel();
  const send = (message: PortMessage) => port1.postMessage(message);
  stream.on('data', (bytes: Buffer) => send({ is: 'bytes', bytes: new Uint8Array(bytes) }));
  stream.pause();
  // What is wrong with a stream shows in its end.
  stream.on('error', () => {});
  stream.on('end', () => stream.end());
  stream.on('close', () => {
    send({ is: 'end' });
    port1.close();
  });
  port1.on('message', (message: PortMessage) => {
    switch (message.is) {
      case 'bytes':
        if (!stream.writable) return;
        stream.write(message.bytes, () => send({ is: 'taken', count: message.bytes.length }));
        return;
      case 'pause':
        stream.pause();
        return;
      case 'resume':
        stream.resume();
        return;
      case 'end': {
        const late = setTimeout(() => stream.destroy(), FLUSH_MS_MAX);
        stream.once('close', () => clearTimeout(late));
        stream.end(() => stream.destroy());
      }
    }
  });
  // With the port everything that was written may go: what is still on its way has its time above.
  port1.on('close', () => {
    if (!stream.writableEnded) stream.destroy();
  });
  if (stream.destroyed) {
    send({ is: 'end' });
    port1.close();
  }
  return port2;
}
