// SPDX-License-Identifier: MIT
/*
 * trim_test.c - white box: pages that a segment no longer uses leave its view, others stay, nothing is lost.
 */
#include "kselftest_harness.h"
#include "steps.h"
#include "trim_support.h"

TEST_F(trim, cold_pages_go_and_hot_pages_stay)
{
	struct stm_stats stats;

	get(FIRST + 1);
	for (size_t page = FIRST + 2; page < FIRST + 20; page++)
		set(page, page);
	set(HOT, 7);
	pass_ages(1, HOT);
	EXPECT_EQ(STM_PAGE_PRIVATE, state_of(FIRST + 2));
	EXPECT_EQ(STM_PAGE_SHARED, state_of(FIRST + 1));
	pass_ages(ENOUGH, HOT);
	for (size_t page = FIRST + 1; page < FIRST + 20; page++)
		EXPECT_EQ(STM_PAGE_UNMAPPED, state_of(page));
	EXPECT_EQ(STM_PAGE_PRIVATE, state_of(HOT));
	EXPECT_EQ(1, self->us->view.private);
	EXPECT_EQ(0, self->us->view.shared);
	EXPECT_EQ(0, stm_stats(&stats, sizeof(stats)));
	EXPECT_EQ(19, stats.pages_trimmed);
	EXPECT_LE(4, stats.trim_sweeps);
	EXPECT_EQ(FIRST + 19, get(FIRST + 19));
	EXPECT_EQ(7, get(HOT));
}

/* A page that is used less and less often than others, but within the age. */
TEST_F(trim, a_page_used_once_in_an_age_stays)
{
	set(FIRST + 1, 1);
	for (unsigned int i = 0; i < 10; i++) {
		for (unsigned int k = 0; k < 7; k++)
			pass(AGE / 8, HOT);
		get(FIRST + 1);
		EXPECT_EQ(0, self->us->trim.pages);
	}
}

/* What counts is also how many transactions a thread runs: few in a long time use few pages, which it may need again. */
TEST_F(trim, pages_of_the_last_transactions_stay)
{
	for (size_t page = FIRST; page < FIRST + STM_TRIM_VERSIONS / 4; page++)
		set(page, 1);
	for (unsigned int i = 0; i < STM_TRIM_VERSIONS / 4; i++) {
		time_now += 2 * AGE * MS;
		stm_trim_look(self->us);
		get(FIRST);
	}
	EXPECT_EQ(STM_TRIM_VERSIONS / 4, self->us->view.private);
	for (unsigned int i = 0; i < STM_TRIM_VERSIONS; i++) {
		time_now += 2 * AGE * MS;
		stm_trim_look(self->us);
		get(FIRST);
	}
	EXPECT_EQ(1, self->us->view.private);
}

/* A thread that sleeps uses nothing, but needs it when it wakes up: not all of that time counts. */
TEST_F(trim, pages_of_a_thread_that_slept_stay)
{
	for (unsigned int i = 0; i < 60; i++) {
		set(FIRST + i % 4, i);
		pass(AGE / 8, FIRST + i % 4);
		if (i % 4 == 3)
			time_now += 100 * AGE * MS;
	}
	EXPECT_EQ(4, self->us->view.private);
	EXPECT_LT(4, self->us->trim.sweeps);
	EXPECT_EQ(0, self->us->trim.pages);
}

TEST_F(trim, never)
{
	WITH(STM_TRIM_NEVER, 1);
	for (size_t page = FIRST; page < FIRST + 20; page++)
		set(page, page);
	pass_ages(20, HOT);
	EXPECT_EQ(20, self->us->view.private);
	EXPECT_EQ(0, self->us->trim.sweeps);
}

