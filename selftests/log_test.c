// SPDX-License-Identifier: MIT
/*
 * log_test.c - the commit log: reuse, sizes, summaries, versions that run out.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"
#include "steps.h"

/* A machine that is busy with other things is slow: the runner's limit is the only one. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 280

#define LOG_LIMIT ((size_t)4 << 20)
#define PAGE_WORDS 512u

static struct stm_stats stats(void)
{
	struct stm_stats now;

	stm_stats(&now, sizeof(now));
	return now;
}

static int start(size_t heap_size, unsigned int cluster)
{
	struct stm_options options = STM_OPTIONS_INIT;

	options.heap_size = heap_size;
	options.cluster = cluster;
	options.log_limit = LOG_LIMIT;
	return stm_init(&options);
}

FIXTURE(log) {
	struct actor a, b, c;
	word_t words;
};

FIXTURE_VARIANT(log) {
	size_t heap_size;
	unsigned int cluster;
};

/* A small heap has few regions; in a large one page 300 is far from page 0. */
FIXTURE_VARIANT_ADD(log, small_heap) { .heap_size = (size_t)4 << 20, .cluster = 16 };
FIXTURE_VARIANT_ADD(log, large_heap) { .heap_size = (size_t)64 << 20, .cluster = 1 };

#define SMALL_PAGES 300u

FIXTURE_SETUP(log)
{
	ASSERT_EQ(0, start(variant->heap_size, variant->cluster));
	self->words = words_new(SMALL_PAGES);
	actor_start(&self->a);
	actor_start(&self->b);
	actor_start(&self->c);
}

FIXTURE_TEARDOWN(log)
{
	stm_schedule_hook = NULL;
	actor_end(&self->a);
	actor_end(&self->b);
	actor_end(&self->c);
	EXPECT_EQ(0, schedule_failures());
	EXPECT_EQ(0, stm_fini());
}

/* ---- many small commits ---- */

struct adder {
	word_t words;
	uint64_t n, random;
	word_t word;
};

static int add(void *arg)
{
	struct adder *adder = arg;

	STM_SET(*adder->word, STM_GET(*adder->word) + 1);
	return 0;
}

static void add_job(void *arg)
{
	struct adder *adder = arg;

	for (uint64_t i = 0; i < adder->n; i++) {
		adder->word = word_at(adder->words, 0, next_random(&adder->random) % PAGE_WORDS);
		stm_atomic(add, adder);
	}
}

struct summer {
	word_t words;
	size_t first, n;
	uint64_t sum;
};

static int sum_up(void *arg)
{
	struct summer *summer = arg;

	summer->sum = 0;
	for (size_t i = 0; i < summer->n; i++)
		summer->sum += +STM_GET(*word_at(summer->words, 0, summer->first + i));
	return 0;
}

static void sum_job(void *arg)
{
	stm_atomic(sum_up, arg);
}

