// SPDX-License-Identifier: MIT
/*
 * status.c - what others may read of this process: uffdstm/status.h tells the format.
 *
 * The hot pages, where segments stand and count, are pages of a memfd. So what a reader sees are the counters
 * themselves, and to keep them costs a transaction nothing.
 *
 *   1. The memfd has room for all segments from the start, is mapped as a whole, and then sealed: from here on nobody
 *      can map it for writing any more, this process included.
 *   2. A segment's page comes to its hot page by mremap(2), which with an old size of 0 maps the same pages once
 *      more.
 *   3. Where this cannot be had, hot pages are ordinary memory and the rest stands in `nowhere`. Nothing else
 *      knows the difference, but that nobody can look.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <uffdstm/status.h>

#include "engine.h"
#include "internal.h"

_Static_assert(STM_STATUS_PAGE == STM_PAGE && STM_STATUS_SEGMENTS == STM_SEGMENTS_LIMIT,
	       "status.h says the same");
_Static_assert(STM_STATUS_PARKED == STM_PARKED && STM_IDLE == 0, "status.h says the same");
_Static_assert(sizeof(struct stm_status) <= STM_PAGE && STM_STATUS_FIGURES <= STM_STATUS_FIELDS,
	       "it is one page");

#define BYTES ((1 + STM_STATUS_SEGMENTS) * (size_t)STM_PAGE)

static struct stm_status nowhere;
struct stm_status *stm_status = &nowhere;

static int memfd = -1;
static uint8_t *pages;

#define WORD(member)                                                                       \
	{                                                                                  \
		offsetof(struct stm_seg, member), sizeof(((struct stm_seg *)0)->member), 1 \
	}
#define WORDS(member, n)                                                                      \
	{                                                                                     \
		offsetof(struct stm_seg, member), sizeof(((struct stm_seg *)0)->member[0]), n \
	}

static const struct stm_status_field fields[STM_STATUS_FIGURES] = {
	[STM_STATUS_VERSIONS] = WORD(version),
	[STM_STATUS_VERSIONS_BEFORE] = WORD(versions_renewed),
	[STM_STATUS_COMMITS] = WORD(commits),
	[STM_STATUS_ABORTS] = WORDS(aborts, STM_ABORT_REASONS),
	[STM_STATUS_INEVITABLE] = WORD(inevitables),
	[STM_STATUS_FAULTS] = WORDS(faults, STM_FAULT_KINDS),
	[STM_STATUS_PAGES_MAPPED] = WORD(view.mapped),
	[STM_STATUS_PAGES_COPIED] = WORD(view.copied),
	[STM_STATUS_PAGES_DROPPED] = WORD(view.dropped),
	[STM_STATUS_PAGES_SHARED] = WORD(view.shared),
	[STM_STATUS_PAGES_PRIVATE] = WORD(view.private),
	[STM_STATUS_VIEW_CALLS] = WORD(view.calls),
	[STM_STATUS_CALLS] = WORD(calls),
	[STM_STATUS_ENTRY_BYTES] = WORD(block_bytes),
	[STM_STATUS_LOG_WAITS] = WORD(log_waits),
	[STM_STATUS_TRIMMED] = WORD(trim.pages),
	[STM_STATUS_TRIM_SWEEPS] = WORD(trim.sweeps),
	[STM_STATUS_TRIM_NS] = WORD(trim.ns),
	[STM_STATUS_ATTACHED] = WORD(attached),
	[STM_STATUS_STATE] = WORD(state),
	[STM_STATUS_TAKEN] = WORD(taken),
	[STM_STATUS_SNAPSHOT] = WORD(published),
};

/* ---- up and down ---- */

static void copy_text(char *to, size_t size, const char *text)
{
	snprintf(to, size, "%s", text);
}

static void fill(struct stm_status *status)
{
	struct stm_engine_facts facts = stm_engine_facts();
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	memset(status, 0, sizeof(*status));
	memcpy(status->magic, STM_STATUS_MAGIC, sizeof(STM_STATUS_MAGIC));
	status->version = STM_STATUS_VERSION;
	status->page = STM_STATUS_PAGE;
	copy_text(status->library, sizeof(status->library), stm_version());
	status->pid = getpid();
	status->layout = STM_LAYOUT;
	status->started = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	status->heap_limit = stm_global.heap_limit;
	status->log_limit = stm_global.log_limit;
	status->segments_limit = stm_global.segments_limit;
	status->engine_in_calls = facts.in_system_calls;
	copy_text(status->engine, sizeof(status->engine), facts.name);
	copy_text(status->engine_why, sizeof(status->engine_why), facts.why);
	copy_text(status->engine_opened, sizeof(status->engine_opened), facts.opened);
	status->fields_n = STM_STATUS_FIGURES;
	memcpy(status->fields, fields, sizeof(fields));
}

