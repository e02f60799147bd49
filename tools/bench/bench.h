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

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

enum structure { LIST, HASH, TREE, BANK };

struct workload {
	const char *name;
	enum structure structure;
	unsigned int size;      /* nodes at the start, or accounts */
	unsigned int percent;   /* updates, or read-alls in a bank */
	unsigned int batch;     /* operations between two looks at the clock: some 20 us */
};

#define WORKLOADS 8
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

__attribute__((__noreturn__, __format__(__printf__, 1, 2))) void die(const char *format, ...);
void pin(unsigned int i);
void library_start(size_t heap_size);
void thread_attach(void);       /* as impl_stm's attach, but dies */
double median(double *values, unsigned int n); /* sorts them */
bool selected(const struct settings *s, const struct workload *w);

static inline uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* xorshift64 (Marsaglia 2003, triple 13, 7, 17). */
static inline uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

/*
 * 0 .. @range - 1 from the upper half of @random, by remainder: as in the prototypes whose figures the design
 * quotes and the bars come from. A multiplication would take some 1 ns less from every implementation's operation.
 */
static inline unsigned int random_below(uint64_t random, unsigned int range)
{
	return (unsigned int)((random >> 32) % range);
}

static inline uint64_t random_seed(uint64_t seed)
{
	seed = (seed + 1) * 0x9e3779b97f4a7c15u;        /* the golden ratio: spreads small seeds */
	return seed ^ seed >> 29;
}

/* A barrier for threads that have a CPU each: nobody sleeps, so all leave it at once. */
struct gate {
	_Atomic unsigned int arrived;
	_Atomic unsigned int passed;
	unsigned int threads;
};

void gate_wait(struct gate *gate);

#endif
