// SPDX-License-Identifier: MIT
/*
 * alone.c - while one segment alone counts, it commits straight to the base: no entry, no slot, nothing left to fold.
 *
 *   Alone means: all others are detached or PARKED, so no view but its own holds anything, and `folded` is its
 *   snapshot. A commit copies its after-images to the base, and `folded` and the snapshot move on together. Its slot
 *   stays EMPTY; whoever comes to count later begins at `folded`, behind it. What others see is what they would see if
 *   each commit were published, and folded at once.
 *
 *   Who makes it so     its own thread, when it folds, under the fold lock: stm_alone_try().
 *   Who ends it         a thread that attaches or un-parks, before it takes the fold lock to do so: it stores alone =
 *                       false, does a membarrier, and waits while @at_base is set. The owner: store @at_base, compiler
 *                       barrier, load alone: as with TAKEN, it has no fence. Between, @joining keeps anybody from being made
 *                       alone again.
 *
 * Nor does it mark what it reads: who is alone has nobody to conflict with. `unmarked` tells the inlined barriers. An
 * attempt that begins with it is blind, to its end: as soon as anybody else has published a commit since its
 * snapshot, it conflicts, whatever it has read. Who ends `alone` clears `unmarked`, at any time: begin copies it to
 * `blind` before the first read, and it is set, both are, by the owner alone. So reads without markers are those
 * of blind attempts, with no fence: a load that comes too early makes an attempt blind that need not be. An attempt that
 * nobody else's commit may undo (right of way), one that waits (stm_retry), and one whose reads are counted (names) are
 * not blind. Then, and after a blind one had a conflict, reads are marked for a while, for ever longer ones where somebody comes
 * again and again: so that few attempts are lost, long ones among many short ones, too.
 *
 * What needs the log goes there as ever: an inevitable transaction, for its PENDING; a commit that a waiter in
 * stm_retry() may have read; the last slot of a chunk. The next commit folds that first. Strict mode never comes here.
 */
#include <errno.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "entry.h"
#include "internal.h"
#include "names.h"
#include "recorder.h"

/* ---- the owner ---- */

#define BY_WORDS 16u                    /* granules; longer runs were stored long ago, mostly */

/*
 * Which pages are written, for those who may come: by the first commit of each tick, and one in so many of the others. It is a
 * hint, and a page that is written all the time is soon found.
 */
#define TELLS_ONE_IN 8u

static inline void write_base(struct stm_seg *seg)
{
	const struct stm_run *run = (const struct stm_run *)(seg->entry + 1);
	uint32_t tick = seg->alone_tick;
	bool tells = seg->snapshot % TELLS_ONE_IN == 0 || tick != seg->alone_told;

	seg->alone_told = tick;

	for (uint32_t left = seg->runs; left; left--) {
		size_t granule = run->granule, count = run->count;
		const uint8_t *from = seg->view.heap + granule * STM_GRANULE;
		uint8_t *to = stm_global.base + granule * STM_GRANULE;

		if (likely(count <= BY_WORDS))
			stm_copy_fresh_granules(to, from, count);
		else
			memcpy(to, from, count * STM_GRANULE);
		if (unlikely(tells))
			stm_run_folded(granule, count, tick);
		run = (const struct stm_run *)((const uint8_t *)(run + 1) + count * STM_GRANULE);
		STM_POINT(AT_BASE);
	}
}

/* The position is committed and folded. */
static inline void move_on(struct stm_seg *seg, uint64_t position)
{
	seg->slot++; /* it was not the last one of its chunk */
	seg->snapshot = position + 1;
	atomic_store_explicit(&seg->published, position + 1, memory_order_release);
	/* Without the fence of set_recyclable(): who alone counts has no pin while it commits, and nobody else has one. */
	stm_global.fold_slot = seg->slot;
	atomic_store_explicit(&stm_global.folded, position + 1, memory_order_release);
	__atomic_store_n(&stm_status->folded, position + 1, __ATOMIC_RELAXED);
}

static inline bool is_alone(const struct stm_seg *seg)
{
	return atomic_load_explicit(&seg->alone, memory_order_relaxed);
}

/* Nobody else changes these while it is alone. */
static inline bool may_write_base(struct stm_seg *seg)
{
	return !(seg->attention & STM_ATTEND_PENDING) && (seg->snapshot + 1) % STM_CHUNK_SLOTS != 0 &&
	       likely(!atomic_load_explicit(&stm_global.waiting, memory_order_relaxed)) &&
	       (likely(atomic_load_explicit(&stm_global.folded, memory_order_relaxed) == seg->snapshot) || stm_fold_all(seg)) &&
	       atomic_load_explicit(&seg->slot->entry, memory_order_relaxed) == STM_SLOT_EMPTY;
}

