/**
 * Functions that all handlers of the module share: ways to leave, the jump cache, long multiplication and division.
 */
import {
  CPU,
  CPU_JUMP_CACHE,
  EXIT_ACCESS,
  EXIT_BLOCK,
  EXIT_BUDGET,
  JUMP_ENTRIES,
} from '../../../shared/layout/cpu.ts';
import { Code, type Value } from './code.ts';
import { buildFlagHelpers, type FlagHelpers } from './flags.ts';
import { buildFloatHelpers, type FloatHelpers, importSoft } from './float-helpers.ts';
import { UOP } from './uop.ts';
import {
  type Callee,
  type FunctionBody,
  I32,
  I64,
  type ModuleBuilder,
  type ValueType,
} from './wasm-module.ts';

/** Functions of the module that handlers call. Those that leave return −1. */
export interface Helpers extends FlagHelpers {
  readonly float: FloatHelpers;
  /** (start record, cpu) → first record of a block that has been charged, or −1: budget or requests say stop. */
  readonly enter: Callee;
  /** (record, cpu) → next record, or −1: runs the record's own handler. */
  readonly callHandler: Callee;
  /** (uop, cpu, exit kind) → −1: RIP is the record's PC. */
  readonly leave: Callee;
  /** (uop, cpu, exit kind, gva, size | access << 8) → −1. */
  readonly leaveAccess: Callee;
  /** (uop, cpu, rip, address of the link word or 0) → −1 with EXIT_BLOCK. */
  readonly leaveBlock: Callee;
  /** (uop, cpu, exit kind, rip) → −1: RIP is `rip`. */
  readonly leaveTo: Callee;
  /** (uop, cpu, index | kind << 8 | size << 16, gva, value, expect) → −1 with EXIT_ACCESS. */
  readonly leaveLog: Callee;
  /** (uop, cpu, rip, address of the link word) → record, or −1. */
  readonly resolve: Callee;
  /** (cpu, rip) → record, or 0. */
  readonly jumpCache: Callee;
  /** (a, b) → high 64 bits of the unsigned product. */
  readonly mulHighU: Callee;
  /** (high, low, divisor) → quotient, remainder; needs high < divisor. */
  readonly divide128: Callee;
}

/** Writes them all. */
export function buildHelpers(module: ModuleBuilder): Helpers {
  const soft = importSoft(module);
  const leaving = (extra: readonly ValueType[]) => module.function([I32, I32, ...extra], [I32]);
  const leave = leaving([I32]);
  writeLeave(leave);
  const leaveAccess = leaving([I32, I64, I32]);
  writeLeaveAccess(leaveAccess);
  const leaveBlock = leaving([I64, I32]);
  writeLeaveBlock(leaveBlock);
  const leaveTo = leaving([I32, I64]);
  writeLeaveTo(leaveTo);
  const leaveLog = leaving([I32, I64, I64, I64]);
  writeLeaveLog(leaveLog);
  const jumpCache = module.function([I32, I64], [I32]);
  writeJumpCache(jumpCache);
  const resolve = leaving([I64, I32]);
  writeResolve(resolve, jumpCache, leaveBlock);
  const enter = leaving([]);
  writeEnter(enter, leave);
  const callHandler = leaving([]);
  writeCallHandler(callHandler);
  const mulHighU = module.function([I64, I64], [I64]);
  writeMulHighU(mulHighU);
  const divide128 = module.function([I64, I64, I64], [I64, I64]);
  writeDivide128(divide128);
  const flags = buildFlagHelpers(module);
  return {
    ...flags,
    float: buildFloatHelpers(module, soft),
    enter,
    callHandler,
    leave,
    leaveAccess,
    leaveBlock,
    leaveTo,
    leaveLog,
    jumpCache,
    resolve,
    mulHighU,
    divide128,
  };
}

