/* SPDX-License-Identifier: MIT */
/*
 * event_reader.h - an event log, read whole, for tests: what is in it, and which lines its addresses are.
 *
 * Slow and simple. What is malformed is told by a line that begins with "# ", and the log does not open.
 */
#ifndef STM_SELFTESTS_EVENT_READER_H
#define STM_SELFTESTS_EVENT_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uffdstm/event.h>

struct event {
	struct stm_record r;
	const unsigned char *more;      /* r.more units */
	size_t at;                      /* in the file */
};

struct event_log {
	struct stm_log_header header;
	struct event *events;           /* in the order of the file, without holes */
	size_t n;
	bool whole;                     /* it ends with STM_EVENT_END, which says how long it is */
	unsigned char *bytes;
	size_t size;
};

bool event_log_open(struct event_log *log, const char *path);
void event_log_close(struct event_log *log);

/* The next of @kind behind @after (NULL: the first), or NULL. */
const struct event *event_next(const struct event_log *log, unsigned int kind, const struct event *after);
const struct event *event_first(const struct event_log *log, unsigned int kind);
size_t event_count(const struct event_log *log, unsigned int kind);
uint64_t event_sum(const struct event_log *log, unsigned int kind); /* of their values */

/* Commits of @kind: the sum of their weights. Aborts for @reason. Faults of @kind. Waits for @what. */
uint64_t event_commits(const struct event_log *log, unsigned int kind);
size_t event_aborts(const struct event_log *log, unsigned int reason);
size_t event_faults(const struct event_log *log, unsigned int kind);
size_t event_waits(const struct event_log *log, unsigned int what);

const struct stm_log_conflict *event_conflict(const struct event *abort); /* or NULL */
const uint64_t *event_frames(const struct event *reader, unsigned int *n);

const char *event_text(const struct event *definition);
const struct event *event_site(const struct event_log *log, uint32_t number); /* its definition, or NULL */
int event_site_line(const struct event_log *log, uint32_t number);      /* 0: none */
const char *event_name(const struct event_log *log, uint32_t number);   /* "": none */

/* The line of @file (its last part) that the code is from: the innermost, if some of it is inlined. 0: none. */
int event_line(const struct event_log *log, uint64_t code, const char *file);
bool event_has_lines(void);             /* addr2line(1) is here */

#endif
