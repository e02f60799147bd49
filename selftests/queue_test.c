// SPDX-License-Identifier: MIT
/*
 * queue_test.c - queues of transactions: each task once, additions by tasks, failures, stealing.
 *
 * Tasks count themselves in the heap, where an aborted attempt leaves nothing behind. A wake-up
 * that gets lost shows as a test that does not end.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>

#include <uffdstm.h>

#include "queue_support.h"

#include "kselftest_harness.h"

static int count_one(void *arg)
{
	count((unsigned int)(uintptr_t)arg);
	return 0;
}

/* ---- each task once ---- */

#define TASKS 5000u
#define COUNTERS 60u                    /* that the tasks share */

static int note(void *arg)
{
	count((unsigned int)((uintptr_t)arg % COUNTERS));
	return 0;
}

TEST(each_task_runs_once)
{
	static const unsigned int threads[] = { 1, 2, 3, 8, 40 };
	uint64_t rounds = 0;

	ASSERT_EQ(0, open_queue(64, NULL));
	for (size_t i = 0; i < sizeof(threads) / sizeof(threads[0]); i++) {
		for (uintptr_t k = 0; k < TASKS; k++)
			ASSERT_EQ(0, stm_queue_add(queue, note, (void *)k));
		ASSERT_EQ(0, stm_queue_run(queue, threads[i]));
		rounds++;
		EXPECT_EQ(rounds * TASKS, counts_of(queue).executed);
		for (unsigned int k = 0; k < COUNTERS; k++)
			EXPECT_EQ(rounds * (TASKS / COUNTERS + (k < TASKS % COUNTERS)), counted(k));
	}
	EXPECT_EQ(0, stm_queue_run(queue, 2)); /* nothing to do */
	EXPECT_EQ(rounds * TASKS, counts_of(queue).executed);
	EXPECT_EQ(0, stm_queue_free(queue));
}

static unsigned int order[TASKS], ordered;

static void note_order(void *arg)
{
	order[ordered++] = (unsigned int)(uintptr_t)arg;
}

static int note_order_task(void *arg)
{
	return stm_on_commit(note_order, arg);
}

TEST(one_worker_keeps_the_order)
{
	ASSERT_EQ(0, open_queue(4, NULL));
	for (uintptr_t k = 0; k < TASKS; k++)
		ASSERT_EQ(0, stm_queue_add(queue, note_order_task, (void *)k));
	ASSERT_EQ(0, stm_queue_run(queue, 1));
	ASSERT_EQ(TASKS, ordered);
	for (unsigned int k = 0; k < TASKS; k++)
		ASSERT_EQ(k, order[k]);
}

/* ---- additions by tasks ---- */

static int add_two(void *arg)
{
	uintptr_t depth = (uintptr_t)arg;

	count(depth % 2);
	for (int i = 0; i < 2 && depth; i++)
		if (stm_queue_add(queue, add_two, (void *)(depth - 1)))
			return ENOMEM;
	return 0;
}

TEST(tasks_add_tasks)
{
	ASSERT_EQ(0, open_queue(64, NULL));
	for (unsigned int threads = 1; threads <= 4; threads++) {
		ASSERT_EQ(0, stm_queue_add(queue, add_two, (void *)11));
		ASSERT_EQ(0, stm_queue_run(queue, threads));
		EXPECT_EQ(threads * 4095, counts_of(queue).executed);
		EXPECT_EQ(threads * 4095, counted(0) + counted(1));
	}
}

/* One after another, while the other workers have nothing to do but sleep and wake up. */
static int add_next(void *arg)
{
	uintptr_t left = (uintptr_t)arg;

	count(0);
	return left ? stm_queue_add(queue, add_next, (void *)(left - 1)) : 0;
}

TEST(a_chain_of_tasks_comes_to_its_end)
{
	ASSERT_EQ(0, open_queue(64, NULL));
	for (unsigned int threads = 1; threads <= 4; threads++) {
		ASSERT_EQ(0, stm_queue_add(queue, add_next, (void *)999));
		ASSERT_EQ(0, stm_queue_run(queue, threads));
		EXPECT_EQ(threads * 1000, counted(0));
	}
}

