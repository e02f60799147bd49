/* SPDX-License-Identifier: MIT */
/*
 * sweep.c - transactions with one property swept: length, writes, conflicts, objects
 *
 * As in table.c a round measures every point once under each implementation, one after the other, in an order that
 * moves on. Each round starts in new memory; all points of a round use the same.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uffdstm.h>

#include "sweep.h"

#define POINTS_MOST 11
#define PERCENT_ACCESSES 10
#define CONFLICT_ACCESSES 100
#define WARM_UP_MS 15
#define SHARE_OF_MS 5           /* there are many points: each is measured for a fifth of the time of a workload */
#define BATCH_ACCESSES 4096u    /* between two looks at the clock: some 20 us */

static const struct sweep {
	const char *name, *title;
	const char *at;         /* what varies */
	const char *per;        /* the figures are ns per this */
	struct sweep_point point;
	unsigned int values[POINTS_MOST];
} sweeps[] = {
	{ "length", "transactions of so many accesses, one in ten an update", "accesses", "access",
	  { .kind = SWEEP_ACCESSES, .step = 10 }, { 1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000 } },
	{ "readers", "ten accesses; so many percent of transactions only read, the others update two", "percent", "access",
	  { .kind = SWEEP_ACCESSES, .accesses = PERCENT_ACCESSES, .step = 5 }, { 0, 25, 50, 75, 90, 99, 100 } },
	{ "writes", "so many granules updated, at random", "granules", "granule",
	  { .kind = SWEEP_ACCESSES, .step = 1 }, { 1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000 } },
	{ "conflict", "an update, of a cell that all share in so many percent, then 99 reads", "percent", "transaction",
	  { .kind = SWEEP_CONFLICT, .accesses = CONFLICT_ACCESSES }, { 0, 1, 3, 10, 30, 100 } },
	{ "object", "one object of so many bytes read, another one updated", "bytes", "transaction",
	  { .kind = SWEEP_OBJECTS }, { 16, 64, 256, 1024, 4096, 16384, 65536 } },
};

#define SWEEPS (sizeof(sweeps) / sizeof(sweeps[0]))

static const struct {
	const char *title;
	const struct impl *impl;
	unsigned int threads;
} columns[] = {
	{ "seq", &sweep_seq, 1 },
	{ "mutex 1", &sweep_mutex, 1 },
	{ "mutex 2", &sweep_mutex, 2 },
	{ "stm 1", &sweep_stm, 1 },
	{ "stm 2", &sweep_stm, 2 },
};

#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

struct figure {
	double *ns;                     /* of each round */
	double median, min, max;
	struct attempts attempts;
};

struct line {
	const struct sweep *sweep;
	unsigned int at;
	unsigned int divisor;           /* of the time of a transaction: how many it has of sweep->per */
	struct sweep_point point;
	struct figure figures[COLUMNS];
};

#define LINES_MOST (SWEEPS * POINTS_MOST)

static void set_point(struct line *line)
{
	const char *at = line->sweep->at;
	struct sweep_point *point = &line->point;
	unsigned int accesses;

	*point = line->sweep->point;
	point->workload.name = line->sweep->name;
	if (!strcmp(at, "percent"))
		point->percent = line->at;
	else if (!strcmp(at, "bytes"))
		point->bytes = line->at;
	else
		point->accesses = line->at;
	/* A read and an update for each word of an object, roughly. */
	accesses = point->bytes ? point->bytes / 8 : point->accesses;
	point->workload.batch = accesses < BATCH_ACCESSES ? BATCH_ACCESSES / accesses : 1;
	line->divisor = strcmp(line->sweep->per, "transaction") ? point->accesses : 1;
}

/* How many lines there are. */
static unsigned int set_lines(const struct settings *s, struct line *lines)
{
	unsigned int n = 0;

	for (size_t i = 0; i < SWEEPS; i++) {
		if (s->workload && !strstr(sweeps[i].name, s->workload))
			continue;
		/* 0 is a value, but only in the first place */
		for (size_t k = 0; k < POINTS_MOST && (!k || sweeps[i].values[k]); k++) {
			struct line *line = &lines[n++];

			line->sweep = &sweeps[i];
			line->at = sweeps[i].values[k];
			set_point(line);
			for (size_t c = 0; c < COLUMNS; c++) {
				line->figures[c].ns = calloc(s->rounds, sizeof(double));
				if (!line->figures[c].ns)
					die("no memory");
			}
		}
	}
	return n;
}

static bool column_selected(const struct settings *s, size_t column)
{
	return !s->impl || !strcmp(s->impl, columns[column].impl->name);
}

/* ---- measuring ---- */

static void measure_figure(const struct settings *s, struct line *line, size_t column, struct copy *copy,
			   unsigned int round)
{
	struct figure *figure = &line->figures[column];
	struct measurement m = {
		.warm_up.ms = WARM_UP_MS,
		.run.ms = s->ms < SHARE_OF_MS ? 1 : s->ms / SHARE_OF_MS,
		.threads = columns[column].threads,
		.seed = round + 1,
	};

	if (columns[column].impl == &sweep_stm) {
		m.at_start = attempts_start;
		m.at_end = attempts_end;
		m.arg = &figure->attempts;
	}
	copy->workload = &line->point.workload;
	figure->ns[round] = measure(copy, &m) / line->divisor;
}

