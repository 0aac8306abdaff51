/**
 * The walk of the guest's own page tables: from a linear address to a guest physical one. Runs in the vCPU's thread.
 *
 *   level  entry   selected by gva bits   maps a page of, with PS
 *   ─────  ──────  ─────────────────────  ───────────────────────
 *     3    PML4E   47:39                  never
 *     2    PDPTE   38:30                  1 GiB
 *     1    PDE     29:21                  2 MiB
 *     0    PTE     20:12                  4 KiB, always
 *
 * Table pages are read as the hardware reads them: through the memslots, without callbacks and without PF events
 * (spec 4.3). Only a walk that succeeds writes: A in every entry it used, D in the last for a write.
 *
 * LIMIT: setting A or D does not void code decoded from the same page. Code that is also a page table is not followed.
 *
 * @source Intel SDM vol. 3A, "4-Level Paging and 5-Level Paging", "Access Rights", "Page-Fault Exceptions",
 *         "Accessed and Dirty Flags"; arch/x86/kvm/mmu/paging_tmpl.h: FNAME(walk_addr_generic)
 */
import { ACCESS_W, ACCESS_X } from '../../shared/layout/cpu.ts';
import { SLOT_INVALID, SLOT_READONLY } from '../../shared/layout/memslot.ts';
import { BUG_AD_WRONG_ADDRESS, BUG_DOUBLE_FETCH } from '../../shared/quirks.ts';
import { type Path, reading, updating } from '../../shared/sync/point.ts';
import {
  PF_FETCH,
  PF_PRESENT,
  PF_RESERVED,
  PF_USER,
  PF_WRITE,
  PTE_A,
  PTE_ADDRESS,
  PTE_D,
  PTE_P,
  PTE_PS,
  PTE_RESERVED,
  PTE_RW,
  PTE_US,
  PTE_XD,
} from '../../shared/x86/paging.ts';
import { markDirty } from './page-fault.ts';
import { gfnToSlot, type Slot } from './slot-sets.ts';
import type { Vm } from './vm.ts';

export interface GuestWalk {
  /** CR3 as the register has it; its flag bits are ignored. */
  readonly cr3: bigint;
  /** Canonical: that is the caller's check. Its low 12 bits survive into the result. */
  readonly gva: bigint;
  /** ACCESS_R, ACCESS_W or ACCESS_X, or R|W for a read-modify-write. */
  readonly access: number;
  /** CPL 3, and no access that the processor makes on its own account (descriptor tables, TSS). */
  readonly user: boolean;
  /** CR0.WP. */
  readonly writeProtect: boolean;
  /** EFER.NXE. */
  readonly noExecute: boolean;
}

export type WalkResult =
  | {
      readonly kind: 'page';
      /** Guest physical address of the byte at `gva`. */
      readonly gpa: number;
      /** U/S is set at every level. */
      readonly userPage: boolean;
      /** What the guest's tables alone allow at this privilege. */
      readonly writable: boolean;
      readonly executable: boolean;
      /** D is set now: a write needs no other walk. */
      readonly dirty: boolean;
    }
  /** #PF with this error code. */
  | { readonly kind: 'fault'; readonly errorCode: number }
  /** The table at `gfn` lies in a slot that is being changed: enter the guest again and see. */
  | { readonly kind: 'retry'; readonly gfn: number };

const LEVELS = 4;
const ALL_ONES = 0xffff_ffff_ffff_ffffn;

/** An entry as it was read, for the A and D bits. */
interface Step {
  /** Its address in shared memory; −1 when no slot holds it. */
  host: number;
  entry: bigint;
  slot: Slot | null;
  gfn: number;
}

/**
 * Translates one address for one access.
 *
 * @locking inside a kvm.srcu section; takes nothing. A and D go in by compare-exchange, and a lost race walks again
 */
