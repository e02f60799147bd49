// SPDX-License-Identifier: MIT
/*
 * retry_test.c - stm_retry(): who sleeps is woken by what it read, by nothing else, costs nothing meanwhile, and holds
 * nobody back.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "steps.h"
#include "support.h"

#define ATTEMPTS 2u             /* then a transaction gets right of way */
#define WORDS 512u              /* a page */

FIXTURE(retry) {
	struct actor a, b, c;
	word_t words;
};

FIXTURE_SETUP(retry)
{
	struct stm_options options = STM_OPTIONS_INIT;

	options.trim_age = STM_TRIM_NEVER;
	options.attempts = ATTEMPTS;
	options.log_limit = (size_t)4 << 20;
	ASSERT_EQ(0, stm_init(&options));
	self->words = words_new(8);
	actor_start(&self->a);
	actor_start(&self->b);
	actor_start(&self->c);
}

FIXTURE_TEARDOWN(retry)
{
	stm_schedule_hook = NULL;
	actor_end(&self->a);
	actor_end(&self->b);
	actor_end(&self->c);
	EXPECT_EQ(0, schedule_failures());
	EXPECT_EQ(0, stm_fini());
}

static struct stm_stats stats(void)
{
	struct stm_stats now;

	stm_stats(&now, sizeof(now));
	return now;
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 }, NULL);
}

static void await_sleep(const struct actor *actor)
{
	while (!stm_waits(actor->seg))
		pause_ms(1);
}

/* Whether it is done within @ms; a time that only matters where the library is wrong. */
static bool ends_within(const struct actor *actor, long ms)
{
	for (; ms > 0 && atomic_load(&actor->busy); ms--)
		pause_ms(1);
	return !atomic_load(&actor->busy);
}

#define LONG_ENOUGH_MS 20000

/* ---- who is woken ---- */

TEST_F(retry, a_commit_wakes_who_read)
{
	word_t word = self->words, other = word_at(self->words, 1, 0);
	struct script wait = SCRIPT(AWAIT(word, 7), WRITE(other, 1));

	script_start(&self->a, &wait);
	await_sleep(&self->a);
	EXPECT_EQ(0, get_word(&self->b, other));
	set_word(&self->b, word, 7);
	actor_wait(&self->a);
	EXPECT_EQ(2, wait.attempts);
	EXPECT_EQ(0, wait.code);
	EXPECT_EQ(1, get_word(&self->b, other));
	EXPECT_EQ(1, stats().aborts[STM_ABORT_RETRY]);
}

TEST_F(retry, who_did_not_read_sleeps_on)
{
	word_t word = self->words;
	struct script wait = SCRIPT(READ(word_at(word, 3, 0)), AWAIT(word, 7));

	script_start(&self->a, &wait);
	await_sleep(&self->a);
	count_up(&self->b, word_at(word, 0, 2), 1000); /* the next granule */
	count_up(&self->b, word_at(word, 2, 100), 10);
	EXPECT_EQ(1, attempts_of(&wait));
	EXPECT_TRUE(stm_waits(self->a.seg));
	/* Woken by anything that it read, it finds that it has to wait still. */
	set_word(&self->b, word_at(word, 3, 0), 1);
	while (attempts_of(&wait) < 2)
		pause_ms(1);
	await_sleep(&self->a);
	set_word(&self->b, word, 7);
	actor_wait(&self->a);
	EXPECT_EQ(3, wait.attempts);
}

/* Steps that publish in other ways than a small commit. */
TEST_F(retry, every_kind_of_commit_wakes)
{
	word_t words = self->words;
	struct script inevitable = SCRIPT(INEVITABLE, COUNT(words));
	struct script large = SCRIPT(COUNT(word_at(words, 1, 0)), COUNT(word_at(words, 2, 0)), COUNT(word_at(words, 3, 0)),
				     COUNT(word_at(words, 1, 100)), COUNT(words));
	struct script pair = SCRIPT(COUNT(word_at(words, 2, 8)), COUNT(words));
	struct script *const scripts[] = { &inevitable, &large, &pair };

	for (unsigned int i = 0; i < 3; i++) {
		struct script wait = SCRIPT(AWAIT(words, i + 1));

		script_start(&self->a, &wait);
		await_sleep(&self->a);
		script_run(&self->b, scripts[i]);
		actor_wait(&self->a);
		EXPECT_EQ(2, wait.attempts);
	}
}