TEST_F(trim, neighbours_of_a_fault_are_given_time)
{
	struct stm_options options = options_of(0, 0);

	options.cluster = 64;
	START_AGAIN(options);
	pass_ages(ENOUGH, HOT); /* old versions are there */
	set(FIRST + 64, 1);
	pass_ages(1, HOT);
	for (size_t page = FIRST + 64; page < FIRST + 128; page++)
		EXPECT_EQ(STM_PAGE_PRIVATE, state_of(page));
	for (unsigned int i = 0; i < ENOUGH * 8; i++) {
		pass(AGE / 8, HOT);
		get(FIRST + 70);
	}
	for (size_t page = FIRST + 64; page < FIRST + 128; page++)
		EXPECT_EQ(page == FIRST + 70 ? STM_PAGE_PRIVATE : STM_PAGE_UNMAPPED, state_of(page));
	/* and those of HOT */
	EXPECT_EQ(STM_PAGE_SHARED, state_of(HOT));
	EXPECT_EQ(1, self->us->view.shared);
	EXPECT_EQ(1, self->us->view.private);
}

/* ---- the markers ---- */

/* Bit 0: the read marker's page has memory; bit 1: the write marker's. */
static int marker_memory(size_t page)
{
	uintptr_t read = (uintptr_t)(stm__self->read_markers + page * STM_PAGE_GRANULES);
	uintptr_t write = (uintptr_t)(stm__self->write_markers + page * STM_PAGE_GRANULES);
	unsigned char r, w;

	if (mincore((void *)(read & -STM_PAGE), STM_PAGE, &r) || mincore((void *)(write & -STM_PAGE), STM_PAGE, &w))
		return -1;
	return (r & 1) | (w & 1) << 1;
}

TEST_F(trim, markers_go_with_the_last_page_that_they_are_of)
{
	for (size_t page = FIRST; page < FIRST + 16; page++)
		set(page, 1);
	for (size_t page = FIRST; page < FIRST + 16; page++)
		EXPECT_EQ(3, marker_memory(page));
	pass_ages(ENOUGH, FIRST + 5);
	EXPECT_EQ(0, marker_memory(FIRST));
	EXPECT_EQ(3, marker_memory(FIRST + 4)); /* of pages 4 to 7 */
	EXPECT_EQ(0, marker_memory(FIRST + 8));
	EXPECT_EQ(0, marker_memory(FIRST + 12));
	/* A later use of the page finds no version of long ago. */
	set(FIRST + 8, 2);
	EXPECT_EQ(2, get(FIRST + 8));
}

/* Pages may have left a view otherwise: others wrote there. */
TEST_F(trim, markers_of_a_region_without_pages_go)
{
	for (size_t page = FIRST + REGION; page < FIRST + REGION + 8; page++)
		get(page);
	EXPECT_EQ(0, stm_view_drop(&self->us->view, FIRST + REGION, FIRST + REGION + 8));
	EXPECT_EQ(1, marker_memory(FIRST + REGION) & 1);
	pass_ages(ENOUGH, HOT);
	EXPECT_EQ(0, marker_memory(FIRST + REGION));
	EXPECT_EQ(0, marker_memory(FIRST + REGION + 4));
}

/* Not even where the system gives huge pages to all: 2 MiB of markers for each page of a scattered working set. */
TEST_F(trim, markers_are_no_huge_pages)
{
	const uintptr_t markers = (uintptr_t)(self->us->read_markers + FIRST * STM_PAGE_GRANULES);
	unsigned long start, end;
	bool here = false, told = false;
	char line[512];
	FILE *f;

	if (access("/sys/kernel/mm/transparent_hugepage", F_OK))
		SKIP(return, "this kernel has no huge pages: CONFIG_TRANSPARENT_HUGEPAGE");
	f = fopen("/proc/self/smaps", "re");
	ASSERT_NE(NULL, f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
			here = markers >= start && markers < end;
		if (here && !strncmp(line, "VmFlags:", 8))
			told = strstr(line, " nh");
	}
	fclose(f);
	EXPECT_TRUE(told);
}

