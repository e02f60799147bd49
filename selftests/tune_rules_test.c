// SPDX-License-Identifier: MIT
/*
 * tune_rules_test.c - white box: what uffdstm tune chooses, from figures that are made up.
 */
#include <string.h>

#include "kselftest_harness.h"

#include "../tools/uffdstm/tune_rules.c"

/* Nothing is better than what is built in. */
static struct figures even(void)
{
	struct figures f = { .cpus = 2, .log_standstill = 1 << 20 };

	for (unsigned int p = 0; p < PATTERNS; p++) {
		for (unsigned int i = 0; i < ENGINES; i++)
			f.engines[i].patterns.ns[p] = 1000 * (p + 1);
		for (unsigned int i = 0; i < LEASTS; i++)
			f.least[i].ns[p] = 1000 * (p + 1);
		for (unsigned int i = 0; i < MOSTS; i++)
			f.most[i].ns[p] = 1000 * (p + 1);
	}
	for (unsigned int i = 0; i < ENGINES; i++)
		f.engines[i].works = true;
	for (unsigned int i = 0; i < KEEPS; i++)
		f.keep[i] = 100;
	f.huge[0] = f.huge[1] = 100;
	return f;
}

static uint64_t chosen(const struct figures *f, enum stm_profile_key key)
{
	struct choice choices[STM_PROFILE_KEYS];

	choose(f, choices);
	return choices[key].made ? choices[key].value : UINT64_MAX;
}

#define EXPECT_CHOICE(f, key, value_) EXPECT_EQ((uint64_t)(value_), chosen(&(f), STM_PROFILE_##key))

TEST(built_in_stays)
{
	struct figures f = even();
	struct choice choices[STM_PROFILE_KEYS];
	static const uint64_t expected[STM_PROFILE_KEYS] = {
		[STM_PROFILE_ENGINE] = 0, [STM_PROFILE_CLUSTER] = 8, [STM_PROFILE_CLUSTER_WRITES] = 2,
		[STM_PROFILE_CLUSTER_MAX] = 512, [STM_PROFILE_LOG_KEEP] = 16 << 20, [STM_PROFILE_LOG_HUGE] = 1,
	};

	choose(&f, choices);
	for (unsigned int key = 0; key < STM_PROFILE_KEYS; key++) {
		bool measured = expected[key] || key == STM_PROFILE_ENGINE;

		EXPECT_EQ(measured, choices[key].made);
		EXPECT_EQ(expected[key], choices[key].value);
		EXPECT_EQ(expected[key], choices[key].standard);
		EXPECT_EQ(measured, strstr(choices[key].reason, "is built in, and costs at most 10 %") != NULL);
	}
	/* It may cost 10 % more than the best, and no more. */
	f.keep[5] = 100 / 1.09;
	EXPECT_CHOICE(f, LOG_KEEP, 16 << 20);
	f.keep[5] = 100 / 1.11;
	EXPECT_CHOICE(f, LOG_KEEP, 64 << 20);
}

/* Of those that cost about as much as the best, the first. */
TEST(first_of_the_good)
{
	struct figures f = even();

	f.keep[1] = 85;
	f.keep[2] = 80;
	f.keep[5] = 78;
	EXPECT_CHOICE(f, LOG_KEEP, 4 << 20);
	f.keep[1] = 87;
	EXPECT_CHOICE(f, LOG_KEEP, 8 << 20);
	f.huge[0] = 80;
	EXPECT_CHOICE(f, LOG_HUGE, 0);
}

/* Each key looks at its own patterns. */
TEST(patterns_of_a_key)
{
	struct figures f = even();

	f.least[4].ns[SPARSE_READ] /= 2;
	EXPECT_CHOICE(f, CLUSTER, 16);
	f.least[1].ns[DENSE_WRITE] *= 2;
	EXPECT_CHOICE(f, CLUSTER_WRITES, 1);
	f.most[2].ns[SCAN_READ] /= 2;
	EXPECT_CHOICE(f, CLUSTER_MAX, 128);
	for (unsigned int i = 0; i < LEASTS; i++)
		f.least[i].ns[SCAN_READ] = f.least[i].ns[FOREIGN] = 1;
	EXPECT_CHOICE(f, CLUSTER, 16);
	EXPECT_CHOICE(f, ENGINE, 0);
	f.engines[2].patterns.ns[FOREIGN] /= 2;
	EXPECT_CHOICE(f, ENGINE, 2);
}

/* A pattern that takes longer counts for no more than another one. */
TEST(patterns_count_alike)
{
	struct figures f = even();

	for (unsigned int i = 0; i < LEASTS; i++)
		f.least[i].ns[SPARSE_READ] *= 100;
	f.least[3].ns[SPARSE_READ] *= 1.05;
	EXPECT_CHOICE(f, CLUSTER, 8);
	f.least[3].ns[DENSE_READ] *= 1.2;
	EXPECT_CHOICE(f, CLUSTER, 1);
}

TEST(engines_that_do_not_work)
{
	struct figures f = even();

	f.engines[1].works = false;
	for (unsigned int p = 0; p < PATTERNS; p++) {
		f.engines[1].patterns.ns[p] = 1;
		f.engines[2].patterns.ns[p] /= 2;
	}
	EXPECT_CHOICE(f, ENGINE, 2);
	f.engines[2].works = false;
	EXPECT_CHOICE(f, ENGINE, 0);
}

TEST(largest_is_not_less_than_least)
{
	struct figures f = even();
	struct choice choices[STM_PROFILE_KEYS];

	f.most[0].ns[SCAN_READ] /= 2;
	EXPECT_CHOICE(f, CLUSTER_MAX, 8);
	f.least[5].ns[DENSE_WRITE] /= 3;
	choose(&f, choices);
	EXPECT_EQ(32u, choices[STM_PROFILE_CLUSTER_MAX].value);
	EXPECT_EQ(32u, choices[STM_PROFILE_CLUSTER_WRITES].value);
	EXPECT_TRUE(strstr(choices[STM_PROFILE_CLUSTER_MAX].reason, "; raised to cluster_writes") != NULL);
}

TEST_HARNESS_MAIN
