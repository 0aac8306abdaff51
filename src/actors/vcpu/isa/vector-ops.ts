/**
 * The MMX and SSE instructions that the generated core executes, by Intel's mnemonics. What each does stands in
 * vector-semantics.ts and float-semantics.ts.
 */
// biome-ignore format: table
export const VECTOR_OPS = [
  'movups', 'movupd', 'movss', 'movsd', 'movlps', 'movhlps', 'movlpd', 'movsldup', 'movddup', 'unpcklps',
  'unpcklpd', 'unpckhps', 'unpckhpd', 'movhps', 'movlhps', 'movhpd', 'movshdup', 'movaps', 'movapd', 'movntps',
  'movntpd', 'movmskps', 'movmskpd', 'andps', 'andpd', 'andnps', 'andnpd', 'orps', 'orpd', 'xorps', 'xorpd',
  'punpcklbw', 'punpcklwd', 'punpckldq', 'packsswb', 'pcmpgtb', 'pcmpgtw', 'pcmpgtd', 'packuswb', 'punpckhbw',
  'punpckhwd', 'punpckhdq', 'packssdw', 'punpcklqdq', 'punpckhqdq', 'movd', 'movq', 'movdqa', 'movdqu',
  'pshufw', 'pshufd', 'pshufhw', 'pshuflw', 'psrlw', 'psraw', 'psllw', 'psrld', 'psrad', 'pslld', 'psrlq',
  'psrldq', 'psllq', 'pslldq', 'pcmpeqb', 'pcmpeqw', 'pcmpeqd', 'emms', 'pinsrw', 'pextrw', 'shufps', 'shufpd',
  'paddq', 'pmullw', 'movq2dq', 'movdq2q', 'pmovmskb', 'psubusb', 'psubusw', 'pminub', 'pand', 'paddusb',
  'paddusw', 'pmaxub', 'pandn', 'pavgb', 'pavgw', 'pmulhuw', 'pmulhw', 'movntq', 'movntdq', 'psubsb', 'psubsw',
  'pminsw', 'por', 'paddsb', 'paddsw', 'pmaxsw', 'pxor', 'lddqu', 'pmuludq', 'pmaddwd', 'psadbw',
  'psubb', 'psubw', 'psubd', 'psubq', 'paddb', 'paddw', 'paddd', 'pshufb', 'phaddw', 'phaddd',
  'phaddsw', 'pmaddubsw', 'phsubw', 'phsubd', 'phsubsw', 'psignb', 'psignw', 'psignd', 'pmulhrsw', 'pblendvb',
  'blendvps', 'blendvpd', 'ptest', 'pabsb', 'pabsw', 'pabsd', 'pmovsxbw', 'pmovsxbd', 'pmovsxbq', 'pmovsxwd',
  'pmovsxwq', 'pmovsxdq', 'pmuldq', 'pcmpeqq', 'movntdqa', 'packusdw', 'pmovzxbw', 'pmovzxbd', 'pmovzxbq',
  'pmovzxwd', 'pmovzxwq', 'pmovzxdq', 'pcmpgtq', 'pminsb', 'pminsd', 'pminuw', 'pminud', 'pmaxsb', 'pmaxsd',
  'pmaxuw', 'pmaxud', 'pmulld', 'phminposuw', 'blendps', 'blendpd', 'pblendw', 'palignr', 'pextrb', 'pextrd',
  'pextrq', 'extractps', 'pinsrb', 'insertps', 'pinsrd', 'pinsrq', 'mpsadbw',
  // Floats.
  'addps', 'addpd', 'addss', 'addsd', 'subps', 'subpd', 'subss', 'subsd', 'mulps', 'mulpd', 'mulss', 'mulsd',
  'divps', 'divpd', 'divss', 'divsd', 'minps', 'minpd', 'minss', 'minsd', 'maxps', 'maxpd', 'maxss', 'maxsd',
  'sqrtps', 'sqrtpd', 'sqrtss', 'sqrtsd', 'rcpps', 'rcpss', 'rsqrtps', 'rsqrtss', 'cmpps', 'cmppd', 'cmpss',
  'cmpsd', 'roundps', 'roundpd', 'roundss', 'roundsd', 'haddps', 'haddpd', 'hsubps', 'hsubpd', 'addsubps',
  'addsubpd', 'dpps', 'dppd', 'comiss', 'comisd', 'ucomiss', 'ucomisd', 'cvtsi2ss', 'cvtsi2sd', 'cvtss2si',
  'cvtsd2si', 'cvttss2si', 'cvttsd2si', 'cvtss2sd', 'cvtsd2ss', 'cvtps2pd', 'cvtpd2ps', 'cvtdq2ps', 'cvtdq2pd',
  'cvtps2dq', 'cvttps2dq', 'cvtpd2dq', 'cvttpd2dq', 'cvtpi2ps', 'cvtpi2pd', 'cvtps2pi', 'cvttps2pi', 'cvtpd2pi',
  'cvttpd2pi', 'ldmxcsr', 'stmxcsr',
  'pcmpestri', 'pcmpestrm', 'pcmpistri', 'pcmpistrm',
] as const;
export type VectorOp = (typeof VECTOR_OPS)[number];

const VECTOR_SET: ReadonlySet<string> = new Set(VECTOR_OPS);

export function isVectorOp(op: string): op is VectorOp {
  return VECTOR_SET.has(op);
}