TEST_F(trim, a_thread_that_detaches_leaves_no_markers)
{
	struct stm_seg *us = self->us;

	set(FIRST, 1);
	EXPECT_EQ(3, marker_memory(FIRST));
	EXPECT_EQ(0, stm_thread_detach());
	EXPECT_EQ(0, stm_thread_attach());
	EXPECT_EQ(us, stm__self);
	EXPECT_EQ(0, marker_memory(FIRST));
}

TEST_F(trim, no_page_is_cold_because_versions_began_again)
{
	for (size_t page = FIRST; page < FIRST + 20; page++)
		set(page, page);
	pass(AGE / 8, HOT);
	for (unsigned int i = 0; i < 12; i++)
		for (size_t page = FIRST; page < FIRST + 20; page++)
			pass(AGE / 8 / 20, page);
	self->us->hot.version = (uint64_t)(STM_VERSION_LAST - 10) << 32 | (STM_VERSION_LAST - 10);
	pass(1, HOT);
	ASSERT_GT(1000, self->us->version);
	for (unsigned int i = 0; i < 6; i++)
		pass(AGE / 8, HOT);
	EXPECT_EQ(20, self->us->view.private);
	pass_ages(ENOUGH, HOT);
	EXPECT_EQ(1, self->us->view.private);
}

/* ---- when ---- */

/*
 * TRIM_IN_TX: never while a transaction runs, however long it does: what it wrote is not committed, and
 * pages that it read are not looked at again.
 */
TEST_F(trim, no_page_goes_while_a_transaction_runs)
{
	uint64_t before;

	for (size_t page = FIRST; page < FIRST + 20; page++)
		set(page, page);
	pass_ages(ENOUGH, HOT);
	EXPECT_EQ(1, self->us->view.private);
	for (size_t page = FIRST + 400; page < FIRST + 420; page++)
		set(page, page);
	pass_ages(1, HOT); /* soon they will be cold */
	set(FIRST + 1, 5);
	get(FIRST + 300);
	before = self->us->trim.pages;
	STM_ATOMIC {
		STM_SET(*word(FIRST + 1, 0), 6);
		for (size_t page = FIRST + 20; page < FIRST + 200; page++) {
			time_now += AGE * MS;
			STM_SET(*word(page, 0), page); /* makes a page private: a moment to look at the clock */
			EXPECT_EQ(page, STM_GET(*word(page, 0)));
		}
		EXPECT_NE(0, self->us->heed & STM_HEED_TRIM);
		EXPECT_EQ(6, STM_GET(*word(FIRST + 1, 0)));
		EXPECT_EQ(before, self->us->trim.pages);
		EXPECT_EQ(STM_PAGE_PRIVATE, state_of(FIRST + 1));
		EXPECT_EQ(STM_PAGE_SHARED, state_of(FIRST + 300));
	}
	EXPECT_EQ(6, get(FIRST + 1));
	pass_ages(1, HOT);
	EXPECT_LE(before + 20, self->us->trim.pages);
}

/* TRIM_WARM: not even under pressure does a page go that the last transactions used. */
TEST_F(trim, pages_in_use_stay_whatever_the_limit)
{
	WITH(0, 5);
	for (unsigned int i = 0; i < 200; i++) {
		for (size_t page = FIRST; page < FIRST + 20; page++)
			STM_ATOMIC
				STM_SET(*word(page, 0), i);
		time_now += 100 * MS;
		stm_trim_look(self->us);
	}
	EXPECT_LT(20, self->us->trim.sweeps);
	EXPECT_EQ(20, self->us->view.private);
	EXPECT_EQ(0, self->us->trim.pages);
}

TEST_F(trim, the_clock_is_looked_at_when_a_page_is_mapped)
{
	time_now += AGE * MS;
	get(HOT);
	EXPECT_NE(0, self->us->heed & STM_HEED_TRIM);
	get(HOT);
	EXPECT_EQ(0, self->us->heed & STM_HEED_TRIM);
	time_now += AGE * MS;
	get(HOT);
	EXPECT_EQ(0, self->us->heed & STM_HEED_TRIM);
	set(HOT, 1);
	EXPECT_NE(0, self->us->heed & STM_HEED_TRIM);
}

