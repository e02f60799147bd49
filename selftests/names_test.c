// SPDX-License-Identifier: MIT
/*
 * names_test.c - named transactions: what stm_stats_by_name() tells of them, all of it known by construction.
 */
#include <errno.h>
#include <time.h>

#include <uffdstm.h>

#include "support.h"

#define WORDS 4096
#define NAMES_MOST 32u
#define TIMED 64                /* of lib/names.c: so many transactions are timed to begin with */

/* Numbers in the heap, a granule each. */
struct cell {
	long value;
	long unused;
};

static struct cell STM *cells;

static struct stm_name_stats table[NAMES_MOST];

static int names_n(void)
{
	return stm_stats_by_name(table, NAMES_MOST, sizeof(table[0]));
}

/* NULL: it is not there. */
static const struct stm_name_stats *by_name(const char *name)
{
	int n = names_n();

	for (int i = 0; i < n; i++)
		if (table[i].name && !strcmp(table[i].name, name))
			return &table[i];
	return NULL;
}

static struct stm_stats stats(void)
{
	struct stm_stats s;

	if (stm_stats(&s, sizeof(s)))
		abort();
	return s;
}

/* Read cells [0, reads), write the first @writes behind cell 1,000. */
struct work {
	long reads, writes;
};

static int do_work(void *arg)
{
	const struct work *work = arg;
	UNUSED volatile long sum = 0;

	for (long i = 0; i < work->reads; i++)
		sum += STM_GET(cells[i].value);
	for (long i = 0; i < work->writes; i++)
		STM_SET(cells[1000 + i].value, i);
	return 0;
}

static void start(uint64_t unnamed)
{
	struct stm_options options = STM_OPTIONS_INIT;
	int error;

	options.heap_size = (size_t)64 << 20;
	options.stats_unnamed = unnamed;
	error = stm_init(&options);
	if (!error)
		error = stm_thread_attach();
	if (error)
		abort();
	STM_ATOMIC {
		cells = stm_zalloc(WORDS * sizeof(*cells));
	}
}

FIXTURE(names) {
};

FIXTURE_SETUP(names)
{
	unsetenv("UFFDSTM_STATS");
	start(0);
}

FIXTURE_TEARDOWN(names)
{
	EXPECT_EQ(0, stm_fini());
}

/* ---- what is counted ---- */

TEST_F(names, nothing_without_a_name)
{
	struct work work = { 3, 2 };

	EXPECT_EQ(0, stm_atomic(do_work, &work));
	EXPECT_EQ(0, names_n());
}

TEST_F(names, commits_and_sets)
{
	struct work small = { 3, 2 }, large = { 10, 7 }, reads = { 5, 0 };
	struct stm_stats before = stats();
	const struct stm_name_stats *s;

	EXPECT_EQ(0, stm_atomic_named(do_work, &small, "both"));
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(0, stm_atomic_named(do_work, &large, "both"));
	for (int i = 0; i < 5; i++)
		EXPECT_EQ(0, stm_atomic_named(do_work, &reads, "reads"));
	EXPECT_EQ(2, names_n());

	s = by_name("both");
	ASSERT_NE(NULL, s);
	EXPECT_EQ(4, s->commits);
	EXPECT_EQ(0, s->commits_read_only);
	EXPECT_EQ(7, s->write_set_most);
	EXPECT_TRUE(s->write_set_mean == (2 + 3 * 7) / 4.0);
	/* What is written counts as read. Two sites: the first commit of each is looked at, and the third of the second. */
	EXPECT_EQ(17, s->read_set_most);
	EXPECT_EQ(1, s->attempts_most);
	EXPECT_EQ(0, s->lost_ns);
	EXPECT_EQ(0, s->waited_ns);
	EXPECT_TRUE(s->task == NULL);
	EXPECT_STREQ(__FILE__, s->site->file);
	EXPECT_STREQ("both", s->site->name);

	s = by_name("reads");
	ASSERT_NE(NULL, s);
	EXPECT_EQ(0, s->commits);
	EXPECT_EQ(5, s->commits_read_only);
	EXPECT_EQ(0, s->write_set_most);
	EXPECT_TRUE(s->write_set_mean == 0);
	EXPECT_TRUE(s->read_set_mean == 5);
	EXPECT_EQ(5, s->read_set_most);
	EXPECT_LE(1, s->read_set_samples);
	EXPECT_GE(5, s->read_set_samples);
	for (unsigned int i = 0; i < STM_ABORT_REASONS; i++)
		EXPECT_EQ(0, s->aborts[i]);

	/* Nothing else changes. */
	EXPECT_EQ(before.commits + 4, stats().commits);
	EXPECT_EQ(before.commits_read_only + 5, stats().commits_read_only);
}

