/*
 * Benchmark: self-modifying code, as compilers at run time make it. One round generates a function and calls it 64
 * times, then changes a constant in it before each of 16 calls, then writes data beside it 64 times between calls.
 * run:    -smp 1 -m 4M
 * expect: exit 0, console "begin", "6c2bbbf877334037"
 * Every vCPU has a page of code of its own.
 */
#include "bench.h"

u32 bench_rounds = 20;

typedef u32 (*function)(u32 argument);

static union {
  u8 code[4096];
  struct {
    u8 room[2048];
    volatile u32 data;
  };
} pages[VCPU_LIMIT] __attribute__((aligned(4096)));

#define OPERATIONS 8

/* mov eax, edi; then OPERATIONS times: an operation on eax with a constant of 32 bits; then ret. */
static void generate(u8 *code, u32 *seed) {
  static const u8 OPCODES[4] = {0x05, 0x35, 0x2d, 0x0d}; /* add, xor, sub, or */
  *code++ = 0x89, *code++ = 0xf8;
  for (int i = 0; i < OPERATIONS; i++) {
    u32 random = bench_random(seed);
    *code++ = OPCODES[random & 3];
    *(u32 *)code = random >> 2;
    code += 4;
  }
  *code = 0xc3;
}

int main(unsigned index, unsigned count) {
  u8 *code = pages[index].code;
  u32 seed = 0xbad5eed;
  u32 rounds = bench_begin(index, count);
  u64 sum = 0;
  for (u32 round = 0; round < rounds; round++) {
    /* The fresh function never lies where the last one was. */
    u8 *at = code + (round & 15) * 64;
    function call = (function)(unsigned long)at;
    generate(at, &seed);
    u32 value = round;
    for (int i = 0; i < 64; i++) value = call(value + 3);
    for (u32 i = 0; i < 16; i++) {
      *(volatile u32 *)(at + 3) = value ^ i;
      value = call(value) + 1;
    }
    for (u32 i = 0; i < 64; i++) {
      pages[index].data = value;
      value = call(pages[index].data * 5);
    }
    sum = sum * 31 + value;
  }
  return bench_end(index, count, sum);
}
