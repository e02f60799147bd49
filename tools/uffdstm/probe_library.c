// SPDX-License-Identifier: MIT
/*
 * probe_library.c - the library itself: which engine it chooses, and a transaction.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <uffdstm.h>

#include "check.h"

/* A file that takes what the library says on standard error, or -1. */
static int catch_stderr(void)
{
	int fd = memfd_create("stderr", MFD_CLOEXEC);

	if (fd >= 0)
		dup2(fd, STDERR_FILENO);
	return fd;
}

/* Its first line, without the library's name. */
static void first_line(int fd, char *line, size_t size)
{
	static const char prefix[] = "libuffdstm: ";
	ssize_t n = fd < 0 ? -1 : pread(fd, line, size - 1, 0);

	line[n > 0 ? n : 0] = 0;
	line[strcspn(line, "\n")] = 0;
	if (!strncmp(line, prefix, sizeof(prefix) - 1))
		memmove(line, line + sizeof(prefix) - 1, strlen(line) + 2 - sizeof(prefix));
}

static int add(void *arg)
{
	long STM *cell = stm_zalloc(64 * 4096);

	(void)arg;
	if (!cell)
		return ENOMEM;
	for (long i = 0; i < 64; i++)
		STM_SET(cell[i * 512], i);
	STM_SET(*stm_root(0), (void STM *)cell);
	return 0;
}

static void library(struct finding *finding)
{
	struct stm_options options = STM_OPTIONS_INIT;
	int said = catch_stderr(), error;
	struct stm_stats stats;
	char line[300];

	options.heap_size = (size_t)16 << 20;
	error = stm_init(&options);
	if (!error)
		error = stm_thread_attach();
	if (!error)
		error = -stm_atomic(add, NULL);
	if (!error)
		error = stm_stats(&stats, sizeof(stats));
	if (!error) {
		found(finding, WORKS, "engine %s, %s; opened by %s; page faults in system calls are %s", stats.engine,
		      stats.engine_why, stats.engine_opened, stats.engine_in_calls ? "resolved" : "not resolved: EFAULT");
		return;
	}
	first_line(said, line, sizeof(line));
	finding->error = -error;
	found(finding, -error == ENOSYS || -error == EINVAL ? LACKING : FORBIDDEN, "%s", *line ? line : stm_strerror(error));
}

const struct probe probes_library[] = {
	{ "library", "a transaction", NEEDED, library },
	{ NULL, NULL, INFORMATION, NULL },
};
