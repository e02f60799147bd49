/* SPDX-License-Identifier: MIT */
/*
 * pages_model.h - what the table of DESIGN section 5 says about the pages of a segment, in plain memory: for
 * pages_model_test.
 */
#ifndef STM_SELFTESTS_PAGES_MODEL_H
#define STM_SELFTESTS_PAGES_MODEL_H

#include <string.h>

#include "internal.h"

#define PAGES 1024u                     /* of the window: whole clusters, whatever their size */
#define WORDS 4u                        /* granules that are used of each page */
#define COMMITS 20000u                  /* at most, in one run */
#define RECENT 1000u                    /* versions: what the library means by "used lately" */
#define WARM 20u                        /* versions: pages used in these are not trimmed */
#define SWEEPS 3u                       /* nor are those mapped since as many */

/* ---- the model ---- */

struct change {
	uint16_t page;
	uint8_t k;
	uint64_t value;
};

struct commit {
	struct change changes[32];
	unsigned int n;
};

struct model {
	bool attached, parked, running;
	uint64_t snapshot;
	uint8_t state[PAGES];
	bool reclaimed[PAGES];          /* SHARED, but the kernel has taken it */
	bool stored[PAGES];             /* SHARED, but the kernel has made a copy for a store: engine async */
	uint64_t private[PAGES][WORDS];
	uint32_t used[PAGES];           /* version of the last barrier; 0: none */
	uint32_t read_in[PAGES][WORDS]; /* the same for each granule */
	uint32_t sweep, mapped_in[PAGES]; /* the number of sweeps when it was mapped, or copied */
	uint64_t trimmed;
	uint64_t faults[STM_FAULT_KINDS];

	/* The running transaction. */
	struct change old[32];          /* old values, in order of first write */
	unsigned int writes;
};

static struct commit history[COMMITS];
static uint64_t tail;
static struct model models[STM_SEGMENTS_LIMIT]; /* by segment: they outlive their threads */
static size_t cluster;
static bool async;

/* The committed value at a position, by looking back. */
static uint64_t value_at(size_t page, size_t k, uint64_t position)
{
	while (position--)
		for (unsigned int i = history[position].n; i--;)
			if (history[position].changes[i].page == page && history[position].changes[i].k == k)
				return history[position].changes[i].value;
	return 0;
}

/* All values at a position, kept for the last one asked for. */
struct picture {
	uint64_t position;
	uint64_t values[PAGES][WORDS];
};

static const struct picture *picture_at(struct picture *p, uint64_t position)
{
	if (position < p->position)
		memset(p, 0, sizeof(*p));
	for (; p->position < position; p->position++)
		for (unsigned int i = 0; i < history[p->position].n; i++) {
			const struct change *c = &history[p->position].changes[i];

			p->values[c->page][c->k] = c->value;
		}
	return p;
}

/* Pages of the cluster of @page that hang together with it in one state. */
static void neighbours(const struct model *m, size_t page, uint8_t state, size_t *first, size_t *last)
{
	size_t low = page - page % cluster;

	for (*first = page; *first > low && m->state[*first - 1] == state; --*first)
		;
	for (*last = page + 1; *last < low + cluster && m->state[*last] == state; ++*last)
		;
}

static void fill_private(struct model *m, size_t page)
{
	for (size_t k = 0; k < WORDS; k++)
		m->private[page][k] = value_at(page, k, m->snapshot);
	m->state[page] = STM_PAGE_PRIVATE;
	m->reclaimed[page] = false;
}

static bool touched_since(size_t page, uint64_t from, uint64_t to)
{
	for (; from < to; from++)
		for (unsigned int i = 0; i < history[from].n; i++)
			if (history[from].changes[i].page == page)
				return true;
	return false;
}

static void map_unmapped(struct model *m, size_t page, bool write, uint64_t folded)
{
	size_t first, last;

	neighbours(m, page, STM_PAGE_UNMAPPED, &first, &last);
	for (; first < last; first++) {
		if (write || touched_since(first, folded, m->snapshot))
			fill_private(m, first);
		else
			m->state[first] = STM_PAGE_SHARED;
		m->mapped_in[first] = m->sweep;
	}
}

