/** Exceptions through the IDT: frames, stacks, error codes, and what happens when delivery itself faults. */
import test from 'ava';
import {
  KVMI_EVENT_ACTION_CONTINUE as CONTINUE,
  KVMI_EVENT_ACTION_RETRY as RETRY,
} from '../../../src/actors/introspector/kvmi/constants.ts';
import { type DeliverOptions, deliver, readGuestCrash } from '../../../src/actors/vcpu/exceptions.ts';
import { OUTCOME_DEAD, OUTCOME_OK, OUTCOME_RETRY, type Outcome } from '../../../src/actors/vcpu/vcpu.ts';
import { REQ_VM_DEAD, VCPU_CRASHED } from '../../../src/shared/layout/vcpu.ts';
import {
  ABSENT_CODE,
  CODE32,
  CONFORMING,
  GDT,
  IDT,
  IST1,
  KCODE,
  KDATA,
  KERNEL_CODE,
  KERNEL_STACK,
  PAGE,
  RSP0,
  SystemBed,
  TSS,
  TSS_SEL,
  UCODE,
  UCODE_FRESH,
  UDATA,
  USER,
} from '../../support/system-bed.ts';

const DE = 0;
const DB = 1;
const UD = 6;
const DF = 8;
const TS = 10;
const NP = 11;
const SS = 12;
const GP = 13;
const PF = 14;
const HANDLER = 0x1234n;
const IF = 1 << 9;
const RF = 1 << 16;
const INT = { source: 'int', returnRip: BigInt(KERNEL_CODE) + 2n } as const;

function take(
  bed: SystemBed,
  vector: number,
  options: DeliverOptions & { code?: number; address?: bigint } = {},
): Outcome {
  const { code = -1, address = 0n, ...rest } = options;
  bed.vcpu.raise(vector, code, address);
  return bed.run(deliver(bed.vcpu, rest));
}

/** Words on the stack from RSP up. */
function frame(bed: SystemBed, count = 5): bigint[] {
  const rsp = Number(bed.vcpu.gpr(4));
  return Array.from({ length: count }, (_, i) => bed.read64(rsp + i * 8));
}

test('ring 0 to ring 0: RSP aligned to 16, five words, CS and RIP from the gate, SS as it was', (t) => {
  for (const misalignment of [0, 8, 5, 15]) {
    const bed = new SystemBed();
    const { vcpu } = bed;
    bed.gate(UD, 0x1234_5678_9abcn);
    vcpu.setGpr(4, BigInt(KERNEL_STACK - misalignment));
    vcpu.flags.setRflags(BigInt(2 | IF | 0x8d5));
    t.is(take(bed, UD), OUTCOME_OK);
    const top = (KERNEL_STACK - misalignment) & ~15;
    t.is(vcpu.gpr(4), BigInt(top - 40));
    t.deepEqual(frame(bed), [
      BigInt(KERNEL_CODE),
      BigInt(KCODE),
      BigInt(2 | IF | 0x8d5 | RF),
      BigInt(KERNEL_STACK - misalignment),
      BigInt(KDATA),
    ]);
    t.is(vcpu.get64('RIP'), 0x1234_5678_9abcn);
    t.deepEqual([vcpu.selector(1), vcpu.selector(2), vcpu.get32('CPL')], [KCODE, KDATA, 0]);
    t.is(vcpu.mem.i64[vcpu.word('GUEST_EXCEPTIONS') / 8], 1n);
  }
});

test('an interrupt gate clears IF, a trap gate does not; TF, NT and RF go with either', (t) => {
  const NT_TF_RF = 0x4000 | 0x100 | RF;
  for (const trap of [false, true]) {
    const bed = new SystemBed();
    bed.gate(UD, HANDLER, { trap });
    bed.vcpu.flags.setRflags(BigInt(2 | IF | NT_TF_RF | 0x3000 | 0x40000));
    take(bed, UD);
    t.is(Number(bed.vcpu.flags.rflags()), 2 | 0x3000 | 0x40000 | (trap ? IF : 0));
  }
});

