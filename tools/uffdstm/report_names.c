// SPDX-License-Identifier: MIT
/*
 * report_names.c - definitions: sites, labels, threads, modules.
 *
 * A definition may be missing, where the log has a hole; then its number has to do. One that comes twice is taken as
 * it came first. Sites with the same file, line and function are one, whatever their numbers: an inline function in a
 * header makes one in each file that includes it.
 */
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

#define NUMBERS_MOST ((uint32_t)1 << 20)        /* sites, and names */
#define SITES_MOST 65536u
#define THREADS_MOST 4096u
#define TEXT_MOST ((uint64_t)32 << 20)          /* bytes of all names */

/* The text in a record's further units from @from on, printable; @from moves behind it. */
static char *take_text(struct report *report, const struct stm_record *record, size_t *from)
{
	const char *text = (const char *)(record + 1);
	size_t bytes = (size_t)record->more * STM_LOG_UNIT, len;
	char *copy;

	if (*from > bytes)
		*from = bytes;
	len = strnlen(text + *from, bytes - *from);
	report->text_bytes += len + 1;
	copy = need(len + 1);
	memcpy(copy, text + *from, len);
	log_printable(copy);
	*from += len + 1;
	return copy;
}

/* Room for @number in an array of pointers by number, which has @have; how many it has then. */
static uint32_t reach(void *array_, uint32_t have, uint32_t number)
{
	void ***array = array_, **larger;
	uint32_t want = have ? have : 64;

	if (number < have)
		return have;
	while (want <= number)
		want *= 2;
	larger = need(want * sizeof(*larger));
	if (have)
		memcpy(larger, *array, have * sizeof(*larger));
	free(*array);
	*array = larger;
	return want;
}

static bool room(struct report *report, bool more)
{
	if (more && report->text_bytes < TEXT_MOST)
		return true;
	report->overflow++;
	return false;
}

/* ---- sites ---- */

static int compare_sites(const void *a, const void *b)
{
	const struct site *x = a, *y = b;
	int order;

	if (x->defined != y->defined)
		return x->defined ? 1 : -1;
	if (!x->defined)
		return x->number < y->number ? -1 : x->number > y->number;
	if (x->place.line != y->place.line)
		return x->place.line < y->place.line ? -1 : 1;
	order = strcmp(x->place.file, y->place.file);
	order = order ? order : strcmp(x->place.function, y->place.function);
	/* tasks have it, and of some no more is known */
	order = order ? order : strcmp(x->place.code ? x->place.code : "", y->place.code ? y->place.code : "");
	return order ? order : strcmp(x->place.name ? x->place.name : "", y->place.name ? y->place.name : "");
}

/* Takes what @key holds. */
static struct site *add_site(struct report *report, struct site *key)
{
	struct site **found = tfind(key, &report->site_tree, compare_sites), *site;

	if (found || !room(report, report->sites_n < SITES_MOST)) {
		place_free(&key->place);
		return found ? *found : site_of(report, 0);
	}
	site = need(sizeof(*site));
	*site = *key;
	site->index = report->sites_n;
	report->sites[report->sites_n++] = site;
	tsearch(site, &report->site_tree, compare_sites);
	return site;
}

static void start_sites(struct report *report)
{
	struct site none = { .place.file = NULL };

	if (report->by_number)
		return;
	report->by_number_n = reach(&report->by_number, 0, 0);
	report->sites = need(SITES_MOST * sizeof(*report->sites));
	report->by_number[0] = add_site(report, &none);
}

/* A task of a queue has no place where its transaction begins: its function's stands for it. */
static void task_place(struct report *report, uint64_t address, struct place *place)
{
	struct code *code = symbols_code(&report->symbols, address);
	const struct place *function = code ? code_place(&report->symbols, code) : NULL;

	place->line = function ? function->line : 0;
	place->file = need_text(function && function->file ? function->file : "");
	place->function = need_text(function && function->function ? function->function : "");
	place->code = need_text(function && function->code ? function->code : "a task");
}

void name_site(struct report *report, const struct stm_record *record)
{
	struct site key = { .number = record->site, .defined = true };
	size_t at = 0;

	start_sites(report);
	if (!record->site || record->site >= NUMBERS_MOST)
		return;
	report->by_number_n = reach(&report->by_number, report->by_number_n, record->site);
	if (report->by_number[record->site])
		return;
	if (!room(report, true))
		return;
	key.place.line = record->value < UINT32_MAX ? (unsigned int)record->value : 0;
	key.place.file = take_text(report, record, &at);
	key.place.function = take_text(report, record, &at);
	key.place.name = take_text(report, record, &at); /* empty: it has none */
	if (record->duration) {
		free(key.place.file);
		free(key.place.function);
		task_place(report, record->duration, &key.place);
	}
	report->by_number[record->site] = add_site(report, &key);
}

