/* SPDX-License-Identifier: MIT */
/*
 * impl.h - the words of words.h for the workloads of the micro benchmark, and how an implementation is started
 *
 * The includer defines IMPL as seq, mutex or stm, and IMPL_SEQ, IMPL_MUTEX or IMPL_STM.
 */
#ifndef BENCH_IMPL_H
#define BENCH_IMPL_H

#define IMPL_POOL               /* an allocator without locks, as cheap as one can be */
#include "bench.h"
#include "words.h"

#ifdef IMPL_SEQ
#define MAX_THREADS 1
#else
#define MAX_THREADS 64
#endif

#ifdef IMPL_STM

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

#endif
#endif
