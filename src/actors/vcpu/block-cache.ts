/**
 * Decoded code of one vCPU: blocks of micro-op records, found by the RAM page they were decoded from and their RIP.
 *
 * A block ends at a branch, at an instruction for the host, or at the end of its page. Blocks of one page may be linked
 * to each other by record address; every other transfer goes through the jump cache, which is emptied whenever a
 * translation may have changed. So a block can be reached only while its page is mapped executable at its RIP.
 *
 * The bytes of a page with decoded code cannot change behind our back: a vCPU gets no
 * writable TLB entry for it, and whoever stores to it otherwise bumps its version and makes every vCPU compare
 * ({@link BlockCache.dropStale}); see mmu/code-map.ts. All blocks of a page go together, so a link never dangles. Their records stay in the arena until it is full, and then
 * everything is forgotten at once.
 */
import {
  ACCESS_X,
  CPU,
  CPU_JUMP_CACHE,
  CPU_UOPS,
  JUMP_ENTRIES,
  JUMP_ENTRY_BYTES,
  UOP_ARENA_BYTES,
} from '../../shared/layout/cpu.ts';
import { PAGE_BYTES } from '../../shared/layout/machine.ts';
import type { Path } from '../../shared/sync/point.ts';
import { codeVersion, markCodePage } from '../mmu/code-map.ts';
import type { Vm } from '../mmu/vm.ts';
import type { BlockCompiler, DecodedBlock, DecodedInsn } from './decoded-block.ts';
import { jumpKey } from './isa/core-helpers.ts';
import { decode, INSN_BYTES_MAX } from './isa/decode.ts';
import {
  branchesDirectly,
  type Form,
  formIndex,
  formOf,
  fusedFormIndex,
  ignoresFlags,
  type NormalInsn,
  normalise,
  overwritesFlags,
  quietFormIndex,
  staysInRegisters,
} from './isa/forms.ts';
import { type Insn, isHostOp, type Undecoded } from './isa/insn.ts';
import { HEAT_NEVER, LINK_NEVER, LINK_OPEN, UOP, writeRecord, writeStart } from './isa/uop.ts';
import { RewrittenBlocks } from './rewritten-blocks.ts';
import { flushJumpCache, lookup } from './tlb.ts';
import type { Vcpu } from './vcpu.ts';

/** Most instructions in one block: what bounds the time between two looks at the requests. */
export const BLOCK_INSNS_MAX = 64;

/** LIMIT: targets of indirect branches that are remembered. Those still in use are noted again. */
const JUMP_TARGETS_MAX = 2048;

/** Control does not simply go on after these; POPF may have set IF or TF, which the host has to see. */
const ENDS_BLOCK: ReadonlySet<string> = new Set([
  'jmp', 'jmpind', 'jcc', 'jrcxz', 'loop', 'loope', 'loopne', 'call', 'callind', 'ret', 'popf',
]); // biome-ignore format: table
const MAY_FALL_THROUGH: ReadonlySet<string> = new Set(['jcc', 'jrcxz', 'loop', 'loope', 'loopne']);

/** Work for the host: an instruction that TypeScript carries out, or bytes that are none. */
export type HostWork = Insn | Exclude<Undecoded, { fault: 'more' }>;

interface CodePage {
  /** Of the code map, when the blocks were decoded. */
  readonly version: number;
  /** RIP → address of the block's first record. */
  readonly blocks: Map<bigint, number>;
  /** The same blocks in full, for who compiles them; empty without. */
  readonly decoded: Map<bigint, DecodedBlock>;
  /** Blocks that are one instruction across the end of this page. */
  readonly straddling: Map<bigint, { record: number; secondPage: number; secondVersion: number }>;
}

/** One record to be. */
interface Item {
  readonly insn: NormalInsn;
  /** Null for work. */
  readonly form: Form | null;
  handler: number;
  readonly work: HostWork | null;
  /** The JCC done by the same record. */
  fused?: NormalInsn;
}

