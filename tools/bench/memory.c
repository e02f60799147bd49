/* SPDX-License-Identifier: MIT */
/*
 * memory.c - what a heap of 1 GiB takes of memory when 16 threads use 1 % of it
 *
 * The heap is filled. Then each thread changes random granules of the hot part, which is the same for all or another
 * one for each; looks through a sixteenth of the heap once, as a report would now and then; and goes on with the hot
 * part until what it has looked at is trimmed. Resident is all that the process takes: its own pages, the heap's file (what
 * nothing maps, too), and page tables, which the kernel keeps for it.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uffdstm.h>

#include "bench.h"

#define DEFAULT_JSON "build/bench/memory.json"
#define MIB ((size_t)1 << 20)
#define PAGE ((size_t)4096)
#define HEAP (1024 * MIB)
#define HEAP_MOST (HEAP + HEAP / 8)
#define BLOCK MIB
#define BLOCKS (HEAP / BLOCK)
#define BLOCK_PAGES (BLOCK / PAGE)
#define PAGES (HEAP / PAGE)
#define THREADS 16u
#define HOT (PAGES / 100)
#define TRANSACTIONS 5000u      /* of each thread: two for each page */
#define TRIM_AGE 250u           /* ms */
#define TRIM_AGES 8u            /* pages are dropped when they were not used for two */

enum state { FILLED, IN_USE, LOOKED, TRIMMED, STATES };

static const char *const states[STATES] = {
	[FILLED] = "filled, nobody attached",
	[IN_USE] = "16 threads use 1 %",
	[LOOKED] = "each has looked through 1/16 once",
	[TRIMMED] = "and used 1 % since, for 2 s",
};

enum hot { TOGETHER, APART, HOTS };

static const char *const hots[HOTS] = { "the same 1 % for all", "1 % for each" };

struct cell {
	_Alignas(16) uint64_t value;
	uint64_t unused;
};

/* MiB */
struct sample {
	double resident, file, private, shared, log, tables;
};

static struct cell STM *blocks[BLOCKS];
static enum hot hot;
static pthread_barrier_t barrier;
static _Atomic uint64_t changes;
static _Atomic unsigned int arrived;    /* threads, at the states until now */
static _Atomic unsigned int sampled;    /* states that were looked at */
static struct sample samples[STATES];

/* ---- what is resident ---- */

/* The number of kB after @name in one of the process's files, or 0. */
static double read_kb(const char *path, const char *name)
{
	FILE *f = fopen(path, "re");
	double kb = 0;
	char line[256];

	if (!f)
		die("%s: %m", path);
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name))) {
			kb = strtod(line + strlen(name), NULL);
			break;
		}
	fclose(f);
	return kb;
}

/* kB that the process's memfds take. */
static double memfd_kb(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	double kb = 0;

	if (!dir)
		die("/proc/self/fd: %m");
	while ((entry = readdir(dir))) {
		char target[64] = "";
		struct stat st;

		if (readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1) > 0 &&
		    !strncmp(target, "/memfd:", 7) && !fstat(atoi(entry->d_name), &st))
			kb += (double)st.st_blocks / 2;
	}
	closedir(dir);
	return kb;
}

static struct sample sample_now(void)
{
	const char *smaps = "/proc/self/smaps_rollup";
	struct sample sample;
	struct stm_stats stats;
	int ret = stm_stats(&stats, sizeof(stats));

	if (ret)
		die("stm_stats: %s", stm_strerror(ret));
	sample.file = memfd_kb() / 1024;
	sample.tables = read_kb("/proc/self/status", "VmPTE:") / 1024;
	sample.resident = (read_kb(smaps, "Pss_Anon:") + read_kb(smaps, "Pss_File:")) / 1024 + sample.file + sample.tables;
	sample.private = (double)(stats.pages_private * PAGE) / (double)MIB;
	sample.shared = (double)(stats.pages_shared * PAGE) / (double)MIB;
	sample.log = (double)stats.log_bytes / (double)MIB;
	return sample;
}

/* ---- what the threads do ---- */

static struct cell STM *cell_at(size_t page, unsigned int cell)
{
	return &blocks[page / BLOCK_PAGES][page % BLOCK_PAGES * (PAGE / sizeof(struct cell)) + cell];
}

