// SPDX-License-Identifier: MIT
/*
 * pages_model_test.c - white box: random sequences of page events against a simple model in plain memory.
 *
 *   1. Three attached threads take turns, one operation at a time: begin, read, store with and without barrier, commit,
 *      cancel, prefault, detach and attach, fold, help (which serves or parks sleepers), reclaim by the kernel, trim.
 *   2. The model knows the history of all committed values, and of each segment the snapshot, the state of each page, the
 *      contents of PRIVATE ones and the last use of each. It follows the table of DESIGN section 5, not the code.
 *   3. After each operation: the value read, whether the transaction was restarted, the number of faults by kind. Every
 *      few operations: all page states, the bytes of all mapped pages, of the base, and invariant F.
 *
 * Seeded: STM_SEED=n repeats a run, STM_LONG=1 runs longer.
 */
#include <errno.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <time.h>

#include <uffdstm.h>

#include "pages_model.h"
#include "support.h"

#ifndef MADV_PAGEOUT
#define MADV_PAGEOUT 21                 /* Linux 5.4, include/uapi/asm-generic/mman-common.h */
#endif

#define ACTORS 3u
#define FIRST 1024u                     /* the first page of the window: a cluster starts here */
#define OPERATIONS 2500u

static const unsigned int granule_of[WORDS] = { 0, 1, 100, 255 };

typedef volatile uint64_t STM word;

static word *at(size_t page, size_t k)
{
	/* Not a constant: gcc 12 may lose the %gs prefix of a constant 64-bit address (movabs). */
	__asm__("" : "+r"(page));
	return (word *)(STM_HEAP + (FIRST + page) * STM_PAGE + granule_of[k] * STM_GRANULE);
}

static size_t offset_of(size_t page, size_t k)
{
	return (FIRST + page) * STM_PAGE + granule_of[k] * STM_GRANULE;
}

/* ---- actors ---- */

enum kind { BEGIN, READ, LOAD, WRITE, STORE, PREFAULT, COMMIT, CANCEL, DETACH, ATTACH, SPIN, FOLD, HELP, QUIT };
enum answer { DONE, BEGAN, RESTARTED, COMMITTED, CANCELLED };

struct actor {
	pthread_t thread;
	sem_t go, done;
	enum kind kind;
	size_t page, k, pages;
	uint64_t value;                 /* to store, or what was read */
	enum answer answer;
	struct stm_seg *seg;
	struct model *model;
};

static struct actor actors[ACTORS];

static void answer(struct actor *a, enum answer what)
{
	a->answer = what;
	a->seg = stm__self;
	sem_post(&a->done);
}

static void wait_for_operation(struct actor *a)
{
	while (sem_wait(&a->go))
		;
}

static void act_inside(struct actor *a)
{
	switch (a->kind) {
	case READ:
		a->value = +STM_GET(*at(a->page, a->k));
		break;
	case LOAD:
		a->value = *at(a->page, a->k);
		break;
	case WRITE:
		STM_SET(*at(a->page, a->k), a->value);
		break;
	case STORE:
		*at(a->page, a->k) = a->value;
		break;
	case PREFAULT:
		if (stm_prefault((void STM *)at(a->page, 0), a->pages * STM_PAGE))
			abort();
		break;
	case CANCEL:
		stm_cancel(1);
		/* fall through */
	default:
		abort();
	}
}

static __attribute__((__noinline__)) void transact(struct actor *a)
{
	volatile enum answer first = BEGAN;

	STM_ATOMIC {
		answer(a, first);
		first = RESTARTED;
		for (;;) {
			wait_for_operation(a);
			if (a->kind == COMMIT)
				break;
			act_inside(a);
			answer(a, DONE);
		}
	}
	answer(a, stm_outcome() ? CANCELLED : COMMITTED);
}

static void *act(void *arg)
{
	struct actor *a = arg;

	if (stm_thread_attach())
		abort();
	answer(a, DONE);
	for (;;) {
		wait_for_operation(a);
		switch (a->kind) {
		case BEGIN:
			transact(a);
			continue;
		case DETACH:
			if (stm_thread_detach())
				abort();
			break;
		case ATTACH:
			if (stm_thread_attach())
				abort();
			break;
		case SPIN:
			for (int i = 0; i < 700; i++)
				STM_ATOMIC {
				}
			break;
		case FOLD:
			stm_fold_try(stm__self);
			break;
		case HELP:
			stm_log_throttle(stm__self);
			break;
		case QUIT:
			return NULL;
		default:
			abort();
		}
		answer(a, DONE);
	}
}

