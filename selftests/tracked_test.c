// SPDX-License-Identifier: MIT
/*
 * tracked_test.c - white box: memory without barriers, one interleaving at a time; what is logged; what stays mapped from one
 * transaction to the next; and where such memory lies.
 */
#include <errno.h>
#include <fcntl.h>

#include "entry.h"
#include "pool.h"
#include "steps.h"
#include "support.h"

#define PAGES 64u

FIXTURE(tracked) {
	struct actor a, b;
	word_t words;                   /* tracked */
	word_t plain;
};

FIXTURE_SETUP(tracked)
{
	struct stm_options options = STM_OPTIONS_INIT;

	options.trim_age = STM_TRIM_NEVER; /* page states are looked at, however long it takes */
	ASSERT_EQ(0, stm_init(&options));
	self->words = tracked_words_new(PAGES);
	self->plain = words_new(1);
	actor_start(&self->a);
	actor_start(&self->b);
}

FIXTURE_TEARDOWN(tracked)
{
	actor_end(&self->a);
	actor_end(&self->b);
	EXPECT_EQ(0, schedule_failures());
	EXPECT_EQ(0, stm_fini());
}

static void store(struct actor *actor, word_t word, uint64_t value)
{
	struct script script = SCRIPT(STORE(word, value));

	script_run(actor, &script);
}

static uint64_t load(struct actor *actor, word_t word)
{
	struct script script = SCRIPT(LOAD(word));

	script_run(actor, &script);
	return script.steps[0].value;
}

static uint64_t faults(const struct actor *actor)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < STM_FAULT_KINDS; i++)
		sum += actor->seg->faults[i];
	return sum;
}

static uint8_t state_of(const struct actor *actor, word_t word)
{
	uint8_t state = actor->seg->view.state[((uintptr_t)word - STM_HEAP) / STM_PAGE];

	return state == STM_PAGE_GUARDED ? STM_PAGE_PRIVATE : state; /* UFFDSTM_STRICT */
}

/* ---- a transaction alone ---- */

TEST_F(tracked, plain_stores_are_committed)
{
	store(&self->a, word_at(self->words, 0, 0), 7);
	store(&self->a, word_at(self->words, 3, 511), 8);
	EXPECT_EQ(7, load(&self->b, word_at(self->words, 0, 0)));
	EXPECT_EQ(8, load(&self->b, word_at(self->words, 3, 511)));
	store(&self->a, word_at(self->words, 3, 511), 9); /* now mapped in both */
	EXPECT_EQ(9, load(&self->b, word_at(self->words, 3, 511)));
}

TEST_F(tracked, abort_puts_plain_stores_back)
{
	word_t first = word_at(self->words, 0, 0), second = word_at(self->words, 1, 0);
	struct script cancelled = SCRIPT(STORE(first, 5), LOAD(second), STORE(second, 6), WRITE(self->plain, 4), CANCEL(1));

	store(&self->a, first, 1);
	for (int i = 0; i < 3; i++) { /* page faults in the first one only */
		script_run(&self->a, &cancelled);
		EXPECT_EQ(1, cancelled.code);
		EXPECT_EQ(1, load(&self->a, first));
		EXPECT_EQ(0, load(&self->a, second));
		EXPECT_EQ(0, get_word(&self->a, self->plain));
	}
	EXPECT_EQ(1, load(&self->b, first));
	EXPECT_EQ(0, load(&self->b, second));
}

TEST_F(tracked, barriers_and_plain_stores_mix)
{
	word_t word = word_at(self->words, 2, 4), other = word_at(self->words, 2, 5);
	/* The two are one granule. The barrier's old bytes are not those of the beginning. */
	struct script mixed = SCRIPT(STORE(word, 1), WRITE(other, 2), STORE(word, 3), WRITE(self->plain, 9));
	struct script undone = SCRIPT(STORE(word, 11), WRITE(other, 12), STORE(word, 13), CANCEL(1));

	script_run(&self->a, &mixed);
	script_run(&self->a, &undone);
	for (struct actor *actor = &self->a;; actor = &self->b) {
		EXPECT_EQ(3, load(actor, word));
		EXPECT_EQ(2, load(actor, other));
		EXPECT_EQ(9, get_word(actor, self->plain));
		if (actor == &self->b)
			break;
	}
}

