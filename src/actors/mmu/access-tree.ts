/**
 * The access tree: what the introspector allows on each page, as a radix tree over gfn.
 *
 * Policy lives here and survives memslots that come and go; the mechanism (track counters, sptes) is derived from it by
 * update_page_tracking. Absent means full access.
 *
 * @source KVMI: struct kvmi_mem_access, kvmi->access_tree; lib/radix-tree.c for the shape
 */

import { invariant } from '../../shared/invariant.ts';
import {
  ACTIVE_WORDS,
  FULL_ACCESS,
  MEM_ACCESS,
  POOL,
  TREE_FANOUT,
  TREE_LEVELS,
  TREE_NODE,
} from '../../shared/layout/access-tree.ts';
import { SLOT_LIMIT, TRACK_MODES } from '../../shared/layout/memslot.ts';
import { BUG_FREELIST_ABA, REF_ACTIVE_KEY_NO_AS, REF_TRACK_INVALID_SLOT } from '../../shared/quirks.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import { type Path, reading, updating } from '../../shared/sync/point.ts';
import { writeLock, writeUnlock } from '../../shared/sync/rw-lock.ts';
import type { Slot } from './memslots.ts';
import type { Vm } from './vm.ts';

interface Pool {
  readonly address: number;
  readonly records: number;
  readonly stride: number;
  readonly nextOffset: number;
  readonly count: number;
}

function accessPool(vm: Vm): Pool {
  const { pools, accessNodes, accessNodeCount } = vm.layout;
  return {
    address: pools,
    records: accessNodes,
    stride: MEM_ACCESS.bytes,
    nextOffset: MEM_ACCESS.at.NEXT,
    count: accessNodeCount,
  };
}

/** Tree node 0 is the root and never allocated. */
function treePool(vm: Vm): Pool {
  const { pools, treeNodes, treeNodeCount } = vm.layout;
  return {
    address: pools + POOL.bytes,
    records: treeNodes + TREE_NODE.bytes,
    stride: TREE_NODE.bytes,
    nextOffset: TREE_NODE.at.NEXT,
    count: treeNodeCount - 1,
  };
}

/** The tag of the head of a pool after `seen`: no two heads are equal, although they name the same record (RC-76). */
function nextTag(vm: Vm, seen: bigint): bigint {
  return vm.quirk(BUG_FREELIST_ABA) ? 0n : ((seen >> 32n) + 1n) << 32n;
}

/** Takes a record: its index, or −1 when the pool is empty. Contents are whatever the last user left. */
function* allocate(vm: Vm, pool: Pool): Path<number> {
  const { mem } = vm;
  const head = pool.address + POOL.at.HEAD;
  for (;;) {
    yield reading(head);
    const seen = mem.load64(head);
    const first = Number(seen & 0xffffffffn);
    if (first === 0) break;
    const next = mem.load(pool.records + (first - 1) * pool.stride + pool.nextOffset);
    yield updating(head);
    if (mem.cas64(head, seen, nextTag(vm, seen) | BigInt(next)) === seen) {
      mem.add(pool.address + POOL.at.USED, 1);
      return first - 1;
    }
  }
  yield updating(pool.address + POOL.at.FRESH);
  const fresh = mem.add(pool.address + POOL.at.FRESH, 1);
  if (fresh >= pool.count) {
    mem.add(pool.address + POOL.at.FRESH, -1);
    return -1;
  }
  mem.add(pool.address + POOL.at.USED, 1);
  return fresh;
}

function* release(vm: Vm, pool: Pool, index: number): Path<void> {
  const { mem } = vm;
  const head = pool.address + POOL.at.HEAD;
  for (;;) {
    yield reading(head);
    const seen = mem.load64(head);
    mem.store(pool.records + index * pool.stride + pool.nextOffset, Number(seen & 0xffffffffn));
    yield updating(head);
    if (mem.cas64(head, seen, nextTag(vm, seen) | BigInt(index + 1)) === seen) break;
  }
  mem.add(pool.address + POOL.at.USED, -1);
}

/** Address of a word of mem-access entry `entry`. */
export function entryWord(vm: Vm, entry: number, field: keyof typeof MEM_ACCESS.at): number {
  return vm.layout.accessNodes + entry * MEM_ACCESS.bytes + MEM_ACCESS.at[field];
}

/** Frames below one child of a node, by level. */
const SPANS = Array.from({ length: TREE_LEVELS }, (_, level) => TREE_FANOUT ** (TREE_LEVELS - 1 - level));