TEST_F(retry, a_change_of_tracked_memory_wakes)
{
	word_t tracked = tracked_words_new(1), word = self->words;
	struct script read = SCRIPT(LOAD(tracked), AWAIT(word, 1)), store = SCRIPT(STORE(tracked, 5)), done = SCRIPT(WRITE(word, 1));

	script_start(&self->a, &read);
	await_sleep(&self->a);
	script_run(&self->b, &store);
	while (attempts_of(&read) < 2)
		pause_ms(1);
	await_sleep(&self->a); /* again: it has read */
	EXPECT_EQ(5, read.steps[0].value);
	script_run(&self->b, &done);
	actor_wait(&self->a);
}

#define MANY_PAGES 300u         /* more than are looked through before a wait */

static struct {
	word_t words;
	unsigned int attempts;
} large;

static int read_many(void *arg)
{
	(void)arg;
	__atomic_fetch_add(&large.attempts, 1, __ATOMIC_RELAXED);
	for (unsigned int page = 0; page < MANY_PAGES; page++)
		if (STM_GET(*word_at(large.words, page, 0)))
			return (int)page;
	stm_retry();
	return -1;
}

static void run_read_many(void *arg)
{
	*(int *)arg = stm_atomic(read_many, NULL);
}

TEST_F(retry, who_read_many_pages)
{
	int code = 0;

	large.words = words_new(MANY_PAGES);
	actor_do(&self->a, run_read_many, &code);
	await_sleep(&self->a);
	set_word(&self->b, word_at(large.words, 7, 2), 1);
	set_word(&self->b, self->words, 1);
	EXPECT_TRUE(stm_waits(self->a.seg));
	set_word(&self->b, word_at(large.words, MANY_PAGES - 1, 0), 1);
	actor_wait(&self->a);
	EXPECT_EQ(MANY_PAGES - 1, code);
	EXPECT_EQ(2, large.attempts);
}

/* WAIT_LATE: wherever the commit comes, the wait sees it, or is seen by it. */
TEST_F(retry, no_commit_is_missed)
{
	static const enum stm_point points[] = { STM_POINT_WAITING, STM_POINT_WAIT_LOOKED };
	word_t word = self->words;
	bool missed = false;

	for (unsigned int i = 0; i < 2 && !missed; i++) {
		struct stop stop = { .reached = 0 };
		struct script wait = SCRIPT(AWAIT(word, i + 1));

		actor_stop_at(&self->a, points[i], 1, &stop);
		script_start(&self->a, &wait);
		stop_await(&stop);
		set_word(&self->b, word, i + 1);
		stop_release(&stop);
		missed = !ends_within(&self->a, LONG_ENOUGH_MS);
		if (missed)
			set_word(&self->b, word, i + 1);
		actor_wait(&self->a);
		EXPECT_EQ(2, wait.attempts);
	}
	EXPECT_FALSE(missed);
}

/* The commit is there already, of a snapshot that is older. */
TEST_F(retry, what_was_committed_meanwhile_counts)
{
	word_t word = self->words;
	struct stop stop = { .reached = 0 };
	struct script wait = SCRIPT(READ(word), STOP(&stop), AWAIT(word, 3));

	script_start(&self->a, &wait);
	stop_await(&stop);
	set_word(&self->b, word, 3);
	stop_release(&stop);
	actor_wait(&self->a);
	EXPECT_EQ(2, wait.attempts);
	EXPECT_FALSE(stm_waits(self->a.seg));
}

/* ---- what is undone, and what is given back ---- */

static struct {
	word_t word;
	unsigned int attempts, undone;
	int saved;
	uint64_t STM *block[2];
} undo;

static void count_undone(void *arg)
{
	(void)arg;
	undo.undone++;
	if (stm_retry() != -EPERM)
		schedule_fail("stm_retry() in an abort hook");
}

static int wait_and_change(void *arg)
{
	(void)arg;
	if (undo.attempts < 2)
		undo.block[undo.attempts] = stm_alloc(64);
	undo.attempts++;
	if (undo.saved)
		schedule_fail("what was saved is not put back");
	if (stm_on_abort(count_undone, NULL) || stm_save(&undo.saved, sizeof(undo.saved)))
		schedule_fail("no memory");
	undo.saved = 1;
	if (STM_GET(undo.word[4]))
		schedule_fail("what was written is not put back");
	STM_SET(undo.word[4], 1);
	if (!STM_GET(*undo.word))
		stm_retry();
	return 0;
}

static void run_wait_and_change(void *arg)
{
	(void)arg;
	stm_atomic(wait_and_change, NULL);
}

