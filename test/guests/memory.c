/*
 * Copying and filling: REP strings of every size, forwards and backwards, aligned and not, within and across pages,
 * and the same by plain loads and stores; every result compared byte by byte with a copy that is made one byte at a
 * time.
 * run:    -smp 1 -m 4M
 * expect: exit 0, console "@MEMORY@"
 * The checksum covers all buffers after each step. Every vCPU does the same work; vCPU 0 prints.
 */
#include "guest.h"

#define PAGE 4096
#define ROOM (4 * PAGE)

struct buffers {
  u8 from[ROOM], to[ROOM], reference[ROOM];
};
static struct buffers all[VCPU_LIMIT] __attribute__((aligned(PAGE)));

/* A copy that the compiler leaves alone. */
static void copy_bytes(u8 *to, const u8 *from, u64 bytes, int backwards) {
  volatile u8 *d = to;
  const volatile u8 *s = from;
  if (backwards) {
    while (bytes--) d[bytes] = s[bytes];
  } else {
    for (u64 i = 0; i < bytes; i++) d[i] = s[i];
  }
}

static void rep_movs(u8 *to, const u8 *from, u64 count, int size, int backwards) {
  u64 last = (count - 1) * size;
  if (backwards) {
    to += last, from += last;
    asm volatile("std" ::: "memory");
  }
  switch (size) {
  case 1: asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count)::"memory"); break;
  case 2: asm volatile("rep movsw" : "+D"(to), "+S"(from), "+c"(count)::"memory"); break;
  case 4: asm volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(count)::"memory"); break;
  case 8: asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count)::"memory"); break;
  }
  asm volatile("cld" ::: "memory");
}

static void rep_stos(u8 *to, u64 value, u64 count, int size, int backwards) {
  if (backwards) {
    to += (count - 1) * size;
    asm volatile("std" ::: "memory");
  }
  switch (size) {
  case 1: asm volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory"); break;
  case 2: asm volatile("rep stosw" : "+D"(to), "+c"(count) : "a"(value) : "memory"); break;
  case 4: asm volatile("rep stosl" : "+D"(to), "+c"(count) : "a"(value) : "memory"); break;
  case 8: asm volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(value) : "memory"); break;
  }
  asm volatile("cld" ::: "memory");
}

static u8 load(const u8 *at, int size, u64 *value) {
  switch (size) {
  case 1: *value = *(const volatile u8 *)at; break;
  case 2: *value = *(const volatile u16 *)at; break;
  case 4: *value = *(const volatile u32 *)at; break;
  case 8: *value = *(const volatile u64 *)at; break;
  }
  return 0;
}

static void store(u8 *at, int size, u64 value) {
  switch (size) {
  case 1: *(volatile u8 *)at = value; break;
  case 2: *(volatile u16 *)at = value; break;
  case 4: *(volatile u32 *)at = value; break;
  case 8: *(volatile u64 *)at = value; break;
  }
}

/* 0, or where they differ, counted from 1; by REPE CMPSB. */
static u64 differs(const u8 *a, const u8 *b, u64 bytes) {
  u64 left = bytes;
  u8 equal;
  asm volatile("repe cmpsb" : "+S"(a), "+D"(b), "+c"(left), "=@cce"(equal)::"memory");
  return equal ? 0 : bytes - left;
}

/* Bytes before the first `byte`, by REPNE SCASB; there is one. */
static u64 find(const u8 *in, u8 byte, u64 bytes) {
  u64 left = bytes;
  asm volatile("repne scasb" : "+D"(in), "+c"(left) : "a"(byte) : "memory", "cc");
  return bytes - left - 1;
}

