/*
 * Benchmark: what small systems do all day, in the spirit of CoreMark: a linked list that is searched, turned round and
 * sorted, small matrices, a state machine that reads numbers from text, and a CRC over all results.
 * run:    -smp 1 -m 4M
 * expect: exit 0, console "begin", "@MIX@"
 * Every vCPU does the same work in memory of its own.
 */
#include "bench.h"

u32 bench_rounds = 20;

#define ITEMS 64
#define SIDE 12

static u16 crc16(u16 crc, u16 value) {
  for (int bit = 0; bit < 16; bit++, value >>= 1) crc = (crc >> 1) ^ ((crc ^ value) & 1 ? 0xa001 : 0);
  return crc;
}

/* ── lists ── */

struct item {
  struct item *next;
  u16 key, value;
};

static struct item *find(struct item *list, u16 key) {
  while (list && list->key != key) list = list->next;
  return list;
}

static struct item *reverse(struct item *list) {
  struct item *done = 0;
  while (list) {
    struct item *rest = list->next;
    list->next = done, done = list, list = rest;
  }
  return done;
}

static struct item *merge(struct item *a, struct item *b, int by_key) {
  struct item head, *last = &head;
  while (a && b) {
    int first = by_key ? a->key <= b->key : a->value <= b->value;
    struct item **from = first ? &a : &b;
    last->next = *from, last = *from, *from = (*from)->next;
  }
  last->next = a ? a : b;
  return head.next;
}

static struct item *sort(struct item *list, int by_key) {
  if (!list || !list->next) return list;
  struct item *slow = list, *fast = list->next;
  while (fast && fast->next) slow = slow->next, fast = fast->next->next;
  struct item *half = slow->next;
  slow->next = 0;
  return merge(sort(list, by_key), sort(half, by_key), by_key);
}

static u16 lists(struct item *items, u32 *seed) {
  for (int i = 0; i < ITEMS; i++) {
    items[i] = (struct item){i + 1 < ITEMS ? &items[i + 1] : 0, (u16)(i * 37 % ITEMS), (u16)bench_random(seed)};
  }
  u16 crc = 0;
  struct item *list = items;
  for (u16 key = 0; key < ITEMS; key += 3) {
    list = reverse(list);
    crc = crc16(crc, find(list, key)->value);
  }
  list = sort(list, 0);
  crc = crc16(crc, list->value);
  list = sort(list, 1);
  for (struct item *item = list; item; item = item->next) crc = crc16(crc, item->value);
  return crc;
}

/* ── matrices ── */

struct matrices {
  short a[SIDE][SIDE], b[SIDE][SIDE];
  int product[SIDE][SIDE];
};

static u16 matrices(struct matrices *m, u32 *seed) {
  for (int i = 0; i < SIDE; i++) {
    for (int j = 0; j < SIDE; j++) {
      m->a[i][j] = (short)(bench_random(seed) & 0xff);
      m->b[i][j] = (short)(bench_random(seed) & 0xff);
    }
  }
  u16 crc = 0;
  for (int i = 0; i < SIDE; i++) {
    for (int j = 0; j < SIDE; j++) {
      int sum = 0;
      for (int k = 0; k < SIDE; k++) sum += m->a[i][k] * m->b[k][j];
      m->product[i][j] = sum;
      crc = (u16)(crc + (sum >> 2) + (sum & 0xf));
    }
  }
  return crc16(crc, (u16)m->product[SIDE / 2][SIDE / 3]);
}

/* ── numbers in text ── */

enum state { START, SIGN, INTEGER, POINT, FRACTION, EXPONENT, EXPONENT_SIGN, SCIENTIFIC, INVALID, STATES };

static enum state step(enum state state, char c) {
  int digit = c >= '0' && c <= '9', sign = c == '+' || c == '-';
  switch (state) {
    case START: return digit ? INTEGER : sign ? SIGN : c == '.' ? POINT : INVALID;
    case SIGN: return digit ? INTEGER : c == '.' ? POINT : INVALID;
    case INTEGER: return digit ? INTEGER : c == '.' ? FRACTION : c == 'e' ? EXPONENT : INVALID;
    case POINT: return digit ? FRACTION : INVALID;
    case FRACTION: return digit ? FRACTION : c == 'e' ? EXPONENT : INVALID;
    case EXPONENT: return sign ? EXPONENT_SIGN : digit ? SCIENTIFIC : INVALID;
    case EXPONENT_SIGN:
    case SCIENTIFIC: return digit ? SCIENTIFIC : INVALID;
    default: return INVALID;
  }
}

static const char *const TEXTS[16] = {"5012", "1234", "-874", "+122", "35.54400", ".1234500", "-110.700", "+0.64400",
                                      "5.500e+3", "-.123e-2", "-87e+832", "+0.6e-12", "T0.3e-1F", "-T.T++Tq", "1T3.4e4z", "34.0e-T^"};

static u16 numbers(u32 *seed) {
  u32 ends[STATES] = {0}, steps = 0;
  for (int i = 0; i < 32; i++) {
    enum state state = START;
    for (const char *c = TEXTS[bench_random(seed) & 15]; *c && state != INVALID; c++, steps++) state = step(state, *c);
    ends[state]++;
  }
  u16 crc = (u16)steps;
  for (int i = 0; i < STATES; i++) crc = crc16(crc, (u16)ends[i]);
  return crc;
}

static struct {
  struct item items[ITEMS];
  struct matrices m;
} work[VCPU_LIMIT];

int main(unsigned index, unsigned count) {
  u32 rounds = bench_begin(index, count);
  u32 seed = 0x1234567;
  u16 crc = 0;
  u64 sum = 0;
  for (u32 round = 0; round < rounds; round++) {
    crc = crc16(crc, lists(work[index].items, &seed));
    crc = crc16(crc, matrices(&work[index].m, &seed));
    for (int i = 0; i < 4; i++) crc = crc16(crc, numbers(&seed));
    sum = sum * 31 + crc;
  }
  return bench_end(index, count, sum);
}
