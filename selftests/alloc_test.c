// SPDX-License-Identifier: MIT
/*
 * alloc_test.c - heap memory for one thread: sizes, realloc, abort, commit, a full heap, wrong use.
 */
#include "heap_support.h"

#include "kselftest_harness.h"

/* ---- sizes ---- */

#define SIZES 1400

struct sizes {
	void STM *p[SIZES];
	size_t size[SIZES], usable[SIZES];
	unsigned int bad;
};

static int alloc_sizes(void *arg)
{
	struct sizes *s = arg;

	for (size_t i = 0; i < SIZES; i++) {
		size_t size = i < 1000 ? i : i < 1300 ? 1000 + (i - 1000) * 237 : (i - 1300) * 2039;

		s->size[i] = size;
		s->p[i] = i % 2 ? stm_alloc(size) : stm_zalloc(size);
		if (!s->p[i])
			return ENOMEM;
		s->usable[i] = stm_usable_size(s->p[i]);
		s->bad += s->usable[i] < size || (uintptr_t)s->p[i] % 16;
		/* Small blocks are multiples of 16, larger ones waste a quarter, spans a page. */
		s->bad += size <= 128 && s->usable[i] > (size ? (size + 15) / 16 * 16 : 16);
		s->bad += size > 128 && size <= 32 * KIB && s->usable[i] > size + size / 4;
		s->bad += size > 32 * KIB && s->usable[i] >= size + 4 * KIB;
		for (size_t j = 0; i % 2 == 0 && j < size; j++)
			s->bad += ((uint8_t *)stm_local(s->p[i]))[j] != 0;
		fill(s->p[i], s->usable[i], i);
	}
	return 0;
}

static int check_sizes(void *arg)
{
	struct sizes *s = arg;

	for (size_t i = 0; i < SIZES; i++) {
		s->bad += !is_filled(s->p[i], s->usable[i], i);
		s->bad += stm_usable_size(s->p[i]) != s->usable[i];
		stm_free(s->p[i]);
	}
	return 0;
}

/* Every byte of every block is its own: what is written to one is not seen in another. */
TEST(blocks_of_all_sizes_are_apart)
{
	struct sizes *s = calloc(1, sizeof(*s));

	ASSERT_NE(NULL, s);
	ASSERT_EQ(0, open_heap(64 * MIB));
	/* The second round finds used memory, which stm_zalloc() is to clear. */
	for (int round = 0; round < 2; round++) {
		ASSERT_EQ(0, stm_atomic(alloc_sizes, s));
		EXPECT_EQ(0, s->bad);
		ASSERT_EQ(0, stm_atomic(check_sizes, s));
		EXPECT_EQ(0, s->bad);
	}
	EXPECT_EQ(0, missing(64 * MIB));
	free(s);
}

TEST(too_much_is_ENOMEM)
{
	static const size_t sizes[] = {
		MIB, 2 * MIB, (size_t)1 << 40, SIZE_MAX / 2, SIZE_MAX - 15, SIZE_MAX
	};

	ASSERT_EQ(0, open_heap(MIB));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		STM_ATOMIC {
			void STM *p = stm_alloc(16);

			errno = 0;
			EXPECT_TRUE(!stm_alloc(sizes[i]));
			EXPECT_EQ(ENOMEM, errno);
			errno = 0;
			EXPECT_TRUE(!stm_zalloc(sizes[i]));
			EXPECT_EQ(ENOMEM, errno);
			errno = 0;
			EXPECT_TRUE(!stm_realloc(p, sizes[i]));
			EXPECT_EQ(ENOMEM, errno);
			stm_free(p);
		}
	}
	EXPECT_EQ(0, missing(MIB));
}

TEST(null_is_fine)
{
	ASSERT_EQ(0, open_heap(MIB));
	EXPECT_EQ(0, stm_usable_size(NULL));
	STM_ATOMIC {
		void STM *p = stm_realloc(NULL, 100);

		stm_free(NULL);
		EXPECT_EQ(112, stm_usable_size(p));
		stm_free(p);
	}
	EXPECT_EQ(0, missing(MIB));
}

/* ---- realloc ---- */

struct block {
	void STM *p;
	size_t size;
	uint64_t key;
};

