// SPDX-License-Identifier: MIT
/*
 * counter_test.c - counters: their values, what conflicts, segments that change hands, wrong use.
 */
#include <limits.h>
#include <stdatomic.h>

#include <uffdstm/counter.h>

#include "collect_support.h"

#define HEAP (4 * MIB)
#define THREADS 8
#define ROUNDS 2000

static struct stm_counter STM *counter;         /* of the test that runs */

static int make(void *kind)
{
	counter = stm_counter_new((enum stm_counter_kind)(intptr_t)kind);
	return counter ? 0 : ENOMEM;
}

static int destroy(void *arg)
{
	(void)arg;
	stm_counter_free(counter);
	return 0;
}

static int add(void *n)
{
	stm_counter_add(counter, (long)n);
	return 0;
}

static int get(void *value)
{
	*(long *)value = stm_counter_get(counter);
	return 0;
}

static int set(void *n)
{
	stm_counter_set(counter, (long)n);
	return 0;
}

static long value_now(void)
{
	long value = 0xdead;

	return stm_atomic(get, &value) ? 0xdeadbeef : value;
}

static void *attach_and_add(void *n)
{
	int error = stm_thread_attach();

	if (!error)
		error = stm_atomic(add, n);
	if (!error)
		error = stm_thread_detach();
	return (void *)(intptr_t)error;
}

/* ---- values ---- */

TEST(sum)
{
	ASSERT_EQ(0, open_heap(HEAP));
	ASSERT_EQ(0, stm_atomic(make, (void *)STM_COUNTER_SUM));
	EXPECT_EQ(0, value_now());
	EXPECT_EQ(0, stm_atomic(add, (void *)5));
	EXPECT_EQ(0, stm_atomic(add, (void *)-7));
	EXPECT_EQ(-2, value_now());
	EXPECT_EQ(NULL, in_thread(attach_and_add, (void *)10));
	EXPECT_EQ(8, value_now());
	EXPECT_EQ(0, stm_atomic(set, (void *)LONG_MAX));
	EXPECT_EQ(LONG_MAX, value_now());
	EXPECT_EQ(NULL, in_thread(attach_and_add, (void *)1));
	EXPECT_EQ(LONG_MIN, value_now());
	EXPECT_EQ(0, stm_atomic(destroy, NULL));
	EXPECT_EQ(0, missing(HEAP));
}

TEST(min_and_max)
{
	ASSERT_EQ(0, open_heap(HEAP));
	ASSERT_EQ(0, stm_atomic(make, (void *)STM_COUNTER_MIN));
	EXPECT_EQ(LONG_MAX, value_now());
	EXPECT_EQ(0, stm_atomic(add, (void *)5));
	EXPECT_EQ(0, stm_atomic(add, (void *)9));
	EXPECT_EQ(5, value_now());
	EXPECT_EQ(NULL, in_thread(attach_and_add, (void *)-10));
	EXPECT_EQ(-10, value_now());
	EXPECT_EQ(0, stm_atomic(set, (void *)7));
	EXPECT_EQ(7, value_now());
	EXPECT_EQ(0, stm_atomic(destroy, NULL));

	ASSERT_EQ(0, stm_atomic(make, (void *)STM_COUNTER_MAX));
	EXPECT_EQ(LONG_MIN, value_now());
	EXPECT_EQ(0, stm_atomic(add, (void *)-5));
	EXPECT_EQ(0, stm_atomic(add, (void *)-9));
	EXPECT_EQ(-5, value_now());
	EXPECT_EQ(NULL, in_thread(attach_and_add, (void *)10));
	EXPECT_EQ(10, value_now());
	EXPECT_EQ(0, stm_atomic(set, (void *)-7));
	EXPECT_EQ(-7, value_now());
	EXPECT_EQ(0, stm_atomic(destroy, NULL));
	EXPECT_EQ(0, missing(HEAP));
}

struct page {
	long name;
	struct stm_counter hits;
};

static int make_page(void *arg)
{
	struct page STM *page = stm_alloc(sizeof(*page));

	if (!page)
		return ENOMEM;
	*(struct page STM **)arg = page;
	counter = &page->hits;
	return -stm_counter_init(counter, STM_COUNTER_SUM);
}

static int free_page(void *arg)
{
	stm_free(*(struct page STM **)arg);
	return 0;
}

TEST(a_counter_in_an_object)
{
	struct page STM *page;

	ASSERT_EQ(0, open_heap(HEAP));
	ASSERT_EQ(0, stm_atomic(make_page, &page));
	EXPECT_EQ(0, stm_atomic(add, (void *)3));
	EXPECT_EQ(3, value_now());
	EXPECT_EQ(0, stm_atomic(free_page, &page));
	EXPECT_EQ(0, missing(HEAP));
}

static int add_and_cancel(void *n)
{
	stm_counter_add(counter, (long)n);
	return stm_counter_get(counter) == (long)n ? 1 : 2;
}

static int make_and_cancel(void *arg)
{
	return make(arg) ? 2 : 1;
}

