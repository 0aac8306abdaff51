/** Numbers cells in the order of their discovery, for tables by cell. Keeps what it knows from execution to execution. */
const FIRST_CAPACITY = 256;

export class CellTable {
  /** Cells by hash, open addressing; a place is free where `#slots` is 0. */
  #cells = new Int32Array(FIRST_CAPACITY);
  /** Number of the cell at this place, + 1. */
  #slots = new Int32Array(FIRST_CAPACITY);
  #count = 0;

  /** How many cells there are: all numbers are below it. */
  get count(): number {
    return this.#count;
  }

  /** @param cell  an int32 */
  numberOf(cell: number): number {
    const mask = this.#slots.length - 1;
    let place = Math.imul(cell, 0x9e3779b1) & mask;
    for (let slot = this.#slots[place]!; slot !== 0; slot = this.#slots[place]!) {
      if (this.#cells[place] === cell) return slot - 1;
      place = (place + 1) & mask;
    }
    this.#cells[place] = cell;
    this.#count += 1;
    this.#slots[place] = this.#count;
    if (this.#count * 2 > mask) this.#grow();
    return this.#count - 1;
  }

  #grow(): void {
    const cells = this.#cells;
    const slots = this.#slots;
    const mask = slots.length * 2 - 1;
    this.#cells = new Int32Array(mask + 1);
    this.#slots = new Int32Array(mask + 1);
    for (let i = 0; i < slots.length; i++) {
      if (slots[i] === 0) continue;
      let place = Math.imul(cells[i]!, 0x9e3779b1) & mask;
      while (this.#slots[place] !== 0) place = (place + 1) & mask;
      this.#cells[place] = cells[i]!;
      this.#slots[place] = slots[i]!;
    }
  }
}