test('RF is set in the frame of a fault, not of a trap, a software interrupt or an abort', (t) => {
  const rfOf = (vector: number, options: DeliverOptions & { code?: number } = {}): boolean => {
    const bed = new SystemBed();
    bed.gate(vector, HANDLER, { dpl: 3 });
    take(bed, vector, options);
    const image = frame(bed, 6)[(options.code ?? -1) >= 0 ? 3 : 2]!;
    return (Number(image) & RF) !== 0;
  };
  t.true(rfOf(DE));
  t.true(rfOf(GP, { code: 0 }));
  t.true(rfOf(PF, { code: 0 }));
  t.false(rfOf(DB));
  t.false(rfOf(3, INT));
  t.false(rfOf(6, INT));
  t.false(rfOf(0x80, INT));
  t.false(rfOf(DF, { code: 0 }));
});

test('ring 3 to ring 0: the stack of RSP0, SS null, the supervisor TLB set', (t) => {
  const bed = new SystemBed();
  const vcpu = bed.enterUser();
  bed.gate(GP, HANDLER);
  t.is(take(bed, GP, { code: 0x18 }), OUTCOME_OK);
  t.is(vcpu.gpr(4), BigInt(RSP0 - 48));
  t.deepEqual(frame(bed, 6), [
    0x18n,
    BigInt(USER),
    BigInt(UCODE | 3),
    BigInt(2 | RF),
    BigInt(USER + 0x2000),
    BigInt(UDATA | 3),
  ]);
  t.deepEqual([vcpu.selector(1), vcpu.selector(2), vcpu.get32('CPL')], [KCODE, 0, 0]);
  t.is(vcpu.get32('TLB'), bed.vm.tlb(0, false, 0));
});

test('pushes to the inner stack are supervisor accesses, pushes at ring 3 are not', (t) => {
  const inner = new SystemBed();
  inner.enterUser();
  inner.gate(UD, HANDLER);
  t.is(take(inner, UD), OUTCOME_OK, 'RSP0 lies on a supervisor page');

  const outer = new SystemBed();
  const vcpu = outer.enterUser();
  outer.gate(UD, HANDLER, { selector: UCODE | 3 });
  outer.gate(PF, 0x9999n);
  vcpu.setGpr(4, BigInt(KERNEL_STACK));
  t.is(take(outer, UD), OUTCOME_OK);
  t.is(vcpu.get64('RIP'), 0x9999n, 'the push faulted');
  t.is(frame(outer, 1)[0], 7n);
  t.is(vcpu.get64('CR2'), BigInt(KERNEL_STACK - 8));
});

test('an IST stack is taken with or without a change of level', (t) => {
  for (const user of [false, true]) {
    const bed = new SystemBed();
    if (user) bed.enterUser();
    bed.gate(UD, HANDLER, { ist: 1 });
    t.is(take(bed, UD), OUTCOME_OK);
    t.is(bed.vcpu.gpr(4), BigInt(IST1 - 40));
    t.is(bed.vcpu.selector(2), user ? 0 : KDATA);
  }
});

test('every IST index and RSPn has its own place in the TSS', (t) => {
  for (let ist = 1; ist <= 7; ist++) {
    const bed = new SystemBed();
    bed.write64(TSS + 0x24 + (ist - 1) * 8, BigInt(0xc000 - ist * 0x100));
    bed.gate(UD, HANDLER, { ist });
    take(bed, UD);
    t.is(bed.vcpu.gpr(4), BigInt(0xc000 - ist * 0x100 - 40));
  }
});

test('a conforming handler keeps the level and the stack', (t) => {
  const bed = new SystemBed();
  const vcpu = bed.enterUser();
  bed.gate(UD, HANDLER, { selector: CONFORMING });
  t.is(take(bed, UD), OUTCOME_OK);
  t.deepEqual([vcpu.get32('CPL'), vcpu.selector(1), vcpu.selector(2)], [3, CONFORMING | 3, UDATA | 3]);
  t.is(vcpu.gpr(4), BigInt(USER + 0x2000 - 40));
});

test('a fault returns to its instruction, INT n to the next one', (t) => {
  const bed = new SystemBed();
  bed.gate(0x80, HANDLER);
  t.is(take(bed, 0x80, INT), OUTCOME_OK);
  t.is(frame(bed)[0], BigInt(KERNEL_CODE) + 2n);
});

test('a page fault leaves its address in CR2', (t) => {
  const bed = new SystemBed();
  bed.gate(PF, HANDLER);
  t.is(take(bed, PF, { code: 6, address: 0xffff_8000_dead_beefn }), OUTCOME_OK);
  t.is(bed.vcpu.get64('CR2'), 0xffff_8000_dead_beefn);
  t.is(frame(bed, 1)[0], 6n);
});

