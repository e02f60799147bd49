// SPDX-License-Identifier: MIT
/*
 * tx.c - transactions: begin, commit, abort, inevitability.
 *
 *   begin    store RUNNING; look at TAKEN; apply new commits; publish the snapshot; take a version.
 *   commit   1. put the after-images into the entry.
 *            2. validate against each published slot from the snapshot on; at the first EMPTY one, take it by
 *               cmpxchg16b: {entry, summary}. A PENDING one: wait.
 *            3. copy a small entry into its slot.
 *            4. apply what was validated; publish snapshot = own position + 1; store IDLE.
 *   abort    copy the old bytes back; actions undone; outside: back off, and run from the checkpoint again.
 *
 * Functions that end in a verdict return bool; only the outermost ones here leave by stm__resume().
 */
#include <errno.h>
#include <sched.h>
#include <string.h>

#include "entry.h"
#include "internal.h"

__thread struct stm_seg *stm__self __attribute__((__tls_model__("initial-exec")));

#ifdef STM_SCHEDULE
void (*stm_schedule_hook)(enum stm_point point);
#endif

#define VERSION_LAST 0xfffffffeu
#define ONE_VERSION 0x0000000100000001u /* in both halves of stm_hot.version */

struct stm_seg *stm_tx_self(const char *call)
{
	struct stm_seg *seg = stm__self;

	if (unlikely(!seg))
		stm_not_here(call);
	if (unlikely(!stm_in_tx(seg)))
		stm_die("%s: outside a transaction: use STM_ATOMIC or stm_atomic()", call);
	return seg;
}

/* ---- the end of an attempt ---- */

static void leave_running(struct stm_seg *seg)
{
	seg->hot.version += ONE_VERSION;
	if (unlikely(seg->version >= VERSION_LAST))
		seg->heed |= STM_HEED_VERSIONS;
	/* Pairs with take_idle()'s acquire: all we did is done. */
	atomic_store_explicit(&seg->state, STM_IDLE, memory_order_release);
}

/* Put the old bytes back. No granule is logged twice in one attempt, so the order of runs does not matter. */
static void undo(struct stm_seg *seg)
{
	const uint8_t *next = (const uint8_t *)(seg->entry + 1), *old = seg->undo;

	for (uint32_t left = seg->runs; left; left--) {
		const struct stm_run *run = (const struct stm_run *)next;

		if (!run->fresh) {
			stm_copy_granules(seg->view.heap + run->granule * STM_GRANULE, old, run->count);
			old += run->count * STM_GRANULE;
		}
		next = (const uint8_t *)(run + 1) + run->count * STM_GRANULE;
	}
	stm_entry_reset(seg);
}

#if STM_MUTANT == 3
static atomic_flag inevitable_flag = ATOMIC_FLAG_INIT;
#endif

/* Give up a PENDING slot that got no entry. */
static void empty_pending(struct stm_seg *seg)
{
#if STM_MUTANT == 3
	atomic_flag_clear(&inevitable_flag);
#else
	atomic_store(&seg->slot->entry, STM_SLOT_EMPTY);
	stm_pending_resolved();
#endif
	seg->inevitable = STM_UNDOABLE;
}

/* Undo this attempt. Afterwards the thread is in no transaction. */
void stm_tx_abandon(struct stm_seg *seg, enum stm_abort_reason reason)
{
	uint32_t attention = seg->attention;

	/* A fold that is due stays due. */
	undo(seg);
	if (attention & STM_ATTEND_PENDING)
		empty_pending(seg);
	if (attention & STM_ATTEND_BLOCKS)
		stm_blocks_aborted(seg);
	seg->attention = attention & STM_ATTEND_FOLD;
	seg->nested = 0;
	seg->aborts[reason]++;
	leave_running(seg);
	if (attention & STM_ATTEND_ACTIONS)
		stm_actions_aborted(seg);
}

/* ---- begin ---- */

