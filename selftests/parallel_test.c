// SPDX-License-Identifier: MIT
/*
 * parallel_test.c - loops: each index once, in pieces; the order; reductions that are the same whatever runs when.
 */
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <time.h>

#include <uffdstm.h>

#include "support.h"

#include "kselftest_harness.h"

#define WORDS 64u

struct word {
	uint64_t value, pad;            /* a granule each */
};

static struct word STM *words;

static int open_heap(unsigned int segments)
{
	struct stm_options options = STM_OPTIONS_INIT;
	int error;

	options.heap_size = (size_t)16 << 20;
	options.segments = segments;
	error = stm_init(&options);
	if (!error)
		error = stm_thread_attach();
	if (error)
		return error;
	STM_ATOMIC {
		words = stm_zalloc(WORDS * sizeof(*words));
		STM_SET(*(struct word STM *STM *)stm_root(0), words);
	}
	return 0;
}

static uint64_t word(unsigned int i)
{
	volatile uint64_t value = 0;

	STM_ATOMIC {
		value = STM_GET(words[i].value);
	}
	return value;
}

/* ---- each index once ---- */

struct range {
	size_t begin, end, grain;       /* grain 0: any */
	_Atomic unsigned int wrong;
};

/* All of @arg's pieces are of @grain, but the last. */
static int add_up(size_t begin, size_t end, void *arg)
{
	struct range *range = arg;
	unsigned int at = (unsigned int)(begin % WORDS);
	uint64_t sum = 0;

	if (begin < range->begin || end > range->end || begin >= end ||
	    (range->grain && ((begin - range->begin) % range->grain ||
			      (end - begin != range->grain && end != range->end))))
		range->wrong++;
	for (size_t i = begin; i < end; i++)
		sum += i;
	STM_SET(words[at].value, STM_GET(words[at].value) + sum);
	STM_SET(words[at].pad, STM_GET(words[at].pad) + (end - begin));
	return 0;
}

/* Of what add_up() has left, which is taken away. */
static void totals(uint64_t *sum, uint64_t *n)
{
	*sum = *n = 0;
	for (unsigned int i = 0; i < WORDS; i++) {
		uint64_t value, count;

		STM_ATOMIC {
			*(volatile uint64_t *)&value = STM_GET(words[i].value);
			*(volatile uint64_t *)&count = STM_GET(words[i].pad);
			STM_SET(words[i].value, 0);
			STM_SET(words[i].pad, 0);
		}
		*sum += *(volatile uint64_t *)&value;
		*n += *(volatile uint64_t *)&count;
	}
}

TEST(each_index_once)
{
	static const struct { size_t begin, end, grain; } ranges[] = {
		{ 0, 0, 0 }, { 5, 5, 3 }, { 0, 1, 0 }, { 7, 8, 100 }, { 0, 1000, 1 }, { 3, 1000, 10 }, { 0, 1000, 7 },
		{ 0, 100000, 0 }, { 17, 255, 0 }, { 17, 17 + 256, 0 }, { 17, 17 + 257, 0 }, { 0, 1000, SIZE_MAX },
		{ SIZE_MAX - 100, SIZE_MAX, 7 }, { SIZE_MAX - 1000, SIZE_MAX, 0 },
	};

	ASSERT_EQ(0, open_heap(8));
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		for (int ordered = 0; ordered < 2; ordered++) {
			struct range range = { ranges[i].begin, ranges[i].end, ranges[i].grain, 0 };
			int (*run)(size_t, size_t, size_t, stm_range_fn *, void *) =
				ordered ? stm_parallel_for_ordered : stm_parallel_for;
			size_t n = range.end - range.begin;
			uint64_t sum, count, expected = 0;

			for (size_t k = range.begin; k < range.end; k++)
				expected += k;
			EXPECT_EQ(0, run(range.begin, range.end, range.grain, add_up, &range));
			totals(&sum, &count);
			EXPECT_EQ(0, atomic_load(&range.wrong));
			EXPECT_EQ(n, count);
			EXPECT_EQ(expected, sum);
		}
}

