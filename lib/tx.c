// SPDX-License-Identifier: MIT
/*
 * tx.c - transactions: begin, commit, abort, inevitability.
 *
 *   begin    store RUNNING; look at TAKEN; apply new commits; publish the snapshot.
 *   commit   publish what was written, if anything (publish.c); actions; take the next version; store IDLE.
 *   abort    copy the old bytes back; actions undone; outside: back off, and run from the checkpoint again.
 *
 * Functions that end in a verdict return bool; only the outermost ones here leave by stm__resume().
 */
#include <errno.h>
#include <time.h>

#include "entry.h"
#include "internal.h"
#include "names.h"
#include "policy.h"
#include "recorder.h"
#include "strict.h"
#include "watch.h"

__thread struct stm_seg *stm__self __attribute__((__tls_model__("initial-exec")));

#ifdef STM_SCHEDULE
void (*stm_schedule_hook)(enum stm_point point);
void (*stm_commit_hook)(uint64_t position);
#endif
#ifdef STM_COUNTING
_Thread_local struct stm_log_work stm_log_work;
#endif

#ifdef STM_MUTANTS
int stm_mutant;

static void __attribute__((__constructor__)) choose_mutant(void)
{
	const char *number = getenv("UFFDSTM_MUTANT");

	stm_mutant = number ? atoi(number) : 0;
}
#endif

void stm_tx_missing(const char *call)
{
	if (!stm__self)
		stm_not_here(call);
	stm_die("%s: outside a transaction: use STM_ATOMIC or stm_atomic()", call);
}

/* ---- the end of an attempt ---- */

static void leave_running(struct stm_seg *seg)
{
	seg->hot.version += STM_ONE_VERSION;
	if (unlikely(seg->version >= STM_VERSION_LAST))
		seg->heed |= STM_HEED_VERSIONS;
	/* Pairs with take_idle()'s acquire: all we did is done. */
	atomic_store_explicit(&seg->state, STM_IDLE, memory_order_release);
}

/* Put the old bytes back. No granule is logged twice without savepoints, so the order of runs does not matter. */
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
}

/* Undo this attempt. Afterwards the thread is in no transaction. */
void stm_tx_abandon(struct stm_seg *seg, enum stm_abort_reason reason)
{
	uint32_t attention = seg->attention;

	/* A fold that is due stays due. */
	if (attention & STM_ATTEND_STRICT)
		stm_strict_undo(seg);
	if (attention & STM_ATTEND_SAVEPOINTS) {
		stm_savepoints_undo(seg);
	} else {
		undo(seg);
		if (attention & STM_ATTEND_TRACKED)
			stm_track_aborted(seg);
	}
	stm_entry_abandon(seg);
	if (attention & STM_ATTEND_PENDING)
		stm_empty_pending(seg);
	if (attention & STM_ATTEND_BLOCKS)
		stm_blocks_aborted(seg);
	seg->attention = attention & STM_ATTEND_FOLD;
	if (attention & STM_ATTEND_STRICT)
		stm_strict_undone(seg, reason != STM_ABORT_CANCEL && reason != STM_ABORT_EXIT);
	seg->aborts[reason]++;
	if (attention & STM_ATTEND_EVENTS)
		stm_record_abort(seg, reason);
	if (attention & STM_ATTEND_NAMES)
		stm_names_aborted(seg, reason);
	if (reason == STM_ABORT_RETRY)
		stm_wait_begin(seg);
	if (attention & STM_ATTEND_SAVEPOINTS)
		stm_savepoints_end(seg);
	leave_running(seg);
	if (attention & STM_ATTEND_ACTIONS)
		stm_actions_aborted(seg);
}

/* ---- begin ---- */

/* The versions are used up: forget all markers, by giving their memory back. */
static __attribute__((__noinline__)) void renew_versions(struct stm_seg *seg)
{
	if (stm_markers_empty(seg))
		stm_die("madvise(MADV_DONTNEED): cannot clear the markers");
	seg->versions_renewed += seg->version - 1;
	seg->hot.version = STM_ONE_VERSION;
	stm_trim_start(seg);
}

/*
 * Too many attempts failed: nobody may commit before this one does. Its snapshot is the tail then, so it
 * validates trivially: it has read nothing.
 */
