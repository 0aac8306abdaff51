/**
 * Where everything is: the one list of regions in a machine's shared memory, computed from its configuration.
 *
 * Metadata first, guest RAM last, so that cells have small addresses. Every thread computes the same layout from the
 * same `LayoutConfig`; nothing but that object travels between threads.
 */

import { roundUp, type Struct, struct, u8 } from '../struct.ts';
import { LOCK_BYTES } from '../sync/lock-class.ts';
import { STATS_BYTES } from '../sync/stats.ts';
import { MEM_ACCESS, NOTIFIER, NOTIFIER_LIMIT, TREE_NODE } from './access-tree.ts';
import { CPU, CPU_AREA_BYTES } from './cpu.ts';
import { ARCH, ARCH_LIMIT, SLOT, SLOT_LIMIT, SLOT_SET_BYTES, TRACK_MODES } from './memslot.ts';
import { RING_BYTES } from './ring.ts';
import { ROOT, ROOT_LIMIT, SPTE_STRETCH } from './spte.ts';
import { VCPU } from './vcpu.ts';
import { ADDRESS_SPACES, VM } from './vm.ts';

export const PAGE_BYTES = 4096;
export const VCPU_LIMIT = 16;

export interface LayoutConfig {
  readonly vcpuCount: number;
  /** Guest RAM: the host memory that slots point into. Pages, not the guest's address space. */
  readonly ramPages: number;
  /** Guest physical address space, in frames: slots must end below it. */
  readonly gfnCount: number;
  /** Pages that can be restricted at one time. */
  readonly accessLimit: number;
  /** Trace ring of one actor, bytes; 0 without a trace. */
  readonly traceBytes: number;
  /** Actors with statistics and a trace ring: the vCPUs, the introspector, VM control, the machine. */
  readonly actorCount: number;
}

/** Locks and SRCU domains, LOCK_BYTES each, in this order; per-vCPU ones follow (see Vm). */
export const VM_LOCKS = [
  'kvm.lock',
  'kvmi_lock',
  'slots_lock',
  'slots_arch_lock',
  'mmu_lock',
  'access_tree_lock',
  'mn_invalidate_lock',
  'connection_lock',
  'split_lock',
  'kvm.srcu',
  'track_srcu',
  'kvmi_complete',
  'quiesce',
] as const;
export type VmLockName = (typeof VM_LOCKS)[number];
/** Locks of one vCPU: vcpu.mutex, job_lock. */
export const VCPU_LOCKS = 2;

const MAGIC = struct('header', {
  MAGIC: u8('machine', '"FAULTLN1"', 8),
});

export interface Region {
  readonly name: string;
  readonly base: number;
  /** Bytes from one record to the next. */
  readonly stride: number;
  readonly count: number;
  /** Names the words of a record; null for plain bytes. */
  readonly struct: Struct | null;
  /** Part of the state hash: what a replay must reproduce. Statistics, traces and caches are not. */
  readonly hashed: boolean;
}

export interface MachineLayout {
  readonly config: LayoutConfig;
  readonly regions: readonly Region[];
  readonly vm: number;
  readonly locks: number;
  readonly vcpuLocks: number;
  readonly vcpus: number;
  readonly notifiers: number;
  readonly roots: number;
  readonly slotSets: number;
  readonly pendingSlots: number;
  readonly archs: number;
  readonly pools: number;
  readonly treeNodes: number;
  readonly treeNodeCount: number;
  readonly accessNodes: number;
  readonly accessNodeCount: number;
  readonly codeMap: number;
  readonly stretches: number;
  readonly sptes: number;
  readonly archArena: number;
  readonly archArenaBytes: number;
  readonly jobRings: number;
  readonly messageRings: number;
  readonly stats: number;
  readonly traces: number;
  readonly cpus: number;
  readonly cpuStride: number;
  readonly ram: number;
  readonly bytes: number;
}

