// SPDX-License-Identifier: MIT
/*
 * queue_progress_test.c - what who runs a queue, or a loop, is told meanwhile: by time, and by tasks.
 *
 * By tasks: a task that begins waits until nearly all before it have been told of. So the run comes to its end only if
 * each PERIOD of them is.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <time.h>

#include <uffdstm.h>

#include "queue_support.h"

#define PATIENCE_MS 10000               /* a call that is missing counts as missing after so long */
#define PERIOD 10u
#define TASKS 200u

struct watcher {
	unsigned int calls, wrong;
	uint64_t executed, left;
	uint64_t stop_at;               /* tell the run to stop, with @code, when so many tasks have committed */
	int code;
	unsigned int stop_at_call;      /* or from this call on; 0: neither */
	pthread_t thread;
};

static _Atomic unsigned int calls;
static _Atomic uint64_t told;           /* of so many tasks */

static int watch(const struct stm_progress *progress, void *arg)
{
	struct watcher *watcher = arg;

	watcher->wrong += progress->executed < watcher->executed || stm_in_transaction() ||
			  !pthread_equal(watcher->thread, pthread_self());
	watcher->executed = progress->executed;
	watcher->left = progress->left;
	calls = ++watcher->calls;
	told = progress->executed;
	return (watcher->stop_at && progress->executed >= watcher->stop_at) ||
	       (watcher->stop_at_call && watcher->calls >= watcher->stop_at_call) ? watcher->code : 0;
}

/* ---- by time ---- */

/* Until the watcher was called thrice. */
static int be_watched(void *arg)
{
	(void)arg;
	usleep(100);
	return calls < 3 && !stm_queue_stopping(queue) ? STM_QUEUE_AGAIN : 0;
}

static uint64_t executed(void)
{
	struct stm_queue_counts c;

	return stm_queue_counts(queue, &c) ? 0 : c.executed;
}

/* That it is to be told of many more tasks than there are changes nothing. */
TEST(by_time)
{
	for (int round = 0; round < 2; round++) {
		struct watcher watcher = { .thread = pthread_self() };
		struct stm_run_options options = {
			.size = sizeof(options), .progress = watch, .progress_arg = &watcher, .progress_ms = 2,
			.threads = 2, .progress_tasks = round ? UINT64_MAX : 0
		};

		calls = 0;
		if (round)
			queue = stm_queue_new(NULL);
		else
			ASSERT_EQ(0, open_queue(0, NULL));
		ASSERT_NE(NULL, queue);
		ASSERT_EQ(0, stm_queue_add(queue, be_watched, NULL));
		EXPECT_EQ(0, stm_queue_run_with(queue, &options));
		EXPECT_LE(4, watcher.calls);
		EXPECT_EQ(0, watcher.wrong);
		EXPECT_EQ(executed(), watcher.executed); /* at the end */
		EXPECT_EQ(0, watcher.left);
		/* It says stop. */
		calls = 0;
		watcher = (struct watcher){ .thread = pthread_self(), .code = 77, .stop_at_call = 2 };
		ASSERT_EQ(0, stm_queue_add(queue, be_watched, NULL));
		ASSERT_EQ(0, stm_queue_add(queue, be_watched, NULL));
		EXPECT_EQ(77, stm_queue_run_with(queue, &options));
		EXPECT_EQ(3, watcher.calls); /* and one at the end */
		ASSERT_EQ(0, stm_queue_free(queue));
	}
}

static int take_a_while(void *arg)
{
	(void)arg;
	usleep(350000);
	return 0;
}

/* An hour apart: once, at the end. */
TEST(by_time_seldom)
{
	struct watcher watcher = { .thread = pthread_self() };
	struct stm_run_options options = {
		.size = sizeof(options), .progress = watch, .progress_arg = &watcher, .progress_ms = 3600000, .threads = 1
	};

	ASSERT_EQ(0, open_queue(0, NULL));
	ASSERT_EQ(0, stm_queue_add(queue, take_a_while, NULL));
	EXPECT_EQ(0, stm_queue_run_with(queue, &options));
	EXPECT_EQ(1, watcher.calls);
	EXPECT_EQ(1, watcher.executed);
	ASSERT_EQ(0, stm_queue_free(queue));
}

