// SPDX-License-Identifier: MIT
/*
 * transaction_test.c - how a transaction is entered, run again and left: each way out of STM_ATOMIC, with and without a
 * conflict at commit, nesting, cancel and restart from any depth, locals, stm_atomic() and its codes, inevitability.
 *
 * levels_test.sh compiles and runs this file at all optimisation levels with both compilers: the checkpoint
 * must be right in all of them.
 */
#include <errno.h>

#include <uffdstm.h>

#include "support.h"

#define CELLS 8
#define CODE 77

/* Numbers in the heap, a granule each. */
struct cell {
	long value;
	long unused;
};

static struct cell STM *cells;

/* ---- other threads ---- */

static void *add_to_cell(void *arg)
{
	size_t i = (size_t)(uintptr_t)arg;

	if (stm_thread_attach())
		abort();
	STM_ATOMIC {
		STM_SET(cells[i].value, STM_GET(cells[i].value) + 100);
	}
	return arg;
}

/* Another thread adds 100 to a cell: who has read it must run again. */
static void rival_adds(size_t i)
{
	in_thread(add_to_cell, (void *)i);
}

static void *read_cell(void *arg)
{
	static long value;

	if (stm_thread_attach())
		abort();
	STM_ATOMIC {
		value = STM_GET(cells[(size_t)(uintptr_t)arg].value);
	}
	return &value;
}

/* What another thread sees: committed or not. */
static long committed(size_t i)
{
	return *(long *)in_thread(read_cell, (void *)i);
}

static void set(size_t i, long value)
{
	STM_SET(cells[i].value, value);
}

static long get(size_t i)
{
	return +STM_GET(cells[i].value);
}

static struct stm_stats stats(void)
{
	struct stm_stats s;

	if (stm_stats(&s, sizeof(s)))
		abort();
	return s;
}

static volatile int attempts;
static volatile int came_back;  /* from calls that do not return */

FIXTURE(transaction) {
};

FIXTURE_VARIANT(transaction) {
	int conflicts;          /* attempts of a block that a rival spoils at commit */
};

FIXTURE_VARIANT_ADD(transaction, smooth) { .conflicts = 0 };
FIXTURE_VARIANT_ADD(transaction, conflict) { .conflicts = 1 };
FIXTURE_VARIANT_ADD(transaction, conflicts) { .conflicts = 10 }; /* past the right of way */

FIXTURE_SETUP(transaction)
{
	ASSERT_EQ(0, stm_init(NULL));
	ASSERT_EQ(0, stm_thread_attach());
	STM_ATOMIC {
		cells = stm_zalloc(CELLS * sizeof(*cells));
	}
	ASSERT_TRUE(cells != NULL);
}

FIXTURE_TEARDOWN(transaction)
{
	EXPECT_EQ(0, came_back);
	EXPECT_FALSE(stm_in_transaction());
	EXPECT_EQ(0, stm_fini());
}

/*
 * At the start of a block: counts the attempt, reads cell 0, and lets a rival change it while @spoil lasts. From
 * the ninth attempt on the library gives right of way: no rival can commit then, nor need it be tried.
 */

#define RIGHT_OF_WAY 8

static void attempt(int spoil)
{
	get(0);
	if (attempts++ < spoil && attempts <= RIGHT_OF_WAY)
		rival_adds(0);
}

static int expected_attempts(int spoil)
{
	return (spoil < RIGHT_OF_WAY ? spoil : RIGHT_OF_WAY) + 1;
}

#define EXPECT_COMMITTED(cell, expected)                                        \
	do {                                                                    \
		EXPECT_FALSE(stm_in_transaction());                             \
		EXPECT_EQ(0, stm_outcome());                                    \
		EXPECT_EQ(expected_attempts(variant->conflicts), attempts);     \
		EXPECT_EQ(expected, committed(cell));                           \
		attempts = 0;                                                   \
	} while (0)

/* ---- ways out ---- */

/* Last of its function: no frame may be gone when the commit fails. */
static __attribute__((__noinline__)) void leave_by_end(int spoil)
{
	STM_ATOMIC {
		attempt(spoil);
		set(1, get(1) + 1);
	}
}

