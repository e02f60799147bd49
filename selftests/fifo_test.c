// SPDX-License-Identifier: MIT
/*
 * fifo_test.c - FIFO and priority queues against a plain model; what conflicts; full heaps; wrong use.
 *
 * STM_SEED=n repeats a run, STM_LONG=1 runs longer.
 */
#include <uffdstm/fifo.h>

#include "collect_support.h"

#define HEAP (8 * MIB)
#define MODEL_MAX 100000u

static struct stm_fifo STM *fifo;
static struct stm_priority STM *priority;
static size_t item_size;
static uint64_t limit;

/* The model: item number n is in it if taken <= n < added. Items are told apart by their contents. */
struct state {
	uint32_t taken, added;
};

static struct state state, before;
static const char *wrong;

static void expect(bool ok, const char *what)
{
	if (!ok && !wrong)
		wrong = what;
}

static void make_item(uint32_t n, uint8_t *item)
{
	for (size_t i = 0; i < item_size; i++)
		item[i] = pattern(n, i);
}

static bool item_is(uint32_t n, const uint8_t *item)
{
	uint8_t expected[STM_FIFO_ITEM_MAX];

	make_item(n, expected);
	return !memcmp(expected, item, item_size);
}

static void one_put(void)
{
	_Alignas(16) uint8_t item[STM_FIFO_ITEM_MAX] = { 0 };
	const bool full = limit && state.added - state.taken == limit;

	make_item(state.added, item);
	expect(stm_fifo_try_put(fifo, item) == (full ? -EAGAIN : 0), "put says whether there is room");
	state.added += !full;
}

static void one_get(uint64_t random)
{
	_Alignas(16) uint8_t item[STM_FIFO_ITEM_MAX];
	const bool empty = state.added == state.taken;

	if (random % 4 == 0) {
		expect(stm_fifo_peek(fifo, item) == (empty ? -EAGAIN : 0), "peek says whether there is one");
		expect(empty || item_is(state.taken, item), "peek gives the oldest");
	}
	if (random / 4 % 8 == 0)
		expect(stm_fifo_length(fifo) == state.added - state.taken, "the length");
	if (random / 32 % 8 == 0) {
		expect(stm_fifo_try_get(fifo, NULL) == (empty ? -EAGAIN : 0), "get says so without a copy, too");
	} else {
		expect(stm_fifo_try_get(fifo, item) == (empty ? -EAGAIN : 0), "get says whether there was one");
		expect(empty || item_is(state.taken, item), "get gives the oldest");
	}
	state.taken += !empty;
}

struct work {
	uint64_t random;
	unsigned int puts;              /* of 100 operations */
};

static int some_work(void *arg)
{
	struct work *w = arg;
	const unsigned int ops = 1 + (unsigned int)random_below(&w->random, 30);

	state = before;
	for (unsigned int i = 0; i < ops; i++) {
		const uint64_t r = random_next(&w->random);

		if (r % 100 < w->puts)
			one_put();
		else
			one_get(r >> 8);
	}
	if (random_below(&w->random, 10) == 0)
		stm_restart();
	return random_below(&w->random, 10) == 0;
}

static int make(void *arg)
{
	(void)arg;
	fifo = stm_fifo_new(item_size, limit);
	return fifo ? 0 : errno;
}

static int destroy(void *arg)
{
	(void)arg;
	stm_fifo_free(fifo);
	return 0;
}

FIXTURE(model) {
};

FIXTURE_VARIANT(model) {
	size_t item_size;
	uint64_t limit;
};

FIXTURE_VARIANT_ADD(model, bytes) { .item_size = 1 };
FIXTURE_VARIANT_ADD(model, numbers) { .item_size = 8 };
FIXTURE_VARIANT_ADD(model, numbers_at_most_5) { .item_size = 8, .limit = 5 };
FIXTURE_VARIANT_ADD(model, at_most_1) { .item_size = 24, .limit = 1 };
FIXTURE_VARIANT_ADD(model, texts_at_most_100) { .item_size = 100, .limit = 100 };
FIXTURE_VARIANT_ADD(model, large) { .item_size = STM_FIFO_ITEM_MAX, .limit = 60 };

FIXTURE_SETUP(model)
{
	ASSERT_EQ(0, open_heap(HEAP));
	item_size = variant->item_size;
	limit = variant->limit;
	ASSERT_EQ(0, stm_atomic(make, NULL));
}

