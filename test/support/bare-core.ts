/**
 * The generated core alone, running one oracle case: no vCPU, no MMU, no block cache. A TLB filled by hand stands for
 * the page tables, and what the run loop and the emulator do around the core is done here in a few lines.
 */

import * as arena from '../../scripts/native-oracle/arena.ts';
import {
  type CaseResult,
  type OracleCase,
  VECTOR_BP,
  VECTOR_GP,
  VECTOR_PF,
  VECTOR_UD,
} from '../../scripts/native-oracle/case.ts';
import { changedMemory } from '../../scripts/native-oracle/compare.ts';
import { Core, compileCore, EMULATED_BASE } from '../../src/actors/vcpu/isa/core.ts';
import { decode } from '../../src/actors/vcpu/isa/decode.ts';
import { formIndex, formOf, generalForm, normalise } from '../../src/actors/vcpu/isa/forms.ts';
import { HOST_OPS, type Insn } from '../../src/actors/vcpu/isa/insn.ts';
import { LINK_NEVER, UOP, writeRecord } from '../../src/actors/vcpu/isa/uop.ts';
import { flushTlb, insert } from '../../src/actors/vcpu/tlb.ts';
import {
  ACCESS_R,
  ACCESS_W,
  CPU,
  CPU_SCRATCH_UOP,
  EXIT_ACCESS,
  EXIT_DONE,
  EXIT_EXCEPTION,
  EXIT_MEMORY,
  EXIT_SPLIT_LOCK,
  LOG_CAS,
  LOG_READ,
  LOG_READ_MODIFY,
  TLB_READ,
  tlbTable,
} from '../../src/shared/layout/cpu.ts';
import { Mem } from '../../src/shared/mem.ts';
import type { CoreLab, LabMode } from './core-lab.ts';

const CPU_AREA = 0x1_0000;
const ARENA_AT = 0x50_0000;
const MEMORY_PAGES = 0x60;
const HOST: ReadonlySet<string> = new Set(HOST_OPS);
const GPRS = 16;

interface Fault {
  readonly vector: number;
  readonly errorCode: number;
  readonly cr2: bigint;
}
type Ending = 'goes on' | Fault;

export class BareCore implements CoreLab {
  readonly #mem: Mem;
  readonly #core: Core;

