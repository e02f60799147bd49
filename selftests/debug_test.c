// SPDX-License-Identifier: MIT
/*
 * debug_test.c - a program built with -DSTM_DEBUG: its barriers are checked, and each wrong one stops it with one line that names
 * the barrier and the rule, where a normal build would be silent or die of a signal.
 */
#define STM_DEBUG 1

#include <uffdstm.h>

#include "support.h"

struct node {
	long a, b;
	unsigned char bytes[100];
};

static struct node STM *node;

static void get(void)
{
	(void)STM_GET(node->a);
}

static void set(void)
{
	STM_SET(node->a, 1);
}

static void read_it(void)
{
	stm_read(node);
}

static void write_it(void)
{
	stm_write(node);
}

static void read_range(void)
{
	stm_read_range(node, 5);
}

static void write_range(void)
{
	stm_write_range(node, 5);
}

static const struct {
	const char *name, *barrier;
	void (*use)(void);
} uses[] = {
	{ "STM_GET", "stm_read", get },		 { "STM_SET", "stm_write", set },
	{ "stm_read", "stm_read", read_it },	 { "stm_write", "stm_write", write_it },
	{ "stm_read_range", "stm_read", read_range }, { "stm_write_range", "stm_write", write_range },
};

#define USES (sizeof(uses) / sizeof(uses[0]))

static void set_up(void)
{
	if (stm_init(NULL) || stm_thread_attach())
		_exit(100);
	STM_ATOMIC {
		node = stm_zalloc(sizeof(*node));
	}
}

static void use_outside(void *arg)
{
	set_up();
	(*(void (**)(void))arg)();
}

static void use_inside(void *arg)
{
	STM_ATOMIC {
		(*(void (**)(void))arg)();
	}
}

static void *use_in_thread(void *arg)
{
	(*(void (**)(void))arg)();
	return NULL;
}

static void use_unattached(void *arg)
{
	set_up();
	in_thread(use_in_thread, arg);
}

static void use_detached(void *arg)
{
	set_up();
	if (stm_thread_detach())
		_exit(100);
	(*(void (**)(void))arg)();
}

static void use_before_init(void *arg)
{
	node = (struct node STM *)STM_HEAP;
	(*(void (**)(void))arg)();
}

static void use_null(void *arg)
{
	set_up();
	node = NULL;
	use_inside(arg);
}

static void use_ordinary(void *arg)
{
	static struct node ordinary;

	set_up();
	node = (struct node STM *)(uintptr_t)&ordinary;
	use_inside(arg);
}

static void use_past_the_end(void *arg)
{
	struct stm_stats stats;

	set_up();
	if (stm_stats(&stats, sizeof(stats)))
		_exit(100);
	node = (struct node STM *)(STM_HEAP + stats.heap_bytes);
	use_inside(arg);
}

static void use_before_the_start(void *arg)
{
	set_up();
	node = (struct node STM *)(STM_HEAP - 16);
	use_inside(arg);
}

static void use_well(void *arg)
{
	set_up();
	use_inside(arg);
	_exit(stm_fini());
}

static void check(struct __test_metadata *_metadata, void (*how_used)(void *arg), const char *rule)
{
	for (size_t i = 0; i < USES; i++) {
		void (*use)(void) = uses[i].use;
		struct ended e = run_child(how_used, &use);

		EXPECT_TRUE(was_killed_by(&e, SIGABRT) && said(&e, uses[i].barrier, rule)) {
			TH_LOG("%s: %s", uses[i].name, how(&e));
		}
	}
}

TEST(outside_a_transaction)
{
	check(_metadata, use_outside, "outside a transaction");
}

TEST(thread_not_attached)
{
	check(_metadata, use_unattached, "not attached");
	check(_metadata, use_detached, "not attached");
}

TEST(before_init)
{
	check(_metadata, use_before_init, "not initialised");
}

TEST(bad_pointers)
{
	check(_metadata, use_null, "not in the heap");
	check(_metadata, use_ordinary, "not in the heap");
	check(_metadata, use_past_the_end, "not in the heap");
	check(_metadata, use_before_the_start, "not in the heap");
}

TEST(good_use)
{
	for (size_t i = 0; i < USES; i++) {
		void (*use)(void) = uses[i].use;
		struct ended e = run_child(use_well, &use);

		EXPECT_TRUE(exited_with(&e, 0) && e.lines == 0) {
			TH_LOG("%s: %s", uses[i].name, how(&e));
		}
	}
}

/* ---- stm_local ---- */

static void local_without_barrier(void *arg)
{
	(void)arg;
	set_up();
	for (volatile int i = 0; i < 3; i++)
		STM_ATOMIC
			((volatile struct node *)stm_local(node))->b = 1;
}

/* It is alone then, and would not mark what it reads: lib/alone.c. */
static void many_commits(void)
{
	for (volatile unsigned int i = 0; i < 5000; i++)
		STM_ATOMIC
			STM_SET(node->a, 1);
}

static void local_without_barrier_alone(void *arg)
{
	(void)arg;
	set_up();
	many_commits();
	STM_ATOMIC
		((volatile struct node *)stm_local(node))->b = 1;
}

static void local_with_barrier(void *arg)
{
	struct node STM *fresh, *tracked;

	(void)arg;
	set_up();
	STM_ATOMIC {
		stm_read(node);
		((volatile struct node *)stm_local(node))->b;
		((volatile struct node *)stm_local(&node->b))->b;
	}
	STM_ATOMIC {
		stm_write_range(node, 1);
		((volatile struct node *)stm_local(node))->b = 1;
		fresh = stm_alloc(sizeof(*fresh));
		((volatile struct node *)stm_local(fresh))->b = 1;
		tracked = stm_alloc_tracked(sizeof(*tracked));
	}
	STM_ATOMIC
		((volatile struct node *)stm_local(tracked))->b = 1;
	stm_local(node);
	/* Where an array ends. */
	many_commits();
	STM_ATOMIC {
		stm_write_range(node, sizeof(*node));
		stm_local(node + 1);
	}
	STM_ATOMIC {
		fresh = stm_alloc(4 * sizeof(*fresh));
		stm_local(fresh + 4);
	}
	STM_ATOMIC {
		stm_read_range(node, sizeof(*node));
		stm_local(node + 1);
	}
}

TEST(local)
{
	struct ended e;

	unsetenv("UFFDSTM_STRICT");
	e = run_child(local_without_barrier, NULL);
	EXPECT_TRUE(exited_with(&e, 0) && said(&e, "stm_local of heap address", "debug_test(+")) {
		TH_LOG("without: %s", how(&e));
	}
	setenv("UFFDSTM_STRICT", "2", 1);
	unsetenv("UFFDSTM_ENGINE"); /* strict mode would say that it runs with sigbus */
	e = run_child(local_without_barrier, NULL);
	EXPECT_TRUE(was_killed_by(&e, SIGABRT) && said(&e, "stm_local of heap address", "debug_test(+")) {
		TH_LOG("mode 2: %s", how(&e));
	}
	unsetenv("UFFDSTM_STRICT");
	e = run_child(local_without_barrier_alone, NULL);
	EXPECT_TRUE(exited_with(&e, 0) && said(&e, "stm_local of heap address", "debug_test(+")) {
		TH_LOG("alone: %s", how(&e));
	}
	e = run_child(local_with_barrier, NULL);
	EXPECT_TRUE(exited_with(&e, 0) && !e.lines) {
		TH_LOG("with: %s", how(&e));
	}
}

TEST_HARNESS_MAIN
