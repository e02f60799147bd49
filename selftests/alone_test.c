// SPDX-License-Identifier: MIT
/*
 * alone_test.c - a thread that alone counts commits to the base, and nobody can tell (lib/alone.c): not who comes while
 * it commits, nor who waits, nor the thread itself.
 */
#include "kselftest_harness.h"
#include "steps.h"

FIXTURE(alone) {
	struct actor a, b;              /* a runs, b sleeps */
	word_t words;
};

FIXTURE_SETUP(alone)
{
	struct stm_options options = STM_OPTIONS_INIT;

	options.trim_age = STM_TRIM_NEVER;
	options.cluster = 1;
	ASSERT_EQ(0, stm_init(&options));
	self->words = words_new(8);
	actor_start(&self->a);
	actor_start(&self->b);
}

FIXTURE_TEARDOWN(alone)
{
	actor_end(&self->a);
	actor_end(&self->b);
	EXPECT_EQ(0, schedule_failures());
	EXPECT_EQ(0, stm_fini());
}

static void help_job(void *arg)
{
	(void)arg;
	help_fold();
}

/* The other one is parked after some visits; this one is alone then. */
static bool leave_alone(struct actor *a, word_t word)
{
	for (unsigned int i = 0; i < 10 && !atomic_load(&a->seg->alone); i++) {
		set_word(a, word, i + 100);
		actor_run(a, help_job, NULL);
	}
	return atomic_load(&a->seg->alone);
}

#define NOT_STRICT()                                                                            \
	if (self->a.seg->strict)                                                                \
	SKIP(return, "strict mode")
#define ALONE()                                                                                 \
	do {                                                                                    \
		NOT_STRICT();                                                                   \
		ASSERT_TRUE(leave_alone(&self->a, self->words));                                \
		ASSERT_EQ(STM_PARKED, atomic_load(&self->b.seg->taken));                        \
	} while (0)

static uint64_t folded(void)
{
	return atomic_load(&stm_global.folded);
}

TEST_F(alone, a_commit_leaves_nothing_behind)
{
	word_t words = self->words;
	struct stm_seg *seg = self->a.seg;
	uint64_t before;

	ALONE();
	set_word(&self->a, word_at(words, 1, 0), 5);
	before = folded();
	for (uint64_t i = 0; i < 3 * STM_CHUNK_SLOTS; i++) {
		const struct stm_slot *slot = seg->slot;
		const struct stm_entry *entry = seg->entry;
		bool last = (seg->snapshot + 1) % STM_CHUNK_SLOTS == 0;

		set_word(&self->a, word_at(words, 1, 0), i);
		ASSERT_EQ(i, *(const uint64_t *)(stm_global.base + ((uintptr_t)word_at(words, 1, 0) - STM_HEAP)));
		ASSERT_EQ(before + i + 1, folded());
		ASSERT_EQ(folded(), tail());
		if (last) /* by the log */
			continue;
		ASSERT_EQ(STM_SLOT_EMPTY, atomic_load(&slot->entry));
		ASSERT_EQ(entry, seg->entry);
	}
	EXPECT_TRUE(atomic_load(&seg->alone));
}

/* ALONE_NO_WAIT: who comes while it commits sees all of the commit. */
TEST_F(alone, who_comes_waits_for_the_commit)
{
	struct stop stop = { .reached = 0 };
	word_t one = word_at(self->words, 1, 0), two = word_at(self->words, 2, 0);
	struct script write = SCRIPT(WRITE(one, 5), WRITE(two, 6));
	struct script read = SCRIPT(READ(one), READ(two));

	ALONE();
	actor_stop_at(&self->a, STM_POINT_AT_BASE, 1, &stop);
	script_start(&self->a, &write);
	stop_await(&stop);
	script_start(&self->b, &read);
	for (unsigned int i = 0; i < 200 && atomic_load(&self->b.busy); i++)
		usleep(1000);
	EXPECT_TRUE(atomic_load(&self->b.busy));
	stop_release(&stop);
	actor_wait(&self->a);
	actor_wait(&self->b);
	EXPECT_EQ(5, read.steps[0].value);
	EXPECT_EQ(6, read.steps[1].value);
	EXPECT_FALSE(atomic_load(&self->a.seg->alone));
}

/* The same, before the commit has asked whether it is alone: it goes to the log. */
TEST_F(alone, a_commit_that_was_overtaken_goes_to_the_log)
{
	struct stop stop = { .reached = 0 };
	word_t one = word_at(self->words, 1, 0), two = word_at(self->words, 2, 0);
	struct script write = SCRIPT(WRITE(one, 5), WRITE(two, 6));
	struct script read = SCRIPT(READ(one), READ(two));

	ALONE();
	actor_stop_at(&self->a, STM_POINT_ALONE, 1, &stop);
	script_start(&self->a, &write);
	stop_await(&stop);
	script_start(&self->b, &read);
	while (atomic_load(&self->a.seg->alone))
		usleep(1000);
	stop_release(&stop);
	actor_wait(&self->a);
	actor_wait(&self->b);
	/* Either order will do. */
	EXPECT_EQ(read.steps[0].value ? 6 : 0, read.steps[1].value);
	EXPECT_LT(folded(), tail());
	EXPECT_EQ(6, get_word(&self->b, two));
}

/* ALONE_STAYS: from then on it commits to the log. */
TEST_F(alone, who_came_keeps_its_snapshot)
{
	struct stop stop = { .reached = 0 };
	word_t one = word_at(self->words, 1, 0), two = word_at(self->words, 2, 0);
	struct script write = SCRIPT(WRITE(one, 5), WRITE(two, 6));
	struct script read = SCRIPT(READ(one), STOP(&stop), READ(two));

	ALONE();
	script_start(&self->b, &read);
	stop_await(&stop);
	script_run(&self->a, &write);
	stop_release(&stop);
	actor_wait(&self->b);
	EXPECT_EQ(0, read.steps[0].value);
	EXPECT_EQ(0, read.steps[2].value);
	EXPECT_EQ(6, get_word(&self->b, two));
}

