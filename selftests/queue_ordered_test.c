// SPDX-License-Identifier: MIT
/*
 * queue_ordered_test.c - ordered queues: the outcome is that of a sequential loop, whatever runs when.
 *
 * Three tests catch one of the mistakes of lib/testing.h each, named above it: see mutants.sh.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "internal.h"
#include "kselftest_harness.h"
#include "schedule.h"
#include "support.h"

#define WORDS 1024u
#define PATIENCE_MS 10000               /* a liveness that is missing counts as missing after so long */

struct word {
	uint64_t value, pad;            /* a granule each */
};

static struct stm_queue *queue;
static struct word STM *words;

static void open_ordered(const struct stm_options *given)
{
	struct stm_queue_options options = { .size = sizeof(options), .ordered = true };
	struct stm_options o = STM_OPTIONS_INIT;

	if (given)
		o = *given;
	o.heap_size = (size_t)64 << 20;
	if (stm_init(&o) || stm_thread_attach())
		abort();
	STM_ATOMIC {
		words = stm_zalloc(WORDS * sizeof(*words));
		STM_SET(*(struct word STM *STM *)stm_root(0), words);
	}
	queue = stm_queue_new(&options);
	if (!queue)
		abort();
}

static uint64_t word(unsigned int i)
{
	volatile uint64_t value = 0;

	STM_ATOMIC {
		value = STM_GET(words[i].value);
	}
	return value;
}

static void set_word(unsigned int i, uint64_t value)
{
	STM_ATOMIC {
		STM_SET(words[i].value, value);
	}
}

static struct stm_queue_counts counts(void)
{
	struct stm_queue_counts c = { 0 };

	if (stm_queue_counts(queue, &c))
		abort();
	return c;
}

/* Whether *@flag reaches @value before patience ends. */
static bool reaches(_Atomic int *flag, int value)
{
	for (int ms = 0; ms < PATIENCE_MS; ms++) {
		if (atomic_load(flag) >= value)
			return true;
		usleep(1000);
	}
	return false;
}

#define MEETINGS 1000u
#define MEETING_MS 20

static _Atomic int has_met[MEETINGS];
static unsigned int meetings;           /* of tasks 0 to so many - 1 */

/*
 * At the end of task @i's function, at the first time: wait for a while until the next one has come so far. So the next
 * one has run ahead of its turn, whatever the machine does.
 */
static void meet_next(uintptr_t i)
{
	if (i >= meetings || atomic_exchange(&has_met[i], 1) || i + 1 == meetings)
		return;
	for (int n = 0; n < MEETING_MS * 50 && !atomic_load(&has_met[i + 1]) && !stm_queue_stopping(queue); n++)
		usleep(20);
}

static void forget_meetings(unsigned int n)
{
	memset(has_met, 0, sizeof(has_met));
	meetings = n;
}

/* ---- random dependences ---- */

static unsigned int range;              /* the tasks use so many words */

/* What task @i reads and writes. */
static void choose(uint64_t i, unsigned int *from, unsigned int *to)
{
	uint64_t random = i * 2 + 1;

	*from = (unsigned int)random_below(&random, range);
	*to = (unsigned int)random_below(&random, range);
}

/* The order of any two of these on the same words can be seen. */
static uint64_t mix(uint64_t a, uint64_t b, uint64_t i)
{
	return (a * 31 + b) ^ i * 0x9e3779b97f4a7c15u;
}

static int step(void *arg)
{
	uint64_t i = (uintptr_t)arg;
	unsigned int from, to;

	choose(i, &from, &to);
	STM_SET(words[to].value, mix(STM_GET(words[to].value), STM_GET(words[from].value), i));
	return 0;
}

static uint64_t model[WORDS];

static void step_model(uint64_t i)
{
	unsigned int from, to;

	choose(i, &from, &to);
	model[to] = mix(model[to], model[from], i);
}

static unsigned int differences(void)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < WORDS; i++)
		n += word(i) != model[i];
	return n;
}

