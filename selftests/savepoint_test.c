// SPDX-License-Identifier: MIT
/*
 * savepoint_test.c - what is rolled back leaves no trace, what is not is kept: savepoints, nested functions, alternatives.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include <uffdstm.h>

#include "support.h"

#define WORDS 64u

typedef uint64_t STM word_t;

static word_t *words, *tracked;
static char wrong[256];                 /* what a transaction found, or empty */
static unsigned int attempts;

FIXTURE(savepoint) { int unused; };

static int make(void *arg)
{
	(void)arg;
	words = stm_zalloc(WORDS * 16);
	tracked = stm_alloc_tracked(4 * 4096);
	memset(stm_local(tracked), 0, 4 * 4096);
	return 0;
}

FIXTURE_SETUP(savepoint)
{
	ASSERT_EQ(0, stm_init(NULL));
	ASSERT_EQ(0, stm_thread_attach());
	ASSERT_EQ(0, stm_atomic(make, NULL));
	wrong[0] = 0;
	attempts = 0;
}

FIXTURE_TEARDOWN(savepoint)
{
	EXPECT_STREQ("", wrong);
	EXPECT_EQ(0, stm_fini());
	EXPECT_EQ(0, __lsan_do_recoverable_leak_check());
}

#define CHECK(what)                                                                     \
	do {                                                                            \
		if (!(what))                                                            \
			snprintf(wrong, sizeof(wrong), "line %d: %s", __LINE__, #what); \
	} while (0)

/* Each in a granule of its own. */
static uint64_t get(unsigned int i)
{
	return STM_GET(words[2 * i]);
}

static void set(unsigned int i, uint64_t value)
{
	STM_SET(words[2 * i], value);
}

static int read_word(void *arg)
{
	*(uint64_t *)arg = get((unsigned int)*(uint64_t *)arg);
	return 0;
}

static uint64_t committed(unsigned int i)
{
	uint64_t word = i;

	stm_atomic(read_word, &word);
	return word;
}

/* ---- savepoints ---- */

static int levels(void *arg)
{
	int a, b;

	(void)arg;
	CHECK(stm_rollback(1) == -EINVAL && stm_release(1) == -EINVAL);
	set(0, 1);
	set(1, 1);
	a = stm_savepoint();
	CHECK(a == 1);
	set(0, 2);
	set(2, 2);
	b = stm_savepoint();
	CHECK(b == 2);
	set(0, 3);
	set(3, 3);
	CHECK(stm_rollback(3) == -EINVAL && stm_rollback(0) == -EINVAL && stm_rollback(-1) == -EINVAL);
	CHECK(!stm_rollback(b));
	CHECK(get(0) == 2 && get(1) == 1 && get(2) == 2 && get(3) == 0);
	/* Again, to the same one. */
	set(0, 4);
	set(3, 4);
	CHECK(!stm_rollback(b));
	CHECK(get(0) == 2 && get(3) == 0);
	set(0, 5);
	CHECK(!stm_release(b));
	CHECK(stm_rollback(b) == -EINVAL);
	set(0, 6);
	CHECK(!stm_rollback(a));
	CHECK(get(0) == 1 && get(1) == 1 && get(2) == 0 && get(3) == 0);
	set(4, 7);
	b = stm_savepoint();
	set(4, 8);
	set(5, 8);
	CHECK(!stm_release(a)); /* and b with it */
	CHECK(stm_rollback(a) == -EINVAL && b == 2);
	set(5, 9);
	return 0;
}

TEST_F(savepoint, each_level_is_undone_alone)
{
	EXPECT_EQ(-EPERM, stm_savepoint());
	EXPECT_EQ(-EPERM, stm_rollback(1));
	EXPECT_EQ(-EPERM, stm_release(1));
	EXPECT_EQ(0, stm_atomic(levels, NULL));
	EXPECT_EQ(1, committed(0));
	EXPECT_EQ(1, committed(1));
	EXPECT_EQ(0, committed(2));
	EXPECT_EQ(0, committed(3));
	EXPECT_EQ(8, committed(4));
	EXPECT_EQ(9, committed(5));
}

static int write_thrice(void *arg)
{
	set(0, get(0) + 1);
	stm_savepoint();
	set(0, get(0) + 1);
	set(1, 1);
	stm_savepoint();
	set(0, get(0) + 1);
	return *(int *)arg;
}

/* SAVEPOINT_ORDER: the oldest bytes are those of the beginning. */
TEST_F(savepoint, a_transaction_with_savepoints_is_undone)
{
	int code = 3;

	EXPECT_EQ(3, stm_atomic(write_thrice, &code));
	EXPECT_EQ(0, committed(0));
	EXPECT_EQ(0, committed(1));
	code = 0;
	EXPECT_EQ(0, stm_atomic(write_thrice, &code));
	EXPECT_EQ(3, committed(0));
}

static int roll_back_across(void *arg)
{
	int savepoint;

	(void)arg;
	set(0, 1);
	savepoint = stm_savepoint();
	set(0, 2);
	stm_savepoint();
	set(0, 3);
	stm_rollback(savepoint);
	CHECK(get(0) == 1);
	return 0;
}

/* SAVEPOINT_ORDER, too. */
TEST_F(savepoint, two_levels_are_undone_at_once)
{
	EXPECT_EQ(0, stm_atomic(roll_back_across, NULL));
	EXPECT_EQ(1, committed(0));
}

static int undo_all(void *arg)
{
	int savepoint = stm_savepoint();

	(void)arg;
	set(0, 1);
	stm_rollback(savepoint);
	return 0;
}

TEST_F(savepoint, a_commit_of_nothing_writes_nothing)
{
	struct stm_stats before, after;

	stm_stats(&before, sizeof(before));
	EXPECT_EQ(0, stm_atomic(undo_all, NULL));
	EXPECT_EQ(0, stm_atomic(undo_all, NULL));
	stm_stats(&after, sizeof(after));
	EXPECT_EQ(before.commits, after.commits);
	EXPECT_EQ(before.commits_read_only + 2, after.commits_read_only);
	EXPECT_EQ(0, committed(0));
}

/* ---- memory ---- */

static int blocks(void *arg)
{
	word_t *outer = stm_zalloc(48), *inner, *again, *large;
	int savepoint;

	(void)arg;
	outer[0] = 5;
	savepoint = stm_savepoint();
	inner = stm_alloc(48);
	inner[0] = 1;
	large = stm_alloc(1 << 20);
	large[0] = 1;
	/* The block is of this transaction, and not of this savepoint. */
	STM_SET(outer[0], 6);
	STM_SET(outer[2], 6);
	stm_free(outer);
	stm_rollback(savepoint);
	CHECK(outer[0] == 5 && outer[2] == 0);
	again = stm_alloc(48);
	CHECK(again == inner);
	again[0] = 2;
	STM_SET(words[0], (uint64_t)(uintptr_t)outer);
	STM_SET(words[2], (uint64_t)(uintptr_t)again);
	stm_free(stm_alloc(1 << 20));
	return 0;
}

static int look_at_blocks(void *arg)
{
	word_t *outer = (word_t *)(uintptr_t)get(0), *again = (word_t *)(uintptr_t)get(1), *other = stm_alloc(48);

	(void)arg;
	CHECK(other != outer && other != again);
	CHECK(STM_GET(outer[0]) == 5 && STM_GET(outer[2]) == 0 && STM_GET(again[0]) == 2);
	return 1;
}

TEST_F(savepoint, blocks_are_given_back_and_frees_forgotten)
{
	EXPECT_EQ(0, stm_atomic(blocks, NULL));
	EXPECT_EQ(1, stm_atomic(look_at_blocks, NULL));
}

static uint64_t local(size_t i)
{
	return ((volatile uint64_t STM *)tracked)[i];
}

static int change_tracked(void *arg)
{
	volatile uint64_t STM *t = tracked;
	int a, b;

	t[0] = 1;
	t[600] = 1;
	a = stm_savepoint();
	t[0] = 2;
	t[1200] = 2; /* a page not seen before */
	b = stm_savepoint();
	t[0] = 3;
	t[601] = 3;
	stm_write(&tracked[602]);
	t[602] = 3;
	stm_rollback(b);
	CHECK(local(0) == 2 && local(1200) == 2 && local(601) == 0 && local(602) == 0 && local(600) == 1);
	t[601] = 4;
	stm_rollback(a);
	CHECK(local(0) == 1 && local(1200) == 0 && local(601) == 0 && local(600) == 1);
	t[1] = 5;
	b = stm_savepoint();
	t[2] = 6;
	stm_release(b);
	return *(int *)arg;
}

static int look_at_tracked(void *arg)
{
	const uint64_t *expect = arg;

	CHECK(local(0) == expect[0] && local(1) == expect[1] && local(2) == expect[2] && local(600) == expect[0]);
	CHECK(local(601) == 0 && local(602) == 0 && local(1200) == 0);
	return 0;
}

static void *elsewhere(void *arg)
{
	stm_thread_attach();
	stm_atomic(look_at_tracked, arg);
	stm_thread_detach();
	return NULL;
}

TEST_F(savepoint, memory_without_barriers)
{
	uint64_t before[3] = { 0, 0, 0 }, after[3] = { 1, 5, 6 };
	pthread_t thread;
	int code = 1;

	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(1, stm_atomic(change_tracked, &code));
		EXPECT_EQ(0, stm_atomic(look_at_tracked, before));
	}
	code = 0;
	EXPECT_EQ(0, stm_atomic(change_tracked, &code));
	EXPECT_EQ(0, stm_atomic(look_at_tracked, after));
	ASSERT_EQ(0, pthread_create(&thread, NULL, elsewhere, after));
	pthread_join(thread, NULL);
}

