// SPDX-License-Identifier: MIT
/*
 * queue_names_test.c - tasks and loops with names: in the figures of their queue, in stm_stats_by_name(), for
 * stm_policy().
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>

#include <uffdstm.h>

#include "queue_support.h"

#define MOST 512

static int open_unnamed(const struct stm_queue_options *queue_options)
{
	unsetenv("UFFDSTM_STATS");      /* what has no name has no figures */
	return open_queue(0, queue_options);
}

static int add_named(stm_fn *fn, uintptr_t arg, const char *name)
{
	struct stm_task_options options = { .size = sizeof(options), .name = name };

	return stm_queue_add_with(queue, fn, (void *)arg, &options);
}

static int count_one(void *arg)
{
	count((unsigned int)(uintptr_t)arg);
	return 0;
}

static int count_two(void *arg)
{
	count_one(arg);
	return count_one(arg);
}

/* ---- figures ---- */

static struct stm_name_stats stats[MOST];

static int stats_n(void)
{
	return stm_stats_by_name(stats, MOST, sizeof(stats[0]));
}

static const struct stm_name_stats *by_name(const char *name)
{
	static const struct stm_name_stats nothing;
	int n = stats_n();

	for (int i = 0; i < n && i < MOST; i++)
		if (stats[i].name && !strcmp(stats[i].name, name))
			return &stats[i];
	return &nothing;
}

static uint64_t commits_of(const char *name)
{
	return by_name(name)->commits + by_name(name)->commits_read_only;
}

static struct stm_function_counts counts[MOST];

static int counts_n(void)
{
	return stm_queue_function_counts(queue, counts, sizeof(counts[0]), MOST);
}

/* What the queue says of @fn with @name, or without one: NULL. */
static struct stm_function_counts figures_of(stm_fn *fn, const char *name)
{
	int n = counts_n();

	for (int i = 0; i < n && i < MOST; i++)
		if (counts[i].fn == fn && !counts[i].name == !name && (!name || !strcmp(counts[i].name, name)))
			return counts[i];
	return (struct stm_function_counts){ .fn = NULL };
}

/* By function and name in the queue, by name alone everywhere; in one worker and in several, in several runs. */
static void run_several_kinds(struct __test_metadata *_metadata)
{
	for (unsigned int round = 1; round <= 4; round++) {
		for (uintptr_t i = 0; i < 5; i++) {
			EXPECT_EQ(0, add_named(count_one, i, "first"));
			EXPECT_EQ(0, add_named(count_two, i, "first"));
			EXPECT_EQ(0, add_named(count_two, i, "first"));
		}
		for (uintptr_t i = 0; i < 3; i++)
			EXPECT_EQ(0, add_named(count_one, i, "second"));
		EXPECT_EQ(0, stm_queue_add(queue, count_one, (void *)7));
		EXPECT_EQ(0, add_named(count_one, 7, NULL));
		EXPECT_EQ(0, stm_queue_run(queue, round));
		EXPECT_EQ(4, counts_n());
		EXPECT_EQ(5 * round, figures_of(count_one, "first").executed);
		EXPECT_EQ(10 * round, figures_of(count_two, "first").executed);
		EXPECT_EQ(3 * round, figures_of(count_one, "second").executed);
		EXPECT_EQ(2 * round, figures_of(count_one, NULL).executed);
		EXPECT_EQ(2, stats_n());
		EXPECT_EQ(15 * round, commits_of("first"));
		EXPECT_EQ(3 * round, commits_of("second"));
	}
	EXPECT_TRUE(by_name("second")->task == count_one);
	EXPECT_STREQ("second", by_name("second")->site->name);
	EXPECT_TRUE(by_name("second")->write_set_mean == 1);
	EXPECT_EQ(1, by_name("second")->read_set_most);
}

TEST(by_function_and_name)
{
	ASSERT_EQ(0, open_unnamed(NULL));
	run_several_kinds(_metadata);
}

TEST(in_order_too)
{
	struct stm_queue_options ordered = { .size = sizeof(ordered), .ordered = true };

	ASSERT_EQ(0, open_unnamed(&ordered));
	run_several_kinds(_metadata);
}

/* A block and a task may have the same name. */
TEST(blocks_and_tasks)
{
	ASSERT_EQ(0, open_unnamed(NULL));
	ASSERT_EQ(0, add_named(count_one, 0, "both"));
	ASSERT_EQ(0, stm_queue_run(queue, 1));
	STM_ATOMIC_NAMED("both") {
		count_two(NULL);
	}
	EXPECT_EQ(1, stats_n());
	EXPECT_EQ(2, commits_of("both"));
}

TEST(the_name_is_copied)
{
	char name[] = "one";

	ASSERT_EQ(0, open_unnamed(NULL));
	ASSERT_EQ(0, add_named(count_one, 0, name));
	strcpy(name, "two");
	ASSERT_EQ(0, add_named(count_one, 0, name));
	memset(name, '-', sizeof(name) - 1);
	ASSERT_EQ(0, stm_queue_run(queue, 1));
	EXPECT_EQ(1, commits_of("one"));
	EXPECT_EQ(1, commits_of("two"));
	EXPECT_EQ(2, stats_n());
}

