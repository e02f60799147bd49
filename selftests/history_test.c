// SPDX-License-Identifier: MIT
/*
 * history_test.c - opacity, strict serialisability, and nothing lost: random transactions are
 * recorded, and a checker that knows nothing of the library executes them one by one (checker.h).
 *
 * STM_SEED=n repeats a run's choices, though not its timing; STM_RUNS=n is how many runs, each with
 * the next seed. STM_LONG=1 runs many times longer.
 *
 * A commit's position in the log is told by a hook of the schedule build.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "history.h"
#include "kselftest_harness.h"

#define NO_POSITION UINT64_MAX
#define LONG_TIMEOUT 1500       /* seconds; against a hang only */

static __thread uint64_t position = NO_POSITION;
static _Atomic uint64_t alone;  /* commits to the base */
static _Atomic uint64_t blind;  /* commits of attempts that did not mark all their reads */

static void remember_position(uint64_t at)
{
	position = at;
	if (atomic_load_explicit(&stm__self->at_base, memory_order_relaxed))
		atomic_fetch_add_explicit(&alone, 1, memory_order_relaxed);
	if (stm__self->blind)
		atomic_fetch_add_explicit(&blind, 1, memory_order_relaxed);
}

static bool long_run(void)
{
	return getenv("STM_LONG") != NULL;
}

static uint64_t choose_seed(void)
{
	const char *given = getenv("STM_SEED");
	uint64_t seed = 1;

	if (given)
		return strtoull(given, NULL, 0);
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		seed = (uint64_t)getpid();
	return seed % 1000000000;
}

/* ---- one transaction ---- */

static int random_transaction(void *arg)
{
	struct history_thread *t = arg;
	struct history_world *world = t->world;
	const struct history_config *c = &world->config;
	struct stm_seg *seg = stm__self;
	unsigned int ops = 1 + (unsigned int)history_random(t, 6);
	bool update = history_random(t, 3);

	history_begin(&t->history, seg->snapshot);
	atomic_fetch_add_explicit(&t->attempts, 1, memory_order_relaxed);
	t->seg = seg;
	if (seg->snapshot < t->must)
		schedule_fail("strictness: thread %u begins at %llu, commit %llu had returned",
			      t->id, (unsigned long long)seg->snapshot,
			      (unsigned long long)t->must - 1);
	if (history_chance(t, c->large))
		ops = 60 + (unsigned int)history_random(t, 200);
	if (history_chance(t, c->verify))
		verify_view(history_random(t, 1 << 30), 4, world->first_page, world->last_page);
	for (unsigned int i = 0; i < ops; i++) {
		if (history_chance(t, c->inevitable * ops)) {
			if (stm_become_inevitable("history"))
				schedule_fail("stm_become_inevitable() failed");
			history_last(&t->history)->position = seg->snapshot;
		}
		if (history_chance(t, c->pause * ops))
			usleep((useconds_t)history_random(t, 2000));
		if (history_chance(t, c->wide * ops))
			history_wide_op(t, update);
		history_op(t, update);
		if (history_chance(t, c->validate * ops))
			stm_validate();
		/* Refused if it is inevitable. */
		if (history_chance(t, c->restart * ops))
			stm_restart();
		if (history_chance(t, c->cancel * ops))
			stm_cancel(1);
	}
	if (history_chance(t, c->verify))
		verify_view(history_random(t, 1 << 30), 4, world->first_page, world->last_page);
	return history_chance(t, c->cancel) ? 2 : 0;
}

static void returned(struct history_world *world, uint64_t upto)
{
	uint64_t old = atomic_load(&world->returned);

	while (old < upto && !atomic_compare_exchange_weak(&world->returned, &old, upto))
		;
}

static void run_transaction(struct history_thread *t)
{
	uint64_t cancelled = stm__self->aborts[STM_ABORT_CANCEL];

	position = NO_POSITION;
	t->must = atomic_load(&t->world->returned);
	stm_atomic(random_transaction, t);
	if (stm__self->aborts[STM_ABORT_CANCEL] != cancelled) {
		history_undone(&t->history);
	} else if (position != NO_POSITION) {
		history_end(&t->history, HISTORY_WROTE, position);
		returned(t->world, position + 1);
	} else {
		history_end(&t->history, HISTORY_READ_ONLY, history_last(&t->history)->position);
	}
}

static void attach(void)
{
	int error = stm_thread_attach();

	if (error) {
		schedule_fail("stm_thread_attach: %s", stm_strerror(error));
		exit(1);
	}
}

