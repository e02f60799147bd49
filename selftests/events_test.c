// SPDX-License-Identifier: MIT
/*
 * events_test.c - what happens is in the event log, once: as much of it as stm_stats() counts.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <time.h>

#include "event_support.h"

#define PAGE ((size_t)4096)
#define STEP (PAGE / sizeof(long))

FIXTURE(events) {
	struct event_log log;
	struct stm_stats stats;
};

FIXTURE_VARIANT(events) {
	const char *engine;
};

FIXTURE_VARIANT_ADD(events, sigbus) { "sigbus" };
FIXTURE_VARIANT_ADD(events, thread) { "thread" };
FIXTURE_VARIANT_ADD(events, async) { "async" };

static struct stm_options options;
static long STM *words;
static volatile long seen;              /* so that reads are not left out */

FIXTURE_SETUP(events)
{
	int error;

	make_log_dir();
	options = options_for_log();
	options.engine = variant->engine;
	options.cluster = options.cluster_max = 1;
	options.event_buffer = (size_t)16 << 20; /* room for all, should nothing be written before the end */
	error = stm_init(&options);
	if (error == -EOPNOTSUPP)
		SKIP(return, "this kernel, or these rights, do not allow the engine");
	ASSERT_EQ(0, error);
	ASSERT_EQ(0, stm_fini());
}

FIXTURE_TEARDOWN(events)
{
	event_log_close(&self->log);
	remove_log_dir();
}

static void begin(void)
{
	record_with(&options);
	STM_ATOMIC {
		elsewhere = stm_zalloc(sizeof(*elsewhere));
		words = stm_zalloc(64 * PAGE);
	}
}

static void end(struct __test_metadata *_metadata, FIXTURE_DATA(events) *self)
{
	self->stats = stats();
	ASSERT_EQ(0, stm_fini());
	ASSERT_TRUE(event_log_open(&self->log, log_path));
	EXPECT_TRUE(self->log.whole);
	EXPECT_EQ(0, event_count(&self->log, STM_EVENT_DROPPED));
	EXPECT_EQ(self->stats.commits, event_commits(&self->log, STM_EVENT_COMMIT));
	EXPECT_EQ(self->stats.commits_read_only, event_commits(&self->log, STM_EVENT_READ_ONLY));
	for (unsigned int i = 0; i < STM_ABORT_REASONS; i++)
		EXPECT_EQ(self->stats.aborts[i], event_aborts(&self->log, i));
	for (unsigned int i = 0; i < STM_FAULT_KINDS; i++)
		EXPECT_EQ(self->stats.faults[i], event_faults(&self->log, i));
	EXPECT_EQ(self->stats.inevitable, event_count(&self->log, STM_EVENT_INEVITABLE));
	EXPECT_EQ(self->stats.log_waits, event_waits(&self->log, STM_WAIT_LOG));
	EXPECT_EQ(self->stats.folded, event_sum(&self->log, STM_EVENT_FOLD));
	EXPECT_EQ(self->stats.parked, event_count(&self->log, STM_EVENT_PARK));
	EXPECT_EQ(self->stats.pages_trimmed, event_sum(&self->log, STM_EVENT_TRIM));
}

static uint64_t pages_of(const struct event_log *log, unsigned int kind)
{
	uint64_t n = 0;

	for (const struct event *e = NULL; (e = event_next(log, kind, e));)
		n += STM_FAULT_PAGES(e->r.value);
	return n;
}

/* ---- transactions ---- */

static int cancel(void *arg)
{
	STM_SET(words[0], 1);
	return *(int *)arg;
}

static int restart_once(void *arg)
{
	volatile int *restarted = arg;

	STM_SET(words[0], 1);
	if (!(*restarted)++)
		stm_restart();
	return 0;
}

static void *exit_inside(void *arg)
{
	if (stm_thread_attach())
		abort();
	STM_ATOMIC {
		STM_SET(words[0], 2);
		pthread_exit(arg);
	}
	return NULL;
}

