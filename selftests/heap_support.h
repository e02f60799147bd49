/* SPDX-License-Identifier: MIT */
/*
 * heap_support.h - what tests of heap memory share: a heap of a size, blocks with known contents,
 * many blocks, and whether any memory is missing.
 */
#ifndef STM_SELFTESTS_HEAP_SUPPORT_H
#define STM_SELFTESTS_HEAP_SUPPORT_H

#include <errno.h>

#include <uffdstm.h>

#include "support.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define ROOTS_CHUNK (64 * KIB)

UNUSED static int open_heap(size_t heap_size)
{
	struct stm_options options = STM_OPTIONS_INIT;
	int error;

	options.heap_size = heap_size;
	error = stm_init(&options);
	return error ? error : stm_thread_attach();
}

UNUSED static uint8_t pattern(uint64_t key, size_t i)
{
	return (uint8_t)(key * 0x9e37 + i * 31 + 7);
}

/* Fill, and later check, a block: with the barriers that memcpy needs. */
UNUSED static void fill(void STM *p, size_t size, uint64_t key)
{
	uint8_t *bytes = stm_local(p);

	stm_write_range(p, size);
	for (size_t i = 0; i < size; i++)
		bytes[i] = pattern(key, i);
}

UNUSED static bool is_filled(const void STM *p, size_t size, uint64_t key)
{
	const uint8_t *bytes = stm_local(p);

	stm_read_range(p, size);
	for (size_t i = 0; i < size; i++)
		if (bytes[i] != pattern(key, i))
			return false;
	return true;
}

/* ---- the whole heap in one block, and back ---- */

UNUSED static int take_whole(void *arg)
{
	size_t size = *(size_t *)arg;
	void STM *p = stm_alloc(size);

	if (!p)
		return errno;
	stm_free(p);
	return 0;
}

/*
 * 0 if no block at all is missing in a heap of @heap_size bytes. Whether memory was lost is asked
 * of the heap itself: when all blocks are free, one block as large as the whole heap without its
 * first 64 KiB (root slots) can be had, and not if one is missing.
 */
UNUSED static int missing(size_t heap_size)
{
	size_t size = heap_size - ROOTS_CHUNK;

	return stm_atomic(take_whole, &size);
}

/* ---- many blocks of a size ---- */

struct many {
	size_t n, size, got;
	void STM *p[70000];
};

UNUSED static struct many many;

/* Blocks of @size, at most @n, until there are no more. */
UNUSED static int alloc_many(void *arg)
{
	struct many *m = arg;

	for (m->got = 0; m->got < m->n; m->got++) {
		m->p[m->got] = stm_alloc(m->size);
		if (!m->p[m->got])
			return errno == ENOMEM ? 0 : -1;
	}
	return 0;
}

UNUSED static int free_many(void *arg)
{
	struct many *m = arg;

	for (size_t i = 0; i < m->got; i++)
		stm_free(m->p[i]);
	return 0;
}

/* Each block has contents of its own. */
UNUSED static int alloc_and_fill_many(void *arg)
{
	struct many *m = arg;

	alloc_many(m);
	for (size_t i = 0; i < m->got; i++)
		fill(m->p[i], m->size, i);
	return 0;
}

UNUSED static int check_many(void *arg)
{
	struct many *m = arg;
	int bad = 0;

	for (size_t i = 0; i < m->got; i++)
		bad += !is_filled(m->p[i], m->size, i);
	return bad;
}

#endif
