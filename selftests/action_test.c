// SPDX-License-Identifier: MIT
/*
 * action_test.c - what a transaction does outside the heap: hooks, saved memory, malloc and free; their order, and that
 * each happens exactly as often as it should, whether the transaction commits, conflicts, restarts or cancels.
 */
#include <errno.h>
#include <malloc.h>

#include <uffdstm.h>

#include "support.h"

#define CODE 7

static long STM *cell;

static void *spoil(void *arg)
{
	if (stm_thread_attach())
		abort();
	STM_ATOMIC {
		STM_SET(*cell, STM_GET(*cell) + 1);
	}
	return arg;
}

/* ---- what hooks saw ---- */

static char story[256];

static void tell(void *arg)
{
	strncat(story, arg, sizeof(story) - strlen(story) - 1);
	if (stm_in_transaction())
		strcat(story, "(inside)");
}

#define EXPECT_STORY(expected)                          \
	do {                                            \
		EXPECT_STREQ(expected, story);          \
		story[0] = 0;                           \
	} while (0)

FIXTURE(action) {
};

FIXTURE_SETUP(action)
{
	ASSERT_EQ(0, stm_init(NULL));
	ASSERT_EQ(0, stm_thread_attach());
	STM_ATOMIC {
		cell = stm_zalloc(sizeof(*cell));
	}
}

FIXTURE_TEARDOWN(action)
{
	EXPECT_EQ(0, stm_fini());
}

/* ---- hooks ---- */

TEST_F(action, commit_hooks_run_in_order)
{
	STM_ATOMIC {
		EXPECT_EQ(0, stm_on_commit(tell, "1"));
		EXPECT_EQ(0, stm_on_abort(tell, "x"));
		STM_ATOMIC {
			EXPECT_EQ(0, stm_on_commit(tell, "2"));
		}
		EXPECT_EQ(0, stm_on_commit(tell, "3"));
		EXPECT_STORY(""); /* not before the end of the outermost */
	}
	EXPECT_STORY("123");
	/* Once. */
	STM_ATOMIC {
		STM_SET(*cell, 1);
	}
	EXPECT_STORY("");
	/* The same for one that wrote, and for an inevitable one. */
	STM_ATOMIC {
		stm_on_commit(tell, "4");
		STM_SET(*cell, 2);
		stm_become_inevitable("test");
		stm_on_commit(tell, "5");
	}
	EXPECT_STORY("45");
}

TEST_F(action, abort_hooks_run_newest_first)
{
	STM_ATOMIC {
		stm_on_abort(tell, "1");
		stm_on_commit(tell, "x");
		STM_ATOMIC {
			stm_on_abort(tell, "2");
		}
		stm_on_abort(tell, "3");
		stm_cancel(CODE);
	}
	EXPECT_EQ(CODE, stm_outcome());
	EXPECT_STORY("321");
}

TEST_F(action, abort_hooks_run_for_each_attempt)
{
	volatile int attempts = 0;

	STM_ATOMIC {
		stm_on_abort(tell, "a");
		stm_on_commit(tell, "c");
		if (attempts++ < 12)
			stm_restart();
	}
	EXPECT_STORY("aaaaaaaaaaaac");
	/* A conflict at commit, one found early, and one found on the way to inevitability. */
	attempts = 0;
	STM_ATOMIC {
		stm_on_abort(tell, "a");
		stm_on_commit(tell, "c");
		STM_SET(*cell, STM_GET(*cell) + 1);
		if (attempts < 3)
			in_thread(spoil, NULL);
		attempts++;
		if (attempts == 2)
			stm_validate();
		if (attempts == 3)
			stm_become_inevitable("test");
	}
	EXPECT_EQ(4, attempts);
	EXPECT_STORY("aaac");
	STM_ATOMIC {
		EXPECT_EQ(4, +STM_GET(*cell)); /* three of theirs, one of ours */
	}
}

static int code_with_hook(void *arg)
{
	stm_on_abort(tell, "a");
	stm_on_commit(tell, "c");
	return *(int *)arg;
}

TEST_F(action, hooks_and_codes)
{
	int code = CODE;

	EXPECT_EQ(CODE, stm_atomic(code_with_hook, &code));
	EXPECT_STORY("a");
	code = 0;
	EXPECT_EQ(0, stm_atomic(code_with_hook, &code));
	EXPECT_STORY("c");
}

