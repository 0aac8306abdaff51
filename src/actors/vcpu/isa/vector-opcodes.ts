/**
 * The MMX and SSE parts of the opcode maps, in the notation of opcode-table.ts, by opcode: what is not here is undefined.
 *
 * @source Intel SDM vol. 2D, appendix A, tables
 */
import { byMod, byPrefix, byRexW, type Cell, group, times } from './opcode-cells.ts';
import type { VectorOp } from './vector-ops.ts';

/** Cells by opcode. */
type Table = readonly (readonly [opcode: number, cell: Cell])[];

/** Only with 66. */
const only66 = (cell: Cell): Cell => byPrefix('!', cell, '!', '!');
/** MMX without a prefix, SSE with 66. */
const both = (op: VectorOp): Cell => byPrefix(`${op} Pq,Qq`, `${op} Vx,Wx`, '!', '!');
const sse = (op: VectorOp): Cell => only66(`${op} Vx,Wx`);
/** Packed single, packed double, scalar single, scalar double: ADDPS, ADDPD, ADDSS, ADDSD. */
const four = (name: 'add' | 'sub' | 'mul' | 'div' | 'min' | 'max' | 'sqrt'): Cell =>
  byPrefix(`${name}ps Vx,Wx`, `${name}pd Vx,Wx`, `${name}ss Vx,Wd`, `${name}sd Vx,Wq`);
const two = (ps: VectorOp, pd: VectorOp): Cell => byPrefix(`${ps} Vx,Wx`, `${pd} Vx,Wx`, '!', '!');
/** A shift by an immediate: a register only. */
const shift = (op: VectorOp): Cell => byMod('!', byPrefix(`${op} Qq,Ub`, `${op} Wx,Ub`, '!', '!'));
const shift66 = (op: VectorOp): Cell => byMod('!', only66(`${op} Wx,Ub`));

