// SPDX-License-Identifier: MIT
/*
 * fold.c - entries that every segment has applied go into the base, so that they can be recycled;
 * segments that sleep are kept from holding this up.
 *
 *   fold: target = the lowest published snapshot of all attached segments that are not PARKED. Copy the
 *   entries below it into the base, in order; `folded` follows. Then `recyclable` = the lowest of
 *   `folded` and the replay pins.
 *
 *   A segment in the way that is IDLE is taken: set TAKEN on all such, one membarrier, and those that are still
 *   IDLE are held, since an owner stores RUNNING before it looks at TAKEN. A held one is brought up
 *   to date, or, if it has not run for some visits, parked: its pages are dropped, and it no longer counts.
 */
#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "entry.h"
#include "internal.h"
#include "recorder.h"
#include "strict.h"

/*
 * Positions that IDLE segments may lag before they are taken. A membarrier is 40 us here, so that
 * this is some 2 ns for a commit; the log kept for it is 1 MiB of slots.
 */
#define LAG_ALLOWED ((uint64_t)16384)

#define PARK_VISITS 3u                  /* visits without a transaction between, after which a segment is parked */
#define FOLD_BATCH ((uint64_t)8192)     /* entries folded by one call, so that nobody holds the lock for long */

bool stm_counts(const struct stm_seg *seg)
{
	return atomic_load_explicit(&seg->attached, memory_order_acquire) &&
	       atomic_load_explicit(&seg->taken, memory_order_acquire) != STM_PARKED;
}

static uint64_t lowest_snapshot(struct stm_seg **holder)
{
	uint64_t lowest = UINT64_MAX;

	for (unsigned int i = 0; i < stm_global.segments_n; i++) {
		struct stm_seg *seg = stm_global.segments[i];
		uint64_t published;

		if (!stm_counts(seg))
			continue;
		/* Pairs with publish_snapshot(): its reads of the log below are over. */
		published = atomic_load_explicit(&seg->published, memory_order_acquire);
		if (published < lowest) {
			lowest = published;
			*holder = seg;
		}
	}
	return lowest;
}

static void fold_slot(const struct stm_slot *slot, uint32_t tick)
{
	struct stm_reader reader = stm_read_slot(slot);
	struct stm_piece piece;

	while (stm_next_piece(&reader, &piece)) {
		stm_copy_granules(stm_global.base + piece.granule * STM_GRANULE, piece.bytes, piece.count);
		stm_run_folded(piece.granule, piece.count, tick);
	}
}

/* Fold lock held. */
static void set_recyclable(uint64_t folded)
{
	uint64_t lowest = folded;

	/* Pairs with the fence of stm_log_pin(): either it sees the new `folded`, or we see its pin. */
	atomic_thread_fence(memory_order_seq_cst);
	for (unsigned int i = 0; i < stm_global.segments_n; i++) {
		/* Pairs with stm_log_unpin(). */
		uint64_t pin = atomic_load_explicit(&stm_global.segments[i]->pin, memory_order_acquire);

		if (pin < lowest)
			lowest = pin;
	}
	if (STM_MUTATED(RECYCLE)) {
		struct stm_seg *holder;

		lowest = lowest_snapshot(&holder);
	}
	/* A pin older than the last fold may be below what is recyclable already, but never reads there. */
	if (lowest < atomic_load_explicit(&stm_global.recyclable, memory_order_relaxed))
		return;
	/* Pairs with stm_entry_reap(): our reads of the entries come before their reuse. */
	atomic_store_explicit(&stm_global.recyclable, lowest, memory_order_release);
	stm_log_release(lowest);
}

/* To the event log: what was folded since the last time, by alone.c, too. */
static void tell(struct stm_seg *self, uint64_t since)
{
	uint64_t folded = atomic_load_explicit(&stm_global.folded, memory_order_relaxed);

	if (!stm_recording(self) || folded == stm_global.fold_told)
		return;
	stm_record_since(self, STM_EVENT_FOLD, since, folded - stm_global.fold_told);
	stm_global.fold_told = folded;
}

