// SPDX-License-Identifier: MIT
/*
 * mutant_log_test.c - the commit log, one interleaving at a time: who may publish, what may be
 * recycled, who waits.
 *
 * Each test catches one of the mistakes of lib/testing.h, named above it: see mutants.sh.
 */
#include <string.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "steps.h"

#define FOLD_BATCH 8192u        /* lib/fold.c */

FIXTURE(log) {
	struct actor a, b, c;
	word_t words;
};

FIXTURE_SETUP(log)
{
	struct stm_options options = STM_OPTIONS_INIT;

	options.trim_age = STM_TRIM_NEVER; /* page states are looked at, however long it takes */
	options.cluster = 1;
	options.log_limit = (size_t)4 << 20;
	ASSERT_EQ(0, stm_init(&options));
	self->words = words_new(8);
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

/*
 * An attached segment that has seen no commit keeps fold back; one that runs is not parked
 * meanwhile.
 */
static void hold_fold(struct actor *actor, struct script *script)
{
	script_start(actor, script);
	stop_await(script->steps[0].stop);
}

static void let_fold_go(struct actor *actor, struct script *script, word_t any)
{
	stop_release(script->steps[0].stop);
	actor_wait(actor);
	get_word(actor, any);
}

/* RECYCLE: slots that fold has not reached yet are in use, although every snapshot is past them. */
TEST_F(log, fold_in_batches_reads_what_is_not_recycled)
{
	struct stop stop = { .reached = 0 };
	struct script hold = SCRIPT(STOP(&stop));
	word_t words = self->words;

	hold_fold(&self->c, &hold);
	set_word(&self->a, word_at(words, 1, 0), 77);
	count_up(&self->a, word_at(words, 0, 0), FOLD_BATCH + FOLD_BATCH / 2);
	set_word(&self->a, word_at(words, 1, 2), 88);
	count_up(&self->a, word_at(words, 0, 0), FOLD_BATCH * 2);
	get_word(&self->b, words);
	let_fold_go(&self->c, &hold, words);

	/* Each end of a chunk folds one batch; the chunks that are free by then are used again. */
	for (unsigned int i = 0; i < 8; i++) {
		count_up(&self->a, word_at(words, 2, 0), STM_CHUNK_SLOTS);
		get_word(&self->b, words);
		get_word(&self->c, words);
	}
	EXPECT_LT(FOLD_BATCH * 3, atomic_load(&stm_global.folded));
	EXPECT_EQ(77, get_word(&self->b, word_at(words, 1, 0)));
	EXPECT_EQ(88, get_word(&self->b, word_at(words, 1, 2)));
	EXPECT_EQ(FOLD_BATCH * 2, get_word(&self->b, word_at(words, 0, 0)));
	EXPECT_EQ(STM_CHUNK_SLOTS, get_word(&self->b, word_at(words, 2, 0)));
}

/* NO_PIN: while a fault has copied the base and not yet replayed, what it will replay stays. */
TEST_F(log, a_fault_keeps_what_it_replays)
{
	struct stop hold_stop = { .reached = 0 }, copied = { .reached = 0 };
	struct script hold = SCRIPT(STOP(&hold_stop));
	word_t words = self->words;
	struct script read = SCRIPT(READ(word_at(words, 1, 0)), READ(word_at(words, 1, 4)));

	hold_fold(&self->c, &hold);
	set_word(&self->a, word_at(words, 1, 0), 77);
	count_up(&self->a, word_at(words, 1, 4), 100);
	count_up(&self->a, word_at(words, 0, 0), STM_CHUNK_SLOTS * 4);

	actor_stop_at(&self->b, STM_POINT_COPIED, 1, &copied);
	script_start(&self->b, &read);
	stop_await(&copied);
	let_fold_go(&self->c, &hold, words);
	/*
	 * Fold passes all that the fault is to replay; chunks and entries that are free are used
	 * again.
	 */
	for (unsigned int i = 0; i < 10; i++) {
		count_up(&self->a, word_at(words, 0, 0), STM_CHUNK_SLOTS);
		get_word(&self->c, words);
	}
	set_word(&self->a, word_at(words, 1, 0), 78);
	EXPECT_LT(STM_CHUNK_SLOTS * 4, atomic_load(&stm_global.folded));
	stop_release(&copied);
	actor_wait(&self->b);
	EXPECT_EQ(1, read.attempts);
	EXPECT_EQ(77, read.steps[0].value);
	EXPECT_EQ(100, read.steps[1].value);
}

/* EARLY_SNAPSHOT: an entry that is being applied is not recycled. */
TEST_F(log, an_entry_stays_until_it_is_applied)
{
	struct stop dropped = { .reached = 0 };
	word_t words = self->words, word = word_at(words, 1, 0);
	struct script read = SCRIPT(READ(word));

	/* The entry is the last one of its chunk: with it the whole chunk could go. */
	count_up(&self->a, words, STM_CHUNK_SLOTS - 1 - tail() % STM_CHUNK_SLOTS);
	get_word(&self->c, words);
	EXPECT_EQ(0, get_word(&self->b, word));
	EXPECT_EQ(STM_PAGE_SHARED,
		  self->b.seg->view.state[((uintptr_t)word - STM_HEAP) / STM_PAGE]);
	EXPECT_EQ(STM_CHUNK_SLOTS - 1, tail() % STM_CHUNK_SLOTS);
	set_word(&self->a, word, 77);

	actor_stop_at(&self->b, STM_POINT_DROPPED, 1, &dropped);
	script_start(&self->b, &read);
	stop_await(&dropped);
	EXPECT_LE(atomic_load(&self->b.seg->published), self->b.seg->snapshot);
	for (unsigned int i = 0; i < 6; i++) {
		count_up(&self->a, words, STM_CHUNK_SLOTS);
		get_word(&self->c, words);
	}
	stop_release(&dropped);
	actor_wait(&self->b);
	EXPECT_EQ(77, read.steps[0].value);
}

/* PACK_EARLY: a reader of a slot that is being packed sees all of the entry. */
TEST_F(log, an_entry_half_packed_is_read_whole)
{
	word_t words = self->words, x = word_at(words, 1, 0), y = word_at(words, 1, 64);
	struct script write = SCRIPT(WRITE(x, 1), WRITE(y, 1));
	struct script read = SCRIPT(READ(x), READ(y));
	struct stop stops[4];
	unsigned int stopped = 0;

	memset(stops, 0, sizeof(stops));
	script_run(&self->b, &read);
	script_run(&self->a, &write);
	script_run(&self->b, &read);
	write.steps[0].value = write.steps[1].value = 2;
	actor_stop_at(&self->a, STM_POINT_PACK, 1, &stops[0]);
	script_start(&self->a, &write);
	/* At each such point, however many there are, another one looks. */
	while (stopped < 4) {
		while (!atomic_load(&stops[stopped].reached) && atomic_load(&self->a.busy))
			sched_yield();
		if (!atomic_load(&stops[stopped].reached))
			break;
		script_run(stopped ? &self->c : &self->b, &read);
		EXPECT_EQ(2, read.steps[0].value);
		EXPECT_EQ(2, read.steps[1].value);
		if (stopped < 3)
			actor_stop_at(&self->a, STM_POINT_PACK, 1, &stops[stopped + 1]);
		stop_release(&stops[stopped++]);
		if (read.steps[0].value != 2 || read.steps[1].value != 2)
			break;
		script_run(&self->b, &read);
	}
	for (unsigned int i = 0; i < 4; i++)
		stop_release(&stops[i]);
	actor_wait(&self->a);
	EXPECT_NE(0, stopped);
}

/* INEVITABLE_LOCK: nobody publishes past one that became inevitable, not even who looked before. */
TEST_F(log, nobody_overtakes_an_inevitable_transaction)
{
	struct stop validated = { .reached = 0 }, inevitable = { .reached = 0 };
	word_t words = self->words, x = word_at(words, 1, 0), y = word_at(words, 2, 0);
	struct script write = SCRIPT(WRITE(x, 5));
	struct script one = SCRIPT(READ(x), INEVITABLE, STOP(&inevitable), WRITE(y, 6));
	uint64_t calls;

	script_run(&self->a, &write);
	actor_stop_at(&self->a, STM_POINT_VALIDATED, 1, &validated);
	script_start(&self->a, &write);
	stop_await(&validated);
	script_start(&self->b, &one);
	stop_await(&inevitable);

	/* It must wait now, which it counts; or it went past. */
	calls = ((volatile struct stm_seg *)self->a.seg)->calls;
	stop_release(&validated);
	while (atomic_load(&self->a.busy) &&
	       ((volatile struct stm_seg *)self->a.seg)->calls == calls)
		sched_yield();
	EXPECT_TRUE(atomic_load(&self->a.busy));
	stop_release(&inevitable);
	actor_wait(&self->b);
	actor_wait(&self->a);
	EXPECT_EQ(1, one.attempts);
	EXPECT_EQ(6, get_word(&self->c, y));
	EXPECT_EQ(5, get_word(&self->c, x));
}

/*
 * THROTTLE: who begins with too much log does not wait for what only its own later commits can
 * free.
 */
static _Atomic unsigned int turns;
static struct stm_seg *throttled;

#define TURNS_MAX 1000u

static void count_turns(enum stm_point point)
{
	if (point != STM_POINT_THROTTLE || stm__self != throttled)
		return;
	if (atomic_fetch_add(&turns, 1) == TURNS_MAX) {
		schedule_fail("a begin waits for log space, and folded is its own snapshot");
		_exit(KSFT_FAIL);
	}
}

struct range {
	word_t words;
	size_t len;
};

static int fill_range(void *arg)
{
	struct range *range = arg;

	stm_memset(range->words, 1, range->len);
	return 0;
}

static void fill_job(void *arg)
{
	stm_atomic(fill_range, arg);
}

TEST_F(log, a_begin_waits_for_nothing_when_fold_is_there)
{
	struct stop copied = { .reached = 0 };
	word_t words = words_new(8 << 20 >> 12);
	struct range range = { .words = words, .len = 6 << 20 };
	struct script read = SCRIPT(READ(words));

	/* More log than the limit, in entries that stay because a fault may replay them. */
	for (unsigned int i = 0; i < 3; i++)
		actor_run(&self->a, fill_job, &range);
	actor_stop_at(&self->b, STM_POINT_COPIED, 1, &copied);
	script_start(&self->b, &read);
	stop_await(&copied);
	get_word(&self->c, words);
	throttled = self->a.seg;
	stm_schedule_hook = count_turns;
	get_word(&self->a, words);
	get_word(&self->a, words);
	EXPECT_NE(0, atomic_load(&turns));
	stm_schedule_hook = NULL;
	stop_release(&copied);
	actor_wait(&self->b);
	EXPECT_EQ(0x0101010101010101, read.steps[0].value);
}

TEST_HARNESS_MAIN
