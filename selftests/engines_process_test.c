// SPDX-License-Identifier: MIT
/*
 * engines_process_test.c - each engine and what goes on around its faults: signals, forks, many threads, descriptors and
 * threads that it holds.
 */
#include <dirent.h>
#include <sys/socket.h>

#include "engines_support.h"

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