TEST_F(names, blocks)
{
	const struct stm_name_stats *s;
	UNUSED volatile long sum = 0;

	for (int i = 0; i < 3; i++)
		STM_ATOMIC_NAMED("block") {
			sum += STM_GET(cells[7].value);
			STM_SET(cells[8].value, i);
			STM_ATOMIC_NAMED("inner") {
				STM_SET(cells[9].value, i);
			}
		}
	s = by_name("block");
	ASSERT_NE(NULL, s);
	EXPECT_EQ(3, s->commits);
	EXPECT_TRUE(s->write_set_mean == 2);
	EXPECT_TRUE(s->read_set_mean == 3);
	/* The inner one is a part of it, and no transaction. */
	EXPECT_EQ(1, names_n());
	/* One that has no name is not counted with the last that had one. */
	STM_ATOMIC {
		STM_SET(cells[8].value, 5);
	}
	EXPECT_EQ(3, by_name("block")->commits);
	EXPECT_EQ(1, names_n());
}

/* Each granule is a run of its own, in the log; and none counts twice. */
TEST_F(names, scattered)
{
	const struct stm_name_stats *s;

	STM_ATOMIC_NAMED("scattered") {
		for (int i = 0; i < 6; i++) {
			STM_SET(cells[100 + 3 * i].value, i);
			STM_SET(cells[100 + 3 * i].unused, i);
		}
	}
	s = by_name("scattered");
	ASSERT_NE(NULL, s);
	EXPECT_EQ(6, s->write_set_most);
	EXPECT_EQ(6, s->read_set_most);
}

/* Memory that is allocated counts as a whole. */
TEST_F(names, fresh_memory)
{
	const struct stm_name_stats *s;

	STM_ATOMIC_NAMED("fresh") {
		char STM *p = stm_alloc(160);

		STM_SET(*p, 1);
	}
	s = by_name("fresh");
	ASSERT_NE(NULL, s);
	EXPECT_EQ(10, s->write_set_most);
	EXPECT_EQ(10, s->read_set_most);
}

/* More commits than are looked at: all that are looked at are the same. */
TEST_F(names, read_sets_are_sampled)
{
	struct work work = { 100, 1 };
	const struct stm_name_stats *s;
	unsigned int n = 20000 / strict_divisor();

	for (unsigned int i = 0; i < n; i++)
		stm_atomic_named(do_work, &work, "often");
	s = by_name("often");
	ASSERT_NE(NULL, s);
	EXPECT_EQ(n, s->commits);
	EXPECT_TRUE(s->read_set_mean == 101);
	EXPECT_EQ(101, s->read_set_most);
	EXPECT_LE(1, s->read_set_samples);
	EXPECT_GE(9 + 20 * (n / 1024 + 1), s->read_set_samples);
	EXPECT_TRUE(s->write_set_mean == 1);
}

/* It is not told when one is looked at; but when it was. */
TEST_F(names, the_mean_of_read_sets)
{
	struct work work[] = { { 3, 0 }, { 100, 1 }, { 10, 7 } };
	const struct stm_name_stats *s = NULL;
	double sum = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(work); i++) {
		do {
			EXPECT_EQ(0, stm_atomic_named(do_work, &work[i], "several"));
			s = by_name("several");
			ASSERT_NE(NULL, s);
		} while (s->read_set_samples == i);
		ASSERT_EQ(i + 1, s->read_set_samples);
		sum += (double)(work[i].reads + work[i].writes);
		EXPECT_TRUE(s->read_set_mean == sum / (i + 1));
		EXPECT_EQ(i ? 101 : 3, s->read_set_most);
	}
	EXPECT_EQ(7, s->write_set_most);
}

/* ---- attempts that fail ---- */

static volatile int attempts, spoilt;

static void *add_to_cell_0(void *arg)
{
	if (stm_thread_attach())
		abort();
	STM_ATOMIC {
		STM_SET(cells[0].value, STM_GET(cells[0].value) + 100);
	}
	if (stm_thread_detach())
		abort();
	return arg;
}

static void sleep_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL);
}

#define ATTEMPT_MS 20

/* The first @spoilt attempts are in vain. Each takes ATTEMPT_MS at least. */
static int victim(void *arg)
{
	long value = STM_GET(cells[0].value);

	sleep_ms(ATTEMPT_MS);
	if (attempts++ < spoilt)
		in_thread(add_to_cell_0, NULL);
	STM_SET(cells[1].value, value);
	return arg ? *(int *)arg : 0;
}

