// SPDX-License-Identifier: MIT
/*
 * progress_test.c - every transaction ends: against streams of others, inevitable ones, threads
 * that sleep, and a log that is full.
 */
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "kselftest_harness.h"
#include "steps.h"

/* A machine that is busy with other things is slow: the runner's limit is the only one. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 280

#define ATTEMPTS 4u             /* then a transaction gets right of way */
#define LOG_LIMIT ((size_t)4 << 20)
#define WORDS 512u              /* a page */

FIXTURE(progress) {
	struct actor a, b, c, d;
	word_t words;
};

FIXTURE_SETUP(progress)
{
	struct stm_options options = STM_OPTIONS_INIT;

	options.trim_age = STM_TRIM_NEVER; /* page states are looked at, however long it takes */
	options.attempts = ATTEMPTS;
	options.log_limit = LOG_LIMIT;
	ASSERT_EQ(0, stm_init(&options));
	self->words = words_new(8);
	actor_start(&self->a);
	actor_start(&self->b);
	actor_start(&self->c);
	actor_start(&self->d);
}

FIXTURE_TEARDOWN(progress)
{
	stm_schedule_hook = NULL;
	actor_end(&self->a);
	actor_end(&self->b);
	actor_end(&self->c);
	actor_end(&self->d);
	EXPECT_EQ(0, schedule_failures());
	EXPECT_EQ(0, stm_fini());
}

static struct stm_stats stats(void)
{
	struct stm_stats now;

	stm_stats(&now, sizeof(now));
	return now;
}

/* ---- streams ---- */

/* Short transactions, one behind the other, until told to stop or @limit are done. */
struct stream {
	word_t words;
	uint64_t random, limit;
	bool inevitable;
	_Atomic uint64_t done;
	_Atomic int quit;
	word_t word;
};

static int increment(void *arg)
{
	struct stream *stream = arg;

	stream->word = word_at(stream->words, 0, next_random(&stream->random) % WORDS);
	if (stream->inevitable)
		stm_become_inevitable("a stream");
	STM_SET(*stream->word, STM_GET(*stream->word) + 1);
	return 0;
}

static void stream_job(void *arg)
{
	struct stream *stream = arg;

	while (!atomic_load(&stream->quit) &&
	       (!stream->limit || atomic_load(&stream->done) < stream->limit)) {
		stm_atomic(increment, stream);
		atomic_fetch_add(&stream->done, 1);
	}
}

static void start_stream(struct actor *actor, struct stream *stream, word_t words)
{
	stream->words = words;
	stream->random = 88172645463325252u + actor->id;
	actor_do(actor, stream_job, stream);
}

/* ---- a long transaction ---- */

struct sweep {
	word_t words;
	struct stream *streams;         /* two; NULL: do not wait for them */
	unsigned int attempts;
	uint64_t sum;
};

static uint64_t commits_of(struct sweep *sweep)
{
	return atomic_load(&sweep->streams[0].done) + atomic_load(&sweep->streams[1].done);
}

/*
 * Read all words, and write one. Each attempt that may be overtaken is: others commit after its begin, to words that it
 * reads. Not after its reads: where these are slow the log may be full by then, and the others wait for this one.
 */
static int sweep_once(void *arg)
{
	struct sweep *sweep = arg;
	uint64_t before = sweep->streams ? commits_of(sweep) : 0;

	sweep->attempts++;
	sweep->sum = 0;
	for (size_t i = 0; i < WORDS; i++)
		sweep->sum += +STM_GET(*word_at(sweep->words, 0, i));
	if (sweep->streams && stm__self->inevitable == STM_UNDOABLE)
		while (commits_of(sweep) < before + 4) /* two of them may have been published before the begin */
			sched_yield();
	STM_SET(*word_at(sweep->words, 1, 0), sweep->sum);
	return 0;
}

static void sweep_job(void *arg)
{
	stm_atomic(sweep_once, arg);
}