TEST(all_is_undone)
{
	ASSERT_EQ(0, open_heap(HEAP));
	EXPECT_EQ(1, stm_atomic(make_and_cancel, (void *)STM_COUNTER_SUM));
	EXPECT_EQ(0, missing(HEAP));
	ASSERT_EQ(0, stm_atomic(make, (void *)STM_COUNTER_SUM));
	EXPECT_EQ(1, stm_atomic(add_and_cancel, (void *)77));
	EXPECT_EQ(0, value_now());
}

/* ---- conflicts ---- */

static int add_one(void *arg)
{
	(void)arg;
	stm_counter_add(counter, 1);
	return 0;
}

static int read_it(void *arg)
{
	(void)arg;
	stm_counter_get(counter);
	return 0;
}

static int set_one(void *arg)
{
	(void)arg;
	stm_counter_set(counter, 1);
	return 0;
}

TEST(what_conflicts)
{
	ASSERT_EQ(0, open_heap(HEAP));
	ASSERT_EQ(0, stm_atomic(make, (void *)STM_COUNTER_SUM));
	EXPECT_EQ(0, conflict(add_one, add_one, NULL));
	EXPECT_EQ(0, conflict(add_one, read_it, NULL));
	EXPECT_EQ(0, conflict(read_it, read_it, NULL));
	EXPECT_EQ(1, conflict(read_it, add_one, NULL));
	EXPECT_EQ(1, conflict(add_one, set_one, NULL));
	EXPECT_EQ(1, conflict(set_one, add_one, NULL));
	EXPECT_EQ(1, conflict(read_it, set_one, NULL));

	/* A maximum is written by those only who go beyond it: here the second thread's first 1. */
	ASSERT_EQ(0, stm_atomic(destroy, NULL));
	ASSERT_EQ(0, stm_atomic(make, (void *)STM_COUNTER_MAX));
	EXPECT_EQ(0, conflict(add_one, add_one, NULL));
	EXPECT_EQ(0, conflict(read_it, add_one, NULL));
	/* COUNTER_BEYOND: who adds nothing to it has read what its own thread has added before. */
	EXPECT_EQ(1, conflict(add_one, set_one, NULL));
	EXPECT_EQ(0, conflict(add_one, add_one, NULL));
	EXPECT_EQ(1, conflict(add_one, set_one, NULL));
}

static _Atomic int go;

static void *add_many(void *arg)
{
	int error = stm_thread_attach();

	while (!go)
		;
	for (unsigned int i = 0; i < ROUNDS / strict_divisor() && !error; i++)
		error = stm_atomic(add_one, NULL);
	(void)arg; /* detached at exit */
	return (void *)(intptr_t)error;
}

/* Threads that only add undo nothing; those after them have the same segments. */
TEST(many_add)
{
	struct stm_stats stats;
	pthread_t threads[THREADS];
	void *result;

	ASSERT_EQ(0, open_heap(HEAP));
	ASSERT_EQ(0, stm_atomic(make, (void *)STM_COUNTER_SUM));
	for (unsigned int round = 1; round <= 3; round++) {
		go = 0;
		for (unsigned int i = 0; i < THREADS; i++)
			ASSERT_EQ(0, pthread_create(&threads[i], NULL, add_many, NULL));
		go = 1;
		for (unsigned int i = 0; i < THREADS; i++) {
			ASSERT_EQ(0, pthread_join(threads[i], &result));
			EXPECT_EQ(NULL, result);
		}
		EXPECT_EQ((long)(round * THREADS * (ROUNDS / strict_divisor())), value_now());
	}
	ASSERT_EQ(0, stm_stats(&stats, sizeof(stats)));
	for (unsigned int i = 0; i < STM_ABORT_REASONS; i++)
		EXPECT_EQ(0, stats.aborts[i]);
}

/* ---- wrong use ---- */

static void add_outside(void *arg)
{
	(void)arg;
	if (!open_heap(HEAP) && !stm_atomic(make, (void *)STM_COUNTER_SUM))
		stm_counter_add(counter, 1);
}

static int add_to_something(void *arg)
{
	long STM *p = stm_alloc(sizeof(struct stm_counter));

	(void)arg;
	*p = 77;
	stm_counter_add((struct stm_counter STM *)p, 1);
	return 0;
}

static void add_to_no_counter(void *arg)
{
	(void)arg;
	if (!open_heap(HEAP))
		stm_atomic(add_to_something, NULL);
}

static int make_wrong(void *arg)
{
	(void)arg;
	errno = 0;
	counter = stm_counter_new((enum stm_counter_kind)3);
	return !counter && errno == EINVAL && stm_counter_init(NULL, (enum stm_counter_kind)-1) == -EINVAL ? 0 : 1;
}

TEST(wrong_use)
{
	struct ended e = run_child(add_outside, NULL);

	EXPECT_TRUE(was_killed_by(&e, SIGABRT) && said(&e, "stm_counter_add", "outside a transaction"))
		TH_LOG("%s", how(&e));
	e = run_child(add_to_no_counter, NULL);
	EXPECT_TRUE(was_killed_by(&e, SIGABRT) && said(&e, "stm_counter_add", "not a counter"))
		TH_LOG("%s", how(&e));
	ASSERT_EQ(0, open_heap(HEAP));
	EXPECT_EQ(0, stm_atomic(make_wrong, NULL));
}

TEST_HARNESS_MAIN
