// SPDX-License-Identifier: MIT
/*
 * report_json.c - the report as JSON: uffdstm-report(1) has the schema. The page gets the same object, and more.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "json.h"
#include "report.h"

#define WHEN 60u                /* numbers of a time line */

static struct json_object *number(double value)
{
	struct json_object *object = json_object_new_double(value);

	/* nanoseconds of a year have 17 digits, and nothing here is known so well */
	if (object)
		json_object_set_serializer(object, json_object_double_to_json_string, (void *)"%.9g", NULL);
	return object;
}

static struct json_object *whole(double value)
{
	return json_object_new_int64(value < 9e18 ? (int64_t)value : INT64_MAX);
}

static void put_text(struct json_object *object, const char *name, const char *text)
{
	if (text && *text)
		json_put(object, name, json_object_new_string(text));
}

/* ---- parts ---- */

static struct json_object *place(const struct place *place)
{
	struct json_object *object = json_object_new_object();

	put_text(object, "file", place->file);
	if (place->line)
		json_put(object, "line", whole(place->line));
	put_text(object, "function", place->function);
	put_text(object, "name", place->name);
	put_text(object, "text", place->text);
	put_text(object, "code", place->code);
	put_text(object, "why", place->why ? place->why : place->text_why);
	return object;
}

static struct json_object *spent(const struct report *report, const double *ticks)
{
	static const char *const names[SPENT_KINDS] = { "committed", "aborted", "waiting", "inevitable", "system" };
	struct json_object *object = json_object_new_object();

	for (unsigned int i = 0; i < SPENT_KINDS; i++)
		json_put(object, names[i], number(seconds(report, ticks[i])));
	return object;
}

static struct json_object *the_log(struct report *report)
{
	const struct log *log = report->log;
	struct json_object *object = json_object_new_object(), *notes = json_object_new_array();
	time_t start = (time_t)(log->header.start_ns / 1000000000);
	char text[SAY_BYTES];
	struct tm tm;

	put_text(object, "executable", log->header.executable);
	json_put(object, "pid", whole(log->header.pid));
	put_text(object, "library", log->header.library);
	if (gmtime_r(&start, &tm) && strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm))
		json_put(object, "start", json_object_new_string(text));
	json_put(object, "sample", whole(log->header.sample));
	json_put(object, "records", whole((double)log->records));
	json_put(object, "whole", json_object_new_boolean(log->whole && !log->damaged));
	json_put(object, "dropped", whole((double)report->dropped));
	json_put(object, "holes", whole((double)log->holes));
	json_put(object, "hole_bytes", whole((double)log->hole_bytes));
	json_put(object, "unknown_kinds", whole((double)log->unknown));
	json_put(object, "impossible", whole((double)log->impossible));
	if (log->damaged)
		json_put(object, "damaged_at", whole((double)log->offset));
	for (unsigned int n = 0; say_trouble(text, report, n); n++)
		json_append(notes, json_object_new_string(text));
	json_put(object, "notes", notes);
	return object;
}

static struct json_object *transactions(struct report *report)
{
	struct json_object *object = json_object_new_object(), *waits = json_object_new_object();
	static const char *const names[WAITS] = { "other", "inevitable", "log", "back_off", "retry", "turn" };

	json_put(object, "seconds", spent(report, report->spent));
	json_put(object, "commits", whole(report->commits));
	json_put(object, "read_only", whole(report->read_only));
	json_put(object, "aborts", whole(report->aborts));
	json_put(object, "conflicts", whole(report->conflicts));
	for (unsigned int i = 0; i < WAITS; i++)
		json_put(waits, names[i], number(seconds(report, report->wait_ticks[i])));
	json_put(object, "waits", waits);
	json_put(object, "faults", whole(report->faults));
	json_put(object, "fault_seconds", number(seconds(report, report->fault_ticks)));
	return object;
}

static struct json_object *object_of(struct report *report, const struct object *what)
{
	struct json_object *object = json_object_new_object();

