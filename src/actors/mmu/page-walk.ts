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
import { entryNumber, type Mem } from '../../shared/mem.ts';
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
  PTE_RW,
  PTE_US,
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
  /** CR4.SMEP: a supervisor fetches nothing from user pages. Default: no. */
  readonly smep?: boolean;
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
      /** Size of the page: 0 for 4 KiB, 1 for 2 MiB, 2 for 1 GiB. */
      readonly level: number;
    }
  /** #PF with this error code. */
  | { readonly kind: 'fault'; readonly errorCode: number }
  /** The table at `gfn` lies in a slot that is being changed: enter the guest again and see. */
  | { readonly kind: 'retry'; readonly gfn: number };

const LEVELS = 4;

// The low half of an entry, where all bits are but the address and XD. Walks are made of numbers: bigints cost more.
const P = Number(PTE_P);
const RW = Number(PTE_RW);
const US = Number(PTE_US);
const PS = Number(PTE_PS);
const A = Number(PTE_A);
const D = Number(PTE_D);
const PAGE = 4096;
/** Beyond what an entry's address may have. */
const ADDRESS_LIMIT = Number(PTE_ADDRESS) + PAGE;
/** Bits 51…0 set and XD: what memory that no slot covers reads as. */
const ALL_ONES = -(2 ** 52 - 1);
/** Pages that one entry of a level stands for: 512 to the power of the level. */
const PAGES = [1, 2 ** 9, 2 ** 18, 2 ** 27] as const;
/** Of a large page's entry: address bits below its size, which must be 0; bit 12 is PAT. */
const UNALIGNED = [0, (2 ** 21 - 1) & ~0x1fff, (2 ** 30 - 1) & ~0x1fff, 0] as const;

/** An entry as it was read, for the A and D bits. */
interface Step {
  /** Its address in shared memory; −1 when no slot holds it. */
  host: number;
  /** As of {@link Mem.loadEntry}. */
  entry: number;
  slot: Slot | null;
  gfn: number;
}

/**
 * Translates one address for one access.
 *
 * @locking inside a kvm.srcu section; takes nothing. A and D go in by compare-exchange, and a lost race walks again
 */
export function* walkGuest(vm: Vm, asId: number, walk: GuestWalk): Path<WalkResult> {
  const { gva, access, user, noExecute, smep = false } = walk;
  const { mem } = vm;
  const writes = (access & ACCESS_W) !== 0;
  const fetches = (access & ACCESS_X) !== 0;
  const attempt =
    (writes ? PF_WRITE : 0) | (user ? PF_USER : 0) | (fetches && (noExecute || smep) ? PF_FETCH : 0);
  const fault = (cause: number): WalkResult => ({ kind: 'fault', errorCode: cause | attempt });
  const page = Number(BigInt.asUintN(48, gva) >> 12n);
  const pageOffset = Number(BigInt.asUintN(12, gva));
  const steps: Step[] = [];

  restart: for (;;) {
    steps.length = 0;
    let table = Number(walk.cr3 & PTE_ADDRESS);
    let rights = RW | US;
    let executable = true;
    for (let level = LEVELS - 1; ; level--) {
      const at = table + (Math.floor(page / PAGES[level]!) & 511) * 8;
      const step = yield* readEntry(vm, asId, at);
      if (step === null) return { kind: 'retry', gfn: Math.floor(at / PAGE) };
      steps.push(step);
      const bits = step.entry < 0 ? -step.entry : step.entry;
      const low = bits | 0;
      if ((low & P) === 0) return fault(0);
      const leaf = level === 0 || ((low & PS) !== 0 && level < LEVELS - 1);
      const executeDisable = step.entry < 0;
      const reserved =
        bits >= ADDRESS_LIMIT ||
        (executeDisable && !noExecute) ||
        (level === LEVELS - 1 && (low & PS) !== 0) ||
        (leaf && (low & UNALIGNED[level]!) !== 0);
      if (reserved) return fault(PF_PRESENT | PF_RESERVED);
      rights &= low;
      if (executeDisable) executable = false;
      const address = bits - (low & (PAGE - 1));
      if (!leaf) {
        table = address;
        continue;
      }

      // The rights of a translation are those of all its entries together, looked at only when all are there.
      const userPage = (rights & US) !== 0;
      const writable = (rights & RW) !== 0 || (!user && !walk.writeProtect);
      if (!user && smep && userPage) executable = false;
      const allowed = (userPage || !user) && (writable || !writes) && (executable || !fetches);
      if (!allowed) return fault(PF_PRESENT);
      let dirty = (low & D) !== 0;
      for (const used of steps) {
        const wanted = used === step && writes ? A | D : A;
        if ((Math.abs(used.entry) & wanted) === wanted) continue;
        // KVM: in read-only memory A and D are not processed; whoever puts tables there has set them.
        if (used.slot === null || (used.slot.flags & SLOT_READONLY) !== 0) continue;
        const host = vm.quirk(BUG_AD_WRONG_ADDRESS) ? assumedHost(vm, used) : used.host;
        yield updating(host);
        if (!setBits(mem, host, used.entry, BigInt(wanted))) continue restart;
        if (used === step && writes) dirty = true;
        markDirty(vm, used.slot, used.gfn);
      }
      let frame = address;
      if (vm.quirk(BUG_DOUBLE_FETCH)) {
        yield reading(step.host);
        const again = Math.abs(mem.loadEntry(step.host));
        frame = again - (again & (PAGE - 1));
        dirty = (again & D) !== 0;
      }
      // Of a large page the address ends at its size: what lies below is PAT, or reserved and 0.
      const pages = PAGES[level]!;
      const first = Math.floor(frame / (PAGE * pages)) * pages;
      return {
        kind: 'page',
        gpa: (first + (page % pages)) * PAGE + pageOffset,
        userPage,
        writable,
        executable,
        dirty,
        level,
      };
    }
  }
}

/** Sets bits in an entry if it still is what was read. */
function setBits(mem: Mem, host: number, read: number, bits: bigint): boolean {
  const now = mem.load64(host);
  if (entryNumber(Number(now & 0xffff_ffffn) | 0, Number(now >> 32n) | 0) !== read) return false;
  return mem.cas64(host, now, now | bits) === now;
}

/** Where an entry would be if guest memory lay in RAM as the guest sees it. */
function assumedHost(vm: Vm, { host, gfn }: Step): number {
  return vm.ramPage(gfn) + ((host - vm.layout.ram) % PAGE);
}

/** Reads one entry; null when its slot is INVALID. Memory that no slot covers reads as all ones. */
function* readEntry(vm: Vm, asId: number, gpa: number): Path<Step | null> {
  const gfn = Math.floor(gpa / PAGE);
  const slot = yield* gfnToSlot(vm, asId, gfn);
  if (slot === null) return { host: -1, entry: ALL_ONES, slot, gfn };
  if ((slot.flags & SLOT_INVALID) !== 0) return null;
  const host = vm.ramPage(slot.ramPage + gfn - slot.baseGfn) + (gpa % PAGE);
  yield reading(host);
  return { host, entry: vm.mem.loadEntry(host), slot, gfn };
}
