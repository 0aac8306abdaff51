/*
 * Benchmark: page-table churn, as a kernel with two processes causes it: pages are mapped, used, mapped elsewhere with
 * INVLPG, unmapped, and address spaces switched by CR3. One round changes 64 pages three times and switches four times.
 * run:    -smp 1 -m 4M
 * expect: exit 0, console "begin", "41abe40c202c6480"
 * Every vCPU has 2 MiB of addresses of its own, and frames of its own.
 */
#include "bench.h"

u32 bench_rounds = 20;

#define PAGES 64
#define FRAMES 16
#define PRESENT_WRITE 3
/* Where vCPU 0's pages are; the boot protocol's second page directory maps this gigabyte. */
#define WINDOW 0x40000000ul
#define WINDOW_BYTES 0x200000ul
#define PML4 ((u64 *)0x1000)
#define PDPT ((u64 *)0x2000)
#define DIRECTORY ((u64 *)0x4000)

typedef u64 table[512] __attribute__((aligned(4096)));

/* The second address space is the first but for the windows. */
static table other_pml4, other_pdpt, other_directory;
static table window_tables[VCPU_LIMIT][2];
static u64 frames[VCPU_LIMIT][FRAMES][512] __attribute__((aligned(4096)));

static void load_cr3(const u64 *pml4) { __asm__ volatile("mov %0, %%cr3" ::"r"(pml4) : "memory"); }
static void invlpg(const void *gva) { __asm__ volatile("invlpg (%0)" ::"r"(gva) : "memory"); }

static u64 entry_of(const void *page) { return (u64)(unsigned long)page | PRESENT_WRITE; }

int main(unsigned index, unsigned count) {
  if (index == 0) {
    for (int i = 0; i < 512; i++) {
      other_pml4[i] = PML4[i];
      other_pdpt[i] = PDPT[i];
      other_directory[i] = DIRECTORY[i];
    }
    other_pml4[0] = (PML4[0] & 0xfff) | (unsigned long)other_pdpt;
    other_pdpt[1] = (PDPT[1] & 0xfff) | (unsigned long)other_directory;
  }
  bench_meet(count);
  DIRECTORY[index] = entry_of(window_tables[index][0]);
  other_directory[index] = entry_of(window_tables[index][1]);
  load_cr3(PML4);

  u32 rounds = bench_begin(index, count);
  volatile u64 *window = (volatile u64 *)(WINDOW + index * WINDOW_BYTES);
  u64 sum = 0;
  for (u32 round = 0; round < rounds; round++) {
    for (int space = 0; space < 2; space++) {
      u64 *entries = window_tables[index][space];
      load_cr3(space == 0 ? PML4 : other_pml4);
      /* Map, and write. */
      for (u32 page = 0; page < PAGES; page++) {
        entries[page] = entry_of(frames[index][(page + round) % FRAMES]);
        window[page * 512 + page] = round + page;
      }
      /* Map elsewhere, and read. */
      for (u32 page = 0; page < PAGES; page++) {
        entries[page] = entry_of(frames[index][(page * 3 + round) % FRAMES]);
        invlpg((const void *)&window[page * 512]);
        sum = sum * 31 + window[page * 512 + page * 3 % PAGES];
      }
      /* Switched to and back: nothing is global. */
      load_cr3(space == 0 ? other_pml4 : PML4);
      load_cr3(space == 0 ? PML4 : other_pml4);
      for (u32 page = 0; page < PAGES; page++) sum += window[page * 512 + 1];
      for (u32 page = 0; page < PAGES; page++) {
        entries[page] = 0;
        invlpg((const void *)&window[page * 512]);
      }
    }
  }
  load_cr3(PML4);
  return bench_end(index, count, sum);
}
