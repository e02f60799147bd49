// SPDX-License-Identifier: MIT
/*
 * tune_pages.c - what one page event costs: on a view, by the library's own page component (uffd/).
 *
 * A round measures each event on the same 512 pages, one by one; a figure is the median of the rounds' medians, so
 * that it does not matter if the CPU is with somebody else for a while.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../uffd/engine.h"
#include "../../uffd/fault.h"
#include "../../uffd/view.h"
#include "tune.h"

#define PAGES STM_REGION_PAGES
#define WAIT_NS ((uint64_t)20 * 1000000) /* for the second thread, in each series: on a quiet machine it always runs */

static struct stm_view view;
static uint8_t *base, *heap, states[PAGES];

/* As lib/pages.c would, with clusters of one page. */
static bool resolve(const struct stm_fault *fault)
{
	size_t page = (fault->address - (uintptr_t)heap) / STM_PAGE;
	int error = 0;

	if (fault->address < (uintptr_t)heap || page >= PAGES)
		return false;
	if (!fault->write)
		return view.state[page] != STM_PAGE_UNMAPPED || !stm_view_share(&view, page, page + 1);
	if (view.state[page] == STM_PAGE_SHARED)
		error = stm_view_drop(&view, page, page + 1);
	return !error && !stm_view_copy(&view, page, page + 1);
}

static void open_view(const char *engine)
{
	int memfd = memfd_create("tune", MFD_CLOEXEC), error;

	if (memfd < 0 || ftruncate(memfd, PAGES * STM_PAGE))
		give_up("a memfd of %zu bytes: %s", PAGES * STM_PAGE, errno_name(errno));
	base = mmap(NULL, PAGES * STM_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, memfd, 0);
	heap = stm_reserve(PAGES * STM_PAGE);
	if (base == MAP_FAILED || !heap)
		give_up("mmap of %zu bytes: %s", PAGES * STM_PAGE, errno_name(errno));
	memset(base, 1, PAGES * STM_PAGE);
	error = stm_engine_open(engine, NULL, NULL, resolve);
	if (!error)
		error = stm_fault_install(resolve);
	if (!error)
		error = stm_view_open(&view, heap, states, base, memfd);
	if (!error)
		error = stm_view_grow(&view, PAGES);
	if (error)
		give_up("a view: %s", errno_name(error));
}

/* ---- events ---- */

typedef int view_event(struct stm_view *view, size_t first, size_t last);

static void do_event(view_event *event, size_t first, size_t last)
{
	int error = event(&view, first, last);

	if (error)
		give_up("an event of a page: %s", errno_name(error));
}

static bool with_second;
static double samples[2 * PAGES];       /* those that count, and from PAGES on the others */
static size_t counted;                  /* of the first kind */
static uint64_t sample_turns, give_up_waiting;
static size_t all_counted, all_series;  /* of a round */

/* Until the second thread has its CPU: the time. */
static uint64_t wait_for_second(void)
{
	uint64_t now = now_ns();

	sample_turns = second_turns();
	while (with_second && sample_turns == second_turns() && now < give_up_waiting)
		now = now_ns();
	sample_turns = second_turns();
	return now_ns();
}

/* Samples are taken from now on: the time. */
static uint64_t start_samples(void)
{
	counted = 0;
	give_up_waiting = now_ns() + WAIT_NS;
	return wait_for_second();
}

/* The time since @start, and now. */
static uint64_t sample(size_t page, uint64_t start)
{
	uint64_t now = now_ns(), turns = second_turns();

	if (with_second && turns == sample_turns) {
		samples[PAGES + page - counted] = (double)(now - start);
		return wait_for_second();
	}
	samples[counted++] = (double)(now - start);
	sample_turns = turns;
	return now;
}

