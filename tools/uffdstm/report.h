/* SPDX-License-Identifier: MIT */
/*
 * report.h - what a log adds up to: made by report_sum.c, one record at a time, in memory that the length of the log
 * has no say in; then told as text, JSON, a page, and so on.
 *
 * Times are ticks, in doubles: sampled transactions stand for several, so sums are no whole numbers of anything.
 */
#ifndef UFFDSTM_REPORT_H
#define UFFDSTM_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <uffdstm.h>
#include <uffdstm/event.h>

#include "log.h"
#include "symbols.h"
#include "uffdstm.h"

/* ---- when ---- */

/* The whole run in as many bins, at most; it fills more than half of them. */
#define BINS 512u

/* A bin is 2^@shift ticks. When a time lies past the last, two bins become one, everywhere. */
struct axis {
	uint64_t start;
	unsigned int shift;
};

/* What time inside transactions was spent with. */
enum spent {
	SPENT_COMMITTED,                /* in attempts that committed */
	SPENT_ABORTED,
	SPENT_WAITING,
	SPENT_INEVITABLE,               /* in attempts, from where they could not abort any more */
	SPENT_SYSTEM,                   /* page faults, folding and what else keeps the heap going */
	SPENT_KINDS
};

#define WAITS 6u                        /* enum stm_log_wait; [0]: of a kind that is not known */
#define REASONS (STM_ABORT_REASONS + 1u) /* enum stm_abort_reason; the last: likewise */

/* ---- names ---- */

/* Where a transaction begins, and what became of those that began there. */
struct site {
	struct place place;
	uint32_t number;                /* of the first definition; 0: the site of what has none */
	unsigned int index;             /* in report.sites */
	bool defined;
	double commits, read_only;
	double aborts[REASONS];
	double committed;               /* ticks of attempts that committed, all in */
	double lost;                    /* of those that did not, and of the waits after them */
	double timed, timed_ticks;      /* attempts whose length is known */
	double untimed;                 /* aborts whose length is not */
	double longest;
	unsigned int most_attempts;     /* of one transaction */
	double right_of_way;            /* times it got that */
	double waits[WAITS];            /* its own */
	double log_waits;               /* of others, for it to end */
};

struct name {
	char *text;
	uint32_t number;
};

/* ---- threads ---- */

#define NESTED 64u

/* A stay in a segment; the number may be somebody else's later. */
struct thread {
	unsigned int number, index;
	struct thread *before;          /* who had the number, up to @from */
	uint64_t from;                  /* the definition's time; 0: it has none */
	bool detached;                  /* and was not seen since */
	uint64_t tid;
	char *name;                     /* NULL: not known */
	uint64_t first, last;
	double commits, read_only, aborts;
	double spent[SPENT_KINDS];
	uint64_t dropped;
	float (*when)[SPENT_KINDS];     /* BINS times, ticks */

	/* While reading: */
	struct nested {                 /* what was done since the last attempt: see report_spent.c */
		uint64_t begin;
		double duration;
	} nested[NESTED];
	unsigned int nested_n;
	uint64_t attempt_begin, attempt_end; /* the last attempt */
	enum spent attempt_spent;
	double attempt_weight, attempt_left;
	bool inevitable;
	uint64_t inevitable_from;
	struct inevitable *inevitable_why;
	struct pair *aborted_by;        /* since the last commit */
	struct site *aborted_at;
	uint64_t aborted_granule;
};

/* ---- conflicts ---- */

#define OBJECTS 8u
#define GRANULES 8u
#define STACKS 8u

/* What the contended granules belong to: all objects with this label, or that were allocated there. */
struct object {
	const struct name *label;
	struct code *allocated;
	uint64_t bytes;                 /* of the block; 0: not known, or several sizes */
	uint64_t offset;                /* of the granule in what is labelled, else in the block */
	bool several_offsets;
	double count;
};

struct granule {
	uint64_t address;
	const struct name *label;
	const struct name *other_label; /* a second one */
	double count;                   /* at most so often */
};

/* How a read of the contended granule was come by: innermost first. */
struct stack {
	struct code *frames[STM_READER_FRAMES];
	unsigned int n;
	double count;
};

