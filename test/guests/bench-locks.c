/*
 * Benchmark: contention for a spinlock (XCHG, with PAUSE while it is held) around a few words that all vCPUs change.
 * One round takes it 100 times on each vCPU.
 * run:    -smp 2 -m 4M
 * expect: exit 0, console "begin", "0000000079478f70"
 */
#include "bench.h"

u32 bench_rounds = 10;

static struct {
  u32 held __attribute__((aligned(64)));
  volatile u64 words[4] __attribute__((aligned(64)));
} shared;

static void lock(void) {
  while (__atomic_exchange_n(&shared.held, 1, __ATOMIC_ACQUIRE)) {
    while (__atomic_load_n(&shared.held, __ATOMIC_RELAXED)) __builtin_ia32_pause();
  }
}

static void unlock(void) { __atomic_store_n(&shared.held, 0, __ATOMIC_RELEASE); }

int main(unsigned index, unsigned count) {
  u32 rounds = bench_begin(index, count);
  u32 seed = index + 1;
  for (u32 round = 0; round < rounds; round++) {
    for (u32 i = 0; i < 100; i++) {
      lock();
      shared.words[0]++;
      shared.words[1] += shared.words[0];
      shared.words[2] ^= shared.words[1];
      shared.words[3] += 3;
      unlock();
      /* Something of its own, so that the other one gets a turn. */
      for (u32 own = 0; own < 8; own++) bench_random(&seed);
    }
  }
  bench_meet(count);
  u64 sum = 0;
  for (int i = 0; i < 4; i++) sum = sum * 31 + shared.words[i];
  return bench_end(index, count, index == 0 ? sum : 0);
}