export const VECTOR_0F: Table = [
  [0x10, byPrefix('movups Vx,Wx', 'movupd Vx,Wx', 'movss Vx,Wd', 'movsd Vx,Wq')],
  [0x11, byPrefix('movups Wx,Vx', 'movupd Wx,Vx', 'movss Wd,Vx', 'movsd Wq,Vx')],
  [0x12, byPrefix(byMod('movlps Vx,Mq', 'movhlps Vx,Wx'), 'movlpd Vx,Mq', 'movsldup Vx,Wx', 'movddup Vx,Wq')],
  [0x13, byPrefix('movlps Mq,Vx', 'movlpd Mq,Vx', '!', '!')],
  [0x14, two('unpcklps', 'unpcklpd')],
  [0x15, two('unpckhps', 'unpckhpd')],
  [0x16, byPrefix(byMod('movhps Vx,Mq', 'movlhps Vx,Wx'), 'movhpd Vx,Mq', 'movshdup Vx,Wx', '!')],
  [0x17, byPrefix('movhps Mq,Vx', 'movhpd Mq,Vx', '!', '!')],
  [0x28, two('movaps', 'movapd')],
  [0x29, byPrefix('movaps Wx,Vx', 'movapd Wx,Vx', '!', '!')],
  [0x2a, byPrefix('cvtpi2ps Vx,Qq', 'cvtpi2pd Vx,Qq', 'cvtsi2ss Vx,Ey', 'cvtsi2sd Vx,Ey')],
  [0x2b, byPrefix('movntps Mx,Vx', 'movntpd Mx,Vx', '!', '!')],
  [0x2c, byPrefix('cvttps2pi Pq,Wq', 'cvttpd2pi Pq,Wx', 'cvttss2si Gy,Wd', 'cvttsd2si Gy,Wq')],
  [0x2d, byPrefix('cvtps2pi Pq,Wq', 'cvtpd2pi Pq,Wx', 'cvtss2si Gy,Wd', 'cvtsd2si Gy,Wq')],
  [0x2e, byPrefix('ucomiss Vx,Wd', 'ucomisd Vx,Wq', '!', '!')],
  [0x2f, byPrefix('comiss Vx,Wd', 'comisd Vx,Wq', '!', '!')],
  [0x50, byMod('!', byPrefix('movmskps Gy,Wx', 'movmskpd Gy,Wx', '!', '!'))],
  [0x51, four('sqrt')],
  [0x52, byPrefix('rsqrtps Vx,Wx', '!', 'rsqrtss Vx,Wd', '!')],
  [0x53, byPrefix('rcpps Vx,Wx', '!', 'rcpss Vx,Wd', '!')],
  [0x54, two('andps', 'andpd')],
  [0x55, two('andnps', 'andnpd')],
  [0x56, two('orps', 'orpd')],
  [0x57, two('xorps', 'xorpd')],
  [0x58, four('add')],
  [0x59, four('mul')],
  [0x5a, byPrefix('cvtps2pd Vx,Wq', 'cvtpd2ps Vx,Wx', 'cvtss2sd Vx,Wd', 'cvtsd2ss Vx,Wq')],
  [0x5b, byPrefix('cvtdq2ps Vx,Wx', 'cvtps2dq Vx,Wx', 'cvttps2dq Vx,Wx', '!')],
  [0x5c, four('sub')],
  [0x5d, four('min')],
  [0x5e, four('div')],
  [0x5f, four('max')],
  [0x60, byPrefix('punpcklbw Pq,Qd', 'punpcklbw Vx,Wx', '!', '!')],
  [0x61, byPrefix('punpcklwd Pq,Qd', 'punpcklwd Vx,Wx', '!', '!')],
  [0x62, byPrefix('punpckldq Pq,Qd', 'punpckldq Vx,Wx', '!', '!')],
  [0x63, both('packsswb')],
  [0x64, both('pcmpgtb')],
  [0x65, both('pcmpgtw')],
  [0x66, both('pcmpgtd')],
  [0x67, both('packuswb')],
  [0x68, both('punpckhbw')],
  [0x69, both('punpckhwd')],
  [0x6a, both('punpckhdq')],
  [0x6b, both('packssdw')],
  [0x6c, sse('punpcklqdq')],
  [0x6d, sse('punpckhqdq')],
  [0x6e, byPrefix(byRexW('movd Pq,Ed', 'movq Pq,Eq'), byRexW('movd Vx,Ed', 'movq Vx,Eq'), '!', '!')],
  [0x6f, byPrefix('movq Pq,Qq', 'movdqa Vx,Wx', 'movdqu Vx,Wx', '!')],
  [0x70, byPrefix('pshufw Pq,Qq,Ub', 'pshufd Vx,Wx,Ub', 'pshufhw Vx,Wx,Ub', 'pshuflw Vx,Wx,Ub')],
  [0x71, group('!', '!', shift('psrlw'), '!', shift('psraw'), '!', shift('psllw'), '!')],
  [0x72, group('!', '!', shift('psrld'), '!', shift('psrad'), '!', shift('pslld'), '!')],
  [0x73, group('!', '!', shift('psrlq'), shift66('psrldq'), '!', '!', shift('psllq'), shift66('pslldq'))],
  [0x74, both('pcmpeqb')],
  [0x75, both('pcmpeqw')],
  [0x76, both('pcmpeqd')],
  [0x77, byPrefix('emms', '!', '!', '!')],
  [0x7c, byPrefix('!', 'haddpd Vx,Wx', '!', 'haddps Vx,Wx')],
  [0x7d, byPrefix('!', 'hsubpd Vx,Wx', '!', 'hsubps Vx,Wx')],
  [0x7e, byPrefix(byRexW('movd Ed,Pq', 'movq Eq,Pq'), byRexW('movd Ed,Vx', 'movq Eq,Vx'), 'movq Vx,Wq', '!')],
  [0x7f, byPrefix('movq Qq,Pq', 'movdqa Wx,Vx', 'movdqu Wx,Vx', '!')],
  [0xc2, byPrefix('cmpps Vx,Wx,Ub', 'cmppd Vx,Wx,Ub', 'cmpss Vx,Wd,Ub', 'cmpsd Vx,Wq,Ub')],
  [0xc4, byPrefix('pinsrw Pq,Ew,Ub', 'pinsrw Vx,Ew,Ub', '!', '!')],
  [0xc5, byMod('!', byPrefix('pextrw Gy,Qq,Ub', 'pextrw Gy,Wx,Ub', '!', '!'))],
  [0xc6, byPrefix('shufps Vx,Wx,Ub', 'shufpd Vx,Wx,Ub', '!', '!')],
  [0xd0, byPrefix('!', 'addsubpd Vx,Wx', '!', 'addsubps Vx,Wx')],
  [0xd1, both('psrlw')],
  [0xd2, both('psrld')],
  [0xd3, both('psrlq')],
  [0xd4, both('paddq')],
  [0xd5, both('pmullw')],
  [0xd6, byPrefix('!', 'movq Wq,Vx', byMod('!', 'movq2dq Vx,Qq'), byMod('!', 'movdq2q Pq,Wq'))],
  [0xd7, byMod('!', byPrefix('pmovmskb Gy,Qq', 'pmovmskb Gy,Wx', '!', '!'))],
  [0xd8, both('psubusb')],
  [0xd9, both('psubusw')],
  [0xda, both('pminub')],
  [0xdb, both('pand')],
  [0xdc, both('paddusb')],
  [0xdd, both('paddusw')],
  [0xde, both('pmaxub')],
  [0xdf, both('pandn')],
  [0xe0, both('pavgb')],
  [0xe1, both('psraw')],
  [0xe2, both('psrad')],
  [0xe3, both('pavgw')],
  [0xe4, both('pmulhuw')],
  [0xe5, both('pmulhw')],
  [0xe6, byPrefix('!', 'cvttpd2dq Vx,Wx', 'cvtdq2pd Vx,Wq', 'cvtpd2dq Vx,Wx')],
  [0xe7, byPrefix('movntq Mq,Pq', 'movntdq Mx,Vx', '!', '!')],
  [0xe8, both('psubsb')],
  [0xe9, both('psubsw')],
  [0xea, both('pminsw')],
  [0xeb, both('por')],
  [0xec, both('paddsb')],
  [0xed, both('paddsw')],
  [0xee, both('pmaxsw')],
  [0xef, both('pxor')],
  [0xf0, byPrefix('!', '!', '!', 'lddqu Vx,Mx')],
  [0xf1, both('psllw')],
  [0xf2, both('pslld')],
  [0xf3, both('psllq')],
  [0xf4, both('pmuludq')],
  [0xf5, both('pmaddwd')],
  [0xf6, both('psadbw')],
  [0xf7, byMod('!', byPrefix('maskmovq Pq,Qq q', 'maskmovdqu Vx,Wx q', '!', '!'))],
  [0xf8, both('psubb')],
  [0xf9, both('psubw')],
  [0xfa, both('psubd')],
  [0xfb, both('psubq')],
  [0xfc, both('paddb')],
  [0xfd, both('paddw')],
  [0xfe, both('paddd')],
];

