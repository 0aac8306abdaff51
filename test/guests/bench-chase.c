/*
 * Benchmark: loads that each depend on the one before, in a random order over 2 MiB: what translating an address costs
 * when nothing hides it. One round is 1000 loads.
 * run:    -smp 1 -m 40M
 * expect: exit 0, console "begin", "@CHASE@"
 * Every vCPU goes through a ring of its own.
 */
#include "bench.h"

u32 bench_rounds = 20;

#define CELLS (2u << 20 >> 2)

static u32 rings[VCPU_LIMIT][CELLS];

int main(unsigned index, unsigned count) {
  u32 *ring = rings[index], seed = 0xace;
  /* One cycle through all cells (Sattolo). */
  for (u32 i = 0; i < CELLS; i++) ring[i] = i;
  for (u32 i = CELLS - 1; i > 0; i--) {
    u32 other = (u32)((u64)bench_random(&seed) * i >> 32), value = ring[i];
    ring[i] = ring[other], ring[other] = value;
  }
  u32 rounds = bench_begin(index, count);
  u32 at = 0;
  u64 sum = 0;
  for (u32 round = 0; round < rounds; round++) {
    for (u32 i = 0; i < 1000; i++) at = ring[at];
    sum = sum * 31 + at;
  }
  return bench_end(index, count, sum);
}
