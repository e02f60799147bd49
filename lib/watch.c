// SPDX-License-Identifier: MIT
/*
 * watch.c - which code reads a contended granule.
 *
 * A read barrier is a store to a marker, so it can be seen without a cost to those that nobody watches:
 *
 *   1. An attempt was undone because a granule that it had read was overwritten. The next attempt is begun with the
 *      page of that granule's read marker write-protected, for this segment alone.
 *   2. A store to the page faults: it is let through by a single step, then the marker tells whether it was that
 *      granule. If so, the code and its callers are recorded, and the page stays open.
 *   3. If not, the page is protected again, a bounded number of times.
 *
 * Where the fault would not come to us, or the granule counts as read from the start (tracked memory), nothing is
 * watched.
 *
 * A watched attempt takes some 40 us for each barrier within 16 KiB of the granule. So each transaction is watched
 * at its first conflicts, and then more and more seldom.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <execinfo.h>
#include <string.h>
#include <sys/mman.h>

#include "define.h"
#include "place.h"
#include "recorder.h"
#include "step.h"
#include "watch.h"

#define STEPS_MAX 256u                  /* of one attempt: 10 ms */
#define FIRST 64u                       /* conflicts of a site, all of which are watched */
#define FRAMES_ABOVE 8                  /* of signal handlers, ours, above the code that faulted */

static _Atomic uint32_t seen[STM_SITES_LIMIT];

/* A static program may have no unwinder. */
#pragma weak backtrace

void stm_watch_want(struct stm_seg *seg, size_t granule, uint32_t site)
{
	struct stm_watch *watch = &seg->recorder->watch;
	uint32_t n;

	if (!stm_global.watching)
		return;
	n = atomic_fetch_add_explicit(&seen[site % STM_SITES_LIMIT], 1, memory_order_relaxed);
	if (n < FIRST || !(n & (n - 1))) {
		watch->granule = granule;
		watch->state = STM_WATCH_WANTED;
	}
}

static bool protect(struct stm_seg *seg, int rights)
{
	uintptr_t marker = (uintptr_t)(seg->read_markers + seg->recorder->watch.granule);

	seg->calls++;
	return !mprotect((void *)(marker & ~(STM_PAGE - 1)), STM_PAGE, rights);
}

/* Areas are split already, so the kernel needs no memory for it. */
static void open_page(struct stm_seg *seg)
{
	if (!protect(seg, PROT_READ | PROT_WRITE))
		stm_die("mprotect: %s: cannot open a page of markers again", stm_errno_name(errno));
}

static bool is_read(const struct stm_seg *seg)
{
	return seg->read_markers[seg->recorder->watch.granule] - (seg->version - seg->span) <= seg->span;
}

/* Tracked memory is marked without a store of the program's: who reads it is not known. */
void stm_watch_begin(struct stm_seg *seg)
{
	struct stm_watch *watch = &seg->recorder->watch;
	bool possible = !is_read(seg) && stm_fault_is_seen();

	seg->calls += 2;
	watch->steps = 0;
	watch->state = possible && protect(seg, PROT_READ) ? STM_WATCH_ARMED : STM_WATCH_OFF;
}

void stm_watch_end(struct stm_seg *seg)
{
	if (seg->recorder->watch.state == STM_WATCH_ARMED)
		open_page(seg);
	seg->recorder->watch.state = STM_WATCH_OFF;
}

/* ---- the store ---- */

bool stm_watch_fault(struct stm_seg *seg, size_t offset, const struct stm_fault *fault)
{
	struct stm_watch *watch = &seg->recorder->watch;
	uintptr_t marker = (uintptr_t)(seg->read_markers + watch->granule) - (uintptr_t)seg->start;

	if (watch->state != STM_WATCH_ARMED || offset / STM_PAGE != marker / STM_PAGE || !fault->context)
		return false;
	watch->pc = fault->pc;
	watch->state = STM_WATCH_STEPPING;
	open_page(seg);
	if (watch->steps++ >= STEPS_MAX || !stm_step(fault->context))
		watch->state = STM_WATCH_DONE;
	return true;
}

/* The thread was interrupted at @next, behind the instruction at watch->pc. */
static void tell(struct stm_seg *seg, const void *next)
{
	void *frames[STM_READER_FRAMES + FRAMES_ABOVE];
	uint64_t code[STM_READER_FRAMES] = { (uintptr_t)seg->recorder->watch.pc };
	int n = backtrace ? backtrace(frames, (int)(STM_READER_FRAMES + FRAMES_ABOVE)) : 0, i = 0;
	unsigned int found = 1;

	while (i < n && frames[i] != next)
		i++;
	while (++i < n && found < STM_READER_FRAMES)
		code[found++] = (uintptr_t)frames[i] - 1; /* in the call */
	stm_record_reader(seg, seg->recorder->watch.granule, code, found);
}

static bool stepped(const void *next)
{
	struct stm_seg *seg = stm__self;
	struct stm_watch *watch;

	if (!seg || !stm_recording(seg))
		return false;
	watch = &seg->recorder->watch;
	if (watch->state != STM_WATCH_STEPPING)
		return false;
	if (is_read(seg)) {
		tell(seg, next);
		watch->state = STM_WATCH_DONE;
	} else {
		watch->state = protect(seg, PROT_READ) ? STM_WATCH_ARMED : STM_WATCH_DONE;
	}
	return true;
}

/* ---- beginning and end ---- */

int stm_watch_open(void)
{
	int error;

	if (stm_global.strict) {
		stm_complain("UFFDSTM_LOG_READERS: not together with UFFDSTM_STRICT, which steps through code, too: it is left out");
		return 0;
	}
	error = stm_step_install(stepped);
	if (error)
		return error;
	stm_place_open(); /* loads the unwinder */
	for (unsigned int i = 0; i < STM_SITES_LIMIT; i++)
		atomic_store_explicit(&seen[i], 0, memory_order_relaxed);
	stm_global.watching = true;
	return 0;
}

void stm_watch_close(void)
{
	if (stm_global.watching)
		stm_step_uninstall();
	stm_global.watching = false;
}