export const VECTOR_0F38: Table = [
  [0x00, both('pshufb')],
  [0x01, both('phaddw')],
  [0x02, both('phaddd')],
  [0x03, both('phaddsw')],
  [0x04, both('pmaddubsw')],
  [0x05, both('phsubw')],
  [0x06, both('phsubd')],
  [0x07, both('phsubsw')],
  [0x08, both('psignb')],
  [0x09, both('psignw')],
  [0x0a, both('psignd')],
  [0x0b, both('pmulhrsw')],
  [0x10, sse('pblendvb')],
  [0x14, sse('blendvps')],
  [0x15, sse('blendvpd')],
  [0x17, sse('ptest')],
  [0x1c, both('pabsb')],
  [0x1d, both('pabsw')],
  [0x1e, both('pabsd')],
  [0x20, only66('pmovsxbw Vx,Wq')],
  [0x21, only66('pmovsxbd Vx,Wd')],
  [0x22, only66('pmovsxbq Vx,Ww')],
  [0x23, only66('pmovsxwd Vx,Wq')],
  [0x24, only66('pmovsxwq Vx,Wd')],
  [0x25, only66('pmovsxdq Vx,Wq')],
  [0x28, sse('pmuldq')],
  [0x29, sse('pcmpeqq')],
  [0x2a, only66('movntdqa Vx,Mx')],
  [0x2b, sse('packusdw')],
  [0x30, only66('pmovzxbw Vx,Wq')],
  [0x31, only66('pmovzxbd Vx,Wd')],
  [0x32, only66('pmovzxbq Vx,Ww')],
  [0x33, only66('pmovzxwd Vx,Wq')],
  [0x34, only66('pmovzxwq Vx,Wd')],
  [0x35, only66('pmovzxdq Vx,Wq')],
  [0x37, sse('pcmpgtq')],
  [0x38, sse('pminsb')],
  [0x39, sse('pminsd')],
  [0x3a, sse('pminuw')],
  [0x3b, sse('pminud')],
  [0x3c, sse('pmaxsb')],
  [0x3d, sse('pmaxsd')],
  [0x3e, sse('pmaxuw')],
  [0x3f, sse('pmaxud')],
  [0x40, sse('pmulld')],
  [0x41, sse('phminposuw')],
];