function childWord(vm: Vm, node: number, gfn: number, level: number): number {
  const index = Math.floor(gfn / SPANS[level]!) % TREE_FANOUT;
  return vm.layout.treeNodes + node * TREE_NODE.bytes + TREE_NODE.at.CHILD + index * 4;
}

function usedWord(vm: Vm, node: number): number {
  return vm.layout.treeNodes + node * TREE_NODE.bytes + TREE_NODE.at.USED;
}

/**
 * __kvmi_get_gfn_access: the entry of `gfn`, or −1.
 *
 * @locking access_tree_lock held; the index must not outlive it (RC-15)
 */
export function lookupEntry(vm: Vm, gfn: number): number {
  let node = 0;
  for (let level = 0; level < TREE_LEVELS; level++) {
    const child = vm.mem.load(childWord(vm, node, gfn, level));
    if (child === 0) return -1;
    node = child - 1;
  }
  return node;
}

/** As {@link lookupEntry}, a node at a time: what a reader without the lock does (RC-16). */
export function* lookupInSteps(vm: Vm, gfn: number): Path<number> {
  let node = 0;
  for (let level = 0; level < TREE_LEVELS; level++) {
    const word = childWord(vm, node, gfn, level);
    yield reading(word);
    const child = vm.mem.load(word);
    if (child === 0) return -1;
    node = child - 1;
  }
  return node;
}

/** Memory for one insertion, taken before any lock (radix_tree_preload). */
export interface TreeReserve {
  /** −1 once used. */
  entry: number;
  readonly nodes: number[];
}

/** Null when the pools are exhausted; nothing stays allocated then. */
export function* reserveEntry(vm: Vm): Path<TreeReserve | null> {
  const reserve: TreeReserve = { entry: yield* allocate(vm, accessPool(vm)), nodes: [] };
  while (reserve.entry >= 0 && reserve.nodes.length < TREE_LEVELS - 1) {
    const node = yield* allocate(vm, treePool(vm));
    if (node < 0) break;
    reserve.nodes.push(node + 1);
  }
  if (reserve.entry >= 0 && reserve.nodes.length === TREE_LEVELS - 1) return reserve;
  yield* releaseReserve(vm, reserve);
  return null;
}

/** Gives back what an insertion did not need, and what a removal left. */
export function* releaseReserve(vm: Vm, reserve: TreeReserve): Path<void> {
  if (reserve.entry >= 0) yield* release(vm, accessPool(vm), reserve.entry);
  for (const node of reserve.nodes) yield* release(vm, treePool(vm), node - 1);
  reserve.entry = -1;
  reserve.nodes.length = 0;
}

/** Links the reserved entry at `gfn`, which has none. mmu_lock and access_tree_lock held for write. */
export function insertEntry(vm: Vm, gfn: number, access: number, reserve: TreeReserve): number {
  const { mem } = vm;
  const { entry } = reserve;
  invariant(entry >= 0, 'insertion into the access tree without a reserved entry');
  reserve.entry = -1;
  mem.store(entryWord(vm, entry, 'GFN'), gfn);
  mem.store(entryWord(vm, entry, 'ACCESS'), access);
  mem.store(entryWord(vm, entry, 'VERSION'), 0);
  mem.add(entryWord(vm, entry, 'GEN'), 1);
  mem.fill(entryWord(vm, entry, 'ACTIVE'), TRACK_MODES * ACTIVE_WORDS * 4, 0);
  let node = 0;
  for (let level = 0; level < TREE_LEVELS; level++) {
    const slot = childWord(vm, node, gfn, level);
    let child = mem.load(slot);
    if (child === 0) {
      if (level === TREE_LEVELS - 1) child = entry + 1;
      else {
        const fresh = reserve.nodes.pop();
        invariant(fresh !== undefined, 'the reserve has a node for every level below the root');
        mem.fill(vm.layout.treeNodes + fresh * TREE_NODE.bytes, TREE_NODE.bytes, 0);
        child = fresh + 1;
      }
      mem.store(slot, child);
      mem.add(usedWord(vm, node), 1);
    }
    node = child - 1;
  }
  return entry;
}

/** Unlinks `gfn`; entry and emptied nodes go into `reserve`, to be freed outside the locks. Locks as for insertion. */
export function removeEntry(vm: Vm, gfn: number, reserve: TreeReserve): void {
  const { mem } = vm;
  const path: number[] = [0];
  for (let level = 0; level < TREE_LEVELS - 1; level++) {
    path.push(mem.load(childWord(vm, path[level]!, gfn, level)) - 1);
  }
  const leafSlot = childWord(vm, path[TREE_LEVELS - 1]!, gfn, TREE_LEVELS - 1);
  reserve.entry = mem.load(leafSlot) - 1;
  mem.store(leafSlot, 0);
  for (let level = TREE_LEVELS - 1; level >= 0; level--) {
    const node = path[level]!;
    if (mem.add(usedWord(vm, node), -1) > 1 || level === 0) break;
    mem.store(childWord(vm, path[level - 1]!, gfn, level - 1), 0);
    reserve.nodes.push(node);
  }
}

