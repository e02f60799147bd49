// SPDX-License-Identifier: MIT
/*
 * vector_test.c - vectors: against a plain model, elements of all sizes, what conflicts, a full heap, wrong use.
 */
#include <uffdstm/vector.h>

#include "collect_support.h"

#define HEAP (16 * MIB)
#define LIMIT 6000              /* elements of the model */
#define ELEMENT_MAX 300

static struct stm_vector STM *vector;           /* of the test that runs */

static int make(void *element)
{
	vector = stm_vector_new((size_t)element);
	return vector ? 0 : ENOMEM;
}

static int destroy(void *arg)
{
	(void)arg;
	stm_vector_free(vector);
	return 0;
}

/* ---- against a model ---- */

struct model {
	uint64_t random;
	size_t element, size;
	unsigned int ops, bad;
	bool cancel;
	uint8_t bytes[LIMIT * ELEMENT_MAX];
};

static void resize(struct model *m, size_t size)
{
	if (size > m->size)
		memset(m->bytes + m->size * m->element, 0, (size - m->size) * m->element);
	m->bad += stm_vector_resize(vector, size) != 0;
	m->size = size;
}

static int change(void *arg)
{
	struct model *m = arg;
	uint8_t element[ELEMENT_MAX];

	for (unsigned int i = 0; i < m->ops; i++) {
		size_t k = random_below(&m->random, m->size + 5);
		uint8_t *old = m->bytes + (k < m->size ? k : 0) * m->element;
		void STM *p;

		for (size_t b = 0; b < m->element; b++)
			element[b] = pattern(m->random, b);
		switch (random_below(&m->random, 9)) {
		case 0:
		case 1:
		case 2:
			if (m->size == LIMIT)
				break;
			m->bad += stm_vector_push(vector, element) != 0;
			memcpy(m->bytes + m->size++ * m->element, element, m->element);
			break;
		case 3:
			m->bad += stm_vector_pop(vector, element) != !!m->size;
			if (m->size) {
				m->size--;
				m->bad += memcmp(element, m->bytes + m->size * m->element, m->element) != 0;
			}
			break;
		case 4:
		case 5:
			m->bad += stm_vector_set(vector, k, element) != (k < m->size);
			if (k < m->size)
				memcpy(old, element, m->element);
			break;
		case 6:
			if (!random_below(&m->random, 20))
				resize(m, random_below(&m->random, LIMIT));
			break;
		case 7:
			p = stm_vector_at(vector, k);
			m->bad += !p != (k >= m->size) || (p && stm_memcmp_out(p, old, m->element));
			break;
		default:
			m->bad += stm_vector_get(vector, k, element) != (k < m->size) ||
				  (k < m->size && memcmp(element, old, m->element));
		}
	}
	return m->cancel;
}

static int check(void *arg)
{
	struct model *m = arg;

	m->bad += stm_vector_size(vector) != m->size;
	for (size_t i = 0; i < m->size; i++)
		m->bad += stm_memcmp_out(stm_vector_at(vector, i), m->bytes + i * m->element, m->element) != 0;
	return 0;
}

TEST(is_as_the_model)
{
	static const size_t sizes[] = { 1, 8, 12, 16, 100, 300 };
	struct model *m = calloc(1, sizeof(*m)), *before = malloc(sizeof(*m));

	TH_LOG("STM_SEED=%llu", (unsigned long long)random_seed());
	ASSERT_TRUE(m && before);
	ASSERT_EQ(0, open_heap(HEAP));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		*m = (struct model){ .random = random_seed() + i, .element = sizes[i] };
		ASSERT_EQ(0, stm_atomic(make, (void *)sizes[i]));
		for (unsigned int k = 0; k < 60; k++) {
			*before = *m;
			m->ops = 1 + (unsigned int)random_below(&m->random, k % 10 ? 30 : 600);
			m->cancel = k % 4 == 3;
			EXPECT_EQ(m->cancel, stm_atomic(change, m));
			if (m->cancel)
				*m = *before, m->random += k;
		}
		EXPECT_EQ(0, stm_atomic(check, m));
		EXPECT_EQ(0, m->bad);
		EXPECT_EQ(0, stm_atomic(destroy, NULL));
		EXPECT_EQ(0, missing(HEAP));
	}
	free(m);
	free(before);
}

/* ---- conflicts ---- */

struct granule {
	uint64_t words[2];
};