TEST(realloc_keeps_contents)
{
	static const size_t sizes[] = {
		1, 16, 17, 100, 1000, 40000, 70000, 200000, 66000, 30000, 500, 20, 1
	};
	struct block b;

	ASSERT_EQ(0, open_heap(4 * MIB));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		for (size_t j = 0; j < sizeof(sizes) / sizeof(sizes[0]); j++) {
			size_t less = sizes[i] < sizes[j] ? sizes[i] : sizes[j];

			STM_ATOMIC {
				b.p = stm_alloc(sizes[i]);
				fill(b.p, sizes[i], i + 1);
			}
			STM_ATOMIC {
				void STM *p = stm_realloc(b.p, sizes[j]);
				size_t usable = stm_usable_size(b.p);

				EXPECT_GE(stm_usable_size(p), sizes[j]);
				EXPECT_TRUE(is_filled(p, less, i + 1));
				/* Kept where it fits, unless more than half would be wasted. */
				if (p == b.p) {
					EXPECT_GE(usable, sizes[j]);
					EXPECT_TRUE(sizes[j] >= usable / 2 || usable == 16);
				} else {
					EXPECT_TRUE(sizes[j] > usable || sizes[j] < usable / 2);
				}
				b.p = p;
			}
			STM_ATOMIC {
				EXPECT_TRUE(is_filled(b.p, less, i + 1));
				stm_free(b.p);
			}
		}
	}
	EXPECT_EQ(0, missing(4 * MIB));
}

static int realloc_and_fail(void *arg)
{
	struct block *b = arg;
	void STM *p = stm_realloc(b->p, 3000);

	fill(p, 3000, 99);
	return 7;
}

TEST(realloc_is_undone_by_abort)
{
	struct block b = { .p = NULL };

	ASSERT_EQ(0, open_heap(MIB));
	STM_ATOMIC {
		b.p = stm_alloc(300);
		fill(b.p, 300, 5);
	}
	for (int i = 0; i < 1000; i++)
		ASSERT_EQ(7, stm_atomic(realloc_and_fail, &b));
	STM_ATOMIC {
		EXPECT_TRUE(is_filled(b.p, 300, 5));
		stm_free(b.p);
	}
	EXPECT_EQ(0, missing(MIB));
}

/* ---- commit and abort ---- */

static int alloc_many_and_fail(void *arg)
{
	alloc_many(arg);
	return 9;
}

static int free_many_and_fail(void *arg)
{
	free_many(arg);
	return 9;
}

static int alloc_and_free_many(void *arg)
{
	alloc_many(arg);
	return free_many(arg);
}

static int alloc_and_free_many_and_fail(void *arg)
{
	alloc_and_free_many(arg);
	return 9;
}

/* Far more is allocated than the heap holds. */
TEST(abort_gives_memory_back)
{
	static const size_t sizes[] = { 16, 48, 1000, 32 * KIB, 100 * KIB };

	ASSERT_EQ(0, open_heap(MIB));
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		many.size = sizes[i];
		many.n = MIB / 2 / sizes[i];
		for (int round = 0; round < 50; round++) {
			ASSERT_EQ(9, stm_atomic(alloc_many_and_fail, &many));
			ASSERT_EQ(many.n, many.got);
			ASSERT_EQ(9, stm_atomic(alloc_and_free_many_and_fail, &many));
			ASSERT_EQ(many.n, many.got);
		}
	}
	EXPECT_EQ(0, missing(MIB));
}

static int restart_thrice(void *arg)
{
	static int attempts;

	alloc_many(arg);
	if (++attempts % 4)
		stm_restart();
	return free_many(arg);
}

TEST(restart_gives_memory_back)
{
	ASSERT_EQ(0, open_heap(MIB));
	many.size = 64;
	many.n = MIB / 2 / 64;
	for (int round = 0; round < 20; round++) {
		ASSERT_EQ(0, stm_atomic(restart_thrice, &many));
		ASSERT_EQ(many.n, many.got);
	}
	EXPECT_EQ(0, missing(MIB));
}

/* Blocks whose free was undone are in use: nobody gets them. */
TEST(abort_undoes_frees)
{
	static struct many others;
	static const size_t sizes[] = { 64, 100 * KIB };

	ASSERT_EQ(0, open_heap(MIB));
	for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
		many.size = others.size = sizes[k];
		many.n = 300 * KIB / sizes[k];
		others.n = 70000;
		ASSERT_EQ(0, stm_atomic(alloc_many, &many));
		ASSERT_EQ(many.n, many.got);
		ASSERT_EQ(9, stm_atomic(free_many_and_fail, &many));
		ASSERT_EQ(0, stm_atomic(alloc_many, &others));
		ASSERT_LT(0, others.got);
		for (size_t i = 0; i < others.got; i++)
			for (size_t j = 0; j < many.got; j++)
				ASSERT_TRUE(others.p[i] != many.p[j]);
		ASSERT_EQ(0, stm_atomic(free_many, &many));
		ASSERT_EQ(0, stm_atomic(free_many, &others));
		EXPECT_EQ(0, missing(MIB));
	}
}

