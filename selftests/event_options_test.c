// SPDX-License-Identifier: MIT
/*
 * event_options_test.c - how the event log is asked for, what is wrong to ask for, and what it leaves out: by sampling,
 * or since the file did not keep up.
 */
#define _GNU_SOURCE
#include <glob.h>

#include "event_support.h"

static long STM *words;
static volatile long seen;      /* so that reads are not left out */

FIXTURE(options) {
	struct event_log log;
};

FIXTURE_SETUP(options)
{
	make_log_dir();
}

FIXTURE_TEARDOWN(options)
{
	event_log_close(&self->log);
	remove_log_dir();
}

static void commit_once(void)
{
	STM_ATOMIC {
		words = stm_zalloc(4096);
	}
}

/* ---- the environment, in children ---- */

struct settings {
	const char *log, *sample, *readers, *buffer;    /* in the environment */
	struct stm_options options;
	int error;                      /* of stm_init() */
};

static void set(const char *name, const char *value)
{
	if (value)
		setenv(name, value, 1);
}

static void start(void *arg)
{
	struct settings *s = arg;

	set("UFFDSTM_LOG", s->log);
	set("UFFDSTM_LOG_SAMPLE", s->sample);
	set("UFFDSTM_LOG_READERS", s->readers);
	set("UFFDSTM_LOG_BUFFER", s->buffer);
	s->options.size = sizeof(s->options);
	if (stm_init(&s->options) != s->error)
		_exit(50);
	if (s->error)
		return;
	if (stm_thread_attach())
		_exit(51);
	commit_once();
	if (stm_fini())
		_exit(52);
}

static bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

#define RUN(...) ({ struct settings s_ = { __VA_ARGS__ }; run_child(start, &s_); })
#define EXPECT_QUIET(e)                                 \
	do {                                            \
		EXPECT_TRUE(exited_with(&(e), 0));      \
		EXPECT_EQ(0, (e).lines) {               \
			printf("# %s\n", how(&(e)));    \
		}                                       \
	} while (0)

TEST_F(options, from_the_environment)
{
	struct ended e = RUN(.log = log_path, .sample = "7", .buffer = "16384");

	EXPECT_QUIET(e);
	ASSERT_TRUE(event_log_open(&self->log, log_path));
	EXPECT_TRUE(self->log.whole);
	EXPECT_EQ(7, self->log.header.sample);
}

TEST_F(options, go_before_the_environment)
{
	char other[128];
	struct ended e;

	snprintf(other, sizeof(other), "%s.other", log_path);
	e = RUN(.log = other, .sample = "7", .options.event_log = log_path, .options.event_sample = 3);
	EXPECT_QUIET(e);
	EXPECT_FALSE(exists(other));
	ASSERT_TRUE(event_log_open(&self->log, log_path));
	EXPECT_EQ(3, self->log.header.sample);
}

TEST_F(options, empty_is_none)
{
	struct ended e = RUN(.log = "", .options.event_log = "");

	EXPECT_QUIET(e);
	e = RUN(.sample = "no number", .readers = "neither"); /* without a log nobody looks */
	EXPECT_QUIET(e);
}

/* ---- a program with more rights than its user ---- */

#define STARTED "UFFDSTM_TEST_STARTED"  /* in the environment: a log that the program itself asks for, or empty */
#define OTHER_GROUP 65534
#define NO_GROUP 53
#define NO_LIBRARY 127                  /* ld.so(8) */

/* This program again, by start_anew(). */
static void __attribute__((__constructor__)) be_started(void)
{
	const char *log = getenv(STARTED);
	struct stm_options options = STM_OPTIONS_INIT;
	int error;

	if (!log)
		return;
	options.event_log = log;
	error = stm_init(&options);
	if (error)
		_exit(-error);
	if (stm_thread_attach())
		_exit(51);
	commit_once();
	_exit(stm_fini() ? 52 : 0);
}

struct anew {
	const char *name, *value;       /* in the environment */
	const char *log;                /* what it asks for itself */
	bool has_more_rights;
};

static void start_anew(void *arg)
{
	const struct anew *anew = arg;

	setenv(anew->name, anew->value, 1);
	setenv(STARTED, anew->log, 1);
	/* exec(2) finds another effective group than the user's, as that of a set-group-id file. */
	if (anew->has_more_rights && setresgid(OTHER_GROUP, (gid_t)-1, (gid_t)-1))
		_exit(NO_GROUP);
	execl("/proc/self/exe", "event_options_test", (char *)NULL);
	_exit(54);
}

#define START_ANEW(...) ({ struct anew anew_ = { __VA_ARGS__ }; run_child(start_anew, &anew_); })

