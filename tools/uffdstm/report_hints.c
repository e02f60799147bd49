// SPDX-License-Identifier: MIT
/*
 * report_hints.c - what to do about it, by rules: uffdstm-report(1) has them in words.
 *
 * A hint is given only when the log shows what its rule asks for, and only about what costs a hundredth of the time
 * inside transactions or more.
 */
#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

#define WORTH 0.01              /* share of the time inside transactions */
#define MOST 0.9                /* "always" */
#define HALF 0.5
#define ENOUGH_ABORTS 20        /* fewer may be chance */
#define ENOUGH_FAULTS 16
#define HINTS_MOST 32u

const char *const hint_names[HINT_KINDS] = {
	[HINT_COUNTER] = "counter",   [HINT_SIZE_FIELD] = "size-field", [HINT_GRANULE] = "granule",
	[HINT_PAGE] = "page",	      [HINT_RESTARTED] = "restarted",	[HINT_INEVITABLE] = "inevitable",
	[HINT_LOG_FULL] = "log-full",
};

static double inside(const struct report *report)
{
	double ticks = 0;

	for (unsigned int i = 0; i < SPENT_KINDS; i++)
		ticks += report->spent[i];
	return ticks;
}

static bool worth(const struct report *report, double ticks)
{
	return ticks > 0 && ticks >= WORTH * inside(report);
}

PRINTF_LIKE(6, 7)
static void hint(struct report *report, enum hint_kind kind, double ticks, const struct pair *pair,
		 const struct site *site, const char *format, ...)
{
	struct hint *new;
	va_list args;

	if (report->hints_n == HINTS_MOST)
		return;
	if (!report->hints)
		report->hints = need(HINTS_MOST * sizeof(*report->hints));
	new = &report->hints[report->hints_n++];
	*new = (struct hint){ .kind = kind, .ticks = ticks, .pair = pair, .site = site };
	va_start(args, format);
	vsnprintf(new->text, sizeof(new->text), format, args);
	va_end(args);
	log_printable(new->text); /* a character may have been cut in two */
}

/* ---- what a line of C does ---- */

/* It gives something a value that depends on the one before: x++, x += n, STM_SET(x, STM_GET(x) + n). */
static bool updates(const char *text)
{
	const char *get;

	if (strstr(text, "++") || strstr(text, "--") || strstr(text, "+=") || strstr(text, "-="))
		return true;
	get = strstr(text, "STM_SET") ? strstr(text, "STM_GET") : NULL;
	for (; get && *get; get++)
		if (*get == '+' || (*get == '-' && get[1] != '>'))
			return true;
	return false;
}

#define WORDS 16u
#define WORD_BYTES 40u

struct words {
	char words[WORDS][WORD_BYTES];
	unsigned int n;
};

/* The names of structure members in a line: what follows "->" or ".". */
static void members(const char *text, struct words *words)
{
	words->n = 0;
	for (const char *c = text; *c && words->n < WORDS; c++) {
		size_t len = 0;

		if (*c == '.')
			c++;
		else if (c[0] == '-' && c[1] == '>')
			c += 2;
		else
			continue;
		while (isalnum((unsigned char)c[len]) || c[len] == '_')
			len++;
		if (len && len < WORD_BYTES && !isdigit((unsigned char)*c)) {
			memcpy(words->words[words->n], c, len);
			words->words[words->n++][len] = 0;
		}
		if (!len)
			c--; /* "..": look at the second again */
	}
}

static bool have_common(const struct words *a, const struct words *b)
{
	for (unsigned int i = 0; i < a->n; i++)
		for (unsigned int k = 0; k < b->n; k++)
			if (!strcmp(a->words[i], b->words[k]))
				return true;
	return false;
}

/* A word like "nr_entries" names how many things there are. */
static bool names_size(const char *text)
{
	static const char *const sizes[] = {
		"size", "len", "length", "count", "counts", "entries", "items", "used", "fill", "num", "nr", "n",
	};

	while (*text) {
		size_t len = 0;

		while (isalpha((unsigned char)text[len]))
			len++;
		for (size_t i = 0; len && i < sizeof(sizes) / sizeof(sizes[0]); i++)
			if (strlen(sizes[i]) == len && !strncmp(text, sizes[i], len))
				return true;
		text += len ? len : 1;
	}
	return false;
}

/* ---- conflicts ---- */

static bool same_line(const struct place *a, const struct place *b)
{
	return a->file && b->file && a->line && a->line == b->line && !strcmp(a->file, b->file);
}

