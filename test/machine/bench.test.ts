import test from 'ava';
import { benchGuest, guestImage, runGuest } from '../../scripts/bench/guests.ts';
import { TimedConsole } from '../../scripts/bench/timed-console.ts';
import { readExpected } from '../../scripts/build-guests.ts';
import { loadImage, symbolValue } from '../../src/image/load.ts';

const guests = Object.entries(readExpected()).filter(
  ([name, { console }]) => name.startsWith('bench-') && console !== null,
);

for (const [name, { smp, console, mem, memBytes }] of guests) {
  // One machine at a time: each has threads enough.
  test.serial(`${name} prints what its header says, on ${smp} vCPUs with ${mem}`, async (t) => {
    const heard = new TimedConsole();
    const image = `test/guests/images/${name}.elf`;
    await runGuest({ vcpuCount: smp, ramBytes: memBytes, image }, (text) => heard.put(text));
    t.deepEqual(heard.text.trimEnd().split('\n'), console);
    t.is(heard.result().checksum, console!.at(-1)!);
  });
}

test.serial('rounds are set in the image: no work, no sum', async (t) => {
  const { name, ramBytes } = benchGuest('bench-recursion');
  const image = guestImage(name, 0);
  const { segments, ...loaded } = loadImage(image, { ramBytes, vcpuCount: 1 });
  const at = symbolValue({ segments, ...loaded }, 'bench_rounds');
  const segment = segments.find(({ gpa, data }) => at >= gpa && at < gpa + data.byteLength)!;
  t.is(Buffer.from(segment.data).readUInt32LE(at - segment.gpa), 0);
  const heard = new TimedConsole();
  await runGuest({ vcpuCount: 2, ramBytes, image }, (text) => heard.put(text));
  t.is(heard.result().checksum, '0000000000000000');
});
