// SPDX-License-Identifier: MIT
/*
 * mutant_view_test.c - views, barriers, undo and memory, one interleaving at a time.
 *
 * Each test catches one of the mistakes of lib/testing.h, named above it: see mutants.sh.
 */
#include <sched.h>
#include <sys/syscall.h>

#include "kselftest_harness.h"
#include "steps.h"

FIXTURE(view) {
	struct actor a, b, c;
	word_t words;
};

FIXTURE_SETUP(view)
{
	struct stm_options options = STM_OPTIONS_INIT;

	options.trim_age = STM_TRIM_NEVER; /* page states are looked at, however long it takes */
	options.cluster = 1;
	ASSERT_EQ(0, stm_init(&options));
	self->words = words_new(8);
	actor_start(&self->a);
	actor_start(&self->b);
	actor_start(&self->c);
}

FIXTURE_TEARDOWN(view)
{
	stm_schedule_hook = NULL;
	actor_end(&self->a);
	actor_end(&self->b);
	actor_end(&self->c);
	EXPECT_EQ(0, schedule_failures());
	EXPECT_EQ(0, stm_fini());
}

static uint8_t state_of(const struct actor *actor, word_t word)
{
	uint8_t state = actor->seg->view.state[((uintptr_t)word - STM_HEAP) / STM_PAGE];

	return state == STM_PAGE_GUARDED ? STM_PAGE_PRIVATE : state; /* UFFDSTM_STRICT */
}

/* NO_REPLAY: what is committed, but not folded, is in a page that is mapped only now. */
TEST_F(view, a_fault_finds_what_is_not_folded)
{
	word_t words = self->words;
	struct script raw = SCRIPT(WRITE(word_at(words, 2, 8), 5), READ(word_at(words, 2, 0)));

	set_word(&self->a, word_at(words, 1, 0), 77);
	set_word(&self->a, word_at(words, 2, 0), 78);
	ASSERT_GT(tail(), atomic_load(&stm_global.folded));
	EXPECT_EQ(77, get_word(&self->b, word_at(words, 1, 0)));
	EXPECT_EQ(STM_PAGE_PRIVATE, state_of(&self->b, word_at(words, 1, 0)));
	EXPECT_EQ(0, get_word(&self->b, word_at(words, 3, 0)));
	EXPECT_EQ(STM_PAGE_SHARED, state_of(&self->b, word_at(words, 3, 0)));
	script_run(&self->b, &raw);
	EXPECT_EQ(78, raw.steps[1].value);
}

/* APPLY_UNMAPPED: apply leaves alone a page that has missed entries since it was not mapped. */
TEST_F(view, apply_takes_no_unmapped_neighbour)
{
	word_t words = self->words;

	for (size_t page = 1; page < 6; page += 2) {
		word_t word = word_at(words, page, 0), next = word_at(words, page + 1, 0);

		EXPECT_EQ(0, get_word(&self->b, word));
		EXPECT_EQ(STM_PAGE_SHARED, state_of(&self->b, word));
		set_word(&self->a, next, page + 1);
		get_word(&self->b, words); /* passes by: the page is not mapped */
		set_word(&self->a, word_at(words, page, 2), 5);
		EXPECT_EQ(page + 1, get_word(&self->b, next));
	}
}

/* WRITE_NOT_READ: two transactions write halves of a granule: the second one runs again. */
TEST_F(view, halves_of_a_granule_are_both_kept)
{
	struct stop stop = { .reached = 0 };
	word_t words = self->words;
	struct script half = SCRIPT(WRITE(word_at(words, 1, 0), 5), STOP(&stop));

	script_start(&self->a, &half);
	stop_await(&stop);
	set_word(&self->b, word_at(words, 1, 1), 6);
	stop_release(&stop);
	actor_wait(&self->a);
	EXPECT_EQ(2, half.attempts);
	EXPECT_EQ(5, get_word(&self->c, word_at(words, 1, 0)));
	EXPECT_EQ(6, get_word(&self->c, word_at(words, 1, 1)));
}

