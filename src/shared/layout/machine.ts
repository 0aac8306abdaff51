/**
 * Where everything is: the one list of regions in a machine's shared memory, computed from its configuration.
 *
 * Metadata first, guest RAM last, so that cells have small addresses. Every thread computes the same layout from the
 * same `LayoutConfig`; nothing but that object travels between threads.
 */

import { i32, roundUp, type Struct, struct, u8 } from '../struct.ts';
import { COMPLETION } from '../sync/completion.ts';
import { LOCK_BYTES, LOCK_CLASSES } from '../sync/lock-class.ts';
import { MUTEX } from '../sync/mutex.ts';
import { RWLOCK } from '../sync/rw-lock.ts';
import { SPINLOCK } from '../sync/spinlock.ts';
import { SRCU } from '../sync/srcu.ts';
import { STATS, STATS_BYTES } from '../sync/stats.ts';
import { MEM_ACCESS, NOTIFIER, NOTIFIER_LIMIT, POOL, POOL_NAMES, TREE_NODE } from './access-tree.ts';
import { BOARD, LAPIC, PIC, PIT_CHANNEL, SERIAL_INPUT } from './board.ts';
import {
  CPU,
  CPU_AREA_BYTES,
  CPU_FILLED,
  CPU_JUMP_CACHE,
  CPU_SCRATCH_UOP,
  CPU_UOPS,
  FILLED,
  JUMP_ENTRIES,
  JUMP_ENTRY,
  TLB_ENTRIES,
  TLB_ENTRY,
  tlbTable,
  UOP_ARENA_BYTES,
} from './cpu.ts';
import { ARCH, ARCH_LIMIT, SLOT, SLOT_LIMIT, SLOT_SET, SLOT_SET_BYTES, TRACK_MODES } from './memslot.ts';
import { RING, RING_BYTES, RING_DATA } from './ring.ts';
import { ROOT, ROOT_LIMIT, SPTE, SPTE_STRETCH, STRETCH } from './spte.ts';
import { TRACE_RECORD, TRACE_RING, traceCapacity } from './trace.ts';
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
  /** A PC with APICs, timers and a serial port; absent for a bare machine: vCPUs, RAM, two ports. */
  readonly board?: boolean;
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
  'board_lock',
] as const;
export type VmLockName = (typeof VM_LOCKS)[number];
const VCPU_LOCK_NAMES = ['vcpu.mutex', 'job_lock'] as const;
/** Locks of one vCPU. */
export const VCPU_LOCKS = VCPU_LOCK_NAMES.length;

const LOCK_STRUCTS: Readonly<Record<VmLockName | (typeof VCPU_LOCK_NAMES)[number], Struct>> = {
  'kvm.lock': MUTEX,
  kvmi_lock: MUTEX,
  slots_lock: MUTEX,
  slots_arch_lock: MUTEX,
  mmu_lock: RWLOCK,
  access_tree_lock: RWLOCK,
  mn_invalidate_lock: SPINLOCK,
  connection_lock: MUTEX,
  split_lock: SPINLOCK,
  'kvm.srcu': SRCU,
  track_srcu: SRCU,
  kvmi_complete: COMPLETION,
  board_lock: SPINLOCK,
  'vcpu.mutex': MUTEX,
  job_lock: SPINLOCK,
};

const MAGIC = struct('header', {
  MAGIC: u8('machine', '"FAULTLN1"', 8),
});
const CODE_VERSION = struct(
  'code-version',
  { VERSION: i32('writers of code (add)', 'bumped by a write to code') },
  4,
);
const RAM_PAGE = struct('page', { BYTES: u8('guest, introspector', 'guest RAM', PAGE_BYTES) });

/** Equal records, one after the other, at one place in every element of a region. */
export interface Part {
  readonly struct: Struct;
  /** Bytes from the start of the element. */
  readonly offset: number;
  readonly count: number;
  /** Which of several parts with the same struct: the name of a lock. */
  readonly label?: string;
  /** Can be thrown away at any time without changing what the machine does: no part of the state hash. */
  readonly cache?: true;
}

