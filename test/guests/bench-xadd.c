/*
 * Benchmark: locked operations of all vCPUs on the same counters, without a lock: XADD, INC, BTC, and CMPXCHG in a
 * loop. One round does each 100 times on each vCPU.
 * run:    -smp 2 -m 4M
 * expect: exit 0, console "begin", "0000000003aa9170"
 */
#include "bench.h"

u32 bench_rounds = 10;

static struct {
  u64 counter __attribute__((aligned(64)));
} counters[4];

int main(unsigned index, unsigned count) {
  u32 rounds = bench_begin(index, count);
  for (u32 round = 0; round < rounds; round++) {
    for (u32 i = 0; i < 100; i++) {
      u64 value = 1, bit = index;
      __asm__ volatile("lock xaddq %0, %1" : "+r"(value), "+m"(counters[0].counter)::"cc");
      __asm__ volatile("lock incq %0" : "+m"(counters[1].counter)::"cc");
      __asm__ volatile("lock btcq %1, %0" : "+m"(counters[2].counter) : "r"(bit) : "cc");
      u64 seen = *(volatile u64 *)&counters[3].counter;
      while (!__atomic_compare_exchange_n(&counters[3].counter, &seen, seen + 3, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED)) {
      }
    }
  }
  bench_meet(count);
  u64 sum = 0;
  for (int i = 0; i < 4; i++) sum = sum * 31 + counters[i].counter;
  return bench_end(index, count, index == 0 ? sum : 0);
}