FIXTURE_TEARDOWN(model)
{
	EXPECT_EQ(0, stm_atomic(destroy, NULL)); /* with what is in it */
	EXPECT_EQ(0, missing(HEAP));
}

TEST_F(model, is_followed)
{
	struct work w = { .random = random_seed() };
	const unsigned int rounds = 600 * long_factor(20) / strict_divisor();

	printf("# STM_SEED=%llu\n", (unsigned long long)w.random);
	for (unsigned int phase = 0; phase < 8; phase++) {
		w.puts = phase % 4 == 0 ? 70 : phase % 4 == 2 ? 30 : 50;
		for (unsigned int i = 0; i < rounds; i++) {
			if (stm_atomic(some_work, &w) == 0)
				before = state;
			ASSERT_EQ(NULL, wrong);
		}
	}
}

/* ---- levels ---- */

#define LEVELS 7u

static struct state levels[LEVELS], levels_before[LEVELS];

static int make_priority(void *arg)
{
	(void)arg;
	priority = stm_priority_new(sizeof(uint64_t), LEVELS, limit);
	return priority ? 0 : errno;
}

static int destroy_priority(void *arg)
{
	(void)arg;
	stm_priority_free(priority);
	return 0;
}

static void priority_put(unsigned int level)
{
	struct state *s = &levels[level];
	const bool full = s->added - s->taken == limit;
	const uint64_t item = (uint64_t)level << 32 | s->added;

	expect(stm_priority_try_put(priority, level, &item) == (full ? -EAGAIN : 0), "put says whether there is room");
	s->added += !full;
}

static void priority_get(void)
{
	unsigned int level = LEVELS, first = 0;
	uint64_t item = 0, length = 0;

	for (unsigned int i = 0; i < LEVELS; i++)
		length += levels[i].added - levels[i].taken;
	expect(stm_priority_length(priority) == length, "the length");
	while (first < LEVELS && levels[first].added == levels[first].taken)
		first++;
	expect(stm_priority_try_get(priority, &level, &item) == (first == LEVELS ? -EAGAIN : 0),
	       "get says whether there was one");
	if (first == LEVELS)
		return;
	expect(level == first && item == ((uint64_t)first << 32 | levels[first].taken),
	       "get gives the oldest of the first level");
	levels[first].taken++;
}

static int some_priorities(void *arg)
{
	struct work *w = arg;

	memcpy(levels, levels_before, sizeof(levels));
	for (unsigned int i = 0; i < 10; i++) {
		const uint64_t r = random_next(&w->random);

		if (r % 100 < w->puts)
			priority_put((unsigned int)(r >> 32) % LEVELS);
		else
			priority_get();
	}
	expect(stm_priority_try_put(priority, LEVELS, w) == -EINVAL, "there is no such level");
	return random_below(&w->random, 10) == 0;
}

TEST(levels_are_emptied_in_order)
{
	struct work w = { .random = random_seed() };

	limit = 50;
	ASSERT_EQ(0, open_heap(HEAP));
	ASSERT_EQ(0, stm_atomic(make_priority, NULL));
	for (unsigned int i = 0; i < 2000 / strict_divisor(); i++) {
		w.puts = i / 100 % 2 ? 30 : 70;
		if (stm_atomic(some_priorities, &w) == 0)
			memcpy(levels_before, levels, sizeof(levels));
		ASSERT_EQ(NULL, wrong);
	}
	ASSERT_EQ(0, stm_atomic(destroy_priority, NULL));
	EXPECT_EQ(0, missing(HEAP));
}

/* ---- a full heap ---- */

static int fill_and_put(void *arg)
{
	uint8_t item[STM_FIFO_ITEM_MAX] = { 0 };
	int ret = 0;

	for (state.added = 0; !ret && state.added < MODEL_MAX; state.added++) {
		if (state.added == 1)
			alloc_many(arg); /* some room for chunks is left */
		make_item(state.added, item);
		ret = stm_fifo_try_put(fifo, item);
	}
	state.added--;
	return ret == -ENOMEM ? 0 : 1;
}

static int get_all(void *arg)
{
	(void)arg;
	while (state.added != state.taken && !wrong)
		one_get(7);
	one_get(7);
	return 0;
}

