// SPDX-License-Identifier: MIT
/*
 * engines_test.c - each engine that this machine has: the faults that it takes, and how many; system calls on heap
 * memory; wrong accesses; signals, forks, threads that come and go while others fault.
 */
#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <uffdstm.h>

#include "support.h"

#define PAGE ((size_t)4096)
#define PAGES ((size_t)64)
#define STEP (PAGE / sizeof(long))
#define BUSY (PAGES / 2)        /* pages before it are written again and again, and may be copied rather than shared */
#define HANDLER "uffdstm-faults"

FIXTURE(engine) {
	long STM *p;            /* PAGES pages; the first word of page i is i + 1 */
	bool in_calls, async;
	bool shares;            /* a page that is read becomes SHARED, where it can */
};

FIXTURE_VARIANT(engine) {
	const char *name;
};

FIXTURE_VARIANT_ADD(engine, sigbus) { "sigbus" };
FIXTURE_VARIANT_ADD(engine, thread) { "thread" };
FIXTURE_VARIANT_ADD(engine, async) { "async" };

static struct stm_stats stats(void)
{
	struct stm_stats s;

	if (stm_stats(&s, sizeof(s)))
		abort();
	return s;
}

static char STM *scratch;

static int init(const char *engine)
{
	struct stm_options options = STM_OPTIONS_INIT;

	options.engine = engine;
	options.cluster = options.cluster_max = 1;
	options.heap_size = (size_t)64 << 20;
	return stm_init(&options);
}

/* All that is committed goes into the base: large entries use up blocks of the log, at whose end is a fold. */
static bool fold_all(void)
{
	const size_t len = (size_t)256 << 10;
	struct stm_stats s;

	for (int i = 0; i < 1000; i++) {
		STM_ATOMIC
			stm_memset(scratch, i, len);
		s = stats();
		if (s.folded == s.committed)
			return true;
	}
	return false;
}

/* All pages UNMAPPED. What is folded will be SHARED when it is read. */
static void forget_pages(void)
{
	if (stm_thread_detach() || stm_thread_attach())
		abort();
}

FIXTURE_SETUP(engine)
{
	int error = init(variant->name);

	if (error == -EOPNOTSUPP)
		SKIP(return, "this kernel, or these rights, do not allow the engine");
	ASSERT_EQ(0, error);
	ASSERT_EQ(0, stm_thread_attach());
	STM_ATOMIC {
		self->p = stm_zalloc(PAGES * PAGE + PAGE);
		self->p = (long STM *)(((uintptr_t)self->p + PAGE - 1) / PAGE * PAGE);
		for (size_t i = 0; i < PAGES; i++)
			STM_SET(self->p[i * STEP], (long)i + 1);
		scratch = stm_alloc((size_t)256 << 10);
	}
	self->in_calls = stats().engine_in_calls;
	self->async = !strcmp(variant->name, "async");
	self->shares = THREAD_SHARES || strcmp(variant->name, "thread");
	forget_pages();
}

FIXTURE_TEARDOWN(engine)
{
	stm_fini();
}

static bool is_fault_count(uint64_t read, uint64_t write, uint64_t protect, uint64_t reclaimed, uint64_t *before)
{
	struct stm_stats s = stats();
	uint64_t expected[] = { read, write, protect, reclaimed };
	bool same = true;

	for (int i = 0; i < STM_FAULT_KINDS; i++) {
		same &= s.faults[i] - before[i] == expected[i];
		if (s.faults[i] - before[i] != expected[i])
			printf("# %s: %ld, expected %ld\n", stm_fault_name((unsigned int)i),
			       (long)(s.faults[i] - before[i]), (long)expected[i]);
		before[i] = s.faults[i];
	}
	return same;
}

#define RAW(p) (*(volatile long STM *)(p))

/* ---- facts ---- */

