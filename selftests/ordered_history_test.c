// SPDX-License-Identifier: MIT
/*
 * ordered_history_test.c - ordered maps and queues are serialisable: random transactions of 2 to 8 threads, which a
 * checker executes one by one (collect_history.h).
 *
 * A map is words to the checker, 0 where a key is missing; what a search passes is words that are 0.
 * STM_SEED=n repeats a run's choices, though not its timing; STM_RUNS=n is how many runs, each with the next seed.
 * STM_LONG=1 runs many times longer.
 */
#include <sys/random.h>

#include <uffdstm/ordered.h>

#include "collect_record.h"

#define HEAP (16 * MIB)
#define LEVELS 3u                               /* of the priority queue: queues 2, 3 and 4 of the model */
#define QUEUES (2 + LEVELS)
#define LIMIT 6u                                /* of queue 1, and of each level: often full */

struct value {
	uint64_t value, key, sum;               /* sum: of both, else the value is torn */
};

STM_ORDERED_TYPE(values, uint64_t, struct value, stm_compare_u64)

static struct stm_ordered STM *map;
static struct stm_fifo STM *fifos[2];
static struct stm_priority STM *priority;
static unsigned int keys;

/* ---- operations, recorded ---- */

static void read_value(struct collect_thread *t, uint64_t key, const struct value *v)
{
	if (v->key != key || v->sum != v->key + v->value)
		schedule_fail("opacity: key %llu has the value of %llu, or a torn one", (unsigned long long)key,
			      (unsigned long long)v->key);
	collect_event(t, HISTORY_READ, key, v->value);
}

static void read_nothing(struct collect_thread *t, uint64_t from, uint64_t end)
{
	for (uint64_t key = from; key < end; key++)
		collect_event(t, HISTORY_READ, key, 0);
}

static void map_get(struct collect_thread *t, uint64_t key)
{
	struct value v;

	if (values_get(map, key, &v))
		read_value(t, key, &v);
	else
		read_nothing(t, key, key + 1);
}

static void map_put(struct collect_thread *t, uint64_t key)
{
	const uint64_t value = collect_new(t);
	const struct value v = { value, key, value + key };
	struct value STM *p = collect_below(t, 4) ? NULL : values_find(map, key);
	int ret;

	if (p) {
		stm_memcpy_in(p, &v, sizeof(v));
	} else {
		ret = values_put(map, key, &v);
		if (ret < 0)
			schedule_fail("put: %s", stm_strerror(ret));
		else if (ret)
			read_nothing(t, key, key + 1);
	}
	collect_event(t, HISTORY_WRITE, key, value);
}

static void map_remove(struct collect_thread *t, uint64_t key)
{
	struct value v;
	const bool ask = collect_below(t, 2);

	if (!values_remove(map, key, ask ? &v : NULL)) {
		read_nothing(t, key, key + 1);
		return;
	}
	if (ask)
		read_value(t, key, &v);
	collect_event(t, HISTORY_WRITE, key, 0);
}

static void map_floor(struct collect_thread *t, uint64_t key)
{
	uint64_t found = key;
	struct value v;

	if (values_floor(map, &found, &v)) {
		read_value(t, found, &v);
		read_nothing(t, found + 1, key + 1);
	} else {
		read_nothing(t, 0, key + 1);
	}
}

static void map_range(struct collect_thread *t, uint64_t key)
{
	struct stm_ordered_cursor cursor;
	uint64_t next = key, found = key, left = 1 + collect_below(t, 60);
	struct value v;
	bool is;

	for (is = values_seek(&cursor, map, STM_ORDERED_CEILING, &found, &v); is;
	     is = values_next(&cursor, &found, &v)) {
		read_nothing(t, next, found);
		read_value(t, found, &v);
		next = found + 1;
		if (!--left)
			return;
	}
	read_nothing(t, next, keys);
}

static void map_op(struct collect_thread *t)
{
	const uint64_t key = collect_below(t, keys), r = collect_below(t, 100);

	if (r < 25)
		map_get(t, key);
	else if (r < 30)
		map_floor(t, key);
	else if (r < 35)
		map_range(t, key);
	else if (r < 36)
		collect_event(t, HISTORY_COUNT, 0, values_count(map));
	else if (r < (t->shrinks ? 48 : 88))
		map_put(t, key);
	else
		map_remove(t, key);
}

static void queue_op(struct collect_thread *t)
{
	const unsigned int queue = (unsigned int)collect_below(t, 2), r = (unsigned int)collect_below(t, 20);

	if (r == 0)
		collect_event(t, HISTORY_LENGTH, queue, stm_fifo_length(fifos[queue]));
	else if (r < (t->shrinks ? 8 : 11))
		record_fifo_put(t, fifos[queue], queue, LIMIT, collect_new(t)); /* full: queue 1 only */
	else
		record_fifo_get(t, fifos[queue], queue);
}

