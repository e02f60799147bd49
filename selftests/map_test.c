// SPDX-License-Identifier: MIT
/*
 * map_test.c - hash maps: against a plain model while they grow, types of all sizes, what conflicts, a full heap,
 * the hash, wrong use.
 */
#include <uffdstm/map.h>

#include "collect_support.h"

#define HEAP (64 * MIB)

STM_MAP(numbers, uint64_t, uint64_t);

static struct numbers STM *numbers;             /* of the test that runs */

static int make_numbers(void *arg)
{
	(void)arg;
	numbers = numbers_new();
	return numbers ? 0 : ENOMEM;
}

static int free_numbers(void *arg)
{
	(void)arg;
	numbers_free(numbers);
	return 0;
}

/* ---- against a model ---- */

#define KEYS 20000

struct model {
	bool has[KEYS];
	uint64_t value[KEYS], size, random, key_factor;
	unsigned int ops, bad;
	bool cancel;
};

static uint64_t key_of(const struct model *m, uint64_t i)
{
	return i * m->key_factor;
}

/* Each entry once, and no others. */
static void check_all(struct model *m)
{
	struct stm_map_cursor cursor = STM_MAP_CURSOR(numbers);
	struct numbers_entry STM *entry;
	uint8_t *seen = calloc(1, KEYS);
	uint64_t n = 0;

	while ((entry = numbers_next(&cursor))) {
		uint64_t i = entry->key / m->key_factor;

		m->bad += i >= KEYS || entry->key % m->key_factor || seen[i]++ || !m->has[i] || m->value[i] != entry->value;
		n++;
	}
	m->bad += n != m->size || numbers_size(numbers) != m->size;
	free(seen);
}

static int change(void *arg)
{
	struct model *m = arg;

	for (unsigned int i = 0; i < m->ops; i++) {
		uint64_t k = random_below(&m->random, KEYS), key = key_of(m, k), value = random_next(&m->random), old = 0;
		uint64_t STM *found;
		bool had = m->has[k];

		switch (random_below(&m->random, 6)) {
		case 0:
		case 1:
			m->bad += numbers_put(numbers, key, value) != 0;
			m->size += !had;
			m->has[k] = true;
			m->value[k] = value;
			break;
		case 2:
			m->bad += numbers_insert(numbers, key, value) != (had ? -EEXIST : 0);
			m->size += !had;
			m->value[k] = had ? m->value[k] : value;
			m->has[k] = true;
			break;
		case 3:
			m->bad += numbers_remove(numbers, key) != had;
			m->size -= had;
			m->has[k] = false;
			break;
		case 4:
			m->bad += numbers_get(numbers, key, &old) != had || (had && old != m->value[k]);
			break;
		default:
			found = numbers_find(numbers, key);
			m->bad += !found != !had || (found && STM_GET(*found) != m->value[k]);
			if (found)
				STM_SET(*found, m->value[k] = value);
		}
	}
	return m->cancel;
}

static int check(void *arg)
{
	check_all(arg);
	return 0;
}

/* Transactions of all sizes; of those that are cancelled nothing is left. */
static void run_model(struct __test_metadata *_metadata, uint64_t key_factor)
{
	struct model *m = calloc(1, sizeof(*m)), *before = malloc(sizeof(*m));

	ASSERT_TRUE(m && before);
	m->random = random_seed();
	m->key_factor = key_factor;
	ASSERT_EQ(0, stm_atomic(make_numbers, NULL));
	for (unsigned int i = 0; i < 150; i++) {
		*before = *m;
		m->ops = 1 + (unsigned int)random_below(&m->random, i % 10 ? 20 : 4000);
		m->cancel = i % 4 == 3;
		EXPECT_EQ(m->cancel, stm_atomic(change, m));
		if (m->cancel)
			*m = *before, m->random += i;
		if (i % 16 == 0)
			EXPECT_EQ(0, stm_atomic(check, m));
	}
	EXPECT_EQ(0, stm_atomic(check, m));
	EXPECT_EQ(0, m->bad);
	EXPECT_GT(m->size, 5000);
	EXPECT_EQ(0, stm_atomic(free_numbers, NULL));
	free(m);
	free(before);
}

