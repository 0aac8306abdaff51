/*
 * Benchmark: calls, returns and stack traffic. One round is fib(20), by definition and without memory.
 * run:    -smp 1 -m 4M
 * expect: exit 0, console "@RECURSION@"
 * Every vCPU does the same work; vCPU 0 prints.
 */
#include "guest.h"

/* The loader may set this before the first instruction. */
u32 bench_rounds = 50;

/* No inlining and no tail calls, else the compiler turns most calls into a loop. */
__attribute__((noinline, noclone, optimize("no-optimize-sibling-calls"))) static u64 fib(u64 n) {
  return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

int main(unsigned index, unsigned count) {
  (void)count;
  u64 sum = 0;
  u32 rounds = *(volatile u32 *)&bench_rounds;
  for (u32 round = 0; round < rounds; round++) sum = sum * 31 + fib(20);
  if (index == 0) put_checksum(sum);
  return 0;
}
