// SPDX-License-Identifier: MIT
/*
 * tally.c - figures of tasks, by function and name. A worker has a list of its own, which others read meanwhile.
 */
#include <stdlib.h>

#include "queue.h"

static struct stm_tally *look_up(struct stm_tallies *tallies, stm_fn *fn, uint16_t kind)
{
	/* Pairs with prepend(). */
	struct stm_tally *tally = atomic_load_explicit(&tallies->first, memory_order_acquire);

	while (tally && (tally->fn != fn || tally->kind != kind))
		tally = tally->next;
	return tally;
}

static void prepend(struct stm_tallies *tallies, struct stm_tally *tally)
{
	tally->next = atomic_load_explicit(&tallies->first, memory_order_relaxed);
	/* Pairs with the acquire of who reads the list. */
	atomic_store_explicit(&tallies->first, tally, memory_order_release);
}

/* The others, if there are any, become part of the list. */
static struct stm_tally *other(struct stm_tallies *tallies)
{
	if (!look_up(tallies, NULL, 0))
		prepend(tallies, &tallies->other);
	return &tallies->other;
}

struct stm_tally *stm_tally_find(struct stm_tallies *tallies, stm_fn *fn, uint16_t kind)
{
	struct stm_tally *tally = look_up(tallies, fn, kind);

	if (!tally) {
		tally = calloc(1, sizeof(*tally));
		if (!tally)
			return other(tallies); /* the next task looks again */
		tally->fn = fn;
		tally->kind = kind;
		prepend(tallies, tally);
	}
	tallies->latest = tally;
	return tally;
}

static uint64_t figure(_Atomic uint64_t *at)
{
	return atomic_load_explicit(at, memory_order_relaxed);
}

/* Those of @from go to @to, and are gone from there. Nobody else uses either. */
void stm_tallies_merge(struct stm_tallies *to, struct stm_tallies *from)
{
	for (struct stm_tally *tally = atomic_load(&from->first); tally; tally = tally->next) {
		struct stm_tally *sum = tally->fn ? stm_tally_find(to, tally->fn, tally->kind) : other(to);

		stm_tally_add(&sum->executed, figure(&tally->executed));
		stm_tally_add(&sum->restarts, figure(&tally->restarts));
		stm_tally_add(&sum->lost_ns, figure(&tally->lost_ns));
	}
	stm_tallies_free(from);
}

void stm_tallies_free(struct stm_tallies *tallies)
{
	struct stm_tally *tally = atomic_load(&tallies->first), *next;

	for (; tally; tally = next) {
		next = tally->next;
		if (tally != &tallies->other)
			free(tally);
	}
	atomic_store(&tallies->first, NULL);
	tallies->latest = NULL;
}
