// SPDX-License-Identifier: MIT
/*
 * report_sum.c - adds the records up.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

void report_start(struct report *report, struct log *log, bool sample)
{
	*report = (struct report){ .log = log };
	symbols_start(&report->symbols, log->header.start_ns);
	report->axis.start = report->last = log->header.start;
	if (sample)
		report->sampled = need(BINS * sizeof(*report->sampled));
}

void report_end(struct report *report)
{
	pairs_end(report);
	names_end(report);
	hints_end(report);
	symbols_end(&report->symbols);
	free(report->sampled);
}

/* ---- attempts ---- */

static void span(struct report *report, const struct thread *thread, const struct stm_record *record,
		 const struct site *site, unsigned int detail)
{
	const struct span new = {
		.begin = record->time,
		.duration = (double)record->duration,
		.thread = thread->index,
		.site = site->index,
		.kind = record->kind,
		.detail = (uint8_t)detail,
	};

	sample_span(report, &new);
}

static void count_attempt(struct site *site, const struct stm_record *record, double weight)
{
	site->timed += weight;
	site->timed_ticks += (double)record->duration * weight;
	site->longest = fmax(site->longest, (double)record->duration);
}

/* What it was inevitable for ends with it. */
static void end_inevitable(struct thread *thread, const struct stm_record *record)
{
	uint64_t end = record->time + record->duration;

	if (thread->inevitable && thread->inevitable_from >= record->time && thread->inevitable_from <= end &&
	    thread->inevitable_why) {
		thread->inevitable_why->ticks += (double)(end - thread->inevitable_from);
		thread->inevitable_why->attempt_ticks += (double)record->duration;
	}
	thread->inevitable = false;
}

static void commit(struct report *report, struct thread *thread, const struct stm_record *record)
{
	struct site *site = site_of(report, record->site);
	double weight = STM_COMMIT_WEIGHT(record->value);

	weight = weight ? weight : 1;
	*(record->kind == STM_EVENT_COMMIT ? &site->commits : &site->read_only) += weight;
	*(record->kind == STM_EVENT_COMMIT ? &thread->commits : &thread->read_only) += weight;
	*(record->kind == STM_EVENT_COMMIT ? &report->commits : &report->read_only) += weight;
	site->committed += (double)record->duration * weight;
	count_attempt(site, record, weight);
	spent_attempt(report, thread, record, weight, SPENT_COMMITTED);
	end_inevitable(thread, record);
	span(report, thread, record, site, 0);
	thread->aborted_by = NULL;
	thread->aborted_at = NULL;
}

static void abort_(struct report *report, struct thread *thread, const struct stm_record *record)
{
	struct site *site = site_of(report, record->site);
	unsigned int reason = STM_ABORT_REASON(record->value), attempt = STM_ABORT_ATTEMPT(record->value);
	bool untimed = STM_ABORT_UNTIMED(record->value);
	bool conflict = reason == STM_ABORT_CONFLICT || reason == STM_ABORT_VALIDATE || reason == STM_ABORT_INEVITABLE;

	reason = reason < STM_ABORT_REASONS ? reason : STM_ABORT_REASONS;
	site->aborts[reason]++;
	thread->aborts++;
	report->aborts++;
	if (attempt < UINT32_MAX && attempt + 1 > site->most_attempts)
		site->most_attempts = attempt + 1;
	thread->aborted_by = NULL;
	thread->aborted_at = site;
	if (conflict) {
		report->conflicts++;
		thread->aborted_by = pair_abort(report, thread, record);
	}
	if (untimed) {
		site->untimed++;
	} else {
		count_attempt(site, record, 1);
		site->lost += (double)record->duration;
		if (thread->aborted_by)
			pair_lost(report, thread->aborted_by, record->time, (double)record->duration);
		else if (conflict)
			report->lost += (double)record->duration;
		spent_attempt(report, thread, record, 1, SPENT_ABORTED);
	}
	end_inevitable(thread, record);
	span(report, thread, record, site, reason);
}

