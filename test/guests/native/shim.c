/*
 * Runs a guest program as a program of this machine: vCPU 0 of 1, the console is standard output. A benchmark takes its
 * rounds as argument.
 */
#include <stdio.h>
#include <stdlib.h>

int guest_main(unsigned index, unsigned count);
void debug_put(char c);
extern unsigned bench_rounds __attribute__((weak));

void debug_put(char c) {
  putchar(c);
  if (c == '\n') fflush(stdout);
}

int main(int count, char **arguments) {
  if (count == 2 && &bench_rounds != 0) bench_rounds = (unsigned)strtoul(arguments[1], 0, 10);
  return guest_main(0, 1);
}
