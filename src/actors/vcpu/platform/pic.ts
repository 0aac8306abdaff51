/**
 * Two 8259A interrupt controllers, the second one behind line 2 of the first.
 *
 * @source Intel 8259A Programmable Interrupt Controller datasheet, "Initialization Command Words", "Operation Command
 *         Words"; ELCR: Intel 82371AB (PIIX4) datasheet, "Edge/Level Control Register"
 */
import { PIC } from '../../../shared/layout/board.ts';
import type { MachineLayout } from '../../../shared/layout/machine.ts';
import type { Mem } from '../../../shared/mem.ts';
import type { PortDevice } from './device.ts';
import { Words } from './records.ts';

type Chip = Words<keyof typeof PIC.at>;

const CASCADE_LINE = 2;
const SPURIOUS_LINE = 7;
const ICW1 = 0x10;
const ICW1_NEEDS_4 = 0x01;
const ICW4_AUTO_EOI = 0x02;
const ICW4_SPECIAL_NESTED = 0x10;
const OCW3 = 0x08;
/** Lines that are edge triggered whatever ELCR says: timer, keyboard, cascade; clock, coprocessor. */
const ELCR_WRITABLE = [0xf8, 0xde] as const;

export class Pics implements PortDevice {
  readonly ports = [
    [0x20, 2],
    [0xa0, 2],
    [0x4d0, 2],
  ] as const;
  readonly #chips: readonly [Chip, Chip];
  readonly #output: (high: boolean) => void;

  /** @param output  the first chip's INT pin, told whenever it may have changed */
  constructor(mem: Mem, layout: MachineLayout, output: (high: boolean) => void) {
    const chip = (index: number) => new Words(mem, PIC, layout.pics + index * PIC.bytes);
    this.#chips = [chip(0), chip(1)];
    this.#output = output;
  }

  reset(): void {
    for (const chip of this.#chips) {
      chip.set('IMR', 0xff);
      chip.set('LOWEST', 7);
    }
  }

  /** @param line 0 … 15 */
  setLine(line: number, high: boolean): void {
    setInput(this.#chips[line >> 3]!, line & 7, high);
    this.#update();
  }

  /** INTA: the vector of the request that is served now; the spurious one when it is gone again. */
  acknowledge(): number {
    const [first, second] = this.#chips;
    const line = pendingLine(first);
    if (line < 0) return first.get('VECTOR') + SPURIOUS_LINE;
    take(first, line);
    let vector = first.get('VECTOR') + line;
    if (line === CASCADE_LINE) {
      const inner = pendingLine(second);
      if (inner >= 0) take(second, inner);
      vector = second.get('VECTOR') + (inner < 0 ? SPURIOUS_LINE : inner);
    }
    this.#update();
    return vector;
  }

  read(port: number): number {
    if (port >= 0x4d0) return this.#chips[port & 1]!.get('ELCR');
    const chip = this.#chips[port >> 7]!;
    if (chip.get('POLL') !== 0) return this.#poll(chip);
    if ((port & 1) === 1) return chip.get('IMR');
    return chip.get(chip.get('READ_ISR') !== 0 ? 'ISR' : 'IRR');
  }

  write(port: number, _size: number, wide: number): void {
    const value = wide & 0xff;
    if (port >= 0x4d0) this.#chips[port & 1]!.set('ELCR', value & ELCR_WRITABLE[port & 1]!);
    else {
      const chip = this.#chips[port >> 7]!;
      if ((port & 1) === 1) writeData(chip, value);
      else if ((value & ICW1) !== 0) initialize(chip, value);
      else if ((value & OCW3) !== 0) writeOcw3(chip, value);
      else writeOcw2(chip, value);
    }
    this.#update();
  }

  /** A poll command: as INTA, but the answer is the line. */
  #poll(chip: Chip): number {
    chip.set('POLL', 0);
    const line = pendingLine(chip);
    if (line < 0) return 0;
    take(chip, line);
    this.#update();
    return 0x80 | line;
  }

  #update(): void {
    const [first, second] = this.#chips;
    setInput(first, CASCADE_LINE, pendingLine(second) >= 0);
    this.#output(pendingLine(first) >= 0);
  }
}

