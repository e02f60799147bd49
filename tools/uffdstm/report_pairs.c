// SPDX-License-Identifier: MIT
/*
 * report_pairs.c - conflicts: by the code that wrote, the transaction it wrote in, and the transaction undone for it.
 *
 * How many of them there are is bounded, and so is what is kept of each; where there is no room, the rarest makes
 * room. For granules and readers its count is passed on, so that what is frequent stays (Metwally,
 * Agrawal, El Abbadi: Efficient computation of frequent and top-k elements in data streams, 2005).
 */
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

#define PAIRS_MOST 8192u

static int compare_pointers(const void *a, const void *b)
{
	return a < b ? -1 : a > b;
}

static int compare_pairs(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;
	int order = compare_pointers(x->wrote, y->wrote);

	order = order ? order : compare_pointers(x->writer, y->writer);
	return order ? order : compare_pointers(x->reader, y->reader);
}

static struct pair *find_pair(struct report *report, struct code *wrote, struct site *writer, struct site *reader)
{
	static struct pair key; /* 5 KiB */
	struct pair **found, *pair;

	if (!report->pairs)
		report->pairs = need(PAIRS_MOST * sizeof(*report->pairs));
	key.wrote = wrote;
	key.writer = writer;
	key.reader = reader;
	found = tfind(&key, &report->pair_tree, compare_pairs);
	if (found)
		return *found;
	if (report->pairs_n == PAIRS_MOST) {
		report->overflow++;
		return NULL;
	}
	pair = need(sizeof(*pair));
	pair->wrote = wrote;
	pair->writer = writer;
	pair->reader = reader;
	tsearch(pair, &report->pair_tree, compare_pairs);
	report->pairs[report->pairs_n++] = pair;
	return pair;
}

/* The entry of a table with @n of at most @most that is to be replaced, or a new one. */
#define FIND_RAREST(table, n, most, entry)                                                             \
	do {                                                                                           \
		if ((n) < (most)) {                                                                    \
			(entry) = &(table)[(n)++];                                                     \
		} else {                                                                               \
			(entry) = &(table)[0];                                                         \
			for (unsigned int i_ = 1; i_ < (n); i_++)                                      \
				if ((table)[i_].count < (entry)->count)                                \
					(entry) = &(table)[i_];                                        \
		}                                                                                      \
	} while (0)

static void count_granule(struct pair *pair, uint64_t address, const struct name *label, double count)
{
	struct granule *granule;
	double before;

	for (unsigned int i = 0; i < pair->granules_n; i++) {
		granule = &pair->granules[i];
		if (granule->address != address)
			continue;
		granule->count += count;
		if (!granule->label)
			granule->label = label;
		else if (label && granule->label != label)
			granule->other_label = label;
		return;
	}
	FIND_RAREST(pair->granules, pair->granules_n, GRANULES, granule);
	before = granule->count;
	*granule = (struct granule){ .address = address, .label = label, .count = before + count };
}

static void count_object(struct pair *pair, const struct object *what)
{
	struct object *object;

	for (unsigned int i = 0; i < pair->objects_n; i++) {
		object = &pair->objects[i];
		if (object->label != what->label || object->allocated != what->allocated)
			continue;
		object->count += what->count;
		if (object->bytes != what->bytes)
			object->bytes = 0;
		object->several_offsets |= what->several_offsets || object->offset != what->offset;
		return;
	}
	FIND_RAREST(pair->objects, pair->objects_n, OBJECTS, object);
	pair->objects_more += object->count;
	*object = *what;
}

/* Written by whom: the pair; NULL: it cannot be told, or kept. */
struct pair *pair_abort(struct report *report, struct thread *thread, const struct stm_record *record)
{
	struct stm_log_conflict conflict = { 0 };
	struct site *reader = site_of(report, record->site);
	const struct thread *writer;
	struct pair *pair;
	struct object object = { .count = 1 };

