// SPDX-License-Identifier: MIT
/*
 * names.c - stm_stats_by_name(): what transactions did, by name or place.
 *
 *   Tables     one of each segment, by the address of the site: written by its thread, read by anybody, so no line is
 *              shared. What is in a table stays until stm_fini(); names are put together when somebody asks.
 *   Write set  what is in the entry that is published: exact.
 *   Read set   the markers know it, but they must be looked through: so it is looked at for some commits only, the
 *              first, the third, the seventh and so on, then one in 1,024, and for at most a percent of the time.
 *   Time lost  a clock reading costs as much as a small transaction. So begins are timed only while attempts fail:
 *              the first ones of a site, those after an abort, and each attempt but the first. A first one that fails
 *              and was not timed counts as long as the next one.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "names.h"
#include "task_site.h"

#define BUCKETS 64u                     /* programs have some dozens of sites */
#define TIMED 64u                       /* transactions that are timed to begin with, and after an abort */
#define GAP_MOST 1024u                  /* commits from one look at the read set to the next, on the average */
#define GAP_RETRY 32u                   /* until the next one is allowed */
#define LOOK_SHARE 100u                 /* one part in so many of the time goes into looks */
#define LOOK_PAGES 16384u               /* of a view that are looked at; of a larger one only some are */
#define RATE_NS ((uint64_t)1000000)     /* a rate good to a thousandth */

/* Of one site, in one segment. */
struct count {
	struct count *next;             /* in the bucket; set before it is there */
	const struct stm_site *key;
	struct stm_site site;           /* a copy: what holds the original may be unloaded */
	stm_fn *task;

	/* Written by the owner, read by anybody. */
	uint64_t commits, read_only, aborts[STM_ABORT_REASONS], attempts_most;
	uint64_t written, written_most; /* granules */
	uint64_t looks, read, read_most; /* likewise */
	uint64_t lost, waited;          /* ticks */

	/* The owner's. */
	uint32_t to_time;               /* transactions yet to be timed */
	uint32_t to_look;               /* commits until the read set is looked at */
	uint32_t gap;
	char text[];
};

/* Of one segment. */
struct stm_counts {
	_Atomic(struct count *) buckets[BUCKETS];

	/* The owner's. */
	struct count *now;              /* of the transaction that runs, if STM_ATTEND_NAMES is set */
	uint64_t begun;                 /* ticks; 0: not timed */
	uint64_t aborted;               /* when the attempt before this one ended; 0: that does not count */
	bool owes;                      /* it was not timed */
	uint64_t written;               /* granules, by the attempt that commits */
	uint64_t look_due;              /* ticks: no look before */
	uint32_t random;
};

static bool all;
static uint64_t open_ticks, open_ns;

bool stm_names_all(void)
{
	return all;
}

/* ---- tables ---- */

static struct stm_counts *counts_of(struct stm_seg *seg)
{
	struct stm_counts *counts = atomic_load_explicit(&seg->counts, memory_order_relaxed); /* our own */

	if (likely(counts))
		return counts;
	counts = calloc(1, sizeof(*counts));
	if (!counts)
		return NULL;
	counts->random = seg->id * 2654435761u + 1;
	/* Pairs with the acquire of who asks. */
	atomic_store_explicit(&seg->counts, counts, memory_order_release);
	return counts;
}

static const char *copy_text(char **to, const char *from)
{
	const char *copy = *to;

	if (!from)
		return NULL;
	*to = stpcpy(*to, from) + 1;
	return copy;
}

static size_t length(const char *text)
{
	return text ? strlen(text) + 1 : 0;
}

static struct count *new_count(const struct stm_site *site)
{
	size_t bytes = length(site->file) + length(site->function) + length(site->name);
	struct count *count = calloc(1, sizeof(*count) + bytes);
	char *text;

	if (!count)
		return NULL;
	text = count->text;
	count->key = site;
	count->site.file = copy_text(&text, site->file);
	count->site.function = copy_text(&text, site->function);
	count->site.line = site->line;
	count->site.name = copy_text(&text, site->name);
	count->task = stm_task_of(site);
	count->to_time = TIMED;
	count->to_look = count->gap = 1;
	return count;
}

