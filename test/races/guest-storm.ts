/**
 * A storm of guest code, all of it from one seed: vCPUs that load, store, lock, cross pages, call and copy; memslots that
 * vanish, return, move and fail to move; a tool that answers by chance and changes access; a host that ages pages and
 * looks at everything while all stand still.
 *
 *   gfn                 what
 *   ──────────────────  ──────────────────────────────────────────────────────────────────────────────
 *   0x100               handler of every exception: gives the round up and goes on with the next
 *   0x110 + 4·vCPU      the vCPU's code
 *   0x160, 0x161        counters, changed by LOCK operations only
 *   0x170 … 0x173       data that stays
 *   VICTIM + 0, 1       functions
 *   VICTIM + 2          frozen: stores to it are never allowed
 *   VICTIM + 8 … 15     data that goes and comes
 *   VICTIM + 64 …       where the victim slot is moved to
 *
 * Each vCPU runs rounds. A round may meet missing memory (its fetches give #UD); the handler then goes on behind it. LOCK
 * operations on counters come in rounds that cannot fail, so that the sums are known.
 *
 * What is looked for, besides the machine's own oracles: a TLB that grants, in guest mode and with no request pending,
 * what a finished SET_PAGE_ACCESS denies (I2); a changed frozen page (I1); a lost or doubled locked operation (I13); a
 * stored-to page that is not in the dirty log (I14); X events away from RIP; deadlock (I10).
 */
import { unhook } from '../../src/actors/introspector/hook.ts';
import {
  KVMI_EVENT_ACTION_CONTINUE as CONTINUE,
  KVMI_VCPU_EVENT_PF,
  KVMI_EVENT_ACTION_RETRY as RETRY,
} from '../../src/actors/introspector/kvmi/constants.ts';
import type { Session, SessionEvent } from '../../src/actors/introspector/session.ts';
import { checkInvariants } from '../../src/actors/mmu/invariants.ts';
import { type SlotRequest, setMemoryRegion } from '../../src/actors/mmu/memslots.ts';
import { ageGfn } from '../../src/actors/mmu/protect.ts';
import { whileParked } from '../../src/actors/mmu/quiesce.ts';
import { dirtyWord } from '../../src/actors/mmu/slot-arena.ts';
import { activeSet, findSlot } from '../../src/actors/mmu/slot-sets.ts';
import { decode } from '../../src/actors/vcpu/isa/decode.ts';
import { filledEntries } from '../../src/actors/vcpu/tlb.ts';
import { IDT_GPA, KERNEL_CODE_SELECTOR } from '../../src/image/boot.ts';
import { CPU, CPU_TLB, TLB_ENTRIES, TLB_ENTRY, TLB_SET_BYTES, tlbGfn } from '../../src/shared/layout/cpu.ts';
import { SLOT_LOG_DIRTY } from '../../src/shared/layout/memslot.ts';
import { VCPU_EXITED, VCPU_WAITING } from '../../src/shared/layout/vcpu.ts';
import { Prng } from '../../src/shared/prng.ts';
import type { Quirks } from '../../src/shared/quirks.ts';
import { type Path, stepping } from '../../src/shared/sync/point.ts';
import { srcuReadLock, srcuReadUnlock } from '../../src/shared/sync/srcu.ts';
import { asm } from '../support/asm.ts';
import {
  GuestMachine,
  LOW_SLOT,
  VICTIM_GFN,
  VICTIM_GPA,
  VICTIM_PAGES,
  VICTIM_SLOT,
} from '../support/guest-machine.ts';
import { ProgramWriter } from '../support/random-program.ts';

const R = 1;
const W = 2;
const X = 4;
const FULL = 7;
const PAGE = 4096;

const HANDLER = 0x10_0000;
const codeOf = (vcpu: number) => 0x11_0000 + vcpu * 4 * PAGE;
const COUNTERS = 0x16_0000;
const STABLE = 0x17_0000;
const FROZEN = VICTIM_GPA + 2 * PAGE;
const DATA = VICTIM_GPA + 8 * PAGE;
const AWAY_GFN = VICTIM_GFN + VICTIM_PAGES;
const AWAY = AWAY_GFN * PAGE;

