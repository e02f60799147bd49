/* SPDX-License-Identifier: MIT */
/*
 * checker.h - what each thread did, and whether some serial execution explains it.
 *
 * Threads record every attempt of every transaction while it runs, in ordinary memory. Afterwards
 * the checker executes all commits one by one, in the order of their positions in the commit log,
 * on a plain model of the data, and looks whether each recorded result is what the model gives:
 *
 *   1. Each position has exactly one commit.
 *   2. A commit sees the state before its own position. A read-only one, and an attempt that was
 *      undone, sees the state of its snapshot. Together that is opacity.
 *   3. The model's final state is that of the heap: its user compares.
 *
 * It knows nothing of the library: positions are numbers that the caller found out.
 */
#ifndef CHECKER_H
#define CHECKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum history_end {
	HISTORY_OPEN,                   /* still running */
	HISTORY_WROTE,
	HISTORY_READ_ONLY,
	HISTORY_UNDONE,
};

enum history_what {
	HISTORY_READ, /* @index: the word; @value: what was read */
	HISTORY_WRITE, /* @value: what was written */
	HISTORY_SET, /* @index: the key; @value: enum history_set << 1 | found before */
	HISTORY_ADD, /* @value was added to the word, unread */
	HISTORY_COUNT, /* @value: so many words were not 0 */
	HISTORY_PUT, /* @index: the queue; @value: what was added, not 0 */
	HISTORY_GET, /* @value: what was taken; 0: nothing was there */
	HISTORY_LENGTH, /* @value: so many were in it */
	HISTORY_LEAST, /* @value: the word is no more than that from now on, as a signed number */
	HISTORY_MOST, /* no less */
	/* Of the others, as far as HISTORY_PLACE, @index is HISTORY_ELEMENT(sequence, i). */
	HISTORY_PUSH, /* @value: what was added at its end */
	HISTORY_POP, /* @value: what was taken from its end, or HISTORY_NONE */
	HISTORY_SIZE, /* @value: so many elements were in it */
	HISTORY_RESIZE, /* @value: so many are in it from now on: new ones are 0 */
	HISTORY_EXTEND, /* the same, unless it has more */
	HISTORY_AT, /* @value: what was at i, or HISTORY_NONE */
	HISTORY_PLACE, /* @value: what is there from now on, instead of another one */
	HISTORY_MARK, /* a part of the attempt begins */
	HISTORY_BACK, /* and was undone: what was changed since the last mark is as it was */
};

#define HISTORY_NONE UINT64_MAX
#define HISTORY_ELEMENT(sequence, i) ((uint64_t)(sequence) << 32 | (i))

enum history_set { HISTORY_HAS, HISTORY_INSERT, HISTORY_REMOVE };

struct history_event {
	uint64_t index : 56;
	uint64_t what : 8;
	uint64_t value;
};

struct history_attempt {
	uint64_t position;              /* of the commit, or the snapshot */
	size_t first;                   /* its events: [first, first + events) */
	uint32_t events;
	uint32_t end;                   /* enum history_end */
};

/* One thread's. All zero to begin with. */
struct history {
	struct history_attempt *attempts;
	struct history_event *events;
	size_t attempts_n, attempts_room;
	size_t events_n, events_room;
};

void history_begin(struct history *history, uint64_t snapshot);
void history_event(struct history *history, enum history_what what, uint64_t index, uint64_t value);
/*
 * End the attempt that is open, if one is. @position: the commit's, or the snapshot if that
 * changed.
 */
void history_end(struct history *history, enum history_end end, uint64_t position);
void history_undone(struct history *history);
void history_free(struct history *history);

static inline struct history_attempt *history_last(struct history *history)
{
	return &history->attempts[history->attempts_n - 1];
}

/* First in, first out. All zero is an empty one. */
struct checker_queue {
	uint64_t *items;
	size_t first, end, room;        /* items[first .. end) */
};

/* Elements with numbers from 0 on. All zero is an empty one. */
struct checker_sequence {
	uint64_t *items;
	size_t length, room;
};

/* The data: words, a set of keys, queues, and sequences. The caller gives the state at the first position. */
struct checker_model {
	uint64_t *words;
	size_t words_n;
	uint8_t *keys;                  /* 0 or 1 each */
	size_t keys_n;
	struct checker_queue *queues;   /* the caller frees their items */
	size_t queues_n;
	struct checker_sequence *sequences; /* the same */
	size_t sequences_n;
};

struct checker_counts {
	uint64_t wrote, read_only, undone, events;
};

/*
 * Execute all attempts of @n threads; positions are [first, end). The model ends up in the final
 * state. False: some result is impossible, and a line on stdout says which.
 */
bool checker_run(struct checker_model *model, const struct history *histories, unsigned int n,
		 uint64_t first, uint64_t end, struct checker_counts *counts);

#endif
