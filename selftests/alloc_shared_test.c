// SPDX-License-Identifier: MIT
/*
 * alloc_shared_test.c - heap memory that goes from thread to thread: a full heap, leaving threads,
 * ten million blocks, and transactions whose snapshot is older than what became of a block.
 */
#include "heap_support.h"

#include "kselftest_harness.h"

/* The heap is full for one thread, and what that frees can be had by another, in another size. */
static void *fill_and_check(void *arg)
{
	struct many *m = arg;
	int error = stm_thread_attach();

	if (!error)
		error = stm_atomic(alloc_and_fill_many, m);
	if (!error)
		error = stm_atomic(check_many, m);
	if (!error)
		error = stm_atomic(free_many, m);
	if (!error)
		error = stm_thread_detach();
	return (void *)(intptr_t)error;
}

TEST(full_heap_goes_from_thread_to_thread)
{
	static const size_t sizes[] = { 64, 5000, 640 * KIB, 200, 28 * KIB };

	ASSERT_EQ(0, open_heap(4 * MIB));
	many.n = 70000;
	for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
		many.size = sizes[i % 5];
		ASSERT_EQ(NULL, in_thread(fill_and_check, &many));
		EXPECT_GT(many.got * many.size, 4 * MIB * 2 / 3);
	}
	EXPECT_EQ(0, missing(4 * MIB));
}

/* Threads that come and go leave their free memory to others. */
static void *some_of_all(void *arg)
{
	int error = stm_thread_attach();

	STM_ATOMIC {
		for (size_t size = 16; size <= 32 * KIB; size *= 2)
			stm_free(stm_alloc(size));
	}
	(void)arg;
	return (void *)(intptr_t)(error ? error : stm_outcome());
}

TEST(detach_gives_memory_to_others)
{
	ASSERT_EQ(0, open_heap(MIB));
	for (int i = 0; i < 200; i++) /* every other one exits attached */
		ASSERT_EQ(NULL, in_thread(some_of_all, NULL));
	EXPECT_EQ(0, missing(MIB));
}

/* ---- ten million pairs, by several threads ---- */

#define BAGS 64
#define BAG_BLOCKS 20
#define PAIRS_THREADS 4
#define PAIRS ((uint64_t)10000000)
#define PAIRS_HEAP (4 * MIB)

/* Heap memory: blocks that any thread may free. */
struct bag {
	struct { uint8_t STM *p; size_t size; } slots[BAG_BLOCKS];
	uint8_t key;
} __attribute__((__aligned__(16)));

struct swap {
	struct bag STM *bags;
	uint64_t random, rounds;
	unsigned int bad;
};

static int swap_bag(void *arg)
{
	struct swap *s = arg;
	uint64_t random = s->random;
	struct bag STM *bag = &s->bags[random_below(&random, BAGS)];
	uint8_t key = (uint8_t)random_next(&random);

	stm_write(bag);
	for (unsigned int i = 0; i < BAG_BLOCKS; i++) {
		uint8_t STM *old = bag->slots[i].p;
		size_t old_size = bag->slots[i].size, size = 1 + random_below(&random, 200);

		if (old) {
			stm_read(&old[0]);
			stm_read(&old[old_size - 1]);
			if (old[0] != bag->key || old[old_size - 1] != bag->key)
				return -1;
			stm_free(old);
		}
		uint8_t STM *new = stm_alloc(size);

		if (!new)
			return ENOMEM;
		new[0] = new[size - 1] = key;
		bag->slots[i].p = new;
		bag->slots[i].size = size;
	}
	bag->key = key;
	/* Some end otherwise, and must leave nothing behind. */
	return random_below(&random, 16) ? 0 : 1;
}

static void *swap_bags(void *arg)
{
	struct swap *s = arg;
	int error = stm_thread_attach();

	for (uint64_t i = 0; i < s->rounds && !error; i++) {
		int code = stm_atomic(swap_bag, s);

		if (code != 0 && code != 1)
			error = code;
		random_next(&s->random);
	}
	if (!error)
		error = stm_thread_detach();
	return (void *)(intptr_t)error;
}

static int make_bags(void *arg)
{
	struct bag STM **bags = arg;

	*bags = stm_zalloc(BAGS * sizeof(struct bag));
	return *bags ? 0 : ENOMEM;
}

static int empty_bags(void *arg)
{
	struct bag STM *bags = *(struct bag STM **)arg;

	stm_read_range(bags, BAGS * sizeof(*bags));
	for (unsigned int i = 0; i < BAGS; i++)
		for (unsigned int j = 0; j < BAG_BLOCKS; j++)
			stm_free(bags[i].slots[j].p);
	stm_free(bags);
	return 0;
}

FIXTURE(pairs) {
};

FIXTURE_SETUP(pairs)
{
}

FIXTURE_TEARDOWN(pairs)
{
}