export class BlockCache {
  /** Null: everything is interpreted. */
  compiler: BlockCompiler | null = null;
  readonly #vm: Vm;
  readonly #vcpu: Vcpu;
  readonly #cpu: number;
  #pages = new Map<number, CodePage>();
  /** What EXIT_HOST is about, by UOP.INSN_INDEX. */
  #works: HostWork[] = [];
  #nextRecord: number;
  readonly #rewritten = new RewrittenBlocks<Item>();

  constructor(vcpu: Vcpu) {
    this.#vm = vcpu.vm;
    this.#vcpu = vcpu;
    this.#cpu = vcpu.cpu;
    this.#nextRecord = vcpu.cpu + CPU_UOPS;
  }

  /**
   * The record to run at RIP, or 0: no fetch translation, or not decoded yet. Enters it in the jump cache.
   * Reads only what belongs to this vCPU, so it may be called in guest mode.
   */
  find(): number {
    const rip = this.#vcpu.get64('RIP');
    const page = this.#fetchPage(rip);
    const code = page < 0 ? undefined : this.#pages.get(page);
    if (code === undefined) return 0;
    let record = code.blocks.get(rip) ?? 0;
    if (record === 0) {
      const block = code.straddling.get(rip);
      if (block === undefined) return 0;
      const second = this.#fetchPage((rip | 0xfffn) + 1n);
      if (second !== block.secondPage || this.#version(second) !== block.secondVersion) return 0;
      record = block.record;
    }
    this.#remember(rip, record);
    return record;
  }

  /** RIPs that branches have come to which nothing links to their target, lately. */
  readonly jumpTargets = new Set<bigint>();

  /** After EXIT_BLOCK: notes where a branch goes that cannot be linked. */
  noteJump(link: number): void {
    if (link !== 0 || this.compiler === null) return;
    if (this.jumpTargets.size >= JUMP_TARGETS_MAX) this.jumpTargets.clear();
    this.jumpTargets.add(this.#vcpu.get64('RIP'));
  }

  /**
   * Links the branch that left with EXIT_BLOCK to `record`, if blocks of its page may be linked to it.
   * @param link  CPU.EXIT_LINK: address of the word, 0 for none
   */
  link(link: number, record: number): void {
    if (link === 0) return;
    const { mem } = this.#vcpu;
    const straddles = mem.i32[(record + UOP.at.INSN_INDEX) >>> 2] === STRADDLES;
    mem.i32[link >>> 2] = straddles ? LINK_NEVER : record;
  }

  /**
   * Decodes the block at RIP. Its page (and for an instruction across the border the next one) must have a fetch entry.
   *
   * @returns what is missing: 'second' when the instruction goes on in a page without one
   * @locking outside guest mode: marking a page waits for the other vCPUs
   */
  *build(): Path<'built' | 'second'> {
    const rip = this.#vcpu.get64('RIP');
    const page = this.#fetchPage(rip);
    const version = yield* this.#mark(page);
    const items = this.#decodeBlock(rip, page, version);
    if (items.length > 0) {
      // Written first: a full arena makes it forget all pages.
      const { start, insns, count } = this.#write(items, rip, false);
      const code = this.#page(page, version);
      code.blocks.set(rip, start);
      if (this.compiler !== null) code.decoded.set(rip, { rip, page, start, insns, count });
      return 'built';
    }
    const secondPage = this.#fetchPage((rip | 0xfffn) + 1n);
    if (secondPage < 0) return 'second';
    const secondVersion = yield* this.#mark(secondPage);
    const bytes = this.#acrossPages(page, secondPage, Number(rip & 0xfffn));
    const item = this.#item(decode(bytes, 0, INSN_BYTES_MAX, rip), rip);
    const record = this.#write([item], rip, true).start;
    this.#page(page, version).straddling.set(rip, { record, secondPage, secondVersion });
    return 'built';
  }

  /** The block at `rip`, if a fetch there goes to a page with decoded code; null also where it straddles two pages. */
  decodedAt(rip: bigint): DecodedBlock | null {
    const page = this.#fetchPage(rip);
    return page < 0 ? null : (this.#pages.get(page)?.decoded.get(rip) ?? null);
  }

  /** What the record of an EXIT_HOST stands for. */
  work(record: number): HostWork {
    return this.#works[this.#vcpu.mem.i32[(record + UOP.at.INSN_INDEX) >>> 2]!]!;
  }

  /** Forgets the blocks of pages that have been written since. */
  dropStale(): void {
    for (const [page, code] of this.#pages) {
      if (this.#version(page) === code.version) continue;
      this.#pages.delete(page);
      this.compiler?.pageDropped(page);
    }
    this.#forgetJumps();
  }

  /** The instruction at `rip`, from the pages that fetches go to now; null where there is none. */
  insnAt(rip: bigint): Insn | null {
    const first = this.#fetchPage(rip);
    if (first < 0) return null;
    const { u8 } = this.#vcpu.mem;
    const offset = Number(rip & 0xfffn);
    const room = PAGE_BYTES - offset;
    let decoded = decode(u8, this.#vm.ramPage(first) + offset, Math.min(room, INSN_BYTES_MAX), rip);
    if ('fault' in decoded && decoded.fault === 'more') {
      const second = this.#fetchPage((rip | 0xfffn) + 1n);
      if (second < 0) return null;
      decoded = decode(this.#acrossPages(first, second, offset), 0, INSN_BYTES_MAX, rip);
    }
    return 'fault' in decoded ? null : decoded;
  }

  /** Is there a fetch translation for `rip`? */
  canFetch(rip: bigint): boolean {
    return this.#fetchPage(rip) >= 0;
  }

  #fetchPage(rip: bigint): number {
    const host = lookup(this.#vcpu.mem, this.#cpu, this.#vcpu.get32('CPL') === 3, ACCESS_X, rip);
    return host < 0 ? -1 : Math.floor((host - this.#vm.layout.ram) / PAGE_BYTES);
  }

  /** The bytes from `offset` of RAM page `first` on, as long as an instruction may be, going on in page `second`. */
  #acrossPages(first: number, second: number, offset: number): Uint8Array {
    const { u8 } = this.#vcpu.mem;
    const bytes = new Uint8Array(INSN_BYTES_MAX);
    const room = PAGE_BYTES - offset;
    bytes.set(u8.subarray(this.#vm.ramPage(first) + offset, this.#vm.ramPage(first) + PAGE_BYTES));
    const rest = this.#vm.ramPage(second);
    bytes.set(u8.subarray(rest, rest + INSN_BYTES_MAX - room), room);
    return bytes;
  }

  /** Also drops what an older version of the page has left. */
  #page(page: number, version: number): CodePage {
    const known = this.#pages.get(page);
    if (known?.version === version) return known;
    if (known !== undefined) this.compiler?.pageDropped(page);
    const fresh: CodePage = { version, blocks: new Map(), decoded: new Map(), straddling: new Map() };
    this.#pages.set(page, fresh);
    return fresh;
  }

  *#mark(page: number): Path<number> {
    return yield* markCodePage(this.#vcpu.actor, this.#vm, page, this.#vcpu.index);
  }

  #version(page: number): number {
    return codeVersion(this.#vm, page);
  }

  /** Empty when the very first instruction goes on in the next page. */
  #decodeBlock(rip: bigint, page: number, version: number): readonly Item[] {
    const { u8 } = this.#vcpu.mem;
    const base = this.#vm.ramPage(page);
    // SHARED: plain reads. The page is marked, so whoever stores to it now voids what is made here.
    const code = u8.subarray(base, base + PAGE_BYTES);
    const known = version === 0 ? null : this.#rewritten.find(rip, page, code);
    if (known !== null) return known;
    const items: Item[] = [];
    let at = Number(rip & 0xfffn);
    let here = rip;
    while (items.length < BLOCK_INSNS_MAX && at < PAGE_BYTES) {
      const decoded = decode(u8, base + at, PAGE_BYTES - at, here);
      if ('fault' in decoded && decoded.fault === 'more') break;
      const item = this.#item(decoded, here);
      items.push(item);
      if (item.work !== null || ENDS_BLOCK.has(item.insn.op)) break;
      at += item.insn.length;
      here = BigInt.asUintN(64, here + BigInt(item.insn.length));
    }
    if (items.length === 0) return items;
    const block = withoutWaste(items);
    if (version !== 0) this.#rewritten.keep(rip, page, code, block, at);
    return block;
  }

  #item(decoded: Insn | Undecoded, rip: bigint): Item {
    const insn = 'fault' in decoded || isHostOp(decoded.op) ? null : normalise(decoded);
    const form = insn === null ? null : formOf(insn);
    const handler = form === null ? -1 : formIndex(form);
    if (insn !== null && handler >= 0) return { insn, form, handler, work: null };
    return { insn: pseudo('host', rip, rip), form: null, handler: HANDLER.host, work: workOf(decoded) };
  }

  /** Writes start, instructions and, where control can fall out of the end, a jump to what follows. */
  #write(
    items: readonly Item[],
    rip: bigint,
    straddles: boolean,
  ): Pick<DecodedBlock, 'start' | 'insns' | 'count'> {
    const { mem } = this.#vcpu;
    const needed = (items.length + 2) * UOP.bytes;
    if (this.#nextRecord + needed > this.#cpu + CPU_UOPS + UOP_ARENA_BYTES) this.#reset();
    const start = this.#nextRecord;
    let at = start;
    const inPage = (target: bigint): number =>
      !straddles && target >> 12n === rip >> 12n ? LINK_OPEN : LINK_NEVER;
    const put = (item: Pick<Item, 'insn' | 'handler' | 'fused'>, remain: number, insnIndex: number): void => {
      const { insn, handler, fused } = item;
      const branch = fused ?? insn;
      writeRecord(mem, at, this.#cpu, insn, {
        handler,
        remain,
        insnIndex,
        linkTaken: branchesDirectly(branch) ? inPage(branch.target) : LINK_NEVER,
        linkNext: MAY_FALL_THROUGH.has(branch.op) ? inPage(following(branch)) : LINK_NEVER,
        fused,
      });
      at += UOP.bytes;
    };
    const count = items.reduce((sum, item) => sum + (item.fused === undefined ? 1 : 2), 0);
    const insns: DecodedInsn[] = [];
    let remain = count;
    const head = pseudo('blockstart', rip, rip, remain);
    put({ insn: head, handler: HANDLER.blockstart }, 0, straddles ? STRADDLES : 0);
    writeStart(mem, start, straddles ? HEAT_NEVER : (this.compiler?.heat ?? HEAT_NEVER));
    for (const item of items) {
      insns.push({ insn: item.insn, record: at });
      if (item.fused !== undefined) insns.push({ insn: item.fused, record: at });
      put(item, remain, item.work === null ? 0 : this.#works.push(item.work) - 1);
      remain -= 1;
    }
    const last = items.at(-1)!;
    if (last.work === null && !ENDS_BLOCK.has((last.fused ?? last.insn).op)) {
      const fall = pseudo('fall', last.insn.rip, following(last.insn));
      insns.push({ insn: fall, record: at });
      put({ insn: fall, handler: HANDLER.fall }, 0, 0);
    }
    this.#nextRecord = at;
    return { start, insns, count };
  }

  #remember(rip: bigint, record: number): void {
    const { mem } = this.#vcpu;
    const { u64, i32 } = mem;
    const slot = Number((rip ^ (rip >> 12n)) & BigInt(JUMP_ENTRIES - 1));
    const at = this.#cpu + CPU_JUMP_CACHE + slot * JUMP_ENTRY_BYTES;
    i32[(this.#cpu + CPU.at.JUMPS_EMPTY) >>> 2] = 0;
    mem.touch(at, JUMP_ENTRY_BYTES);
    i32[(at + 8) >>> 2] = record;
    u64[at / 8] = BigInt.asUintN(64, jumpKey(rip, this.#vcpu.get32('CPL')));
  }

  #forgetJumps(): void {
    flushJumpCache(this.#vcpu.mem, this.#cpu);
  }

  #reset(): void {
    this.#pages = new Map();
    this.#works = [];
    this.#nextRecord = this.#cpu + CPU_UOPS;
    this.#forgetJumps();
    this.compiler?.allDropped();
  }
}

/** Address of the instruction after it. */
function following(insn: NormalInsn): bigint {
  return BigInt.asUintN(64, insn.rip + BigInt(insn.length));
}

/**
 * Picks faster variants with the same meaning: a compare does the JCC behind it, and flags are not computed where
 * nobody can see them, because every instruction up to the one that overwrites them stays in registers.
 */
function withoutWaste(items: Item[]): Item[] {
  const branch = items.at(-1)!;
  const compare = items.at(-2);
  if (branch.form?.op === 'jcc' && compare !== undefined && compare.form !== null) {
    const handler = fusedFormIndex(compare.form, branch.form.cc);
    if (handler >= 0) items.splice(-2, 2, { ...compare, handler, fused: branch.insn });
  }
  let seen = true;
  for (const item of items.slice().reverse()) {
    const { form } = item;
    if (form === null || item.fused !== undefined) {
      seen = true;
      continue;
    }
    const quiet = seen ? -1 : quietFormIndex(form);
    if (quiet >= 0) item.handler = quiet;
    // At an access the core may leave, and then the flags before it are seen.
    if (!staysInRegisters(form)) seen = true;
    else if (overwritesFlags(form)) seen = false;
    else if (quiet < 0 && !ignoresFlags(form)) seen = true;
  }
  return items;
}

/** INSN_INDEX of a block start that must not be linked to: its block hangs on the next page as well. */
const STRADDLES = -1;

const PSEUDO_FORM: Omit<Form, 'op'> = {
  size: 8,
  srcSize: 8,
  dst: 'none',
  src: 'none',
  src2: 'none',
  cc: 0,
  lock: false,
  rep: 'none',
  flags: true,
  jcc: -1,
};
/** Handler of a block's start record while the block is interpreted. */
export const BLOCK_START_HANDLER = formIndex({ op: 'blockstart', ...PSEUDO_FORM });
const HANDLER = {
  blockstart: BLOCK_START_HANDLER,
  fall: formIndex({ op: 'fall', ...PSEUDO_FORM }),
  host: formIndex({ op: 'host', ...PSEUDO_FORM }),
};

/** What the host makes of it. An instruction without a form (ENTER with a deep level) counts as undefined. */
export function workOf(decoded: Insn | Undecoded): HostWork {
  if ('fault' in decoded) {
    if (decoded.fault === 'more') throw new Error('an instruction that goes on cannot be work');
    return decoded;
  }
  if (isHostOp(decoded.op)) return decoded;
  return { fault: 'undefined', name: `${decoded.op} (operands)`, length: decoded.length };
}

/** An instruction that is none of the guest's: its record carries a RIP, a target, and a block start its count. */
function pseudo(op: 'blockstart' | 'fall' | 'host', rip: bigint, target: bigint, length = 0): NormalInsn {
  return {
    op,
    rip,
    length,
    size: 8,
    srcSize: 8,
    dst: null,
    src: null,
    src2: null,
    cc: 0,
    lock: false,
    rep: 'none',
    seg: 'none',
    addressSize: 8,
    target,
    extra: 0,
  };
}
