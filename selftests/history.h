/* SPDX-License-Identifier: MIT */
/*
 * history.h - random transactions over a small heap, recorded for the checker.
 *
 * The data are words and one set of keys. Word i stands on page i % pages, beside other words of
 * its granule, which other transactions write. The set's keys are spread over a sorted list, a hash
 * table and a search tree, whose nodes are allocated and freed.
 */
#ifndef HISTORY_H
#define HISTORY_H

#include "checker.h"
#include "schedule.h"

#define HISTORY_THREADS_MAX 16u
#define HISTORY_BUCKETS 64u

/* One in so many; 0: never. */
struct history_config {
	unsigned int threads;
	unsigned int transactions;      /* of each thread */
	size_t pages, words, stride;    /* of words in all; bytes from page to page */
	unsigned int keys;
	unsigned int torture;           /* delay one in so many schedule points; 0: no hook */
	unsigned int pause, nap;        /* sleep inside, outside a transaction */
	unsigned int churn;             /* detach and attach */
	unsigned int leave;             /* the same, with a while between */
	unsigned int marked_attempts;   /* so many mark their reads, alone or not */
	unsigned int help;              /* take who sleeps, between transactions */
	uint64_t trim_age;
	unsigned int trim, trim_versions; /* drop all that was not used in the last versions, at begin */
	unsigned int cancel, restart, inevitable, validate, raw, wide, large, big, verify;
	bool tracked_words, tracked_nodes;      /* memory without barriers */
	struct stm_options options;
};

struct history_node {
	uint64_t key;
	uint64_t magic;
	struct history_node STM *left, *right;  /* left: also the next one */
	uint64_t size;
	uint64_t payload[];
};

struct history_roots {
	struct history_node STM *list, *tree;
	struct history_node STM *buckets[HISTORY_BUCKETS];
};

/* What all threads share. */
struct history_world {
	struct history_config config;
	uint64_t STM *words;
	struct history_roots STM *roots;
	size_t first_page, last_page;           /* of the words */
	_Atomic uint64_t returned;              /* commits below this position have returned */
	_Atomic int go;
};

struct history_thread {
	struct history_world *world;
	struct history history;
	pthread_t thread;
	uint64_t random;
	uint64_t written;               /* makes each written value unique */
	uint64_t must; /* the snapshot of a transaction that begins now is no older */
	unsigned int id;
	struct stm_seg *seg;
	_Atomic uint64_t attempts;      /* for whoever watches */
};

/* history_ops.c: in a transaction; results go into the history. */
int history_make(struct history_world *world, size_t bytes); /* words, of @bytes in all, and roots; 0 or 1 */
void history_op(struct history_thread *t, bool update);
void history_wide_op(struct history_thread *t, bool update);
uint64_t STM *history_word(const struct history_world *world, size_t i);

/*
 * Compare the heap with the model, in a transaction: the number of differences, told by
 * schedule_fail().
 */
void history_compare(const struct history_world *world, const struct checker_model *model);

static inline uint64_t history_random(struct history_thread *t, uint64_t n)
{
	return next_random(&t->random) % n;
}

static inline bool history_chance(struct history_thread *t, unsigned int one_in)
{
	return one_in && !history_random(t, one_in);
}

#endif