	if (record->more)
		memcpy(&conflict, record + 1, sizeof(conflict));
	pair = find_pair(report, symbols_code(&report->symbols, conflict.writer_code),
			 conflict.writer_site ? site_of(report, conflict.writer_site) : NULL, reader);
	if (!pair)
		return NULL;
	pair->count++;
	if (record->more) {
		object.label = name_of(report, conflict.label);
		object.allocated = object.label ? NULL : symbols_code(&report->symbols, conflict.alloc_code);
		object.bytes = conflict.block ? conflict.block_bytes : 0;
		object.offset = object.label ? conflict.label_offset
				: conflict.block && conflict.address >= conflict.block
					? conflict.address - conflict.block
					: 0;
		count_object(pair, &object);
		count_granule(pair, conflict.address, object.label, 1);
		thread->aborted_granule = conflict.address;
	}
	if (STM_ABORT_UNTIMED(record->value)) {
		pair->untimed++;
		axis_add(&report->axis, pair->untimed_when, 1, record->time, 0, 1);
	}
	writer = record->more ? thread_at(report, conflict.writer_thread, record->time) : NULL;
	if (writer && report->sampled) {
		const struct arrow arrow = {
			.begin = record->time,
			.duration = (double)record->duration,
			.writer = writer->index,
			.reader = thread->index,
			.pair = pair,
			.granule = conflict.address,
		};

		sample_arrow(report, &arrow);
	}
	return pair;
}

void pair_lost(struct report *report, struct pair *pair, uint64_t begin, double ticks)
{
	pair->lost += ticks;
	axis_add(&report->axis, pair->when, 1, begin, ticks, ticks);
}

/* ---- the reader's own lines ---- */

static void count_stack(struct pair *pair, const struct stack *what)
{
	struct stack *stack;
	double before;

	for (unsigned int i = 0; i < pair->stacks_n; i++) {
		stack = &pair->stacks[i];
		if (stack->n == what->n && !memcmp(stack->frames, what->frames, what->n * sizeof(what->frames[0]))) {
			stack->count += what->count;
			return;
		}
	}
	FIND_RAREST(pair->stacks, pair->stacks_n, STACKS, stack);
	before = stack->count;
	*stack = *what;
	stack->count += before;
}

void pair_reader(struct report *report, struct thread *thread, const struct stm_record *record)
{
	const uint64_t *addresses = (const uint64_t *)(record + 1);
	struct stack stack = { .count = 1 };

	/* it is the retry of what the last abort was about, or the log has lost that */
	if (!thread->aborted_by || thread->aborted_granule != record->value)
		return;
	for (unsigned int i = 0; i < STM_FRAMES_A_UNIT * record->more && i < STM_READER_FRAMES && addresses[i]; i++) {
		struct code *code = symbols_code(&report->symbols, addresses[i]);

		if (code)
			stack.frames[stack.n++] = code;
	}
	if (stack.n)
		count_stack(thread->aborted_by, &stack);
}

struct code *stack_code(struct report *report, const struct stack *stack)
{
	for (unsigned int i = 0; i < stack->n; i++)
		if (!code_place(&report->symbols, stack->frames[i])->library)
			return stack->frames[i];
	return NULL;
}

static bool same_place(const struct place *a, const struct place *b)
{
	if (!a->file || !b->file)
		return a == b;
	return a->line == b->line && !strcmp(a->file, b->file);
}

static int by_count_line(const void *a, const void *b)
{
	const struct read_line *x = a, *y = b;

	return x->count > y->count ? -1 : x->count < y->count;
}

unsigned int read_lines(struct report *report, const struct pair *pair, struct read_line *lines)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < pair->stacks_n; i++) {
		struct code *code = stack_code(report, &pair->stacks[i]);
		const struct place *place = code ? code_place(&report->symbols, code) : NULL;
		unsigned int k = 0;

		while (code && k < n && !same_place(lines[k].place, place))
			k++;
		if (!code)
			continue;
		if (k == n)
			lines[n++] = (struct read_line){ .place = place };
		lines[k].count += pair->stacks[i].count;
	}
	if (n)
		qsort(lines, n, sizeof(*lines), by_count_line);
	return n;
}

/* ---- the end ---- */

static int compare_texts(const char *a, const char *b)
{
	return strcmp(a ? a : "", b ? b : "");
}

