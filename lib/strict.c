// SPDX-License-Identifier: MIT
/*
 * strict.c - UFFDSTM_STRICT: stores without stm_write() are found and reported.
 *
 *   1. Pages of a view that would be PRIVATE are GUARDED, except from stm_write(), or stm_alloc(), to the end of the
 *      transaction. So a store to a page that the transaction has not written faults: it is reported.
 *   2. A page is copied before its guard is taken away: its image. At commit each granule that is not logged must be
 *      as in the image, and what the undo log kept of one that is, too.
 *   3. If not, the attempt is undone, and run again, watched: no guard is taken away, so that each store faults. One
 *      to a granule that is logged is let through by a single step, any other is reported first.
 *   4. What cannot be run again, since it is inevitable, is reported without the place.
 *
 * A step compares its pages before and behind, so that what a wide store did to the next granule is seen, too.
 * What commits of others do to a page during a transaction (when it becomes inevitable) goes to the image as well.
 *
 * A store outside of transactions is let through by a step, too, if the page is the view's own: so it would happen
 * without strict mode. The segment is RUNNING meanwhile, without a site, so that helpers keep off. Other pages
 * cannot be stored to outside, with or without strict mode: the program stops.
 *
 * All of a segment's lists belong to its thread while RUNNING, or to the helper that holds it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "entry.h"
#include "place.h"
#include "pool.h"
#include "step.h"
#include "strict.h"

#define PAGES_AT_ONCE 8u                /* pages that one instruction stores to; more need a scatter */
#define STEPS_MAX 20000u                /* of one attempt: half a second */
#define IMAGES_KEPT ((size_t)1024)      /* pages */

/* Of one page, in the running transaction. */
struct record {
	uint64_t blamed[STM_PAGE_GRANULES / 64]; /* granules that are reported */
	bool listed, has_image;
};

struct stm_strict {
	uint8_t *images;                /* by page */
	struct record *records;         /* by page */
	uint32_t *list;                 /* pages that are not just GUARDED, or have a record */
	size_t listed;
	size_t bytes;                   /* of all of this */
	bool watching;
	unsigned int steps;
	/* The instruction that runs now. */
	const void *pc;
	unsigned int stepping;
	size_t step_pages[PAGES_AT_ONCE];
	uint8_t before[PAGES_AT_ONCE][STM_PAGE];
};

static _Atomic uint64_t reports;

/* ---- once per place ---- */

#define PLACES 4096u
#define SITES 1024u
#define RETRIES_FIRST 64u

static _Atomic uintptr_t places[PLACES];
static struct {
	_Atomic uintptr_t site;
	_Atomic uint32_t found;
} sites[SITES];

static unsigned int hash(uintptr_t key)
{
	return (unsigned int)((uint64_t)key * 0x9e3779b97f4a7c15u >> 32);
}

/* Was @place reported before? It is now. */
static bool is_new(uintptr_t place)
{
	for (unsigned int i = hash(place), n = 0; n < PLACES; i++, n++) {
		uintptr_t empty = 0;

		if (atomic_compare_exchange_strong(&places[i % PLACES], &empty, place))
			return true;
		if (empty == place)
			return false;
	}
	return false;
}

/* To watch a transaction costs much: always at first, then more and more seldom for one whose mistakes are known. */
static bool is_worth_watching(const struct stm_site *site)
{
	for (unsigned int i = hash((uintptr_t)site), n = 0; n < SITES; i++, n++) {
		uintptr_t empty = 0;

		if (atomic_compare_exchange_strong(&sites[i % SITES].site, &empty, (uintptr_t)site) ||
		    empty == (uintptr_t)site) {
			uint32_t found = atomic_fetch_add(&sites[i % SITES].found, 1);

			return found < RETRIES_FIRST || !(found & (found - 1));
		}
	}
	return false;
}

/* ---- reports ---- */

static void print_object(char *text, size_t len, uintptr_t address)
{
	size_t offset = address - STM_HEAP, size;
	uintptr_t start;

	if (offset < STM_ROOTS * STM_GRANULE)
		snprintf(text, len, "root slot %zu", offset / STM_GRANULE);
	else if (stm_find_block(address, &start, &size))
		snprintf(text, len, "byte %zu of the block of %zu at %#zx", (size_t)(address - start), size, (size_t)start);
	else
		snprintf(text, len, "not in a block");
}

