/* SPDX-License-Identifier: MIT */
/*
 * status.h - what the files of `uffdstm status` share.
 *
 *   status.c       options; two looks, and what lies between them
 *   status_find.c  one look: which processes there are, and what their memfds say
 *   status_text.c  as lines of 80 columns
 *   status_json.c  as JSON: uffdstm(8) has the schema
 */
#ifndef UFFDSTM_TOOL_STATUS_H
#define UFFDSTM_TOOL_STATUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uffdstm/status.h>

#include "uffdstm.h"

/* What a look at a process came to. */
enum seen {
	SEEN,                   /* it uses the library, and these are its figures */
	SEEN_OTHER_VERSION,     /* of the format */
	SEEN_GARBAGE,           /* a memfd of that name which the library did not make, or had not finished */
	SEEN_NOTHING,           /* it does not use the library */
	SEEN_INHERITED,         /* it has the memfd of another process */
	SEEN_DENIED,            /* it may not be looked into */
	SEEN_GONE,              /* it has ended */
};

/* Texts are printable, whatever the process wrote. */
struct process {
	int pid;
	enum seen seen;
	int error;              /* the system's answer, for some of these; or 0 */
	char command[32], program[256];
	char problem[64];       /* of SEEN_OTHER_VERSION and SEEN_GARBAGE */
	struct stm_status status;
	struct stm_status_sum sum;
	double at;              /* when: seconds of the monotonic clock */
};

/* What is between two looks at one process: for each second. */
struct rates {
	bool known;             /* it was there at the first one */
	double commits, read_only, aborts;
};

struct look {
	struct process *processes;
	size_t n;
	unsigned long denied;   /* processes that may not be looked into */
	double at;
};

/* ---- one look ---- */

/* Once, before the first. 0, or -errno after a line on stderr. */
int looks_start(void);
/* At process @pid. */
void look_at(struct process *process, int pid);
/* At all of which there is something to tell. 0, or -errno after a line. */
int look_around(struct look *look);
void look_free(struct look *look);

double now_seconds(void);

/* ---- reports ---- */

struct report {
	const struct look *look;
	const struct rates *rates;      /* of each process */
	double seconds;         /* between the looks */
	bool in_detail;         /* else a table, */
	size_t rows;            /* of so many lines at most; 0: of all */
	bool on_one_line;       /* JSON */
};

void status_text(const struct report *report);
int status_json(const struct report *report); /* 0 or -errno */

static inline uint64_t total_aborts(const struct process *process)
{
	uint64_t n = 0;

	for (unsigned int i = 0; i < STM_ABORT_REASONS; i++)
		n += process->sum.aborts[i];
	return n;
}

/* Segments that there are, but of which nothing is known: they do not count in .sum. */
static inline unsigned int silent_segments(const struct process *process)
{
	return (unsigned int)__builtin_popcountll(process->status.segments &
						  process->status.silent);
}

/* Commits so far. A process is looked at while it runs: `folded` may be the newer figure. */
static inline uint64_t committed(const struct process *process)
{
	return process->sum.snapshot > process->status.folded ? process->sum.snapshot
							      : process->status.folded;
}

#endif