TEST_F(events, each_end_of_a_transaction)
{
	int code = 5, restarted = 0, line_commit, line_read, n = 0;

	begin();
	EXPECT_EQ(5, stm_atomic(cancel, &code));
	EXPECT_EQ(0, stm_atomic(restart_once, &restarted));
	in_thread(exit_inside, NULL);
	ATOMIC_AT(line_commit) {
		for (int i = 0; i < 7; i++)
			STM_SET(words[4 * i], 1);
	}
	ATOMIC_AT(line_read) {
		seen = STM_GET(words[0]);
	}
	end(_metadata, self);
	EXPECT_EQ(1, event_aborts(&self->log, STM_ABORT_CANCEL));
	EXPECT_EQ(1, event_aborts(&self->log, STM_ABORT_RESTART));
	EXPECT_EQ(1, event_aborts(&self->log, STM_ABORT_EXIT));
	for (const struct event *e = NULL; (e = event_next(&self->log, STM_EVENT_ABORT, e));)
		EXPECT_EQ(NULL, event_conflict(e));
	for (const struct event *e = NULL; (e = event_next(&self->log, STM_EVENT_COMMIT, e));)
		if (event_site_line(&self->log, e->r.site) == line_commit) {
			n++;
			EXPECT_EQ(7, STM_COMMIT_GRANULES(e->r.value));
			EXPECT_EQ(1, STM_COMMIT_WEIGHT(e->r.value));
		}
	EXPECT_EQ(1, n);
	EXPECT_EQ(1, event_count(&self->log, STM_EVENT_READ_ONLY));
	EXPECT_EQ(line_read, event_site_line(&self->log, event_first(&self->log, STM_EVENT_READ_ONLY)->r.site));
}

/* Nested ones are part of the outermost. Hooks' are transactions of their own, with their own times and sites. */
static int hook_line;

static void hook(void *arg)
{
	ATOMIC_AT(hook_line) {
		STM_SET(words[8], (long)(uintptr_t)arg);
	}
}

TEST_F(events, nested_and_of_hooks)
{
	int outer_line, n_outer = 0, n_hook = 0;

	begin();
	ATOMIC_AT(outer_line) {
		STM_ATOMIC {
			STM_SET(words[0], 1);
		}
		STM_SET(words[2], 1);
		stm_on_commit(hook, NULL);
	}
	end(_metadata, self);
	for (const struct event *e = NULL; (e = event_next(&self->log, STM_EVENT_COMMIT, e));) {
		int line = event_site_line(&self->log, e->r.site);

		n_outer += line == outer_line && STM_COMMIT_GRANULES(e->r.value) == 2;
		n_hook += line == hook_line && STM_COMMIT_GRANULES(e->r.value) == 1;
	}
	EXPECT_EQ(1, n_outer);
	EXPECT_EQ(1, n_hook);
	EXPECT_EQ(3, event_count(&self->log, STM_EVENT_COMMIT));
}

/* ---- inevitable ones, and those that wait for them ---- */

static char state_of(pid_t thread)
{
	char path[64], text[256] = "", *end;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", thread);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		abort();
	close(fd);
	end = strrchr(text, ')');
	return end ? end[2] : 0;
}

static _Atomic pid_t committing;
static int waiter_line;

static void *commit_while_inevitable(void *arg)
{
	if (stm_thread_attach())
		abort();
	ATOMIC_AT(waiter_line) {
		STM_SET(words[STEP], 1);
		atomic_store(&committing, gettid());
	}
	stm_thread_detach();
	return arg;
}

TEST_F(events, who_waits_for_an_inevitable_one)
{
	const struct event *e;
	pthread_t waiter;
	int line;

	begin();
	ATOMIC_AT(line) {
		STM_SET(words[0], 1);
		EXPECT_EQ(0, stm_become_inevitable("printing"));
		EXPECT_EQ(0, stm_become_inevitable("again")); /* it is already */
		pthread_create(&waiter, NULL, commit_while_inevitable, NULL);
		while (!atomic_load(&committing) || state_of(committing) != 'S')
			sched_yield();
	}
	pthread_join(waiter, NULL);
	end(_metadata, self);
	e = event_first(&self->log, STM_EVENT_INEVITABLE);
	ASSERT_NE(NULL, e);
	EXPECT_STREQ("printing", event_name(&self->log, (uint32_t)e->r.value));
	EXPECT_EQ(line, event_site_line(&self->log, e->r.site));
	EXPECT_EQ(1, event_waits(&self->log, STM_WAIT_INEVITABLE));
	e = event_first(&self->log, STM_EVENT_WAIT);
	ASSERT_NE(NULL, e);
	EXPECT_EQ(waiter_line, event_site_line(&self->log, e->r.site));
	EXPECT_LT(0, e->r.duration);
}

