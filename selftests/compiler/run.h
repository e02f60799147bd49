/* SPDX-License-Identifier: MIT */
/*
 * Tables of cases, which cases export and run.c walks: once through STM pointers, once as plain C.
 */
#ifndef UFFDSTM_COMPILER_RUN_H
#define UFFDSTM_COMPILER_RUN_H

#include <uffdstm.h>

/* Bytes of the heap, and of the ordinary memory, that a case may use. */
#define CASE_WINDOW 65536

/* @k, the elements of a loop: no multiple of a vector. */
#define CASE_LOOP 1003

typedef long view_fn(unsigned char STM *h, unsigned char *n, long k);
typedef long model_fn(unsigned char *h, unsigned char *n, long k);

struct view_case {
	const char *name;
	view_fn *run;
};

struct model_case {
	const char *name;
	model_fn *run;
};

/* Both end with a NULL name, and hold the same names in the same order. */
extern const struct view_case view_cases[];
extern const struct model_case model_cases[];

#endif