/* A million commits of each thread pass through a few chunks of the log. */
TEST_F(log, is_used_again_and_again)
{
	const uint64_t n = (getenv("STM_LONG") ? 20000000 : 1000000) / (getenv("UFFDSTM_STRICT") ? 50 : 1);
	struct adder x = { .words = self->words, .n = n, .random = 12345 };
	struct adder y = { .words = self->words, .n = n, .random = 54321 };
	struct summer summer = { .words = self->words, .n = PAGE_WORDS };
	uint64_t most = 0;

	actor_do(&self->a, add_job, &x);
	actor_do(&self->b, add_job, &y);
	while (atomic_load(&self->a.busy) || atomic_load(&self->b.busy)) {
		uint64_t bytes = stats().log_bytes;

		most = bytes > most ? bytes : most;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	actor_run(&self->c, sum_job, &summer);
	EXPECT_EQ(2 * n, summer.sum);
	EXPECT_EQ(2 * n + 1, stats().committed); /* one made the words */
	/* Two segments' entries, the slots of as many commits, and what waits to be used again. */
	EXPECT_GT(6 * LOG_LIMIT, most);
	TH_LOG("log memory: %llu bytes at most", (unsigned long long)most);
}

/* ---- large ones ---- */

struct fill {
	word_t words;
	size_t n;
	uint64_t value;
	int code;
	uint64_t wrong;
};

static int fill_words(void *arg)
{
	struct fill *fill = arg;

	stm_write_range(fill->words, fill->n * sizeof(uint64_t));
	for (size_t i = 0; i < fill->n; i++)
		((volatile uint64_t STM *)fill->words)[i] = fill->value + i;
	return fill->code;
}

static int check_words(void *arg)
{
	struct fill *fill = arg;

	fill->wrong = 0;
	stm_read_range(fill->words, fill->n * sizeof(uint64_t));
	for (size_t i = 0; i < fill->n; i++)
		fill->wrong += ((volatile uint64_t STM *)fill->words)[i] !=
			       (fill->value ? fill->value + i : 0);
	return 0;
}

static void fill_job(void *arg)
{
	stm_atomic(fill_words, arg);
}

static void check_job(void *arg)
{
	stm_atomic(check_words, arg);
}

/* Larger than a block of entry memory (64 KiB), up to nearly all of the words. */
TEST_F(log, takes_entries_of_all_sizes)
{
	static const size_t sizes[] = { 1, 7, 100, 4000, 8190, 8192, 8200, 16384, 40000, 150000 };
	struct fill fill = { .words = word_at(self->words, 0, 1), .value = 0 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct fill before = fill;

		/* What was there is put back; what comes behind it stays. */
		fill.value = (i + 1) << 32;
		fill.n = sizes[i];
		fill.code = 1;
		actor_run(&self->a, fill_job, &fill);
		actor_run(&self->a, check_job, &before);
		EXPECT_EQ(0, before.wrong);
		fill.code = 0;
		actor_run(&self->a, fill_job, &fill);
		actor_run(&self->a, check_job, &fill);
		EXPECT_EQ(0, fill.wrong);
		actor_run(&self->b, check_job, &fill);
		EXPECT_EQ(0, fill.wrong);
		EXPECT_EQ(0, get_word(&self->b, fill.words + fill.n));
	}
	EXPECT_EQ(0, stats().aborts[STM_ABORT_CONFLICT]);
	/* A later, small one gets back to small memory. */
	for (unsigned int i = 0; i < 40; i++) {
		count_up(&self->a, self->words, 4096);
		get_word(&self->b, self->words);
		get_word(&self->c, self->words);
	}
	EXPECT_GT(2 * LOG_LIMIT, stats().log_bytes);
}

#define SPARE_MOST ((size_t)2 << 20)

/* Memory of large entries is used again, in the steady state, but is no log meanwhile; nor is there ever more of it. */
TEST_F(log, large_entries_have_the_same_memory)
{
	struct fill fill = { .words = word_at(self->words, 0, 1), .n = 16384, .value = 1 };
	const struct stm_block *seen[8] = { NULL };
	unsigned int distinct = 0;

	for (unsigned int i = 0; i < 60; i++) {
		const struct stm_block *block;
		unsigned int k = 0;

		actor_run(&self->a, fill_job, &fill);
		block = self->a.seg->used_last;
		while (k < distinct && seen[k] != block)
			k++;
		ASSERT_GT(8, k);
		distinct += k == distinct;
		seen[k] = block;
		get_word(&self->b, self->words);
		get_word(&self->c, self->words);
	}
	TH_LOG("%u blocks", distinct);
	EXPECT_LT(0, self->a.seg->spare_bytes);
	EXPECT_GT(LOG_LIMIT / 2, atomic_load(&self->a.seg->block_bytes));
	for (unsigned int i = 0; i < 20; i++) {
		fill.n = i % 2 ? 150000 : 10000 + 3000 * i;
		actor_run(&self->a, fill_job, &fill);
		get_word(&self->b, self->words);
		get_word(&self->c, self->words);
		EXPECT_GE(SPARE_MOST, self->a.seg->spare_bytes);
	}
	actor_run(&self->a, check_job, &fill);
	EXPECT_EQ(0, fill.wrong);
}

struct scatter {
	word_t words;
	size_t n;
	uint64_t value, wrong;
	int code;
};

/* Every other granule: each is a run of its own. */
static int scatter_words(void *arg)
{
	struct scatter *scatter = arg;

	for (size_t i = 0; i < scatter->n; i++)
		STM_SET(scatter->words[i * 4], scatter->value + i);
	return scatter->code;
}

static int check_scattered(void *arg)
{
	struct scatter *scatter = arg;

	scatter->wrong = 0;
	for (size_t i = 0; i < scatter->n; i++)
		scatter->wrong += +STM_GET(scatter->words[i * 4]) !=
					  (scatter->value ? scatter->value + i : 0) ||
				  +STM_GET(scatter->words[i * 4 + 2]) != 0;
	return 0;
}

static void scatter_job(void *arg)
{
	stm_atomic(scatter_words, arg);
}

static void check_scattered_job(void *arg)
{
	stm_atomic(check_scattered, arg);
}

/* The same with many runs: 38,000 of them. */
TEST_F(log, takes_entries_of_many_runs)
{
	static const size_t sizes[] = { 2, 3, 100, 2600, 2731, 2800, 8000, 38000 };
	struct scatter scatter = { .words = self->words, .value = 0 };

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct scatter before = scatter;

		scatter.value = (i + 1) << 32;
		scatter.n = sizes[i];
		scatter.code = 1;
		actor_run(&self->a, scatter_job, &scatter);
		actor_run(&self->a, check_scattered_job, &before);
		EXPECT_EQ(0, before.wrong);
		scatter.code = 0;
		actor_run(&self->a, scatter_job, &scatter);
		actor_run(&self->a, check_scattered_job, &scatter);
		EXPECT_EQ(0, scatter.wrong);
		actor_run(&self->b, check_scattered_job, &scatter);
		EXPECT_EQ(0, scatter.wrong);
	}
}