function setInput(chip: Chip, line: number, high: boolean): void {
  const bit = 1 << line;
  const lines = chip.get('LINES');
  const level = (chip.get('ELCR') & bit) !== 0;
  chip.set('LINES', high ? lines | bit : lines & ~bit);
  if (high && (level || (lines & bit) === 0)) chip.set('IRR', chip.get('IRR') | bit);
  // A request that goes away before it is acknowledged is none any more.
  if (!high) chip.set('IRR', chip.get('IRR') & ~bit);
}

/** Distance from the highest priority, 0 … 7; 8 for no line at all. */
function priority(chip: Chip, lines: number): number {
  if (lines === 0) return 8;
  const first = chip.get('LOWEST') + 1;
  for (let distance = 0; ; distance++) if ((lines & (1 << ((first + distance) & 7))) !== 0) return distance;
}

/** The line that asks for an interrupt: unmasked, and of a higher priority than all that are served. */
function pendingLine(chip: Chip): number {
  const requested = priority(chip, chip.get('IRR') & ~chip.get('IMR'));
  if (requested === 8) return -1;
  let served = chip.get('ISR');
  if (chip.get('SPECIAL_MASK') !== 0) served &= ~chip.get('IMR');
  // What the second chip asks for may be more urgent than what it is being served for.
  if (chip.get('SPECIAL_NESTED') !== 0) served &= ~(1 << CASCADE_LINE);
  if (requested >= priority(chip, served)) return -1;
  return (chip.get('LOWEST') + 1 + requested) & 7;
}

function take(chip: Chip, line: number): void {
  const bit = 1 << line;
  if (chip.get('AUTO_EOI') === 0) chip.set('ISR', chip.get('ISR') | bit);
  else if (chip.get('ROTATE_AEOI') !== 0) chip.set('LOWEST', line);
  const level = (chip.get('ELCR') & bit) !== 0 && (chip.get('LINES') & bit) !== 0;
  if (!level) chip.set('IRR', chip.get('IRR') & ~bit);
}

function initialize(chip: Chip, icw1: number): void {
  for (const name of [
    'IMR',
    'ISR',
    'SPECIAL_MASK',
    'SPECIAL_NESTED',
    'AUTO_EOI',
    'ROTATE_AEOI',
    'READ_ISR',
    'POLL',
  ] as const)
    chip.set(name, 0);
  // Edges are forgotten, levels are not.
  chip.set('IRR', chip.get('LINES') & chip.get('ELCR'));
  chip.set('LOWEST', 7);
  chip.set('INIT_4', icw1 & ICW1_NEEDS_4);
  chip.set('INIT_STEP', 2);
}

function writeData(chip: Chip, value: number): void {
  switch (chip.get('INIT_STEP')) {
    case 2:
      chip.set('VECTOR', value & 0xf8);
      chip.set('INIT_STEP', 3);
      return;
    case 3:
      chip.set('INIT_STEP', chip.get('INIT_4') !== 0 ? 4 : 0);
      return;
    case 4:
      chip.set('AUTO_EOI', (value & ICW4_AUTO_EOI) !== 0 ? 1 : 0);
      chip.set('SPECIAL_NESTED', (value & ICW4_SPECIAL_NESTED) !== 0 ? 1 : 0);
      chip.set('INIT_STEP', 0);
      return;
    default:
      chip.set('IMR', value);
  }
}

function writeOcw2(chip: Chip, value: number): void {
  const line = value & 7;
  switch (value >> 5) {
    case 0: // rotate in automatic EOI: clear
    case 4: // set
      chip.set('ROTATE_AEOI', value >> 7);
      return;
    case 1: // EOI
    case 5: {
      // EOI, rotate
      const served = priority(chip, chip.get('ISR'));
      if (served === 8) return;
      const highest = (chip.get('LOWEST') + 1 + served) & 7;
      chip.set('ISR', chip.get('ISR') & ~(1 << highest));
      if (value >> 5 === 5) chip.set('LOWEST', highest);
      return;
    }
    case 3: // EOI of a line
    case 7: // EOI of a line, rotate
      chip.set('ISR', chip.get('ISR') & ~(1 << line));
      if (value >> 5 === 7) chip.set('LOWEST', line);
      return;
    case 6: // set priority
      chip.set('LOWEST', line);
      return;
    default: // 2: no operation
  }
}

function writeOcw3(chip: Chip, value: number): void {
  if ((value & 0x40) !== 0) chip.set('SPECIAL_MASK', (value >> 5) & 1);
  if ((value & 0x04) !== 0) chip.set('POLL', 1);
  else if ((value & 0x02) !== 0) chip.set('READ_ISR', value & 1);
}
