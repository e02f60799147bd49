// SPDX-License-Identifier: MIT
/*
 * savepoint_model_test.c - random walks: threads change memory of all kinds, take savepoints, roll back to them,
 * release them and nest, and compare what is there with a model that each of them keeps in ordinary memory.
 *
 * STM_SEED=n repeats a walk's choices. STM_LONG=1 walks many times longer.
 */
#include <string.h>

#include <uffdstm.h>

#include "support.h"

#define WORDS 64u
#define THREADS 3u
#define SLOTS 24u
#define DEPTH 6u
#define OPERATIONS 60u
#define ROUNDS 400u

typedef uint64_t STM word_t;

/* A block that is @len words of @value. */
struct slot {
	word_t *block;
	uint64_t value, len;
	uint64_t unused;
};

/* What a thread's part of the heap is to hold. */
struct model {
	uint64_t words[WORDS], tracked[WORDS], values[SLOTS], lens[SLOTS];
};

struct walker {
	unsigned int id;
	uint64_t random;
	word_t *words, *tracked;
	struct slot STM *slots;
	struct model committed, now, at[DEPTH];
	int numbers[DEPTH];
	unsigned int depth, attempts, rollbacks;
	char wrong[256];
};

static struct walker walkers[THREADS];
static word_t *shared; /* counts commits: a granule in which all conflict */

static uint64_t draw(struct walker *w)
{
	w->random ^= w->random << 13, w->random ^= w->random >> 7, w->random ^= w->random << 17;
	return w->random * 0x9e3779b97f4a7c15u >> 8;
}

static void differs(struct walker *w, const char *what, size_t i, uint64_t is, uint64_t is_to_be)
{
	if (!w->wrong[0])
		snprintf(w->wrong, sizeof(w->wrong), "thread %u, attempt %u: %s %zu is %lu, not %lu", w->id, w->attempts, what,
			 i, (unsigned long)is, (unsigned long)is_to_be);
}

static void compare(struct walker *w, const struct model *model)
{
	for (size_t i = 0; i < WORDS; i++) {
		uint64_t word = STM_GET(w->words[i]), raw = ((volatile uint64_t STM *)w->tracked)[i * 24];

		if (word != model->words[i])
			differs(w, "word", i, word, model->words[i]);
		if (raw != model->tracked[i])
			differs(w, "tracked word", i, raw, model->tracked[i]);
	}
	for (size_t i = 0; i < SLOTS; i++) {
		word_t *block = STM_GET(w->slots[i].block);

		if (STM_GET(w->slots[i].value) != model->values[i])
			differs(w, "value of slot", i, w->slots[i].value, model->values[i]);
		for (size_t j = 0; block && j < model->lens[i]; j++)
			if (STM_GET(block[j]) != model->values[i])
				differs(w, "block of slot", i, block[j], model->values[i]);
	}
}

static void fill(struct walker *w, size_t i, uint64_t value)
{
	struct slot STM *slot = &w->slots[i];
	word_t *block = STM_GET(slot->block);

	if (!block || draw(w) % 2) {
		stm_write(slot);
		stm_free(block);
		slot->len = w->now.lens[i] = draw(w) % 50 ? 1 + draw(w) % 40 : 20000;
		block = stm_alloc(slot->len * sizeof(*block));
		slot->block = block;
	}
	stm_write_range(block, w->now.lens[i] * sizeof(*block));
	for (size_t j = 0; j < w->now.lens[i]; j++)
		block[j] = value;
	STM_SET(slot->value, value);
	w->now.values[i] = value;
}

static void change(struct walker *w)
{
	uint64_t value = draw(w), i = draw(w) % WORDS, n = 1 + draw(w) % 8;

	switch (draw(w) % 4) {
	case 0:
		STM_SET(w->words[i], value);
		w->now.words[i] = value;
		break;
	case 1:
		n = n < WORDS - i ? n : WORDS - i;
		stm_memset(&w->words[i], (int)(value & 0xff), n * sizeof(uint64_t));
		memset(&w->now.words[i], (int)(value & 0xff), n * sizeof(uint64_t));
		break;
	case 2:
		if (value % 4 == 0)
			stm_write(&w->tracked[i * 24]);
		((volatile uint64_t STM *)w->tracked)[i * 24] = value;
		w->now.tracked[i] = value;
		break;
	default:
		fill(w, i % SLOTS, value);
	}
}