#define MS 1000000u

static void be_victim(int times)
{
	attempts = 0;
	spoilt = times;
	stm_atomic_named(victim, NULL, "victim");
}

TEST_F(names, conflicts_and_the_time_lost)
{
	const struct stm_name_stats *s;

	be_victim(2);
	s = by_name("victim");
	ASSERT_NE(NULL, s);
	EXPECT_EQ(1, s->commits);
	EXPECT_EQ(3, s->attempts_most);
	EXPECT_EQ(2, s->aborts[STM_ABORT_CONFLICT] + s->aborts[STM_ABORT_VALIDATE]);
	EXPECT_LE(2 * ATTEMPT_MS * MS, s->lost_ns);
	EXPECT_LT(0, s->waited_ns);
	/* What is undone is neither written nor committed. */
	EXPECT_TRUE(s->write_set_mean == 1);
}

/* A first attempt that is not timed, since none failed for long, counts as long as the next one. */
TEST_F(names, an_attempt_that_was_not_timed)
{
	const struct stm_name_stats *s;
	volatile int tries = 0;

	for (int i = 0; i < TIMED + 2; i++) {
		STM_ATOMIC_NAMED("late") {
			long value = STM_GET(cells[0].value);

			if (i == TIMED) {
				sleep_ms(ATTEMPT_MS);
				if (tries++ < 1)
					in_thread(add_to_cell_0, NULL);
			}
			STM_SET(cells[1].value, value);
		}
	}
	s = by_name("late");
	ASSERT_NE(NULL, s);
	EXPECT_EQ(TIMED + 2, s->commits);
	EXPECT_EQ(1, s->aborts[STM_ABORT_CONFLICT] + s->aborts[STM_ABORT_VALIDATE]);
	EXPECT_EQ(2, s->attempts_most);
	EXPECT_LE(ATTEMPT_MS * MS, s->lost_ns);
}

static int cancel_or_restart(void *arg)
{
	sleep_ms(ATTEMPT_MS);
	STM_SET(cells[2].value, 1);
	if (attempts++ < *(int *)arg)
		stm_restart();
	return 5;
}

TEST_F(names, restarts_and_cancels)
{
	const struct stm_name_stats *s;
	int restarts = 0;

	attempts = 0;
	EXPECT_EQ(5, stm_atomic_named(cancel_or_restart, &restarts, "cancelled"));
	s = by_name("cancelled");
	ASSERT_NE(NULL, s);
	EXPECT_EQ(0, s->commits);
	EXPECT_EQ(1, s->aborts[STM_ABORT_CANCEL]);
	/* It was wanted. */
	EXPECT_EQ(0, s->lost_ns);
	EXPECT_EQ(0, s->waited_ns);

	attempts = 0;
	restarts = 10; /* past the right of way */
	EXPECT_EQ(5, stm_atomic_named(cancel_or_restart, &restarts, "restarted"));
	s = by_name("restarted");
	ASSERT_NE(NULL, s);
	EXPECT_EQ(10, s->aborts[STM_ABORT_RESTART]);
	EXPECT_EQ(1, s->aborts[STM_ABORT_CANCEL]);
	EXPECT_EQ(11, s->attempts_most);
	EXPECT_LE(10 * ATTEMPT_MS * MS, s->lost_ns);
}

/* Found doomed as it becomes inevitable. */
static int become_inevitable(void *arg)
{
	long value = STM_GET(cells[0].value);

	(void)arg;
	if (attempts++ < 3)
		in_thread(add_to_cell_0, NULL);
	if (stm_become_inevitable("test"))
		abort();
	STM_SET(cells[1].value, value);
	return 0;
}

/* The thread ends inside of it. */
static void *exit_inside(void *arg)
{
	if (stm_thread_attach())
		abort();
	STM_ATOMIC_NAMED("exits") {
		STM_SET(cells[5].value, 1);
		pthread_exit(arg);
	}
	return arg;
}

TEST_F(names, other_reasons)
{
	const struct stm_name_stats *s;

	attempts = 0;
	EXPECT_EQ(0, stm_atomic_named(become_inevitable, NULL, "inevitable"));
	s = by_name("inevitable");
	ASSERT_NE(NULL, s);
	EXPECT_EQ(1, s->commits);
	EXPECT_EQ(3, s->aborts[STM_ABORT_INEVITABLE]);
	EXPECT_EQ(4, s->attempts_most);
	EXPECT_LT(0, s->lost_ns);
	in_thread(exit_inside, NULL);
	s = by_name("exits");
	ASSERT_NE(NULL, s);
	EXPECT_EQ(0, s->commits);
	EXPECT_EQ(1, s->aborts[STM_ABORT_EXIT]);
	EXPECT_EQ(0, s->lost_ns);
}