/* Allocated and freed by one transaction: free once afterwards, whether it commits or aborts. */
TEST(blocks_freed_by_their_transaction_are_free_once)
{
	static struct many others;

	ASSERT_EQ(0, open_heap(MIB));
	many.size = others.size = 4 * KIB;
	many.n = 100;
	others.n = 70000;
	for (int round = 0; round < 100; round++) {
		if (round % 2) {
			ASSERT_EQ(9, stm_atomic(alloc_and_free_many_and_fail, &many));
		} else {
			ASSERT_EQ(0, stm_atomic(alloc_and_free_many, &many));
		}
		ASSERT_EQ(0, stm_atomic(alloc_many, &others));
		ASSERT_EQ(15 * 16, others.got);
		for (size_t i = 0; i < others.got; i++)
			for (size_t j = 0; j < i; j++)
				ASSERT_TRUE(others.p[i] != others.p[j]);
		ASSERT_EQ(0, stm_atomic(free_many, &others));
	}
	EXPECT_EQ(0, missing(MIB));
}

/* A free takes effect at commit, not before. */
TEST(freed_blocks_are_not_reused_by_their_transaction)
{
	static struct many others;
	unsigned int same = 0;

	ASSERT_EQ(0, open_heap(MIB));
	many.size = others.size = 64;
	many.n = others.n = 500;
	ASSERT_EQ(0, stm_atomic(alloc_many, &many));
	STM_ATOMIC {
		free_many(&many);
		alloc_many(&others);
	}
	for (size_t i = 0; i < others.got; i++)
		for (size_t j = 0; j < many.got; j++)
			same += others.p[i] == many.p[j];
	EXPECT_EQ(0, same);
	ASSERT_EQ(0, stm_atomic(free_many, &others));
	EXPECT_EQ(0, missing(MIB));
}

/* ---- a full heap ---- */

/* A transaction that met the end of the heap goes on; what is freed is good for any size. */
TEST(full_heap_is_ENOMEM_and_stays_usable)
{
	static const size_t sizes[] = {
		32, 100 * KIB, 64, 4000, 20000, 32 * KIB, 300 * KIB, 48, 2 * MIB, 16
	};

	ASSERT_EQ(0, open_heap(4 * MIB));
	many.n = 70000;
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			many.size = sizes[i];
			ASSERT_EQ(0, stm_atomic(alloc_and_fill_many, &many));
			/* The end of a chunk may be too short for a block: a quarter at most. */
			if (many.got < many.n && sizes[i] < MIB) {
				EXPECT_GT(many.got * sizes[i], 4 * MIB * 2 / 3);
			}
			EXPECT_LT(0, many.got);
			EXPECT_EQ(0, stm_atomic(check_many, &many));
			EXPECT_EQ(9, stm_atomic(free_many_and_fail, &many));
			EXPECT_EQ(0, stm_atomic(check_many, &many));
			ASSERT_EQ(0, stm_atomic(free_many, &many));
		}
	}
	EXPECT_EQ(0, missing(4 * MIB));
}

/* A full heap gives away no chunk that has a single block in use. */
TEST(one_block_keeps_its_chunk)
{
	static struct many others, kept;

	ASSERT_EQ(0, open_heap(2 * MIB));
	many.size = kept.size = 64;
	many.n = 70000;
	others.size = 4000;
	others.n = 70000;
	ASSERT_EQ(0, stm_atomic(alloc_many, &many));
	ASSERT_LT(20000, many.got);
	STM_ATOMIC {
		kept.got = 0;
		for (size_t i = 0; i < many.got; i++) {
			if (i % 1000 == 0)
				kept.p[kept.got++] = many.p[i];
			else
				stm_free(many.p[i]);
		}
		for (size_t i = 0; i < kept.got; i++)
			fill(kept.p[i], 64, i);
	}
	ASSERT_EQ(0, stm_atomic(alloc_and_fill_many, &others));
	EXPECT_EQ(0, stm_atomic(check_many, &kept));
	EXPECT_EQ(0, stm_atomic(free_many, &others));
	EXPECT_EQ(0, stm_atomic(free_many, &kept));
	EXPECT_EQ(0, missing(2 * MIB));
}

TEST(init_after_fini_starts_with_an_empty_heap)
{
	many.size = 1000;
	many.n = 70000;
	for (int i = 0; i < 5; i++) {
		ASSERT_EQ(0, open_heap(2 * MIB));
		EXPECT_EQ(0, missing(2 * MIB));
		ASSERT_EQ(0, stm_atomic(alloc_many, &many));
		ASSERT_EQ(0, stm_fini());
	}
}

