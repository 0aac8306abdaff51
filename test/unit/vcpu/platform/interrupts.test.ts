/** Interrupts on guest code: APIC, 8259s, I/O APIC, timers, in the run loop, in virtual time. */
import test from 'ava';
import {
  KVMI_EVENT_ACTION_CONTINUE as CONTINUE,
  KVMI_EVENT_ACTION_RETRY as RETRY,
} from '../../../../src/actors/introspector/kvmi/constants.ts';
import { IDT_GPA, KERNEL_CODE_SELECTOR } from '../../../../src/image/boot.ts';
import { POWER_OFF, POWER_RESET } from '../../../../src/shared/layout/board.ts';
import { VCPU_EXITED } from '../../../../src/shared/layout/vcpu.ts';
import { asm } from '../../../support/asm.ts';
import { CODE_GPA, GuestMachine, type GuestMachineOptions } from '../../../support/guest-machine.ts';

const RBX = 3;
const DATA = 0x30_0000;

/** A PC whose vCPUs are at CODE_GPA, or at the label of their number; handlers are labels `h40:` for vector 0x40. */
function pc(source: string, options: GuestMachineOptions = {}): GuestMachine {
  const machine = new GuestMachine({ ...options, board: true });
  const { bytes, labels } = asm(CODE_GPA, source);
  machine.load(bytes, CODE_GPA);
  for (const [label, address] of Object.entries(labels)) {
    const vector = /^h([0-9a-f]{2})$/.exec(label)?.[1];
    if (vector !== undefined) gate(machine, Number.parseInt(vector, 16), address);
  }
  for (const vcpu of machine.vcpus.slice(1)) {
    vcpu.platform!.apic.words.set('WAITING', 0);
    machine.boot(vcpu, labels[`vcpu${vcpu.index}`]!);
  }
  return machine;
}

function gate(machine: GuestMachine, vector: number, handler: number): void {
  const low = BigInt(handler & 0xffff) | (BigInt(handler >>> 16) << 48n);
  machine.setQuad(IDT_GPA + 16 * vector, low | (BigInt(KERNEL_CODE_SELECTOR) << 16n) | (0x8en << 40n));
}

function exits(t: import('ava').ExecutionContext, machine: GuestMachine, code: number, vcpu = 0): void {
  t.is(machine.state(vcpu), VCPU_EXITED);
  t.is(machine.exitCode(vcpu), code);
  t.deepEqual(machine.verdict(), []);
}

/** RDI is the APIC, switched on. */
const ON = `
  mov   edi, 0xfee00000
  mov   dword [rdi + 0xf0], 0x1ff
`;
const EOI = 'mov dword [rdi + 0xb0], 0';
/** A fixed interrupt to itself: the ICR's shorthand. */
const self = (vector: number) => `mov dword [rdi + 0x300], ${0x44000 | vector}`;

test('the timer of the APIC wakes a halted vCPU; virtual time is there at once', (t) => {
  const machine = pc(`${ON}
    mov   dword [rdi + 0x3e0], 0xb
    mov   dword [rdi + 0x320], 0x40
    mov   dword [rdi + 0x380], 5000000
    sti
    hlt
    mov   eax, ebx
    out   0xf4, eax
  h40: mov ebx, 7
    ${EOI}
    iretq
  `);
  machine.runGuests({ instructions: 10_000n });
  exits(t, machine, 7);
  const vcpu = machine.vcpus[0]!;
  t.true(vcpu.platform!.clock.now() >= 5_000_000);
  t.true(vcpu.get64('RETIRED') < 100n);
});

test('a periodic timer goes on, and one with a deadline fires at its time stamp', (t) => {
  const machine = pc(`${ON}
    mov   dword [rdi + 0x3e0], 0xb
    mov   dword [rdi + 0x320], 0x20040
    mov   dword [rdi + 0x380], 1000
    sti
  next: hlt
    cmp   ebx, 3
    jb    next
    cli
    mov   dword [rdi + 0x320], 0x40041
    rdtsc
    shl   rdx, 32
    or    rax, rdx
    add   rax, 70000
    mov   rsi, rax
    mov   rdx, rax
    shr   rdx, 32
    mov   ecx, 0x6e0
    wrmsr
    sti
    hlt
    rdtsc
    shl   rdx, 32
    or    rax, rdx
    sub   rax, rsi
    cmp   rax, 2000
    mov   eax, 1
    jb    ok
    mov   eax, 2
  ok: out 0xf4, eax
  h40: add ebx, 1
  h41: ${EOI}
    iretq
  `);
  machine.runGuests({ instructions: 10_000n });
  exits(t, machine, 1);
});