static void *run_thread(void *arg)
{
	struct history_thread *t = arg;
	const struct history_config *c = &t->world->config;

	attach();
	await(&t->world->go);
	for (unsigned int i = 0; i < c->transactions && !schedule_failures(); i++) {
		if (history_chance(t, c->trim)) {
			stm__self->trim.credit = 1000000;
			stm__self->heed |= STM_HEED_TRIM;
		}
		run_transaction(t);
		if (history_chance(t, c->nap))
			usleep((useconds_t)history_random(t, history_random(t, 20) ? 1000 : 30000));
		if (history_chance(t, c->help))
			help_fold();
		if (history_chance(t, c->churn)) {
			stm_thread_detach();
			attach();
		}
		if (history_chance(t, c->leave)) { /* so that another one may be alone */
			stm_thread_detach();
			usleep((useconds_t)history_random(t, 3000));
			attach();
		}
	}
	if (history_random(t, 2))
		stm_thread_detach(); /* else at exit */
	return NULL;
}

/* ---- one run ---- */

static uint64_t pick(uint64_t *random, const uint64_t *from, size_t n)
{
	return from[next_random(random) % n];
}

#define PICK(random, ...)                                                      \
	pick(random, (const uint64_t[]){ __VA_ARGS__ },                        \
	     sizeof((const uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t))

static void choose_config(struct history_config *c, uint64_t random, bool torture)
{
	uint64_t *r = &random;
	unsigned int all = long_run() ? 400000 : 150000;
	size_t per_page;

	memset(c, 0, sizeof(*c));
	c->options = (struct stm_options)STM_OPTIONS_INIT;
	c->threads = (unsigned int)PICK(r, 2, 2, 3, 4, 4, 8, 16);
	c->transactions = all / c->threads / (torture ? 3 : 1);
	c->torture = torture ? (unsigned int)PICK(r, 3, 20, 100) : 0;
	c->pages = PICK(r, 1, 3, 8, 40, 200);
	per_page = PICK(r, 2, 8, 64, 510);
	c->words = per_page * c->pages;
	c->stride = STM_PAGE * PICK(r, 1, 1, 1, 5, 100);
	c->keys = (unsigned int)PICK(r, 20, 100, 400);
	c->pause = (unsigned int)PICK(r, 0, 500, 5000);
	c->nap = (unsigned int)PICK(r, 0, 200, 2000);
	c->churn = (unsigned int)PICK(r, 0, 100, 3000);
	c->help = (unsigned int)PICK(r, 0, 20, 200);
	c->leave = (unsigned int)PICK(r, 0, 0, 50, 500);
	c->marked_attempts = (unsigned int)PICK(r, 0, 2, 30, STM_MARKED_ATTEMPTS);
	c->cancel = (unsigned int)PICK(r, 0, 20, 100);
	c->restart = (unsigned int)PICK(r, 0, 20, 100);
	c->inevitable = (unsigned int)PICK(r, 0, 10, 100, 1000);
	c->validate = (unsigned int)PICK(r, 0, 3, 100);
	c->raw = (unsigned int)PICK(r, 0, 5);
	if (getenv("UFFDSTM_STRICT") && !strcmp(getenv("UFFDSTM_STRICT"), "2"))
		c->raw = 0; /* reported, rightly; with 1 it goes on, and what is watched is as consistent as ever */
	c->wide = (unsigned int)PICK(r, 0, 100, 1000);
	c->large = (unsigned int)PICK(r, 0, 100);
	c->big = (unsigned int)PICK(r, 0, 0, 30);
	c->verify = (unsigned int)PICK(r, 100, 1000);
	c->trim = (unsigned int)PICK(r, 0, 1, 10, 100);
	c->trim_versions = (unsigned int)PICK(r, 0, 1, 10);
	c->trim_age = PICK(r, 0, 0, 1000000); /* ns; with one they are blind now and then */
	c->options.heap_size = (size_t)256 << 20;
	c->options.cluster = (unsigned int)PICK(r, 1, 2, 16, 64, 512);
	if (c->trim && c->trim < c->options.cluster)
		c->trim = c->options.cluster; /* or copies of clusters would be all that it does */
	c->options.attempts = (unsigned int)PICK(r, 1, 2, 8, 1000);
	c->options.log_limit = (size_t)PICK(r, 4, 4, 64) << 20;
}

/* Pages conflict as a whole, and each first access is a page fault. */
static void choose_tracked(struct history_config *c, uint64_t random)
{
	unsigned int what = 1 + (unsigned int)(random % 3);

	c->tracked_words = what & 1;
	c->tracked_nodes = what & 2;
	c->transactions /= c->threads > 4 ? 40 : 10;
	c->stride = c->stride > 5 * STM_PAGE ? 5 * STM_PAGE : c->stride;
	c->raw = c->verify = 0; /* not for words that the transaction wrote without telling */
}

static int make_world(void *arg)
{
	struct history_world *world = arg;
	const struct history_config *c = &world->config;
	size_t bytes = (c->pages - 1) * c->stride + STM_PAGE;

	if (bytes <= (size_t)64 << 10)
		bytes = ((size_t)64 << 10) + 1; /* whole pages of its own */
	if (history_make(world, bytes))
		return 1;
	STM_SET(*stm_root(0), (void STM *)world->words);
	world->first_page = ((uintptr_t)world->words - STM_HEAP) / STM_PAGE;
	world->last_page = world->first_page + bytes / STM_PAGE;
	return 0;
}

struct compare {
	struct history_world *world;
	struct checker_model *model;
};

static int compare(void *arg)
{
	struct compare *both = arg;

	history_compare(both->world, both->model);
	return 0;
}

#define STUCK_SECONDS 100

/* Nothing moves any more: say where everybody is, and give up. */
static void tell_stuck(const struct history_world *world, const struct history_thread *threads)
{
	printf("# no transaction has begun for %d seconds; folded %llu, recyclable %llu\n", STUCK_SECONDS,
	       (unsigned long long)atomic_load(&stm_global.folded),
	       (unsigned long long)atomic_load(&stm_global.recyclable));
	for (unsigned int i = 0; i < world->config.threads; i++) {
		const struct stm_seg *seg = threads[i].seg;

		printf("# thread %u: attempt %llu", i, (unsigned long long)atomic_load(&threads[i].attempts));
		if (seg)
			printf(", segment %u: attached %u, state %#llx, taken %u, snapshot %llu, published %llu, inevitable %u, attempt %u",
			       seg->id, atomic_load(&seg->attached), (unsigned long long)atomic_load(&seg->state),
			       atomic_load(&seg->taken), (unsigned long long)seg->snapshot,
			       (unsigned long long)atomic_load(&seg->published), (unsigned int)seg->inevitable,
			       seg->attempt);
		printf("\n");
	}
	fflush(stdout);
	abort();
}

static uint64_t all_attempts(const struct history_world *world, const struct history_thread *threads)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < world->config.threads; i++)
		sum += atomic_load_explicit(&threads[i].attempts, memory_order_relaxed);
	return sum;
}