static int fill_block(void *arg)
{
	struct cell STM **block = arg;

	*block = stm_zalloc(BLOCK);
	return *block ? 0 : -ENOMEM;
}

static void *fill(void *arg)
{
	thread_attach();
	for (size_t i = 0; i < BLOCKS; i++)
		if (stm_atomic(fill_block, &blocks[i]))
			die("stm_zalloc of %zu bytes: %m", BLOCK);
	stm_thread_detach();
	return arg;
}

static __attribute__((__noinline__)) void change(struct cell STM *cell)
{
	STM_ATOMIC {
		stm_write(cell);
		cell->value++;
	}
}

/* In a transaction. */
static inline uint64_t look_at(const struct cell STM *cells)
{
	uint64_t sum = 0;

	stm_read_range(cells, BLOCK);
	for (size_t i = 0; i < BLOCK / sizeof(*cells); i++)
		sum += cells[i].value;
	return sum;
}

static size_t first_hot(unsigned int thread)
{
	return hot == APART ? thread * (PAGES / THREADS) : 0;
}

static void use_hot(unsigned int thread, uint64_t *random, unsigned int n)
{
	const size_t first = first_hot(thread);

	for (unsigned int i = 0; i < n; i++) {
		const uint64_t r = random_next(random);

		change(cell_at(first + random_below(r, HOT), r % (PAGE / sizeof(struct cell))));
	}
	atomic_fetch_add(&changes, n);
}

/*
 * A transaction that changes a cell of each hot page, of @thread alone, and may look through its share of the heap, and
 * stays open until all have come so far and somebody has looked. With fewer cores than threads those that wait for one
 * would be parked between transactions, and have no pages. This is as if each had a core.
 */
struct stop {
	unsigned int thread;
	enum state state;
	bool here;
};

static int stop(void *arg)
{
	struct stop *stop = arg;
	const size_t first = first_hot(stop->thread), share = BLOCKS / THREADS;

	for (size_t i = 0; stop->state == LOOKED && i < share; i++)
		__asm__ __volatile__("" : : "r"(look_at(blocks[(stop->thread + 1) % THREADS * share + i])));
	for (size_t page = first; page < first + HOT; page++) {
		struct cell STM *cell = cell_at(page, stop->thread);

		stm_write(cell);
		cell->value++;
	}
	if (!stop->here) {
		stop->here = true;
		atomic_fetch_add(&arrived, 1);
		while (atomic_load(&sampled) <= stop->state)
			usleep(1000);
	}
	return 0;
}

static void reach(unsigned int thread, enum state state)
{
	struct stop arg = { .thread = thread, .state = state };

	pthread_barrier_wait(&barrier);
	stm_atomic(stop, &arg);
	atomic_fetch_add(&changes, HOT);
}

static void sample(enum state state)
{
	while (atomic_load(&arrived) < THREADS * state)
		usleep(1000);
	samples[state] = sample_now();
	atomic_store(&sampled, state + 1);
}

static void *work(void *arg)
{
	const unsigned int thread = (unsigned int)(uintptr_t)arg;
	uint64_t random = random_seed(thread), end;

	thread_attach();
	use_hot(thread, &random, TRANSACTIONS);
	reach(thread, IN_USE);
	reach(thread, LOOKED);
	end = now() + TRIM_AGES * TRIM_AGE * (uint64_t)1000000;
	while (now() < end)
		use_hot(thread, &random, 100);
	reach(thread, TRIMMED);
	stm_thread_detach();
	return NULL;
}

static void *check(void *arg)
{
	volatile uint64_t sum = 0;

	thread_attach();
	for (size_t i = 0; i < BLOCKS; i++) {
		uint64_t before = sum;

		STM_ATOMIC {
			sum = before + look_at(blocks[i]);
		}
	}
	stm_thread_detach();
	if (sum != changes)
		die("%llu changes were made, %llu are found", (unsigned long long)changes, (unsigned long long)sum);
	return arg;
}

/* ---- rounds ---- */

static pthread_t start(void *(*fn)(void *arg), void *arg)
{
	pthread_t thread;
	int ret = pthread_create(&thread, NULL, fn, arg);

	if (ret)
		die("pthread_create: %s", strerror(ret));
	return thread;
}