/** Computes all addresses. Pure: the same configuration gives the same layout in every thread. */
export function machineLayout(config: LayoutConfig): MachineLayout {
  const { vcpuCount, ramPages, gfnCount, accessLimit, traceBytes, actorCount } = config;
  const regions: Region[] = [];
  let next = 0;
  const region = (
    name: string,
    stride: number,
    count: number,
    hashed: boolean,
    record: Struct | null = null,
    align = 64,
  ) => {
    const base = roundUp(next, align);
    next = base + stride * count;
    regions.push({ name, base, stride, count, struct: record, hashed });
    return base;
  };

  region('header', 64, 1, true, MAGIC);
  const vm = region('vm', VM.bytes, 1, true, VM);
  const locks = region('locks', LOCK_BYTES, VM_LOCKS.length, false);
  const vcpuLocks = region('vcpu-locks', LOCK_BYTES, VCPU_LOCKS * vcpuCount, false);
  const vcpus = region('vcpus', VCPU.bytes, vcpuCount, true, VCPU);
  const notifiers = region('notifiers', NOTIFIER.bytes, NOTIFIER_LIMIT, true, NOTIFIER);
  const roots = region('roots', ROOT.bytes, ROOT_LIMIT, true, ROOT);
  const slotSets = region('slot-sets', SLOT_SET_BYTES, ADDRESS_SPACES * 2, true);
  const pendingSlots = region('pending-slots', SLOT.bytes, 2, true, SLOT);
  const archs = region('slot-archs', ARCH.bytes, ARCH_LIMIT, true, ARCH);
  const pools = region('pools', 64, 2, true, null);
  // Every entry may need its own leaf; the levels above are few.
  const treeNodeCount = accessLimit + Math.ceil(accessLimit / 8) + 8;
  const treeNodes = region('tree-nodes', TREE_NODE.bytes, treeNodeCount, true, TREE_NODE);
  const accessNodes = region('access-nodes', MEM_ACCESS.bytes, accessLimit, true, MEM_ACCESS);
  const codeMap = region('code-map', 4, ramPages, false);
  const stretchCount = Math.ceil(gfnCount / SPTE_STRETCH);
  const stretches = region('spte-stretches', 4 * stretchCount, ROOT_LIMIT, true);
  const sptes = region('sptes', 8 * gfnCount, ROOT_LIMIT, true);
  // Track counters, rmap, dirty bits for every page of both address spaces, once more for a MOVE in progress.
  const archBytesPerPage = 2 * TRACK_MODES + 4 + 1;
  const archArenaBytes = roundUp(gfnCount * archBytesPerPage * (ADDRESS_SPACES + 1) + ARCH_LIMIT * 256, 64);
  const archArena = region('slot-arch-arena', 1, archArenaBytes, true);
  const jobRings = region('job-rings', RING_BYTES, vcpuCount, true);
  const messageRings = region('message-rings', RING_BYTES, vcpuCount, true);
  const stats = region('lock-statistics', STATS_BYTES, actorCount, false);
  const traces = region('trace-rings', traceBytes, actorCount, false);
  const cpuStride = roundUp(CPU_AREA_BYTES, PAGE_BYTES);
  const cpus = region('cpus', cpuStride, vcpuCount, true, CPU, PAGE_BYTES);
  const ram = region('ram', PAGE_BYTES, ramPages, true, null, 65536);

  return {
    config,
    regions,
    vm,
    locks,
    vcpuLocks,
    vcpus,
    notifiers,
    roots,
    slotSets,
    pendingSlots,
    archs,
    pools,
    treeNodes,
    treeNodeCount,
    accessNodes,
    accessNodeCount: accessLimit,
    codeMap,
    stretches,
    sptes,
    archArena,
    archArenaBytes,
    jobRings,
    messageRings,
    stats,
    traces,
    cpus,
    cpuStride,
    ram,
    bytes: roundUp(next, 65536),
  };
}

/** Most slots a machine can hold in one address space, for messages. */
export { SLOT_LIMIT };
