/** Ctrl-C and its relatives: the first asks for an orderly end, the second does not wait for it. */

const SIGNALS = { SIGINT: 2, SIGTERM: 15 } as const;

export interface Interrupt {
  /** 128 + n once signal n has come, until then null. */
  readonly code: number | null;
  /** Stops listening. @returns 128 + n when signal n came, else null */
  release(): number | null;
}

export function interruptible(stop: () => void): Interrupt {
  let code: number | null = null;
  const handlers = Object.entries(SIGNALS).map(([name, number]) => {
    const handler = () => {
      if (code !== null) process.exit(code);
      code = 128 + number;
      stop();
    };
    process.on(name, handler);
    return { name, handler };
  });
  return {
    get code() {
      return code;
    },
    release: () => {
      for (const { name, handler } of handlers) process.off(name, handler);
      return code;
    },
  };
}