/* A commit hook may run transactions, with hooks of their own. */
static void transact(void *arg)
{
	volatile int attempts = 0;

	tell(arg);
	STM_ATOMIC {
		STM_SET(*cell, STM_GET(*cell) + 10);
		stm_on_commit(tell, "i");
		stm_on_abort(tell, "j");
		if (!attempts++)
			stm_restart();
	}
	tell(arg);
}

TEST_F(action, commit_hook_that_transacts)
{
	STM_ATOMIC {
		STM_SET(*cell, 1);
		stm_on_commit(transact, "A");
		stm_on_commit(tell, "1");
		stm_on_commit(transact, "B");
	}
	EXPECT_STORY("AjiA1BjiB");
	EXPECT_EQ(0, stm_outcome());
	STM_ATOMIC {
		EXPECT_EQ(21, +STM_GET(*cell));
	}
}

static void cancel_one(void *arg)
{
	(void)arg;
	STM_ATOMIC {
		stm_cancel(CODE);
	}
}

/* What its hooks do does not make a transaction that committed look cancelled. */
TEST_F(action, outcome_is_that_of_the_transaction)
{
	STM_ATOMIC {
		STM_SET(*cell, 5);
		stm_on_commit(cancel_one, NULL);
	}
	EXPECT_EQ(0, stm_outcome());
}

/* Hooks run outside the transaction: what needs one says so. */
static void misuse(void *arg)
{
	int *errors = arg;
	char byte;

	*errors += stm_on_commit(tell, "") != -EPERM;
	*errors += stm_on_abort(tell, "") != -EPERM;
	*errors += stm_save(&byte, 1) != -EPERM;
	*errors += stm_cancel(1) != -EPERM;
	*errors += stm_restart() != -EPERM;
	*errors += stm_become_inevitable("") != -EPERM;
	*errors += stm_in_transaction();
}

TEST_F(action, hooks_run_outside)
{
	int errors = 0;

	STM_ATOMIC {
		stm_on_commit(misuse, &errors);
	}
	STM_ATOMIC {
		stm_on_abort(misuse, &errors);
		stm_cancel(CODE);
	}
	EXPECT_EQ(0, errors);
	EXPECT_EQ(-EPERM, stm_on_commit(tell, ""));
	EXPECT_EQ(-EPERM, stm_on_abort(tell, ""));
	EXPECT_EQ(-EPERM, stm_save(&errors, 1));
	STM_ATOMIC {
		EXPECT_EQ(-EINVAL, stm_on_commit(NULL, ""));
		EXPECT_EQ(-EINVAL, stm_on_abort(NULL, ""));
	}
}

static unsigned int sum;

static void add_up(void *arg)
{
	sum = sum * 31 + (unsigned int)(uintptr_t)arg;
}

TEST_F(action, many_hooks)
{
	unsigned int forward = 0, backward = 0;

	for (unsigned int i = 0; i < 10000; i++)
		forward = forward * 31 + i;
	for (unsigned int i = 10000; i--;)
		backward = backward * 31 + i;
	STM_ATOMIC {
		for (uintptr_t i = 0; i < 10000; i++)
			ASSERT_EQ(0, stm_on_commit(add_up, (void *)i));
	}
	EXPECT_EQ(forward, sum);
	sum = 0;
	STM_ATOMIC {
		for (uintptr_t i = 0; i < 10000; i++)
			ASSERT_EQ(0, stm_on_abort(add_up, (void *)i));
		stm_cancel(CODE);
	}
	EXPECT_EQ(backward, sum);
}

/* ---- saved memory ---- */

TEST_F(action, saved_memory_comes_back)
{
	static char text[] = "0123456789", expected[] = "0123456789";
	static long large[10000];
	volatile int attempts = 0;

	for (size_t i = 0; i < 10000; i++)
		large[i] = (long)i;
	STM_ATOMIC {
		EXPECT_STREQ(expected, text);
		EXPECT_EQ(9999, large[9999]);
		/* Ranges that overlap: the oldest bytes win. */
		EXPECT_EQ(0, stm_save(text, 6));
		text[2] = 'a';
		EXPECT_EQ(0, stm_save(text + 2, 5));
		text[2] = text[5] = 'b';
		EXPECT_EQ(0, stm_save(text, sizeof(text)));
		memset(text, 'c', 9);
		EXPECT_EQ(0, stm_save(large, sizeof(large)));
		memset(large, 0, sizeof(large));
		EXPECT_EQ(0, stm_save(text, 0));
		EXPECT_EQ(0, stm_save(NULL, 0));
		EXPECT_EQ(-EINVAL, stm_save(NULL, 1));
		EXPECT_EQ(-ENOMEM, stm_save(text, SIZE_MAX / 2));
		if (attempts++ < 3)
			stm_restart();
		if (attempts == 5)
			stm_cancel(CODE);
	}
	EXPECT_EQ(0, stm_outcome());
	EXPECT_STREQ("ccccccccc9", text); /* committed: it stays */
	EXPECT_EQ(0, large[9999]);
}

