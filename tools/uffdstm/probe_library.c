// SPDX-License-Identifier: MIT
/*
 * probe_library.c - the library itself: a transaction by each engine, and by the one that it chooses here.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <uffdstm.h>

#include "check.h"

#define PAGES 64
#define PAGE_LONGS (4096 / sizeof(long))

/* ---- what the library says on standard error ---- */

/* A pipe, since memfds may be what is refused: what does not fit in is lost, the first line is not. */
int catch_stderr(void)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
		return -1;
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	return ends[0];
}

void first_line(int fd, char *line, size_t size)
{
	static const char prefix[] = "libuffdstm: ";
	ssize_t n = fd < 0 ? -1 : read(fd, line, size - 1);

	line[n > 0 ? n : 0] = 0;
	line[strcspn(line, "\n")] = 0;
	if (!strncmp(line, prefix, sizeof(prefix) - 1))
		memmove(line, line + sizeof(prefix) - 1, strlen(line) + 2 - sizeof(prefix));
}

/* ---- transactions ---- */

static int fill(void *arg)
{
	long STM *cell = stm_zalloc(PAGES * PAGE_LONGS * sizeof(long));

	(void)arg;
	if (!cell)
		return ENOMEM;
	for (long i = 0; i < PAGES; i++)
		STM_SET(cell[i * (long)PAGE_LONGS], i);
	STM_SET(*stm_root(0), (void STM *)cell);
	return 0;
}

/* By a thread that has just attached, so that it finds no page: 0 if all is there. */
static int sum(void *arg)
{
	long STM *cell = (long STM *)STM_GET(*stm_root(0));
	long total = 0;

	(void)arg;
	for (long i = 0; i < PAGES; i++)
		total += STM_GET(cell[i * (long)PAGE_LONGS]);
	return total == PAGES * (PAGES - 1) / 2 ? 0 : EIO;
}

/* The kernel reads a page that is not there: 0, or its answer. */
static int read_by_kernel(void *arg)
{
	const char STM *cell = (const char STM *)STM_GET(*stm_root(0));
	int fd = memfd_create("check", MFD_CLOEXEC), error = 0;

	(void)arg;
	cell += PAGES / 2 * 4096;
	stm_read_range(cell, 4096);
	if (write(fd, stm_local(cell), 4096) != 4096)
		error = errno;
	close(fd);
	return error;
}

static int attach_anew(void)
{
	int error = stm_thread_detach();

	return error ? error : stm_thread_attach();
}

/* Not that of a filter, nor of the library's options, whose lines name the call. */
static bool is_kernels_answer(int error, const char *line)
{
	if (error == -EINVAL)
		return strncmp(line, "stm_init:", 9);
	return strstr(line, "this kernel lacks") || (error == -ENOSYS && !seccomp_filtered());
}

/* A heap that transactions work on, by @engine or the library's choice. 0, or an errno, and @finding tells. */
static int work(struct finding *finding, const char *engine)
{
	struct stm_options options = STM_OPTIONS_INIT;
	int said = catch_stderr(), error;
	char line[200];

	options.heap_size = (size_t)16 << 20;
	options.engine = engine;
	error = stm_init(&options);
	if (!error)
		error = stm_thread_attach();
	if (!error)
		error = -stm_atomic(fill, NULL);
	if (!error)
		error = attach_anew();
	if (!error)
		error = -stm_atomic(sum, NULL);
	if (!error)
		return 0;
	finding->error = -error;
	if (open_uffd() < 0) {
		found(finding, UNTESTED, "userfaultfd cannot be opened: see above");
		return -error;
	}
	first_line(said, line, sizeof(line));
	found(finding, is_kernels_answer(error, line) ? LACKING : FORBIDDEN, "%s", *line ? line : stm_strerror(error));
	return -error;
}

static void probe_sigbus(struct finding *finding)
{
	work(finding, "sigbus");
}

static void probe_thread(struct finding *finding)
{
	work(finding, "thread");
}

static void probe_async(struct finding *finding)
{
	work(finding, "async");
}

static void probe_system_calls(struct finding *finding)
{
	int error;

	if (work(finding, "thread")) {
		found(finding, UNTESTED, "engine thread does not work");
		return;
	}
	error = attach_anew() ? EBUSY : stm_atomic(read_by_kernel, NULL);
	if (!error) {
		found(finding, WORKS, "by UFFDSTM_ENGINE=thread");
		return;
	}
	finding->error = error;
	found(finding, FORBIDDEN, "such a call fails with %s; stm_pread(3), stm_pwrite(3) and stm_prefault(3) serve instead",
	      errno_name(error));
	advise(finding, "open one of the first two ways to userfaultfd, and set UFFDSTM_ENGINE=thread");
	as_setup(finding, "");
}

static void probe_choice(struct finding *finding)
{
	struct stm_stats stats;

	if (work(finding, NULL) || stm_stats(&stats, sizeof(stats)))
		return;
	found(finding, WORKS, "%s, %s, by %s", stats.engine, stats.engine_why, stats.engine_opened);
}

const struct probe probes_library[] = {
	{ "engine-sigbus", "engine sigbus", NEEDED, probe_sigbus },
	{ "engine-thread", "engine thread", USEFUL, probe_thread },
	{ "engine-async", "engine async", USEFUL, probe_async },
	{ "system-calls", "faults in system calls", USEFUL, probe_system_calls },
	{ "engine", "the engine chosen here", NEEDED, probe_choice },
	{ NULL, NULL, INFORMATION, NULL },
};
