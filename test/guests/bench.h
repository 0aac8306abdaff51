/*
 * What the benchmark guests share. On the console, vCPU 0 says "begin" when the measured part begins, "lap NAME COUNT"
 * after each part that is measured alone, and a checksum of all vCPUs' work when all have done theirs.
 */
#ifndef BENCH_H
#define BENCH_H

#include "guest.h"

/* How often the work is done. The loader may set it before the first instruction. */
extern u32 bench_rounds;

/* The checksums of the vCPUs, each on a cache line of its own. */
static struct {
  u64 checksum;
  u8 rest_of_line[56];
} bench_parts[VCPU_LIMIT];

static void bench_put(const char *text) {
  while (*text) debug_put(*text++);
}

/* Returns when every vCPU has called it. */
static void bench_meet(unsigned count) {
  static u32 here;
  u32 turn = __atomic_fetch_add(&here, 1, __ATOMIC_SEQ_CST) / count + 1;
  while (__atomic_load_n(&here, __ATOMIC_SEQ_CST) < turn * count) __builtin_ia32_pause();
}

static u32 bench_begin(unsigned index, unsigned count) {
  bench_meet(count);
  if (index == 0) bench_put("begin\n");
  bench_meet(count);
  return *(volatile u32 *)&bench_rounds;
}

static int bench_end(unsigned index, unsigned count, u64 checksum) {
  bench_parts[index].checksum = checksum;
  bench_meet(count);
  if (index > 0) return 0;
  u64 sum = 0;
  for (unsigned vcpu = 0; vcpu < count; vcpu++) sum += bench_parts[vcpu].checksum;
  put_checksum(sum);
  return 0;
}

/* A random number of 32 bits (xorshift), the same for the same state everywhere. */
static inline u32 bench_random(u32 *state) {
  u32 x = *state;
  x ^= x << 13;
  x ^= x >> 17;
  x ^= x << 5;
  return *state = x;
}

#endif