/* ---- far behind ---- */

/*
 * A segment that maps none of what was written skips groups; then it faults, and finds all of it.
 */
TEST_F(log, a_long_backlog_is_replayed)
{
	const uint64_t n = 12000;
	struct stop stop = { .reached = 0 };
	struct script hold = SCRIPT(STOP(&stop));
	struct adder adder = { .words = self->words, .n = 50, .random = 99 };
	struct summer all = { .words = self->words, .n = SMALL_PAGES * PAGE_WORDS };
	uint64_t sum = 0;

	script_start(&self->c, &hold);
	stop_await(&stop);
	/* Words of all pages, with many commits elsewhere between. */
	for (uint64_t i = 0; i < n / 100; i++) {
		adder.words = word_at(self->words, i * 37 % SMALL_PAGES, 0);
		actor_run(&self->a, add_job, &adder);
		sum += 50;
		/* Several groups of 64 in a row that touch page 5 only. */
		count_up(&self->a, word_at(self->words, 5, 0), 300);
	}
	ASSERT_LE(n, tail() - atomic_load(&stm_global.folded));
	for (unsigned int round = 0; round < 3; round++) {
		struct summer page = { .words = self->words, .n = PAGE_WORDS };

		actor_run(&self->b, sum_job, &all);
		page.words = word_at(self->words, 5, 0);
		actor_run(&self->b, sum_job, &page);
		/* Page 5 has what was added there as well, except where it was overwritten. */
		EXPECT_LE(sum + 300 - 51, all.sum);
		EXPECT_GE(sum + 300, all.sum);
		EXPECT_EQ(300, get_word(&self->b, word_at(self->words, 5, 0)));
		set_word(&self->a, word_at(self->words, 5, 0), 300);
	}
	stop_release(&stop);
	actor_wait(&self->c);
}

