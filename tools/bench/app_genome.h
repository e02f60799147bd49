/* SPDX-License-Identifier: MIT */
/*
 * app_genome.h - gene sequencing by overlap, in the manner of STAMP's genome
 *
 * Given are many segments of 64 nucleotides, read from random places of a gene, most of them several times. The gene
 * is to be found. Included once for each implementation: see words.h.
 *
 * 1. Each segment is packed into 128 bits and put into a hash set, where it is not there yet: transactions of
 *    GENOME_BATCH segments.
 * 2. For each length of an overlap, from the longest down: segments that have no predecessor are put into a table by
 *    their first nucleotides, so many; those without a successor look there for their last ones. What fits is linked,
 *    unless that makes a ring: both ends of a chain know each other.
 * 3. One thread reads the chain off.
 *
 * Threads wait for each other between the steps. So what a step does not write needs no barriers in it: the table
 * while successors are looked for, and the chain at its end. A segment's nucleotides are constant once it is in the
 * set, and so is its link there, as new ones come first in their buckets. Even a bucket needs no barrier to be read:
 * who finds a segment in it would find it later, too, and who does not writes the bucket, which counts as reading it.
 *
 * The gene of the check is the one that the segments were read from: neighbouring places are close enough for an
 * overlap that only the right ones have, so it is the only result, whatever the order.
 */
#include "app_genome_input.h"

#define GENOME_BATCH 32u                /* segments in a transaction */
#define GENOME_FEWEST 16u               /* nucleotides of an overlap that is believed */

/* 64 bytes: the first half is constant once it is in the set, except for @same. */
struct genome_segment {
	_Alignas(16) struct genome_segment SHARED *next;        /* in its bucket of the set */
	uint64_t low;                           /* nucleotides, two bits each, the first one lowest */
	uint64_t high;
	struct genome_segment SHARED *same;     /* in its bucket of the table: begins like this one, perhaps */
	struct genome_segment SHARED *successor;
	uint32_t overlap;                       /* with the successor */
	uint32_t follows;                       /* it has a predecessor */
	struct genome_segment SHARED *first;    /* if this is a chain's last one: its first one, and the reverse */
	struct genome_segment SHARED *last;
};

/* Which round a chain of the table is of: one of another round is empty. */
struct genome_begin {
	_Alignas(16) struct genome_segment SHARED *segment;
	uint64_t overlap;
};

/* Segments that one thread has put into the set, and what it has found them to be in the second step. */
struct genome_list {
	struct genome_segment SHARED **segment;
	unsigned int count;
};

struct genome_worker {
	struct genome_list added;               /* by this thread, to the set */
	struct genome_list without_predecessor; /* of its part of all segments */
	struct genome_list without_successor;
	uint64_t apart[2];                      /* 64 bytes: a cache line each, or nearly so */
};

/* Ordinary memory; but for the buckets all is constant, or one thread's. */
struct genome {
	struct genome_worker *worker;           /* of each thread */
	struct genome_input *input;
	uint64_t mask;                          /* buckets - 1, of both tables */
	struct genome_segment SHARED *SHARED *set;
	struct genome_begin SHARED *begin;
	struct genome_list all;                 /* between the steps */
	char *result;
	unsigned int result_length, chains;
	bool ends_agree;                        /* the first one of each chain knows the last one, and the reverse */
};

OPERATION void genome_make_tables(struct genome *g)
{
	ATOMIC {
		g->set = ALLOC_ZERO((g->mask + 1) * sizeof(*g->set));
		g->begin = ALLOC_ZERO((g->mask + 1) * sizeof(*g->begin));
	}
}

/* ---- the steps ---- */

static inline void genome_part(unsigned int count, unsigned int id, unsigned int threads, unsigned int *from,
			       unsigned int *to)
{
	*from = (unsigned int)((uint64_t)count * id / threads);
	*to = (unsigned int)((uint64_t)count * (id + 1) / threads);
}

static inline struct genome_begin SHARED *genome_begin_of(struct genome *g, struct genome_segment SHARED *s,
							 unsigned int overlap)
{
	return &g->begin[genome_hash(genome_first((struct genome_bases){ s->low, s->high }, overlap)) & g->mask];
}

/* A segment that is new in its bucket, or NULL: it was there. */
static inline struct genome_segment SHARED *genome_put(struct genome_segment SHARED *SHARED *bucket,
						       struct genome_bases bases)
{
	struct genome_segment SHARED *first = *bucket, *s = first;

	while (s && (s->low != bases.low || s->high != bases.high))
		s = s->next;
	if (s)
		return NULL;
	s = ALLOC(struct genome_segment);
	s->next = first;
	s->low = bases.low;
	s->high = bases.high;
	s->same = s->successor = NULL;
	s->overlap = s->follows = 0;
	s->first = s->last = s;
	SET(*bucket, s);
	return s;
}