TEST_F(progress, a_long_transaction_gets_right_of_way)
{
	struct stream streams[2];

	memset(streams, 0, sizeof(streams));
	start_stream(&self->a, &streams[0], self->words);
	start_stream(&self->b, &streams[1], self->words);
	for (unsigned int i = 0; i < 20; i++) {
		struct sweep sweep = { .words = self->words, .streams = streams };
		uint64_t before = commits_of(&sweep);

		actor_run(&self->c, sweep_job, &sweep);
		EXPECT_EQ(ATTEMPTS + 1, sweep.attempts);
		EXPECT_LE(before, sweep.sum);
	}
	atomic_store(&streams[0].quit, 1);
	atomic_store(&streams[1].quit, 1);
	actor_wait(&self->a);
	actor_wait(&self->b);
	EXPECT_LE(20, stats().inevitable);
	EXPECT_LE(20 * ATTEMPTS,
		  stats().aborts[STM_ABORT_CONFLICT] + stats().aborts[STM_ABORT_VALIDATE]);
}

struct sweeps {
	struct sweep sweep;
	unsigned int n;
};

static void sweeps_job(void *arg)
{
	struct sweeps *sweeps = arg;

	for (unsigned int i = 0; i < sweeps->n; i++)
		stm_atomic(sweep_once, &sweeps->sweep);
}

/* All end, and nothing is lost. */
TEST_F(progress, inevitable_long_and_short_together)
{
	struct stream streams[3];
	struct sweeps sweeps = { .sweep.words = self->words, .n = 2000 };
	struct sweep last = { .words = self->words };

	memset(streams, 0, sizeof(streams));
	streams[0].limit = streams[1].limit = streams[2].limit = 30000;
	streams[2].inevitable = true;
	start_stream(&self->a, &streams[0], self->words);
	start_stream(&self->b, &streams[1], self->words);
	start_stream(&self->c, &streams[2], self->words);
	actor_run(&self->d, sweeps_job, &sweeps);
	actor_wait(&self->a);
	actor_wait(&self->b);
	actor_wait(&self->c);
	actor_run(&self->d, sweep_job, &last);
	EXPECT_EQ(90000, last.sum);
	EXPECT_LE(30000, stats().inevitable);
}

/* ---- sleep, and a log that is full ---- */

/* Threads that sleep attached do not hold fold back: they are parked. */
TEST_F(progress, sleepers_hold_nothing_back)
{
	const uint64_t n = 400000;
	struct script sleep = SCRIPT(READ(word_at(self->words, 0, 0)));
	uint64_t most = 0;

	script_run(&self->b, &sleep);
	script_run(&self->c, &sleep);
	set_word(&self->d, word_at(self->words, 0, 2), 1);
	for (uint64_t i = 0; i < n; i += n / 20) {
		struct stm_stats now;

		count_up(&self->a, word_at(self->words, 0, 0), n / 20);
		now = stats();
		most = now.log_bytes > most ? now.log_bytes : most;
		/* Two lags of lib/fold.c, and a chunk that is not full. */
		EXPECT_GT(3 * 16384, now.committed - now.folded);
	}
	EXPECT_GT(4 * LOG_LIMIT, most);
	EXPECT_EQ(0, stats().log_waits);
	EXPECT_LE(3, stats().parked);
	EXPECT_EQ(n / 20, get_word(&self->b, word_at(self->words, 0, 0)));
	EXPECT_EQ(n / 20, get_word(&self->c, word_at(self->words, 0, 0)));
	EXPECT_EQ(1, get_word(&self->d, word_at(self->words, 0, 2)));
}

