// SPDX-License-Identifier: MIT
/*
 * report_text.c - the report in lines of 80 columns.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "report.h"

#define BAR 60u                 /* columns of a time line */
#define THREAD 15u              /* of a thread's name: what the kernel allows */
#define KEY 17                  /* column where a pair's facts begin */
#define FUNCTION_MOST 30u
#define PLACES (COLUMNS - KEY - 1)
#define NAME_MOST (PLACES - 4)  /* of what transactions are called */
#define TASK 36                 /* columns of a task */

/* ---- lines ---- */

static double share(double part, double whole)
{
	return whole > 0 ? fmin(100 * part / whole, 9999) : 0; /* more where sums are estimates, or wrong */
}

static void paragraph(FILE *out, const char *text, size_t indent)
{
	fprintf(out, "%*s", (int)indent, "");
	wrap(out, text, indent, indent);
	putc('\n', out);
}

/* "  file.c:12 function", and the line's text below it. */
static void print_place(FILE *out, const char *key, const struct place *place, const char *more)
{
	char where[SAY_BYTES];
	size_t room = PLACES - columns(more, strlen(more));
	size_t function = place->function ? columns(place->function, strlen(place->function)) : 0;

	/* a function's name that does not fit is left out */
	if (function > FUNCTION_MOST)
		function = 0;
	say_place(where, place, (unsigned int)(function ? room - function - 1 : room));
	fprintf(out, "    %-*s%s", KEY - 4, key, where);
	if (function)
		fprintf(out, " %s", place->function);
	fprintf(out, "%s\n", more);
	if (place->name && *place->name) {
		say_short(where, place->name, NAME_MOST);
		fprintf(out, "%*s\"%s\"\n", KEY + 2, "", where);
	}
	if (place->text && *place->text) {
		size_t bytes = 0;

		while (place->text[bytes] && columns(place->text, bytes + 1) <= PLACES - 2)
			bytes++;
		fprintf(out, "%*s%.*s\n", KEY + 2, "", (int)bytes, place->text);
	} else if (place->why || place->text_why) {
		fprintf(out, "%*s(%s)\n", KEY + 2, "", place->why ? place->why : place->text_why);
	}
}

/* @bins of the run, as one line of characters: more ink, more of it. */
static void print_bar(FILE *out, const struct report *report, const float *bins)
{
	static const char ink[] = " .:-=+*#";
	float bar[BAR], most = 0;

	axis_columns(report, bins, bar, BAR);
	for (unsigned int c = 0; c < BAR; c++)
		most = fmaxf(most, bar[c]);
	putc('|', out);
	for (unsigned int c = 0; c < BAR; c++)
		putc(bar[c] <= 0 ? ink[0] : ink[1 + (unsigned int)(6.999f * bar[c] / most)], out);
	fputs("|\n", out);
}

/* ---- parts ---- */

static void print_head(struct report *report, FILE *out)
{
	const struct stm_log_header *header = &report->log->header;
	char line[2 * SAY_BYTES], a[SAY_BYTES], b[SAY_BYTES];
	const char *base = strrchr(header->executable, '/');
	time_t start = (time_t)(header->start_ns / 1000000000);
	struct tm tm;
	char date[64] = "";

	if (localtime_r(&start, &tm))
		strftime(date, sizeof(date), ", %Y-%m-%d %H:%M:%S", &tm);
	say_short(a, base ? base + 1 : header->executable, 60);
	snprintf(line, sizeof(line), "%s, process %u%s, libuffdstm %s", a, header->pid, date, header->library);
	paragraph(out, line, 0);
	for (unsigned int n = 0; say_trouble(line, report, n); n++)
		paragraph(out, line, 2);
	snprintf(line, sizeof(line), "Total time: %s, with %u thread%s: %s of thread time.",
		 say_time(a, report, (double)(report->last - report->axis.start)), report->threads_n,
		 report->threads_n == 1 ? "" : "s", say_time(b, report, report->thread_ticks));
	paragraph(out, line, 0);
}