TEST_F(retry, the_attempt_is_undone)
{
	undo.word = self->words;
	actor_do(&self->a, run_wait_and_change, NULL);
	await_sleep(&self->a);
	EXPECT_EQ(0, get_word(&self->b, word_at(self->words, 0, 4)));
	set_word(&self->b, self->words, 1);
	actor_wait(&self->a);
	EXPECT_EQ(1, undo.undone);
	EXPECT_EQ(2, undo.attempts);
	EXPECT_EQ(1, undo.saved);
	EXPECT_EQ((uintptr_t)undo.block[0], (uintptr_t)undo.block[1]);
	EXPECT_EQ(1, get_word(&self->b, word_at(self->words, 0, 4)));
}

static int restart_then_wait(void *arg)
{
	struct script *script = arg;
	struct step *step = &script->steps[0];

	script->attempts++;
	if (stm__self->attempt < ATTEMPTS && script->attempts <= ATTEMPTS)
		stm_restart();
	if (script->attempts == ATTEMPTS + 1 && stm__self->inevitable != STM_RIGHT_OF_WAY)
		schedule_fail("it has no right of way");
	if (STM_GET(*step->word) != step->value)
		stm_retry();
	return 0;
}

static void run_restart_then_wait(void *arg)
{
	stm_atomic(restart_then_wait, arg);
}

/* Else nobody could commit what is waited for. */
TEST_F(retry, right_of_way_is_given_back)
{
	struct script wait = SCRIPT(AWAIT(self->words, 1));

	actor_do(&self->a, run_restart_then_wait, &wait);
	await_sleep(&self->a);
	set_word(&self->b, self->words, 1);
	actor_wait(&self->a);
	EXPECT_EQ(ATTEMPTS + 2, wait.attempts);
}

/* ---- savepoints ---- */

static int take_savepoints(void *arg)
{
	struct script *script = arg;
	word_t word = script->steps[0].word;

	script->attempts++;
	for (unsigned int i = 0; i < 20; i++) {
		int savepoint = stm_savepoint();

		STM_SET(*word, i);
		if (savepoint != (int)i + 1)
			schedule_fail("savepoint %u is %d", i, savepoint);
	}
	return stm_rollback(10);
}

static void run_savepoints(void *arg)
{
	stm__self->hot.version = (uint64_t)(STM_VERSION_LAST - 10) << 32 | (STM_VERSION_LAST - 10);
	((struct script *)arg)->code = stm_atomic(take_savepoints, arg);
}

TEST_F(retry, savepoints_use_the_versions_up)
{
	struct script script = SCRIPT(WRITE(self->words, 0));

	actor_run(&self->a, run_savepoints, &script);
	EXPECT_EQ(2, script.attempts);
	EXPECT_EQ(0, script.code);
	EXPECT_EQ(8, get_word(&self->b, self->words));
	EXPECT_GT(1000, self->a.seg->version);
}

/* ---- deadlines and mistakes ---- */

static struct {
	word_t word;
	struct timespec deadline;
	int attempts, result;
} until;

static int wait_until(void *arg)
{
	(void)arg;
	until.attempts++;
	STM_SET(until.word[4], STM_GET(until.word[4]) + 1);
	if (!STM_GET(*until.word)) {
		until.result = stm_retry_until(&until.deadline);
		return 5;
	}
	return 0;
}

static void run_until(void *arg)
{
	int code = stm_atomic(wait_until, NULL);

	*(int *)arg = code;
}

static struct timespec in_ms(long ms)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	at.tv_nsec += ms * 1000000;
	at.tv_sec += at.tv_nsec / 1000000000;
	at.tv_nsec %= 1000000000;
	return at;
}

TEST_F(retry, a_deadline_ends_the_wait)
{
	struct timespec now;
	int code = 0;

	until.word = self->words;
	until.deadline = in_ms(50);
	actor_run(&self->a, run_until, &code);
	clock_gettime(CLOCK_MONOTONIC, &now);
	EXPECT_TRUE(now.tv_sec > until.deadline.tv_sec ||
		    (now.tv_sec == until.deadline.tv_sec && now.tv_nsec >= until.deadline.tv_nsec));
	EXPECT_EQ(5, code);
	EXPECT_EQ(-ETIMEDOUT, until.result);
	EXPECT_LE(until.attempts, 2); /* 1 if the machine was that slow */
	EXPECT_EQ(0, get_word(&self->b, word_at(self->words, 0, 4)));

	/* One that is past already: nothing is undone. */
	until.attempts = 0;
	actor_run(&self->a, run_until, &code);
	EXPECT_EQ(1, until.attempts);
	EXPECT_EQ(-ETIMEDOUT, until.result);

	until.attempts = 0;
	until.deadline.tv_sec += 3600;
	actor_do(&self->a, run_until, &code);
	await_sleep(&self->a);
	set_word(&self->b, until.word, 1);
	actor_wait(&self->a);
	EXPECT_EQ(2, until.attempts);
	EXPECT_EQ(0, code);
	EXPECT_EQ(1, get_word(&self->b, word_at(self->words, 0, 4)));
}