/*
 * @pc is where the store was made, NULL if it is not known, and @next where the thread was interrupted, just there or
 * behind. @site NULL: outside a transaction. False: its place was reported before.
 */
static bool report(const void *pc, const void *next, uintptr_t address, const struct stm_site *site)
{
	uintptr_t place = pc ? stm_place_of(pc, next) : 0;
	char at[256] = "unknown", object[96];

	if (!is_new(place ? place : (uintptr_t)site))
		return false;
	atomic_fetch_add_explicit(&reports, 1, memory_order_relaxed);
	if (place)
		stm_place_print(at, sizeof(at), place);
	print_object(object, sizeof(object), address);
	if (!site)
		stm_complain("write of heap address %#zx outside a transaction at %s: %s: use STM_ATOMIC or stm_atomic()",
			     (size_t)address, at, object);
	else if (place)
		stm_complain("write of heap address %#zx without stm_write at %s: %s, in the transaction at %s:%u: call stm_write() before it, or use STM_SET",
			     (size_t)address, at, object, site->file, site->line);
	else
		stm_complain("write of heap address %#zx without stm_write, somewhere in the transaction at %s:%u, which could not be run again: %s: call stm_write() before each store, or use STM_SET",
			     (size_t)address, site->file, site->line, object);
	if (stm_global.strict == STM_STRICT_ABORT)
		abort();
	return true;
}

void stm_strict_report_local(const void *pc, uintptr_t address)
{
	char at[256], object[96];

	if (!is_new((uintptr_t)pc))
		return;
	atomic_fetch_add_explicit(&reports, 1, memory_order_relaxed);
	stm_place_print(at, sizeof(at), (uintptr_t)pc);
	print_object(object, sizeof(object), address);
	stm_complain("stm_local of heap address %#zx without a barrier at %s: %s: call stm_read_range() or stm_write_range() before it",
		     (size_t)address, at, object);
	if (stm_global.strict == STM_STRICT_ABORT)
		abort();
}

uint64_t stm_strict_reports(void)
{
	return atomic_load_explicit(&reports, memory_order_relaxed);
}

/* ---- pages and granules ---- */

static uint8_t *page_at(const struct stm_seg *seg, size_t page)
{
	return seg->view.heap + page * STM_PAGE;
}

static uint8_t *image_of(const struct stm_seg *seg, size_t page)
{
	return seg->strict->images + page * STM_PAGE;
}

static bool is_logged(const struct stm_seg *seg, size_t granule)
{
	return seg->write_markers[granule] - (seg->version - seg->span) <= seg->span;
}

static bool differs(const void *a, const void *b)
{
	return memcmp(a, b, STM_GRANULE) != 0;
}

/* It was stored to in a transaction, without stm_write(). @pc, @next: as for report(). */
static void blame(const struct stm_seg *seg, size_t granule, const void *pc, const void *next, uintptr_t address)
{
	struct record *record = &seg->strict->records[granule / STM_PAGE_GRANULES];

	record->blamed[granule % STM_PAGE_GRANULES / 64] |= (uint64_t)1 << granule % 64;
	report(pc, next, address, stm_site_of(seg));
}

static bool is_blamed(const struct stm_seg *seg, size_t granule)
{
	const struct record *record = &seg->strict->records[granule / STM_PAGE_GRANULES];

	return record->blamed[granule % STM_PAGE_GRANULES / 64] >> granule % 64 & 1;
}

void stm_strict_guard(struct stm_seg *seg, size_t first, size_t last)
{
	int error;

	if (stm_page_is_tracked(first)) /* stores to it need no barrier; so do those to its neighbours */
		return;
	error = stm_view_guard(&seg->view, first, last);

	if (error)
		stm_die("UFFDIO_WRITEPROTECT: %s: cannot protect pages for UFFDSTM_STRICT", stm_errno_name(error));
}

static void unguard(struct stm_seg *seg, size_t first, size_t last)
{
	int error = stm_view_unguard(&seg->view, first, last);

	if (error)
		stm_die("UFFDIO_WRITEPROTECT: %s: cannot open pages for UFFDSTM_STRICT", stm_errno_name(error));
}

static void put_on_list(struct stm_seg *seg, size_t page)
{
	struct stm_strict *strict = seg->strict;

	if (strict->records[page].listed)
		return;
	strict->records[page].listed = true;
	strict->list[strict->listed++] = (uint32_t)page;
	seg->attention |= STM_ATTEND_STRICT;
}

