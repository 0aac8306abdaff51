/*
 * Every integer, string, bit, LOCK and control-flow instruction, with inputs that are awkward on purpose; registers,
 * flags and memory afterwards are compared with what the machine that built this image made of them.
 * run:    -smp 1 -m 4M
 * expect: exit 0, console "@SELFTEST@"
 * Flags that the architecture leaves undefined are masked out. On a failure: the case as it stands in
 * selftest-isa.asm, the number of the input, got and wanted; exit 1. Only vCPU 0 takes part; others exit 0 at once.
 *
 * Compiled with GUEST_RECORD for the building machine, this program prints selftest-isa.expected.h.
 */
#include "guest.h"

#define INPUTS 8
#define BUFFER_BYTES 256
/* Where rsi and rdi point: room for eight qwords on both sides. */
#define RSI_OFFSET 64
#define RDI_OFFSET 160
#define ARITHMETIC_FLAGS 0xcd5
#define FAILURES_MAX 20

struct state {
  u64 rax, rbx, rcx, rdx, rsi, rdi, r8, r9, r10, r11, flags;
};

/* selftest-isa.asm */
struct test_case {
  void (*code)(void);
  const char *name;
  /* Flags to compare. */
  u64 flags;
};
extern const struct test_case cases[], cases_end[];
void run_case(struct state *state, void (*code)(void));

struct outcome {
  u64 rax;
  u32 flags;
  /* Of all registers, the flags and the buffer. */
  u32 hash;
};

static const u64 awkward[] = {
    0,          1,          2,          3,          0x7f,       0x80,       0xff,        0x100,
    0x7fff,     0x8000,     0xffff,     0x10000,    0x7fffffff, 0x80000000, 0xffffffff,  0x100000000,
    1ul << 62,  1ul << 63,  ~0ul >> 1,  ~0ul,       ~1ul,       0x55aa55aa, -0x8000ul,   -0x80000000ul,
};
#define AWKWARD (sizeof awkward / sizeof awkward[0])

static u8 buffer[BUFFER_BYTES] __attribute__((aligned(64)));
static u64 random_state;

static u64 next(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

static u64 value(void) {
  u64 choice = next() >> 32;
  return choice & 3 ? awkward[choice / 4 % AWKWARD] : next();
}

/* The same inputs for a case wherever it stands among the others. */
static u64 hash_name(const char *name) {
  u64 hash = 0xcbf29ce484222325;
  for (; *name; name++) hash = (hash ^ (u8)*name) * 0x100000001b3;
  return hash;
}

static struct outcome run(const struct test_case *test, u32 input) {
  random_state = (hash_name(test->name) + (input + 1) * 0x9e3779b97f4a7c15) | 1;
  for (int i = 0; i < 4; i++) next();
  struct state state = {value(), value(), value(), value(), (u64)buffer + RSI_OFFSET, (u64)buffer + RDI_OFFSET,
                        value(), value(), value(), value(), (next() >> 20 & ARITHMETIC_FLAGS) | 2};
  u64 *words = (u64 *)buffer;
  for (u32 i = 0; i < BUFFER_BYTES / 8; i++) words[i] = value();

  run_case(&state, test->code);

  struct outcome outcome = {.rax = state.rax, .flags = state.flags & test->flags};
  state.rsi -= (u64)buffer;
  state.rdi -= (u64)buffer;
  state.flags = outcome.flags;
  u64 hash = 0;
  for (u64 *word = &state.rax; word <= &state.flags; word++) hash = (hash ^ *word) * 0x9e3779b97f4a7c15 + (hash >> 29);
  for (u32 i = 0; i < BUFFER_BYTES / 8; i++) hash = (hash ^ words[i]) * 0x9e3779b97f4a7c15 + (hash >> 29);
  outcome.hash = hash >> 32;
  return outcome;
}

static void put_text(const char *text) {
  while (*text) debug_put(*text++);
}

static void put_hex(u64 number) {
  int shift = 60;
  while (shift > 0 && number >> shift == 0) shift -= 4;
  for (; shift >= 0; shift -= 4) debug_put("0123456789abcdef"[number >> shift & 15]);
}

#ifdef GUEST_RECORD

int main(unsigned index, unsigned count) {
  (void)index, (void)count;
  put_text("static const struct outcome expected[] = {\n");
  for (const struct test_case *test = cases; test < cases_end; test++) {
    for (u32 input = 0; input < INPUTS; input++) {
      struct outcome outcome = run(test, input);
      put_text("{0x"), put_hex(outcome.rax), put_text("u, 0x"), put_hex(outcome.flags);
      put_text(", 0x"), put_hex(outcome.hash), put_text("},\n");
    }
  }
  put_text("};\n");
  return 0;
}

#else

#include "selftest-isa.expected.h"

static void put_decimal(u64 number) {
  if (number >= 10) put_decimal(number / 10);
  debug_put('0' + number % 10);
}

static void put_pair(const char *what, u64 got, u64 wanted) {
  put_text(what), put_text(" 0x"), put_hex(got);
  if (got != wanted) put_text(" wanted 0x"), put_hex(wanted);
}

int main(unsigned index, unsigned count) {
  (void)count;
  if (index != 0) return 0;
  u32 failures = 0;
  const struct outcome *wanted = expected;
  for (const struct test_case *test = cases; test < cases_end; test++) {
    for (u32 input = 0; input < INPUTS; input++, wanted++) {
      struct outcome got = run(test, input);
      if (got.rax == wanted->rax && got.flags == wanted->flags && got.hash == wanted->hash) continue;
      if (++failures > FAILURES_MAX) return 1;
      put_text(test->name), put_text(", input "), put_decimal(input);
      put_pair(": rax", got.rax, wanted->rax), put_pair(", flags", got.flags, wanted->flags);
      put_pair(", hash", got.hash, wanted->hash), debug_put('\n');
    }
  }
  if (failures) return 1;
  put_text("selftest-isa: "), put_decimal(cases_end - cases), put_text(" cases ok\n");
  return 0;
}

#endif