/* NULL: no memory. */
static __attribute__((__noinline__)) struct count *find(struct stm_counts *counts, const struct stm_site *site)
{
	_Atomic(struct count *) *bucket = &counts->buckets[(uint64_t)(uintptr_t)site * 0x9e3779b97f4a7c15u >> 58];
	struct count *count = atomic_load_explicit(bucket, memory_order_relaxed);

	for (; count; count = count->next)
		if (count->key == site)
			return count;
	count = new_count(site);
	if (!count)
		return NULL;
	count->next = atomic_load_explicit(bucket, memory_order_relaxed);
	/* Pairs with the acquire of who asks. */
	atomic_store_explicit(bucket, count, memory_order_release);
	return count;
}

/* ---- the read set ---- */

static uint64_t count_marked(const stm_marker *marker, uint32_t first, uint32_t span)
{
	uint64_t n = 0;

	for (size_t i = 0; i < STM_PAGE_GRANULES; i++)
		n += marker[i] - first <= span;
	return n;
}

/* Granules that the transaction has read or written. Its versions are still the current ones. */
static uint64_t count_read(const struct stm_seg *seg, uint32_t random)
{
	const struct stm_view *view = &seg->view;
	size_t pages = stm_view_pages(view);
	size_t stride = (view->shared + view->private) / LOOK_PAGES + 1, skip = random % stride;
	uint64_t n = 0;

	for (size_t page = 0; page < pages; page++) {
		if (page % STM_REGION_PAGES == 0 && !stm_view_has_region(view, page / STM_REGION_PAGES)) {
			page += STM_REGION_PAGES - 1;
			continue;
		}
		/* Not mapped: not read. Its markers are not touched, or they would be mapped. */
		if (view->state[page] == STM_PAGE_UNMAPPED || skip-- > 0)
			continue;
		skip = stride - 1;
		n += count_marked(seg->read_markers + page * STM_PAGE_GRANULES, seg->version - seg->span, seg->span);
	}
	return n * stride;
}

static uint32_t draw(struct stm_counts *counts)
{
	counts->random = counts->random * 1664525u + 1013904223u; /* Knuth, vol. 2, 3.3.4 */
	return counts->random >> 8;
}

static __attribute__((__noinline__)) void look(struct stm_seg *seg, struct stm_counts *counts)
{
	struct count *count = counts->now;
	uint64_t began = stm_ticks(), n;

	count->to_look = GAP_RETRY;
	if (count->looks && began < counts->look_due)
		return;
	n = count_read(seg, draw(counts));
	if (n < counts->written) /* an estimate */
		n = counts->written;
	count->looks++;
	count->read += n;
	if (n > count->read_most)
		count->read_most = n;
	if (count->gap < GAP_MOST)
		count->gap *= 2;
	count->to_look = count->gap < GAP_MOST ? count->gap : 1 + draw(counts) % (2 * GAP_MOST - 1);
	n = stm_ticks();
	counts->look_due = n + (n - began) * LOOK_SHARE;
}

/* ---- transactions ---- */

const struct stm_site *stm__named(const struct stm_site *site)
{
	struct stm_seg *seg = stm__self;

	if (likely(seg) && !stm_in_tx(seg))
		seg->heed |= STM_HEED_NAMES;
	return site;
}

void stm_names_begin(struct stm_seg *seg)
{
	struct stm_counts *counts = counts_of(seg);
	const struct stm_site *site = stm_site_of(seg);
	struct count *count;

	if (!all)
		seg->heed &= ~STM_HEED_NAMES;
	if (unlikely(!counts))
		return;
	count = counts->now;
	if (unlikely(!count || count->key != site)) {
		count = counts->now = find(counts, site);
		if (!count)
			return;
	}
	seg->attention |= STM_ATTEND_NAMES;
	counts->written = counts->begun = 0;
	if (unlikely(seg->attempt)) {
		counts->begun = stm_ticks();
		if (counts->aborted)
			count->waited += counts->begun - counts->aborted;
	} else {
		counts->owes = false;
		if (unlikely(count->to_time)) {
			count->to_time--;
			counts->begun = stm_ticks();
		}
	}
	counts->aborted = 0;
}