static void measure_round(const struct settings *s, struct line *lines, unsigned int n, unsigned int round)
{
	static const struct workload empty = { .name = "sweep" };
	struct copy copies[COLUMNS], *copy[COLUMNS] = { NULL }; /* one of each implementation */

	for (size_t c = 0; c < COLUMNS; c++) {
		if (!column_selected(s, c))
			continue;
		if (!c || columns[c].impl != columns[c - 1].impl) {
			columns[c].impl->reset();
			copy_make(&copies[c], columns[c].impl, &empty);
			copy[c] = &copies[c];
		} else {
			copy[c] = copy[c - 1];
		}
	}
	for (unsigned int i = 0; i < n; i++) {
		if (!s->quiet && isatty(STDERR_FILENO))
			fprintf(stderr, "\r\033[Kround %u of %u: %s, %u %s", round + 1, s->rounds, lines[i].sweep->name,
				lines[i].at, lines[i].sweep->at);
		for (size_t c = 0; c < COLUMNS; c++) {
			const size_t column = (c + round) % COLUMNS;

			if (column_selected(s, column))
				measure_figure(s, &lines[i], column, copy[column], round);
		}
	}
}

static void summarise(const struct settings *s, struct figure *figure)
{
	figure->median = median(figure->ns, s->rounds);
	figure->min = figure->ns[0];
	figure->max = figure->ns[s->rounds - 1];
}

/* ---- on screen ---- */

static void print_ratio(double a, double b)
{
	if (a > 0 && b > 0)
		printf(" %8.2fx", a / b);
	else
		printf(" %9s", "-");
}

static void print_line(const struct settings *s, const struct line *line)
{
	const struct figure *f = line->figures;

	printf("%10u", line->at);
	for (size_t c = 0; c < COLUMNS; c++) {
		if (column_selected(s, c))
			printf(" %9.2f", f[c].median);
		else
			printf(" %9s", "-");
	}
	print_ratio(f[3].median, f[0].median);
	print_ratio(f[3].median, f[4].median);
	print_ratio(f[2].median, f[4].median);
	if (f[4].attempts.commits)
		printf(" %7.2f%%", 100 * attempts_lost(&f[4].attempts));
	putchar('\n');
}

static void print_lines(const struct settings *s, const struct line *lines, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		const struct sweep *sweep = lines[i].sweep;

		if (!i || sweep != lines[i - 1].sweep) {
			printf("\n%s: %s; ns per %s, of all threads together\n%10s", sweep->name, sweep->title, sweep->per,
			       sweep->at);
			for (size_t c = 0; c < COLUMNS; c++)
				printf(" %9s", columns[c].title);
			printf(" %9s %9s %9s %8s\n", "stm1/seq", "stm1/stm2", "mtx2/stm2", "aborts");
		}
		print_line(s, &lines[i]);
	}
	printf("aborts: of all attempts of stm 2\n");
}

/* ---- as JSON ---- */

static void print_rows(const struct settings *s, const struct line *line, FILE *f)
{
	for (size_t c = 0; c < COLUMNS; c++) {
		const struct figure *figure = &line->figures[c];

		if (!column_selected(s, c))
			continue;
		results_row(f, "\"sweep\": \"%s\", \"at\": %u, \"impl\": \"%s\", \"threads\": %u, \"ns\": %.3f, "
			       "\"min\": %.3f, \"max\": %.3f, \"rounds\": %u, \"per\": \"%s\", \"aborts\": %.4f",
			    line->sweep->name, line->at, columns[c].impl->name, columns[c].threads, figure->median,
			    figure->min, figure->max, s->rounds, line->sweep->per,
			    attempts_lost(&figure->attempts));
	}
}

/* Beside the table's figures. */
static void write_json(const struct settings *s, const struct line *lines, unsigned int n)
{
	const char *slash = strrchr(s->json, '/');
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%.*ssweeps.json", slash ? (int)(slash + 1 - s->json) : 0, s->json);
	f = results_open(path);
	for (unsigned int i = 0; i < n; i++)
		print_rows(s, &lines[i], f);
	results_close(f, path);
}

int sweep_run(const struct settings *s)
{
	static struct line lines[LINES_MOST];
	const unsigned int n = set_lines(s, lines);

	if (!n)
		return 0;
	for (unsigned int round = 0; round < s->rounds; round++)
		measure_round(s, lines, n, round);
	if (!s->quiet && isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K");
	for (unsigned int i = 0; i < n; i++)
		for (size_t c = 0; c < COLUMNS; c++)
			summarise(s, &lines[i].figures[c]);
	print_lines(s, lines, n);
	write_json(s, lines, n);
	for (unsigned int i = 0; i < n; i++)
		for (size_t c = 0; c < COLUMNS; c++)
			free(lines[i].figures[c].ns);
	stm_fini();
	return 0;
}