static int make_mistakes(void *arg)
{
	const struct timespec bad[] = { { .tv_nsec = -1 }, { .tv_nsec = 1000000000 } }, past = { .tv_sec = -1 };

	(void)arg;
	if (stm_retry_until(NULL) != -EINVAL || stm_retry_until(&bad[0]) != -EINVAL || stm_retry_until(&bad[1]) != -EINVAL)
		schedule_fail("a bad deadline");
	if (stm_retry_until(&past) != -ETIMEDOUT)
		schedule_fail("a deadline before the machine was started");
	if (stm_become_inevitable("a test") || stm_retry() != -EPERM || stm_retry_until(&past) != -EPERM)
		schedule_fail("inevitable");
	return 0;
}

static void run_mistakes(void *arg)
{
	struct timespec at = in_ms(1000);

	(void)arg;
	stm_atomic(make_mistakes, NULL);
	if (stm_retry() != -EPERM || stm_retry_until(&at) != -EPERM)
		schedule_fail("outside a transaction");
}

TEST_F(retry, mistakes_have_errors)
{
	actor_run(&self->a, run_mistakes, NULL);
	EXPECT_EQ(-EPERM, stm_retry());
}

static void wait_for_nothing(void *arg)
{
	(void)arg;
	if (stm_init(NULL) || stm_thread_attach())
		_exit(100);
	STM_ATOMIC {
		*(long STM *)stm_zalloc(16) = 1;        /* of an earlier transaction: a page that is mapped, and was read */
	}
	STM_ATOMIC {
		stm_retry();
	}
}

/* In a process of its own. */
TEST(waiting_for_nothing_is_told)
{
	struct ended e = run_child(wait_for_nothing, NULL);

	EXPECT_TRUE(was_killed_by(&e, SIGABRT) && said(&e, "stm_retry", "read nothing"))
		TH_LOG("%s", how(&e));
}

/* ---- what waiting costs ---- */

#define WAITERS 60u             /* with three actors and the main thread: all segments */
#define WINDOWS 100u

static struct {
	word_t word;
		struct actor actors[WAITERS];
	struct script scripts[WAITERS];
} many;

static int64_t cpu_time_of(struct actor *actor)
{
	struct timespec at = { .tv_sec = 0 };
	clockid_t clock;

	if (pthread_getcpuclockid(actor->thread, &clock) || clock_gettime(clock, &at))
		schedule_fail("no clock");
	return at.tv_sec * 1000000000 + at.tv_nsec;
}

static int64_t cpu_time(void)
{
	int64_t sum = 0;

	for (unsigned int i = 0; i < WAITERS; i++)
		sum += cpu_time_of(&many.actors[i]);
	return sum;
}

/* A wait that looks now and then, or spins, uses some in each window; one that has just begun, in the first ones only. */
TEST_F(retry, who_waits_uses_no_processor)
{
	bool idle = false;

	many.word = self->words;
	for (unsigned int i = 0; i < WAITERS; i++) {
		actor_start(&many.actors[i]);
		many.scripts[i] = (struct script)SCRIPT(AWAIT(word_at(self->words, i % 8, i), 1));
		script_start(&many.actors[i], &many.scripts[i]);
	}
	for (unsigned int i = 0; i < WAITERS; i++)
		await_sleep(&many.actors[i]);
	for (unsigned int i = 0; i < WINDOWS && !idle; i++) {
		int64_t before = cpu_time();

		count_up(&self->b, word_at(self->words, 7, 400), 200);
		pause_ms(150);
		idle = cpu_time() == before;
	}
	EXPECT_TRUE(idle);
	for (unsigned int i = 0; i < WAITERS; i++)
		EXPECT_EQ(1, many.scripts[i].attempts);
	for (unsigned int i = 0; i < WAITERS; i++) {
		set_word(&self->b, word_at(self->words, i % 8, i), 1);
		actor_wait(&many.actors[i]);
		actor_end(&many.actors[i]);
		EXPECT_GE(3, many.scripts[i].attempts); /* two share a granule */
	}
}