/* A running transaction does. Begins wait then, and the report names it. */
TEST_F(progress, a_long_transaction_holds_the_log)
{
	struct stop stop = { .reached = 0 };
	struct script hold = SCRIPT(READ(word_at(self->words, 0, 0)), STOP(&stop),
				    READ(word_at(self->words, 0, 0)));
	struct stream stream;
	struct stm_stats now;
	uint64_t done;

	memset(&stream, 0, sizeof(stream));
	script_start(&self->b, &hold);
	stop_await(&stop);
	start_stream(&self->a, &stream, self->words);
	while (!stats().log_waits)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	/* It waits at this begin, and goes on waiting. */
	while (!stats().log_held_by)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	done = atomic_load(&stream.done);
	now = stats();
	EXPECT_LE(now.committed - now.folded, done + 16);
	EXPECT_GT(4 * LOG_LIMIT, now.log_bytes);
	ASSERT_NE(NULL, now.log_held_by);
	EXPECT_STREQ("run_script", now.log_held_by->function);
	nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	EXPECT_EQ(done, atomic_load(&stream.done));

	/* The transaction is over: all catch up. */
	EXPECT_EQ(0, hold.steps[0].value);
	stop_release(&stop);
	actor_wait(&self->b);
	EXPECT_EQ(0, hold.steps[2].value);
	EXPECT_EQ(1, hold.attempts);
	while (atomic_load(&stream.done) < done + 200000)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	atomic_store(&stream.quit, 1);
	actor_wait(&self->a);
	now = stats();
	EXPECT_LE(done, now.folded);
	EXPECT_GT(2 * LOG_LIMIT, now.log_bytes);
	get_word(&self->b, self->words);
}

/* ---- inevitable ---- */

TEST_F(progress, a_second_inevitable_one_waits)
{
	struct stop stop = { .reached = 0 }, second = { .reached = 0 };
	word_t x = word_at(self->words, 1, 0), y = word_at(self->words, 2, 0);
	struct script first = SCRIPT(INEVITABLE, STOP(&stop), WRITE(x, 7));
	struct script next = SCRIPT(READ(y), INEVITABLE, STOP(&second), READ(x));
	uint64_t calls;

	stop_release(&second);
	script_start(&self->a, &first);
	stop_await(&stop);
	calls = ((volatile struct stm_seg *)self->b.seg)->calls;
	script_start(&self->b, &next);
	while (((volatile struct stm_seg *)self->b.seg)->calls == calls &&
	       !atomic_load(&second.reached))
		sched_yield();
	EXPECT_FALSE(atomic_load(&second.reached));
	/* Reading transactions need not wait for either. */
	EXPECT_EQ(0, get_word(&self->c, x));
	stop_release(&stop);
	actor_wait(&self->a);
	actor_wait(&self->b);
	EXPECT_EQ(7, next.steps[3].value);
	EXPECT_EQ(1, first.attempts);
	EXPECT_EQ(1, next.attempts);
	EXPECT_EQ(2, stats().inevitable);
}

/* One that read what the first one writes runs again before it becomes inevitable. */
TEST_F(progress, a_doomed_one_does_not_become_inevitable)
{
	struct stop stop = { .reached = 0 }, read = { .reached = 0 };
	word_t x = word_at(self->words, 1, 0);
	struct script first = SCRIPT(INEVITABLE, STOP(&stop), WRITE(x, 7));
	struct script next = SCRIPT(READ(x), STOP(&read), INEVITABLE, READ(x));

	script_start(&self->a, &first);
	stop_await(&stop);
	script_start(&self->b, &next);
	stop_await(&read);
	stop_release(&stop);
	actor_wait(&self->a);
	stop_release(&read);
	actor_wait(&self->b);
	EXPECT_EQ(2, next.attempts);
	EXPECT_EQ(7, next.steps[0].value);
	EXPECT_EQ(7, next.steps[3].value);
	EXPECT_EQ(1, stats().aborts[STM_ABORT_INEVITABLE]);
}

/* ---- right of way ---- */

struct stubborn {
	word_t word;
	unsigned int attempts, restarts;
	int code;
	bool had_right_of_way;
	struct stop *stop;
};

/* Restart until it has right of way, and some more; then cancel, or commit. */
static int restart_on(void *arg)
{
	struct stubborn *stubborn = arg;

	STM_SET(*stubborn->word, 99);
	if (stubborn->attempts++ < stubborn->restarts) {
		stm_restart();
		schedule_fail("stm_restart() returned");
	}
	stubborn->had_right_of_way = stm__self->inevitable == STM_RIGHT_OF_WAY;
	if (stubborn->stop)
		stop_here(stubborn->stop);
	STM_SET(*stubborn->word, 100);
	return stubborn->code;
}

