// SPDX-License-Identifier: MIT
/*
 * move_history_test.c - transactions that use several collections at once are serialisable: items move from a hash map,
 * an ordered map, a vector, a FIFO queue or a priority queue to another one of them. A checker executes the
 * transactions one by one (collect_history.h), and at each moment all items are somewhere, once: their weights have
 * the same sum, by counters and by what is found.
 *
 * STM_SEED=n repeats a run's choices, though not its timing. STM_LONG=1 runs many times longer.
 */
#include <time.h>

#include <uffdstm/map.h>
#include <uffdstm/ordered.h>

#include "collect_record.h"

#define HEAP (16 * MIB)
#define ITEMS 120u                              /* 1 .. ITEMS */
#define LIMIT 20u                               /* of the FIFO queue: often full */
#define LEVELS 3u                               /* of the priority queue */
#define LEVEL_LIMIT 8u
#define WAIT_NS 200000

enum place { MAP, ORDERED, VECTOR, FIFO, PRIORITY, PLACES };

/* Words of the model: the values of both maps by item, 0 where it is not there; the counters. */
enum { IN_MAP, IN_ORDERED = ITEMS + 1, COUNTERS = 2 * (ITEMS + 1), WORDS = COUNTERS + PLACES };
/* Queues of the model; the vector is its only sequence. */
enum { FIFO_QUEUE, PRIORITY_QUEUE, QUEUES = PRIORITY_QUEUE + LEVELS };

STM_MAP(weights, uint64_t, uint64_t);
STM_ORDERED_TYPE(sorted, uint64_t, uint64_t, stm_compare_u64)

static struct weights STM *map;
static struct stm_ordered STM *ordered;
static struct stm_vector STM *vector;
static struct stm_fifo STM *fifo;
static struct stm_priority STM *priority;
static struct stm_counter STM *counters[PLACES]; /* the weight of what is there */

static uint64_t weight_of(uint64_t item)
{
	return item * 0x9e37 % 1000 + 1;
}

static uint64_t weight_of_all(void)
{
	uint64_t sum = 0;

	for (uint64_t item = 1; item <= ITEMS; item++)
		sum += weight_of(item);
	return sum;
}

/* ---- maps ---- */

static bool map_has(struct collect_thread *t, uint64_t item)
{
	uint64_t weight;

	if (!weights_get(map, item, &weight))
		weight = 0;
	collect_event(t, HISTORY_READ, IN_MAP + item, weight);
	return weight;
}

/* A few are looked for, since most are elsewhere. 0: they all are. */
static uint64_t take_from_map(struct collect_thread *t)
{
	for (unsigned int i = 0; i < 5; i++) {
		const uint64_t item = 1 + collect_below(t, ITEMS);

		if (!map_has(t, item))
			continue;
		if (!weights_remove(map, item))
			schedule_fail("item %llu was in the map, and is not", (unsigned long long)item);
		collect_event(t, HISTORY_WRITE, IN_MAP + item, 0);
		return item;
	}
	return 0;
}

static void not_in_ordered(struct collect_thread *t, uint64_t from, uint64_t to)
{
	for (uint64_t item = from; item <= to; item++)
		collect_event(t, HISTORY_READ, IN_ORDERED + item, 0);
}

/* The first one at or behind a random one, which need not be there. */
static uint64_t take_from_ordered(struct collect_thread *t)
{
	const uint64_t from = 1 + collect_below(t, ITEMS);
	uint64_t item = from, weight;

	if (!sorted_ceiling(ordered, &item, &weight)) {
		not_in_ordered(t, from, ITEMS);
		return 0;
	}
	not_in_ordered(t, from, item - 1);
	collect_event(t, HISTORY_READ, IN_ORDERED + item, weight);
	if (!sorted_remove(ordered, item, NULL))
		schedule_fail("item %llu was in the ordered map, and is not", (unsigned long long)item);
	collect_event(t, HISTORY_WRITE, IN_ORDERED + item, 0);
	return item;
}

static void put_into_map(struct collect_thread *t, uint64_t item, bool is_ordered)
{
	const uint64_t weight = weight_of(item), word = (is_ordered ? IN_ORDERED : IN_MAP) + item;
	const int ret = is_ordered ? sorted_put(ordered, item, &weight) : weights_insert(map, item, weight);

	if (ret != is_ordered) /* 1: it is new in the ordered map */
		schedule_fail("insert of item %llu: %s", (unsigned long long)item, stm_strerror(ret));
	collect_event(t, HISTORY_READ, word, 0);
	collect_event(t, HISTORY_WRITE, word, weight);
}

