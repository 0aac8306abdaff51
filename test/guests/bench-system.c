/*
 * What single events cost, each in a lap of its own: loads that the TLB holds, and loads that it cannot hold (their
 * difference is a TLB miss), a flush by CR3 with the one miss after it, INVLPG with the miss after it, a page fault
 * whose handler maps the page, #UD with a handler that skips it.
 * run:    -smp 1 -m 4M
 * expect: exit 0, console "begin", "lap hit 16384", "lap miss 16384", "lap cr3 500", "lap invlpg 500", "lap fault 512",
 *         "lap exception 500", "7474747474b2801c"
 */
#include "bench.h"

u32 bench_rounds = 1;

#define PRESENT_WRITE 3
#define TABLES 16
#define TABLE_PAGES 512
/* TABLES * 2 MiB of addresses; the boot protocol's second page directory maps this gigabyte. */
#define WINDOW 0x40000000ul
#define PML4 ((u64 *)0x1000)
#define DIRECTORY ((u64 *)0x4000)
#define PAGES (TABLES * TABLE_PAGES)
/* So few that any TLB holds them. */
#define HOT_PAGES 32

/* bench-system.asm */
void set_gates(void);
void raise_ud(void);
extern u64 *fault_entries;
extern u64 fault_entry;

static u64 tables[TABLES][TABLE_PAGES] __attribute__((aligned(4096)));
/* All pages of the window are this one: what is asked is what it costs to find it. */
static u64 frame[512] __attribute__((aligned(4096)));

static void load_cr3(const u64 *pml4) { __asm__ volatile("mov %0, %%cr3" ::"r"(pml4) : "memory"); }
static void invlpg(const volatile void *gva) { __asm__ volatile("invlpg (%0)" ::"r"(gva) : "memory"); }
static u64 entry_of(const void *page) { return (u64)(unsigned long)page | PRESENT_WRITE; }

/* `steps` loads, each from the next of `pages` pages, and in another line of it. */
__attribute__((noinline)) static u64 walk(u32 pages, u32 steps) {
  const volatile u8 *window = (const volatile u8 *)WINDOW;
  u64 sum = 0;
  for (u32 i = 0; i < steps; i++) sum += window[(i & (pages - 1)) * 4096 + (i & 63) * 64];
  return sum;
}

static void lap(const char *name, u64 count) {
  char digits[21], *at = digits + 20;
  bench_put("lap ");
  bench_put(name);
  *at = 0;
  do *--at = (char)('0' + count % 10);
  while (count /= 10);
  bench_put(" ");
  bench_put(at);
  bench_put("\n");
}

int main(unsigned index, unsigned count) {
  for (int t = 0; t < TABLES; t++) {
    for (int i = 0; i < TABLE_PAGES; i++) tables[t][i] = entry_of(frame);
    DIRECTORY[t] = entry_of(tables[t]);
  }
  for (int i = 0; i < 512; i++) frame[i] = (u64)i * 0x0101010101010101;
  load_cr3(PML4);
  set_gates();
  u64 sum = walk(HOT_PAGES, HOT_PAGES);

  u32 rounds = bench_begin(index, count);
  u32 steps = rounds * 2 * PAGES;
  sum += walk(HOT_PAGES, steps);
  lap("hit", steps);
  sum += walk(PAGES, steps);
  lap("miss", steps);

  const volatile u64 *window = (const volatile u64 *)WINDOW;
  for (u32 i = 0; i < rounds * 500; i++) {
    load_cr3(PML4);
    sum += window[i & 511];
  }
  lap("cr3", rounds * 500);
  for (u32 i = 0; i < rounds * 500; i++) {
    invlpg(window);
    sum += window[i & 511];
  }
  lap("invlpg", rounds * 500);

  fault_entries = tables[0];
  fault_entry = entry_of(frame);
  for (u32 round = 0; round < rounds; round++) {
    for (u32 page = 0; page < TABLE_PAGES; page++) {
      tables[0][page] = 0;
      invlpg(&window[page * 512]);
      sum += window[page * 512 + 3];
    }
  }
  lap("fault", rounds * TABLE_PAGES);
  for (u32 i = 0; i < rounds * 500; i++) raise_ud();
  lap("exception", rounds * 500);
  return bench_end(index, count, sum);
}
