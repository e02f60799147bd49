// SPDX-License-Identifier: MIT
/*
 * ordered_test.c - ordered maps of several types against a plain model; what conflicts; full heaps; wrong use.
 *
 * STM_SEED=n repeats a run, STM_LONG=1 runs longer.
 */
#include <limits.h>

#include <uffdstm/ordered.h>

#include "collect_support.h"

/* ---- types: key number i is the i-th in order ---- */

#define KEYS 3000u
#define VALUE_MAX 640u
#define KEY_MAX 24u

static int compare_backwards(const void *a, const void *b)
{
	const uint16_t x = *(const uint16_t *)a, y = *(const uint16_t *)b;

	return (x < y) - (x > y);
}

static void number_key(unsigned int i, void *key)
{
	*(uint64_t *)key = i * (UINT64_MAX / KEYS);
}

static void signed_key(unsigned int i, void *key)
{
	*(int64_t *)key = ((int64_t)i - KEYS / 2) * (INT64_MAX / KEYS * 2);
}

static void text_key(unsigned int i, void *key)
{
	char text[KEY_MAX];

	memset(text, 0, sizeof(text));
	snprintf(text, sizeof(text), "key number %05u", i);
	memcpy(key, text, 20);
}

static void backward_key(unsigned int i, void *key)
{
	*(uint16_t *)key = (uint16_t)(UINT16_MAX - 7 * i);
}

static void byte_key(unsigned int i, void *key)
{
	*(uint8_t *)key = (uint8_t)i;
}

struct kind {
	const char *name;
	struct stm_ordered_type type;
	unsigned int keys;
	void (*make_key)(unsigned int i, void *key);
};

