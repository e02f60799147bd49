// SPDX-License-Identifier: MIT
/*
 * summary_test.c - a commit of one run over many regions, amid commits that a thread may skip.
 *
 * A thread that is far behind skips 64 commits at once if its view maps none of the regions they touch. It must not
 * skip those of which it maps only a late part of a long run: neither their values nor a conflict with them.
 */
#include <pthread.h>
#include <semaphore.h>
#include <uffdstm.h>

#include "kselftest_harness.h"

#define LONG_RUN ((size_t)64 << 20)     /* 32 regions; all in one run */
#define LATE ((size_t)50 << 20)         /* what the reader maps of it */
#define WORD(value) (0x0101010101010101u * (value))
#define AROUND 200                      /* commits before and after: more than two groups */

static char STM *run;
static long STM *counter;               /* in a region that the reader does not map */
static sem_t go, done;

static uint64_t STM *late(size_t offset)
{
	return (uint64_t STM *)(run + LATE + offset);
}

static int count(void *arg)
{
	(void)arg;
	STM_SET(*counter, STM_GET(*counter) + 1);
	return 0;
}

static int fill(void *arg)
{
	stm_memset(run, *(int *)arg, LONG_RUN);
	return 0;
}

static void *writer(void *arg)
{
	(void)arg;
	stm_thread_attach();
	for (int value = 1; value <= 2; value++) {
		sem_wait(&go);
		for (int i = 0; i < AROUND; i++)
			stm_atomic(count, NULL);
		stm_atomic(fill, &value);
		for (int i = 0; i < AROUND; i++)
			stm_atomic(count, NULL);
		sem_post(&done);
	}
	stm_thread_detach();
	return NULL;
}

static int read_late(void *arg)
{
	*(uint64_t *)arg = STM_GET(*late(0));
	return 0;
}

struct copy {
	unsigned int attempts;
	uint64_t value;
};

/* Read, let the writer go on, write elsewhere what was read. */
static int copy_late(void *arg)
{
	struct copy *copy = arg;

	copy->value = STM_GET(*late(0));
	if (!copy->attempts++) {
		sem_post(&go);
		sem_wait(&done);
	}
	STM_SET(*late(64), copy->value);
	return 0;
}

TEST(a_long_run_is_not_skipped)
{
	struct stm_options options = STM_OPTIONS_INIT;
	struct copy copy = { 0, 0 };
	uint64_t value = 1;
	pthread_t thread;

	options.log_limit = (size_t)1 << 30;
	ASSERT_EQ(0, stm_init(&options));
	ASSERT_EQ(0, stm_thread_attach());
	STM_ATOMIC {
		run = stm_zalloc(LONG_RUN);
		counter = stm_zalloc(sizeof(*counter));
	}
	ASSERT_EQ(0, stm_thread_detach()); /* nothing is mapped after this */
	ASSERT_EQ(0, stm_thread_attach());
	sem_init(&go, 0, 0);
	sem_init(&done, 0, 0);
	ASSERT_EQ(0, pthread_create(&thread, NULL, writer, NULL));

	stm_atomic(read_late, &value);
	EXPECT_EQ(0, value);
	sem_post(&go);
	sem_wait(&done);
	stm_atomic(read_late, &value);
	EXPECT_EQ(WORD(1), value);

	ASSERT_EQ(0, stm_atomic(copy_late, &copy));
	EXPECT_EQ(2, copy.attempts);
	EXPECT_EQ(WORD(2), copy.value);

	ASSERT_EQ(0, pthread_join(thread, NULL));
	EXPECT_EQ(0, stm_fini());
}

TEST_HARNESS_MAIN