/** An object of the same shape, of what `change` makes of each; the name of one within another is `outer.inner`. */
export function mapHelpers(helpers: Helpers, change: (name: string, helper: Callee) => Callee): Helpers {
  const mapped = (from: object, prefix: string): object =>
    Object.fromEntries(
      Object.entries(from).map(([key, value]: [string, object]) => {
        const name = `${prefix}${key}`;
        return [key, isCallee(value) ? change(name, value) : mapped(value, `${name}.`)];
      }),
    );
  return mapped(helpers, '') as Helpers;
}

function isCallee(value: object): value is Callee {
  return 'index' in value;
}

/** The record that the jump cache has for `rip`, or 0 (i32). See {@link jumpKey}. */
export function lookUpJump(code: Code, cpu: Value, rip: Value): Value {
  const slot = rip
    .xor(rip.shrU(12))
    .low()
    .and(JUMP_ENTRIES - 1)
    .shl(4);
  const entry = code.let(cpu.add(slot));
  const level = code.load(I64, 4, cpu, CPU.at.CPL);
  const hit = code.load(I64, 8, entry, CPU_JUMP_CACHE).eq(rip.xor(level.shl(61)));
  return code.choose(hit, code.load(I32, 4, entry, CPU_JUMP_CACHE + 8), code.i32(0));
}

/**
 * Tag of a jump-cache entry. The privilege level is folded into bits that a canonical address has equal, so a
 * block of one level is never found from another and a change of level needs no flush.
 */
export function jumpKey(rip: bigint, privilegeLevel: number): bigint {
  return BigInt.asIntN(64, rip ^ (BigInt(privilegeLevel) << 61n));
}

function writeLeave(fn: FunctionBody): void {
  const code = new Code(fn);
  const uop = code.parameter(0, I32);
  commitExit(code, code.parameter(2, I32), code.load(I64, 8, uop, UOP.at.PC));
}

function writeLeaveTo(fn: FunctionBody): void {
  const code = new Code(fn);
  commitExit(code, code.parameter(2, I32), code.parameter(3, I64));
}

function writeLeaveAccess(fn: FunctionBody): void {
  const code = new Code(fn);
  const uop = code.parameter(0, I32);
  const cpu = code.parameter(1, I32);
  const what = code.parameter(4, I32);
  code.store(8, cpu, CPU.at.EXIT_GVA, code.parameter(3, I64));
  code.store(4, cpu, CPU.at.EXIT_SIZE, what.and(0xff));
  code.store(4, cpu, CPU.at.EXIT_ACCESS, what.shrU(8));
  commitExit(code, code.parameter(2, I32), code.load(I64, 8, uop, UOP.at.PC));
}

function writeLeaveBlock(fn: FunctionBody): void {
  const code = new Code(fn);
  code.store(4, code.parameter(1, I32), CPU.at.EXIT_LINK, code.parameter(3, I32));
  commitExit(code, code.i32(EXIT_BLOCK), code.parameter(2, I64));
}

function writeLeaveLog(fn: FunctionBody): void {
  const code = new Code(fn);
  const uop = code.parameter(0, I32);
  const cpu = code.parameter(1, I32);
  const what = code.parameter(2, I32);
  const index = code.let(what.and(0xff));
  const word = code.let(cpu.add(index.shl(2)));
  const quad = code.let(cpu.add(index.shl(3)));
  code.store(4, cpu, CPU.at.LOG_NEXT, index);
  code.store(4, word, CPU.at.LOG_KIND, what.shrU(8).and(0xff));
  code.store(4, word, CPU.at.LOG_SIZE, what.shrU(16));
  code.store(8, quad, CPU.at.LOG_GVA, code.parameter(3, I64));
  code.store(8, quad, CPU.at.LOG_VALUE, code.parameter(4, I64));
  code.store(8, quad, CPU.at.LOG_EXPECT, code.parameter(5, I64));
  commitExit(code, code.i32(EXIT_ACCESS), code.load(I64, 8, uop, UOP.at.PC));
}

function writeJumpCache(fn: FunctionBody): void {
  const code = new Code(fn);
  lookUpJump(code, code.parameter(0, I32), code.parameter(1, I64)).put();
}

/**
 * Charges the block at `start` for its instructions. `stop` is written where budget or requests say so, and has to leave.
 */