void stm_names_written(struct stm_seg *seg)
{
	struct stm_counts *counts = atomic_load_explicit(&seg->counts, memory_order_relaxed);
	size_t bytes = (size_t)(seg->tail - (const uint8_t *)(seg->entry + 1));

	counts->written = (bytes - seg->runs * sizeof(struct stm_run)) / STM_GRANULE;
}

void stm_names_committed(struct stm_seg *seg)
{
	struct stm_counts *counts = atomic_load_explicit(&seg->counts, memory_order_relaxed);
	struct count *count = counts->now;

	if (counts->written) {
		count->commits++;
		count->written += counts->written;
		if (counts->written > count->written_most)
			count->written_most = counts->written;
	} else {
		count->read_only++;
	}
	if (unlikely(seg->attempt >= count->attempts_most))
		count->attempts_most = seg->attempt + 1;
	if (unlikely(counts->owes)) {
		count->lost += stm_ticks() - counts->begun;
		counts->owes = false;
	}
	if (unlikely(!--count->to_look))
		look(seg, counts);
}

void stm_names_aborted(struct stm_seg *seg, enum stm_abort_reason reason)
{
	struct stm_counts *counts = atomic_load_explicit(&seg->counts, memory_order_relaxed);
	struct count *count = counts->now;
	uint64_t now = stm_ticks(), length = counts->begun ? now - counts->begun : 0;

	count->aborts[reason]++;
	if (seg->attempt >= count->attempts_most)
		count->attempts_most = seg->attempt + 1;
	if (counts->owes)
		count->lost += length;
	counts->owes = false;
	if (reason == STM_ABORT_CANCEL || reason == STM_ABORT_EXIT)
		return;
	seg->heed |= STM_HEED_NAMES; /* the next attempt comes without stm__named() */
	if (reason == STM_ABORT_RETRY) /* it had nothing to do yet */
		return;
	count->lost += length;
	counts->owes = !counts->begun;
	counts->aborted = now;
	count->to_time = TIMED;
}

/* ---- for who asks ---- */

/* The sums of one name, or place. */
struct sum {
	struct stm_name_stats stats;
	uint64_t written, read;         /* granules */
	double lost, waited;            /* ticks */
};

struct sums {
	struct sum *sums;
	size_t n, cap;
};

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

/* An inline function has a site in each file that includes it. */
static bool belongs(const struct count *count, const struct stm_name_stats *stats)
{
	const struct stm_site *a = &count->site, *b = stats->site;

	if (a->name || b->name)
		return same_text(a->name, b->name);
	return a->line == b->line && count->task == stats->task && same_text(a->function, b->function) &&
	       same_text(a->file, b->file);
}

/* NULL: no memory. */
static struct sum *sum_for(struct sums *sums, const struct count *count)
{
	struct sum *more;

	for (size_t i = 0; i < sums->n; i++)
		if (belongs(count, &sums->sums[i].stats))
			return &sums->sums[i];
	if (sums->n == sums->cap) {
		more = realloc(sums->sums, (sums->cap * 2 + 16) * sizeof(*more));
		if (!more)
			return NULL;
		sums->sums = more;
		sums->cap = sums->cap * 2 + 16;
	}
	more = &sums->sums[sums->n++];
	*more = (struct sum){ .stats = { .name = count->site.name, .site = &count->site, .task = count->task } };
	return more;
}

/* Its thread counts on meanwhile. */
static uint64_t of(const uint64_t *figure)
{
	return __atomic_load_n(figure, __ATOMIC_RELAXED);
}

static void most(uint64_t *of_all, uint64_t n)
{
	*of_all = n > *of_all ? n : *of_all;
}

static void add(struct sum *sum, const struct count *count)
{
	struct stm_name_stats *s = &sum->stats;

	s->commits += of(&count->commits);
	s->commits_read_only += of(&count->read_only);
	for (unsigned int i = 0; i < STM_ABORT_REASONS; i++)
		s->aborts[i] += of(&count->aborts[i]);
	most(&s->attempts_most, of(&count->attempts_most));
	sum->written += of(&count->written);
	most(&s->write_set_most, of(&count->written_most));
	s->read_set_samples += of(&count->looks);
	sum->read += of(&count->read);
	most(&s->read_set_most, of(&count->read_most));
	sum->lost += (double)of(&count->lost);
	sum->waited += (double)of(&count->waited);
}

