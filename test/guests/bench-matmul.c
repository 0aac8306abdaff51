/*
 * Benchmark: multiplication of integer matrices: loads with a stride, multiplications, additions. One round is a
 * product of two matrices of 48 by 48.
 * run:    -smp 1 -m 4M
 * expect: exit 0, console "begin", "@MATMUL@"
 * Every vCPU does the same work in matrices of its own.
 */
#include "bench.h"

u32 bench_rounds = 2;

#define SIDE 48

static u32 matrices[VCPU_LIMIT][3][SIDE][SIDE];

__attribute__((noinline)) static void multiply(u32 (*a)[SIDE], u32 (*b)[SIDE], u32 (*product)[SIDE]) {
  for (int i = 0; i < SIDE; i++) {
    for (int j = 0; j < SIDE; j++) {
      u32 sum = 0;
      for (int k = 0; k < SIDE; k++) sum += a[i][k] * b[k][j];
      product[i][j] = sum;
    }
  }
}

int main(unsigned index, unsigned count) {
  u32 (*a)[SIDE] = matrices[index][0], (*b)[SIDE] = matrices[index][1], (*product)[SIDE] = matrices[index][2];
  u32 seed = 0x5eed;
  for (int i = 0; i < SIDE; i++) {
    for (int j = 0; j < SIDE; j++) {
      a[i][j] = bench_random(&seed);
      b[i][j] = bench_random(&seed);
    }
  }
  u32 rounds = bench_begin(index, count);
  u64 sum = 0;
  for (u32 round = 0; round < rounds; round++) {
    multiply(a, b, product);
    sum = sum * 31 + product[round % SIDE][round * 7 % SIDE];
    a[round % SIDE][round * 5 % SIDE] = product[round * 3 % SIDE][round % SIDE];
  }
  return bench_end(index, count, sum);
}
