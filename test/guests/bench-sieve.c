/*
 * Benchmark: byte stores with a stride, byte loads in order. One round finds the primes below 65536.
 * run:    -smp 1 -m 4M
 * expect: exit 0, console "begin", "@SIEVE@"
 * Every vCPU does the same work in a table of its own.
 */
#include "bench.h"

#define LIMIT 65536

u32 bench_rounds = 20;

static u8 composite[VCPU_LIMIT][LIMIT];

static u32 sieve(u8 *table) {
  u32 primes = 0;
  for (u32 i = 0; i < LIMIT; i++) table[i] = 0;
  for (u32 i = 2; i < LIMIT; i++) {
    if (table[i]) continue;
    primes++;
    for (u64 k = (u64)i * i; k < LIMIT; k += i) table[k] = 1;
  }
  return primes;
}

int main(unsigned index, unsigned count) {
  u64 sum = 0;
  u32 rounds = bench_begin(index, count);
  for (u32 round = 0; round < rounds; round++) sum = sum * 31 + sieve(composite[index]);
  return bench_end(index, count, sum);
}
