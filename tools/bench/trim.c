/* SPDX-License-Identifier: MIT */
/*
 * trim.c - what threads keep in memory whose working sets move
 *
 * Each thread changes pages of its window, 1 % of the heap, and after some thousand transactions takes another window. First
 * without trim, which also tells how long a window is in use; then with an age of a quarter of that time; then with the usual
 * age, in which a thread uses many windows, and a limit of private pages.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uffdstm.h>

#include "bench.h"

#define MIB ((size_t)1 << 20)
#define PAGE ((size_t)4096)
#define HEAP (1024 * MIB)
#define BLOCK (16 * MIB)
#define PAGES (HEAP / PAGE)
#define THREADS 16u
#define WINDOW (PAGES / 100)
#define WINDOWS 12u             /* that a thread uses; without trim all of them stay: 15 MiB each, with their markers */
#define TRANSACTIONS 50000u    /* in each, after one for each page */
#define LIMIT (2 * WINDOW)
#define SAMPLE_US 20000
#define BAR 1.5

/* One granule of each page for each thread, so that none conflicts. */
struct page {
	struct {
		_Alignas(16) long changes;
	} cells[THREADS];
};

static char STM *blocks[HEAP / BLOCK];
static _Atomic unsigned int windows_used, threads_done;
static _Atomic uint64_t changes;

static __attribute__((__noinline__)) struct page STM *page_at(size_t page)
{
	return (struct page STM *)(blocks[page / (BLOCK / PAGE)] + page % (BLOCK / PAGE) * PAGE);
}

static int fill_block(void *arg)
{
	char STM **block = arg;

	*block = stm_zalloc(BLOCK);
	return *block ? 0 : -ENOMEM;
}

static void *fill(void *arg)
{
	thread_attach();
	for (size_t i = 0; i < HEAP / BLOCK; i++)
		if (stm_atomic(fill_block, &blocks[i]))
			die("stm_zalloc of %zu bytes: %m", BLOCK);
	stm_thread_detach();
	return arg;
}

static void change(size_t page, unsigned int thread)
{
	STM_ATOMIC {
		struct page STM *p = page_at(page);

		STM_SET(p->cells[thread].changes, STM_GET(p->cells[thread].changes) + 1);
	}
}

static void *work(void *arg)
{
	const unsigned int thread = (unsigned int)(uintptr_t)arg;
	uint64_t random = random_seed(thread);

	thread_attach();
	for (unsigned int i = 0; i < WINDOWS; i++) {
		const size_t first = random_below(random_next(&random), PAGES - WINDOW);

		for (size_t page = first; page < first + WINDOW; page++)
			change(page, thread);
		for (unsigned int k = 0; k < TRANSACTIONS; k++)
			change(first + random_below(random_next(&random), WINDOW), thread);
		atomic_fetch_add(&changes, WINDOW + TRANSACTIONS);
		atomic_fetch_add(&windows_used, 1);
	}
	atomic_fetch_add(&threads_done, 1);
	stm_thread_detach();
	return NULL;
}

/* Every change is there, once: no barriers, since nothing else runs and nothing is written. */
static void *check(void *arg)
{
	volatile uint64_t sum = 0;

	thread_attach();
	STM_ATOMIC {
		uint64_t found = 0;

		for (size_t page = 0; page < PAGES; page++)
			for (unsigned int i = 0; i < THREADS; i++)
				found += (uint64_t)((volatile struct page STM *)page_at(page))->cells[i].changes;
		sum = found;
	}
	stm_thread_detach();
	if (sum != changes)
		die("%llu changes were made, %llu are found", (unsigned long long)changes, (unsigned long long)sum);
	return arg;
}

static void in_thread(void *(*fn)(void *arg), void *arg)
{
	pthread_t thread;
	const int ret = pthread_create(&thread, NULL, fn, arg);

	if (ret)
		die("pthread_create: %s", strerror(ret));
	pthread_join(thread, NULL);
}

/* A figure of a file below /proc/self, kB, as MiB. */
static double figure(const char *path, const char *name)
{
	FILE *f = fopen(path, "re");
	unsigned long long kib = 0;
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)))
			kib = strtoull(line + strlen(name), NULL, 10);
	if (f)
		fclose(f);
	if (!kib)
		die("%s: no %s", path, name);
	return (double)kib / 1024;
}

