/*
 * Runs instruction test cases on the host processor.
 *
 * stdin:  u32 case count, the background of the writable pages and of the read-only page, then one struct request a case.
 * stdout: one struct reply a case, in the same order. Sizes and addresses come from arena.ts and case.ts as -D options.
 *
 * The whole engine is one signal handler. The code pages are full of INT3, so every case ends in a signal: where it
 * landed, or the exception it raised. The handler notes the state in the signal frame, writes the next case's state
 * there and returns into it; the first INT3 is our own, and after the last case the handler returns behind that one.
 * It runs with a case's FS base, so it must touch no thread-local storage: no libc calls, no stack protector.
 *
 * Memory is one memfd seen twice: at the arena's fixed addresses with the rights that cases see, and through an alias
 * that may write everything.
 *
 * Build: gcc -O2 -fno-stack-protector -mno-red-zone -D... harness.c
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <asm/prctl.h>
#include <ucontext.h>
#include <unistd.h>

#define INT3 0xcc
#define HWCAP2_USER_FSGSBASE 2
#define RFLAGS_NT 0x4000
#define RFLAGS_AC 0x40000
#define RFLAGS_ID 0x200000
/* Of the frame's FXSAVE area: what the kernel says about it. */
#define SOFTWARE_BYTES_AT 464
#define FP_XSTATE_MAGIC 0x46505853

struct request {
	uint8_t code[CODE_LIMIT];
	uint16_t code_offset; /* from the start of the code pages */
	uint16_t code_bytes;
	uint16_t patch_offset; /* from the start of the arena; the patch lies within mapped data pages */
	uint16_t patch_bytes;
	uint64_t rflags;
	uint64_t fs_base;
	uint64_t gs_base;
	uint64_t gpr[16];
	uint8_t patch[PATCH_LIMIT];
	uint64_t has_fpu;
	uint8_t fpu[FPU_BYTES];
};

struct reply {
	uint64_t gpr[16];
	uint64_t rip;
	uint64_t rflags;
	uint64_t cr2; /* page faults only, else 0 */
	int32_t vector;
	int32_t error; /* as the kernel saw it; 0 for vectors without */
	uint16_t changed_offset; /* from the start of the arena: first and last byte that differ from before */
	uint16_t changed_bytes; /* 0xffff: more than CHANGED_LIMIT */
	uint32_t reserved;
	uint8_t changed[CHANGED_LIMIT];
	uint8_t fpu[FPU_BYTES];
};

_Static_assert(sizeof(struct request) == REQUEST_BYTES, "request");
_Static_assert(sizeof(struct reply) == REPLY_BYTES, "reply");

/* Encoding order to the kernel's order of registers in a signal frame. */
static const int GREGS[16] = {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

static uint8_t background[DATA_BYTES + READ_ONLY_BYTES] __attribute__((aligned(8)));
static uint8_t *alias; /* of the whole arena */
static struct request *requests;
static struct reply *replies;
static uint32_t count;
static uint32_t current; /* case that runs */
static int started;
static gregset_t home; /* registers of main at its own INT3 */
static uint8_t home_fpu[FPU_BYTES];
static uint64_t home_fs;
static uint64_t home_gs;
static int fsgsbase;
static uint8_t signal_stack[1 << 16] __attribute__((aligned(64)));

static long raw_arch_prctl(int code, uint64_t value)
{
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "0"(SYS_arch_prctl), "D"((long)code), "S"(value) : "rcx", "r11", "memory");
	return result;
}

static void set_bases(uint64_t fs, uint64_t gs)
{
	if (fsgsbase) {
		__asm__ volatile("wrfsbase %0" ::"r"(fs));
		__asm__ volatile("wrgsbase %0" ::"r"(gs));
	} else {
		raw_arch_prctl(ARCH_SET_FS, fs);
		raw_arch_prctl(ARCH_SET_GS, gs);
	}
}

