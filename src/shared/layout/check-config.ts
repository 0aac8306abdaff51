/** Can a machine of this size be laid out? Asked once, before its memory is allocated. */
import { SimError } from '../errors.ts';
import { formatSize } from '../units.ts';
import { TREE_FANOUT, TREE_LEVELS } from './access-tree.ts';
import { type LayoutConfig, machineLayout, PAGE_BYTES, VCPU_LIMIT } from './machine.ts';

/** What a 32-bit WebAssembly memory can have: 65536 pages of 64 KiB. */
export const MACHINE_BYTES_LIMIT = 65536 * 65536;
/** LIMIT: everything but RAM lies where an int32 can say where: vCPUs keep addresses of their own area in int32 words. */
export const TABLES_BYTES_LIMIT = 2 ** 31;
/** Frames the access tree can name. */
export const GFN_LIMIT = TREE_FANOUT ** TREE_LEVELS;
/** LIMIT: actors of one machine. Their number is bounded only so that it is no typing mistake. */
export const ACTOR_LIMIT = 64;
/** Trace rings start on cache lines. */
const TRACE_UNIT_BYTES = 64;

/**
 * Checks what machineLayout takes for granted.
 *
 * @throws SimError SIM_CONFIG_RANGE naming the first number that is out of range, with the range; or, when the whole
 *         does not fit into one memory, how much RAM would
 */
export function checkLayoutConfig(config: LayoutConfig): void {
  const { vcpuCount, ramPages, gfnCount, accessLimit, traceBytes, actorCount } = config;
  within(vcpuCount, 'vCPUs', 1, VCPU_LIMIT);
  within(ramPages, 'pages of RAM', 1, MACHINE_BYTES_LIMIT / PAGE_BYTES);
  within(gfnCount, 'guest frames', 1, GFN_LIMIT);
  within(accessLimit, 'pages restricted at one time', 1, GFN_LIMIT);
  within(actorCount, 'actors', vcpuCount, ACTOR_LIMIT);
  within(traceBytes, 'bytes of trace ring', 0, MACHINE_BYTES_LIMIT);
  if (traceBytes % TRACE_UNIT_BYTES !== 0) {
    throw new SimError('SIM_CONFIG_RANGE', `${traceBytes} bytes of trace ring`, {
      hint: `choose a multiple of ${TRACE_UNIT_BYTES}, or 0 for no trace`,
    });
  }
  const { bytes, ram } = machineLayout(config);
  if (ram > TABLES_BYTES_LIMIT) {
    throw new SimError(
      'SIM_CONFIG_RANGE',
      `the machine needs ${formatSize(roundUpMiB(ram))} beside its RAM`,
      {
        hint: `at most ${formatSize(TABLES_BYTES_LIMIT)}: choose smaller trace rings, fewer frames or fewer restricted pages`,
      },
    );
  }
  if (bytes <= MACHINE_BYTES_LIMIT) return;
  const ramLeft = formatSize(MACHINE_BYTES_LIMIT - roundUpMiB(ram));
  const remedy = `at most ${ramLeft} of RAM fit beside the rest of this machine`;
  throw new SimError('SIM_CONFIG_RANGE', `the machine needs ${formatSize(roundUpMiB(bytes))} of memory`, {
    hint: `a 32-bit WebAssembly memory holds ${formatSize(MACHINE_BYTES_LIMIT)}: ${remedy}`,
  });
}

function within(value: number, what: string, least: number, most: number): void {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw new SimError('SIM_CONFIG_RANGE', `${value} ${what}`, { hint: `choose ${least} to ${most}` });
}

/** As sizes are shown: in whole MiB. */
export function roundUpMiB(bytes: number): number {
  return Math.ceil(bytes / 2 ** 20) * 2 ** 20;
}
