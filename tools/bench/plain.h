/* SPDX-License-Identifier: MIT */
/*
 * plain.h - the library's collections as plain code
 *
 * Their own sources, with barriers that are nothing and a heap that is ordinary memory, from the pool: what they cost
 * in transactions is compared with exactly the same structure. Included after impl.h, without the library's headers.
 */
#ifndef BENCH_PLAIN_H
#define BENCH_PLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Nothing of these is to be seen. */
#define UFFDSTM_H
#define STM_INTERNAL_H

#define STM
#define STM_GRANULE ((size_t)16)
#define STM_GET(x) (x)
#define STM_SET(x, v) ((void)((x) = (v)))
#define stm_read(p) ((void)(p))
#define stm_write(p) ((void)(p))
#define stm_read_range(p, len) ((void)(p), (void)(len))
#define stm_write_range(p, len) ((void)(p), (void)(len))
#define stm__read(a, len, align) ((void)(a), (void)(len))
#define stm__write(a, len, align) ((void)(a), (void)(len))
#define stm_local(p) ((void *)(p))
#define stm_tx_self(call) ((void)(call))
#define stm_die(...) die(__VA_ARGS__)
#define STM_MUTATED(name) 0
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* A block knows its size. The line before it is its own, so that it begins with a cache line. */
#define PLAIN_FRONT 64

static inline void *stm_alloc(size_t size)
{
	char *p = pool_alloc(&pool, (size + PLAIN_FRONT + 63) & ~(size_t)63);

	*(size_t *)p = (size + PLAIN_FRONT + 63) & ~(size_t)63;
	return p + PLAIN_FRONT;
}

static inline void stm_free(void *p)
{
	if (p)
		pool_free(&pool, (char *)p - PLAIN_FRONT, *(size_t *)((char *)p - PLAIN_FRONT));
}

#endif
