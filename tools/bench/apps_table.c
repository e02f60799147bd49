/* SPDX-License-Identifier: MIT */
/*
 * apps_table.c - the results of the application benchmark: as a table, against what is asked for, as JSON
 */
#include <string.h>

#include "apps.h"

/* How long it took, with the spread, and over sequential code. */
static void print_cell(const struct cell *cell, const struct cell *seq)
{
	char text[40] = "-", ratio[16] = "";

	if (cell->seconds && cell->verified) {
		snprintf(text, sizeof(text), "%.1f (%.1f-%.1f)", cell->median * 1e3, cell->min * 1e3,
			 cell->max * 1e3);
		if (seq)
			snprintf(ratio, sizeof(ratio), "%.2fx", cell->median / seq->median);
	} else if (cell->seconds) {
		snprintf(text, sizeof(text), "NOT VERIFIED");
	}
	printf("  %24s %7s", text, ratio);
}

static bool has_row(const struct settings *s, struct cell *cells, unsigned int app, unsigned int peer)
{
	for (unsigned int t = 0; t < s->threads_n; t++)
		if (cell_of(cells, app, t, peer)->seconds)
			return true;
	return false;
}

/* Of the peers with this in their name the fastest; NULL: none was measured. */
static const struct cell *fastest(struct cell *cells, unsigned int app, unsigned int t, const char *name)
{
	const struct cell *best = NULL;

	for (unsigned int p = 0; p < PEERS; p++) {
		const struct cell *cell = cell_of(cells, app, t, p);

		if (strstr(peers[p].name, name) && cell->seconds && cell->verified &&
		    (!best || cell->median < best->median))
			best = cell;
	}
	return best;
}

static void print_bar(const char *app, const char *what, double value, double bar)
{
	printf("%-14s %-44s %8.2fx %9.2fx  %s\n", app, what, value, bar, value <= bar ? "met" : "NOT MET");
}

/* Sequential code, or NULL. */
static const struct cell *sequential(const struct settings *s, struct cell *cells, unsigned int app)
{
	for (unsigned int t = 0; t < s->threads_n; t++)
		if (s->threads[t] == 1)
			return fastest(cells, app, t, "seq");
	return NULL;
}

static void print_bars(const struct settings *s, struct cell *cells, unsigned int a)
{
	const struct app *app = &impl_seq.apps[a];
	const struct cell *seq = sequential(s, cells, a);

	for (unsigned int t = 0; t < s->threads_n; t++) {
		const struct cell *stm = fastest(cells, a, t, "stm"), *libitm = fastest(cells, a, t, "libitm");
		char what[64];

		if (!stm)
			continue;
		if (s->threads[t] == 1 && seq && app->bar)
			print_bar(app->name, "one thread / sequential", stm->median / seq->median, app->bar);
		if (s->threads[t] == 2 && seq && !app->two_slower)
			print_bar(app->name, "two threads / sequential", stm->median / seq->median, 1);
		snprintf(what, sizeof(what), "%u thread%s / the better libitm with as many", s->threads[t],
			 &"s"[s->threads[t] == 1]);
		if (libitm)
			print_bar(app->name, what, stm->median / libitm->median, 1);
	}
}

void print_apps(const struct settings *s, struct cell *cells)
{
	printf("\nms: median (least-most), and over sequential code\n%-14s %-12s", "application", "");
	for (unsigned int t = 0; t < s->threads_n; t++)
		printf("  %22u %s", s->threads[t], s->threads[t] == 1 ? "thread  " : "threads ");
	putchar('\n');
	for (unsigned int a = 0; a < apps_count; a++) {
		const char *name = impl_seq.apps[a].name;

		for (unsigned int p = 0; p < PEERS; p++) {
			if (!has_row(s, cells, a, p))
				continue;
			printf("%-14s %-12s", name, peers[p].name);
			for (unsigned int t = 0; t < s->threads_n; t++)
				print_cell(cell_of(cells, a, t, p), sequential(s, cells, a));
			putchar('\n');
			name = "";
		}
	}
	if (s->small)
		return;
	printf("\n%-14s %-44s %9s %10s\n", "application", "bar", "value", "asked <=");
	for (unsigned int a = 0; a < apps_count; a++)
		print_bars(s, cells, a);
}

void write_apps(const struct settings *s, struct cell *cells)
{
	FILE *f = results_open(s->json);

	for (unsigned int a = 0; a < apps_count; a++) {
		for (unsigned int t = 0; t < s->threads_n; t++) {
			for (unsigned int p = 0; p < PEERS; p++) {
				const struct cell *cell = cell_of(cells, a, t, p);

				if (!cell->seconds)
					continue;
				results_row(f,
					    "\"app\": \"%s\", \"impl\": \"%s\", \"threads\": %u, "
					    "\"seconds\": %.6f, \"min\": %.6f, \"max\": %.6f, \"verified\": %s",
					    impl_seq.apps[a].name, peers[p].name, s->threads[t], cell->median,
					    cell->min, cell->max, cell->verified ? "true" : "false");
			}
		}
	}
	results_close(f, s->json);
}
