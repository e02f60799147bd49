// SPDX-License-Identifier: MIT
/*
 * trim.c - pages that a segment no longer uses are dropped from its view, and their markers emptied, so that it
 * replicates its working set and not the heap.
 *
 *   1. When: at begin, after the snapshot was advanced, if the flag STM_HEED_TRIM is up. It is put up by what is slow
 *      anyhow (a page was mapped, a block of the log is full, every 64th begin that finds commits, a helper's
 *      visit) when the clock says so.
 *   2. Which: a page is cold if none of its granules was read or written since the version that the segment had one age
 *      ago, nor in the last 64 versions, and if it was mapped three sweeps ago: a cluster has pages that are yet to be
 *      used. While a thread sleeps, or waits for a CPU, it cannot use its pages: of the time from one look at the
 *      clock to the next only a quarter of an age counts.
 *   3. A sweep visits, region by region, what is mapped, twice in an age. It goes on at later begins when it has
 *      used the CPU time that it was granted, a share of the time that passes. From that is also paid for pages that turn
 *      out to be needed soon after.
 *   4. Runs of pages that are cold, or not mapped, are dropped together, many runs by one call.
 *   5. No reads are marked while a segment is alone (alone.c), so nothing is trimmed, except for one part in nine of the
 *      time that counts: BLIND_AGES, MARKED_AGES; or as long as there are more private pages than the limit.
 *   6. The age is halved with each sweep that leaves more private pages than the limit. While there are more, the share is a
 *      fourth of a CPU at least: who gives a limit is promised memory, but a working set that is larger than the limit must
 *      not take the thread's whole time.
 *
 * Why nothing is lost: at begin the transaction has read and written nothing yet, so a page that is SHARED or PRIVATE
 * equals base + log up to the snapshot (DESIGN 5, rule 2), except memory that nobody has allocated. The next
 * fault on it, in this transaction or a later one, makes just that, since `folded` cannot pass the published snapshot
 * while the page is not mapped any more than while it is. Commits that come meanwhile skip the page, as any UNMAPPED one.
 * Markers that are emptied hold versions of transactions that are over: to forget those is what a new version does.
 */
#include <sys/mman.h>
#include <time.h>

#include "internal.h"
#include "recorder.h"
#include "strict.h"

#define MS ((uint64_t)1000000)          /* ns */
#define STEP_NS ((int64_t)(MS / 2))     /* CPU time of one begin: some 2 MiB dropped, or 40 MiB found to be in use */
#define SLICE_NS ((int64_t)(MS / 10))   /* a sweep does not go on for less */
#define CREDIT_NS ((int64_t)(10 * MS))  /* no more is saved up */
#define OVER_SHARE 25u                  /* percent of a CPU, where the limit is exceeded and the share is less */
#define HALVINGS_MAX 12u                /* seconds become milliseconds */
#define SOON_SWEEPS 8u                  /* four ages: a page used so soon was missed */
#define MISSED_FAULT_NS (MS / 100)      /* of a fault and a drop, as DESIGN 5 has it */
#define MISSED_PAGE_NS (MS / 1000)
#define BLIND_AGES 32u                  /* alone, nobody knows for so long which pages are used */
#define MARKED_AGES 4u                  /* then it is found out, for so long: a page is cold after two and a half, at most */
#define MAPPED_SWEEPS 3u                /* a page mapped before the last three sweeps began has seen two pass: one age */

#define MARKER_BYTES sizeof(stm_marker)
#define MARKER_PAGE_PAGES (STM_PAGE / (STM_PAGE_GRANULES * MARKER_BYTES)) /* 4 pages of the heap */

static uint64_t coarse_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000 * MS + (uint64_t)now.tv_nsec;
}

/* Not the time: it would count what other threads did on this CPU. */
static int64_t cpu_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (int64_t)now.tv_sec * (int64_t)(1000 * MS) + now.tv_nsec;
}

/* ---- when ---- */

static bool is_over(const struct stm_seg *seg)
{
	return seg->view.private > stm_global.trim_limit;
}

static uint64_t age(const struct stm_trim *trim)
{
	uint64_t age = stm_global.trim_age >> trim->halvings;

	return age < MS ? 0 : age;
}

/* Percent of a CPU. A limit is a promise about memory, which the share must not break. */
static unsigned int share(const struct stm_seg *seg)
{
	return is_over(seg) && stm_global.trim_share < OVER_SHARE ? OVER_SHARE : stm_global.trim_share;
}

/* Time goes by. Of that since the last look so much counts. */
static uint64_t counted(struct stm_trim *trim, uint64_t passed)
{
	return passed < age(trim) / 4 ? passed : age(trim) / 4;
}