export const VECTOR_0F3A: Table = [
  [0x08, only66('roundps Vx,Wx,Ub')],
  [0x09, only66('roundpd Vx,Wx,Ub')],
  [0x0a, only66('roundss Vx,Wd,Ub')],
  [0x0b, only66('roundsd Vx,Wq,Ub')],
  [0x0c, only66('blendps Vx,Wx,Ub')],
  [0x0d, only66('blendpd Vx,Wx,Ub')],
  [0x0e, only66('pblendw Vx,Wx,Ub')],
  [0x0f, byPrefix('palignr Pq,Qq,Ub', 'palignr Vx,Wx,Ub', '!', '!')],
  [0x14, only66(byMod('pextrb Mb,Vx,Ub', 'pextrb Ey,Vx,Ub'))],
  [0x15, only66(byMod('pextrw Mw,Vx,Ub', 'pextrw Ey,Vx,Ub'))],
  [0x16, only66(byRexW('pextrd Ed,Vx,Ub', 'pextrq Eq,Vx,Ub'))],
  [0x17, only66(byMod('extractps Md,Vx,Ub', 'extractps Ey,Vx,Ub'))],
  [0x20, only66(byMod('pinsrb Vx,Mb,Ub', 'pinsrb Vx,Ed,Ub'))],
  [0x21, only66('insertps Vx,Wd,Ub')],
  [0x22, only66(byRexW('pinsrd Vx,Ed,Ub', 'pinsrq Vx,Eq,Ub'))],
  [0x40, only66('dpps Vx,Wx,Ub')],
  [0x41, only66('dppd Vx,Wx,Ub')],
  [0x42, only66('mpsadbw Vx,Wx,Ub')],
];

/** 256 cells of a map, `known` where it says something. */
export function fillMap(known: Table, otherwise: Cell): Cell[] {
  return fillIn(known, times(256, otherwise));
}

/** A map with the cells of `known` in the place of its own. */
export function fillIn(known: Table, cells: readonly Cell[]): Cell[] {
  const byOpcode = new Map(known);
  return cells.map((cell, opcode) => byOpcode.get(opcode) ?? cell);
}