static int wait_for_cell_0(void *arg)
{
	(void)arg;
	if (!STM_GET(cells[0].value)) {
		in_thread(add_to_cell_0, NULL);
		stm_retry();
	}
	return 0;
}

/* Nor is a wait lost time. */
TEST_F(names, waits)
{
	const struct stm_name_stats *s;

	EXPECT_EQ(0, stm_atomic_named(wait_for_cell_0, NULL, "waits"));
	s = by_name("waits");
	ASSERT_NE(NULL, s);
	EXPECT_EQ(1, s->commits_read_only);
	EXPECT_EQ(1, s->aborts[STM_ABORT_RETRY]);
	EXPECT_EQ(0, s->lost_ns);
	EXPECT_EQ(0, s->waited_ns);
}

TEST_F(names, who_lost_most_comes_first)
{
	struct work work = { 1, 1 };
	int restarts = 1;

	for (int i = 0; i < 100; i++)
		stm_atomic_named(do_work, &work, "many");
	stm_atomic_named(do_work, &work, "one");
	attempts = 0;
	stm_atomic_named(cancel_or_restart, &restarts, "lost");
	ASSERT_EQ(3, names_n());
	EXPECT_STREQ("lost", table[0].name);
	EXPECT_STREQ("many", table[1].name);
	EXPECT_STREQ("one", table[2].name);
}

/* ---- threads ---- */

#define ROUNDS 5000

static void *run_rounds(void *arg)
{
	unsigned int n = ROUNDS / strict_divisor();

	if (stm_thread_attach())
		abort();
	for (unsigned int i = 0; i < n; i++) {
		STM_ATOMIC_NAMED("count") {
			STM_SET(cells[3].value, STM_GET(cells[3].value) + 1);
		}
	}
	STM_ATOMIC_NAMED("count") {
		STM_SET(cells[4].value, STM_GET(cells[4].value) + 1);
	}
	if (stm_thread_detach())
		abort();
	return arg;
}

static volatile bool quit;

static void *keep_asking(void *arg)
{
	struct stm_name_stats some[2];
	uint64_t last = 0;

	while (!quit) {
		int n = stm_stats_by_name(some, 2, sizeof(some[0]));

		if (n < 0 || (n > 0 && some[0].commits < last))
			abort();
		last = n > 0 ? some[0].commits : 0;
	}
	return arg;
}

/* Figures of threads are added up, whatever became of the threads. */
TEST_F(names, threads)
{
	unsigned int n = ROUNDS / strict_divisor() + 1;
	uint64_t aborts = 0;
	pthread_t threads[2], asker;
	struct stm_stats before = stats(), now;
	const struct stm_name_stats *s;

	quit = false;
	ASSERT_EQ(0, pthread_create(&asker, NULL, keep_asking, NULL));
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, run_rounds, NULL));
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	quit = true;
	pthread_join(asker, NULL);
	now = stats();
	EXPECT_EQ(1, names_n());
	s = by_name("count");
	ASSERT_NE(NULL, s);
	EXPECT_EQ(2 * n, s->commits);
	for (unsigned int i = 0; i < STM_ABORT_REASONS; i++) {
		EXPECT_EQ(now.aborts[i] - before.aborts[i], s->aborts[i]);
		aborts += s->aborts[i];
	}
	EXPECT_EQ(aborts == 0, s->lost_ns == 0);
	EXPECT_TRUE(s->write_set_mean == 1);
	EXPECT_EQ(1, s->read_set_most);
	TH_LOG("%llu commits, %llu aborts", (unsigned long long)s->commits, (unsigned long long)aborts);
}

/* ---- all transactions ---- */

static int add_task(void *arg)
{
	STM_SET(cells[(long)(intptr_t)arg].value, 1);
	return 0;
}

static void run_unnamed(void)
{
	struct work work = { 2, 1 };
	struct stm_queue *q = stm_queue_new(NULL);

	for (int i = 0; i < 3; i++)
		stm_atomic(do_work, &work);
	stm_atomic_named(do_work, &work, "named");
	for (intptr_t i = 0; i < 4; i++)
		stm_queue_add(q, add_task, (void *)i);
	if (stm_queue_run(q, 1) || stm_queue_free(q))
		abort();
}

