/*
 * Benchmark: quicksort with a comparison function behind a pointer, as in the C library: branches that nobody can
 * predict, indirect calls, loads and stores. One round sorts 1000 random numbers.
 * run:    -smp 1 -m 4M
 * expect: exit 0, console "begin", "@QSORT@"
 * Every vCPU does the same work in an array of its own.
 */
#include "bench.h"

u32 bench_rounds = 4;

#define ITEMS 1000

typedef int (*comparison)(const u32 *, const u32 *);

static int ascending(const u32 *a, const u32 *b) { return *a < *b ? -1 : *a > *b; }
static int by_low_half(const u32 *a, const u32 *b) {
  u32 x = *a << 16 | *a >> 16, y = *b << 16 | *b >> 16;
  return x < y ? -1 : x > y;
}
static const volatile comparison COMPARISONS[2] = {ascending, by_low_half};

static inline void swap(u32 *a, u32 *b) {
  u32 value = *a;
  *a = *b, *b = value;
}

__attribute__((noinline)) static void sort(u32 *items, int count, comparison compare) {
  while (count > 8) {
    swap(&items[0], &items[count / 2]);
    int low = 1, high = count - 1;
    for (;;) {
      while (low <= high && compare(&items[low], &items[0]) < 0) low++;
      while (low <= high && compare(&items[high], &items[0]) > 0) high--;
      if (low >= high) break;
      swap(&items[low++], &items[high--]);
    }
    swap(&items[0], &items[high]);
    /* The smaller part by recursion, so that the stack stays short. */
    if (high < count - high - 1) {
      sort(items, high, compare);
      items += high + 1, count -= high + 1;
    } else {
      sort(items + high + 1, count - high - 1, compare);
      count = high;
    }
  }
  for (int i = 1; i < count; i++) {
    for (int k = i; k > 0 && compare(&items[k - 1], &items[k]) > 0; k--) swap(&items[k - 1], &items[k]);
  }
}

static u32 arrays[VCPU_LIMIT][ITEMS];

int main(unsigned index, unsigned count) {
  u32 rounds = bench_begin(index, count);
  u32 *items = arrays[index], seed = 0xfau;
  u64 sum = 0;
  for (u32 round = 0; round < rounds; round++) {
    for (int i = 0; i < ITEMS; i++) items[i] = bench_random(&seed);
    comparison compare = COMPARISONS[round & 1];
    sort(items, ITEMS, compare);
    for (int i = 1; i < ITEMS; i++) {
      if (compare(&items[i - 1], &items[i]) > 0) return 1;
    }
    sum = sum * 31 + (items[0] ^ items[ITEMS / 2] ^ items[ITEMS - 1]);
  }
  return bench_end(index, count, sum);
}
