/* SPDX-License-Identifier: MIT */
/*
 * events.c - what the event log costs a program that records
 *
 * The same transactions without a log, with every commit in it, and with one in 16: in turn, so that whatever else the
 * machine does hits all three; what the log costs is the median of each turn's own ratio. The library is started anew each
 * time, since it decides then. The log is read afterwards: a record that was dropped was not paid for.
 *
 * How many accesses a transaction of 1 us has is tried out, and looked at again in what was measured: if the machine had
 * another speed by then, all is done once more.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uffdstm.h>
#include <uffdstm/event.h>

#include "bench.h"

#define CELLS 1024u             /* granules: a working set that stays in the first cache */
#define WARM_UP 20000u          /* transactions */
#define BATCH 128u              /* transactions between two looks at the clock */
#define BATCHES 16384u          /* of one measurement, of which a quick one counts: others use the machine, too */
#define LIST_NS 200u            /* about, for an operation on a list */
#define FIRST 256u              /* accesses, to begin with, to find out how many take as long as is asked for */
#define TRIES 5u
#define TRY_MS 20u
#define NEAR 0.03               /* so near is near enough: when they are tried out, and in what was measured */
#define STILL_NEAR 0.07
#define REPEATS 3u
#define SAMPLE "16"
#define BAR 10.0                /* percent, for transactions of 1 us and more */

struct cell {
	_Alignas(16) long value;
};

static const struct load {
	const char *name;
	unsigned int ns;        /* about, without a log; 0: a walk over a list of 256 */
	unsigned int percent;   /* writes among its accesses */
} loads[] = {
	{ "list-256-u20", 0, 20 },
	{ "1 us, 10 % writes", 1000, 10 },
	{ "1 us, all writes", 1000, 100 },
	{ "10 us, 10 % writes", 10000, 10 },
};

#define LOADS (sizeof(loads) / sizeof(loads[0]))

enum how { OFF, ON, SAMPLED, HOWS };

struct run {
	const struct load *load;
	unsigned int accesses, ms;
	struct cell STM *cells;
	double ns;              /* for a transaction */
};