TEST(is_as_the_model)
{
	TH_LOG("STM_SEED=%llu", (unsigned long long)random_seed());
	ASSERT_EQ(0, open_heap(HEAP));
	run_model(_metadata, 1);
	run_model(_metadata, (uint64_t)1 << 48);
	EXPECT_EQ(0, missing(HEAP));
}

/* ---- types ---- */

struct wide_key {
	char name[24];
};

struct wide_value {
	char bytes[100];
} __attribute__((__aligned__(16)));

STM_MAP(bytes, uint8_t, uint8_t);
STM_MAP(wide, struct wide_key, struct wide_value);

/* By what they point to. */
static uint64_t hash_text(const void *key, uint64_t seed)
{
	const char *text = *(const char *const *)key;

	return stm_hash(text, strlen(text), seed);
}

static bool equal_text(const void *a, const void *b)
{
	return !strcmp(*(const char *const *)a, *(const char *const *)b);
}

STM_MAP_BY(texts, const char *, int, hash_text, equal_text);

/* All into one bucket, however deep: still a map. */
static uint64_t hash_badly(const void *key, uint64_t seed)
{
	(void)key;
	(void)seed;
	return 7;
}

STM_MAP_BY(slow, uint32_t, uint32_t, hash_badly, NULL);

static int use_types(void *arg)
{
	unsigned int *bad = arg;
	struct bytes STM *bytes = bytes_new();
	struct wide STM *wide = wide_new();
	struct texts STM *texts = texts_new();
	struct slow STM *slow = slow_new();
	struct wide_value value, found;
	char text[] = "7";
	uint8_t byte;
	int n;

	*bad = 0;
	for (unsigned int i = 0; i < 256; i++)
		*bad += bytes_put(bytes, (uint8_t)i, (uint8_t)(i * 3)) != 0;
	for (unsigned int i = 0; i < 256; i++)
		*bad += !bytes_get(bytes, (uint8_t)i, &byte) || byte != (uint8_t)(i * 3);
	*bad += bytes_size(bytes) != 256;

	for (unsigned int i = 0; i < 300; i++) {
		struct wide_key key = { 0 };

		snprintf(key.name, sizeof(key.name), "name %u", i);
		memset(&value, (int)i, sizeof(value));
		*bad += wide_insert(wide, key, value) != 0;
		*bad += (uintptr_t)wide_find(wide, key) % __alignof__(struct wide_value) != 0;
	}
	for (unsigned int i = 0; i < 300; i++) {
		struct wide_key key = { 0 };

		snprintf(key.name, sizeof(key.name), "name %u", i);
		memset(&value, (int)i, sizeof(value));
		*bad += !wide_get(wide, key, &found) || memcmp(&value, &found, sizeof(value));
		*bad += i % 2 && !wide_remove(wide, key);
	}
	*bad += wide_size(wide) != 150;

	*bad += texts_put(texts, "seven", 7) || texts_put(texts, "8", 8) || texts_put(texts, "7", 77);
	*bad += !texts_get(texts, text, &n) || n != 77;

	for (uint32_t i = 0; i < 300; i++)
		*bad += slow_put(slow, i, i) != 0;
	for (uint32_t i = 0; i < 300; i++)
		*bad += !slow_remove(slow, i);
	*bad += slow_size(slow) != 0;

	bytes_free(bytes);
	wide_free(wide);
	texts_free(texts);
	slow_free(slow);
	numbers_free(NULL);
	return 0;
}