static enum answer tell(struct actor *a, enum kind kind)
{
	a->kind = kind;
	sem_post(&a->go);
	while (sem_wait(&a->done))
		;
	return a->answer;
}

/* ---- checks ---- */

static const char *failure;             /* the first thing that went wrong */
static char failure_text[200];

#define CHECK(condition, ...)                                                           \
	do {                                                                            \
		if (!(condition) && !failure) {                                         \
			snprintf(failure_text, sizeof(failure_text), __VA_ARGS__);      \
			failure = failure_text;                                         \
		}                                                                       \
	} while (0)

static uint64_t folded(void)
{
	return atomic_load(&stm_global.folded);
}

static uint64_t word_in(const uint8_t *memory, size_t page, size_t k)
{
	uint64_t value;

	memcpy(&value, memory + offset_of(page, k), sizeof(value));
	return value;
}

static void check_segment(unsigned int i, struct picture *picture)
{
	struct actor *a = &actors[i];
	const struct model *m = a->model;
	const struct stm_view *view = &a->seg->view;
	uint64_t counts[3] = { 0 };

	picture_at(picture, m->snapshot);
	for (size_t page = 0; page < PAGES; page++) {
		uint8_t state = view->state[FIRST + page];

		counts[state]++;
		CHECK(state == m->state[page], "actor %u, page %zu: state %d, expected %d", i, page, state,
		      m->state[page]);
		if (state == STM_PAGE_UNMAPPED || m->reclaimed[page])
			continue;
		for (size_t k = 0; k < WORDS; k++) {
			uint64_t is = word_in(view->heap, page, k);
			uint64_t should = state == STM_PAGE_SHARED && !m->stored[page] ? picture->values[page][k] : m->private[page][k];

			CHECK(is == should, "actor %u, page %zu, word %zu, state %d: %lu, expected %lu", i, page, k, state,
			      is, should);
		}
	}
	CHECK(counts[STM_PAGE_SHARED] == view->shared && counts[STM_PAGE_PRIVATE] == view->private,
	      "actor %u: counts of pages: %lu shared, %lu private", i, view->shared, view->private);
}

static void check_all(void)
{
	static struct picture of_actor[ACTORS], of_base;

	if (!tail)
		for (unsigned int i = 0; i < ACTORS; i++)
			memset(&of_actor[i], 0, sizeof(of_actor[i]));
	picture_at(&of_base, folded());
	for (size_t page = 0; page < PAGES; page++)
		for (size_t k = 0; k < WORDS; k++)
			CHECK(word_in(stm_global.base, page, k) == of_base.values[page][k],
			      "the base is not the state at %lu", folded());
	for (unsigned int i = 0; i < ACTORS; i++)
		if (actors[i].model)
			check_segment(i, &of_actor[i]);
}

static void check_bounds(void)
{
	CHECK(folded() <= tail, "folded %lu of %lu", folded(), tail);
	for (unsigned int i = 0; i < ACTORS; i++) {
		const struct model *m = actors[i].model;

		if (!m)
			continue;
		CHECK(m->parked || folded() <= actors[i].seg->published, "invariant F: folded %lu, actor %u is at %lu",
		      folded(), i, actors[i].seg->published);
		CHECK(m->parked || actors[i].seg->snapshot == m->snapshot, "actor %u: snapshot %lu, expected %lu", i,
		      actors[i].seg->snapshot, m->snapshot);
		for (int kind = 0; kind < STM_FAULT_KINDS; kind++)
			CHECK(actors[i].seg->faults[kind] == m->faults[kind], "actor %u: %lu %s faults, expected %lu", i,
			      actors[i].seg->faults[kind], stm_fault_name((unsigned int)kind), m->faults[kind]);
	}
}

/* ---- one operation ---- */

/* The CPU time that a sweep is granted is enough for all of the window. */
int __real_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts)
{
	int error = __real_clock_gettime(id, ts);

	if (id == CLOCK_THREAD_CPUTIME_ID)
		*ts = (struct timespec){ 0 };
	return error;
}

/* What a helper did to the others. */
static void see_help(const struct actor *helper)
{
	for (unsigned int i = 0; i < ACTORS; i++) {
		struct actor *a = &actors[i];
		struct model *m = a->model;

		if (!m || a == helper || m->parked)
			continue;
		if (atomic_load(&a->seg->taken) == STM_PARKED) {
			CHECK(!m->running, "actor %u was parked while it ran", i);
			m->parked = true;
			drop_all(m);
		} else if (a->seg->snapshot != m->snapshot) {
			CHECK(!m->running, "actor %u was served while it ran", i);
			CHECK(a->seg->snapshot == tail, "actor %u was served halfway", i);
			advance(m, a->seg->snapshot, a->seg->version);
		}
		CHECK(atomic_load(&a->seg->taken) != STM_TAKEN, "actor %u is still taken", i);
	}
}

