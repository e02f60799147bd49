/* SPDX-License-Identifier: MIT */
/*
 * app_kmeans.h - k-means: points in space are put into groups, each point to the nearest centre
 *
 * After the description of STAMP's kmeans (Cao Minh et al., IISWC 2008). In each iteration every thread takes some
 * points after each other, finds the nearest centre of each in ordinary memory, which nobody changes meanwhile, and
 * adds the point to the sums of its group in one transaction. Then these give new centres. The fewer groups, the more
 * transactions meet. Locks of its own: one for each group.
 *
 * Sums are exact (app_kmeans_space.h), so the outcome is the sequential one to the last bit: centres, groups, number of
 * iterations.
 */
#include "app_kmeans_space.h"

#define KMEANS_TAKE 32          /* points taken at once */

struct kmeans_parameters {
	unsigned int points, groups, iterations; /* of these at most so many, */
	unsigned int settled;   /* or until no more than so many points change their group */
};

struct kmeans_group {
	_Alignas(16) long points;
	long unused;
	struct kmeans_point sum;
};

/* Counters, each on its own cache line. */
struct kmeans_shared {
	_Alignas(16) long next; /* point that nobody has taken */
	long unused1[7];
	long changed;           /* points that are in another group than before */
	long unused2[7];
};

struct kmeans {
	struct kmeans_point *points, *centres;
	unsigned int *group_of; /* each point's; written by the thread that took it */
	unsigned int iterations;
	bool settled;
	struct kmeans_group SHARED *groups;
	struct kmeans_shared SHARED *shared;
};

static void kmeans_make(struct run *run)
{
	const struct kmeans_parameters *p = run->parameters;
	struct kmeans *k = zeroed(sizeof(*k));

	k->points = zeroed(p->points * sizeof(*k->points));
	k->centres = zeroed(p->groups * sizeof(*k->centres));
	k->group_of = zeroed(p->points * sizeof(*k->group_of));
	kmeans_generate(k->points, p->points);
	for (unsigned int i = 0; i < p->points; i++)
		k->group_of[i] = p->groups; /* none */
	for (unsigned int g = 0; g < p->groups; g++)
		k->centres[g] = k->points[g];
	ATOMIC {
		k->groups = ALLOC_ZERO(p->groups * sizeof(*k->groups));
		k->shared = ALLOC_ZERO(sizeof(*k->shared));
	}
	run->data = k;
}

OPERATION void kmeans_add(struct kmeans_group SHARED *group, const struct kmeans_point *point)
{
	ATOMIC_OF(group) {
		WRITE(group);
		group->points++;
		for (unsigned int d = 0; d < KMEANS_DIMENSIONS; d++)
			group->sum.x[d] += point->x[d];
	}
}

/* Points that nobody has taken, until there are none. */
static void kmeans_assign(struct kmeans *k, const struct kmeans_parameters *p)
{
	long first, before, changed = 0;

	for (;;) {
		ATOMIC_ADD(first, k->shared->next, KMEANS_TAKE);
		if (first >= (long)p->points)
			break;
		for (long i = first; i < first + KMEANS_TAKE && i < (long)p->points; i++) {
			const unsigned int g = kmeans_nearest(&k->points[i], k->centres, p->groups);

			changed += k->group_of[i] != g;
			k->group_of[i] = g;
			kmeans_add(&k->groups[g], &k->points[i]);
		}
	}
	ATOMIC_ADD(before, k->shared->changed, changed);
	(void)before;
}

/* By one thread: new centres of the sums, which are 0 again. */
static void kmeans_move_centres(struct kmeans *k, const struct kmeans_parameters *p)
{
	ATOMIC {
		for (unsigned int g = 0; g < p->groups; g++) {
			struct kmeans_group SHARED *group = &k->groups[g];

			WRITE(group);
			for (unsigned int d = 0; d < KMEANS_DIMENSIONS; d++) {
				if (group->points)
					k->centres[g].x[d] = group->sum.x[d] / (float)group->points;
				group->sum.x[d] = 0;
			}
			group->points = 0;
		}
		k->settled = GET(k->shared->changed) <= (long)p->settled;
		SET(k->shared->changed, 0);
		SET(k->shared->next, 0);
	}
	k->iterations++;
}

static void kmeans_work(struct run *run, unsigned int id)
{
	const struct kmeans_parameters *p = run->parameters;
	struct kmeans *k = run->data;

	do {
		kmeans_assign(k, p);
		run_wait(run);
		if (id == 0)
			kmeans_move_centres(k, p);
		run_wait(run);
	} while (!k->settled && k->iterations < p->iterations);
}

static const char *kmeans_check(struct run *run, uint64_t *result)
{
	const struct kmeans_parameters *p = run->parameters;
	const struct kmeans *k = run->data;

	*result = hash_bytes(k->centres, p->groups * sizeof(*k->centres), k->iterations);
	*result = hash_bytes(k->group_of, p->points * sizeof(*k->group_of), *result);
	for (unsigned int i = 0; i < p->points; i++)
		if (k->group_of[i] >= p->groups)
			return "a point is in no group";
	return NULL;
}

static void kmeans_clear(struct run *run)
{
	struct kmeans *k = run->data;

	ATOMIC {
		FREE(k->groups);
		FREE(k->shared);
	}
	free(k->points);
	free(k->centres);
	free(k->group_of);
	free(k);
}

static const struct kmeans_parameters kmeans_low = { 32768, 40, 12, 32 };
static const struct kmeans_parameters kmeans_high = { 65536, 15, 24, 64 };
static const struct kmeans_parameters kmeans_low_small = { 1024, 40, 4, 8 };
static const struct kmeans_parameters kmeans_high_small = { 1024, 15, 4, 8 };

#define KMEANS_APP(name_, parameters_, small_, two_slower_)                                             \
	{                                                                                               \
		.name = (name_), .has = APP_FINE, .parameters = (parameters_), .small = (small_),       \
		.bar = 1.5, .two_slower = (two_slower_),                                                \
		.make = kmeans_make, .work = kmeans_work, .check = kmeans_check, .clear = kmeans_clear, \
	}
#define KMEANS_APPS                                                             \
	KMEANS_APP("kmeans-low", &kmeans_low, &kmeans_low_small, false),        \
	KMEANS_APP("kmeans-high", &kmeans_high, &kmeans_high_small, true),
