// SPDX-License-Identifier: MIT
/*
 * probe_limits.c - how many threads, mappings and bytes of address space: what a heap of the usual size takes is
 * counted, on a heap.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uffdstm.h>

#include "check.h"

#define THREADS 64      /* STM_SEGMENTS_LIMIT, the most that can be attached at once */
#define MAX_MAP_COUNT "/proc/sys/vm/max_map_count"
#define OVERCOMMIT "/proc/sys/vm/overcommit_memory"

/* ---- threads that attach and stay ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned int tried, attached;
static int first_error;
static bool no_thread;          /* it was pthread_create(3)'s */

static void *attach_and_stay(void *arg)
{
	int error = stm_thread_attach();

	pthread_mutex_lock(&lock);
	tried++;
	if (!error)
		attached++;
	else if (!first_error)
		first_error = error;
	pthread_cond_broadcast(&changed);
	for (;;) /* the process exits */
		pthread_cond_wait(&changed, &lock);
	return arg;
}

/* One more: is it attached? */
static bool attach_one(void)
{
	unsigned int before = tried, n = attached; /* the others wait */
	pthread_attr_t attr;
	pthread_t thread;
	int error;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, (size_t)256 << 10);
	error = pthread_create(&thread, &attr, attach_and_stay, NULL);
	pthread_mutex_lock(&lock);
	while (!error && tried == before)
		pthread_cond_wait(&changed, &lock);
	if (error) {
		first_error = -error;
		no_thread = true;
	}
	before = attached;
	pthread_mutex_unlock(&lock);
	return before > n;
}

/* The usual heap, whatever UFFDSTM_ENGINE says. */
static int make_heap(void)
{
	struct stm_options options = STM_OPTIONS_INIT;

	options.engine = "sigbus";
	return stm_init(&options);
}

/* ---- probes ---- */

static void probe_threads(struct finding *finding)
{
	struct rlimit files, space;
	int error, said = catch_stderr();
	unsigned int n = 0;
	char line[200];

	error = make_heap();
	if (error) {
		finding->error = -error;
		found(finding, UNTESTED, "the library does not start: see below");
		return;
	}
	while (n < THREADS && attach_one())
		n++;
	if (n == THREADS) {
		found(finding, WORKS, "%u threads attached at once", n);
		return;
	}
	first_line(said, line, sizeof(line));
	finding->error = -first_error;
	found(finding, n ? LIMITED : FORBIDDEN, "%u of %u threads could attach at once, then: %s", n, THREADS,
	      no_thread ? "pthread_create" : *line ? line : "stm_thread_attach");
	if (no_thread) {
		advise(finding, "%s: raise the limits of processes (ulimit -u, pids.max), of address space and of mappings (vm.max_map_count)",
		       errno_name(first_error));
		return;
	}
	getrlimit(RLIMIT_NOFILE, &files);
	getrlimit(RLIMIT_AS, &space);
	if (first_error == -EMFILE) {
		advise(finding, "raise the limit of open files, now %llu: one for each thread",
		       (unsigned long long)files.rlim_cur);
		if (files.rlim_max >= 1024)
			as_user(finding, "ulimit -n 1024");
	} else if (first_error == -ENOMEM && space.rlim_cur != RLIM_INFINITY) {
		advise(finding, "lift the limit of address space (RLIMIT_AS)");
		if (space.rlim_max == RLIM_INFINITY)
			as_user(finding, "ulimit -v unlimited");
	} else {
		advise(finding, "raise that limit, or set options.segments to the number of threads that work");
	}
}

static long count_mappings(void)
{
	FILE *file = fopen("/proc/self/maps", "re");
	long n = 0;
	int c;

	if (!file)
		return -errno;
	while ((c = getc(file)) != EOF)
		n += c == '\n';
	fclose(file);
	return n;
}

static void probe_map_count(struct finding *finding)
{
	long long limit = read_number(MAX_MAP_COUNT);
	long one, two, wanted;

	if (limit < 0) {
		finding->error = (int)-limit;
		found(finding, UNTESTED, MAX_MAP_COUNT ": %s", errno_name((int)limit));
		advise(finding, "mount /proc");
		return;
	}
	catch_stderr();
	if (make_heap() || !attach_one()) {
		found(finding, UNTESTED, "%lld; the library does not start: see below", limit);
		return;
	}
	one = count_mappings();
	two = attach_one() ? count_mappings() : one;
	wanted = one + (THREADS - 1) * (two - one);
	found(finding, WORKS, "%lld; a thread takes %ld, %d threads %ld", limit, two - one, THREADS, wanted);
	if (limit > 2 * wanted)
		return;
	finding->verdict = LIMITED;
	advise(finding, "leave room for the program's own mappings");
	as_root(finding, "sysctl vm.max_map_count=%lld", limit > 65530 ? 2 * limit : 65530);
}

static void probe_overcommit(struct finding *finding)
{
	long long mode = read_number(OVERCOMMIT), room;
	size_t size = STM_HEAP_LIMIT;
	int fd = memfd_create("check", MFD_CLOEXEC);
	const char *unit = "KMG";
	void *at = MAP_FAILED;

	if (mode < 0 || fd < 0) {
		found(finding, UNTESTED, "%s: %s", mode < 0 ? OVERCOMMIT : "memfd_create(2)",
		      errno_name(mode < 0 ? (int)mode : errno));
		advise(finding, mode < 0 ? "mount /proc" : "see above");
		return;
	}
	/* As a view is mapped, which mode 2 counts in full. */
	while (at == MAP_FAILED && size > 4096) {
		at = ftruncate(fd, (off_t)size) ? MAP_FAILED :
		     mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
		if (at == MAP_FAILED)
			size /= 2;
	}
	if (size == STM_HEAP_LIMIT) {
		found(finding, WORKS, "mode %lld: a view of %zu GiB can be mapped", mode, size >> 30);
		return;
	}
	room = (read_field("/proc/meminfo", "CommitLimit:") - read_field("/proc/meminfo", "Committed_AS:")) >> 10;
	for (size >>= 10; size >= 1024 && unit[1]; size >>= 10)
		unit++;
	found(finding, LIMITED, "mode %lld: a view of %zu %ciB can be mapped, none of twice that", mode, size, *unit);
	if (mode == 2) {
		advise(finding, "each thread takes as much as the heap has grown, of %lld MiB that are left: add swap, or do not count",
		       room);
		as_root(finding, "sysctl vm.overcommit_memory=0");
	} else {
		advise(finding, "lift the limits of address space and of a file's size");
		as_user(finding, "ulimit -v unlimited -f unlimited");
	}
}

const struct probe probes_limits[] = {
	{ "threads", "threads", USEFUL, probe_threads },
	{ "max-map-count", "vm.max_map_count", USEFUL, probe_map_count },
	{ "overcommit", "vm.overcommit_memory", USEFUL, probe_overcommit },
	{ NULL, NULL, INFORMATION, NULL },
};