test('INT 14 pushes no error code and leaves CR2 alone', (t) => {
  const bed = new SystemBed();
  bed.gate(PF, HANDLER);
  bed.vcpu.set64('CR2', 5n);
  t.is(take(bed, PF, { ...INT, address: 77n }), OUTCOME_OK);
  t.is(bed.vcpu.get64('CR2'), 5n);
  t.is(frame(bed)[0], BigInt(KERNEL_CODE) + 2n);
});

test('the accessed bit of the handler segment is set when it is clear', (t) => {
  const bed = new SystemBed();
  bed.enterUser();
  bed.gate(UD, HANDLER, { selector: UCODE_FRESH });
  t.is(take(bed, UD), OUTCOME_OK);
  t.is(bed.read64(GDT + UCODE_FRESH), 0x00affb000000ffffn);
});

/** What the first event of delivery turns into: vector, error code, whether from ring 3. */
interface Second {
  readonly title: string;
  readonly vector: number;
  readonly code: number;
  readonly user?: boolean;
  readonly prepare: (bed: SystemBed) => void;
}

/** Vector 6, so that IDT error codes are 6 × 8 + 2. */
const IDT_CODE = UD * 8 + 2;
const SECONDS: readonly Second[] = [
  {
    title: 'no interrupt or trap gate',
    vector: GP,
    code: IDT_CODE,
    prepare: (bed) => bed.write64(IDT + UD * 16, bed.read64(IDT + UD * 16) ^ (0x2n << 40n)),
  },
  {
    title: 'gate not present',
    vector: NP,
    code: IDT_CODE,
    prepare: (bed) => bed.gate(UD, HANDLER, { present: false }),
  },
  { title: 'null selector', vector: GP, code: 0, prepare: (bed) => bed.gate(UD, HANDLER, { selector: 3 }) },
  {
    title: 'beyond the GDT',
    vector: GP,
    code: 0x200,
    prepare: (bed) => bed.gate(UD, HANDLER, { selector: 0x203 }),
  },
  {
    title: 'a data segment',
    vector: GP,
    code: KDATA,
    prepare: (bed) => bed.gate(UD, HANDLER, { selector: KDATA }),
  },
  {
    title: '32-bit code',
    vector: GP,
    code: CODE32,
    prepare: (bed) => bed.gate(UD, HANDLER, { selector: CODE32 }),
  },
  {
    title: 'an outer level',
    vector: GP,
    code: UCODE,
    prepare: (bed) => bed.gate(UD, HANDLER, { selector: UCODE | 3 }),
  },
  {
    title: 'code not present',
    vector: NP,
    code: ABSENT_CODE,
    prepare: (bed) => bed.gate(UD, HANDLER, { selector: ABSENT_CODE }),
  },
  { title: 'handler not canonical', vector: GP, code: 0, prepare: (bed) => bed.gate(UD, 0x8000_0000_0000n) },
  {
    title: 'TSS too short for its IST',
    vector: TS,
    code: TSS_SEL,
    prepare: (bed) => {
      bed.gate(UD, HANDLER, { ist: 7 });
      bed.vcpu.set32('TR_LIMIT', 0x24 + 6 * 8 + 6);
    },
  },
  {
    title: 'TSS too short for RSP0',
    vector: TS,
    code: TSS_SEL,
    prepare: (bed) => {
      // The handler of #TS stays at ring 3, so that it needs no TSS.
      bed.enterUser();
      bed.gate(TS, 0x7777n, { selector: UCODE | 3 });
      bed.vcpu.set32('TR_LIMIT', 0x0a);
    },
  },
  {
    title: 'stack not canonical',
    vector: SS,
    code: 0,
    prepare: (bed) => {
      bed.gate(SS, 0x7777n, { ist: 1 });
      bed.vcpu.setGpr(4, 0x8000_0000_0010n);
    },
  },
];

for (const { title, vector, code, prepare } of SECONDS) {
  test(`delivery fails, ${title}: the second fault says why, with EXT`, (t) => {
    const bed = new SystemBed();
    bed.gate(UD, HANDLER);
    bed.gate(vector, 0x7777n);
    prepare(bed);
    const rip = bed.vcpu.get64('RIP');
    t.is(take(bed, UD), OUTCOME_OK);
    t.is(bed.vcpu.get64('RIP'), 0x7777n);
    t.deepEqual(frame(bed, 2), [BigInt(code | 1), rip]);
    t.is(bed.vcpu.mem.i64[bed.vcpu.word('GUEST_EXCEPTIONS') / 8], 1n);
  });
}

