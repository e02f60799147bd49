// SPDX-License-Identifier: MIT
/*
 * tune_rules.c - from figures to a profile.
 *
 *   1. A candidate's cost for several patterns is the mean, over the patterns, of its time divided by the best time
 *      that any candidate has for the pattern. So no pattern counts for more because it takes longer.
 *   2. What the library does without a profile stays where it costs at most 10 % more than the best: figures of two
 *      runs differ by as much. Else the first candidate that costs at most 10 % more than the best is chosen; the order
 *      is that of the memory that they take.
 *
 *   key              candidates            patterns
 *   engine           those that work here  all
 *   cluster          1, 2, 4 ... 32        reads in random order: all pages, and every 32nd on average
 *   cluster_writes   1, 2, 4 ... 32        writes, likewise
 *   cluster_max      8, 32, 128, 512       pages one after the other: reads, writes
 *   log_keep         2M, 4M ... 64M        commits, while others stand still for 4 ms and while they do not
 *   log_huge         no, yes               the same, where no log memory is kept
 *
 *   3. No cluster is larger than cluster_max, which is raised to it.
 */
#include <string.h>

#include "tune.h"

#define TOLERANCE 1.10
#define CANDIDATES 8

unsigned int least_pages(unsigned int i)
{
	return 1u << i;
}

unsigned int most_pages(unsigned int i)
{
	return 8u << 2 * i;
}

uint64_t keep_bytes(unsigned int i)
{
	return (uint64_t)2 << 20 << i;
}

struct contest {
	enum stm_profile_key key;
	unsigned int n, standard;               /* candidates; the one that is built in */
	uint64_t values[CANDIDATES];            /* as in a profile */
	double cost[CANDIDATES];                /* 1: the best of each pattern */
};

/* Rule 1, for one more pattern: @ns holds the candidates' times, which are @stride bytes apart. */
static void add_pattern(struct contest *c, const double *ns, size_t stride, unsigned int patterns)
{
	double best = 0;

	for (unsigned int pass = 0; pass < 2; pass++)
		for (unsigned int i = 0; i < c->n; i++) {
			double value = *(const double *)((const char *)ns + i * stride);

			if (pass)
				c->cost[i] += value / best / patterns;
			else if (!i || value < best)
				best = value;
		}
}

/* Rule 2. */
static unsigned int winner(const struct contest *c)
{
	double best = c->cost[0];

	for (unsigned int i = 1; i < c->n; i++)
		if (c->cost[i] < best)
			best = c->cost[i];
	if (c->cost[c->standard] <= best * TOLERANCE)
		return c->standard;
	for (unsigned int i = 0; i < c->n; i++)
		if (c->cost[i] <= best * TOLERANCE)
			return i;
	return c->standard;
}

static void settle(const struct contest *c, const char *what, struct choice *choices)
{
	struct choice *choice = &choices[c->key];
	unsigned int won = winner(c);
	char value[24];
	size_t len;

	choice->made = true;
	choice->value = c->values[won];
	choice->standard = c->values[c->standard];
	len = (size_t)snprintf(choice->reason, sizeof(choice->reason), "%s, as a multiple of the best:", what);
	for (unsigned int i = 0; i < c->n; i++) {
		stm_profile_print(value, sizeof(value), c->key, c->values[i]);
		len += (size_t)snprintf(choice->reason + len, sizeof(choice->reason) - len, "%s %s %.2f", i ? "," : "",
					value, c->cost[i]);
	}
	stm_profile_print(value, sizeof(value), c->key, choice->value);
	snprintf(choice->reason + len, sizeof(choice->reason) - len,
		 won == c->standard
			 ? "; %s is built in, and costs at most 10 %% more than the best"
			 : "; what is built in costs over 10 %% more than the best, and %s is the first that does not",
		 value);
}

/* ---- contests ---- */