static void keep_image(struct stm_seg *seg, size_t page)
{
	put_on_list(seg, page);
	if (seg->strict->records[page].has_image)
		return;
	seg->strict->records[page].has_image = true;
	memcpy(image_of(seg, page), page_at(seg, page), STM_PAGE);
}

void stm_strict_write(struct stm_seg *seg, size_t page)
{
	keep_image(seg, page);
	if (!seg->strict->watching)
		unguard(seg, page, page + 1);
}

/* Memory that was allocated is given back: what was stored to it is no mistake. */
void stm_strict_forget(struct stm_seg *seg, size_t granule, size_t count)
{
	for (; count; granule++, count--)
		if (seg->strict->records[granule / STM_PAGE_GRANULES].has_image)
			memcpy(seg->view.heap + granule * STM_GRANULE, seg->strict->images + granule * STM_GRANULE, STM_GRANULE);
}

/* ---- commits of others ---- */

void stm_strict_apply(struct stm_seg *seg, size_t page)
{
	put_on_list(seg, page);
	unguard(seg, page, page + 1);
}

static void refresh_image(struct stm_seg *seg, size_t page)
{
	uint8_t *image = image_of(seg, page), *bytes = page_at(seg, page);

	for (size_t i = 0; i < STM_PAGE_GRANULES; i++)
		if (!is_logged(seg, page * STM_PAGE_GRANULES + i))
			memcpy(image + i * STM_GRANULE, bytes + i * STM_GRANULE, STM_GRANULE);
}

void stm_strict_applied(struct stm_seg *seg)
{
	struct stm_strict *strict = seg->strict;

	for (size_t i = 0; i < strict->listed; i++) {
		size_t page = strict->list[i];

		if (strict->records[page].has_image && !STM_MUTATED(STRICT_OLD_IMAGE))
			refresh_image(seg, page);
		else
			keep_image(seg, page);
		if (strict->watching && seg->view.state[page] == STM_PAGE_PRIVATE)
			stm_strict_guard(seg, page, page + 1);
	}
}

/* ---- the end of a transaction ---- */

void stm_strict_end(struct stm_seg *seg)
{
	struct stm_strict *strict = seg->strict;
	size_t first = 0, last = 0;

	for (size_t i = 0; i < strict->listed; i++) {
		size_t page = strict->list[i];

		memset(&strict->records[page], 0, sizeof(strict->records[page]));
		if (seg->view.state[page] != STM_PAGE_PRIVATE)
			continue;
		if (page == last && last > first) {
			last++;
			continue;
		}
		if (last > first)
			stm_strict_guard(seg, first, last);
		first = page;
		last = page + 1;
	}
	if (last > first)
		stm_strict_guard(seg, first, last);
	if (strict->listed > IMAGES_KEPT) /* or it costs memory only */
		stm_empty(strict->images, stm_view_pages(&seg->view) * STM_PAGE);
	strict->listed = 0;
	strict->steps = strict->stepping = 0;
	strict->watching = false;
	seg->attention &= ~STM_ATTEND_STRICT;
}

void stm_strict_undo(struct stm_seg *seg)
{
	struct stm_strict *strict = seg->strict;

	for (size_t i = 0; i < strict->listed; i++)
		if (seg->view.state[strict->list[i]] == STM_PAGE_GUARDED)
			unguard(seg, strict->list[i], strict->list[i] + 1u);
}

void stm_strict_rolled_back(struct stm_seg *seg)
{
	const struct stm_strict *strict = seg->strict;

	for (size_t i = 0; strict->watching && i < strict->listed; i++)
		if (seg->view.state[strict->list[i]] == STM_PAGE_PRIVATE)
			stm_strict_guard(seg, strict->list[i], strict->list[i] + 1u);
}

void stm_strict_undone(struct stm_seg *seg, bool again)
{
	struct stm_strict *strict = seg->strict;
	bool watching = strict->watching && again;

	/* Stores without stm_write() are not in the undo log; fresh memory does not matter. */
	for (size_t i = 0; i < strict->listed; i++)
		if (strict->records[strict->list[i]].has_image)
			memcpy(page_at(seg, strict->list[i]), image_of(seg, strict->list[i]), STM_PAGE);
	stm_strict_end(seg);
	strict->watching = watching;
	if (watching) /* its end shall come to us in any case */
		seg->attention |= STM_ATTEND_STRICT;
}