TEST_F(options, not_of_a_user_with_fewer_rights)
{
	struct ended e;

	if (geteuid())
		SKIP(return, "this takes root");
	e = START_ANEW("UFFDSTM_LOG", log_path, "", false);
	EXPECT_QUIET(e);
	EXPECT_TRUE(exists(log_path));
	ASSERT_EQ(0, unlink(log_path));
	e = START_ANEW("UFFDSTM_LOG", log_path, "", true);
	if (exited_with(&e, NO_GROUP))
		SKIP(return, "this user namespace has no other group");
	if (exited_with(&e, NO_LIBRARY) && getenv("LD_LIBRARY_PATH"))
		SKIP(return, "the library is found by LD_LIBRARY_PATH, which such a process does not look at");
	EXPECT_QUIET(e);
	EXPECT_FALSE(exists(log_path));

	e = START_ANEW("UFFDSTM_LOG_SAMPLE", "no number", log_path, false);
	EXPECT_TRUE(exited_with(&e, EINVAL));
	e = START_ANEW("UFFDSTM_LOG_SAMPLE", "no number", log_path, true);
	EXPECT_QUIET(e);
	EXPECT_TRUE(exists(log_path));
}

TEST_F(options, number_of_the_process)
{
	char path[128];
	struct ended e;
	glob_t found;

	snprintf(path, sizeof(path), "%s.%%p.x", log_path);
	e = RUN(.log = path);
	EXPECT_QUIET(e);
	snprintf(path, sizeof(path), "%s.*", log_path);
	ASSERT_EQ(0, glob(path, 0, NULL, &found));
	ASSERT_EQ(1, found.gl_pathc);
	ASSERT_TRUE(event_log_open(&self->log, found.gl_pathv[0]));
	snprintf(path, sizeof(path), "%s.%u.x", log_path, self->log.header.pid);
	EXPECT_STREQ(path, found.gl_pathv[0]);
	globfree(&found);
}

TEST_F(options, bad_ones)
{
	static const struct {
		struct settings settings;
		const char *says;
	} bad[] = {
		{ { .sample = "0" }, "UFFDSTM_LOG_SAMPLE=0" },
		{ { .sample = "1000001" }, "UFFDSTM_LOG_SAMPLE=1000001" },
		{ { .sample = "-1" }, "UFFDSTM_LOG_SAMPLE=-1" },
		{ { .sample = "16x" }, "UFFDSTM_LOG_SAMPLE=16x" },
		{ { .sample = " 16" }, "UFFDSTM_LOG_SAMPLE= 16" },
		{ { .sample = "99999999999999999999999" }, "UFFDSTM_LOG_SAMPLE=9" },
		{ { .readers = "2" }, "UFFDSTM_LOG_READERS=2" },
		{ { .readers = "yes" }, "UFFDSTM_LOG_READERS=yes" },
		{ { .buffer = "16383" }, "UFFDSTM_LOG_BUFFER=16383" },
		{ { .buffer = "268435457" }, "UFFDSTM_LOG_BUFFER=268435457" },
		{ { .options.event_sample = 1000001 }, "event_sample = 1000001" },
		{ { .options.event_readers = 2 }, "event_readers = 2" },
		{ { .options.event_buffer = 1 }, "event_buffer = 1" },
	};

	for (size_t i = 0; i < COUNT(bad); i++) {
		struct settings s = bad[i].settings;
		struct ended e;

		s.log = log_path;
		s.error = -EINVAL;
		e = run_child(start, &s);
		EXPECT_TRUE(exited_with(&e, 0) && said(&e, bad[i].says, "EINVAL"))
			printf("# %s: %s\n", bad[i].says, how(&e));
		EXPECT_FALSE(exists(log_path));
	}
}

/* Asked for by the environment, it is no reason not to run. By the program: it is told. */
TEST_F(options, file_that_cannot_be_made)
{
	char path[128];
	struct ended e;

	snprintf(path, sizeof(path), "%s/none/log", log_dir);
	e = RUN(.log = path);
	EXPECT_TRUE(exited_with(&e, 0) && said(&e, path, "ENOENT"))
		printf("# %s\n", how(&e));
	e = RUN(.options.event_log = path, .error = -ENOENT);
	EXPECT_TRUE(exited_with(&e, 0) && said(&e, path, "ENOENT"))
		printf("# %s\n", how(&e));
}

/* Two programs that step would step on each other. */
TEST_F(options, readers_and_strict_mode)
{
	struct ended e;

	setenv("UFFDSTM_STRICT", "1", 1);
	unsetenv("UFFDSTM_ENGINE"); /* it would say that it runs with sigbus */
	e = RUN(.log = log_path, .readers = "1");
	unsetenv("UFFDSTM_STRICT");
	EXPECT_TRUE(exited_with(&e, 0) && said(&e, "UFFDSTM_LOG_READERS", "UFFDSTM_STRICT"))
		printf("# %s\n", how(&e));
	ASSERT_TRUE(event_log_open(&self->log, log_path));
	EXPECT_TRUE(self->log.whole);
}

/* ---- sampling ---- */

#define MANY 20000

