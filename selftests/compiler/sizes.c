/* SPDX-License-Identifier: MIT */
/*
 * Struct assignment of every size: heap to heap, into the heap, out of it.
 *
 * Up to 64 bytes every compiler does it at every level. clang refuses larger ones ("cannot lower
 * memory intrinsic in address space 256"): past 128 bytes, with -Os past 64; so they are
 * compiled with -DLARGE only.
 */
#include "cases.h"

#define CHARS(size)                                                                     \
	{                                                                               \
		struct chars { char b[size]; };                                         \
		*H(struct chars, at) = *H(struct chars, B + at);                        \
		*H(struct chars, C + at) = *N(struct chars, at);                        \
		*N(struct chars, B + at) = *H(struct chars, C + B / 2 + at);            \
		at += (size) + 1;                                                       \
	}

#define LONGS(size)                                                                     \
	{                                                                               \
		struct longs { long b[(size) / 8]; };                                   \
		*H(struct longs, at) = *H(struct longs, B + at);                        \
		*H(struct longs, C + at) = *N(struct longs, at);                        \
		*N(struct longs, B + at) = *H(struct longs, C + B / 2 + at);            \
		at += (size) + 8;                                                       \
	}

#define FOUR(X, n, step) X((n) + (step)) X((n) + 2 * (step)) X((n) + 3 * (step)) X((n) + 4 * (step))
#define SIXTEEN(X, n, step)                                                             \
	FOUR(X, n, step) FOUR(X, (n) + 4 * (step), step) FOUR(X, (n) + 8 * (step), step)        \
	FOUR(X, (n) + 12 * (step), step)

CASE(assign_1_to_64)
{
	long at = 0;

	UNUSED;
	SIXTEEN(CHARS, 0, 1)
	SIXTEEN(CHARS, 16, 1)
	SIXTEEN(CHARS, 32, 1)
	SIXTEEN(CHARS, 48, 1)
	return at;
}

CASE(assign_longs_8_to_64)
{
	long at = 0;

	UNUSED;
	FOUR(LONGS, 0, 8)
	FOUR(LONGS, 32, 8)
	return at;
}

CASE(assign_in_loop)
{
	struct sixty { char b[60]; };

	UNUSED;
	for (long i = 0; i < k % 100; i++)
		H(struct sixty, 0)[i] = H(struct sixty, B)[2 * i];
	for (long i = 0; i < k % 100; i++)
		N(struct sixty, 0)[i] = H(struct sixty, C)[i];
	return 0;
}

#ifdef LARGE
#define LARGE_CASE(first)                                                               \
	CASE(assign_from_##first)                                                       \
	{                                                                               \
		long at = 0;                                                            \
		UNUSED;                                                                 \
		SIXTEEN(CHARS, first, 1)                                                \
		return at;                                                              \
	}

LARGE_CASE(64)
LARGE_CASE(80)
LARGE_CASE(96)
LARGE_CASE(112)
LARGE_CASE(128)
LARGE_CASE(192)
LARGE_CASE(248)
LARGE_CASE(376)
LARGE_CASE(496)

CASE(assign_longs_72_to_512)
{
	long at = 0;

	UNUSED;
	SIXTEEN(LONGS, 64, 8)
	FOUR(LONGS, 192, 8)
	FOUR(LONGS, 248, 8)
	FOUR(LONGS, 480, 8)
	return at;
}

CASE(assign_4096)
{
	long at = 0;

	UNUSED;
	CHARS(4096)
	return at;
}

CASE(swap_large)
{
	struct big { char b[300]; } t = *H(struct big, 0);

	UNUSED;
	*H(struct big, 0) = *H(struct big, B);
	*H(struct big, B) = t;
	return 0;
}

#define CASES(X) \
	X(assign_1_to_64) X(assign_longs_8_to_64) X(assign_in_loop) X(assign_from_64) X(assign_from_80) \
	X(assign_from_96) X(assign_from_112) X(assign_from_128) X(assign_from_192) X(assign_from_248) \
	X(assign_from_376) X(assign_from_496) X(assign_longs_72_to_512) X(assign_4096) X(swap_large)
#else
#define CASES(X) X(assign_1_to_64) X(assign_longs_8_to_64) X(assign_in_loop)
#endif

CASE_TABLE(CASES);