export function chargeBlock(code: Code, start: Value, cpu: Value, stop: () => void): void {
  const length = code.load(I32, 1, start, UOP.at.LENGTH);
  const left = code.let(code.load(I32, 4, cpu, CPU.at.BUDGET).sub(length));
  code.if(pendingRequests(code, cpu).or(left.shrS(31)), stop);
  code.store(4, cpu, CPU.at.BUDGET, left);
}

/** REQ_* bits of this vCPU, read now. */
export function pendingRequests(code: Code, cpu: Value): Value {
  cpu.put();
  code.fn.atomicLoad32(CPU.at.REQUESTS);
  const requests = code.fn.local(I32);
  code.fn.set(requests);
  return code.parameter(requests, I32);
}

function writeEnter(fn: FunctionBody, leave: Callee): void {
  const code = new Code(fn);
  const start = code.parameter(0, I32);
  const cpu = code.parameter(1, I32);
  chargeBlock(code, start, cpu, () => code.return(code.call(I32, leave, start, cpu, code.i32(EXIT_BUDGET))));
  start.add(UOP.bytes).put();
}

function writeCallHandler(fn: FunctionBody): void {
  const code = new Code(fn);
  const record = code.parameter(0, I32);
  record.put();
  code.parameter(1, I32).put();
  code.load(I32, 2, record, UOP.at.HANDLER).put();
  fn.callIndirect(fn.typeIndex);
}

/** A direct branch whose link word is not a record: ask the host to link it, or go through the jump cache. */
function writeResolve(fn: FunctionBody, jumpCache: Callee, leaveBlock: Callee): void {
  const code = new Code(fn);
  const uop = code.parameter(0, I32);
  const cpu = code.parameter(1, I32);
  const rip = code.parameter(2, I64);
  const link = code.parameter(3, I32);
  const leave = (word: Value): void => code.return(code.call(I32, leaveBlock, uop, cpu, rip, word));
  code.if(code.load(I32, 4, link, 0).isZero(), () => leave(link));
  const record = code.let(code.call(I32, jumpCache, cpu, rip));
  code.if(record.isZero(), () => leave(code.i32(0)));
  record.put();
}

function commitExit(code: Code, kind: Value, rip: Value): void {
  const cpu = code.parameter(1, I32);
  code.store(4, cpu, CPU.at.EXIT_KIND, kind);
  code.store(4, cpu, CPU.at.EXIT_UOP, code.parameter(0, I32));
  code.store(8, cpu, CPU.at.RIP, rip);
  code.i32(-1).put();
}

/** High half of an unsigned 64 × 64 product, from four 32-bit products. */
function writeMulHighU(fn: FunctionBody): void {
  const code = new Code(fn);
  const a = code.parameter(0, I64);
  const b = code.parameter(1, I64);
  const aLow = code.let(a.cut(4));
  const aHigh = code.let(a.shrU(32));
  const bLow = code.let(b.cut(4));
  const bHigh = code.let(b.shrU(32));
  const middle = code.let(aHigh.mul(bLow).add(aLow.mul(bLow).shrU(32)));
  const other = code.let(aLow.mul(bHigh).add(middle.cut(4)));
  aHigh.mul(bHigh).add(middle.shrU(32)).add(other.shrU(32)).put();
}

/** Restoring division of 128 bits by 64, one quotient bit a turn. */
function writeDivide128(fn: FunctionBody): void {
  const code = new Code(fn);
  const divisor = code.parameter(2, I64);
  const remainder = code.variable(code.parameter(0, I64));
  const low = code.variable(code.parameter(1, I64));
  const turns = code.variable(code.i32(64));
  code.loopWhile(() => {
    const carry = code.let(remainder.shrU(63));
    remainder.assign(remainder.shl(1).or(low.shrU(63)));
    low.assign(low.shl(1));
    code.if(carry.low().or(remainder.geU(divisor)), () => {
      remainder.assign(remainder.sub(divisor));
      low.assign(low.or(1));
    });
    turns.assign(turns.sub(1));
    return turns;
  });
  low.put();
  remainder.put();
}
