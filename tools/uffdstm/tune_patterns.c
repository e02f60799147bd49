// SPDX-License-Identifier: MIT
/*
 * tune_patterns.c - first touches of a heap that another thread has filled: by the public library, under a given
 * engine and profile, while a second thread keeps its CPU busy, so that taking pages out of a view costs what it
 * costs in a parallel program.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <uffdstm.h>

#include "tune.h"

#define PAGE ((size_t)4096)
#define AREA ((size_t)16 << 20)         /* at most; one for each kind of touch: pages that are new to the view */
#define AREA_QUICK ((size_t)4 << 20)
#define SPARSE 32
#define FOREIGN_PAGES 64                /* in each of the parts */
#define FOREIGN_PARTS 8

enum area { SPARSE_AREA, DENSE_AREA, SCAN_AREA, FOREIGN_AREA, AREAS };

static size_t area_pages;
static char STM *areas[AREAS];
static unsigned int order[AREA / PAGE]; /* a permutation of their numbers */

static int fill_area(void *arg)
{
	char STM **area = arg;

	*area = stm_zalloc(area_pages * PAGE);
	return *area ? 0 : ENOMEM;
}

static void attach(void)
{
	int error = stm_thread_attach();

	if (error)
		give_up("stm_thread_attach: %s", stm_strerror(error));
}

static void *fill(void *arg)
{
	attach();
	for (unsigned int i = 0; i < AREAS; i++)
		if (stm_atomic(fill_area, &areas[i]))
			give_up("%zu MiB of heap: %s", area_pages * PAGE >> 20, errno_name(ENOMEM));
	stm_thread_detach();
	return arg;
}

/* Fisher and Yates, by xorshift64 (Marsaglia 2003): the same each time. */
static void shuffle(void)
{
	uint64_t random = 88172645463325252u;

	for (unsigned int i = 0; i < area_pages; i++) {
		unsigned int k;

		random ^= random << 13, random ^= random >> 7, random ^= random << 17;
		k = (unsigned int)(random % (i + 1));
		order[i] = order[k];
		order[k] = i;
	}
}

static __attribute__((__noinline__)) void touch(enum area area, size_t page, bool write)
{
	long STM *p = (long STM *)(areas[area] + page * PAGE);
	volatile long wrong = 0;

	STM_ATOMIC {
		if (write)
			STM_SET(*p, STM_GET(*p) + 1);
		else
			wrong = STM_GET(*p);
	}
	if (wrong)
		give_up("a heap that does not hold what was written");
}

static void touch_area(enum area area, bool write, double *ns)
{
	const size_t n = (area == SPARSE_AREA ? area_pages / SPARSE : area_pages) / PARTS;

	for (size_t part = 0; part < PARTS; part++) {
		stretch_begin();
		for (size_t i = part * n; i < (part + 1) * n; i++)
			touch(area, area == SCAN_AREA ? i : order[i], write);
		ns[part] = stretch_end() / (double)n;
	}
}

static void *write_foreign(void *arg)
{
	const size_t first = (size_t)(uintptr_t)arg;

	pin_to(0);
	attach();
	for (size_t i = first; i < first + FOREIGN_PAGES; i++)
		touch(FOREIGN_AREA, i, true);
	stm_thread_detach();
	return NULL;
}

/* One that has read pages, and finds at its next begin that another thread wrote to each of them. */
static double foreign(size_t first)
{
	for (size_t i = first; i < first + FOREIGN_PAGES; i++)
		touch(FOREIGN_AREA, i, false);
	in_thread(write_foreign, (void *)(uintptr_t)first);
	stretch_begin();
	touch(SCAN_AREA, 0, false);
	return stretch_end() / FOREIGN_PAGES;
}

static void *run(void *arg)
{
	struct pattern_run *costs = arg;

	pin_to(0);
	attach();
	touch_area(SPARSE_AREA, false, costs->ns[SPARSE_READ]);
	touch_area(DENSE_AREA, false, costs->ns[DENSE_READ]);
	touch_area(SCAN_AREA, false, costs->ns[SCAN_READ]);
	for (size_t part = 0; part < PARTS; part++)
		costs->ns[FOREIGN][part] = part < FOREIGN_PARTS ? foreign(part * area_pages / FOREIGN_PARTS) :
								  costs->ns[FOREIGN][part % FOREIGN_PARTS];
	stm_thread_detach();
	attach();
	touch_area(SPARSE_AREA, true, costs->ns[SPARSE_WRITE]);
	touch_area(DENSE_AREA, true, costs->ns[DENSE_WRITE]);
	touch_area(SCAN_AREA, true, costs->ns[SCAN_WRITE]);
	stm_thread_detach();
	return NULL;
}

void measure_patterns(const struct task *task, void *result)
{
	area_pages = (task->quick ? AREA_QUICK : AREA) / PAGE;
	start_library(task, 2 * AREAS * area_pages * PAGE);
	shuffle();
	in_thread(fill, NULL);
	if (task->second)
		second_start();
	in_thread(run, result);
	if (task->second)
		second_stop();
}
