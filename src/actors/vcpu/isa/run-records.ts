/**
 * The loop that runs records one after the other. Hot forms have their bodies in the loop itself, all others are called:
 *
 *   next:     switch (record's handler)            hot forms come first, so their index is the handler's
 *               body, body, …                      → next, or one of the parts below
 *   resolve:  a branch without a link              → check
 *   enter:    count its entry, charge the block    → next, handler when it is hot, or out
 *   handler:  call the record's handler            → check
 *   check:    a record?                            → next, or out
 */
import { Variable } from './code.ts';
import type { Helpers } from './core-helpers.ts';
import { FORMS, type Form, HOT_FORMS } from './forms.ts';
import { HotEmitter, LoopEmitter, type LoopParts } from './hot-emitter.ts';
import { emitInstruction } from './semantics.ts';
import { UOP } from './uop.ts';
import { type FunctionBody, I32, I64, type ModuleBuilder } from './wasm-module.ts';

export interface Run {
  /** (record, cpu): one record after the other, until a body or a handler leaves. */
  readonly fn: FunctionBody;
  /** Forms whose handlers are never called: their bodies always come to an end. */
  readonly selfContained: ReadonlySet<Form>;
}

/** Writes the loop. */
export function buildRun(module: ModuleBuilder, helpers: Helpers): Run {
  const fn = module.function([I32, I32], []);
  const record = new Variable(fn, I32, 0);
  const cpu = new Variable(fn, I32, 1);
  const next = fn.loop();
  const check = fn.block();
  const handler = fn.block();
  const enter = fn.block();
  const resolve = fn.block();
  const parts: LoopParts = {
    next,
    check,
    handler,
    enter,
    resolve,
    record,
    start: new Variable(fn, I32, fn.local(I32)),
    rip: new Variable(fn, I64, fn.local(I64)),
    link: new Variable(fn, I32, fn.local(I32)),
  };

  // For the loop's own code, whatever the form.
  const e = new LoopEmitter(fn, FORMS[0]!, helpers, parts);
  const index = e.load(I32, 2, record, UOP.at.HANDLER);
  const hot = FORMS.slice(0, HOT_FORMS);
  const selfContained = new Set<Form>();
  const bodies = hot.map(() => fn.block()).reverse();
  index.put();
  fn.jumpTable(bodies, handler);
  for (const form of hot) {
    fn.end();
    const body = new HotEmitter(fn, form, helpers, parts);
    fn.scope(() => (form.op === 'blockstart' ? body.enterBlock(record) : emitInstruction(body)));
    if (!body.givesUp) selfContained.add(form);
  }

  fn.end(); // resolve
  e.return(e.call(I32, helpers.resolve, record, cpu, parts.rip, parts.link));
  fn.end(); // enter
  fn.scope(() => e.enter(parts.start));
  fn.end(); // handler
  record.put();
  cpu.put();
  index.put();
  fn.callIndirect(module.type([I32, I32], [I32]));
  fn.set(record.local);
  fn.end(); // check
  record.geS(0).put();
  fn.jumpIf(next);
  fn.end();
  return { fn, selfContained };
}
