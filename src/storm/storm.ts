/** The bundled storm as a machine: guest, memory, tool, script, and what must hold in the end. */
import { loadImage, symbolValue } from '../image/load.ts';
import { type MachineOptions, RAM_BYTES_MAX } from '../machine/options.ts';
import { SimError } from '../shared/errors.ts';
import { Prng } from '../shared/prng.ts';
import { formatSize } from '../shared/units.ts';
import { STORM_GUEST_BASE64, STORM_VCPU_LIMIT } from './guest-image.ts';
import { STABLE, STORM_GPA_BYTES, STORM_RAM_BYTES, VICTIM } from './memory.ts';
import { stormOracle } from './oracle.ts';

/** Between two checks of the whole machine, ms. */
const CHECK_EVERY_MS = 250;

const moduleUrl = (name: string) => new URL(`./${name}${import.meta.url.slice(-3)}`, import.meta.url);

/**
 * @param asked  what the user chose
 * @throws SimError SIM_CONFIG_RANGE when its memory does not fit into the RAM asked for
 */
export function stormOptions(asked: Omit<MachineOptions, 'image' | 'program'>): MachineOptions {
  const { seed = 1n, ramBytes = STORM_RAM_BYTES, vcpuCount } = asked;
  if (ramBytes < STORM_RAM_BYTES) {
    throw new SimError('SIM_CONFIG_RANGE', `the storm in ${formatSize(ramBytes)} of RAM`, {
      hint: `give it 32M to ${formatSize(RAM_BYTES_MAX)}, or leave --mem out`,
    });
  }
  const file = Uint8Array.from(Buffer.from(STORM_GUEST_BASE64, 'base64'));
  const image = loadImage(file, { ramBytes: STABLE.bytes, vcpuCount });
  return {
    checkEveryMs: CHECK_EVERY_MS,
    ...asked,
    ramBytes,
    gpaBytes: STORM_GPA_BYTES,
    memory: [STABLE, VICTIM],
    image: file,
    contents: [{ offset: symbolValue(image, 'storm_seeds'), data: guestSeeds(seed) }],
    stopWord: symbolValue(image, 'storm_stop'),
    oracle: stormOracle(image),
    tool: { module: moduleUrl('tool'), options: seed },
    script: { module: moduleUrl('script') },
  };
}

/** A qword for each vCPU the guest has room for. */
function guestSeeds(seed: bigint): Uint8Array {
  const seeds = new BigUint64Array(STORM_VCPU_LIMIT);
  for (const index of seeds.keys()) seeds[index] = new Prng(seed).fork(`guest ${index}`).seed;
  return new Uint8Array(seeds.buffer);
}
