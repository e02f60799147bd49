// SPDX-License-Identifier: MIT
/*
 * report_axis.c - when things happened, in a fixed number of bins for a run of unknown length.
 *
 * It begins with bins that are far too narrow; each time the run gets longer than they are together, every two of
 * them become one. What the page draws is kept the same way: of each bin the longest.
 */
#include <math.h>
#include <string.h>

#include "report.h"

static void halve(float *bins, unsigned int stride)
{
	for (unsigned int i = 0; i < BINS / 2; i++)
		bins[i * stride] = bins[2 * i * stride] + bins[(2 * i + 1) * stride];
	for (unsigned int i = BINS / 2; i < BINS; i++)
		bins[i * stride] = 0;
}

/* ---- the longest of each bin ---- */

/* Puts the item at @i of a heap of @n where it belongs: shortest first. */
#define SIFT(items, n, i)                                                                              \
	do {                                                                                           \
		unsigned int at_ = (i), child_;                                                        \
		while ((child_ = 2 * at_ + 1) < (n)) {                                                 \
			__typeof__(*(items)) item_ = (items)[at_];                                     \
			child_ += child_ + 1 < (n) && (items)[child_ + 1].duration < (items)[child_].duration; \
			if (item_.duration <= (items)[child_].duration)                                \
				break;                                                                 \
			(items)[at_] = (items)[child_];                                                \
			(items)[child_] = item_;                                                       \
			at_ = child_;                                                                  \
		}                                                                                      \
	} while (0)

#define KEEP_LONGEST(items, n, most, new)                                                              \
	do {                                                                                           \
		if ((n) < (most)) {                                                                    \
			(items)[(n)++] = (new);                                                        \
			if ((n) == (most))                                                             \
				for (unsigned int i_ = (n) / 2; i_-- > 0;)                             \
					SIFT(items, n, i_);                                            \
		} else if ((items)[0].duration < (new).duration) {                                     \
			(items)[0] = (new);                                                            \
			SIFT(items, n, 0);                                                             \
		}                                                                                      \
	} while (0)

static void merge_sampled(struct sampled *to, const struct sampled *from)
{
	for (unsigned int i = 0; i < from->spans_n; i++)
		KEEP_LONGEST(to->spans, to->spans_n, SPANS, from->spans[i]);
	for (unsigned int i = 0; i < from->arrows_n; i++)
		KEEP_LONGEST(to->arrows, to->arrows_n, ARROWS, from->arrows[i]);
}

static void halve_sampled(struct sampled *sampled)
{
	for (unsigned int i = 0; i < BINS / 2; i++) {
		if (i)
			sampled[i] = sampled[2 * i];
		merge_sampled(&sampled[i], &sampled[2 * i + 1]);
	}
	for (unsigned int i = BINS / 2; i < BINS; i++)
		sampled[i].spans_n = sampled[i].arrows_n = 0;
}

/* ---- the axis ---- */

static unsigned int bin_of(const struct axis *axis, uint64_t time)
{
	uint64_t bin = time > axis->start ? (time - axis->start) >> axis->shift : 0;

	return bin < BINS ? (unsigned int)bin : BINS - 1;
}

void axis_reach(struct report *report, uint64_t time)
{
	struct axis *axis = &report->axis;

	while (time > axis->start && (time - axis->start) >> axis->shift >= BINS) {
		axis->shift++;
		for (unsigned int i = 0; i < report->threads_n; i++)
			for (unsigned int k = 0; k < SPENT_KINDS; k++)
				halve(&report->threads[i]->when[0][k], SPENT_KINDS);
		for (unsigned int i = 0; i < report->pairs_n; i++) {
			halve(report->pairs[i]->when, 1);
			halve(report->pairs[i]->untimed_when, 1);
		}
		if (report->sampled)
			halve_sampled(report->sampled);
	}
}

void axis_add(const struct axis *axis, float *bins, unsigned int stride, uint64_t begin, double duration, double add)
{
	unsigned int first = bin_of(axis, begin);
	unsigned int last = bin_of(axis, begin + (uint64_t)duration);

	if (first == last) {
		bins[first * stride] += (float)add;
		return;
	}
	for (unsigned int i = first; i <= last; i++) {
		double from = (double)axis->start + (double)((uint64_t)i << axis->shift);
		double to = from + (double)((uint64_t)1 << axis->shift);

		from = i == first ? (double)begin : from;
		to = i == last ? (double)begin + duration : to;
		if (to > from)
			bins[i * stride] += (float)(add * (to - from) / duration);
	}
}

void axis_columns(const struct report *report, const float *bins, float *columns, unsigned int n)
{
	/* bins that the run fills */
	double span = (double)(report->last - report->axis.start) / (double)((uint64_t)1 << report->axis.shift);

	for (unsigned int c = 0; c < n; c++)
		columns[c] = 0;
	span = span > 0 ? span : 1;
	for (unsigned int i = 0; i < BINS && i < span; i++) {
		/* a bin belongs to the columns that it lies in, by shares; the last ends with the run */
		double from = i * n / span, to = fmin((i + 1) * n / span, n);

		for (unsigned int c = (unsigned int)from; c < n && c < to; c++)
			columns[c] += (float)(bins[i] * (fmin(to, c + 1) - fmax(from, c)) / (to - from));
	}
	/* what is at the very end has a bin behind it */
	if (span < BINS)
		columns[n - 1] += span == (unsigned int)span ? bins[(unsigned int)span] : 0;
}

void sample_span(struct report *report, const struct span *span)
{
	struct sampled *sampled = report->sampled;

	if (!sampled)
		return;
	sampled += bin_of(&report->axis, span->begin);
	KEEP_LONGEST(sampled->spans, sampled->spans_n, SPANS, *span);
}

void sample_arrow(struct report *report, const struct arrow *arrow)
{
	struct sampled *sampled = report->sampled;

	if (!sampled)
		return;
	sampled += bin_of(&report->axis, arrow->begin);
	KEEP_LONGEST(sampled->arrows, sampled->arrows_n, ARROWS, *arrow);
}