/* Two tasks that need each other, in one worker's list: another worker must come and take one. */
static pthread_barrier_t both;

/* A second attempt would wait for nobody: so each has a granule of its own. */
static int meet(void *arg)
{
	pthread_barrier_wait(&both);
	return count_one(arg);
}

static int add_two_that_meet(void *arg)
{
	int error = stm_queue_add(queue, meet, (void *)0);

	return error ? error : stm_queue_add(queue, meet, (void *)1);
}

static int add_pair_later(void *arg)
{
	return stm_queue_add(queue, add_two_that_meet, NULL);
}

TEST(workers_steal)
{
	ASSERT_EQ(0, open_queue(64, NULL));
	pthread_barrier_init(&both, NULL, 2);
	for (int i = 0; i < 50; i++) {
		ASSERT_EQ(0, stm_queue_add(queue, add_pair_later, NULL));
		ASSERT_EQ(0, stm_queue_run(queue, 3));
	}
	EXPECT_EQ(50, counted(0));
	EXPECT_EQ(50, counted(1));
}

/* The same, where the second comes from outside while the other worker sleeps. */
static pthread_barrier_t entered, left;

static int enter_and_meet(void *arg)
{
	pthread_barrier_wait(&entered);
	return meet(arg);
}

static void *run_two(void *arg)
{
	return (void *)(intptr_t)stm_queue_run(queue, 2);
}

TEST(an_addition_wakes_a_worker)
{
	ASSERT_EQ(0, open_queue(64, NULL));
	pthread_barrier_init(&both, NULL, 2);
	pthread_barrier_init(&entered, NULL, 2);
	for (int i = 0; i < 30; i++) {
		pthread_t runner;
		void *result;

		ASSERT_EQ(0, stm_queue_add(queue, enter_and_meet, (void *)0));
		ASSERT_EQ(0, pthread_create(&runner, NULL, run_two, NULL));
		pthread_barrier_wait(&entered);
		usleep(3000); /* the other has the time to fall asleep */
		ASSERT_EQ(0, stm_queue_add(queue, meet, (void *)1));
		ASSERT_EQ(0, pthread_join(runner, &result));
		ASSERT_EQ(NULL, result);
	}
	EXPECT_EQ(30, counted(1));
}

/* ---- additions in transactions ---- */

static int attempts;

static int add_and_restart(void *arg)
{
	for (int i = 0; i < 10; i++)
		if (stm_queue_add(queue, count_one, (void *)(uintptr_t)(i % 2)))
			return ENOMEM;
	if (++attempts < 5)
		stm_restart();
	return (int)(uintptr_t)arg;
}

TEST(additions_of_aborted_attempts_vanish)
{
	ASSERT_EQ(0, open_queue(4, NULL));
	/* by a thread that is no worker */
	ASSERT_EQ(0, stm_atomic(add_and_restart, NULL));
	ASSERT_EQ(0, stm_queue_run(queue, 2));
	EXPECT_EQ(10, counts_of(queue).executed);
	EXPECT_EQ(5, counted(0));
	EXPECT_EQ(5, counted(1));
	EXPECT_EQ(3, stm_atomic(add_and_restart, (void *)3));
	ASSERT_EQ(0, stm_queue_run(queue, 2));
	EXPECT_EQ(10, counts_of(queue).executed);
	/* by a task */
	attempts = 0;
	ASSERT_EQ(0, stm_queue_add(queue, add_and_restart, NULL));
	ASSERT_EQ(0, stm_queue_run(queue, 2));
	EXPECT_EQ(21, counts_of(queue).executed);
	EXPECT_LE(4, counts_of(queue).restarts);
	EXPECT_EQ(10, counted(0));
	/* by a task that fails */
	ASSERT_EQ(0, stm_queue_add(queue, add_and_restart, (void *)4));
	EXPECT_EQ(4, stm_queue_run(queue, 2));
	EXPECT_EQ(0, stm_queue_run(queue, 2));
	EXPECT_EQ(21, counts_of(queue).executed);
	EXPECT_EQ(0, stm_queue_free(queue));
}