/* Those of some segments that were not in the set are in it, and the last ones in @added. */
OPERATION void genome_add(struct genome *g, const struct genome_bases *bases, unsigned int n, struct genome_list *added)
{
	unsigned int made = 0;

	ATOMIC_ALL {
		made = 0;
		for (unsigned int i = 0; i < n; i++) {
			struct genome_segment SHARED *SHARED *bucket = &g->set[genome_hash(bases[i]) & g->mask];

			ATOMIC_EACH(bucket) {
				struct genome_segment SHARED *s = genome_put(bucket, bases[i]);

				if (s)
					added->segment[added->count + made++] = s;
			}
		}
	}
	added->count += made;
}

static void genome_deduplicate(struct genome *g, unsigned int id, unsigned int threads)
{
	struct genome_list *added = &g->worker[id].added;
	struct genome_bases bases[GENOME_BATCH];
	unsigned int from, to, n;

	added->segment = zeroed(g->input->distinct * sizeof(*added->segment));
	genome_part(g->input->segments, id, threads, &from, &to);
	for (; from < to; from += n) {
		n = to - from < GENOME_BATCH ? to - from : GENOME_BATCH;
		genome_pack(g->input, from, n, bases);
		genome_add(g, bases, n, added);
	}
}

/* Which of some segments have no predecessor stays in the list, and is in the table. */
OPERATION unsigned int genome_offer(struct genome *g, struct genome_segment SHARED *const *segment, unsigned int n,
				    unsigned int overlap, struct genome_segment SHARED **left)
{
	unsigned int count = 0;

	ATOMIC_ALL {
		count = 0;
		for (unsigned int i = 0; i < n; i++) {
			struct genome_segment SHARED *s = segment[i];
			struct genome_begin SHARED *begin;

			if (s->follows) /* not written in this step */
				continue;
			begin = genome_begin_of(g, s, overlap);
			ATOMIC_EACH(begin) {
				WRITE(begin);
				SET(s->same, begin->overlap == overlap ? begin->segment : NULL);
				begin->segment = s;
				begin->overlap = overlap;
			}
			left[count++] = s;
		}
	}
	return count;
}

/* One that begins as @last says, has no predecessor and is not the first one of the chain that @s ends. */
static inline struct genome_segment SHARED *genome_search(struct genome *g, struct genome_bases last,
							  unsigned int overlap, struct genome_segment SHARED *s)
{
	struct genome_begin SHARED *begin = &g->begin[genome_hash(last) & g->mask];
	struct genome_segment SHARED *other = begin->overlap == overlap ? begin->segment : NULL;

	for (; other; other = other->same)
		if (genome_equal(genome_first((struct genome_bases){ other->low, other->high }, overlap), last) &&
		    !GET(other->follows) && GET(s->first) != other)
			break;
	return other;
}

/* Links some segments with successors. Those that have found none go to @left. */
OPERATION unsigned int genome_link(struct genome *g, struct genome_segment SHARED *const *segment, unsigned int n,
				   unsigned int overlap, struct genome_segment SHARED **left)
{
	unsigned int count = 0;

	ATOMIC {
		count = 0;
		for (unsigned int i = 0; i < n; i++) {
			struct genome_segment SHARED *s = segment[i], *next, *first, *last;

			next = genome_search(g, genome_last((struct genome_bases){ s->low, s->high }, overlap), overlap, s);
			if (!next) {
				left[count++] = s;
				continue;
			}
			first = GET(s->first);
			last = GET(next->last);
			WRITE(&s->successor);
			s->successor = next;
			s->overlap = overlap;
			SET(next->follows, 1);
			SET(first->last, last);
			SET(last->first, first);
		}
	}
	return count;
}

static void genome_match(struct run *run, unsigned int id)
{
	struct genome *g = run->data;
	struct genome_list *predecessor = &g->worker[id].without_predecessor;
	struct genome_list *successor = &g->worker[id].without_successor;
	struct genome_segment SHARED *some[GENOME_BATCH];
	unsigned int from, to, n, left;

	genome_part(g->all.count, id, run->threads, &from, &to);
	for (struct genome_list *list = predecessor;; list = successor) {
		list->count = to - from;
		list->segment = zeroed((list->count + 1) * sizeof(*list->segment));
		memcpy(list->segment, g->all.segment + from, list->count * sizeof(*list->segment));
		if (list == successor)
			break;
	}
	for (unsigned int overlap = GENOME_SEGMENT - 1; overlap >= GENOME_FEWEST; overlap--) {
		left = 0;
		for (unsigned int i = 0; i < predecessor->count; i += n) {
			n = predecessor->count - i < GENOME_BATCH ? predecessor->count - i : GENOME_BATCH;
			memcpy(some, predecessor->segment + i, n * sizeof(*some));
			left += genome_offer(g, some, n, overlap, predecessor->segment + left);
		}
		predecessor->count = left;
		run_wait(run);
		left = 0;
		for (unsigned int i = 0; i < successor->count; i += n) {
			n = successor->count - i < GENOME_BATCH ? successor->count - i : GENOME_BATCH;
			memcpy(some, successor->segment + i, n * sizeof(*some));
			left += genome_link(g, some, n, overlap, successor->segment + left);
		}
		successor->count = left;
		run_wait(run);
	}
}