/* ---- what is not in the heap ---- */

static char done[64];
static int saved;

static void note(void *arg)
{
	strcat(done, arg);
}

static int task(void *arg)
{
	(void)arg;
	note("t");
	return 0;
}

static int actions(void *arg)
{
	struct stm_queue *q = arg;
	void *before = stm_malloc(10);
	int savepoint;

	done[0] = 0;
	stm_save(&saved, sizeof(saved));
	saved = 1;
	stm_on_commit(note, "a");
	stm_on_abort(note, "b");
	stm_queue_add(q, task, NULL);
	savepoint = stm_savepoint();
	stm_save(&saved, sizeof(saved));
	saved = 2;
	stm_save(&saved, sizeof(saved));
	saved = 3;
	stm_malloc(10);
	stm_mfree(before);
	stm_queue_add(q, task, NULL);
	stm_on_commit(note, "c");
	stm_on_abort(note, "d");
	stm_on_abort(note, "e");
	stm_rollback(savepoint);
	CHECK(saved == 1 && !strcmp(done, "ed"));
	stm_queue_add(q, task, NULL);
	stm_on_commit(note, "f");
	stm_mfree(before);
	return 0;
}

TEST_F(savepoint, hooks_and_ordinary_memory)
{
	struct stm_queue *q = stm_queue_new(NULL);

	EXPECT_EQ(0, stm_atomic(actions, q));
	EXPECT_STREQ("edaf", done);
	EXPECT_EQ(1, saved);
	done[0] = 0;
	EXPECT_EQ(0, stm_queue_run(q, 1));
	EXPECT_STREQ("tt", done);
	EXPECT_EQ(0, stm_queue_free(q));
}

