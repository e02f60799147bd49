/* SPDX-License-Identifier: MIT */
/*
 * common.h - what all benchmark programs share: CPUs, clocks, random numbers, medians, files of results
 */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Allowed in code that gcc's transactions instrument: see words.h. */
#ifdef IMPL_LIBITM
#define PURE __attribute__((__transaction_pure__))
#else
#define PURE
#endif

__attribute__((__noreturn__, __format__(__printf__, 1, 2))) PURE void die(const char *format, ...);
void cpus_read(void);           /* before the first thread is pinned: which CPUs the process may use */
void pin(unsigned int i);       /* this thread to the i-th of them */
double median(double *values, unsigned int n); /* sorts them */
unsigned int option_number(const char *text, const char *option); /* 1 to 1,000,000, or dies */
/* A file of results, with the folders above it: an array in JSON, of an object in each row. */
FILE *results_open(const char *path);
__attribute__((__format__(__printf__, 2, 3))) void results_row(FILE *f, const char *members, ...);
void results_close(FILE *f, const char *path);
void print_machine(void);       /* the library's version, CPU and kernel; no newline */

/* Memory for what is no benchmark's subject: zero, or the end of the program. */
static inline void *zeroed(size_t size)
{
	void *p = calloc(1, size);

	if (!p)
		die("no memory for %zu bytes", size);
	return p;
}

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

/* Of the results of a run: any change of a byte gives another one, almost surely (FNV-1a's constants). */
static inline uint64_t hash_bytes(const void *p, size_t len, uint64_t seed)
{
	const unsigned char *bytes = p;
	uint64_t hash = seed ^ 0xcbf29ce484222325u;

	for (size_t i = 0; i < len; i++) {
		hash = (hash ^ bytes[i]) * 0x100000001b3u;
		hash ^= hash >> 32;
	}
	return hash;
}

/* A barrier for threads that have a CPU each: nobody sleeps, so all leave it at once. */
struct gate {
	_Atomic unsigned int arrived;
	_Atomic unsigned int passed;
	unsigned int threads;
};

void gate_wait(struct gate *gate);

#endif
