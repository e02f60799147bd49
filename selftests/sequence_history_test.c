// SPDX-License-Identifier: MIT
/*
 * sequence_history_test.c - vectors and blobs are serialisable: random transactions of 2 to 8 threads, which a checker
 * executes one by one (collect_history.h).
 *
 * A blob is a sequence of bytes to the checker. One is long, so that it moves as it grows, and shrinks.
 * STM_SEED=n repeats a run's choices, though not its timing. STM_LONG=1 runs many times longer.
 */
#include <uffdstm/blob.h>

#include "collect_record.h"

#define HEAP (16 * MIB)

/* Sequences of the model: a vector of two elements to a granule, one of wide elements, and blobs. */
enum { NUMBERS, RECORDS, SHORT, LONG, SEQUENCES };

#define BYTES_MAX 2000u                         /* of a blob, unless it is longer already */

struct record {
	uint64_t value, i, sum;                 /* sum: of both, else it is torn; all are 0 when new */
};

static struct stm_vector STM *numbers, *records;
static struct stm_blob STM *blobs[2];           /* SHORT and LONG */

/* ---- vectors ---- */

/* One of the elements that there are, or a bit behind the end: nobody asks for the size. */
static uint64_t some_element(struct collect_thread *t)
{
	return collect_below(t, collect_below(t, 4) ? 30 : 200);
}

static uint64_t value_of(const struct record *r, uint64_t i)
{
	const struct record new = { 0 };

	if (memcmp(r, &new, sizeof(new)) && (r->i != i || r->sum != r->value + i))
		schedule_fail("opacity: element %llu is that of %llu, or a torn one", (unsigned long long)i,
			      (unsigned long long)r->i);
	return r->value;
}

static void vector_size(struct collect_thread *t, unsigned int which, struct stm_vector STM *vector)
{
	collect_event(t, HISTORY_SIZE, HISTORY_ELEMENT(which, 0), stm_vector_size(vector));
}

static void vector_resize(struct collect_thread *t, unsigned int which, struct stm_vector STM *vector)
{
	const uint64_t size = collect_below(t, t->shrinks ? 20 : 100);

	if (stm_vector_resize(vector, size))
		schedule_fail("resize: no memory");
	collect_event(t, HISTORY_RESIZE, HISTORY_ELEMENT(which, 0), size);
}

static void number_op(struct collect_thread *t)
{
	const uint64_t r = collect_below(t, 40), i = some_element(t), new = collect_new(t);
	uint64_t value;

	if (r == 0)
		vector_size(t, NUMBERS, numbers);
	else if (r == 1)
		vector_resize(t, NUMBERS, numbers);
	else if (r < (t->shrinks ? 5 : 9))
		record_push(t, numbers, NUMBERS, new);
	else if (r < 12)
		record_pop(t, numbers, NUMBERS);
	else if (r < 30)
		collect_event(t, HISTORY_AT, HISTORY_ELEMENT(NUMBERS, i),
			      stm_vector_get(numbers, i, &value) ? value : HISTORY_NONE);
	else if (stm_vector_set(numbers, i, &new))
		collect_event(t, HISTORY_PLACE, HISTORY_ELEMENT(NUMBERS, i), new);
	else
		collect_event(t, HISTORY_AT, HISTORY_ELEMENT(NUMBERS, i), HISTORY_NONE);
}

/* Of these push and pop use the element's number, so they know the size. */
static void record_op(struct collect_thread *t)
{
	const uint64_t r = collect_below(t, 40), value = collect_new(t);
	uint64_t i = r < 9 ? stm_vector_size(records) : some_element(t);
	const struct record new = { value, i, value + i };
	struct record old;
	struct record STM *p;

	if (r < 9)
		collect_event(t, HISTORY_SIZE, HISTORY_ELEMENT(RECORDS, 0), i);
	if (r == 0) {
		vector_resize(t, RECORDS, records);
	} else if (r < (t->shrinks ? 4 : 7)) {
		if (stm_vector_push(records, &new))
			schedule_fail("push: no memory");
		collect_event(t, HISTORY_PUSH, HISTORY_ELEMENT(RECORDS, 0), value);
	} else if (r < 9) {
		collect_event(t, HISTORY_POP, HISTORY_ELEMENT(RECORDS, 0),
			      stm_vector_pop(records, &old) ? value_of(&old, i - 1) : HISTORY_NONE);
	} else if (r < 25) {
		collect_event(t, HISTORY_AT, HISTORY_ELEMENT(RECORDS, i),
			      stm_vector_get(records, i, &old) ? value_of(&old, i) : HISTORY_NONE);
	} else if (!(p = stm_vector_at(records, i))) {
		collect_event(t, HISTORY_AT, HISTORY_ELEMENT(RECORDS, i), HISTORY_NONE);
	} else {
		stm_memcpy_in(p, &new, sizeof(new));
		collect_event(t, HISTORY_PLACE, HISTORY_ELEMENT(RECORDS, i), value);
	}
}

