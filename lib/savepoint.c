// SPDX-License-Identifier: MIT
/*
 * savepoint.c - a part of a transaction is undone alone: savepoints, closed nesting, alternatives.
 *
 *   1. A transaction owns the versions [version - span, version]. A savepoint takes the next one, so that each granule is
 *      logged again when it is written after it, with its bytes as they are then. It remembers how far entry, undo log,
 *      actions and the allocator's lists had come.
 *   2. Logged since the innermost savepoint are the granules whose write marker is one of the last stm_seg.since + 1 versions:
 *      what a savepoint logged that was released counts for the one around it.
 *   3. To roll back, what is behind the savepoint's marks is undone and forgotten. The log may have a granule several times:
 *      the oldest bytes are the right ones. So all granules are marked first, and then, forward, each is put back where
 *      it comes first, and its mark cleared: with that it is not logged any more. No memory is needed for this.
 *   4. Read markers stay: what was read decided what was done, and a commit that overwrites it dooms the transaction, or wakes it.
 *   5. Whoever reads an entry may find a granule in several runs: commit puts the same bytes into each.
 *
 * Memory without barriers: at a savepoint what was changed since the last one is logged, and the pre-images made anew (track.c).
 * What stm_write() logged of it may have been stored to before: its old bytes are amended by the pre-image.
 *
 * stm_or_else(f, g): a savepoint, and a checkpoint in the caller's frame. stm_retry() in f rolls back to the one and goes to the
 * other. A transaction that retries without an alternative waits with all that it has read, f's reads too.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "entry.h"
#include "internal.h"
#include "recorder.h"
#include "strict.h"

/* How far the transaction had come. */
struct stm_savepoint {
	size_t tail, undo;              /* bytes of the entry and of the undo log */
	size_t actions, taken, freed;
	uint32_t runs;
	uint32_t version;               /* the first behind it */
};

#define SAVEPOINTS_FIRST 16u
#define SAVEPOINTS_KEPT 1024u

#define STM_UNDOING 0xffffffffu         /* a write marker that is no version: the granule is yet to be put back */

static inline uint32_t first_version(const struct stm_seg *seg)
{
	return seg->version - seg->span;
}

/* ---- undo ---- */

typedef void visit_run(struct stm_seg *seg, const struct stm_run *run, const uint8_t *old);

/* Runs from @to's mark up to @end, in order; of the old bytes of a run that is not fresh, where they are. */
static void each_run(struct stm_seg *seg, const struct stm_savepoint *from, const uint8_t *end, visit_run *visit)
{
	const uint8_t *next = (const uint8_t *)seg->entry + from->tail, *old = seg->undo + from->undo;

	while (next < end) {
		const struct stm_run *run = (const struct stm_run *)next;

		visit(seg, run, old);
		if (!run->fresh)
			old += run->count * STM_GRANULE;
		next = (const uint8_t *)(run + 1) + run->count * STM_GRANULE;
	}
}

static void mark_run(struct stm_seg *seg, const struct stm_run *run, const uint8_t *old)
{
	(void)old;
	stm_set_markers(seg->write_markers + run->granule, run->count, STM_UNDOING);
}

static void undo_run(struct stm_seg *seg, const struct stm_run *run, const uint8_t *old)
{
	stm_marker *marker = seg->write_markers + run->granule;

	if (run->fresh && unlikely(seg->strict))
		stm_strict_forget(seg, run->granule, run->count);
	for (size_t i = 0; i < run->count; i++, old += STM_GRANULE) {
		if (marker[i] != STM_UNDOING && !STM_MUTATED(SAVEPOINT_ORDER))
			continue;
		if (!run->fresh)
			stm_copy_granules(seg->view.heap + (run->granule + i) * STM_GRANULE, old, 1);
		marker[i] = 0;
	}
}

/* What is logged still, of granules that were undone: commit must not take them for stores without a barrier. */
static void mark_logged(struct stm_seg *seg, const struct stm_run *run, const uint8_t *old)
{
	stm_marker *marker = seg->write_markers + run->granule;

	(void)old;
	for (size_t i = 0; i < run->count; i++)
		if (!marker[i])
			marker[i] = first_version(seg); /* older than any savepoint: a write logs it again */
}

/* Runs of tracked memory, logged since the pre-images were made: what was there then. */
static void amend_run(struct stm_seg *seg, const struct stm_run *run, const uint8_t *old)
{
	uint8_t *to = seg->undo + (old - seg->undo);

	for (size_t i = 0; !run->fresh && i < run->count; i++, to += STM_GRANULE) {
		size_t granule = run->granule + i, page = granule / STM_PAGE_GRANULES;
		const uint8_t *image = stm_page_is_tracked(page) ? stm_track_image(seg, page) : NULL;

		if (image)
			memcpy(to, image + granule % STM_PAGE_GRANULES * STM_GRANULE, STM_GRANULE);
	}
}