/* ---- conflicts ---- */

struct other {
	unsigned int word;
};

static int add_one(void *arg)
{
	struct other *other = arg;

	set(other->word, get(other->word) + 1);
	return 0;
}

static void *add_elsewhere(void *arg)
{
	stm_thread_attach();
	stm_atomic(add_one, arg);
	stm_thread_detach();
	return NULL;
}

static void let_other_commit(unsigned int word)
{
	struct other other = { .word = word };
	pthread_t thread;

	if (pthread_create(&thread, NULL, add_elsewhere, &other))
		abort();
	pthread_join(thread, NULL);
}

static int read_in_vain(void *arg)
{
	int savepoint;

	(void)arg;
	attempts++;
	savepoint = stm_savepoint();
	get(1);
	set(2, 1);
	stm_rollback(savepoint);
	set(0, attempts);
	if (attempts == 1)
		let_other_commit(1);
	return 0;
}

TEST_F(savepoint, what_was_read_in_vain_counts)
{
	EXPECT_EQ(0, stm_atomic(read_in_vain, NULL));
	EXPECT_EQ(2, attempts);
	EXPECT_EQ(2, committed(0));
	EXPECT_EQ(1, committed(1));
	EXPECT_EQ(0, committed(2));
}

static int undo_when_inevitable(void *arg)
{
	int savepoint;

	(void)arg;
	set(0, 1);
	savepoint = stm_savepoint();
	set(0, 2);
	if (stm_become_inevitable("a test"))
		CHECK(false);
	set(0, 3);
	CHECK(!stm_rollback(savepoint));
	CHECK(get(0) == 1);
	savepoint = stm_savepoint();
	CHECK(savepoint == 2);
	set(1, 2);
	CHECK(!stm_rollback(savepoint) && get(1) == 0);
	return 0;
}