/** Aligned, aligned, across the page boundary, misaligned in a page. */
const COUNTER_AT = [COUNTERS, COUNTERS + 64, COUNTERS + PAGE - 3, COUNTERS + 0x103];
const COUNTER_START = 0xffff_fff0n;

export interface StormOptions {
  readonly quirks?: Quirks;
  /** Only these things are done by the control path; all when absent. */
  readonly only?: readonly ControlOp[];
}

export interface StormResult {
  /** Empty when all held. */
  readonly findings: readonly string[];
  readonly events: number;
}

export type ControlOp =
  | 'recreate'
  | 'away'
  | 'shift'
  | 'failed move'
  | 'log'
  | 'age'
  | 'other space'
  | 'park'
  | 'unhook';
const CONTROL_OPS: readonly ControlOp[] = [
  'recreate',
  'recreate',
  'away',
  'shift',
  'failed move',
  'log',
  'age',
  'other space',
  'park',
];

class Storm {
  readonly machine: GuestMachine;
  readonly findings: string[] = [];
  readonly #seed: number;
  readonly #prng: Prng;
  readonly #options: StormOptions;
  /** What finished commands of the tool deny, by gfn. */
  readonly #denied = new Map<number, number>();
  /** Sums that the counters must show. */
  readonly #sums = COUNTER_AT.map(() => COUNTER_START);
  readonly #frozen: Uint8Array;
  readonly #freezes: boolean;
  readonly #spaces: boolean;

  constructor(seed: number, options: StormOptions) {
    this.#seed = seed;
    this.#options = options;
    this.#prng = new Prng(BigInt(seed)).fork('storm');
    const prng = this.#prng;
    this.machine = new GuestMachine({
      vcpuCount: 2 + prng.below(2),
      quirks: options.quirks ?? [],
      accessLimit: 256,
      onGuestMode: (vcpu) => this.#lookAtTlb(vcpu),
    });
    this.#freezes = prng.chance(0.8);
    this.#spaces = prng.chance(0.5);
    this.machine.stay = prng.pick([0, 0, 128, 200, 240]);
    this.#furnish();
    this.#frozen = this.machine.ram(FROZEN, PAGE).slice();
  }

  // ── the guest ─────────────────────────────────────────────────────────────────────────────────────────────
  #furnish(): void {
    const { machine } = this;
    machine.load(asm(HANDLER, 'mov rsp, r14 \n cld \n jmp r15').bytes, HANDLER);
    for (const vector of [0, 6, 13, 14]) {
      const low = BigInt(HANDLER & 0xffff) | (BigInt(KERNEL_CODE_SELECTOR) << 16n) | (0x8en << 40n);
      machine.setQuad(IDT_GPA + vector * 16, low | (BigInt(HANDLER >>> 16) << 48n));
    }
    for (const gpa of COUNTER_AT) machine.setQuad(gpa, COUNTER_START);
    machine.ram(FROZEN, PAGE).fill(0x5a);