/* Abort hooks find memory as it was when they were registered. */
static char watched;
static char found[4];

static void look(void *arg)
{
	found[(uintptr_t)arg] = watched;
}

TEST_F(action, saves_and_hooks_are_undone_in_one_order)
{
	watched = 'a';
	STM_ATOMIC {
		stm_on_abort(look, (void *)0);
		stm_save(&watched, 1);
		watched = 'b';
		stm_on_abort(look, (void *)1);
		stm_save(&watched, 1);
		watched = 'c';
		stm_on_abort(look, (void *)2);
		stm_cancel(CODE);
	}
	EXPECT_EQ('a', watched);
	EXPECT_STREQ("abc", found);
}

/* ---- malloc and free ---- */

/* Larger than the largest threshold of glibc: a mapping of its own, and counted as such. */
#define LARGE ((size_t)40 << 20)

static size_t large_blocks(void)
{
	return mallinfo2().hblkhd / LARGE;
}

TEST_F(action, malloc_is_undone)
{
	volatile int attempts = 0;
	static void *p;

	if (WITH_ASAN)
		SKIP(return, "AddressSanitizer's malloc does not count");
	STM_ATOMIC {
		p = stm_malloc(LARGE);
		ASSERT_NE(NULL, p);
		EXPECT_EQ(1, large_blocks());
		if (attempts++ < 3)
			stm_restart();
	}
	EXPECT_EQ(1, large_blocks());
	STM_ATOMIC {
		ASSERT_NE(NULL, stm_malloc(LARGE));
		EXPECT_EQ(2, large_blocks());
		stm_cancel(CODE);
	}
	EXPECT_EQ(1, large_blocks());
	STM_ATOMIC {
		stm_mfree(p);
		EXPECT_EQ(1, large_blocks()); /* not before it commits */
		stm_cancel(CODE);
	}
	EXPECT_EQ(1, large_blocks());
	STM_ATOMIC {
		stm_mfree(p);
		stm_mfree(NULL);
	}
	EXPECT_EQ(0, large_blocks());
	/* Both in one transaction, which commits or not. */
	STM_ATOMIC {
		stm_mfree(stm_malloc(LARGE));
	}
	EXPECT_EQ(0, large_blocks());
	STM_ATOMIC {
		stm_mfree(stm_malloc(LARGE));
		stm_cancel(CODE);
	}
	EXPECT_EQ(0, large_blocks());
	/* Outside they are malloc(3) and free(3). */
	p = stm_malloc(LARGE);
	EXPECT_EQ(1, large_blocks());
	stm_mfree(p);
	EXPECT_EQ(0, large_blocks());
}

TEST_F(action, malloc_of_too_much)
{
	STM_ATOMIC {
		errno = 0;
		EXPECT_EQ(NULL, stm_malloc(SIZE_MAX / 2));
		EXPECT_EQ(ENOMEM, errno);
		STM_SET(*cell, 3);
	}
	EXPECT_EQ(0, stm_outcome());
	errno = 0;
	EXPECT_EQ(NULL, stm_malloc(SIZE_MAX / 2));
	EXPECT_EQ(ENOMEM, errno);
}

/* Saved memory that the transaction itself allocated: undo writes no byte after the block is gone (ASan sees it). */
TEST_F(action, saved_block_of_its_own)
{
	volatile int attempts = 0;

	STM_ATOMIC {
		char *p = stm_malloc(100);

		memset(p, 1, 100);
		stm_save(p, 100);
		memset(p, 2, 100);
		if (attempts++ < 20)
			stm_restart();
		stm_mfree(p);
	}
	EXPECT_EQ(21, attempts);
}

TEST_HARNESS_MAIN
