// SPDX-License-Identifier: MIT
/*
 * slab.c - memory of the log, in parts of one size: chunks of slots, and blocks of entries.
 *
 *   1. Parts are cut from slabs of 2 MiB, which ask for a huge page. When one thread stands still for some
 *      milliseconds the log grows by megabytes: that is then a few page faults, not one for each 4 KiB.
 *   2. A part is taken from the slab that got one back last, so that in the steady state a few stay in the
 *      cache. Slabs with nothing in use come last, and only so many are kept (log_keep of a profile).
 */
#include <stddef.h>
#include <sys/mman.h>

#include "internal.h"

#define SLAB_BYTES ((size_t)2 << 20)

/* Stands at the start of its memory. */
struct slab {
	struct slab *next, *prev;       /* in the list of slabs that have a free part */
	struct stm_part *free;
	unsigned int free_n;
};

struct stm_part {
	struct stm_part *next;
};

#define SLAB_HEADER ((size_t)64)
#define SLAB_PARTS ((SLAB_BYTES - SLAB_HEADER) / STM_PART_BYTES)

_Static_assert(sizeof(struct slab) <= SLAB_HEADER, "the header of a slab");
_Static_assert(STM_PART_BYTES % 64 == 0 && sizeof(struct stm_chunk) <= STM_PART_BYTES, "a chunk is a part");

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct slab ends = { &ends, &ends, NULL, 0 }; /* of the list */
static unsigned int unused;             /* slabs with nothing in use */
static unsigned int kept = STM_PARTS_KEPT / SLAB_BYTES; /* of these */
static int page_advice = MADV_HUGEPAGE;

static void insert_after(struct slab *slab, struct slab *prev)
{
	slab->prev = prev;
	slab->next = prev->next;
	prev->next->prev = slab;
	prev->next = slab;
}

static void take_out(struct slab *slab)
{
	slab->prev->next = slab->next;
	slab->next->prev = slab->prev;
}

static struct slab *slab_of(void *part)
{
	return (struct slab *)((uintptr_t)part & ~(SLAB_BYTES - 1));
}

static void put_part(struct slab *slab, void *memory)
{
	struct stm_part *part = memory;

	part->next = slab->free;
	slab->free = part;
	slab->free_n++;
}

/* An empty slab, aligned to its size; or NULL. */
static struct slab *new_slab(void)
{
	uint8_t *memory = mmap(NULL, 2 * SLAB_BYTES, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct slab *slab;
	size_t before;

	if (memory == MAP_FAILED)
		return NULL;
	before = -(uintptr_t)memory & (SLAB_BYTES - 1);
	slab = (struct slab *)(memory + before);
	if (before)
		munmap(memory, before);
	munmap(memory + before + SLAB_BYTES, SLAB_BYTES - before);
	madvise(slab, SLAB_BYTES, page_advice); /* if there are no huge ones, small pages do */
	for (size_t i = SLAB_PARTS; i--;)
		put_part(slab, (uint8_t *)slab + SLAB_HEADER + i * STM_PART_BYTES);
	return slab;
}

void *stm_part_take(void)
{
	struct stm_part *part = NULL;
	struct slab *slab;

	pthread_mutex_lock(&lock);
	slab = ends.next;
	if (slab == &ends) {
		slab = new_slab();
		if (!slab)
			goto out;
		insert_after(slab, &ends);
		unused++;
	}
	if (slab->free_n == SLAB_PARTS)
		unused--;
	part = slab->free;
	slab->free = part->next;
	if (--slab->free_n == 0)
		take_out(slab);
out:
	pthread_mutex_unlock(&lock);
	return part;
}

void stm_part_give(void *part)
{
	struct slab *slab = slab_of(part), *surplus = NULL;

	pthread_mutex_lock(&lock);
	if (slab->free_n)
		take_out(slab);
	put_part(slab, part);
	if (slab->free_n < SLAB_PARTS) {
		insert_after(slab, &ends);
	} else if (unused >= kept) {
		surplus = slab;
	} else {
		insert_after(slab, ends.prev);
		unused++;
	}
	pthread_mutex_unlock(&lock);
	if (surplus)
		munmap(surplus, SLAB_BYTES);
}

void stm_parts_open(uint64_t keep_bytes, bool huge)
{
	kept = (unsigned int)((keep_bytes + SLAB_BYTES - 1) / SLAB_BYTES);
	page_advice = huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE;
}

/* All parts have been given back. */
void stm_parts_close(void)
{
	while (ends.next != &ends) {
		struct slab *slab = ends.next;

		take_out(slab);
		munmap(slab, SLAB_BYTES);
	}
	unused = 0;
}
