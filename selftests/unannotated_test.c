// SPDX-License-Identifier: MIT
/*
 * unannotated_test.c - code that knows nothing of transactions runs inside them, on tracked memory: libxxhash's streaming
 * state, qsort(3), zlib with all its state. Attempts are undone at random, and threads meet; results are those of the
 * same code without transactions.
 */
#include <zlib.h>
#define XXH_STATIC_LINKING_ONLY         /* the state's size */
#include <xxhash.h>

#include <uffdstm.h>

#include "support.h"

#define THREADS 2

/* Undo this attempt, or the whole transaction, now and then. */
static void undo_at_random(uint64_t *seed)
{
	uint64_t what = random_below(seed, 100);

	if (what < 12)
		stm_restart();
	if (what < 20)
		stm_cancel(1);
}

static uint8_t *input(size_t len)
{
	uint8_t *bytes = malloc(len);
	uint64_t seed = 5;

	/* It compresses, but not too well. */
	for (size_t i = 0; i < len; i++)
		bytes[i] = random_below(&seed, 3) || i < 700 ? (uint8_t)random_below(&seed, 30) : bytes[i - 700];
	return bytes;
}

/* ---- a store that is the last thing in its block ---- */

/* This file is compiled to let a store that depends on a slow instruction wait: not behind the end of its transaction. */
static __attribute__((__noinline__)) void store_quotient(volatile double STM *at, double a, double b)
{
	STM_ATOMIC {
		*(double STM *)at = a / b;
	}
}

static double STM *quotient;

static void *load_quotient(void *arg)
{
	static double value;

	if (stm_thread_attach())
		abort();
	STM_ATOMIC
		value = *(volatile double STM *)quotient;
	stm_thread_detach();
	(void)arg;
	return &value;
}

TEST(a_store_is_before_the_end_of_its_block)
{
	ASSERT_EQ(0, stm_init(NULL));
	ASSERT_EQ(0, stm_thread_attach());
	STM_ATOMIC {
		quotient = stm_alloc_tracked(sizeof(*quotient));
		*(volatile double STM *)quotient = 0;
	}
	/* Nothing is mapped now: the store will fault. */
	ASSERT_EQ(0, stm_thread_detach());
	ASSERT_EQ(0, stm_thread_attach());
	store_quotient(quotient, 6, 2);
	EXPECT_EQ(3, *(double *)in_thread(load_quotient, NULL));
	EXPECT_EQ(0, stm_fini());
}

/* ---- threads that take the pieces of one input, in order ---- */

#define PIECE 3000
#define PIECES 400

static struct {
	uint8_t *bytes;
	void STM *state;                /* tracked */
	long STM *cursor;               /* ordinary memory: the next piece */
} stream;

static int hash_piece(void *arg)
{
	uint64_t *seed = arg;
	long i = STM_GET(*stream.cursor);

	if (i == PIECES)
		return 2;
	undo_at_random(seed);
	XXH64_update(stm_local(stream.state), stream.bytes + i * PIECE, PIECE);
	undo_at_random(seed);
	STM_SET(*stream.cursor, i + 1);
	return 0;
}

static void *hash_pieces(void *arg)
{
	uint64_t seed = random_seed() + (uintptr_t)arg;

	if (stm_thread_attach())
		abort();
	while (stm_atomic(hash_piece, &seed) != 2)
		;
	stm_thread_detach();
	return NULL;
}

static void run_threads(void *(*fn)(void *arg))
{
	pthread_t threads[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, fn, (void *)i))
			abort();
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}

TEST(xxhash_by_several_threads)
{
	uint64_t digest = 0;

	ASSERT_EQ(0, stm_init(NULL));
	ASSERT_EQ(0, stm_thread_attach());
	stream.bytes = input(PIECES * PIECE);
	STM_ATOMIC {
		stream.state = stm_alloc_tracked(sizeof(XXH64_state_t));
		stream.cursor = stm_zalloc(sizeof(long));
		XXH64_reset(stm_local(stream.state), 7);
	}
	run_threads(hash_pieces);
	STM_ATOMIC
		digest = XXH64_digest(stm_local(stream.state));
	EXPECT_EQ(XXH64(stream.bytes, PIECES * PIECE, 7), digest);
	EXPECT_EQ(0, stm_fini());
	free(stream.bytes);
}

/* ---- qsort ---- */

#define NUMBERS 20000
#define PARTS 40                        /* that overlap */

static int STM *numbers;

