/*
 * Benchmark: register arithmetic in a tight loop, no memory. One round is 1000 steps.
 * run:    -smp 1 -m 4M
 * expect: exit 0, console "@REGISTERS@"
 * Every vCPU does the same work; vCPU 0 prints.
 */
#include "guest.h"

/* The loader may set this before the first instruction. */
u32 bench_rounds = 2000;

int main(unsigned index, unsigned count) {
  (void)count;
  u64 x = 0x9e3779b97f4a7c15, a = 1, b = 2, c = 3;
  u32 rounds = *(volatile u32 *)&bench_rounds;
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
  if (index == 0) put_checksum(x ^ a ^ b ^ c);
  return 0;
}
