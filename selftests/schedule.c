// SPDX-License-Identifier: MIT
/*
 * schedule.c - see schedule.h.
 */
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "entry.h"
#include "schedule.h"

static _Atomic unsigned int failures;

#define FAILURES_TOLD 20u

void schedule_fail(const char *format, ...)
{
	char text[512];
	va_list ap;

	if (atomic_fetch_add(&failures, 1) >= FAILURES_TOLD)
		return;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	printf("# %s\n", text);
	fflush(stdout);
}

unsigned int schedule_failures(void)
{
	return atomic_load(&failures);
}

/* ---- stops ---- */

#define POLL_NS 20000
#define POLL_SPINS 200

void await(_Atomic int *flag)
{
	for (unsigned int i = 0; !atomic_load_explicit(flag, memory_order_acquire); i++) {
		if (i < POLL_SPINS)
			sched_yield();
		else
			nanosleep(&(struct timespec){ .tv_nsec = POLL_NS }, NULL);
	}
}

void stop_here(struct stop *stop)
{
	atomic_store(&stop->reached, 1);
	await(&stop->released);
}

void stop_await(struct stop *stop)
{
	await(&stop->reached);
}

void stop_release(struct stop *stop)
{
	atomic_store(&stop->released, 1);
}

/* ---- actors ---- */

static __thread struct actor *self;

/* The armed stop. */
static struct {
	struct actor *actor;
	enum stm_point point;
	unsigned int nth;
	_Atomic(struct stop *) stop;
} armed;

static void at_point(enum stm_point point)
{
	struct stop *stop = atomic_load_explicit(&armed.stop, memory_order_acquire);

	if (!stop || armed.actor != self || armed.point != point || --armed.nth)
		return;
	atomic_store_explicit(&armed.stop, NULL, memory_order_relaxed);
	stop_here(stop);
}

void actor_stop_at(struct actor *actor, enum stm_point point, unsigned int nth, struct stop *stop)
{
	armed.actor = actor;
	armed.point = point;
	armed.nth = nth;
	atomic_store_explicit(&armed.stop, stop, memory_order_release);
	stm_schedule_hook = at_point;
}

static void *act(void *arg)
{
	struct actor *actor = arg;

	self = actor;
	actor->tid = gettid();
	for (;;) {
		await(&actor->busy);
		if (atomic_load(&actor->quit))
			return NULL;
		atomic_load(&actor->job)(actor->arg);
		atomic_store(&actor->busy, 0);
	}
}

void actor_do(struct actor *actor, void (*job)(void *arg), void *arg)
{
	atomic_store(&actor->job, job);
	actor->arg = arg;
	atomic_store(&actor->busy, 1);
}

void actor_wait(struct actor *actor)
{
	for (unsigned int i = 0; atomic_load_explicit(&actor->busy, memory_order_acquire); i++) {
		if (i < POLL_SPINS)
			sched_yield();
		else
			nanosleep(&(struct timespec){ .tv_nsec = POLL_NS }, NULL);
	}
}

void actor_run(struct actor *actor, void (*job)(void *arg), void *arg)
{
	actor_do(actor, job, arg);
	actor_wait(actor);
}

static void attach(void *arg)
{
	struct actor *actor = arg;
	int error = stm_thread_attach();

	if (error) {
		fprintf(stderr, "# stm_thread_attach: %s\n", stm_strerror(error));
		abort();
	}
	actor->seg = stm__self;
}

static void detach(void *arg)
{
	int error = stm_thread_detach();

	(void)arg;
	if (error)
		schedule_fail("stm_thread_detach: %s", stm_strerror(error));
}

void actor_start(struct actor *actor)
{
	static unsigned int ids;

	memset(actor, 0, sizeof(*actor));
	actor->id = ids++;
	if (pthread_create(&actor->thread, NULL, act, actor)) {
		fprintf(stderr, "# pthread_create failed\n");
		abort();
	}
	actor_run(actor, attach, actor);
}

void actor_end(struct actor *actor)
{
	actor_run(actor, detach, NULL);
	atomic_store(&actor->quit, 1);
	atomic_store(&actor->busy, 1);
	pthread_join(actor->thread, NULL);
}

/* ---- torture ---- */

static uint64_t torture_seed;
static unsigned int torture_often;
static _Atomic uint64_t checks;
static _Atomic uint64_t torture_threads;
static __thread uint64_t dice;
static __thread uint64_t folding;       /* entries folded since STM_POINT_FOLD */

static bool counts(struct stm_seg *seg)
{
	return atomic_load(&seg->attached) && atomic_load(&seg->taken) != STM_PARKED;
}

/* Invariant F, fold lock held: no segment is behind `folded`. */
static void check_snapshots(void)
{
	uint64_t folded = atomic_load(&stm_global.folded);
	unsigned int n = atomic_load(&stm_global.segments_n);

	for (unsigned int i = 0; i < n; i++) {
		struct stm_seg *seg = stm_global.segments[i];
		uint64_t published = atomic_load(&seg->published);

		if (counts(seg) && published < folded)
			schedule_fail("invariant F: segment %u published %llu, folded is %llu", i,
				      (unsigned long long)published, (unsigned long long)folded);
	}
}