/* ---- queues, and whoever waits for them ---- */

struct choice {
	struct collect_thread *t;
	enum place from;
	uint64_t item;
};

static struct timespec soon(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	time.tv_nsec += WAIT_NS;
	time.tv_sec += time.tv_nsec / 1000000000;
	time.tv_nsec %= 1000000000;
	return time;
}

static int wait_for_fifo(void *arg)
{
	struct choice *c = arg;
	const int ret = stm_fifo_get(fifo, &c->item);

	if (ret)
		schedule_fail("get: %s", stm_strerror(ret));
	collect_event(c->t, HISTORY_GET, FIFO_QUEUE, c->item);
	c->from = FIFO;
	return 0;
}

/* The FIFO queue was empty, or this would not run. */
static int wait_for_priority(void *arg)
{
	struct choice *c = arg;
	const struct timespec deadline = soon();
	unsigned int level;

	c->from = PRIORITY;
	collect_event(c->t, HISTORY_GET, FIFO_QUEUE, 0);
	if (stm_priority_get_until(priority, &level, &c->item, &deadline)) {
		c->item = 0;
		level = LEVELS;
	}
	for (unsigned int i = 0; i < level; i++)
		collect_event(c->t, HISTORY_GET, PRIORITY_QUEUE + i, 0);
	if (level < LEVELS)
		collect_event(c->t, HISTORY_GET, PRIORITY_QUEUE + level, c->item);
	return 0;
}

/* ---- what transactions do ---- */

static uint64_t take(struct collect_thread *t, enum place place)
{
	uint64_t item;

	switch (place) {
	case MAP:
		return take_from_map(t);
	case ORDERED:
		return take_from_ordered(t);
	case VECTOR:
		item = record_pop(t, vector, 0);
		return item == HISTORY_NONE ? 0 : item;
	case FIFO:
		return record_fifo_get(t, fifo, FIFO_QUEUE);
	default:
		return record_priority_get(t, priority, LEVELS, PRIORITY_QUEUE);
	}
}

/* False: it is full. */
static bool put(struct collect_thread *t, enum place place, uint64_t item)
{
	switch (place) {
	case MAP:
	case ORDERED:
		put_into_map(t, item, place == ORDERED);
		return true;
	case VECTOR:
		record_push(t, vector, 0, item);
		return true;
	case FIFO:
		return record_fifo_put(t, fifo, FIFO_QUEUE, LIMIT, item);
	default:
		return record_priority_put(t, priority, item % LEVELS, PRIORITY_QUEUE, LEVEL_LIMIT, item);
	}
}

static void count(struct collect_thread *t, enum place place, uint64_t weight)
{
	stm_counter_add(counters[place], (long)weight);
	collect_event(t, HISTORY_ADD, COUNTERS + place, weight);
}

static void settle(struct collect_thread *t, enum place from, uint64_t item)
{
	enum place to = collect_below(t, PLACES);

	if (!put(t, to, item)) {
		if (collect_below(t, 2))
			stm_cancel(1);
		to = VECTOR;
		put(t, to, item);
	}
	count(t, from, -weight_of(item));
	count(t, to, weight_of(item));
}

static void move(struct collect_thread *t)
{
	const enum place from = collect_below(t, PLACES);
	const uint64_t item = take(t, from);

	if (item)
		settle(t, from, item);
}

static void move_from_either(struct collect_thread *t)
{
	struct choice c = { .t = t };

	if (stm_or_else(wait_for_fifo, &c, wait_for_priority, &c))
		schedule_fail("stm_or_else failed");
	if (c.item)
		settle(t, c.from, c.item);
}

static void audit_counters(struct collect_thread *t)
{
	uint64_t sum = 0;

	for (unsigned int place = 0; place < PLACES; place++) {
		const uint64_t weight = (uint64_t)stm_counter_get(counters[place]);

		collect_event(t, HISTORY_READ, COUNTERS + place, weight);
		sum += weight;
	}
	if (sum != weight_of_all())
		schedule_fail("opacity: by the counters all items weigh %llu", (unsigned long long)sum);
}

