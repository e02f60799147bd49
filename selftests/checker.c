// SPDX-License-Identifier: MIT
/*
 * checker.c - see checker.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checker.h"

/* ---- recording ---- */

static void *grow(void *array, size_t *room, size_t size)
{
	*room = *room ? *room * 2 : 4096;
	array = realloc(array, *room * size);
	if (!array) {
		fprintf(stderr, "# no memory to record the history\n");
		abort();
	}
	return array;
}

void history_undone(struct history *history)
{
	if (history->attempts_n && history_last(history)->end == HISTORY_OPEN)
		history_last(history)->end = HISTORY_UNDONE;
}

void history_begin(struct history *history, uint64_t snapshot)
{
	history_undone(history);
	if (history->attempts_n == history->attempts_room)
		history->attempts = grow(history->attempts, &history->attempts_room,
					 sizeof(*history->attempts));
	history->attempts[history->attempts_n++] =
		(struct history_attempt){ .position = snapshot, .first = history->events_n };
}

void history_event(struct history *history, enum history_what what, uint64_t index, uint64_t value)
{
	if (history->events_n == history->events_room)
		history->events =
			grow(history->events, &history->events_room, sizeof(*history->events));
	history->events[history->events_n++] =
		(struct history_event){ .index = index, .what = what, .value = value };
	history_last(history)->events++;
}

void history_end(struct history *history, enum history_end end, uint64_t position)
{
	history_last(history)->end = end;
	history_last(history)->position = position;
}

void history_free(struct history *history)
{
	free(history->attempts);
	free(history->events);
	memset(history, 0, sizeof(*history));
}

/* ---- checking ---- */

/* Attempts other than commits that wrote, as lists by position. */
struct link {
	const struct history_attempt *attempt;
	unsigned int thread;
	struct link *next;
};

struct place {
	const struct history_attempt *writer;
	unsigned int thread;
	struct link *others;
};

struct run {
	struct checker_model *model;
	const struct history *histories;
	unsigned int threads;
	struct place *places;
	struct link *links;
	uint64_t first, end;
	struct checker_counts *counts;

	/* What an attempt that is undone did to the model. */
	struct change {
		uint64_t *word;
		uint8_t *key;
		size_t *end;            /* of a queue or sequence, with @old items before it */
		struct checker_sequence *sequence;
		size_t at;              /* element of the sequence: its items may move */
		uint64_t old;
	} *changes;
	size_t changes_n, changes_room;
	size_t mark;                    /* changes up to the last HISTORY_MARK */
};

static const char *const ends[] = { "open", "commit", "read-only commit",
				    "attempt, undone later," };

static bool say(const struct history_attempt *attempt, unsigned int thread, const char *what)
{
	printf("# thread %u, %s at position %llu: %s\n", thread, ends[attempt->end],
	       (unsigned long long)attempt->position, what);
	return false;
}

static bool sort_attempt(struct run *run, const struct history_attempt *attempt,
			 unsigned int thread, size_t *links)
{
	struct place *place;

	/* A snapshot may be the end itself: everything is before it. */
	if (attempt->position < run->first ||
	    attempt->position >= run->end + (attempt->end != HISTORY_WROTE))
		return say(attempt, thread, "no such position");
	place = &run->places[attempt->position - run->first];
	switch (attempt->end) {
	case HISTORY_WROTE:
		if (place->writer)
			return say(attempt, thread, "another commit has that position");
		place->writer = attempt;
		place->thread = thread;
		run->counts->wrote++;
		return true;
	case HISTORY_READ_ONLY:
		run->counts->read_only++;
		break;
	case HISTORY_UNDONE:
		run->counts->undone++;
		break;
	default:
		return say(attempt, thread, "never ended");
	}
	run->links[*links] = (struct link){ attempt, thread, place->others };
	place->others = &run->links[(*links)++];
	return true;
}

static void remember_change(struct run *run, struct change change)
{
	if (run->changes_n == run->changes_room)
		run->changes = grow(run->changes, &run->changes_room, sizeof(*run->changes));
	run->changes[run->changes_n++] = change;
}

static void set_word(struct run *run, uint64_t *word, uint64_t value)
{
	remember_change(run, (struct change){ .word = word, .old = *word });
	*word = value;
}

static void set_key(struct run *run, uint8_t *key, uint8_t value)
{
	remember_change(run, (struct change){ .key = key, .old = *key });
	*key = value;
}

static void add_item(struct run *run, struct checker_queue *queue, uint64_t item)
{
	if (queue->end == queue->room)
		queue->items = grow(queue->items, &queue->room, sizeof(*queue->items));
	remember_change(run, (struct change){ .end = &queue->end, .old = queue->end });
	queue->items[queue->end++] = item;
}