int main(unsigned index, unsigned count) {
  (void)count;
  struct buffers *b = &all[index];
  u64 x = 88172645463325252, sum = 0;
  int step = 1;
#define NEXT() (x ^= x << 13, x ^= x >> 7, x ^= x << 17)
#define FAILED_IF(condition)                                                                                          \
  do {                                                                                                                \
    if (condition) {                                                                                                  \
      put_checksum(step);                                                                                             \
      return 1;                                                                                                       \
    }                                                                                                                 \
  } while (0)
#define MIX()                                                                                                         \
  do {                                                                                                                \
    FAILED_IF(differs(b->to, b->reference, ROOM));                                                                    \
    for (u64 i = 0; i < ROOM; i += 8) sum = (sum << 7 | sum >> 57) + *(u64 *)(b->to + i) * 0x9e3779b97f4a7c15;        \
    step++;                                                                                                           \
  } while (0)

  for (u64 i = 0; i < ROOM; i++) b->from[i] = NEXT() >> 32;

  for (int size = 1; size <= 8; size *= 2) {
    for (int backwards = 0; backwards < 2; backwards++) {
      /* From within a page over one boundary, over two; each end odd. */
      for (u64 bytes = 24; bytes < 2 * PAGE; bytes += 2720) {
        u64 from = PAGE - 13 - size * 3, to = PAGE * 2 - 5 - bytes / 4;
        u64 n = bytes / size;
        rep_movs(b->to + to, b->from + from, n, size, backwards);
        copy_bytes(b->reference + to, b->from + from, n * size, backwards);
        MIX();
        rep_stos(b->to + to + 3, NEXT(), n, size, backwards);
        for (u64 i = 0; i < n; i++)
          for (int k = 0; k < size; k++) b->reference[to + 3 + i * size + k] = x >> 8 * k;
        MIX();
      }
      /* An overlapping copy repeats what it has just written. */
      rep_movs(b->to + PAGE - 40 + (backwards ? 0 : size), b->to + PAGE - 40 + (backwards ? size : 0), 64, size, backwards);
      u8 *to = b->reference + PAGE - 40 + (backwards ? 0 : size), *from = b->reference + PAGE - 40 + (backwards ? size : 0);
      for (u64 i = 0; i < 64; i++) {
        u64 at = (backwards ? 63 - i : i) * size;
        copy_bytes(to + at, from + at, size, 0);
      }
      MIX();
    }

    /* Single accesses in every position around a page boundary. */
    for (u64 at = PAGE - 9; at < PAGE + 2; at++) {
      store(b->to + at, size, NEXT());
      for (int k = 0; k < size; k++) ((volatile u8 *)b->reference)[at + k] = x >> 8 * k;
      u64 value = 0, expected = 0;
      load(b->to + at, size, &value);
      for (int k = 0; k < size; k++) expected |= (u64)((volatile u8 *)b->to)[at + k] << 8 * k;
      FAILED_IF(value != expected);
    }
    MIX();

    /* Copies by a loop, source and target shifted against each other. */
    for (int shift = 0; shift < 8; shift++) {
      for (u64 i = 0; i + size <= PAGE + 32; i += size) {
        u64 value;
        load(b->from + PAGE - 16 + shift + i, size, &value);
        store(b->to + 2 * PAGE - 19 + i, size, value);
      }
      copy_bytes(b->reference + 2 * PAGE - 19, b->from + PAGE - 16 + shift, (PAGE + 32) / size * size, 0);
      MIX();
    }
  }

  /* Comparisons find the only difference, wherever it is; scans find the only match. */
  copy_bytes(b->to, b->from, ROOM, 0);
  for (u64 at = PAGE - 2; at < PAGE + 2; at++) {
    b->to[at] ^= 0x80;
    FAILED_IF(differs(b->to + 1, b->from + 1, 2 * PAGE) != at);
    b->to[at] ^= 0x80;
  }
  rep_stos(b->to, 0, ROOM, 1, 0);
  for (u64 at = 2 * PAGE - 2; at < 2 * PAGE + 2; at++) {
    b->to[at] = 0x77;
    FAILED_IF(find(b->to + 7, 0x77, 3 * PAGE) != at - 7);
    b->to[at] = 0;
  }

  if (index == 0) put_checksum(sum);
  return 0;
}