/* ---- in order ---- */

/* Piece by piece: whether it has run ahead of the one before it. */
struct meeting {
	size_t grain, pieces;
	_Atomic int *has_met;
};

/* At the first time it waits, for a while, until the next one has come so far. */
static void meet_next(struct meeting *meeting, size_t piece)
{
	if (atomic_exchange(&meeting->has_met[piece], 1) || piece + 1 == meeting->pieces)
		return;
	for (int n = 0; n < 1000 && !atomic_load(&meeting->has_met[piece + 1]); n++)
		usleep(20);
}

static int mix_in(size_t begin, size_t end, void *arg)
{
	struct meeting *meeting = arg;

	for (size_t i = begin; i < end; i++) {
		uint64_t random = i, a = random_below(&random, 16), b = random_below(&random, 16);

		STM_SET(words[a].value, STM_GET(words[a].value) * 31 + STM_GET(words[b].value) + i);
	}
	if (meeting)
		meet_next(meeting, begin / meeting->grain);
	return 0;
}

static void mix_model(uint64_t *model, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t random = i, a = random_below(&random, 16), b = random_below(&random, 16);

		model[a] = model[a] * 31 + model[b] + i;
	}
}

TEST(the_outcome_of_the_sequential_loop)
{
	uint64_t model[WORDS] = { 0 };
	struct stm_run_options run = { .size = sizeof(run) };
	struct stm_loop_options options = { .size = sizeof(options), .ordered = true, .run = &run };
	const size_t n = 3000 / strict_divisor();
	struct meeting meeting;

	ASSERT_EQ(0, open_heap(16));
	for (unsigned int threads = 1; threads <= 4; threads++) {
		run.threads = threads;
		options.grain = threads * 2;
		mix_model(model, n);
		meeting = (struct meeting){ .grain = options.grain, .pieces = (n - 1) / options.grain + 1 };
		meeting.has_met = calloc(meeting.pieces, sizeof(*meeting.has_met));
		ASSERT_EQ(0, stm_parallel_for_with(0, n, mix_in, threads > 1 ? &meeting : NULL, &options));
		free(meeting.has_met);
		for (unsigned int i = 0; i < 16; i++)
			EXPECT_EQ(model[i], word(i));
	}
}

static int fail_at(size_t begin, size_t end, void *arg)
{
	size_t at = *(size_t *)arg;

	mix_in(begin, end, NULL);
	return at >= begin && at < end ? 5 : 0;
}

TEST(a_failure_in_order)
{
	uint64_t model[WORDS] = { 0 };
	size_t at = 123;

	ASSERT_EQ(0, open_heap(16));
	EXPECT_EQ(5, stm_parallel_for_ordered(0, 1000, 10, fail_at, &at));
	mix_model(model, 120);
	for (unsigned int i = 0; i < 16; i++)
		EXPECT_EQ(model[i], word(i));
	EXPECT_EQ(5, stm_parallel_for(0, 1000, 10, fail_at, &at));
	EXPECT_EQ(0, stm_parallel_for(0, 120, 10, fail_at, &at));
}

/* STM_QUEUE_AGAIN: the piece has steps. */
static int count_to_three(size_t begin, size_t end, void *arg)
{
	(void)end;
	(void)arg;
	STM_SET(words[begin].value, STM_GET(words[begin].value) + 1);
	return STM_GET(words[begin].value) < 3 ? STM_QUEUE_AGAIN : 0;
}

TEST(pieces_have_one_step)
{
	ASSERT_EQ(0, open_heap(16));
	EXPECT_EQ(-EINVAL, stm_parallel_for(0, WORDS, 1, count_to_three, NULL));
	EXPECT_EQ(0, word(0));
}

/* ---- reductions ---- */

/* Neither commutative nor associative: doubles that lose digits. */
struct value {
	double sum;
	uint64_t mixed;
	size_t n;
	char more[100];
};