static void begin(struct actor *a, uint32_t version)
{
	struct model *m = a->model;

	if (m->parked) {
		m->parked = false;
		m->snapshot = folded(); /* before the begin: nobody else ran since */
	}
	advance(m, tail, version);
	m->running = true;
	m->writes = 0;
}

static void expect_value(struct actor *a, struct model *m)
{
	uint64_t should = m->state[a->page] == STM_PAGE_PRIVATE || m->stored[a->page] ? m->private[a->page][a->k] :
								  value_at(a->page, a->k, m->snapshot);

	CHECK(a->value == should, "read of page %zu, word %zu: %lu, expected %lu", a->page, a->k, a->value, should);
}

static void read_page(struct actor *a, struct model *m, bool barrier)
{
	if (m->state[a->page] == STM_PAGE_UNMAPPED) {
		m->faults[STM_FAULT_READ]++;
		map_unmapped(m, a->page, false, folded());
	} else if (m->reclaimed[a->page]) {
		m->faults[STM_FAULT_RECLAIMED]++;
		m->reclaimed[a->page] = false;
	}
	tell(a, barrier ? READ : LOAD);
	expect_value(a, m);
	if (barrier)
		use(m, a->page, a->k, a->seg->version);
}

/* A store without a barrier: stays in this view, is not undone, and is committed only with its granule. */
static void store_raw(struct actor *a, struct model *m)
{
	if (async && m->state[a->page] == STM_PAGE_SHARED && !m->reclaimed[a->page]) {
		if (!m->stored[a->page])
			fill_private(m, a->page);
		m->state[a->page] = STM_PAGE_SHARED;
		m->stored[a->page] = true;
	} else {
		if (m->state[a->page] == STM_PAGE_UNMAPPED)
			m->faults[STM_FAULT_WRITE]++;
		else if (m->state[a->page] == STM_PAGE_SHARED)
			m->faults[STM_FAULT_PROTECT]++;
		make_private(m, a->page, folded());
	}
	tell(a, STORE);
	m->private[a->page][a->k] = a->value;
}

static bool is_written(const struct model *m, size_t page, size_t k)
{
	for (unsigned int i = 0; i < m->writes; i++)
		if (m->old[i].page == page && m->old[i].k == k)
			return true;
	return false;
}

static void write_with_barrier(struct actor *a, struct model *m)
{
	uint32_t version = a->seg->version;
	uint32_t pages = a->seg->private_version == version ? a->seg->private_pages : 0;
	/* The slow path looks before it pays for a page: at the transaction's page 0, 1, 2, 4, 8, ... */
	bool looks = m->state[a->page] != STM_PAGE_PRIVATE && !(pages & (pages - 1));
	bool restarts = looks && is_doomed(m, version);

	if (m->writes == 32)
		return;
	tell(a, WRITE);
	CHECK(a->answer == (restarts ? RESTARTED : DONE), "write: restarted %d, expected %d", a->answer == RESTARTED,
	      restarts);
	if (restarts) {
		undo(m);
		begin(a, version);
		return;
	}
	make_private(m, a->page, folded());
	if (!is_written(m, a->page, a->k))
		m->old[m->writes++] = (struct change){ (uint16_t)a->page, (uint8_t)a->k,
						       m->private[a->page][a->k] };
	m->private[a->page][a->k] = a->value;
	use(m, a->page, a->k, version);
}

static void commit_it(struct actor *a, struct model *m)
{
	uint32_t version = a->seg->version;
	bool conflicts = m->writes && is_doomed(m, version);
	struct commit *c = &history[tail];

	/* After-images are those of the moment, raw stores to the same granule included. */
	c->n = m->writes;
	for (unsigned int i = 0; i < m->writes; i++) {
		c->changes[i] = m->old[i];
		c->changes[i].value = m->private[m->old[i].page][m->old[i].k];
	}
	tell(a, COMMIT);
	CHECK(a->answer == (conflicts ? RESTARTED : COMMITTED), "commit: answer %d, expected a conflict: %d", a->answer,
	      conflicts);
	if (conflicts) {
		undo(m);
		begin(a, version);
		return;
	}
	m->running = false;
	if (!m->writes)
		return;
	advance(m, tail, version); /* those that came meanwhile */
	m->snapshot = ++tail;
	m->writes = 0;
}

