/** Two streams, each giving what is written to the other. */
import { Duplex } from 'node:stream';

export { Duplex };

class Half extends Duplex {
  peer: Half | null = null;

  override _read(): void {}

  override _write(bytes: Buffer, _encoding: string, done: () => void): void {
    this.peer?.push(bytes);
    setImmediate(done);
  }

  override _final(done: () => void): void {
    this.peer?.push(null);
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    const { peer } = this;
    this.peer = null;
    if (peer !== null) setImmediate(() => peer.destroy());
    done(error);
  }
}

export function duplexPair(): [Duplex, Duplex] {
  const [a, b] = [new Half(), new Half()];
  a.peer = b;
  b.peer = a;
  return [a, b];
}
