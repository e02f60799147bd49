/* SPDX-License-Identifier: MIT */
/*
 * bench.h - what the parts of the micro benchmark share
 *
 * A workload is a data structure with a mix of operations; an implementation
 * (seq, mutex, stm) runs all of them, compiled from the same text (impl.h); a
 * copy is one implementation's instance of one workload. measure.c runs a
 * copy for a while with some threads.
 */
#ifndef BENCH_H
#define BENCH_H

#include "common.h"

enum structure { LIST, HASH, TREE, BANK, ORDERED, MAP };

struct workload {
	const char *name;
	enum structure structure;
	unsigned int size;      /* nodes at the start, or accounts */
	unsigned int percent;   /* updates, or read-alls in a bank */
	unsigned int batch;     /* operations between two looks at the clock: some 20 us */
};

#define WORKLOADS 10
extern const struct workload workloads[WORKLOADS];

/* What operations found and did, for the check after them. */
struct tally {
	uint64_t ops;
	uint64_t found;         /* look-ups that did: read so that no compiler leaves them out */
	uint64_t inserted;
	uint64_t removed;
	uint64_t wrong;         /* read-alls that saw another sum than the bank's */
};

struct impl {
	const char *name;
	unsigned int max_threads;
	int (*attach)(void);    /* in each thread that uses the rest; 0 or -errno */
	void (*detach)(void);
	void (*reset)(void);    /* start with new memory, all copies are gone; no thread attached */
	uintptr_t (*prepare)(const struct workload *w);
	void (*run)(const struct workload *w, uintptr_t data, uint64_t *random, unsigned int n,
		    struct tally *tally);
	/* NULL, or what is wrong with the structure; *@size: its nodes, or the bank's sum. */
	const char *(*check)(const struct workload *w, uintptr_t data, uint64_t *size);
};

#define WORKLOAD_HEAP ((size_t)64 << 20)

extern const struct impl impl_seq, impl_mutex, impl_stm;

struct copy {
	const struct impl *impl;
	const struct workload *workload;
	uintptr_t data;
	uint64_t size;          /* what check() must find */
};

/* How long a phase lasts: until either has run out; 0 is no limit. */
struct span {
	unsigned int ms;
	uint64_t ops;           /* of all threads */
};

struct measurement {
	struct span warm_up, run;
	unsigned int threads;   /* thread i is pinned to the i-th CPU that the process may use */
	uint64_t seed;
	void (*at_start)(void *arg);    /* by thread 0, while the others wait */
	void (*at_end)(void *arg);
	void *arg;
};

/* What transactions did in a measurement, or several. */
struct attempts {
	uint64_t commits, aborts;
};

/* For measurement.at_start and at_end, with a struct attempts for @arg. */
void attempts_start(void *arg);
void attempts_end(void *arg);
double attempts_lost(const struct attempts *attempts); /* the share of them that aborted */

void copy_make(struct copy *copy, const struct impl *impl, const struct workload *w);
/* ns per operation of all threads together */
double measure(struct copy *copy, const struct measurement *m);

/* What is settled on the command line. */
struct settings {
	unsigned int rounds;
	unsigned int ms;
	const char *workload;   /* substrings to select by, or NULL */
	const char *impl;
	const char *json;
	bool quiet;
};

/* The parts of the output. Each runs in a process of its own. */
int table_run(const struct settings *s);
int steady_run(const struct settings *s);
int granules_run(const struct settings *s);
int idle_run(const struct settings *s);
int foreign_run(const struct settings *s);
int heap_run(const struct settings *s);
int reader_run(const struct settings *s);
int pages_run(const struct settings *s);
int tracked_run(const struct settings *s);
int trim_run(const struct settings *s);
int events_run(const struct settings *s);
int sweep_run(const struct settings *s);

void library_start(size_t heap_size);
void thread_attach(void);       /* as impl_stm's attach, but dies */
bool selected(const struct settings *s, const struct workload *w);
const struct workload *workload_named(const char *name);        /* dies if there is none */

#endif