static void print_spent(struct report *report, FILE *out)
{
	double inside = 0;
	char a[SAY_BYTES], b[SAY_BYTES], c[SAY_BYTES], line[2 * SAY_BYTES];

	for (unsigned int i = 0; i < SPENT_KINDS; i++)
		inside += report->spent[i];
	fprintf(out, "\n  %-20s %9s %5.1f %% of thread time\n", "inside transactions", say_time(a, report, inside),
		share(inside, report->thread_ticks));
	for (unsigned int i = 0; i < SPENT_KINDS; i++)
		fprintf(out, "    %-18s %9s %5.1f %%\n", spent_names[i], say_time(a, report, report->spent[i]),
			share(report->spent[i], inside));
	snprintf(line, sizeof(line), "%s transactions committed, %s of them read only; %s attempts were undone.",
		 say_count(a, report->commits + report->read_only), say_count(b, report->read_only),
		 say_count(c, report->aborts));
	putc('\n', out);
	paragraph(out, line, 2);
	for (unsigned int i = 0; i < WAITS; i++)
		if (report->wait_ticks[i] > 0) {
			snprintf(line, sizeof(line), "Waiting %s: %s, %s times.", say_wait(i),
				 say_time(a, report, report->wait_ticks[i]), say_count(b, report->waits[i]));
			paragraph(out, line, 2);
		}
	if (report->faults > 0) {
		snprintf(line, sizeof(line), "Page faults and pages made private: %s, %s times.",
			 say_time(a, report, report->fault_ticks), say_count(b, report->faults));
		paragraph(out, line, 2);
	}
	if (report->own[0] + report->own[1] > 0) {
		snprintf(line, sizeof(line), "The library's own threads: %s, %s of it for folding.",
			 say_time(a, report, report->own[0] + report->own[1]), say_time(b, report, report->own[0]));
		paragraph(out, line, 2);
	}
}

static void print_readers(struct report *report, FILE *out, const struct pair *pair)
{
	struct read_line lines[STACKS];
	unsigned int n = read_lines(report, pair, lines);
	double all = 0;

	for (unsigned int i = 0; i < n; i++)
		all += lines[i].count;
	for (unsigned int i = 0; i < n; i++) {
		char more[40];

		snprintf(more, sizeof(more), "  %.0f %%", share(lines[i].count, all));
		print_place(out, "  read at", lines[i].place, more);
	}
}

static void print_pair(struct report *report, FILE *out, const struct pair *pair)
{
	static const struct place not_known = { .file = NULL };
	char a[SAY_BYTES], b[SAY_BYTES];

	fprintf(out, "\n%3u. %s, %.1f %% of what conflicts cost, %s abort%s\n", pair->index + 1,
		say_time(a, report, pair->lost), share(pair->lost, report->lost), say_count(b, pair->count),
		pair->count == 1 ? "" : "s");
	print_place(out, "written at", pair->wrote ? code_place(&report->symbols, pair->wrote) : &not_known, "");
	print_place(out, "  begun at", pair->writer ? &pair->writer->place : &not_known, "");
	print_place(out, "undone", &pair->reader->place, "");
	print_readers(report, out, pair);
	for (unsigned int i = 0; i < pair->objects_n && i < 3; i++) {
		fprintf(out, "    %-*s", KEY - 4, i ? "" : "object");
		say_object(a, report, &pair->objects[i]);
		if (pair->objects_n > 1)
			snprintf(a + strlen(a), sizeof(a) - strlen(a), "; %.0f %%",
				 share(pair->objects[i].count, pair->count));
		wrap(out, a, KEY, KEY);
		putc('\n', out);
	}
	fprintf(out, "    %-*s", KEY - 4, "when");
	print_bar(out, report, pair->when);
}

