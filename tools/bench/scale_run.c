/* SPDX-License-Identifier: MIT */
/*
 * scale_run.c - segments that take turns, as if each had a core: what each transaction costs is counted
 *
 * With a core for each segment, every other segment commits once while a transaction runs. Here, too, whatever the
 * number of cores: a transaction begins and accesses its cells, then hands the turn on and waits, inside; when its
 * turn comes it commits, and the next one begins before the turn is handed on. One that conflicts runs again at once,
 * alone. So the counts depend on the number of segments only, not on the scheduler.
 *
 * Cache lines written by others: each slot that is applied or looked through for conflicts is a line that its publisher
 * wrote, each group that is skipped is the last slot's line and three of the group's summary; an entry that does not fit into its slot has
 * lines of its own, read only if the view has its regions; and the slot that is taken was zeroed or written by another.
 * Markers, views and undo logs are written by their own segment alone. Lines of the allocator, and those that fold
 * reads for all, are not among them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>

#include <uffdstm.h>

#include "../../lib/testing.h"
#include "scale.h"

#define MIB ((size_t)1 << 20)
#define REGION (2 * MIB)                /* what a log slot's summary tells apart */
#define HEAP (192 * MIB)                /* 64 regions and more; the small layout has 256 MiB */
#define WORKING_SET 32u                 /* pages */
#define PAGE_CELLS 256u
#define CELLS (WORKING_SET * PAGE_CELLS)
#define ACCESSES 10u                    /* of a transaction */
#define UPDATES 2u                      /* of them, if it writes */
#define READ_MOSTLY_WRITERS 20u         /* one transaction in so many */
#define WARM_UP 40u                     /* transactions of each segment */

struct cell {
	_Alignas(16) uint64_t value;
	uint64_t unused;
};

const char *const scale_names[SCALE_WORKLOADS] = {
	[PARTITIONED] = "partitioned",
	[SHARED_HOT] = "shared-hot",
	[READ_MOSTLY] = "read-mostly",
};

struct run;

struct segment {
	struct run *run;
	pthread_t thread;
	unsigned int id;
	struct cell STM *cells;
	sem_t turn;
	uint64_t random;
	/* of the transaction that runs */
	uint64_t seed;
	bool writes;
	bool first;             /* attempt */
	bool hands_on;          /* the turn, which it still has from the transaction before */
	uint64_t updates;
	double counts[SCALE_WHATS];
};

struct run {
	enum scale_workload workload;
	unsigned int n, transactions;
	struct cell STM *area;
	pthread_barrier_t barrier;
	struct segment segments[SCALE_SEGMENTS];
	struct stm_stats before, after;
};

/* ---- turns ---- */

static void hand_on(struct segment *seg)
{
	sem_post(&seg->run->segments[(seg->id + 1) % seg->run->n].turn);
}

/* Its instructions are not counted: scale.c subtracts them. */
__attribute__((__noinline__, __noclone__)) void scale_wait(struct segment *seg);
void scale_wait(struct segment *seg)
{
	if (seg->hands_on)
		hand_on(seg);
	while (sem_wait(&seg->turn) && errno == EINTR)
		;
}

static int transaction(void *arg)
{
	struct segment *seg = arg;
	uint64_t random = seg->seed, sum = 0;

	for (unsigned int i = 0; i < ACCESSES; i++) {
		struct cell STM *cell = &seg->cells[random_next(&random) % CELLS];

		if (seg->writes && i < UPDATES) {
			stm_write(cell);
			cell->value++;
		} else {
			stm_read(cell);
			sum += cell->value;
		}
	}
	__asm__ __volatile__("" : : "r"(sum));
	if (seg->first) {
		seg->first = false;
		scale_wait(seg);
	}
	return 0;
}

/* From begin to the end of commit: its instructions are counted. */
__attribute__((__noinline__, __noclone__)) void scale_transaction(struct segment *seg);
void scale_transaction(struct segment *seg)
{
	stm_atomic(transaction, seg);
}

/* The same, not counted. */
static __attribute__((__noinline__, __noclone__)) void warm_transaction(struct segment *seg)
{
	stm_atomic(transaction, seg);
	__asm__ __volatile__("");       /* else it could become one function with that above */
}

