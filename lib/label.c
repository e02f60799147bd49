// SPDX-License-Identifier: MIT
/*
 * label.c - stm_label(), and where blocks were allocated.
 *
 *   Labels           ranges by address, in order, which do not overlap; under a lock.
 *   Allocation sites a word for each granule of the heap, of which that of a block's first granule is used: the
 *                    number of a code address in a table, and whether a label lies in the block. Storing it costs an
 *                    allocation a few ns; only a block that had labels has to look for them.
 * Neither is undone with a transaction: they are for reports.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "define.h"
#include "label.h"

/* ---- where blocks were allocated ---- */

#define LABELLED ((uint32_t)1 << 31)
#define PROBES 64u                      /* of the table, until it counts as full */
#define CODES 65536u                    /* a power of two; programs have hundreds */

static _Atomic uint32_t *words;         /* by granule; NULL: no memory, or no log */
static _Atomic uint64_t codes[CODES];   /* 0: none yet */

#define WORDS_BYTES (stm_global.heap_limit / STM_GRANULE * sizeof(uint32_t))

/* The number of @code, from 1 on; 0 if there are too many. */
static uint32_t number_of(uint64_t code)
{
	unsigned int i = (unsigned int)(code * 0x9e3779b97f4a7c15u >> 48);

	for (unsigned int n = 0; n < PROBES; n++, i = (i + 1) % CODES) {
		uint64_t found = atomic_load_explicit(&codes[i], memory_order_relaxed);

		/* Relaxed: an address is all there is to it. */
		if (!found && atomic_compare_exchange_strong(&codes[i], &found, code))
			return i + 1;
		if (found == code)
			return i + 1;
	}
	return 0;
}

/* ---- labels ---- */

struct label {
	uint64_t start, end;            /* STM pointers */
	uint32_t name;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct label *labels;
static size_t labels_n, labels_cap;

/* The first label that ends behind @address. Lock held. */
static size_t first_behind(uint64_t address)
{
	size_t low = 0, high = labels_n;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (labels[middle].end > address)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static bool make_room(size_t n)
{
	struct label *more;

	if (labels_n + n <= labels_cap)
		return true;
	more = realloc(labels, (labels_cap * 2 + 64) * sizeof(*more));
	if (!more)
		return false;
	labels = more;
	labels_cap = labels_cap * 2 + 64;
	return true;
}

static void insert(size_t at, struct label label)
{
	memmove(labels + at + 1, labels + at, (labels_n - at) * sizeof(*labels));
	labels[at] = label;
	labels_n++;
}

/* No label covers any of [start, end) from here on; parts beside it stay. There is room for one more. Lock held. */
static void clear(uint64_t start, uint64_t end)
{
	size_t at = first_behind(start), last;

	if (at < labels_n && labels[at].start < start) {
		struct label behind = { end, labels[at].end, labels[at].name };

		labels[at++].end = start;
		if (behind.start < behind.end) {
			insert(at, behind);
			return;
		}
	}
	for (last = at; last < labels_n && labels[last].end <= end; last++)
		;
	memmove(labels + at, labels + last, (labels_n - last) * sizeof(*labels));
	labels_n -= last - at;
	if (at < labels_n && labels[at].start < end)
		labels[at].start = end;
}

static _Atomic uint32_t *word_of(uint64_t address)
{
	uintptr_t start;
	size_t size;

	if (!words || !stm_find_block(address, &start, &size))
		return NULL;
	return &words[(start - STM_HEAP) / STM_GRANULE];
}

int stm_label(const volatile void STM *p, size_t len, const char *name)
{
	uint64_t start = (uintptr_t)p, end = start + len;
	_Atomic uint32_t *word;
	uint32_t number;
	int error = 0;

	stm_stop_if_forked("stm_label");
	if (!stm_global.ready)
		return -ENXIO;
	if (start < STM_HEAP || !len || end < start || end - STM_HEAP > stm_global.heap_limit)
		return -EINVAL;
	if (!stm_global.recording)
		return 0;
	number = stm_define_name(name);
	if (name && !number)
		return -ENOMEM;
	pthread_mutex_lock(&lock);
	if (!make_room(2)) {
		error = -ENOMEM;
	} else {
		clear(start, end);
		if (number)
			insert(first_behind(start), (struct label){ start, end, number });
		word = word_of(start);
		if (word)
			atomic_fetch_or_explicit(word, LABELLED, memory_order_relaxed);
	}
	pthread_mutex_unlock(&lock);
	return error;
}

/* ---- for the recorder ---- */

void stm_label_allocated(uintptr_t block, const void *behind)
{
	_Atomic uint32_t *word;
	uint32_t before;

	if (!words)
		return;
	word = &words[(block - STM_HEAP) / STM_GRANULE];
	/* The block is this thread's: nobody else stores here, but for a label that comes too late. */
	before = atomic_load_explicit(word, memory_order_relaxed);
	atomic_store_explicit(word, number_of((uintptr_t)behind - 1), memory_order_relaxed);
	if (likely(!(before & LABELLED)))
		return;
	pthread_mutex_lock(&lock);
	if (make_room(1))
		clear(block, block + stm_usable_size((void STM *)block));
	pthread_mutex_unlock(&lock);
}

void stm_label_describe(struct stm_log_conflict *conflict)
{
	uintptr_t start;
	size_t size, at;

	if (stm_find_block(conflict->address, &start, &size)) {
		uint32_t number = !words ? 0 : atomic_load_explicit(&words[(start - STM_HEAP) / STM_GRANULE], memory_order_relaxed);

		conflict->block = start;
		conflict->block_bytes = size;
		number &= ~LABELLED;
		if (number)
			conflict->alloc_code = atomic_load_explicit(&codes[number - 1], memory_order_relaxed);
	}
	pthread_mutex_lock(&lock);
	at = first_behind(conflict->address);
	/* A label may begin in the middle of the granule. */
	if (at < labels_n && labels[at].start < conflict->address + STM_GRANULE) {
		conflict->label = labels[at].name;
		if (labels[at].start < conflict->address)
			conflict->label_offset = (uint32_t)(conflict->address - labels[at].start);
	}
	pthread_mutex_unlock(&lock);
}

void stm_labels_open(void)
{
	words = mmap(NULL, WORDS_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (words == MAP_FAILED) {
		words = NULL;
		return;
	}
	/* Used here and there; and where fork(2) has to copy it, for nothing. */
	madvise(words, WORDS_BYTES, MADV_NOHUGEPAGE);
	madvise(words, WORDS_BYTES, MADV_DONTFORK);
	madvise(words, WORDS_BYTES, MADV_DONTDUMP);
}

void stm_labels_close(void)
{
	if (words)
		munmap(words, WORDS_BYTES);
	words = NULL;
	free(labels);
	labels = NULL;
	labels_n = labels_cap = 0;
}
