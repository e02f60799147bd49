/* SPDX-License-Identifier: MIT */
/*
 * failure_support.h - calls that fail, one at a time: malloc and its kin, and what a test wraps besides. Linked with --wrap.
 */
#ifndef STM_SELFTESTS_FAILURE_SUPPORT_H
#define STM_SELFTESTS_FAILURE_SUPPORT_H

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "support.h"

enum { MEMORY = 1, MAPPING = 2, BLOCKS = 4, IOCTL = 8 };

/* Volatile: what runs in a fault handler is no call that the compiler can see. */
static volatile int fail_kinds; /* which calls count */
static volatile int fail_in;    /* calls until one fails; 0: none */
static volatile int failed;     /* calls that failed */

static bool refuse(int kind)
{
	if (!(fail_kinds & kind) || !fail_in)
		return false;
	fail_in = fail_in - 1;
	if (fail_in)
		return false;
	failed = failed + 1;
	errno = ENOMEM;
	return true;
}

#define WRAP(kind, type, refused, name, parameters, arguments)          \
	type __real_##name parameters;                                  \
	type __wrap_##name parameters;                                  \
	type __wrap_##name parameters                                   \
	{                                                               \
		return refuse(kind) ? refused : __real_##name arguments; \
	}

/* Blocks of ordinary memory that are not freed, while one thread counts. */
static volatile bool counting;
static volatile long held;

static void *hold(void *p)
{
	if (counting && p)
		held = held + 1;
	return p;
}

void __real_free(void *p);
void __wrap_free(void *p);
void __wrap_free(void *p)
{
	if (counting && p)
		held = held - 1;
	__real_free(p);
}

#define WRAP_MEMORY(name, parameters, arguments)                        \
	void *__real_##name parameters;                                 \
	void *__wrap_##name parameters;                                 \
	void *__wrap_##name parameters                                  \
	{                                                               \
		return refuse(MEMORY) ? NULL : hold(__real_##name arguments); \
	}

WRAP_MEMORY(malloc, (size_t size), (size))
WRAP_MEMORY(calloc, (size_t n, size_t size), (n, size))
WRAP_MEMORY(aligned_alloc, (size_t align, size_t size), (align, size))
WRAP(MEMORY, void *, NULL, realloc, (void *p, size_t size), (p, size))

static void fail(int kinds, int in)
{
	fail_kinds = kinds;
	fail_in = in;
	failed = 0;
}

/* Whether one failed; from here on none does. */
static bool was_refused(void)
{
	fail_in = 0;
	return failed;
}

/* ---- exit codes of the children ---- */

enum { REFUSED = 0, NOT_REFUSED = 40 }; /* the call that was to fail did not come any more */

struct trial {
	int kinds, n;
};

/*
 * Fail the first call, then the second, and so on until none is left to fail. Every child either exits with REFUSED, or, if
 * @may_stop, stops with one line.
 */
static void try_all(struct __test_metadata *_metadata, void (*fn)(void *arg), int kinds, bool may_stop)
{
	int n = 1, stops = 0;

	for (;; n++) {
		struct trial trial = { kinds, n };
		struct ended e = run_child(fn, &trial);

		if (exited_with(&e, NOT_REFUSED))
			break;
		stops += was_killed_by(&e, SIGABRT);
		EXPECT_TRUE((exited_with(&e, REFUSED) && e.lines <= 1) ||
			    (may_stop && was_killed_by(&e, SIGABRT) && said(&e, "ENOMEM", ""))) {
			TH_LOG("call %d of kinds %d: %s", n, kinds, how(&e));
		}
		if (n > 300)
			break;
	}
	TH_LOG("kinds %d: %d calls were failed, %d stopped the process", kinds, n - 1, stops);
	EXPECT_LT(1, n); /* something was failed at all */
}

#endif