test('a vector beyond the IDT is #GP with its index', (t) => {
  const bed = new SystemBed();
  bed.gate(GP, 0x7777n);
  bed.gate(0x80, HANDLER);
  bed.vcpu.set32('IDTR_LIMIT', 0x80 * 16 + 14);
  t.is(take(bed, 0x80), OUTCOME_OK);
  t.is(frame(bed)[0], 0x403n);
  bed.vcpu.set32('IDTR_LIMIT', 0x80 * 16 + 15);
  take(bed, 0x80);
  t.is(bed.vcpu.get64('RIP'), HANDLER);
});

test('a software interrupt that fails names itself without EXT and returns to its start', (t) => {
  const bed = new SystemBed();
  bed.gate(GP, 0x7777n);
  bed.gate(0x80, HANDLER, { dpl: 0 });
  bed.enterUser();
  t.is(take(bed, 0x80, { source: 'int', returnRip: BigInt(USER) + 2n }), OUTCOME_OK);
  t.deepEqual(frame(bed, 2), [0x402n, BigInt(USER)]);
  t.is(bed.vcpu.get64('RIP'), 0x7777n);
});

test('DPL of a gate binds INT n and INT3, not INT1 and not exceptions', (t) => {
  const reaches = (vector: number, options: DeliverOptions): boolean => {
    const bed = new SystemBed();
    bed.gate(GP, 0x7777n);
    bed.gate(vector, HANDLER, { dpl: 2 });
    bed.enterUser();
    take(bed, vector, options);
    return bed.vcpu.get64('RIP') === HANDLER;
  };
  t.false(reaches(3, { source: 'int' }));
  t.true(reaches(1, { source: 'int1' }));
  t.true(reaches(3, { source: 'exception' }));
});

/**
 * Table "Conditions for Generating a Double Fault". The first event is raised; its gate makes its delivery fault: #NP
 * and #GP by a bad gate (contributory), #PF by a stack that is not there.
 */
const CLASS_OF: { readonly [vector: number]: 'benign' | 'contributory' | 'page' } = {
  [DE]: 'contributory',
  [DB]: 'benign',
  2: 'benign',
  3: 'benign',
  4: 'benign',
  5: 'benign',
  [UD]: 'benign',
  7: 'benign',
  [TS]: 'contributory',
  [NP]: 'contributory',
  [SS]: 'contributory',
  [GP]: 'contributory',
  [PF]: 'page',
  16: 'benign',
  17: 'benign',
  18: 'benign',
  19: 'benign',
  20: 'page',
  21: 'contributory',
};
const WITH_CODE: readonly number[] = [DF, TS, NP, SS, GP, PF, 17, 21];

test('a second fault during delivery follows the double fault table, for every first vector', (t) => {
  const table = {
    benign: { contributory: 'second', page: 'second' },
    contributory: { contributory: 'double', page: 'second' },
    page: { contributory: 'double', page: 'double' },
  } as const;
  for (const [name, firstClass] of Object.entries(CLASS_OF)) {
    const first = Number(name);
    for (const second of ['contributory', 'page'] as const) {
      const bed = new SystemBed();
      const { vcpu } = bed;
      // Handlers of second events run on a good stack of their own.
      for (const vector of [NP, PF, DF]) bed.gate(vector, BigInt(0x7000 + vector), { ist: 2 });
      bed.write64(TSS + 0x2c, BigInt(IST1));
      if (second === 'contributory') bed.gate(first, HANDLER, { present: false });
      else {
        bed.gate(first, HANDLER, { ist: 3 });
        bed.write64(TSS + 0x34, 0xdead_0000n);
      }
      // First #NP or #PF with their own bad gates cannot also be handled as second ones: those are double anyway.
      const outcome = take(bed, first, { code: WITH_CODE.includes(first) ? 0 : -1, address: 0x1111n });
      const wanted = table[firstClass][second];
      const vector = wanted === 'double' ? DF : second === 'page' ? PF : NP;
      t.is(outcome, OUTCOME_OK, `${first} then ${second}`);
      t.is(vcpu.get64('RIP'), BigInt(0x7000 + vector), `${first} then ${second}: ${wanted}`);
      const code = wanted === 'double' ? 0n : second === 'page' ? 2n : BigInt((first * 8 + 2) | 1);
      t.deepEqual(frame(bed, 2), [code, BigInt(KERNEL_CODE)], `${first} then ${second}`);
      if (second === 'page') t.is(vcpu.get64('CR2'), 0xdead_0000n - 8n, 'CR2 is the later address');
      else if (first === PF) t.is(vcpu.get64('CR2'), 0x1111n);
    }
  }
});