/* The versions are used up: forget all markers, by giving their memory back. */
static __attribute__((__noinline__)) void renew_versions(struct stm_seg *seg)
{
	size_t len = stm_view_pages(&seg->view) * STM_PAGE_GRANULES * sizeof(uint32_t);

	if (stm_empty(seg->read_markers, len) || stm_empty(seg->write_markers, len))
		stm_die("madvise(MADV_DONTNEED): cannot clear the markers");
	seg->calls += 2;
	seg->versions_renewed += seg->version - 1;
	seg->hot.version = ONE_VERSION;
}

static bool take_pending(struct stm_seg *seg);

/*
 * Too many attempts failed: nobody may commit before this one does. Its snapshot is the tail then, so it
 * validates trivially: it has read nothing.
 */
static __attribute__((__noinline__)) void get_right_of_way(struct stm_seg *seg)
{
	seg->inevitable = STM_RIGHT_OF_WAY;
	if (!take_pending(seg))
		stm_die("begin: a transaction that has read nothing conflicts");
}

/* Begin, if there is more to do than usual. */
static __attribute__((__noinline__)) int begin_slow(struct stm_seg *seg)
{
	uint32_t heed = seg->heed;

	if (heed & STM_HEED_HOOKS)
		stm_die("begin: an abort hook must not run transactions");
	if (unlikely(atomic_load_explicit(&seg->taken, memory_order_acquire)))
		stm_unpark(seg);
	stm_advance(seg);
	if (heed & STM_HEED_LOG)
		stm_log_throttle(seg);
	if (heed & STM_HEED_VERSIONS)
		renew_versions(seg);
	if (heed & STM_HEED_OUTCOME)
		seg->outcome = 0;
	seg->heed &= ~(STM_HEED_VERSIONS | STM_HEED_OUTCOME);
	return 1;
}

