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
		uint64_t old;
	} *changes;
	size_t changes_n, changes_room;
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

static void remember(struct run *run, uint64_t *word, uint8_t *key)
{
	if (run->changes_n == run->changes_room)
		run->changes = grow(run->changes, &run->changes_room, sizeof(*run->changes));
	run->changes[run->changes_n++] =
		(struct change){ word, key, word ? *word : *key };
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

static bool execute(struct run *run, const struct history_attempt *attempt, unsigned int thread)
{
	const struct history_event *event = &run->histories[thread].events[attempt->first];
	struct checker_model *model = run->model;

	run->changes_n = 0;
	for (uint32_t i = 0; i < attempt->events; i++, event++) {
		uint64_t *word = &model->words[event->index];
		uint8_t *key = &model->keys[event->index];
		bool found = event->value & 1;
		char text[160];

		run->counts->events++;
		switch ((enum history_what)event->what) {
		case HISTORY_READ:
			if (*word == event->value)
				continue;
			snprintf(text, sizeof(text),
				 "event %u of %u: read word %llu as %#llx, which was %#llx", i,
				 attempt->events, (unsigned long long)event->index,
				 (unsigned long long)event->value, (unsigned long long)*word);
			say_writers(run, event->index, event->value);
			say_writers(run, event->index, *word);
			printf("# attempt %zu of thread %u:\n",
			       (size_t)(attempt - run->histories[thread].attempts), thread);
			return say(attempt, thread, text);
		case HISTORY_WRITE:
			remember(run, word, NULL);
			*word = event->value;
			continue;
		case HISTORY_SET:
			if (*key != found) {
				snprintf(text, sizeof(text),
					 "event %u of %u: key %llu was %s, but is %s the set", i,
					 attempt->events, (unsigned long long)event->index,
					 found ? "found" : "not found", *key ? "in" : "not in");
				return say(attempt, thread, text);
			}
			remember(run, NULL, key);
			if (event->value >> 1 != HISTORY_HAS)
				*key = event->value >> 1 == HISTORY_INSERT;
			continue;
		}
	}
	return true;
}

static void take_back(struct run *run)
{
	while (run->changes_n) {
		const struct change *change = &run->changes[--run->changes_n];

		if (change->word)
			*change->word = change->old;
		else
			*change->key = (uint8_t)change->old;
	}
}

static bool execute_all(struct run *run)
{
	for (uint64_t i = 0; i <= run->end - run->first; i++) {
		const struct place *place = &run->places[i];

		for (const struct link *link = place->others; link; link = link->next) {
			if (!execute(run, link->attempt, link->thread))
				return false;
			take_back(run);
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