/* Pieces and granules of the entry at @position. */
static unsigned int logged(uint64_t position, size_t *granules)
{
	struct stm_reader reader = stm_read_slot(stm_slot_at(position));
	struct stm_piece piece;
	unsigned int n = 0;

	for (*granules = 0; stm_next_piece(&reader, &piece); n++)
		*granules += piece.count;
	return n;
}

TEST_F(tracked, only_what_changed_is_logged)
{
	word_t page = word_at(self->words, 5, 0);
	/* Granules 0, 1 and 255; 9 gets the value that it has. */
	struct script script = SCRIPT(STORE(word_at(page, 0, 0), 1), STORE(word_at(page, 0, 3), 1),
				      STORE(word_at(page, 0, 511), 1), STORE(word_at(page, 0, 18), 0));
	uint64_t position = tail();
	size_t granules;

	script_run(&self->a, &script);
	ASSERT_EQ(position + 1, tail());
	EXPECT_EQ(2, logged(position, &granules));
	EXPECT_EQ(3, granules);
	script_run(&self->a, &script);  /* nothing changes: nothing is committed */
	EXPECT_EQ(position + 1, tail());
}

/* Near runs are one, in which a granule that a barrier has logged is not. */
TEST_F(tracked, runs_near_each_other_are_one)
{
	word_t page = word_at(self->words, 5, 0);
	/* Granules 0 and 5; 11; 20, 21 and 22. */
	struct script script = SCRIPT(STORE(word_at(page, 0, 0), 1), STORE(word_at(page, 0, 10), 1),
				      STORE(word_at(page, 0, 22), 1), WRITE(word_at(page, 0, 42), 1),
				      STORE(word_at(page, 0, 40), 1), STORE(word_at(page, 0, 44), 1));
	uint64_t position = tail();
	size_t granules;

	script_run(&self->a, &script);
	EXPECT_EQ(5, logged(position, &granules));
	EXPECT_EQ(6 + 1 + 3, granules);
	EXPECT_EQ(1, load(&self->b, word_at(page, 0, 10)));
	EXPECT_EQ(1, load(&self->b, word_at(page, 0, 42)));
	EXPECT_EQ(0, load(&self->b, word_at(page, 0, 4)));
}

TEST_F(tracked, inevitable)
{
	struct script script = SCRIPT(STORE(self->words, 1), INEVITABLE, STORE(word_at(self->words, 9, 0), 2));
	struct script idle = SCRIPT(INEVITABLE, LOAD(self->words));

	script_run(&self->a, &script);
	script_run(&self->a, &idle);
	EXPECT_EQ(1, load(&self->b, self->words));
	EXPECT_EQ(2, load(&self->b, word_at(self->words, 9, 0)));
}

/* ---- conflicts ---- */

/* What was loaded by a fault, and what by none since the page was mapped already, counts as read. */
TEST_F(tracked, a_page_that_was_read_conflicts)
{
	word_t word = word_at(self->words, 4, 0);

	for (uint64_t i = 1; i <= 3; i++) {
		struct stop stop = { .reached = 0 };
		struct script script = SCRIPT(LOAD(word), STOP(&stop), WRITE(self->plain, i));
		uint64_t before = faults(&self->a);

		script_start(&self->a, &script);
		stop_await(&stop);
		EXPECT_EQ(i == 1, faults(&self->a) > before);
		store(&self->b, word_at(word, 0, 100), i); /* another granule */
		stop_release(&stop);
		actor_wait(&self->a);
		EXPECT_EQ(2, script.attempts);
		load(&self->a, word); /* mapped again */
	}
}

/* The same by name of the mistake: TRACK_NO_MARKS. Nothing but presumption marks the page. */
TEST_F(tracked, a_page_mapped_before_conflicts)
{
	word_t word = word_at(self->words, 4, 0);
	struct stop stop = { .reached = 0 };
	struct script script = SCRIPT(LOAD(word), STOP(&stop), WRITE(self->plain, 1));

	load(&self->a, word);
	script_start(&self->a, &script);
	stop_await(&stop);
	store(&self->b, word, 5);
	stop_release(&stop);
	actor_wait(&self->a);
	EXPECT_EQ(2, script.attempts);
	EXPECT_EQ(5, script.steps[0].value);
}