static inline int start(struct stm_seg *seg)
{
	/* As stm_run(), with all that is rare in one test. */
	atomic_store_explicit(&seg->state, STM_RUNNING, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	STM_POINT(BEGIN);
	if (unlikely(atomic_load_explicit(&seg->taken, memory_order_acquire) | seg->heed) ||
	    stm_is_published(atomic_load_explicit(&seg->slot->entry, memory_order_acquire)))
		return begin_slow(seg);
	return 1;
}

int stm_begin_outermost(const struct stm_site *site, struct stm_seg *seg)
{
	seg->site = site;
	return start(seg);
}

int stm_begin_unattached(const struct stm_site *site)
{
	(void)site;
	stm_not_here("begin");
}

/* ---- restart ---- */

#define BACKOFF_FIRST 32u               /* pauses, each some 40 ns here, at most after the first failure */
#define BACKOFF_DOUBLINGS 8u
#define YIELD_ATTEMPTS 3u               /* from here on the other may need our CPU */

/* Between attempts: a random while, twice as long each time, so that rivals drift apart. */
static void back_off(struct stm_seg *seg)
{
	unsigned int doublings = seg->attempt < BACKOFF_DOUBLINGS ? seg->attempt : BACKOFF_DOUBLINGS;
	uint32_t random = seg->random;

	random ^= random << 13, random ^= random >> 17, random ^= random << 5; /* Marsaglia, 2003 */
	seg->random = random;
	for (uint32_t n = random % (BACKOFF_FIRST << doublings); n; n--)
		__builtin_ia32_pause();
	if (seg->attempt >= YIELD_ATTEMPTS) {
		seg->calls++;
		sched_yield();
	}
}

/* AddressSanitizer's runtime, if the program has it: the frames that we leave are not popped one by one. */
extern void __asan_handle_no_return(void) __attribute__((__weak__));

static void forget_frames(void)
{
	if (__asan_handle_no_return)
		__asan_handle_no_return();
}

void stm_tx_restart(struct stm_seg *seg, enum stm_abort_reason reason)
{
	stm_tx_abandon(seg, reason);
	seg->attempt++;
	seg->attention |= STM_ATTEND_RETRY;
	back_off(seg);
	forget_frames();
	start(seg);
	if (unlikely(seg->attempt >= stm_global.attempts_limit))
		get_right_of_way(seg);
	stm__resume(seg, 1);
}

/* ---- commit ---- */

#define ALL_LANES 0x0001000100010001u  /* times a region: that region in every lane */

/* Add @region to a summary of @used lanes. False: it is full. */
static __attribute__((__noinline__)) bool add_lane(uint64_t *summary, unsigned int *used, uint64_t region)
{
	for (unsigned int i = 0; i < *used; i++)
		if ((*summary >> i * 16 & 0xffff) == region)
			return true;
	if (*used == STM_LANES)
		return false;
	*summary &= ~((uint64_t)0xffff << *used * 16);
	*summary |= region << *used * 16;
	++*used;
	return true;
}

/* Put the new bytes into the runs. Returns the summary; *@flags gets STM_SLOT_MANY if there is none. */
static inline uint64_t fill_entry(struct stm_seg *seg, uint64_t *flags)
{
	struct stm_run *run = (struct stm_run *)(seg->entry + 1);
	uint64_t lane0 = run->granule / STM_REGION_GRANULES;
	uint64_t summary = lane0 * ALL_LANES;
	unsigned int used = 1;

	*flags = 0;
	for (uint32_t left = seg->runs; left; left--) {
		size_t granule = run->granule, count = run->count;
		uint64_t first = granule / STM_REGION_GRANULES;
		uint64_t last = (granule + count - 1) / STM_REGION_GRANULES;

		stm_copy_fresh_granules(run + 1, seg->view.heap + granule * STM_GRANULE, count);
		if (unlikely(first != lane0 || last != lane0))
			for (; first <= last; first++)
				if (!add_lane(&summary, &used, first)) {
					*flags = STM_SLOT_MANY;
					break;
				}
		run = (struct stm_run *)((uint8_t *)(run + 1) + count * STM_GRANULE);
	}
	return summary;
}

/*
 * A small entry goes into its slot, beside the pointer: readers then move one cache line. Our published snapshot
 * keeps the slot from being recycled meanwhile.
 */
static inline void pack(struct stm_seg *seg, struct stm_slot *slot, uint64_t summary, uint64_t flags)
{
	const uint8_t *next = (const uint8_t *)(seg->entry + 1);
	size_t bytes = (size_t)(seg->tail - next);
	uint64_t packed = (uint64_t)(uintptr_t)seg->site << STM_ORIGIN_SITE | seg->runs << STM_PACKED_RUNS | seg->id;
	uint8_t *to = slot->bytes;

	STM_POINT(PACK);
	if (seg->runs > 2 || bytes > seg->runs * sizeof(struct stm_run) + STM_PACKED_GRANULES * STM_GRANULE || flags)
		return;
	if (STM_MUTATED(PACK_EARLY))
		atomic_store_explicit(&slot->packed, packed, memory_order_release);
	for (uint32_t i = 0; i < seg->runs; i++) {
		const struct stm_run *run = (const struct stm_run *)next;
		uint64_t region = run->granule / STM_REGION_GRANULES;
		uint32_t lane = 0;

		while ((summary >> lane * 16 & 0xffff) != region)
			lane++;
		slot->runs[i] = lane << 30 | (uint32_t)(run->granule % STM_REGION_GRANULES) << 2 | (uint32_t)run->count;
		stm_copy_granules(to, run + 1, run->count);
		to += run->count * STM_GRANULE;
		next = (const uint8_t *)(run + 1) + run->count * STM_GRANULE;
		if (STM_MUTATED(PACK_EARLY))
			STM_POINT(PACK);
	}
	/* Pairs with the acquire in stm_read_slot(). */
	atomic_store_explicit(&slot->packed, packed, memory_order_release);
}

static inline bool take_slot(struct stm_slot *slot, uint64_t entry, uint64_t summary)
{
	unsigned __int128 empty = 0, full = (unsigned __int128)summary << 64 | entry;

	return __sync_bool_compare_and_swap((unsigned __int128 *)slot, empty, full);
}

static void provide_next(uint64_t position)
{
	if (unlikely(!stm_log_provide(position + 1)))
		stm_die("commit: no memory for the commit log at position %llu (ENOMEM)", (unsigned long long)position);
}

/* Invariant 6: before the last slot of a chunk is published, the next chunk exists. */
static inline void provide_after(struct stm_seg *seg, uint64_t position)
{
	if (unlikely((position + 1) % STM_CHUNK_SLOTS == 0)) {
		provide_next(position);
		seg->attention |= STM_ATTEND_FOLD;
	}
}

/* Publish what the transaction wrote. False: it conflicts. Not inlined: commits that only read need no registers saved. */
static __attribute__((__noinline__)) bool publish(struct stm_seg *seg)
{
	uint64_t flags, summary = fill_entry(seg, &flags);
	uint64_t entry = (uint64_t)(uintptr_t)seg->entry | flags;
	struct stm_slot *slot = seg->slot;
	uint64_t position = seg->snapshot;
	bool conflict;

	seg->entry->origin = (uint64_t)(uintptr_t)seg->site << STM_ORIGIN_SITE | seg->id;
	seg->entry->runs = seg->runs;
	for (;;) {
		if (unlikely(stm_is_published(atomic_load_explicit(&slot->entry, memory_order_acquire)))) {
			position = stm_find_conflict(seg, &slot, &conflict);
			if (unlikely(conflict))
				return false;
		}
#if STM_MUTANT == 3
		if (!(seg->attention & STM_ATTEND_PENDING)) {
			if (atomic_flag_test_and_set(&inevitable_flag)) {
				sched_yield();
				continue;
			}
			atomic_flag_clear(&inevitable_flag); /* nobody is: publish, then */
		}
#endif
		STM_POINT(VALIDATED);
		provide_after(seg, position);
		if (unlikely(seg->attention & STM_ATTEND_PENDING)) {
#if STM_MUTANT == 3
			if (!take_slot(slot, entry, summary))
				continue;
			atomic_flag_clear(&inevitable_flag);
#else
			slot->summary = summary; /* nobody looks before it is published */
			atomic_store(&slot->entry, entry);
			stm_pending_resolved();
#endif
			seg->inevitable = STM_UNDOABLE;
			break;
		}
		if (atomic_load_explicit(&slot->entry, memory_order_relaxed) == STM_SLOT_PENDING) {
			seg->calls++;
			stm_pending_wait(slot);
			continue;
		}
		if (likely(take_slot(slot, entry, summary)))
			break;
	}
	STM_POINT(PUBLISHED);
	pack(seg, slot, summary, flags);
	stm_entry_published(seg, position);
	if (seg->snapshot != position)
		stm_advance_to(seg, position);
	seg->slot = stm_slot_next(slot, position);
	seg->snapshot = position + 1;
	/* Pairs with fold's acquire. */
	atomic_store_explicit(&seg->published, position + 1, memory_order_release);
	return true;
}

/* What a plain commit has no need of. */
static __attribute__((__noinline__)) void attend(struct stm_seg *seg)
{
	uint32_t attention = seg->attention;

	if (attention & STM_ATTEND_PENDING && seg->inevitable)
		empty_pending(seg); /* it wrote nothing */
	if (attention & STM_ATTEND_BLOCKS)
		stm_blocks_committed(seg);
	if (attention & STM_ATTEND_FOLD)
		stm_fold_try(seg);
	if (attention & STM_ATTEND_RETRY)
		seg->attempt = 0;
	seg->attention = 0;
	leave_running(seg);
	if (attention & STM_ATTEND_ACTIONS)
		stm_actions_committed(seg);
}

static __attribute__((__noinline__)) void commit(struct stm_seg *seg)
{
	if (seg->runs) {
		if (unlikely(!publish(seg)))
			stm_tx_restart(seg, STM_ABORT_CONFLICT);
		seg->commits++;
	}
	if (unlikely(seg->attention))
		attend(seg);
	else
		leave_running(seg);
}

void stm__leave(int *run)
{
	struct stm_seg *seg = stm__self;

	(void)run;
	if (unlikely(!seg || !stm_in_tx(seg))) /* cancelled */
		return;
	if (unlikely(seg->nested))
		seg->nested--;
	else if (seg->runs | seg->attention)
		commit(seg);
	else
		leave_running(seg);
}

/* Undo the transaction for good. */
static void cancel(struct stm_seg *seg, int code)
{
	stm_tx_abandon(seg, STM_ABORT_CANCEL);
	seg->attempt = 0;
	seg->outcome = code;
	seg->heed |= STM_HEED_OUTCOME;
}

int stm__atomic(const struct stm_site *site, stm_fn *fn, void *arg)
{
	struct stm_seg *seg;
	int code;

	if (!stm__begin(site))
		return stm__self->outcome;
	code = fn(arg);
	seg = stm__self;
	if (unlikely(code) && !seg->nested && seg->inevitable != STM_INEVITABLE) {
		cancel(seg, code);
		return code;
	}
	stm__leave(NULL);
	return code;
}

/* ---- leaving otherwise ---- */

/* The thread's segment if it is in a transaction, else NULL. */
struct stm_seg *stm_tx_if_any(const char *call)
{
	struct stm_seg *seg = stm__self;

	if (likely(seg && stm_in_tx(seg)))
		return seg;
	stm_stop_if_forked(call);
	return NULL;
}

int stm_cancel(int code)
{
	struct stm_seg *seg = stm_tx_if_any("stm_cancel");

	if (!seg || seg->inevitable == STM_INEVITABLE)
		return -EPERM;
	if (!code)
		return -EINVAL;
	cancel(seg, code);
	forget_frames();
	stm__resume(seg, 0);
}

int stm_restart(void)
{
	struct stm_seg *seg = stm_tx_if_any("stm_restart");

	if (!seg || seg->inevitable == STM_INEVITABLE)
		return -EPERM;
	stm_tx_restart(seg, STM_ABORT_RESTART);
}

bool stm_tx_doomed(struct stm_seg *seg)
{
	struct stm_slot *slot;
	bool conflict;

	stm_find_conflict(seg, &slot, &conflict);
	return conflict;
}

int stm_validate(void)
{
	struct stm_seg *seg = stm_tx_if_any("stm_validate");

	if (!seg)
		return -EPERM;
	if (stm_tx_doomed(seg))
		stm_tx_restart(seg, STM_ABORT_VALIDATE);
	return 0;
}

int stm_outcome(void)
{
	return stm__self ? stm__self->outcome : 0;
}

bool stm_in_transaction(void)
{
	return stm__self && stm_in_tx(stm__self);
}

/* ---- inevitability ---- */

/* Put PENDING at the tail, and bring the view up to it. False: the transaction conflicts. */
static bool take_pending(struct stm_seg *seg)
{
	struct stm_slot *slot;
	uint64_t position;
	bool conflict;

#if STM_MUTANT == 3
	while (atomic_flag_test_and_set(&inevitable_flag))
		sched_yield();
#endif
	for (;;) {
		uint64_t empty = STM_SLOT_EMPTY;

		position = stm_find_conflict(seg, &slot, &conflict);
		if (conflict) {
#if STM_MUTANT == 3
			atomic_flag_clear(&inevitable_flag);
#endif
			return false;
		}
		STM_POINT(PENDING);
#if STM_MUTANT == 3
		break;
#endif
		if (atomic_load_explicit(&slot->entry, memory_order_relaxed) == STM_SLOT_PENDING) {
			seg->calls++;
			stm_pending_wait(slot);
		} else if (atomic_compare_exchange_strong(&slot->entry, &empty, STM_SLOT_PENDING)) {
			break;
		}
	}
	stm_advance_to(seg, position);
	seg->attention |= STM_ATTEND_PENDING;
	seg->inevitables++;
	return true;
}

int stm_become_inevitable(const char *why)
{
	struct stm_seg *seg = stm_tx_if_any("stm_become_inevitable");

	(void)why; /* for the event log */
	if (!seg)
		return -EPERM;
	if (!(seg->attention & STM_ATTEND_PENDING) && !take_pending(seg))
		stm_tx_restart(seg, STM_ABORT_INEVITABLE);
	seg->inevitable = STM_INEVITABLE;
	return 0;
}