/* ---- wrong use ---- */

struct wrong {
	uintptr_t offset;               /* from the block, or from 0 if it is not used */
	bool from_block;
	size_t size;
	const char *call;
};

static void call_with(const char *call, void STM *p)
{
	if (!strcmp(call, "stm_free"))
		stm_free(p);
	else if (!strcmp(call, "stm_realloc"))
		stm_realloc(p, 5000);
	else
		stm_usable_size(p);
}

static void use_wrong_pointer(void *arg)
{
	struct wrong *w = arg;

	open_heap(4 * MIB);
	STM_ATOMIC {
		void STM *p = stm_alloc(w->size);

		call_with(w->call, (void STM *)(w->offset + (w->from_block ? (uintptr_t)p : 0)));
	}
}

TEST(pointers_to_no_block_stop_the_program)
{
	static const char *const calls[] = { "stm_free", "stm_realloc", "stm_usable_size" };
	static const struct wrong wrong[] = {
		{ .offset = 8 },
		{ .offset = 4096 },
		{ .offset = STM_HEAP - 16 },
		{ .offset = STM_HEAP },                         /* a root slot */
		{ .offset = STM_HEAP + 4 * MIB - 64 * KIB },    /* memory that was never used */
		{ .offset = STM_HEAP + 4 * MIB },
		{ .offset = STM_HEAP + STM_HEAP_LIMIT },
		{ .offset = UINTPTR_MAX - 15 },
		{ .from_block = true, .size = 48, .offset = 1 },
		{ .from_block = true, .size = 48, .offset = 8 },
		{ .from_block = true, .size = 48, .offset = 16 },
		{ .from_block = true, .size = 48, .offset = 32 },
		{ .from_block = true, .size = 20000, .offset = 16 },
		{ .from_block = true, .size = 20000, .offset = 60 * KIB },
		{ .from_block = true, .size = 200 * KIB, .offset = 16 },
		{ .from_block = true, .size = 200 * KIB, .offset = 64 * KIB },
		{ .from_block = true, .size = 200 * KIB, .offset = 200 * KIB },
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		for (size_t j = 0; j < sizeof(calls) / sizeof(calls[0]); j++) {
			struct wrong w = wrong[i];
			struct ended e;

			w.call = calls[j];
			e = run_child(use_wrong_pointer, &w);
			EXPECT_TRUE(was_killed_by(&e, SIGABRT) &&
				    said(&e, calls[j], "not a block of the heap")) {
				TH_LOG("%s, case %zu: %s", calls[j], i, how(&e));
			}
		}
	}
}

static void free_twice(void *arg)
{
	void STM *p;

	open_heap(MIB);
	STM_ATOMIC {
		p = stm_alloc(*(size_t *)arg);
	}
	STM_ATOMIC {
		stm_free(p);
		stm_free(p);
	}
}

TEST(a_block_freed_twice_stops_the_program)
{
	size_t sizes[] = { 48, 100 * KIB };

	for (int i = 0; i < 2; i++) {
		struct ended e = run_child(free_twice, &sizes[i]);

		EXPECT_TRUE(was_killed_by(&e, SIGABRT) && said(&e, "stm_free", "freed already")) {
			TH_LOG("%s", how(&e));
		}
	}
}

static void call_outside(void *arg)
{
	const char *call = arg;

	open_heap(MIB);
	if (!strcmp(call, "stm_alloc"))
		stm_alloc(16);
	else if (!strcmp(call, "stm_zalloc"))
		stm_zalloc(16);
	else
		call_with(call, NULL);
}

TEST(calls_outside_a_transaction_stop_the_program)
{
	static const char *const calls[] = { "stm_alloc", "stm_zalloc", "stm_free", "stm_realloc" };

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		struct ended e = run_child(call_outside, (void *)calls[i]);

		EXPECT_TRUE(was_killed_by(&e, SIGABRT) && said(&e, calls[i], "outside a trans")) {
			TH_LOG("%s: %s", calls[i], how(&e));
		}
	}
}

static void *ask_unattached(void *arg)
{
	return (void *)stm_usable_size(*(void STM **)arg);
}

TEST(usable_size_in_any_state)
{
	void STM *p;

	ASSERT_EQ(0, open_heap(MIB));
	STM_ATOMIC {
		p = stm_alloc(100);
		EXPECT_EQ(112, stm_usable_size(p));
	}
	EXPECT_EQ(112, stm_usable_size(p));
	EXPECT_EQ((void *)112, in_thread(ask_unattached, &p));
}

TEST_HARNESS_MAIN