/* ---- the look at commit ---- */

typedef bool raw_granule(struct stm_seg *seg, size_t granule);

static bool found_one(struct stm_seg *seg, size_t granule)
{
	(void)seg, (void)granule;
	return true;
}

static bool report_one(struct stm_seg *seg, size_t granule)
{
	blame(seg, granule, NULL, NULL, STM_HEAP + granule * STM_GRANULE);
	return false;
}

/*
 * Call @visit, until it says true, for each granule that was stored to without stm_write(), or before it, and is not
 * blamed.
 */
static bool each_raw(struct stm_seg *seg, raw_granule *visit)
{
	struct stm_strict *strict = seg->strict;
	const uint8_t *next = (const uint8_t *)(seg->entry + 1), *old = seg->undo;

	for (size_t i = 0; i < strict->listed; i++) {
		size_t page = strict->list[i], granule = page * STM_PAGE_GRANULES;
		const uint8_t *bytes = page_at(seg, page), *image = image_of(seg, page);

		if (!strict->records[page].has_image || !memcmp(bytes, image, STM_PAGE))
			continue;
		for (size_t n = 0; n < STM_PAGE_GRANULES; n++)
			if (differs(bytes + n * STM_GRANULE, image + n * STM_GRANULE) &&
			    !is_logged(seg, granule + n) && !is_blamed(seg, granule + n) && visit(seg, granule + n))
				return true;
	}
	/* With savepoints the log may have a granule again, with bytes that the transaction itself wrote: not to be told apart. */
	for (uint32_t left = seg->span ? 0 : seg->runs; left; left--) {
		const struct stm_run *run = (const struct stm_run *)next;
		size_t granule = run->granule;

		next = (const uint8_t *)(run + 1) + run->count * STM_GRANULE;
		for (size_t n = run->fresh ? 0 : run->count; n; n--, granule++, old += STM_GRANULE)
			if (strict->records[granule / STM_PAGE_GRANULES].has_image &&
			    differs(old, strict->images + granule * STM_GRANULE) && !is_blamed(seg, granule) &&
			    visit(seg, granule))
				return true;
	}
	return false;
}

bool stm_strict_check(struct stm_seg *seg)
{
	struct stm_strict *strict = seg->strict;

	if (STM_MUTATED(STRICT_NO_COMPARE) || !each_raw(seg, found_one))
		return true;
	if (strict->watching || seg->inevitable == STM_INEVITABLE) {
		each_raw(seg, report_one);
	} else if (is_worth_watching(stm_site_of(seg))) {
		strict->watching = true;
		return false;
	}
	return true;
}

/* ---- system calls ---- */

void stm_strict_let(struct stm_seg *seg, size_t first, size_t last)
{
	if (!seg->strict->watching)
		return;
	for (size_t page = first; page < last; page++)
		if (seg->view.state[page] == STM_PAGE_GUARDED)
			unguard(seg, page, page + 1);
}

void stm_strict_let_no_more(struct stm_seg *seg, size_t first, size_t last)
{
	if (!seg->strict->watching)
		return;
	for (size_t page = first; page < last; page++)
		if (seg->view.state[page] == STM_PAGE_PRIVATE)
			stm_strict_guard(seg, page, page + 1);
}

/* ---- stores that fault ---- */

void stm_strict_enter(struct stm_seg *seg, const struct stm_fault *fault, size_t page)
{
	if (atomic_load_explicit(&seg->state, memory_order_relaxed) == STM_IDLE)
		stm_run(seg);
	if (seg->view.state[page] == STM_PAGE_GUARDED)
		return;
	if (!report(fault->pc, fault->pc, fault->address - (uintptr_t)seg->start, NULL))
		stm_die("write of heap address %#zx outside a transaction, at a place reported before: use STM_ATOMIC or stm_atomic()",
			(size_t)(fault->address - (uintptr_t)seg->start));
	abort();
}

static void leave(struct stm_seg *seg)
{
	/* Pairs with take_idle()'s acquire, as at the end of a transaction. */
	atomic_store_explicit(&seg->state, STM_IDLE, memory_order_release);
}

