/**
 * How fast the state hash is: on RAM nobody wrote, on RAM full of data, and on a small machine, where calls dominate.
 *
 *   npm run build && node dist/scripts/bench/state-hash.js
 */
import { type LayoutConfig, machineLayout } from '../../src/shared/layout/machine.ts';
import { Mem } from '../../src/shared/mem.ts';
import { StateHasher } from '../../src/shared/state/hash.ts';

const WASM_PAGE_BYTES = 65536;
const GIB = 2 ** 30;
const RUNS = 9;

function machine(config: LayoutConfig) {
  const layout = machineLayout(config);
  const pages = layout.bytes / WASM_PAGE_BYTES;
  const mem = new Mem(new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }));
  return { mem, layout, hasher: new StateHasher(mem, layout) };
}

/** Milliseconds of one call: the median of some. */
function medianMs(calls: number, hasher: StateHasher): number {
  const times = Array.from({ length: RUNS }, () => {
    const from = performance.now();
    for (let i = 0; i < calls; i++) hasher.hash();
    return (performance.now() - from) / calls;
  });
  return times.sort((a, b) => a - b)[RUNS >> 1]!;
}

const big = machine({
  vcpuCount: 4,
  ramPages: GIB / 4096,
  gfnCount: GIB / 4096,
  accessLimit: 4096,
  traceBytes: 0,
  actorCount: 7,
});
const report = (what: string, ms: number) =>
  console.log(`${what}: ${ms.toFixed(1)} ms, ${(1000 / ms).toFixed(1)} GiB/s`);
report('1 GiB of RAM nobody wrote', medianMs(1, big.hasher));
const words = new Int32Array(big.mem.u8.buffer, big.layout.ram, GIB / 4);
for (let i = 0; i < words.length; i++) words[i] = Math.imul(i, 0x9e3779b1) | 1;
report('1 GiB of RAM full of data', medianMs(1, big.hasher));

const small = machine({
  vcpuCount: 2,
  ramPages: 64,
  gfnCount: 128,
  accessLimit: 64,
  traceBytes: 0,
  actorCount: 5,
});
console.log(`2 vCPUs, 64 pages: ${(1000 * medianMs(300, small.hasher)).toFixed(1)} µs`);