	if (what->label)
		put_text(object, "label", what->label->text);
	if (what->allocated)
		json_put(object, "allocated", place(code_place(&report->symbols, what->allocated)));
	if (what->bytes)
		json_put(object, "bytes", whole((double)what->bytes));
	if (!what->several_offsets)
		json_put(object, "offset", whole((double)what->offset));
	json_put(object, "count", whole(what->count));
	return object;
}

static struct json_object *reads(struct report *report, const struct pair *pair)
{
	struct json_object *array = json_object_new_array();
	struct read_line lines[STACKS];
	unsigned int n = read_lines(report, pair, lines);

	for (unsigned int i = 0; i < n; i++) {
		struct json_object *object = place(lines[i].place);

		json_put(object, "count", whole(lines[i].count));
		json_append(array, object);
	}
	return array;
}

static struct json_object *when(const struct report *report, const struct pair *pair)
{
	struct json_object *array = json_object_new_array();
	float columns[WHEN];

	axis_columns(report, pair->when, columns, WHEN);
	for (unsigned int i = 0; i < WHEN; i++)
		json_append(array, number(seconds(report, (double)columns[i])));
	return array;
}

static struct json_object *pair_(struct report *report, const struct pair *pair)
{
	struct json_object *object = json_object_new_object(), *objects = json_object_new_array(),
			   *granules = json_object_new_array();

	json_put(object, "count", whole(pair->count));
	json_put(object, "seconds", number(seconds(report, pair->lost)));
	json_put(object, "share", number(report->lost > 0 ? pair->lost / report->lost : 0));
	if (pair->wrote)
		json_put(object, "written", place(code_place(&report->symbols, pair->wrote)));
	if (pair->writer)
		json_put(object, "writer", place(&pair->writer->place));
	json_put(object, "reader", place(&pair->reader->place));
	json_put(object, "reads", reads(report, pair));
	for (unsigned int i = 0; i < pair->objects_n; i++)
		json_append(objects, object_of(report, &pair->objects[i]));
	json_put(object, "objects", objects);
	for (unsigned int i = 0; i < pair->granules_n; i++) {
		struct json_object *granule = json_object_new_object();

		json_put(granule, "address", json_object_new_int64((int64_t)pair->granules[i].address));
		json_put(granule, "count", whole(pair->granules[i].count));
		json_append(granules, granule);
	}
	json_put(object, "granules", granules);
	json_put(object, "when", when(report, pair));
	return object;
}

static struct json_object *hint_(struct report *report, const struct hint *hint)
{
	struct json_object *object = json_object_new_object();

	json_put(object, "kind", json_object_new_string(hint_names[hint->kind]));
	json_put(object, "text", json_object_new_string(hint->text));
	json_put(object, "seconds", number(seconds(report, hint->ticks)));
	if (hint->pair)
		json_put(object, "pair", whole(hint->pair->index));
	if (hint->site)
		json_put(object, "transaction", place(&hint->site->place));
	return object;
}

static struct json_object *thread_(struct report *report, const struct thread *thread)
{
	struct json_object *object = json_object_new_object();

	json_put(object, "number", whole(thread->number));
	if (thread->tid)
		json_put(object, "tid", whole((double)thread->tid));
	put_text(object, "name", thread->name);
	json_put(object, "begin", number(seconds(report, (double)thread->first - (double)report->axis.start)));
	json_put(object, "end", number(seconds(report, (double)thread->last - (double)report->axis.start)));
	json_put(object, "commits", whole(thread->commits));
	json_put(object, "read_only", whole(thread->read_only));
	json_put(object, "aborts", whole(thread->aborts));
	json_put(object, "seconds", spent(report, thread->spent));
	json_put(object, "dropped", whole((double)thread->dropped));
	return object;
}

static struct json_object *site_(struct report *report, const struct site *site)
{
	struct json_object *object = place(&site->place), *aborts = json_object_new_object();

