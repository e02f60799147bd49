/* SPDX-License-Identifier: MIT */
/*
 * segments.c - what the other segments cost: those that sleep, and those that commit
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <uffdstm.h>

#include "bench.h"

#define MIB ((size_t)1 << 20)

static void start_thread(pthread_t *thread, void *(*fn)(void *arg), void *arg)
{
	int ret = pthread_create(thread, NULL, fn, arg);

	if (ret)
		die("pthread_create: %s", strerror(ret));
}

/* ---- segments that sleep ---- */

#define IDLE_MAX 32

static const unsigned int idle_counts[] = { 0, 1, 4, 16, IDLE_MAX };

#define IDLE_COUNTS (sizeof(idle_counts) / sizeof(idle_counts[0]))

struct idlers {
	struct copy *copy;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned int asleep;
	bool stop;
};

/* Uses the data, so that it has pages of its own, and then sleeps attached. */
static void *idler_main(void *arg)
{
	struct idlers *idlers = arg;
	uint64_t random = random_seed(0);
	struct tally tally = { 0 };

	thread_attach();
	idlers->copy->impl->run(idlers->copy->workload, idlers->copy->data, &random, 100, &tally);
	pthread_mutex_lock(&idlers->lock);
	idlers->asleep++;
	pthread_cond_broadcast(&idlers->changed);
	while (!idlers->stop)
		pthread_cond_wait(&idlers->changed, &idlers->lock);
	pthread_mutex_unlock(&idlers->lock);
	stm_thread_detach();
	return NULL;
}

