/**
 * Writes WebAssembly modules: a growing byte buffer, a function body with one method per kind of instruction, and
 * the module around them. Knows nothing of x86.
 *
 * @source WebAssembly Core Specification 2.0, "Binary Format"; threads proposal for the 0xfe opcodes
 */

export const I32 = 0x7f;
export const I64 = 0x7e;
export const F32 = 0x7d;
export const F64 = 0x7c;
export const V128 = 0x7b;
const EMPTY = 0x40;
export type ValueType = typeof I32 | typeof I64 | typeof F32 | typeof F64 | typeof V128;

const END = 0x0b;
const FUNCREF = 0x70;
const MEMORY_SHARED = 3;

/** A byte buffer that grows. */
export class ByteWriter {
  #bytes: Uint8Array;
  #length = 0;

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
  }
  get length(): number {
    return this.#length;
  }
  /** What was written so far; valid until the next write. */
  view(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length) as Uint8Array<ArrayBuffer>;
  }
  u8(value: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = value;
  }
  bytes(values: ArrayLike<number>): void {
    this.#reserve(values.length);
    this.#bytes.set(values, this.#length);
    this.#length += values.length;
  }
  /** Unsigned LEB128 of a 32-bit number. */
  unsigned(value: number): void {
    this.#reserve(5);
    let rest = value >>> 0;
    while (rest >= 0x80) {
      this.#bytes[this.#length++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#bytes[this.#length++] = rest;
  }
  /** Signed LEB128 of a 32-bit number. */
  signed(value: number): void {
    this.#reserve(5);
    let rest = value | 0;
    for (;;) {
      const group = rest & 0x7f;
      rest >>= 7;
      const last = (rest === 0 && (group & 0x40) === 0) || (rest === -1 && (group & 0x40) !== 0);
      this.#bytes[this.#length++] = last ? group : group | 0x80;
      if (last) return;
    }
  }
  /** Signed LEB128 of a 64-bit number. */
  signed64(value: bigint): void {
    if (value >= -0x80000000n && value <= 0x7fffffffn) {
      this.signed(Number(value));
      return;
    }
    this.#reserve(10);
    let rest = BigInt.asIntN(64, value);
    for (;;) {
      const group = Number(rest & 0x7fn);
      rest >>= 7n;
      const last = (rest === 0n && (group & 0x40) === 0) || (rest === -1n && (group & 0x40) !== 0);
      this.#bytes[this.#length++] = last ? group : group | 0x80;
      if (last) return;
    }
  }
  name(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.unsigned(bytes.length);
    this.bytes(bytes);
  }
  #reserve(count: number): void {
    const wanted = this.#length + count;
    if (wanted <= this.#bytes.length) return;
    let capacity = this.#bytes.length * 2;
    while (capacity < wanted) capacity *= 2;
    const grown = new Uint8Array(capacity);
    grown.set(this.view());
    this.#bytes = grown;
  }
}

/** Opcodes used by name. Arithmetic is by {@link Operator}. */
const OP = {
  unreachable: 0x00,
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  br: 0x0c,
  brIf: 0x0d,
  brTable: 0x0e,
  return: 0x0f,
  call: 0x10,
  callIndirect: 0x11,
  drop: 0x1a,
  select: 0x1b,
  localGet: 0x20,
  localSet: 0x21,
  localTee: 0x22,
  i32Const: 0x41,
  i64Const: 0x42,
  bulk: 0xfc,
  simd: 0xfd,
  atomic: 0xfe,
} as const;

/** Opcode of each binary operator: [for i32, for i64]. */
// biome-ignore format: table
export const BINARY = {
  add: [0x6a, 0x7c], sub: [0x6b, 0x7d], mul: [0x6c, 0x7e],
  divS: [0x6d, 0x7f], divU: [0x6e, 0x80], remS: [0x6f, 0x81], remU: [0x70, 0x82],
  and: [0x71, 0x83], or: [0x72, 0x84], xor: [0x73, 0x85],
  shl: [0x74, 0x86], shrS: [0x75, 0x87], shrU: [0x76, 0x88], rotl: [0x77, 0x89], rotr: [0x78, 0x8a],
} as const;
export type Binary = keyof typeof BINARY;

