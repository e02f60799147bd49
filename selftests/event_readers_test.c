// SPDX-License-Identifier: MIT
/*
 * event_readers_test.c - UFFDSTM_LOG_READERS names the line that reads what a conflict was about, among others that
 * read the same kind of object, and does no harm: to results, to signals.
 */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "event_support.h"

#define THIS "event_readers_test.c"

struct node {
	long words[2];
};

#define NODES 2048
#define TARGET 1024
#define WATCHED_ALWAYS 64       /* conflicts of a site; then at each power of two */
#define STEPS 256               /* barriers that are let through in one attempt */

static struct node STM *nodes;  /* a page of markers is of 1,024 */
static volatile long seen;      /* so that reads are not left out */

FIXTURE(readers) {
	struct event_log log;
};

FIXTURE_VARIANT(readers) {
	const char *engine;
};

FIXTURE_VARIANT_ADD(readers, sigbus) { "sigbus" };
FIXTURE_VARIANT_ADD(readers, thread) { "thread" };
FIXTURE_VARIANT_ADD(readers, async) { "async" };

FIXTURE_SETUP(readers)
{
	struct stm_options options;
	int error;

	unsetenv("UFFDSTM_STRICT"); /* steps, too */
	make_log_dir();
	options = options_for_log();
	options.engine = variant->engine;
	options.event_readers = 1;
	options.cluster = options.cluster_max = 1;
	error = stm_init(&options);
	if (error == -EOPNOTSUPP)
		SKIP(return, "this kernel, or these rights, do not allow the engine");
	ASSERT_EQ(0, error);
	ASSERT_EQ(0, stm_thread_attach());
	STM_ATOMIC {
		nodes = stm_zalloc((NODES + 1024) * sizeof(*nodes));
		elsewhere = stm_zalloc(sizeof(*elsewhere));
	}
	nodes = (struct node STM *)(((uintptr_t)nodes + 16383) / 16384 * 16384);
}

FIXTURE_TEARDOWN(readers)
{
	event_log_close(&self->log);
	remove_log_dir();
}

static void end(struct __test_metadata *_metadata, FIXTURE_DATA(readers) *self)
{
	ASSERT_EQ(0, stm_fini());
	ASSERT_TRUE(event_log_open(&self->log, log_path));
	ASSERT_TRUE(self->log.whole);
}

static void write_target(void)
{
	STM_SET(nodes[TARGET].words[1], STM_GET(nodes[TARGET].words[1]) + 1);
}

static void conflict_over_target(void (*read)(void))
{
	struct duel duel = { .read = read, .write = write_target };

	fight(&duel);
}

/* ---- the line ---- */

static int line, call_line;

static void one_of_several(void)
{
	seen = STM_GET(nodes[TARGET - 1].words[0]);
	seen = STM_GET(nodes[TARGET + 1].words[0]);
	seen = STM_GET(nodes[TARGET].words[0]), NOTE(line);
	seen = STM_GET(nodes[TARGET + 2].words[0]);
}

/* Or the compiler leaves the first mark out. */
static void first_of_two(void)
{
	seen = STM_GET(nodes[TARGET].words[0]), NOTE(line);
	__asm__ volatile("" : : : "memory");
	seen = STM_GET(nodes[TARGET].words[0]);
}

static NOINLINE long get(struct node STM *n, int *to)
{
	long value = STM_GET(n->words[0]); NOTE(*to);

	return value;
}

static void in_a_function(void)
{
	int other;

	seen = get(&nodes[TARGET - 1], &other);
	seen = get(&nodes[TARGET], &line), NOTE(call_line);
	seen = get(&nodes[TARGET + 1], &other);
}

static inline __attribute__((__always_inline__)) long get_inlined(struct node STM *n)
{
	return STM_GET(n->words[0]);
}

enum { GET_INLINED_LINE = __LINE__ - 3 };

static void inlined(void)
{
	seen = get_inlined(&nodes[TARGET - 1]);
	seen = get_inlined(&nodes[TARGET]);
	line = GET_INLINED_LINE;
}

static void in_a_loop(void)
{
	long sum = 0;

	for (size_t i = TARGET - 50; i < TARGET + 50; i++)
		sum += STM_GET(nodes[i].words[0]), NOTE(line);
	seen = sum;
}

/* In the library: the call counts. The markers are stored four at once, over the page's start, too. */
static void by_range(void)
{
	volatile size_t n = 600;

	stm_read_range(&nodes[TARGET - 299], n * sizeof(*nodes)), NOTE(line);
}

static void by_memcpy_out(void)
{
	static struct node copy[100];

	stm_memcpy_out(copy, &nodes[TARGET - 50], sizeof(copy)), NOTE(line);
}

