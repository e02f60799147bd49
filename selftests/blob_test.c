// SPDX-License-Identifier: MIT
/*
 * blob_test.c - blobs: against a plain model, what conflicts, a full heap, wrong use.
 */
#include <uffdstm/blob.h>

#include "collect_support.h"

#define HEAP (16 * MIB)
#define LIMIT 40000                     /* bytes of the model */

static struct stm_blob STM *blob;       /* of the test that runs */

static int make(void *bytes)
{
	blob = stm_blob_new(bytes, bytes ? strlen(bytes) : 0);
	return blob ? 0 : ENOMEM;
}

static int destroy(void *arg)
{
	(void)arg;
	stm_blob_free(blob);
	return 0;
}

/* ---- against a model ---- */

struct model {
	uint64_t random;
	size_t len;
	unsigned int ops, bad;
	bool cancel;
	uint8_t bytes[LIMIT];
};

static int sign(int order)
{
	return (order > 0) - (order < 0);
}

static void look(struct model *m, size_t from, size_t n)
{
	static uint8_t bytes[LIMIT];
	size_t got = stm_blob_get(blob, from, bytes, n), have = from < m->len ? m->len - from : 0;
	char *string;

	m->bad += got != (n < have ? n : have) || memcmp(bytes, m->bytes + from, got);
	string = stm_blob_string(blob);
	m->bad += !string || memcmp(string, m->bytes, m->len) || string[m->len];
	stm_mfree(string);
}

/* With what it has, but for one byte or so. */
static void compare(struct model *m, size_t at, size_t n)
{
	uint8_t other[LIMIT];
	size_t len = n % 3 ? m->len : at;
	int order;

	memcpy(other, m->bytes, m->len);
	if (n % 2 && at < len)
		other[at] ^= 0x80;
	order = memcmp(m->bytes, other, len < m->len ? len : m->len);
	m->bad += sign(stm_blob_compare(blob, other, len)) != (order ? sign(order) : (m->len > len) - (m->len < len));
}

static int change(void *arg)
{
	struct model *m = arg;
	uint8_t bytes[1000];

	for (unsigned int i = 0; i < m->ops; i++) {
		size_t n = random_below(&m->random, 20) ? random_below(&m->random, 40) : random_below(&m->random, 1000);
		size_t from = random_below(&m->random, m->len + 30), len;

		for (size_t b = 0; b < n; b++)
			bytes[b] = pattern(m->random, b);
		if (from > m->len)
			from = random_below(&m->random, 2) ? m->len : from;
		switch (random_below(&m->random, 8)) {
		case 0:
		case 1:
			if (m->len + n > LIMIT)
				break;
			m->bad += stm_blob_append(blob, bytes, n) != 0;
			memcpy(m->bytes + m->len, bytes, n);
			m->len += n;
			break;
		case 2:
			from = m->len + random_below(&m->random, 30);
			/* fallthrough */
		case 3:
			if (from + n > LIMIT)
				break;
			m->bad += stm_blob_write(blob, from, bytes, n) != 0;
			if (n && from > m->len)
				memset(m->bytes + m->len, 0, from - m->len);
			memcpy(m->bytes + from, bytes, n);
			if (n && from + n > m->len)
				m->len = from + n;
			break;
		case 4:
			if (random_below(&m->random, 20))
				break;
			m->bad += stm_blob_set(blob, bytes, n) != 0;
			memcpy(m->bytes, bytes, n);
			m->len = n;
			break;
		case 5:
			len = random_below(&m->random, 4) ? m->len * random_below(&m->random, 9) / 8 :
							    random_below(&m->random, LIMIT);
			m->bad += stm_blob_resize(blob, len) != 0;
			if (len > m->len)
				memset(m->bytes + m->len, 0, len - m->len);
			m->len = len;
			break;
		case 6:
			compare(m, from < m->len ? from : m->len, n);
			break;
		default:
			look(m, from, n);
		}
		m->bad += stm_blob_length(blob) != m->len;
	}
	return m->cancel;
}

TEST(is_as_the_model)
{
	struct model *m = calloc(1, sizeof(*m)), *before = malloc(sizeof(*m));

	TH_LOG("STM_SEED=%llu", (unsigned long long)random_seed());
	ASSERT_TRUE(m && before);
	ASSERT_EQ(0, open_heap(HEAP));
	ASSERT_EQ(0, stm_atomic(make, "begun with this"));
	m->random = random_seed();
	m->len = strlen("begun with this");
	memcpy(m->bytes, "begun with this", m->len);
	for (unsigned int k = 0; k < 100; k++) {
		*before = *m;
		m->ops = 1 + (unsigned int)random_below(&m->random, k % 10 ? 30 : 300);
		m->cancel = k % 4 == 3;
		EXPECT_EQ(m->cancel, stm_atomic(change, m));
		if (m->cancel) {
			before->bad = m->bad;
			*m = *before;
			m->random += k;
		}
	}
	m->ops = 1;
	EXPECT_EQ(0, stm_atomic(change, m));
	EXPECT_EQ(0, m->bad);
	EXPECT_EQ(0, stm_atomic(destroy, NULL));
	EXPECT_EQ(0, missing(HEAP));
	free(m);
	free(before);
}

/* ---- conflicts ---- */

