// SPDX-License-Identifier: MIT
/*
 * segment.c - attach, detach, and threads that end without saying so.
 *
 * A segment outlives its thread: it keeps its reservation, version counter and log memory for the next
 * one that attaches. Attach maps nothing of the heap's contents: all pages start UNMAPPED.
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fault.h"
#include "internal.h"
#include "names.h"
#include "recorder.h"
#include "strict.h"

_Static_assert(offsetof(struct stm_seg, hot) == 0, "the barriers know this offset");
_Static_assert(offsetof(struct stm_seg, segment) == offsetof(struct stm_hot, segment) &&
		       offsetof(struct stm_seg, runs) == offsetof(struct stm_hot, unfinished) &&
		       offsetof(struct stm_seg, attention) == offsetof(struct stm_hot, unfinished) + 4 &&
		       offsetof(struct stm_seg, state) == offsetof(struct stm_hot, state) &&
		       offsetof(struct stm_seg, write) == offsetof(struct stm_hot, write) &&
		       offsetof(struct stm_seg, unmarked) == offsetof(struct stm_hot, unmarked),
	       "the inlined end of a transaction knows these offsets");
_Static_assert(offsetof(struct stm_seg, attention) == 20 && STM_ATTEND_NESTED == 1024 && offsetof(struct stm_seg, checkpoint) == 64 &&
		       offsetof(struct stm_seg, state) == 24,
	       "checkpoint.S knows these offsets, tools/gdb the last");
_Static_assert(sizeof(struct stm_seg) <= STM_PAGE, "a segment stands in its hot page");
_Static_assert(sizeof(struct stm_slot) == 64, "a slot is one cache line");
_Static_assert(sizeof(struct stm_run) == 8, "two single granules make an entry of one line");

#define RESERVATION (STM_HEAP + stm_global.heap_limit)

static pthread_mutex_t attach_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_key_t exit_key;

/* A cancelled thread would end with the lock: there are cancellation points on the way, in open(2) for one. */
static void lock_attach(int *cancel)
{
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, cancel);
	pthread_mutex_lock(&attach_lock);
}

static void unlock_attach(int cancel)
{
	pthread_mutex_unlock(&attach_lock);
	pthread_setcancelstate(cancel, NULL);
}

static int set_gs_base(void *start)
{
	return syscall(SYS_arch_prctl, ARCH_SET_GS, start) ? -errno : 0;
}

/* ---- making ---- */

static void free_segment(struct stm_seg *seg)
{
	stm_entry_close(seg);
	stm_actions_close(seg);
	stm_savepoints_close(seg);
	stm_blocks_close(seg);
	stm_track_close(seg);
	stm_strict_free(seg);
	stm_names_close(seg);
	stm_view_close(&seg->view);
	stm_status_leave(seg->id);
	munmap(seg->start, RESERVATION); /* the segment with it */
}

static int complain_space(void)
{
	stm_complain("mmap: ENOMEM: no address space for a segment of %zu bytes: raise RLIMIT_AS, or build with STM_SMALL_LAYOUT",
		     (size_t)RESERVATION);
	return -ENOMEM;
}

static int fill_segment(struct stm_seg *seg)
{
	int error;

	error = stm_view_open(&seg->view, NULL, NULL, stm_global.base, stm_global.memfd);
	if (!error)
		error = stm_entry_open(seg);
	if (!error)
		error = stm_blocks_open(seg);
	if (!error)
		error = stm_strict_attach(seg);
	if (error)
		return error;
	error = stm_heap_enlist(seg);
	if (error)
		stm_complain("attach: %s: cannot map the heap once more: see vm.overcommit_memory, RLIMIT_DATA",
			     stm_errno_name(error));
	return error;
}

static int new_segment(struct stm_seg **result)
{
	uint8_t *start = stm_reserve(RESERVATION);
	struct stm_seg *seg;
	unsigned int id;
	int error;

	if (!start)
		return complain_space();
	/* A huge page of markers is for 8 MiB of heap: a working set that is scattered would have 2 MiB of them for each page. */
	madvise(start, RESERVATION, MADV_NOHUGEPAGE);
	seg = (struct stm_seg *)(start + STM_HOT);
	id = atomic_load_explicit(&stm_global.segments_n, memory_order_relaxed); /* the attach lock keeps it */
	error = stm_status_place(seg, id);
	if (error) {
		munmap(start, RESERVATION);
		return error;
	}
	madvise(seg, STM_PAGE, MADV_DODUMP); /* for a debugger */
	seg->start = start;
	seg->id = id;
	seg->hot.segment = (uintptr_t)start;
	seg->hot.version = (uint64_t)1 << 32 | 1; /* 0 is what fresh markers hold */
	seg->view.uffd = -1;
	seg->random = (uint32_t)(uintptr_t)seg | 1;
	seg->attempts_limit = UINT_MAX; /* none has failed */
	atomic_init(&seg->pin, STM_NO_PIN);
	error = fill_segment(seg);
	if (error) {
		free_segment(seg);
		return error;
	}
	seg->random += seg->id * 0x9e3779b9u;
	*result = seg;
	return 0;
}

static struct stm_seg *unused_segment(void)
{
	for (unsigned int i = 0; i < stm_global.segments_n; i++)
		if (!atomic_load_explicit(&stm_global.segments[i]->attached, memory_order_acquire))
			return stm_global.segments[i];
	return NULL;
}

/* ---- attach, detach ---- */

