// SPDX-License-Identifier: MIT
/*
 * mistakes_test.c - use that shows a broken program: each stops the process with exactly one line that names
 * the call or the access, and the rule.
 *
 * Each mistake is made in a child that initialises the library itself.
 */
#include <errno.h>

#include <uffdstm.h>

#include "support.h"

#define PAGE ((size_t)4096)

struct node {
	long a, b;
	struct node STM *next;
	unsigned char bytes[200];
};

struct mistake {
	const char *name;
	void (*commit)(void);
	int signum;
	const char *a, *b;      /* what the line must contain */
};

/* Ten pages of the heap, UNMAPPED, in a thread that is attached. */
static struct node STM *block;

static void set_up(void)
{
	if (stm_init(NULL) || stm_thread_attach())
		_exit(100);
	STM_ATOMIC {
		block = stm_zalloc(10 * PAGE);
	}
	if (!block || stm_thread_detach() || stm_thread_attach())
		_exit(100);
}

static void commit_mistake(void *arg)
{
	const struct mistake *m = arg;

	set_up();
	m->commit();
}

#define EACH(i, array) (size_t i = 0; i < sizeof(array) / sizeof((array)[0]); i++)

#define EXPECT_STOPS(table, run)                                                        \
	for EACH(i, table) {                                                            \
		struct mistake m = table[i];                                            \
		struct ended e = run_child(run, &m);                                    \
		EXPECT_TRUE(was_killed_by(&e, m.signum) && said(&e, m.a, m.b)) {        \
			TH_LOG("%s: %s", m.name, how(&e));                              \
		}                                                                       \
	}

/* ---- outside a transaction ---- */

static volatile size_t some = 3;        /* a length that the compiler does not know */
static char ordinary[64];

static void out_alloc(void)
{
	stm_alloc(1);
}

static void out_zalloc(void)
{
	stm_zalloc(1);
}

static void out_realloc(void)
{
	stm_realloc(block, 1);
}

static void out_free(void)
{
	stm_free(block);
}

static void out_free_null(void)
{
	stm_free(NULL);
}

static void out_set(void)
{
	STM_SET(block->a, 1);
}

static void out_set_again(void)
{
	STM_ATOMIC {
		STM_SET(block->a, 1);
	}
	STM_SET(block->a, 2);
}

static void out_set_after_cancel(void)
{
	STM_ATOMIC {
		STM_SET(block->a, 1);
		stm_cancel(1);
	}
	STM_SET(block->a, 2);
}

static void out_write_range(void)
{
	stm_write_range(block, some);
}

static void out_read_range(void)
{
	stm_read_range(block, some);
}

static void out_memcpy(void)
{
	stm_memcpy(block, block + 1, some);
}

static void out_memcpy_in(void)
{
	stm_memcpy_in(block, ordinary, some);
}

static void out_memcpy_out(void)
{
	stm_memcpy_out(ordinary, block, some);
}

static void out_memset(void)
{
	stm_memset(block, 0, some);
}

static void out_memcmp(void)
{
	stm_memcmp(block, block + 1, some);
}

static void out_memcmp_out(void)
{
	stm_memcmp_out(block, ordinary, some);
}

/* No barrier: what tells is the page fault. */
static void out_load(void)
{
	ordinary[0] = *(volatile unsigned char STM *)block->bytes;
}

static void out_store(void)
{
	*(volatile unsigned char STM *)block->bytes = 1;
}

static void out_get(void)
{
	ordinary[0] = (char)STM_GET(block->a);
}

static void out_local(void)
{
	ordinary[0] = *(volatile char *)stm_local(block);
}

