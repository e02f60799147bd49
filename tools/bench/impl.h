/* SPDX-License-Identifier: MIT */
/*
 * impl.h - the words in which the workloads are written, for each implementation
 *
 * The includer defines IMPL as seq, mutex or stm, and IMPL_SEQ, IMPL_MUTEX or
 * IMPL_STM. The workloads then compile to plain code, to plain code under one
 * mutex, or to transactions: same types, sizes, alignment; same operations.
 *
 *     SHARED            qualifies what a pointer into shared memory points to
 *     READ, WRITE       before using a whole object
 *     GET, SET          one field
 *     ALLOC, FREE       a node, in ATOMIC
 *     ATOMIC { }        what must happen at once; a return inside ends it
 */
#ifndef BENCH_IMPL_H
#define BENCH_IMPL_H

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

#define NAME__(impl, name) impl##_##name
#define NAME_(impl, name) NAME__(impl, name)
#define NAME(name) NAME_(name, IMPL)

/* An operation is a call, in every implementation. */
#define OPERATION static __attribute__((__noinline__))

#ifdef IMPL_STM

#include <uffdstm.h>

#define SHARED STM
#define MAX_THREADS 64
#define READ(p) stm_read(p)
#define READ_RANGE(p, len) stm_read_range(p, len)
#define WRITE(p) stm_write(p)
#define GET(x) STM_GET(x)
#define SET(x, v) STM_SET(x, v)
#define ALLOC(type) ((type SHARED *)stm_alloc(sizeof(type)))
#define ALLOC_ZERO(len) stm_zalloc(len)
#define FREE(p) stm_free(p)
#define ATOMIC STM_ATOMIC

static void impl_reset(void)
{
	stm_fini();
	library_start(WORKLOAD_HEAP);
}

static int impl_attach(void)
{
	return stm_thread_attach();
}

static void impl_detach(void)
{
	stm_thread_detach();
}

#else

#include "pool.h"

#define SHARED
#define READ(p) ((void)0)
#define READ_RANGE(p, len) ((void)0)
#define WRITE(p) ((void)0)
#define GET(x) (x)
#define SET(x, v) ((void)((x) = (v)))
#define ALLOC(type) ((type *)pool_alloc(&pool, sizeof(type)))
#define ALLOC_ZERO(len) memset(pool_alloc(&pool, len), 0, len)
#define FREE(p) pool_free(&pool, p, sizeof(*(p)))

static struct pool pool;

static void impl_reset(void)
{
	pool_reset(&pool);
}

static int impl_attach(void)
{
	return 0;
}

static void impl_detach(void)
{
}

#ifdef IMPL_MUTEX

#define MAX_THREADS 64

static _Alignas(64) pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static inline void impl_unlock(int *run)
{
	(void)run;
	pthread_mutex_unlock(&mutex);
}

static inline int impl_lock(void)
{
	pthread_mutex_lock(&mutex);
	return 1;
}

#define ATOMIC                                                                             \
	for (int run__ __attribute__((__cleanup__(impl_unlock))) = impl_lock(); run__; run__ = 0)

#else

#define MAX_THREADS 1
#define ATOMIC

#endif
#endif
#endif