struct range {
	word_t words;
	size_t granules;
	int code;
};

static int fill(void *arg)
{
	struct range *range = arg;

	stm_write_range(range->words, range->granules * STM_GRANULE);
	for (size_t i = 0; i < range->granules * 2; i++)
		*(volatile uint64_t STM *)(range->words + i) = 9;
	return range->code;
}

static void fill_job(void *arg)
{
	stm_atomic(fill, arg);
}

/* SHORT_MARKERS: all of a range is published, and all of it is undone. */
TEST_F(view, the_last_granule_of_a_range_is_written)
{
	for (size_t granules = 1; granules <= 5; granules++) {
		struct range range = { .words = word_at(self->words, granules, 2),
				       .granules = granules,
				       .code = 1 };
		word_t last = range.words + granules * 2 - 1;

		actor_run(&self->a, fill_job, &range);
		EXPECT_EQ(0, get_word(&self->a, last));
		range.code = 0;
		actor_run(&self->a, fill_job, &range);
		EXPECT_EQ(9, get_word(&self->b, last));
		EXPECT_EQ(0, get_word(&self->b, last + 1));
	}
}

static int order[4], ordered;

static void note(void *arg)
{
	if (ordered < 4)
		order[ordered++] = (int)(intptr_t)arg;
}

static int change_twice(void *arg)
{
	int *value = arg;

	stm_save(value, sizeof(*value));
	stm_on_abort(note, (void *)1);
	*value = 2;
	stm_save(value, sizeof(*value));
	stm_on_abort(note, (void *)2);
	*value = 3;
	return 1;
}

static void change_job(void *arg)
{
	stm_atomic(change_twice, arg);
}

/* UNDO_ORDER: newest first. */
TEST_F(view, actions_are_undone_newest_first)
{
	int value = 1;

	actor_run(&self->a, change_job, &value);
	EXPECT_EQ(1, value);
	EXPECT_EQ(2, ordered);
	EXPECT_EQ(2, order[0]);
	EXPECT_EQ(1, order[1]);
}

/* ---- POOL: memory that was freed after a snapshot is not given to that snapshot ---- */

#define NODE_BYTES 1024
#define NODES 200               /* three chunks: more than a segment keeps */
#define FEW 20                  /* a segment keeps them */

struct nodes {
	uint64_t STM *STM *table;
	struct stop *stop;
	unsigned int n, attempts, bad;
};

static int make_nodes(void *arg)
{
	struct nodes *nodes = arg;

	nodes->table = stm_zalloc(nodes->n * sizeof(*nodes->table));
	for (unsigned int i = 0; i < nodes->n; i++) {
		uint64_t STM *node = stm_zalloc(NODE_BYTES);

		*node = i + 1;
		nodes->table[i] = node;
	}
	return 0;
}

static int free_nodes(void *arg)
{
	struct nodes *nodes = arg;

	for (unsigned int i = 0; i < nodes->n; i++) {
		stm_free(STM_GET(nodes->table[i]));
		STM_SET(nodes->table[i], NULL);
	}
	return 0;
}

static int look_late(void *arg)
{
	struct nodes *nodes = arg;
	uint64_t STM *node[NODES];

	nodes->attempts++;
	for (unsigned int i = 0; i < nodes->n; i++)
		node[i] = STM_GET(nodes->table[i]);
	stop_here(nodes->stop);
	for (unsigned int i = 0; i < nodes->n; i++) {
		uint64_t STM *other = stm_alloc(NODE_BYTES);

		for (unsigned int k = 0; other && k < NODE_BYTES / sizeof(uint64_t); k++)
			((volatile uint64_t STM *)other)[k] = 0xbad;
	}
	for (unsigned int i = 0; i < nodes->n; i++)
		if (node[i] && STM_GET(*node[i]) != i + 1)
			nodes->bad++;
	return 1;
}

static void make_nodes_job(void *arg)
{
	stm_atomic(make_nodes, arg);
}

static void free_nodes_job(void *arg)
{
	stm_atomic(free_nodes, arg);
}

