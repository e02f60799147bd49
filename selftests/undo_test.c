// SPDX-License-Identifier: MIT
/*
 * undo_test.c - what a transaction wrote more than once is put back to what was there before it.
 *
 * A barrier whose length the compiler does not know goes to the slow path each time, also where the granule is
 * logged already: logged twice, the second copy of the old bytes would be the transaction's own.
 */
#include <uffdstm.h>

#include "kselftest_harness.h"

#define WORDS 512

static long STM *words;

FIXTURE(undo) { int unused; };

FIXTURE_SETUP(undo)
{
	ASSERT_EQ(0, stm_init(NULL));
	ASSERT_EQ(0, stm_thread_attach());
	STM_ATOMIC
		words = stm_zalloc(WORDS * sizeof(*words));
}

FIXTURE_TEARDOWN(undo)
{
	EXPECT_EQ(0, stm_fini());
}

static int cancelled(void *arg)
{
	volatile size_t len = *(size_t *)arg;

	for (int i = 0; i < 3; i++)
		for (size_t w = 0; w < WORDS; w++) {
			stm_write_range(&words[w], len);
			words[w] = i + 1;
		}
	return 1;
}

static int check(void *arg)
{
	long *wrong = arg;

	*wrong = 0;
	for (size_t w = 0; w < WORDS; w++)
		*wrong += STM_GET(words[w]) != 0;
	return 0;
}

TEST_F(undo, written_again_with_a_length_known_at_run_time)
{
	size_t len = sizeof(*words);
	long wrong = -1;

	ASSERT_EQ(1, stm_atomic(cancelled, &len));
	ASSERT_EQ(0, stm_atomic(check, &wrong));
	EXPECT_EQ(0, wrong);
}

static int ranges(void *arg)
{
	unsigned long random = *(unsigned long *)arg;

	for (int i = 0; i < 200; i++) {
		size_t from, len;

		random = random * 6364136223846793005u + 1442695040888963407u; /* Knuth, MMIX */
		from = (random >> 33) % WORDS;
		len = (random >> 50) % 40;
		if (from + len > WORDS)
			len = WORDS - from;
		stm_write_range(&words[from], len * sizeof(*words));
		for (size_t w = from; w < from + len; w++)
			words[w] = i + 1;
	}
	return 1;
}

TEST_F(undo, ranges_that_overlap)
{
	long wrong = -1;

	for (unsigned long seed = 1; seed <= 200; seed++) {
		ASSERT_EQ(1, stm_atomic(ranges, &seed));
		ASSERT_EQ(0, stm_atomic(check, &wrong));
		ASSERT_EQ(0, wrong) TH_LOG("seed %lu", seed);
	}
}

TEST_HARNESS_MAIN
