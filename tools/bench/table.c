/* SPDX-License-Identifier: MIT */
/*
 * table.c - all workloads, each under every implementation in turn
 *
 * A round measures every combination of workload, implementation and threads
 * once, the implementations of one workload one after the other, in an order
 * that moves on with each round. So a slow minute of the machine hits all of
 * them. Each measurement has a copy of its own, built in empty memory in each
 * round, so all start from the same layout. What is printed are medians over the rounds, and
 * ratios of medians.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uffdstm.h>

#include "bench.h"

/*
 * Two threads that attach fault in and make private the 1,000 pages of 100,000 entries in some 60 ms, most of them in the
 * first 20; a round that begins earlier measures that.
 */
#define WARM_UP_MS 40
#define WARM_UP_ENTRIES 500             /* for so many, a millisecond more */

enum column { SEQ, MUTEX1, MUTEX2, STM1, STM2, COLUMNS };

static const struct {
	const char *title;
	const struct impl *impl;
	unsigned int threads;
} columns[COLUMNS] = {
	[SEQ] = { "seq", &impl_seq, 1 },
	[MUTEX1] = { "mutex 1", &impl_mutex, 1 },
	[MUTEX2] = { "mutex 2", &impl_mutex, 2 },
	[STM1] = { "stm 1", &impl_stm, 1 },
	[STM2] = { "stm 2", &impl_stm, 2 },
};

struct cell {
	double *ns;             /* of each round */
	double median, min, max;
};

struct row {
	const struct workload *workload;
	struct cell cells[COLUMNS];
	struct attempts attempts;       /* of stm 2 */
};

/* What is asked of a workload; 0: nothing. */
struct bars {
	double one_to_seq;      /* stm 1 / seq, at most */
	double one_ns;          /* stm 1, at most */
	double speed_up;        /* stm 1 / stm 2, at least */
	double two_to_mutex;    /* stm 2 / mutex 2, at most */
	bool two_beat_seq;      /* stm 2 < seq */
};

static const struct {
	const char *name;
	struct bars bar, reach;
} bars[] = {
	{ "list-256-u20", { 1.35, 0, 1.35, 0, false }, { 1.1, 0, 1.9, 0, false } },
	{ "list-1024-u20", { 1.35, 0, 1.35, 0, true }, { 1.1, 0, 1.9, 0, true } },
	{ "hash-4096-u20", { 1.6, 0, 0, 0, false }, { 1.2, 0, 0, 0, false } },
	{ "hash-4096-u2", { 1.35, 0, 1.35, 0, true }, { 1.1, 0, 1.9, 0, true } },
	{ "rbtree-4096-u20", { 1.6, 0, 0, 0, false }, { 1.2, 0, 0, 0, false } },
	{ "rbtree-4096-u2", { 1.6, 0, 0, 0, true }, { 1.2, 0, 0, 0, true } },
	{ "bank-1024-u0", { 0, 35, 0, 1.5, false }, { 0, 15, 0, 1, false } },
	{ "bank-1024-r20", { 2, 0, 0, 0, false }, { 1.2, 0, 0, 0, false } },
	{ "map-100000-u10", { 1.35, 0, 0, 0, true }, { 1.1, 0, 0, 0, true } },
	{ "ordered-100000-u10", { 1.6, 0, 0, 0, true }, { 1.2, 0, 0, 0, true } },
};

#define SEQ_REACH 1.6           /* two threads' speed over sequential code to reach for */

static bool column_selected(const struct settings *s, enum column column)
{
	return !s->impl || !strcmp(s->impl, columns[column].impl->name);
}

static void measure_cell(const struct settings *s, struct row *row, enum column column,
			 struct copy *copy, unsigned int round)
{
	struct measurement m = {
		.warm_up.ms = WARM_UP_MS + copy->workload->size / WARM_UP_ENTRIES,
		.run.ms = s->ms,
		.threads = columns[column].threads,
		.seed = round + 1,
	};

	if (column == STM2) {
		m.at_start = attempts_start;
		m.at_end = attempts_end;
		m.arg = &row->attempts;
	}
	row->cells[column].ns[round] = measure(copy, &m);
}

static void measure_row(const struct settings *s, struct row *row, unsigned int round)
{
	struct copy copies[COLUMNS];

	for (int c = 0; c < COLUMNS; c++) {
		if (!column_selected(s, c))
			continue;
		if (!c || columns[c].impl != columns[c - 1].impl)
			columns[c].impl->reset();
		copy_make(&copies[c], columns[c].impl, row->workload);
	}
	for (unsigned int c = 0; c < COLUMNS; c++) {
		const enum column column = (c + round) % COLUMNS;

		if (column_selected(s, column))
			measure_cell(s, row, column, &copies[column], round);
	}
}

static void summarise(const struct settings *s, struct row *row)
{
	for (int c = 0; c < COLUMNS; c++) {
		struct cell *cell = &row->cells[c];

		if (!column_selected(s, c))
			continue;
		cell->median = median(cell->ns, s->rounds);
		cell->min = cell->ns[0];
		cell->max = cell->ns[s->rounds - 1];
	}
}

/* ---- on screen ---- */

static void print_ratio(double a, double b, const char *suffix)
{
	char text[32] = "-";

	if (a > 0 && b > 0)
		snprintf(text, sizeof(text), "%.2f%s", a / b, suffix);
	printf(" %9s", text);
}

