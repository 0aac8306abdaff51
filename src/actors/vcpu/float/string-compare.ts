/**
 * PCMPESTRI, PCMPESTRM, PCMPISTRI and PCMPISTRM: comparisons of all elements of two strings.
 *
 * @source Intel SDM vol. 1, "Unified Compare", or vol. 2B, "Imm8 Control Byte Operation for PCMPESTRI / PCMPESTRM /
 *         PCMPISTRI / PCMPISTRM"
 */
import { CF, OF, SF, ZF } from '../../../shared/x86/rflags.ts';

export interface StringComparison {
  /** Where the first (or last) match is; the number of elements for none. */
  readonly index: number;
  /** 128 bits: a bit or a whole element for each match. */
  readonly mask: bigint;
  readonly flags: number;
}

interface Text {
  readonly elements: readonly number[];
  /** Elements that count. */
  readonly length: number;
}

function textOf(vector: bigint, how: number, length: number | null): Text {
  const bits = (how & 1) === 0 ? 8 : 16;
  const signed = (how & 2) !== 0;
  const elements = Array.from({ length: 128 / bits }, (_, i) => {
    const element = vector >> BigInt(i * bits);
    return Number(signed ? BigInt.asIntN(bits, element) : BigInt.asUintN(bits, element));
  });
  const end = elements.indexOf(0);
  const implicit = end < 0 ? elements.length : end;
  return { elements, length: length === null ? implicit : Math.min(length, elements.length) };
}

/**
 * @param lengths  in elements, saturated by the caller or here; null: the strings end with a zero
 * @param how      the immediate
 */
export function compareStrings(
  a: bigint,
  b: bigint,
  how: number,
  lengths: readonly [number, number] | null,
): StringComparison {
  const first = textOf(a, how, lengths?.[0] ?? null);
  const second = textOf(b, how, lengths?.[1] ?? null);
  const count = first.elements.length;
  const all = (1 << count) - 1;
  let matches = aggregate(first, second, (how >> 2) & 3);
  if ((how & 0x10) !== 0) {
    // Negated: everywhere, or only where the second string is.
    matches ^= (how & 0x20) === 0 ? all : (1 << second.length) - 1;
  }
  const most = (how & 0x40) !== 0;
  const index = matches === 0 ? count : most ? 31 - Math.clz32(matches) : 31 - Math.clz32(matches & -matches);
  const flags =
    (matches !== 0 ? CF : 0) |
    (second.length < count ? ZF : 0) |
    (first.length < count ? SF : 0) |
    ((matches & 1) !== 0 ? OF : 0);
  return { index, mask: most ? widened(matches, count) : BigInt(matches), flags };
}

function widened(matches: number, count: number): bigint {
  const bits = BigInt(128 / count);
  let mask = 0n;
  for (let i = 0; i < count; i++) {
    if ((matches & (1 << i)) !== 0) mask |= ((1n << bits) - 1n) << (BigInt(i) * bits);
  }
  return mask;
}

/** Bit j of the result is about element j of the second string. */
function aggregate(first: Text, second: Text, kind: number): number {
  let matches = 0;
  for (let j = 0; j < second.elements.length; j++) if (holds(first, second, kind, j)) matches |= 1 << j;
  return matches;
}

function holds(first: Text, second: Text, kind: number, j: number): boolean {
  const element = second.elements[j]!;
  const there = j < second.length;
  switch (kind) {
    case 0: // equal to any of the first
      return there && first.elements.some((one, i) => i < first.length && one === element);
    case 1: // in any range of the first
      if (!there) return false;
      for (let i = 0; i + 1 < first.length; i += 2) {
        if (element >= first.elements[i]! && element <= first.elements[i + 1]!) return true;
      }
      return false;
    case 2: // equal, element by element; two that are not there are equal
      if (!there || j >= first.length) return !there && j >= first.length;
      return first.elements[j] === element;
    default: // the first begins here in the second
      for (let i = 0; i < first.length && i + j < second.elements.length; i++) {
        if (i + j >= second.length || first.elements[i] !== second.elements[i + j]) return false;
      }
      return true;
  }
}