static const struct kind kinds[] = {
	{ "u64, 8 bytes", { 8, 8, stm_compare_u64 }, KEYS, number_key },
	{ "i64, 4 bytes", { 8, 4, stm_compare_i64 }, KEYS, signed_key },
	{ "text, a set", { 20, 0, NULL }, KEYS, text_key },
	{ "backwards, 600 bytes", { 2, 600, compare_backwards }, 700, backward_key },
	{ "bytes, 1 byte", { 1, 1, NULL }, 256, byte_key },
	{ "u64, 40 bytes", { 8, 40, stm_compare_u64 }, KEYS, number_key },
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static const struct kind *kind;
static struct stm_ordered STM *map;

/* The model: which version of its value each key has; 0: not there. */
static uint32_t model[KEYS], before[KEYS];

static void make_value(unsigned int i, uint32_t version, uint8_t *value)
{
	for (size_t k = 0; k < kind->type.value_size; k++)
		value[k] = pattern(i * 1000003ul + version, k);
}

static bool value_is(unsigned int i, const uint8_t *value)
{
	uint8_t expected[VALUE_MAX];

	make_value(i, model[i], expected);
	return !memcmp(expected, value, kind->type.value_size);
}

static bool key_is(unsigned int i, const void *key)
{
	_Alignas(16) uint8_t expected[KEY_MAX];

	kind->make_key(i, expected);
	return !memcmp(expected, key, kind->type.key_size);
}

/* The key of the model that a place means; UINT_MAX: none. */
static unsigned int place_of(enum stm_ordered_place place, unsigned int i)
{
	const bool back = place == STM_ORDERED_LAST || place == STM_ORDERED_LOWER || place == STM_ORDERED_FLOOR;

	if (place == STM_ORDERED_FIRST)
		i = 0;
	else if (place == STM_ORDERED_LAST)
		i = kind->keys - 1;
	else if (place == STM_ORDERED_LOWER)
		i--;
	else if (place == STM_ORDERED_HIGHER)
		i++;
	while (i < kind->keys && !model[i])
		i += back ? -1u : 1;
	return i < kind->keys ? i : UINT_MAX;
}

/* ---- operations on both ---- */

static const char *wrong;       /* what differed */

static void expect(bool ok, const char *what)
{
	if (!ok && !wrong)
		wrong = what;
}

static void one_put(unsigned int i, uint32_t version)
{
	_Alignas(16) uint8_t key[KEY_MAX], value[VALUE_MAX];

	kind->make_key(i, key);
	make_value(i, version, value);
	expect(stm_ordered_put(map, &kind->type, key, value) == !model[i], "put says whether it is new");
	model[i] = version;
}

static void one_remove(unsigned int i, bool ask)
{
	_Alignas(16) uint8_t key[KEY_MAX], value[VALUE_MAX];

	kind->make_key(i, key);
	expect(stm_ordered_remove(map, &kind->type, key, ask ? value : NULL) == !!model[i],
	       "remove says whether it was there");
	if (ask && model[i])
		expect(value_is(i, value), "remove gives the value");
	model[i] = 0;
}

static void one_look(unsigned int i, uint64_t random)
{
	_Alignas(16) uint8_t key[KEY_MAX], value[VALUE_MAX], found[KEY_MAX];
	const enum stm_ordered_place place = (enum stm_ordered_place)(random % 6);
	const unsigned int there = place_of(place, i);
	struct stm_ordered_cursor cursor;
	void STM *p;
	bool is;

	kind->make_key(i, key);
	expect(stm_ordered_get(map, &kind->type, key, value) == !!model[i], "get says whether it is there");
	if (model[i])
		expect(value_is(i, value), "get gives the value");
	p = stm_ordered_find(map, &kind->type, key);
	expect(!p == !model[i], "find says whether it is there");
	if (p) {
		stm_memcpy_out(value, p, kind->type.value_size);
		expect(value_is(i, value), "find points to the value");
	}
	is = stm_ordered_seek(&cursor, map, &kind->type, place, key, found, value);
	expect(is == (there != UINT_MAX), "seek finds something");
	if (!is || there == UINT_MAX)
		return;
	expect(key_is(there, found), "seek finds the right key");
	expect(value_is(there, value), "seek finds the right value");
	memset(value, 0, sizeof(value));
	stm_memcpy_out(value, stm_ordered_value(&cursor), kind->type.value_size);
	expect(value_is(there, value), "a cursor points to the value");
}

static void all_entries(void)
{
	_Alignas(16) uint8_t key[KEY_MAX], value[VALUE_MAX];
	struct stm_ordered_cursor cursor;
	unsigned int i = 0, entries = 0;
	bool is;

	for (is = stm_ordered_seek(&cursor, map, &kind->type, STM_ORDERED_FIRST, NULL, key, value); is;
	     is = stm_ordered_next(&cursor, key, value)) {
		while (i < kind->keys && !model[i])
			i++;
		if (i == kind->keys || !key_is(i, key) || !value_is(i, value)) {
			expect(false, "forwards, each entry is the next one of the model");
			return;
		}
		i++, entries++;
	}
	while (i < kind->keys && !model[i])
		i++;
	expect(i == kind->keys, "forwards, none is left out");
	expect(stm_ordered_count(map, &kind->type) == entries, "the count");

	for (is = stm_ordered_seek(&cursor, map, &kind->type, STM_ORDERED_LAST, NULL, key, value); is;
	     is = stm_ordered_previous(&cursor, key, value)) {
		while (i && !model[i - 1])
			i--;
		if (!i || !key_is(i - 1, key) || !value_is(i - 1, value)) {
			expect(false, "backwards, each entry is the one before of the model");
			return;
		}
		i--;
	}
	while (i && !model[i - 1])
		i--;
	expect(!i, "backwards, none is left out");
	expect(!stm_ordered_next(&cursor, NULL, NULL) && !stm_ordered_previous(&cursor, NULL, NULL) &&
	       !stm_ordered_value(&cursor), "a cursor at no entry stays there");
}

struct work {
	uint64_t random;
	unsigned int puts;              /* of 100 operations that change something */
	unsigned int steps;
	bool undone;                    /* restarted once */
};

/* Some operations; the model is put back where the transaction is. */
static int some_work(void *arg)
{
	struct work *w = arg;
	const unsigned int ops = 1 + (unsigned int)random_below(&w->random, w->steps);

	memcpy(model, before, sizeof(model));
	for (unsigned int k = 0; k < ops; k++) {
		const unsigned int i = (unsigned int)random_below(&w->random, kind->keys);
		const uint64_t r = random_next(&w->random);

		if (r % 4 == 0)
			one_look(i, r >> 8);
		else if (r / 4 % 100 < w->puts)
			one_put(i, (uint32_t)(r >> 32) | 1);
		else
			one_remove(i, r >> 40 & 1);
	}
	if (random_below(&w->random, 300) == 0)
		all_entries();
	if (random_below(&w->random, 20) == 0)
		stm_restart();
	return random_below(&w->random, 20) == 0;
}

static int make(void *arg)
{
	(void)arg;
	map = stm_ordered_new(&kind->type);
	return map ? 0 : errno;
}

static int destroy(void *arg)
{
	(void)arg;
	stm_ordered_free(map, &kind->type);
	return 0;
}

static int check_all(void *arg)
{
	(void)arg;
	all_entries();
	return 0;
}

static int remove_all(void *arg)
{
	unsigned int i = *(unsigned int *)arg;

	for (unsigned int k = 0; k < kind->keys; k++)
		one_remove((i + k) % kind->keys, true);
	return 0;
}

FIXTURE(model) {
};

FIXTURE_VARIANT(model) {
	unsigned int kind;
};

FIXTURE_VARIANT_ADD(model, u64) { .kind = 0 };
FIXTURE_VARIANT_ADD(model, i64) { .kind = 1 };
FIXTURE_VARIANT_ADD(model, text_set) { .kind = 2 };
FIXTURE_VARIANT_ADD(model, backwards_large) { .kind = 3 };
FIXTURE_VARIANT_ADD(model, bytes) { .kind = 4 };
FIXTURE_VARIANT_ADD(model, u64_40) { .kind = 5 };

#define HEAP (8 * MIB)

FIXTURE_SETUP(model)
{
	ASSERT_EQ(0, open_heap(HEAP));
	kind = &kinds[variant->kind];
	ASSERT_EQ(0, stm_atomic(make, NULL));
}

FIXTURE_TEARDOWN(model)
{
	EXPECT_EQ(0, stm_atomic(destroy, NULL));
	EXPECT_EQ(0, missing(HEAP));
}

/* It grows, shrinks, and does both again, in transactions of which some are undone. */
TEST_F(model, is_followed)
{
	struct work w = { .random = random_seed() };
	const unsigned int rounds = 1500 * long_factor(20) / strict_divisor();
	unsigned int from = 0;

	printf("# STM_SEED=%llu\n", (unsigned long long)w.random);
	for (unsigned int phase = 0; phase < 6; phase++) {
		w.puts = phase == 2 ? 50 : phase % 2 ? 15 : 85;
		w.steps = phase == 4 ? 100 : 12;
		for (unsigned int i = 0; i < rounds; i++) {
			if (stm_atomic(some_work, &w) == 0)
				memcpy(before, model, sizeof(model));
			ASSERT_EQ(NULL, wrong);
		}
		memcpy(model, before, sizeof(model));
		ASSERT_EQ(0, stm_atomic(check_all, NULL));
		ASSERT_EQ(NULL, wrong);
	}
	from = (unsigned int)random_below(&w.random, kind->keys);
	ASSERT_EQ(0, stm_atomic(remove_all, &from));
	ASSERT_EQ(0, stm_atomic(check_all, NULL));
	EXPECT_EQ(NULL, wrong);
}

struct run {
	unsigned int first, end;
	bool down;
};

static int put_run(void *arg)
{
	const struct run *run = arg;

	for (unsigned int i = run->first; i < run->end; i++)
		one_put(run->down ? run->first + run->end - 1 - i : i, i + 1);
	return 0;
}

/* Sorted keys come in, from below and from above, and all go in order. */
TEST_F(model, takes_sorted_keys)
{
	const unsigned int half = kind->keys / 2;
	unsigned int from = 0;

	ASSERT_EQ(0, stm_atomic(put_run, (&(struct run){ half, kind->keys, false })));
	ASSERT_EQ(0, stm_atomic(put_run, (&(struct run){ 0, half, true })));
	ASSERT_EQ(0, stm_atomic(check_all, NULL));
	ASSERT_EQ(NULL, wrong);
	ASSERT_EQ(0, stm_atomic(remove_all, &from));
	ASSERT_EQ(0, stm_atomic(check_all, NULL));
	EXPECT_EQ(NULL, wrong);
}

/* ---- a full heap ---- */

static int put_until_full(void *arg)
{
	_Alignas(16) uint8_t key[KEY_MAX], value[VALUE_MAX];
	unsigned int *i = arg;
	int ret = 1;

	for (*i = 0; *i < KEYS && ret == 1; ++*i) {
		kind->make_key(*i, key);
		make_value(*i, 1, value);
		ret = stm_ordered_put(map, &kind->type, key, value);
		model[*i] = ret == 1;
	}
	return ret == 1 ? 1 : 0;
}

static int fill_up(void *arg)
{
	alloc_many(arg);
	return 0;
}

TEST(a_full_heap_is_an_error)
{
	const size_t heap = 2 * MIB;
	unsigned int i = 0;

	ASSERT_EQ(0, open_heap(heap));
	kind = &kinds[5];
	ASSERT_EQ(0, stm_atomic(make, NULL));
	many.n = sizeof(many.p) / sizeof(many.p[0]);
	many.size = 30000;
	ASSERT_EQ(0, stm_atomic(fill_up, &many));       /* a chunk or two are left */
	ASSERT_EQ(0, stm_atomic(put_until_full, &i));
	printf("# full at %u\n", i);
	EXPECT_LT(10, i);
	EXPECT_GT(KEYS, i);
	ASSERT_EQ(0, stm_atomic(check_all, NULL));
	EXPECT_EQ(NULL, wrong);
	ASSERT_EQ(0, stm_atomic(free_many, &many));
	ASSERT_EQ(0, stm_atomic(destroy, NULL));
	EXPECT_EQ(0, missing(heap));
}

/* ---- what conflicts ---- */

STM_ORDERED_TYPE(longs, uint64_t, long, stm_compare_u64)

/* Keys 0, 10, .. 9990, not sorted: some 50 leaves with room. */
static int make_longs(void *arg)
{
	(void)arg;
	map = longs_new();
	for (long i = 0; map && i < 1000; i++)
		if (longs_put(map, (uint64_t)i * 617 % 1000 * 10, &i) != 1)
			return 1;
	return !map;
}

static int free_longs(void *arg)
{
	(void)arg;
	longs_free(map);
	return 0;
}

static long dummy;

#define OP(name, call)                          \
	static int name(void *arg)              \
	{                                       \
		uint64_t key = 0;               \
		long value = 7;                 \
						\
		(void)arg, (void)key;           \
		call;                           \
		dummy = value;                  \
		return 0;                       \
	}

OP(get_50, longs_get(map, 50, &value))
OP(get_55, longs_get(map, 55, &value))
OP(get_5000, longs_get(map, 5000, &value))
OP(has_50, longs_get(map, 50, NULL))
OP(put_50, longs_put(map, 50, &value))
OP(put_55, longs_put(map, 55, &value))
OP(put_57, longs_put(map, 57, &value))
OP(put_80, longs_put(map, 80, &value))
OP(put_5005, longs_put(map, 5005, &value))
OP(remove_50, longs_remove(map, 50, NULL))
OP(remove_55, longs_remove(map, 55, NULL))
OP(remove_80, longs_remove(map, 80, NULL))
OP(first, longs_first(map, &key, &value))
OP(last, longs_last(map, &key, &value))
OP(floor_59, key = 59; longs_floor(map, &key, &value))
OP(ceiling_45, key = 45; longs_ceiling(map, &key, &value))
OP(put_behind, longs_put(map, 100000, &value))
OP(count, longs_count(map))
OP(find_and_set, STM_SET(*longs_find(map, 80), 1))
OP(divide, for (uint64_t i = 0; i < 30; i++) longs_put(map, 61 + i / 10 * 10 + i % 9, &value))

/* Each pair in a map of its own. */
#define EXPECT_CONFLICT(expected, first, other)                                 \
	do {                                                                    \
		EXPECT_EQ(0, stm_atomic(make_longs, NULL));                     \
		EXPECT_EQ(expected, conflict(first, other, NULL)) {             \
			printf("# " #first ", " #other "\n");                   \
		}                                                               \
		EXPECT_EQ(0, stm_atomic(free_longs, NULL));                     \
	} while (0)

TEST(what_conflicts)
{
	ASSERT_EQ(0, open_heap(HEAP));
	/* values of their own */
	EXPECT_CONFLICT(1, get_50, put_50);
	EXPECT_CONFLICT(1, put_50, put_50);
	EXPECT_CONFLICT(0, has_50, put_50);
	EXPECT_CONFLICT(0, get_50, put_80);
	EXPECT_CONFLICT(0, put_50, put_80);
	EXPECT_CONFLICT(0, put_50, get_50);
	/* keys that come and go: in this leaf, in others */
	EXPECT_CONFLICT(1, get_55, put_55);
	EXPECT_CONFLICT(1, get_50, put_55);
	EXPECT_CONFLICT(1, get_50, remove_50);
	EXPECT_CONFLICT(1, get_50, remove_80);
	EXPECT_CONFLICT(1, put_55, put_57);
	EXPECT_CONFLICT(1, put_50, remove_80);
	EXPECT_CONFLICT(0, get_5000, put_55);
	EXPECT_CONFLICT(0, put_5005, put_55);
	EXPECT_CONFLICT(0, put_5005, remove_50);
	EXPECT_CONFLICT(0, remove_55, get_55);
	/* neighbours and edges */
	EXPECT_CONFLICT(1, floor_59, put_57);
	EXPECT_CONFLICT(1, ceiling_45, remove_50);
	EXPECT_CONFLICT(0, ceiling_45, put_5005);
	EXPECT_CONFLICT(0, first, put_5005);
	EXPECT_CONFLICT(1, first, put_57);
	EXPECT_CONFLICT(1, last, put_behind);
	EXPECT_CONFLICT(0, last, put_57);
	EXPECT_CONFLICT(1, count, put_55);
	EXPECT_CONFLICT(0, count, put_50);
	/* a leaf is divided */
	EXPECT_CONFLICT(1, find_and_set, divide);
	EXPECT_CONFLICT(1, divide, find_and_set);
	EXPECT_EQ(0, missing(HEAP));
}

/* ---- wrong use ---- */

static int bad_types(void *arg)
{
	static const struct stm_ordered_type bad[] = {
		{ 0, 8, NULL },
		{ STM_ORDERED_KEY_MAX + 1, 8, NULL },
		{ 8, STM_ORDERED_VALUE_MAX + 1, NULL },
		{ 4, 8, stm_compare_u64 },
		{ 16, 8, stm_compare_i64 },
	};

	(void)arg;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		errno = 0;
		if (stm_ordered_new(&bad[i]) || errno != EINVAL)
			return (int)i + 1;
	}
	return 0;
}

static int largest(void *arg)
{
	static const struct stm_ordered_type type = { STM_ORDERED_KEY_MAX, STM_ORDERED_VALUE_MAX, NULL };
	static uint8_t key[STM_ORDERED_KEY_MAX], value[STM_ORDERED_VALUE_MAX];
	struct stm_ordered STM *large = stm_ordered_new(&type);
	int bad = !large;

	(void)arg;
	for (unsigned int i = 0; large && i < 100; i++) {
		key[1000] = (uint8_t)(i * 37);
		value[4000] = key[1000];
		bad += stm_ordered_put(large, &type, key, value) != 1;
	}
	for (unsigned int i = 0; large && i < 100; i++) {
		key[1000] = (uint8_t)(i * 37);
		bad += !stm_ordered_remove(large, &type, key, value) || value[4000] != key[1000];
	}
	stm_ordered_free(large, &type);
	stm_ordered_free(NULL, &type);
	return bad;
}

TEST(sizes)
{
	ASSERT_EQ(0, open_heap(HEAP));
	EXPECT_EQ(0, stm_atomic(bad_types, NULL));
	EXPECT_EQ(0, stm_atomic(largest, NULL));
	EXPECT_EQ(0, missing(HEAP));
}

static void outside(void *arg)
{
	(void)arg;
	if (!open_heap(HEAP) && !stm_atomic(make_longs, NULL))
		longs_get(map, 1, NULL);
}

static int use_other_type(void *arg)
{
	static const struct stm_ordered_type other = { 8, 16, stm_compare_u64 };
	const uint64_t key = 1;

	(void)arg;
	return stm_ordered_get(map, &other, &key, NULL);
}

static void other_type(void *arg)
{
	(void)arg;
	if (!open_heap(HEAP) && !stm_atomic(make_longs, NULL))
		stm_atomic(use_other_type, NULL);
}

TEST(wrong_use_stops_the_process)
{
	struct ended e = run_child(outside, NULL);

	EXPECT_TRUE(was_killed_by(&e, SIGABRT) && said(&e, "stm_ordered_get", "outside a transaction"))
		TH_LOG("%s", how(&e));
	e = run_child(other_type, NULL);
	EXPECT_TRUE(was_killed_by(&e, SIGABRT) && said(&e, "stm_ordered_get", "not a map of this type"))
		TH_LOG("%s", how(&e));
}

TEST_HARNESS_MAIN