/** Comparisons; the result is an i32. */
// biome-ignore format: table
export const COMPARE = {
  eq: [0x46, 0x51], ne: [0x47, 0x52], ltS: [0x48, 0x53], ltU: [0x49, 0x54], gtS: [0x4a, 0x55], gtU: [0x4b, 0x56],
  leS: [0x4c, 0x57], leU: [0x4d, 0x58], geS: [0x4e, 0x59], geU: [0x4f, 0x5a],
} as const;
export type Compare = keyof typeof COMPARE;

/** One operand in, same type out. */
export const UNARY = {
  clz: [0x67, 0x79],
  ctz: [0x68, 0x7a],
  popcnt: [0x69, 0x7b],
  extend8S: [0xc0, 0xc2],
  extend16S: [0xc1, 0xc3],
} as const;
export type Unary = keyof typeof UNARY;

export const I32_EQZ = 0x45;
export const I64_EQZ = 0x50;
export const I32_WRAP_I64 = 0xa7;
export const I64_EXTEND_I32_S = 0xac;
export const I64_EXTEND_I32_U = 0xad;
export const I64_EXTEND32_S = 0xc4;

/** Vector instructions: bytes after 0xfd. Lane names as in the specification, of i8x16, i16x8, i32x4 and i64x2. */
// biome-ignore format: table
export const SIMD = {
  load: 0x00, store: 0x0b, const: 0x0c, shuffle: 0x0d, swizzle: 0x0e,
  splat8: 0x0f, splat16: 0x10, splat32: 0x11, splat64: 0x12,
  extract8U: 0x16, extract16U: 0x19, extract32: 0x1b, replace32: 0x1c, extract64: 0x1d, replace64: 0x1e,
  eq8: 0x23, gtS8: 0x27, eq16: 0x2d, gtS16: 0x31, eq32: 0x37, gtS32: 0x3b, eq64: 0xd6, gtS64: 0xd9,
  not: 0x4d, and: 0x4e, andNot: 0x4f, or: 0x50, xor: 0x51, bitSelect: 0x52, anyTrue: 0x53,
  abs8: 0x60, mask8: 0x64, narrowS16: 0x65, narrowU16: 0x66,
  add8: 0x6e, addSatS8: 0x6f, addSatU8: 0x70, sub8: 0x71, subSatS8: 0x72, subSatU8: 0x73,
  minS8: 0x76, minU8: 0x77, maxS8: 0x78, maxU8: 0x79, avgU8: 0x7b, pairsU8: 0x7d, pairsU16: 0x7f,
  abs16: 0x80, mulRound16: 0x82, narrowS32: 0x85, narrowU32: 0x86,
  extendLowS8: 0x87, extendHighS8: 0x88, extendLowU8: 0x89, extendHighU8: 0x8a,
  shl16: 0x8b, shrS16: 0x8c, shrU16: 0x8d,
  add16: 0x8e, addSatS16: 0x8f, addSatU16: 0x90, sub16: 0x91, subSatS16: 0x92, subSatU16: 0x93, mul16: 0x95,
  minS16: 0x96, minU16: 0x97, maxS16: 0x98, maxU16: 0x99, avgU16: 0x9b,
  abs32: 0xa0, mask32: 0xa4, extendLowS16: 0xa7, extendLowU16: 0xa9, shl32: 0xab, shrS32: 0xac, shrU32: 0xad,
  add32: 0xae, sub32: 0xb1, mul32: 0xb5, minS32: 0xb6, minU32: 0xb7, maxS32: 0xb8, maxU32: 0xb9,
  dotS16: 0xba, mulLowS16: 0xbc, mulHighS16: 0xbd, mulLowU16: 0xbe, mulHighU16: 0xbf,
  mask64: 0xc4, extendLowS32: 0xc7, extendLowU32: 0xc9, shl64: 0xcb, shrS64: 0xcc, shrU64: 0xcd,
  add64: 0xce, sub64: 0xd1, mul64: 0xd5,
} as const;
export type Simd = keyof typeof SIMD;

