/* SPDX-License-Identifier: MIT */
/*
 * workloads.h - all workloads of one implementation
 *
 * The includer names it as impl.h says.
 */
#include "impl.h"

#include "set.h"
#include "tree.h"
#include "bank.h"
#include "ordered.h"
#include "map.h"

static uintptr_t impl_prepare(const struct workload *w)
{
	const unsigned int range = 2 * w->size;
	uint64_t random = random_seed(w->size);
	uintptr_t data;

	if (w->structure == BANK)
		return bank_make(w->size);
	data = w->structure == TREE ? tree_make() : w->structure == ORDERED ? ordered_make() :
		w->structure == MAP ? map_make() :
		chain_make(w->structure == LIST ? 1 : w->size);
	for (unsigned int i = 0; i < w->size;) {
		const long key = random_below(random_next(&random), range);

		if (w->structure == TREE)
			i += tree_insert((struct tree SHARED *)data, key);
		else if (w->structure == MAP)
			i += map_insert((struct numbers SHARED *)data, key);
		else if (w->structure == ORDERED)
			i += ordered_insert((struct stm_ordered SHARED *)data, key);
		else
			i += chain_insert((struct chains *)data, key);
	}
	return data;
}

/* A loop for each structure, written once: the operations are calls with constant names. */
#define RUN_SET(type, prefix)                                                                      \
	do {                                                                                       \
		type *set = (type *)data;                                                          \
		const unsigned int range = 2 * w->size;                                            \
		/* of 2^32: below it an insert, below twice it a remove, else a look-up */         \
		const uint64_t insert = ((uint64_t)w->percent << 32) / 200;                        \
                                                                                                   \
		for (unsigned int i = 0; i < n; i++) {                                             \
			const uint64_t r = random_next(&state);                                    \
			const long key = random_below(r, range);                                   \
			const uint64_t kind = (uint32_t)r;                                         \
                                                                                                   \
			if (kind >= 2 * insert)                                                    \
				tally->found += prefix##_contains(set, key);                       \
			else if (kind < insert)                                                    \
				tally->inserted += prefix##_insert(set, key);                      \
			else                                                                       \
				tally->removed += prefix##_remove(set, key);                       \
		}                                                                                  \
	} while (0)

static void impl_run(const struct workload *w, uintptr_t data, uint64_t *random, unsigned int n,
		     struct tally *tally)
{
	uint64_t state = *random;

	tally->ops += n;
	if (w->structure == TREE) {
		RUN_SET(struct tree SHARED, tree);
	} else if (w->structure == MAP) {
		RUN_SET(struct numbers SHARED, map);
	} else if (w->structure == ORDERED) {
		RUN_SET(struct stm_ordered SHARED, ordered);
	} else if (w->structure != BANK) {
		RUN_SET(const struct chains, chain);
	} else {
		struct account SHARED *accounts = (struct account SHARED *)data;
		const unsigned int size = w->size;
		const long all = (long)size * BANK_OPENING;
		const uint64_t sums = ((uint64_t)w->percent << 16) / 100;

		for (unsigned int i = 0; i < n; i++) {
			const uint64_t r = random_next(&state);

			if ((uint16_t)r < sums)
				tally->wrong += bank_sum(accounts, size) != all;
			else
				bank_transfer(accounts, random_below(r, size),
					      random_below(r << 32, size), 1);
		}
	}
	*random = state;
}

static const char *impl_check(const struct workload *w, uintptr_t data, uint64_t *size)
{
	if (w->structure == TREE)
		return tree_check((struct tree SHARED *)data, size);
	if (w->structure == MAP)
		return map_check((struct numbers SHARED *)data, size);
	if (w->structure == ORDERED)
		return ordered_check((struct stm_ordered SHARED *)data, size);
	if (w->structure != BANK)
		return chain_check((const struct chains *)data, size);
	*size = (uint64_t)bank_sum((struct account SHARED *)data, w->size);
	if (*size != (uint64_t)w->size * BANK_OPENING)
		return "the sum of the accounts has changed";
	*size = w->size;
	return bank_check((struct account SHARED *)data, w->size);
}

const struct impl NAME(impl) = {
	.name = STRING(IMPL),
	.max_threads = MAX_THREADS,
	.reset = impl_reset,
	.attach = impl_attach,
	.detach = impl_detach,
	.prepare = impl_prepare,
	.run = impl_run,
	.check = impl_check,
};