test('the instruction after STI comes before the interrupt that waits; the one after POPF does not', (t) => {
  const after = (allow: string) => `${ON}
    ${self(0x40)}
    ${allow}
    mov   ebx, 1
    nop
  h40: mov eax, ebx
    out   0xf4, eax
  `;
  const sti = pc(after('sti'));
  sti.runGuests({ instructions: 1000n });
  exits(t, sti, 1);
  const popf = pc(after('push 0x202\n popfq'));
  popf.runGuests({ instructions: 1000n });
  exits(t, popf, 0);
});

test('STI and HLT together never sleep over an interrupt', (t) => {
  const machine = pc(`${ON}
    ${self(0x40)}
    sti
    hlt
    out   0xf4, eax
  h40: mov eax, 5
    iretq
  `);
  machine.runGuests({ instructions: 1000n });
  exits(t, machine, 5);
});

test('of two vectors the higher class is first; the lower one waits for the EOI', (t) => {
  const machine = pc(`${ON}
    ${self(0x40)}
    ${self(0x60)}
    sti
    nop
    nop
    mov   eax, ebx
    out   0xf4, eax
  h60: shl ebx, 4
    or    ebx, 6
    sti
    nop
    nop
    ${EOI}
    iretq
  h40: shl ebx, 4
    or    ebx, 4
    ${EOI}
    iretq
  `);
  machine.runGuests({ instructions: 1000n });
  // During the EOI of 0x60 interrupts are on: 0x40 comes then, in the handler.
  exits(t, machine, 0x64);
});

test('CR8 holds interrupts of its class and below back, and is the upper half of TPR', (t) => {
  const machine = new GuestMachine({ board: true });
  const before = asm(CODE_GPA, `${ON}\n ${self(0x45)}\n mov eax, 4`);
  const middle = asm(0, 'sti\n nop\n mov ebx, 1\n mov esi, dword [rdi + 0x80]\n mov eax, 3').bytes;
  const end = asm(0, 'nop\n nop').bytes;
  const movToCr8 = [0x44, 0x0f, 0x22, 0xc0];
  machine.load([...before.bytes, ...movToCr8, ...middle, ...movToCr8, ...end]);
  machine.load(asm(0x21_0000, 'mov eax, esi\n add eax, ebx\n out 0xf4, eax').bytes, 0x21_0000);
  gate(machine, 0x45, 0x21_0000);
  machine.runGuests({ instructions: 1000n });
  exits(t, machine, 0x41);
});

test('the 8254 ticks through the 8259s to LINT0', (t) => {
  const out = (port: number, value: number) => `mov eax, ${value}\n out ${port}, al\n`;
  const machine = pc(`${ON}
    mov   dword [rdi + 0x350], 0x700
    ${out(0x20, 0x11)} ${out(0x21, 0x30)} ${out(0x21, 4)} ${out(0x21, 1)} ${out(0x21, 0xfe)}
    ${out(0xa0, 0x11)} ${out(0xa1, 0x38)} ${out(0xa1, 2)} ${out(0xa1, 1)} ${out(0xa1, 0xff)}
    ${out(0x43, 0x34)} ${out(0x40, 0xa9)} ${out(0x40, 0x04)}
    sti
  next: hlt
    cmp   ebx, 4
    jb    next
    mov   eax, ebx
    out   0xf4, eax
  h30: add ebx, 1
    ${out(0x20, 0x20)}
    iretq
  `);
  machine.runGuests({ instructions: 10_000n });
  exits(t, machine, 4);
  // Four periods of 1193 ticks, at 1 193 182 Hz.
  const now = machine.vcpus[0]!.platform!.clock.now();
  t.true(now > 3_990_000 && now < 4_300_000, `${now} ns`);
});

/** Writes a redirection entry of the I/O APIC through RSI. */
const redirect = (pin: number, low: number) => `
  mov   esi, 0xfec00000
  mov   dword [rsi], ${0x11 + 2 * pin}
  mov   dword [rsi + 0x10], 0
  mov   dword [rsi], ${0x10 + 2 * pin}
  mov   dword [rsi + 0x10], ${low}
`;

test('the serial port interrupts through the I/O APIC, and says what for', (t) => {
  const machine = pc(`${ON} ${redirect(4, 0x50)}
    mov   edx, 0x3fc
    mov   eax, 8
    out   dx, al
    mov   edx, 0x3f9
    mov   eax, 2
    out   dx, al
    sti
    hlt
    out   0xf4, eax
  h50: mov edx, 0x3fa
    in    al, dx
    movzx eax, al
    ${EOI}
    iretq
  `);
  machine.runGuests({ instructions: 10_000n });
  exits(t, machine, 2);
});