static void read_first(void)
{
	seen = STM_GET(words[0]);
}

static void write_first(void)
{
	STM_SET(words[1], 1);
}

TEST_F(events, right_of_way)
{
	struct duel duel = { .read = read_first, .write = write_first, .times = 2 };
	const struct event *e;

	options.attempts = 2;
	begin();
	fight(&duel);
	end(_metadata, self);
	e = event_first(&self->log, STM_EVENT_INEVITABLE);
	ASSERT_NE(NULL, e);
	EXPECT_EQ(0, e->r.value);
	EXPECT_EQ(duel.victim_line, event_site_line(&self->log, e->r.site));
	EXPECT_EQ(2, event_aborts(&self->log, STM_ABORT_CONFLICT));
}

/* ---- a log that is full ---- */

static int holder_line;
static _Atomic bool holding;

static void *hold_back(void *arg)
{
	if (stm_thread_attach())
		abort();
	ATOMIC_AT(holder_line) {
		read_first();
		atomic_store(&holding, true);
		while (!stats().log_waits || !stats().log_held_by) /* a wait may begin before it is known for whom */
			sched_yield();
	}
	stm_thread_detach();
	return arg;
}

TEST_F(events, log_that_is_full)
{
	const struct event *e = NULL;
	uint64_t most = 0;
	pthread_t holder;
	char STM *large;

	options.log_limit = (size_t)4 << 20;
	begin();
	STM_ATOMIC {
		large = stm_alloc((size_t)256 << 10);
	}
	pthread_create(&holder, NULL, hold_back, NULL);
	while (!atomic_load(&holding))
		sched_yield();
	while (!stats().log_waits)
		STM_ATOMIC {
			stm_memset(large, 1, (size_t)256 << 10);
		}
	pthread_join(holder, NULL);
	end(_metadata, self);
	while ((e = event_next(&self->log, STM_EVENT_WAIT, e)))
		if (e->r.value == STM_WAIT_LOG)
			break;
	ASSERT_NE(NULL, e);
	EXPECT_EQ(holder_line, event_site_line(&self->log, e->r.site));
	for (e = NULL; (e = event_next(&self->log, STM_EVENT_LOG_GROWTH, e));) {
		EXPECT_LT(most, e->r.value);
		most = e->r.value;
	}
	EXPECT_LT(options.log_limit, most);
}

/* ---- pages ---- */

TEST_F(events, pages)
{
	const struct event *e;
	struct stm_stats s;

	begin();
	for (int i = 0; i < 300; i++) /* folded, but for the last ones */
		STM_ATOMIC {
			stm_memset(words, i, 64 * PAGE);
		}
	ASSERT_EQ(0, stm_thread_detach());
	ASSERT_EQ(0, stm_thread_attach());
	s = stats();
	for (size_t page = 0; page < 8; page++)
		STM_ATOMIC {
			seen = STM_GET(words[page * STEP]);
		}
	STM_ATOMIC {
		STM_SET(words[3 * STEP], 1);            /* mapped */
		STM_SET(words[20 * STEP], 1);           /* not mapped */
		((volatile long STM *)words)[40 * STEP] = seen; /* without a barrier: faults */
	}
	end(_metadata, self);
	EXPECT_EQ(self->stats.pages_mapped + self->stats.pages_copied,
		  pages_of(&self->log, STM_EVENT_FAULT) + pages_of(&self->log, STM_EVENT_PRIVATISE));
	EXPECT_LE(s.faults[STM_FAULT_READ] + 8, event_faults(&self->log, STM_FAULT_READ));
	for (e = event_first(&self->log, STM_EVENT_PRIVATISE); e; e = event_next(&self->log, STM_EVENT_PRIVATISE, e))
		if (STM_FAULT_ADDRESS(e->r.value) == (uintptr_t)&words[20 * STEP] / PAGE * PAGE)
			break;
	EXPECT_NE(NULL, e);
	for (e = event_first(&self->log, STM_EVENT_FAULT); e; e = event_next(&self->log, STM_EVENT_FAULT, e))
		if (STM_FAULT_ADDRESS(e->r.value) == (uintptr_t)&words[40 * STEP] / PAGE * PAGE)
			break;
	ASSERT_NE(NULL, e);
	EXPECT_EQ(STM_FAULT_WRITE, STM_FAULT_KIND(e->r.value));
	EXPECT_NE(0, e->r.site);
	EXPECT_EQ(0, e->r.thread);
}