static void by_pages_edge(void)
{
	volatile size_t n = 4;

	stm_read_range(&nodes[TARGET - 2], n * sizeof(*nodes)), NOTE(line);
}

/* A write reads, too. */
static void by_write(void)
{
	STM_SET(nodes[TARGET - 1].words[0], 1);
	STM_SET(nodes[TARGET].words[0], 1), NOTE(line);
}

/* As many barriers on its page come before as are let through. */
static void after_many(void)
{
	for (size_t i = 1; i < STEPS; i++)
		seen = STM_GET(nodes[TARGET + i].words[0]);
	seen = STM_GET(nodes[TARGET].words[0]), NOTE(line);
}

static const struct reader {
	const char *name;
	void (*read)(void);
} all_readers[] = {
	{ "one of several", one_of_several },
	{ "first of two", first_of_two },
	{ "in a function", in_a_function },
	{ "inlined", inlined },
	{ "in a loop", in_a_loop },
	{ "by range", by_range },
	{ "by memcpy_out", by_memcpy_out },
	{ "by a page's edge", by_pages_edge },
	{ "by write", by_write },
	{ "after many", after_many },
};

/* The line of the first of the frames from @from on that is of this file. */
static int frame_line(const struct event_log *log, const struct event *e, unsigned int from, unsigned int *found)
{
	unsigned int n;
	const uint64_t *frames = event_frames(e, &n);

	for (*found = from; *found < n; ++*found) {
		int at = event_line(log, frames[*found], THIS);

		if (at)
			return at;
	}
	return 0;
}

TEST_F(readers, line_that_reads)
{
	const struct event *e = NULL;
	int lines[COUNT(all_readers)];
	unsigned int at;

	for (size_t i = 0; i < COUNT(all_readers); i++) {
		conflict_over_target(all_readers[i].read);
		lines[i] = line;
	}
	end(_metadata, self);
	ASSERT_EQ(COUNT(all_readers), event_count(&self->log, STM_EVENT_ABORT));
	ASSERT_EQ(COUNT(all_readers), event_count(&self->log, STM_EVENT_READER));
	for (size_t i = 0; i < COUNT(all_readers); i++) {
		e = event_next(&self->log, STM_EVENT_READER, e);
		EXPECT_EQ((uintptr_t)&nodes[TARGET], e->r.value);
		EXPECT_NE(0, e->r.site);
		if (!event_has_lines())
			continue;
		EXPECT_EQ(lines[i], frame_line(&self->log, e, 0, &at));
		if (frame_line(&self->log, e, 0, &at) != lines[i])
			printf("# %s\n", all_readers[i].name);
		if (all_readers[i].read == in_a_function)
			EXPECT_EQ(call_line, frame_line(&self->log, e, at + 1, &at));
	}
}

/* ---- bounds ---- */

static void after_too_many(void)
{
	for (size_t i = 1; i <= STEPS; i++)
		seen = STM_GET(nodes[TARGET + i].words[0]);
	seen = STM_GET(nodes[TARGET].words[0]);
}

TEST_F(readers, so_many_steps_and_no_more)
{
	conflict_over_target(after_too_many);
	end(_metadata, self);
	EXPECT_EQ(1, event_count(&self->log, STM_EVENT_ABORT));
	EXPECT_EQ(0, event_count(&self->log, STM_EVENT_READER));
}

TEST_F(readers, so_many_conflicts_and_then_fewer)
{
	for (int i = 0; i < WATCHED_ALWAYS + 10; i++)
		conflict_over_target(one_of_several);
	end(_metadata, self);
	EXPECT_EQ(WATCHED_ALWAYS + 10, event_count(&self->log, STM_EVENT_ABORT));
	EXPECT_EQ(WATCHED_ALWAYS + 1, event_count(&self->log, STM_EVENT_READER));
}

/* ---- what cannot be told ---- */

static long STM *tracked;
static unsigned int attempts;

/* Its next page is read by the second attempt only, so that the library marks it then, in the watched page of markers. */
static void read_tracked(void)
{
	seen = ((volatile long STM *)tracked)[2], NOTE(line);
	if (attempts++)
		seen = ((volatile long STM *)tracked)[514];
}

static void write_tracked(void)
{
	((volatile long STM *)tracked)[2] = ((volatile long STM *)tracked)[2] + 1;
}