/** Scalar float instructions: [for f32, for f64]. */
// biome-ignore format: table
export const FLOAT = {
  eq: [0x5b, 0x61], ne: [0x5c, 0x62], lt: [0x5d, 0x63], gt: [0x5e, 0x64], le: [0x5f, 0x65], ge: [0x60, 0x66],
  abs: [0x8b, 0x99], neg: [0x8c, 0x9a], ceil: [0x8d, 0x9b], floor: [0x8e, 0x9c], trunc: [0x8f, 0x9d],
  nearest: [0x90, 0x9e], sqrt: [0x91, 0x9f],
  add: [0x92, 0xa0], sub: [0x93, 0xa1], mul: [0x94, 0xa2], div: [0x95, 0xa3],
} as const;
export type FloatOperation = keyof typeof FLOAT;

/** Between number types. */
export const CONVERT = {
  truncateToI32: 0xaa,
  truncateToI64: 0xb0,
  f32FromI64: 0xb4,
  f64FromI64: 0xb9,
  demote: 0xb6,
  promote: 0xbb,
  i32Bits: 0xbc,
  i64Bits: 0xbd,
  f32Bits: 0xbe,
  f64Bits: 0xbf,
} as const;

/** Loads by bytes: zero-extending to i64, and to i32. */
const I64_LOAD: Readonly<Record<number, number>> = { 1: 0x31, 2: 0x33, 4: 0x35, 8: 0x29 };
const I32_LOAD: Readonly<Record<number, number>> = { 1: 0x2d, 2: 0x2f, 4: 0x28 };
const I64_STORE: Readonly<Record<number, number>> = { 1: 0x3c, 2: 0x3d, 4: 0x3e, 8: 0x37 };
const I32_STORE: Readonly<Record<number, number>> = { 1: 0x3a, 2: 0x3b, 4: 0x36 };

/** i64 atomic read-modify-writes, by operation and bytes. */
const ATOMIC = {
  add: { 1: 0x22, 2: 0x23, 4: 0x24, 8: 0x1f },
  sub: { 1: 0x29, 2: 0x2a, 4: 0x2b, 8: 0x26 },
  and: { 1: 0x30, 2: 0x31, 4: 0x32, 8: 0x2d },
  or: { 1: 0x37, 2: 0x38, 4: 0x39, 8: 0x34 },
  xor: { 1: 0x3e, 2: 0x3f, 4: 0x40, 8: 0x3b },
  xchg: { 1: 0x45, 2: 0x46, 4: 0x47, 8: 0x42 },
  cmpxchg: { 1: 0x4c, 2: 0x4d, 4: 0x4e, 8: 0x49 },
} as const;
export type AtomicOperation = keyof typeof ATOMIC;
export type Width = 1 | 2 | 4 | 8;

const ALIGN_LOG2 = { 1: 0, 2: 1, 4: 2, 8: 3 } as const;

/** An open block or loop: how many are open, itself included. */
export type Label = number & { readonly unit: 'label' };

/** What can be called: a function of the module, or one that it imports. */
export interface Callee {
  readonly index: number;
  readonly params: readonly ValueType[];
  readonly results: readonly ValueType[];
}

/** One function: its type, its locals and its instructions, written in order. */
export class FunctionBody implements Callee {
  #code = new ByteWriter();
  readonly #later: { readonly at: number; readonly write: () => void }[] = [];
  readonly index: number;
  readonly typeIndex: number;
  readonly params: readonly ValueType[];
  readonly results: readonly ValueType[];
  readonly #locals: ValueType[] = [];
  /** Locals that a finished {@link scope} has left, by type. */
  readonly #free: Record<ValueType, number[]> = { [I32]: [], [I64]: [], [F32]: [], [F64]: [], [V128]: [] };
  /** Locals of the scope being written. */
  #scoped: { type: ValueType; local: number }[] | null = null;
  #depth = 0;