/* Fold lock held; @self does it. Returns whether there is more to fold. */
static bool fold(struct stm_seg *self, struct stm_seg **holder)
{
	uint64_t folded = atomic_load_explicit(&stm_global.folded, memory_order_relaxed);
	uint64_t target = lowest_snapshot(holder);
	struct stm_slot *slot = stm_global.fold_slot;
	uint64_t since = stm_record_start(self);
	bool more = false;
	uint32_t tick;

	if (target == UINT64_MAX || target <= folded) {
		tell(self, since);
		return false;
	}
	STM_POINT(FOLD);
	tick = self->alone_tick = stm_tick();
	if (target - folded > FOLD_BATCH) {
		target = folded + FOLD_BATCH;
		more = true;
	}
	for (; folded < target; folded++) {
		fold_slot(slot, tick);
		STM_COUNT(folded, 1);
		STM_POINT(FOLDED);
		slot = stm_slot_next(slot, folded);
	}
	stm_global.fold_slot = slot;
	/* Pairs with the acquire in stm_log_pin(): the base holds these entries. */
	atomic_store_explicit(&stm_global.folded, folded, memory_order_release);
	__atomic_store_n(&stm_status->folded, folded, __ATOMIC_RELAXED);
	set_recyclable(folded);
	tell(self, since);
	return more;
}

/* ---- sleeping segments ---- */

/* Fold lock held, and the segment is ours: TAKEN, and seen IDLE since. */
static void serve(struct stm_seg *self, struct stm_seg *seg)
{
	if (seg->version != seg->idle_since) {
		seg->idle_since = seg->version;
		seg->idle_visits = 0;
	} else {
		seg->idle_visits++;
	}
	if (seg->idle_visits >= PARK_VISITS && !stm_pages_drop_all(seg)) {
		if (!stm_waits(seg)) /* else they tell what it waits for; the owner may stop waiting meanwhile, not begin to */
			stm_markers_empty(seg);
		__atomic_store_n(&stm_status->parks, stm_status->parks + 1, __ATOMIC_RELAXED);
		stm_record_since(self, STM_EVENT_PARK, 0, seg->id);
		atomic_store_explicit(&seg->taken, STM_PARKED, memory_order_release);
		return;
	}
	stm_advance(seg);
	if (unlikely(seg->strict) && !STM_MUTATED(STRICT_NO_GUARD))
		stm_strict_end(seg);
	seg->trim.begins = STM_TRIM_BEGINS - 1; /* it runs seldom: its next begin that finds commits looks at the clock */
	/* Pairs with the owner's acquire of TAKEN: it sees what we did. */
	atomic_store_explicit(&seg->taken, STM_FREE, memory_order_release);
}

/* Fold lock held: take the IDLE segments that are behind @upto. */
static void take_idle(struct stm_seg *self, uint64_t upto)
{
	struct stm_seg *taken[STM_SEGMENTS_LIMIT];
	unsigned int n = 0;

	for (unsigned int i = 0; i < stm_global.segments_n; i++) {
		struct stm_seg *seg = stm_global.segments[i];

		if (seg == self || !stm_counts(seg) ||
		    atomic_load_explicit(&seg->state, memory_order_acquire) != STM_IDLE ||
		    atomic_load_explicit(&seg->published, memory_order_acquire) >= upto)
			continue;
		atomic_store(&seg->taken, STM_TAKEN);
		taken[n++] = seg;
	}
	if (!n)
		return;
	STM_POINT(TAKING);
	self->calls++;
	/* Partner of the compiler barrier in stm_run(): store RUNNING, load TAKEN. */
	if (!STM_MUTATED(NO_MEMBARRIER))
		syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	for (unsigned int i = 0; i < n; i++) {
		/* Pairs with the release of IDLE at the end of a transaction. */
		if (atomic_load_explicit(&taken[i]->state, memory_order_acquire) != STM_IDLE) {
			atomic_store_explicit(&taken[i]->taken, STM_FREE, memory_order_release);
			continue;
		}
		STM_POINT(TAKEN);
		serve(self, taken[i]);
	}
}