static void cancel(struct actor *a, struct model *m)
{
	tell(a, CANCEL);
	CHECK(a->answer == CANCELLED, "cancel: answer %d", a->answer);
	undo(m);
}

static void prefault(struct actor *a, struct model *m)
{
	for (size_t page = a->page; page < a->page + a->pages; page++) {
		if (m->state[page] == STM_PAGE_UNMAPPED)
			map_unmapped(m, page, false, folded());
		m->reclaimed[page] = false;
	}
	tell(a, PREFAULT);
}

static bool is_present(const struct actor *a, size_t page)
{
	static FILE *pagemap;
	uint64_t entry = 0;

	if (!pagemap)
		pagemap = fopen("/proc/self/pagemap", "re");
	if (!pagemap || pread(fileno(pagemap), &entry, sizeof(entry),
			      (off_t)((uintptr_t)(a->seg->view.heap + (FIRST + page) * STM_PAGE) / STM_PAGE * 8)) != 8)
		abort();
	return entry >> 63;
}

/* The kernel takes a page: by hand, or asked to. */
static void reclaim(struct actor *a, struct model *m, bool by_hand)
{
	size_t first = a->page, last = by_hand ? first + 1 : first + a->pages;

	if (by_hand && (m->state[first] != STM_PAGE_SHARED || m->stored[first]))
		return;
	if (madvise(a->seg->view.heap + (FIRST + first) * STM_PAGE, (last - first) * STM_PAGE,
		    by_hand ? MADV_DONTNEED : MADV_PAGEOUT))
		abort();
	for (; first < last; first++)
		m->reclaimed[first] = m->state[first] == STM_PAGE_SHARED && !m->stored[first] && !is_present(a, first);
}

/* Pages where much happens: around the borders of clusters, and a few far away. */
static size_t random_page(uint64_t *seed)
{
	switch (random_below(seed, 4)) {
	case 0:
		return random_below(seed, 6);
	case 1:
		return 12 + random_below(seed, 8);
	case 2:
		return 508 + random_below(seed, 8);
	default:
		return random_below(seed, 40);
	}
}

static void operate_inside(struct actor *a, struct model *m, uint64_t *seed)
{
	switch (random_below(seed, 20)) {
	case 0 ... 5:
		read_page(a, m, true);
		break;
	case 6 ... 7:
		read_page(a, m, false);
		break;
	case 8 ... 11:
		write_with_barrier(a, m);
		break;
	case 12 ... 13:
		store_raw(a, m);
		break;
	case 14:
		prefault(a, m);
		break;
	case 15:
		cancel(a, m);
		break;
	default:
		commit_it(a, m);
		break;
	}
}

static void operate_outside(struct actor *a, struct model *m, uint64_t *seed)
{
	uint32_t version = a->seg->version;

	switch (random_below(seed, 28)) {
	case 25 ... 27:
		/* Its next begin is one that trims. */
		begin(a, version);
		stm_global.trim_age = 0;
		a->seg->trim.due = 0;
		a->seg->trim.credit = 1;
		a->seg->heed |= STM_HEED_TRIM;
		tell(a, BEGIN);
		stm_global.trim_age = UINT64_MAX;
		a->seg->trim.due = UINT64_MAX;
		trim(m, version);
		CHECK(a->seg->trim.pages == m->trimmed, "actor %zu: %lu pages were trimmed, expected %lu", a - actors,
		      a->seg->trim.pages, m->trimmed);
		break;
	case 24:
		/* What was used lately is not any more. */
		begin(a, version);
		m->running = false;
		tell(a, SPIN);
		break;
	case 0:
		tell(a, DETACH);
		m->attached = m->parked = false;
		drop_all(m);
		a->model = NULL;
		break;
	case 1 ... 2:
		tell(a, FOLD);
		break;
	case 3 ... 5:
		if (m->parked)
			break; /* only a transaction un-parks */
		tell(a, HELP);
		advance(m, tail, version);
		see_help(a);
		break;
	case 6:
		/* One that commits and finds others asleep, again and again. */
		for (int i = 0; i < 6 && !failure; i++) {
			begin(a, a->seg->version);
			tell(a, BEGIN);
			write_with_barrier(a, m);
			while (m->running && !failure)
				commit_it(a, m);
			tell(a, HELP);
			advance(m, tail, a->seg->version);
			see_help(a);
		}
		break;
	default:
		begin(a, version);
		tell(a, BEGIN);
		CHECK(a->answer == BEGAN, "begin: answer %d", a->answer);
		break;
	}
}

static void attach(struct actor *a)
{
	tell(a, ATTACH);
	a->model = &models[a->seg->id];
	a->model->attached = true;
	a->model->snapshot = folded();
}

