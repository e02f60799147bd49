/* SPDX-License-Identifier: MIT */
/*
 * collect_support.h - what tests of collections share: whether two operations conflict.
 */
#ifndef STM_SELFTESTS_COLLECT_SUPPORT_H
#define STM_SELFTESTS_COLLECT_SUPPORT_H

#include "heap_support.h"

/* Two transactions at once: @other begins when @first has done its work, and commits before it. */
struct overlap {
	stm_fn *first, *other;
	void *arg;
	unsigned int attempts;          /* of the first */
	int error;
};

UNUSED static void *run_other(void *arg)
{
	struct overlap *o = arg;

	o->error = stm_thread_attach();
	if (!o->error)
		o->error = stm_atomic(o->other, o->arg);
	if (!o->error)
		o->error = stm_thread_detach();
	return NULL;
}

UNUSED static int run_first(void *arg)
{
	struct overlap *o = arg;
	int result = o->first(o->arg);

	if (!o->attempts++)
		in_thread(run_other, o);
	/* One that writes nothing serialises where it began, whatever it read. */
	STM_SET(*stm_root(STM_ROOTS - 1), (void STM *)NULL);
	return result;
}

/* 0: they do not conflict, 1: they do; else an error of one of them. */
UNUSED static int conflict(stm_fn *first, stm_fn *other, void *arg)
{
	struct overlap o = { .first = first, .other = other, .arg = arg };
	int result = stm_atomic(run_first, &o);

	return result ? result : o.error ? o.error : (int)o.attempts - 1;
}

#endif
