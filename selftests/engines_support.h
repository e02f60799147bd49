/* SPDX-License-Identifier: MIT */
/*
 * engines_support.h - a heap under each engine, for the tests of engines: pages of which each has one word that is not 0.
 */
#ifndef STM_SELFTESTS_ENGINES_SUPPORT_H
#define STM_SELFTESTS_ENGINES_SUPPORT_H

#include <errno.h>
#include <stdatomic.h>

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

UNUSED static struct stm_stats stats(void)
{
	struct stm_stats s;

	if (stm_stats(&s, sizeof(s)))
		abort();
	return s;
}

static char STM *scratch;

UNUSED static int init(const char *engine)
{
	struct stm_options options = STM_OPTIONS_INIT;

	options.engine = engine;
	options.cluster = options.cluster_max = 1;
	options.heap_size = (size_t)64 << 20;
	return stm_init(&options);
}

/* All that is committed goes into the base: large entries use up blocks of the log, at whose end is a fold. */
UNUSED static bool fold_all(void)
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
UNUSED static void forget_pages(void)
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

UNUSED static bool is_fault_count(uint64_t read, uint64_t write, uint64_t protect, uint64_t reclaimed, uint64_t *before)
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

UNUSED static long STM *pages_of;
UNUSED static void *commit_in_thread(void *arg)
{
	if (stm_thread_attach())
		abort();
	STM_ATOMIC {
		for (size_t i = 0; i < BUSY; i++)
			STM_SET(pages_of[i * STEP + 1], (long)(uintptr_t)arg);
	}
	return NULL;
}

UNUSED static bool arrived(const int *pair, size_t first, long round)
{
	static long got[4 * STEP];

	if (recv(pair[1], got, sizeof(got), MSG_WAITALL) != sizeof(got))
		return false;
	for (size_t i = 0; i < 4; i++)
		if (got[i * STEP] != (long)(first + i) + 1 || got[i * STEP + 1] != round)
			return false;
	return true;
}

#endif