static void help_fold_job(void *arg)
{
	(void)arg;
	help_fold();
}

/* Brought up to date, then parked; woken by what it read all the same, and by nothing else. */
TEST_F(retry, who_waits_holds_nobody_back)
{
	word_t word = self->words;
	struct script wait = SCRIPT(AWAIT(word_at(word, 1, 2), 9), READ(word_at(word, 0, 8)), WRITE(word_at(word, 2, 0), 4));
	uint64_t parked = stats().parked;

	script_start(&self->a, &wait);
	await_sleep(&self->a);
	for (unsigned int i = 1; i <= 12; i++) {
		count_up(&self->b, word_at(word, 0, 8), 100);
		actor_run(&self->b, help_fold_job, NULL);
		get_word(&self->c, word);
		EXPECT_EQ(stats().committed, stats().folded);
		if (i == 2) /* the page of what it waits for, SHARED or dropped by then, changes beside it */
			set_word(&self->b, word_at(word, 1, 100), 1);
	}
	EXPECT_LT(parked, stats().parked);
	EXPECT_EQ(STM_PARKED, atomic_load(&self->a.seg->taken));
	EXPECT_EQ(1, wait.attempts);
	set_word(&self->b, word_at(word, 1, 2), 9);
	actor_wait(&self->a);
	EXPECT_EQ(2, wait.attempts);
	EXPECT_EQ(100, wait.steps[1].value);
	EXPECT_EQ(4, get_word(&self->b, word_at(word, 2, 0)));
}

/* ---- all together ---- */

#define CELLS 4u
#define ITEMS 3000u
#define PRODUCERS 2u
#define CONSUMERS 3u

/* A ring that both ends wait for; a granule each for head, tail and cells. */
static struct {
	word_t words;
	uint64_t items;                 /* of each producer */
	_Atomic uint64_t sum, got;
} ring;

static word_t ring_word(unsigned int i)
{
	return word_at(ring.words, 4, 2 * i);
}

struct item {
	uint64_t value;
};

static int put_item(void *arg)
{
	const struct item *item = arg;
	uint64_t head = STM_GET(*ring_word(0)), tail = STM_GET(*ring_word(1));

	if (tail - head == CELLS)
		stm_retry();
	STM_SET(*ring_word(2 + tail % CELLS), item->value);
	STM_SET(*ring_word(1), tail + 1);
	return 0;
}

static int get_item(void *arg)
{
	struct item *item = arg;
	uint64_t head = STM_GET(*ring_word(0));

	if (head == ring.items * PRODUCERS)
		return 1;
	if (head == STM_GET(*ring_word(1)))
		stm_retry();
	item->value = STM_GET(*ring_word(2 + head % CELLS));
	STM_SET(*ring_word(0), head + 1);
	return 0;
}

static void produce(void *arg)
{
	(void)arg;
	for (uint64_t i = 1; i <= ring.items; i++)
		stm_atomic(put_item, &(struct item){ i });
}

static void consume(void *arg)
{
	struct item item;

	(void)arg;
	while (!stm_atomic(get_item, &item)) {
		atomic_fetch_add(&ring.sum, item.value);
		atomic_fetch_add(&ring.got, 1);
	}
}

TEST_F(retry, both_ends_of_a_ring)
{
	struct actor actors[PRODUCERS + CONSUMERS];

	ring.words = self->words;
	ring.items = ITEMS * long_factor(30) / strict_divisor();
	torture_start(random_seed(), 50);
	for (unsigned int i = 0; i < PRODUCERS + CONSUMERS; i++) {
		actor_start(&actors[i]);
		actor_do(&actors[i], i < PRODUCERS ? produce : consume, NULL);
	}
	for (unsigned int i = 0; i < PRODUCERS + CONSUMERS; i++) {
		actor_wait(&actors[i]);
		actor_end(&actors[i]);
	}
	torture_stop();
	EXPECT_EQ(ring.items * PRODUCERS, atomic_load(&ring.got));
	EXPECT_EQ(ring.items * (ring.items + 1) / 2 * PRODUCERS, atomic_load(&ring.sum));
	TH_LOG("%lu items, %lu waits, seed %lu", atomic_load(&ring.got), stats().aborts[STM_ABORT_RETRY], random_seed());
}

TEST_HARNESS_MAIN