static void run_round(enum hot how)
{
	struct stm_options options = STM_OPTIONS_INIT;
	pthread_t threads[THREADS];
	int ret;

	hot = how;
	changes = 0;
	atomic_store(&sampled, 0);
	options.heap_size = HEAP_MOST;
	options.trim_age = TRIM_AGE;
	ret = stm_init(&options);
	if (ret)
		die("stm_init: %s", stm_strerror(ret));
	atomic_store(&arrived, 0);
	pthread_barrier_init(&barrier, NULL, THREADS);
	pthread_join(start(fill, NULL), NULL);
	sample(FILLED);
	for (unsigned int i = 0; i < THREADS; i++)
		threads[i] = start(work, (void *)(uintptr_t)i);
	for (enum state state = IN_USE; state < STATES; state++)
		sample(state);
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	pthread_join(start(check, NULL), NULL);
	pthread_barrier_destroy(&barrier);
	stm_fini();
}

struct row {
	double *resident;       /* of each round */
	struct sample last;
};

static void print_row(enum state state, struct row *row, double value, double min, double max)
{
	const struct sample *s = &row->last;

	printf("%-36s %9.0f (%.0f to %.0f) %7.2fx %8.0f %8.0f %8.0f %6.0f %7.1f\n", states[state], value, min, max,
	       value / (double)(HEAP / MIB), s->file, s->private, s->shared, s->log, s->tables);
}

static void usage(FILE *to)
{
	fprintf(to, "usage: memory [-q] [-r ROUNDS] [-o FILE]\n"
		    "\n"
		    "  -r ROUNDS  (default 2)\n"
		    "  -o FILE    where the figures go (default " DEFAULT_JSON ")\n"
		    "  -q         no progress: there is none\n");
}

int main(int argc, char **argv)
{
	const char *json = DEFAULT_JSON;
	struct row rows[HOTS][STATES] = { 0 };
	unsigned int rounds = 2;
	int option;
	FILE *f;

	while ((option = getopt(argc, argv, "qr:o:h")) != -1) {
		if (option == 'r') {
			rounds = option_number(optarg, "-r");
		} else if (option == 'o') {
			json = optarg;
		} else if (option != 'q') {
			usage(option == 'h' ? stdout : stderr);
			return option != 'h';
		}
	}
	if ((double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) < 2.5 * (double)HEAP)
		die("the machine has less than 2.5 GiB of memory");
	for (unsigned int how = 0; how < HOTS; how++)
		for (unsigned int state = 0; state < STATES; state++) {
			rows[how][state].resident = calloc(rounds, sizeof(double));
			if (!rows[how][state].resident)
				die("no memory");
		}
	for (unsigned int round = 0; round < rounds; round++)
		for (unsigned int how = 0; how < HOTS; how++) {
			run_round(how);
			for (unsigned int state = 0; state < STATES; state++) {
				rows[how][state].resident[round] = samples[state].resident;
				rows[how][state].last = samples[state];
			}
		}
	print_machine();
	printf("; %u rounds, medians\n", rounds);
	f = results_open(json);
	for (unsigned int how = 0; how < HOTS; how++) {
		printf("\n%s: MiB resident, against a heap of %zu MiB; of the last round: in the heap's file, private and shared\n"
		       "pages of all views, log, page tables\n%-36s %22s %10s %8s %8s %8s %6s %7s\n", hots[how], HEAP / MIB, "",
		       "resident", "/ heap", "file", "private", "shared", "log", "tables");
		for (unsigned int state = 0; state < STATES; state++) {
			struct row *row = &rows[how][state];
			const double value = median(row->resident, rounds);

			print_row(state, row, value, row->resident[0], row->resident[rounds - 1]);
			results_row(f, "\"workload\": \"%s\", \"what\": \"%s\", \"segments\": %u, \"count\": %.1f, "
				       "\"min\": %.1f, \"max\": %.1f, \"rounds\": %u", hots[how], states[state], THREADS,
				    value, row->resident[0], row->resident[rounds - 1], rounds);
			free(row->resident);
		}
	}
	results_close(f, json);
	return 0;
}