static __attribute__((__noinline__)) void leave_by_return(int spoil)
{
	STM_ATOMIC {
		attempt(spoil);
		set(1, get(1) + 1);
		return;
	}
	abort();
}

/* The value is computed inside: it is what the attempt that committed saw. */
static __attribute__((__noinline__)) long leave_by_return_of_value(int spoil)
{
	STM_ATOMIC {
		attempt(spoil);
		set(1, get(1) + 1);
		return get(1) + get(0);
	}
	abort();
}

struct large {
	long values[20];
};

static __attribute__((__noinline__)) struct large leave_by_return_of_struct(int spoil)
{
	STM_ATOMIC {
		struct large large = { .values = { 0 } };

		attempt(spoil);
		set(1, get(1) + 1);
		large.values[0] = get(1);
		large.values[19] = get(0);
		return large;
	}
	abort();
}

static __attribute__((__noinline__)) long leave_by_tail_call(int spoil)
{
	STM_ATOMIC {
		attempt(spoil);
		set(1, get(1) + 1);
		return committed(2); /* by a thread that is not part of this */
	}
	abort();
}

static __attribute__((__noinline__)) int leave_by_break(int spoil)
{
	volatile int behind = 0;

	for (int i = 0; i < 3; i++) {
		STM_ATOMIC {
			attempt(i ? 0 : spoil);
			set(1, get(1) + 1);
			if (get(1))
				break;
			abort();
		}
		behind++; /* the block is what is left, not the loop around it */
	}
	return behind;
}

static __attribute__((__noinline__)) int leave_by_continue(int spoil)
{
	volatile int behind = 0;

	for (int i = 0; i < 3; i++) {
		STM_ATOMIC {
			attempt(i ? 0 : spoil);
			set(1, get(1) + 1);
			if (get(1))
				continue;
			abort();
		}
		behind++;
	}
	return behind;
}

static __attribute__((__noinline__)) int leave_by_goto(int spoil)
{
	for (int i = 0; i < 3; i++) {
		STM_ATOMIC {
			attempt(spoil);
			set(1, get(1) + 1);
			if (get(1))
				goto out;
		}
		abort();
	}
	abort();
out:
	return 5;
}

/* Backwards: entered again by the jump. */
static __attribute__((__noinline__)) int leave_by_goto_back(int spoil)
{
	volatile int rounds = 0;

again:
	STM_ATOMIC {
		attempt(rounds ? 0 : spoil);
		set(1, get(1) + 1);
		if (rounds++ < expected_attempts(spoil) + 1)
			goto again;
	}
	return rounds;
}

static __attribute__((__noinline__)) int leave_in_switch(int spoil, int which)
{
	switch (which) {
	case 0:
		STM_ATOMIC {
			attempt(spoil);
			set(1, get(1) + 1);
		}
		/* fall through */
	case 1:
		return 10;
	default:
		STM_ATOMIC {
			attempt(spoil);
			set(1, get(1) + 1);
			break;
		}
		return 11; /* the block, not the switch */
	}
	return 12;
}

TEST_F(transaction, left_by_end)
{
	leave_by_end(variant->conflicts);
	EXPECT_COMMITTED(1, 1);
}

TEST_F(transaction, left_by_return)
{
	leave_by_return(variant->conflicts);
	EXPECT_COMMITTED(1, 1);
	EXPECT_EQ(2 + committed(0), leave_by_return_of_value(variant->conflicts) -
				   100 * (expected_attempts(variant->conflicts) - 1));
	EXPECT_COMMITTED(1, 2);
	struct large large = leave_by_return_of_struct(variant->conflicts);
	EXPECT_EQ(3, large.values[0]);
	EXPECT_EQ(committed(0), large.values[19]);
	EXPECT_COMMITTED(1, 3);
	EXPECT_EQ(0, leave_by_tail_call(variant->conflicts));
	EXPECT_COMMITTED(1, 4);
}