test('a level that stays is delivered again after its EOI, and not before', (t) => {
  // Pin 9 is high for good; the handler masks it when it comes for the third time.
  const machine = pc(`${ON} ${redirect(9, 0x8050)}
    sti
    mov   ecx, 50
  next: nop
    loop  next
    mov   eax, ebx
    out   0xf4, eax
  h50: add ebx, 1
    cmp   ebx, 3
    jb    again
    mov   dword [rsi + 0x10], 0x18050
  again: ${EOI}
    iretq
  `);
  const { board } = machine.vcpus[0]!.platform!;
  machine.alone(board.driveLine(9, true));
  machine.runGuests({ instructions: 10_000n });
  exits(t, machine, 3);
});

test('an IPI reaches the vCPU it is for, halted or not, in every order tried', (t) => {
  for (let seed = 1; seed <= 40; seed++) {
    const machine = pc(
      `${ON}
      mov   dword [rdi + 0x310], 0x01000000
      mov   dword [rdi + 0x300], 0x4041
    wait: pause
      cmp   dword [${DATA}], 9
      jne   wait
      mov   eax, 1
      out   0xf4, eax
    vcpu1: ${ON}
      sti
    sleep: hlt
      jmp   sleep
    h41: mov dword [${DATA}], 9
      ${EOI}
      mov   eax, 2
      out   0xf4, eax
    `,
      { vcpuCount: 2 },
    );
    // The receiver has to be switched on: what comes before is lost.
    machine.vcpus[1]!.platform!.apic.words.set('SVR', 0x1ff);
    machine.runGuests({ slice: 64 }, seed);
    exits(t, machine, 1, 0);
    exits(t, machine, 2, 1);
  }
});

test('an NMI needs no IF, and no second one comes before IRET', (t) => {
  const machine = pc(`${ON}
    mov   dword [rdi + 0x300], 0x44400
    nop
    nop
    mov   eax, ebx
    out   0xf4, eax
  h02: add ebx, 1
    cmp   ebx, 2
    jae   done
    mov   dword [rdi + 0x300], 0x44400
    nop
    mov   esi, ebx
  done: add ebx, 16
    iretq
  `);
  machine.runGuests({ instructions: 1000n });
  // Once 1 + 16, then 1 + 16 more: had it come at once, ESI would not be set.
  exits(t, machine, 34);
  t.is(machine.vcpus[0]!.gpr(6), 1n);
});

test('in x2APIC mode the registers are MSRs, and the page is memory like any other', (t) => {
  const machine = pc(`
    mov   ecx, 0x1b
    rdmsr
    or    eax, 0x400
    wrmsr
    mov   ecx, 0x80f
    mov   eax, 0x1ff
    mov   edx, 0
    wrmsr
    sti
    mov   ecx, 0x83f
    mov   eax, 0x41
    wrmsr
    nop
  h41: mov edi, 0xfee00000
    mov   ebx, dword [rdi + 0x20]
    mov   ecx, 0x80d
    rdmsr
    out   0xf4, eax
  `);
  machine.runGuests({ instructions: 1000n });
  exits(t, machine, 1);
  t.is(machine.vcpus[0]!.gpr(RBX), 0xffff_ffffn);
});

test('a RETRY on the way to the handler does not lose the interrupt', (t) => {
  const machine = pc(`${ON}
    mov   esp, 0x2003000
    ${self(0x40)}
    sti
    nop
    nop
    out   0xf4, eax
  h40: mov eax, 6
    iretq
  `);
  machine.hook();
  machine.enablePf(0);
  machine.access(0x2002, 1);
  let asked = 0;
  machine.runWith(function* () {
    asked += 1;
    return asked < 4 ? RETRY : CONTINUE;
  });
  exits(t, machine, 6);
  t.true(asked > 4);
});

for (const [what, port, value, state] of [
  ['S5', 0x604, 0x3400, POWER_OFF],
  ['a reset', 0xcf9, 6, POWER_RESET],
  ['the keyboard controller', 0x64, 0xfe, POWER_RESET],
] as const) {
  test(`${what} ends all vCPUs`, (t) => {
    const size = value > 0xff ? 'ax' : 'al';
    const machine = pc(
      `
      mov   edx, ${port}
      mov   eax, ${value}
      out   dx, ${size}
      ud2
    vcpu1: sti
    sleep: hlt
      jmp   sleep
    `,
      { vcpuCount: 2 },
    );
    machine.runGuests();
    exits(t, machine, 0, 0);
    exits(t, machine, 0, 1);
    t.is(machine.vcpus[1]!.platform!.board.powerState, state);
  });
}