TEST_F(engine, stats_tell_what_runs)
{
	struct stm_stats s = stats();

	EXPECT_STREQ(variant->name, s.engine);
	EXPECT_STREQ("asked for by options.engine", s.engine_why);
	EXPECT_TRUE(strstr(s.engine_opened, "userfaultfd") != NULL);
	EXPECT_EQ(s.engine_in_calls, !strcmp(s.engine, "thread") && !strstr(s.engine_opened, "USER_MODE_ONLY"));
}

/* ---- faults ---- */

static long STM *pages_of;

static void *commit_in_thread(void *arg)
{
	if (stm_thread_attach())
		abort();
	STM_ATOMIC {
		for (size_t i = 0; i < BUSY; i++)
			STM_SET(pages_of[i * STEP + 1], (long)(uintptr_t)arg);
	}
	return NULL;
}

static void *commit_to_word(void *arg)
{
	if (stm_thread_attach())
		abort();
	STM_ATOMIC
		STM_SET(*(long STM *)(uintptr_t)arg, 6);
	return NULL;
}

TEST_F(engine, faults_of_each_kind)
{
	uint64_t before[STM_FAULT_KINDS];
	struct stm_stats s = stats();
	volatile long value = 0;
	long STM *p = self->p;

	memcpy(before, s.faults, sizeof(before));
	STM_ATOMIC {
		value = STM_GET(p[0]);
	}
	EXPECT_EQ(1, value);
	EXPECT_TRUE(is_fault_count(1, 0, 0, 0, before));
	STM_ATOMIC {
		RAW(&p[STEP]) = 7;
		value = RAW(&p[STEP]);
	}
	EXPECT_EQ(7, value);
	EXPECT_TRUE(is_fault_count(0, 1, 0, 0, before));

	p = &p[BUSY * STEP];
	ASSERT_TRUE(fold_all());
	forget_pages();
	memcpy(before, stats().faults, sizeof(before));
	STM_ATOMIC {
		value = STM_GET(p[2 * STEP]);
	}
	EXPECT_EQ(BUSY + 3, value);
	EXPECT_TRUE(is_fault_count(1, 0, 0, 0, before));
	EXPECT_EQ(self->shares, stats().pages_shared);
	if (!self->shares)
		return;
	/* what the kernel takes back */
	STM_ATOMIC {
		ASSERT_EQ(0, madvise(stm_local(&p[2 * STEP]), PAGE, MADV_DONTNEED));
		value = STM_GET(p[2 * STEP]);
	}
	EXPECT_EQ(BUSY + 3, value);
	EXPECT_TRUE(is_fault_count(0, 0, 0, 1, before));
	STM_ATOMIC {
		RAW(&p[2 * STEP + 1]) = 9;
		value = RAW(&p[2 * STEP]) + 1000 * RAW(&p[2 * STEP + 1]);
	}
	EXPECT_EQ(9000 + BUSY + 3, value);
	EXPECT_TRUE(is_fault_count(0, 0, !self->async, 0, before));
	/* With async it was none, and is found when the page would be dropped. */
	forget_pages();
	EXPECT_TRUE(is_fault_count(0, 0, self->async, 0, before));
	STM_ATOMIC {
		value = STM_GET(p[2 * STEP + 1]);
	}
	EXPECT_EQ(0, value); /* never committed */
}

/* A store that was not announced stays where it is as long as its page does, whatever else happens to that page. */
TEST_F(engine, stores_are_kept_by_events)
{
	volatile long value = 0;
	long STM *p = &self->p[BUSY * STEP];

	ASSERT_TRUE(fold_all());
	forget_pages();
	STM_ATOMIC {
		(void)RAW(&p[0]);
		(void)RAW(&p[STEP]);
	}
	EXPECT_EQ(self->shares ? 2 : 0, stats().pages_shared);
	STM_ATOMIC {
		RAW(&p[2]) = 11;
		STM_SET(p[3], 12); /* makes the page private: it is already */
		value = RAW(&p[2]);
	}
	EXPECT_EQ(11, value);
	STM_ATOMIC {
		stm_read(&p[STEP]);
		RAW(&p[STEP + 2]) = 21;
	}
	in_thread(commit_to_word, (void *)(uintptr_t)&p[STEP + 1]);
	STM_ATOMIC { /* applies to that page */
		value = RAW(&p[STEP + 2]) + 1000 * STM_GET(p[STEP + 1]);
	}
	EXPECT_EQ(6021, value);
}

