/* SPDX-License-Identifier: MIT */
/*
 * scale_fit.c - lines through what was counted, and where each term binds
 *
 * A transaction of T that has a core costs, with S cores that do the same: T, and for each of the S - 1 others one
 * commit to walk over (WALK); all of them together do the rest one after the other: publish at the one tail (TAIL),
 * fold (FOLD), system calls that take the process's mmap_lock and shoot down TLBs (CALLS). A term binds where it takes
 * as long as T: WALK then halves what a core does, and of the others no more than one in so much time can be done,
 * however many cores there are.
 */
#define _GNU_SOURCE
#include <math.h>

#include "scale.h"

const char *const scale_terms[SCALE_TERMS] = {
	[WALK] = "walk", [THE_TAIL] = "tail", [FOLD] = "fold", [CALLS] = "calls",
};

struct scale_line scale_fit(const unsigned int *segments, const double *values, unsigned int n)
{
	double x = 0, y = 0, xx = 0, xy = 0, most = 0;
	struct scale_line line = { 0 };

	for (unsigned int i = 0; i < n; i++) {
		const double others = segments[i] - 1;

		x += others;
		y += values[i];
		xx += others * others;
		xy += others * values[i];
		if (fabs(values[i]) > most)
			most = fabs(values[i]);
	}
	if (n > 1)
		line.slope = (n * xy - x * y) / (n * xx - x * x);
	line.constant = n ? (y - line.slope * x) / n : 0;
	for (unsigned int i = 0; most > 0 && i < n; i++) {
		const double off = 100 * fabs(values[i] - line.constant - line.slope * (segments[i] - 1)) / most;

		if (off > line.off)
			line.off = off;
	}
	return line;
}

double scale_cores(enum scale_term term, double ns_per_transaction, double transaction_us)
{
	const double cores = transaction_us * 1000 / ns_per_transaction;

	if (ns_per_transaction <= 0)
		return INFINITY;
	return term == WALK ? 1 + cores : cores;
}