__attribute__((__noinline__)) void stm_tx_right_of_way(struct stm_seg *seg)
{
	uint64_t since = stm_record_start(seg);

	if (unlikely(seg->blind))
		stm_mark_all_reads(seg); /* or it conflicts with what was committed since its begin, again and again */
	seg->inevitable = STM_RIGHT_OF_WAY;
	while (!stm_take_pending(seg))
		seg->hot.version += STM_ONE_VERSION; /* a stray stm_read() outside a transaction left this version */
	if (stm_recording(seg))
		stm_record_inevitable(seg, NULL, since);
}

/* Begin, if there is more to do than usual. */
static __attribute__((__noinline__)) int begin_slow(struct stm_seg *seg)
{
	uint32_t heed = seg->heed;

	if (heed & STM_HEED_HOOKS)
		stm_die("begin: an abort hook must not run transactions");
	if (heed & STM_HEED_EVENTS)
		stm_record_begin(seg);
	if (heed & STM_HEED_NAMES) {
		if (seg->blind)
			stm_mark_all_reads(seg); /* they are counted by their markers */
		stm_names_begin(seg);
	}
	if (unlikely(atomic_load_explicit(&seg->taken, memory_order_acquire)))
		stm_unpark(seg);
	stm_advance(seg);
	if (unlikely(++seg->trim.begins % STM_TRIM_BEGINS == 0))
		stm_trim_look(seg);
	if (heed & STM_HEED_LOG)
		stm_log_throttle(seg);
	if (heed & STM_HEED_VERSIONS)
		renew_versions(seg);
	if (unlikely(seg->heed & STM_HEED_TRIM))
		stm_trim(seg);
	if (heed & STM_HEED_OUTCOME)
		seg->outcome = 0;
	if (heed & STM_HEED_STRICT)
		stm_strict_applied(seg);
	seg->heed &= ~(STM_HEED_VERSIONS | STM_HEED_OUTCOME);
	if (heed & STM_HEED_TRACKED)
		stm_track_begin(seg); /* last: it marks pages as read, at this snapshot, by this version */
	return 1;
}

static inline bool is_published_more(const struct stm_seg *seg)
{
	return stm_is_published(atomic_load_explicit(&seg->slot->entry, memory_order_acquire));
}

/* Often the event log is all that is to be heeded. */
static __attribute__((__noinline__)) int begin_heedful(struct stm_seg *seg)
{
	if ((atomic_load_explicit(&seg->taken, memory_order_acquire) | seg->heed) == STM_HEED_EVENTS && !is_published_more(seg))
		return stm_record_begin(seg);
	return begin_slow(seg);
}

