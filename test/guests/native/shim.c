/*
 * Runs a guest program as a program of this machine: vCPU 0 of 1, the console is standard output. A benchmark takes its
 * rounds as argument, and says at its end how long it took since its first line ("begin").
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int guest_main(unsigned index, unsigned count);
void debug_put(char c);
extern unsigned bench_rounds __attribute__((weak));

static struct timespec begun;

void debug_put(char c) {
  putchar(c);
  if (c != '\n') return;
  fflush(stdout);
  if (begun.tv_sec == 0) clock_gettime(CLOCK_MONOTONIC, &begun);
}

int main(int count, char **arguments) {
  if (count != 2 || &bench_rounds == 0) return guest_main(0, 1);
  bench_rounds = (unsigned)strtoul(arguments[1], 0, 10);
  int code = guest_main(0, 1);
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  printf("took %lld ns\n", (now.tv_sec - begun.tv_sec) * 1000000000ll + now.tv_nsec - begun.tv_nsec);
  return code;
}
