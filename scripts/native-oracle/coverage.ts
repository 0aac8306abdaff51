/** What a campaign has covered: cases by operation, size and operand shapes, as the core's forms have them. */
import { FORMS } from '../../src/actors/vcpu/isa/forms.ts';
import { CORE_OPS } from '../../src/actors/vcpu/isa/insn.ts';
import type { OracleCase } from './case.ts';
import { ENCODINGS, NOT_COVERED } from './encodings.ts';
import { formName } from './generate.ts';

/** Forms that are no instruction of the guest. */
const NOT_GUEST: ReadonlySet<string> = new Set(['blockstart', 'fall', 'host']);

export class Coverage {
  readonly #cases = new Map<string, number>();

  add(item: OracleCase): void {
    this.#cases.set(item.group, (this.#cases.get(item.group) ?? 0) + 1);
  }

  /** One line an operation and size: "add 4   reg,reg 120   reg,imm 98 …". */
  table(): string {
    const rows = new Map<string, string[]>();
    for (const [group, count] of [...this.#cases].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const [op, size = '', ...shapes] = group.split(' ');
      const row = `${op} ${size}`.trim();
      const cell = `${shapes.join(' ')} ${count}`.trim();
      rows.set(row, [...(rows.get(row) ?? []), cell]);
    }
    return [...rows].map(([row, cells]) => `${row.padEnd(14)} ${cells.join('   ')}`).join('\n');
  }

  /** Forms with flags and without a fused jump that no case had. */
  missingForms(): string[] {
    const names = FORMS.filter((form) => !NOT_GUEST.has(form.op) && form.flags && form.jcc < 0).map(formName);
    return [...new Set(names)].filter((name) => !this.#cases.has(name));
  }
}

/** Core operations that no encoding reaches, with the reason that is given for it. */
export function opsWithoutEncoding(): { op: string; reason: string | undefined }[] {
  const reached = new Set<string>(ENCODINGS.map(({ op }) => op));
  return CORE_OPS.filter((op) => !reached.has(op)).map((op) => ({ op, reason: NOT_COVERED[op] }));
}
