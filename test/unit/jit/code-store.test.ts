/** Which compiled code is kept: by the pages it was made from, and by use when there is too much. */
import test from 'ava';
import { Core, compileCore } from '../../../src/actors/vcpu/isa/core.ts';
import { START, UOP } from '../../../src/actors/vcpu/isa/uop.ts';
import { CodeStore } from '../../../src/actors/vcpu/jit/code-store.ts';
import { Mem, sharedMemory } from '../../../src/shared/mem.ts';

const INTERPRETED = { handler: 7, heat: 100 };

function storeOf(): { store: CodeStore; mem: Mem; core: Core; add: (page: number, start: number) => number } {
  const mem = new Mem(sharedMemory(1 << 20));
  const core = new Core(compileCore(), mem);
  const store = new CodeStore(mem, core.table, INTERPRETED);
  const add = (page: number, start: number): number => {
    const handler = store.reserve();
    const region = {
      handler,
      pages: [page],
      starts: [start],
      loops: new Set<number>(),
      bytes: 1000,
      insns: 1,
    };
    store.install(region, core.table.get(0) as CallableFunction);
    return handler;
  };
  return { store, mem, core, add };
}

const handlerOf = (mem: Mem, start: number): number => mem.u16[(start + UOP.at.HANDLER) >>> 1]!;

test('start records lead to what was installed last, and back to the interpreter when it goes', (t) => {
  const { store, mem, core, add } = storeOf();
  const first = add(1, 0x1000);
  t.is(handlerOf(mem, 0x1000), first);
  t.true(mem.i32[(0x1000 + START.HEAT) >>> 2]! < 0);
  const second = add(2, 0x1000);
  t.is(handlerOf(mem, 0x1000), second);
  // The first one is not what the record leads to any more.
  store.dropPage(1);
  t.is(handlerOf(mem, 0x1000), second);
  store.dropPage(2);
  t.is(handlerOf(mem, 0x1000), INTERPRETED.handler);
  t.is(mem.i32[(0x1000 + START.HEAT) >>> 2], INTERPRETED.heat);
  t.is(store.count, 0);
  t.is(core.table.get(first), null);
});

test('what has been entered lately is kept, the rest makes room, and places in the table are used again', (t) => {
  const { store, mem, core, add } = storeOf();
  const starts = Array.from({ length: 50 }, (_, index) => 0x1000 + index * UOP.bytes);
  for (const [index, start] of starts.entries()) {
    add(index, start);
    mem.i32[(start + START.USED) >>> 2] = index % 2;
  }
  t.is(store.bytes, 50_000);
  store.shrink(25_000);
  t.deepEqual(
    starts.map((start) => handlerOf(mem, start) !== INTERPRETED.handler),
    starts.map((_, index) => index % 2 === 1),
  );
  // Nothing has been entered since it was asked: the oldest go.
  store.shrink(5_000);
  t.is(store.count, 5);
  t.true(handlerOf(mem, starts.at(-1)!) !== INTERPRETED.handler);
  const { length } = core.table;
  for (let turn = 0; turn < 1000; turn++) {
    add(100 + turn, 0x8000);
    store.shrink(5_000);
  }
  t.is(core.table.length, length);
  t.true(store.bytes <= 5_000);
});