/* What is not folded yet is replayed, on every page, before the access goes on. */
TEST_F(engine, faults_bring_what_is_committed)
{
	volatile long wrong = 0;
	long STM *p = self->p;

	pages_of = p;
	for (long round = 1; round <= 50; round++) {
		in_thread(commit_in_thread, (void *)round);
		if (round % 3 == 0)
			forget_pages();
		STM_ATOMIC {
			for (size_t i = 0; i < PAGES; i++)
				wrong += STM_GET(p[i * STEP + 1]) != (i < BUSY ? round : 0) ||
					 STM_GET(p[i * STEP]) != (long)i + 1;
		}
	}
	EXPECT_EQ(0, wrong);
}

/* ---- system calls ---- */

enum way { BY_WRITE, BY_SEND, BY_WRITEV, WAYS };

static ssize_t put(enum way way, const int *pair, const void *from, size_t len)
{
	struct iovec v[2] = { { (void *)from, len / 2 }, { (char *)from + len / 2, len - len / 2 } };

	switch (way) {
	case BY_WRITE:
		return write(pair[0], from, len);
	case BY_SEND:
		return send(pair[0], from, len, 0);
	default:
		return writev(pair[0], v, 2);
	}
}

/* Four pages, from the @first on. */
static bool arrived(const int *pair, size_t first, long round)
{
	static long got[4 * STEP];

	if (recv(pair[1], got, sizeof(got), MSG_WAITALL) != sizeof(got))
		return false;
	for (size_t i = 0; i < 4; i++)
		if (got[i * STEP] != (long)(first + i) + 1 || got[i * STEP + 1] != round)
			return false;
	return true;
}