/* As the last look at the clock has left it. */
static bool looked(void)
{
	return stm__self->trim.seen == time_now;
}

TEST_F(trim, the_clock_is_looked_at_when_log_was_used)
{
	set(HOT, 1);
	get(HOT);
	time_now += AGE * MS;
	for (unsigned int i = 0; i < 500; i++)
		get(HOT);
	EXPECT_FALSE(looked());
	for (unsigned int i = 0; i < 2000; i++) {
		set(HOT, i);
		stm_mark_reads(self->us); /* or it is blind at last */
	}
	EXPECT_TRUE(looked());
}

/* ---- alone: no reads are marked (lib/alone.c) ---- */

static bool is_blind(void)
{
	return atomic_load(&stm__self->unmarked);
}

/* So many that it looks whether it is alone still. */
static void many_commits(void)
{
	for (unsigned int i = 0; i < STM_CHUNK_SLOTS; i++)
		set(HOT, i);
}

static void age_alone(unsigned int ages)
{
	for (unsigned int i = 0; i < ages * 8; i++) {
		time_now += AGE / 8 * MS;
		get(FIRST + 1);
		many_commits();
	}
}

TEST_F(trim, who_is_alone_finds_out_now_and_then)
{
	for (unsigned int times = 0; times < 3; times++) {
		for (size_t page = FIRST; page < FIRST + 20; page++)
			set(page, page);
		for (unsigned int i = 0; i < 4; i++)
			many_commits();
		EXPECT_TRUE(is_blind());
		age_alone(20);
		EXPECT_TRUE(is_blind());
		EXPECT_EQ(20, self->us->view.private);
		age_alone(20);
		EXPECT_EQ(2, self->us->view.private); /* with HOT */
		EXPECT_EQ(STM_PAGE_PRIVATE, state_of(FIRST + 1));
	}
}

/* Nobody knows what it used meanwhile: all is as if just used when reads are marked again. */
TEST_F(trim, who_was_alone_keeps_what_it_used)
{
	for (size_t page = FIRST; page < FIRST + 20; page++)
		set(page, page);
	for (unsigned int i = 0; i < ENOUGH * 8; i++) {
		get(FIRST + 1);
		pass(AGE / 8, HOT);
	}
	for (unsigned int i = 0; i < 6; i++)
		pass(AGE / 8, HOT);
	EXPECT_EQ(2, self->us->view.private);
	for (unsigned int i = 0; i < 4; i++)
		many_commits();
	EXPECT_TRUE(is_blind());
	for (unsigned int i = 0; i < 100; i++)
		get(FIRST + 1);
	stm_mark_reads(self->us);
	for (unsigned int i = 0; i < 6; i++)
		pass(AGE / 8, HOT);
	EXPECT_EQ(STM_PAGE_PRIVATE, state_of(FIRST + 1));
	pass_ages(ENOUGH, HOT);
	EXPECT_EQ(STM_PAGE_UNMAPPED, state_of(FIRST + 1));
}

/* Somebody comes for a moment now and then: too short to find out anything. */
TEST_F(trim, who_is_visited_finds_out_as_well)
{
	for (size_t page = FIRST; page < FIRST + 20; page++)
		set(page, page);
	for (unsigned int times = 0; times < 4; times++) {
		struct actor other;

		age_alone(10);
		actor_start(&other);
		set_word(&other, word(FIRST + 30, 0), 1);
		actor_end(&other);
	}
	EXPECT_EQ(2, self->us->view.private);
}