static void amend(struct stm_seg *seg)
{
	const struct stm_savepoint from = { .tail = seg->imaged_tail, .undo = seg->imaged_undo };

	each_run(seg, &from, seg->tail, amend_run);
}

static void set_imaged(struct stm_seg *seg)
{
	seg->imaged_tail = (size_t)(seg->tail - (uint8_t *)seg->entry);
	seg->imaged_undo = (size_t)(seg->undo_tail - seg->undo);
}

static const struct stm_savepoint beginning = { .tail = sizeof(struct stm_entry) };

/* Put the bytes back that the heap had at @to. */
static void undo_since(struct stm_seg *seg, const struct stm_savepoint *to)
{
	if (seg->attention & STM_ATTEND_TRACKED) {
		amend(seg);
		stm_track_aborted(seg); /* to the pre-images: from there back all changes are logged */
	}
	each_run(seg, to, seg->tail, mark_run);
	each_run(seg, to, seg->tail, undo_run);
}

void stm_savepoints_undo(struct stm_seg *seg)
{
	undo_since(seg, &beginning);
}

void stm_savepoints_end(struct stm_seg *seg)
{
	if (seg->savepoints_cap > SAVEPOINTS_KEPT) {
		free(seg->savepoints);
		seg->savepoints = NULL;
		seg->savepoints_cap = 0;
	}
	seg->savepoints_n = 0;
	seg->span = seg->since = 0;
	seg->enclosing = 0;
	seg->alternative = NULL;
	seg->deadline = (struct timespec){ .tv_sec = 0 };
	seg->hot.write = stm_recording(seg) ? stm_write_recorded : stm_write_plain;
}

void stm_savepoints_close(struct stm_seg *seg)
{
	free(seg->savepoints);
	seg->savepoints = NULL;
	seg->savepoints_cap = 0;
}

/* Everything since savepoint @number, which stays. */
static void roll_back(struct stm_seg *seg, uint32_t number)
{
	const struct stm_savepoint to = seg->savepoints[number - 1];

	if (seg->attention & STM_ATTEND_STRICT)
		stm_strict_undo(seg);
	undo_since(seg, &to);
	seg->tail = (uint8_t *)seg->entry + to.tail;
	seg->undo_tail = seg->undo + to.undo;
	seg->runs = to.runs;
	seg->extends = STM_NOTHING;
	set_imaged(seg);
	if (seg->attention & (STM_ATTEND_STRICT | STM_ATTEND_TRACKED))
		each_run(seg, &beginning, seg->tail, mark_logged);
	if (seg->attention & STM_ATTEND_TRACKED)
		stm_track_rolled_back(seg);
	if (seg->attention & STM_ATTEND_STRICT)
		stm_strict_rolled_back(seg);
	if (stm_recording(seg))
		stm_record_rolled_back(seg);
	if (seg->attention & STM_ATTEND_BLOCKS)
		stm_blocks_roll_back(seg, to.taken, to.freed);
	seg->savepoints_n = number;
	seg->since = seg->version - to.version;
	stm_actions_roll_back(seg, to.actions); /* last: hooks see it all undone, and may leave the transaction */
}

static void release(struct stm_seg *seg, uint32_t number)
{
	seg->savepoints_n = number - 1;
	seg->since = number > 1 ? seg->version - seg->savepoints[number - 2].version : seg->span;
}

/* ---- savepoints ---- */

static bool make_room(struct stm_seg *seg)
{
	uint32_t cap = seg->savepoints_cap ? seg->savepoints_cap * 2 : SAVEPOINTS_FIRST;
	struct stm_savepoint *more;

	if (likely(seg->savepoints_n < seg->savepoints_cap))
		return true;
	if (seg->savepoints_n >= INT_MAX / 2)
		return false;
	more = realloc(seg->savepoints, cap * sizeof(*more));
	if (!more)
		return false;
	seg->savepoints = more;
	seg->savepoints_cap = cap;
	return true;
}

/* Is there a version left? If others used them up, the transaction begins again with new ones. */
static bool have_version(struct stm_seg *seg)
{
	if (likely(seg->version < STM_VERSION_LAST - 1))
		return true;
	if (seg->inevitable == STM_INEVITABLE || seg->span > STM_VERSION_LAST / 2)
		return false;
	seg->heed |= STM_HEED_VERSIONS;
	stm_tx_restart(seg, STM_ABORT_RESTART);
}

