/**
 * The CPU area: everything one vCPU's emulator core works on. One area per vCPU; the core gets its base address
 * as `cpu` and reaches all of it by constant offsets.
 *
 *   0x0000   CPU struct: registers, lazy flags, exit information, access log
 *   0x2000   jump cache: 1024 entries, linear address → micro-op record
 *   0x6000   which entries of the TLB are filled
 *   0x7000   soft TLB: 2 privilege sets × 3 kinds × 1024 entries
 *   0x1f000  scratch record: the instruction that is single-stepped
 *   0x20000  micro-op arena (UOP_ARENA_BYTES)
 *
 * Written by its own vCPU's thread only, except where the writer column says otherwise. KVMI reads registers here
 * while the vCPU is outside guest mode.
 */
import { i32, i64, struct, u8, volatile } from '../struct.ts';

/** How many accesses one instruction (one REP iteration) can make; the deepest is ENTER level 31, not modelled. */
export const ACCESS_LOG_LIMIT = 10;

const OWN = 'this vCPU';

/** Default type, fixed ranges, variable ranges (base and mask). */
export const MTRR_FIXED = 11;
export const MTRR_VARIABLE = 8;
export const MTRR_WORDS = 1 + MTRR_FIXED + 2 * MTRR_VARIABLE;

export const CPU = struct(
  'cpu',
  {
    GPR: i64(OWN, 'rax rcx rdx rbx rsp rbp rsi rdi r8…r15, in encoding order', 16),
    ZERO: i64('nobody', 'always 0: base or index of an address that has none'),
    RIP: i64(OWN, 'address of the current instruction; precise after every exit'),
    FLAGS_RESULT_A: i64(OWN, 'lazy arithmetic flags, first operand or result'),
    FLAGS_RESULT_B: i64(OWN, 'lazy arithmetic flags, second operand'),
    FLAGS_KIND: i32(
      OWN,
      'lazy arithmetic flags, kind | size << 8; kind 0: A holds CF PF AF ZF SF OF in place',
    ),
    BUDGET: volatile(i32(OWN, 'instructions left before the core returns; charged per block, at its start')),
    RFLAGS: i64(
      OWN,
      'the bits that are not arithmetic: TF IF DF IOPL NT RF VM AC VIF VIP ID (bit 1 reads as 1)',
    ),
    FS_BASE: i64(OWN, 'linear base of FS'),
    GS_BASE: i64(OWN, 'linear base of GS'),
    TLB: volatile(i32(OWN, 'address of the TLB set of the current privilege level (see tlbTable)')),
    REQUESTS: i32('anyone (or)', 'REQ_* bits; the core leaves at the next block start when non-zero'),
    CPL: i32(OWN, 'current privilege level, 0…3'),

    EXIT_KIND: volatile(i32(OWN, 'EXIT_*: why the core returned')),
    EXIT_UOP: volatile(i32(OWN, 'address of the micro-op record the exit is about')),
    EXIT_SIZE: volatile(i32(OWN, 'bytes of the access that missed')),
    EXIT_ACCESS: volatile(i32(OWN, 'ACCESS_R | ACCESS_W of the access that missed')),
    EXIT_LINK: volatile(i32(OWN, 'EXIT_BLOCK: address of the link word to patch, or 0')),
    EXIT_VECTOR: volatile(i32(OWN, 'EXIT_EXCEPTION: the vector, without error code')),
    EXIT_GVA: volatile(i64(OWN, 'linear address of the access that missed')),

    LOG_COUNT: volatile(i32(OWN, 'emulated step: accesses of this instruction already carried out')),
    LOG_NEXT: volatile(i32(OWN, 'emulated step: index of the access the instruction is at')),
    LOG_KIND: volatile(i32(OWN, 'per access: LOG_*', ACCESS_LOG_LIMIT)),
    LOG_SIZE: volatile(i32(OWN, 'per access: bytes, 1 2 4 8, or 16', ACCESS_LOG_LIMIT)),
    LOG_GVA: volatile(i64(OWN, 'per access: linear address', ACCESS_LOG_LIMIT)),
    LOG_VALUE: volatile(
      i64(OWN, 'per access: value read, or value to write (zero extended)', ACCESS_LOG_LIMIT),
    ),
    LOG_EXPECT: volatile(i64(OWN, 'LOG_CAS: value that must still be there', ACCESS_LOG_LIMIT)),

    CR0: i64(OWN, 'control register 0'),
    CR2: i64(OWN, 'page-fault linear address'),
    CR3: i64(OWN, 'gpa of the PML4 | flags'),
    CR4: i64(OWN, 'control register 4'),
    CR8: i64(OWN, 'task priority'),
    DR: i64(OWN, 'debug registers 0…7, as written; 4 and 5 unused', 8),
    EFER: i64(OWN, 'extended features'),
    GDTR_BASE: i64(OWN, 'GDT linear base'),
    IDTR_BASE: i64(OWN, 'IDT linear base'),
    GDTR_LIMIT: i32(OWN, 'GDT limit, bytes - 1'),
    IDTR_LIMIT: i32(OWN, 'IDT limit, bytes - 1'),
    SELECTORS: i32(OWN, 'es cs ss ds fs gs ldtr tr', 8),
    SEGMENT_DPL: i32(OWN, 'es cs ss ds fs gs: privilege level in the descriptor loaded last', 6),
    TR_BASE: i64(OWN, 'TSS linear base'),
    LDTR_BASE: i64(OWN, 'LDT linear base'),
    TR_LIMIT: i32(OWN, 'TSS limit, bytes - 1'),
    LDTR_LIMIT: i32(OWN, 'LDT limit, bytes - 1'),
    KERNEL_GS_BASE: i64(OWN, 'MSR C0000102: swapped in by SWAPGS'),
    STAR: i64(OWN, 'MSR C0000081'),
    LSTAR: i64(OWN, 'MSR C0000082'),
    CSTAR: i64(OWN, 'MSR C0000083'),
    SFMASK: i64(OWN, 'MSR C0000084'),
    TSC_OFFSET: i64(OWN, 'added to the instruction count by RDTSC'),
    RETIRED: i64(OWN, 'instructions retired since reset'),
    MISC_FEATURES: i64(OWN, 'MSR 00000140 (MISC_FEATURES_ENABLES)'),
    PAT: i64(OWN, 'MSR 00000277'),
    APIC_BASE: i64(OWN, 'MSR 0000001B'),
    TSC_AUX: i64(OWN, 'MSR C0000103'),
    XCR0: i64(OWN, 'extended control register 0: state components that are on'),
    MTRR: i64(OWN, 'MTRRs: default type, 11 fixed ones, 8 pairs of base and mask', MTRR_WORDS),
    SHADOW: i64(OWN, 'RETIRED at which no interrupt is taken: before the instruction after STI or MOV SS'),
    TIME_SKIPPED: i64(OWN, 'virtual time passed over while halted, ns'),
    TLB_FILLED: volatile(
      i32(OWN, '1 + how many entries of the TLB are filled: CPU_FILLED says which; 0: any'),
    ),
    FETCH_EVICTED: volatile(i32(OWN, '1: jumps may go to pages whose fetch entry others have taken')),
    JUMPS_EMPTY: volatile(i32(OWN, '1: the jump cache is known to hold nothing')),
    FETCH_BYTES: volatile(u8(OWN, 'instruction bytes fetched for an emulated step', 16)),

    XMM: i64(OWN, 'xmm0…xmm15, low half first', 32),
    ST: i64(OWN, 'x87 registers R0…R7 (not ST0…): 80 bits in 16 bytes; the low half is mm0…mm7', 16),
    MXCSR: i32(OWN, 'SSE control and status'),
    FCW: i32(OWN, 'x87 control word'),
    FSW: i32(OWN, 'x87 status word, TOP in bits 11…13'),
    FTW: i32(OWN, 'bit n: Rn is not empty'),
    FOP: i32(OWN, 'opcode of the last x87 instruction, 11 bits'),
    FIP: i64(OWN, 'address of the last x87 instruction'),
    FDP: i64(OWN, 'address of its memory operand'),
    FP_A: volatile(i64(OWN, 'operand handed to TypeScript (isa/core-imports.ts): low and high half', 2)),
    FP_B: volatile(i64(OWN, 'second operand', 2)),
    FP_RESULT: volatile(i64(OWN, 'result handed back', 2)),
    FP_RAISED: volatile(i32(OWN, 'SSE exceptions (MXCSR bits 0…5) of the instruction so far')),
  },
  64,
);