TEST(additions_appear_at_commit)
{
	ASSERT_EQ(0, open_queue(4, NULL));
	STM_ATOMIC {
		EXPECT_EQ(0, stm_queue_add(queue, count_one, NULL));
		EXPECT_EQ(NULL, in_thread(run_two, NULL));
		EXPECT_EQ(0, counts_of(queue).executed);
	}
	EXPECT_EQ(NULL, in_thread(run_two, NULL));
	EXPECT_EQ(1, counts_of(queue).executed);
	EXPECT_EQ(1, counted(0));
}

/* A commit hook that runs before the additions are made runs transactions that add, too. */
static void add_in_hook(void *arg)
{
	STM_ATOMIC {
		if (stm_queue_add(queue, count_one, (void *)1))
			stm_cancel(1);
	}
	STM_ATOMIC {
		stm_queue_add(queue, count_one, (void *)2);
		stm_cancel(1);
	}
	stm_queue_add(queue, count_one, (void *)3);
}

TEST(hooks_add_besides_their_transaction)
{
	ASSERT_EQ(0, open_queue(4, NULL));
	for (unsigned int i = 1; i <= 3; i++) {
		STM_ATOMIC {
			EXPECT_EQ(0, stm_on_commit(add_in_hook, NULL));
			EXPECT_EQ(0, stm_queue_add(queue, count_one, (void *)0));
		}
		ASSERT_EQ(0, stm_queue_run(queue, 2));
		EXPECT_EQ(i, counted(0));
		EXPECT_EQ(i, counted(1));
		EXPECT_EQ(0, counted(2));
		EXPECT_EQ(i, counted(3));
	}
}

TEST(one_transaction_adds_to_several_queues)
{
	struct stm_queue *first, *second;

	ASSERT_EQ(0, open_queue(4, NULL));
	first = queue;
	second = stm_queue_new(NULL);
	ASSERT_NE(NULL, second);
	STM_ATOMIC {
		for (uintptr_t i = 0; i < 90; i++)
			stm_queue_add(i % 3 ? first : second, count_one, (void *)(i % 3));
	}
	ASSERT_EQ(0, stm_queue_run(second, 1));
	EXPECT_EQ(30, counted(0));
	EXPECT_EQ(0, counted(1) + counted(2));
	ASSERT_EQ(0, stm_queue_run(first, 2));
	EXPECT_EQ(30, counted(0));
	EXPECT_EQ(60, counted(1) + counted(2));
	EXPECT_EQ(0, stm_queue_free(first));
	EXPECT_EQ(0, stm_queue_free(second));
}

/* ---- adding while it runs ---- */

#define OUTSIDE 20000u

static void *add_many(void *arg)
{
	for (unsigned int i = 0; i < OUTSIDE; i++) {
		if (stm_queue_add(queue, count_one, (void *)(uintptr_t)(i % 4)))
			return (void *)1;
		if (i % 1000 == 0)
			sched_yield();
	}
	return NULL;
}

TEST(any_thread_adds_any_time)
{
	pthread_t adders[2];
	void *result;

	ASSERT_EQ(0, open_queue(8, NULL));
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&adders[i], NULL, add_many, NULL));
	while (counts_of(queue).executed < OUTSIDE)
		ASSERT_EQ(0, stm_queue_run(queue, 3));
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(adders[i], &result));
		ASSERT_EQ(NULL, result);
	}
	ASSERT_EQ(0, stm_queue_run(queue, 3));
	EXPECT_EQ(2 * OUTSIDE, counts_of(queue).executed);
	EXPECT_EQ(2 * OUTSIDE, counted(0) + counted(1) + counted(2) + counted(3));
}

/* ---- failures ---- */