/* 0 or -errno. */
static int make_memfd(void)
{
	struct rlimit limit;

	/* Past this limit ftruncate(2) would not answer, but send SIGXFSZ. */
	if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < BYTES)
		return -EFBIG;
	memfd = memfd_create(STM_STATUS_NAME, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (memfd < 0)
		return -errno;
	return ftruncate(memfd, (off_t)BYTES) ? -errno : 0;
}

/* No page comes before it is used, whatever mlockall(2) was told. 0 or -errno. */
static int map_memfd(void)
{
	void *start = mmap(NULL, BYTES, PROT_NONE, MAP_SHARED, memfd, 0);
	int error;

	if (start == MAP_FAILED)
		return -errno;
	pages = start;
	madvise(pages, BYTES, MADV_NOHUGEPAGE);
	madvise(pages, BYTES, MADV_DONTDUMP);
	error = stm_make_usable(pages, BYTES);
	/* A child's changes would be ours. */
	return !error && madvise(pages, BYTES, MADV_DONTFORK) ? -errno : error;
}

static void drop(void)
{
	if (pages)
		munmap(pages, BYTES);
	if (memfd >= 0)
		close(memfd);
	pages = NULL;
	memfd = -1;
}

void stm_status_open(void)
{
	int error;

	fill(&nowhere);
	stm_status = &nowhere;
	error = make_memfd();
	if (!error)
		error = map_memfd();
	if (!error) {
		memcpy(pages, &nowhere, sizeof(nowhere));
		if (fcntl(memfd, F_ADD_SEALS,
			  F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL))
			error = -errno;
	}
	if (!error) {
		stm_status = (struct stm_status *)pages;
		return;
	}
	drop();
	if (stm_is_verbose())
		stm_complain("memfd_create: %s: `uffdstm status` will not see this process",
			     stm_errno_name(error));
}

void stm_status_close(void)
{
	stm_status = &nowhere;
	drop();
}

void stm_status_forked(void)
{
	if (memfd >= 0)
		close(memfd);
}

/* ---- segments ---- */

/* Under the attach lock, or when nobody is left. Relaxed: who reads it is another process. */
static void set_bit(uint64_t *mask, unsigned int id, bool value)
{
	uint64_t bit = (uint64_t)1 << id;

	__atomic_store_n(mask, value ? *mask | bit : *mask & ~bit, __ATOMIC_RELAXED);
}

int stm_status_place(struct stm_seg *hot, unsigned int id)
{
	if (pages) {
		void *page = pages + (1 + id) * (size_t)STM_PAGE;

		if (mremap(page, 0, STM_PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, hot) == hot) {
			memset(hot, 0, STM_PAGE); /* an attempt that failed may have been here */
			set_bit(&stm_status->silent, id, false);
			set_bit(&stm_status->segments, id, true);
			return 0;
		}
	}
	set_bit(&stm_status->silent, id, true);
	set_bit(&stm_status->segments, id, true);
	/* Anew: a mremap() that fails may leave a hole. valgrind knows no old size of 0. */
	if (mmap(hot, STM_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE,
		 -1, 0) == MAP_FAILED)
		return -ENOMEM;
	madvise(hot, STM_PAGE, MADV_DONTFORK);
	return stm_make_usable(hot, STM_PAGE);
}

void stm_status_leave(unsigned int id)
{
	set_bit(&stm_status->segments, id, false);
}

/* ---- what is not a segment's ---- */

void stm_status_log_held_by(const struct stm_site *site)
{
	if (site == atomic_load_explicit(&stm_global.log_held_by, memory_order_relaxed))
		return;
	atomic_store_explicit(&stm_global.log_held_by, site, memory_order_relaxed);
	if (site)
		snprintf(stm_status->log_held_by, sizeof(stm_status->log_held_by), "%s() at %s:%u",
			 site->function, site->file, site->line);
}