/* The oldest item, taken out; 0: there is none. */
static uint64_t take_item(struct run *run, struct checker_queue *queue)
{
	if (queue->first == queue->end)
		return 0;
	remember_change(run, (struct change){ .end = &queue->first, .old = queue->first });
	return queue->items[queue->first++];
}

static void set_element(struct run *run, struct checker_sequence *sequence, size_t i, uint64_t item)
{
	remember_change(run, (struct change){ .sequence = sequence, .at = i, .old = sequence->items[i] });
	sequence->items[i] = item;
}

static void set_length(struct run *run, struct checker_sequence *sequence, size_t length)
{
	while (length > sequence->room)
		sequence->items = grow(sequence->items, &sequence->room, sizeof(*sequence->items));
	for (size_t i = sequence->length; i < length; i++)
		set_element(run, sequence, i, 0);
	remember_change(run, (struct change){ .end = &sequence->length, .old = sequence->length });
	sequence->length = length;
}

/* The last element, taken out. */
static uint64_t take_last(struct run *run, struct checker_sequence *sequence)
{
	uint64_t item;

	if (!sequence->length)
		return HISTORY_NONE;
	item = sequence->items[sequence->length - 1];
	set_length(run, sequence, sequence->length - 1);
	return item;
}

/* Take back what was changed, down to the first @n changes. */
static void take_back(struct run *run, size_t n)
{
	while (run->changes_n > n) {
		const struct change *change = &run->changes[--run->changes_n];

		if (change->end)
			*change->end = change->old;
		else if (change->sequence)
			change->sequence->items[change->at] = change->old;
		else if (change->word)
			*change->word = change->old;
		else
			*change->key = (uint8_t)change->old;
	}
}

static uint64_t count_words(const struct checker_model *model)
{
	uint64_t n = 0;

	for (size_t i = 0; i < model->words_n; i++)
		n += model->words[i] != 0;
	return n;
}

/* For whoever looks for the cause: where the value came from. */
static void say_writers(const struct run *run, uint64_t index, uint64_t value)
{
	for (unsigned int t = 0; t < run->threads; t++) {
		const struct history *history = &run->histories[t];

		for (size_t i = 0; i < history->attempts_n; i++) {
			const struct history_attempt *attempt = &history->attempts[i];
			const struct history_event *event = &history->events[attempt->first];

			for (uint32_t k = 0; k < attempt->events; k++, event++)
				if (event->what == HISTORY_WRITE && event->index == index &&
				    event->value == value)
					printf("# value %#llx: written by event %u of %u of attempt %zu of thread %u, %s at position %llu\n",
					       (unsigned long long)value, k, attempt->events, i, t,
					       ends[attempt->end],
					       (unsigned long long)attempt->position);
		}
	}
}

/* Each does to the model what the event tells. What the event's value should be. */

static uint64_t perform_on_word(struct run *run, const struct history_event *event)
{
	uint64_t *word = &run->model->words[event->index];
	const uint64_t value = event->value;

	switch ((enum history_what)event->what) {
	case HISTORY_READ:
		return *word;
	case HISTORY_ADD:
		set_word(run, word, *word + value);
		break;
	case HISTORY_LEAST:
		if ((int64_t)value < (int64_t)*word)
			set_word(run, word, value);
		break;
	case HISTORY_MOST:
		if ((int64_t)value > (int64_t)*word)
			set_word(run, word, value);
		break;
	default:
		set_word(run, word, value);
	}
	return value;
}

static uint64_t perform_on_key(struct run *run, const struct history_event *event)
{
	uint8_t *key = &run->model->keys[event->index];
	const uint64_t expected = (event->value & ~(uint64_t)1) | *key;

	if (event->value >> 1 != HISTORY_HAS)
		set_key(run, key, event->value >> 1 == HISTORY_INSERT);
	return expected;
}

static uint64_t perform_on_queue(struct run *run, const struct history_event *event)
{
	struct checker_queue *queue = &run->model->queues[event->index];

	switch ((enum history_what)event->what) {
	case HISTORY_GET:
		return take_item(run, queue);
	case HISTORY_LENGTH:
		return queue->end - queue->first;
	default:
		add_item(run, queue, event->value);
		return event->value;
	}
}

static uint64_t perform_on_sequence(struct run *run, const struct history_event *event)
{
	struct checker_sequence *sequence = &run->model->sequences[event->index >> 32];
	const uint64_t value = event->value, i = event->index & UINT32_MAX;

	switch ((enum history_what)event->what) {
	case HISTORY_PUSH:
		set_length(run, sequence, sequence->length + 1);
		set_element(run, sequence, sequence->length - 1, value);
		break;
	case HISTORY_POP:
		return take_last(run, sequence);
	case HISTORY_SIZE:
		return sequence->length;
	case HISTORY_EXTEND:
		if (value > sequence->length)
			set_length(run, sequence, value);
		break;
	case HISTORY_AT:
		return i < sequence->length ? sequence->items[i] : HISTORY_NONE;
	case HISTORY_PLACE:
		if (i >= sequence->length)
			return HISTORY_NONE;
		set_element(run, sequence, i, value);
		break;
	default:
		set_length(run, sequence, value);
	}
	return value;
}