/* Its number, from 1 on, or -ENOMEM. */
static int take(struct stm_seg *seg)
{
	struct stm_savepoint *savepoint;

	if (!have_version(seg) || !make_room(seg))
		return -ENOMEM;
	if (!seg->span)
		seg->imaged_tail = beginning.tail, seg->imaged_undo = beginning.undo;
	if (seg->attention & STM_ATTEND_TRACKED) {
		amend(seg);
		stm_track_savepoint(seg);
	}
	set_imaged(seg);
	savepoint = &seg->savepoints[seg->savepoints_n++];
	*savepoint = (struct stm_savepoint){
		.tail = (size_t)(seg->tail - (uint8_t *)seg->entry),
		.undo = (size_t)(seg->undo_tail - seg->undo),
		.runs = seg->runs,
		.actions = seg->actions_n,
	};
	stm_blocks_mark(seg, &savepoint->taken, &savepoint->freed);
	/* What comes is another run, of another version. */
	seg->extends = STM_NOTHING;
	seg->hot.version += STM_ONE_VERSION;
	seg->versions_renewed--; /* no attempt took it: these are counted by versions */
	seg->span++;
	seg->since = 0;
	savepoint->version = seg->version;
	seg->attention |= STM_ATTEND_SAVEPOINTS;
	seg->hot.write = stm_write_since;
	return (int)seg->savepoints_n;
}

int stm_savepoint(void)
{
	struct stm_seg *seg = stm_tx_if_any("stm_savepoint");

	return seg ? take(seg) : -EPERM;
}

static bool exists(const struct stm_seg *seg, int number)
{
	return number > 0 && (uint32_t)number > seg->enclosing && (uint32_t)number <= seg->savepoints_n;
}

int stm_rollback(int savepoint)
{
	struct stm_seg *seg = stm_tx_if_any("stm_rollback");

	if (!seg)
		return -EPERM;
	if (!exists(seg, savepoint))
		return -EINVAL;
	roll_back(seg, (uint32_t)savepoint);
	return 0;
}

int stm_release(int savepoint)
{
	struct stm_seg *seg = stm_tx_if_any("stm_release");

	if (!seg)
		return -EPERM;
	if (!exists(seg, savepoint))
		return -EINVAL;
	release(seg, (uint32_t)savepoint);
	return 0;
}

/* ---- nesting ---- */

static int run_nested(struct stm_seg *seg, uint32_t number, stm_fn *fn, void *arg)
{
	uint32_t enclosing = seg->enclosing;
	int code;

	seg->enclosing = number;
	code = fn(arg);
	seg->enclosing = enclosing;
	if (code)
		roll_back(seg, number);
	release(seg, number);
	return code;
}

int stm__atomic_nested(const struct stm_site *site, stm_fn *fn, void *arg)
{
	struct stm_seg *seg = stm_tx_if_any("stm_atomic_nested");
	int number;

	if (!seg)
		return stm__atomic(site, fn, arg);
	number = take(seg);
	return number < 0 ? number : run_nested(seg, (uint32_t)number, fn, arg);
}

/* ---- alternatives ---- */

/* In the frame of an stm_or_else() whose first function runs. */
struct stm_alternative {
	struct stm_checkpoint checkpoint;
	struct stm_alternative *outer;
	stm_unwind_fn *unwind;          /* of that function's frames, or NULL */
	uint32_t savepoint, enclosing;
	uint32_t nested;                /* STM_ATTEND_NESTED: transactions begun inside the function are left open */
};

struct choice {
	stm_fn *f, *g;
	void *farg, *garg;
	stm_unwind_fn *unwind;
};

static void __attribute__((__noreturn__)) jump_to_alternative(uint64_t unused)
{
	struct stm_seg *seg = stm__self;
	struct stm_alternative *alternative = seg->alternative;

	(void)unused;
	seg->alternative = alternative->outer;
	seg->enclosing = alternative->enclosing;
	seg->attention = seg->attention % STM_ATTEND_NESTED + alternative->nested;
	roll_back(seg, alternative->savepoint);
	stm_forget_frames();
	stm__checkpoint_take(&alternative->checkpoint);
}

void stm_take_alternative(struct stm_seg *seg)
{
	if (seg->alternative->unwind)
		seg->alternative->unwind(jump_to_alternative, 0, 0);
	jump_to_alternative(0);
}

/* In a transaction. */
static int choose(const struct choice *choice)
{
	struct stm_seg *seg = stm__self;
	struct stm_alternative here = { .outer = seg->alternative, .unwind = choice->unwind,
					.enclosing = seg->enclosing };
	int code, number = take(seg);

	if (number < 0)
		return number;
	here.savepoint = (uint32_t)number;
	here.nested = seg->attention - seg->attention % STM_ATTEND_NESTED;
	if (stm__checkpoint_set(&here.checkpoint)) /* as stm_take_alternative() left it */
		return run_nested(stm__self, here.savepoint, choice->g, choice->garg);
	seg->alternative = &here;
	code = run_nested(seg, here.savepoint, choice->f, choice->farg);
	seg->alternative = here.outer;
	return code;
}

static int choose_alone(void *arg)
{
	return choose(arg);
}

int stm__or_else(const struct stm_site *site, stm_fn *f, void *farg, stm_fn *g, void *garg)
{
	struct choice choice = { .f = f, .g = g, .farg = farg, .garg = garg, .unwind = site->unwind };

	if (stm_tx_if_any("stm_or_else"))
		return choose(&choice);
	return stm__atomic(site, choose_alone, &choice);
}