/* Who does not commit is not asked whether it is alone. */
TEST_F(trim, who_only_reads_finds_out_as_well)
{
	for (size_t page = FIRST; page < FIRST + 20; page++)
		set(page, page);
	for (unsigned int i = 0; i < 4; i++)
		many_commits();
	EXPECT_TRUE(is_blind());
	for (size_t page = 0; page < 40 * 8; page++) {
		time_now += AGE / 8 * MS;
		for (unsigned int i = 0; i < STM_TRIM_VERSIONS; i++)
			get(FIRST + 1);
		get(FIRST + REGION + page);
	}
	EXPECT_FALSE(is_blind());
	EXPECT_EQ(1, self->us->view.private);
	EXPECT_GE(30, self->us->view.shared);
}

/* Time counts alike while it is blind and while it is not, however seldom it looks. */
TEST_F(trim, who_is_alone_marks_one_read_in_nine)
{
	unsigned int marked = 0;

	for (unsigned int i = 0; i < 4; i++)
		many_commits();
	for (unsigned int i = 0; i < 500; i++) {
		time_now += 2 * AGE * MS;
		many_commits();
		marked += !is_blind();
	}
	EXPECT_LE(500 / 18, marked);
	EXPECT_GE(500 / 6, marked);
}

/* Where all are counted by name, all are marked. */
TEST_F(trim, who_is_counted_is_not_blind)
{
	struct stm_options options = options_of(0, 0);

	options.stats_unnamed = 1;
	START_AGAIN(options);
	for (size_t page = FIRST; page < FIRST + 20; page++)
		set(page, page);
	age_alone(5);
	EXPECT_EQ(2, self->us->view.private);
}

/* Nor is a limit forgotten. */
TEST_F(trim, who_is_alone_keeps_to_the_limit)
{
	WITH(AGE, 5);
	for (unsigned int i = 0; i < 4; i++)
		many_commits();
	EXPECT_TRUE(is_blind());
	for (size_t page = FIRST; page < FIRST + 20; page++)
		set(page, page);
	EXPECT_FALSE(is_blind());
	for (unsigned int i = 0; i < 16; i++) {
		many_commits();
		EXPECT_FALSE(is_blind() && self->us->view.private > 5);
		time_now += AGE / 8 * MS;
		get(FIRST + 1);
	}
	EXPECT_GE(5, self->us->view.private);
	EXPECT_EQ(STM_PAGE_PRIVATE, state_of(FIRST + 1));
}

/* ---- with other threads ---- */

static void fold_job(void *arg)
{
	(void)arg;
	help_fold();
}

static void park_job(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < 10; i++) {
		set(FIRST + 1, i);
		help_fold();
	}
}

TEST_F(trim, the_clock_is_looked_at_when_others_commit)
{
	struct actor other;

	get(HOT);
	get(HOT);
	actor_start(&other);
	time_now += AGE * MS;
	for (unsigned int i = 0; i < 64; i++) {
		set_word(&other, word(FIRST + 1, 0), i);
		get(HOT);
	}
	EXPECT_TRUE(looked());
	actor_end(&other);
}

TEST_F(trim, the_clock_is_looked_at_after_a_helper_came)
{
	struct actor other;

	get(HOT);
	get(HOT);
	actor_start(&other);
	time_now += AGE * MS;
	set_word(&other, word(FIRST + 1, 0), 1);
	actor_run(&other, fold_job, NULL);
	set_word(&other, word(FIRST + 1, 0), 1);
	EXPECT_FALSE(looked());
	get(HOT);
	EXPECT_TRUE(looked());
	actor_end(&other);
}

TEST_F(trim, a_parked_segment_has_no_markers)
{
	struct actor other;

	set(HOT, 1);
	EXPECT_EQ(3, marker_memory(HOT));
	actor_start(&other);
	actor_run(&other, park_job, NULL);
	EXPECT_EQ(STM_PARKED, atomic_load(&self->us->taken));
	EXPECT_EQ(0, marker_memory(HOT));
	EXPECT_EQ(1, get(HOT));
	actor_end(&other);
}

