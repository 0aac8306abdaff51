/*
 * Benchmark: multiplication of matrices of doubles and of floats in SSE2, a vector at a time. One round is a product of
 * two matrices of 32 by 32 of each.
 * run:    -smp 1 -m 4M
 * expect: exit 0, console "begin", "@SSE@"
 * flags:  -msse2 -mfpmath=sse
 * Every vCPU does the same work in matrices of its own.
 */
#include "bench.h"

u32 bench_rounds = 2;

#define SIDE 32

typedef double doubles __attribute__((vector_size(16)));
typedef float floats __attribute__((vector_size(16)));

static struct {
  doubles a[SIDE][SIDE / 2], b[SIDE][SIDE / 2], product[SIDE][SIDE / 2];
  floats fa[SIDE][SIDE / 4], fb[SIDE][SIDE / 4], fproduct[SIDE][SIDE / 4];
} matrices[VCPU_LIMIT];

__attribute__((noinline)) static void multiply(doubles (*a)[SIDE / 2], doubles (*b)[SIDE / 2], doubles (*product)[SIDE / 2]) {
  for (int i = 0; i < SIDE; i++) {
    const double *row = (const double *)a[i];
    for (int j = 0; j < SIDE / 2; j++) {
      doubles sum = {0, 0};
      for (int k = 0; k < SIDE; k++) sum += row[k] * b[k][j];
      product[i][j] = sum;
    }
  }
}

__attribute__((noinline)) static void fmultiply(floats (*a)[SIDE / 4], floats (*b)[SIDE / 4], floats (*product)[SIDE / 4]) {
  for (int i = 0; i < SIDE; i++) {
    const float *row = (const float *)a[i];
    for (int j = 0; j < SIDE / 4; j++) {
      floats sum = {0, 0, 0, 0};
      for (int k = 0; k < SIDE; k++) sum += row[k] * b[k][j];
      product[i][j] = sum;
    }
  }
}

/* As a program of the host, main has another name, and the host has done this. */
static void enable_sse(void) {
#ifndef main
  unsigned long cr4;
  __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
  __asm__ volatile("mov %0, %%cr4" ::"r"(cr4 | 3 << 9)); /* OSFXSR, OSXMMEXCPT */
#endif
}

static u64 bits_of(double value) {
  union {
    double value;
    u64 bits;
  } both = {value};
  return both.bits;
}

int main(unsigned index, unsigned count) {
  enable_sse();
  double *a = (double *)matrices[index].a, *b = (double *)matrices[index].b;
  const double *product = (const double *)matrices[index].product;
  float *fa = (float *)matrices[index].fa, *fb = (float *)matrices[index].fb;
  const float *fproduct = (const float *)matrices[index].fproduct;
  u32 seed = 0x5eed;
  for (int i = 0; i < SIDE * SIDE; i++) {
    a[i] = (int)(bench_random(&seed) & 0xffff) / 65536.0;
    b[i] = (int)(bench_random(&seed) & 0xffff) / 65536.0;
    fa[i] = (float)a[i];
    fb[i] = (float)b[i];
  }
  u32 rounds = bench_begin(index, count);
  u64 sum = 0;
  for (u32 round = 0; round < rounds; round++) {
    multiply(matrices[index].a, matrices[index].b, matrices[index].product);
    fmultiply(matrices[index].fa, matrices[index].fb, matrices[index].fproduct);
    u32 at = round * 37 % (SIDE * SIDE);
    sum = sum * 31 + bits_of(product[at] + (double)fproduct[at]);
    a[at] = product[at] / SIDE;
    fa[at] = fproduct[at] / SIDE;
  }
  return bench_end(index, count, sum);
}