static void priority_op(struct collect_thread *t)
{
	if (collect_below(t, 2))
		record_priority_put(t, priority, (unsigned int)collect_below(t, LEVELS), 2, LIMIT, collect_new(t));
	else
		record_priority_get(t, priority, LEVELS, 2);
}

static void op(struct collect_thread *t)
{
	const uint64_t what = collect_below(t, 6);

	if (what < 4)
		map_op(t);
	else if (what == 4)
		queue_op(t);
	else
		priority_op(t);
}

/* ---- one run ---- */

static int make_all(void *arg)
{
	(void)arg;
	map = values_new();
	fifos[0] = stm_fifo_new(sizeof(uint64_t), 0);
	fifos[1] = stm_fifo_new(sizeof(uint64_t), LIMIT);
	priority = stm_priority_new(sizeof(uint64_t), LEVELS, LIMIT);
	return map && fifos[0] && fifos[1] && priority ? 0 : 1;
}

static int free_all(void *arg)
{
	(void)arg;
	values_free(map);
	stm_fifo_free(fifos[0]);
	stm_fifo_free(fifos[1]);
	stm_priority_free(priority);
	return 0;
}

static void compare(struct checker_model *model)
{
	struct value v;

	for (size_t i = 0; i < model->words_n; i++) {
		const uint64_t value = values_get(map, i, &v) ? v.value : 0;

		if (value != model->words[i])
			schedule_fail("at the end: key %zu has %#llx, not %#llx", i, (unsigned long long)value,
				      (unsigned long long)model->words[i]);
	}
	compare_fifo(fifos[0], &model->queues[0], "queue 0");
	compare_fifo(fifos[1], &model->queues[1], "queue 1");
	compare_priority(priority, &model->queues[2], LEVELS);
}

/* True if all is well. */
static bool run_history(uint64_t seed, bool torture)
{
	static const unsigned int threads_of[] = { 2, 3, 4, 8 }, keys_of[] = { 20, 100, 400, 2000 };
	struct checker_queue queues[QUEUES] = { { 0 } };
	struct checker_model model = { .queues = queues, .queues_n = QUEUES };
	struct collect_plan plan = {
		.make = make_all, .free = free_all, .op = op, .compare = compare, .model = &model,
		.seed = seed, .heap = HEAP,
		.transactions = COLLECT_TRANSACTIONS(24000) / (torture ? 6 : 1), .ops = 6,
		.validate = 200, .torture = torture ? 20 : 0,
	};
	uint64_t random = seed;
	bool ok;

	plan.threads = threads_of[random_below(&random, 4)];
	keys = keys_of[random_below(&random, 4)];
	plan.restart = (unsigned int)random_below(&random, 3) * 50;
	plan.cancel = (unsigned int)random_below(&random, 3) * 50;
	plan.part = (unsigned int)random_below(&random, 3) * 20;
	plan.yield = 4 + (unsigned int)random_below(&random, 3) * 12;
	model.words_n = keys;
	model.words = calloc(keys, sizeof(*model.words));
	printf("# %u keys, restart %u, cancel %u, part %u, yield %u\n", keys, plan.restart, plan.cancel, plan.part,
	       plan.yield);
	ok = collect_history_run(&plan);
	free(model.words);
	for (unsigned int i = 0; i < QUEUES; i++)
		free(queues[i].items);
	return ok;
}

FIXTURE(collections) {
	uint64_t seed;
	unsigned int runs;
};

FIXTURE_SETUP(collections)
{
	const char *runs = getenv("STM_RUNS"), *seed = getenv("STM_SEED");

	if (seed)
		self->seed = strtoull(seed, NULL, 0);
	else if (getrandom(&self->seed, sizeof(self->seed), 0) != sizeof(self->seed))
		self->seed = (uint64_t)getpid();
	self->seed %= 1000000000;
	self->runs = runs ? (unsigned int)atoi(runs) : 4;
}

FIXTURE_TEARDOWN(collections)
{
}

TEST_F_TIMEOUT(collections, are_serialisable, 1500)
{
	for (unsigned int i = 0; i < self->runs; i++)
		ASSERT_TRUE(run_history(self->seed + i, false));
}

TEST_F_TIMEOUT(collections, are_serialisable_under_torture, 1500)
{
	for (unsigned int i = 0; i < self->runs; i++)
		ASSERT_TRUE(run_history(self->seed + i, true));
}

TEST_HARNESS_MAIN