static uint64_t look_at_clock(struct stm_trim *trim)
{
	uint64_t now = coarse_now(), passed = now - trim->seen;

	trim->seen = now;
	return passed;
}

static bool is_blind(const struct stm_seg *seg)
{
	return atomic_load_explicit(&seg->unmarked, memory_order_relaxed);
}

/* For so long nobody knows which pages are used that it is time to find out? */
static bool is_time_for_marks(const struct stm_seg *seg)
{
	return is_over(seg) || seg->trim.blind >= BLIND_AGES * age(&seg->trim);
}

bool stm_trim_wants_marks(struct stm_seg *seg)
{
	struct stm_trim *trim = &seg->trim;
	bool wants;

	if (trim->due == UINT64_MAX)
		return false;
	if (!is_blind(seg) && !trim->was_blind && trim->time - trim->marked_from >= MARKED_AGES * age(trim))
		trim->blind = 0;
	wants = is_time_for_marks(seg);
	if (!wants)
		trim->was_blind = true; /* from here on */
	return wants;
}

void stm_trim_look(struct stm_seg *seg)
{
	struct stm_trim *trim = &seg->trim;
	uint64_t passed;

	if (trim->due == UINT64_MAX)
		return;
	if (is_blind(seg)) {
		trim->blind += counted(trim, look_at_clock(trim));
		if (is_time_for_marks(seg))
			stm_mark_reads(seg);
		return;
	}
	if (trim->was_blind)
		stm_trim_start(seg);
	passed = look_at_clock(trim);
	trim->time += counted(trim, passed);
	/* CPU time is granted with it. */
	trim->credit += (int64_t)(passed / 100 * share(seg));
	if (trim->credit > CREDIT_NS)
		trim->credit = CREDIT_NS;
	if (trim->time >= trim->due || ((trim->sweeping || is_over(seg)) && trim->credit >= SLICE_NS))
		seg->heed |= STM_HEED_TRIM;
}

static void take_sample(struct stm_seg *seg)
{
	struct stm_trim *trim = &seg->trim;

	if (trim->time < trim->due)
		return;
	trim->newest = (trim->newest + 1) % STM_TRIM_SAMPLES;
	trim->samples[trim->newest].at = trim->time;
	trim->samples[trim->newest].version = seg->version;
}

/* A page whose markers are all older than this version is cold; 0: none is. */
static uint32_t oldest_warm(const struct stm_seg *seg)
{
	const struct stm_trim *trim = &seg->trim;
	uint32_t kept = stm_global.trim_versions, warm = 0;
	uint64_t old = age(trim);

	for (unsigned int i = 0; i < STM_TRIM_SAMPLES; i++)
		if (trim->time - trim->samples[i].at >= old && trim->samples[i].version > warm)
			warm = trim->samples[i].version;
	if (!old)
		warm = seg->version;
	return seg->version <= kept ? 0 : warm < seg->version - kept ? warm : seg->version - kept;
}

void stm_trim_start(struct stm_seg *seg)
{
	struct stm_trim *trim = &seg->trim;

	for (unsigned int i = 0; i < STM_TRIM_SAMPLES; i++) {
		trim->samples[i].at = trim->time;
		trim->samples[i].version = seg->version;
	}
	trim->seen = coarse_now();
	trim->was_blind = false;
	trim->began = trim->marked_from = trim->time;
	trim->credit = 0;
	for (unsigned int i = 0; trim->sweeping && i < STM_REGION_SLOTS / 64; i++)
		trim->has_marks[i] |= trim->to_visit[i];
	trim->sweeping = false;
	trim->due = trim->time + age(trim) / 4;
	if (stm_global.trim_age == UINT64_MAX || seg->strict) /* strict mode has begun with some pages */
		trim->due = UINT64_MAX;
	seg->heed &= ~STM_HEED_TRIM;
}

/* ---- what was mapped ---- */

void stm_trim_mapped(struct stm_seg *seg, size_t page, size_t first, size_t last)
{
	struct stm_trim *trim = &seg->trim;
	uint8_t mark = seg->sweeps[page];

	if (mark & STM_SWEEP_TRIMMED && (trim->number - mark) % STM_SWEEP_NUMBERS < SOON_SWEEPS)
		trim->credit -= (int64_t)(MISSED_FAULT_NS + (last - first) * MISSED_PAGE_NS);
	__builtin_memset(seg->sweeps + first, trim->number, last - first);
	for (size_t region = first / STM_REGION_PAGES; region <= (last - 1) / STM_REGION_PAGES; region++)
		trim->has_marks[region / 64 % (STM_REGION_SLOTS / 64)] |= (uint64_t)1 << region % 64;
	if (stm_in_tx(seg)) /* else a helper applies to it: the flags of @heed are the owner's */
		stm_trim_look(seg);
}

