/** Structured control flow and shared locals of the module writer, run by the engine. */
import test from 'ava';
import { Code } from '../../../src/actors/vcpu/isa/code.ts';
import { type FunctionBody, I32, I64, ModuleBuilder } from '../../../src/actors/vcpu/isa/wasm-module.ts';

function compile(write: (fn: FunctionBody, code: Code) => void): (input: number) => number {
  const module = new ModuleBuilder();
  const fn = module.function([I32], [I32]);
  write(fn, new Code(fn));
  module.table([fn.index]);
  module.export('f', fn);
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const compiled = new WebAssembly.Module(module.encode({ module: 'm', name: 'memory', min: 1, max: 1 }));
  return new WebAssembly.Instance(compiled, { m: { memory } }).exports['f'] as (input: number) => number;
}

test('a jump table goes to its labels, past their end to the other, from any depth', (t) => {
  const f = compile((fn, code) => {
    const input = code.parameter(0, I32);
    const result = code.variable(code.i32(0));
    const done = fn.block();
    const otherwise = fn.block();
    const two = fn.block();
    const one = fn.block();
    const zero = fn.block();
    input.put();
    fn.jumpTable([zero, one, two], otherwise);
    for (const value of [10, 11, 12]) {
      fn.end();
      result.assign(code.i32(value));
      code.if(input.geS(0), () => fn.jump(done));
      code.unreachable();
    }
    fn.end();
    result.assign(code.i32(13));
    fn.end();
    result.put();
  });
  t.deepEqual([0, 1, 2, 3, -1].map(f), [10, 11, 12, 13, 13]);
});

test('a loop runs until nobody jumps to its head', (t) => {
  const f = compile((fn, code) => {
    const left = code.variable(code.parameter(0, I32));
    const sum = code.variable(code.i32(0));
    const head = fn.loop();
    sum.assign(sum.add(left));
    left.assign(left.sub(1));
    left.put();
    fn.jumpIf(head);
    fn.end();
    sum.put();
  });
  t.is(f(10), 55);
});

test('scopes share their locals, and no local outside of them', (t) => {
  const module = new ModuleBuilder();
  const fn = module.function([I32], []);
  const outside = fn.local(I32);
  const taken: number[][] = [];
  for (let n = 0; n < 3; n++) fn.scope(() => taken.push([fn.local(I32), fn.local(I64), fn.local(I32)]));
  t.deepEqual(taken[1], taken[0]);
  t.deepEqual(taken[2], taken[0]);
  t.is(new Set([outside, fn.local(I32), ...taken[0]!]).size, 5);
});