TEST(outside_a_transaction)
{
	static const struct mistake table[] = {
		{ "alloc", out_alloc, SIGABRT, "stm_alloc", "outside a transaction" },
		{ "zalloc", out_zalloc, SIGABRT, "stm_zalloc", "outside a transaction" },
		{ "realloc", out_realloc, SIGABRT, "stm_realloc", "outside a transaction" },
		{ "free", out_free, SIGABRT, "stm_free", "outside a transaction" },
		{ "free of NULL", out_free_null, SIGABRT, "stm_free", "outside a transaction" },
		{ "set", out_set, SIGABRT, "stm_write", "outside a transaction" },
		{ "set again", out_set_again, SIGABRT, "stm_write", "outside a transaction" },
		{ "set after cancel", out_set_after_cancel, SIGABRT, "stm_write", "outside a transaction" },
		{ "write range", out_write_range, SIGABRT, "stm_write", "outside a transaction" },
		{ "read range", out_read_range, SIGABRT, "stm_read", "outside a transaction" },
		{ "memcpy", out_memcpy, SIGABRT, "stm_memcpy", "outside a transaction" },
		{ "memcpy_in", out_memcpy_in, SIGABRT, "stm_memcpy_in", "outside a transaction" },
		{ "memcpy_out", out_memcpy_out, SIGABRT, "stm_memcpy_out", "outside a transaction" },
		{ "memset", out_memset, SIGABRT, "stm_memset", "outside a transaction" },
		{ "memcmp", out_memcmp, SIGABRT, "stm_memcmp", "outside a transaction" },
		{ "memcmp_out", out_memcmp_out, SIGABRT, "stm_memcmp_out", "outside a transaction" },
		{ "load", out_load, SIGABRT, "read of heap address", "outside a transaction" },
		{ "store", out_store, SIGABRT, "write of heap address", "outside a transaction" },
		{ "get", out_get, SIGABRT, "read of heap address", "outside a transaction" },
		{ "local", out_local, SIGABRT, "read of heap address", "outside a transaction" },
	};

	EXPECT_STOPS(table, commit_mistake);
}

/* ---- bad pointers, in a transaction ---- */

static void bad_get_null(void)
{
	ordinary[0] = (char)STM_GET(((struct node STM *)NULL)->b);
}

static void bad_set_null(void)
{
	STM_SET(((struct node STM *)NULL)->b, 1);
}

static void bad_load_null(void)
{
	ordinary[0] = ((volatile struct node STM *)NULL)->bytes[0];
}

static void bad_store_null(void)
{
	((volatile struct node STM *)NULL)->bytes[0] = 1;
}

static void bad_range_null(void)
{
	stm_write_range(NULL, some);
}

static void bad_memcpy_null(void)
{
	stm_memcpy_in(NULL, ordinary, some);
}

#define END ((uintptr_t)STM_HEAP + heap_bytes())

static size_t heap_bytes(void)
{
	struct stm_stats stats;

	return stm_stats(&stats, sizeof(stats)) ? 0 : stats.heap_bytes;
}

static void bad_get_behind(void)
{
	ordinary[0] = (char)STM_GET(((struct node STM *)END)->a);
}

static void bad_set_behind(void)
{
	STM_SET(((struct node STM *)END)->a, 1);
}

/* Not constants: gcc 12 may lose the %gs prefix of a constant 64-bit address (movabs). */
static volatile uintptr_t far_behind = STM_HEAP + STM_HEAP_LIMIT - PAGE, before = STM_HEAP - 16;

static void bad_set_far_behind(void)
{
	STM_SET(((struct node STM *)far_behind)->a, 1);
}

static void bad_set_before(void)
{
	STM_SET(((struct node STM *)before)->a, 1);
}

static void bad_write_behind(void)
{
	stm_write_range((void STM *)(END - 1), some - 1);
}

static void bad_read_behind(void)
{
	stm_read_range((void STM *)(END - 1), some - 1);
}

static void bad_write_before(void)
{
	stm_write_range((void STM *)(STM_HEAP - 1), some);
}

static void bad_write_huge(void)
{
	stm_write_range(block, SIZE_MAX - some);
}

static void bad_ordinary_pointer(void)
{
	stm_memcpy_in((void STM *)(uintptr_t)ordinary, ordinary + 1, some);
}

static void bad_load_behind(void)
{
	ordinary[0] = *(volatile char STM *)END;
}

static void bad_store_behind(void)
{
	*(volatile char STM *)END = 1;
}

static void bad_free_inside(void)
{
	stm_free((char STM *)block + 16);
}

static void bad_free_unaligned(void)
{
	stm_free((char STM *)block + 1);
}

static void bad_free_root(void)
{
	stm_free(stm_root(3));
}

static void bad_free_ordinary(void)
{
	stm_free((void STM *)(uintptr_t)ordinary);
}

static void bad_free_twice(void)
{
	stm_free(block);
	stm_free(block);
}