/* Most reads come from the very line that writes. */
static bool reads_where_it_writes(struct report *report, const struct pair *pair)
{
	double all = 0, same = 0;

	for (unsigned int i = 0; i < pair->stacks_n; i++) {
		struct code *code = stack_code(report, &pair->stacks[i]);

		all += pair->stacks[i].count;
		if (code && same_line(code_place(&report->symbols, code), &pair->wrote->place))
			same += pair->stacks[i].count;
	}
	return all > 0 && same >= MOST * all;
}

static bool one_granule(const struct pair *pair)
{
	return pair->granules_n && pair->granules[0].count >= MOST * pair->count;
}

static void find_counter(struct report *report, const struct pair *pair)
{
	const char *text = pair->wrote->place.text;
	const struct object *object = &pair->objects[0];
	char where[SAY_BYTES];
	struct words words = { .n = 0 };
	bool size = object->label && names_size(object->label->text);

	if (!one_granule(pair) || !(text ? updates(text) : reads_where_it_writes(report, pair)))
		return;
	if (text)
		members(text, &words);
	for (unsigned int i = 0; i < words.n; i++)
		size |= names_size(words.words[i]);
	say_place(where, &pair->wrote->place, 60);
	if (size && object->bytes != STM_GRANULE)
		hint(report, HINT_SIZE_FIELD, pair->lost, pair, NULL,
		     "The line at %s counts what is in a container, so all who add or remove conflict, whatever they "
		     "touch. Keep a count for each thread or part of it, and add them up where the size is asked for; "
		     "or do without it.",
		     where);
	else
		hint(report, HINT_COUNTER, pair->lost, pair, NULL,
		     "The line at %s is a counter: additions can be done in any order, but here each undoes the "
		     "others. "
		     "Let each thread have one of its own, 16 bytes or more apart, and add them up at the end or where "
		     "the sum is read.",
		     where);
}

static void find_granule(struct report *report, const struct pair *pair)
{
	const struct granule *granule = &pair->granules[0];
	const char *text = pair->wrote->place.text;
	char where[SAY_BYTES], there[SAY_BYTES];
	struct words wrote, read;
	const struct place *place = NULL;
	double all = 0, others = 0;

	if (granule->other_label) {
		hint(report, HINT_GRANULE, pair->lost, pair, NULL,
		     "\"%.60s\" and \"%.60s\" share 16 bytes, the unit of conflicts: align them to 16 bytes, so that "
		     "who uses the "
		     "one does not conflict with who uses the other.",
		     granule->label->text, granule->other_label->text);
		return;
	}
	if (!one_granule(pair) || !text)
		return;
	members(text, &wrote);
	for (unsigned int i = 0; i < pair->stacks_n && wrote.n; i++) {
		struct code *code = stack_code(report, &pair->stacks[i]);

		all += pair->stacks[i].count;
		if (!code || !code_place(&report->symbols, code)->text)
			continue;
		members(code_place(&report->symbols, code)->text, &read);
		if (!read.n || have_common(&wrote, &read))
			continue;
		others += pair->stacks[i].count;
		place = place ? place : code_place(&report->symbols, code);
	}
	if (others > 0 && others >= MOST * all)
		hint(report, HINT_GRANULE, pair->lost, pair, NULL,
		     "The lines at %s and %s name different members, so they may conflict only because these "
		     "share 16 bytes, the unit of conflicts: move them apart, or align them to 16 bytes.",
		     say_place(where, &pair->wrote->place, 60), say_place(there, place, 60));
}

/* ---- pages ---- */

static void find_pages(struct report *report)
{
	double ticks = 0, count = 0;
	const struct page *worst = NULL;
	unsigned int n = 0;
	char number[SAY_BYTES];

	for (unsigned int i = 0; i < report->pages_n; i++) {
		const struct page *page = &report->pages[i];

		if (page->threads_n < 2 || page->count < ENOUGH_FAULTS)
			continue;
		n++;
		ticks += page->ticks;
		count += page->count;
		if (!worst || page->ticks > worst->ticks)
			worst = page;
	}
	if (!worst || !worth(report, ticks))
		return;
	hint(report, HINT_PAGE, ticks, NULL, NULL,
	     "%s page faults are on %u page%s that several threads use, the worst at %#llx, by %u threads. What "
	     "different "
	     "threads write lies on one page: let each allocate what it uses, or align to 4,096 bytes.",
	     say_count(number, count), n, n == 1 ? "" : "s", (unsigned long long)worst->address, worst->threads_n);
}