/* Until it happens: what it takes is time, and the runner's limit ends it. */
TEST_F(events, trim)
{
	options.trim_age = 1;
	begin();
	for (int round = 0; round < 2; round++) {
		uint64_t before = stats().pages_trimmed;

		STM_ATOMIC {
			stm_memset(words, round, 64 * PAGE);
		}
		while (stats().pages_trimmed == before) {
			for (int i = 0; i < 1000; i++)
				STM_ATOMIC {
					STM_SET(*elsewhere, i);
				}
			nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL); /* longer than the age */
		}
	}
	end(_metadata, self);
	EXPECT_LE(2, event_count(&self->log, STM_EVENT_TRIM));
}

static _Atomic bool sleeping, wake;

static void *sleep_attached(void *arg)
{
	if (stm_thread_attach())
		abort();
	STM_ATOMIC {
		read_first();
	}
	atomic_store(&sleeping, true);
	while (!atomic_load(&wake))
		sched_yield();
	stm_thread_detach();
	return arg;
}

TEST_F(events, park)
{
	const struct event *e;
	pthread_t sleeper;

	begin();
	pthread_create(&sleeper, NULL, sleep_attached, NULL);
	while (!atomic_load(&sleeping))
		sched_yield();
	while (!stats().parked)
		STM_ATOMIC {
			STM_SET(*elsewhere, 1);
		}
	atomic_store(&wake, true);
	pthread_join(sleeper, NULL);
	end(_metadata, self);
	e = event_first(&self->log, STM_EVENT_PARK);
	ASSERT_NE(NULL, e);
	EXPECT_EQ(0, e->r.thread);
	EXPECT_EQ(1, e->r.value);
}

/* ---- threads, tasks ---- */

static void *attach_for_a_moment(void *arg)
{
	pthread_setname_np(pthread_self(), arg);
	if (stm_thread_attach() || stm_thread_detach())
		abort();
	return (void *)(uintptr_t)gettid();
}

TEST_F(events, threads)
{
	const struct event *e = NULL;
	pid_t first, second;
	unsigned int n = 0;

	begin();
	first = (pid_t)(uintptr_t)in_thread(attach_for_a_moment, "one");
	second = (pid_t)(uintptr_t)in_thread(attach_for_a_moment, "two");
	end(_metadata, self);
	while ((e = event_next(&self->log, STM_EVENT_THREAD, e))) {
		const struct event *last = NULL;

		if (e->r.thread != 1)
			continue;
		EXPECT_STREQ(n ? "two" : "one", event_text(e));
		EXPECT_EQ(n ? second : first, (pid_t)e->r.value);
		for (unsigned int i = 0; i <= n; i++)
			do
				last = event_next(&self->log, STM_EVENT_DETACH, last);
			while (last && last->r.thread != 1);
		ASSERT_NE(NULL, last);
		EXPECT_LE(e->r.time, last->r.time);
		n++;
	}
	EXPECT_EQ(2, n);
	EXPECT_EQ(3, event_count(&self->log, STM_EVENT_DETACH));
}

static int task(void *arg)
{
	STM_SET(words[(size_t)arg * 4], 1);
	return 0;
}