struct failure {
	unsigned int at;
	int code;
	bool cancel;
};

static struct failure failure;

static int fail_once(void *arg)
{
	count(0);
	if ((uintptr_t)arg == failure.at) {
		if (failure.cancel)
			stm_cancel(failure.code);
		return failure.code;
	}
	return 0;
}

TEST(a_failed_task_stops_the_queue)
{
	uint64_t n = 0;

	ASSERT_EQ(0, open_queue(64, NULL));
	for (unsigned int threads = 1; threads <= 4; threads++) {
		for (unsigned int i = 0; i < 10; i++) {
			uint64_t before = counts_of(queue).executed;

			failure = (struct failure){ i * 50, (int)i - 5 ? (int)i - 5 : 77, i % 2 };
			for (uintptr_t k = 0; k < 500; k++)
				ASSERT_EQ(0, stm_queue_add(queue, fail_once, (void *)k));
			EXPECT_EQ(failure.code, stm_queue_run(queue, threads));
			n = counted(0);
			EXPECT_EQ(n, counts_of(queue).executed);
			/* Several workers are not in step; one is. */
			if (threads == 1) {
				EXPECT_EQ(before + i * 50, n);
			}
			failure.at = ~0u;
			EXPECT_EQ(0, stm_queue_run(queue, threads));
			EXPECT_EQ(before + 499, counts_of(queue).executed);
			EXPECT_EQ(before + 499, counted(0));
		}
	}
}

static int commit_with_code(void *arg)
{
	count(0);
	stm_become_inevitable("a test");
	return 5;
}

TEST(an_inevitable_task_commits_with_its_code)
{
	ASSERT_EQ(0, open_queue(4, NULL));
	ASSERT_EQ(0, stm_queue_add(queue, commit_with_code, NULL));
	EXPECT_EQ(5, stm_queue_run(queue, 1));
	EXPECT_EQ(1, counts_of(queue).executed);
	EXPECT_EQ(1, counted(0));
}

/* ---- the end of a task ---- */

#define FIRST 100u                      /* tasks that the test adds; those that tasks add have higher numbers */

static struct stm_queue *going;
static _Atomic unsigned int added[4 * FIRST], gone[4 * FIRST], steps[FIRST];
static _Atomic bool fails;

static void note_gone(stm_fn *fn, void *arg)
{
	if (fn)
		gone[(uintptr_t)arg]++;
}

static int go(void *arg);

static int add_going(uintptr_t i)
{
	int error = stm_queue_add(going, go, (void *)i);

	if (!error)
		added[i]++;
	return error;
}

/* A step, then an addition that is rolled back, one that an abort undoes, one that stays. */
static int go(void *arg)
{
	uintptr_t i = (uintptr_t)arg;
	int savepoint;

	count(0);
	if (i >= FIRST)
		return 0;
	if (steps[i]++ == 0)
		return STM_QUEUE_AGAIN;
	savepoint = stm_savepoint();
	if (add_going(i + FIRST) || stm_rollback(savepoint) || add_going(i + 2 * FIRST))
		return 1;
	if (steps[i] == 2)
		stm_restart();
	if (fails && i % 10 == 0)
		return 2;
	return add_going(i + 3 * FIRST);
}

TEST(each_task_is_gone_once)
{
	struct stm_queue_options options = { .size = sizeof(options), .gone = note_gone };

	ASSERT_EQ(0, open_queue(8, NULL));
	going = stm_queue_new(&options);
	ASSERT_NE(NULL, going);
	fails = true;
	for (uintptr_t i = 0; i < FIRST; i++)
		ASSERT_EQ(0, add_going(i));
	/* Each failure ends a run and is gone; those that failed behind it come back. */
	for (unsigned int failures = 0; failures < FIRST / 10; failures++) {
		unsigned int n = 0;

		EXPECT_EQ(2, stm_queue_run(going, 3));
		for (unsigned int i = 0; i < FIRST; i += 10)
			n += gone[i];
		EXPECT_EQ(failures + 1, n);
	}
	EXPECT_EQ(0, stm_queue_run(going, 3));
	for (uintptr_t i = 0; i < FIRST; i++)
		ASSERT_EQ(0, add_going(i)); /* never to run */
	EXPECT_EQ(1, atomic_load(&gone[0]));
	EXPECT_EQ(0, stm_queue_free(going));
	for (unsigned int i = 0; i < 4 * FIRST; i++) {
		EXPECT_LE(i < FIRST ? 2u : i >= 3 * FIRST && i % 10 == 0 ? 0u : 1u,
			  atomic_load(&added[i]));
		EXPECT_EQ(atomic_load(&added[i]), atomic_load(&gone[i]));
	}
}