static void run_loops(struct __test_metadata *_metadata, unsigned int tasks)
{
	static const unsigned int threads[] = { 1, 2, 3, 8 }, ranges[] = { 3, 30, WORDS };
	uint64_t i = random_seed() * 1000000;

	for (size_t t = 0; t < sizeof(threads) / sizeof(threads[0]); t++)
		for (size_t r = 0; r < sizeof(ranges) / sizeof(ranges[0]); r++) {
			range = ranges[r];
			for (unsigned int k = 0; k < tasks; k++, i++) {
				ASSERT_EQ(0, stm_queue_add(queue, step, (void *)(uintptr_t)i));
				step_model(i);
			}
			ASSERT_EQ(0, stm_queue_run(queue, threads[t]));
			EXPECT_EQ(0, differences()) {
				TH_LOG("%u threads, %u words, STM_SEED=%llu", threads[t], range,
				       (unsigned long long)random_seed());
			}
		}
}

TEST(the_outcome_is_that_of_the_loop)
{
	open_ordered(NULL);
	run_loops(_metadata, long_factor(20) * 2000 / strict_divisor());
	EXPECT_EQ(0, stm_queue_free(queue));
}

TEST(whoever_is_late)
{
	open_ordered(NULL);
	torture_start(random_seed(), 20);
	run_loops(_metadata, long_factor(20) * 200 / (strict_divisor() > 1 ? 10 : 1));
	torture_stop();
	EXPECT_EQ(0, schedule_failures());
}

/* Others commit all the time, to words that the tasks do not use: or the outcome would not be one. */
static _Atomic int quit;

static void *commit_besides(void *arg)
{
	uint64_t n = 0;

	if (stm_thread_attach())
		return arg;
	while (!atomic_load(&quit)) {
		STM_ATOMIC {
			STM_SET(words[WORDS - 1 - n % 100].value, n);
		}
		if (++n % 64 == 0)
			usleep(100);
	}
	for (unsigned int i = 0; i < 100; i++)
		set_word(WORDS - 1 - i, 0);
	stm_thread_detach();
	return NULL;
}

TEST(others_commit_in_between)
{
	pthread_t other;

	open_ordered(NULL);
	ASSERT_EQ(0, pthread_create(&other, NULL, commit_besides, NULL));
	range = 100;
	for (uint64_t i = 0; i < 2000 / (strict_divisor() > 1 ? 10 : 1); i++) {
		ASSERT_EQ(0, stm_queue_add(queue, step, (void *)(uintptr_t)i));
		step_model(i);
	}
	ASSERT_EQ(0, stm_queue_run(queue, 3));
	atomic_store(&quit, 1);
	ASSERT_EQ(0, pthread_join(other, NULL));
	EXPECT_EQ(0, differences());
}

/* ---- what only the order makes true ---- */

static bool cancels;
static unsigned int hooked, out_of_order;

static void hook(void *arg)
{
	out_of_order += hooked++ != (uintptr_t)arg;
}

/* Out of its turn it sees too few, and must not fail for that. */
static int be_next(void *arg)
{
	uint64_t i = (uintptr_t)arg;

	uint64_t value = STM_GET(words[0].value);

	meet_next(i);
	if (value != i) {
		if (cancels)
			stm_cancel(7);
		return 7;
	}
	STM_SET(words[0].value, i + 1);
	return stm_on_commit(hook, arg);
}

TEST(no_task_fails_for_what_never_was)
{
	const unsigned int n = 500;

	open_ordered(NULL);
	for (int round = 0; round < 2; round++) {
		cancels = round;
		hooked = 0;
		forget_meetings(n);
		set_word(0, 0);
		for (uintptr_t i = 0; i < n; i++)
			ASSERT_EQ(0, stm_queue_add(queue, be_next, (void *)i));
		EXPECT_EQ(0, stm_queue_run(queue, 3));
		EXPECT_EQ(n, word(0));
		EXPECT_EQ(n, hooked);
		EXPECT_EQ(0, out_of_order);
	}
}

static unsigned int seen[500];

static void note_seen(void *arg)
{
	hook(arg);
}

/* Every second one reads only. */
static int read_or_write(void *arg)
{
	uintptr_t i = (uintptr_t)arg;

	if (i % 2 == 0) {
		STM_SET(words[0].value, STM_GET(words[0].value) + 1);
		meet_next(i);
		return stm_on_commit(hook, arg);
	}
	seen[i] = (unsigned int)STM_GET(words[0].value);
	meet_next(i);
	return stm_on_commit(note_seen, arg);
}