/* What was trimmed comes back as it is by now: folded or not, committed before or after. */
TEST_F(trim, pages_come_back_as_they_are_by_now)
{
	struct actor other;

	actor_start(&other);
	for (size_t page = FIRST + 1; page < FIRST + 41; page++)
		set(page, page);
	pass_ages(ENOUGH, HOT);
	EXPECT_EQ(0, self->us->view.private);
	for (size_t page = FIRST + 1; page < FIRST + 41; page += 2)
		set_word(&other, word(page, 0), 1000 + page);
	for (size_t page = FIRST + 1; page < FIRST + 21; page++)
		EXPECT_EQ(page % 2 ? 1000 + page : page, get(page));
	actor_run(&other, fold_job, NULL);
	for (size_t page = FIRST + 1; page < FIRST + 41; page++) {
		EXPECT_EQ(page % 2 ? 1000 + page : page, get(page));
		set_word(&other, word(page, 0), 2000 + page);
		EXPECT_EQ(2000 + page, get(page));
	}
	actor_end(&other);
}

struct two_reads {
	size_t first, second;
	uint64_t values[2];
};

static void read_two_job(void *arg)
{
	struct two_reads *two = arg;

	STM_ATOMIC {
		two->values[0] = STM_GET(*word(two->first, 0));
		two->values[1] = STM_GET(*word(two->second, 0));
	}
}

static void trim_at_begin(void *arg)
{
	(void)arg;
	stm__self->trim.credit = MS;
	stm__self->heed |= STM_HEED_TRIM;
}

/* Write both pages, and let them get cold: the next sweep takes them. */
static void make_cold_job(void *arg)
{
	const struct two_reads *two = arg;
	struct stm_seg *us = stm__self;

	set(two->first, 1);
	set(two->second, 1);
	for (unsigned int i = 0; i < VERSIONS; i++)
		get(HOT);
	while ((us->trim.number - us->sweeps[two->first]) % STM_SWEEP_NUMBERS < 2) {
		trim_at_begin(NULL);
		get(HOT);
	}
}

/* A commit between the choice of pages and their dropping: the transaction that begins is older, and sees neither half. */
TEST_F(trim, a_commit_meanwhile)
{
	struct stop stop = { .reached = 0 };
	struct two_reads two = { .first = FIRST + 1, .second = FIRST + REGION };
	struct actor trimmer;

	actor_start(&trimmer);
	stm_global.trim_age = 0;
	actor_run(&trimmer, make_cold_job, &two);
	EXPECT_EQ(0, trimmer.seg->trim.pages);
	actor_run(&trimmer, trim_at_begin, NULL);
	actor_stop_at(&trimmer, STM_POINT_TRIM, 1, &stop);
	actor_do(&trimmer, read_two_job, &two);
	stop_await(&stop);
	STM_ATOMIC {
		STM_SET(*word(two.first, 0), 2);
		STM_SET(*word(two.second, 0), 2);
	}
	help_fold();
	stop_release(&stop);
	actor_wait(&trimmer);
	EXPECT_EQ(2, trimmer.seg->trim.pages);
	EXPECT_EQ(1, two.values[0]);
	EXPECT_EQ(1, two.values[1]);
	help_fold();
	actor_run(&trimmer, read_two_job, &two);
	EXPECT_EQ(2, two.values[0]);
	EXPECT_EQ(2, two.values[1]);
	actor_end(&trimmer);
}

/* Pages that need no barrier are looked after by page faults: they leave like others, or stay, and lose nothing. */
TEST_F(trim, tracked_pages_lose_nothing)
{
	const size_t pages = 8;
	word_t words = tracked_words_new(pages);
	volatile uint64_t commits = 0, wrong = 0;

	stm_global.trim_age = 0;
	stm_global.trim_versions = 0;
	for (unsigned int i = 0; i < 60; i++) {
		trim_at_begin(NULL);
		STM_ATOMIC {
			for (size_t page = 0; page < pages; page++) {
				volatile uint64_t STM *at = word_at(words, page, 0);

				wrong += *at != commits;
				*at = commits + 1;
			}
			if (i % 2)
				stm_cancel(1);
		}
		commits += !stm_outcome();
	}
	EXPECT_EQ(30, commits);
	EXPECT_EQ(0, wrong);
	EXPECT_LT(0, self->us->trim.pages);
}

