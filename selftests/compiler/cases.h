/* SPDX-License-Identifier: MIT */
/*
 * Cases: C constructs that compilers turn into something else. Through STM pointers each must
 * still go through %gs.
 *
 * A case gets a window of the heap @h, one of ordinary memory @n, both filled with noise, and
 * @k, the length of loops. What it leaves behind in both and what it returns is compared with
 * the same source compiled as plain C (see run.c). So a case needs no expected result of its
 * own, only to be correct C that keeps no address of its own in memory.
 *
 * Each source is compiled twice: with -DVIEW by the compiler under test, pointers into the heap
 * being STM pointers; and without, as plain C, for the model that tells what is right.
 */
#ifndef UFFDSTM_COMPILER_CASES_H
#define UFFDSTM_COMPILER_CASES_H

#include "run.h"

#ifdef VIEW
#define AS STM
#define TABLE view_cases
#define ENTRY view_case
#else
#define AS
#define TABLE model_cases
#define ENTRY model_case
#endif

#define CASE(name)                                                                      \
	static __attribute__((__noinline__)) long name(unsigned char AS *h, unsigned char *n, long k)
#define NOINLINE static __attribute__((__noinline__))
#define UNUSED (void)h, (void)n, (void)k

/* The table that ends each source. */
#define LINE(name) { #name, name },
#define CASE_TABLE(cases) const struct ENTRY TABLE[] = { cases(LINE){ NULL, NULL } }

/* An object of type T at a byte offset of the heap's, or of the ordinary, window. */
#define H(T, offset) ((T AS *)(h + (offset)))
#define N(T, offset) ((T *)(n + (offset)))

#define MATRIX(offset) ((unsigned int AS (*)[M])(h + (offset)))

#define B 16384                         /* a second array, clear of the first */
#define C 32768
#define M 48                            /* matrix side */

struct pair {
	long a, b;
};

struct mixed {
	char tag;
	short s;
	int i;
	double d;
	char name[11];
	long l;
};

struct node {
	struct node AS *next;
	long key;
	unsigned char AS *data;
};

struct flags {
	unsigned int one : 1, three : 3;
	int five : 5;
	unsigned int big : 20;
	unsigned long wide : 40, rest : 24;
	signed char tail : 7;
};

struct packed {
	char c;
	long l;
	int i;
} __attribute__((__packed__));

union pun {
	double d;
	unsigned long u;
	unsigned int w[2];
	unsigned char b[8];
};

struct nested {
	struct pair p[2];
	union pun u;
	struct {
		int x, y;
	} in;
};

struct flex {
	unsigned int count;
	int item[];
};

typedef int vec4 __attribute__((__vector_size__(16)));
typedef int vec4_unaligned __attribute__((__vector_size__(16), __aligned__(4)));

struct eight {
	long a, b, c, d, e, f, g, h;
};

#endif