TEST_F(transaction, left_by_break_and_continue)
{
	EXPECT_EQ(3, leave_by_break(variant->conflicts));
	attempts -= 2;
	EXPECT_COMMITTED(1, 3);
	EXPECT_EQ(3, leave_by_continue(variant->conflicts));
	attempts -= 2;
	EXPECT_COMMITTED(1, 6);
}

TEST_F(transaction, left_by_goto)
{
	EXPECT_EQ(5, leave_by_goto(variant->conflicts));
	EXPECT_COMMITTED(1, 1);
	struct stm_stats before = stats();
	int rounds = leave_by_goto_back(variant->conflicts);
	struct stm_stats after = stats();
	EXPECT_EQ(rounds, attempts);
	/* Each round committed, but for those that were spoilt. */
	EXPECT_EQ(after.commits - before.commits, (uint64_t)committed(1) - 1 +
		  (uint64_t)(committed(0) - 100 * (expected_attempts(variant->conflicts) - 1)) / 100);
	attempts = 0;
}

TEST_F(transaction, left_in_switch)
{
	EXPECT_EQ(10, leave_in_switch(variant->conflicts, 0));
	EXPECT_COMMITTED(1, 1);
	EXPECT_EQ(11, leave_in_switch(variant->conflicts, 2));
	EXPECT_COMMITTED(1, 2);
}

/* No braces, an empty block, two in one scope. */
TEST_F(transaction, block_forms)
{
	STM_ATOMIC
		set(1, 5);
	STM_ATOMIC {
	}
	STM_ATOMIC
		;
	STM_ATOMIC
		STM_ATOMIC
			set(1, get(1) + 1);
	if (variant->conflicts)
		STM_ATOMIC
			set(1, get(1) + 1);
	else
		STM_ATOMIC
			set(1, get(1) + 1);
	EXPECT_EQ(7, committed(1));
	EXPECT_FALSE(stm_in_transaction());
}

/* ---- nesting ---- */

static __attribute__((__noinline__)) long inner_return(void)
{
	STM_ATOMIC {
		set(2, get(2) + 1);
		return get(2);
	}
	abort();
}

static __attribute__((__noinline__)) void recurse(int depth)
{
	STM_ATOMIC {
		set(3, get(3) + 1);
		if (depth > 1)
			recurse(depth - 1);
		set(4, get(4) + 1);
	}
}

static int inner_code(void *arg)
{
	set(2, get(2) + 1);
	return *(int *)arg;
}

TEST_F(transaction, nested_is_flat)
{
	int code = CODE;
	volatile int after_inner = 0;

	STM_ATOMIC {
		attempt(variant->conflicts);
		set(1, 1);
		STM_ATOMIC {
			set(2, 1);
			EXPECT_TRUE(stm_in_transaction());
		}
		after_inner++;
		EXPECT_TRUE(stm_in_transaction());
		EXPECT_EQ(0, committed(2)); /* not yet */
		EXPECT_EQ(2, inner_return());
		EXPECT_EQ(CODE, stm_atomic(inner_code, &code)); /* cancels nothing */
		EXPECT_EQ(3, get(2));
		recurse(100);
		EXPECT_TRUE(stm_in_transaction());
		STM_ATOMIC {
			STM_ATOMIC {
				break;
			}
			EXPECT_TRUE(stm_in_transaction());
			goto middle; /* out of one of two */
		}
		abort();
middle:
		EXPECT_TRUE(stm_in_transaction());
		EXPECT_EQ(0, committed(3));
	}
	EXPECT_EQ(expected_attempts(variant->conflicts), after_inner);
	EXPECT_COMMITTED(1, 1);
	EXPECT_EQ(3, committed(2));
	EXPECT_EQ(100, committed(3));
	EXPECT_EQ(100, committed(4));
}

static __attribute__((__noinline__)) int leave_three_at_once(int spoil)
{
	STM_ATOMIC {
		STM_ATOMIC {
			STM_ATOMIC {
				attempt(spoil);
				set(1, get(1) + 1);
				return 6;
			}
		}
	}
	abort();
}

