/*
 * Benchmark: copying and filling memory, by loops of the compiler's and by REP MOVS, STOS, SCAS and CMPS, short and
 * long. One round goes over 16 KiB a few times.
 * run:    -smp 1 -m 4M
 * expect: exit 0, console "begin", "@STRINGS@"
 * Every vCPU does the same work in buffers of its own.
 */
#include "bench.h"

u32 bench_rounds = 10;

#define BYTES 16384

static struct {
  u8 from[BYTES], to[BYTES];
} buffers[VCPU_LIMIT] __attribute__((aligned(64)));

__attribute__((noinline)) static void copy_words(u32 *to, const u32 *from, unsigned words) {
  for (unsigned i = 0; i < words; i++) to[i] = from[i];
}
__attribute__((noinline)) static void copy_bytes(u8 *to, const u8 *from, unsigned bytes) {
  for (unsigned i = 0; i < bytes; i++) to[i] = from[i];
}
static void rep_movsb(void *to, const void *from, unsigned long bytes) {
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes)::"memory");
}
static void rep_movsl(void *to, const void *from, unsigned long words) {
  __asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(words)::"memory");
}
static void rep_stosb(void *to, u8 value, unsigned long bytes) {
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(value) : "memory");
}
static void rep_stosl(void *to, u32 value, unsigned long words) {
  __asm__ volatile("rep stosl" : "+D"(to), "+c"(words) : "a"(value) : "memory");
}
static unsigned repne_scasb(const u8 *text, u8 value, unsigned long bytes) {
  const u8 *at = text;
  __asm__ volatile("repne scasb" : "+D"(at), "+c"(bytes) : "a"(value) : "cc", "memory");
  return (unsigned)(at - text);
}
static unsigned long repe_cmpsb(const void *a, const void *b, unsigned long bytes) {
  __asm__ volatile("repe cmpsb" : "+D"(a), "+S"(b), "+c"(bytes)::"cc", "memory");
  return bytes;
}

int main(unsigned index, unsigned count) {
  u8 *from = buffers[index].from, *to = buffers[index].to;
  u32 seed = 0xc0de;
  for (int i = 0; i < BYTES; i++) from[i] = (u8)(bench_random(&seed) | 1);
  u32 rounds = bench_begin(index, count);
  u64 sum = 0;
  for (u32 round = 0; round < rounds; round++) {
    from[round % BYTES] = (u8)(round | 1);
    copy_words((u32 *)to, (const u32 *)from, BYTES / 4);
    copy_bytes(to + 1, from, 2048);
    rep_movsb(to, from, BYTES);
    rep_stosb(to + BYTES / 2, (u8)round, BYTES / 2);
    rep_movsl(to, from + 64, BYTES / 4 - 16);
    rep_stosl(to + 128, round, 1024);
    /* Names, headers, small structs: short ones are the many. */
    for (unsigned i = 0; i < 64; i++) rep_movsb(to + i * 40, from + i * 24, 5 + i % 32);
    to[4000] = 0;
    sum = sum * 31 + repne_scasb(to, 0, BYTES);
    sum += repe_cmpsb(to + 64 * 40, from + 64 + 64 * 40, 4096);
    sum += to[round * 64 % BYTES];
  }
  return bench_end(index, count, sum);
}
