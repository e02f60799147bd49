// SPDX-License-Identifier: MIT
/*
 * collect_history_test.c - hash maps and counters are serialisable: random transactions of 2 to 8 threads, which a
 * checker executes one by one (collect_history.h).
 *
 * STM_SEED=n repeats a run's choices, though not its timing. STM_LONG=1 runs many times longer.
 */
#include <errno.h>
#include <limits.h>

#include <uffdstm/map.h>

#include "collect_history.h"

#define HEAP (64 * MIB)
#define KEYS 300u               /* of the map: from 16 buckets to 256 and more */

/* Words of the model: the map's values, and what counts. */
enum { SIZE = KEYS, COUNTERS, WORDS = COUNTERS + 3 };

STM_MAP(numbers, uint64_t, uint64_t);

static struct numbers STM *map;
static struct stm_counter STM *counters[3];     /* by enum stm_counter_kind */

/* ---- what transactions do ---- */

static void set_event(struct collect_thread *t, uint64_t key, enum history_set what, bool found)
{
	collect_event(t, HISTORY_SET, key, (uint64_t)what << 1 | found);
}

static void insert(struct collect_thread *t, uint64_t key, uint64_t value)
{
	bool found = numbers_insert(map, key, value) == -EEXIST;

	set_event(t, key, HISTORY_INSERT, found);
	if (!found) {
		collect_event(t, HISTORY_WRITE, key, value);
		collect_event(t, HISTORY_ADD, SIZE, 1);
	}
}

static void put(struct collect_thread *t, uint64_t key, uint64_t value)
{
	uint64_t old;
	bool found = numbers_get(map, key, &old);

	numbers_put(map, key, value);
	set_event(t, key, HISTORY_INSERT, found);
	collect_event(t, HISTORY_WRITE, key, value);
	if (!found)
		collect_event(t, HISTORY_ADD, SIZE, 1);
}

static void walk(struct collect_thread *t)
{
	struct stm_map_cursor cursor = STM_MAP_CURSOR(map);
	struct numbers_entry STM *entry;
	uint8_t seen[KEYS] = { 0 };

	while (!schedule_failures() && (entry = numbers_next(&cursor))) {
		uint64_t key = entry->key;

		if (key >= KEYS || seen[key]++)
			schedule_fail("a walk comes to key %llu twice, or there is no such key", (unsigned long long)key);
		else
			collect_event(t, HISTORY_READ, key, entry->value);
	}
	for (uint64_t key = 0; key < KEYS; key++)
		set_event(t, key, HISTORY_HAS, seen[key]);
}

static void map_op(struct collect_thread *t)
{
	/* First some, then all, so that it grows for a while. */
	uint64_t key = collect_below(t, collect_below(t, 3) ? KEYS : KEYS / 10), value = collect_new(t);
	uint64_t old;
	bool found;

	switch (collect_below(t, 64)) {
	case 0:
		walk(t);
		break;
	case 1:
		collect_event(t, HISTORY_READ, SIZE, numbers_size(map));
		break;
	case 2 ... 17:
		insert(t, key, value);
		break;
	case 18 ... 29:
		put(t, key, value);
		break;
	case 30 ... 41:
		found = numbers_remove(map, key);
		set_event(t, key, HISTORY_REMOVE, found);
		if (found)
			collect_event(t, HISTORY_ADD, SIZE, (uint64_t)-1);
		break;
	default:
		found = numbers_get(map, key, &old);
		set_event(t, key, HISTORY_HAS, found);
		if (found)
			collect_event(t, HISTORY_READ, key, old);
	}
}

static void counter_op(struct collect_thread *t)
{
	static const enum history_what adds[] = {
		[STM_COUNTER_SUM] = HISTORY_ADD,
		[STM_COUNTER_MIN] = HISTORY_LEAST,
		[STM_COUNTER_MAX] = HISTORY_MOST,
	};
	const unsigned int kind = (unsigned int)collect_below(t, 3);
	const long n = (long)collect_below(t, 1000) - 500;

	if (collect_below(t, 4)) {
		stm_counter_add(counters[kind], n);
		collect_event(t, adds[kind], COUNTERS + kind, (uint64_t)n);
	} else if (collect_below(t, 2)) {
		collect_event(t, HISTORY_READ, COUNTERS + kind, (uint64_t)stm_counter_get(counters[kind]));
	} else {
		stm_counter_set(counters[kind], n);
		collect_event(t, HISTORY_WRITE, COUNTERS + kind, (uint64_t)n);
	}
}

static void op(struct collect_thread *t)
{
	if (collect_below(t, 4))
		map_op(t);
	else
		counter_op(t);
}

/* ---- one run ---- */

static int make(void *arg)
{
	(void)arg;
	map = numbers_new();
	for (unsigned int kind = 0; kind < 3; kind++)
		counters[kind] = stm_counter_new(kind);
	return map && counters[0] && counters[1] && counters[2] ? 0 : ENOMEM;
}

static int free_all(void *arg)
{
	(void)arg;
	numbers_free(map);
	for (unsigned int kind = 0; kind < 3; kind++)
		stm_counter_free(counters[kind]);
	return 0;
}

static void compare(struct checker_model *model)
{
	uint64_t value, n = 0;

	for (uint64_t key = 0; key < KEYS; key++) {
		const bool found = numbers_get(map, key, &value);

		if (found != model->keys[key] || (found && value != model->words[key]))
			schedule_fail("at the end: key %llu is not what it should be", (unsigned long long)key);
		n += found;
	}
	if (numbers_size(map) != n || model->words[SIZE] != n)
		schedule_fail("at the end: the map's size is %zu", numbers_size(map));
	for (unsigned int kind = 0; kind < 3; kind++)
		if ((uint64_t)stm_counter_get(counters[kind]) != model->words[COUNTERS + kind])
			schedule_fail("at the end: counter %u is %ld", kind, stm_counter_get(counters[kind]));
}

static bool run(unsigned int threads)
{
	uint64_t words[WORDS] = { [COUNTERS + STM_COUNTER_MIN] = LONG_MAX,
				  [COUNTERS + STM_COUNTER_MAX] = (uint64_t)LONG_MIN };
	uint8_t keys[WORDS] = { 0 };
	struct checker_model model = { .words = words, .words_n = WORDS, .keys = keys, .keys_n = WORDS };
	const struct collect_plan plan = {
		.make = make, .free = free_all, .op = op, .compare = compare, .model = &model,
		.seed = random_seed(), .heap = HEAP,
		.threads = threads, .transactions = COLLECT_TRANSACTIONS(12000), .ops = 5,
		.restart = 60, .cancel = 60, .yield = 8, .part = 20, .churn = 500,
	};

	return collect_history_run(&plan);
}

TEST(two_threads)
{
	EXPECT_TRUE(run(2));
}

TEST(four_threads)
{
	EXPECT_TRUE(run(4));
}

TEST(eight_threads)
{
	EXPECT_TRUE(run(8));
}

TEST_HARNESS_MAIN