static const struct value nothing = { .sum = 1e-3, .more = "identity" };
static _Atomic unsigned int restarted;

static int reduce(size_t begin, size_t end, void *value, void *arg)
{
	struct value *v = value;

	/* It begins with the identity, however often it was undone. */
	if (v->sum != nothing.sum || v->n || v->mixed || strcmp(v->more, nothing.more))
		return 3;
	for (size_t i = begin; i < end; i++) {
		v->sum += 1.0 / (double)(i + 1);
		v->mixed = v->mixed * 31 + i;
		v->n++;
	}
	STM_SET(words[0].value, STM_GET(words[0].value) + 1); /* conflicts */
	if (arg && begin % 5 == 0 && restarted++ % 3 == 0)
		stm_restart();
	return 0;
}

static void combine(void *value, const void *next, void *arg)
{
	struct value *v = value;
	const struct value *w = next;

	(void)arg;
	v->sum += w->sum;
	v->mixed = v->mixed * 17 + w->mixed;
	v->n += w->n;
}

static const struct stm_reduction reduction = {
	.size = sizeof(reduction), .bytes = sizeof(struct value), .identity = &nothing, .piece = reduce, .combine = combine
};

TEST(a_reduction_is_the_same_with_any_number_of_threads)
{
	struct stm_run_options run = { .size = sizeof(run) };
	struct stm_loop_options options = { .size = sizeof(options), .run = &run };
	static const size_t grains[] = { 0, 1, 7, 1000 };
	const size_t n = 2000 / (strict_divisor() > 1 ? 5 : 1);
	int restarts = 1;

	ASSERT_EQ(0, open_heap(16));
	for (size_t g = 0; g < sizeof(grains) / sizeof(grains[0]); g++) {
		struct value one = { .n = 0 };

		options.grain = grains[g];
		options.ordered = g == 2;
		for (run.threads = 1; run.threads <= 4; run.threads++) {
			struct value result;

			EXPECT_EQ(0, stm_parallel_reduce(0, n, &reduction, &result, &restarts, &options));
			EXPECT_EQ(n, result.n);
			if (run.threads == 1)
				one = result;
			EXPECT_EQ(0, memcmp(&one, &result, sizeof(one)));
		}
	}
	EXPECT_LT(0, atomic_load(&restarted));
}

static int fail_to_reduce(size_t begin, size_t end, void *value, void *arg)
{
	(void)end;
	(void)value;
	(void)arg;
	return begin == 500 ? 8 : 0;
}

TEST(reductions_that_come_to_nothing)
{
	struct stm_reduction bad = reduction;
	struct value result = { .n = 1234 };

	ASSERT_EQ(0, open_heap(16));
	bad.piece = fail_to_reduce;
	EXPECT_EQ(8, stm_parallel_reduce(0, 1000, &bad, &result, NULL, NULL));
	EXPECT_EQ(1234, result.n);
	bad.bytes = SIZE_MAX;
	EXPECT_EQ(-ENOMEM, stm_parallel_reduce(0, 1000, &bad, &result, NULL, NULL));
	bad.bytes = SIZE_MAX / 100;
	EXPECT_EQ(-ENOMEM, stm_parallel_reduce(0, 1000, &bad, &result, NULL, NULL));
	bad.bytes = 0;
	EXPECT_EQ(-EINVAL, stm_parallel_reduce(0, 1000, &bad, &result, NULL, NULL));
	bad = reduction;
	bad.combine = NULL;
	EXPECT_EQ(-EINVAL, stm_parallel_reduce(0, 1000, &bad, &result, NULL, NULL));
	bad = reduction;
	bad.identity = NULL;
	EXPECT_EQ(-EINVAL, stm_parallel_reduce(0, 1000, &bad, &result, NULL, NULL));
	bad = reduction;
	bad.size = 0;
	EXPECT_EQ(-EINVAL, stm_parallel_reduce(0, 1000, &bad, &result, NULL, NULL));
	EXPECT_EQ(-EINVAL, stm_parallel_reduce(0, 1000, NULL, &result, NULL, NULL));
	EXPECT_EQ(-EINVAL, stm_parallel_reduce(0, 1000, &reduction, NULL, NULL, NULL));
	EXPECT_EQ(1234, result.n);
	/* of nothing: the identity */
	EXPECT_EQ(0, stm_parallel_reduce(7, 7, &reduction, &result, NULL, NULL));
	EXPECT_EQ(0, memcmp(&nothing, &result, sizeof(result)));
}