static uint64_t perform(struct run *run, const struct history_event *event)
{
	switch ((enum history_what)event->what) {
	case HISTORY_READ:
	case HISTORY_WRITE:
	case HISTORY_ADD:
	case HISTORY_LEAST:
	case HISTORY_MOST:
		return perform_on_word(run, event);
	case HISTORY_SET:
		return perform_on_key(run, event);
	case HISTORY_COUNT:
		return count_words(run->model);
	case HISTORY_PUT:
	case HISTORY_GET:
	case HISTORY_LENGTH:
		return perform_on_queue(run, event);
	case HISTORY_PUSH:
	case HISTORY_POP:
	case HISTORY_SIZE:
	case HISTORY_RESIZE:
	case HISTORY_EXTEND:
	case HISTORY_AT:
	case HISTORY_PLACE:
		return perform_on_sequence(run, event);
	case HISTORY_MARK:
		run->mark = run->changes_n;
		break;
	case HISTORY_BACK:
		take_back(run, run->mark);
		break;
	}
	return event->value;
}

static bool differs(const struct run *run, const struct history_attempt *attempt, unsigned int thread,
		    const struct history_event *event, uint64_t expected)
{
	static const char *const names[] = {
		[HISTORY_READ] = "read word",         [HISTORY_SET] = "look for key",
		[HISTORY_COUNT] = "count words",      [HISTORY_GET] = "get from queue",
		[HISTORY_LENGTH] = "length of queue", [HISTORY_POP] = "pop from sequence",
		[HISTORY_SIZE] = "size of sequence",  [HISTORY_AT] = "read element",
		[HISTORY_PLACE] = "write element",
	};
	const struct history *history = &run->histories[thread];
	char text[160];

	if (event->what == HISTORY_READ) {
		say_writers(run, event->index, event->value);
		say_writers(run, event->index, expected);
	}
	printf("# attempt %zu of thread %u:\n", (size_t)(attempt - history->attempts), thread);
	snprintf(text, sizeof(text), "event %zu of %u: %s %#llx: %#llx, which should be %#llx",
		 (size_t)(event - &history->events[attempt->first]), attempt->events, names[event->what],
		 (unsigned long long)event->index, (unsigned long long)event->value, (unsigned long long)expected);
	return say(attempt, thread, text);
}

static bool execute(struct run *run, const struct history_attempt *attempt, unsigned int thread)
{
	const struct history_event *event = &run->histories[thread].events[attempt->first];

	run->changes_n = 0;
	for (uint32_t i = 0; i < attempt->events; i++, event++) {
		const uint64_t expected = perform(run, event);

		run->counts->events++;
		if (expected != event->value)
			return differs(run, attempt, thread, event, expected);
	}
	return true;
}

static bool execute_all(struct run *run)
{
	for (uint64_t i = 0; i <= run->end - run->first; i++) {
		const struct place *place = &run->places[i];

		for (const struct link *link = place->others; link; link = link->next) {
			if (!execute(run, link->attempt, link->thread))
				return false;
			take_back(run, 0);
		}
		if (i == run->end - run->first)
			break;
		if (!place->writer) {
			printf("# nobody committed at position %llu\n",
			       (unsigned long long)(run->first + i));
			return false;
		}
		if (!execute(run, place->writer, place->thread))
			return false;
	}
	return true;
}

bool checker_run(struct checker_model *model, const struct history *histories, unsigned int n,
		 uint64_t first, uint64_t end, struct checker_counts *counts)
{
	struct run run = { .model = model,
			   .histories = histories,
			   .threads = n,
			   .first = first,
			   .end = end,
			   .counts = counts };
	size_t attempts = 0, links = 0;
	bool ok = true;

	memset(counts, 0, sizeof(*counts));
	for (unsigned int t = 0; t < n; t++)
		attempts += histories[t].attempts_n;
	run.places = calloc(end - first + 1, sizeof(*run.places));
	run.links = calloc(attempts + 1, sizeof(*run.links));
	if (!run.places || !run.links) {
		printf("# no memory to check the history\n");
		ok = false;
	}
	for (unsigned int t = 0; t < n && ok; t++)
		for (size_t i = 0; i < histories[t].attempts_n && ok; i++)
			ok = sort_attempt(&run, &histories[t].attempts[i], t, &links);
	ok = ok && execute_all(&run);
	free(run.places);
	free(run.links);
	free(run.changes);
	return ok;
}
