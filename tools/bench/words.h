/* SPDX-License-Identifier: MIT */
/*
 * words.h - the words in which workloads and applications are written, for each implementation
 *
 * The includer defines IMPL, a name, and one of IMPL_SEQ, IMPL_MUTEX, IMPL_RWLOCK, IMPL_FINE, IMPL_OMP, IMPL_LIBITM and
 * IMPL_STM. The same text then compiles to plain code, to plain code under locks, or to transactions: same
 * types, sizes, alignment; same operations.
 *
 *     SHARED            qualifies what a pointer into shared memory points to
 *     READ, WRITE       before using a whole object; READ_RANGE, WRITE_RANGE: so many bytes
 *     GET, SET          one field
 *     ALLOC, FREE       a node, in ATOMIC; ALLOC_ZERO, ALLOC_BYTES: so many bytes
 *     LOCAL(p)          an ordinary pointer to it: for this thread, in ATOMIC
 *     ATOMIC { }        what must happen at once
 *     ATOMIC_READ { }   the same, where nothing shared is written
 *     ATOMIC_ADD(old, x, n)     old = x, x += n, at once; nothing else touches x meanwhile
 *     PURE              qualifies a function that touches nothing that is shared and may change
 *
 * Where an application has locks of its own for IMPL_FINE, it says what it needs; for the others these are ATOMIC:
 *
 *     ATOMIC_OF(p) { }                what touches only what belongs to *p. A mutex for each of 1,024 groups of objects
 *     ATOMIC_ALL { ATOMIC_EACH(p) { } .. }   such pieces that need not happen at once; one ATOMIC for the others
 *     ATOMIC_PARTS(read, write) { }   what touches only these of 8 parts of all that is shared, two sets of bits. A
 *                                     rwlock for each part, taken in order. ATOMIC_ALSO(write) { } inside adds parts
 *                                     behind these, ATOMIC_EACH(p) { } inside a mutex
 *
 * ATOMIC itself is one more mutex there, which excludes none of those.
 *
 * The braces belong to it. A return inside ends it, except for IMPL_OMP: applications may not jump out. A local
 * variable that it changes must get its value inside, since it may run several times.
 */
#ifndef BENCH_WORDS_H
#define BENCH_WORDS_H

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"

#define NAME__(impl, name) impl##_##name
#define NAME_(impl, name) NAME__(impl, name)
#define NAME(name) NAME_(name, IMPL)
#define STRING_(x) #x
#define STRING(x) STRING_(x)

/* An operation is a call, in every implementation. */
#define OPERATION static __attribute__((__noinline__))

#ifdef IMPL_STM

#include <uffdstm.h>

#define SHARED STM
#define READ(p) stm_read(p)
#define READ_RANGE(p, len) stm_read_range(p, len)
#define WRITE(p) stm_write(p)
#define WRITE_RANGE(p, len) stm_write_range(p, len)
#define GET(x) STM_GET(x)
#define SET(x, v) STM_SET(x, v)
#define ALLOC(type) ((type SHARED *)stm_alloc(sizeof(type)))
#define ALLOC_ZERO(len) stm_zalloc(len)
#define ALLOC_BYTES(len) stm_alloc(len)
#define FREE(p) stm_free(p)
#define LOCAL(p) stm_local(p)
#define ATOMIC STM_ATOMIC

#else

#define SHARED
#define READ(p) ((void)0)
#define READ_RANGE(p, len) ((void)0)
#define WRITE(p) ((void)0)
#define WRITE_RANGE(p, len) ((void)0)
#define GET(x) (x)
#define SET(x, v) ((void)((x) = (v)))
#define LOCAL(p) ((void *)(p))

#ifdef IMPL_POOL
#include "pool.h"
static struct pool pool;
#define ALLOC(type) ((type *)pool_alloc(&pool, sizeof(type)))
#define ALLOC_ZERO(len) memset(pool_alloc(&pool, len), 0, len)
#define FREE(p) pool_free(&pool, p, sizeof(*(p)))
#else
/* What anybody would take, and all threads may use at once. */
#define ALLOC(type) ((type *)malloc(sizeof(type)))
#define ALLOC_ZERO(len) calloc(1, len)
#define ALLOC_BYTES(len) malloc(len)
#define FREE(p) free(p)
#endif

#include "locks.h"
#endif

#ifndef ATOMIC_READ
#define ATOMIC_READ ATOMIC
#endif
#ifndef ATOMIC_OF
#define ATOMIC_OF(p) ATOMIC
#endif
#ifndef ATOMIC_ALL
#define ATOMIC_ALL ATOMIC
#define ATOMIC_EACH(p)
#endif
#ifndef ATOMIC_PARTS
#define ATOMIC_PARTS(read, write) ATOMIC
#define ATOMIC_ALSO(write)
#endif
#ifndef ATOMIC_ADD
#define ATOMIC_ADD(old, x, n)                   \
	do {                                    \
		ATOMIC {                        \
			(old) = GET(x);         \
			SET(x, (old) + (n));    \
		}                               \
	} while (0)
#endif
#endif