/* By the line that wrote, as compilers make several addresses of one. */
static int compare_lines(const void *a, const void *b)
{
	const struct pair *x = *(struct pair *const *)a, *y = *(struct pair *const *)b;
	int order = compare_pointers(x->writer, y->writer);

	order = order ? order : compare_pointers(x->reader, y->reader);
	if (order || x->wrote == y->wrote)
		return order;
	if (!x->wrote || !y->wrote || !x->wrote->place.file || !y->wrote->place.file)
		return compare_pointers(x->wrote, y->wrote);
	if (x->wrote->place.line != y->wrote->place.line)
		return x->wrote->place.line < y->wrote->place.line ? -1 : 1;
	order = compare_texts(x->wrote->place.file, y->wrote->place.file);
	return order ? order : compare_texts(x->wrote->place.function, y->wrote->place.function);
}

static void merge(struct pair *to, const struct pair *from)
{
	to->count += from->count;
	to->untimed += from->untimed;
	to->lost += from->lost;
	to->objects_more += from->objects_more;
	for (unsigned int i = 0; i < BINS; i++) {
		to->when[i] += from->when[i];
		to->untimed_when[i] += from->untimed_when[i];
	}
	for (unsigned int i = 0; i < from->objects_n; i++)
		count_object(to, &from->objects[i]);
	for (unsigned int i = 0; i < from->granules_n; i++)
		count_granule(to, from->granules[i].address, from->granules[i].label, from->granules[i].count);
	for (unsigned int i = 0; i < from->stacks_n; i++)
		count_stack(to, &from->stacks[i]);
}

static int by_loss(const void *a, const void *b)
{
	const struct pair *x = *(struct pair *const *)a, *y = *(struct pair *const *)b;

	if (x->lost != y->lost)
		return x->lost > y->lost ? -1 : 1;
	return x->count > y->count ? -1 : x->count < y->count;
}

static int by_count_object(const void *a, const void *b)
{
	const struct object *x = a, *y = b;

	return x->count > y->count ? -1 : x->count < y->count;
}

static int by_count_granule(const void *a, const void *b)
{
	const struct granule *x = a, *y = b;

	return x->count > y->count ? -1 : x->count < y->count;
}

static int by_count_stack(const void *a, const void *b)
{
	const struct stack *x = a, *y = b;

	return x->count > y->count ? -1 : x->count < y->count;
}

/* Aborts whose length is not known are taken to have been as long as the site's others. */
static void estimate(struct pair *pair)
{
	double mean = mean_attempt(pair->reader);

	pair->lost += pair->untimed * mean;
	for (unsigned int i = 0; i < BINS; i++)
		pair->when[i] += pair->untimed_when[i] * (float)mean;
}

void pairs_finish(struct report *report)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < report->pairs_n; i++)
		if (report->pairs[i]->wrote)
			code_place(&report->symbols, report->pairs[i]->wrote);
	if (report->pairs_n)
		qsort(report->pairs, report->pairs_n, sizeof(*report->pairs), compare_lines);
	/* those that are no more stay, behind the others: arrows know them by address */
	for (unsigned int i = 0; i < report->pairs_n; i++) {
		struct pair *pair = report->pairs[i];

		if (n && compare_lines(&report->pairs[n - 1], &pair) == 0) {
			pair->now = report->pairs[n - 1];
			merge(pair->now, pair);
			continue;
		}
		report->pairs[i] = report->pairs[n];
		report->pairs[n++] = pair;
	}
	report->all_pairs_n = report->pairs_n;
	report->pairs_n = n;
	for (unsigned int i = 0; i < n; i++) {
		struct pair *pair = report->pairs[i];

		estimate(pair);
		report->lost += pair->lost;
		if (pair->objects_n)
			qsort(pair->objects, pair->objects_n, sizeof(pair->objects[0]), by_count_object);
		if (pair->granules_n)
			qsort(pair->granules, pair->granules_n, sizeof(pair->granules[0]), by_count_granule);
		if (pair->stacks_n)
			qsort(pair->stacks, pair->stacks_n, sizeof(pair->stacks[0]), by_count_stack);
	}
	if (n)
		qsort(report->pairs, n, sizeof(*report->pairs), by_loss);
	for (unsigned int i = 0; i < n; i++)
		report->pairs[i]->index = i;
}

static void keep(void *pair)
{
	(void)pair; /* report.pairs has it, too */
}

void pairs_end(struct report *report)
{
	for (unsigned int i = 0; i < (report->all_pairs_n ? report->all_pairs_n : report->pairs_n); i++)
		free(report->pairs[i]);
	free(report->pairs);
	tdestroy(report->pair_tree, keep);
}
