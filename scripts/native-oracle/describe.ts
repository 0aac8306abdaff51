/** A case as text: what a person needs to see to find out which side is wrong. */
import { Decoder, Formatter, FormatterSyntax } from 'iced-x86';
import { ARENA_BASE, CODE_BASE } from './arena.ts';
import { type CaseResult, fillRegister, type OracleCase } from './case.ts';
import { changedText, type Difference, flagsText, hex, REGISTER_NAMES, vectorText } from './compare.ts';
import { fpuText } from './fpu-case.ts';

/** One line an instruction: bytes and Intel syntax. */
export function disassembly(item: OracleCase): string[] {
  const lines: string[] = [];
  const decoder = new Decoder(64, item.code, 0);
  const formatter = new Formatter(FormatterSyntax.Intel);
  decoder.ip = BigInt(CODE_BASE + item.codeOffset);
  while (decoder.canDecode) {
    const from = decoder.position;
    const insn = decoder.decode();
    const bytes = Buffer.from(item.code.subarray(from, decoder.position)).toString('hex');
    lines.push(`${bytes.padEnd(22)} ${formatter.format(insn)}`);
    insn.free();
  }
  formatter.free();
  decoder.free();
  return lines;
}

/** Instruction, state before, and both outcomes, several lines. */
export function describe(
  item: OracleCase,
  native: CaseResult,
  ours: CaseResult,
  found: readonly Difference[],
): string {
  const lines = disassembly(item).map((line) => `  ${line}`);
  lines.push(`  at       ${hex(BigInt(CODE_BASE + item.codeOffset))}, group "${item.group}"`);
  const registers = REGISTER_NAMES.map((name, n) => {
    const chosen = item.gpr[n] !== fillRegister(item.fill, n);
    const differs = found.some(({ what }) => what === name);
    return chosen || differs ? `${name}=${hex(item.gpr[n]!)}` : '';
  }).filter((text) => text !== '');
  lines.push(`  before   ${registers.join(' ')}`);
  let rest = `flags ${flagsText(item.rflags)}`;
  if (item.fsBase !== 0n) rest += `  fs ${hex(item.fsBase)}`;
  if (item.gsBase !== 0n) rest += `  gs ${hex(item.gsBase)}`;
  lines.push(`           ${rest}`);
  if (item.fpu !== null) lines.push(`           ${fpuText(item.fpu)}`);
  if (item.patch.length > 0) {
    const at = hex(BigInt(ARENA_BASE + item.patchOffset));
    lines.push(`           memory ${at}: ${Buffer.from(item.patch).toString('hex')}`);
  }
  lines.push(`  native   ${outcome(native)}`);
  lines.push(`  ours     ${outcome(ours)}`);
  for (const { what, native: a, ours: b } of found) lines.push(`  differ   ${what}: native ${a}, ours ${b}`);
  return lines.join('\n');
}

function outcome(result: CaseResult): string {
  return `${vectorText(result)}, rip ${hex(result.rip)}, ${flagsText(result.rflags)}, memory ${changedText(result)}`;
}