/* The same against a model: random words, a view that maps some pages, then more and more. */
TEST_F(log, summaries_skip_nothing_that_matters)
{
	enum { ROUNDS = 60, COMMITS = 200, PAGES = 40 };
	struct stop stop = { .reached = 0 };
	struct script hold = SCRIPT(STOP(&stop));
	static uint64_t model[PAGES][4];
	uint64_t random = 7777, value = 0;

	memset(model, 0, sizeof(model));
	script_start(&self->c, &hold);
	stop_await(&stop);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		size_t low = next_random(&random) % PAGES, width = 1 + next_random(&random) % 4;

		for (unsigned int i = 0; i < COMMITS; i++) {
			size_t page = (low + next_random(&random) % width) % PAGES;
			size_t word = next_random(&random) % 4;

			model[page][word] = ++value;
			/* 7 pages apart: in a window of its own, or not. */
			set_word(&self->a, word_at(self->words, page * 7, word * 100), value);
		}
		for (unsigned int i = 0; i < 5; i++) {
			size_t page = next_random(&random) % PAGES;
			size_t word = next_random(&random) % 4;

			EXPECT_EQ(model[page][word],
				  get_word(&self->b, word_at(self->words, page * 7, word * 100)));
		}
	}
	ASSERT_LE(10000, tail() - atomic_load(&stm_global.folded));
	for (size_t page = 0; page < PAGES; page++)
		for (size_t word = 0; word < 4; word++)
			EXPECT_EQ(model[page][word],
				  get_word(&self->b, word_at(self->words, page * 7, word * 100)));
	stop_release(&stop);
	actor_wait(&self->c);
	/* And what fold made of it. */
	get_word(&self->b, self->words);
	count_up(&self->a, word_at(self->words, PAGES * 7, 0), 20000);
	for (size_t page = 0; page < PAGES; page++)
		for (size_t word = 0; word < 4; word++)
			EXPECT_EQ(model[page][word],
				  get_word(&self->c, word_at(self->words, page * 7, word * 100)));
	EXPECT_LT(10000, atomic_load(&stm_global.folded));
}

/* A doomed transaction is found out although whole groups of commits lie between. */
TEST_F(log, a_conflict_far_behind_is_found)
{
	static const uint64_t others[] = { 0, 1, 62, 63, 64, 65, 200, 1023, 1024, 5000 };

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		for (unsigned int conflict = 0; conflict < 2; conflict++) {
			struct stop stop = { .reached = 0 };
			struct script late = SCRIPT(READ(word_at(self->words, 1, 0)), STOP(&stop),
						    WRITE(word_at(self->words, 2, 0), i));

			script_start(&self->b, &late);
			stop_await(&stop);
			count_up(&self->a, word_at(self->words, 250, 0), others[i]);
			if (conflict)
				set_word(&self->a, word_at(self->words, 1, 0), i + 1);
			count_up(&self->a, word_at(self->words, 250, 0), others[i]);
			stop_release(&stop);
			actor_wait(&self->b);
			EXPECT_EQ(1 + conflict, late.attempts);
			EXPECT_EQ(i + conflict, late.steps[0].value);
		}
	}
}

/* ---- versions ---- */

#define LAST_VERSIONS 0xfffffff0u

static int set_and_cancel(void *arg)
{
	struct fill *fill = arg;

	STM_SET(*fill->words, fill->value);
	return 1;
}

static void set_and_cancel_job(void *arg)
{
	stm_atomic(set_and_cancel, arg);
}

/*
 * Versions are used up after 2^32 transactions, and begin again: markers that early transactions
 * left must not pass for those of the later ones with the same versions.
 */