static int restart_thrice(void *arg)
{
	if (++attempts % 4)
		stm_restart();
	return 0;
}

TEST(restarts_are_counted)
{
	ASSERT_EQ(0, open_queue(4, NULL));
	for (int i = 0; i < 10; i++)
		ASSERT_EQ(0, stm_queue_add(queue, restart_thrice, NULL));
	ASSERT_EQ(0, stm_queue_run(queue, 1));
	EXPECT_EQ(10, counts_of(queue).executed);
	EXPECT_EQ(30, counts_of(queue).restarts);
}

/* ---- workers ---- */

TEST(too_few_segments_run_nothing)
{
	struct stm_stats stats;

	ASSERT_EQ(0, open_queue(3, NULL));
	for (int i = 0; i < 100; i++)
		ASSERT_EQ(0, stm_queue_add(queue, count_one, NULL));
	EXPECT_EQ(-EAGAIN, stm_queue_run(queue, 3)); /* one is ours */
	EXPECT_EQ(-EAGAIN, stm_queue_run(queue, 65));
	EXPECT_EQ(-EAGAIN, stm_queue_run(queue, ~0u));
	EXPECT_EQ(0, counted(0));
	ASSERT_EQ(0, stm_stats(&stats, sizeof(stats)));
	EXPECT_EQ(1, stats.attached);
	EXPECT_EQ(0, stm_queue_run(queue, 2));
	EXPECT_EQ(100, counted(0));
	ASSERT_EQ(0, stm_stats(&stats, sizeof(stats)));
	EXPECT_EQ(1, stats.attached);
}

static cpu_set_t masks[2];
static _Atomic unsigned int masks_n;

static int note_cpus(void *arg)
{
	pthread_barrier_wait(&both); /* so that each worker runs one */
	return sched_getaffinity(0, sizeof(masks[0]), &masks[masks_n++]) ? errno : 0;
}

TEST(pinned_workers_have_a_cpu_each)
{
	cpu_set_t process;

	ASSERT_EQ(0, sched_getaffinity(0, sizeof(process), &process));
	ASSERT_EQ(0, open_queue(4, NULL));
	pthread_barrier_init(&both, NULL, 2);
	for (int pin = 0; pin < 2; pin++) {
		struct stm_queue_options options = { .size = sizeof(options), .pin = pin };
		struct stm_queue *q = stm_queue_new(&options);

		masks_n = 0;
		ASSERT_EQ(0, stm_queue_add(q, note_cpus, NULL));
		ASSERT_EQ(0, stm_queue_add(q, note_cpus, NULL));
		ASSERT_EQ(0, stm_queue_run(q, 2));
		for (int i = 0; i < 2; i++) {
			cpu_set_t common;

			CPU_AND(&common, &masks[i], &process);
			EXPECT_TRUE(CPU_EQUAL(&common, &masks[i]));
			EXPECT_EQ(pin ? 1 : CPU_COUNT(&process), CPU_COUNT(&masks[i]));
		}
		if (pin && CPU_COUNT(&process) > 1) {
			EXPECT_FALSE(CPU_EQUAL(&masks[0], &masks[1]));
		}
		EXPECT_EQ(0, stm_queue_free(q));
	}
}

/* ---- errors ---- */