TEST_F_TIMEOUT(pairs, ten_million_lose_nothing, 280)
{
	uint64_t seed = random_seed(), rounds = PAIRS / BAG_BLOCKS / PAIRS_THREADS / strict_divisor();
	struct swap swaps[PAIRS_THREADS];
	pthread_t threads[PAIRS_THREADS];
	struct bag STM *bags;

	TH_LOG("STM_SEED=%llu", (unsigned long long)seed);
	ASSERT_EQ(0, open_heap(PAIRS_HEAP));
	ASSERT_EQ(0, stm_atomic(make_bags, &bags));
	for (unsigned int i = 0; i < PAIRS_THREADS; i++) {
		swaps[i] = (struct swap){ bags, seed * PAIRS_THREADS + i, rounds, 0 };
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, swap_bags, &swaps[i]));
	}
	for (unsigned int i = 0; i < PAIRS_THREADS; i++) {
		void *result;

		ASSERT_EQ(0, pthread_join(threads[i], &result));
		EXPECT_EQ(NULL, result);
	}
	ASSERT_EQ(0, stm_atomic(empty_bags, &bags));
	EXPECT_EQ(0, missing(PAIRS_HEAP));
}

/* ---- old snapshots ---- */

/*
 * One thread begins, and stands still while the other commits; then it goes on with its old
 * snapshot. Only its first attempt is like that.
 */
struct old {
	pthread_barrier_t begun, committed;
	struct node STM *list;
	size_t size, n;
	unsigned int attempts, bad;
};

struct node {
	struct node STM *next;
	uint64_t number;
};

static int make_list(void *arg)
{
	struct old *o = arg;
	struct node STM *STM *at = (struct node STM *STM *)stm_root(0);

	for (size_t i = 0; i < o->n; i++) {
		struct node STM *node = stm_alloc(o->size);

		if (!node)
			return ENOMEM;
		node->number = i;
		node->next = NULL;
		stm_write(at);
		*at = node;
		at = &node->next;
	}
	return 0;
}

static int free_list(void *arg)
{
	struct old *o = arg;
	struct node STM *STM *root = (struct node STM *STM *)stm_root(0);
	struct node STM *node = STM_GET(*root), *next;
	size_t i = 0;

	for (; node; node = next, i++) {
		stm_read(node);
		next = node->next;
		stm_free(node);
	}
	STM_SET(*root, NULL);
	return i == o->n ? 0 : -1;
}

/* Wait for the other thread to commit, in the first attempt. */
static bool stand_still(struct old *o)
{
	if (o->attempts++)
		return false;
	pthread_barrier_wait(&o->begun);
	pthread_barrier_wait(&o->committed);
	return true;
}

/* The list is still there for an old snapshot, whatever it allocates and writes itself. */
static int alloc_beside_list(void *arg)
{
	struct old *o = arg;
	struct node STM *node = STM_GET(*(struct node STM *STM *)stm_root(0));
	size_t i = 0;

	if (!stand_still(o))
		return 0;
	for (size_t k = 0; k < o->n; k++) {
		void STM *p = stm_alloc(o->size);

		if (p)
			stm_memset(p, 0xee, o->size);
	}
	for (; node && i < o->n; node = STM_GET(node->next), i++) {
		if (STM_GET(node->number) != i) {
			o->bad++;
			return 0;
		}
	}
	o->bad += node || i != o->n;
	return 0;
}

static void *free_meanwhile(void *arg)
{
	struct old *o = arg;
	int error = stm_thread_attach();

	pthread_barrier_wait(&o->begun);
	if (!error)
		error = stm_atomic(free_list, o);
	pthread_barrier_wait(&o->committed);
	return (void *)(intptr_t)(error ? error : stm_thread_detach());
}

static void open_old(struct old *o)
{
	pthread_barrier_init(&o->begun, NULL, 2);
	pthread_barrier_init(&o->committed, NULL, 2);
}

static void *begin_then_alloc(void *arg)
{
	int error = stm_thread_attach();

	if (!error)
		error = stm_atomic(alloc_beside_list, arg);
	return (void *)(intptr_t)(error ? error : stm_thread_detach());
}

static void *list_in_thread(void *arg)
{
	int error = stm_thread_attach();

	if (!error)
		error = stm_atomic(make_list, arg);
	return (void *)(intptr_t)(error ? error : stm_thread_detach());
}

/* What mutant POOL breaks: memory goes to another thread with the position of its free. */
TEST(an_old_snapshot_gets_no_memory_freed_since)
{
	static const struct { size_t size, n; } lists[] = {
		{ 48, 2000 }, { 5000, 40 }, { 200 * KIB, 3 }
	};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		struct old o = { .size = lists[i].size, .n = lists[i].n };
		pthread_t a, b;
		void *result;

		ASSERT_EQ(0, open_heap(16 * MIB));
		open_old(&o);
		/* By a thread that leaves: else the free blocks would stay in its own lists. */
		ASSERT_EQ(NULL, in_thread(list_in_thread, &o));
		ASSERT_EQ(0, pthread_create(&a, NULL, begin_then_alloc, &o));
		ASSERT_EQ(0, pthread_create(&b, NULL, free_meanwhile, &o));
		ASSERT_EQ(0, pthread_join(a, &result));
		EXPECT_EQ(NULL, result);
		ASSERT_EQ(0, pthread_join(b, &result));
		EXPECT_EQ(NULL, result);
		EXPECT_EQ(0, o.bad);
		ASSERT_EQ(0, stm_fini());
	}
}

