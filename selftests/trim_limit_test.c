// SPDX-License-Identifier: MIT
/*
 * trim_limit_test.c - white box: how much trim does: a limit of private pages, a share of a CPU.
 */
#include "kselftest_harness.h"
#include "steps.h"
#include "trim_support.h"

TEST_F(trim, private_pages_are_limited)
{
	const uint64_t limit = 50;
	unsigned int above = 0;
	size_t page = FIRST;

	WITH(0, limit);
	for (unsigned int i = 0; i < 60; i++) {
		for (unsigned int k = 0; k < 10; k++)
			set(page++, i);
		pass(20, page - 1); /* all is over in less than an age */
		above += self->us->view.private > limit;
		if (i >= 30)
			EXPECT_GE(limit, self->us->view.private);
	}
	EXPECT_GT(10, above);
	EXPECT_LT(20, self->us->trim.sweeps);
	/* With less use they may stay for longer again. */
	for (unsigned int i = 0; i < 60; i++)
		pass(AGE / 4, page - 1);
	EXPECT_EQ(0, self->us->trim.halvings);
}

/* One page in each region, all cold. */
static void map_regions(void)
{
	for (unsigned int i = 1; i < REGIONS; i++)
		set(FIRST + i * REGION, i);
	for (unsigned int i = 0; i < 24; i++) {
		pass(AGE / 8, HOT);
		for (unsigned int k = 1; k < REGIONS; k++)
			get(FIRST + k * REGION);
	}
}

#define REGION_NS (2 * MS)              /* a step that visits one region, by the test's clock */

/* Trim them all, and see that the time it took was granted before, but for the last step. */
static void trim_regions(uint64_t share)
{
	struct stm_trim *trim = &stm__self->trim;
	uint64_t began, pages, ns, most = 0;

	map_regions();
	trim->credit = 0;
	began = time_now;
	trim->seen = time_now;
	pages = trim->pages;
	ns = trim->ns;
	cpu_step = REGION_NS / 2;
	for (unsigned int i = 0; i < 10000 && trim->pages < pages + REGIONS - 1; i++) {
		uint64_t before = trim->ns;

		pass(10, HOT);
		if (trim->ns - before > most)
			most = trim->ns - before;
		if (trim->ns - ns > (time_now - began) / 100 * share + REGION_NS)
			schedule_fail("%llu ns of CPU time in %llu ns", (unsigned long long)(trim->ns - ns),
				      (unsigned long long)(time_now - began));
	}
	cpu_step = 0;
	if (most != REGION_NS)
		schedule_fail("%llu ns of CPU time at one begin", (unsigned long long)most);
	if (trim->pages != pages + REGIONS - 1)
		schedule_fail("share %llu: pages are left", (unsigned long long)share);
}

TEST_F(trim, time_is_granted)
{
	static const uint64_t shares[] = { 0, 10, 100 };

	for (unsigned int i = 0; i < 3; i++) {
		struct stm_options options = options_of(0, 0);

		ASSERT_EQ(0, stm_fini());
		options.trim_share = shares[i];
		ASSERT_EQ(0, start(&options));
		trim_regions(shares[i] ? shares[i] : 1);
	}
}

/* CPU time granted while @ms go by. */
static int64_t granted(unsigned int ms)
{
	struct stm_trim *trim = &stm__self->trim;

	stm_trim_look(stm__self);
	trim->credit = 0;
	time_now += ms * MS;
	stm_trim_look(stm__self);
	return trim->credit;
}

/* With one percent of a CPU there would be 12 ms for what takes a hundred. */
TEST_F(trim, above_the_limit_the_share_is_a_fourth)
{
	const uint64_t limit = 50;
	struct stm_trim *trim;
	uint64_t began, most = 0;
	size_t page = FIRST;

	WITH(0, limit);
	trim = &self->us->trim;
	began = time_now;
	cpu_step = REGION_NS / 2;
	for (unsigned int i = 0; i < 60; i++) {
		for (unsigned int k = 0; k < 10; k++)
			set(page++, i);
		pass(20, page - 1);
		if (i >= 30 && self->us->view.private > most)
			most = self->us->view.private;
		EXPECT_GE((time_now - began) / 4 + REGION_NS, trim->ns);
	}
	cpu_step = 0;
	EXPECT_GE(limit + 30, most); /* what is used while a sweep takes its turn */
	EXPECT_LT(100 * MS, trim->ns);

	while (self->us->view.private <= limit)
		set(page++, 1);
	EXPECT_EQ(20 * MS / 4, granted(20));
	for (unsigned int i = 0; i < 60; i++)
		pass(20, page - 1);
	ASSERT_GE(limit, self->us->view.private);
	EXPECT_EQ(20 * MS / 100, granted(20));
}

/* The CPU time granted pays also for pages that come back soon: so they leave only as often as the share allows. */
TEST_F(trim, pages_that_come_back_are_paid_for)
{
	struct stm_trim *trim = &self->us->trim;
	int64_t credit;

	set(FIRST + 1, 1);
	set(FIRST + 2, 2);
	EXPECT_EQ(0, trim->credit); /* nothing is missed that was never there */
	pass_ages(ENOUGH, HOT);
	ASSERT_EQ(2, trim->pages);
	credit = trim->credit;
	EXPECT_EQ(2, get(FIRST + 2));
	EXPECT_GT(credit, trim->credit);
	EXPECT_LE((int64_t)MS / 100, credit - trim->credit); /* a fault is no less */
	EXPECT_GE((int64_t)MS / 50, credit - trim->credit);
	/* The other comes back long after; a third one comes for the first time. */
	pass_ages(ENOUGH * 3, HOT);
	credit = trim->credit;
	EXPECT_EQ(1, get(FIRST + 1));
	EXPECT_EQ(0, get(FIRST + 30));
	EXPECT_EQ(credit, trim->credit);
}

TEST_HARNESS_MAIN