/* ---- by tasks ---- */

static _Atomic unsigned int threads, missed;
static bool in_loop;                    /* its queue is not known */

static int wait_until_told(uint64_t of)
{
	for (int ms = 0; told < of; ms++) {
		if (!in_loop && stm_queue_stopping(queue))
			return 0;
		if (ms == PATIENCE_MS) {
			missed++;
			return 1;
		}
		usleep(1000);
	}
	return 0;
}

/*
 * Task, step or piece @number, from 0: of those before it all have committed but @threads - 1 at most. If all that run
 * wait, as many as they wait for, and a period more, have committed.
 */
static int wait_in_line(uint64_t number)
{
	return number < PERIOD + threads ? 0 : wait_until_told(number + 1 - PERIOD - threads);
}

/* The time, of which it is told as well, does not come. */
static struct stm_run_options told_of_tasks(struct watcher *watcher, unsigned int n)
{
	*watcher = (struct watcher){ .thread = pthread_self() };
	told = 0;
	threads = n;
	return (struct stm_run_options){
		.size = sizeof(struct stm_run_options), .progress = watch, .progress_arg = watcher,
		.progress_ms = UINT_MAX, .threads = n, .progress_tasks = PERIOD
	};
}

static _Atomic uint64_t begun;

static int next_task(void *arg)
{
	(void)arg;
	return wait_in_line(begun++);
}

TEST(by_tasks)
{
	ASSERT_EQ(0, open_queue(0, NULL));
	for (unsigned int n = 1; n <= 4; n++) {
		struct watcher watcher;
		struct stm_run_options options = told_of_tasks(&watcher, n);

		begun = 0;
		for (unsigned int i = 0; i < TASKS; i++)
			ASSERT_EQ(0, stm_queue_add(queue, next_task, NULL));
		ASSERT_EQ(0, stm_queue_run_with(queue, &options));
		EXPECT_EQ(TASKS, watcher.executed);
		EXPECT_EQ(0, watcher.left);
		EXPECT_EQ(0, watcher.wrong);
		EXPECT_GE(TASKS / PERIOD, watcher.calls);
	}
	EXPECT_EQ(0, atomic_load(&missed));
}

/* With one worker, where the first of each period waits for the call for those before it: nothing happens meanwhile. */
#define ODD_TASKS (TASKS + 5u)           /* the last period is shorter */

static int look(const struct stm_progress *progress, void *arg)
{
	struct watcher *watcher = arg;
	uint64_t expected = PERIOD * (watcher->calls + 1);

	watcher->wrong += progress->executed != (expected < ODD_TASKS ? expected : ODD_TASKS) ||
			  progress->left != ODD_TASKS - progress->executed;
	return watch(progress, arg);
}

static int one_by_one(void *arg)
{
	return wait_until_told((uintptr_t)arg);
}

TEST(by_tasks_exactly)
{
	ASSERT_EQ(0, open_queue(0, NULL));
	for (int round = 0; round < 2; round++) {
		struct watcher watcher;
		struct stm_run_options options = told_of_tasks(&watcher, 1);

		options.progress = look;
		for (uintptr_t i = 0; i < ODD_TASKS; i++)
			ASSERT_EQ(0, stm_queue_add(queue, one_by_one, (void *)(i - i % PERIOD)));
		ASSERT_EQ(0, stm_queue_run_with(queue, &options));
		EXPECT_EQ(0, watcher.wrong);
		EXPECT_EQ(TASKS / PERIOD + 1, watcher.calls);
	}
	EXPECT_EQ(0, atomic_load(&missed));
}

static int next_step(void *arg)
{
	uint64_t number = begun++;

	(void)arg;
	if (wait_until_told(number - number % PERIOD))
		return 1;
	return number < TASKS - 1 ? STM_QUEUE_AGAIN : 0;
}

/* Each step counts. */
TEST(by_steps)
{
	struct watcher watcher;
	struct stm_run_options options = told_of_tasks(&watcher, 1);

	ASSERT_EQ(0, open_queue(0, NULL));
	ASSERT_EQ(0, stm_queue_add(queue, next_step, NULL));
	ASSERT_EQ(0, stm_queue_run_with(queue, &options));
	EXPECT_EQ(TASKS, watcher.executed);
	EXPECT_EQ(TASKS / PERIOD, watcher.calls);
}