TEST(a_full_heap_is_an_error)
{
	ASSERT_EQ(0, open_heap(2 * MIB));
	item_size = 100;
	ASSERT_EQ(0, stm_atomic(make, NULL));
	many.n = sizeof(many.p) / sizeof(many.p[0]);
	many.size = 30000;
	ASSERT_EQ(0, stm_atomic(fill_and_put, &many));
	printf("# full at %u\n", state.added);
	EXPECT_LT(10, state.added);
	ASSERT_EQ(0, stm_atomic(get_all, NULL));
	EXPECT_EQ(NULL, wrong);
	ASSERT_EQ(0, stm_atomic(free_many, &many));
	ASSERT_EQ(0, stm_atomic(destroy, NULL));
	EXPECT_EQ(0, missing(2 * MIB));
}

/* ---- what conflicts ---- */

STM_FIFO_TYPE(longs, long)

/* A queue that went on for a while, and then has @items in it; and a priority queue with as many in levels 1 and 2. */
static int make_with(void *arg)
{
	const struct work *w = arg;

	fifo = longs_new(limit);
	priority = stm_priority_new(sizeof(long), 4, 0);
	if (!fifo || !priority)
		return 1;
	for (long i = 0; i < 200; i++)
		if (longs_try_put(fifo, &i) || longs_try_get(fifo, NULL))
			return 1;
	for (long i = 0; i < (long)w->puts; i++)
		if (longs_try_put(fifo, &i) || stm_priority_try_put(priority, 1, &i) ||
		    stm_priority_try_put(priority, 2, &i))
			return 1;
	return 0;
}

static int free_both(void *arg)
{
	(void)arg;
	longs_free(fifo);
	stm_priority_free(priority);
	return 0;
}

static long dummy;

#define OP(name, call)                          \
	static int name(void *arg)              \
	{                                       \
		long value = 7;                 \
						\
		(void)arg;                      \
		call;                           \
		dummy = value;                  \
		return 0;                       \
	}

OP(put, longs_try_put(fifo, &value))
OP(get, longs_try_get(fifo, &value))
OP(peek, longs_peek(fifo, &value))
OP(length, longs_length(fifo))
OP(put_level_0, stm_priority_try_put(priority, 0, &value))
OP(put_level_1, stm_priority_try_put(priority, 1, &value))
OP(put_level_2, stm_priority_try_put(priority, 2, &value))
OP(get_level, stm_priority_try_get(priority, NULL, &value))

