/*
 * Benchmark: an interpreter, so loads, a jump table and branches that depend on data. One round is a bytecode program
 * that counts the steps of Collatz sequences and fills and adds up an array.
 * run:    -smp 1 -m 4M
 * expect: exit 0, console "begin", "@BYTECODE@"
 * Every vCPU does the same work in memory of its own.
 */
#include "bench.h"

u32 bench_rounds = 4;

#define CELLS 256

enum { SET, MOVE, ADD, ADD_CONSTANT, SHIFT_RIGHT, TRIPLE, LOAD, STORE, JUMP, JUMP_ODD, JUMP_BELOW, JUMP_ZERO, END };

struct op {
  u8 code, to, from;
  u32 constant;
};

enum { N, X, STEPS, INDEX, VALUE, SUM, LIMIT, ONE, REGISTERS };

static const struct op PROGRAM[] = {
    [0] = {SET, N, 0, 1},
    [1] = {SET, STEPS, 0, 0},
    [2] = {SET, LIMIT, 0, 200},
    [3] = {SET, ONE, 0, 1},
    /* for each N: X = N, until it is 1 */
    [4] = {MOVE, X, N, 0},
    [5] = {JUMP_BELOW, ONE, X, 8},
    [6] = {ADD_CONSTANT, N, 0, 1},
    [7] = {JUMP_BELOW, N, LIMIT, 4},
    [8] = {JUMP_BELOW, X, ONE, 13},
    [9] = {JUMP_ODD, X, 0, 14},
    [10] = {SHIFT_RIGHT, X, 0, 1},
    [11] = {ADD_CONSTANT, STEPS, 0, 1},
    [12] = {JUMP_BELOW, ONE, X, 8},
    [13] = {JUMP, 0, 0, 17},
    [14] = {TRIPLE, X, 0, 1},
    [15] = {ADD_CONSTANT, STEPS, 0, 1},
    [16] = {JUMP, 0, 0, 9},
    [17] = {ADD_CONSTANT, N, 0, 1},
    [18] = {JUMP_BELOW, N, LIMIT, 4},
    /* an array */
    [19] = {SET, INDEX, 0, 0},
    [20] = {SET, LIMIT, 0, CELLS},
    [21] = {MOVE, VALUE, STEPS, 0},
    [22] = {TRIPLE, VALUE, 0, 7},
    [23] = {STORE, INDEX, VALUE, 0},
    [24] = {ADD_CONSTANT, INDEX, 0, 1},
    [25] = {JUMP_BELOW, INDEX, LIMIT, 22},
    [26] = {LOAD, VALUE, INDEX, 0},
    [27] = {ADD, SUM, VALUE, 0},
    [28] = {ADD_CONSTANT, INDEX, 0, (u32)-1},
    [29] = {JUMP_ZERO, INDEX, 0, 31},
    [30] = {JUMP, 0, 0, 26},
    [31] = {END, 0, 0, 0},
};

static u32 cells[VCPU_LIMIT][CELLS + 1];

__attribute__((noinline)) static u32 interpret(const struct op *program, u32 *memory) {
  u32 r[REGISTERS] = {0};
  const struct op *op = program;
  for (;;) {
    u32 constant = op->constant, to = op->to, from = op->from;
    u8 code = op->code;
    op++;
    switch (code) {
      case SET: r[to] = constant; break;
      case MOVE: r[to] = r[from]; break;
      case ADD: r[to] += r[from]; break;
      case ADD_CONSTANT: r[to] += constant; break;
      case SHIFT_RIGHT: r[to] >>= constant; break;
      case TRIPLE: r[to] = r[to] * 3 + constant; break;
      case LOAD: r[to] = memory[r[from]]; break;
      case STORE: memory[r[to]] = r[from]; break;
      case JUMP: op = program + constant; break;
      case JUMP_ODD: if (r[to] & 1) op = program + constant; break;
      case JUMP_BELOW: if (r[to] < r[from]) op = program + constant; break;
      case JUMP_ZERO: if (r[to] == 0) op = program + constant; break;
      case END: return r[STEPS] ^ r[SUM];
    }
  }
}

int main(unsigned index, unsigned count) {
  u32 rounds = bench_begin(index, count);
  u64 sum = 0;
  for (u32 round = 0; round < rounds; round++) sum = sum * 31 + interpret(PROGRAM, cells[index]);
  return bench_end(index, count, sum);
}