export interface Region {
  readonly name: string;
  readonly base: number;
  /** Bytes from one element to the next: a vCPU, a slot set, a page of RAM. */
  readonly stride: number;
  readonly count: number;
  /** What stands in an element, by ascending offset. The bytes between are padding, always zero. */
  readonly parts: readonly Part[];
  /**
   * Part of the state hash: what a replay must reproduce. Statistics, traces and caches are not; locks are not, because
   * tickets and turns differ between two ways to the same state.
   */
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
  /** Of vCPU 0, LAPIC.bytes apart; without a board there are none. */
  readonly lapics: number;
  readonly board: number;
  readonly pics: number;
  readonly pitChannels: number;
  readonly serialInput: number;
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
    what: Struct | readonly Part[],
    align = 64,
  ) => {
    const base = roundUp(next, align);
    next = base + stride * count;
    // A machine without a board has no regions for one.
    if (count === 0) return base;
    const parts = 'fields' in what ? [{ struct: what, offset: 0, count: 1 }] : what;
    regions.push({ name, base, stride, count, parts, hashed });
    return base;
  };

  region('header', 64, 1, true, MAGIC);
  const vm = region('vm', VM.bytes, 1, true, VM);
  const locks = region('locks', LOCK_BYTES * VM_LOCKS.length, 1, false, lockParts(VM_LOCKS));
  const vcpuLocks = region(
    'vcpu-locks',
    LOCK_BYTES * VCPU_LOCKS,
    vcpuCount,
    false,
    lockParts(VCPU_LOCK_NAMES),
  );
  const vcpus = region('vcpus', VCPU.bytes, vcpuCount, true, VCPU);
  const notifiers = region('notifiers', NOTIFIER.bytes, NOTIFIER_LIMIT, true, NOTIFIER);
  const roots = region('roots', ROOT.bytes, ROOT_LIMIT, true, ROOT);
  const slotSets = region('slot-sets', SLOT_SET_BYTES, ADDRESS_SPACES * 2, true, [
    { struct: SLOT_SET, offset: 0, count: 1 },
    { struct: SLOT, offset: SLOT_SET.bytes, count: SLOT_LIMIT },
  ]);
  const pendingSlots = region('pending-slots', SLOT.bytes, 2, true, SLOT);
  const archs = region('slot-archs', ARCH.bytes, ARCH_LIMIT, true, ARCH);
  const poolParts = POOL_NAMES.map((label, i) => ({ struct: POOL, offset: i * POOL.bytes, count: 1, label }));
  const pools = region('pools', POOL.bytes * POOL_NAMES.length, 1, true, poolParts);
  // Every entry may need its own leaf; the levels above are few.
  const treeNodeCount = accessLimit + Math.ceil(accessLimit / 8) + 8;
  const treeNodes = region('tree-nodes', TREE_NODE.bytes, treeNodeCount, true, TREE_NODE);
  const accessNodes = region('access-nodes', MEM_ACCESS.bytes, accessLimit, true, MEM_ACCESS);
  const codeMap = region('code-map', CODE_VERSION.bytes, ramPages, false, CODE_VERSION);
  const stretchCount = Math.ceil(gfnCount / SPTE_STRETCH);
  const stretches = region('spte-stretches', STRETCH.bytes * stretchCount, ROOT_LIMIT, true, [
    { struct: STRETCH, offset: 0, count: stretchCount },
  ]);
  const sptes = region('sptes', SPTE.bytes * gfnCount, ROOT_LIMIT, true, [
    { struct: SPTE, offset: 0, count: gfnCount },
  ]);
  // Track counters, rmap, dirty bits for every page of both address spaces, once more for a MOVE in progress.
  const archBytesPerPage = 2 * TRACK_MODES + 4 + 1;
  const archArenaBytes = roundUp(gfnCount * archBytesPerPage * (ADDRESS_SPACES + 1) + ARCH_LIMIT * 256, 64);
  const archArena = region(
    'slot-arch-arena',
    archArenaBytes,
    1,
    true,
    bytes(
      'slot-arch-arena',
      'slots_lock',
      'heads of blocks, track counters, rmap, dirty bits',
      archArenaBytes,
    ),
  );
  const ringParts = [
    { struct: RING, offset: 0, count: 1 },
    { struct: RING_DATA, offset: RING.bytes, count: 1 },
  ];
  const jobRings = region('job-rings', RING_BYTES, vcpuCount, true, ringParts);
  const messageRings = region('message-rings', RING_BYTES, vcpuCount, true, ringParts);
  const statsParts = LOCK_CLASSES.map(({ id, name }) => ({
    struct: STATS,
    offset: id * STATS.bytes,
    count: 1,
    label: name,
  }));
  const stats = region('lock-statistics', STATS_BYTES, actorCount, false, statsParts);
  const traces = region('trace-rings', traceBytes, actorCount, false, traceParts(traceBytes));
  const boards = config.board === true ? 1 : 0;
  const lapics = region('lapics', LAPIC.bytes, boards * vcpuCount, true, LAPIC);
  const board = region('board', BOARD.bytes, boards, true, BOARD);
  const pics = region('pics', PIC.bytes, boards * 2, true, PIC);
  const pitChannels = region('pit-channels', PIT_CHANNEL.bytes, boards * 3, true, PIT_CHANNEL);
  const serialInput = region('serial-input', SERIAL_INPUT.bytes, boards, true, SERIAL_INPUT);
  const cpuStride = roundUp(CPU_AREA_BYTES, PAGE_BYTES);
  const cpus = region('cpus', cpuStride, vcpuCount, true, CPU_PARTS, PAGE_BYTES);
  const ram = region('ram', PAGE_BYTES, ramPages, true, RAM_PAGE, 65536);

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
    lapics,
    board,
    pics,
    pitChannels,
    serialInput,
    cpus,
    cpuStride,
    ram,
    bytes: roundUp(next, 65536),
  };
}

