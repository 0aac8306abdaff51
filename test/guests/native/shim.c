/* Runs a guest program as a program of this machine: vCPU 0 of 1, the console is standard output. */
#include <stdio.h>

int guest_main(unsigned index, unsigned count);
void debug_put(char c);

void debug_put(char c) { putchar(c); }

int main(void) { return guest_main(0, 1); }