/* ---- blobs ---- */

static void bytes_are(struct collect_thread *t, unsigned int which, uint64_t from, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		collect_event(t, HISTORY_AT, HISTORY_ELEMENT(which, from + i), bytes[i]);
}

static void bytes_become(struct collect_thread *t, unsigned int which, uint64_t from, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		collect_event(t, HISTORY_PLACE, HISTORY_ELEMENT(which, from + i), bytes[i]);
}

static size_t some_bytes(struct collect_thread *t, uint8_t *bytes, size_t most)
{
	const size_t n = collect_below(t, most);

	for (size_t i = 0; i < n; i++)
		bytes[i] = (uint8_t)collect_below(t, 256);
	return n;
}

static void blob_write(struct collect_thread *t, unsigned int which, struct stm_blob STM *blob, uint64_t most)
{
	uint8_t bytes[40] = { 0 };
	const size_t n = some_bytes(t, bytes, sizeof(bytes)), from = collect_below(t, most);

	if (stm_blob_write(blob, from, bytes, n))
		schedule_fail("write: no memory");
	if (n)
		collect_event(t, HISTORY_EXTEND, HISTORY_ELEMENT(which, 0), from + n);
	bytes_become(t, which, from, bytes, n);
}

static void blob_set(struct collect_thread *t, unsigned int which, struct stm_blob STM *blob, uint64_t most)
{
	uint8_t bytes[BYTES_MAX] = { 0 };
	const size_t n = some_bytes(t, bytes, most);

	if (stm_blob_set(blob, bytes, n))
		schedule_fail("set: no memory");
	collect_event(t, HISTORY_RESIZE, HISTORY_ELEMENT(which, 0), n);
	bytes_become(t, which, 0, bytes, n);
}

static void blob_append(struct collect_thread *t, unsigned int which, struct stm_blob STM *blob)
{
	uint8_t bytes[20] = { 0 };
	const size_t n = some_bytes(t, bytes, sizeof(bytes));

	if (stm_blob_append(blob, bytes, n))
		schedule_fail("append: no memory");
	for (size_t i = 0; i < n; i++)
		collect_event(t, HISTORY_PUSH, HISTORY_ELEMENT(which, 0), bytes[i]);
}

static void blob_resize(struct collect_thread *t, unsigned int which, struct stm_blob STM *blob, uint64_t most)
{
	const size_t n = collect_below(t, t->shrinks ? most / 8 : most);

	if (stm_blob_resize(blob, n))
		schedule_fail("resize: no memory");
	collect_event(t, HISTORY_RESIZE, HISTORY_ELEMENT(which, 0), n);
}

static void blob_get(struct collect_thread *t, unsigned int which, struct stm_blob STM *blob, uint64_t most)
{
	uint8_t bytes[40] = { 0 };
	const uint64_t from = collect_below(t, most), n = 1 + collect_below(t, sizeof(bytes) - 1);
	const size_t have = stm_blob_get(blob, from, bytes, n);

	bytes_are(t, which, from, bytes, have);
	if (have < n) /* it ends there */
		collect_event(t, HISTORY_AT, HISTORY_ELEMENT(which, from + have), HISTORY_NONE);
}

static void blob_string(struct collect_thread *t, unsigned int which, struct stm_blob STM *blob)
{
	const size_t len = stm_blob_length(blob);
	char *string = stm_blob_string(blob);

	collect_event(t, HISTORY_SIZE, HISTORY_ELEMENT(which, 0), len);
	bytes_are(t, which, 0, (uint8_t *)string, len);
	if (string[len])
		schedule_fail("a string without an end");
	stm_mfree(string);
}

/* With what this thread has seen before: only where that is still so, the checker is told. */
static void blob_compare(struct collect_thread *t, unsigned int which, struct stm_blob STM *blob)
{
	static __thread uint8_t seen[2][2 * BYTES_MAX];
	static __thread size_t lens[2];
	uint8_t *bytes = seen[which - SHORT];
	size_t *len = &lens[which - SHORT];

	if (stm_blob_compare(blob, bytes, *len)) {
		*len = stm_blob_get(blob, 0, bytes, sizeof(seen[0]));
		if (stm_blob_compare(blob, bytes, *len))
			schedule_fail("a blob is not what it is");
	}
	collect_event(t, HISTORY_SIZE, HISTORY_ELEMENT(which, 0), *len);
	bytes_are(t, which, 0, bytes, *len);
}