TEST_F(events, tasks)
{
	const size_t tasks = 20;
	const struct event *e = NULL;
	struct stm_queue *queue;
	size_t n = 0;

	begin();
	queue = stm_queue_new(NULL);
	ASSERT_NE(NULL, queue);
	for (size_t i = 0; i < tasks; i++)
		ASSERT_EQ(0, stm_queue_add(queue, task, (void *)i));
	EXPECT_EQ(0, stm_queue_run(queue, 2));
	EXPECT_EQ(0, stm_queue_free(queue));
	end(_metadata, self);
	EXPECT_EQ(tasks, event_count(&self->log, STM_EVENT_TASK_BEGIN));
	EXPECT_EQ(tasks, event_count(&self->log, STM_EVENT_TASK_END));
	while ((e = event_next(&self->log, STM_EVENT_TASK_END, e))) {
		EXPECT_EQ((uintptr_t)task, e->r.value);
		EXPECT_LT(0, e->r.duration);
	}
	while ((e = event_next(&self->log, STM_EVENT_COMMIT, e))) {
		const struct event *site = event_site(&self->log, e->r.site);

		n += site->r.duration == (uintptr_t)task && !*event_text(site);
	}
	EXPECT_EQ(tasks, n);
}

static const char *name_of(const struct event_log *log, uint32_t number)
{
	const struct event *site = event_site(log, number);
	const char *text = event_text(site), *end = text + site->r.more * STM_LOG_UNIT;

	for (int i = 0; i < 2; i++)
		text += strlen(text) + 1;
	return text < end ? text : "";
}

TEST_F(events, names)
{
	const struct event *e = NULL;
	unsigned int n[2] = { 0, 0 };

	begin();
	for (int i = 0; i < 3; i++) {
		STM_ATOMIC_NAMED("transfer")
			STM_SET(words[0], i);
		STM_ATOMIC
			STM_SET(words[4], i);
	}
	end(_metadata, self);
	while ((e = event_next(&self->log, STM_EVENT_COMMIT, e))) {
		const char *name = name_of(&self->log, e->r.site);

		n[0] += !strcmp(name, "transfer");
		n[1] += !*name;
	}
	EXPECT_EQ(3, n[0]);
	EXPECT_LE(3, n[1]);
}

/* Tasks that have names, and one that has none: all records of a task have the site with its function and its name. */
TEST_F(events, names_of_tasks)
{
	static const unsigned int kinds[] = { STM_EVENT_TASK_BEGIN, STM_EVENT_TASK_END, STM_EVENT_COMMIT };
	static const char *const names[] = { "even", "odd", NULL };
	struct stm_task_options options = { .size = sizeof(options) };
	struct stm_queue *queue;

	begin();
	queue = stm_queue_new(NULL);
	ASSERT_NE(NULL, queue);
	for (size_t i = 0; i < 12; i++) {
		options.name = names[i < 9 ? i % 2 : 2];
		ASSERT_EQ(0, stm_queue_add_with(queue, task, (void *)i, &options));
	}
	EXPECT_EQ(0, stm_queue_run(queue, 2));
	EXPECT_EQ(0, stm_queue_free(queue));
	end(_metadata, self);
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		unsigned int n[3] = { 0, 0, 0 };
		const struct event *e = NULL;

		while ((e = event_next(&self->log, kinds[k], e))) {
			const char *name;

			if (event_site(&self->log, e->r.site)->r.duration != (uintptr_t)task)
				continue;
			name = name_of(&self->log, e->r.site);
			n[0] += !strcmp(name, "even");
			n[1] += !strcmp(name, "odd");
			n[2] += !*name;
		}
		EXPECT_EQ(5, n[0]);
		EXPECT_EQ(4, n[1]);
		EXPECT_EQ(3, n[2]);
	}
}

/* ---- logs one after the other ---- */

TEST_F(events, again)
{
	for (int i = 0; i < 3; i++) {
		begin();
		for (int k = 0; k <= i; k++)
			STM_ATOMIC {
				STM_SET(words[0], k);
			}
		end(_metadata, self);
		EXPECT_EQ(2 + (size_t)i, event_count(&self->log, STM_EVENT_COMMIT));
		EXPECT_EQ((uint32_t)getpid(), self->log.header.pid);
		event_log_close(&self->log);
	}
}

TEST_HARNESS_MAIN