static double measure_idle(const struct settings *s, struct copy *copy, unsigned int n,
			   unsigned int round)
{
	struct idlers idlers = {
		.copy = copy,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.changed = PTHREAD_COND_INITIALIZER,
	};
	const struct measurement m = {
		.warm_up.ms = s->ms,
		.run.ms = s->ms,
		.threads = 1,
		.seed = round + 1,
	};
	pthread_t threads[IDLE_MAX];
	double ns;

	for (unsigned int i = 0; i < n; i++)
		start_thread(&threads[i], idler_main, &idlers);
	pthread_mutex_lock(&idlers.lock);
	while (idlers.asleep < n)
		pthread_cond_wait(&idlers.changed, &idlers.lock);
	pthread_mutex_unlock(&idlers.lock);
	ns = measure(copy, &m);
	pthread_mutex_lock(&idlers.lock);
	idlers.stop = true;
	pthread_cond_broadcast(&idlers.changed);
	pthread_mutex_unlock(&idlers.lock);
	for (unsigned int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	return ns;
}

int idle_run(const struct settings *s)
{
	const struct workload *bank = workload_named("bank-1024-u0");
	const unsigned int rounds = s->rounds < 5 ? s->rounds : 5;
	double ns[IDLE_COUNTS][5], base = 0;
	struct copy copy;

	impl_stm.reset();
	copy_make(&copy, &impl_stm, bank);
	for (unsigned int round = 0; round < rounds; round++)
		for (unsigned int i = 0; i < IDLE_COUNTS; i++)
			ns[i][round] = measure_idle(s, &copy, idle_counts[i], round);
	printf("\nattached but idle segments beside one thread of %s, ns per commit\n"
	       "%13s %10s %10s %10s\n", bank->name, "idle segments", "ns", "adds", "ratio");
	for (unsigned int i = 0; i < IDLE_COUNTS; i++) {
		const double value = median(ns[i], rounds);

		if (!i)
			base = value;
		printf("%13u %10.1f %10.1f %9.2fx\n", idle_counts[i], value, value - base,
		       value / base);
	}
	stm_fini();
	return 0;
}

/* ---- commits of another segment ---- */

#define REGION (2 * MIB)        /* what a log slot's summary tells apart */
#define FOREIGN_TURNS 201
#define PAGE_CELLS 256          /* granules of a page */

struct cell {
	_Alignas(16) long value;
	long unused;
};

/*
 * The committer writes @commits transactions and hands over; the walker times
 * its next transaction, which begins by walking them, and hands back.
 */
struct foreign {
	struct cell STM *data;          /* four regions at least: the last is the walker's own */
	unsigned int commits;
	unsigned int offset;            /* the cell in @data from which the committer writes */
	unsigned int touch;             /* the cell that the walker reads each time */
	bool trim;                      /* it has used the committer's region too, until that was trimmed */
	_Atomic unsigned int turn;      /* odd: the walker's */
	double ns[FOREIGN_TURNS];
	uint64_t parked;
};

static int foreign_allocate(void *arg)
{
	struct foreign *f = arg;

	f->data = stm_zalloc(4 * REGION);
	return f->data ? 0 : -ENOMEM;
}

static __attribute__((__noinline__)) void write_one(struct cell STM *cell)
{
	STM_ATOMIC {
		stm_write(cell);
		cell->value++;
	}
}

static __attribute__((__noinline__)) void read_one(struct cell STM *cell)
{
	STM_ATOMIC {
		stm_read(cell);
		__asm__ __volatile__("" : : "r"(cell->value));
	}
}

static void wait_turn(struct foreign *f, unsigned int turn)
{
	while (atomic_load(&f->turn) != turn)
		__builtin_ia32_pause();
}

static void *committer_main(void *arg)
{
	struct foreign *f = arg;

	pin(0);
	thread_attach();
	for (unsigned int i = 0; i < FOREIGN_TURNS; i++) {
		wait_turn(f, 2 * i);
		for (unsigned int k = 0; k < f->commits; k++)
			write_one(&f->data[f->offset + k % PAGE_CELLS]);
		atomic_store(&f->turn, 2 * i + 1);
	}
	wait_turn(f, 2 * FOREIGN_TURNS);
	stm_thread_detach();
	return NULL;
}

#define TRIM_SWEEPS 8           /* four ages: after two a page that is not used is gone */

/* Use the committer's page, then only another one, until the first is gone. */
static void use_once(struct foreign *f)
{
	struct stm_stats stats;
	uint64_t before;

	stm_stats(&stats, sizeof(stats));
	before = stats.trim_sweeps;
	write_one(&f->data[f->offset]);
	do {
		for (unsigned int i = 0; i < 10000; i++)
			write_one(&f->data[f->touch]);
		stm_stats(&stats, sizeof(stats));
	} while (stats.trim_sweeps < before + TRIM_SWEEPS);
}

static void *walker_main(void *arg)
{
	struct foreign *f = arg;
	struct stm_stats stats;

	pin(1);
	thread_attach();
	read_one(&f->data[f->touch]);
	if (f->trim)
		use_once(f);
	stm_stats(&stats, sizeof(stats));
	f->parked = stats.parked;
	for (unsigned int i = 0; i < FOREIGN_TURNS; i++) {
		uint64_t start;

		wait_turn(f, 2 * i + 1);
		start = now();
		read_one(&f->data[f->touch]);
		f->ns[i] = (double)(now() - start);
		atomic_store(&f->turn, 2 * i + 2);
	}
	stm_stats(&stats, sizeof(stats));
	f->parked = stats.parked - f->parked;
	stm_thread_detach();
	return NULL;
}

/* ns of the walker's transaction, as the median over the turns */
static double foreign_measure(struct foreign *f)
{
	pthread_t committer, walker;

	atomic_store(&f->turn, 0);
	start_thread(&committer, committer_main, f);
	start_thread(&walker, walker_main, f);
	pthread_join(committer, NULL);
	pthread_join(walker, NULL);
	return median(f->ns, FOREIGN_TURNS);
}

static void *foreign_prepare(void *arg)
{
	thread_attach();
	if (stm_atomic(foreign_allocate, arg))
		die("stm_zalloc of %zu bytes: %m", 4 * REGION);
	stm_thread_detach();
	return NULL;
}

static unsigned int cell_at(const struct foreign *f, size_t offset)
{
	const uintptr_t first = ((uintptr_t)f->data + REGION - 1) & ~(REGION - 1);

	return (unsigned int)((first - (uintptr_t)f->data + offset) / sizeof(struct cell));
}

#define TRIM_AGE 50             /* ms */

int foreign_run(const struct settings *s)
{
	static const unsigned int commits[] = { 16, 64, 256 };
	/* Which cell the walker reads: of another region, of the committer's region, the committer's page; of another again */
	static const size_t touched[] = { 2 * REGION, REGION - MIB, 0, 2 * REGION };
	struct stm_options options = STM_OPTIONS_INIT;
	static struct foreign f;
	pthread_t thread;

	(void)s;
	options.heap_size = 64 * MIB;
	options.trim_age = TRIM_AGE;
	if (stm_init(&options))
		die("stm_init failed");
	start_thread(&thread, foreign_prepare, &f);
	pthread_join(thread, NULL);
	printf("\nwhat one foreign commit of one granule costs a segment at its next begin, ns\n"
	       "%16s %18s %20s %18s %18s\n", "commits at once", "region not mapped",
	       "mapped, other page", "the page it uses", "region trimmed");
	for (size_t i = 0; i < sizeof(commits) / sizeof(commits[0]); i++) {
		uint64_t parked = 0;
		double ns[4];

		for (unsigned int how = 0; how < 4; how++) {
			double none;

			f.offset = cell_at(&f, 0);
			f.touch = cell_at(&f, touched[how]);
			f.trim = how == 3;
			f.commits = 0;
			none = foreign_measure(&f);
			f.commits = commits[i];
			ns[how] = (foreign_measure(&f) - none) / commits[i];
			parked += f.parked;
		}
		printf("%16u %18.1f %20.1f %18.1f %18.1f", commits[i], ns[0], ns[1], ns[2], ns[3]);
		if (parked)
			printf("  (the segment was parked %llu times)", (unsigned long long)parked);
		putchar('\n');
	}
	stm_fini();
	return 0;
}