#define OP(name, code)                                  \
	static int name(void *arg)                      \
	{                                               \
		struct granule element = { { 1, 2 } };  \
								\
		(void)arg;                              \
		(void)element;                          \
		code;                                   \
		return 0;                               \
	}
OP(get_last, stm_vector_get(vector, 99, &element))
OP(get_first, stm_vector_get(vector, 0, &element))
OP(set_first, stm_vector_set(vector, 0, &element))
OP(set_second, stm_vector_set(vector, 1, &element))
OP(set_last, stm_vector_set(vector, 99, &element))
OP(get_beyond, stm_vector_get(vector, 100, &element))
OP(push, stm_vector_push(vector, &element))
OP(pop, stm_vector_pop(vector, NULL))
OP(read_size, stm_vector_size(vector))
OP(push_many, for (unsigned int i = 0; i < 5000; i++) stm_vector_push(vector, &element))
OP(shrink, stm_vector_resize(vector, 100))

TEST(what_conflicts)
{
	ASSERT_EQ(0, open_heap(HEAP));
	ASSERT_EQ(0, stm_atomic(make, (void *)sizeof(struct granule)));
	ASSERT_EQ(0, stm_atomic(push_many, NULL));
	ASSERT_EQ(0, stm_atomic(shrink, NULL));

	EXPECT_EQ(0, conflict(get_first, set_second, NULL));
	EXPECT_EQ(0, conflict(set_first, set_second, NULL));
	EXPECT_EQ(0, conflict(get_last, push, NULL));
	EXPECT_EQ(0, conflict(set_first, pop, NULL));
	EXPECT_EQ(0, conflict(get_first, push_many, NULL));
	ASSERT_EQ(0, stm_atomic(shrink, NULL));
	EXPECT_EQ(0, conflict(push, set_first, NULL));
	ASSERT_EQ(0, stm_atomic(shrink, NULL));

	EXPECT_EQ(1, conflict(get_first, set_first, NULL));
	EXPECT_EQ(1, conflict(get_beyond, push, NULL));
	ASSERT_EQ(0, stm_atomic(shrink, NULL));
	EXPECT_EQ(1, conflict(read_size, push, NULL));
	EXPECT_EQ(1, conflict(push, pop, NULL));
	ASSERT_EQ(0, stm_atomic(shrink, NULL));
	EXPECT_EQ(1, conflict(push, push, NULL));
	ASSERT_EQ(0, stm_atomic(shrink, NULL));
	EXPECT_EQ(1, conflict(pop, set_last, NULL));
	ASSERT_EQ(0, stm_atomic(push, NULL));
	EXPECT_EQ(1, conflict(get_last, pop, NULL));
}

/* ---- a full heap, wrong use ---- */

static int fill_heap(void *arg)
{
	uint64_t n = 0, value;
	int bad = stm_vector_resize(vector, SIZE_MAX) != -ENOMEM;

	(void)arg;
	while (!stm_vector_push(vector, &n))
		n++;
	bad += stm_vector_size(vector) != n || n < 10000;
	for (uint64_t i = 0; i < n; i++)
		bad += !stm_vector_get(vector, i, &value) || value != i;
	return bad;
}

TEST(a_full_heap_is_no_harm)
{
	ASSERT_EQ(0, open_heap(MIB));
	ASSERT_EQ(0, stm_atomic(make, (void *)sizeof(uint64_t)));
	EXPECT_EQ(0, stm_atomic(fill_heap, NULL));
	EXPECT_EQ(0, stm_atomic(destroy, NULL));
	EXPECT_EQ(0, missing(MIB));
}

static void push_outside(void *arg)
{
	(void)arg;
	if (!open_heap(HEAP) && !stm_atomic(make, (void *)8))
		stm_vector_push(vector, &(uint64_t){ 1 });
}

static int make_wrong(void *arg)
{
	(void)arg;
	errno = 0;
	stm_vector_free(NULL);
	return stm_vector_new(0) || errno != EINVAL;
}

TEST(wrong_use)
{
	struct ended e = run_child(push_outside, NULL);

	EXPECT_TRUE(was_killed_by(&e, SIGABRT) && said(&e, "stm_vector_push", "outside a transaction"))
		TH_LOG("%s", how(&e));
	ASSERT_EQ(0, open_heap(HEAP));
	EXPECT_EQ(0, stm_atomic(make_wrong, NULL));
}

TEST_HARNESS_MAIN