export const CPU_JUMP_CACHE = 0x2000;
/** Addresses of filled TLB entries, in no order: so that a flush of a few costs little. */
export const CPU_FILLED = 0x6000;
export const FILLED_LIMIT = 1024;
export const FILLED = struct('filled-entries', {
  ENTRIES: i32(OWN, 'addresses of filled TLB entries', FILLED_LIMIT),
});
export const CPU_TLB = 0x7000;
/** One micro-op record for an emulated step. */
export const CPU_SCRATCH_UOP = 0x1f000;
export const CPU_UOPS = 0x20000;
export const UOP_ARENA_BYTES = 4 * 1024 * 1024;
export const CPU_AREA_BYTES = CPU_UOPS + UOP_ARENA_BYTES;

// ── soft TLB ────────────────────────────────────────────────────────────────────────────────────────────────
/**
 * One entry. A hit is `((va + size − 1) & ~4095) === tag`: one comparison that also rejects page crossings.
 * An empty entry has tag −1, whose low bits no page address has. TLB_SLOW in the tag makes the core miss although the
 * entry holds: the host carries out each access to that page by itself, with a scheduling point before it.
 */
export const TLB_ENTRY = struct('tlb-entry', {
  TAG: i64(OWN, 'linear page address, or -1'),
  ADDEND: i32(OWN, 'shared-memory address = low 32 bits of the linear address + this'),
  PAGE: i32(OWN, 'bits 29…0: guest frame it maps; 31…30: level of the guest page it is a part of'),
});
/** Bit of a tag: the core leaves with EXIT_MEMORY, see actors/vcpu/watched-access.ts. */
export const TLB_SLOW = 1n;
export const TLB_ENTRIES = 1024;
/** Level of a page: 0 for 4 KiB, 1 for 2 MiB, 2 for 1 GiB. INVLPG drops all parts of a large one. */
export const TLB_LEVEL_SHIFT = 30;
export const TLB_READ = 0;
export const TLB_WRITE = 1;
export const TLB_FETCH = 2;
export const TLB_TABLE_BYTES = TLB_ENTRIES * 16;
/** Read, write and fetch tables of one privilege level, one after the other. */
export const TLB_SET_BYTES = 3 * TLB_TABLE_BYTES;