static void print_table(const struct settings *s, const struct row *rows, unsigned int n)
{
	printf("\nns per operation of all threads\n%-16s", "workload");
	for (int c = 0; c < COLUMNS; c++)
		printf(" %8s", columns[c].title);
	printf(" %9s %9s %9s %9s %8s\n", "stm1/seq", "stm1/stm2", "seq/stm2", "stm2/mtx2",
	       "aborts");
	for (unsigned int i = 0; i < n; i++) {
		const struct cell *cells = rows[i].cells;

		printf("%-16s", rows[i].workload->name);
		for (int c = 0; c < COLUMNS; c++) {
			if (column_selected(s, c))
				printf(" %8.1f", cells[c].median);
			else
				printf(" %8s", "-");
		}
		print_ratio(cells[STM1].median, cells[SEQ].median, "x");
		print_ratio(cells[STM1].median, cells[STM2].median, "x");
		print_ratio(cells[SEQ].median, cells[STM2].median, "x");
		print_ratio(cells[STM2].median, cells[MUTEX2].median, "x");
		if (rows[i].attempts.commits)
			printf(" %7.2f%%", 100 * attempts_lost(&rows[i].attempts));
		putchar('\n');
	}
	printf("aborts: of all attempts of stm 2\n");
}

static void print_bar(const struct workload *w, const char *what, double value, double bar,
		      double reach, bool at_most, const char *unit)
{
	char bar_text[32], reach_text[32], value_text[32];
	const char *sign = at_most ? "<=" : ">=";
	const bool met = at_most ? value <= bar : value >= bar;
	const bool reached = at_most ? value <= reach : value >= reach;

	snprintf(value_text, sizeof(value_text), "%.2f%s", value, unit);
	snprintf(bar_text, sizeof(bar_text), "%s %.4g%s", sign, bar, unit);
	snprintf(reach_text, sizeof(reach_text), "%.4g%s", reach, unit);
	printf("%-16s %-38s %10s %10s %8s  %s\n", w->name, what, value_text, bar_text, reach_text,
	       reached ? "reached" : met ? "met" : "NOT MET");
}

static void print_bars(const struct row *rows, unsigned int n)
{
	printf("\n%-16s %-38s %10s %10s %8s\n", "workload", "bar", "value", "asked", "reach for");
	for (unsigned int i = 0; i < n; i++) {
		const struct workload *w = rows[i].workload;
		const struct cell *cells = rows[i].cells;
		const double seq = cells[SEQ].median, mutex2 = cells[MUTEX2].median;
		const double stm1 = cells[STM1].median, stm2 = cells[STM2].median;
		const struct bars *bar = NULL, *reach = NULL;

		for (size_t k = 0; k < sizeof(bars) / sizeof(bars[0]); k++) {
			if (!strcmp(bars[k].name, w->name)) {
				bar = &bars[k].bar;
				reach = &bars[k].reach;
			}
		}
		if (!bar || !stm1)
			continue;
		if (bar->one_to_seq && seq)
			print_bar(w, "one thread / sequential", stm1 / seq, bar->one_to_seq,
				  reach->one_to_seq, true, "x");
		if (bar->one_ns)
			print_bar(w, "one thread", stm1, bar->one_ns, reach->one_ns, true, " ns");
		if (bar->speed_up)
			print_bar(w, "two threads' speed over one's", stm1 / stm2, bar->speed_up,
				  reach->speed_up, false, "x");
		if (bar->two_beat_seq && seq)
			print_bar(w, "two threads' speed over sequential", seq / stm2, 1, SEQ_REACH,
				  false, "x");
		if (bar->two_to_mutex && mutex2)
			print_bar(w, "two threads / mutex with two", stm2 / mutex2,
				  bar->two_to_mutex, reach->two_to_mutex, true, "x");
	}
}

/* ---- as JSON ---- */

static void write_json(const struct settings *s, const struct row *rows, unsigned int n)
{
	FILE *f = results_open(s->json);

	for (unsigned int i = 0; i < n; i++) {
		for (int c = 0; c < COLUMNS; c++) {
			const struct cell *cell = &rows[i].cells[c];

			if (!column_selected(s, c))
				continue;
			results_row(f,
				    "\"workload\": \"%s\", \"impl\": \"%s\", \"threads\": %u, "
				    "\"ns_per_op\": %.2f, \"min\": %.2f, \"max\": %.2f, \"rounds\": %u",
				    rows[i].workload->name, columns[c].impl->name, columns[c].threads,
				    cell->median, cell->min, cell->max, s->rounds);
		}
	}
	results_close(f, s->json);
}

static void progress(const struct settings *s, const struct row *row, unsigned int round)
{
	if (!s->quiet && isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[Kround %u of %u: %s", round + 1, s->rounds,
			row->workload->name);
}

int table_run(const struct settings *s)
{
	struct row rows[WORKLOADS] = { 0 };
	unsigned int n = 0;

	for (unsigned int i = 0; i < WORKLOADS; i++) {
		struct row *row = &rows[n];

		if (!selected(s, &workloads[i]))
			continue;
		n++;
		row->workload = &workloads[i];
		for (int c = 0; c < COLUMNS; c++) {
			row->cells[c].ns = calloc(s->rounds, sizeof(double));
			if (!row->cells[c].ns)
				die("no memory");
		}
	}
	if (!n)
		die("no workload with \"%s\" in its name", s->workload);
	for (unsigned int round = 0; round < s->rounds; round++) {
		for (unsigned int i = 0; i < n; i++) {
			progress(s, &rows[i], round);
			measure_row(s, &rows[i], round);
		}
	}
	if (!s->quiet && isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
	for (unsigned int i = 0; i < n; i++)
		summarise(s, &rows[i]);
	print_table(s, rows, n);
	print_bars(rows, n);
	write_json(s, rows, n);
	for (unsigned int i = 0; i < n; i++)
		for (int c = 0; c < COLUMNS; c++)
			free(rows[i].cells[c].ns);
	stm_fini();
	return 0;
}