static int by_value(const void *a, const void *b)
{
	const int *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static int sort_part(void *arg)
{
	uint64_t *seed = arg;
	size_t n = NUMBERS / PARTS * 2, first = random_below(seed, PARTS - 1) * (n / 2);

	qsort(stm_local(numbers + first), n, sizeof(*numbers), by_value);
	undo_at_random(seed);
	return 0;
}

static void *sort_parts(void *arg)
{
	uint64_t seed = random_seed() + (uintptr_t)arg;

	if (stm_thread_attach())
		abort();
	for (int i = 0; i < 60; i++)
		stm_atomic(sort_part, &seed);
	stm_thread_detach();
	return NULL;
}

TEST(qsort_of_overlapping_parts)
{
	int *expected = malloc(NUMBERS * sizeof(*expected)), *now = malloc(NUMBERS * sizeof(*now));
	uint64_t seed = 9;

	ASSERT_EQ(0, stm_init(NULL));
	ASSERT_EQ(0, stm_thread_attach());
	for (int i = 0; i < NUMBERS; i++)
		expected[i] = (int)random_below(&seed, 1000000);
	STM_ATOMIC {
		numbers = stm_alloc_tracked(NUMBERS * sizeof(*numbers));
		memcpy(stm_local(numbers), expected, NUMBERS * sizeof(*expected));
	}
	STM_ATOMIC { /* sorted, and not */
		qsort(stm_local(numbers), NUMBERS, sizeof(*numbers), by_value);
		stm_cancel(1);
	}
	STM_ATOMIC
		memcpy(now, stm_local(numbers), NUMBERS * sizeof(*now));
	EXPECT_EQ(0, memcmp(now, expected, NUMBERS * sizeof(*now)));
	run_threads(sort_parts);
	qsort(expected, NUMBERS, sizeof(*expected), by_value);
	STM_ATOMIC {
		memcpy(now, stm_local(numbers), NUMBERS * sizeof(*now));
		qsort(stm_local(numbers), NUMBERS, sizeof(*numbers), by_value);
	}
	qsort(now, NUMBERS, sizeof(*now), by_value);
	EXPECT_EQ(0, memcmp(now, expected, NUMBERS * sizeof(*now))); /* the same numbers, none twice */
	STM_ATOMIC
		EXPECT_EQ(0, memcmp(stm_local(numbers), expected, NUMBERS * sizeof(*expected)));
	EXPECT_EQ(0, stm_fini());
	free(expected);
	free(now);
}

/* ---- zlib: its state has pointers into itself, so each thread has a stream of its own ---- */

#define TEXT ((size_t)600000)

static void *tracked_alloc(void *opaque, unsigned int items, unsigned int size)
{
	void STM *p = stm_alloc_tracked((size_t)items * size);

	(void)opaque;
	return p ? stm_local(p) : NULL;
}

static void tracked_free(void *opaque, void *p)
{
	(void)opaque;
	stm_free(stm_from_local(p));
}

/* Ordinary memory but for what zlib writes. */
struct job {
	z_stream STM *z;
	uint8_t STM *out;
	uint64_t seed;
	bool inflates;
	size_t done;                    /* bytes of output that were taken */
	uint8_t *bytes;
	size_t len;
	int ret;
};

static long STM *finished;              /* all threads write it */

static int begin_stream(void *arg)
{
	struct job *job = arg;
	z_stream *z;

	job->z = stm_alloc_tracked(sizeof(*job->z));
	job->out = stm_alloc_tracked(PIECE);
	z = stm_local(job->z);
	memset(z, 0, sizeof(*z));
	z->zalloc = tracked_alloc;
	z->zfree = tracked_free;
	job->ret = job->inflates ? inflateInit(z) : deflateInit(z, 6);
	undo_at_random(&job->seed);
	return job->ret;
}

/* A piece of output, from as much input as it takes. */
static int run_stream(void *arg)
{
	struct job *job = arg;
	z_stream *z = stm_local(job->z);

	z->next_in = job->bytes + z->total_in;
	z->avail_in = (unsigned int)(job->len - z->total_in);
	z->next_out = stm_local(job->out);
	z->avail_out = PIECE;
	undo_at_random(&job->seed);
	job->ret = job->inflates ? inflate(z, Z_NO_FLUSH) : deflate(z, Z_FINISH);
	undo_at_random(&job->seed);
	STM_SET(*finished, STM_GET(*finished) + 1);
	return 0;
}

static int end_stream(void *arg)
{
	struct job *job = arg;
	z_stream *z = stm_local(job->z);

	if (job->inflates)
		inflateEnd(z);
	else
		deflateEnd(z);
	stm_free(job->z);
	stm_free(job->out);
	undo_at_random(&job->seed);
	return 0;
}

static void until_committed(stm_fn *fn, struct job *job)
{
	while (stm_atomic(fn, job))
		;
}

static size_t run_job(struct job *job, uint8_t *output)
{
	size_t len = 0;

	until_committed(begin_stream, job);
	do {
		size_t n;

		until_committed(run_stream, job);
		STM_ATOMIC {
			n = PIECE - ((z_stream *)stm_local(job->z))->avail_out;
			memcpy(output + len, stm_local(job->out), n);
		}
		len += n;
	} while (job->ret == Z_OK);
	until_committed(end_stream, job);
	return len;
}

static const char *wrong[THREADS];

static void *deflate_and_inflate(void *arg)
{
	uintptr_t i = (uintptr_t)arg;
	uint8_t *text = input(TEXT), *packed = malloc(2 * TEXT), *expected = malloc(2 * TEXT), *again = malloc(2 * TEXT);
	unsigned long len = 2 * TEXT;
	struct job job = { .seed = random_seed() + i, .bytes = text, .len = TEXT };
	size_t n;

	if (stm_thread_attach() || compress2(expected, &len, text, TEXT, 6) != Z_OK)
		abort();
	n = run_job(&job, packed);
	if (n != len || memcmp(packed, expected, n))
		wrong[i] = "deflate";
	job = (struct job){ .seed = job.seed, .bytes = packed, .len = n, .inflates = true };
	if (run_job(&job, again) != TEXT || memcmp(text, again, TEXT))
		wrong[i] = "inflate";
	stm_thread_detach();
	free(text), free(packed), free(expected), free(again);
	return NULL;
}

TEST(zlib_with_its_state_in_tracked_memory)
{
	ASSERT_EQ(0, stm_init(NULL));
	ASSERT_EQ(0, stm_thread_attach());
	STM_ATOMIC
		finished = stm_zalloc(sizeof(*finished));
	run_threads(deflate_and_inflate);
	for (int i = 0; i < THREADS; i++) {
		EXPECT_EQ(NULL, wrong[i])
			TH_LOG("%s differs", wrong[i]);
	}
	EXPECT_EQ(0, stm_fini());
}

TEST_HARNESS_MAIN