/* A region whose pages all went is one that a walk over the log skips; one with a page left is not. */
TEST_F(trim, foreign_commits_to_a_trimmed_region_are_skipped)
{
	const unsigned int region = FIRST / REGION;
	struct actor other;

	actor_start(&other);
	for (size_t i = 0; i < 2 * REGION; i += 8)
		get(FIRST + i);
	set(HOT, 1);
	EXPECT_TRUE(stm_view_has_region(&self->us->view, region + 1));
	pass_ages(ENOUGH, HOT);
	EXPECT_FALSE(stm_view_has_region(&self->us->view, region + 1));
	EXPECT_EQ(0, self->us->view.region_pages[region + 1]);
	EXPECT_TRUE(stm_view_has_region(&self->us->view, region));
	EXPECT_EQ(1, self->us->view.region_pages[region]);
	set_word(&other, word(HOT, 0), 5);
	EXPECT_EQ(5, get(HOT));
	actor_end(&other);
}

/* ---- how ---- */

/* 128 pages, every other one in use. */
static void checkerboard(unsigned int ages)
{
	for (unsigned int i = 0; i < ages * 8; i++) {
		time_now += AGE / 8 * MS;
		for (size_t page = FIRST; page < FIRST + 128; page += 2)
			get(page);
		stm_trim_look(stm__self);
		get(FIRST);
	}
}

TEST_F(trim, many_runs_are_dropped_by_one_call)
{
	uint64_t calls;

	for (size_t page = FIRST; page < FIRST + 128; page++)
		set(page, page);
	calls = self->us->view.calls;
	checkerboard(ENOUGH);
	EXPECT_EQ(64, self->us->trim.pages);
	EXPECT_EQ(1, many_calls);
	if (process_madvise_failed)
		SKIP(return, "process_madvise(2) of this kernel cannot do it: Linux 6.15");
	EXPECT_EQ(calls + 1, self->us->view.calls);
	for (size_t page = FIRST; page < FIRST + 128; page++)
		EXPECT_EQ(page % 2 ? STM_PAGE_UNMAPPED : STM_PAGE_PRIVATE, state_of(page));
}

TEST_F(trim, runs_are_dropped_one_by_one_where_the_kernel_is_old)
{
	uint64_t calls;

	no_process_madvise = true;
	for (size_t page = FIRST; page < FIRST + 128; page++)
		set(page, page);
	calls = self->us->view.calls;
	checkerboard(ENOUGH);
	EXPECT_EQ(1, many_calls); /* not asked again */
	EXPECT_EQ(64, self->us->trim.pages);
	EXPECT_EQ(calls + 64 + 2, self->us->view.calls); /* and the markers behind the last page */
	for (size_t page = FIRST; page < FIRST + 128; page++)
		EXPECT_EQ(page, get(page));
}

TEST_F(trim, what_cannot_be_dropped_stays)
{
	no_process_madvise = no_madvise = true;
	for (size_t page = FIRST; page < FIRST + 128; page++)
		set(page, page);
	checkerboard(ENOUGH);
	EXPECT_EQ(0, self->us->trim.pages);
	EXPECT_EQ(128, self->us->view.private);
	for (size_t page = FIRST; page < FIRST + 128; page++)
		EXPECT_EQ(page, get(page));
	no_madvise = false;
	checkerboard(ENOUGH);
	EXPECT_EQ(64, self->us->trim.pages);
	for (size_t page = FIRST; page < FIRST + 128; page++)
		EXPECT_EQ(page, get(page));
}

TEST_HARNESS_MAIN