/** Every entry, in gfn order: (gfn, entry index). access_tree_lock held. */
export function entriesOf(vm: Vm): readonly (readonly [gfn: number, entry: number])[] {
  const entries: [number, number][] = [];
  collectBelow(vm, 0, 0, 0, entries);
  return entries;
}

function collectBelow(vm: Vm, node: number, level: number, base: number, into: [number, number][]): void {
  let left = vm.mem.load(usedWord(vm, node));
  for (let index = 0; left > 0 && index < TREE_FANOUT; index++) {
    const gfn = base + index * SPANS[level]!;
    const child = vm.mem.load(childWord(vm, node, gfn, level));
    if (child === 0) continue;
    left -= 1;
    if (level === TREE_LEVELS - 1) into.push([gfn, child - 1]);
    else collectBelow(vm, child - 1, level + 1, gfn, into);
  }
}

/** What tells slots apart in `active` bitsets. */
export type SlotName = Pick<Slot, 'id' | 'asId'>;

/** Does the entry hold no track count in any slot? mmu_lock held. */
export function isInactive(vm: Vm, entry: number): boolean {
  const from = entryWord(vm, entry, 'ACTIVE');
  for (let at = from; at < from + TRACK_MODES * ACTIVE_WORDS * 4; at += 4) {
    if (vm.mem.load(at) !== 0) return false;
  }
  return true;
}

/** Position of a slot in an `active` bitset. The reference keys by id alone (RC-04). */
function activePosition(vm: Vm, slot: SlotName): number {
  return vm.quirk(REF_ACTIVE_KEY_NO_AS) ? slot.id : slot.asId * SLOT_LIMIT + slot.id;
}

function activeWord(vm: Vm, entry: number, mode: number, position: number): number {
  return entryWord(vm, entry, 'ACTIVE') + (mode * ACTIVE_WORDS + (position >>> 5)) * 4;
}

/** Does the entry hold a track count of `mode` in this slot? mmu_lock held. */
export function isActive(vm: Vm, entry: number, mode: number, slot: SlotName): boolean {
  const position = activePosition(vm, slot);
  return (vm.mem.load(activeWord(vm, entry, mode, position)) & (1 << (position & 31))) !== 0;
}

export function setActive(vm: Vm, entry: number, mode: number, slot: Slot, active: boolean): void {
  const position = activePosition(vm, slot);
  const word = activeWord(vm, entry, mode, position);
  const bit = 1 << (position & 31);
  if (active) vm.mem.or(word, bit);
  else vm.mem.and(word, ~bit);
}

/**
 * A slot is gone: no entry may keep a bit for it, or the next slot with that id would be taken for tracked (RC-02).
 * Only for DELETE: after a MOVE the id belongs to the new place.
 */
export function* clearActiveBits(actor: Actor, vm: Vm, slot: Slot): Path<void> {
  if (vm.quirk(REF_TRACK_INVALID_SLOT)) return;
  yield* writeLock(actor, vm.mmuLock);
  yield* writeLock(actor, vm.accessTreeLock);
  for (const [, entry] of entriesOf(vm)) {
    for (let mode = 0; mode < TRACK_MODES; mode++) setActive(vm, entry, mode, slot, false);
  }
  yield* writeUnlock(actor, vm.accessTreeLock);
  yield* writeUnlock(actor, vm.mmuLock);
}

/** Entries in use, for the resource balance. */
export function entryCount(vm: Vm): number {
  return vm.mem.load(accessPool(vm).address + POOL.at.USED);
}

/** What is allowed on a page, and since which tightening. */
export interface Policy {
  readonly access: number;
  readonly version: number;
}

/** The policy for `gfn`. access_tree_lock held; the values are copies. */
export function readPolicy(vm: Vm, gfn: number): Policy {
  return readEntry(vm, lookupEntry(vm, gfn));
}

/** The policy that an entry says, or its absence (−1). Locks as for {@link readPolicy}. */
export function readEntry(vm: Vm, entry: number): Policy {
  if (entry < 0) return { access: FULL_ACCESS, version: 0 };
  return {
    access: vm.mem.load(entryWord(vm, entry, 'ACCESS')),
    version: vm.mem.load(entryWord(vm, entry, 'VERSION')),
  };
}