static void stubborn_job(void *arg)
{
	struct stubborn *stubborn = arg;

	stubborn->code = stm_atomic(restart_on, stubborn);
}

TEST_F(progress, right_of_way_can_be_undone)
{
	struct stop stop = { .reached = 0 };
	word_t word = word_at(self->words, 1, 0);
	struct stubborn cancels = {
		.word = word, .restarts = ATTEMPTS + 3, .code = 5, .stop = &stop
	};
	struct stubborn commits = { .word = word, .restarts = ATTEMPTS + 3 };
	struct script write = SCRIPT(WRITE(word_at(self->words, 2, 0), 1));
	uint64_t calls = ((volatile struct stm_seg *)self->b.seg)->calls;

	/* Others wait for it, until it is cancelled. */
	actor_do(&self->a, stubborn_job, &cancels);
	stop_await(&stop);
	script_start(&self->b, &write);
	while (((volatile struct stm_seg *)self->b.seg)->calls == calls &&
	       atomic_load(&self->b.busy))
		sched_yield();
	EXPECT_TRUE(atomic_load(&self->b.busy));
	stop_release(&stop);
	actor_wait(&self->a);
	actor_wait(&self->b);
	EXPECT_EQ(5, cancels.code);
	EXPECT_EQ(ATTEMPTS + 4, cancels.attempts);
	EXPECT_TRUE(cancels.had_right_of_way);
	EXPECT_EQ(0, get_word(&self->c, word));
	EXPECT_EQ(1, write.attempts);

	actor_run(&self->a, stubborn_job, &commits);
	EXPECT_EQ(0, commits.code);
	EXPECT_TRUE(commits.had_right_of_way);
	EXPECT_EQ(100, get_word(&self->c, word));
	EXPECT_EQ(2 * (ATTEMPTS + 3), stats().aborts[STM_ABORT_RESTART]);
	EXPECT_EQ(1, stats().aborts[STM_ABORT_CANCEL]);
	/* The next one of that thread starts from nothing. */
	get_word(&self->a, word);
	EXPECT_EQ(STM_UNDOABLE, self->a.seg->inevitable);
}

/* It may become inevitable too, and then cannot be undone. */
struct both {
	unsigned int attempts;
	int cancelled, restarted, code;
	word_t word;
};

static int right_of_way_then_inevitable(void *arg)
{
	struct both *both = arg;

	if (both->attempts++ < ATTEMPTS)
		stm_restart();
	stm_become_inevitable("a test");
	STM_SET(*both->word, 3);
	both->cancelled = stm_cancel(1);
	both->restarted = stm_restart();
	return 1; /* commits: too late for a code */
}

static void both_job(void *arg)
{
	struct both *both = arg;

	both->code = stm_atomic(right_of_way_then_inevitable, both);
}

TEST_F(progress, right_of_way_can_become_inevitable)
{
	struct both both = { .word = word_at(self->words, 1, 0) };

	actor_run(&self->a, both_job, &both);
	EXPECT_EQ(ATTEMPTS + 1, both.attempts);
	EXPECT_EQ(1, both.code);
	EXPECT_EQ(-EPERM, both.cancelled);
	EXPECT_EQ(-EPERM, both.restarted);
	EXPECT_EQ(3, get_word(&self->b, both.word));
}

/* ---- finding out early ---- */

TEST_F(progress, validate_restarts_the_doomed)
{
	struct stop stop = { .reached = 0 };
	word_t x = word_at(self->words, 1, 0);
	struct script read = SCRIPT(READ(x), VALIDATE, STOP(&stop), VALIDATE);

	script_start(&self->a, &read);
	stop_await(&stop);
	EXPECT_EQ(1, read.attempts);
	set_word(&self->b, word_at(self->words, 1, 2), 4); /* another granule: not doomed by that */
	set_word(&self->b, x, 5);
	stop_release(&stop);
	actor_wait(&self->a);
	EXPECT_EQ(2, read.attempts);
	EXPECT_EQ(5, read.steps[0].value);
	EXPECT_EQ(1, stats().aborts[STM_ABORT_VALIDATE]);
	EXPECT_EQ(0, stats().aborts[STM_ABORT_CONFLICT]);
}