  constructor(index: number, typeIndex: number, { params, results }: Pick<Callee, 'params' | 'results'>) {
    this.index = index;
    this.typeIndex = typeIndex;
    this.params = params;
    this.results = results;
  }

  get code(): ByteWriter {
    return this.#code;
  }
  /**
   * Leaves a place for instructions that only the end of the function knows. `write` is called by {@link encode}; labels
   * that were open here are not known to it.
   */
  insertLater(write: () => void): void {
    this.#later.push({ at: this.#code.length, write });
  }
  /** A local variable: zero at first, or inside a {@link scope} with what another scope has left in it. */
  local(type: ValueType): number {
    const local = (this.#scoped === null ? undefined : this.#free[type].pop()) ?? this.#newLocal(type);
    this.#scoped?.push({ type, local });
    return local;
  }
  #newLocal(type: ValueType): number {
    this.#locals.push(type);
    return this.params.length + this.#locals.length - 1;
  }
  /** Writes a part whose locals nothing after it reads. Scopes share their locals, and do not nest. */
  scope(write: () => void): void {
    this.#scoped = [];
    write();
    for (const { type, local } of this.#scoped.reverse()) this.#free[type].push(local);
    this.#scoped = null;
  }
  op(opcode: number): void {
    this.code.u8(opcode);
  }
  i32(value: number): void {
    this.code.u8(OP.i32Const);
    this.code.signed(value);
  }
  i64(value: bigint): void {
    this.code.u8(OP.i64Const);
    this.code.signed64(BigInt.asIntN(64, value));
  }
  get(local: number): void {
    this.#withIndex(OP.localGet, local);
  }
  set(local: number): void {
    this.#withIndex(OP.localSet, local);
  }
  tee(local: number): void {
    this.#withIndex(OP.localTee, local);
  }
  /** Zero-extending load to `type`. Alignment is a hint only, so 1 is always right. */
  load(type: typeof I32 | typeof I64, bytes: Width, offset: number): void {
    const opcode = (type === I64 ? I64_LOAD : I32_LOAD)[bytes];
    if (opcode === undefined) throw new RangeError(`no i32 load of ${bytes} bytes`);
    this.#memory(opcode, 0, offset);
  }
  store(type: ValueType, bytes: Width, offset: number): void {
    if (type !== I32 && type !== I64) throw new RangeError('a float or vector is stored by its bits');
    const opcode = (type === I64 ? I64_STORE : I32_STORE)[bytes];
    if (opcode === undefined) throw new RangeError(`no i32 store of ${bytes} bytes`);
    this.#memory(opcode, 0, offset);
  }
  /** A vector instruction, with the lanes or bytes that its encoding holds. */
  simd(opcode: number, immediate: ArrayLike<number> = []): void {
    this.code.u8(OP.simd);
    this.code.unsigned(opcode);
    this.code.bytes(immediate);
  }
  /** Load and store of all 128 bits. */
  loadVector(offset: number): void {
    this.code.u8(OP.simd);
    this.#memory(SIMD.load, 0, offset);
  }
  storeVector(offset: number): void {
    this.code.u8(OP.simd);
    this.#memory(SIMD.store, 0, offset);
  }
  /** Atomic operation on zero-extended i64 values; the address has to be aligned or the module traps. */
  atomic(operation: AtomicOperation, bytes: Width): void {
    this.code.u8(OP.atomic);
    this.#memory(ATOMIC[operation][bytes], ALIGN_LOG2[bytes], 0);
  }
  atomicLoad32(offset: number): void {
    this.code.u8(OP.atomic);
    this.#memory(0x10, 2, offset);
  }
  /** Full fence. */
  fence(): void {
    this.code.bytes([OP.atomic, 0x03, 0x00]);
  }
  memoryCopy(): void {
    this.code.bytes([OP.bulk, 0x0a, 0x00, 0x00]);
  }
  memoryFill(): void {
    this.code.bytes([OP.bulk, 0x0b, 0x00]);
  }
  /** Opens a block without a value, which {@link jump} leaves. */
  block(): Label {
    this.code.bytes([OP.block, EMPTY]);
    return this.#open();
  }
  /** Opens a loop, whose head {@link jump} goes to. */
  loop(): Label {
    this.code.bytes([OP.loop, EMPTY]);
    return this.#open();
  }
  if(type?: ValueType): void {
    this.code.bytes([OP.if, type ?? EMPTY]);
    this.#open();
  }
  #open(): Label {
    this.#depth++;
    return this.#depth as Label;
  }
  else(): void {
    this.code.u8(OP.else);
  }
  end(): void {
    this.code.u8(END);
    this.#depth--;
  }
  /** Goes to a block's end or a loop's head; both have to be open still. */
  jump(label: Label): void {
    this.#withIndex(OP.br, this.#depth - label);
  }
  /** The same when the i32 on the stack is not zero. */
  jumpIf(label: Label): void {
    this.#withIndex(OP.brIf, this.#depth - label);
  }
  /** Goes where the i32 on the stack says: to `labels[i]`, or past their end to `otherwise`. */
  jumpTable(labels: readonly Label[], otherwise: Label): void {
    this.code.u8(OP.brTable);
    this.code.unsigned(labels.length);
    for (const label of [...labels, otherwise]) this.code.unsigned(this.#depth - label);
  }
  return(): void {
    this.code.u8(OP.return);
  }
  drop(): void {
    this.code.u8(OP.drop);
  }
  select(): void {
    this.code.u8(OP.select);
  }
  unreachable(): void {
    this.code.u8(OP.unreachable);
  }
  call(functionIndex: number): void {
    this.#withIndex(OP.call, functionIndex);
  }
  callIndirect(typeIndex: number): void {
    this.#withIndex(OP.callIndirect, typeIndex);
    this.code.u8(0);
  }

  /** The body as the code section wants it: local declarations, instructions, end. */
  encode(): Uint8Array {
    const instructions = this.#withLateParts();
    const out = new ByteWriter(instructions.length + 32);
    const runs: { count: number; type: ValueType }[] = [];
    for (const type of this.#locals) {
      const last = runs.at(-1);
      if (last?.type === type) last.count++;
      else runs.push({ count: 1, type });
    }
    out.unsigned(runs.length);
    for (const run of runs) {
      out.unsigned(run.count);
      out.u8(run.type);
    }
    out.bytes(instructions);
    out.u8(END);
    return out.view();
  }

  #withLateParts(): Uint8Array {
    const early = this.#code.view();
    if (this.#later.length === 0) return early;
    this.#code = new ByteWriter(early.length * 2);
    let from = 0;
    for (const { at, write } of this.#later) {
      this.#code.bytes(early.subarray(from, at));
      write();
      from = at;
    }
    this.#code.bytes(early.subarray(from));
    this.#later.length = 0;
    return this.#code.view();
  }

  #withIndex(opcode: number, index: number): void {
    this.code.u8(opcode);
    this.code.unsigned(index);
  }
  #memory(opcode: number, alignLog2: number, offset: number): void {
    this.code.u8(opcode);
    this.code.unsigned(alignLog2);
    this.code.unsigned(offset);
  }
}

