/* SPDX-License-Identifier: MIT */
/*
 * apps.h - what the parts of the application benchmark share
 *
 * An application is written once, in the words of words.h, in app_NAME.h, and compiled for each implementation
 * (apps_IMPL.c includes apps_list.h). A peer is one as it is measured: gcc has two, by method. A process
 * of its own runs one application as one peer with some threads, round after round (apps_child.c), and apps.c has these
 * take turns.
 */
#ifndef BENCH_APPS_H
#define BENCH_APPS_H

#include "common.h"

/* One application in one process. */
struct run {
	const void *parameters;
	unsigned int threads;
	struct gate gate;
	void *data;             /* the application's */
};

/* The parts of what work() does are separated so: all threads arrive before any goes on. */
static inline void run_wait(struct run *run)
{
	gate_wait(&run->gate);
}

/* What an application has besides ATOMIC. */
#define APP_READS 1u    /* transactions that only read, ATOMIC_READ: so a rwlock is worth a try */
#define APP_FINE 2u     /* ATOMIC_OF, ATOMIC_PARTS, ATOMIC_ADD alone: so has locks of its own */

struct app {
	const char *name;
	unsigned int has;
	const void *parameters; /* 0.1 to 0.3 s sequentially */
	const void *small;      /* the same, for tests: some ms */
	double bar;             /* one thread, over sequential code, at most; 0: nothing is asked for */
	bool two_slower;        /* two threads need not be faster than sequential code */
	/*
	 * By thread 0, attached: input, and structures in shared memory, the same in each round and implementation.
	 * Then work() by all threads at once, which is timed. Then, by thread 0, check(): NULL, or what is wrong; *@result
	 * is the same after each right run of this application. clear() gives all memory back.
	 */
	void (*make)(struct run *run);
	void (*work)(struct run *run, unsigned int id);
	const char *(*check)(struct run *run, uint64_t *result);
	void (*clear)(struct run *run);
};

struct impl {
	const char *missing;    /* NULL, or why it cannot be had */
	void (*start)(void);    /* once a process; no thread is attached */
	/* Have @n threads run member(i, @arg), and wait for them. */
	void (*team)(unsigned int n, void (*member)(unsigned int id, void *arg), void *arg);
	void (*attach)(void);   /* in each thread */
	void (*detach)(void);
	const struct app *apps; /* the same ones in the same order, in each implementation */
};

extern const struct impl impl_seq, impl_mutex, impl_rwlock, impl_fine, impl_omp, impl_libitm, impl_stm;
extern const unsigned int apps_count;

#define PEERS 8
#define PEER_SEQ 0
#define PEER_STM (PEERS - 1)

struct peer {
	const char *name;
	const struct impl *impl;
	unsigned int needs;     /* APP_ bits without which it is left out */
	const char *itm_method; /* ITM_DEFAULT_METHOD */
};
extern const struct peer peers[PEERS];

/* ---- between apps.c and a child ---- */

struct answer {
	double seconds;
	uint64_t result;
	char wrong[112];        /* empty, or what is */
};

/* A process that runs rounds: it answers to each byte that it reads, the first answer is that of the warm-up. */
struct child {
	int pid, to, from;
};

int child_main(const struct app *app, const struct peer *peer, unsigned int threads, bool small);

/* ---- results ---- */

struct cell {
	double *seconds;        /* of each round; NULL: not measured */
	double median, min, max;
	bool verified;
};

#define THREADS_MOST 8  /* numbers of threads that can be asked for at once */

struct settings {
	unsigned int rounds;
	unsigned int threads[THREADS_MOST], threads_n;
	const char *app, *peer; /* substrings to select by, or NULL */
	const char *json;
	const char *spoil;      /* a peer whose results are taken for wrong */
	bool small, quiet;
};

/* @cells: by application, number of threads, peer */
struct cell *cell_of(struct cell *cells, unsigned int app, unsigned int threads_i, unsigned int peer);
void print_apps(const struct settings *s, struct cell *cells);
void write_apps(const struct settings *s, struct cell *cells);

#endif
