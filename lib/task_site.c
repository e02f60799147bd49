// SPDX-License-Identifier: MIT
/*
 * task_site.c - the kinds of tasks that there have been, each with its site.
 *
 * A table by function and name, without a lock. Nothing is ever taken out: tasks know their kind by its place in the
 * table, and a queue may outlive stm_fini().
 */
#include <stdlib.h>
#include <string.h>

#include "task_site.h"

#define KINDS 16384u                    /* a power of two; programs have dozens */
#define PROBES 512u                     /* until the table counts as full: four fifths of it (Knuth, vol. 3, 6.4) */

struct kind {
	struct stm_site site;           /* its file is task_file: tells what it is */
	stm_fn *fn;
	char name[];
};

static const char task_file[] = "";
static _Atomic(struct kind *) kinds[KINDS];

static struct kind *new_kind(stm_fn *fn, const char *name)
{
	size_t len = name ? strlen(name) + 1 : 0;
	struct kind *kind = malloc(sizeof(*kind) + len);

	if (!kind)
		return NULL;
	*kind = (struct kind){ .site = { .file = task_file, .function = "" }, .fn = fn };
	if (name)
		kind->site.name = memcpy(kind->name, name, len);
	return kind;
}

static bool is_of(const struct kind *kind, stm_fn *fn, const char *name)
{
	if (kind->fn != fn || !kind->site.name != !name)
		return false;
	return !name || !strcmp(kind->site.name, name);
}

static unsigned int hash(stm_fn *fn, const char *name)
{
	uint64_t h = (uint64_t)(uintptr_t)fn * 0x9e3779b97f4a7c15u;

	for (; name && *name; name++)
		h = (h ^ (unsigned char)*name) * 0x9e3779b97f4a7c15u;
	return (unsigned int)(h >> 50); /* 14 bits */
}

uint16_t stm_task_kind(stm_fn *fn, const char *name)
{
	struct kind *mine = NULL;
	unsigned int i = hash(fn, name);

	for (unsigned int n = 0; n < PROBES; n++, i = (i + 1) % KINDS) {
		/* Pairs with the release below. */
		struct kind *found = atomic_load_explicit(&kinds[i], memory_order_acquire);

		if (!found && !mine) {
			mine = new_kind(fn, name);
			if (!mine)
				return 0;
		}
		if (!found && atomic_compare_exchange_strong_explicit(&kinds[i], &found, mine, memory_order_release,
								      memory_order_acquire))
			return (uint16_t)(i + 1);
		if (is_of(found, fn, name)) {
			free(mine);
			return (uint16_t)(i + 1);
		}
	}
	free(mine);
	return 0;
}

const struct stm_site *stm_task_site(uint16_t kind)
{
	return &atomic_load_explicit(&kinds[kind - 1], memory_order_acquire)->site;
}

stm_fn *stm_task_of(const struct stm_site *site)
{
	return site->file == task_file ? ((const struct kind *)site)->fn : NULL;
}