TEST(one_that_only_reads_has_its_turn)
{
	unsigned int wrong = 0;

	open_ordered(NULL);
	forget_meetings(500);
	for (uintptr_t i = 0; i < 500; i++)
		ASSERT_EQ(0, stm_queue_add(queue, read_or_write, (void *)i));
	ASSERT_EQ(0, stm_queue_run(queue, 3));
	for (unsigned int i = 1; i < 500; i += 2)
		wrong += seen[i] != i / 2 + 1;
	EXPECT_EQ(0, wrong);
	EXPECT_EQ(500, hooked);
	EXPECT_EQ(0, out_of_order);
}

static unsigned int inevitably, inevitably_wrong;

static int be_inevitable(void *arg)
{
	uintptr_t i = (uintptr_t)arg;
	uint64_t value = STM_GET(words[i % 3].value);

	meet_next(i);
	stm_become_inevitable("a test");
	inevitably_wrong += inevitably++ != i; /* alone, and never twice */
	STM_SET(words[i % 3].value, value + 1);
	return 0;
}

TEST(inevitable_ones_keep_the_order)
{
	open_ordered(NULL);
	forget_meetings(300);
	for (uintptr_t i = 0; i < 300; i++)
		ASSERT_EQ(0, stm_queue_add(queue, be_inevitable, (void *)i));
	ASSERT_EQ(0, stm_queue_run(queue, 3));
	EXPECT_EQ(300, inevitably);
	EXPECT_EQ(0, inevitably_wrong);
	EXPECT_EQ(300, word(0) + word(1) + word(2));
}

/* ---- additions ---- */

#define NODES 600u

/* Task @i adds two more, or comes again, and notes when it was. */
static int grow(void *arg)
{
	uint64_t i = (uintptr_t)arg, n = STM_GET(words[0].value);

	STM_SET(words[0].value, mix(n, 0, i));
	for (uint64_t k = 2 * i + 1; k <= 2 * i + 2 && k < NODES; k++)
		if (stm_queue_add(queue, grow, (void *)(uintptr_t)k))
			return ENOMEM;
	if (i % 5 == 1 && STM_GET(words[i].value) < 3) {
		STM_SET(words[i].value, STM_GET(words[i].value) + 1);
		return STM_QUEUE_AGAIN;
	}
	return 0;
}

/* The same, in a loop over a list to which is appended. */
static uint64_t grow_model(void)
{
	static uint64_t list[NODES * 100];
	static unsigned int times[NODES];
	size_t n = 1;
	uint64_t value = 0;

	for (size_t at = 0; at < n; at++) {
		uint64_t i = list[at];

		value = mix(value, 0, i);
		for (uint64_t k = 2 * i + 1; k <= 2 * i + 2 && k < NODES; k++) {
			if (n == NODES * 100)
				abort();
			list[n++] = k;
		}
		if (i % 5 == 1 && i && times[i] < 3) {
			times[i]++;
			list[n++] = i;
		}
	}
	return value;
}

static int grow_once(void *arg)
{
	uint64_t i = (uintptr_t)arg;

	STM_SET(words[0].value, mix(STM_GET(words[0].value), 0, i));
	for (uint64_t k = 2 * i + 1; k <= 2 * i + 2 && k < NODES; k++)
		if (stm_queue_add(queue, grow_once, (void *)(uintptr_t)k))
			return ENOMEM;
	return 0;
}

TEST(additions_come_behind)
{
	uint64_t value = 0;

	open_ordered(NULL);
	ASSERT_EQ(0, stm_queue_add(queue, grow_once, NULL));
	ASSERT_EQ(0, stm_queue_run(queue, 3));
	for (uint64_t i = 0; i < NODES; i++)
		value = mix(value, 0, i);
	EXPECT_EQ(value, word(0));
}

TEST(steps_come_behind)
{
	open_ordered(NULL);
	ASSERT_EQ(0, stm_queue_add(queue, grow, NULL));
	ASSERT_EQ(0, stm_queue_run(queue, 3));
	EXPECT_EQ(grow_model(), word(0));
}