/* Who wrote and who was undone for it. */
struct pair {
	struct code *wrote;             /* NULL: not known */
	struct site *writer;            /* NULL: not known */
	struct site *reader;
	double count, untimed, lost;
	float when[BINS], untimed_when[BINS]; /* ticks lost, and aborts of unknown length */
	struct object objects[OBJECTS];
	unsigned int objects_n;
	double objects_more;            /* aborts by still others */
	struct granule granules[GRANULES];
	unsigned int granules_n;
	struct stack stacks[STACKS];
	unsigned int stacks_n;
	unsigned int index;             /* in report.pairs */
	struct pair *now;               /* what it became part of, at the end */
};

/* ---- what else ---- */

struct inevitable {
	struct site *site;
	const struct name *why;         /* NULL: right of way */
	double count, ticks;            /* from then on to the end */
	double attempt_ticks;           /* of the whole attempts */
	double asked;                   /* until they became so */
};

struct page {
	uint64_t address;
	double count, ticks;            /* at most so many */
	uint64_t threads[1024 / 64];    /* by their numbers, modulo 1,024 */
	unsigned int threads_n;
};

struct task {
	struct code *function;
	const char *name;               /* "": none */
	double count, ticks, longest;
};

/* ---- what the page draws ---- */

struct span {
	uint64_t begin;
	double duration;
	uint32_t thread;                /* index */
	uint32_t site;                  /* index */
	uint8_t kind;                   /* enum stm_event_kind */
	uint8_t detail;                 /* reason of an abort, kind of a wait */
};

struct arrow {
	uint64_t begin;
	double duration;                /* of the aborted attempt */
	uint32_t writer, reader;        /* indexes of threads */
	struct pair *pair;
	uint64_t granule;
};

#define SPANS 96u
#define ARROWS 24u

/* The longest of one bin, as heaps with the shortest on top. */
struct sampled {
	struct span spans[SPANS];
	struct arrow arrows[ARROWS];
	unsigned int spans_n, arrows_n;
};

/* ---- all of it ---- */

#define INEVITABLES 64u
#define PAGES 64u
#define TASKS 256u

struct hint;

struct report {
	struct log *log;
	struct symbols symbols;
	struct axis axis;
	uint64_t last;                  /* the latest time seen */
	struct { uint64_t ticks, ns; } clock_first, clock_last;
	unsigned int clocks;

	void *site_tree;                /* tsearch(3), by file, line and function */
	struct site **sites;
	unsigned int sites_n;
	struct site **by_number;
	struct name **names;            /* by number */
	uint32_t by_number_n, names_n;
	struct thread **threads;
	unsigned int threads_n;
	struct thread **newest;         /* by number */
	void *pair_tree;
	struct pair **pairs;
	unsigned int pairs_n, all_pairs_n; /* at the end; with those that became part of others */

	double spent[SPENT_KINDS];
	double thread_ticks;            /* threads attached, times how long */
	double own[2];                  /* the library's own threads: folding, all else */
	double faults, fault_ticks;
	double waits[WAITS], wait_ticks[WAITS];
	double commits, read_only, aborts, conflicts;
	double lost;                    /* by conflicts; until the end only those of no pair, for want of room */
	uint64_t parked, trimmed, folded;
	uint64_t log_bytes;             /* the largest part of the commit log */
	uint64_t dropped;
	uint64_t writer;                /* enum stm_log_writer; 0: not told */
	char *writer_why;
	uint64_t text_bytes;            /* of names */
	uint64_t undefined;             /* records whose site has no definition */
	uint64_t overflow;              /* more of something than is kept */

	struct inevitable inevitables[INEVITABLES];
	unsigned int inevitables_n;
	struct page pages[PAGES];
	unsigned int pages_n;
	struct task tasks[TASKS];
	unsigned int tasks_n;
	struct sampled *sampled;        /* BINS, for the page only */

	struct hint *hints;
	unsigned int hints_n;
};

/* report_sum.c */
void report_start(struct report *report, struct log *log, bool sample);
void report_record(struct report *report, const struct stm_record *record);
void report_finish(struct report *report);      /* all read: rank, name, draw conclusions */
void report_end(struct report *report);

/* report_names.c: definitions. */
void name_site(struct report *report, const struct stm_record *record);
void name_name(struct report *report, const struct stm_record *record);
void name_thread(struct report *report, const struct stm_record *record);
void name_module(struct report *report, const struct stm_record *record);
void name_writer(struct report *report, const struct stm_record *record);
struct site *site_of(struct report *report, uint32_t number);
const struct name *name_of(struct report *report, uint32_t number);
/* Whose the number was at @time: definitions stand before all records, those of who had it before included. */
struct thread *thread_of(struct report *report, unsigned int number, uint64_t time);
struct thread *thread_at(const struct report *report, unsigned int number, uint64_t time); /* NULL: nobody known */
void detach(struct report *report, const struct stm_record *record);
void names_end(struct report *report);