static void copy(uint8_t *to, const uint8_t *from, uint32_t bytes)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes)::"memory");
}

/* Background of the byte at an arena offset inside the data pages. */
static const uint8_t *background_at(uint32_t offset)
{
	if (offset >= READ_ONLY_OFFSET)
		return background + DATA_BYTES + (offset - READ_ONLY_OFFSET);
	return background + (offset - DATA_OFFSET);
}

/* Puts x87 and SSE state into the signal frame. With XSAVE, a header says which parts are not in their initial state. */
static void set_fpu(uint8_t *frame, const uint8_t *state)
{
	const uint32_t *software = (const uint32_t *)(frame + SOFTWARE_BYTES_AT);
	copy(frame, state, SOFTWARE_BYTES_AT - 48);
	if (software[0] == FP_XSTATE_MAGIC)
		*(uint64_t *)(frame + FPU_BYTES) |= 3;
}

static void start(const struct request *request, gregset_t regs, uint8_t *fpu)
{
	copy(alias + CODE_OFFSET + request->code_offset, request->code, request->code_bytes);
	copy(alias + request->patch_offset, request->patch, request->patch_bytes);
	for (int i = 0; i < 16; i++)
		regs[GREGS[i]] = (greg_t)request->gpr[i];
	regs[REG_RIP] = CODE_BASE + request->code_offset;
	regs[REG_EFL] = (greg_t)request->rflags;
	if (request->has_fpu)
		set_fpu(fpu, request->fpu);
	set_bases(request->fs_base, request->gs_base);
}

/* Byte of the data pages as the case found it. */
static uint8_t before(const struct request *request, uint32_t offset)
{
	uint32_t in_patch = offset - request->patch_offset;
	return in_patch < request->patch_bytes ? request->patch[in_patch] : *background_at(offset);
}

static void note_memory(const struct request *request, struct reply *reply)
{
	const uint64_t *now = (const uint64_t *)(alias + DATA_OFFSET);
	const uint64_t *then = (const uint64_t *)background;
	uint32_t first = DATA_OFFSET + DATA_BYTES;
	uint32_t last = 0;
	for (uint32_t word = 0; word < DATA_BYTES / 8; word++) {
		uint32_t offset = DATA_OFFSET + word * 8;
		if (now[word] == then[word] &&
		    (offset + 8 <= request->patch_offset || offset >= request->patch_offset + request->patch_bytes))
			continue;
		for (uint32_t i = offset; i < offset + 8; i++) {
			if (alias[i] == before(request, i))
				continue;
			if (i < first)
				first = i;
			last = i + 1;
		}
	}
	if (first >= last)
		return;
	reply->changed_offset = (uint16_t)first;
	if (last - first > CHANGED_LIMIT) {
		reply->changed_bytes = 0xffff;
	} else {
		reply->changed_bytes = (uint16_t)(last - first);
		copy(reply->changed, alias + first, last - first);
	}
	copy(alias + DATA_OFFSET, background, DATA_BYTES);
}

static void finish(const struct request *request, struct reply *reply, const gregset_t regs, const uint8_t *fpu)
{
	if (request->has_fpu)
		copy(reply->fpu, fpu, FPU_BYTES);
	for (int i = 0; i < 16; i++)
		reply->gpr[i] = (uint64_t)regs[GREGS[i]];
	reply->rip = (uint64_t)regs[REG_RIP];
	reply->rflags = (uint64_t)regs[REG_EFL];
	reply->vector = (int32_t)regs[REG_TRAPNO];
	reply->error = (int32_t)regs[REG_ERR];
	reply->cr2 = reply->vector == 14 ? (uint64_t)regs[REG_CR2] : 0;
	note_memory(request, reply);
	for (uint32_t i = 0; i < request->code_bytes; i++)
		alias[CODE_OFFSET + request->code_offset + i] = INT3;
	for (uint32_t i = 0; i < request->patch_bytes; i++)
		alias[request->patch_offset + i] = *background_at(request->patch_offset + i);
}