static void take_turns(struct segment *seg, unsigned int n, void (*run)(struct segment *seg))
{
	for (unsigned int i = 0; i < n; i++) {
		seg->seed = random_next(&seg->random);
		seg->writes = seg->run->workload != READ_MOSTLY || seg->seed >> 32 < UINT32_MAX / READ_MOSTLY_WRITERS;
		seg->first = true;
		seg->hands_on = i > 0;
		run(seg);
		if (seg->writes)
			seg->updates += UPDATES;
	}
	hand_on(seg);
}

/* ---- counting ---- */

#ifdef STM_COUNTING
static void count_work(struct segment *seg, double sign)
{
	const struct stm_log_work *w = &stm_log_work;
	const uint64_t groups = w->applied_groups + w->tested_groups;

	seg->counts[SLOTS_APPLIED] += sign * (double)w->applied_slots;
	seg->counts[SLOTS_APPLIED_SKIPPED] += sign * (double)w->applied_skipped;
	seg->counts[SLOTS_TESTED] += sign * (double)w->tested_slots;
	seg->counts[SLOTS_TESTED_SKIPPED] += sign * (double)w->tested_skipped;
	seg->counts[GROUPS_SKIPPED] += sign * (double)groups;
	seg->counts[BYTES_APPLIED] += sign * (double)w->applied_bytes;
	seg->counts[FOREIGN_LINES] += sign * (double)(w->applied_slots + w->tested_slots - w->again_slots +
						       4 * groups + w->entry_lines);
	seg->counts[SLOTS_LOST] += sign * (double)w->lost_slots;
	seg->counts[ENTRIES_FOLDED] += sign * (double)w->folded;
}
#else
static void count_work(struct segment *seg, double sign)
{
	(void)seg;
	(void)sign;
}
#endif

static void read_stats(struct stm_stats *stats)
{
	int ret = stm_stats(stats, sizeof(*stats));

	if (ret)
		die("stm_stats: %s", stm_strerror(ret));
}

/*
 * By the call that does it at once: after a page fault callgrind goes on at the beginning of a basic block, with
 * registers as they are by then, and what the block had done it does again: seen with valgrind 3.19, whose other tools
 * know better. So there are no faults.
 */
static void have_pages(const void STM *p, size_t len)
{
	int ret = stm_prefault(p, len);

	if (ret)
		die("stm_prefault: %s", stm_strerror(ret));
}

/*
 * Every page of the working set is private at once, as in the long run: also where few write, all pages are written now
 * and then, and who uses them has them private from then on.
 */
static int warm_up(void *arg)
{
	struct segment *seg = arg;

	have_pages(seg->cells, CELLS * sizeof(struct cell));
	for (unsigned int i = 0; i < CELLS; i += PAGE_CELLS) {
		stm_write(&seg->cells[i]);
		seg->cells[i].value += 0;
	}
	return 0;
}

static void *segment_main(void *arg)
{
	struct segment *seg = arg;
	struct run *run = seg->run;

	pin(seg->id);
	thread_attach();
	stm_atomic(warm_up, seg);
	pthread_barrier_wait(&run->barrier);
	take_turns(seg, WARM_UP, warm_transaction);
	pthread_barrier_wait(&run->barrier);
	if (!seg->id)
		read_stats(&run->before);
	pthread_barrier_wait(&run->barrier);
	count_work(seg, -1);
	take_turns(seg, run->transactions, scale_transaction);
	count_work(seg, 1);
	pthread_barrier_wait(&run->barrier);
	if (!seg->id)
		read_stats(&run->after);
	pthread_barrier_wait(&run->barrier);
	stm_thread_detach();
	return NULL;
}

static int allocate(void *arg)
{
	struct run *run = arg;

	/* One more, to align them. Not more than there must be: callgrind takes its time for them. */
	run->area = stm_zalloc(((run->workload == PARTITIONED ? run->n : 1) + 1) * REGION);
	return run->area ? 0 : -ENOMEM;
}