static void bad_realloc_inside(void)
{
	stm_realloc((char STM *)block + 16, 5);
}

static void bad_usable_size(void)
{
	stm_usable_size((void STM *)END);
}

static void commit_in_transaction(void *arg)
{
	const struct mistake *m = arg;

	set_up();
	STM_ATOMIC {
		m->commit();
	}
}

TEST(bad_pointers)
{
	/* A barrier meets the marker of the address first, where the kernel stops it: SIGSEGV, with a line. */
	static const struct mistake table[] = {
		{ "get of NULL", bad_get_null, SIGSEGV, "null STM pointer", "" },
		{ "load of NULL", bad_load_null, SIGSEGV, "null STM pointer", "read" },
		{ "store to NULL", bad_store_null, SIGSEGV, "null STM pointer", "write" },
		{ "set of NULL", bad_set_null, SIGSEGV, "STM pointer", "" },
		{ "write range of NULL", bad_range_null, SIGABRT, "stm_write", "not in the heap" },
		{ "memcpy to NULL", bad_memcpy_null, SIGABRT, "stm_", "not in the heap" },
		{ "get behind the end", bad_get_behind, SIGSEGV, "not into the heap", "" },
		{ "set behind the end", bad_set_behind, SIGSEGV, "not into the heap", "" },
		{ "set far behind", bad_set_far_behind, SIGSEGV, "not into the heap", "" },
		{ "set before", bad_set_before, SIGSEGV, "not into the heap", "" },
		{ "load behind the end", bad_load_behind, SIGSEGV, "not into the heap", "" },
		{ "store behind the end", bad_store_behind, SIGSEGV, "not into the heap", "" },
		{ "write over the end", bad_write_behind, SIGABRT, "stm_write", "not in the heap" },
		{ "read over the end", bad_read_behind, SIGABRT, "stm_read", "not in the heap" },
		{ "write over the start", bad_write_before, SIGABRT, "stm_write", "not in the heap" },
		{ "write of too much", bad_write_huge, SIGABRT, "stm_write", "not in the heap" },
		{ "ordinary pointer", bad_ordinary_pointer, SIGABRT, "stm_", "not in the heap" },
		{ "free inside", bad_free_inside, SIGABRT, "stm_free", "not a block" },
		{ "free unaligned", bad_free_unaligned, SIGABRT, "stm_free", "not a block" },
		{ "free of a root", bad_free_root, SIGABRT, "stm_free", "not a block" },
		{ "free of ordinary memory", bad_free_ordinary, SIGABRT, "stm_free", "not a block" },
		{ "free twice", bad_free_twice, SIGABRT, "stm_free", "freed already" },
		{ "realloc inside", bad_realloc_inside, SIGABRT, "stm_realloc", "not a block" },
		{ "usable size", bad_usable_size, SIGABRT, "stm_usable_size", "not a block" },
	};

	EXPECT_STOPS(table, commit_in_transaction);
}

/* ---- threads that are not attached ---- */

static void begin_block(void)
{
	STM_ATOMIC {
		ordinary[0] = 1;
	}
}

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static void begin_call(void)
{
	stm_atomic(nothing, NULL);
}

static void *commit_in(void *arg)
{
	const struct mistake *m = arg;

	m->commit();
	return NULL;
}

/* The thread inherits the %gs base of its creator. */
static void commit_unattached(void *arg)
{
	set_up();
	in_thread(commit_in, arg);
}

/* The thread has no %gs base. */
static void commit_detached(void *arg)
{
	set_up();
	if (stm_thread_detach())
		_exit(100);
	commit_in(arg);
}

static void commit_stranger(void *arg)
{
	if (stm_init(NULL))
		_exit(100);
	block = (struct node STM *)(STM_HEAP + PAGE);
	in_thread(commit_in, arg);
}

static const struct mistake unattached[] = {
	{ "begin, block", begin_block, SIGABRT, "begin", "not attached" },
	{ "begin, call", begin_call, SIGABRT, "begin", "not attached" },
	{ "alloc", out_alloc, SIGABRT, "stm_alloc", "not attached" },
	{ "free", out_free, SIGABRT, "stm_free", "not attached" },
	{ "memcpy", out_memcpy, SIGABRT, "stm_memcpy", "not attached" },
	{ "write range", out_write_range, SIGABRT, "stm_write", "not attached" },
};

