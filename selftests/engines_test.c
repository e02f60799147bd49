// SPDX-License-Identifier: MIT
/*
 * engines_test.c - each engine that this machine has: the faults that it takes, and how many; system calls on heap
 * memory; wrong accesses.
 */
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <spawn.h>

#include "engines_support.h"

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

TEST_HARNESS_MAIN