	json_put(object, "site", whole(site->index));
	json_put(object, "commits", whole(site->commits));
	json_put(object, "read_only", whole(site->read_only));
	for (unsigned int i = 0; i < REASONS; i++)
		if (site->aborts[i] > 0)
			json_put(aborts, say_reason(i), whole(site->aborts[i]));
	json_put(object, "aborts", aborts);
	json_put(object, "most_attempts", whole(site->most_attempts));
	json_put(object, "right_of_way", whole(site->right_of_way));
	json_put(object, "mean_seconds", number(seconds(report, mean_attempt(site))));
	json_put(object, "longest_seconds", number(seconds(report, site->longest)));
	json_put(object, "lost_seconds", number(seconds(report, site->lost)));
	json_put(object, "log_waits_seconds", number(seconds(report, site->log_waits)));
	return object;
}

static struct json_object *inevitable_(struct report *report, const struct inevitable *inevitable)
{
	struct json_object *object = json_object_new_object();

	json_put(object, "transaction", place(&inevitable->site->place));
	put_text(object, "why", inevitable->why ? inevitable->why->text : NULL);
	json_put(object, "count", whole(inevitable->count));
	json_put(object, "seconds", number(seconds(report, inevitable->ticks)));
	json_put(object, "asked_seconds", number(seconds(report, inevitable->asked)));
	return object;
}

static struct json_object *task_(struct report *report, const struct task *task)
{
	static const struct place not_known = { .file = NULL };
	struct json_object *object = place(task->function ? code_place(&report->symbols, task->function) : &not_known);

	put_text(object, "name", task->name);
	json_put(object, "count", whole(task->count));
	json_put(object, "seconds", number(seconds(report, task->ticks)));
	json_put(object, "longest_seconds", number(seconds(report, task->longest)));
	return object;
}

/* ---- all ---- */

struct json_object *json_report(struct report *report, unsigned int top)
{
	struct json_object *object = json_object_new_object(), *pairs = json_object_new_array(),
			   *hints = json_object_new_array(), *threads = json_object_new_array();
	struct json_object *sites = json_object_new_array(), *tasks = json_object_new_array(),
			   *inevitables = json_object_new_array();

	json_put(object, "version", json_object_new_string(stm_version()));
	json_put(object, "log", the_log(report));
	json_put(object, "seconds", number(seconds(report, (double)(report->last - report->axis.start))));
	json_put(object, "thread_seconds", number(seconds(report, report->thread_ticks)));
	json_put(object, "transactions", transactions(report));
	json_put(object, "lost_seconds", number(seconds(report, report->lost)));
	for (unsigned int i = 0; i < report->pairs_n && i < top; i++)
		json_append(pairs, pair_(report, report->pairs[i]));
	json_put(object, "pairs", pairs);
	for (unsigned int i = 0; i < report->hints_n; i++)
		json_append(hints, hint_(report, &report->hints[i]));
	json_put(object, "hints", hints);
	for (unsigned int i = 0; i < report->threads_n; i++)
		json_append(threads, thread_(report, report->threads[i]));
	json_put(object, "threads", threads);
	for (unsigned int i = 0; i < report->sites_n; i++)
		if (site_used(report->sites[i]))
			json_append(sites, site_(report, report->sites[i]));
	json_put(object, "transaction_sites", sites);
	for (unsigned int i = 0; i < report->inevitables_n; i++)
		json_append(inevitables, inevitable_(report, &report->inevitables[i]));
	json_put(object, "inevitable", inevitables);
	for (unsigned int i = 0; i < report->tasks_n && i < top; i++)
		json_append(tasks, task_(report, &report->tasks[i]));
	json_put(object, "tasks", tasks);
	return object;
}

int write_json(struct report *report, FILE *out, unsigned int top)
{
	struct json_object *object = json_report(report, top);
	const char *text = json_text(object, false);

	if (text)
		fprintf(out, "%s\n", text);
	else
		complain(ENOMEM, NULL, "the report");
	json_object_put(object);
	return text ? 0 : STATUS_TROUBLE;
}
