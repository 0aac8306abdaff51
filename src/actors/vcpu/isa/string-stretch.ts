/**
 * Many iterations of REP MOVS and REP STOS at a time: as many as lie in one page on each side, upwards, and where copying
 * at once comes to the same as copying one by one.
 */
import { ACCESS_R, ACCESS_W } from '../../../shared/layout/cpu.ts';
import { RAX, RCX, RDI, RSI } from '../../../shared/x86/registers.ts';
import { RFLAGS_DF } from '../../../shared/x86/rflags.ts';
import type { Value } from './code.ts';
import type { Emitter, Stretch } from './emitter.ts';

/** An emitter whose guest memory is reached through the soft TLB. */
export interface TlbEmitter extends Emitter {
  /** Where `address` is, if the TLB has it: `hit` is i32 0 or 1. The access must lie in one page. */
  probe(address: Value, access: number): { readonly hit: Value; readonly host: Value };
}

/** Fewer are done one by one. */
const ITERATIONS_MIN = 8;
const PAGE_BYTES = 4096;

/** Does them, with their registers committed. @returns how many (i32), 0 where none could be */
export function moveStretch(e: TlbEmitter, stretch: Stretch): Value {
  const shift = Math.log2(e.form.size);
  const to = e.addressRegister(RDI);
  const from = stretch === 'copy' ? e.addressRegister(RSI) : null;
  const source = from === null ? null : e.let(from.add(e.segmentBase()));
  const room = (address: Value): Value =>
    e.let(
      e
        .i32(PAGE_BYTES)
        .sub(address.low().and(PAGE_BYTES - 1))
        .shrU(shift),
    );
  const least = (a: Value, b: Value): Value => e.let(e.select(a.ltU(b), a, b));
  const count = e.addressRegister(RCX);
  let fits = room(to);
  if (source !== null) fits = least(fits, room(source));
  const iterations = e.let(e.select(count.ltU(fits.wide()), count.low(), fits));
  const moved = e.variable(e.i32(0));
  const up = e.systemFlags().and(RFLAGS_DF).isZero();
  e.if(up.and(iterations.geU(ITERATIONS_MIN)), () => {
    const bytes = e.let(iterations.shl(shift));
    const written = e.probe(to, ACCESS_W);
    const read = source === null ? null : e.probe(source, ACCESS_R);
    let may = written.hit;
    if (read !== null) {
      // What is stored must not be read later on.
      may = e.let(may.and(read.hit).and(written.host.sub(read.host).geU(bytes)));
    }
    e.if(may, () => {
      if (read !== null) copy(e, written.host, read.host, bytes);
      else fill(e, written.host, bytes);
      const step = bytes.wide();
      if (from !== null) e.setAddressRegister(RSI, from.add(step));
      e.setAddressRegister(RDI, to.add(step));
      e.setAddressRegister(RCX, count.sub(iterations.wide()));
      moved.assign(iterations);
    });
  });
  return moved;
}

function copy(e: TlbEmitter, to: Value, from: Value, bytes: Value): void {
  for (const value of [to, from, bytes]) value.put();
  e.fn.memoryCopy();
}

function fill(e: TlbEmitter, to: Value, bytes: Value): void {
  const { size } = e.form;
  const value = e.register(RAX, size);
  if (size === 1) {
    for (const each of [to, value.low(), bytes]) each.put();
    e.fn.memoryFill();
    return;
  }
  const at = e.variable(to);
  const end = e.let(to.add(bytes));
  e.loopWhile(() => {
    e.store(size, at, 0, value);
    at.assign(at.add(size));
    return at.ltU(end);
  });
}