static void blob_op(struct collect_thread *t, unsigned int which)
{
	struct stm_blob STM *blob = blobs[which - SHORT];
	const uint64_t most = which == SHORT ? 60 : BYTES_MAX, r = collect_below(t, 40);

	if (r == 0)
		blob_string(t, which, blob);
	else if (r == 1)
		blob_compare(t, which, blob);
	else if (r == 2)
		blob_set(t, which, blob, most);
	else if (r == 3)
		blob_resize(t, which, blob, most);
	else if (r == 4)
		collect_event(t, HISTORY_SIZE, HISTORY_ELEMENT(which, 0), stm_blob_length(blob));
	else if (r < (t->shrinks ? 6 : 9))
		blob_append(t, which, blob);
	else if (r < 18)
		blob_write(t, which, blob, most);
	else
		blob_get(t, which, blob, most);
}

static void op(struct collect_thread *t)
{
	switch (collect_below(t, 4)) {
	case 0:
		number_op(t);
		break;
	case 1:
		record_op(t);
		break;
	case 2:
		blob_op(t, SHORT);
		break;
	default:
		blob_op(t, LONG);
	}
}

/* ---- one run ---- */

static int make(void *arg)
{
	(void)arg;
	numbers = stm_vector_new(sizeof(uint64_t));
	records = stm_vector_new(sizeof(struct record));
	blobs[0] = stm_blob_new(NULL, 0);
	blobs[1] = stm_blob_new(NULL, 0);
	return numbers && records && blobs[0] && blobs[1] ? 0 : ENOMEM;
}

static int free_all(void *arg)
{
	(void)arg;
	stm_vector_free(numbers);
	stm_vector_free(records);
	stm_blob_free(blobs[0]);
	stm_blob_free(blobs[1]);
	return 0;
}

static void compare(struct checker_model *model)
{
	const struct checker_sequence *of = &model->sequences[RECORDS];
	struct record r;

	compare_vector(numbers, &model->sequences[NUMBERS], "the vector of numbers");
	if (stm_vector_size(records) != of->length)
		schedule_fail("at the end: there are %zu records, not %zu", stm_vector_size(records), of->length);
	for (size_t i = 0; i < of->length; i++)
		if (!stm_vector_get(records, i, &r) || value_of(&r, i) != of->items[i])
			schedule_fail("at the end: record %zu is another", i);
	for (unsigned int which = SHORT; which <= LONG; which++) {
		struct stm_blob STM *blob = blobs[which - SHORT];
		uint8_t byte;

		of = &model->sequences[which];
		if (stm_blob_length(blob) != of->length)
			schedule_fail("at the end: a blob has %zu bytes, not %zu", stm_blob_length(blob), of->length);
		for (size_t i = 0; i < of->length; i++)
			if (stm_blob_get(blob, i, &byte, 1) != 1 || byte != of->items[i])
				schedule_fail("at the end: byte %zu of a blob is another", i);
	}
}

static bool run(unsigned int threads, unsigned int torture)
{
	struct checker_sequence sequences[SEQUENCES] = { { 0 } };
	struct checker_model model = { .sequences = sequences, .sequences_n = SEQUENCES };
	const struct collect_plan plan = {
		.make = make, .free = free_all, .op = op, .compare = compare, .model = &model,
		.seed = random_seed(), .heap = HEAP,
		.threads = threads, .transactions = COLLECT_TRANSACTIONS(12000) / (torture ? 4 : 1), .ops = 6,
		.restart = 60, .cancel = 60, .validate = 200, .yield = 8, .part = 20, .churn = 500,
		.torture = torture,
	};
	const bool ok = collect_history_run(&plan);

	for (unsigned int i = 0; i < SEQUENCES; i++)
		free(sequences[i].items);
	return ok;
}

TEST(two_threads)
{
	EXPECT_TRUE(run(2, 0));
}

TEST(four_threads)
{
	EXPECT_TRUE(run(4, 0));
}

TEST(eight_threads)
{
	EXPECT_TRUE(run(8, 0));
}

TEST(four_threads_under_torture)
{
	EXPECT_TRUE(run(4, 20));
}

TEST_HARNESS_MAIN