/* Too few that count: the CPU of the second thread was with somebody else, and this is the best that there is. */
static double median_sample(void)
{
	all_counted += counted;
	all_series++;
	if (counted < PAGES / 16) {
		memmove(samples + counted, samples + PAGES, (PAGES - counted) * sizeof(samples[0]));
		counted = PAGES;
	}
	return median_of(samples, (unsigned int)counted);
}

static double one_by_one(view_event *event)
{
	uint64_t start = start_samples();

	for (size_t page = 0; page < PAGES; page++) {
		do_event(event, page, page + 1);
		start = sample(page, start);
	}
	return median_sample();
}

static double at_once(view_event *event)
{
	uint64_t start = now_ns();

	do_event(event, 0, PAGES);
	return (double)(now_ns() - start) / PAGES;
}

static double loads(void)
{
	uint64_t start = start_samples();

	for (size_t page = 0; page < PAGES; page++) {
		if (*(volatile uint8_t *)(heap + page * STM_PAGE) != 1)
			give_up("a view that does not show its base");
		start = sample(page, start);
	}
	return median_sample();
}

static double stores(void)
{
	uint64_t start = start_samples();

	for (size_t page = 0; page < PAGES; page++) {
		*(volatile uint8_t *)(heap + page * STM_PAGE) = 1;
		start = sample(page, start);
	}
	return median_sample();
}

static double copies(void)
{
	static uint8_t to[PAGES * STM_PAGE];
	uint64_t start = start_samples();

	for (size_t page = 0; page < PAGES; page++) {
		memcpy(to + page * STM_PAGE, base + page * STM_PAGE, STM_PAGE);
		__asm__ __volatile__("" : : "r"(to) : "memory");
		start = sample(page, start);
	}
	return median_sample();
}

static void clear(void)
{
	stm_view_collect(&view, 0, PAGES); /* by engine async stores come unseen */
	do_event(stm_view_drop, 0, PAGES);
}

static void measure_round(struct page_costs *costs)
{
	all_counted = all_series = 0;
	costs->one[EVENT_FAULT] = loads();
	costs->one[EVENT_STORE] = stores();
	clear();
	costs->one[EVENT_COPY] = one_by_one(stm_view_copy);
	costs->one[EVENT_PROTECT] = one_by_one(stm_view_guard);
	do_event(stm_view_unguard, 0, PAGES);
	costs->one[EVENT_ZAP] = one_by_one(stm_view_drop);
	costs->one[EVENT_CONTINUE] = one_by_one(stm_view_share);
	clear();
	costs->bulk[EVENT_CONTINUE] = at_once(stm_view_share);
	clear();
	costs->bulk[EVENT_COPY] = at_once(stm_view_copy);
	costs->bulk[EVENT_PROTECT] = at_once(stm_view_guard);
	do_event(stm_view_unguard, 0, PAGES);
	costs->bulk[EVENT_ZAP] = at_once(stm_view_drop);
	costs->page_copy = copies();
	costs->together = (double)all_counted / (double)(all_series * PAGES);
}

/* ---- rounds ---- */

static double median_at(const struct page_costs *rounds, unsigned int n, size_t offset)
{
	double values[ROUNDS_MAX];

	for (unsigned int i = 0; i < n; i++)
		values[i] = *(const double *)((const char *)&rounds[i] + offset);
	return median_of(values, n);
}

void measure_pages(const struct task *task, void *result)
{
	struct page_costs rounds[ROUNDS_MAX], *costs = result;
	const unsigned int n = task->quick ? 3 : ROUNDS_MAX;

	open_view(task->engine); /* and the engine's thread, which is pinned nowhere */
	pin_to(0);
	with_second = task->second;
	if (task->second)
		second_start();
	measure_round(&rounds[0]); /* warms up */
	memset(rounds, 0, sizeof(rounds));
	for (unsigned int i = 0; i < n; i++)
		measure_round(&rounds[i]);
	for (size_t offset = 0; offset < sizeof(*costs); offset += sizeof(double))
		*(double *)((char *)costs + offset) = median_at(rounds, n, offset);
	if (task->second)
		second_stop();
}