static void inevitable(struct report *report, struct thread *thread, const struct stm_record *record)
{
	struct site *site = site_of(report, record->site);
	const struct name *why = record->value < UINT32_MAX ? name_of(report, (uint32_t)record->value) : NULL;
	struct inevitable *found = NULL;

	for (unsigned int i = 0; i < report->inevitables_n && !found; i++)
		if (report->inevitables[i].site == site && report->inevitables[i].why == why)
			found = &report->inevitables[i];
	if (!found && report->inevitables_n < INEVITABLES) {
		found = &report->inevitables[report->inevitables_n++];
		found->site = site;
		found->why = why;
	}
	if (found) {
		found->count++;
		found->asked += (double)record->duration;
	} else {
		report->overflow++;
	}
	site->right_of_way += !why;
	thread->inevitable = true;
	thread->inevitable_from = record->time + record->duration;
	thread->inevitable_why = found;
}

/* ---- what else threads do ---- */

static void wait_(struct report *report, struct thread *thread, const struct stm_record *record)
{
	struct site *site = site_of(report, record->site);
	unsigned int kind = record->value < WAITS ? (unsigned int)record->value : 0;
	double duration = (double)record->duration;

	report->waits[kind]++;
	report->wait_ticks[kind] += duration;
	if (kind == STM_WAIT_LOG) {
		/* of the one that is waited for, which runs at least so long, and may never end */
		site->log_waits += duration;
		site->longest = fmax(site->longest, duration);
	} else {
		site->waits[kind] += duration;
	}
	if (kind == STM_WAIT_BACK_OFF && thread->aborted_at) {
		thread->aborted_at->lost += duration;
		if (thread->aborted_by)
			pair_lost(report, thread->aborted_by, record->time, duration);
	}
	spent_nested(report, thread, record, SPENT_WAITING);
	span(report, thread, record, site, kind);
}

/* Which pages take faults again and again? */
static void count_page(struct report *report, const struct thread *thread, const struct stm_record *record)
{
	uint64_t address = STM_FAULT_ADDRESS(record->value);
	struct page *page = NULL;
	unsigned int bit = thread->number % 1024;

	if (STM_FAULT_PAGES(record->value) > 1) /* the first use of a region, not strife for a page */
		return;
	for (unsigned int i = 0; i < report->pages_n && !page; i++)
		if (report->pages[i].address == address)
			page = &report->pages[i];
	if (!page && report->pages_n < PAGES) {
		page = &report->pages[report->pages_n++];
		page->address = address;
	} else if (!page) {
		page = &report->pages[0];
		for (unsigned int i = 1; i < PAGES; i++)
			if (report->pages[i].count < page->count)
				page = &report->pages[i];
		/* its count is not passed on: most pages fault once, and would seem to fault often */
		*page = (struct page){ .address = address };
	}
	page->count++;
	page->ticks += (double)record->duration;
	page->threads_n += !(page->threads[bit / 64] >> bit % 64 & 1);
	page->threads[bit / 64] |= (uint64_t)1 << bit % 64;
}

static void fault(struct report *report, struct thread *thread, const struct stm_record *record)
{
	report->faults++;
	report->fault_ticks += (double)record->duration;
	count_page(report, thread, record);
	spent_nested(report, thread, record, SPENT_SYSTEM);
	span(report, thread, record, site_of(report, record->site), STM_FAULT_KIND(record->value));
}

static void task(struct report *report, const struct stm_record *record)
{
	struct code *function = symbols_code(&report->symbols, record->value);
	const char *name = record->site ? site_of(report, record->site)->place.name : NULL;
	struct task *task = NULL;

	if (!name)
		name = "";
	for (unsigned int i = 0; i < report->tasks_n && !task; i++)
		if (report->tasks[i].function == function && !strcmp(report->tasks[i].name, name))
			task = &report->tasks[i];
	if (!task && report->tasks_n == TASKS) {
		report->overflow++;
		return;
	}
	if (!task) {
		task = &report->tasks[report->tasks_n++];
		task->function = function;
		task->name = name;
	}
	task->count++;
	task->ticks += (double)record->duration;
	task->longest = fmax(task->longest, (double)record->duration);
}

static void clock_(struct report *report, const struct stm_record *record)
{
	if (!report->clocks++) {
		report->clock_first.ticks = record->time;
		report->clock_first.ns = record->value;
	}
	report->clock_last.ticks = record->time;
	report->clock_last.ns = record->value;
}

