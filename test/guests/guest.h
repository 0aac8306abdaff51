/* What the guests written in C share. crt0.asm has the other half. */
#ifndef GUEST_H
#define GUEST_H

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
/* 64 bits in 32-bit builds too. */
typedef unsigned long long u64;

#define VCPU_LIMIT 16

/* Writes one byte to the debug console. */
void debug_put(char c);

/* The vCPU's exit code is the low byte of what main returns. */
int main(unsigned index, unsigned count);

static inline void put_checksum(u64 value) {
  for (int shift = 60; shift >= 0; shift -= 4) debug_put("0123456789abcdef"[value >> shift & 15]);
  debug_put('\n');
}

#endif