static int stay(void *arg)
{
	pthread_barrier_wait(&entered);
	pthread_barrier_wait(&left);
	return 0;
}

TEST(one_run_at_a_time)
{
	pthread_t runner;
	void *result;

	ASSERT_EQ(0, open_queue(8, NULL));
	pthread_barrier_init(&entered, NULL, 2);
	pthread_barrier_init(&left, NULL, 2);
	ASSERT_EQ(0, stm_queue_add(queue, stay, NULL));
	ASSERT_EQ(0, pthread_create(&runner, NULL, run_two, NULL));
	pthread_barrier_wait(&entered);
	EXPECT_EQ(-EBUSY, stm_queue_run(queue, 1));
	EXPECT_EQ(-EBUSY, stm_queue_free(queue));
	EXPECT_EQ(0, stm_queue_add(queue, count_one, NULL));
	pthread_barrier_wait(&left);
	ASSERT_EQ(0, pthread_join(runner, &result));
	EXPECT_EQ(NULL, result);
	EXPECT_EQ(0, stm_queue_run(queue, 1));
	EXPECT_EQ(1, counted(0));
	EXPECT_EQ(0, stm_queue_free(queue));
}

TEST(errors)
{
	struct { struct stm_queue_options known; uint64_t unknown; } longer = {
		.known = { .size = sizeof(longer) },
	};
	struct stm_queue_options options = { .size = 0 };
	struct stm_queue_counts c;
	struct stm_queue *q;

	errno = 0;
	EXPECT_EQ(NULL, stm_queue_new(NULL));
	EXPECT_EQ(ENXIO, errno);
	ASSERT_EQ(0, open_queue(4, NULL));
	errno = 0;
	EXPECT_EQ(NULL, stm_queue_new(&options));
	EXPECT_EQ(EINVAL, errno);
	q = stm_queue_new(&longer.known);
	EXPECT_NE(NULL, q);
	EXPECT_EQ(0, stm_queue_free(q));
	longer.unknown = 1;
	errno = 0;
	EXPECT_EQ(NULL, stm_queue_new(&longer.known));
	EXPECT_EQ(EINVAL, errno);

	EXPECT_EQ(-EINVAL, stm_queue_add(NULL, count_one, NULL));
	EXPECT_EQ(-EINVAL, stm_queue_add(queue, NULL, NULL));
	EXPECT_EQ(-EINVAL, stm_queue_run(NULL, 1));
	EXPECT_EQ(-EINVAL, stm_queue_counts(NULL, &c));
	EXPECT_EQ(-EINVAL, stm_queue_counts(queue, NULL));
	EXPECT_EQ(0, stm_queue_free(NULL));
	STM_ATOMIC {
		EXPECT_EQ(-EBUSY, stm_queue_run(queue, 1));
		EXPECT_EQ(-EBUSY, stm_queue_free(queue));
	}
	/* Without the heap, tasks can still be added, but not run. */
	ASSERT_EQ(0, stm_fini());
	EXPECT_EQ(0, stm_queue_add(queue, count_one, NULL));
	EXPECT_EQ(-ENXIO, stm_queue_run(queue, 1));
	EXPECT_EQ(0, stm_queue_free(queue)); /* with a task in it */
}

static void add_in_child(void *arg)
{
	stm_queue_add(queue, count_one, NULL);
}

static void run_in_child(void *arg)
{
	stm_queue_run(queue, 1);
}

TEST(a_child_of_fork_is_told)
{
	struct ended e;

	ASSERT_EQ(0, open_queue(4, NULL));
	e = run_child(add_in_child, NULL);
	EXPECT_TRUE(was_killed_by(&e, SIGABRT) && said(&e, "stm_queue_add", "fork")) {
		TH_LOG("%s", how(&e));
	}
	e = run_child(run_in_child, NULL);
	EXPECT_TRUE(was_killed_by(&e, SIGABRT) && said(&e, "stm_queue_run", "fork")) {
		TH_LOG("%s", how(&e));
	}
}

TEST_HARNESS_MAIN