static void operate(uint64_t *seed)
{
	struct actor *a = &actors[random_below(seed, ACTORS)];
	struct model *m = a->model;

	a->page = random_page(seed);
	a->k = random_below(seed, WORDS);
	a->pages = 1 + random_below(seed, 20);
	a->value = random_next(seed) | 1;
	if (!m) {
		attach(a);
		return;
	}
	if (!m->parked && random_below(seed, 12) == 0)
		reclaim(a, m, random_below(seed, 2));
	if (m->running)
		operate_inside(a, m, seed);
	else
		operate_outside(a, m, seed);
}

/* ---- runs ---- */

FIXTURE(model) {
};

FIXTURE_VARIANT(model) {
	unsigned int cluster, runs;
};

FIXTURE_VARIANT_ADD(model, cluster_1) { 1, 8 };
FIXTURE_VARIANT_ADD(model, cluster_4) { 4, 8 };
FIXTURE_VARIANT_ADD(model, cluster_16) { 16, 8 };
FIXTURE_VARIANT_ADD(model, cluster_512) { 512, 3 };

FIXTURE_SETUP(model)
{
	cluster = variant->cluster;
}

FIXTURE_TEARDOWN(model)
{
}

static void set_up(void)
{
	struct stm_options options = STM_OPTIONS_INIT;

	options.cluster = (unsigned int)cluster;
	options.heap_size = (FIRST + PAGES) * STM_PAGE;
	options.trim_age = STM_TRIM_NEVER; /* but when it is told to */
	options.attempts = ~0u; /* right of way would let others wait, who are not to */
	if (stm_init(&options) || stm_heap_grow(options.heap_size))
		abort();
	stm_global.shares_hot_pages = true;
	stm_global.trim_versions = WARM;
	stm_global.marked_attempts = UINT32_MAX; /* who is alone marks what it reads, too: it is told to trim at any time */
	async = engine_is("async");
	memset(models, 0, sizeof(models));
	tail = 0;
	for (unsigned int i = 0; i < ACTORS; i++) {
		struct actor *a = &actors[i];

		memset(a, 0, sizeof(*a));
		sem_init(&a->go, 0, 0);
		sem_init(&a->done, 0, 0);
		if (pthread_create(&a->thread, NULL, act, a))
			abort();
		while (sem_wait(&a->done))
			;
		a->model = &models[a->seg->id];
		a->model->attached = true;
	}
	check_all(); /* forgets the pictures of the last run */
}

static void take_down(void)
{
	for (unsigned int i = 0; i < ACTORS; i++) {
		struct actor *a = &actors[i];

		if (a->model && a->model->running)
			cancel(a, a->model);
		a->kind = QUIT;
		sem_post(&a->go);
		pthread_join(a->thread, NULL);
	}
	if (stm_fini())
		abort();
}

TEST_F_TIMEOUT(model, random, 1800)
{
	uint64_t first = random_seed();
	unsigned int runs = variant->runs * long_factor(10);
	uint64_t faults[STM_FAULT_KINDS] = { 0 }, parks = 0, commits = 0, trimmed = 0;

	for (uint64_t n = 0; n < runs && !failure; n++) {
		uint64_t seed = first + n;

		set_up();
		for (unsigned int i = 0; i < OPERATIONS && !failure; i++) {
			operate(&seed);
			check_bounds();
			if (i % 8 == 0)
				check_all();
			if (failure)
				TH_LOG("STM_SEED=%lu, operation %u: %s", first + n, i, failure);
		}
		EXPECT_EQ(NULL, failure);
		parks += stm_status->parks;
		commits += tail;
		for (unsigned int i = 0; i < STM_SEGMENTS_LIMIT; i++)
			trimmed += models[i].trimmed;
		for (int kind = 0; kind < STM_FAULT_KINDS; kind++)
			for (unsigned int i = 0; i < STM_SEGMENTS_LIMIT; i++)
				faults[kind] += models[i].faults[kind];
		if (failure)
			_exit(KSFT_FAIL);
		take_down();
	}
	TH_LOG("seed %lu and on: %lu commits, %lu parks, %lu pages trimmed, faults: %lu %lu %lu %lu", first, commits, parks,
	       trimmed, faults[0], faults[1], faults[2], faults[3]);
	/* It was about something. */
	EXPECT_LT(0, parks);
	EXPECT_LT(100, commits);
	EXPECT_LT(100, trimmed);
	for (int kind = 0; kind < STM_FAULT_KINDS; kind++)
		EXPECT_LT(0, faults[kind]);
}

TEST_HARNESS_MAIN