static __attribute__((__noinline__)) int leave_three_by_goto(int spoil)
{
	STM_ATOMIC {
		STM_ATOMIC {
			STM_ATOMIC {
				attempt(spoil);
				set(1, get(1) + 1);
				goto out;
			}
		}
	}
	abort();
out:
	return 7;
}

TEST_F(transaction, nested_left_at_once)
{
	EXPECT_EQ(6, leave_three_at_once(variant->conflicts));
	EXPECT_COMMITTED(1, 1);
	EXPECT_EQ(7, leave_three_by_goto(variant->conflicts));
	EXPECT_COMMITTED(1, 2);
}

/* ---- cancel ---- */

static __attribute__((__noinline__)) void cancel_below(int depth, int code)
{
	STM_ATOMIC {
		set(1, get(1) + 1);
		if (depth)
			cancel_below(depth - 1, code);
		stm_cancel(code);
		came_back++;
	}
	came_back++;
}

static int cancel_in_call(void *arg)
{
	cancel_below(3, *(int *)arg);
	abort();
}

TEST_F(transaction, cancel)
{
	static const int codes[] = { CODE, 1, -1, -ENOMEM, INT32_MAX, INT32_MIN };
	struct stm_stats before = stats();
	const int n = sizeof(codes) / sizeof(codes[0]);

	for (int i = 0; i < n; i++) {
		STM_ATOMIC {
			attempt(0);
			EXPECT_EQ(-EINVAL, stm_cancel(0));
			cancel_below(i, codes[i]);
		}
		EXPECT_FALSE(stm_in_transaction());
		EXPECT_EQ(codes[i], stm_outcome());
		EXPECT_EQ(0, committed(1));
	}
	EXPECT_EQ((uint64_t)n, stats().aborts[STM_ABORT_CANCEL] - before.aborts[STM_ABORT_CANCEL]);
	EXPECT_EQ(-EPERM, stm_cancel(1));
	EXPECT_EQ(-EPERM, stm_cancel(0));
	/* The next one begins afresh. */
	attempts = 0;
	leave_by_end(variant->conflicts);
	EXPECT_COMMITTED(1, 1);
	for (int i = 0; i < n; i++) {
		int code = codes[i];

		EXPECT_EQ(code, stm_atomic(cancel_in_call, &code));
		EXPECT_EQ(code, stm_outcome());
	}
	EXPECT_EQ(1, committed(1));
}

/* What follows a cancelled block is run once, with nothing left of it. */
static __attribute__((__noinline__)) int cancel_by_condition(int spoil, int code)
{
	volatile int behind = 0;

	STM_ATOMIC {
		attempt(spoil);
		set(1, -1);
		if (attempts == expected_attempts(spoil))
			stm_cancel(code);
	}
	behind++;
	return behind * stm_outcome();
}

TEST_F(transaction, cancel_after_conflicts)
{
	EXPECT_EQ(CODE, cancel_by_condition(variant->conflicts, CODE));
	EXPECT_EQ(0, committed(1));
	attempts = 0;
}

/* ---- restart ---- */

static __attribute__((__noinline__)) void restart_below(int depth)
{
	STM_ATOMIC {
		if (depth)
			restart_below(depth - 1);
		stm_restart();
		came_back++;
	}
	came_back++;
}

TEST_F(transaction, restart)
{
	struct stm_stats before = stats();

	STM_ATOMIC {
		EXPECT_EQ(0, get(1)); /* undone each time */
		set(1, 5);
		if (attempts++ < 20)
			restart_below(attempts);
	}
	EXPECT_EQ(21, attempts);
	EXPECT_EQ(5, committed(1));
	EXPECT_EQ(20, stats().aborts[STM_ABORT_RESTART] - before.aborts[STM_ABORT_RESTART]);
	EXPECT_EQ(-EPERM, stm_restart());
	attempts = 0;
}

/* ---- validate ---- */