/** A CPU area (see cpu.ts): registers are state, everything else is derived. */
const CPU_PARTS: readonly Part[] = [
  { struct: CPU, offset: 0, count: 1 },
  { struct: JUMP_ENTRY, offset: CPU_JUMP_CACHE, count: JUMP_ENTRIES, cache: true },
  { struct: FILLED, offset: CPU_FILLED, count: 1, cache: true },
  ...[false, true].flatMap((user) =>
    (['read', 'write', 'fetch'] as const).map(
      (label, kind): Part => ({
        struct: TLB_ENTRY,
        offset: tlbTable(0, user, kind),
        count: TLB_ENTRIES,
        label: `tlb ${user ? 'user' : 'kernel'} ${label}`,
        cache: true,
      }),
    ),
  ),
  {
    struct: bytes(
      'scratch-uop',
      'this vCPU',
      'record of the instruction that is single-stepped',
      CPU_UOPS - CPU_SCRATCH_UOP,
    ),
    offset: CPU_SCRATCH_UOP,
    count: 1,
    cache: true,
  },
  {
    struct: bytes('uops', 'this vCPU', 'micro-op records of the block cache', UOP_ARENA_BYTES),
    offset: CPU_UOPS,
    count: 1,
    cache: true,
  },
];

function lockParts(names: readonly (VmLockName | (typeof VCPU_LOCK_NAMES)[number])[]): readonly Part[] {
  return names.map((label, i) => ({ struct: LOCK_STRUCTS[label], offset: i * LOCK_BYTES, count: 1, label }));
}

function traceParts(ringBytes: number): readonly Part[] {
  if (ringBytes < TRACE_RING.bytes) return [];
  return [
    { struct: TRACE_RING, offset: 0, count: 1 },
    { struct: TRACE_RECORD, offset: TRACE_RING.bytes, count: traceCapacity(ringBytes) },
  ];
}

/** A record that is nothing but `count` bytes. */
function bytes(name: string, writer: string, meaning: string, count: number): Struct {
  return struct(name, { BYTES: u8(writer, meaning, count) }, 1);
}

/** Most slots a machine can hold in one address space, for messages. */
export { SLOT_LIMIT };