/* Between the first two steps: one list of all segments. */
static void genome_gather(struct genome *g, unsigned int threads)
{
	for (unsigned int i = 0; i < threads; i++) {
		struct genome_list *added = &g->worker[i].added;

		if (g->all.count + added->count > g->input->distinct)
			die("genome: more segments than there are");
		memcpy(g->all.segment + g->all.count, added->segment, added->count * sizeof(*added->segment));
		g->all.count += added->count;
	}
}

/* Only reads the heap, in the last step: no barriers. */
OPERATION void genome_read_off(struct genome *g)
{
	ATOMIC {
		unsigned int length = 0, chains = 0;
		bool agree = true;

		for (unsigned int i = 0; i < g->all.count; i++) {
			struct genome_segment SHARED *first = g->all.segment[i], *s = first, *last = first;
			unsigned int known = 0;

			if (s->follows)
				continue;
			chains++;
			for (; s && length + GENOME_SEGMENT - known <= g->input->length; s = s->successor) {
				for (unsigned int j = known; j < GENOME_SEGMENT; j++) /* the letters' bits 1 and 2 */
					g->result[length++] = "ACTG"[(j < 32 ? s->low >> 2 * j :
								      s->high >> (2 * j - 64)) & 3];
				known = s->overlap;
				last = s;
			}
			agree &= first->last == last && last->first == first;
		}
		g->result_length = length;
		g->chains = chains;
		g->ends_agree = agree;
	}
}

static void genome_work(struct run *run, unsigned int id)
{
	struct genome *g = run->data;

	genome_deduplicate(g, id, run->threads);
	run_wait(run);
	if (!id)
		genome_gather(g, run->threads);
	run_wait(run);
	genome_match(run, id);
	if (!id)
		genome_read_off(g);
}

/* ---- as an application ---- */

struct genome_parameters {
	unsigned int length, times;     /* see genome_input_make() */
};

static void genome_make(struct run *run)
{
	const struct genome_parameters *parameters = run->parameters;
	struct genome *g = zeroed(sizeof(*g));

	g->input = genome_input_make(parameters->length, parameters->times);
	while (g->mask < g->input->distinct)
		g->mask = 2 * g->mask + 1;
	g->all.segment = zeroed(g->input->distinct * sizeof(*g->all.segment));
	g->result = zeroed(g->input->length);
	g->worker = zeroed(run->threads * sizeof(*g->worker));
	genome_make_tables(g);
	run->data = g;
}

static const char *genome_check(struct run *run, uint64_t *result)
{
	const struct genome *g = run->data;

	*result = g->all.count;
	for (unsigned int i = 0; i < g->result_length; i++)
		*result = *result * 31 + (unsigned char)g->result[i];
	if (g->all.count != g->input->distinct)
		return "the set has not each segment once";
	if (g->chains != 1)
		return "the segments are not one chain";
	if (!g->ends_agree)
		return "the ends of the chain do not know each other";
	if (g->result_length != g->input->length || memcmp(g->result, g->input->gene, g->input->length))
		return "the gene is another one";
	return NULL;
}

OPERATION void genome_free_shared(struct genome *g)
{
	ATOMIC {
		for (unsigned int i = 0; i < g->all.count; i++)
			FREE(g->all.segment[i]);
		FREE(g->set);
		FREE(g->begin);
	}
}

static void genome_clear(struct run *run)
{
	struct genome *g = run->data;

	genome_free_shared(g);
	for (unsigned int i = 0; i < run->threads; i++) {
		free(g->worker[i].added.segment);
		free(g->worker[i].without_predecessor.segment);
		free(g->worker[i].without_successor.segment);
	}
	genome_input_free(g->input);
	free(g->worker);
	free(g->all.segment);
	free(g->result);
	free(g);
}

#define GENOME_APPS                                                                                                 \
	{ "genome", APP_FINE, &(const struct genome_parameters){ 16384, 320 },                                      \
	  &(const struct genome_parameters){ 4096, 64 }, 1.15, false, genome_make, genome_work, genome_check,       \
	  genome_clear },