static void join(const struct history_world *world, const struct history_thread *threads, unsigned int i)
{
	uint64_t before = 0, now;

	for (;;) {
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec += STUCK_SECONDS;
		if (!pthread_timedjoin_np(threads[i].thread, NULL, &until))
			return;
		now = all_attempts(world, threads);
		if (now == before)
			tell_stuck(world, threads);
		before = now;
	}
}

static void run_threads(struct history_world *world, struct history_thread *threads, uint64_t seed)
{
	for (unsigned int i = 0; i < world->config.threads; i++) {
		struct history_thread *t = &threads[i];

		t->world = world;
		t->id = i;
		t->random = (seed + i + 1) * 0x9e3779b97f4a7c15u | 1;
		if (pthread_create(&t->thread, NULL, run_thread, t)) {
			schedule_fail("pthread_create failed");
			exit(1);
		}
	}
	atomic_store(&world->go, 1);
	for (unsigned int i = 0; i < world->config.threads; i++)
		join(world, threads, i);
}

static void check_history(struct history_world *world, struct history_thread *threads,
			  uint64_t first)
{
	struct history histories[HISTORY_THREADS_MAX];
	struct checker_model model = { .words_n = world->config.words,
				       .keys_n = world->config.keys };
	struct checker_counts counts = { 0 };
	struct compare both = { world, &model };
	struct stm_stats stats;

	model.words = calloc(model.words_n, sizeof(*model.words));
	model.keys = calloc(model.keys_n, 1);
	for (unsigned int i = 0; i < world->config.threads; i++)
		histories[i] = threads[i].history;
	stm_stats(&stats, sizeof(stats));
	if (!checker_run(&model, histories, world->config.threads, first, stats.committed,
			 &counts)) {
		schedule_fail("no serial execution explains the history");
	} else {
		attach();
		stm_atomic(compare, &both);
		stm_thread_detach();
	}
	printf("# %llu commits, %llu of them alone, %llu blind, %llu read-only, %llu undone, %llu events checked; %llu conflicts, %llu inevitable, %llu parked, %llu log waits, %llu faults, %llu pages trimmed\n",
	       (unsigned long long)counts.wrote, (unsigned long long)atomic_load(&alone),
	       (unsigned long long)atomic_load(&blind), (unsigned long long)counts.read_only,
	       (unsigned long long)counts.undone, (unsigned long long)counts.events,
	       (unsigned long long)(stats.aborts[STM_ABORT_CONFLICT] +
				    stats.aborts[STM_ABORT_VALIDATE] +
				    stats.aborts[STM_ABORT_INEVITABLE]),
	       (unsigned long long)stats.inevitable, (unsigned long long)stats.parked,
	       (unsigned long long)stats.log_waits,
	       (unsigned long long)(stats.faults[STM_FAULT_READ] + stats.faults[STM_FAULT_WRITE] +
				    stats.faults[STM_FAULT_PROTECT]),
	       (unsigned long long)stats.pages_trimmed);
	free(model.words);
	free(model.keys);
}