static void look_late_job(void *arg)
{
	stm_atomic(look_late, arg);
}

TEST_F(view, freed_memory_waits_for_old_snapshots)
{
	struct stop stop = { .reached = 0 };
	struct nodes nodes = { .stop = &stop, .n = NODES };
	struct actor maker;

	actor_start(&maker);
	actor_run(&maker, make_nodes_job, &nodes);
	actor_do(&self->a, look_late_job, &nodes);
	stop_await(&stop);
	actor_run(&maker, free_nodes_job, &nodes);
	actor_end(&maker); /* what it has goes to the pool */
	stop_release(&stop);
	actor_wait(&self->a);
	EXPECT_EQ(0, nodes.bad);
	EXPECT_LE(1, nodes.attempts);
}

static void fold_job(void *arg)
{
	(void)arg;
	help_fold();
}

#define VISITS 4u               /* of a helper, after which a segment that does not run is parked */

/*
 * PART_BEHIND: the same where the segment was parked since, and the base is behind what it freed. Helpers look for sleepers when one
 * holds up fold: the actor that has just attached.
 */
TEST_F(view, freed_memory_waits_though_its_segment_slept)
{
	struct stop stop = { .reached = 0 };
	struct nodes nodes = { .stop = &stop, .n = FEW };
	uint64_t freed;
	struct actor maker;

	actor_start(&maker);
	actor_run(&maker, make_nodes_job, &nodes);
	actor_do(&self->c, look_late_job, &nodes);
	stop_await(&stop);
	freed = tail();
	actor_run(&maker, free_nodes_job, &nodes);
	for (unsigned int i = 0; i < VISITS; i++) {
		set_word(&self->b, self->words, i + 1);
		actor_end(&self->a);
		actor_start(&self->a);
		actor_run(&self->b, fold_job, NULL);
	}
	EXPECT_EQ(STM_PARKED, atomic_load(&maker.seg->taken));
	EXPECT_LE(atomic_load(&stm_global.folded), freed);
	actor_end(&maker);
	stop_release(&stop);
	actor_wait(&self->c);
	EXPECT_EQ(0, nodes.bad);
	EXPECT_LE(1, nodes.attempts);
}

/* ---- NO_MEMBARRIER: who holds a sleeping segment sees it run ---- */

/*
 * The owner of a segment stores RUNNING and looks whether it is taken, without a fence; the
 * helper's membarrier is the fence. To make the store late, the owner first stores to lines that
 * the helper's CPU has.
 */
#define ROUNDS 2000
#define LINES 40
#define HOLD_SPINS 400

static struct {
	struct {
		volatile uint64_t value;
		char pad[120];
	} lines[LINES];
	_Atomic unsigned int go __attribute__((__aligned__(128)));
	_Atomic unsigned int done __attribute__((__aligned__(128)));
	volatile uint32_t inside __attribute__((__aligned__(128)));
	_Atomic unsigned int held, overlaps;
	struct stm_seg *helper;
	word_t word;
} duel;

static void while_held(enum stm_point point)
{
	if (point != STM_POINT_TAKEN || stm__self != duel.helper)
		return;
	atomic_fetch_add(&duel.held, 1);
	for (unsigned int i = 0; i < HOLD_SPINS; i++) {
		if (duel.inside) {
			atomic_fetch_add(&duel.overlaps, 1);
			return;
		}
		__builtin_ia32_pause();
	}
}

static void pin_to(unsigned int which)
{
	cpu_set_t may, one;

	CPU_ZERO(&may);
	CPU_ZERO(&one);
	sched_getaffinity(0, sizeof(may), &may);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &may) && !which--) {
			CPU_SET(cpu, &one);
			sched_setaffinity(0, sizeof(one), &one);
			return;
		}
}

/* An emulator that runs one CPU at a time goes on to the next one at a pause. */
static void wait_turn(unsigned int *spins)
{
	__builtin_ia32_pause();
	if (++*spins > 100000)
		sched_yield();
}

