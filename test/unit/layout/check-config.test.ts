import test from 'ava';
import { SimError } from '../../../src/shared/errors.ts';
import { checkLayoutConfig, MACHINE_BYTES_LIMIT } from '../../../src/shared/layout/check-config.ts';
import { type LayoutConfig, machineLayout, PAGE_BYTES } from '../../../src/shared/layout/machine.ts';
import { parseSize } from '../../../src/shared/units.ts';

const GOOD: LayoutConfig = {
  vcpuCount: 4,
  ramPages: 1024,
  gfnCount: 2048,
  accessLimit: 64,
  traceBytes: 0,
  actorCount: 7,
};

function refusal(change: Partial<LayoutConfig>): SimError {
  try {
    checkLayoutConfig({ ...GOOD, ...change });
  } catch (error) {
    if (error instanceof SimError) return error;
    throw error;
  }
  throw new Error(`accepted: ${JSON.stringify(change)}`);
}

test('the smallest and the largest of each number is accepted', (t) => {
  const edges: Partial<LayoutConfig>[] = [
    { vcpuCount: 1, ramPages: 1, gfnCount: 1, accessLimit: 1, actorCount: 1 },
    { vcpuCount: 16, actorCount: 64 },
    { gfnCount: 64 ** 4 },
    { traceBytes: 64 },
  ];
  for (const change of edges) t.notThrows(() => checkLayoutConfig({ ...GOOD, ...change }));
});

test('a number out of range is named, with its range', (t) => {
  const cases: [Partial<LayoutConfig>, string, string][] = [
    [{ vcpuCount: 0 }, '0 vCPUs', 'choose 1 to 16'],
    [{ vcpuCount: 17, actorCount: 20 }, '17 vCPUs', 'choose 1 to 16'],
    [{ vcpuCount: 1.5 }, '1.5 vCPUs', 'choose 1 to 16'],
    [{ vcpuCount: Number.NaN }, 'NaN vCPUs', 'choose 1 to 16'],
    [{ ramPages: 0 }, '0 pages of RAM', 'choose 1 to 1048576'],
    [{ ramPages: 2 ** 20 + 1 }, '1048577 pages of RAM', 'choose 1 to 1048576'],
    [{ gfnCount: 0 }, '0 guest frames', 'choose 1 to 16777216'],
    [{ gfnCount: 2 ** 24 + 1 }, '16777217 guest frames', 'choose 1 to 16777216'],
    [{ accessLimit: 0 }, '0 pages restricted at one time', 'choose 1 to 16777216'],
    [{ accessLimit: -1 }, '-1 pages restricted at one time', 'choose 1 to 16777216'],
    [{ actorCount: 3 }, '3 actors', 'choose 4 to 64'],
    [{ traceBytes: -64 }, '-64 bytes of trace ring', 'choose 0 to 4294967296'],
    [{ traceBytes: 100 }, '100 bytes of trace ring', 'choose a multiple of 64, or 0 for no trace'],
  ];
  for (const [change, message, hint] of cases) {
    t.like(refusal(change), { code: 'SIM_CONFIG_RANGE', message, hint });
  }
});

test('a machine that needs more than a 32-bit memory is refused, and the RAM the message offers fits', (t) => {
  const error = refusal({ ramPages: 2 ** 20 });
  t.is(error.code, 'SIM_CONFIG_RANGE');
  t.regex(error.message, /^the machine needs 41\d\dM of memory$/);
  const offered = /at most (\d+M) of RAM/.exec(error.hint)?.[1];
  t.truthy(offered, error.hint);
  const ramPages = parseSize(offered!) / PAGE_BYTES;
  t.notThrows(() => checkLayoutConfig({ ...GOOD, ramPages }));
  t.true(machineLayout({ ...GOOD, ramPages }).bytes <= MACHINE_BYTES_LIMIT);
  t.throws(() => checkLayoutConfig({ ...GOOD, ramPages: ramPages + 512 }), { code: 'SIM_CONFIG_RANGE' });
});

test('what is not RAM has to lie below 2 GiB, and the message says what to reduce', (t) => {
  t.regex(refusal({ traceBytes: 2 ** 28 + 2 ** 26 }).message, /^the machine needs 2\d\d\dM beside its RAM$/);
  t.notThrows(() => checkLayoutConfig({ ...GOOD, traceBytes: 2 ** 28 }));
  t.regex(refusal({ traceBytes: 2 ** 30 }).hint, /choose smaller trace rings, fewer frames/);
});