/* True if all is well. */
static bool run_history(uint64_t seed, bool torture, bool tracked)
{
	static struct history_thread threads[HISTORY_THREADS_MAX];
	struct history_world world = { .go = 0 };
	const struct history_config *c = &world.config;
	uint64_t random = seed * 0x9e3779b97f4a7c15u | 1, first;
	struct stm_stats stats;
	int error;

	memset(threads, 0, sizeof(threads));
	choose_config(&world.config, next_random(&random), torture);
	if (tracked)
		choose_tracked(&world.config, next_random(&random));
	printf("# STM_SEED=%llu: %u threads, %zu words on %zu pages, stride %zu, cluster %u, attempts %u, torture %u, inevitable %u, churn %u, leave %u, help %u, trim %u, tracked %u\n",
	       (unsigned long long)seed, c->threads, c->words, c->pages, c->stride,
	       c->options.cluster, c->options.attempts, c->torture, c->inevitable, c->churn, c->leave, c->help, c->trim,
	       c->tracked_words + 2u * c->tracked_nodes);
	fflush(stdout);
	atomic_store(&alone, 0);
	atomic_store(&blind, 0);
	stm_commit_hook = remember_position;
	error = stm_init(&c->options);
	if (error) {
		schedule_fail("stm_init: %s", stm_strerror(error));
		return false;
	}
	if (c->trim)
		stm_global.trim_age = c->trim_age;
	stm_global.trim_versions = c->trim_versions;
	stm_global.marked_attempts = c->marked_attempts;
	attach();
	if (stm_atomic(make_world, &world)) {
		schedule_fail("no memory for the words");
		return false;
	}
	stm_thread_detach();
	stm_stats(&stats, sizeof(stats));
	first = stats.committed;
	atomic_store(&world.returned, first);
	if (c->torture)
		torture_start(seed, c->torture);
	run_threads(&world, threads, seed);
	torture_stop();
	check_history(&world, threads, first);
	for (unsigned int i = 0; i < c->threads; i++)
		history_free(&threads[i].history);
	if (stm_fini())
		schedule_fail("stm_fini() failed");
	return !schedule_failures();
}

FIXTURE(history) {
	uint64_t seed;
	unsigned int runs;
};

FIXTURE_SETUP(history)
{
	const char *runs = getenv("STM_RUNS");

	self->seed = choose_seed();
	self->runs = runs ? (unsigned int)atoi(runs) : long_run() ? 10 : 5;
}

FIXTURE_TEARDOWN(history)
{
}

TEST_F_TIMEOUT(history, is_serialisable, LONG_TIMEOUT)
{
	for (unsigned int i = 0; i < self->runs; i++) {
		ASSERT_TRUE(run_history(self->seed + i, false, false));
	}
}

TEST_F_TIMEOUT(history, is_serialisable_under_torture, LONG_TIMEOUT)
{
	for (unsigned int i = 0; i < self->runs; i++) {
		ASSERT_TRUE(run_history(self->seed + i, true, false));
	}
	EXPECT_LT(0, torture_checks());
}