TEST_F(engine, system_calls_that_read_the_heap)
{
	uint64_t before[STM_FAULT_KINDS];
	struct stm_stats s;
	int pair[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pages_of = self->p;
	for (enum way way = 0; way < WAYS; way++)
		for (long shared = 0; shared < 1 + self->shares; shared++) {
			const size_t len = 4 * PAGE, first = shared ? BUSY : 0;
			const long round = shared ? 0 : way + 1L;
			long STM *p = &self->p[first * STEP];
			volatile ssize_t n = 0;
			volatile int error = 0;

			/* Not folded, and not mapped; or SHARED, and taken back by the kernel. */
			if (!shared)
				in_thread(commit_in_thread, (void *)round);
			ASSERT_TRUE(!shared || fold_all());
			forget_pages();
			if (shared)
				STM_ATOMIC {
					for (size_t i = 0; i < 4; i++)
						(void)RAW(&p[i * STEP]);
					madvise(stm_local(p), len, MADV_DONTNEED);
				}
			s = stats();
			memcpy(before, s.faults, sizeof(before));
			STM_ATOMIC {
				stm_read_range(p, len);
				n = put(way, pair, stm_local(p), len);
				error = errno;
			}
			if (self->in_calls) {
				EXPECT_EQ((ssize_t)len, n);
				EXPECT_TRUE(arrived(pair, first, round));
				EXPECT_TRUE(is_fault_count(shared ? 0 : 4, 0, 0, shared ? 4 : 0, before));
			} else {
				EXPECT_EQ(-1, n);
				EXPECT_EQ(EFAULT, error);
				EXPECT_TRUE(is_fault_count(0, 0, 0, 0, before));
			}
			forget_pages();
			STM_ATOMIC {
				stm_read_range(p, len);
				EXPECT_EQ(0, stm_prefault(p, len));
				n = put(way, pair, stm_local(p), len);
			}
			EXPECT_EQ((ssize_t)len, n);
			EXPECT_TRUE(arrived(pair, first, round));
			forget_pages();
			STM_ATOMIC
				n = stm_pwrite(pair[0], p, len, -1);
			EXPECT_EQ((ssize_t)len, n);
			EXPECT_TRUE(arrived(pair, first, round));
			EXPECT_TRUE(is_fault_count(0, 0, 0, 0, before));
		}
	close(pair[0]);
	close(pair[1]);
}

static void *read_pages(void *arg)
{
	static volatile long sum;

	(void)arg;
	if (stm_thread_attach())
		abort();
	STM_ATOMIC {
		sum = 0;
		for (size_t i = 0; i < PAGES; i++)
			sum += STM_GET(pages_of[i * STEP]);
	}
	return (void *)sum;
}

/* read(2) into the heap is a store: it needs stm_write_range(), with that it works under every engine. */
TEST_F(engine, system_calls_that_write_the_heap)
{
	static long bytes[4 * STEP];
	uint64_t before[STM_FAULT_KINDS];
	volatile ssize_t n = 0;
	long STM *p = &self->p[BUSY * STEP];
	int pair[2];

	pages_of = self->p;
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	for (size_t i = 0; i < 4; i++)
		bytes[i * STEP] = 100;
	for (int shared = 0; shared < 2; shared++) {
		ASSERT_TRUE(fold_all());
		forget_pages();
		if (shared)
			STM_ATOMIC
				for (size_t i = 0; i < 4; i++)
					(void)RAW(&p[i * STEP]);
		EXPECT_EQ(shared && self->shares ? 4 : 0, stats().pages_shared);
		ASSERT_EQ((ssize_t)sizeof(bytes), write(pair[0], bytes, sizeof(bytes)));
		memcpy(before, stats().faults, sizeof(before));
		STM_ATOMIC {
			stm_write_range(p, sizeof(bytes));
			n = recv(pair[1], stm_local(p), sizeof(bytes), MSG_WAITALL);
			if (!shared)
				stm_cancel(1);
		}
		EXPECT_EQ((ssize_t)sizeof(bytes), n);
		EXPECT_TRUE(is_fault_count(0, 0, 0, 0, before));
		EXPECT_EQ((long)(PAGES * (PAGES + 1) / 2) + (shared ? 400 - 10 - 4 * (long)BUSY : 0),
			  (long)in_thread(read_pages, NULL));
	}
	close(pair[0]);
	close(pair[1]);
}

/* Another process that looks at a page that is not there waits for it, or gets EFAULT; it harms nobody. */
TEST_F(engine, another_process_reads)
{
	long STM *p = self->p;
	long value = 0;
	volatile ssize_t n = 0;
	int status = -1, ready[2];
	char c;
	pid_t pid, parent = getpid();

	ASSERT_EQ(0, pipe(ready));
	STM_ATOMIC {
		struct iovec local = { &value, sizeof(value) }, remote = { stm_local(&p[3 * STEP]), sizeof(value) };

		pid = fork();
		if (pid == 0) {
			if (write(ready[1], "", 1) != 1)
				_exit(1);
			n = process_vm_readv(parent, &local, 1, &remote, 1, 0);
			_exit(n == sizeof(value) ? (int)value : errno == EFAULT ? 100 : errno == EPERM ? 101 : 102);
		}
		ASSERT_EQ(1, read(ready[0], &c, 1));
		/* Long enough that it usually is there first; what comes is the same if not. */
		usleep(20000);
		EXPECT_EQ(4, STM_GET(p[3 * STEP]));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	if (WEXITSTATUS(status) == 101)
		SKIP(return, "process_vm_readv(2) is not allowed here");
	EXPECT_TRUE(WEXITSTATUS(status) == 4 || (!self->in_calls && WEXITSTATUS(status) == 100)) {
		TH_LOG("status %d", WEXITSTATUS(status));
	}
}

/* A child that shares the memory of the owner, who waits for it: the page is the owner's fault. */
TEST_F(engine, spawn_with_its_path_in_the_heap)
{
	static const char path[] = "/bin/true";
	static char *argv[] = { "true", NULL };
	char STM *at = (char STM *)(self->p + 5 * STEP);
	volatile int error = -1;
	int status = -1;
	pid_t pid;

	STM_ATOMIC
		stm_memcpy_in(at, path, sizeof(path));
	forget_pages();
	STM_ATOMIC {
		stm_read_range(at, sizeof(path));
		error = posix_spawn(&pid, stm_local(at), NULL, NULL, argv, NULL);
	}
	EXPECT_EQ(self->in_calls || WITH_ASAN ? 0 : EFAULT, error); /* AddressSanitizer looks at the path before */
	if (error)
		return;
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* ---- wrong accesses ---- */

static const char *engine_name;
static long STM *heap_words;

static void start_child(void)
{
	if (init(engine_name) || stm_thread_attach())
		_exit(60);
	STM_ATOMIC {
		heap_words = stm_zalloc(10 * PAGE);
		scratch = stm_alloc((size_t)256 << 10);
	}
	fold_all();
	forget_pages();
}

static void *read_a_word(void *arg)
{
	return (void *)*(volatile long *)arg;
}

static void read_outside(void *arg)
{
	(void)arg;
	start_child();
	(void)RAW(heap_words);
}

static void write_outside(void *arg)
{
	(void)arg;
	start_child();
	STM_ATOMIC
		(void)STM_GET(heap_words[0]); /* SHARED */
	RAW(&heap_words[2 * STEP]) = 1;
}

static void read_by_another_thread(void *arg)
{
	(void)arg;
	start_child();
	STM_ATOMIC
		in_thread(read_a_word, stm_local(heap_words));
}

static void read_by_another_attached_thread(void *arg)
{
	static void *word;

	start_child();
	word = stm_local(heap_words);
	(void)arg;
	STM_ATOMIC
		in_thread(read_a_word, word);
}

static void read_null(void *arg)
{
	long STM *volatile null = NULL;

	(void)arg;
	start_child();
	STM_ATOMIC
		(void)RAW(null);
}

TEST_F(engine, wrong_accesses)
{
	static const struct {
		void (*fn)(void *arg);
		const char *a, *b;
		int signum;
	} cases[] = {
		{ read_outside, "read of heap address", "outside a transaction", SIGABRT },
		{ write_outside, "write of heap address", "outside a transaction", SIGABRT },
		{ read_by_another_thread, "read of heap address", "not attached", SIGABRT },
		{ read_by_another_attached_thread, "read of heap address", "not attached", SIGABRT },
		{ read_null, "read through a null STM pointer", "", SIGSEGV },
	};

	engine_name = variant->name;
	EXPECT_EQ(0, stm_fini());
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct ended e = run_child(cases[i].fn, NULL);

		EXPECT_TRUE(was_killed_by(&e, cases[i].signum) && said(&e, cases[i].a, cases[i].b)) {
			TH_LOG("%zu: %s", i, how(&e));
		}
	}
}

static void write_to_socket_outside(void *arg)
{
	int pair[2];
	ssize_t n;

	(void)arg;
	start_child();
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		_exit(61);
	n = write(pair[0], stm_local(heap_words), 100);
	_exit(n < 0 ? errno : 62);
}

/* A wrong access in a system call: EFAULT, or the line if the fault is ours. */
TEST_F(engine, wrong_access_in_a_system_call)
{
	struct ended e;

	engine_name = variant->name;
	EXPECT_EQ(0, stm_fini());
	e = run_child(write_to_socket_outside, NULL);
	EXPECT_TRUE(self->in_calls ? was_killed_by(&e, SIGABRT) && said(&e, "in system call 1", "outside a transaction") :
				     exited_with(&e, EFAULT) && e.lines == 0) {
		TH_LOG("%s", how(&e));
	}
}

/* ---- signals, forks ---- */

static _Atomic long signals_got;

static void on_signal(int signum)
{
	(void)signum;
	signals_got++;
}

struct pest {
	pthread_t victim, thread;
	_Atomic bool stop;
	struct sigaction old;
};

static void *send_signals(void *arg)
{
	struct pest *pest = arg;

	while (!pest->stop)
		pthread_kill(pest->victim, SIGUSR1);
	return NULL;
}

/* From here on the calling thread gets signals, as fast as they can be sent. 0, or not. */
static int pest_start(struct pest *pest, int flags)
{
	struct sigaction act = { .sa_handler = on_signal, .sa_flags = flags };

	pest->victim = pthread_self();
	if (sigaction(SIGUSR1, &act, &pest->old))
		return errno;
	return pthread_create(&pest->thread, NULL, send_signals, pest);
}

static void pest_stop(struct pest *pest)
{
	pest->stop = true;
	pthread_join(pest->thread, NULL);
	sigaction(SIGUSR1, &pest->old, NULL);
}

/* A signal takes a thread out of its wait, and it tries again: every fault is resolved once, and whole. */
TEST_F(engine, signals_while_faulting)
{
	struct pest pest = { .stop = false };
	unsigned int rounds = 40 * long_factor(50);
	uint64_t before[STM_FAULT_KINDS];
	volatile long wrong = 0;
	long STM *p = self->p;

	pages_of = p;
	ASSERT_EQ(0, pest_start(&pest, 0));
	for (unsigned int round = 1; round <= rounds; round++) {
		in_thread(commit_in_thread, (void *)(uintptr_t)round);
		forget_pages();
		memcpy(before, stats().faults, sizeof(before));
		STM_ATOMIC {
			for (size_t i = 0; i < PAGES; i++) {
				if (i % 2)
					RAW(&p[i * STEP + 2]) = (long)i;
				wrong += STM_GET(p[i * STEP + 1]) != (long)(i < BUSY ? round : 0) ||
					 STM_GET(p[i * STEP]) != (long)i + 1;
			}
		}
		EXPECT_TRUE(is_fault_count(PAGES / 2, PAGES / 2, 0, 0, before));
	}
	pest_stop(&pest);
	EXPECT_EQ(0, wrong);
	EXPECT_NE(0, atomic_load(&signals_got));
}

/* The same inside a system call, which tries again by itself until the page is there. */
TEST_F(engine, signals_while_faulting_in_system_calls)
{
	struct pest pest = { .stop = false };
	unsigned int rounds = 20 * long_factor(50);
	uint64_t before[STM_FAULT_KINDS];
	long STM *p = self->p;
	int pair[2];

	if (!self->in_calls)
		SKIP(return, "faults inside system calls are not resolved");
	pages_of = p;
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	ASSERT_EQ(0, pest_start(&pest, SA_RESTART));
	for (unsigned int round = 1; round <= rounds; round++) {
		in_thread(commit_in_thread, (void *)(uintptr_t)round);
		forget_pages();
		memcpy(before, stats().faults, sizeof(before));
		STM_ATOMIC {
			size_t done = 0;

			stm_read_range(p, 4 * PAGE);
			while (done < 4 * PAGE) {
				ssize_t n = send(pair[0], (char *)stm_local(p) + done, 4 * PAGE - done, 0);

				if (n < 0 && errno != EINTR)
					break;
				done += n > 0 ? (size_t)n : 0;
			}
			EXPECT_EQ(4 * PAGE, done);
		}
		EXPECT_TRUE(arrived(pair, 0, round));
		EXPECT_TRUE(is_fault_count(4, 0, 0, 0, before));
	}
	pest_stop(&pest);
	close(pair[0]);
	close(pair[1]);
}

TEST_F(engine, fork)
{
	long STM *p = self->p;
	volatile long value = 0;

	for (int i = 0; i < 5; i++) {
		int status = -1;
		pid_t pid = fork();

		if (pid == 0)
			_exit(stm_in_transaction() ? 1 : 7);
		forget_pages();
		STM_ATOMIC
			value = STM_GET(p[i * (long)STEP]);
		EXPECT_EQ(i + 1, value);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	}
}

/* ---- threads ---- */

#define THREADS 12

static pthread_barrier_t together;
static _Atomic long mistakes;

static void *fault_often(void *arg)
{
	unsigned int rounds = 30 * long_factor(20);

	if (stm_thread_attach())
		abort();
	pthread_barrier_wait(&together);
	for (unsigned int round = 0; round < rounds; round++) {
		if (stm_thread_detach() || stm_thread_attach())
			abort();
		STM_ATOMIC {
			volatile long bad = 0;

			for (size_t i = 0; i < PAGES; i++)
				bad += STM_GET(pages_of[i * STEP]) != (long)i + 1;
			mistakes += bad;
			STM_SET(pages_of[(long)arg * (long)STEP + 8], STM_GET(pages_of[(long)arg * (long)STEP + 8]) + 1);
		}
	}
	return (void *)(uintptr_t)rounds;
}

TEST_F(engine, many_threads_fault_at_once)
{
	pthread_t threads[THREADS];
	void *rounds = NULL;
	long STM *p = self->p;

	pages_of = p;
	mistakes = 0;
	pthread_barrier_init(&together, NULL, THREADS);
	for (long i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, fault_often, (void *)i));
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], &rounds);
	EXPECT_EQ(0, atomic_load(&mistakes));
	STM_ATOMIC
		for (int i = 0; i < THREADS; i++)
			EXPECT_EQ((long)rounds, +STM_GET(p[i * (long)STEP + 8]));
}