/** The shared memory that a module imports: names, and limits in 64 KiB pages. */
export interface MemoryImport {
  readonly module: string;
  readonly name: string;
  readonly min: number;
  readonly max: number;
}

/** A module with one imported shared memory, imported functions, any of its own, and a table of them if it wants one. */
export class ModuleBuilder {
  readonly #imports: { module: string; name: string; typeIndex: number }[] = [];
  readonly #types: { params: readonly ValueType[]; results: readonly ValueType[] }[] = [];
  readonly #typeIndices = new Map<string, number>();
  readonly #functions: FunctionBody[] = [];
  readonly #exports: { name: string; index: number }[] = [];
  #table: readonly number[] = [];
  #tableExport: string | null = null;

  type(params: readonly ValueType[], results: readonly ValueType[]): number {
    const key = `${params.join()}>${results.join()}`;
    const known = this.#typeIndices.get(key);
    if (known !== undefined) return known;
    const index = this.#types.length;
    this.#types.push({ params, results });
    this.#typeIndices.set(key, index);
    return index;
  }
  /** A function of somebody else. All imports come before the first function. */
  importFunction(
    module: string,
    name: string,
    params: readonly ValueType[],
    results: readonly ValueType[],
  ): Callee {
    if (this.#functions.length > 0) throw new Error(`import of ${name} after a function`);
    const index = this.#imports.push({ module, name, typeIndex: this.type(params, results) }) - 1;
    return { index, params, results };
  }
  function(params: readonly ValueType[], results: readonly ValueType[]): FunctionBody {
    const index = this.#imports.length + this.#functions.length;
    const body = new FunctionBody(index, this.type(params, results), { params, results });
    this.#functions.push(body);
    return body;
  }
  export(name: string, body: Callee): void {
    this.#exports.push({ name, index: body.index });
  }
  /** The function table, from entry 0, and the name it is exported by: it may grow then. */
  table(functionIndices: readonly number[], exportedAs: string | null = null): void {
    this.#table = functionIndices;
    this.#tableExport = exportedAs;
  }

  encode(memory: MemoryImport): Uint8Array<ArrayBuffer> {
    const out = new ByteWriter(this.#functions.reduce((sum, body) => sum + body.code.length, 1024));
    out.bytes([0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
    const section = (id: number, write: (bytes: ByteWriter) => void): void => {
      const bytes = new ByteWriter();
      write(bytes);
      out.u8(id);
      out.unsigned(bytes.length);
      out.bytes(bytes.view());
    };
    section(1, (bytes) => {
      bytes.unsigned(this.#types.length);
      for (const { params, results } of this.#types) {
        bytes.u8(0x60);
        bytes.unsigned(params.length);
        bytes.bytes(params);
        bytes.unsigned(results.length);
        bytes.bytes(results);
      }
    });
    section(2, (bytes) => {
      bytes.unsigned(1 + this.#imports.length);
      for (const { module, name, typeIndex } of this.#imports) {
        bytes.name(module);
        bytes.name(name);
        bytes.u8(0);
        bytes.unsigned(typeIndex);
      }
      bytes.name(memory.module);
      bytes.name(memory.name);
      bytes.bytes([2, MEMORY_SHARED]);
      bytes.unsigned(memory.min);
      bytes.unsigned(memory.max);
    });
    section(3, (bytes) => {
      bytes.unsigned(this.#functions.length);
      for (const body of this.#functions) bytes.unsigned(body.typeIndex);
    });
    const fixed = this.#tableExport === null;
    if (this.#table.length > 0) {
      section(4, (bytes) => {
        bytes.unsigned(1);
        bytes.bytes([FUNCREF, fixed ? 1 : 0]);
        bytes.unsigned(this.#table.length);
        if (fixed) bytes.unsigned(this.#table.length);
      });
    }
    section(7, (bytes) => {
      bytes.unsigned(this.#exports.length + (fixed ? 0 : 1));
      if (this.#tableExport !== null) {
        bytes.name(this.#tableExport);
        bytes.u8(1);
        bytes.unsigned(0);
      }
      for (const { name, index } of this.#exports) {
        bytes.name(name);
        bytes.u8(0);
        bytes.unsigned(index);
      }
    });
    if (this.#table.length > 0) {
      section(9, (bytes) => {
        bytes.unsigned(1);
        bytes.u8(0);
        bytes.u8(OP.i32Const);
        bytes.signed(0);
        bytes.u8(END);
        bytes.unsigned(this.#table.length);
        for (const index of this.#table) bytes.unsigned(index);
      });
    }
    section(10, (bytes) => {
      bytes.unsigned(this.#functions.length);
      for (const body of this.#functions) {
        const encoded = body.encode();
        bytes.unsigned(encoded.length);
        bytes.bytes(encoded);
      }
    });
    return out.view();
  }
}