TEST_F(transaction, validate)
{
	struct stm_stats before = stats();

	EXPECT_EQ(-EPERM, stm_validate());
	STM_ATOMIC {
		EXPECT_EQ(0, stm_validate());
		attempt(variant->conflicts);
		if (attempts <= RIGHT_OF_WAY)
			rival_adds(5); /* not read here */
		if (attempts <= variant->conflicts && attempts <= RIGHT_OF_WAY) {
			stm_validate(); /* does not return */
			came_back++;
		}
		EXPECT_EQ(0, stm_validate());
		set(1, 1);
	}
	EXPECT_COMMITTED(1, 1);
	struct stm_stats after = stats();
	EXPECT_EQ((uint64_t)expected_attempts(variant->conflicts) - 1,
		  after.aborts[STM_ABORT_VALIDATE] - before.aborts[STM_ABORT_VALIDATE]);
	EXPECT_EQ(0, after.aborts[STM_ABORT_CONFLICT] - before.aborts[STM_ABORT_CONFLICT]);
}

/* ---- locals ---- */

static __attribute__((__noinline__)) long opaque(long x)
{
	__asm__ volatile("" : "+r"(x) : : "memory");
	return x;
}

static __attribute__((__noinline__)) double opaque_double(double x)
{
	__asm__ volatile("" : "+x"(x) : : "memory");
	return x;
}

/*
 * More locals than registers, set before the block and not changed in it: each attempt finds all of them. Locals that
 * are set in the block before use need no care; those that count must be volatile. Arguments on the stack count as locals.
 */
static __attribute__((__noinline__)) long many_locals(int spoil, long s1, long s2, long s3, long s4, long s5,
						      long s6, long s7)
{
	long a = opaque(1), b = opaque(2), c = opaque(3), d = opaque(4), e = opaque(5), f = opaque(6);
	long g = opaque(7), h = opaque(8), i = opaque(9), j = opaque(10), k = opaque(11), l = opaque(12);
	double x = opaque_double(0.5), y = opaque_double(0.25);
	size_t n = (size_t)opaque(30);
	long array[n];
	volatile long counted = 0;
	long set_inside;

	for (size_t m = 0; m < n; m++)
		array[m] = opaque((long)m);
	STM_ATOMIC {
		set_inside = opaque(100);
		attempt(spoil);
		counted++;
		/* Uses that keep them alive across calls. */
		set(1, opaque(a + b + c) + opaque(d + e + f) + opaque(g + h + i) + opaque(j + k + l));
		set(2, opaque((long)(4 * opaque_double(x + y))));
		for (size_t m = 0; m < n; m++)
			set(3, get(3) + array[m]);
		set_inside += opaque(s1 + s2 + s3 + s4 + s5 + s6 + s7);
		set(4, set_inside);
	}
	/* And after it. */
	return counted + opaque(a + b + c + d + e + f + g + h + i + j + k + l) + array[n - 1] +
	       (long)(4 * (x + y)) + s7;
}

TEST_F(transaction, locals)
{
	EXPECT_EQ(expected_attempts(variant->conflicts) + 78 + 29 + 3 + 7000,
		  many_locals(variant->conflicts, 1000, 2000, 3000, 4000, 5000, 6000, 7000));
	EXPECT_COMMITTED(1, 78);
	EXPECT_EQ(3, committed(2));
	EXPECT_EQ(435, committed(3));
	EXPECT_EQ(28100, committed(4));
}

/* The same for whoever calls: registers that a function must preserve are those of its caller. */
TEST_F(transaction, registers_of_the_caller)
{
	long a = opaque(1), b = opaque(2), c = opaque(3), d = opaque(4), e = opaque(5), f = opaque(6), g = opaque(7);

	for (long round = opaque(0); round < 5; round++) {
		attempts = 0;
		leave_by_return_of_value(variant->conflicts);
		attempts = 0;
		cancel_by_condition(variant->conflicts, CODE);
		EXPECT_EQ(28 * (round + 1), opaque(a) + opaque(b) + opaque(c) + opaque(d) + opaque(e) + opaque(f) +
						    opaque(g));
		a++, b += 2, c += 3, d += 4, e += 5, f += 6, g += 7;
	}
	attempts = 0;
}

/* ---- stm_atomic() ---- */

struct call {
	int spoil, code;
	int calls;
};

