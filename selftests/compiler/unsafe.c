/* SPDX-License-Identifier: MIT */
/*
 * What uffdstm-compilers(7) warns of, and loops without its flags: the checks' negative controls. Each is
 * compiled alone, -DUNSAFE=name, for the compilers and options that get it wrong.
 *
 * -DWITHOUT_FLAGS also undoes the options that the public header sets.
 */
#include "cases.h"

#if defined(WITHOUT_FLAGS) && !defined(__clang__)
#pragma GCC reset_options
#endif

/* Any compiler, any option: what losing %gs looks like. */
CASE(lost_prefix_store)
{
	UNUSED;
	*(int *)(uintptr_t)H(int, 64) = 5;
	return 0;
}

CASE(lost_prefix_load)
{
	UNUSED;
	return *(int *)(uintptr_t)H(int, 64);
}

/* gcc without -fno-ivopts: moves a pointer of its own along, one to ordinary memory. */
CASE(literal_in_loop)
{
	struct pair AS *p = H(struct pair, 0);

	UNUSED;
	for (long i = 0; i < k; i++)
		p[i] = (struct pair){ 1, -1 };
	return 0;
}

/* gcc without -fno-tree-vectorize: stores the parts of a vector one by one, to ordinary memory. */
CASE(transpose)
{
	UNUSED;
	for (int i = 0; i < M; i++)
		for (int j = 0; j < M; j++)
			MATRIX(B)[j][i] = MATRIX(0)[i][j];
	return 0;
}

/* clang without -fno-builtin-memset, -fno-builtin-memcpy: refuses. */
CASE(fill_loop)
{
	UNUSED;
	for (long i = 0; i < k; i++)
		h[i] = 0;
	return 0;
}

CASE(copy_loop)
{
	UNUSED;
	for (long i = 0; i < k; i++)
		h[i] = h[i + 1];
	return 0;
}

/* ---- wrong whatever the options ---- */

struct three {
	long a, b, c;
};

NOINLINE struct three make_three(long k)
{
	return (struct three){ k, k + 1, k };
}

/* gcc: a function of the same file is told to put its result into ordinary memory. */
CASE(returned_struct)
{
	UNUSED;
	*H(struct three, 0) = make_three(k);
	return 0;
}

NOINLINE long take_three(struct three t)
{
	return t.a ^ t.b ^ t.c;
}

/* clang: copies the argument from ordinary memory. */
CASE(argument_struct)
{
	UNUSED;
	return take_three(*H(struct three, 0));
}

typedef unsigned int row[M];

/* gcc: a typedef of an array drops the qualifier. */
CASE(array_typedef)
{
	row AS *p = (row AS *)h;

	UNUSED;
	return p[1][2];
}

struct twenty {
	char b[20];
};

/* gcc, in code that it optimises for size: the last size % 8 bytes keep what they were. */
NOINLINE __attribute__((__cold__)) void clear_twenty(struct twenty AS *p)
{
	*p = (struct twenty){ { 0 } };
}

CASE(cleared_struct)
{
	UNUSED;
	clear_twenty(H(struct twenty, 0));
	return 0;
}

#define CASES(X) X(UNSAFE)
#undef LINE
#define LINE(name) LINE_EXPANDED(name)
#define LINE_EXPANDED(name) { #name, name },

CASE_TABLE(CASES);