static uint64_t sum(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

/* ---- by kind ---- */

/* The library's own, of no thread. */
static void of_nobody(struct report *report, const struct stm_record *record)
{
	if (record->kind == STM_EVENT_DROPPED)
		report->dropped = sum(report->dropped, record->value);
	else if (record->kind == STM_EVENT_FOLD)
		report->own[0] += (double)record->duration;
	else
		report->own[1] += (double)record->duration;
}

static void of_thread(struct report *report, struct thread *thread, const struct stm_record *record)
{
	switch (record->kind) {
	case STM_EVENT_COMMIT:
	case STM_EVENT_READ_ONLY:
		commit(report, thread, record);
		break;
	case STM_EVENT_ABORT:
		abort_(report, thread, record);
		break;
	case STM_EVENT_INEVITABLE:
		inevitable(report, thread, record);
		break;
	case STM_EVENT_WAIT:
		wait_(report, thread, record);
		break;
	case STM_EVENT_FAULT:
	case STM_EVENT_PRIVATISE:
		fault(report, thread, record);
		break;
	case STM_EVENT_READER:
		pair_reader(report, thread, record);
		break;
	case STM_EVENT_FOLD:
	case STM_EVENT_TRIM:
	case STM_EVENT_PARK:
		spent_nested(report, thread, record, SPENT_SYSTEM);
		break;
	case STM_EVENT_TASK_END:
		task(report, record);
		break;
	case STM_EVENT_DETACH:
		detach(report, record);
		break;
	case STM_EVENT_DROPPED:
		thread->dropped = sum(thread->dropped, record->value);
		report->dropped = sum(report->dropped, record->value);
		break;
	default:
		break;
	}
}

/* A definition, taken note of. */
static bool define(struct report *report, const struct stm_record *record)
{
	switch (record->kind) {
	case STM_EVENT_SITE:
		name_site(report, record);
		return true;
	case STM_EVENT_NAME:
		name_name(report, record);
		return true;
	case STM_EVENT_THREAD:
		name_thread(report, record);
		return true;
	case STM_EVENT_MODULE:
		name_module(report, record);
		return true;
	case STM_EVENT_WRITER:
		name_writer(report, record);
		return true;
	default:
		return false;
	}
}

void report_record(struct report *report, const struct stm_record *record)
{
	uint64_t end = record->time + (log_has_duration(record) ? record->duration : 0);

	if (record->kind != STM_EVENT_SITE && record->kind != STM_EVENT_NAME) {
		report->last = end > report->last ? end : report->last;
		axis_reach(report, end);
	}
	if (define(report, record))
		return;
	if (record->kind == STM_EVENT_CLOCK)
		clock_(report, record);
	if (record->kind == STM_EVENT_TRIM)
		report->trimmed = sum(report->trimmed, record->value);
	if (record->kind == STM_EVENT_FOLD)
		report->folded = sum(report->folded, record->value);
	if (record->kind == STM_EVENT_LOG_GROWTH && record->value > report->log_bytes)
		report->log_bytes = record->value;
	report->parked += record->kind == STM_EVENT_PARK;
	if (record->kind == STM_EVENT_CLOCK || record->kind == STM_EVENT_END)
		return;
	if (record->thread == STM_NO_THREAD) {
		of_nobody(report, record);
	} else {
		struct thread *thread = thread_of(report, record->thread, record->time);

		if (thread->last < end) {
			thread->last = end;
			thread->detached = false;
		}
		if (thread->first > record->time)
			thread->first = record->time;
		of_thread(report, thread, record);
	}
}

/* ---- the end ---- */

/* Aborts that were not timed: as pairs_finish() has it. */
static void estimate(struct report *report, struct site *site)
{
	double ticks = site->untimed * mean_attempt(site);

	site->lost += ticks;
	report->spent[SPENT_ABORTED] += ticks;
}

void report_finish(struct report *report)
{
	for (unsigned int i = 0; i < report->sites_n; i++) {
		estimate(report, report->sites[i]);
		symbols_text(&report->symbols, &report->sites[i]->place);
	}
	for (unsigned int i = 0; report->newest && i < STM_NO_THREAD; i++)
		if (report->newest[i] && !report->newest[i]->detached) /* it was there to the end */
			report->newest[i]->last = report->last;
	for (unsigned int i = 0; i < report->threads_n; i++)
		report->thread_ticks += (double)(report->threads[i]->last - report->threads[i]->first);
	pairs_finish(report);
	hints_find(report);
}