#define OP(name, code)                          \
	static int name(void *arg)              \
	{                                       \
		char bytes[16] = "fifteen bytes."; \
						\
		(void)arg;                      \
		(void)bytes;                    \
		code;                           \
		return 0;                       \
	}
OP(get_first, stm_blob_get(blob, 0, bytes, 16))
OP(get_last, stm_blob_get(blob, 112, bytes, 16))
OP(write_first, stm_blob_write(blob, 0, bytes, 16))
OP(write_last, stm_blob_write(blob, 112, bytes, 16))
OP(write_beyond, stm_blob_write(blob, 128, bytes, 16))
OP(append, stm_blob_append(blob, bytes, 16))
OP(set, stm_blob_set(blob, bytes, 16))
OP(to_128, stm_blob_resize(blob, 128))
OP(to_127, stm_blob_resize(blob, 127))
OP(to_256, stm_blob_resize(blob, 256))
OP(read_length, stm_blob_length(blob))
OP(compare_all, stm_blob_compare(blob, bytes, 16))

TEST(what_conflicts)
{
	ASSERT_EQ(0, open_heap(HEAP));
	ASSERT_EQ(0, stm_atomic(make, ""));
	ASSERT_EQ(0, stm_atomic(to_256, NULL)); /* so that there is room */
	ASSERT_EQ(0, stm_atomic(to_128, NULL));

	EXPECT_EQ(0, conflict(get_first, write_last, NULL));
	EXPECT_EQ(0, conflict(write_first, write_last, NULL));
	EXPECT_EQ(0, conflict(append, write_first, NULL));
	ASSERT_EQ(0, stm_atomic(to_128, NULL));
	EXPECT_EQ(0, conflict(read_length, write_first, NULL));

	EXPECT_EQ(1, conflict(get_last, write_last, NULL));
	EXPECT_EQ(1, conflict(write_last, write_last, NULL));
	EXPECT_EQ(1, conflict(get_first, append, NULL));
	ASSERT_EQ(0, stm_atomic(to_128, NULL));
	EXPECT_EQ(1, conflict(get_first, write_beyond, NULL));
	ASSERT_EQ(0, stm_atomic(to_128, NULL));
	EXPECT_EQ(1, conflict(get_first, to_127, NULL));
	ASSERT_EQ(0, stm_atomic(to_128, NULL));
	EXPECT_EQ(1, conflict(read_length, append, NULL));
	ASSERT_EQ(0, stm_atomic(to_128, NULL));
	EXPECT_EQ(1, conflict(append, append, NULL));
	ASSERT_EQ(0, stm_atomic(to_128, NULL));
	EXPECT_EQ(1, conflict(compare_all, write_first, NULL));
	EXPECT_EQ(1, conflict(write_first, set, NULL));
}

/* ---- a full heap, wrong use ---- */

static int fill_heap(void *arg)
{
	char bytes[1000];
	size_t n = 0;
	int bad = 0;

	(void)arg;
	memset(bytes, 'x', sizeof(bytes));
	bad += stm_blob_resize(blob, SIZE_MAX) != -ENOMEM || stm_blob_write(blob, SIZE_MAX, bytes, 2) != -ENOMEM;
	bad += stm_blob_length(blob) != 0;
	while (!stm_blob_append(blob, bytes, sizeof(bytes)))
		n += sizeof(bytes);
	bad += stm_blob_length(blob) != n || n < MIB / 16;
	bad += stm_blob_get(blob, n - 1, bytes, 5) != 1 || bytes[0] != 'x';
	errno = 0;
	bad += stm_blob_new(NULL, MIB) || errno != ENOMEM;
	return bad;
}

static int shrink(void *arg)
{
	(void)arg;
	return stm_blob_resize(blob, 1);
}

/* Of what is free, a block that size can be had only if the large one was given back. */
static int make_large(void *arg)
{
	struct stm_blob STM *large = stm_blob_new(NULL, MIB / 4 * 3);

	(void)arg;
	stm_blob_free(large);
	return !large;
}

TEST(a_full_heap_is_no_harm)
{
	ASSERT_EQ(0, open_heap(MIB));
	ASSERT_EQ(0, stm_atomic(make, NULL));
	EXPECT_EQ(0, stm_atomic(fill_heap, NULL));
	EXPECT_EQ(1, stm_atomic(make_large, NULL));
	EXPECT_EQ(0, stm_atomic(shrink, NULL));
	EXPECT_EQ(0, stm_atomic(make_large, NULL));
	EXPECT_EQ(0, stm_atomic(destroy, NULL));
	EXPECT_EQ(0, missing(MIB));
}

static void append_outside(void *arg)
{
	(void)arg;
	if (!open_heap(HEAP) && !stm_atomic(make, "x"))
		stm_blob_append(blob, "y", 1);
}

static int free_none(void *arg)
{
	(void)arg;
	stm_blob_free(NULL);
	return 0;
}

TEST(wrong_use)
{
	struct ended e = run_child(append_outside, NULL);

	EXPECT_TRUE(was_killed_by(&e, SIGABRT) && said(&e, "stm_blob_append", "outside a transaction"))
		TH_LOG("%s", how(&e));
	ASSERT_EQ(0, open_heap(HEAP));
	EXPECT_EQ(0, stm_atomic(free_none, NULL));
}

TEST_HARNESS_MAIN