TEST(keys_and_values_of_all_sizes)
{
	unsigned int bad = 1;

	ASSERT_EQ(0, open_heap(4 * MIB));
	EXPECT_EQ(0, stm_atomic(use_types, &bad));
	EXPECT_EQ(0, bad);
	EXPECT_EQ(0, missing(4 * MIB));
}

static int remove_while_walking(void *arg)
{
	struct stm_map_cursor cursor = STM_MAP_CURSOR(numbers);
	struct numbers_entry STM *entry;
	unsigned int *n = arg;

	for (uint64_t i = 0; i < 1000; i++)
		numbers_put(numbers, i, i);
	while ((entry = numbers_next(&cursor)))
		*n += numbers_remove(numbers, entry->key);
	return numbers_size(numbers) != 0;
}

TEST(entries_go_while_one_walks)
{
	unsigned int n = 0;

	ASSERT_EQ(0, open_heap(HEAP));
	ASSERT_EQ(0, stm_atomic(make_numbers, NULL));
	EXPECT_EQ(0, stm_atomic(remove_while_walking, &n));
	EXPECT_EQ(1000, n);
}

/* ---- conflicts ---- */

/* Keys whose buckets do not share a granule in a map of 4,096 buckets: the hash depends on the run. */
static uint64_t keys[8];

static int choose_keys(void *arg)
{
	unsigned int n = 0;

	(void)arg;
	for (uint64_t i = 0; i < 3000; i++)
		numbers_put(numbers, i, i);
	for (uint64_t key = 0; n < 8; key++) {
		uint64_t hash = stm_hash(&key, 8, numbers->map.seed);

		if ((hash & 0xfe0) >> 5 == n * 9 && (key < 3000) == (n < 4))
			keys[n++] = key;
	}
	return 0;
}

enum { THERE, THERE_TOO, ABSENT = 4, ABSENT_TOO };

#define OP(name, code)                                  \
	static int name(void *arg)                      \
	{                                               \
		uint64_t value = 0;                     \
								\
		(void)arg;                              \
		(void)value;                            \
		code;                                   \
		return 0;                               \
	}
OP(look_there, numbers_get(numbers, keys[THERE], &value))
OP(look_there_too, numbers_get(numbers, keys[THERE_TOO], &value))
OP(change_there, numbers_put(numbers, keys[THERE], 5))
OP(change_there_too, numbers_put(numbers, keys[THERE_TOO], 5))
OP(look_absent, numbers_get(numbers, keys[ABSENT], &value))
OP(insert_absent, numbers_put(numbers, keys[ABSENT], 6))
OP(insert_absent_too, numbers_put(numbers, keys[ABSENT_TOO], 6))
OP(remove_absent, numbers_remove(numbers, keys[ABSENT]))
OP(remove_absent_too, numbers_remove(numbers, keys[ABSENT_TOO]))
OP(read_size, numbers_size(numbers))
OP(walk, struct stm_map_cursor c = STM_MAP_CURSOR(numbers); while (numbers_next(&c)) value++)
/* Splits many buckets, and doubles the number of those that there may be. */
#define MANY 3000
#define MANY_FIRST 1000000
OP(insert_many, for (uint64_t i = 0; i < MANY; i++) numbers_put(numbers, MANY_FIRST + i, i))
#define OTHERS 50
#define OTHERS_FIRST 2000000
OP(insert_others, for (uint64_t i = 0; i < OTHERS; i++) numbers_put(numbers, OTHERS_FIRST + i, i))
OP(remove_others, for (uint64_t i = 0; i < OTHERS; i++) numbers_remove(numbers, OTHERS_FIRST + i))