static void on_signal(int number, siginfo_t *info, void *context)
{
	/* POPF may have set what would make us fault or leak into the next case. */
	__asm__ volatile("pushfq; andq %0, (%%rsp); popfq" ::"i"(~(RFLAGS_NT | RFLAGS_AC | RFLAGS_ID)) : "memory", "cc");
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	uint8_t *fpu = (uint8_t *)((ucontext_t *)context)->uc_mcontext.fpregs;
	(void)number;
	(void)info;
	if (!started) {
		started = 1;
		for (int i = 0; i < NGREG; i++)
			home[i] = regs[i];
		copy(home_fpu, fpu, FPU_BYTES);
	} else {
		finish(&requests[current], &replies[current], regs, fpu);
		current++;
	}
	if (current < count) {
		start(&requests[current], regs, fpu);
		return;
	}
	set_fpu(fpu, home_fpu);
	set_bases(home_fs, home_gs);
	for (int i = 0; i < NGREG; i++)
		regs[i] = home[i];
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void read_all(void *to, size_t bytes)
{
	if (fread(to, 1, bytes, stdin) != bytes) {
		fprintf(stderr, "short input\n");
		exit(1);
	}
}

static void map_view(int fd, uint32_t offset, size_t bytes, int rights)
{
	void *want = (void *)(ARENA_BASE + (uint64_t)offset);
	if (mmap(want, bytes, rights, MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE, fd, offset) != want)
		die("arena");
}

int main(void)
{
	read_all(&count, sizeof count);
	read_all(background, sizeof background);
	requests = calloc(count + 1, sizeof *requests);
	replies = calloc(count + 1, sizeof *replies);
	if (requests == NULL || replies == NULL)
		die("memory");
	read_all(requests, (size_t)count * sizeof *requests);

	int fd = memfd_create("arena", 0);
	if (fd < 0 || ftruncate(fd, ARENA_BYTES) != 0)
		die("memfd");
	alias = mmap(NULL, ARENA_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	if (alias == MAP_FAILED)
		die("alias");
	memset(alias + CODE_OFFSET, INT3, CODE_BYTES);
	memcpy(alias + DATA_OFFSET, background, DATA_BYTES);
	memcpy(alias + READ_ONLY_OFFSET, background + DATA_BYTES, READ_ONLY_BYTES);
	map_view(fd, CODE_OFFSET, CODE_BYTES, PROT_READ | PROT_EXEC);
	map_view(fd, DATA_OFFSET, DATA_BYTES, PROT_READ | PROT_WRITE);
	map_view(fd, READ_ONLY_OFFSET, READ_ONLY_BYTES, PROT_READ);

	fsgsbase = (getauxval(AT_HWCAP2) & HWCAP2_USER_FSGSBASE) != 0;
	raw_arch_prctl(ARCH_GET_FS, (uint64_t)&home_fs);
	raw_arch_prctl(ARCH_GET_GS, (uint64_t)&home_gs);

	stack_t stack = { .ss_sp = signal_stack, .ss_size = sizeof signal_stack };
	if (sigaltstack(&stack, NULL) != 0)
		die("sigaltstack");
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	sigfillset(&action.sa_mask);
	sigdelset(&action.sa_mask, SIGALRM);
	static const int SIGNALS[] = { SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGILL };
	for (size_t i = 0; i < sizeof SIGNALS / sizeof *SIGNALS; i++)
		if (sigaction(SIGNALS[i], &action, NULL) != 0)
			die("sigaction");

	alarm(SECONDS_LIMIT); /* a case that loops for ever kills us, and the caller hears of it */
	__asm__ volatile("int3" ::: "memory");
	alarm(0);

	if (fwrite(replies, sizeof *replies, count, stdout) != count || fflush(stdout) != 0)
		die("stdout");
	return 0;
}