static inline int start(struct stm_seg *seg, const struct stm_site *site)
{
	/* As stm_run(), with all that is rare in one test. */
	atomic_store_explicit(&seg->state, (uint64_t)(uintptr_t)site, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	STM_POINT(BEGIN);
	/* Relaxed: a value that is old is one that says less. */
	seg->blind = atomic_load_explicit(&seg->unmarked, memory_order_relaxed);
	if (unlikely(atomic_load_explicit(&seg->taken, memory_order_acquire) | seg->heed) || is_published_more(seg))
		return begin_heedful(seg);
	return 1;
}

int stm_begin_outermost(const struct stm_site *site, struct stm_seg *seg)
{
	return start(seg, site);
}

int stm_begin_unattached(const struct stm_site *site)
{
	(void)site;
	stm_not_here("begin");
}

/* ---- restart ---- */

/* AddressSanitizer's runtime, if the program has it: the frames that we leave are not popped one by one. */
extern void __asan_handle_no_return(void) __attribute__((__weak__));

void stm_forget_frames(void)
{
	if (__asan_handle_no_return)
		__asan_handle_no_return();
}

/* From the beginning, after an attempt that was undone. */
static void __attribute__((__noreturn__)) run_again(struct stm_seg *seg, const struct stm_site *site)
{
	stm_forget_frames();
	start(seg, site);
	if (stm_recording(seg) && seg->recorder->watch.state)
		stm_watch_begin(seg);
	if (unlikely(seg->attempt >= seg->attempts_limit) && (stm_turn_has_come(seg) || STM_MUTATED(TURN_PENDING)))
		stm_tx_right_of_way(seg);
	stm__resume(seg, 1);
}

/* The program's frames are left by a jump. */
static void __attribute__((__noreturn__)) restart(struct stm_seg *seg, enum stm_abort_reason reason)
{
	const struct stm_site *site = stm_site_of(seg);
	struct stm_rule rule = stm_rule_for(site);
	const struct stm_seg *committer = NULL;
	uint64_t since;

	if (unlikely(rule.wait_for_committer) && reason <= STM_ABORT_INEVITABLE)
		committer = stm_find_committer(seg);
	stm_tx_abandon(seg, reason);
	if (unlikely(seg->blind) && reason <= STM_ABORT_INEVITABLE)
		stm_mark_after_conflict(seg);
	seg->attempt++;
	seg->attempts_limit = rule.attempts;
	seg->attention |= STM_ATTEND_RETRY;
	since = stm_record_start(seg);
	stm_back_off(seg, &rule, committer);
	if (stm_recording(seg))
		stm_record(seg->recorder, STM_EVENT_WAIT, since, seg->recorder->site, STM_WAIT_BACK_OFF);
	run_again(seg, site);
}

/* Not a failed attempt: it came to its end, which is that there is nothing to do yet. So it gets no right of way. */
static void __attribute__((__noreturn__)) sleep_and_restart(struct stm_seg *seg, const struct timespec *deadline)
{
	const struct stm_site *site = stm_site_of(seg);
	uint64_t since;

	if (unlikely(seg->blind)) {
		stm_tx_abandon(seg, STM_ABORT_RESTART);
		seg->attempt = 0;
		stm_mark_reads(seg); /* once more, to know what it reads */
		run_again(seg, site);
	}
	stm_tx_abandon(seg, STM_ABORT_RETRY);
	seg->attempt = 0;
	since = stm_record_start(seg);
	stm_wait(seg, deadline, site);
	if (stm_recording(seg))
		stm_record(seg->recorder, STM_EVENT_WAIT, since, seg->recorder->site, STM_WAIT_RETRY);
	run_again(seg, site);
}

/*
 * Before a jump out of the middle of the program's code. Frames of C++ have destructors: there this throws, and
 * @jump(@arg) is called from where the transaction's function was called.
 */
static void unwind(struct stm_seg *seg, void (*jump)(uint64_t arg), uint64_t arg, int code)
{
	stm_unwind_fn *fn = stm_unwind_of(seg);

	if (fn)
		fn(jump, arg, code);
}

void stm__unwind(stm_unwind_fn *fn)
{
	stm_tx_self("stm__unwind")->unwind = fn;
}

static void jump_to_begin(uint64_t reason)
{
	restart(stm__self, (enum stm_abort_reason)reason);
}

void stm_tx_restart(struct stm_seg *seg, enum stm_abort_reason reason)
{
	unwind(seg, jump_to_begin, reason, 0);
	restart(seg, reason);
}

/* @deadline may be in a frame that is gone by then. */
#define NO_DEADLINE UINT64_MAX
#define SECOND_NS 1000000000u

static void jump_to_wait(uint64_t deadline_ns)
{
	struct timespec deadline = { (time_t)(deadline_ns / SECOND_NS), (long)(deadline_ns % SECOND_NS) };

	sleep_and_restart(stm__self, deadline_ns == NO_DEADLINE ? NULL : &deadline);
}

void stm_tx_wait(struct stm_seg *seg, const struct timespec *deadline)
{
	uint64_t ns = NO_DEADLINE;

	/* One that lies centuries ahead is none. It is not negative: it would have passed. */
	if (deadline && (uint64_t)deadline->tv_sec < NO_DEADLINE / SECOND_NS)
		ns = (uint64_t)deadline->tv_sec * SECOND_NS + (uint64_t)deadline->tv_nsec;
	unwind(seg, jump_to_wait, ns, 0);
	sleep_and_restart(seg, deadline);
}

/* ---- commit ---- */

/* What a plain commit has no need of. */
static __attribute__((__noinline__)) void attend(struct stm_seg *seg)
{
	uint32_t attention = seg->attention;

	if (likely(attention == STM_ATTEND_EVENTS)) {
		stm_record_commit(seg);
		seg->attention = 0;
		leave_running(seg);
		return;
	}
	if (attention & STM_ATTEND_PENDING && seg->inevitable)
		stm_empty_pending(seg); /* it wrote nothing */
	if (attention & STM_ATTEND_BLOCKS)
		stm_blocks_committed(seg);
	if (attention & STM_ATTEND_FOLD)
		stm_fold_try(seg);
	if (attention & STM_ATTEND_EVENTS)
		stm_record_commit(seg);
	if (attention & STM_ATTEND_NAMES)
		stm_names_committed(seg);
	if (attention & STM_ATTEND_RETRY)
		seg->attempt = 0;
	if (attention & STM_ATTEND_STRICT)
		stm_strict_end(seg);
	if (attention & STM_ATTEND_SAVEPOINTS)
		stm_savepoints_end(seg);
	seg->attention = 0;
	leave_running(seg);
	if (attention & STM_ATTEND_ACTIONS) {
		stm_actions_committed(seg);
		seg->outcome = 0; /* of this one, whatever transactions its hooks ran */
	}
}

static __attribute__((__noinline__)) void commit(struct stm_seg *seg)
{
	if (unlikely(seg->attention >= STM_ATTEND_STRICT)) {
		if (seg->attention >= STM_ATTEND_NESTED) {
			seg->attention -= STM_ATTEND_NESTED;
			return;
		}
		if (seg->attention & STM_ATTEND_STRICT && !stm_strict_check(seg))
			restart(seg, STM_ABORT_RESTART);
		if (seg->attention & STM_ATTEND_TRACKED)
			stm_track_commit(seg);
		if (seg->attention & STM_ATTEND_NAMES && seg->runs)
			stm_names_written(seg);
	}
	if (seg->runs) {
		if (unlikely(!stm_publish(seg)))
			restart(seg, STM_ABORT_CONFLICT);
		seg->commits++;
	}
	if (likely(!(seg->attention & ~STM_ATTEND_BLOCKS))) {
		if (seg->attention)
			stm_blocks_committed(seg);
		seg->attention = 0;
		leave_running(seg);
	} else {
		attend(seg);
	}
}

void stm__leave(void)
{
	struct stm_seg *seg = stm__self;

	if (seg->runs | seg->attention)
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
	if (unlikely(code) && seg->attention < STM_ATTEND_NESTED && seg->inevitable != STM_INEVITABLE) {
		cancel(seg, code);
		return code;
	}
	stm__leave();
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

static void __attribute__((__noreturn__)) jump_out(uint64_t code)
{
	struct stm_seg *seg = stm__self;

	cancel(seg, (int)code);
	stm_forget_frames();
	stm__resume(seg, 0);
}

void stm_tx_leave(struct stm_seg *seg, int code)
{
	unwind(seg, jump_out, (unsigned int)code, code);
	jump_out((unsigned int)code);
}

int stm_cancel(int code)
{
	struct stm_seg *seg = stm_tx_if_any("stm_cancel");

	if (!seg || seg->inevitable == STM_INEVITABLE)
		return -EPERM;
	if (!code)
		return -EINVAL;
	if (unlikely(seg->turn))
		stm_turn_wait(seg); /* or it may cancel for what was never so */
	stm_tx_leave(seg, code);
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
	struct stm_walk w = stm_walk_from(seg);

	return stm_find_conflict(seg, &w);
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

int stm_become_inevitable(const char *why)
{
	struct stm_seg *seg = stm_tx_if_any("stm_become_inevitable");
	uint64_t since;

	if (!seg)
		return -EPERM;
	if (unlikely(seg->turn))
		stm_turn_wait(seg);
	since = stm_record_start(seg);
	if (seg->attention & STM_ATTEND_STRICT && !stm_strict_check(seg))
		stm_tx_restart(seg, STM_ABORT_RESTART);
	if (!(seg->attention & STM_ATTEND_PENDING) && !stm_take_pending(seg))
		stm_tx_restart(seg, STM_ABORT_INEVITABLE);
	if (stm_recording(seg) && seg->inevitable != STM_INEVITABLE)
		stm_record_inevitable(seg, why ? why : "", since);
	seg->inevitable = STM_INEVITABLE;
	return 0;
}