TEST(what_conflicts)
{
	ASSERT_EQ(0, open_heap(HEAP));
	ASSERT_EQ(0, stm_atomic(make_numbers, NULL));
	EXPECT_EQ(1, conflict(walk, insert_absent, NULL)); /* there is nothing: that, too, was seen */
	ASSERT_EQ(0, stm_atomic(free_numbers, NULL));
	ASSERT_EQ(0, stm_atomic(make_numbers, NULL));
	ASSERT_EQ(0, stm_atomic(choose_keys, NULL));

	EXPECT_EQ(0, conflict(look_there, change_there_too, NULL));
	EXPECT_EQ(0, conflict(change_there, change_there_too, NULL));
	EXPECT_EQ(0, conflict(look_there, look_there_too, NULL));
	EXPECT_EQ(0, conflict(look_there, insert_absent, NULL));
	EXPECT_EQ(0, conflict(remove_absent_too, remove_absent, NULL));
	EXPECT_EQ(0, conflict(insert_absent, insert_absent_too, NULL));
	EXPECT_EQ(0, conflict(change_there, remove_absent_too, NULL));
	EXPECT_EQ(0, conflict(remove_absent, insert_absent_too, NULL));

	EXPECT_EQ(1, conflict(look_there, change_there, NULL));
	EXPECT_EQ(1, conflict(change_there, change_there, NULL));
	EXPECT_EQ(1, conflict(look_absent, insert_absent, NULL));
	EXPECT_EQ(1, conflict(look_absent, remove_absent, NULL));
	EXPECT_EQ(1, conflict(insert_absent, insert_absent, NULL));
	EXPECT_EQ(1, conflict(remove_absent, remove_absent, NULL));
	EXPECT_EQ(1, conflict(read_size, insert_absent, NULL));
	EXPECT_EQ(0, conflict(read_size, change_there, NULL));
	EXPECT_EQ(1, conflict(walk, remove_absent, NULL));
	EXPECT_EQ(1, conflict(walk, insert_absent, NULL));
	EXPECT_EQ(1, conflict(walk, change_there, NULL));
	EXPECT_EQ(0, conflict(change_there, walk, NULL));
}

/* A key whose node another one's points to. */
static int find_key_behind(void *arg)
{
	(void)arg;
	for (uint64_t key = 0; key < 3000; key++) {
		const struct stm__map_place at = stm__map_find(&numbers->map, &numbers_type, &key);

		if (at.node && at.link != at.bucket) {
			keys[THERE] = key;
			return 0;
		}
	}
	return 1;
}

OP(remove_there, numbers_remove(numbers, keys[THERE]))

/* Look-ups do not mark the links they follow. */
TEST(a_removal_inside_a_chain_conflicts)
{
	ASSERT_EQ(0, open_heap(HEAP));
	ASSERT_EQ(0, stm_atomic(make_numbers, NULL));
	ASSERT_EQ(0, stm_atomic(choose_keys, NULL));
	ASSERT_EQ(0, stm_atomic(find_key_behind, NULL));
	EXPECT_EQ(1, conflict(look_there, remove_there, NULL));
	EXPECT_EQ(1, conflict(look_there, change_there, NULL)); /* which inserts it again */
}

/* A key in a bucket that no key of insert_many and insert_others goes to, nor to the other one of its granule. */
static int find_quiet_key(void *arg)
{
	static uint8_t hit[4096];
	uint64_t value = 0;

	(void)arg;
	for (uint64_t key = MANY_FIRST; key < MANY_FIRST + MANY; key++)
		hit[stm_hash(&key, 8, numbers->map.seed) & 4095] = 1;
	for (uint64_t key = OTHERS_FIRST; key < OTHERS_FIRST + OTHERS; key++)
		hit[stm_hash(&key, 8, numbers->map.seed) & 4095] = 1;
	for (uint64_t key = 0; key < 3000; key++) {
		const uint64_t hash = stm_hash(&key, 8, numbers->map.seed), other = hash ^ 1;
		const uint64_t deep = (uint64_t)(12 + 1) << 56;

		if (!hit[hash & 4095] && !hit[other & 4095] && *stm__map_bucket(&numbers->map, hash) >= deep &&
		    *stm__map_bucket(&numbers->map, other) >= deep && numbers_get(numbers, key, &value)) {
			keys[THERE] = key;
			return 0;
		}
	}
	return 1;
}