TEST_F(log, versions_begin_again)
{
	struct stop stop = { .reached = 0 };
	uint64_t value = 0;
	uint32_t first;

	/* Early versions mark one word each, as read and written. */
	first = self->a.seg->version;
	for (unsigned int i = 0; i < 40; i++)
		set_word(&self->a, word_at(self->words, 1, i * 2), ++value);
	EXPECT_LT(first + 30, self->a.seg->version);
	EXPECT_GT(100, self->a.seg->version);
	self->a.seg->version = LAST_VERSIONS;
	while (self->a.seg->version >= LAST_VERSIONS)
		get_word(&self->a, self->words);
	EXPECT_GT(100, self->a.seg->version);
	for (unsigned int i = 0; i < 40; i++) {
		struct fill fill = { .words = word_at(self->words, 1, i * 2), .value = 1000 + i };
		struct script write =
			SCRIPT(WRITE(word_at(self->words, 1, i * 2), 2000 + i), STOP(&stop));

		/* Logged, so undone; ... */
		actor_run(&self->a, set_and_cancel_job, &fill);
		EXPECT_EQ(i + 1, get_word(&self->a, fill.words));
		/* ... published; ... */
		stop_release(&stop);
		script_run(&self->a, &write);
		EXPECT_EQ(2000 + i, get_word(&self->b, fill.words));
		set_word(&self->b, fill.words, i + 1);
	}
}

/*
 * Nor as marks of what these have read: nobody runs again because of what others wrote elsewhere.
 */
TEST_F(log, versions_that_begin_again_have_read_nothing)
{
	struct fill fill = { .words = word_at(self->words, 1, 0), .n = 400, .value = 1 };
	uint32_t first;

	first = self->a.seg->version;
	for (unsigned int i = 0; i < 150; i++)
		set_word(&self->a, word_at(self->words, 1, i * 2), i);
	EXPECT_LT(first + 140, self->a.seg->version);
	self->a.seg->version = LAST_VERSIONS;
	while (self->a.seg->version >= LAST_VERSIONS)
		get_word(&self->a, self->words);
	EXPECT_GT(first + 100, self->a.seg->version);
	for (unsigned int i = 0; i < 200; i++) {
		struct stop read = { .reached = 0 };
		struct script script = SCRIPT(READ(word_at(self->words, 3, 0)), STOP(&read),
					      WRITE(word_at(self->words, 4, 0), i));

		script_start(&self->a, &script);
		stop_await(&read);
		actor_run(&self->b, fill_job, &fill);
		stop_release(&read);
		actor_wait(&self->a);
		EXPECT_EQ(1, script.attempts);
	}
}

/* Versions that run out while a transaction runs again and again. */
struct again {
	word_t word;
	unsigned int left;
	uint64_t wrong;
};

static int again(void *arg)
{
	struct again *a = arg;

	a->wrong += +STM_GET(*a->word) != 5;
	STM_SET(*a->word, 6);
	STM_SET(*word_at(a->word, 0, 2 + a->left * 2), 6); /* whose markers are as they were made */
	if (a->left && a->left--)
		stm_restart();
	STM_SET(*a->word, 7);
	return 0;
}

static void again_job(void *arg)
{
	stm_atomic(again, arg);
}

TEST_F(log, versions_begin_again_between_attempts)
{
	struct again a = { .word = word_at(self->words, 1, 0), .left = 60 };

	set_word(&self->a, a.word, 5);
	self->a.seg->version = LAST_VERSIONS;
	actor_run(&self->a, again_job, &a);
	EXPECT_EQ(0, a.wrong);
	EXPECT_EQ(7, get_word(&self->b, a.word));
	EXPECT_GT(100, self->a.seg->version);
	EXPECT_EQ(6, get_word(&self->a, word_at(a.word, 0, 2)));
	for (unsigned int i = 1; i <= 60; i++)
		EXPECT_EQ(0, get_word(&self->a, word_at(a.word, 0, 2 + i * 2)));
}

