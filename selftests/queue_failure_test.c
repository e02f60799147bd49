// SPDX-License-Identifier: MIT
/*
 * queue_failure_test.c - there is no memory for tasks that a transaction adds to a queue.
 */
#include <uffdstm.h>

#include "failure_support.h"

#define TASKS 40u

static unsigned int gone;

static void count_gone(stm_fn *fn, void *arg)
{
	(void)fn;
	(void)arg;
	gone++;
}

static int task(void *arg)
{
	(void)arg;
	return 0;
}

static void hook(void *arg)
{
	(void)arg;
}

static int add_tasks(void *arg)
{
	static volatile unsigned int added;

	added = 0;
	for (unsigned int i = 0; i < TASKS; i++) {
		const int error = stm_queue_add(arg, task, NULL);

		if (error && error != -ENOMEM)
			_exit(2);
		added += !error;
	}
	if (added + 1 < TASKS)
		_exit(3);
	return 0;
}

/* One that is refused is not added, and its memory is not lost when the transaction commits. */
static void try_additions(void *arg)
{
	const struct trial *t = arg;
	struct stm_queue_options options = { .size = sizeof(options), .gone = count_gone };
	struct stm_queue *queue;
	bool was;

	if (stm_init(NULL) || stm_thread_attach())
		_exit(60);
	STM_ATOMIC {
		if (stm_on_abort(hook, NULL)) /* the list of hooks exists from here on */
			_exit(61);
	}
	counting = true;
	queue = stm_queue_new(&options);
	if (!queue)
		_exit(62);
	fail(t->kinds, t->n);
	stm_atomic(add_tasks, queue);
	was = was_refused();
	if (stm_queue_free(queue))
		_exit(5);
	counting = false;
	if (held)
		_exit(6);
	if (gone < TASKS - 1)
		_exit(7);
	_exit(!was ? NOT_REFUSED : stm_fini() ? 8 : REFUSED);
}

TEST(additions)
{
	try_all(_metadata, try_additions, MEMORY, false);
}

TEST_HARNESS_MAIN
