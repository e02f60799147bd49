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

/* ---- blind: reads are not marked ---- */

static uint32_t marker_of(const struct stm_seg *seg, word_t word)
{
	return seg->read_markers[((uintptr_t)word - STM_HEAP) / STM_GRANULE];
}

#define BLIND()                                                                                 \
	do {                                                                                    \
		ALONE();                                                                        \
		count_up(&self->a, word_at(self->words, 7, 0), 3 * STM_CHUNK_SLOTS);            \
		ASSERT_TRUE(atomic_load(&self->a.seg->alone));                                  \
		ASSERT_EQ(1, atomic_load(&self->a.seg->unmarked));                              \
	} while (0)

TEST_F(alone, reads_leave_no_marker)
{
	word_t one = word_at(self->words, 1, 0), two = word_at(self->words, 2, 0);
	struct script use = SCRIPT(READ(one), WRITE(two, 5));
	struct stm_seg *seg = self->a.seg;
	uint32_t version;

	NOT_STRICT();
	script_run(&self->a, &use);
	version = seg->version;
	EXPECT_EQ(version - 1, marker_of(seg, one));
	EXPECT_EQ(version - 1, marker_of(seg, two));
	BLIND();
	script_run(&self->a, &use);
	EXPECT_EQ(version - 1, marker_of(seg, one));
	EXPECT_EQ(version - 1, marker_of(seg, two));
	EXPECT_EQ(5, get_word(&self->b, two)); /* who comes ends it */
	EXPECT_EQ(0, atomic_load(&seg->unmarked));
	script_run(&self->a, &use);
	EXPECT_EQ(seg->version - 1, marker_of(seg, one));
	EXPECT_EQ(seg->version - 1, marker_of(seg, two));
}

/* BLIND: what it has read may have been overwritten. */
TEST_F(alone, a_blind_attempt_sees_that_it_was_overtaken)
{
	struct stop stop = { .reached = 0 };
	word_t one = word_at(self->words, 1, 0), two = word_at(self->words, 2, 0);
	struct script count = SCRIPT(READ(one), COUNT(one), STOP(&stop)), other = SCRIPT(READ(one), STOP(&stop), WRITE(two, 1));

	BLIND();
	set_word(&self->a, one, 10);
	script_start(&self->a, &count);
	stop_await(&stop);
	set_word(&self->b, one, 20);
	stop_release(&stop);
	actor_wait(&self->a);
	EXPECT_EQ(2, count.attempts);
	EXPECT_EQ(21, get_word(&self->b, one));

	/* From then on it tells what conflicts from what does not. */
	stop = (struct stop){ .reached = 0 };
	script_start(&self->a, &other);
	stop_await(&stop);
	set_word(&self->b, word_at(self->words, 3, 0), 20);
	stop_release(&stop);
	actor_wait(&self->a);
	EXPECT_EQ(1, other.attempts);
}

/* It cannot know what conflicts: anything does, once, and then reads are marked for a while. */
TEST_F(alone, a_blind_attempt_conflicts_with_anything)
{
	struct stop stop = { .reached = 0 };
	word_t one = word_at(self->words, 1, 0), two = word_at(self->words, 2, 0), three = word_at(self->words, 3, 0);
	struct script use = SCRIPT(READ(one), STOP(&stop), WRITE(two, 5)), look = SCRIPT(READ(one), STOP(&stop), READ(two)),
		      validate = SCRIPT(READ(one), STOP(&stop), VALIDATE), become = SCRIPT(READ(one), STOP(&stop), INEVITABLE);
	struct script *all[] = { &use, &validate, &become, &look };

	for (unsigned int i = 0; i < 4; i++) {
		self->a.seg->marks_for = 0; /* as if the last time were long ago */
		BLIND();
		stop = (struct stop){ .reached = 0 };
		script_start(&self->a, all[i]);
		stop_await(&stop);
		set_word(&self->b, three, i + 1);
		stop_release(&stop);
		actor_wait(&self->a);
		EXPECT_EQ(all[i] == &look ? 1 : 2, all[i]->attempts); /* that one is of its snapshot */
		/* Alone once more, it goes on marking, if it had a conflict. */
		ASSERT_TRUE(leave_alone(&self->a, self->words));
		EXPECT_EQ(all[i] == &look, atomic_load(&self->a.seg->unmarked));
	}
}

struct long_job {
	word_t words;
	struct stop *stop;
	unsigned int savepoints, attempts;
};

static void long_job(void *arg)
{
	struct long_job *job = arg;

	STM_ATOMIC {
		__atomic_add_fetch(&job->attempts, 1, __ATOMIC_RELAXED);
		stm_read(word_at(job->words, 1, 0));
		for (unsigned int i = 0; i < job->savepoints; i++)
			if (stm_release(stm_savepoint()))
				schedule_fail("stm_release() failed");
		stop_here(job->stop);
		STM_SET(*word_at(job->words, 2, 0), 1);
	}
}