/* It stays the same: in the next step, with a priority, for a queue that is used after stm_fini(). */
static int three_steps(void *arg)
{
	uintptr_t i = (uintptr_t)arg;

	count_one(arg);
	return STM_GET(*counter(i)) % 3 ? STM_QUEUE_AGAIN : 0;
}

TEST(steps_and_priorities)
{
	struct stm_task_options options = { .size = sizeof(options), .name = "urgent", .priority = 5 };

	ASSERT_EQ(0, open_unnamed(NULL));
	for (int round = 0; round < 2; round++) {
		ASSERT_EQ(0, add_named(three_steps, 0, "steps"));
		ASSERT_EQ(0, stm_queue_add_with(queue, count_one, (void *)1, &options));
		ASSERT_EQ(0, stm_queue_run(queue, 2));
		EXPECT_EQ(3, commits_of("steps"));
		EXPECT_EQ(1, commits_of("urgent"));
		EXPECT_EQ(3 * (uint64_t)round + 3, figures_of(three_steps, "steps").executed);
		EXPECT_EQ((uint64_t)round + 1, figures_of(count_one, "urgent").executed);
		ASSERT_EQ(0, stm_fini());
		ASSERT_EQ(0, stm_init(NULL));
		ASSERT_EQ(0, stm_thread_attach());
		EXPECT_EQ(0, stats_n());
	}
}

/* ---- who adds ---- */

static int add_children(void *arg)
{
	(void)arg;
	if (add_named(count_one, 1, "child") || add_named(count_one, 2, "child") ||
	    add_named(count_two, 3, "other child"))
		return ENOMEM;
	count_one((void *)4);
	return 0;
}

static int add_and_fail(void *arg)
{
	return add_named(count_one, 5, "never") ? ENOMEM : arg != NULL;
}

TEST(tasks_that_tasks_add)
{
	ASSERT_EQ(0, open_unnamed(NULL));
	ASSERT_EQ(0, add_named(add_children, 0, "parent"));
	ASSERT_EQ(0, stm_queue_run(queue, 2));
	EXPECT_EQ(1, commits_of("parent"));
	EXPECT_EQ(2, commits_of("child"));
	EXPECT_EQ(1, commits_of("other child"));
	EXPECT_EQ(1, figures_of(count_two, "other child").executed);
	EXPECT_EQ(1, stm_atomic(add_and_fail, (void *)1));
	ASSERT_EQ(0, stm_queue_run(queue, 2));
	EXPECT_EQ(0, commits_of("never"));
	EXPECT_EQ(0, figures_of(count_one, "never").executed);
}

#define THREADS 3
#define ROUNDS 400

static _Atomic unsigned int arrived;

/* Each round all make the same name, at the same time. */
static void *add_many(void *arg)
{
	char name[16];

	for (unsigned int i = 0; i < ROUNDS; i++) {
		snprintf(name, sizeof(name), "name %u", i);
		arrived++;
		while (arrived < THREADS * (i + 1))
			sched_yield();
		if (add_named(i % 3 ? count_two : count_one, i % 16, name))
			return NULL;
	}
	return arg;
}

TEST(threads_add)
{
	pthread_t threads[THREADS];

	ASSERT_EQ(0, open_unnamed(NULL));
	for (int i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, add_many, (void *)1));
	for (int i = 0; i < THREADS; i++) {
		void *result;

		ASSERT_EQ(0, pthread_join(threads[i], &result));
		EXPECT_NE(NULL, result);
	}
	ASSERT_EQ(0, stm_queue_run(queue, 2));
	EXPECT_EQ(ROUNDS, counts_n());
	EXPECT_EQ(ROUNDS, stats_n());
	for (int i = 0; i < ROUNDS; i++) {
		EXPECT_EQ(THREADS, stats[i].commits);
		EXPECT_EQ(THREADS, counts[i].executed);
	}
}

/* ---- loops ---- */

static int piece(size_t begin, size_t end, void *arg)
{
	(void)arg;
	for (size_t i = begin; i < end; i++)
		count_one((void *)(i % 16));
	return 0;
}

static int reduce(size_t begin, size_t end, void *value, void *arg)
{
	*(long *)value += (long)(end - begin);
	return piece(begin, end, arg);
}

static void add(void *value, const void *next, void *arg)
{
	(void)arg;
	*(long *)value += *(const long *)next;
}