static int put_off(void *arg)
{
	uint64_t i = (uintptr_t)arg;

	if (i % 3 == 0 && STM_GET(words[1].value) < 100) {
		STM_SET(words[2].value, 1); /* is undone */
		stm_cancel(STM_QUEUE_AGAIN);
	}
	STM_SET(words[1].value, STM_GET(words[1].value) + 1);
	STM_SET(words[0].value, mix(STM_GET(words[0].value), 0, i));
	return 0;
}

TEST(a_task_that_is_put_off_comes_behind)
{
	uint64_t value = 0;
	uint64_t list[600];
	size_t n = 200, done = 0;

	open_ordered(NULL);
	for (uint64_t i = 0; i < n; i++)
		list[i] = i;
	for (size_t at = 0; at < n; at++) {
		if (list[at] % 3 == 0 && done < 100) {
			list[n++] = list[at];
			continue;
		}
		done++;
		value = mix(value, 0, list[at]);
	}
	for (uintptr_t i = 0; i < 200; i++)
		ASSERT_EQ(0, stm_queue_add(queue, put_off, (void *)i));
	ASSERT_EQ(0, stm_queue_run(queue, 3));
	EXPECT_EQ(value, word(0));
	EXPECT_EQ(0, word(2));
	EXPECT_EQ(200, counts().executed);
}

/* ---- failures ---- */

static int fail_every_tenth(void *arg)
{
	uint64_t i = (uintptr_t)arg;

	step(arg);
	meet_next(i);
	if (i % 10 != 9)
		return 0;
	if (i % 20 == 9)
		stm_cancel((int)i + 1);
	return (int)i + 1;
}

TEST(nothing_behind_a_failure_commits)
{
	open_ordered(NULL);
	range = 5;
	forget_meetings(200);
	for (uintptr_t i = 0; i < 200; i++)
		ASSERT_EQ(0, stm_queue_add(queue, fail_every_tenth, (void *)i));
	for (uint64_t i = 0; i < 200; i++) {
		if (i % 10 != 9) {
			step_model(i);
			continue;
		}
		EXPECT_EQ((int)i + 1, stm_queue_run(queue, 2 + (unsigned int)(i / 10) % 3));
		EXPECT_EQ(0, differences());
		EXPECT_EQ(i / 10 * 9 + 9, counts().executed);
	}
	EXPECT_EQ(0, stm_queue_run(queue, 2));
	EXPECT_EQ(180, counts().executed);
}

static int fail_inevitably(void *arg)
{
	step(arg);
	meet_next((uintptr_t)arg);
	if ((uintptr_t)arg != 20)
		return 0;
	stm_become_inevitable("a test");
	return 5;
}

TEST(an_inevitable_failure_commits_last)
{
	open_ordered(NULL);
	range = 5;
	forget_meetings(40);
	for (uintptr_t i = 0; i < 40; i++)
		ASSERT_EQ(0, stm_queue_add(queue, fail_inevitably, (void *)i));
	EXPECT_EQ(5, stm_queue_run(queue, 3));
	for (uint64_t i = 0; i <= 20; i++)
		step_model(i);
	EXPECT_EQ(0, differences());
	EXPECT_EQ(0, stm_queue_run(queue, 3));
	for (uint64_t i = 21; i < 40; i++)
		step_model(i);
	EXPECT_EQ(0, differences());
}

static int cancel_now_and_then(void *arg)
{
	step(arg);
	meet_next((uintptr_t)arg);
	if ((uintptr_t)arg % 10 == 9)
		stm_queue_cancel(queue);
	return 0;
}

TEST(a_cancelled_run_goes_on_where_it_was)
{
	uint64_t before = 0;
	unsigned int runs = 0;
	int result;

	open_ordered(NULL);
	range = 5;
	forget_meetings(200);
	for (uintptr_t i = 0; i < 200; i++)
		ASSERT_EQ(0, stm_queue_add(queue, cancel_now_and_then, (void *)i));
	do {
		uint64_t executed;

		result = stm_queue_run(queue, 3);
		executed = counts().executed;
		for (; before < executed; before++)
			step_model(before);
		EXPECT_EQ(0, differences());
		ASSERT_LT(++runs, 1000);
	} while (result == -ECANCELED);
	EXPECT_EQ(0, result);
	EXPECT_EQ(200, before);
	EXPECT_LT(1, runs);
}