/* All that is anywhere, taken out and put back by an abort. */
static void audit_by_taking(struct collect_thread *t)
{
	uint64_t sum = 0, item;

	for (item = 1; item <= ITEMS; item++) {
		if (map_has(t, item)) {
			weights_remove(map, item);
			collect_event(t, HISTORY_WRITE, IN_MAP + item, 0);
			sum += weight_of(item);
		}
	}
	for (enum place place = VECTOR; place < PLACES; place++)
		while ((item = take(t, place)))
			sum += weight_of(item);
	for (item = 1; sorted_ceiling(ordered, &item, NULL); sum += weight_of(item++))
		;
	if (sum != weight_of_all())
		schedule_fail("opacity: all items that there are weigh %llu", (unsigned long long)sum);
	stm_cancel(1);
}

static void op(struct collect_thread *t)
{
	const uint64_t r = collect_below(t, 200);

	if (r == 0)
		audit_by_taking(t);
	else if (r < 10)
		audit_counters(t);
	else if (r < 20)
		move_from_either(t);
	else if (r < 40)
		map_has(t, 1 + collect_below(t, ITEMS));
	else
		move(t);
}

/* ---- one run ---- */

static int make(void *arg)
{
	(void)arg;
	map = weights_new();
	ordered = sorted_new();
	vector = stm_vector_new(sizeof(uint64_t));
	fifo = stm_fifo_new(sizeof(uint64_t), LIMIT);
	priority = stm_priority_new(sizeof(uint64_t), LEVELS, LEVEL_LIMIT);
	for (unsigned int place = 0; place < PLACES; place++)
		counters[place] = stm_counter_new(STM_COUNTER_SUM);
	for (uint64_t item = 1; item <= ITEMS; item++)
		weights_insert(map, item, weight_of(item));
	stm_counter_add(counters[MAP], (long)weight_of_all());
	return 0;
}

static int free_all(void *arg)
{
	(void)arg;
	weights_free(map);
	sorted_free(ordered);
	stm_vector_free(vector);
	stm_fifo_free(fifo);
	stm_priority_free(priority);
	for (unsigned int place = 0; place < PLACES; place++)
		stm_counter_free(counters[place]);
	return 0;
}

static void compare(struct checker_model *model)
{
	uint64_t weight, sum = 0;

	for (uint64_t item = 1; item <= ITEMS; item++) {
		if (model->words[IN_MAP + item] != (weights_get(map, item, &weight) ? weight : 0) ||
		    model->words[IN_ORDERED + item] != (sorted_get(ordered, item, &weight) ? weight : 0))
			schedule_fail("at the end: item %llu is elsewhere", (unsigned long long)item);
	}
	for (unsigned int place = 0; place < PLACES; place++) {
		if ((uint64_t)stm_counter_get(counters[place]) != model->words[COUNTERS + place])
			schedule_fail("at the end: counter %u is %ld", place, stm_counter_get(counters[place]));
		sum += model->words[COUNTERS + place];
	}
	if (sum != weight_of_all())
		schedule_fail("at the end: all items weigh %llu", (unsigned long long)sum);
	compare_vector(vector, &model->sequences[0], "the vector");
	compare_fifo(fifo, &model->queues[FIFO_QUEUE], "the FIFO queue");
	compare_priority(priority, &model->queues[PRIORITY_QUEUE], LEVELS);
}

static bool run(unsigned int threads, unsigned int torture)
{
	uint64_t words[WORDS] = { [COUNTERS + MAP] = weight_of_all() };
	struct checker_queue queues[QUEUES] = { { 0 } };
	struct checker_sequence sequence = { 0 };
	struct checker_model model = { .words = words, .words_n = WORDS, .queues = queues, .queues_n = QUEUES,
				       .sequences = &sequence, .sequences_n = 1 };
	const struct collect_plan plan = {
		.make = make, .free = free_all, .op = op, .compare = compare, .model = &model,
		.seed = random_seed(), .heap = HEAP,
		.threads = threads, .transactions = COLLECT_TRANSACTIONS(12000) / (torture ? 4 : 1), .ops = 4,
		.restart = 60, .cancel = 60, .validate = 200, .yield = 8, .part = 20, .churn = 500,
		.torture = torture,
	};
	bool ok;

	for (uint64_t item = 1; item <= ITEMS; item++)
		words[IN_MAP + item] = weight_of(item);
	ok = collect_history_run(&plan);
	for (unsigned int i = 0; i < QUEUES; i++)
		free(queues[i].items);
	free(sequence.items);
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
