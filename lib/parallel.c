// SPDX-License-Identifier: MIT
/*
 * parallel.c - loops in pieces, each a transaction, run by the workers of a queue that has nothing else.
 *
 * Piece i begins at @begin + i * @grain. No piece is listed anywhere: a worker takes the next number. Pieces do not
 * depend on the number of threads, so neither does the order in which their values are combined.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "queue.h"
#include "task_site.h"

#define PIECES 256u                     /* where the library chooses: some for each of 64 threads */

struct parallel {
	struct stm_loop loop;           /* first: a worker knows its queue's loop */
	size_t begin, end, grain;
	void *arg;
	stm_range_fn *fn;
	/* of a reduction */
	int (*piece)(size_t begin, size_t end, void *value, void *arg);
	const void *identity;
	size_t bytes, stride;
	unsigned char *values;
};

/* The piece that the worker has taken. */
static struct parallel *range_of(const struct stm_worker *w, size_t *begin, size_t *end)
{
	struct parallel *parallel = (struct parallel *)w->queue->loop;

	*begin = parallel->begin + (size_t)w->piece.sequence * parallel->grain;
	*end = parallel->end - *begin > parallel->grain ? *begin + parallel->grain : parallel->end;
	return parallel;
}

/* A piece has no steps. */
static int one_step(int code)
{
	return code == STM_QUEUE_AGAIN ? -EINVAL : code;
}

static int run_piece(void *arg)
{
	size_t begin, end;
	struct parallel *parallel = range_of(arg, &begin, &end);

	return one_step(parallel->fn(begin, end, parallel->arg));
}

/* An attempt that was undone may have left anything in the value. */
static int reduce_piece(void *arg)
{
	const struct stm_worker *w = arg;
	size_t begin, end;
	struct parallel *parallel = range_of(w, &begin, &end);
	void *value = parallel->values + (size_t)w->piece.sequence * parallel->stride;

	memcpy(value, parallel->identity, parallel->bytes);
	return one_step(parallel->piece(begin, end, value, parallel->arg));
}

static int set_range(struct parallel *parallel, size_t begin, size_t end, size_t grain)
{
	size_t n = end - begin;

	if (end < begin)
		return -EINVAL;
	if (!grain)
		grain = n / PIECES + (n % PIECES > 0);
	parallel->begin = begin;
	parallel->end = end;
	parallel->grain = grain;
	parallel->loop.pieces = n ? (n - 1) / grain + 1 : 0;
	return 0;
}

static int run_loop(struct parallel *parallel, const struct stm_loop_options *options)
{
	struct stm_run_options run = { .threads = 0 };
	struct stm_queue q;
	int error = stm_copy_run_options(&run, options->run);

	if (error)
		return error;
	if (options->name) {
		parallel->loop.kind = stm_task_kind((stm_fn *)parallel->loop.shown, options->name);
		if (!parallel->loop.kind)
			return -ENOMEM;
	}
	stm_queue_open(&q, &(struct stm_queue_options){ .pin = options->pin, .ordered = options->ordered });
	q.loop = &parallel->loop;
	atomic_store(&q.special, true);
	atomic_store(&q.left, parallel->loop.pieces);
	error = stm_queue_work(&q, &run);
	stm_queue_close(&q);
	return error;
}

static int parallel_for(const char *call, size_t begin, size_t end, stm_range_fn *fn, void *arg,
			const struct stm_loop_options *options)
{
	struct stm_loop_options o = { .grain = 0 };
	struct parallel parallel = { .loop = { .fn = run_piece, .shown = (uintptr_t)fn }, .fn = fn, .arg = arg };

	stm_stop_if_forked(call);
	if (!fn || stm_copy_options(&o, sizeof(o), options) || set_range(&parallel, begin, end, o.grain))
		return -EINVAL;
	return run_loop(&parallel, &o);
}

int stm_parallel_for(size_t begin, size_t end, size_t grain, stm_range_fn *fn, void *arg)
{
	const struct stm_loop_options options = { .size = sizeof(options), .grain = grain };

	return parallel_for("stm_parallel_for", begin, end, fn, arg, &options);
}

int stm_parallel_for_ordered(size_t begin, size_t end, size_t grain, stm_range_fn *fn, void *arg)
{
	const struct stm_loop_options options = { .size = sizeof(options), .grain = grain, .ordered = true };

	return parallel_for("stm_parallel_for_ordered", begin, end, fn, arg, &options);
}

int stm_parallel_for_with(size_t begin, size_t end, stm_range_fn *fn, void *arg, const struct stm_loop_options *options)
{
	return parallel_for("stm_parallel_for_with", begin, end, fn, arg, options);
}

/* ---- reductions ---- */

#define LINE 64u                        /* threads write neighbouring values at the same time */

static void combine(const struct parallel *parallel, const struct stm_reduction *reduction, void *result)
{
	memmove(result, parallel->identity, parallel->bytes); /* they may be the same */
	for (size_t i = 0; i < parallel->loop.pieces; i++)
		reduction->combine(result, parallel->values + i * parallel->stride, parallel->arg);
}

int stm_parallel_reduce(size_t begin, size_t end, const struct stm_reduction *reduction, void *result, void *arg,
			const struct stm_loop_options *options)
{
	struct stm_loop_options o = { .grain = 0 };
	struct stm_reduction r = { .bytes = 0 };
	struct parallel parallel = { .loop = { .fn = reduce_piece }, .arg = arg };
	size_t total;
	int error;

	stm_stop_if_forked("stm_parallel_reduce");
	if (!reduction || !result || stm_copy_options(&r, sizeof(r), reduction) || !r.bytes || !r.identity || !r.piece ||
	    !r.combine || stm_copy_options(&o, sizeof(o), options) || set_range(&parallel, begin, end, o.grain))
		return -EINVAL;
	parallel.loop.shown = (uintptr_t)r.piece;
	parallel.piece = r.piece;
	parallel.identity = r.identity;
	parallel.bytes = r.bytes;
	if (__builtin_add_overflow(r.bytes, LINE - 1, &parallel.stride))
		return -ENOMEM;
	parallel.stride -= parallel.stride % LINE;
	if (__builtin_mul_overflow(parallel.stride, parallel.loop.pieces + 1, &total))
		return -ENOMEM;
	parallel.values = aligned_alloc(LINE, total);
	if (!parallel.values)
		return -ENOMEM;
	error = run_loop(&parallel, &o);
	if (!error)
		combine(&parallel, &r, result);
	free(parallel.values);
	return error;
}
