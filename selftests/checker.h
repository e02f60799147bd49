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
};

enum history_set { HISTORY_HAS, HISTORY_INSERT, HISTORY_REMOVE };

struct history_event {
	uint64_t index : 60;
	uint64_t what : 4;
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

/* The data: words, and a set of keys. The caller gives the state at the first position. */
struct checker_model {
	uint64_t *words;
	size_t words_n;
	uint8_t *keys;                  /* 0 or 1 each */
	size_t keys_n;
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