test('a contributory fault or a page fault while #DF is delivered ends the machine', (t) => {
  for (const second of ['contributory', 'page'] as const) {
    const bed = new SystemBed({ vcpuCount: 2 });
    const { vm, vcpu } = bed;
    if (second === 'page') {
      bed.gate(DF, HANDLER, { ist: 3 });
      bed.write64(TSS + 0x34, 0xdead_0000n);
    }
    const before = bed.cpuState();
    t.is(take(bed, PF, { code: 2, address: 0x1234n }), OUTCOME_DEAD);
    t.is(vm.mem.load(vm.word('DEAD')), 1);
    t.is(vm.mem.load(vcpu.word('STATE')), VCPU_CRASHED);
    t.deepEqual(readGuestCrash(vm), { vcpu: 0, vector: PF });
    t.is(bed.vcpus[1]!.get32('REQUESTS') & REQ_VM_DEAD, REQ_VM_DEAD);
    t.is(vcpu.get32('REQUESTS'), REQ_VM_DEAD);
    t.is(vcpu.get64('CR2'), second === 'page' ? 0xdead_0000n - 8n : 0x1234n);
    vcpu.set64('CR2', 0n);
    t.deepEqual(bed.cpuState(), before, 'all other registers still show the instruction');
  }
});

test('with an empty IDT the first exception is a triple fault, and the first one is remembered', (t) => {
  const bed = new SystemBed({ vcpuCount: 2 });
  t.is(take(bed, UD), OUTCOME_DEAD);
  t.deepEqual(readGuestCrash(bed.vm), { vcpu: 0, vector: UD });
  const other = bed.vcpus[1]!;
  other.raise(DE);
  t.is(bed.alone(inSection(other, deliver(other))), OUTCOME_DEAD);
  t.deepEqual(readGuestCrash(bed.vm), { vcpu: 0, vector: UD });
});

function* inSection<T>(
  vcpu: SystemBed['vcpu'],
  path: Generator<number, T, number>,
): Generator<number, T, number> {
  yield* vcpu.enterSrcu();
  const result = yield* path;
  yield* vcpu.leaveSrcu();
  return result;
}

test('RETRY at any access of a delivery commits no register; CONTINUE asks for all of them in order', (t) => {
  const prepared = (): SystemBed => {
    const bed = new SystemBed();
    bed.introspect();
    const vcpu = bed.enterUser();
    vcpu.set64('CR2', 9n);
    bed.gate(PF, HANDLER, { ist: 1 });
    for (const page of [IDT, GDT, TSS, IST1 - PAGE]) bed.access(page / PAGE, 0);
    return bed;
  };
  const all = prepared();
  all.vcpu.raise(PF, 4, 0x55n);
  const go = all.runWithTool(function* () {
    return CONTINUE;
  }, deliver(all.vcpu));
  t.is(go, OUTCOME_OK);
  t.deepEqual(
    all.events.map(({ pf }) => [pf!.access, pf!.gpa]),
    [
      [1, IDT + PF * 16],
      [1, GDT + KCODE],
      [1, TSS + 0x24],
      ...[8, 16, 24, 32, 40, 48].map((down) => [2, IST1 - down]),
    ],
  );
  t.is(all.vcpu.get64('CR2'), 0x55n);
  t.deepEqual(all.verdict(), []);

  for (let stop = 0; stop < all.events.length; stop++) {
    const bed = prepared();
    const before = bed.cpuState();
    bed.vcpu.raise(PF, 4, 0x55n);
    const outcome = bed.runWithTool(function* () {
      return bed.events.length > stop ? RETRY : CONTINUE;
    }, deliver(bed.vcpu));
    t.is(outcome, OUTCOME_RETRY, `RETRY to event ${stop}`);
    t.deepEqual(bed.cpuState(), before, `RETRY to event ${stop}`);
    t.deepEqual(bed.verdict(), []);
  }
});