void stm_strict_store(struct stm_seg *seg, const struct stm_fault *fault)
{
	struct stm_strict *strict = seg->strict;
	const struct stm_site *site = stm_site_of(seg);
	uintptr_t address = fault->address - (uintptr_t)seg->start;
	size_t page = (address - STM_HEAP) / STM_PAGE, granule = (address - STM_HEAP) / STM_GRANULE;

	if (site)
		keep_image(seg, page);
	if (!site)
		report(fault->pc, fault->pc, address, NULL);
	else if (!is_logged(seg, granule))
		blame(seg, granule, fault->pc, fault->pc, address);
	if (strict->stepping < PAGES_AT_ONCE && strict->steps++ < STEPS_MAX && stm_step(fault->context)) {
		memcpy(strict->before[strict->stepping], page_at(seg, page), STM_PAGE);
		strict->step_pages[strict->stepping++] = page;
		strict->pc = fault->pc;
	}
	unguard(seg, page, page + 1);
	if (!site && !strict->stepping) { /* SIGTRAP was taken over: the page stays open to the next transaction */
		put_on_list(seg, page);
		leave(seg);
	}
}

/* Behind an instruction that stored. */
static bool stepped(const void *next)
{
	struct stm_seg *seg = stm__self;
	struct stm_strict *strict = seg ? seg->strict : NULL;
	const struct stm_site *site;

	if (!strict || !strict->stepping)
		return false;
	site = stm_site_of(seg);
	for (unsigned int i = 0; i < strict->stepping; i++) {
		size_t page = strict->step_pages[i], granule = page * STM_PAGE_GRANULES;
		const uint8_t *bytes = page_at(seg, page), *before = strict->before[i];

		for (size_t n = 0; site && n < STM_PAGE_GRANULES; n++)
			if (differs(bytes + n * STM_GRANULE, before + n * STM_GRANULE) && !is_logged(seg, granule + n))
				blame(seg, granule + n, strict->pc, next, STM_HEAP + (granule + n) * STM_GRANULE);
		stm_strict_guard(seg, page, page + 1);
	}
	strict->stepping = 0;
	if (!site) {
		strict->steps = 0;
		leave(seg);
	}
	return true;
}

/* ---- beginning and end ---- */

int stm_strict_open(void)
{
	const char *text = secure_getenv("UFFDSTM_STRICT");
	int error;

	memset(places, 0, sizeof(places));
	memset(sites, 0, sizeof(sites));
	atomic_store(&reports, 0);
	if (!text || !*text || !strcmp(text, "0"))
		return 0;
	if (strcmp(text, "1") && strcmp(text, "2")) {
		stm_complain("UFFDSTM_STRICT=%s (EINVAL): 0 is off, 1 reports stores without stm_write, 2 stops at the first",
			     text);
		return -EINVAL;
	}
	error = stm_step_install(stepped);
	if (error)
		return error;
	stm_place_open();
	stm_global.strict = *text == '1' ? STM_STRICT_REPORT : STM_STRICT_ABORT;
	return 0;
}

void stm_strict_close(void)
{
	if (stm_global.strict)
		stm_step_uninstall();
	stm_global.strict = STM_STRICT_OFF;
}

static size_t whole_pages(size_t bytes)
{
	return (bytes + STM_PAGE - 1) / STM_PAGE * STM_PAGE;
}

/* All in one reservation, of which memory is taken as it is used. */
int stm_strict_attach(struct stm_seg *seg)
{
	size_t pages = stm_global.heap_limit / STM_PAGE;
	size_t first = whole_pages(sizeof(struct stm_strict)), records = whole_pages(pages * sizeof(struct record));
	size_t list = whole_pages(pages * sizeof(uint32_t));
	struct stm_strict *strict;
	size_t bytes = first + records + list + stm_global.heap_limit;
	uint8_t *start;

	if (!stm_global.strict)
		return 0;
	start = stm_reserve(bytes);
	if (!start || stm_make_usable(start, bytes)) {
		stm_complain("mmap: ENOMEM: no address space for UFFDSTM_STRICT, %zu bytes for a segment: raise RLIMIT_AS",
			     bytes);
		if (start)
			munmap(start, bytes);
		return -ENOMEM;
	}
	strict = (struct stm_strict *)start;
	strict->records = (struct record *)(start + first);
	strict->list = (uint32_t *)(start + first + records);
	strict->images = start + first + records + list;
	strict->bytes = bytes;
	seg->strict = strict;
	seg->heed |= STM_HEED_STRICT;
	return 0;
}

void stm_strict_free(struct stm_seg *seg)
{
	if (seg->strict)
		munmap(seg->strict, seg->strict->bytes);
	seg->strict = NULL;
}
