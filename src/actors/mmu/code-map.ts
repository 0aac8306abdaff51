/**
 * The code map: which RAM pages have decoded code made from them, in any vCPU, and how often that code was voided.
 *
 * One int32 for each RAM page:
 *
 *   31                     1      0
 *   ┌───────────────────────┬──────────┐
 *   │ version               │ HAS_CODE │
 *   └───────────────────────┴──────────┘
 *
 *   even ── a vCPU decodes from the page ──▶ odd: every write TLB entry is flushed, so that stores are seen
 *   odd ─── a store, by anybody ───────────▶ even, next version: every vCPU drops code of older versions
 *
 * Rules
 *   decoder   calls markCodePage *before* it reads the bytes, and keeps the version with what it made of them
 *   filler    enters a page in a write TLB only if mayWriteDirectly says so, asked in READING_TABLES mode: a waited
 *             flush that began before the answer then waits for it, and one that begins later empties the entry
 *   storer    that goes around the TLB (emulation, the introspector) calls codePageWritten *after* its store
 *   everyone  on REQ_CODE_FLUSH drops blocks whose version is not that of the map any more
 *
 * A change of a word and the flush that belongs to it are two steps. CODE_FLUX counts the threads between them: who
 * finds a word as it likes it, but the count not 0, cannot rely on that flush being over and does one of its own.
 */
import { REQ_CODE_FLUSH, REQ_TLB_FLUSH } from '../../shared/layout/vcpu.ts';
import type { Actor } from '../../shared/sync/actor.ts';
import { type Path, reading, updating } from '../../shared/sync/point.ts';
import { makeRequest, requestAll } from './requests.ts';
import type { Vm } from './vm.ts';

export const HAS_CODE = 1;

/** Address of the word of RAM page `ramPage`. */
export function codeWord(vm: Vm, ramPage: number): number {
  return vm.layout.codeMap + 4 * ramPage;
}

/** Version of a RAM page's code now. */
export function codeVersion(vm: Vm, ramPage: number): number {
  return vm.mem.load(codeWord(vm, ramPage)) >>> 1;
}

/**
 * Something was stored to a RAM page: voids all code decoded from it. Costs two atomic operations when there is none.
 *
 * @param except  the vCPU whose thread calls; it is told, not waited for, and drops its blocks before it enters the
 *                guest again. −1 when the caller is no vCPU
 * @locking waits for acknowledgements: the calling vCPU is outside guest mode and holds no lock but kvm.srcu
 */
export function* codePageWritten(actor: Actor, vm: Vm, ramPage: number, except: number): Path<void> {
  const { mem } = vm;
  const word = codeWord(vm, ramPage);
  yield updating(word);
  // ORDER: the store before the look, so the look is a read-modify-write. Pairs with the one in markCodePage: either
  // we see the flag, or the decoder sees the store.
  let seen = mem.or(word, 0);
  if ((seen & HAS_CODE) === 0) {
    yield reading(vm.word('CODE_FLUX'));
    if (mem.load(vm.word('CODE_FLUX')) !== 0) yield* flush(actor, vm, REQ_CODE_FLUSH, except);
    return;
  }
  yield updating(vm.word('CODE_FLUX'));
  mem.add(vm.word('CODE_FLUX'), 1);
  while ((seen & HAS_CODE) !== 0) {
    yield updating(word);
    const found = mem.cas(word, seen, (seen + 1) | 0);
    if (found === seen) break;
    seen = found;
  }
  yield* flush(actor, vm, REQ_CODE_FLUSH, except);
  yield updating(vm.word('CODE_FLUX'));
  mem.add(vm.word('CODE_FLUX'), -1);
}

/**
 * Code is about to be decoded from a RAM page: from now on no store to it goes unnoticed.
 *
 * @param except  the vCPU that decodes; its own write TLB entries go before it enters the guest again
 * @returns       the version to keep with what is decoded
 * @locking       as {@link codePageWritten}
 */
export function* markCodePage(actor: Actor, vm: Vm, ramPage: number, except: number): Path<number> {
  const { mem } = vm;
  const word = codeWord(vm, ramPage);
  yield reading(word);
  let seen = mem.load(word);
  if ((seen & HAS_CODE) !== 0) {
    yield reading(vm.word('CODE_FLUX'));
    if (mem.load(vm.word('CODE_FLUX')) !== 0) yield* flush(actor, vm, REQ_TLB_FLUSH, except);
    return seen >>> 1;
  }
  yield updating(vm.word('CODE_FLUX'));
  mem.add(vm.word('CODE_FLUX'), 1);
  for (;;) {
    yield updating(word);
    const found = mem.cas(word, seen, seen | HAS_CODE);
    if (found === seen) break;
    seen = found;
  }
  yield* flush(actor, vm, REQ_TLB_FLUSH, except);
  yield updating(vm.word('CODE_FLUX'));
  mem.add(vm.word('CODE_FLUX'), -1);
  return seen >>> 1;
}

/**
 * May a vCPU store to this RAM page without telling anybody? Asked in READING_TABLES mode, right before the entry is
 * made.
 */
export function* mayWriteDirectly(vm: Vm, ramPage: number): Path<boolean> {
  const { mem } = vm;
  const word = codeWord(vm, ramPage);
  // ORDER: word before flux. A storer raises the flux, then clears the flag: whoever sees it cleared sees the flux.
  yield reading(word);
  if ((mem.load(word) & HAS_CODE) !== 0) return false;
  yield reading(vm.word('CODE_FLUX'));
  return mem.load(vm.word('CODE_FLUX')) === 0;
}

function* flush(actor: Actor, vm: Vm, bits: number, except: number): Path<void> {
  yield* requestAll(actor, vm, { bits, wait: true, except });
  if (except >= 0) yield* makeRequest(vm, except, bits);
}