/* TRACK_NO_DIFF: a store to a page that is writable already is seen by others. */
TEST_F(tracked, a_store_without_a_fault_is_committed)
{
	uint64_t before;

	store(&self->a, self->words, 1);
	before = faults(&self->a);
	store(&self->a, self->words, 2);
	EXPECT_EQ(before, faults(&self->a));
	EXPECT_EQ(2, load(&self->b, self->words));
}

/* TRACK_NO_UNDO */
TEST_F(tracked, a_store_without_a_fault_is_undone)
{
	struct script cancelled = SCRIPT(STORE(self->words, 5), CANCEL(1));

	store(&self->a, self->words, 1);
	script_run(&self->a, &cancelled);
	EXPECT_EQ(1, load(&self->a, self->words));
	EXPECT_EQ(1, load(&self->b, self->words));
}

TEST_F(tracked, lost_updates_there_are_none)
{
	word_t word = word_at(self->words, 6, 0);
	struct stop stop = { .reached = 0 };
	struct script slow = SCRIPT(LOAD(word), STOP(&stop), STORE(word_at(word, 0, 40), 1));

	store(&self->a, word, 1); /* writable in both */
	store(&self->b, word, 2);
	script_start(&self->a, &slow);
	stop_await(&stop);
	store(&self->b, word_at(word, 0, 40), 77);
	store(&self->b, word, 3);
	stop_release(&stop);
	actor_wait(&self->a);
	EXPECT_EQ(2, slow.attempts);
	EXPECT_EQ(3, slow.steps[0].value);
	EXPECT_EQ(1, load(&self->b, word_at(word, 0, 40)));
	EXPECT_EQ(3, load(&self->b, word));
}

/* A snapshot stays what it is, whatever is mapped only later. */
TEST_F(tracked, pages_are_of_one_snapshot)
{
	word_t x = word_at(self->words, 7, 0), y = word_at(self->words, 40, 0);
	struct stop stop = { .reached = 0 };
	struct script reader = SCRIPT(LOAD(x), STOP(&stop), LOAD(y));
	struct script writer = SCRIPT(STORE(x, 8), STORE(y, 9));

	script_start(&self->a, &reader);
	stop_await(&stop);
	script_run(&self->b, &writer);
	stop_release(&stop);
	actor_wait(&self->a);
	EXPECT_EQ(reader.steps[0].value ? 9 : 0, reader.steps[2].value);
	EXPECT_EQ(9, load(&self->a, y));
}

/* ---- what the base lacks ---- */

/* The page is 1 for all, and still 0 in the base. */
static void undo_and_redo(struct __test_metadata *_metadata, struct actor *actor, word_t word)
{
	struct script cancelled = SCRIPT(STORE(word, 5), CANCEL(1));

	ASSERT_EQ(0, *(const uint64_t *)(stm_global.base + ((uintptr_t)word - STM_HEAP)));
	script_run(actor, &cancelled);
	EXPECT_EQ(1, load(actor, word));
	ASSERT_EQ(0, *(const uint64_t *)(stm_global.base + ((uintptr_t)word - STM_HEAP)));
	store(actor, word, 0);
}

/* A transaction that runs keeps commits out of the base. Whoever uses their pages then has images that the base is not. */
TEST_F(tracked, pages_that_are_not_folded_are_put_back_and_compared)
{
	for (uint64_t i = 0; i < 4; i++) {
		word_t word = word_at(self->words, 16 * i, 0);
		struct stop stop = { .reached = 0 };
		struct script holder = SCRIPT(LOAD(self->plain), STOP(&stop));
		struct actor c;

		if (i % 2) /* mapped before; else it comes by a fault, and is replayed */
			load(&self->a, word);
		script_start(&self->b, &holder);
		stop_await(&stop);
		actor_start(&c);
		if (i % 2)
			store(&self->a, word, 1);
		else
			store(&c, word, 1);
		for (uint64_t k = 0; k < (i < 2 ? 1 : 100); k++) /* few, or too many to walk them */
			set_word(&c, self->plain, i * 100 + k);
		undo_and_redo(_metadata, &self->a, word);
		EXPECT_EQ(0, load(&c, word));
		stop_release(&stop);
		actor_wait(&self->b);
		actor_end(&c);
	}
}

static int store_far_apart(void *arg)
{
	const struct { word_t words; uint64_t value; } *what = arg;

	for (size_t page = 0; page < 40; page++)
		for (size_t word = 0; word < STM_PAGE / 8; word += 12)
			*word_at(what->words, page, word) = what->value;
	return 0;
}