TEST_F(alone, who_waits_is_woken)
{
	word_t word = word_at(self->words, 1, 0);
	struct script wait = SCRIPT(AWAIT(word, 7));

	NOT_STRICT();
	script_start(&self->b, &wait);
	while (!stm_waits(self->b.seg) || stm_in_tx(self->b.seg))
		usleep(1000);
	ALONE();
	for (uint64_t i = 1; i <= 7; i++)
		set_word(&self->a, word, i);
	actor_wait(&self->b);
	EXPECT_EQ(7, get_word(&self->b, word));
}

TEST_F(alone, what_needs_the_log_goes_there)
{
	word_t word = word_at(self->words, 1, 0);
	struct script inevitable = SCRIPT(INEVITABLE, COUNT(word)), cancelled = SCRIPT(COUNT(word), CANCEL(3)),
		      nothing = SCRIPT(INEVITABLE, READ(word));
	uint64_t at;

	ALONE();
	for (unsigned int i = 0; i < 10; i++) {
		at = tail();
		script_run(&self->a, &inevitable);
		script_run(&self->a, &nothing);
		EXPECT_EQ(at + 1, tail());
		EXPECT_EQ(at, folded());
		script_run(&self->a, &cancelled);
		set_word(&self->a, word_at(self->words, 2, 0), i);
		EXPECT_EQ(at + 2, folded()); /* caught up */
	}
	EXPECT_EQ(10, get_word(&self->a, word));
	EXPECT_TRUE(atomic_load(&self->a.seg->alone));
	EXPECT_EQ(10, get_word(&self->b, word));
}

static void *attach_cancelled(void *arg)
{
	(void)arg;
	pthread_cancel(pthread_self());
	if (stm_thread_attach())
		schedule_fail("stm_thread_attach() failed");
	pthread_testcancel();
	return NULL;
}

/* It ends attached, when it is there: not while it waits, with a lock, nor in a call on the way. */
TEST_F(alone, a_cancelled_thread_comes)
{
	struct stop stop = { .reached = 0 };
	word_t word = word_at(self->words, 1, 0);
	struct script write = SCRIPT(WRITE(word, 5));
	void *result = NULL;
	pthread_t thread;

	ALONE();
	actor_stop_at(&self->a, STM_POINT_AT_BASE, 1, &stop);
	script_start(&self->a, &write);
	stop_await(&stop);
	ASSERT_EQ(0, pthread_create(&thread, NULL, attach_cancelled, NULL));
	while (!atomic_load(&stm_global.joining))
		usleep(1000);
	usleep(10000);
	stop_release(&stop);
	actor_wait(&self->a);
	ASSERT_EQ(0, pthread_join(thread, &result));
	EXPECT_EQ(PTHREAD_CANCELED, result);
	EXPECT_EQ(0, atomic_load(&stm_global.joining));
	EXPECT_EQ(5, get_word(&self->b, word));
	EXPECT_TRUE(leave_alone(&self->a, self->words));
}

#define LARGE ((size_t)96 << 10)        /* bytes: more than a block of the log, less than STM_LARGE_ENTRY */

struct large {
	word_t words;
	uint64_t value;
	int code;
};

static int write_large(void *arg)
{
	struct large *large = arg;

	stm_write_range(large->words, LARGE);
	for (size_t i = 0; i < LARGE / sizeof(uint64_t); i++)
		large->words[i] = large->value;
	return large->code;
}

static void large_job(void *arg)
{
	struct large *large = arg;

	if (stm_atomic(write_large, large) != large->code)
		schedule_fail("stm_atomic() returned something else");
}

/* Memory that a large commit to the base left in use is a usual block's from then on: an abort does not take it away. */
TEST_F(alone, a_large_entry_is_followed_by_small_ones)
{
	struct large large = { .words = words_new(LARGE / STM_PAGE + 1), .value = 1 };
	word_t word = word_at(self->words, 1, 0);
	struct script undone = SCRIPT(WRITE(word, 1000), CANCEL(1));
	const struct stm_block *block;

	ALONE();
	actor_run(&self->a, large_job, &large);
	EXPECT_GT(self->a.seg->block->size, LARGE);
	get_word(&self->b, word); /* not alone any more */
	EXPECT_FALSE(atomic_load(&self->a.seg->alone));
	set_word(&self->a, word, 7);
	block = self->a.seg->block;
	EXPECT_GT(block->size, LARGE); /* it has that entry */
	script_run(&self->a, &undone);
	EXPECT_EQ(block, self->a.seg->block);
	large = (struct large){ large.words, 2, 1 };
	actor_run(&self->a, large_job, &large);
	EXPECT_EQ(7, get_word(&self->b, word));
	EXPECT_EQ(1, get_word(&self->b, word_at(large.words, LARGE / STM_PAGE - 1, 511)));
}

/* One after the other, each alone for a while. */
TEST_F(alone, the_next_one_goes_on)
{
	word_t word = word_at(self->words, 1, 0);
	struct script count = SCRIPT(COUNT(word));

	ALONE();
	for (uint64_t i = 0; i < 200; i += 20) {
		struct actor *actor = i % 40 ? &self->a : &self->b;

		ASSERT_TRUE(i == 0 || leave_alone(actor, self->words));
		for (unsigned int n = 0; n < 20; n++)
			script_run(actor, &count);
		ASSERT_EQ(i + 20, get_word(actor, word));
	}
}

TEST_HARNESS_MAIN