/* Its pages count as read by nobody's store, if they are mapped already; else the access that faulted is found. */
TEST_F(readers, tracked_memory_has_none_or_the_right_one)
{
	struct duel duel = { .read = read_tracked, .write = write_tracked };
	const struct event *e;
	unsigned int at;

	STM_ATOMIC {
		tracked = stm_alloc_tracked(8192);
		tracked[0] = 1;
	}
	ASSERT_EQ(0, stm_thread_detach()); /* or both pages would be mapped */
	ASSERT_EQ(0, stm_thread_attach());
	STM_ATOMIC {
		seen = tracked[0];
	}
	fight(&duel);
	end(_metadata, self);
	EXPECT_EQ(1, event_count(&self->log, STM_EVENT_ABORT));
	EXPECT_GE(1, event_count(&self->log, STM_EVENT_READER));
	e = event_first(&self->log, STM_EVENT_READER);
	if (e && event_has_lines() && strcmp(variant->engine, "thread"))
		EXPECT_EQ(line, frame_line(&self->log, e, 0, &at));
}

/* ---- signals ---- */

static void mask(int how, int signum)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, signum);
	if (pthread_sigmask(how, &set, NULL))
		abort();
}

static bool is_blocked(int signum)
{
	sigset_t set;

	return !pthread_sigmask(SIG_BLOCK, NULL, &set) && sigismember(&set, signum) == 1;
}

/* The fault would kill, so there is none. */
TEST_F(readers, blocked_segv)
{
	mask(SIG_BLOCK, SIGSEGV);
	conflict_over_target(one_of_several);
	mask(SIG_UNBLOCK, SIGSEGV);
	conflict_over_target(one_of_several);
	end(_metadata, self);
	EXPECT_EQ(1, event_count(&self->log, STM_EVENT_READER));
}

TEST_F(readers, blocked_trap)
{
	mask(SIG_BLOCK, SIGTRAP);
	conflict_over_target(one_of_several);
	EXPECT_TRUE(is_blocked(SIGTRAP));
	end(_metadata, self);
	EXPECT_EQ(1, event_count(&self->log, STM_EVENT_READER));
}

static volatile int signals;

static void on_signal(int signum)
{
	signals++;
	(void)signum;
}

/* The program's handlers, put over ours, see nothing of it. */
TEST_F(readers, handlers_of_the_program)
{
	static const int signums[] = { SIGSEGV, SIGTRAP };
	struct sigaction act = { .sa_handler = on_signal, .sa_flags = SA_RESETHAND }, old;

	for (size_t i = 0; i < COUNT(signums); i++) {
		ASSERT_EQ(0, sigaction(signums[i], &act, &old));
		conflict_over_target(one_of_several);
		EXPECT_EQ(0, signals);
		ASSERT_EQ(0, sigaction(signums[i], &old, NULL));
	}
	end(_metadata, self);
	EXPECT_EQ(2, event_count(&self->log, STM_EVENT_ABORT));
	EXPECT_EQ(0, event_count(&self->log, STM_EVENT_READER));
}

/* As the C library's manual wants it to be. */
TEST_F(readers, alternate_stack)
{
	size_t size = (size_t)SIGSTKSZ;
	stack_t stack = { .ss_size = size, .ss_sp = malloc(size) };

	ASSERT_EQ(0, sigaltstack(&stack, NULL));
	conflict_over_target(one_of_several);
	stack.ss_flags = SS_DISABLE;
	ASSERT_EQ(0, sigaltstack(&stack, NULL));
	free(stack.ss_sp);
	end(_metadata, self);
	EXPECT_EQ(1, event_count(&self->log, STM_EVENT_READER));
}

/* ---- results ---- */

#define THREADS 4
#define ROUNDS 3000

static int add_to_some(void *arg)
{
	size_t first = *(size_t *)arg;

	for (size_t i = 0; i < 10; i++) {
		struct node STM *n = &nodes[TARGET + (first + i * 17) % 40];

		STM_SET(n->words[0], STM_GET(n->words[0]) + 1);
	}
	return 0;
}

static void *add(void *arg)
{
	if (stm_thread_attach())
		abort();
	for (size_t i = 0; i < ROUNDS; i++)
		stm_atomic(add_to_some, &i);
	if (stm_thread_detach())
		abort();
	return arg;
}

TEST_F(readers, many_at_once)
{
	pthread_t threads[THREADS];
	long sum = 0;

	for (int i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, add, NULL));
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	STM_ATOMIC {
		sum = 0;
		for (size_t i = 0; i < 40; i++)
			sum += STM_GET(nodes[TARGET + i].words[0]);
	}
	EXPECT_EQ(THREADS * ROUNDS * 10, sum);
	end(_metadata, self);
	EXPECT_GE(event_count(&self->log, STM_EVENT_ABORT), event_count(&self->log, STM_EVENT_READER));
}

TEST_HARNESS_MAIN
