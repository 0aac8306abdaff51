/** The bundled storm as a machine: its vCPUs, memory, tool and script. */
import type { MachineOptions } from '../machine/options.ts';
import { STABLE, STORM_GPA_BYTES, STORM_RAM_BYTES, VICTIM } from './memory.ts';

/** Between two checks of the whole machine, ms. */
const CHECK_EVERY_MS = 250;

const moduleUrl = (name: string) => new URL(`./${name}${import.meta.url.slice(-3)}`, import.meta.url);

/** `asked`: what the user chose. */
export function stormOptions(asked: Omit<MachineOptions, 'image' | 'program'>): MachineOptions {
  const seed = asked.seed ?? 1n;
  return {
    checkEveryMs: CHECK_EVERY_MS,
    ...asked,
    ramBytes: STORM_RAM_BYTES,
    gpaBytes: STORM_GPA_BYTES,
    memory: [STABLE, VICTIM],
    program: { href: moduleUrl('accesses').href, options: seed },
    tool: { module: moduleUrl('tool'), options: seed },
    script: { module: moduleUrl('script') },
  };
}