#define EXPECT_CONFLICT(expected, items, first, other)                                                  \
	do {                                                                                            \
		EXPECT_EQ(0, stm_atomic(make_with, (&(struct work){ .puts = items })));                 \
		EXPECT_EQ(expected, conflict(first, other, NULL)) {                                     \
			printf("# " #first ", " #other ", %u items\n", items);                          \
		}                                                                                       \
		EXPECT_EQ(0, stm_atomic(free_both, NULL));                                              \
	} while (0)

TEST(what_conflicts)
{
	ASSERT_EQ(0, open_heap(HEAP));
	limit = 0;
	EXPECT_CONFLICT(1, 5, put, put);
	EXPECT_CONFLICT(1, 5, get, get);
	EXPECT_CONFLICT(1, 5, peek, get);
	EXPECT_CONFLICT(0, 5, peek, put);
	EXPECT_CONFLICT(0, 5, get, peek);
	EXPECT_CONFLICT(1, 5, length, put);
	EXPECT_CONFLICT(1, 5, length, get);
	/* a put and a get: never while one item is there, in whatever chunk the ends are */
	for (unsigned int n = 1; n < 140; n++) {
		EXPECT_CONFLICT(0, n, get, put);
		EXPECT_CONFLICT(0, n, put, get);
	}
	EXPECT_CONFLICT(1, 0u, get, put);
	EXPECT_CONFLICT(0, 0u, put, get);       /* this get finds nothing and changes nothing */
	/* with a limit: where it is reached, and once in a while before */
	limit = 100;
	EXPECT_CONFLICT(0, 50, put, get);
	EXPECT_CONFLICT(0, 50, get, put);
	EXPECT_CONFLICT(1, 100, put, get);
	EXPECT_CONFLICT(0, 100, get, put);
	/* levels */
	EXPECT_CONFLICT(1, 5, get_level, put_level_0);
	EXPECT_CONFLICT(0, 5, get_level, put_level_1);
	EXPECT_CONFLICT(0, 5, get_level, put_level_2);
	EXPECT_CONFLICT(0, 5, put_level_0, put_level_2);
	EXPECT_EQ(0, missing(HEAP));
}

/* ---- waiting ---- */

#define THREADS 3u                      /* at each end */
#define ITEMS 2000u                     /* of each thread that puts */

struct end_of {
	pthread_t thread;
	unsigned int id;
	uint64_t last[THREADS];         /* seen last, of each that puts */
	uint64_t got, sum;
	const char *wrong;
};

static unsigned int items;              /* of each thread that puts */

struct transfer {
	uint64_t item;
	bool by_level;
};

static int put_one(void *arg)
{
	struct transfer *t = arg;

	const uint32_t n = (uint32_t)t->item;

	return t->by_level ? stm_priority_put(priority, n ? n % (LEVELS - 1) : LEVELS - 1, &t->item) :
			     stm_fifo_put(fifo, &t->item);
}

static int get_one(void *arg)
{
	struct transfer *t = arg;

	return t->by_level ? stm_priority_get(priority, NULL, &t->item) : stm_fifo_get(fifo, &t->item);
}

static bool by_level;

static void *putting(void *arg)
{
	struct end_of *end = arg;

	if (stm_thread_attach())
		return "attach";
	for (uint64_t i = 1; i <= items; i++) {
		struct transfer t = { (uint64_t)end->id << 32 | i, by_level };

		if (stm_atomic(put_one, &t))
			return "put";
	}
	stm_thread_detach();
	return NULL;
}

/* The items of one thread come in order, unless there are levels. Item 0 is the end: the last level. */
static void *getting(void *arg)
{
	struct end_of *end = arg;
	struct transfer t = { 0, by_level };

	if (stm_thread_attach())
		return "attach";
	for (;;) {
		if (stm_atomic(get_one, &t))
			return "get";
		if (!(uint32_t)t.item)
			break;
		if (!by_level && (uint32_t)t.item <= end->last[t.item >> 32])
			return "the order";
		end->last[t.item >> 32] = (uint32_t)t.item;
		end->sum += (uint32_t)t.item;
		end->got++;
	}
	stm_thread_detach();
	return NULL;
}

/* Whatever is put is got once, and nobody waits for ever. */
static void pass_items(struct __test_metadata *_metadata)
{
	struct end_of puts[THREADS], gets[THREADS];
	uint64_t got = 0, sum = 0;
	void *bad;

	memset(puts, 0, sizeof(puts));
	memset(gets, 0, sizeof(gets));
	items = ITEMS * long_factor(20) / strict_divisor();
	for (unsigned int i = 0; i < THREADS; i++) {
		puts[i].id = gets[i].id = i;
		ASSERT_EQ(0, pthread_create(&gets[i].thread, NULL, getting, &gets[i]));
		ASSERT_EQ(0, pthread_create(&puts[i].thread, NULL, putting, &puts[i]));
	}
	for (unsigned int i = 0; i < THREADS; i++) {
		pthread_join(puts[i].thread, &bad);
		EXPECT_EQ(NULL, bad);
	}
	for (unsigned int i = 0; i < THREADS; i++) {
		struct transfer end = { 0, by_level };

		EXPECT_EQ(0, stm_atomic(put_one, &end));
	}
	for (unsigned int i = 0; i < THREADS; i++) {
		pthread_join(gets[i].thread, &bad);
		EXPECT_EQ(NULL, bad);
		got += gets[i].got;
		sum += gets[i].sum;
	}
	EXPECT_EQ(THREADS * items, got);
	EXPECT_EQ((uint64_t)THREADS * items * (items + 1) / 2, sum);
}

TEST(gets_wait_for_puts)
{
	item_size = sizeof(uint64_t);
	ASSERT_EQ(0, open_heap(HEAP));
	ASSERT_EQ(0, stm_atomic(make, NULL));
	pass_items(_metadata);
	ASSERT_EQ(0, stm_atomic(destroy, NULL));
	EXPECT_EQ(0, missing(HEAP));
}

TEST(puts_wait_for_gets)
{
	item_size = sizeof(uint64_t);
	limit = 2;
	ASSERT_EQ(0, open_heap(HEAP));
	ASSERT_EQ(0, stm_atomic(make, NULL));
	pass_items(_metadata);
	ASSERT_EQ(0, stm_atomic(destroy, NULL));
	EXPECT_EQ(0, missing(HEAP));
}

TEST(both_wait_with_levels)
{
	by_level = true;
	limit = 3;
	ASSERT_EQ(0, open_heap(HEAP));
	ASSERT_EQ(0, stm_atomic(make_priority, NULL));
	pass_items(_metadata);
	ASSERT_EQ(0, stm_atomic(destroy_priority, NULL));
	EXPECT_EQ(0, missing(HEAP));
}

/* Each call that waits, where it cannot have what it waits for. */
static int wait_in_vain(void *arg)
{
	const struct timespec past = { 0, 0 };
	uint64_t item = 5;
	int bad = 0;

	bad += stm_fifo_get_until(fifo, &item, &past) != -ETIMEDOUT;
	bad += stm_fifo_get_until(fifo, &item, NULL) != -EINVAL;
	bad += stm_fifo_put_until(fifo, &item, &past) != 0;
	bad += stm_fifo_put_until(fifo, &item, &past) != -ETIMEDOUT;
	bad += stm_priority_get_until(priority, NULL, &item, &past) != -ETIMEDOUT;
	bad += stm_priority_put_until(priority, 9, &item, &past) != -EINVAL;
	bad += stm_priority_put(priority, LEVELS, &item) != -EINVAL;
	bad += stm_priority_put(priority, 1, &item) != 0;
	bad += stm_priority_put_until(priority, 1, &item, &past) != -ETIMEDOUT;
	if (arg) {
		bad += stm_become_inevitable("a test") != 0;
		bad += stm_fifo_put(fifo, &item) != -EPERM;
		bad += stm_priority_put(priority, 1, &item) != -EPERM;
		bad += stm_fifo_try_get(fifo, NULL) != 0;
		bad += stm_fifo_get(fifo, &item) != -EPERM;
		bad += stm_priority_get(priority, NULL, &item) != 0;
		bad += stm_priority_get(priority, NULL, &item) != -EPERM;
		return bad;
	}
	return bad ? bad : -1;
}

TEST(who_cannot_wait_is_told)
{
	item_size = sizeof(uint64_t);
	limit = 1;
	ASSERT_EQ(0, open_heap(HEAP));
	ASSERT_EQ(0, stm_atomic(make, NULL));
	ASSERT_EQ(0, stm_atomic(make_priority, NULL));
	EXPECT_EQ(-1, stm_atomic(wait_in_vain, NULL));
	EXPECT_EQ(0, stm_atomic(wait_in_vain, &limit));
	ASSERT_EQ(0, stm_atomic(destroy, NULL));
	ASSERT_EQ(0, stm_atomic(destroy_priority, NULL));
	EXPECT_EQ(0, missing(HEAP));
}

/* ---- wrong use ---- */

static int bad_sizes(void *arg)
{
	int bad = 0;

	(void)arg;
	errno = 0;
	bad += stm_fifo_new(0, 0) || errno != EINVAL;
	errno = 0;
	bad += stm_fifo_new(STM_FIFO_ITEM_MAX + 1, 0) || errno != EINVAL;
	errno = 0;
	bad += stm_priority_new(0, 1, 0) || errno != EINVAL;
	errno = 0;
	bad += stm_priority_new(8, 0, 0) || errno != EINVAL;
	errno = 0;
	bad += stm_priority_new(8, STM_PRIORITY_LEVELS + 1, 0) || errno != EINVAL;
	priority = stm_priority_new(8, STM_PRIORITY_LEVELS, 0);
	bad += !priority;
	stm_priority_free(priority);
	stm_priority_free(NULL);
	stm_fifo_free(NULL);
	return bad;
}

TEST(sizes)
{
	ASSERT_EQ(0, open_heap(HEAP));
	EXPECT_EQ(0, stm_atomic(bad_sizes, NULL));
	EXPECT_EQ(0, missing(HEAP));
}

static void outside(void *arg)
{
	item_size = 8;
	if (open_heap(HEAP) || stm_atomic(make, NULL))
		return;
	if (arg)
		stm_fifo_try_get(fifo, NULL);
	else
		stm_fifo_length(fifo);
}

TEST(a_call_outside_a_transaction_stops_the_process)
{
	struct ended e = run_child(outside, NULL);

	EXPECT_TRUE(was_killed_by(&e, SIGABRT) && said(&e, "stm_fifo_length", "outside a transaction"))
		TH_LOG("%s", how(&e));
	e = run_child(outside, &fifo);
	EXPECT_TRUE(was_killed_by(&e, SIGABRT) && said(&e, "stm_fifo_try_get", "outside a transaction"))
		TH_LOG("%s", how(&e));
}

TEST_HARNESS_MAIN