int stm_markers_empty(struct stm_seg *seg)
{
	size_t len = stm_view_pages(&seg->view) * STM_PAGE_GRANULES * MARKER_BYTES;
	int error = stm_empty(seg->read_markers, len);

	if (!error)
		error = stm_empty(seg->write_markers, len);
	seg->calls += 2;
	return error;
}

/* ---- a sweep ---- */

struct batch {
	struct stm_seg *seg;
	struct stm_page_run runs[STM_RUNS_MAX];
	unsigned int n;
};

static struct iovec markers_of(stm_marker *markers, size_t first, size_t last)
{
	return (struct iovec){ .iov_base = markers + first * STM_PAGE_GRANULES,
			       .iov_len = (last - first) * STM_PAGE_GRANULES * MARKER_BYTES };
}

static void mark_trimmed(struct stm_seg *seg, const struct stm_page_run *run)
{
	for (size_t page = run->first; page < run->last; page++)
		if (seg->view.state[page] != STM_PAGE_UNMAPPED)
			seg->sweeps[page] = seg->trim.number | STM_SWEEP_TRIMMED;
}

static void drop_batch(struct batch *batch)
{
	struct stm_seg *seg = batch->seg;
	struct stm_trim *trim = &seg->trim;
	struct iovec markers[2 * STM_RUNS_MAX];
	uint64_t before = seg->view.dropped;
	unsigned int n = 0;

	for (unsigned int i = 0; i < batch->n; i++) {
		/* Pages of markers that no other page of the heap has a part in. */
		size_t first = (batch->runs[i].first + MARKER_PAGE_PAGES - 1) / MARKER_PAGE_PAGES * MARKER_PAGE_PAGES;
		size_t last = batch->runs[i].last / MARKER_PAGE_PAGES * MARKER_PAGE_PAGES;

		mark_trimmed(seg, &batch->runs[i]);
		if (first >= last)
			continue;
		markers[n++] = markers_of(seg->read_markers, first, last);
		markers[n++] = markers_of(seg->write_markers, first, last);
	}
	STM_POINT(TRIM);
	/* What cannot be dropped stays. */
	if (batch->n)
		stm_view_drop_runs(&seg->view, batch->runs, batch->n, markers, n);
	trim->pages += seg->view.dropped - before;
	batch->n = 0;
}

static void add_run(struct batch *batch, size_t first, size_t last)
{
	if (batch->n && batch->runs[batch->n - 1].last == first) {
		batch->runs[batch->n - 1].last = last;
		return;
	}
	if (batch->n == STM_RUNS_MAX)
		drop_batch(batch);
	batch->runs[batch->n++] = (struct stm_page_run){ first, last };
}

static bool used_since(const stm_marker *markers, uint32_t warm)
{
	const stm_four_markers *four = (const stm_four_markers *)markers, limit = { warm, warm, warm, warm };

	if (STM_MUTATED(TRIM_WARM))
		return false;
	for (size_t i = 0; i < STM_PAGE_GRANULES / 4; i += 8) {
		stm_four_markers used = { 0 };

		for (size_t j = i; j < i + 8; j++)
			used |= (stm_four_markers)(four[j] >= limit);
		if (used[0] | used[1] | used[2] | used[3])
			return true;
	}
	return false;
}

/* Which of the region's pages of markers have memory: to read others would give them some. */
static void find_markers(struct stm_seg *seg, size_t first, size_t last, unsigned char *in_memory)
{
	struct iovec range = markers_of(seg->read_markers, first, last);

	seg->calls++;
	if (mincore(range.iov_base, range.iov_len, in_memory))
		__builtin_memset(in_memory, 1, STM_REGION_PAGES / MARKER_PAGE_PAGES);
}

struct visit {
	struct batch *batch;
	size_t region;                  /* its first page */
	unsigned char in_memory[STM_REGION_PAGES / MARKER_PAGE_PAGES];
};

/* Pages [first, last) are cold or not mapped. Are they worth a call: is one mapped, or do markers go with them? */
static void end_run(struct visit *visit, size_t first, size_t last, bool mapped)
{
	size_t page = (first + MARKER_PAGE_PAGES - 1) / MARKER_PAGE_PAGES * MARKER_PAGE_PAGES;

	for (; !mapped && page + MARKER_PAGE_PAGES <= last; page += MARKER_PAGE_PAGES)
		mapped = visit->in_memory[(page - visit->region) / MARKER_PAGE_PAGES] & 1;
	if (mapped)
		add_run(visit->batch, first, last);
}