/* ---- transactions ---- */

static void find_restarted(struct report *report, const struct site *site)
{
	double aborts = site->aborts[STM_ABORT_CONFLICT] + site->aborts[STM_ABORT_VALIDATE] +
			site->aborts[STM_ABORT_INEVITABLE];
	double attempts = site->commits + site->read_only;
	char name[SAY_BYTES], where[SAY_BYTES], n[SAY_BYTES], of[SAY_BYTES], mean[SAY_BYTES];

	for (unsigned int i = 0; i < REASONS; i++)
		attempts += site->aborts[i];
	if (aborts < ENOUGH_ABORTS || aborts <= HALF * attempts || !worth(report, site->lost))
		return;
	hint(report, HINT_RESTARTED, site->lost, NULL, site,
	     "The transaction %sbegun at %s is undone most of the time: %s of %s attempts, up to %u in a row; one "
	     "takes %s. "
	     "Split it, so that what conflicts is in a short transaction of its own, or do that last.",
	     say_name(name, site->place.name, 60), say_place(where, &site->place, 60), say_count(n, aborts),
	     say_count(of, attempts), site->most_attempts,
	     say_time(mean, report, mean_attempt(site)));
}

static void find_inevitable(struct report *report)
{
	double waited = report->wait_ticks[STM_WAIT_INEVITABLE], all = 0;

	for (unsigned int i = 0; i < report->inevitables_n; i++)
		all += report->inevitables[i].ticks;
	if (!worth(report, waited))
		return;
	for (unsigned int i = 0; i < report->inevitables_n; i++) {
		const struct inevitable *inevitable = &report->inevitables[i];
		char name[SAY_BYTES], where[SAY_BYTES], wait[SAY_BYTES], mean[SAY_BYTES];

		/* it is not the last thing that these do, and what the waiting is mostly for */
		if (!inevitable->why || inevitable->ticks < HALF * inevitable->attempt_ticks ||
		    inevitable->ticks < HALF * all)
			continue;
		hint(report, HINT_INEVITABLE, waited, NULL, inevitable->site,
		     "The transaction %sbegun at %s becomes inevitable early, by \"%.60s\", and stays so for %s on "
		     "average, while "
		     "others waited %s in all to commit. Do that last, or after the commit (stm_on_commit).",
		     say_name(name, inevitable->site->place.name, 60), say_place(where, &inevitable->site->place, 60),
		     inevitable->why->text,
		     say_time(mean, report, inevitable->ticks / inevitable->count), say_time(wait, report, waited));
	}
}

static void find_log_full(struct report *report)
{
	const struct site *worst = NULL;
	char name[SAY_BYTES], where[SAY_BYTES], wait[SAY_BYTES], ran[SAY_BYTES];

	if (!worth(report, report->wait_ticks[STM_WAIT_LOG]))
		return;
	for (unsigned int i = 0; i < report->sites_n; i++)
		if (report->sites[i]->number && report->sites[i]->log_waits > (worst ? worst->log_waits : 0))
			worst = report->sites[i];
	if (!worst)
		return;
	hint(report, HINT_LOG_FULL, worst->log_waits, NULL, worst,
	     "The commit log was full because the transaction %sbegun at %s ran for %s; others waited %s in all for "
	     "it. Split it, "
	     "or allow a larger log (log_limit).",
	     say_name(name, worst->place.name, 60), say_place(where, &worst->place, 60),
	     say_time(ran, report, worst->longest),
	     say_time(wait, report, worst->log_waits));
}

/* ---- all ---- */

static int by_ticks(const void *a, const void *b)
{
	const struct hint *x = a, *y = b;

	return x->ticks > y->ticks ? -1 : x->ticks < y->ticks;
}

void hints_find(struct report *report)
{
	for (unsigned int i = 0; i < report->pairs_n && worth(report, report->pairs[i]->lost); i++) {
		if (!report->pairs[i]->wrote || !report->pairs[i]->granules_n ||
		    report->pairs[i]->count < ENOUGH_ABORTS)
			continue;
		find_counter(report, report->pairs[i]);
		find_granule(report, report->pairs[i]);
	}
	for (unsigned int i = 0; i < report->sites_n; i++)
		find_restarted(report, report->sites[i]);
	find_inevitable(report);
	find_log_full(report);
	find_pages(report);
	if (report->hints_n)
		qsort(report->hints, report->hints_n, sizeof(*report->hints), by_ticks);
}

void hints_end(struct report *report)
{
	free(report->hints);
}