/* ---- one that waits ---- */

static _Atomic int attempts[4], entered, bad;

/* Task 0 changes what task 2 has read; task 1 does not end before task 2 has found out. */
static int three(void *arg)
{
	uintptr_t i = (uintptr_t)arg;

	attempts[i]++;
	switch (i) {
	case 0:
		if (!reaches(&entered, 1))
			bad = 1;
		STM_SET(words[0].value, 1);
		break;
	case 1:
		if (!reaches(&attempts[2], 2))
			bad = 1;
		break;
	case 2:
		STM_SET(words[1].value, STM_GET(words[0].value));
		entered = 1;
	}
	return 0;
}

TEST(one_that_waits_finds_out_early)
{
	open_ordered(NULL);
	for (uintptr_t i = 0; i < 3; i++)
		ASSERT_EQ(0, stm_queue_add(queue, three, (void *)i));
	ASSERT_EQ(0, stm_queue_run(queue, 3));
	EXPECT_EQ(0, atomic_load(&bad));
	EXPECT_EQ(1, word(1));
	EXPECT_EQ(1, counts().restarts);
}

static bool somebody_has_pending(void)
{
	for (unsigned int i = 0; i < atomic_load(&stm_global.segments_n); i++)
		if (((volatile struct stm_seg *)stm_global.segments[i])->inevitable)
			return true;
	return false;
}

/* Task 1 fails too often while task 0 runs. */
static int fail_often(void *arg)
{
	if (arg) {
		if (++attempts[1] < 20)
			stm_restart();
		STM_SET(words[0].value, STM_GET(words[0].value) * 10);
		return 0;
	}
	if (!reaches(&attempts[1], 2))
		bad = 1;
	for (int ms = 0; ms < 50 && !bad; ms++, usleep(1000))
		if (somebody_has_pending())
			bad = 1;
	if (bad) /* else it would hang */
		stm_queue_cancel(queue);
	STM_SET(words[0].value, STM_GET(words[0].value) + 1);
	return 0;
}

/* TURN_PENDING: then nobody before it could commit. */
TEST(no_right_of_way_before_its_turn)
{
	struct stm_options options = STM_OPTIONS_INIT;
	struct stm_stats stats;

	options.attempts = 2;
	open_ordered(&options);
	for (uintptr_t i = 0; i < 2; i++)
		ASSERT_EQ(0, stm_queue_add(queue, fail_often, (void *)i));
	ASSERT_EQ(0, stm_queue_run(queue, 2));
	EXPECT_EQ(0, atomic_load(&bad));
	EXPECT_EQ(10, word(0));
	ASSERT_EQ(0, stm_stats(&stats, sizeof(stats)));
	EXPECT_LT(0, stats.inevitable); /* but once it had come */
}

#define CHUNK ((size_t)64 << 10)

static struct stm_seg *_Atomic waiting;
static unsigned char STM *area;

/* A commit hook of task 0 commits more than the log may hold, while task 1 waits with an old snapshot. */
static void commit_much(void *arg)
{
	uint64_t first = atomic_load(&atomic_load(&waiting)->published);
	bool moved = false;

	set_word(5, 1);
	for (int ms = 0; ms < PATIENCE_MS && !moved; ms++) {
		moved = atomic_load(&atomic_load(&waiting)->published) > first;
		usleep(1000);
	}
	if (!moved) {
		bad = 1;
		return;
	}
	for (unsigned int i = 0; i < 200; i++)
		STM_ATOMIC {
			stm_memset(area, (int)i, CHUNK);
		}
}

static int wait_long(void *arg)
{
	if (!arg) {
		while (!atomic_load(&waiting))
			usleep(1000);
		usleep(5000); /* it waits by now; or it does not, and that is harmless */
		return stm_on_commit(commit_much, NULL);
	}
	STM_SET(words[0].value, STM_GET(words[0].value) + 1);
	atomic_store(&waiting, stm__self);
	return 0;
}