/* Add the region's runs of cold pages. Returns whether pages are left. */
static bool visit_region(struct batch *batch, size_t region, uint32_t warm)
{
	struct stm_seg *seg = batch->seg;
	const struct stm_trim *trim = &seg->trim;
	size_t first = region * STM_REGION_PAGES, end = stm_view_pages(&seg->view), run = first;
	struct visit visit = { .batch = batch, .region = first };
	bool mapped = false, left = false;

	if (end > first + STM_REGION_PAGES)
		end = first + STM_REGION_PAGES;
	find_markers(seg, first, end, visit.in_memory);
	for (size_t page = first; page < end; page++) {
		if (seg->view.state[page] == STM_PAGE_UNMAPPED)
			continue;
		if ((trim->number - seg->sweeps[page]) % STM_SWEEP_NUMBERS >= MAPPED_SWEEPS &&
		    !(visit.in_memory[(page - first) / MARKER_PAGE_PAGES] & 1 &&
		      used_since(seg->read_markers + page * STM_PAGE_GRANULES, warm))) {
			mapped = true;
			continue;
		}
		end_run(&visit, run, page, mapped);
		left = true;
		mapped = false;
		run = page + 1;
	}
	end_run(&visit, run, end, mapped);
	return left;
}

/* ---- steps of a sweep ---- */

static void begin_sweep(struct stm_trim *trim)
{
	trim->sweeping = true;
	trim->began = trim->time;
	trim->number = (trim->number + 1) % STM_SWEEP_NUMBERS;
	trim->region = 0;
	for (unsigned int i = 0; i < STM_REGION_SLOTS / 64; i++) {
		trim->to_visit[i] = trim->has_marks[i];
		trim->has_marks[i] = 0;
	}
}

/* Visit regions until the credit is used. True: the sweep is complete. */
static bool step(struct stm_seg *seg, uint32_t warm)
{
	struct stm_trim *trim = &seg->trim;
	struct batch batch = { .seg = seg };
	size_t regions = (stm_view_pages(&seg->view) + STM_REGION_PAGES - 1) / STM_REGION_PAGES;
	int64_t began = cpu_now(), limit = trim->credit < STEP_NS ? trim->credit : STEP_NS, used = 0;

	for (; trim->region < regions && used < limit; trim->region++) {
		unsigned int word = trim->region / 64 % (STM_REGION_SLOTS / 64);
		uint64_t bit = (uint64_t)1 << trim->region % 64;

		if (!(trim->to_visit[word] & bit))
			continue;
		if (visit_region(&batch, trim->region, warm))
			trim->has_marks[word] |= bit;
		used = cpu_now() - began;
		seg->calls++;
	}
	drop_batch(&batch);
	used = cpu_now() - began;
	seg->calls += 2;
	trim->credit -= used;
	trim->ns += (uint64_t)used;
	return trim->region >= regions;
}

/* The age that the next sweep will go by. */
static void adapt(struct stm_seg *seg)
{
	struct stm_trim *trim = &seg->trim;

	if (is_over(seg)) {
		if (trim->halvings < HALVINGS_MAX)
			trim->halvings++;
	} else if (trim->halvings && seg->view.private < stm_global.trim_limit / 4 * 3) {
		trim->halvings--;
	}
}

void stm_trim(struct stm_seg *seg)
{
	uint64_t since = stm_record_start(seg), before = seg->trim.pages;
	struct stm_trim *trim = &seg->trim;
	uint32_t warm;

	seg->heed &= ~STM_HEED_TRIM;
	if (trim->due == UINT64_MAX || is_blind(seg))
		return;
	take_sample(seg);
	warm = oldest_warm(seg);
	while (!warm && is_over(seg) && trim->halvings < HALVINGS_MAX) { /* younger than the age */
		trim->halvings++;
		warm = oldest_warm(seg);
	}
	if (warm && !trim->sweeping && (trim->time - trim->began >= age(trim) / 2 || is_over(seg)))
		begin_sweep(trim);
	if (warm && trim->sweeping && trim->credit > 0 && step(seg, warm)) {
		trim->sweeping = false;
		trim->sweeps++;
		adapt(seg);
	}
	trim->due = trim->samples[trim->newest].at + age(trim) / 4;
	if (stm_recording(seg) && trim->pages != before)
		stm_record_since(seg, STM_EVENT_TRIM, since, trim->pages - before);
}