/* Of the calling thread: what it pays itself, whoever else wants its CPU. */
static uint64_t cpu_time(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static char log_path[] = "/tmp/uffdstm-bench-XXXXXX";

static int make_cells(void *arg)
{
	struct run *run = arg;

	run->cells = stm_zalloc(CELLS * sizeof(*run->cells));
	return run->cells ? 0 : -ENOMEM;
}

/* Each access goes to a granule of its own, as long as there are any; each tenth is a write, or all are. */
static __attribute__((__noinline__)) long transact(const struct run *run, uint64_t random)
{
	const unsigned int writes = run->accesses * run->load->percent / 100;
	const unsigned int first = (unsigned int)(random >> 32);
	volatile long result = 0;

	STM_ATOMIC {
		struct cell STM *const cells = run->cells;
		long sum = 0;

		for (unsigned int i = 0; i < run->accesses - writes; i++)
			sum += STM_GET(cells[(first + i * 7) % CELLS].value);
		for (unsigned int i = 0; i < writes; i++)
			STM_SET(cells[(first + i * 5) % CELLS].value, sum + i);
		result = sum;
	}
	return result;
}

static void *measure_cells(void *arg)
{
	struct run *run = arg;
	static double batches[BATCHES];
	uint64_t random = random_seed(1), start, end, all = 0;
	unsigned int got = 0;

	pin(0);
	thread_attach();
	if (stm_atomic(make_cells, run))
		die("stm_zalloc: %m");
	for (unsigned int i = 0; i < WARM_UP; i++)
		transact(run, random_next(&random));
	for (end = cpu_time(); all < run->ms * (uint64_t)1000000 && got < BATCHES; all += end - start) {
		start = end;
		for (unsigned int i = 0; i < BATCH; i++)
			transact(run, random_next(&random));
		end = cpu_time();
		batches[got++] = (double)(end - start) / BATCH;
	}
	median(batches, got); /* sorts them */
	run->ns = batches[got / 10];
	stm_thread_detach();
	return NULL;
}

static void start_library(enum how how)
{
	stm_fini();
	if (how == OFF)
		unsetenv("UFFDSTM_LOG");
	else
		setenv("UFFDSTM_LOG", log_path, 1);
	if (how == SAMPLED)
		setenv("UFFDSTM_LOG_SAMPLE", SAMPLE, 1);
	else
		unsetenv("UFFDSTM_LOG_SAMPLE");
}

static void list_starts(void *arg)
{
	*(uint64_t *)arg = cpu_time();
}

static void list_ends(void *arg)
{
	*(uint64_t *)arg = cpu_time() - *(uint64_t *)arg;
}

static double measure_list(const struct run *run)
{
	uint64_t ns, ops = run->ms * (uint64_t)1000000 / LIST_NS;
	const struct measurement m = {
		.warm_up.ops = WARM_UP,
		.run.ops = ops,
		.threads = 1,
		.seed = 1,
		.at_start = list_starts,
		.at_end = list_ends,
		.arg = &ns,
	};
	struct copy copy;

	impl_stm.reset();
	copy_make(&copy, &impl_stm, &workloads[0]);
	measure(&copy, &m);
	return (double)ns / (double)ops;
}

static double measure_once(struct run *run, enum how how)
{
	pthread_t thread;
	int ret;

	start_library(how);
	if (!run->load->ns)
		return measure_list(run);
	library_start(WORKLOAD_HEAP);
	ret = pthread_create(&thread, NULL, measure_cells, run);
	if (ret)
		die("pthread_create: %s", strerror(ret));
	pthread_join(thread, NULL);
	return run->ns;
}

/* Records that were dropped, of a log that is whole: stm_fini() was called. */
static uint64_t dropped(void)
{
	struct stm_log_header header;
	struct stm_record record;
	FILE *f = fopen(log_path, "re");
	uint64_t n = 0;

	if (!f || fread(&header, sizeof(header), 1, f) != 1 || fseek(f, header.header_bytes, SEEK_SET))
		die("%s: no event log", log_path);
	while (fread(&record, sizeof(record), 1, f) == 1) {
		if (record.kind == STM_EVENT_DROPPED)
			n += record.value;
		if (record.more && fseek(f, record.more * STM_LOG_UNIT, SEEK_CUR))
			break;
	}
	fclose(f);
	return n;
}

/* Whether @ns is what the load is to take, or there is nothing that it is to take. */
static bool is_near(const struct load *load, double ns, double near)
{
	double off = ns - load->ns;

	return !load->ns || (off < 0 ? -off : off) <= near * load->ns;
}

/* How many accesses take as long as the load is to take, without a log. */
static unsigned int accesses_of(const struct load *load)
{
	struct run run = { .load = load, .accesses = FIRST, .ms = TRY_MS };

	for (unsigned int i = 0; load->ns && i < TRIES; i++) {
		double ns = measure_once(&run, OFF);

		if (is_near(load, ns, NEAR))
			break;
		run.accesses = (unsigned int)(run.accesses * load->ns / ns) + 1;
	}
	return run.accesses;
}

struct cost {
	double off;             /* ns */
	double more[HOWS];      /* percent */
	uint64_t lost;
};

static struct cost measure_load(const struct settings *s, const struct load *load)
{
	double *off = calloc(s->rounds, sizeof(*off)), (*more)[s->rounds] = calloc(HOWS, sizeof(*more));
	struct run run = { .load = load, .accesses = accesses_of(load), .ms = s->ms };
	struct cost cost = { .off = 0 };

	if (!off || !more)
		die("no memory");
	for (unsigned int round = 0; round < s->rounds; round++)
		for (enum how how = 0; how < HOWS; how++) {
			double ns = measure_once(&run, how);

			stm_fini();
			if (how == OFF)
				off[round] = ns;
			if (how == ON)
				cost.lost += dropped();
			more[how][round] = (ns / off[round] - 1) * 100;
		}
	for (enum how how = 0; how < HOWS; how++)
		cost.more[how] = median(more[how], s->rounds);
	cost.off = median(off, s->rounds);
	free(more);
	free(off);
	return cost;
}

static void run_load(const struct settings *s, const struct load *load)
{
	struct cost cost = measure_load(s, load);
	const char *verdict = "";

	for (unsigned int i = 1; i < REPEATS && !is_near(load, cost.off, STILL_NEAR); i++)
		cost = measure_load(s, load);
	if (load->ns)
		verdict = !is_near(load, cost.off, STILL_NEAR) ? "unsteady" : cost.more[ON] <= BAR ? "met" : "NOT MET";
	printf("%-20s %9.1f %+9.1f %% %+9.1f ns %+9.1f %% %10llu  %s\n", load->name, cost.off, cost.more[ON],
	       cost.more[ON] * cost.off / 100, cost.more[SAMPLED], (unsigned long long)cost.lost, verdict);
}

int events_run(const struct settings *s)
{
	int fd = mkstemp(log_path);

	if (fd < 0)
		die("%s: %m", log_path);
	close(fd);
	printf("\nevent log: CPU time of one thread; bar with every commit logged: %.0f %%, from 1 us on\n"
	       "%-20s %9s %24s %11s %10s\n", BAR, "", "off, ns", "all", "1 in " SAMPLE, "dropped");
	for (size_t i = 0; i < LOADS; i++)
		run_load(s, &loads[i]);
	unlink(log_path);
	return 0;
}