static void store_far_apart_job(void *arg)
{
	stm_atomic(store_far_apart, arg);
}

/* Each fault would walk these runs: after some thousands of them the thread that sleeps is no longer waited for. */
TEST_F(tracked, much_that_was_changed_is_folded)
{
	struct { word_t words; uint64_t value; } what = { .words = self->words };

	load(&self->b, self->plain);
	for (what.value = 1; what.value <= 3; what.value++) { /* 1,720 runs each */
		uint64_t behind;

		actor_run(&self->a, store_far_apart_job, &what);
		behind = tail() - atomic_load(&stm_global.folded);
		EXPECT_EQ(what.value < 3 ? what.value : 0, behind);
	}
}

/* ---- what stays mapped ---- */

TEST_F(tracked, pages_stay_mapped_while_they_are_used)
{
	uint64_t before;

	store(&self->a, self->words, 1);
	before = faults(&self->a);
	for (uint64_t i = 2; i < 200; i++)
		store(&self->a, self->words, i);
	EXPECT_EQ(before, faults(&self->a));
	EXPECT_EQ(199, load(&self->b, self->words));
}

TEST_F(tracked, pages_that_are_not_used_are_given_up)
{
	uint64_t before;

	store(&self->a, self->words, 1);
	store(&self->a, word_at(self->words, 30, 0), 1);
	load(&self->a, word_at(self->words, 50, 0));
	/* Not used after 2, they are held until that makes 64: 1 + 2 + 3 + 3 + ..., since the first two came before. */
	for (uint64_t i = 0; i < 22; i++)
		set_word(&self->a, self->plain, i);
	EXPECT_EQ(STM_PAGE_PRIVATE, state_of(&self->a, self->words));
	set_word(&self->a, self->plain, 22);
	for (size_t page = 0; page < PAGES; page++)
		EXPECT_EQ(STM_PAGE_UNMAPPED, state_of(&self->a, word_at(self->words, page, 0)));
	EXPECT_EQ(STM_PAGE_PRIVATE, state_of(&self->a, self->plain)); /* an ordinary one */
	EXPECT_EQ(0, self->a.seg->heed & STM_HEED_TRACKED);
	before = faults(&self->a);
	EXPECT_EQ(1, load(&self->a, self->words));
	EXPECT_EQ(before + 1, faults(&self->a));
}

TEST_F(tracked, pages_in_use_are_held_longer)
{
	struct script script = SCRIPT(LOAD(word_at(self->words, 0, 0)), LOAD(word_at(self->words, 10, 0)),
				      LOAD(word_at(self->words, 20, 0)), LOAD(word_at(self->words, 30, 0)),
				      LOAD(word_at(self->words, 40, 0)));
	unsigned int more = 0;

	script_run(&self->a, &script);
	/* Four pages are not used. One is, so that they are held for (64 + 16) / 4 more transactions. */
	while (state_of(&self->a, word_at(self->words, 40, 0)) != STM_PAGE_UNMAPPED && more < 200)
		store(&self->a, self->words, ++more);
	EXPECT_EQ(2 + 80 / 4, more);
}

TEST_F(tracked, faults_that_follow_each_other_map_more)
{
	uint64_t before;

	load(&self->a, word_at(self->words, 60, 0));
	before = faults(&self->a);
	for (size_t page = 0; page < 31; page++)
		load(&self->a, word_at(self->words, page, 0));
	EXPECT_GT(before + 31, faults(&self->a));
	EXPECT_LE(before + 5, faults(&self->a));
}

TEST_F(tracked, foreign_commits_reach_pages_that_stay_mapped)
{
	for (uint64_t i = 1; i < 20; i++) {
		store(&self->a, word_at(self->words, 1, 0), i);
		store(&self->b, word_at(self->words, 1, 64), i);
		EXPECT_EQ(i, load(&self->a, word_at(self->words, 1, 64)));
		EXPECT_EQ(i, load(&self->b, word_at(self->words, 1, 0)));
	}
}

TEST_F(tracked, detach_forgets)
{
	store(&self->a, self->words, 1);
	actor_end(&self->a);
	store(&self->b, self->words, 2);
	actor_start(&self->a);
	EXPECT_EQ(0, self->a.seg->heed & STM_HEED_TRACKED);
	EXPECT_EQ(2, load(&self->a, self->words));
}