/* A map that doubles conflicts with those alone whose buckets are split. */
TEST(who_grows_conflicts_with_nobody)
{
	uint64_t size_before;

	ASSERT_EQ(0, open_heap(HEAP));
	ASSERT_EQ(0, stm_atomic(make_numbers, NULL));
	ASSERT_EQ(0, stm_atomic(choose_keys, NULL));
	ASSERT_EQ(0, stm_atomic(find_quiet_key, NULL));
	size_before = numbers->map.mask;
	EXPECT_EQ(0, conflict(change_there, insert_many, NULL));
	EXPECT_GE((uint64_t)numbers->map.mask, size_before * 2);
	EXPECT_EQ(0, conflict(look_there, insert_others, NULL));
	EXPECT_EQ(0, conflict(remove_others, change_there, NULL));
}

/* ---- a full heap ---- */

static int fill_heap(void *arg)
{
	uint64_t *n = arg;
	int error;

	for (*n = 0; !(error = numbers_put(numbers, *n, *n)); ++*n)
		;
	return error == -ENOMEM ? 0 : 1;
}

static int check_full(void *arg)
{
	uint64_t n = *(uint64_t *)arg, value;
	int bad = numbers_size(numbers) != n;

	for (uint64_t i = 0; i < n + 10; i++)
		bad += numbers_get(numbers, i, &value) != (i < n) || (i < n && value != i);
	return bad;
}

static int make_when_full(void *arg)
{
	(void)arg;
	while (stm_alloc(16))
		;
	errno = 0;
	return !numbers_new() && errno == ENOMEM ? 1 : 2;
}

TEST(a_full_heap_is_no_harm)
{
	uint64_t n = 0;

	ASSERT_EQ(0, open_heap(MIB));
	ASSERT_EQ(0, stm_atomic(make_numbers, NULL));
	EXPECT_EQ(0, stm_atomic(fill_heap, &n));
	EXPECT_GT(n, 10000);
	EXPECT_EQ(0, stm_atomic(check_full, &n));
	EXPECT_EQ(0, stm_atomic(free_numbers, NULL));
	EXPECT_EQ(1, stm_atomic(make_when_full, NULL));
	EXPECT_EQ(0, missing(MIB));
}

/* ---- the hash ---- */

/* Keys that differ in few bits, anywhere, fill 4,096 buckets as chance would: within 6 standard deviations. */
TEST(the_hash_spreads_keys)
{
	static unsigned int buckets[4096];

	for (unsigned int shift = 0; shift <= 48; shift += 6) {
		for (unsigned int from = 0; from <= 52; from += 13) {
			double sum = 0;

			memset(buckets, 0, sizeof(buckets));
			for (uint64_t i = 0; i < 65536; i++) {
				uint64_t key = i << shift;

				buckets[stm_hash(&key, sizeof(key), 12345) >> from & 4095]++;
			}
			for (unsigned int b = 0; b < 4096; b++)
				sum += (buckets[b] - 16.0) * (buckets[b] - 16.0) / 16.0;
			/* chi-square of 4,095 degrees of freedom: deviation 90.5 */
			EXPECT_LT(sum, 4095 + 6 * 90.5)
				TH_LOG("shift %u, bits from %u", shift, from);
		}
	}
}

/* ---- wrong use ---- */

static void put_outside(void *arg)
{
	(void)arg;
	if (!open_heap(HEAP) && !stm_atomic(make_numbers, NULL))
		numbers_put(numbers, 1, 1);
}

TEST(wrong_use)
{
	struct ended e = run_child(put_outside, NULL);

	EXPECT_TRUE(was_killed_by(&e, SIGABRT) && said(&e, "stm_map_put", "outside a transaction"))
		TH_LOG("%s", how(&e));
}

TEST_HARNESS_MAIN