/* report_axis.c: bins. @add goes into those that [@begin, @begin + @duration) covers. */
void axis_reach(struct report *report, uint64_t time);
void axis_add(const struct axis *axis, float *bins, unsigned int stride, uint64_t begin, double duration, double add);
/* The run in @n columns. */
void axis_columns(const struct report *report, const float *bins, float *columns, unsigned int n);
void sample_span(struct report *report, const struct span *span);
void sample_arrow(struct report *report, const struct arrow *arrow);

/* report_spent.c: whose time it was. */
void spent_nested(struct report *report, struct thread *thread, const struct stm_record *record, enum spent spent);
void spent_attempt(struct report *report, struct thread *thread, const struct stm_record *record, double weight,
		   enum spent spent);

/* report_pairs.c: conflicts. */
struct pair *pair_abort(struct report *report, struct thread *thread, const struct stm_record *record);
void pair_lost(struct report *report, struct pair *pair, uint64_t begin, double ticks);
void pair_reader(struct report *report, struct thread *thread, const struct stm_record *record);
void pairs_finish(struct report *report);
void pairs_end(struct report *report);
/* The reader's own code, of a stack; NULL if all of it is the library's. */
struct code *stack_code(struct report *report, const struct stack *stack);
/* The lines that such reads are on, at most STACKS, the most frequent first; how many. */
struct read_line {
	const struct place *place;
	double count;
};
unsigned int read_lines(struct report *report, const struct pair *pair, struct read_line *lines);

/* report_hints.c: what to do. */
enum hint_kind {
	HINT_COUNTER,
	HINT_SIZE_FIELD,
	HINT_GRANULE,
	HINT_PAGE,
	HINT_RESTARTED,
	HINT_INEVITABLE,
	HINT_LOG_FULL,
	HINT_KINDS
};

struct hint {
	enum hint_kind kind;
	double ticks;                   /* what it is about */
	const struct pair *pair;        /* may be NULL, like @site */
	const struct site *site;
	char text[500];
};

extern const char *const hint_names[HINT_KINDS];
void hints_find(struct report *report);
void hints_end(struct report *report);

/* report_say.c: words that several kinds of report use. */
double seconds(const struct report *report, double ticks);
double mean_attempt(const struct site *site);
bool site_used(const struct site *site);        /* there were transactions that began there */
const char *say_time(char *buffer, const struct report *report, double ticks);  /* "1.23 ms"; SAY_BYTES */
const char *say_count(char *buffer, double count);                              /* "12,345" */
/* "file:line", "libx.so+0x12", or "not known"; @most columns, shortened at the left. */
const char *say_place(char *buffer, const struct place *place, unsigned int most);
/* What transactions are called, in quotes and with a blank behind; "": nothing. @most columns of it, up to 60. */
const char *say_name(char *buffer, const char *name, unsigned int most);
/* The end of @text, @most columns of it, up to 60. */
void say_short(char *buffer, const char *text, unsigned int most);
const char *say_object(char *buffer, struct report *report, const struct object *object);
const char *say_thread(char *buffer, const struct thread *thread);
const char *say_reason(unsigned int reason);
const char *say_wait(unsigned int wait);
extern const char *const spent_names[SPENT_KINDS];
#define SAY_BYTES 512u

/* What is to be known of the log itself: dropped records, damage and so on. @n counts lines from 0; NULL: no more. */
const char *say_trouble(char *buffer, const struct report *report, unsigned int n);

/* The kinds of report. */
struct json_object *json_report(struct report *report, unsigned int top);       /* for json_text() */
int write_text(struct report *report, FILE *out, unsigned int top);
int write_json(struct report *report, FILE *out, unsigned int top);
int write_html(struct report *report, FILE *out, unsigned int top);
int write_folded(struct report *report, FILE *out);

/* report_trace.c: written while the log is read. */
void trace_start(struct report *report, FILE *out);
void trace_record(struct report *report, FILE *out, const struct stm_record *record);
void trace_end(struct report *report, FILE *out);

#endif