/* ---- what an engine holds ---- */

#define EXITING 4u /* PF_EXITING, include/linux/sched.h: pthread_join() returns before the kernel has forgotten a thread */

/* proc(5): "tid (comm) state ppid pgrp session tty_nr tpgid flags ..." */
static bool is_thread(const char *directory, const char *tid, const char *comm)
{
	char name[512], text[200] = "";
	unsigned int flags = EXITING;
	const char *rest;
	FILE *f;

	snprintf(name, sizeof(name), "%s/%s/stat", directory, tid);
	f = fopen(name, "re");
	if (!f)
		return false;
	if (fgets(text, sizeof(text), f) && (rest = strrchr(text, ')')))
		sscanf(rest, ") %*c %*d %*d %*d %*d %*d %u", &flags);
	fclose(f);
	rest = strchr(text, '(');
	return rest && !strncmp(rest + 1, comm, strlen(comm)) && !(flags & EXITING);
}

static int count_entries(const char *path, const char *with_comm)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int n = 0;

	while (dir && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			n += !with_comm || is_thread(path, entry->d_name, with_comm);
	if (dir)
		closedir(dir);
	return n;
}

TEST_F(engine, init_and_fini_leave_nothing)
{
	bool has_thread = !strcmp(variant->name, "thread");
	int files;

	EXPECT_EQ(has_thread, count_entries("/proc/self/task", HANDLER));
	ASSERT_EQ(0, stm_fini());
	EXPECT_EQ(0, count_entries("/proc/self/task", HANDLER));
	files = count_entries("/proc/self/fd", NULL);
	for (int i = 0; i < 20; i++) {
		volatile long value = 0;
		long STM *word = NULL;

		ASSERT_EQ(0, init(variant->name));
		ASSERT_EQ(0, stm_thread_attach());
		STM_ATOMIC
			STM_SET(*(word = stm_alloc(PAGE)), i);
		forget_pages();
		STM_ATOMIC
			value = STM_GET(*word);
		EXPECT_EQ(i, value);
		EXPECT_EQ(has_thread, count_entries("/proc/self/task", HANDLER));
		ASSERT_EQ(0, stm_fini());
	}
	EXPECT_EQ(files, count_entries("/proc/self/fd", NULL));
	EXPECT_EQ(0, count_entries("/proc/self/task", HANDLER));
}

TEST_HARNESS_MAIN