TEST_F(progress, validate_lets_others_be)
{
	struct stop stop = { .reached = 0 };
	struct script read = SCRIPT(READ(word_at(self->words, 1, 0)), STOP(&stop), VALIDATE);

	script_start(&self->a, &read);
	stop_await(&stop);
	set_word(&self->b, word_at(self->words, 1, 2), 4);
	set_word(&self->b, word_at(self->words, 2, 0), 4);
	stop_release(&stop);
	actor_wait(&self->a);
	EXPECT_EQ(1, read.attempts);
	EXPECT_EQ(0, stats().aborts[STM_ABORT_VALIDATE]);
}

/* Before a page is made private, a doomed transaction finds out. */
TEST_F(progress, a_page_is_not_copied_for_the_doomed)
{
	struct stop stop = { .reached = 0 };
	word_t x = word_at(self->words, 1, 0), y = word_at(self->words, 7, 0);
	struct script write = SCRIPT(READ(x), READ(y), STOP(&stop), WRITE(y, 1));

	script_start(&self->a, &write);
	stop_await(&stop);
	EXPECT_EQ(STM_PAGE_SHARED, self->a.seg->view.state[((uintptr_t)y - STM_HEAP) / STM_PAGE]);
	set_word(&self->b, x, 5);
	stop_release(&stop);
	actor_wait(&self->a);
	EXPECT_EQ(2, write.attempts);
	EXPECT_EQ(5, write.steps[0].value);
	EXPECT_EQ(1, stats().aborts[STM_ABORT_VALIDATE]);
	EXPECT_EQ(0, stats().aborts[STM_ABORT_CONFLICT]);
	EXPECT_EQ(1, get_word(&self->b, y));
}

/* ---- wake-ups ---- */

static char thread_state(const struct actor *actor)
{
	char path[64], state = '?';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", actor->tid);
	file = fopen(path, "r");
	if (!file || fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		schedule_fail("cannot read %s", path);
	if (file)
		fclose(file);
	return state;
}

/*
 * Start the script, and come back when its thread sleeps in the library: who waits counts a call
 * first.
 */
static void start_and_await_sleep(struct actor *actor, struct script *script)
{
	volatile struct stm_seg *seg = actor->seg;
	uint64_t calls = seg->calls;

	script_start(actor, script);
	while (seg->calls == calls || thread_state(actor) != 'S')
		sched_yield();
}

/* All who sleep because of one inevitable transaction go on when it ends, whichever way it ends. */
TEST_F(progress, all_who_wait_are_woken)
{
	for (unsigned int round = 0; round < 100; round++) {
		struct stop stop = { .reached = 0 };
		struct script writes =
			SCRIPT(INEVITABLE, STOP(&stop), WRITE(word_at(self->words, 1, 0), round));
		struct script reads =
			SCRIPT(INEVITABLE, STOP(&stop), READ(word_at(self->words, 1, 0)));
		struct script b = SCRIPT(WRITE(word_at(self->words, 2, 0), round));
		struct script c = SCRIPT(WRITE(word_at(self->words, 3, 0), round));
		struct script d = SCRIPT(READ(word_at(self->words, 4, 0)), INEVITABLE);

		script_start(&self->a, round % 2 ? &writes : &reads);
		stop_await(&stop);
		start_and_await_sleep(&self->b, &b);
		start_and_await_sleep(&self->c, &c);
		start_and_await_sleep(&self->d, &d);
		stop_release(&stop);
		actor_wait(&self->a);
		actor_wait(&self->b);
		actor_wait(&self->c);
		actor_wait(&self->d);
		EXPECT_EQ(round, get_word(&self->a, word_at(self->words, 2, 0)));
		EXPECT_EQ(round, get_word(&self->a, word_at(self->words, 3, 0)));
	}
}

/*
 * The linker leads the library's calls of syscall(2) through here (--wrap), so that a test can stop
 * one.
 */
static _Atomic(struct stop *) before_futex_wait;
static _Atomic unsigned int futex_waits;

/* As in the C library, what the caller did not pass is whatever stands there. */
long __real_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);