    const writer = new ProgramWriter(this.#prng, { length: 0, functions: [] });
    let at = VICTIM_GPA + PAGE - 100;
    const functions: number[] = [];
    for (let n = 0; n < 6; n++) {
      const { bytes } = asm(at, writer.leaf(2 + this.#prng.below(3)));
      machine.load(bytes, at);
      functions.push(at, at - VICTIM_GPA + AWAY);
      at += bytes.length;
    }
    for (const vcpu of machine.vcpus) {
      const code = asm(codeOf(vcpu.index), this.#program(functions)).bytes;
      if (code.length > 4 * PAGE) throw new Error(`program of ${code.length} bytes`);
      machine.load(code, codeOf(vcpu.index));
      machine.boot(vcpu, codeOf(vcpu.index));
    }
    if (this.#spaces) {
      machine.slot({ ...LOW_SLOT, asId: 1 });
      machine.slot({ ...VICTIM_SLOT, asId: 1 });
      const last = machine.vcpus.length - 1;
      machine.vm.mem.store(machine.vm.vcpuWord(last, 'AS_ID'), 1);
    }
  }

  #program(functions: readonly number[]): string {
    const prng = this.#prng;
    const lines = ['mov r14, rsp'];
    const rounds = 3 + prng.below(4);
    for (let round = 0; round < rounds; round++) {
      lines.push(`lea r15, [round${round}]`);
      lines.push(...(prng.chance(0.35) ? this.#lockRound(round) : this.#wildRound(round, functions)));
      lines.push(`round${round}: nop`);
    }
    return [...lines, 'xor eax, eax', 'out 0xf4, eax'].join('\n');
  }

  /** Loads, stores, calls and copies; may end in an exception. */
  #wildRound(round: number, functions: readonly number[]): string[] {
    const prng = this.#prng;
    const areas = [
      DATA,
      DATA + 2 * PAGE,
      DATA + 6 * PAGE,
      DATA - VICTIM_GPA + AWAY,
      STABLE,
      STABLE + 2 * PAGE,
    ];
    const writer = new ProgramWriter(prng, { length: 6 + prng.below(8), functions: functions.map(String) });
    const body = writer.main().replace(/\bl(\d+)\b/g, `r${round}l$1`);
    const lines = [`mov r12d, ${prng.pick(areas)}`, `mov r13d, ${prng.pick(areas)}`];
    if (this.#freezes && prng.chance(0.5)) {
      lines.push(
        `mov qword [${FROZEN + 8 * prng.below(500)}], rax`,
        `inc dword [${FROZEN + 4 * prng.below(1000)}]`,
      );
    }
    return [...lines, body];
  }

  #lockRound(round: number): string[] {
    const prng = this.#prng;
    return Array.from({ length: 2 + prng.below(4) }, (_, n) => {
      const which = prng.below(COUNTER_AT.length);
      const at = `qword [${COUNTER_AT[which]}]`;
      const by = 1 + prng.below(9);
      const label = `r${round}c${n}`;
      const [text, delta] = prng.pick<readonly [string, number]>([
        [`lock inc ${at}`, 1],
        [`lock dec ${at}`, -1],
        [`lock add ${at}, ${by}`, by],
        [`mov eax, ${by} \n lock xadd ${at}, rax`, by],
        [`mov rax, ${at} \n ${label}: lea rbx, [rax + ${by}] \n lock cmpxchg ${at}, rbx \n jne ${label}`, by],
      ]);
      this.#sums[which] = this.#sums[which]! + BigInt(delta);
      return text;
    });
  }

  // ── the tool ──────────────────────────────────────────────────────────────────────────────────────────────
  /** Pages that the tool plays with. */
  #somePage(): number {
    const prng = this.#prng;
    const vcpu = prng.below(this.machine.vcpus.length);
    switch (prng.below(12)) {
      case 0:
        return codeOf(vcpu) / PAGE;
      case 1:
        return 0x83 + 4 * vcpu;
      case 2:
      case 3:
        return COUNTERS / PAGE + prng.below(2);
      case 4:
        return STABLE / PAGE + prng.below(4);
      case 5:
        return VICTIM_GFN + prng.below(2);
      case 6:
        return AWAY_GFN + prng.pick([0, 1, 8, 9, 10, 11]);
      case 7:
        return prng.pick([0, 1, 2, 3, 8, HANDLER / PAGE]);
      default:
        return DATA / PAGE + prng.below(8);
    }
  }

  *#restrict(session: Session, gfn: number, access: number): Path<void> {
    const denies = FULL & ~access;
    // While the command runs, only what is denied before and after is certain.
    this.#denied.set(gfn, (this.#denied.get(gfn) ?? 0) & denies);
    const error = yield* session.setPageAccess(gfn * PAGE, access, { needSlot: false });
    if (error !== 0) throw new Error(`SET_PAGE_ACCESS of gfn 0x${gfn.toString(16)}: ${error}`);
    this.#denied.set(gfn, denies);
  }