/* ---- system calls ---- */

struct io {
	word_t words;
	int fd, ret;
	ssize_t n;
};

static int write_out(void *arg)
{
	struct io *io = arg;

	io->ret = stm_prefault(io->words, 2 * STM_PAGE);
	io->n = write(io->fd, stm_local(io->words), 2 * STM_PAGE);
	return 0;
}

static int read_in(void *arg)
{
	struct io *io = arg;

	stm_write_range(io->words, STM_PAGE);
	io->n = pread(io->fd, stm_local(io->words), STM_PAGE, 0);
	return 0;
}

static void write_out_job(void *arg)
{
	stm_atomic(write_out, arg);
}

static void read_in_job(void *arg)
{
	stm_atomic(read_in, arg);
}

TEST_F(tracked, system_calls)
{
	struct io io = { .words = self->words, .fd = memfd_create("test", 0) };
	uint64_t words[2 * STM_PAGE / 8];

	store(&self->a, word_at(self->words, 0, 3), 3);
	store(&self->a, word_at(self->words, 1, 511), 4);
	actor_run(&self->b, write_out_job, &io);
	EXPECT_EQ(0, io.ret);
	EXPECT_EQ(2 * (ssize_t)STM_PAGE, io.n);
	ASSERT_EQ(sizeof(words), (size_t)pread(io.fd, words, sizeof(words), 0));
	EXPECT_EQ(3, words[3]);
	EXPECT_EQ(4, words[STM_PAGE / 8 + 511]);

	io.words = word_at(self->words, 10, 0);
	actor_run(&self->b, read_in_job, &io);
	EXPECT_EQ((ssize_t)STM_PAGE, io.n);
	EXPECT_EQ(3, load(&self->a, word_at(self->words, 10, 3)));
	close(io.fd);
}

/* ---- where it lies ---- */

static size_t region_of(const volatile void STM *p)
{
	return ((uintptr_t)p - STM_HEAP) / STM_PAGE / STM_REGION_PAGES;
}

TEST(kinds_of_memory_share_no_region)
{
	enum { N = 4000 };
	static void STM *blocks[N];
	uint64_t seed = random_seed();
	struct stm_options options = STM_OPTIONS_INIT;

	options.heap_size = (size_t)256 << 20;
	ASSERT_EQ(0, stm_init(&options));
	ASSERT_EQ(0, stm_thread_attach());
	for (int round = 0; round < 4; round++)
		for (int i = 0; i < N; i++)
			STM_ATOMIC {
				bool tracked = i % 2;
				size_t size = random_below(&seed, 40) ? random_below(&seed, 2000) : random_below(&seed, 400000);

				stm_free(blocks[i]);
				blocks[i] = tracked ? stm_alloc_tracked(size) : stm_alloc(size);
				if (blocks[i] && random_below(&seed, 8) == 0)
					blocks[i] = stm_realloc(blocks[i], size * 3);
			}
	for (int i = 0; i < N; i++) {
		ASSERT_TRUE(!!blocks[i]);
		EXPECT_EQ(i % 2, atomic_load(&stm_tracked_regions[region_of(blocks[i])]));
		EXPECT_TRUE(stm_page_is_tracked(((uintptr_t)blocks[i] + stm_usable_size(blocks[i]) - 1 - STM_HEAP) / STM_PAGE) == i % 2);
	}
	EXPECT_EQ(0, stm_fini());
}

static int fill(size_t size, bool tracked)
{
	int n = 0;

	for (bool more = true; more; n += more)
		STM_ATOMIC
			more = !!(tracked ? stm_alloc_tracked(size) : stm_alloc(size));
	return n;
}

TEST(full_heap_is_ENOMEM_for_either_kind)
{
	struct stm_options options = STM_OPTIONS_INIT;

	options.heap_size = (size_t)16 << 20;
	for (int first = 0; first < 2; first++)
		for (size_t size = 1000; size < 4000000; size *= 60) {
			ASSERT_EQ(0, stm_init(&options));
			ASSERT_EQ(0, stm_thread_attach());
			STM_ATOMIC
				stm_free(stm_alloc(16));
			/* All but a region or two is for who comes first. */
			EXPECT_GT(size + fill(size, first) * size, ((size_t)12 << 20));
			errno = 0;
			STM_ATOMIC
				EXPECT_FALSE(!!stm_alloc_tracked((size_t)14 << 20));
			EXPECT_EQ(ENOMEM, errno);
			EXPECT_GE(2, fill((size_t)1 << 20, !first));
			EXPECT_EQ(0, stm_fini());
		}
}