/* Somebody comes for a moment while it runs, and commits something else. Was an attempt lost? */
static unsigned int visited(struct actor *a, struct actor *b, word_t words, unsigned int savepoints)
{
	struct stop stop = { .reached = 0 };
	struct long_job job = { words, &stop, savepoints, 0 };

	actor_do(a, long_job, &job);
	stop_await(&stop);
	set_word(b, word_at(words, 3, 0), 1);
	stop_release(&stop);
	actor_wait(a);
	leave_alone(a, words);
	return job.attempts - 1;
}

/* Savepoints are no attempts. */
TEST_F(alone, few_attempts_are_lost_to_visitors)
{
	unsigned int lost = 0;

	BLIND();
	for (unsigned int i = 0; i < 100; i++)
		lost += visited(&self->a, &self->b, self->words, STM_MARKED_ATTEMPTS + 10);
	EXPECT_EQ(1, lost);
}

/* Nor are those that are short paid for by long ones. */
TEST_F(alone, few_long_attempts_are_lost)
{
	unsigned int lost = 0;

	BLIND();
	for (unsigned int i = 0; i < 60; i++) {
		lost += visited(&self->a, &self->b, self->words, 0);
		count_up(&self->a, word_at(self->words, 7, 0), 2 * STM_MARKED_ATTEMPTS + 100);
	}
	EXPECT_LE(2, lost);
	EXPECT_GE(7, lost);
	EXPECT_LE(4 * STM_MARKED_ATTEMPTS, self->a.seg->marks_for);
	/* In the end it is blind again, and a conflict long after is one as the first. */
	count_up(&self->a, word_at(self->words, 7, 0), 70 * (uint64_t)self->a.seg->marks_for);
	EXPECT_EQ(1, atomic_load(&self->a.seg->unmarked));
	EXPECT_EQ(1, visited(&self->a, &self->b, self->words, 0));
	EXPECT_EQ(STM_MARKED_ATTEMPTS, self->a.seg->marks_for);
}

TEST_F(alone, who_waits_knows_for_what)
{
	word_t one = word_at(self->words, 1, 0), two = word_at(self->words, 2, 0);
	struct script wait = SCRIPT(AWAIT(one, 7));

	BLIND();
	script_start(&self->a, &wait);
	while (!stm_waits(self->a.seg) || stm_in_tx(self->a.seg))
		usleep(1000);
	EXPECT_EQ(2, attempts_of(&wait));
	set_word(&self->b, two, 7);
	usleep(1000);
	EXPECT_EQ(2, attempts_of(&wait));
	set_word(&self->b, one, 7);
	actor_wait(&self->a);
	EXPECT_EQ(3, wait.attempts);
}

static void restart_twice_job(void *arg)
{
	volatile unsigned int attempts = 0;
	word_t word = (word_t)(uintptr_t)arg;

	STM_ATOMIC {
		if (++attempts < 3)
			stm_restart();
		STM_SET(*word, STM_GET(*word) + 1);
	}
}

/* Somebody commits between its begin and its PENDING: it has read nothing that could conflict. */
TEST_F(alone, right_of_way_is_not_blind)
{
	struct stm_policy policy = STM_POLICY_INIT;
	struct stop stop = { .reached = 0 };
	word_t one = word_at(self->words, 1, 0);

	BLIND();
	policy.attempts = 2;
	ASSERT_EQ(0, stm_policy(NULL, &policy));
	actor_stop_at(&self->a, STM_POINT_PENDING, 1, &stop);
	actor_do(&self->a, restart_twice_job, (void *)(uintptr_t)one);
	stop_await(&stop);
	set_word(&self->b, one, 20);
	stop_release(&stop);
	actor_wait(&self->a);
	EXPECT_EQ(21, get_word(&self->b, one));
}

static void named_job(void *arg)
{
	word_t words = (word_t)(uintptr_t)arg;

	STM_ATOMIC_NAMED("reader")
		for (unsigned int i = 0; i < 5; i++) {
			volatile uint64_t STM *word = word_at(words, i, 0);

			stm_read(word);
			(void)*word;
		}
}

/* What is counted by name is counted in any case. */
TEST_F(alone, read_sets_are_known)
{
	struct stm_name_stats stats[4];
	int n;

	BLIND();
	for (unsigned int i = 0; i < 100; i++)
		actor_run(&self->a, named_job, (void *)(uintptr_t)self->words);
	n = stm_stats_by_name(stats, 4, sizeof(stats[0]));
	ASSERT_EQ(1, n);
	EXPECT_EQ(5, stats[0].read_set_most);
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