/* The same on memory without barriers, of words, nodes, or both. */
TEST_F_TIMEOUT(history, is_serialisable_on_tracked_memory, LONG_TIMEOUT)
{
	for (unsigned int i = 0; i < self->runs; i++) {
		ASSERT_TRUE(run_history(self->seed + i, i % 2, true));
	}
}

/* ---- bank ---- */

#define ACCOUNTS 1024u          /* two to a granule */

struct bank {
	long STM *accounts;
	unsigned int rounds;
	_Atomic int go;
};

struct bank_thread {
	struct bank *bank;
	pthread_t thread;
	uint64_t random;
	uint64_t from, to;
	long amount, sum;
};

static int make_bank(void *arg)
{
	struct bank *bank = arg;

	bank->accounts = stm_zalloc(ACCOUNTS * sizeof(long));
	return !bank->accounts;
}

static int transfer(void *arg)
{
	struct bank_thread *t = arg;
	long STM *from = &t->bank->accounts[t->from], *to = &t->bank->accounts[t->to];

	STM_SET(*from, STM_GET(*from) - t->amount);
	STM_SET(*to, STM_GET(*to) + t->amount);
	return 0;
}

static int add_up(void *arg)
{
	struct bank_thread *t = arg;

	t->sum = 0;
	stm_read_range(t->bank->accounts, ACCOUNTS * sizeof(long));
	for (unsigned int i = 0; i < ACCOUNTS; i++)
		t->sum += t->bank->accounts[i];
	/* Looked at here: a transaction that will be undone sees one state too. */
	if (t->sum)
		schedule_fail("bank: the sum is %ld, in an attempt", t->sum);
	/* A writing one must be serialised with the transfers as well. */
	if (t->random & 256)
		STM_SET(t->bank->accounts[t->from], STM_GET(t->bank->accounts[t->from]));
	return 0;
}

static void *bank_thread(void *arg)
{
	struct bank_thread *t = arg;

	attach();
	await(&t->bank->go);
	for (unsigned int i = 0; i < t->bank->rounds && !schedule_failures(); i++) {
		t->from = next_random(&t->random) % ACCOUNTS;
		t->to = next_random(&t->random) % ACCOUNTS;
		t->amount = (long)(t->random % 100);
		stm_atomic(next_random(&t->random) % 5 ? transfer : add_up, t);
	}
	stm_thread_detach();
	return NULL;
}

FIXTURE(bank) {
};

FIXTURE_VARIANT(bank) {
	unsigned int threads;
};

FIXTURE_VARIANT_ADD(bank, 2) { .threads = 2 };
FIXTURE_VARIANT_ADD(bank, 4) { .threads = 4 };
FIXTURE_VARIANT_ADD(bank, 8) { .threads = 8 };
FIXTURE_VARIANT_ADD(bank, 16) { .threads = 16 };

FIXTURE_SETUP(bank)
{
	ASSERT_EQ(0, stm_init(NULL));
}

FIXTURE_TEARDOWN(bank)
{
	EXPECT_EQ(0, stm_fini());
}

TEST_F_TIMEOUT(bank, keeps_the_sum, LONG_TIMEOUT)
{
	struct bank bank = { .rounds = (long_run() ? 1200000 : 200000) / variant->threads / (getenv("UFFDSTM_STRICT") ? 50 : 1) };
	struct bank_thread threads[16], last = { .bank = &bank, .random = 0 };
	struct stm_stats stats;

	memset(threads, 0, sizeof(threads));
	attach();
	ASSERT_EQ(0, stm_atomic(make_bank, &bank));
	for (unsigned int i = 0; i < variant->threads; i++) {
		threads[i].bank = &bank;
		threads[i].random = (choose_seed() + i) * 0x9e3779b97f4a7c15u | 1;
		ASSERT_EQ(0, pthread_create(&threads[i].thread, NULL, bank_thread, &threads[i]));
	}
	atomic_store(&bank.go, 1);
	for (unsigned int i = 0; i < variant->threads; i++)
		pthread_join(threads[i].thread, NULL);
	EXPECT_EQ(0, stm_atomic(add_up, &last));
	EXPECT_EQ(0, stm_thread_detach());
	EXPECT_EQ(0, schedule_failures());
	stm_stats(&stats, sizeof(stats));
	printf("# %llu commits, %llu read-only, %llu conflicts\n",
	       (unsigned long long)stats.commits, (unsigned long long)stats.commits_read_only,
	       (unsigned long long)stats.aborts[STM_ABORT_CONFLICT]);
}

TEST_HARNESS_MAIN