struct site *site_of(struct report *report, uint32_t number)
{
	struct site key = { .number = number };

	start_sites(report);
	if (number >= NUMBERS_MOST)
		number = 0;
	report->by_number_n = reach(&report->by_number, report->by_number_n, number);
	if (!report->by_number[number])
		report->by_number[number] = add_site(report, &key);
	report->undefined += number && !report->by_number[number]->defined;
	return report->by_number[number];
}

/* ---- names ---- */

void name_name(struct report *report, const struct stm_record *record)
{
	struct name *name;
	size_t at = 0;

	if (!record->site || record->site >= NUMBERS_MOST || !room(report, true))
		return;
	report->names_n = reach(&report->names, report->names_n, record->site);
	if (report->names[record->site])
		return;
	name = need(sizeof(*name));
	name->number = record->site;
	name->text = take_text(report, record, &at);
	report->names[record->site] = name;
}

const struct name *name_of(struct report *report, uint32_t number)
{
	static const struct name undefined = { .text = (char *)"(its name is missing)" };

	if (!number)
		return NULL;
	return number < report->names_n && report->names[number] ? report->names[number] : &undefined;
}

/* ---- threads ---- */

static struct thread *add_thread(struct report *report, unsigned int number, uint64_t time, uint64_t from)
{
	struct thread *thread;

	if (!report->threads) {
		report->threads = need(THREADS_MOST * sizeof(*report->threads));
		report->newest = need((STM_NO_THREAD + 1u) * sizeof(*report->newest));
	}
	if (report->threads_n == THREADS_MOST) {
		/* the last one stands for all that come late */
		report->overflow++;
		if (!report->newest[number])
			report->newest[number] = report->threads[THREADS_MOST - 1];
		return report->newest[number];
	}
	thread = need(sizeof(*thread));
	thread->number = number;
	thread->index = report->threads_n;
	thread->first = thread->last = time;
	thread->from = from;
	thread->before = report->newest[number];
	thread->when = need(BINS * sizeof(*thread->when));
	report->threads[report->threads_n++] = thread;
	report->newest[number] = thread;
	return thread;
}

struct thread *thread_at(const struct report *report, unsigned int number, uint64_t time)
{
	struct thread *thread = report->newest ? report->newest[number] : NULL;

	while (thread && thread->before && time < thread->from)
		thread = thread->before;
	return thread;
}

struct thread *thread_of(struct report *report, unsigned int number, uint64_t time)
{
	struct thread *thread = thread_at(report, number, time);

	return thread ? thread : add_thread(report, number, time, 0);
}

void name_thread(struct report *report, const struct stm_record *record)
{
	struct thread *thread = report->newest ? report->newest[record->thread] : NULL;
	size_t at = 0;

	if (record->thread == STM_NO_THREAD || !room(report, true))
		return;
	/* another one has the number; or the same has another name, or is attached again */
	if (!thread || (thread->from && thread->tid != record->value))
		thread = add_thread(report, record->thread, record->time, record->time);
	thread->from = thread->from ? thread->from : record->time;
	thread->detached = false;
	thread->tid = record->value;
	free(thread->name);
	thread->name = take_text(report, record, &at);
}

void detach(struct report *report, const struct stm_record *record)
{
	struct thread *thread = thread_of(report, record->thread, record->time);

	thread->detached = thread->last <= record->time;
	if (thread->last < record->time)
		thread->last = record->time;
}

/* ---- the rest ---- */

void name_module(struct report *report, const struct stm_record *record)
{
	struct stm_log_module module;
	size_t at = sizeof(module);
	char *path;

	if (!room(report, true))
		return;
	memcpy(&module, record + 1, sizeof(module));
	if (module.build_id_bytes > sizeof(module.build_id))
		module.build_id_bytes = sizeof(module.build_id);
	path = take_text(report, record, &at);
	symbols_module(&report->symbols, record->value, record->duration, &module, path);
	free(path);
}

void name_writer(struct report *report, const struct stm_record *record)
{
	size_t at = 0;

	free(report->writer_why);
	report->writer = record->value;
	report->writer_why = take_text(report, record, &at);
}

static void keep(void *site)
{
	(void)site; /* report.sites has it, too */
}

void names_end(struct report *report)
{
	for (unsigned int i = 0; i < report->sites_n; i++) {
		place_free(&report->sites[i]->place);
		free(report->sites[i]);
	}
	tdestroy(report->site_tree, keep);
	free(report->sites);
	free(report->by_number);
	for (uint32_t i = 0; i < report->names_n; i++)
		if (report->names[i]) {
			free(report->names[i]->text);
			free(report->names[i]);
		}
	free(report->names);
	for (unsigned int i = 0; i < report->threads_n; i++) {
		free(report->threads[i]->name);
		free(report->threads[i]->when);
		free(report->threads[i]);
	}
	free(report->threads);
	free(report->newest);
	free(report->writer_why);
}