/*
 * The chunk of a block that an old snapshot knows is in use for another size by now. It asks for
 * the block's size, or frees it: it is to start again, and never to hear of the new use.
 */
enum { ASK, FREE, REALLOC };

struct question {
	struct old old;
	int kind;
};

static int ask_about_list(void *arg)
{
	struct question *q = arg;
	struct node STM *node = STM_GET(*(struct node STM *STM *)stm_root(0));

	if (!stand_still(&q->old))
		return 0;
	if (q->kind == ASK)
		q->old.bad += stm_usable_size(node) != q->old.size;
	else if (q->kind == FREE)
		stm_free(node);
	else
		stm_realloc(node, 10);
	return 0;
}

static void *reuse_meanwhile(void *arg)
{
	struct question *q = arg;
	int error = stm_thread_attach();

	many.size = 400;
	many.n = 70000;
	pthread_barrier_wait(&q->old.begun);
	if (!error)
		error = stm_atomic(free_list, &q->old);
	if (!error)
		error = stm_atomic(alloc_many, &many);
	pthread_barrier_wait(&q->old.committed);
	return (void *)(intptr_t)(error ? error : stm_thread_detach());
}

static void *begin_then_ask(void *arg)
{
	int error = stm_thread_attach();

	if (!error)
		error = stm_atomic(ask_about_list, arg);
	return (void *)(intptr_t)(error ? error : stm_thread_detach());
}

TEST(an_old_snapshot_is_not_told_of_later_uses)
{
	static const struct { size_t size, n; } lists[] = { { 48, 10000 }, { 68 * KIB, 6 } };

	for (int i = 0; i < 6; i++) {
		struct question q = {
			.old = { .size = lists[i / 3].size, .n = lists[i / 3].n },
			.kind = i % 3,
		};
		pthread_t a, b;
		void *result;

		ASSERT_EQ(0, open_heap(MIB));
		open_old(&q.old);
		ASSERT_EQ(NULL, in_thread(list_in_thread, &q.old));
		ASSERT_EQ(0, pthread_create(&a, NULL, begin_then_ask, &q));
		ASSERT_EQ(0, pthread_create(&b, NULL, reuse_meanwhile, &q));
		ASSERT_EQ(0, pthread_join(a, &result));
		EXPECT_EQ(NULL, result);
		ASSERT_EQ(0, pthread_join(b, &result));
		EXPECT_EQ(NULL, result);
		EXPECT_EQ(2, q.old.attempts);
		EXPECT_EQ(0, q.old.bad);
		ASSERT_EQ(0, stm_fini());
	}
}

/* Memory that only a newer snapshot may have is no reason for ENOMEM: it starts again. */
static int alloc_after_free(void *arg)
{
	struct old *o = arg;

	stm_read(stm_root(1));
	if (stand_still(o))
		pthread_barrier_wait(&o->committed);
	return stm_alloc(o->size) ? 0 : ENOMEM;
}

static void *free_for_other(void *arg)
{
	struct old *o = arg;
	int error = stm_thread_attach();

	if (!error)
		error = stm_atomic(make_list, o);
	pthread_barrier_wait(&o->begun);
	if (!error)
		error = stm_atomic(free_list, o);
	pthread_barrier_wait(&o->committed);
	if (!error)
		error = stm_thread_detach();
	pthread_barrier_wait(&o->committed);
	return (void *)(intptr_t)error;
}

static void *begin_then_need(void *arg)
{
	int error = stm_thread_attach();

	if (!error)
		error = stm_atomic(alloc_after_free, arg);
	return (void *)(intptr_t)(error ? error : stm_thread_detach());
}

TEST(memory_freed_since_is_had_by_starting_again)
{
	static const struct { size_t size, n; } lists[] = { { 32 * KIB, 30 }, { 900 * KIB, 1 } };

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
		struct old o = { .size = lists[i].size, .n = lists[i].n };
		pthread_t a, b;
		void *result;

		ASSERT_EQ(0, open_heap(MIB));
		open_old(&o);
		ASSERT_EQ(0, pthread_create(&b, NULL, free_for_other, &o));
		ASSERT_EQ(0, pthread_create(&a, NULL, begin_then_need, &o));
		ASSERT_EQ(0, pthread_join(a, &result));
		EXPECT_EQ(NULL, result);
		ASSERT_EQ(0, pthread_join(b, &result));
		EXPECT_EQ(NULL, result);
		EXPECT_EQ(2, o.attempts);
		ASSERT_EQ(0, stm_fini());
	}
}

TEST_HARNESS_MAIN