static void go_back(struct walker *w, unsigned int level)
{
	if (stm_rollback(w->numbers[level]))
		differs(w, "rollback", level, 1, 0);
	w->now = w->at[level];
	w->depth = level + 1;
	w->rollbacks++;
}

/* The rest of the operations, nested; undone if the code says so. */
struct nested {
	struct walker *w;
	unsigned int left;
};

static int step(struct walker *w, unsigned int left);

static int walk_nested(void *arg)
{
	struct nested *nested = arg;
	struct walker *w = nested->w;
	unsigned int depth = w->depth;

	step(w, nested->left);
	w->depth = depth; /* those that it took and did not release are gone with it */
	return draw(w) % 2 ? 0 : 3;
}

static int step(struct walker *w, unsigned int left)
{
	unsigned int floor = w->depth;

	for (; left; left--) {
		uint64_t dice = draw(w) % 20;

		if (dice < 13) {
			change(w);
		} else if (dice < 15 && w->depth < DEPTH) {
			w->at[w->depth] = w->now;
			w->numbers[w->depth] = stm_savepoint();
			w->depth++;
		} else if (dice < 17 && w->depth > floor) {
			go_back(w, floor + (unsigned int)draw(w) % (w->depth - floor));
			if (draw(w) % 4 == 0)
				compare(w, &w->now);
		} else if (dice < 18 && w->depth > floor) {
			w->depth = floor + (unsigned int)draw(w) % (w->depth - floor);
			if (stm_release(w->numbers[w->depth]))
				differs(w, "release", w->depth, 1, 0);
		} else if (dice < 19 && left > 5) {
			struct nested nested = { .w = w, .left = left / 3 };
			struct model before = w->now;

			left -= left / 3;
			if (stm_atomic_nested(walk_nested, &nested)) {
				w->now = before;
				w->rollbacks++;
			}
		} else if (draw(w) % 40 == 0) {
			stm_restart();
		}
	}
	return 0;
}

static int walk(void *arg)
{
	struct walker *w = arg;

	w->attempts++;
	w->now = w->committed;
	w->depth = 0;
	if (draw(w) % 4 == 0)
		compare(w, &w->now);
	if (draw(w) % 8 == 0)
		STM_SET(*shared, STM_GET(*shared) + 1);
	step(w, OPERATIONS);
	compare(w, &w->now);
	return draw(w) % 6 ? 0 : 1;
}

static int make_part(void *arg)
{
	struct walker *w = arg;

	w->words = stm_zalloc(WORDS * sizeof(uint64_t));
	w->slots = stm_zalloc(SLOTS * sizeof(struct slot));
	w->tracked = stm_alloc_tracked(WORDS * 24 * sizeof(uint64_t));
	memset(stm_local(w->tracked), 0, WORDS * 24 * sizeof(uint64_t));
	return 0;
}

static void *walk_all(void *arg)
{
	struct walker *w = arg;

	stm_thread_attach();
	stm_atomic(make_part, w);
	for (unsigned int i = 0; i < ROUNDS * long_factor(50) / strict_divisor() && !w->wrong[0]; i++)
		if (!stm_atomic(walk, w))
			w->committed = w->now;
	stm_thread_detach();
	return NULL;
}

static int look_at_part(void *arg)
{
	struct walker *w = arg;

	compare(w, &w->committed);
	return 0;
}

FIXTURE(walks) { int unused; };

FIXTURE_SETUP(walks)
{
	ASSERT_EQ(0, stm_init(NULL));
	ASSERT_EQ(0, stm_thread_attach());
}

FIXTURE_TEARDOWN(walks)
{
	EXPECT_EQ(0, stm_fini());
	EXPECT_EQ(0, __lsan_do_recoverable_leak_check());
}

TEST_F(walks, find_what_the_model_has)
{
	uint64_t seed = random_seed();
	pthread_t threads[THREADS];
	unsigned int rollbacks = 0;

	STM_ATOMIC
		shared = stm_zalloc(16);
	for (unsigned int i = 0; i < THREADS; i++) {
		walkers[i].id = i;
		walkers[i].random = (seed + i) * 0x9e3779b97f4a7c15u | 1;
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, walk_all, &walkers[i]));
	}
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned int i = 0; i < THREADS; i++) {
		stm_atomic(look_at_part, &walkers[i]);
		EXPECT_STREQ("", walkers[i].wrong);
		rollbacks += walkers[i].rollbacks;
	}
	TH_LOG("%u rollbacks, seed %lu", rollbacks, (unsigned long)seed);
}

TEST_HARNESS_MAIN
