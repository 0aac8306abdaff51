/*
 * Benchmark: exceptions, each delivered to a handler of a few instructions that goes on behind the instruction: #DE,
 * #BP, #UD, #GP, #PF and INT n. One round raises each ten times.
 * run:    -smp 1 -m 4M
 * expect: exit 0, console "begin", "0000025800016e68"
 * Every vCPU does the same work.
 */
#include "bench.h"

u32 bench_rounds = 20;

/* Nothing is mapped there: the tables of the boot protocol end at 4 GiB. */
#define NOWHERE 0x100000000ull

/* bench-exceptions.asm */
void set_gates(void);
void raise_de(u64 *counter);
void raise_bp(u64 *counter);
void raise_ud(u64 *counter);
void raise_gp(u64 *counter);
void raise_pf(u64 *counter, u64 gva);
void raise_int(u64 *counter);

int main(unsigned index, unsigned count) {
  bench_meet(count);
  set_gates();
  u32 rounds = bench_begin(index, count);
  u64 counters[6] = {0};
  for (u32 round = 0; round < rounds; round++) {
    for (u32 i = 0; i < 10; i++) {
      raise_de(&counters[0]);
      raise_bp(&counters[1]);
      raise_ud(&counters[2]);
      raise_gp(&counters[3]);
      raise_pf(&counters[4], NOWHERE + i * 8);
      raise_int(&counters[5]);
    }
  }
  u64 sum = 0;
  for (int i = 0; i < 6; i++) sum = sum * 3 + counters[i];
  return bench_end(index, count, sum);
}