long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	struct stop *stop;

	if (number == SYS_futex && (int)b == FUTEX_WAIT_PRIVATE) {
		atomic_fetch_add(&futex_waits, 1);
		stop = atomic_exchange(&before_futex_wait, NULL);
		if (stop)
			stop_here(stop);
	}
	return __real_syscall(number, a, b, c, d, e, f);
}

/* Woken is also who has looked, and is about to sleep. */
TEST_F(progress, who_is_about_to_sleep_is_woken)
{
	for (unsigned int round = 0; round < 10; round++) {
		struct stop stop = { .reached = 0 }, sleep = { .reached = 0 };
		struct script writes =
			SCRIPT(INEVITABLE, STOP(&stop), WRITE(word_at(self->words, 1, 0), round));
		struct script reads =
			SCRIPT(INEVITABLE, STOP(&stop), READ(word_at(self->words, 1, 0)));
		struct script b = SCRIPT(WRITE(word_at(self->words, 2, 0), round));

		script_start(&self->a, round % 2 ? &writes : &reads);
		stop_await(&stop);
		atomic_store(&before_futex_wait, &sleep);
		script_start(&self->b, &b);
		stop_await(&sleep);
		stop_release(&stop);
		actor_wait(&self->a);
		stop_release(&sleep);
		actor_wait(&self->b);
		EXPECT_EQ(round, get_word(&self->c, word_at(self->words, 2, 0)));
	}
}

#define WAKE_ROUNDS 5000u

/*
 * Rounds with one inevitable transaction each, which ends about when the others look whether to
 * sleep.
 */
struct waker {
	word_t word;
	bool inevitable;
	uint64_t random;
	_Atomic unsigned int *arrived, *inevitable_in;
	unsigned int round;
};

static int wake(void *arg)
{
	struct waker *waker = arg;

	if (waker->inevitable) {
		stm_become_inevitable("a test");
		atomic_store(waker->inevitable_in, waker->round);
		for (uint64_t n = next_random(&waker->random) % 400; n; n--)
			__builtin_ia32_pause();
	}
	STM_SET(*waker->word, STM_GET(*waker->word) + 1);
	return 0;
}

static void waker_job(void *arg)
{
	struct waker *waker = arg;

	for (waker->round = 1; waker->round <= WAKE_ROUNDS; waker->round++) {
		atomic_fetch_add(waker->arrived, 1);
		while (atomic_load(waker->arrived) < 3 * waker->round ||
		       (!waker->inevitable && atomic_load(waker->inevitable_in) < waker->round))
			sched_yield();
		stm_atomic(wake, waker);
	}
}

TEST_F(progress, no_wake_up_is_lost)
{
	_Atomic unsigned int arrived = 0, inevitable_in = 0;
	struct waker wakers[3];
	struct actor *actors[3] = { &self->a, &self->b, &self->c };

	for (unsigned int i = 0; i < 3; i++) {
		wakers[i] = (struct waker){ .word = word_at(self->words, i, 0), .inevitable = !i,
					    .random = 1000 + i, .arrived = &arrived,
					    .inevitable_in = &inevitable_in };
		actor_do(actors[i], waker_job, &wakers[i]);
	}
	for (unsigned int i = 0; i < 3; i++) {
		actor_wait(actors[i]);
		EXPECT_EQ(WAKE_ROUNDS, get_word(&self->d, wakers[i].word));
	}
	EXPECT_EQ(WAKE_ROUNDS, stats().inevitable);
	TH_LOG("%u waits in %u rounds", atomic_load(&futex_waits), WAKE_ROUNDS);
}

TEST_HARNESS_MAIN