TEST_F(savepoint, an_inevitable_transaction_may_roll_back)
{
	EXPECT_EQ(0, stm_atomic(undo_when_inevitable, NULL));
	EXPECT_EQ(1, committed(0));
	EXPECT_EQ(0, committed(1));
}

/* ---- nesting ---- */

static int inner(void *arg)
{
	set(0, get(0) + 10);
	CHECK(stm_rollback(1) == -EINVAL || !*(int *)arg); /* that is around it */
	stm_savepoint();
	set(1, 10);
	return *(int *)arg;
}

static int outer(void *arg)
{
	int code = 7;

	(void)arg;
	set(0, 1);
	CHECK(stm_atomic_nested(inner, &code) == 7);
	CHECK(get(0) == 1 && get(1) == 0);
	code = 0;
	CHECK(stm_atomic_nested(inner, &code) == 0);
	CHECK(get(0) == 11 && get(1) == 10);
	code = 8;
	CHECK(stm_atomic_nested(inner, &code) == 8);
	CHECK(stm_rollback(1) == -EINVAL);
	return 0;
}

static int cancel_inside(void *arg)
{
	set(2, 1);
	return stm_cancel(*(int *)arg);
}

static int outer_of_cancel(void *arg)
{
	set(2, 1);
	stm_atomic_nested(cancel_inside, arg);
	CHECK(false);
	return 0;
}

TEST_F(savepoint, a_nested_function_is_undone_alone)
{
	int code = 9;

	EXPECT_EQ(0, stm_atomic(outer, NULL));
	EXPECT_EQ(11, committed(0));
	EXPECT_EQ(10, committed(1));
	EXPECT_EQ(9, stm_atomic(outer_of_cancel, &code));
	EXPECT_EQ(0, committed(2));
	EXPECT_EQ(9, stm_atomic_nested(cancel_inside, &code)); /* alone */
	EXPECT_EQ(0, committed(2));
	EXPECT_EQ(-EPERM, stm_savepoint());
}

/* ---- alternatives ---- */

/* Take from word *@arg, or wait for it to be there. */
static int take(void *arg)
{
	unsigned int i = *(unsigned int *)arg;

	set(10, get(10) + 1);
	STM_ATOMIC {
		if (!get(i))
			stm_retry();
	}
	set(i, 0);
	set(11, i);
	return 0;
}

static int give_up(void *arg)
{
	set(11, 99);
	return *(int *)arg;
}

static unsigned int one = 1, two = 2, three = 3;

static int take_two_or_three(void *arg)
{
	(void)arg;
	set(12, get(12) + 1);
	return stm_or_else(take, &two, take, &three);
}

static int take_any(void *arg)
{
	int code;

	(void)arg;
	attempts++;
	set(13, 1);
	code = stm_or_else(take, &one, take_two_or_three, NULL);
	CHECK(get(10) == (code ? 0 : 1));
	return code;
}

/* Give what is waited for when the other thread waits. */
static void *give_later(void *arg)
{
	struct stm_stats stats;

	stm_thread_attach();
	do {
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		stm_stats(&stats, sizeof(stats));
	} while (!stats.aborts[STM_ABORT_RETRY]);
	stm_atomic(add_one, arg);
	stm_thread_detach();
	return NULL;
}

