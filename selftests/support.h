/* SPDX-License-Identifier: MIT */
/*
 * support.h - what several tests need: a child that is expected to stop, a thread for a moment,
 * seeded random numbers; and the harness.
 */
#ifndef STM_SELFTESTS_SUPPORT_H
#define STM_SELFTESTS_SUPPORT_H

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"

#define UNUSED __attribute__((__unused__))

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifndef WITH_ASAN
#define WITH_ASAN 0
#endif

/* Refusals are for the library to handle, alternate stacks are the tests' own, and children exit as they are. */
#if WITH_ASAN
int __lsan_do_recoverable_leak_check(void);
const char *__asan_default_options(void);
UNUSED const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1:use_sigaltstack=0:leak_check_at_exit=0";
}
#else
#define __lsan_do_recoverable_leak_check() 0
#endif

/*
 * gcc sees that stm__begin() may return twice, not that it never does once its block has ended: it warns of each
 * counter of a loop around STM_ATOMIC.
 */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wclobbered"
#endif

/* A machine that is busy with other things is slow: the runner's limit is the only one. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 280

/* What this machine's profile says shall not matter; a test of profiles sets it otherwise. */
__attribute__((__constructor__)) UNUSED static void take_no_profile(void)
{
	setenv("UFFDSTM_PROFILE", "", 0);
}

/* ---- children ---- */

/* How a child ended, and what it said on stderr. */
struct ended {
	int status;                     /* as from waitpid(2) */
	unsigned int lines;
	char text[4096];
};

/*
 * Run @fn(@arg) in a child, which then exits with 0 unless it stopped before. Its stderr is caught. Signals have
 * their default actions, whatever a sanitizer made of them, unless @keep_signals.
 */
UNUSED static struct ended run_child_keeping(void (*fn)(void *arg), void *arg, bool keep_signals)
{
	struct ended e = { .status = -1 };
	char rest[256];
	size_t len = 0;
	ssize_t n;
	int ends[2];
	pid_t pid;

	fflush(NULL);
	if (pipe(ends))
		return e;
	pid = fork();
	if (pid == 0) {
		dup2(ends[1], STDERR_FILENO);
		close(ends[0]);
		close(ends[1]);
		setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
		if (WITH_ASAN && !keep_signals) {
			signal(SIGSEGV, SIG_DFL);
			signal(SIGBUS, SIG_DFL);
		}
		fn(arg);
		_exit(0);
	}
	close(ends[1]);
	while (len < sizeof(e.text) - 1 && (n = read(ends[0], e.text + len, sizeof(e.text) - 1 - len)) > 0)
		len += (size_t)n;
	while (read(ends[0], rest, sizeof(rest)) > 0) /* or it would die of SIGPIPE */
		;
	close(ends[0]);
	if (pid > 0)
		waitpid(pid, &e.status, 0);
	for (const char *p = e.text; (p = strchr(p, '\n')); p++)
		e.lines++;
	return e;
}

UNUSED static struct ended run_child(void (*fn)(void *arg), void *arg)
{
	return run_child_keeping(fn, arg, false);
}

UNUSED static bool was_killed_by(const struct ended *e, int signum)
{
	return WIFSIGNALED(e->status) && WTERMSIG(e->status) == signum;
}

UNUSED static bool exited_with(const struct ended *e, int code)
{
	return WIFEXITED(e->status) && WEXITSTATUS(e->status) == code;
}

/* Exactly one line, of the library, that contains @a and @b. */
UNUSED static bool said(const struct ended *e, const char *a, const char *b)
{
	return e->lines == 1 && !strncmp(e->text, "libuffdstm: ", 12) && strstr(e->text, a) && strstr(e->text, b);
}

/* For a line of the log: what came, in words. */
UNUSED static const char *how(const struct ended *e)
{
	static char words[sizeof(e->text) + 64];

	snprintf(words, sizeof(words), "%s %d, %u lines: %s",
		 WIFSIGNALED(e->status) ? "signal" : "exit", WIFSIGNALED(e->status) ? WTERMSIG(e->status) : WEXITSTATUS(e->status),
		 e->lines, e->text);
	return words;
}

/* ---- engines ---- */

#ifdef UFFDSTM_H
/* Whether the library runs with this one; it is initialised. */
UNUSED static bool engine_is(const char *name)
{
	struct stm_stats stats;

	return !stm_stats(&stats, sizeof(stats)) && !strcmp(stats.engine, name);
}
#endif

/* Whether the kernel that runs is this version or a later one. */
UNUSED static bool kernel_is_since(int major, int minor)
{
	struct utsname name;
	int a, b;

	if (uname(&name) || sscanf(name.release, "%d.%d", &a, &b) != 2)
		abort();
	return a > major || (a == major && b >= minor);
}

#define HAS_ASYNC kernel_is_since(6, 7) /* UFFD_FEATURE_WP_ASYNC */

/* UFFDIO_CONTINUE_MODE_WP: without it engine thread has to copy a page for a read, too. */
#define THREAD_SHARES kernel_is_since(6, 4)

/* Whether the environment asks for it: before stm_init(). */
UNUSED static bool engine_asked_is(const char *name)
{
	const char *asked = getenv("UFFDSTM_ENGINE");

	return asked && !strcmp(asked, name);
}

/* ---- threads ---- */

/* Run @fn(@arg) in a thread of its own, and wait for it. */
UNUSED static void *in_thread(void *(*fn)(void *arg), void *arg)
{
	pthread_t thread;
	void *result = NULL;

	if (pthread_create(&thread, NULL, fn, arg) || pthread_join(thread, &result)) {
		fprintf(stderr, "# cannot run a thread\n");
		abort();
	}
	return result;
}

/* ---- random numbers ---- */

/* splitmix64, Steele, Lea and Flood, 2014. */
UNUSED static uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

UNUSED static uint64_t random_below(uint64_t *state, uint64_t n)
{
	return random_next(state) % n;
}

/* The seed of a run: environment STM_SEED, else the same as always. A test that uses it prints it. */
UNUSED static uint64_t random_seed(void)
{
	const char *text = getenv("STM_SEED");

	return text ? strtoull(text, NULL, 0) : 1;
}

/* STM_LONG: how much longer than usual to run; 1 is usual. Half of @factor, since there are many of them by now. */
UNUSED static unsigned int long_factor(unsigned int factor)
{
	return getenv("STM_LONG") ? (factor + 1) / 2 : 1;
}

/* UFFDSTM_STRICT: a transaction takes system calls, so that loops of millions do a part of it; 1 is usual. */
UNUSED static unsigned int strict_divisor(void)
{
	return getenv("UFFDSTM_STRICT") ? 50 : 1;
}

#endif
