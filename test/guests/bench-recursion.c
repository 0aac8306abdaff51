/*
 * Benchmark: calls, returns and stack traffic. One round is fib(20), by definition and without memory.
 * run:    -smp 1 -m 4M
 * expect: exit 0, console "begin", "@RECURSION@"
 * Every vCPU does the same work.
 */
#include "bench.h"

u32 bench_rounds = 50;

/* No inlining and no tail calls, else the compiler turns most calls into a loop. */
__attribute__((noinline, noclone, optimize("no-optimize-sibling-calls"))) static u64 fib(u64 n) {
  return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

int main(unsigned index, unsigned count) {
  u64 sum = 0;
  u32 rounds = bench_begin(index, count);
  for (u32 round = 0; round < rounds; round++) sum = sum * 31 + fib(20);
  return bench_end(index, count, sum);
}