/* Its view holds nothing, so any snapshot would do that fold has not passed: the newest such is `folded`. */
static void join(struct stm_seg *seg)
{
	stm_alone_end();
	pthread_mutex_lock(&stm_global.fold_lock);
	seg->snapshot = atomic_load_explicit(&stm_global.folded, memory_order_relaxed);
	seg->slot = stm_global.fold_slot;
	seg->idle_visits = 0;
	seg->reads = seg->writes = seg->tracked_reads = seg->tracked_writes = (struct stm_stride){ 0 };
	seg->outcome = 0;
	seg->attempt = 0;
	seg->unwind = NULL;
	seg->marks_for = 0;
	stm_mark_reads(seg);
	stm_trim_start(seg);
	atomic_store_explicit(&seg->published, seg->snapshot, memory_order_relaxed);
	atomic_store_explicit(&seg->state, STM_IDLE, memory_order_relaxed);
	atomic_store_explicit(&seg->taken, STM_FREE, memory_order_relaxed);
	/* Pairs with stm_counts(). */
	atomic_store_explicit(&seg->attached, true, memory_order_release);
	stm_alone_ended(seg);
	pthread_mutex_unlock(&stm_global.fold_lock);
}

static void part(struct stm_seg *seg)
{
	stm_alone_tell(seg);
	stm_recorder_detach(seg);
	stm_wait_end(seg); /* an abort hook of stm_retry() may have ended the thread */
	stm_run(seg);
	if (!STM_MUTATED(PART_BEHIND))
		stm_advance(seg); /* after un-park the snapshot may be older than what was freed */
	stm_blocks_detach(seg);
	if (unlikely(seg->strict))
		stm_strict_end(seg);
	pthread_mutex_lock(&stm_global.fold_lock);
	if (stm_pages_drop_all(seg))
		stm_die("madvise(MADV_DONTNEED): cannot empty the view of a thread that detaches");
	stm_track_forget(seg);
	atomic_store_explicit(&seg->state, STM_IDLE, memory_order_relaxed);
	atomic_store_explicit(&seg->attached, false, memory_order_release);
	stm_alone_part(seg);
	pthread_mutex_unlock(&stm_global.fold_lock);
	stm_markers_empty(seg); /* the attach lock keeps the next thread away */
}

static int attach_locked(void)
{
	struct stm_seg *seg;
	int error;

	if (!stm_global.ready) /* stm_fini() was quicker */
		return -ENXIO;
	seg = unused_segment();
	if (!seg) {
		if (stm_global.segments_n >= stm_global.segments_limit)
			return -EAGAIN;
		error = new_segment(&seg);
		if (error)
			return error;
	}
	error = -pthread_setspecific(exit_key, seg);
	if (!error)
		error = set_gs_base(seg->start);
	if (error)
		return error;
	/* Relaxed: who asks by a fault of this thread is ordered after this by the kernel. */
	atomic_store_explicit(&seg->thread, gettid(), memory_order_relaxed);
	stm_recorder_attach(seg);
	seg->hot.write = stm_recording(seg) ? stm_write_recorded : stm_write_plain;
	if (stm_names_all())
		seg->heed |= STM_HEED_NAMES;
	join(seg);
	stm__self = seg;
	return 0;
}

int stm_thread_attach(void)
{
	int error, cancel;

	stm_stop_if_forked("stm_thread_attach");
	if (!stm_global.ready)
		return -ENXIO;
	if (stm__self)
		return -EALREADY;
	if (!stm_fault_installed()) {
		stm_complain("attach: another SIGBUS handler was installed over the library's (EBUSY): use stm_sigaction()");
		return -EBUSY;
	}
	stm_fault_unblock();
	lock_attach(&cancel);
	error = attach_locked();
	unlock_attach(cancel);
	return error;
}

static void detach(struct stm_seg *seg)
{
	int cancel;

	stm__self = NULL;
	pthread_setspecific(exit_key, NULL);
	set_gs_base(NULL);
	lock_attach(&cancel);
	part(seg);
	unlock_attach(cancel);
}

int stm_thread_detach(void)
{
	struct stm_seg *seg = stm__self;

	stm_stop_if_forked("stm_thread_detach");
	if (!stm_global.ready)
		return -ENXIO;
	if (!seg)
		return -EPERM;
	if (stm_in_tx(seg) || seg->hooks)
		return -EBUSY;
	detach(seg);
	return 0;
}

/* The thread ends attached. */
static void on_thread_exit(void *arg)
{
	struct stm_seg *seg = arg;

	if (seg != stm__self) /* a child of fork(2), or detached */
		return;
	if (stm_in_tx(seg))
		stm_tx_abandon(seg, STM_ABORT_EXIT);
	detach(seg);
}

int stm_segments_open(void)
{
	int error = -pthread_key_create(&exit_key, on_thread_exit);

	if (error)
		stm_complain("pthread_key_create: %s: too many keys of thread-specific data", stm_errno_name(error));
	return error;
}

int stm_segments_close(void)
{
	unsigned int attached = 0;

	pthread_mutex_lock(&attach_lock);
	for (unsigned int i = 0; i < stm_global.segments_n; i++)
		attached += atomic_load(&stm_global.segments[i]->attached);
	if (attached > (stm__self ? 1u : 0u)) {
		pthread_mutex_unlock(&attach_lock);
		return -EBUSY;
	}
	stm_global.ready = false;
	pthread_mutex_unlock(&attach_lock);
	if (stm__self)
		detach(stm__self);
	unsigned int n = atomic_exchange(&stm_global.segments_n, 0);

	for (unsigned int i = 0; i < n; i++)
		free_segment(stm_global.segments[i]);
	pthread_key_delete(exit_key);
	return 0;
}
