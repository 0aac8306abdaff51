/*
 * Benchmark: calls and returns, half of them by pointers that change, with arguments and stack frames, but little work
 * in between. One round is 1000 chains of calls.
 * run:    -smp 1 -m 4M
 * expect: exit 0, console "begin", "@CALLS@"
 * Every vCPU does the same work.
 */
#include "bench.h"

u32 bench_rounds = 20;

#define CALLED __attribute__((noinline, noclone, optimize("no-optimize-sibling-calls")))

CALLED static u32 leaf(u32 a, u32 b) { return (a ^ b) + (a >> 3); }
CALLED static u32 nest3(u32 a, u32 b) { return leaf(a + 1, b) + leaf(b, a); }
CALLED static u32 nest2(u32 a, u32 b) { return nest3(a, b ^ 7) ^ a; }
CALLED static u32 nest1(u32 a, u32 b) { return nest2(b, a) + b; }
CALLED static u32 add(u32 a, u32 b) { return a + b; }
CALLED static u32 subtract(u32 a, u32 b) { return a - b; }
CALLED static u32 multiply(u32 a, u32 b) { return a * (b | 1); }
CALLED static u32 turn(u32 a, u32 b) { return a << 5 | (a + b) >> 27; }

typedef u32 (*function)(u32, u32);
static const function FUNCTIONS[8] = {add, nest1, subtract, leaf, multiply, nest2, turn, nest3};

int main(unsigned index, unsigned count) {
  u32 rounds = bench_begin(index, count);
  u32 a = 1, b = 2;
  u64 sum = 0;
  for (u32 round = 0; round < rounds; round++) {
    for (u32 chain = 0; chain < 1000; chain++) {
      a = nest1(a, chain);
      b = FUNCTIONS[chain & 7](b, a);
      b = FUNCTIONS[(chain * 5 >> 2) & 7](a, b);
    }
    sum = sum * 31 + (a ^ b);
  }
  return bench_end(index, count, sum);
}