bool stm_publish_alone(struct stm_seg *seg)
{
	uint64_t position = seg->snapshot;

	if (!may_write_base(seg))
		return false;
	if (unlikely(seg->attention & STM_ATTEND_EVENTS))
		stm_record_codes(seg); /* it counts granules; nobody can conflict with what has no entry */
	/* The owner's half of the protocol with stm_alone_end(), whose membarrier makes this order real. */
	atomic_store_explicit(&seg->at_base, true, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	STM_POINT(ALONE);
	if (likely(is_alone(seg))) {
		write_base(seg);
		STM_COMMITTED(position);
		move_on(seg, position);
		if (unlikely(seg->limit - (uint8_t *)seg->entry > (ptrdiff_t)STM_LARGE_ENTRY))
			stm_entry_abandon(seg);
		else
			stm_entry_reset(seg);
		/* Pairs with the acquire in stm_alone_end(): the base is whole. */
		atomic_store_explicit(&seg->at_base, false, memory_order_release);
		return true;
	}
	atomic_store_explicit(&seg->at_base, false, memory_order_release);
	return false;
}

/* ---- its beginning and end ---- */

/* Failed ones, and those of before versions began again, too; savepoints take versions, but count as renewed. */
static uint64_t attempts_of(const struct stm_seg *seg)
{
	return seg->versions_renewed + seg->version;
}

static void mark_for(struct stm_seg *seg, uint32_t attempts)
{
	if (seg->marks_until < attempts_of(seg) + attempts)
		seg->marks_until = attempts_of(seg) + attempts;
	atomic_store_explicit(&seg->unmarked, 0, memory_order_relaxed);
}

void stm_mark_reads(struct stm_seg *seg)
{
	mark_for(seg, stm_global.marked_attempts);
}

#define MARKS_DOUBLINGS 10u             /* so often they last twice as long, if that long after they ended the same happens */
#define SELDOM 64u                      /* conflicts so many times as far apart as marks lasted cost next to nothing */

void stm_mark_after_conflict(struct stm_seg *seg)
{
	uint64_t apart = attempts_of(seg) - seg->marks_asked;

	if (!seg->marks_for || apart > (uint64_t)seg->marks_for * SELDOM)
		seg->marks_for = stm_global.marked_attempts;
	else if (seg->marks_for < stm_global.marked_attempts << MARKS_DOUBLINGS)
		seg->marks_for *= 2;
	seg->marks_asked = attempts_of(seg);
	mark_for(seg, seg->marks_for);
}

/* Fold lock held, so that nobody comes meanwhile: it is alone. */
static void review_marks(struct stm_seg *self)
{
	if (self->checked || stm_names_all() || attempts_of(self) < self->marks_until)
		return;
	if (stm_trim_wants_marks(self)) {
		atomic_store_explicit(&self->unmarked, 0, memory_order_relaxed);
		return;
	}
	self->blind = 1; /* if this is in an attempt: from here on */
	atomic_store_explicit(&self->unmarked, 1, memory_order_relaxed);
}

/* Fold lock held. Once for each chunk of the log, at least. */
void stm_alone_try(struct stm_seg *self)
{
	self->alone_tick = stm_tick();
	if (is_alone(self))
		review_marks(self);
	if (is_alone(self) || self->strict || atomic_load(&stm_global.joining) ||
	    atomic_load_explicit(&stm_global.folded, memory_order_relaxed) != self->snapshot)
		return;
	for (unsigned int i = 0; i < stm_global.segments_n; i++)
		if (stm_global.segments[i] != self && stm_counts(stm_global.segments[i]))
			return;
	stm_global.alone = self;
	atomic_store_explicit(&self->alone, true, memory_order_relaxed);
	review_marks(self);
}

void stm_alone_tell(struct stm_seg *seg)
{
	if (!is_alone(seg))
		return;
	pthread_mutex_lock(&stm_global.fold_lock);
	stm_fold_tell(seg);
	pthread_mutex_unlock(&stm_global.fold_lock);
}

/* Fold lock held. */
static void end_alone(struct stm_seg *seg)
{
	atomic_store_explicit(&seg->alone, false, memory_order_relaxed);
	atomic_store_explicit(&seg->unmarked, 0, memory_order_relaxed);
}

/* Fold lock held: the segment does not count any more. */
void stm_alone_part(struct stm_seg *seg)
{
	end_alone(seg);
	if (stm_global.alone == seg)
		stm_global.alone = NULL;
}

#define WAIT_NS 20000

void stm_alone_end(void)
{
	struct stm_seg *seg;

	atomic_fetch_add(&stm_global.joining, 1);
	if (STM_MUTATED(ALONE_STAYS))
		return;
	pthread_mutex_lock(&stm_global.fold_lock);
	seg = stm_global.alone;
	if (seg)
		end_alone(seg);
	pthread_mutex_unlock(&stm_global.fold_lock);
	if (!seg || STM_MUTATED(ALONE_NO_WAIT))
		return;
	/* Partner of the compiler barrier in stm_publish_alone(): store @at_base, load alone. */
	syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
	STM_POINT(ALONE_ENDS);
	while (atomic_load_explicit(&seg->at_base, memory_order_acquire))
		/* Not nanosleep(3), where pthread_cancel(3) could end the thread, with the attach lock. */
		syscall(SYS_nanosleep, &(struct timespec){ .tv_nsec = WAIT_NS }, NULL);
}

/* Fold lock held: who called stm_alone_end() counts now. */
void stm_alone_ended(struct stm_seg *seg)
{
	stm_fold_tell(seg);
	stm_global.alone = NULL;
	atomic_fetch_sub(&stm_global.joining, 1);
}