TEST_F(options, sampling)
{
	static const unsigned int samples[] = { 2, 7, 100 };

	for (size_t i = 0; i < COUNT(samples); i++) {
		struct stm_options options = options_for_log();
		uint64_t sum;

		options.event_sample = samples[i];
		options.event_buffer = (size_t)4 << 20;
		record_with(&options);
		commit_once();
		for (int k = 0; k < MANY; k++) {
			STM_ATOMIC {
				STM_SET(words[0], k);
			}
			STM_ATOMIC {
				seen = STM_GET(words[0]);
			}
		}
		ASSERT_EQ(0, stm_fini());
		ASSERT_TRUE(event_log_open(&self->log, log_path));
		EXPECT_EQ(samples[i], self->log.header.sample);
		for (const struct event *e = NULL; (e = event_next(&self->log, STM_EVENT_COMMIT, e));)
			ASSERT_EQ(samples[i], STM_COMMIT_WEIGHT(e->r.value));
		/* The same each time: the generator starts the same. */
		sum = event_commits(&self->log, STM_EVENT_COMMIT) + event_commits(&self->log, STM_EVENT_READ_ONLY);
		EXPECT_LT(2 * MANY * 9 / 10, sum);
		EXPECT_GT(2 * MANY * 11 / 10, sum);
		/* Work that comes round in twos is no matter. */
		EXPECT_LT(MANY * 8 / 10, event_commits(&self->log, STM_EVENT_COMMIT));
		EXPECT_GT(MANY * 12 / 10, event_commits(&self->log, STM_EVENT_COMMIT));
		event_log_close(&self->log);
	}
}

static void read_word(void)
{
	seen = STM_GET(words[0]);
}

static void write_word(void)
{
	STM_SET(words[1], 1);
}

/* Whatever fails is told, and so is the attempt that makes up for it; only how long the first took is not known. */
TEST_F(options, sampling_leaves_no_abort_out)
{
	struct stm_options options = options_for_log();
	unsigned int untimed = 0, retries = 0;
	const struct event *e = NULL;
	struct stm_stats s;

	options.event_sample = 1000000;
	record_with(&options);
	STM_ATOMIC {
		words = stm_zalloc(4096);
		elsewhere = stm_zalloc(16);
	}
	for (int i = 0; i < 10; i++) {
		struct duel duel = { .read = read_word, .write = write_word };

		fight(&duel);
	}
	s = stats();
	ASSERT_EQ(0, stm_fini());
	ASSERT_TRUE(event_log_open(&self->log, log_path));
	EXPECT_EQ(10, s.aborts[STM_ABORT_CONFLICT]);
	EXPECT_EQ(10, event_aborts(&self->log, STM_ABORT_CONFLICT));
	while ((e = event_next(&self->log, STM_EVENT_ABORT, e))) {
		EXPECT_NE(NULL, event_conflict(e));
		untimed += STM_ABORT_UNTIMED(e->r.value) && !e->r.duration;
	}
	EXPECT_EQ(10, untimed);
	while ((e = event_next(&self->log, STM_EVENT_COMMIT, e)))
		retries += STM_COMMIT_WEIGHT(e->r.value) == 1;
	EXPECT_EQ(10, retries);
}

/* ---- records that find no room ---- */

static size_t all_of(const struct event_log *log, unsigned int thread)
{
	size_t n = 0;

	for (size_t i = 0; i < log->n; i++)
		n += log->events[i].r.thread == thread && log->events[i].r.kind >= STM_EVENT_COMMIT &&
		     log->events[i].r.kind < STM_EVENT_DROPPED;
	return n;
}

/*
 * A transaction takes less time than the flusher needs for 512 units to be written, so many are lost; each is counted,
 * those at the end, too, whether the thread leaves, or the library or the program ends.
 */
static void drop(bool detach, bool fini)
{
	struct stm_options options = options_for_log();

	options.event_buffer = 16384;
	record_with(&options);
	commit_once();
	for (int i = 0; i < 300000; i++)
		STM_ATOMIC {
			seen = STM_GET(words[0]);
		}
	if ((detach && stm_thread_detach()) || (fini && stm_fini()))
		_exit(60);
	exit(0);
}

static void drop_and_detach(void *arg)
{
	(void)arg;
	drop(true, true);
}

static void drop_and_end(void *arg)
{
	(void)arg;
	drop(false, true);
}

static void drop_and_exit(void *arg)
{
	(void)arg;
	drop(false, false);
}

static uint64_t produced(struct __test_metadata *_metadata, FIXTURE_DATA(options) *self, void (*fn)(void *arg))
{
	struct ended e = run_child(fn, NULL);
	uint64_t n;

	EXPECT_QUIET(e);
	EXPECT_TRUE(event_log_open(&self->log, log_path));
	EXPECT_TRUE(self->log.whole);
	EXPECT_LT(0, event_sum(&self->log, STM_EVENT_DROPPED));
	n = all_of(&self->log, 0) + event_sum(&self->log, STM_EVENT_DROPPED);
	event_log_close(&self->log);
	return n;
}

TEST_F(options, dropped_records_are_counted)
{
	uint64_t n = produced(_metadata, self, drop_and_detach);

	/* The faults, and what else the first transaction makes, are the same each time. */
	EXPECT_LT(300000, n);
	EXPECT_GT(300100, n);
	EXPECT_EQ(n, produced(_metadata, self, drop_and_end));
	EXPECT_EQ(n - 1, produced(_metadata, self, drop_and_exit)); /* nobody detached */
}

TEST_HARNESS_MAIN