/* ---- many regions ---- */

#define REGIONS 9u

/* A slot names four regions; who maps only the fifth, or any other, must look at the entry too. */
TEST(a_commit_in_many_regions_passes_nobody_by)
{
	struct actor a, b;
	word_t words;

	ASSERT_EQ(0, start((size_t)64 << 20, 1));
	words = words_new(REGIONS * STM_REGION_PAGES);
	actor_start(&a);
	for (unsigned int n = 1; n <= REGIONS; n++) {
		for (unsigned int mapped = 0; mapped < n; mapped++) {
			word_t word = word_at(words, mapped * STM_REGION_PAGES, 0);
			struct script write = { .n = n };
			struct stop stop = { .reached = 0 };
			struct script late =
				SCRIPT(READ(word), STOP(&stop),
				       WRITE(word_at(words, mapped * STM_REGION_PAGES, 2), 1));

			actor_start(&b);
			get_word(&b, word);
			for (unsigned int i = 0; i < n; i++)
				write.steps[i] = (struct step)WRITE(
					word_at(words, i * STM_REGION_PAGES, 0), n * 100 + mapped);
			script_run(&a, &write);
			EXPECT_EQ(n * 100 + mapped, get_word(&b, word));
			script_start(&b, &late);
			stop_await(&stop);
			script_run(&a, &write);
			stop_release(&stop);
			actor_wait(&b);
			EXPECT_EQ(2, late.attempts);
			actor_end(&b);
		}
	}
	actor_end(&a);
	EXPECT_EQ(0, schedule_failures());
	EXPECT_EQ(0, stm_fini());
}

/* ---- a third of the heap ---- */

TEST(a_transaction_writes_a_third_of_the_heap)
{
	const size_t heap = (size_t)64 << 20, n = heap / 3 / sizeof(uint64_t);
	struct actor a, b;
	struct fill fill = { .value = 0, .n = n };
	struct stop stop = { .reached = 0 };
	word_t words;

	ASSERT_EQ(0, start(heap, 16));
	words = words_new(heap / 3 / STM_PAGE + 1);
	fill.words = words;
	actor_start(&a);
	actor_start(&b);
	actor_run(&b, check_job, &fill);
	EXPECT_EQ(0, fill.wrong);
	for (unsigned int round = 1; round <= 3; round++) {
		struct script late = SCRIPT(READ(word_at(words, 5000, 0)), STOP(&stop),
					    READ(word_at(words, 7, 0)));
		struct fill before = fill;

		fill.value = (uint64_t)round << 40;
		fill.code = 1;
		actor_run(&a, fill_job, &fill);
		actor_run(&a, check_job, &before);
		EXPECT_EQ(0, before.wrong);
		/* One that runs meanwhile sees none of it. */
		script_start(&b, &late);
		stop_await(&stop);
		fill.code = 0;
		actor_run(&a, fill_job, &fill);
		stop_release(&stop);
		actor_wait(&b);
		EXPECT_EQ(before.value ? before.value + 7 * PAGE_WORDS : 0, late.steps[2].value);
		memset(&stop, 0, sizeof(stop));
		actor_run(&b, check_job, &fill);
		EXPECT_EQ(0, fill.wrong);
		actor_run(&a, check_job, &fill);
		EXPECT_EQ(0, fill.wrong);
	}
	/* The memory goes back. */
	for (unsigned int i = 0; i < 300; i++) {
		count_up(&a, words, 1024);
		get_word(&b, words);
	}
	TH_LOG("log memory: %llu bytes", (unsigned long long)stats().log_bytes);
	EXPECT_GT(2 * LOG_LIMIT, stats().log_bytes);
	actor_end(&a);
	actor_end(&b);
	EXPECT_EQ(0, schedule_failures());
	EXPECT_EQ(0, stm_fini());
}

TEST_HARNESS_MAIN