static int call(void *arg)
{
	struct call *c = arg;
	int local = 0; /* needs no care: the function is called anew */

	c->calls++;
	attempt(c->spoil);
	for (int i = 0; i < 10; i++)
		local += (int)opaque(i);
	set(1, get(1) + local);
	return c->code;
}

TEST_F(transaction, call_commits)
{
	struct call c = { .spoil = variant->conflicts };

	EXPECT_EQ(0, stm_atomic(call, &c));
	EXPECT_EQ(expected_attempts(variant->conflicts), c.calls);
	EXPECT_COMMITTED(1, 45);
}

TEST_F(transaction, call_gives_code)
{
	static const int codes[] = { CODE, -1, INT32_MIN };
	uint64_t cancels = stats().aborts[STM_ABORT_CANCEL];

	for (int i = 0; i < 3; i++) {
		struct call c = { .code = codes[i] };

		EXPECT_EQ(codes[i], stm_atomic(call, &c));
		EXPECT_EQ(codes[i], stm_outcome());
		EXPECT_EQ(0, committed(1));
		EXPECT_FALSE(stm_in_transaction());
		EXPECT_EQ(1, c.calls);
	}
	EXPECT_EQ(3, stats().aborts[STM_ABORT_CANCEL] - cancels);
	attempts = 0;
}

/* ---- inevitable ---- */

TEST_F(transaction, inevitable)
{
	struct stm_stats before = stats(), after;
	volatile int after_it = 0;

	EXPECT_EQ(-EPERM, stm_become_inevitable("test"));
	STM_ATOMIC {
		attempt(variant->conflicts);
		EXPECT_EQ(0, stm_become_inevitable("test")); /* conflicts are over behind this */
		after_it++;
		set(1, get(1) + 1);
		EXPECT_EQ(0, stm_become_inevitable("again"));
		EXPECT_EQ(-EPERM, stm_cancel(CODE));
		EXPECT_EQ(-EPERM, stm_restart());
		EXPECT_EQ(0, stm_validate());
		STM_ATOMIC {
			EXPECT_EQ(-EPERM, stm_cancel(CODE));
			set(1, get(1) + 1);
		}
	}
	EXPECT_EQ(1, after_it);
	EXPECT_COMMITTED(1, 2);
	after = stats();
	/* Taken for right of way, it does not count once more. */
	EXPECT_EQ(1, after.inevitable - before.inevitable);
	if (variant->conflicts && variant->conflicts < RIGHT_OF_WAY)
		EXPECT_LT(0, after.aborts[STM_ABORT_INEVITABLE] - before.aborts[STM_ABORT_INEVITABLE]);
	/* The next one can be undone again. */
	STM_ATOMIC {
		set(1, 9);
		stm_cancel(CODE);
	}
	EXPECT_EQ(CODE, stm_outcome());
	EXPECT_EQ(2, committed(1));
}

/* Right of way is not inevitable: it can still be undone. */
TEST_F(transaction, right_of_way_may_cancel)
{
	STM_ATOMIC {
		attempt(RIGHT_OF_WAY);
		set(1, 1);
		if (attempts > RIGHT_OF_WAY)
			stm_cancel(CODE);
	}
	EXPECT_EQ(CODE, stm_outcome());
	EXPECT_EQ(0, committed(1)); /* a rival may commit again, too */
	rival_adds(1);
	EXPECT_EQ(100, committed(1));
	attempts = 0;
}

static int code_when_inevitable(void *arg)
{
	set(1, get(1) + 1);
	if (stm_become_inevitable("test"))
		abort();
	return *(int *)arg;
}

TEST_F(transaction, code_when_inevitable_commits)
{
	int code = CODE;

	EXPECT_EQ(CODE, stm_atomic(code_when_inevitable, &code));
	EXPECT_EQ(0, stm_outcome()); /* it committed */
	EXPECT_EQ(1, committed(1));
	/* Without a write, too. */
	STM_ATOMIC {
		EXPECT_EQ(0, stm_become_inevitable("test"));
	}
	rival_adds(1);
	EXPECT_EQ(101, committed(1));
}

TEST_HARNESS_MAIN