TEST(pieces_of_loops)
{
	struct stm_run_options run = { .size = sizeof(run), .threads = 2 };
	struct stm_loop_options options = { .size = sizeof(options), .grain = 10, .name = "loop", .run = &run };
	struct stm_reduction reduction = {
		.size = sizeof(reduction), .bytes = sizeof(long), .identity = &(long){ 0 }, .piece = reduce,
		.combine = add
	};
	long sum;

	ASSERT_EQ(0, open_unnamed(NULL));
	ASSERT_EQ(0, stm_parallel_for_with(0, 100, piece, NULL, &options));
	EXPECT_EQ(10, commits_of("loop"));
	EXPECT_EQ((uintptr_t)piece, (uintptr_t)by_name("loop")->task); /* and not the library's */
	options.ordered = true;
	ASSERT_EQ(0, stm_parallel_for_with(0, 100, piece, NULL, &options));
	EXPECT_EQ(20, commits_of("loop"));
	options.name = "reduction";
	ASSERT_EQ(0, stm_parallel_reduce(0, 50, &reduction, &sum, NULL, &options));
	EXPECT_EQ(50, sum);
	EXPECT_EQ(5, commits_of("reduction"));
	EXPECT_EQ((uintptr_t)reduce, (uintptr_t)by_name("reduction")->task);
	ASSERT_EQ(0, stm_parallel_for(0, 100, 10, piece, NULL));
	/* Of a program that knows no names: its structure ends before. */
	options.size = offsetof(struct stm_loop_options, name);
	options.name = (const char *)1;
	ASSERT_EQ(0, stm_parallel_for_with(0, 100, piece, NULL, &options));
	EXPECT_EQ(2, stats_n());
	EXPECT_EQ(20, commits_of("loop"));
}

/* ---- what is undone ---- */

static _Atomic int tries;

static int restart_5_times(void *arg)
{
	count_one(arg);
	if (tries++ < 5) {
		usleep(1000);
		stm_restart();
	}
	return 0;
}

TEST(restarts_and_the_time_lost)
{
	ASSERT_EQ(0, open_unnamed(NULL));
	ASSERT_EQ(0, add_named(restart_5_times, 0, "restarted"));
	ASSERT_EQ(0, add_named(count_one, 0, "not"));
	ASSERT_EQ(0, stm_queue_run(queue, 1));
	EXPECT_EQ(5, by_name("restarted")->aborts[STM_ABORT_RESTART]);
	EXPECT_EQ(1, by_name("restarted")->commits);
	EXPECT_EQ(6, by_name("restarted")->attempts_most);
	EXPECT_LE(5000000, by_name("restarted")->lost_ns);
	EXPECT_EQ(0, by_name("not")->lost_ns);
	EXPECT_EQ(5, figures_of(restart_5_times, "restarted").restarts);
	EXPECT_LE(4000000, figures_of(restart_5_times, "restarted").lost_ns); /* the first is a guess */
	EXPECT_EQ(0, figures_of(count_one, "not").restarts);
	EXPECT_STREQ("restarted", stats[0].name); /* it lost most */
}

static uint64_t inevitable(void)
{
	struct stm_stats s;

	return stm_stats(&s, sizeof(s)) ? 0 : s.inevitable;
}

/* The policy of that name is the task's: right of way after three failed attempts. Others have eight. */
TEST(policies)
{
	struct stm_policy policy = STM_POLICY_INIT;
	uint64_t before;

	ASSERT_EQ(0, open_unnamed(NULL));
	policy.attempts = 3;
	ASSERT_EQ(0, stm_policy("pushy", &policy));
	before = inevitable();
	ASSERT_EQ(0, add_named(restart_5_times, 0, "patient"));
	ASSERT_EQ(0, stm_queue_run(queue, 1));
	EXPECT_EQ(before, inevitable());
	tries = 0;
	ASSERT_EQ(0, add_named(restart_5_times, 0, "pushy"));
	ASSERT_EQ(0, stm_queue_run(queue, 1));
	EXPECT_LT(before, inevitable());
}

/* ---- the call ---- */

/* Of a program that knows no names: its structure ends before. */
TEST(sizes)
{
	struct stm_task_options options = {
		.size = offsetof(struct stm_task_options, name), .name = (const char *)1, .priority = 1
	};
	struct stm_function_counts c = { .name = "untouched" };

	ASSERT_EQ(0, open_unnamed(NULL));
	ASSERT_EQ(0, stm_queue_add_with(queue, count_one, NULL, &options));
	ASSERT_EQ(0, stm_queue_run(queue, 1));
	EXPECT_EQ(1, stm_queue_function_counts(queue, &c, offsetof(struct stm_function_counts, name), 1));
	EXPECT_EQ(1, c.executed);
	EXPECT_STREQ("untouched", c.name);
	EXPECT_EQ(0, stats_n());
}

/* More names than there is room for: that is said, nothing is added, and those that are known are still. */
TEST(too_many_names)
{
	unsigned int n = 0;
	char name[16];
	int error;

	ASSERT_EQ(0, open_unnamed(NULL));
	do {
		snprintf(name, sizeof(name), "%u", n);
		error = add_named(count_one, n % 16, name);
		n += !error;
	} while (!error && n < 100000);
	EXPECT_EQ(-ENOMEM, error);
	EXPECT_LE(10000, n);
	EXPECT_EQ(0, add_named(count_one, 0, "0"));
	EXPECT_EQ(0, add_named(count_one, 0, NULL));
	ASSERT_EQ(0, stm_queue_run(queue, 1));
	EXPECT_EQ((int)n + 1, stm_queue_function_counts(queue, NULL, sizeof(counts[0]), 0));
	EXPECT_EQ((int)n, stats_n());
}

TEST_HARNESS_MAIN