static void choose_engine(const struct figures *f, struct choice *choices)
{
	struct contest c = { .key = STM_PROFILE_ENGINE };
	double ns[PATTERNS][ENGINES];

	for (unsigned int i = 0; i < ENGINES;
	     i++) { /* in the order of the profile's values; sigbus works, or all is lost */
		if (!f->engines[i].works)
			continue;
		for (unsigned int p = 0; p < PATTERNS; p++)
			ns[p][c.n] = f->engines[i].patterns.ns[p];
		c.values[c.n++] = i;
	}
	for (unsigned int p = 0; p < PATTERNS; p++)
		add_pattern(&c, ns[p], sizeof(ns[p][0]), PATTERNS);
	settle(&c, "all patterns", choices);
}

static void choose_least(const struct figures *f, enum stm_profile_key key, enum pattern sparse, enum pattern dense,
			 unsigned int standard, const char *what, struct choice *choices)
{
	struct contest c = { .key = key, .n = LEASTS };

	for (unsigned int i = 0; i < LEASTS; i++) {
		c.values[i] = least_pages(i);
		if (least_pages(i) == standard)
			c.standard = i;
	}
	add_pattern(&c, &f->least[0].ns[sparse], sizeof(f->least[0]), 2);
	add_pattern(&c, &f->least[0].ns[dense], sizeof(f->least[0]), 2);
	settle(&c, what, choices);
}

static void choose_most(const struct figures *f, struct choice *choices)
{
	struct contest c = { .key = STM_PROFILE_CLUSTER_MAX, .n = MOSTS, .standard = MOSTS - 1 };

	for (unsigned int i = 0; i < MOSTS; i++)
		c.values[i] = most_pages(i);
	add_pattern(&c, &f->most[0].ns[SCAN_READ], sizeof(f->most[0]), 2);
	add_pattern(&c, &f->most[0].ns[SCAN_WRITE], sizeof(f->most[0]), 2);
	settle(&c, "pages one after the other", choices);
}

static void choose_log(const struct figures *f, struct choice *choices)
{
	struct contest keep = { .key = STM_PROFILE_LOG_KEEP, .n = KEEPS };
	struct contest huge = { .key = STM_PROFILE_LOG_HUGE, .n = 2, .standard = 1, .values = { 0, 1 } };
	char what[100];

	for (unsigned int i = 0; i < KEEPS; i++) {
		keep.values[i] = keep_bytes(i);
		if (keep_bytes(i) == (uint64_t)16 << 20) /* STM_PARTS_KEPT */
			keep.standard = i;
	}
	add_pattern(&keep, f->keep, sizeof(f->keep[0]), 1);
	snprintf(what, sizeof(what), "commits with standstills of %d ms, %.1f MiB of log", STANDSTILL_MS,
		 (double)f->log_standstill / (1 << 20));
	settle(&keep, what, choices);
	add_pattern(&huge, f->huge, sizeof(f->huge[0]), 1);
	settle(&huge, "the same, in log memory that is always new", choices);
}

/* Rule 3. */
static void raise_most(struct choice *choices, enum stm_profile_key key)
{
	struct choice *most = &choices[STM_PROFILE_CLUSTER_MAX];
	size_t len = strlen(most->reason);

	if (choices[key].value <= most->value)
		return;
	most->value = choices[key].value;
	snprintf(most->reason + len, sizeof(most->reason) - len, "; raised to %s", stm_profile_name(key));
}

void choose(const struct figures *f, struct choice *choices)
{
	memset(choices, 0, STM_PROFILE_KEYS * sizeof(*choices));
	choose_engine(f, choices);
	choose_least(f, STM_PROFILE_CLUSTER, SPARSE_READ, DENSE_READ, 8, "reads in random order", choices);
	choose_least(f, STM_PROFILE_CLUSTER_WRITES, SPARSE_WRITE, DENSE_WRITE, 2, "writes in random order", choices);
	choose_most(f, choices);
	choose_log(f, choices);
	raise_most(choices, STM_PROFILE_CLUSTER);
	raise_most(choices, STM_PROFILE_CLUSTER_WRITES);
}