/* Stores that made no fault are found. */
static bool collect(struct model *m, size_t first, size_t last)
{
	bool found = false;

	for (; first < last; first++)
		if (m->stored[first]) {
			m->stored[first] = false;
			m->state[first] = STM_PAGE_PRIVATE;
			m->faults[STM_FAULT_PROTECT]++;
			found = true;
		}
	return found;
}

static void make_shared_private(struct model *m, size_t page)
{
	size_t first, last;

	neighbours(m, page, STM_PAGE_SHARED, &first, &last);
	if (collect(m, first, last)) {
		if (m->state[page] == STM_PAGE_PRIVATE)
			return;
		neighbours(m, page, STM_PAGE_SHARED, &first, &last);
	}
	for (; first < last; first++) {
		fill_private(m, first);
		m->mapped_in[first] = m->sweep;
	}
}

static void make_private(struct model *m, size_t page, uint64_t folded)
{
	if (m->state[page] == STM_PAGE_UNMAPPED)
		map_unmapped(m, page, true, folded);
	else if (m->state[page] == STM_PAGE_SHARED)
		make_shared_private(m, page);
}

/* @version: of the segment at that time. */
static void advance(struct model *m, uint64_t to, uint32_t version)
{
	for (; m->snapshot < to; m->snapshot++)
		for (unsigned int i = 0; i < history[m->snapshot].n; i++) {
			const struct change *c = &history[m->snapshot].changes[i];
			uint8_t *state = &m->state[c->page];

			if (*state == STM_PAGE_SHARED && !collect(m, c->page, c->page + 1U)) {
				if (m->used[c->page] && version - m->used[c->page] < RECENT) {
					make_shared_private(m, c->page);
				} else {
					*state = STM_PAGE_UNMAPPED;
					m->reclaimed[c->page] = false;
				}
			}
			if (*state == STM_PAGE_PRIVATE)
				m->private[c->page][c->k] = c->value;
		}
}

/* When it sleeps, or detaches: all pages go, and all markers. */
static void drop_all(struct model *m)
{
	collect(m, 0, PAGES);
	memset(m->state, STM_PAGE_UNMAPPED, sizeof(m->state));
	memset(m->reclaimed, 0, sizeof(m->reclaimed));
	memset(m->used, 0, sizeof(m->used));
}

/* What trim does to a segment of this version. */
static void trim(struct model *m, uint32_t version)
{
	uint32_t warm = version > WARM ? version - WARM : 0;

	if (!warm)
		return;
	m->sweep++;
	for (size_t group = 0; group < PAGES; group += 4) { /* whose markers are one page */
		bool left = false;

		for (size_t page = group; page < group + 4; page++) {
			if (m->state[page] == STM_PAGE_UNMAPPED)
				continue;
			if (m->used[page] >= warm || m->sweep - m->mapped_in[page] < SWEEPS) {
				left = true;
				continue;
			}
			m->state[page] = STM_PAGE_UNMAPPED;
			m->reclaimed[page] = m->stored[page] = false;
			m->trimmed++;
		}
		if (!left)
			memset(m->used + group, 0, 4 * sizeof(*m->used));
	}
}

static bool is_doomed(const struct model *m, uint32_t version)
{
	for (uint64_t p = m->snapshot; p < tail; p++)
		for (unsigned int i = 0; i < history[p].n; i++) {
			const struct change *c = &history[p].changes[i];

			if (m->read_in[c->page][c->k] == version)
				return true;
		}
	return false;
}

static void undo(struct model *m)
{
	while (m->writes) {
		const struct change *old = &m->old[--m->writes];

		m->private[old->page][old->k] = old->value;
	}
	m->running = false;
}

static void use(struct model *m, size_t page, size_t k, uint32_t version)
{
	m->used[page] = version;
	m->read_in[page][k] = version;
}

#endif