export function* walkGuest(vm: Vm, asId: number, walk: GuestWalk): Path<WalkResult> {
  const { gva, access, user, noExecute } = walk;
  const { mem } = vm;
  const writes = (access & ACCESS_W) !== 0;
  const fetches = (access & ACCESS_X) !== 0;
  const attempt = (writes ? PF_WRITE : 0) | (user ? PF_USER : 0) | (fetches && noExecute ? PF_FETCH : 0);
  const fault = (cause: number): WalkResult => ({ kind: 'fault', errorCode: cause | attempt });
  const steps: Step[] = [];

  restart: for (;;) {
    steps.length = 0;
    let table = Number(walk.cr3 & PTE_ADDRESS);
    let rights = PTE_RW | PTE_US;
    let executeDisable = 0n;
    for (let level = LEVELS - 1; ; level--) {
      const shift = BigInt(12 + 9 * level);
      const at = table + Number((gva >> shift) & 511n) * 8;
      const step = yield* readEntry(vm, asId, at);
      if (step === null) return { kind: 'retry', gfn: Math.floor(at / 4096) };
      steps.push(step);
      const { entry } = step;
      if ((entry & PTE_P) === 0n) return fault(0);
      const leaf = level === 0 || ((entry & PTE_PS) !== 0n && level < LEVELS - 1);
      if ((entry & reservedBits(level, leaf, noExecute)) !== 0n) return fault(PF_PRESENT | PF_RESERVED);
      rights &= entry;
      executeDisable |= entry & PTE_XD;
      if (!leaf) {
        table = Number(entry & PTE_ADDRESS);
        continue;
      }

      // The rights of a translation are those of all its entries together, looked at only when all are there.
      const userPage = (rights & PTE_US) !== 0n;
      const writable = (rights & PTE_RW) !== 0n || (!user && !walk.writeProtect);
      const executable = executeDisable === 0n;
      const allowed = (userPage || !user) && (writable || !writes) && (executable || !fetches);
      if (!allowed) return fault(PF_PRESENT);
      for (const used of steps) {
        const bits = used === step && writes ? PTE_A | PTE_D : PTE_A;
        if ((used.entry & bits) === bits) continue;
        // KVM: in read-only memory A and D are not processed; whoever puts tables there has set them.
        if (used.slot === null || (used.slot.flags & SLOT_READONLY) !== 0) continue;
        const host = vm.quirk(BUG_AD_WRONG_ADDRESS) ? assumedHost(vm, used) : used.host;
        yield updating(host);
        if (mem.cas64(host, used.entry, used.entry | bits) !== used.entry) continue restart;
        used.entry |= bits;
        markDirty(vm, used.slot, used.gfn);
      }
      if (vm.quirk(BUG_DOUBLE_FETCH)) {
        yield reading(step.host);
        step.entry = mem.load64(step.host);
      }
      const offset = gva & ((1n << shift) - 1n);
      const page = step.entry & PTE_ADDRESS & ~((1n << shift) - 1n);
      return {
        kind: 'page',
        gpa: Number(page | offset),
        userPage,
        writable,
        executable,
        dirty: (step.entry & PTE_D) !== 0n,
      };
    }
  }
}

/** Where an entry would be if guest memory lay in RAM as the guest sees it. */
function assumedHost(vm: Vm, { host, gfn }: Step): number {
  return vm.ramPage(gfn) + ((host - vm.layout.ram) % 4096);
}

/** What must be 0 in a present entry of this level. */
function reservedBits(level: number, leaf: boolean, noExecute: boolean): bigint {
  let bits = PTE_RESERVED;
  if (!noExecute) bits |= PTE_XD;
  if (level === LEVELS - 1) bits |= PTE_PS;
  // The address of a large page ends at its size; bit 12 is PAT.
  if (leaf && level > 0) bits |= (1n << BigInt(12 + 9 * level)) - (1n << 13n);
  return bits;
}

/** Reads one entry; null when its slot is INVALID. Memory that no slot covers reads as all ones. */
function* readEntry(vm: Vm, asId: number, gpa: number): Path<Step | null> {
  const gfn = Math.floor(gpa / 4096);
  const slot = yield* gfnToSlot(vm, asId, gfn);
  if (slot === null) return { host: -1, entry: ALL_ONES, slot, gfn };
  if ((slot.flags & SLOT_INVALID) !== 0) return null;
  const host = vm.ramPage(slot.ramPage + gfn - slot.baseGfn) + (gpa % 4096);
  yield reading(host);
  return { host, entry: vm.mem.load64(host), slot, gfn };
}