TEST(a_heap_without_room_for_a_region)
{
	struct stm_options options = STM_OPTIONS_INIT;

	options.heap_size = (size_t)1 << 20;
	ASSERT_EQ(0, stm_init(&options));
	ASSERT_EQ(0, stm_thread_attach());
	STM_ATOMIC {
		EXPECT_FALSE(!!stm_alloc_tracked(16));
		EXPECT_TRUE(!!stm_alloc(16));
	}
	EXPECT_EQ(0, stm_fini());
}

static void tracked_outside(void *arg)
{
	stm_init(NULL);
	stm_thread_attach();
	stm_alloc_tracked(16);
}

static void access_outside(void *arg)
{
	static long STM *p;

	stm_init(NULL);
	stm_thread_attach();
	STM_ATOMIC
		p = stm_alloc_tracked(sizeof(*p));
	for (int i = 0; i < 300; i++) /* until it is given up */
		STM_ATOMIC
			;
	*(volatile long STM *)p = 1;
}

TEST(outside_a_transaction)
{
	struct ended e = run_child(tracked_outside, NULL);

	EXPECT_TRUE(said(&e, "stm_alloc_tracked", "outside a transaction"))
		TH_LOG("%s", how(&e));
	e = run_child(access_outside, NULL);
	EXPECT_TRUE(said(&e, "write of heap address", "outside a transaction"))
		TH_LOG("%s", how(&e));
}

/* ---- many threads ---- */

#define THREADS 4
#define CELLS 40                        /* on as many pages, 100 apart in a row, and some page twice */
#define SUM (CELLS * 1000)

static struct {
	word_t cells;
	word_t commits;                 /* ordinary memory */
	_Atomic uint64_t done;
	uint64_t n;
	const char *failed;
} torture;

static volatile uint64_t STM *cell(uint64_t i)
{
	return word_at(torture.cells, i * 3 / 2, i % 2 * 100);
}

static uint64_t sum_of_cells(void)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < CELLS; i++)
		sum += *cell(i);
	return sum;
}

static int move(void *arg)
{
	uint64_t *seed = arg;
	uint64_t from = random_below(seed, CELLS), to = random_below(seed, CELLS), kind = random_below(seed, 100);

	if (kind < 10 && sum_of_cells() != SUM)
		torture.failed = "a snapshot is not one";
	if (kind == 20)
		stm_become_inevitable("a test");
	*cell(from) -= 7;
	if (kind > 97)
		stm_restart();
	if (kind > 94)
		stm_cancel(1);
	*cell(to) += 7;
	STM_SET(*torture.commits, STM_GET(*torture.commits) + 1);
	return 0;
}

static void *move_often(void *arg)
{
	uint64_t seed = random_seed() + (uintptr_t)arg;

	stm_thread_attach();
	for (uint64_t i = 0; i < torture.n; i++) {
		if (!stm_atomic(move, &seed))
			torture.done++;
		if (random_below(&seed, 200) == 0) {
			stm_thread_detach();
			stm_thread_attach();
		}
	}
	stm_thread_detach();
	return NULL;
}

static int fill_cells(void *arg)
{
	for (uint64_t i = 0; i < CELLS; i++)
		*cell(i) = 1000;
	return 0;
}

TEST(transfers_by_plain_loads_and_stores)
{
	pthread_t threads[THREADS];
	uint64_t sum = 0;

	ASSERT_EQ(0, stm_init(NULL));
	torture.cells = tracked_words_new(2 * CELLS);
	torture.commits = words_new(1);
	torture.n = 400 * long_factor(20);
	ASSERT_EQ(0, stm_thread_attach());
	ASSERT_EQ(0, stm_atomic(fill_cells, NULL));
	for (uintptr_t i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, move_often, (void *)i));
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	STM_ATOMIC {
		sum = sum_of_cells();
		EXPECT_EQ(atomic_load(&torture.done), STM_GET(*torture.commits));
	}
	EXPECT_EQ(SUM, sum);
	EXPECT_EQ(NULL, torture.failed)
		TH_LOG("%s", torture.failed);
	EXPECT_EQ(0, stm_fini());
}

TEST_HARNESS_MAIN