/* The same, an entry was folded just now: nobody maps a page that it wrote as SHARED. */
static void check_folded(uint64_t position)
{
	struct stm_reader reader = stm_read_slot(stm_slot_at(position));
	unsigned int n = atomic_load(&stm_global.segments_n);
	struct stm_piece piece;

	while (stm_next_piece(&reader, &piece)) {
		size_t page = piece.granule / STM_PAGE_GRANULES;
		size_t last = (piece.granule + piece.count - 1) / STM_PAGE_GRANULES;

		for (; page <= last; page++) {
			for (unsigned int i = 0; i < n; i++) {
				struct stm_seg *seg = stm_global.segments[i];

				if (page < seg->view.pages && counts(seg) &&
				    ((volatile uint8_t *)seg->view.state)[page] == STM_PAGE_SHARED)
					schedule_fail("invariant F: segment %u shares page %zu, "
						      "which fold has written for position %llu",
						      i, page, (unsigned long long)position);
			}
		}
	}
}

static void check_point(enum stm_point point)
{
	struct stm_seg *seg = stm__self;

	switch (point) {
	case STM_POINT_FOLD:
		folding = 0;
		check_snapshots();
		break;
	case STM_POINT_FOLDED:
		check_folded(atomic_load(&stm_global.folded) + folding++);
		break;
	case STM_POINT_APPLIED:
	case STM_POINT_DROPPED:
	case STM_POINT_COPIED:
		if (seg && atomic_load(&seg->published) > seg->snapshot)
			schedule_fail("segment %u published %llu, but its view is at %llu", seg->id,
				      (unsigned long long)atomic_load(&seg->published),
				      (unsigned long long)seg->snapshot);
		break;
	default:
		return;
	}
	atomic_fetch_add_explicit(&checks, 1, memory_order_relaxed);
}

static void dawdle(void)
{
	uint64_t random = next_random(&dice);

	if (random % torture_often)
		return;
	random /= torture_often;
	switch (random % 8) {
	case 0:
		usleep(random / 8 % 200);
		break;
	case 1:
	case 2:
	case 3:
		sched_yield();
		break;
	default:
		for (uint64_t n = random / 8 % 300; n; n--)
			__builtin_ia32_pause();
	}
}

static void torture_point(enum stm_point point)
{
	check_point(point);
	if (!torture_often)
		return;
	if (!dice)
		dice = (torture_seed + atomic_fetch_add(&torture_threads, 1)) *
			       0x9e3779b97f4a7c15u |
		       1;
	dawdle();
}

void torture_start(uint64_t seed, unsigned int often)
{
	torture_seed = seed;
	torture_often = often;
	stm_schedule_hook = torture_point;
}

void torture_stop(void)
{
	stm_schedule_hook = NULL;
}

void help_fold(void)
{
	struct stm_seg *seg = stm__self;

	stm_run(seg);
	stm_log_throttle(seg);
	atomic_store_explicit(&seg->state, STM_IDLE, memory_order_release);
}

uint64_t torture_checks(void)
{
	return atomic_load(&checks);
}

/* ---- views ---- */

static bool in_write_set(const struct stm_seg *seg, size_t granule)
{
	return seg->write_markers[granule] == seg->version;
}

/*
 * Put into @page what the view must hold; *@touched: an unfolded entry writes to it. Fold lock
 * held.
 */
static void expected_page(const struct stm_seg *seg, size_t number, uint8_t *page, bool *touched)
{
	size_t low = number * STM_PAGE_GRANULES, high = low + STM_PAGE_GRANULES;
	uint64_t position = atomic_load(&stm_global.folded);

	memcpy(page, stm_global.base + number * STM_PAGE, STM_PAGE);
	*touched = false;
	for (; position < seg->snapshot; position++) {
		struct stm_reader reader = stm_read_slot(stm_slot_at(position));
		struct stm_piece piece;

		while (stm_next_piece(&reader, &piece)) {
			size_t from = piece.granule > low ? piece.granule : low;
			size_t to = piece.granule + piece.count < high ? piece.granule + piece.count
								       : high;

			if (from >= to)
				continue;
			*touched = true;
			memcpy(page + (from - low) * STM_GRANULE,
			       piece.bytes + (from - piece.granule) * STM_GRANULE,
			       (to - from) * STM_GRANULE);
		}
	}
}

static void verify_page(const struct stm_seg *seg, size_t number)
{
	uint8_t page[STM_PAGE];
	bool touched;

	expected_page(seg, number, page, &touched);
	if (touched && seg->view.state[number] == STM_PAGE_SHARED)
		schedule_fail(
			"segment %u shares page %zu, which an entry in [folded, snapshot) writes",
			seg->id, number);
	for (size_t i = 1; i < STM_PAGE_GRANULES; i++) {
		size_t granule = number * STM_PAGE_GRANULES + i;

		if (in_write_set(seg, granule) ||
		    !memcmp(page + i * STM_GRANULE, seg->view.heap + granule * STM_GRANULE,
			    STM_GRANULE))
			continue;
		schedule_fail(
			"segment %u at snapshot %llu: granule %zu (page %zu, state %u) is not base plus log; folded %llu",
			seg->id, (unsigned long long)seg->snapshot, granule, number,
			seg->view.state[number],
			(unsigned long long)atomic_load(&stm_global.folded));
		return;
	}
}

void verify_view(uint64_t random, unsigned int n, size_t first, size_t last)
{
	const struct stm_seg *seg = stm__self;
	size_t all = last - first;

	/* Keeps fold, and whoever would take this segment, still. */
	pthread_mutex_lock(&stm_global.fold_lock);
	for (size_t i = 0; i < all && n; i++) {
		size_t page = first + (random + i) % all;

		if (seg->view.state[page] == STM_PAGE_UNMAPPED)
			continue;
		verify_page(seg, page);
		n--;
	}
	pthread_mutex_unlock(&stm_global.fold_lock);
}