  *#answer(event: SessionEvent, session: Session): Path<number> {
    const prng = this.#prng;
    const { machine } = this;
    if (event.pf === null) return CONTINUE;
    const { gpa, gva, access } = event.pf;
    const gfn = Math.floor(gpa / PAGE);
    if (prng.chance(0.3)) {
      const page = this.#somePage();
      yield* this.#restrict(session, page, prng.below(FULL));
    }
    if (prng.chance(0.03)) {
      // On the receiver's thread: the memslots change although a vCPU waits for this very answer.
      yield* setMemoryRegion(machine.receiver, machine.vm, { ...VICTIM_SLOT, npages: 0 });
      yield* setMemoryRegion(machine.receiver, machine.vm, VICTIM_SLOT);
    }
    if (prng.chance(0.05)) yield* session.pause(prng.below(machine.vcpus.length), prng.chance(0.5));
    if (access === X || prng.chance(0.1)) {
      const { rip } = yield* machine.registers(event.vcpu);
      const second = access === X && gva > rip && gva - rip < 15n && (gva & 0xfffn) === 0n;
      if (access === X && gva !== rip && !second) this.#find(`X event at gva ${gva}, RIP ${rip}`);
    }
    if (this.#freezes && gfn === FROZEN / PAGE && access === W) {
      const { rip } = yield* machine.registers(event.vcpu);
      const code = machine.ram(Number(rip), 16).slice();
      const insn = decode(code, 0, 15, rip);
      if ('fault' in insn) throw new Error(`no instruction at ${rip}`);
      yield* machine.setRegisters(event.vcpu, { rip: rip + BigInt(insn.length) });
      return RETRY;
    }
    const choice = prng.below(20);
    if (choice < 10) return CONTINUE;
    if (choice < 12) return RETRY;
    yield* this.#restrict(session, gfn, choice < 16 ? FULL : FULL & ~(prng.below(FULL) & ~access));
    return RETRY;
  }

  *#restrictAll(session: Session): Path<void> {
    if (this.#freezes) yield* this.#restrict(session, FROZEN / PAGE, R | X);
    for (let n = 0; n < 14; n++) {
      const gfn = this.#somePage();
      yield* this.#restrict(session, gfn, this.#prng.below(FULL));
    }
  }

  // ── the host ──────────────────────────────────────────────────────────────────────────────────────────────
  *#control(): Path<void> {
    const prng = this.#prng;
    const { machine } = this;
    const ops = this.#options.only ?? CONTROL_OPS;
    const rounds = 4 + prng.below(6);
    for (let round = 0; round < rounds; round++) {
      for (let pause = prng.below(400); pause > 0; pause--) yield stepping();
      yield* this.#controlOp(prng.pick(ops));
    }
    // Once, and not in the runs that must not lose their restrictions.
    if (!this.#freezes && (this.#options.only === undefined || this.#options.only.includes('unhook'))) {
      yield* this.#controlOp('unhook');
    }
    // Whatever is left of a change is put right: what the tool says about it has to hold in the end as well.
    yield* setMemoryRegion(machine.control, machine.vm, VICTIM_SLOT);
  }

  *#slot(request: SlotRequest): Path<void> {
    // Some are refused: the tool may have changed the same slot meanwhile.
    yield* setMemoryRegion(this.machine.control, this.machine.vm, request);
  }

  *#controlOp(op: ControlOp): Path<void> {
    const prng = this.#prng;
    const { machine } = this;
    const { control, vm } = machine;
    const asId = this.#spaces ? prng.below(2) : 0;
    const victim = { ...VICTIM_SLOT, asId };
    switch (op) {
      case 'recreate':
        yield* this.#slot({ ...victim, npages: 0 });
        for (let pause = prng.below(100); pause > 0; pause--) yield stepping();
        yield* this.#slot(victim);
        return;
      case 'away':
        yield* this.#slot({ ...victim, baseGfn: AWAY_GFN });
        for (let pause = prng.below(100); pause > 0; pause--) yield stepping();
        yield* this.#slot(victim);
        return;
      case 'shift':
        // To a place that overlaps the old one; not so far that the frozen RAM page comes to lie where data may be stored.
        yield* this.#slot({ ...victim, baseGfn: VICTIM_GFN + 1 + prng.below(5) });
        yield* this.#slot(victim);
        return;
      case 'failed move':
        vm.mem.store(vm.word('FAIL_ALLOCATIONS'), 1);
        yield* this.#slot({ ...victim, baseGfn: prng.chance(0.5) ? AWAY_GFN : VICTIM_GFN + 4 });
        vm.mem.store(vm.word('FAIL_ALLOCATIONS'), 0);
        return;
      case 'other space':
        yield* this.#slot({ ...VICTIM_SLOT, asId: 1, npages: 0 });
        yield* this.#slot({ ...VICTIM_SLOT, asId: 1 });
        return;
      case 'age':
        yield* this.#age(asId);
        return;
      case 'log':
        yield* this.#log(victim);
        return;
      case 'park':
        yield* whileParked(control, vm, () => this.#inspect());
        return;
      case 'unhook':
        yield* this.#unhook();
    }
  }

  /** A host that looks for cold pages. */
  *#age(asId: number): Path<void> {
    const { control, vm } = this.machine;
    const section = yield* srcuReadLock(control, vm.srcu);
    for (let n = 0; n < 4; n++) {
      const gfn = this.#somePage();
      const slot = findSlot(vm, activeSet(vm, asId), gfn);
      if (slot !== null) yield* ageGfn(control, vm, slot, gfn);
    }
    yield* srcuReadUnlock(control, vm.srcu, section);
  }

  *#log(victim: SlotRequest): Path<void> {
    const { machine } = this;
    const { vm } = machine;
    const slotNow = () => findSlot(vm, activeSet(vm, victim.asId), VICTIM_GFN);
    const before = slotNow();
    if (before === null || before.baseGfn !== VICTIM_GFN) return;
    for (let page = 0; page < VICTIM_PAGES; page += 32) vm.mem.store(dirtyWord(vm, before.arch, page), 0);
    yield* this.#slot({ ...victim, flags: SLOT_LOG_DIRTY });
    const pages = machine.ram(VICTIM_GPA, VICTIM_PAGES * PAGE);
    const then = pages.slice();
    for (let pause = this.#prng.below(500); pause > 0; pause--) yield stepping();
    const after = slotNow();
    // Both spaces map the same memory; with two of them stores of the other one are not in this log.
    const same = after !== null && after.instance === before.instance && after.flags === SLOT_LOG_DIRTY;
    for (let page = 0; page < VICTIM_PAGES && same && !this.#spaces; page++) {
      const dirty = (vm.mem.load(dirtyWord(vm, after.arch, page)) & (1 << (page % 32))) !== 0;
      const [from, to] = [page * PAGE, (page + 1) * PAGE];
      const changed = Buffer.compare(then.subarray(from, to), pages.subarray(from, to)) !== 0;
      if (changed && !dirty)
        this.#find(`I14: page ${page} of the victim was stored to and is not in the log`);
    }
    yield* this.#slot(victim);
  }

  *#inspect(): Path<void> {
    const { machine } = this;
    const { mem } = machine.vm;
    const { findings } = yield* checkInvariants(machine.control, machine.vm, (vcpu) =>
      filledEntries(mem, machine.vm.cpu(vcpu)),
    );
    for (const { id, detail } of findings) this.#find(`${id}: ${detail} (parked)`);
  }

  *#unhook(): Path<void> {
    const { machine } = this;
    this.#denied.clear();
    this.#unhooking = true;
    yield* unhook(machine.control, machine.vm, this.#prng.chance(0.5));
    this.#denied.clear();
    this.#unhooking = false;
    for (let tries = 0; tries < 300; tries++) {
      if ((yield* machine.rehook()) <= 0) {
        for (let pause = 0; pause < 20; pause++) yield stepping();
        continue;
      }
      for (const vcpu of machine.vcpus)
        yield* machine.commands.controlEvents(vcpu.index, KVMI_VCPU_EVENT_PF, true);
      return;
    }
  }
  #unhooking = false;

  // ── what is looked at ─────────────────────────────────────────────────────────────────────────────────────
  #find(what: string): void {
    if (!this.findings.includes(what)) this.findings.push(what);
  }

  /** In guest mode, about to run: no entry may grant what a finished command denies, unless the vCPU is being told. */
  #lookAtTlb(vcpu: number): void {
    const { vm } = this.machine;
    const { i32 } = vm.mem;
    const cpu = vm.cpu(vcpu);
    if (this.#unhooking || vm.mem.load(cpu + CPU.at.REQUESTS) !== 0) return;
    const table = TLB_ENTRIES * TLB_ENTRY.bytes;
    for (let offset = 0; offset < 2 * TLB_SET_BYTES; offset += TLB_ENTRY.bytes) {
      const entry = (cpu + CPU_TLB + offset) >>> 2;
      if (i32[entry] === -1) continue;
      const access = 1 << (Math.floor(offset / table) % 3);
      const gfn = tlbGfn(i32[entry + (TLB_ENTRY.at.PAGE >>> 2)]!);
      if (((this.#denied.get(gfn) ?? 0) & access) === 0) continue;
      this.#find(
        `I2: vCPU ${vcpu} runs with ${'rwx'[Math.log2(access)]} of gfn 0x${gfn.toString(16)} in its TLB, denied`,
      );
    }
  }

  run(): StormResult {
    const { machine } = this;
    machine.hook();
    machine.enablePf(...machine.vcpus.keys());
    machine.alone(this.#restrictAll(machine.session));
    try {
      machine.together(
        this.#seed,
        machine.toolRunner((event, session) => this.#answer(event, session)),
        ...machine.vcpus.map((vcpu) =>
          machine.guestRunner(vcpu.index, { slice: this.#prng.pick([64, 64, 100, 1000]) }),
        ),
        machine.controlRunner(this.#control()),
      );
    } catch (error) {
      if (!(error instanceof Error) || !/^(deadlock|no end)/.test(error.message)) throw error;
      this.#find(`I10: ${error.message}`);
      return { findings: [...this.findings, ...this.#ownFindings()], events: machine.events.length };
    }
    for (const vcpu of machine.vcpus) {
      const state = machine.state(vcpu.index);
      if (state === VCPU_EXITED && machine.exitCode(vcpu.index) === 0) continue;
      this.#find(
        `vCPU ${vcpu.index} ended in state ${state === VCPU_WAITING ? 'waiting' : state} at ${vcpu.get64('RIP').toString(16)}`,
      );
    }
    for (const [i, gpa] of COUNTER_AT.entries()) {
      const value = machine.quad(gpa);
      if (value !== this.#sums[i]) this.#find(`I13: counter ${i} is ${value}, ${this.#sums[i]} were counted`);
    }
    if (this.#freezes && Buffer.compare(this.#frozen, machine.ram(FROZEN, PAGE)) !== 0) {
      this.#find('I1: the frozen page was stored to');
    }
    return { findings: [...this.findings, ...this.#ownFindings()], events: machine.events.length };
  }

  #ownFindings(): string[] {
    // A deadlock may have left mmu_lock taken: then the machine cannot be checked as a whole.
    const { machine } = this;
    const stuck = this.findings.some((finding) => finding.startsWith('I10'));
    return stuck ? machine.findings.map((f) => `${f.id}: ${f.detail}`) : machine.verdict();
  }
}

export function guestStorm(seed: number, options: StormOptions = {}): StormResult {
  return new Storm(seed, options).run();
}