TEST(unattached_calls)
{
	EXPECT_STOPS(unattached, commit_unattached);
	EXPECT_STOPS(unattached, commit_detached);
	EXPECT_STOPS(unattached, commit_stranger);
}

TEST(unattached_accesses)
{
	static const struct mistake inherited[] = {
		{ "set", out_set, SIGABRT, "stm_write", "not attached" },
		{ "get", out_get, SIGABRT, "read of heap address", "not attached" },
		{ "load", out_load, SIGABRT, "read of heap address", "not attached" },
		{ "store", out_store, SIGABRT, "write of heap address", "not attached" },
	};
	/* With no %gs base it is SIGSEGV at an address that no segment has. */
	static const struct mistake without[] = {
		{ "set", out_set, SIGSEGV, "", "not attached" },
		{ "get", out_get, SIGSEGV, "", "not attached" },
		{ "load", out_load, SIGSEGV, "read", "not attached" },
		{ "store", out_store, SIGSEGV, "write", "not attached" },
	};

	EXPECT_STOPS(inherited, commit_unattached);
	EXPECT_STOPS(without, commit_detached);
	EXPECT_STOPS(without, commit_stranger);
}

/* ---- a library that is not there ---- */

static void commit_before_init(void *arg)
{
	commit_in(arg);
}

static void commit_after_fini(void *arg)
{
	set_up();
	if (stm_fini())
		_exit(100);
	commit_in(arg);
}

TEST(without_the_library)
{
	static const struct mistake table[] = {
		{ "begin, block", begin_block, SIGABRT, "begin", "not initialised" },
		{ "begin, call", begin_call, SIGABRT, "begin", "not initialised" },
		{ "alloc", out_alloc, SIGABRT, "stm_alloc", "not initialised" },
		{ "zalloc", out_zalloc, SIGABRT, "stm_zalloc", "not initialised" },
		{ "realloc", out_realloc, SIGABRT, "stm_realloc", "not initialised" },
		{ "free", out_free, SIGABRT, "stm_free", "not initialised" },
		{ "memcpy", out_memcpy, SIGABRT, "stm_memcpy", "not initialised" },
		{ "memcpy_in", out_memcpy_in, SIGABRT, "stm_memcpy_in", "not initialised" },
		{ "memcpy_out", out_memcpy_out, SIGABRT, "stm_memcpy_out", "not initialised" },
		{ "memset", out_memset, SIGABRT, "stm_memset", "not initialised" },
		{ "memcmp", out_memcmp, SIGABRT, "stm_memcmp", "not initialised" },
		{ "memcmp_out", out_memcmp_out, SIGABRT, "stm_memcmp_out", "not initialised" },
		{ "write range", out_write_range, SIGABRT, "stm_write", "not initialised" },
		{ "read range", out_read_range, SIGABRT, "stm_read", "not initialised" },
	};

	EXPECT_STOPS(table, commit_before_init);
	EXPECT_STOPS(table, commit_after_fini);
}

/* ---- hooks ---- */

static void transact(void *arg)
{
	(void)arg;
	begin_block();
}

static void hook_transacts(void)
{
	stm_on_abort(transact, NULL);
	stm_cancel(1);
}

TEST(abort_hook_that_transacts)
{
	static const struct mistake table[] = {
		{ "hook", hook_transacts, SIGABRT, "begin", "abort hook" },
	};

	EXPECT_STOPS(table, commit_in_transaction);
}

/* None of this is caught by luck: the same things done right end well. */
static void do_it_right(void *arg)
{
	(void)arg;
	set_up();
	STM_ATOMIC {
		STM_SET(block->a, 1);
		stm_memset(block, 0, sizeof(*block));
		stm_memcpy_out(ordinary, block, some);
		stm_free(stm_realloc(block, 100 * PAGE));
		stm_free(NULL);
	}
	_exit(stm_fini());
}

TEST(no_mistake)
{
	struct ended e = run_child(do_it_right, NULL);

	EXPECT_TRUE(exited_with(&e, 0) && e.lines == 0) {
		TH_LOG("%s", how(&e));
	}
}

TEST_HARNESS_MAIN
