/** Bytes between a stream of the main thread and the introspector's: see wire/port-channel.ts for the other end. */
import type { Duplex } from 'node:stream';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { PortMessage } from '../actors/introspector/wire/port-channel.ts';

/** @returns the port to send to the introspector. When either side ends, the other does */
export function relay(stream: Duplex): MessagePort {
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
      case 'end':
        stream.end(() => stream.destroy());
    }
  });
  port1.on('close', () => stream.destroy());
  return port2;
}