/* ---- options, errors ---- */

static int wait_a_little(size_t begin, size_t end, void *arg)
{
	(void)begin;
	(void)end;
	(void)arg;
	usleep(2000);
	return 0;
}

static int note_progress(const struct stm_progress *progress, void *arg)
{
	*(struct stm_progress *)arg = *progress;
	return 0;
}

TEST(deadline_and_progress)
{
	struct stm_progress last = { 0 };
	struct timespec deadline;
	struct stm_run_options run = {
		.size = sizeof(run), .threads = 2, .progress = note_progress, .progress_arg = &last, .progress_ms = 1
	};
	struct stm_loop_options options = { .size = sizeof(options), .grain = 1, .pin = true, .run = &run };

	ASSERT_EQ(0, open_heap(4));
	ASSERT_EQ(0, stm_parallel_for_with(0, 20, wait_a_little, NULL, &options));
	EXPECT_EQ(20, last.executed);
	EXPECT_EQ(0, last.left);
	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec++;
	run.deadline = &deadline;
	for (int ordered = 0; ordered < 2; ordered++) {
		clock_gettime(CLOCK_MONOTONIC, &deadline);
		deadline.tv_nsec += 20000000;
		deadline.tv_sec += deadline.tv_nsec / 1000000000;
		deadline.tv_nsec %= 1000000000;
		options.ordered = ordered;
		EXPECT_EQ(-ETIMEDOUT, stm_parallel_for_with(0, 1000000, wait_a_little, NULL, &options));
		EXPECT_LT(0, last.left);
		EXPECT_EQ(1000000, last.left + last.executed);
	}
}

static int nest(size_t begin, size_t end, void *arg)
{
	struct range range = { 0, 10, 1, 0 };

	(void)begin;
	(void)end;
	(void)arg;
	return stm_parallel_for(0, 10, 1, add_up, &range) == -EBUSY ? 0 : 1;
}

TEST(errors)
{
	struct stm_run_options run = { .size = 3 };
	struct stm_loop_options options = { .size = sizeof(options), .run = &run };
	struct range range = { 0, 10, 1, 0 };

	EXPECT_EQ(-ENXIO, stm_parallel_for(0, 10, 1, add_up, &range));
	ASSERT_EQ(0, open_heap(4));
	EXPECT_EQ(-EINVAL, stm_parallel_for(0, 10, 1, NULL, NULL));
	EXPECT_EQ(-EINVAL, stm_parallel_for(10, 0, 1, add_up, &range));
	EXPECT_EQ(-EINVAL, stm_parallel_for_with(0, 10, add_up, &range, &options));
	run.size = sizeof(run);
	run.threads = 4;
	EXPECT_EQ(-EAGAIN, stm_parallel_for_with(0, 10, add_up, &range, &options));
	options.size = 1;
	EXPECT_EQ(-EINVAL, stm_parallel_for_with(0, 10, add_up, &range, &options));
	EXPECT_EQ(0, stm_parallel_for_with(0, 10, add_up, &range, NULL));
	EXPECT_EQ(0, stm_parallel_for(0, 3, 1, nest, NULL)); /* in a transaction */
	STM_ATOMIC {
		EXPECT_EQ(-EBUSY, stm_parallel_for(0, 10, 1, add_up, &range));
	}
	EXPECT_EQ(0, atomic_load(&range.wrong));
}

TEST_HARNESS_MAIN