/* Anonymous memory is copies of pages, markers, log; the rest is the heap itself, all of which is there from the start. */
static double resident(void)
{
	struct stm_stats stats;

	stm_stats(&stats, sizeof(stats));
	return figure("/proc/self/status", "RssAnon:") + (double)stats.heap_bytes / (double)MIB;
}

enum how { NEVER, BY_AGE, BY_LIMIT, HOWS };

static const char *const names[HOWS] = { "without trim", "by age", "by limit" };

struct course {
	double most[WINDOWS];   /* MiB, by windows that all threads together have used up, of THREADS each */
	double all, heap, tables;
	double ms;              /* a window is in use */
	struct stm_stats stats, at_most;
};

static void watch(struct course *c)
{
	while (atomic_load(&threads_done) < THREADS) {
		const unsigned int at = atomic_load(&windows_used) / THREADS;
		const double now = resident();

		if (at < WINDOWS && now > c->most[at])
			c->most[at] = now;
		if (now > c->all) {
			c->all = now;
			stm_stats(&c->at_most, sizeof(c->at_most));
		}
		nanosleep(&(struct timespec){ .tv_nsec = SAMPLE_US * 1000 }, NULL);
	}
	c->tables = figure("/proc/self/status", "VmPTE:");
}

static void run(struct course *c, enum how how, uint64_t age)
{
	struct stm_options options = STM_OPTIONS_INIT;
	pthread_t threads[THREADS];
	uint64_t start;

	options.heap_size = HEAP + 64 * MIB;
	if (how != BY_LIMIT)
		options.trim_age = age;
	else
		options.trim_pages = LIMIT;
	if (stm_init(&options))
		die("stm_init failed");
	in_thread(fill, NULL);
	changes = windows_used = threads_done = 0;
	c->heap = resident();
	start = now();
	for (unsigned int i = 0; i < THREADS; i++) {
		const int ret = pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)i);

		if (ret)
			die("pthread_create: %s", strerror(ret));
	}
	watch(c);
	c->ms = (double)(now() - start) / 1e6 / WINDOWS;
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	stm_stats(&c->stats, sizeof(c->stats));
	in_thread(check, NULL);
	stm_fini();
}

static void print_course(enum how how, const struct course *c)
{
	printf("%s: a window was in use for %.0f ms; at most %.0f MiB, of which private pages %.0f, log %.0f; page tables %.0f; "
	       "%llu pages trimmed in %llu sweeps, which took %.2f %% of a CPU for each thread\n",
	       names[how], c->ms, c->all, (double)c->at_most.pages_private * PAGE / MIB, (double)c->at_most.log_bytes / MIB,
	       c->tables, (unsigned long long)c->stats.pages_trimmed, (unsigned long long)c->stats.trim_sweeps,
	       (double)c->stats.trim_ns / 1e4 / THREADS / (c->ms * WINDOWS));
}

int trim_run(const struct settings *s)
{
	static struct course courses[HOWS];
	const double sets = (double)(THREADS * WINDOW * PAGE) / MIB;
	uint64_t age = STM_TRIM_NEVER;

	(void)s;
	for (enum how how = 0; how < HOWS; how++) {
		run(&courses[how], how, age);
		age = (uint64_t)courses[NEVER].ms / 4 + 1;
	}
	printf("\n%u threads over %.0f MiB, each with a working set of 1 %% that moves %u times; resident MiB at most\n%12s",
	       THREADS, courses[0].heap, WINDOWS - 1, "moved");
	for (enum how how = 0; how < HOWS; how++)
		printf("%14s", names[how]);
	for (unsigned int i = 0; i < WINDOWS; i++) {
		printf("\n%12u", i);
		for (enum how how = 0; how < HOWS; how++)
			printf("%14.0f", courses[how].most[i]);
	}
	printf("\nagainst heap + working sets; bar with trim: %.1fx\n%12s", BAR, "");
	for (enum how how = 0; how < HOWS; how++)
		printf("%13.2fx", courses[how].all / (courses[how].heap + sets));
	printf("\nage %llu ms; limit %zu private pages, of %zu in a working set\n", (unsigned long long)age, LIMIT, WINDOW);
	for (enum how how = 0; how < HOWS; how++)
		print_course(how, &courses[how]);
	return 0;
}