static const struct stm_name_stats *by_task(stm_fn *fn)
{
	int n = names_n();

	for (int i = 0; i < n; i++)
		if (table[i].task == fn)
			return &table[i];
	return NULL;
}

static const struct stm_name_stats *by_function(const char *function)
{
	int n = names_n();

	for (int i = 0; i < n; i++)
		if (!table[i].name && !strcmp(table[i].site->function, function))
			return &table[i];
	return NULL;
}

TEST(unnamed_ones_on_request)
{
	unsetenv("UFFDSTM_STATS");
	start(1);
	run_unnamed();
	/* start() has one, too. */
	EXPECT_EQ(4, names_n());
	ASSERT_NE(NULL, by_function("run_unnamed"));
	EXPECT_EQ(3, by_function("run_unnamed")->commits);
	EXPECT_TRUE(by_function("run_unnamed")->read_set_mean == 3);
	ASSERT_NE(NULL, by_name("named"));
	EXPECT_EQ(1, by_name("named")->commits);
	ASSERT_NE(NULL, by_task(add_task));
	EXPECT_EQ(4, by_task(add_task)->commits);
	EXPECT_EQ(0, stm_fini());
	/* Nothing is left. */
	start(0);
	EXPECT_EQ(0, names_n());
	run_unnamed();
	EXPECT_EQ(1, names_n());
	EXPECT_EQ(0, stm_fini());
}

TEST(asked_for_by_the_environment)
{
	setenv("UFFDSTM_STATS", "1", 1);
	start(0);
	run_unnamed();
	EXPECT_EQ(4, names_n());
	EXPECT_EQ(0, stm_fini());
	setenv("UFFDSTM_STATS", "0", 1);
	start(0);
	run_unnamed();
	EXPECT_EQ(1, names_n());
	EXPECT_EQ(0, stm_fini());
}

static void bad_environment(void *arg)
{
	int error;

	setenv("UFFDSTM_STATS", arg, 1);
	error = stm_init(NULL);
	if (error != -EINVAL)
		_exit(1);
	unsetenv("UFFDSTM_STATS");
	error = stm_init(NULL);
	_exit(error ? 2 : 0);
}

TEST(asked_for_by_nonsense)
{
	struct ended e = run_child(bad_environment, "yes");

	EXPECT_TRUE(exited_with(&e, 0)) TH_LOG("%s", how(&e));
	EXPECT_TRUE(said(&e, "UFFDSTM_STATS=yes", "0 or 1")) TH_LOG("%s", how(&e));
	e = run_child(bad_environment, "10");
	EXPECT_TRUE(said(&e, "UFFDSTM_STATS=10", "0 or 1")) TH_LOG("%s", how(&e));
}

/* ---- the call ---- */

TEST(errors)
{
	struct stm_options options = STM_OPTIONS_INIT;

	EXPECT_EQ(-ENXIO, stm_stats_by_name(table, 1, sizeof(table[0])));
	EXPECT_EQ(-EINVAL, stm_stats_by_name(NULL, 1, sizeof(table[0])));
	EXPECT_EQ(-EINVAL, stm_stats_by_name(table, 1, 0));
	options.stats_unnamed = 2;
	EXPECT_EQ(-EINVAL, stm_init(&options));
}

TEST_F(names, sizes)
{
	struct work work = { 1, 1 };
	struct {
		struct stm_name_stats known;
		uint64_t unknown;
	} larger[2];
	const char *smaller[3];

	stm_atomic_named(do_work, &work, "a");
	stm_atomic_named(do_work, &work, "a");
	stm_atomic_named(do_work, &work, "b");
	EXPECT_EQ(2, stm_stats_by_name(NULL, 0, sizeof(table[0])));
	memset(larger, 0xff, sizeof(larger));
	EXPECT_EQ(2, stm_stats_by_name(&larger[0].known, 2, sizeof(larger[0])));
	EXPECT_STREQ("a", larger[0].known.name);
	EXPECT_EQ(2, larger[0].known.commits);
	EXPECT_STREQ("b", larger[1].known.name);
	EXPECT_EQ(0, larger[0].unknown + larger[1].unknown);
	smaller[1] = smaller[2] = "untouched";
	EXPECT_EQ(2, stm_stats_by_name((struct stm_name_stats *)(void *)smaller, 1, sizeof(smaller[0])));
	EXPECT_STREQ("a", smaller[0]);
	EXPECT_STREQ("untouched", smaller[1]);
}

TEST_HARNESS_MAIN