static void try_fold(struct stm_seg *self, uint64_t lag)
{
	struct stm_seg *holder = NULL;

	if (pthread_mutex_trylock(&stm_global.fold_lock))
		return;
	if (!fold(self, &holder) && self->snapshot - atomic_load_explicit(&stm_global.folded, memory_order_relaxed) > lag &&
	    holder && holder != self) {
		if (atomic_load_explicit(&holder->state, memory_order_acquire) == STM_IDLE) {
			take_idle(self, self->snapshot);
			fold(self, &holder);
		} else {
			const struct stm_site *site = stm_site_of(holder);

			if (site) /* else it is on its way out: who was waited for all the time is known */
				stm_status_log_held_by(site);
		}
	}
	stm_alone_try(self);
	pthread_mutex_unlock(&stm_global.fold_lock);
}

void stm_fold_tell(struct stm_seg *self)
{
	tell(self, stm_record_start(self));
}

bool stm_fold_all(struct stm_seg *seg)
{
	struct stm_seg *holder = NULL;

	if (pthread_mutex_trylock(&stm_global.fold_lock))
		return false;
	while (fold(seg, &holder))
		;
	pthread_mutex_unlock(&stm_global.fold_lock);
	return atomic_load_explicit(&stm_global.folded, memory_order_relaxed) == seg->snapshot;
}

void stm_fold_try(struct stm_seg *seg)
{
	try_fold(seg, unlikely(stm_track_lags(seg)) ? 0 : LAG_ALLOWED);
	stm_trim_look(seg);
}

void stm_unpark(struct stm_seg *seg)
{
	for (;;) {
		/* Pairs with the releases of helpers. */
		uint32_t taken = atomic_load_explicit(&seg->taken, memory_order_acquire);

		if (taken == STM_FREE)
			return;
		if (taken == STM_TAKEN) { /* who has it, or is about to let it go, waits for nothing */
			seg->calls++;
			sched_yield();
			continue;
		}
		stm_alone_end();
		pthread_mutex_lock(&stm_global.fold_lock);
		seg->snapshot = atomic_load_explicit(&stm_global.folded, memory_order_relaxed);
		seg->slot = stm_global.fold_slot;
		seg->idle_visits = 0;
		atomic_store_explicit(&seg->published, seg->snapshot, memory_order_release);
		atomic_store_explicit(&seg->taken, STM_FREE, memory_order_release);
		stm_alone_ended(seg);
		pthread_mutex_unlock(&stm_global.fold_lock);
	}
}

/* ---- a log that is too long ---- */

#define WAIT_NS 100000                  /* one turn: long against a commit, short against what is waited for */

/*
 * The segment has more log than it should. Wait until fold has caught up with it, and help: its own snapshot is
 * advanced on every turn, or it would wait for itself; what is left when `folded` equals that snapshot can
 * be freed by a later commit only.
 */
void stm_log_throttle(struct stm_seg *seg)
{
	uint64_t since = stm_record_start(seg);

	seg->log_waits++;
	for (;;) {
		stm_advance(seg);
		try_fold(seg, 0);
		STM_POINT(THROTTLE);
		stm_entry_reap(seg);
		if (!(seg->heed & STM_HEED_LOG))
			break;
		if (!STM_MUTATED(THROTTLE) &&
		    atomic_load_explicit(&stm_global.folded, memory_order_acquire) == seg->snapshot)
			break;
		seg->calls++;
		nanosleep(&(struct timespec){ .tv_nsec = WAIT_NS }, NULL);
	}
	if (stm_recording(seg))
		stm_record_log_wait(seg, since);
}
