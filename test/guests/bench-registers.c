/*
 * Benchmark: register arithmetic in a tight loop, no memory. One round is 1000 steps.
 * run:    -smp 1 -m 4M
 * expect: exit 0, console "begin", "@REGISTERS@"
 * Every vCPU does the same work.
 */
#include "bench.h"

u32 bench_rounds = 2000;

int main(unsigned index, unsigned count) {
  u64 x = 0x9e3779b97f4a7c15, a = 1, b = 2, c = 3;
  u32 rounds = bench_begin(index, count);
  for (u32 round = 0; round < rounds; round++) {
    for (u32 step = 0; step < 1000; step++) {
      x ^= x << 13;
      x ^= x >> 7;
      x ^= x << 17;
      a += x;
      b = (b << 5 | b >> 59) ^ a;
      c = c * 0x2545f4914f6cdd1d + (b & 0xffff);
    }
  }
  return bench_end(index, count, x ^ a ^ b ^ c);
}
