/* SPDX-License-Identifier: MIT */
/*
 * tune.h - what `uffdstm tune` measures, and what it makes of it.
 *
 *   tune.c           options; what is measured, in which order
 *   tune_child.c     each measurement in a process of its own; CPUs; ^C; progress
 *   tune_pages.c     what one page event costs: the library's own page component (uffd/), by each engine
 *   tune_patterns.c  first touches of a heap by a program that uses the library, under a given profile
 *   tune_log.c       commits while another thread stands still, under a given profile
 *   tune_rules.c     from figures to a profile: all the rules
 *   tune_report.c    table, reasons and the profile's text
 *   tune_json.c      the same as JSON
 *   tune_file.c      the profile's way to the disk
 */
#ifndef UFFDSTM_TUNE_H
#define UFFDSTM_TUNE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "../../lib/profile.h"
#include "uffdstm.h"

#define ENGINES 3
#define ROUNDS_MAX 9

/* ---- what is measured; all times in ns ---- */

enum event {
	EVENT_FAULT,            /* a load from an unmapped page, until it goes on: one page is shared with the base */
	EVENT_STORE,            /* a store to a page that is shared, until it goes on */
	EVENT_COPY,             /* a page of the view's own */
	EVENT_CONTINUE,         /* a page shared with the base */
	EVENT_PROTECT,          /* a page write-protected */
	EVENT_ZAP,              /* a page taken out of the view */
	EVENTS
};

struct page_costs {
	double one[EVENTS];     /* one page by one call */
	double bulk[EVENTS];    /* a page of 512 by one call; faults: 0 */
	double page_copy;       /* 4 KiB by memcpy(3) */
	double together;        /* in what part of the samples the second thread had a CPU, too; alone: 1 */
};

/* By one thread that touches pages one after the other, a transaction each. */
enum pattern {
	SPARSE_READ,            /* every 32nd page on average, at random */
	DENSE_READ,             /* all pages, in random order */
	SCAN_READ,              /* all pages, one after the other */
	SPARSE_WRITE,
	DENSE_WRITE,
	SCAN_WRITE,
	FOREIGN,                /* applies what another thread wrote to pages that it has read; a page each */
	PATTERNS
};

struct pattern_costs {
	double ns[PATTERNS];    /* for one page touched */
};

/*
 * One run of all patterns, in parts: under the same profile each part does the same in each run, so the median of its
 * times over some runs is free of what disturbed one of them.
 */
#define PARTS 32

struct pattern_run {
	double ns[PATTERNS][PARTS];
};

#define LEASTS 6                /* 1, 2, 4, ... 32 pages */
#define MOSTS 4                 /* 8, 32, 128, 512 */
#define KEEPS 6                 /* 2, 4, ... 64 MiB */

/* What a CPU is given to one thread for while another wants it: a tick at CONFIG_HZ=250, kernel/Kconfig.hz. */
#define STANDSTILL_MS 4

struct figures {
	unsigned int cpus, rounds;
	time_t when;
	double seconds;
	struct {
		const char *name;
		bool works;
		char why_not[200];
		struct page_costs costs[2];     /* alone; with a second thread of the process running */
		struct pattern_costs patterns;  /* with built-in clusters */
	} engines[ENGINES];
	struct pattern_costs least[LEASTS];     /* clusters of at least so many pages */
	struct pattern_costs most[MOSTS];       /* at most */
	double log_rate;                        /* bytes of log that commits take, in a ns */
	uint64_t log_standstill;                /* bytes that they take in STANDSTILL_MS */
	double keep[KEEPS];                     /* ns a commit, with standstills of that size */
	double huge[2];                         /* likewise, in log memory that is always new: small pages, huge ones */
	double disturbance;                     /* time that patterns took, as a multiple of that without disturbance */
};

unsigned int least_pages(unsigned int i);
unsigned int most_pages(unsigned int i);
uint64_t keep_bytes(unsigned int i);

/* ---- measurements ---- */

/* What one measurement is to do. */
struct task {
	const char *engine;
	bool second;            /* with a second thread running */
	bool quick;
	uint64_t bytes;         /* of log: of a standstill */
	char profile[200];      /* for the library */
};

/* Each runs in a child of its own and fills in @result, or calls give_up(). */
void measure_pages(const struct task *task, void *result);      /* struct page_costs */
void measure_patterns(const struct task *task, void *result);   /* struct pattern_run */
struct log_costs {
	double ns, rate;
};
void measure_log(const struct task *task, void *result);        /* struct log_costs */

typedef void measurement(const struct task *task, void *result);

enum ended { MEASURED, FAILED, INTERRUPTED };

/* Run it in a child. FAILED: @why tells, in one line. */
enum ended in_child(measurement *measure, const struct task *task, void *result, size_t size, char *why,
		    size_t why_size);

/* For measurements: ends the child. */
void give_up(const char *format, ...) PRINTF_LIKE(1, 2) __attribute__((__noreturn__));
/* stm_init() and no more, under the task's engine and profile. */
void start_library(const struct task *task, size_t heap_size);
void pin_to(unsigned int i);            /* the i-th CPU that we may use, round and round */
unsigned int cpus_n(void);
/* A second thread of the process keeps its CPU busy. */
void second_start(void);
void second_stop(void);
uint64_t second_turns(void);            /* so far; more of them in a microsecond in which it ran */
void in_thread(void *(*fn)(void *arg), void *arg);
double median_of(double *values, unsigned int n); /* sorts them */

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/*
 * A stretch of the calling thread's time, less what it had to wait for a CPU while others used it; a thread measures
 * one at a time. What it waits for otherwise, counts.
 */
void stretch_begin(void);
double stretch_end(void);               /* ns */

/* ^C: measurements end, and files are written whole or not at all. */
void catch_interrupts(void);
bool interrupted(void);
/* The end that the signal would have brought. */
void end_interrupted(void) __attribute__((__noreturn__));
void hold_interrupts(bool hold);

/* On a terminal: a bar on standard error. @done of @all; NULL: take it away. */
void show_progress(const char *what, unsigned int done, unsigned int all);

/* ---- choices ---- */

struct choice {
	bool made;              /* tune knows nothing of the other keys */
	uint64_t value, standard; /* as in a profile; what the library does without one */
	char reason[400];
};

void choose(const struct figures *figures, struct choice *choices);

/* ---- report ---- */

/* Lines of at most 80 columns, each after @prefix. */
void print_table(FILE *out, const char *prefix, const struct figures *figures);
void print_choices(FILE *out, const struct choice *choices, bool explain);
int print_json(const struct figures *figures, const struct choice *choices, const char *path); /* 0 or -errno */

#define PROFILE_MARK "# Written by uffdstm tune"

/* To be freed; NULL: no memory. */
char *profile_text(const struct figures *figures, const struct choice *choices);

/* ---- the file ---- */

/*
 * Where to: @path, or the user's or the machine's place. Complains and returns NULL if there is none, or if a file is
 * there that must not be replaced.
 */
struct target;
struct target *target_open(const char *path, bool force);
const char *target_path(const struct target *target);
/* The whole text, or nothing. 0, or -1 after an error line. */
int target_write(struct target *target, const char *text, size_t len);
void target_close(struct target *target);

#endif