TEST_F(savepoint, the_first_that_can)
{
	int code = 4;

	for (unsigned int i = 1; i <= 3; i++) {
		let_other_commit(i);
		attempts = 0;
		EXPECT_EQ(0, stm_atomic(take_any, NULL));
		EXPECT_EQ(1, attempts);
		EXPECT_EQ(i, committed(11));
		EXPECT_EQ(0, committed(i));
		EXPECT_EQ(1, committed(10));
		EXPECT_EQ(1, committed(13));
		EXPECT_EQ(i > 1, committed(12));
		STM_ATOMIC {
			set(10, 0);
			set(12, 0);
		}
	}
	/* Outside a transaction; and a code, of either. */
	EXPECT_EQ(4, stm_or_else(take, &one, give_up, &code));
	EXPECT_EQ(3, committed(11));
	EXPECT_EQ(4, stm_or_else(give_up, &code, take, &one));
	EXPECT_EQ(3, committed(11));
	EXPECT_EQ(0, committed(10));
	code = 0;
	EXPECT_EQ(0, stm_or_else(take, &one, give_up, &code));
	EXPECT_EQ(99, committed(11));
	EXPECT_EQ(0, committed(10));
	EXPECT_FALSE(stm_in_transaction());
}

/* Each of the three words wakes. */
static void wait_for_any(struct __test_metadata *_metadata, unsigned int word)
{
	struct other give = { .word = word };
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, give_later, &give));
	EXPECT_EQ(0, stm_atomic(take_any, NULL));
	EXPECT_EQ(2, attempts);
	EXPECT_EQ(word, committed(11));
	pthread_join(thread, NULL);
}

TEST_F(savepoint, the_first_alternative_wakes)
{
	wait_for_any(_metadata, 1);
}

TEST_F(savepoint, an_inner_alternative_wakes)
{
	wait_for_any(_metadata, 2);
}

TEST_F(savepoint, the_last_alternative_wakes)
{
	wait_for_any(_metadata, 3);
}

static struct timespec deadline;
static int timed_out;

static int wait_until(void *arg)
{
	(void)arg;
	if (!get(1)) {
		timed_out += stm_retry_until(&deadline) == -ETIMEDOUT;
		return 6;
	}
	return 0;
}

TEST_F(savepoint, a_deadline_in_one_of_two)
{
	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += deadline.tv_nsec >= 950000000;
	deadline.tv_nsec = (deadline.tv_nsec + 50000000) % 1000000000;
	/* The second has none, and waits for ever. */
	EXPECT_EQ(6, stm_or_else(wait_until, NULL, take, &two));
	EXPECT_EQ(1, timed_out);
	deadline.tv_sec++;
	EXPECT_EQ(6, stm_or_else(take, &two, wait_until, NULL));
	EXPECT_EQ(2, timed_out);
}

static int become_inevitable(void *arg)
{
	(void)arg;
	if (!stm_become_inevitable("a test"))
		CHECK(stm_retry() == -EPERM);
	return 0;
}

static int cancel_in_first(void *arg)
{
	set(0, 1);
	return stm_cancel(*(int *)arg);
}

static int restart_in_first(void *arg)
{
	(void)arg;
	set(0, get(0) + 1);
	if (++attempts == 1)
		stm_restart();
	return 0;
}

TEST_F(savepoint, other_ways_out_of_an_alternative)
{
	int code = 5;

	EXPECT_EQ(0, stm_or_else(become_inevitable, NULL, give_up, &code));
	EXPECT_EQ(5, stm_or_else(cancel_in_first, &code, take, &one));
	EXPECT_EQ(0, committed(0));
	EXPECT_EQ(0, stm_or_else(restart_in_first, NULL, give_up, &code));
	EXPECT_EQ(2, attempts);
	EXPECT_EQ(1, committed(0));
	/* No alternative is left behind. */
	EXPECT_EQ(0, stm_or_else(take, &one, restart_in_first, NULL));
	EXPECT_EQ(2, committed(0));
}

TEST_HARNESS_MAIN