  constructor() {
    const memory = new WebAssembly.Memory({ initial: MEMORY_PAGES, maximum: MEMORY_PAGES, shared: true });
    this.#mem = new Mem(memory);
    this.#core = new Core(compileCore(), this.#mem);
    const { i32 } = this.#mem;
    i32[(CPU_AREA + CPU.at.CPL) >>> 2] = 3;
    i32[(CPU_AREA + CPU.at.TLB) >>> 2] = tlbTable(CPU_AREA, true, TLB_READ);
    flushTlb(this.#mem, CPU_AREA);
    const map = (offset: number, access: number): void => {
      const gva = BigInt(arena.ARENA_BASE + offset);
      insert(this.#mem, CPU_AREA, { user: true, access, gva, host: ARENA_AT + offset, gfn: 0 });
    };
    for (let at = 0; at < arena.DATA_BYTES; at += arena.PAGE_BYTES) {
      map(arena.DATA_OFFSET + at, ACCESS_R);
      map(arena.DATA_OFFSET + at, ACCESS_W);
    }
    for (let at = 0; at < arena.CODE_BYTES; at += arena.PAGE_BYTES) map(arena.CODE_OFFSET + at, ACCESS_R);
    map(arena.READ_ONLY_OFFSET, ACCESS_R);
  }

  run(item: OracleCase, mode: LabMode): CaseResult {
    const { u8, u64 } = this.#mem;
    const all = u8.subarray(ARENA_AT, ARENA_AT + arena.ARENA_BYTES);
    all.set(arena.BACKGROUND);
    all.set(item.code, arena.CODE_OFFSET + item.codeOffset);
    all.set(item.patch, item.patchOffset);
    const word = (field: number): number => (CPU_AREA + field) / 8;
    for (let n = 0; n < GPRS; n++) u64[word(CPU.at.GPR) + n] = item.gpr[n]!;
    u64[word(CPU.at.FS_BASE)] = item.fsBase;
    u64[word(CPU.at.GS_BASE)] = item.gsBase;
    u64[word(CPU.at.RIP)] = BigInt(arena.CODE_BASE + item.codeOffset);
    this.#core.setRflags(CPU_AREA, BigInt(item.rflags));

    let ending: Ending = 'goes on';
    for (let step = 0; ending === 'goes on' && step < 100_000; step++) ending = this.#step(mode);
    if (ending === 'goes on') throw new Error('a case does not end');
    const { vector, errorCode, cr2 } = ending;
    const rip = u64[word(CPU.at.RIP)]! + (vector === VECTOR_BP ? 1n : 0n);
    const gpr = Array.from({ length: GPRS }, (_, n) => u64[word(CPU.at.GPR) + n]!);
    const rflags = Number(this.#core.rflags(CPU_AREA));
    return { gpr, rip, rflags, vector, errorCode, cr2, ...changedMemory(item, all) };
  }

  /** One instruction, or one iteration of a repeated one. */
  #step(mode: LabMode): Ending {
    const { u8, u64 } = this.#mem;
    const rip = u64[(CPU_AREA + CPU.at.RIP) / 8]!;
    const offset = rip - BigInt(arena.CODE_BASE);
    if (offset < 0n || offset >= BigInt(arena.CODE_BYTES)) return this.#fetchFault(rip);
    const left = arena.CODE_BYTES - Number(offset);
    const insn = decode(u8, ARENA_AT + arena.CODE_OFFSET + Number(offset), left, rip);
    if ('fault' in insn) {
      if (insn.fault === 'more') return this.#fetchFault(BigInt(arena.CODE_BASE + arena.CODE_BYTES));
      return { vector: insn.fault === 'toolong' ? VECTOR_GP : VECTOR_UD, errorCode: 0, cr2: 0n };
    }
    if (insn.op === 'int3') return { vector: VECTOR_BP, errorCode: 0, cr2: 0n };
    if (HOST.has(insn.op)) throw new Error(`${insn.op} is the host's`);
    return mode === 'fast' ? this.#fast(insn) : this.#emulated(insn);
  }

  #fast(insn: Insn): Ending {
    const normal = normalise(insn);
    const form = formIndex(formOf(normal));
    if (form < 0) return { vector: VECTOR_UD, errorCode: 0, cr2: 0n };
    const cpu = CPU_AREA;
    const record = cpu + CPU_SCRATCH_UOP;
    const place = { remain: 1, insnIndex: 0, linkTaken: LINK_NEVER, linkNext: LINK_NEVER };
    const next = BigInt.asUintN(64, insn.rip + BigInt(insn.length));
    writeRecord(this.#mem, record, cpu, normal, { handler: form, ...place });
    // What follows is work for the host, which is where this test wants to be.
    const stop = { ...normal, op: 'host', rip: next, dst: null, src: null, src2: null, length: 0 } as const;
    const hostForm = formIndex(formOf({ ...stop, size: 8, srcSize: 8, cc: 0, lock: false, rep: 'none' }));
    if (hostForm < 0) throw new Error('no host form');
    writeRecord(this.#mem, record + UOP.bytes, cpu, stop, { handler: hostForm, ...place });
    this.#core.run(record, cpu);
    switch (this.#word(CPU.at.EXIT_KIND)) {
      case EXIT_MEMORY:
      case EXIT_SPLIT_LOCK:
        return this.#emulated(insn);
      case EXIT_EXCEPTION:
        return { vector: this.#word(CPU.at.EXIT_VECTOR), errorCode: 0, cr2: 0n };
      default:
        return 'goes on';
    }
  }

  #emulated(insn: Insn): Ending {
    const normal = normalise(insn);
    const form = formIndex(generalForm(formOf(normal)));
    if (form < 0) return { vector: VECTOR_UD, errorCode: 0, cr2: 0n };
    const cpu = CPU_AREA;
    const record = cpu + CPU_SCRATCH_UOP;
    writeRecord(this.#mem, record, cpu, normal, {
      handler: EMULATED_BASE + form,
      remain: 1,
      insnIndex: 0,
      linkTaken: LINK_NEVER,
      linkNext: LINK_NEVER,
    });
    this.#setWord(CPU.at.LOG_COUNT, 0);
    for (;;) {
      this.#core.run(record, cpu);
      const kind = this.#word(CPU.at.EXIT_KIND);
      if (kind === EXIT_DONE) return 'goes on';
      if (kind === EXIT_EXCEPTION) {
        return { vector: this.#word(CPU.at.EXIT_VECTOR), errorCode: 0, cr2: 0n };
      }
      if (kind !== EXIT_ACCESS) throw new Error(`emulated instruction left with exit ${kind}`);
      const fault = this.#carryOut();
      if (fault !== null) return fault;
      this.#setWord(CPU.at.LOG_COUNT, this.#word(CPU.at.LOG_NEXT) + 1);
    }
  }

  #carryOut(): Fault | null {
    const { u8, u64, i32 } = this.#mem;
    const index = this.#word(CPU.at.LOG_NEXT);
    const kind = i32[((CPU_AREA + CPU.at.LOG_KIND) >>> 2) + index]!;
    const size = i32[((CPU_AREA + CPU.at.LOG_SIZE) >>> 2) + index]!;
    const gva = u64[(CPU_AREA + CPU.at.LOG_GVA) / 8 + index]!;
    const values = (CPU_AREA + CPU.at.LOG_VALUE) / 8 + index;
    const fault = this.#check(gva, size, kind !== LOG_READ);
    if (fault !== null) return fault;
    const at = ARENA_AT + Number(gva) - arena.ARENA_BASE;
    if (kind === LOG_READ || kind === LOG_READ_MODIFY) {
      let value = 0n;
      for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(u8[at + i]!);
      u64[values] = value;
      return null;
    }
    if (kind === LOG_CAS) {
      const expects = (CPU_AREA + CPU.at.LOG_EXPECT) / 8 + index;
      for (let i = 0; i < size; i++) {
        const expected = Number((u64[expects + (i >> 3)]! >> BigInt((i & 7) * 8)) & 0xffn);
        if (u8[at + i] !== expected) throw new Error('nobody else writes here');
      }
    }
    for (let i = 0; i < size; i++)
      u8[at + i] = Number((u64[values + (i >> 3)]! >> BigInt((i & 7) * 8)) & 0xffn);
    return null;
  }

  #check(gva: bigint, size: number, write: boolean): Fault | null {
    for (let i = 0; i < size; i++) {
      const at = BigInt.asUintN(64, gva + BigInt(i));
      if (BigInt.asIntN(48, at) !== BigInt.asIntN(64, at))
        return { vector: VECTOR_GP, errorCode: 0, cr2: 0n };
      const offset = Number(at) - arena.ARENA_BASE;
      const within = (from: number, count: number): boolean => offset >= from && offset < from + count;
      const readable =
        within(arena.READ_ONLY_OFFSET, arena.READ_ONLY_BYTES) || within(arena.CODE_OFFSET, arena.CODE_BYTES);
      if (within(arena.DATA_OFFSET, arena.DATA_BYTES) || (readable && !write)) continue;
      return { vector: VECTOR_PF, errorCode: 4 | (write ? 2 : 0) | (readable ? 1 : 0), cr2: at };
    }
    return null;
  }

  #fetchFault(rip: bigint): Fault {
    if (BigInt.asIntN(48, rip) !== BigInt.asIntN(64, rip))
      return { vector: VECTOR_GP, errorCode: 0, cr2: 0n };
    const offset = Number(rip) - arena.ARENA_BASE;
    const present = offset >= arena.DATA_OFFSET && offset < arena.DATA_OFFSET + arena.DATA_BYTES;
    return { vector: VECTOR_PF, errorCode: 0x14 | (present ? 1 : 0), cr2: rip };
  }

  #word(field: number): number {
    return this.#mem.i32[(CPU_AREA + field) >>> 2]!;
  }
  #setWord(field: number, value: number): void {
    this.#mem.i32[(CPU_AREA + field) >>> 2] = value;
  }
}