/** Guest frame of an entry, from its PAGE. */
export function tlbGfn(page: number): number {
  return page & ((1 << TLB_LEVEL_SHIFT) - 1);
}

/** Address of one TLB table. `user` is CPL 3; the core reads the set's address from CPU.TLB. */
export function tlbTable(cpu: number, user: boolean, kind: number): number {
  return cpu + CPU_TLB + (user ? TLB_SET_BYTES : 0) + kind * TLB_TABLE_BYTES;
}

// ── jump cache ──────────────────────────────────────────────────────────────────────────────────────────────
/** One entry. Index: (rip ^ rip >> 12) & 1023. Cleared on every TLB flush. */
export const JUMP_ENTRY = struct(
  'jump-entry',
  {
    KEY: i64(OWN, 'linear address, or -1'),
    UOP: i32(OWN, 'address of the micro-op record'),
  },
  16,
);
export const JUMP_ENTRIES = 1024;
export const JUMP_ENTRY_BYTES = JUMP_ENTRY.bytes;

// ── exits ───────────────────────────────────────────────────────────────────────────────────────────────────
/** Budget used up, or REQUESTS non-zero: at a block start, nothing of the block executed. */
export const EXIT_BUDGET = 1;
/** Next block unknown: RIP says which; EXIT_LINK where to record it. */
export const EXIT_BLOCK = 2;
/** A data access missed the TLB or crossed a page: EXIT_GVA, EXIT_SIZE, EXIT_ACCESS. Nothing of it happened. */
export const EXIT_MEMORY = 3;
/** The instruction is one the host carries out (see HOST_OPS in isa/insn.ts). */
export const EXIT_HOST = 4;
/** The instruction raised EXIT_VECTOR (#DE, #GP). Nothing of it happened. */
export const EXIT_EXCEPTION = 5;
/** To be single-stepped: a LOCK operation on a misaligned operand, CMPXCHG16B, ENTER with a level. */
export const EXIT_STEP = 6;
/** At a block start, nothing of the block executed: it has been entered so often that compiling it may pay. */
export const EXIT_HOT = 9;
/** Emulated step only: access number LOG_NEXT is described in the log and has to be carried out. */
export const EXIT_ACCESS = 7;
/** Emulated step only: the instruction (or one REP iteration) is complete; RIP and registers are committed. */
export const EXIT_DONE = 8;

export const LOG_READ = 1;
export const LOG_WRITE = 2;
/** A read by an instruction that is going to write the same place. */
export const LOG_READ_MODIFY = 4;
/** No access: the guest's tables must allow a write there. No event belongs to it. */
export const LOG_CHECK_WRITABLE = 5;
/**
 * Atomic: store VALUE if EXPECT is still there, else the instruction restarts. With size 16 (CMPXCHG16B) the upper
 * halves stand in the next element of LOG_VALUE and LOG_EXPECT.
 */
export const LOG_CAS = 3;

// Access kinds. The numbers are KVMI_PAGE_ACCESS_*, so policy and access meet without translation.
export const ACCESS_R = 1;
export const ACCESS_W = 2;
export const ACCESS_X = 4;