static int add_up(void *arg)
{
	struct run *run = arg;
	uint64_t sum = 0, updates = 0;

	for (unsigned int i = 0; i < run->n; i++) {
		const struct segment *seg = &run->segments[i];

		updates += seg->updates;
		if (i && run->workload != PARTITIONED)
			continue;
		have_pages(seg->cells, CELLS * sizeof(struct cell));
		for (unsigned int k = 0; k < CELLS; k++)
			sum += STM_GET(seg->cells[k].value);
	}
	if (sum != updates)
		die("%s, %u segments: cells add up to %llu, but there were %llu updates", scale_names[run->workload],
		    run->n, (unsigned long long)sum, (unsigned long long)updates);
	return 0;
}

static void in_thread(void *(*fn)(void *arg), void *arg, pthread_t *thread)
{
	int ret = pthread_create(thread, NULL, fn, arg);

	if (ret)
		die("pthread_create: %s", strerror(ret));
}

static void *run_allocate(void *arg)
{
	thread_attach();
	if (stm_atomic(allocate, arg))
		die("stm_zalloc: %m");
	stm_thread_detach();
	return NULL;
}

static void *run_check(void *arg)
{
	thread_attach();
	stm_atomic(add_up, arg);
	stm_thread_detach();
	return NULL;
}

static void sum_up(const struct run *run, struct scale_counts *counts)
{
	const double n = (double)run->n * run->transactions;
	uint64_t aborts = 0, faults = 0;

	for (unsigned int i = 0; i < STM_ABORT_REASONS; i++)
		aborts += run->after.aborts[i] - run->before.aborts[i];
	for (unsigned int i = 0; i < STM_FAULT_KINDS; i++)
		faults += run->after.faults[i] - run->before.faults[i];
	for (unsigned int what = 0; what < SCALE_WHATS; what++) {
		for (unsigned int i = 0; i < run->n; i++)
			counts->per_transaction[what] += run->segments[i].counts[what] / n;
#ifdef STM_COUNTING
		counts->known[what] = what < COMMITS;
#else
		counts->known[what] = false;
#endif
	}
	counts->per_transaction[COMMITS] = (double)(run->after.commits - run->before.commits) / n;
	counts->per_transaction[ABORTS] = (double)aborts / n;
	counts->per_transaction[SYSTEM_CALLS] = (double)(run->after.system_calls - run->before.system_calls) / n;
	counts->per_transaction[FAULTS] = (double)faults / n;
	counts->per_transaction[PARKED] = (double)(run->after.parked - run->before.parked) / n;
	counts->per_transaction[PRIVATE_PAGES] = (double)run->after.pages_private / run->n;
	for (unsigned int what = COMMITS; what < INSTRUCTIONS; what++)
		counts->known[what] = true;
	counts->folded = (double)run->after.folded;
	/* The slot that a commit takes. */
	counts->per_transaction[FOREIGN_LINES] += counts->per_transaction[COMMITS];
}

struct scale_counts scale_count(enum scale_workload workload, unsigned int segments, unsigned int transactions)
{
	struct stm_options options = STM_OPTIONS_INIT;
	static struct run run;
	struct scale_counts counts = { 0 };
	pthread_t thread;
	int ret;

	run = (struct run){ .workload = workload, .n = segments, .transactions = transactions };
	options.heap_size = HEAP;
	options.trim_age = STM_TRIM_NEVER; /* who waits for a turn has not stopped using its pages */
	ret = stm_init(&options);
	if (ret)
		die("stm_init: %s", stm_strerror(ret));
	in_thread(run_allocate, &run, &thread);
	pthread_join(thread, NULL);
	pthread_barrier_init(&run.barrier, NULL, segments);
	for (unsigned int i = 0; i < segments; i++) {
		struct segment *seg = &run.segments[i];
		const uintptr_t area = ((uintptr_t)run.area + REGION - 1) & ~(REGION - 1);

		seg->run = &run;
		seg->id = i;
		seg->cells = (struct cell STM *)(area + (workload == PARTITIONED ? i * REGION : 0));
		seg->random = random_seed(i);
		sem_init(&seg->turn, 0, !i);
	}
	for (unsigned int i = 0; i < segments; i++)
		in_thread(segment_main, &run.segments[i], &run.segments[i].thread);
	for (unsigned int i = 0; i < segments; i++)
		pthread_join(run.segments[i].thread, NULL);
	in_thread(run_check, &run, &thread);
	pthread_join(thread, NULL);
	sum_up(&run, &counts);
	pthread_barrier_destroy(&run.barrier);
	stm_fini();
	return counts;
}