static int own(void *arg)
{
	(void)arg;
	duel.inside = 1;
	for (unsigned int i = 0; i < 100; i++)
		__builtin_ia32_pause();
	duel.inside = 0;
	return 0;
}

static void own_job(void *arg)
{
	(void)arg;
	pin_to(0);
	for (unsigned int round = 1; round <= ROUNDS; round++) {
		unsigned int spins = 0;

		while (atomic_load_explicit(&duel.go, memory_order_acquire) < round)
			wait_turn(&spins);
		for (unsigned int i = 0; i < LINES; i++)
			duel.lines[i].value = round;
		stm_atomic(own, NULL);
		atomic_store(&duel.done, round);
	}
}

/* The owner is behind from here on, so the helper wants it. */
static int lag_behind(void *arg)
{
	(void)arg;
	STM_SET(*duel.word, STM_GET(*duel.word) + 1);
	return 0;
}

static void help_job(void *arg)
{
	uint64_t random = 88172645463325252u;

	(void)arg;
	pin_to(1);
	for (unsigned int round = 1; round <= ROUNDS && !atomic_load(&duel.overlaps); round++) {
		unsigned int spins = 0;

		stm_atomic(lag_behind, NULL);
		for (unsigned int i = 0; i < LINES; i++)
			duel.lines[i].value = 0;
		atomic_store(&duel.go, round);
		for (uint64_t n = next_random(&random) % 40; n; n--)
			__builtin_ia32_pause();
		help_fold();
		while (atomic_load_explicit(&duel.done, memory_order_acquire) < round)
			wait_turn(&spins);
	}
	atomic_store(&duel.go, ROUNDS);
}

TEST_F(view, a_taken_segment_does_not_run)
{
	cpu_set_t may;

	CPU_ZERO(&may);
	sched_getaffinity(0, sizeof(may), &may);
	if (CPU_COUNT(&may) < 2)
		SKIP(return, "two CPUs are needed");
	/* Nobody else may be in fold's way. */
	actor_end(&self->c);
	duel.word = self->words;
	duel.helper = self->b.seg;
	stm_schedule_hook = while_held;
	actor_do(&self->a, own_job, NULL);
	actor_run(&self->b, help_job, NULL);
	actor_wait(&self->a);
	stm_schedule_hook = NULL;
	EXPECT_EQ(0, atomic_load(&duel.overlaps));
	TH_LOG("the segment was held %u times", atomic_load(&duel.held));
	actor_start(&self->c);
}

/*
 * The same, with a store buffer played by the test, so that it comes out alike each time: the owner has stored RUNNING and seen that
 * it is not taken, but memory says IDLE until a membarrier makes the store arrive.
 */
static struct {
	struct stm_seg *owner;
	unsigned int held;
} late;

long __real_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);

long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	if (number == SYS_membarrier && late.owner)
		atomic_store(&late.owner->state, STM_RUNNING);
	return __real_syscall(number, a, b, c, d, e, f);
}

static void count_held(enum stm_point point)
{
	if (point == STM_POINT_TAKEN)
		late.held++;
}

TEST_F(view, a_store_that_is_late_is_waited_for)
{
	struct stop stop = { .reached = 0 };
	struct script script = SCRIPT(READ(self->words), STOP(&stop));

	/* Nobody else may be in fold's way. */
	actor_end(&self->c);
	script_start(&self->a, &script);
	stop_await(&stop);
	count_up(&self->b, word_at(self->words, 1, 0), 3); /* the owner is behind */
	late.owner = self->a.seg;
	atomic_store(&late.owner->state, STM_IDLE);
	stm_schedule_hook = count_held;
	actor_run(&self->b, fold_job, NULL);
	stm_schedule_hook = NULL;
	EXPECT_EQ(0, late.held);
	EXPECT_EQ(STM_RUNNING, atomic_load(&late.owner->state)); /* there was a membarrier */
	atomic_store(&late.owner->state, STM_RUNNING);
	late.owner = NULL;
	stop_release(&stop);
	actor_wait(&self->a);
	actor_start(&self->c);
}

TEST_HARNESS_MAIN