static bool add_segment(struct sums *sums, struct stm_seg *seg)
{
	/* Both pair with the owner's release. */
	struct stm_counts *counts = atomic_load_explicit(&seg->counts, memory_order_acquire);

	for (unsigned int i = 0; counts && i < BUCKETS; i++)
		for (const struct count *count = atomic_load_explicit(&counts->buckets[i], memory_order_acquire); count;
		     count = count->next) {
			struct sum *sum = sum_for(sums, count);

			if (!sum)
				return false;
			add(sum, count);
		}
	return true;
}

static double ns_per_tick(void)
{
	uint64_t ticks, ns;

	stm_clock_pair(&ticks, &ns);
	if (ns - open_ns < RATE_NS)
		return 1e9 / (double)stm_clock_rate();
	return (double)(ns - open_ns) / (double)(ticks - open_ticks);
}

static void finish(struct sums *sums)
{
	double rate = ns_per_tick();

	for (size_t i = 0; i < sums->n; i++) {
		struct sum *sum = &sums->sums[i];
		struct stm_name_stats *s = &sum->stats;

		s->write_set_mean = s->commits ? (double)sum->written / (double)s->commits : 0;
		s->read_set_mean = s->read_set_samples ? (double)sum->read / (double)s->read_set_samples : 0;
		s->lost_ns = (uint64_t)(sum->lost * rate);
		s->waited_ns = (uint64_t)(sum->waited * rate);
	}
}

static int by_time(const void *a, const void *b)
{
	const struct stm_name_stats *x = &((const struct sum *)a)->stats, *y = &((const struct sum *)b)->stats;
	uint64_t n = x->commits + x->commits_read_only, m = y->commits + y->commits_read_only;

	if (x->lost_ns != y->lost_ns)
		return x->lost_ns > y->lost_ns ? -1 : 1;
	return n > m ? -1 : n < m;
}

int stm_stats_by_name(struct stm_name_stats *stats, size_t n, size_t size)
{
	struct sums sums = { NULL, 0, 0 };
	int result;

	stm_stop_if_forked("stm_stats_by_name");
	if ((!stats && n) || !size)
		return -EINVAL;
	if (!stm_global.ready)
		return -ENXIO;
	for (unsigned int i = 0; i < atomic_load_explicit(&stm_global.segments_n, memory_order_acquire); i++)
		if (!add_segment(&sums, stm_global.segments[i])) {
			free(sums.sums);
			return -ENOMEM;
		}
	if (sums.n) {
		finish(&sums);
		qsort(sums.sums, sums.n, sizeof(*sums.sums), by_time);
	}
	for (size_t i = 0; i < sums.n && i < n; i++) {
		void *to = (char *)stats + i * size;

		memset(to, 0, size);
		memcpy(to, &sums.sums[i].stats, size < sizeof(*stats) ? size : sizeof(*stats));
	}
	result = (int)sums.n;
	free(sums.sums);
	return result;
}

/* ---- up and down ---- */

int stm_names_open(bool unnamed)
{
	const char *text = secure_getenv("UFFDSTM_STATS");

	all = unnamed;
	if (text && *text && !unnamed) {
		if ((*text != '0' && *text != '1') || text[1]) {
			stm_complain("UFFDSTM_STATS=%s (EINVAL): 0 or 1", text);
			return -EINVAL;
		}
		all = *text == '1';
	}
	stm_clock_open();
	stm_clock_pair(&open_ticks, &open_ns);
	return 0;
}

void stm_names_close(struct stm_seg *seg)
{
	struct stm_counts *counts = atomic_load_explicit(&seg->counts, memory_order_relaxed);

	for (unsigned int i = 0; counts && i < BUCKETS; i++)
		for (struct count *count = counts->buckets[i], *next; count; count = next) {
			next = count->next;
			free(count);
		}
	free(counts);
}