/* TURN_STAYS: then fold would wait for it, and who finds the log full for fold. */
TEST(one_that_waits_holds_back_no_log)
{
	struct stm_options options = STM_OPTIONS_INIT;
	struct stm_stats stats;

	options.log_limit = (size_t)4 << 20;
	open_ordered(&options);
	STM_ATOMIC {
		area = stm_zalloc(CHUNK);
	}
	for (uintptr_t i = 0; i < 2; i++)
		ASSERT_EQ(0, stm_queue_add(queue, wait_long, (void *)i));
	ASSERT_EQ(0, stm_queue_run(queue, 2));
	EXPECT_EQ(0, atomic_load(&bad));
	EXPECT_EQ(1, word(0));
	ASSERT_EQ(0, stm_stats(&stats, sizeof(stats)));
	EXPECT_LT(0, stats.log_waits);
}

/* ---- stopping one that sleeps ---- */

static _Atomic int cancel_point;

static void cancel_there(enum stm_point point)
{
	int here = (int)point;

	/* Two workers may be there at once: the first one does it. */
	if (point == STM_POINT_BEGIN || !atomic_compare_exchange_strong(&cancel_point, &here, STM_POINT_BEGIN))
		return;
	if (stm_queue_cancel(queue))
		bad = 1;
}

static int wait_for_word(void *arg)
{
	if (!STM_GET(words[0].value)) {
		if (cancel_point == STM_POINTS)
			stm_queue_cancel(queue);
		stm_retry();
	}
	STM_SET(words[1].value, STM_GET(words[1].value) + 1);
	return arg ? 0 : 1;
}

/* While it makes up its mind to sleep: before it looks whether it is to stop, and after that; and before all that. */
TEST(one_that_sleeps_is_stopped)
{
	static const enum stm_point points[] = { STM_POINT_WAITING, STM_POINT_WAIT_LOOKED, STM_POINTS };

	for (int ordered = 0; ordered < 2; ordered++)
		for (int i = 0; i < 3; i++) {
			struct stm_queue_options options = { .size = sizeof(options), .ordered = ordered };

			if (!words)
				open_ordered(NULL);
			ASSERT_EQ(0, stm_queue_free(queue));
			queue = stm_queue_new(&options);
			set_word(0, 0);
			set_word(1, 0);
			for (uintptr_t k = 1; k <= 3; k++)
				ASSERT_EQ(0, stm_queue_add(queue, wait_for_word, (void *)k));
			cancel_point = points[i];
			stm_schedule_hook = cancel_there;
			EXPECT_EQ(-ECANCELED, stm_queue_run(queue, 2));
			stm_schedule_hook = NULL;
			EXPECT_EQ(0, atomic_load(&bad));
			EXPECT_EQ(0, counts().executed);
			set_word(0, 1);
			EXPECT_EQ(0, stm_queue_run(queue, 2));
			EXPECT_EQ(3, counts().executed);
			EXPECT_EQ(3, word(1));
		}
}

/* ---- the turn ---- */

static __thread uintptr_t running;

static void be_late(enum stm_point point)
{
	if (point == STM_POINT_VALIDATED && running % 2 == 1)
		usleep(1000);
}

static int step_and_be_late(void *arg)
{
	running = (uintptr_t)arg;
	return step(arg);
}

/* TURN_EARLY: the next one commits while this one is at it. */
TEST(the_turn_passes_after_the_commit)
{
	open_ordered(NULL);
	range = 2;
	for (uintptr_t i = 0; i < 100; i++) {
		ASSERT_EQ(0, stm_queue_add(queue, step_and_be_late, (void *)i));
		step_model(i);
	}
	stm_schedule_hook = be_late;
	ASSERT_EQ(0, stm_queue_run(queue, 3));
	stm_schedule_hook = NULL;
	EXPECT_EQ(0, differences());
}

/* ---- errors ---- */

TEST(no_priorities)
{
	struct stm_task_options options = { .size = sizeof(options), .priority = 1 };

	open_ordered(NULL);
	EXPECT_EQ(-EINVAL, stm_queue_add_with(queue, step, NULL, &options));
	options.priority = 0;
	EXPECT_EQ(0, stm_queue_add_with(queue, step, NULL, &options));
	EXPECT_EQ(0, stm_queue_free(queue));
}

TEST_HARNESS_MAIN