static int numbered_task(void *arg)
{
	return wait_in_line((uintptr_t)arg);
}

static int piece(size_t begin, size_t end, void *arg)
{
	(void)end;
	(void)arg;
	return wait_in_line(begin);
}

TEST(in_order_and_in_loops)
{
	struct stm_queue_options ordered = { .size = sizeof(ordered), .ordered = true };

	ASSERT_EQ(0, open_queue(0, &ordered));
	for (unsigned int n = 1; n <= 3; n++) {
		struct watcher watcher;
		struct stm_run_options options = told_of_tasks(&watcher, n);
		struct stm_loop_options loop = { .size = sizeof(loop), .grain = 1, .ordered = true, .run = &options };

		for (uintptr_t i = 0; i < TASKS; i++)
			ASSERT_EQ(0, stm_queue_add(queue, numbered_task, (void *)i));
		ASSERT_EQ(0, stm_queue_run_with(queue, &options));
		EXPECT_EQ(TASKS, watcher.executed);
		EXPECT_GE(TASKS / PERIOD, watcher.calls);
		in_loop = true;
		for (int i = 0; i < 2; i++) {
			options = told_of_tasks(&watcher, n);
			loop.ordered = i;
			ASSERT_EQ(0, stm_parallel_for_with(0, TASKS, piece, NULL, &loop));
			EXPECT_EQ(TASKS, watcher.executed);
			EXPECT_GE(TASKS / PERIOD, watcher.calls);
		}
		in_loop = false;
	}
	EXPECT_EQ(0, atomic_load(&missed));
}

/* What commits after that is no more than what does not wait in line. */
TEST(it_says_stop)
{
	ASSERT_EQ(0, open_queue(0, NULL));
	for (unsigned int n = 1; n <= 3; n++) {
		struct watcher watcher;
		struct stm_run_options options = told_of_tasks(&watcher, n);

		watcher.stop_at = TASKS / 2;
		watcher.code = 5;
		begun = 0;
		for (unsigned int i = 0; i < TASKS; i++)
			ASSERT_EQ(0, stm_queue_add(queue, next_task, NULL));
		EXPECT_EQ(5, stm_queue_run_with(queue, &options));
		EXPECT_LE(TASKS / 2, watcher.executed);
		EXPECT_EQ(TASKS, watcher.executed + watcher.left);
		EXPECT_GE(TASKS / 2 + 2 * PERIOD + 3 * n, watcher.executed);
		/* The others are for the next run. */
		options.progress_tasks = 0;
		watcher = (struct watcher){ .thread = pthread_self() };
		threads = TASKS;
		EXPECT_EQ(0, stm_queue_run_with(queue, &options));
		EXPECT_EQ(1, watcher.calls);
	}
}

/* ---- the call ---- */

static int go_on_20_ms(void *arg)
{
	(void)arg;
	usleep(1000);
	return begun++ < 20 ? STM_QUEUE_AGAIN : 0;
}

/* Of a program that knows nothing of it: its structure ends before. */
TEST(sizes)
{
	struct watcher watcher;
	struct stm_run_options options = told_of_tasks(&watcher, 1);

	ASSERT_EQ(0, open_queue(0, NULL));
	options.size = offsetof(struct stm_run_options, progress_tasks);
	options.progress_tasks = 1;
	threads = TASKS;
	for (unsigned int i = 0; i < TASKS; i++)
		ASSERT_EQ(0, stm_queue_add(queue, next_task, NULL));
	EXPECT_EQ(0, stm_queue_run_with(queue, &options));
	EXPECT_EQ(1, watcher.calls);
	/* Nobody is to be told, while somebody looks at the time. */
	options = (struct stm_run_options){
		.size = sizeof(options), .progress_tasks = 1, .deadline = &(struct timespec){ .tv_sec = INT64_MAX }
	};
	begun = 0;
	ASSERT_EQ(0, stm_queue_add(queue, go_on_20_ms, NULL));
	EXPECT_EQ(0, stm_queue_run_with(queue, &options));
}

TEST_HARNESS_MAIN