static void print_pairs(struct report *report, FILE *out, unsigned int top)
{
	char a[SAY_BYTES], b[SAY_BYTES], line[3 * SAY_BYTES];

	snprintf(line, sizeof(line), "Lost to conflicts: %s, by %s aborts of %u pair%s of places.",
		 say_time(a, report, report->lost), say_count(b, report->conflicts), report->pairs_n,
		 report->pairs_n == 1 ? "" : "s");
	putc('\n', out);
	paragraph(out, report->conflicts > 0 ? line : "No conflicts.", 0);
	for (unsigned int i = 0; i < report->pairs_n && i < top; i++)
		print_pair(report, out, report->pairs[i]);
	if (report->pairs_n > top)
		fprintf(out, "\n     and %u more: see --top\n", report->pairs_n - top);
}

static void print_hints(struct report *report, FILE *out)
{
	char a[SAY_BYTES], line[2 * SAY_BYTES];

	fputs("\nWhat to do\n", out);
	for (unsigned int i = 0; i < report->hints_n; i++) {
		const struct hint *hint = &report->hints[i];
		char number[20] = "";

		if (hint->pair)
			snprintf(number, sizeof(number), ", no. %u", hint->pair->index + 1);
		snprintf(line, sizeof(line), "%s (%s%s)", hint->text, say_time(a, report, hint->ticks), number);
		fputs("  - ", out);
		wrap(out, line, 4, 4);
		putc('\n', out);
	}
	if (!report->hints_n)
		paragraph(out, report->aborts > 0 ? "No rule applies." : "Nothing: no time was lost.", 2);
}

/* ---- tables ---- */

static void print_threads(struct report *report, FILE *out)
{
	char a[SAY_BYTES], b[SAY_BYTES], name[SAY_BYTES];

	if (!report->threads_n)
		return;
	fprintf(out, "\n%-*s %13s %13s  share of its time, %%\n", (int)THREAD, "Threads", "commits", "aborts");
	fprintf(out, "%-*s %13s %13s %6s %6s %6s %6s %6s\n", (int)THREAD, "", "", "", "commit", "abort", "wait", "inev.", "system");
	for (unsigned int i = 0; i < report->threads_n; i++) {
		const struct thread *thread = report->threads[i];
		double all = (double)(thread->last - thread->first);
		size_t bytes = 0;

		if (i == 64 && report->threads_n > 66) {
			fprintf(out, "and %u more: see --json\n", report->threads_n - i);
			break;
		}
		say_thread(name, thread);
		while (name[bytes] && columns(name, bytes + 1) <= THREAD)
			bytes++;
		fprintf(out, "%.*s%*s %13s %13s", (int)bytes, name, (int)(THREAD - columns(name, bytes)), "",
			say_count(a, thread->commits + thread->read_only), say_count(b, thread->aborts));
		for (unsigned int k = 0; k < SPENT_KINDS; k++)
			fprintf(out, " %6.1f", share(thread->spent[k], all));
		fprintf(out, "%s\n", thread->dropped ? " *" : "");
	}
	for (unsigned int i = 0; i < report->threads_n; i++)
		if (report->threads[i]->dropped) {
			fputs("* records of it were dropped\n", out);
			break;
		}
}

static int by_time(const void *a, const void *b)
{
	const struct site *x = *(struct site *const *)a, *y = *(struct site *const *)b;
	double s = x->lost + x->committed, t = y->lost + y->committed;

	if (x->lost != y->lost)
		return x->lost > y->lost ? -1 : 1;
	return s > t ? -1 : s < t;
}

static void print_site(const struct report *report, FILE *out, const struct site *site)
{
	char line[3 * SAY_BYTES], where[SAY_BYTES], name[SAY_BYTES], a[SAY_BYTES], b[SAY_BYTES];
	double aborts = 0;

	for (unsigned int i = 0; i < REASONS; i++)
		aborts += site->aborts[i];
	snprintf(line, sizeof(line), "%s%s%s%.70s", say_name(name, site->place.name, NAME_MOST),
		 site->number ? say_place(where, &site->place, 78) : "(no place)",
		 site->place.function && *site->place.function ? " " : "",
		 site->place.function ? site->place.function : "");
	if (site->number && !site->defined)
		snprintf(line, sizeof(line), "place %u (its name is missing)", site->number);
	wrap(out, line, 0, 2);
	fprintf(out, "\n  %14s", say_count(a, site->commits + site->read_only));
	fprintf(out, " %12s %12s", say_count(a, site->read_only), say_count(b, aborts));
	fprintf(out, " %10s %10s", say_time(a, report, mean_attempt(site)), say_time(b, report, site->longest));
	fprintf(out, " %10s\n", say_time(a, report, site->lost));
	if (aborts <= 0)
		return;
	strcpy(line, "undone:");
	for (unsigned int i = 0; i < REASONS; i++)
		if (site->aborts[i] > 0)
			snprintf(line + strlen(line), sizeof(line) - strlen(line), " %s %s,", say_reason(i),
				 say_count(a, site->aborts[i]));
	line[strlen(line) - 1] = 0;
	paragraph(out, line, 4);
}

static void print_sites(struct report *report, FILE *out, unsigned int top)
{
	struct site **sites = need((report->sites_n + 1) * sizeof(*sites));
	unsigned int n = 0;

	for (unsigned int i = 0; i < report->sites_n; i++)
		if (site_used(report->sites[i]))
			sites[n++] = report->sites[i];
	if (n)
		qsort(sites, n, sizeof(*sites), by_time);
	if (n)
		fprintf(out, "\nTransactions\n  %14s %12s %12s %10s %10s %10s\n", "committed", "read only", "undone",
			"mean", "longest", "lost");
	for (unsigned int i = 0; i < n && i < top; i++)
		print_site(report, out, sites[i]);
	if (n > top)
		fprintf(out, "and %u more: see --top\n", n - top);
	free(sites);
}

/* Its name, if it has one, and as much of its function as there is room for. */
static void say_task(char *buffer, struct report *report, const struct task *task)
{
	const struct place *place = task->function ? code_place(&report->symbols, task->function) : NULL;
	struct place function = { .file = place ? place->function : NULL, .code = place ? place->code : NULL };
	int used;

	say_name(buffer, task->name, TASK - 3);
	used = (int)columns(buffer, strlen(buffer));
	if (TASK - used >= 8)
		say_place(buffer + strlen(buffer), &function, (unsigned int)(TASK - used));
}

static void print_tasks(struct report *report, FILE *out, unsigned int top)
{
	if (report->tasks_n)
		fprintf(out, "\n%-*s %12s %9s %9s %9s\n", TASK, "Tasks of queues", "run", "in all", "mean", "longest");
	for (unsigned int i = 0; i < report->tasks_n && i < top; i++) {
		const struct task *task = &report->tasks[i];
		char name[2 * SAY_BYTES], a[SAY_BYTES], b[SAY_BYTES];

		say_task(name, report, task);
		fprintf(out, "%s%*s %12s", name, TASK - (int)columns(name, strlen(name)), "",
			say_count(a, task->count));
		fprintf(out, " %9s", say_time(a, report, task->ticks));
		fprintf(out, " %9s %9s\n", say_time(a, report, task->ticks / task->count),
			say_time(b, report, task->longest));
	}
}

int write_text(struct report *report, FILE *out, unsigned int top)
{
	print_head(report, out);
	print_spent(report, out);
	print_pairs(report, out, top);
	print_hints(report, out);
	if (report->dropped) {
		char line[SAY_BYTES], a[SAY_BYTES / 2];

		snprintf(line, sizeof(line), "Dropped records: %s", say_count(a, (double)report->dropped));
		putc('\n', out);
		paragraph(out, line, 0);
	} else {
		fputs("\nDropped records: none\n", out);
	}
	print_threads(report, out);
	print_sites(report, out, top);
	print_tasks(report, out, top);
	return 0;
}
