// SPDX-License-Identifier: MIT
/*
 * status_find.c - one look: which processes there are, and what their memfds say.
 *
 * Nothing of what is found is trusted. Any process may have a file that looks like the library's memfd by its name;
 * to open that could hang, and to read it could kill. So:
 *
 *   1. it is opened as a path (O_PATH) first, which asks nothing of the file;
 *   2. it must lie in the kernel's own mount of memfds, where one of ours lies, too;
 *   3. what has no seal against shrinking is not mapped: it could lose its pages under our eyes;
 *   4. its first page is copied, and all that is believed of it, in stm_status_read(), is believed of the copy.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "status.h"

#define LINK  "/memfd:" STM_STATUS_NAME " (deleted)"
#define BYTES ((1 + STM_STATUS_SEGMENTS) * (size_t)STM_STATUS_PAGE)
#define TRIES 100u                      /* who has more files of that name does not mean it well */
#define KERNEL_THREAD \
	0x00200000ul /* PF_KTHREAD of the kernel's include/linux/sched.h, in /proc/PID/stat */

static long memfd_mount;                /* the mount of memfds: its mnt_id */

double now_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ---- small files of /proc ---- */

/* The start of a file, as a string. False: it cannot be read. */
static bool read_file(int directory, const char *name, char *text, size_t size)
{
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = 0;
	return n > 0;
}

/* Of a terminal, or of JSON, no byte is to mean anything else than itself. */
static void make_printable(char *text)
{
	text[strcspn(text, "\n")] = 0;
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}

static void copy_printable(char *to, size_t size, const char *from, size_t from_size)
{
	size_t n = strnlen(from, from_size);

	n = n < size ? n : size - 1;
	memmove(to, from, n);
	to[n] = 0;
	make_printable(to);
}

static long mount_of(int fd)
{
	char path[48], text[1024], *line;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	if (!read_file(AT_FDCWD, path, text, sizeof(text)))
		return -1;
	line = strstr(text, "mnt_id:");
	return line ? strtol(line + strlen("mnt_id:"), NULL, 10) : -1;
}

int looks_start(void)
{
	int fd = memfd_create("uffdstm", MFD_CLOEXEC), error = 0;

	if (fd < 0) {
		error = -errno;
		complain(error, NULL, "memfd_create");
		return error;
	}
	memfd_mount = mount_of(fd);
	close(fd);
	if (memfd_mount < 0) {
		error = -ENOENT;
		complain(error, "mount /proc", "/proc/self/fdinfo");
	}
	return error;
}

/* ---- one process ---- */

/* The last of the numbers in @text, or @none. */
static long last_number(const char *text, long none)
{
	char *end;

	for (;; text = end) {
		long next = strtol(text, &end, 10);

		if (end == text)
			return none;
		none = next;
	}
}

/* Its number as it knows it: the last of those that it has in the namespaces around it. */
static long own_number(int directory, int pid)
{
	int fd = openat(directory, "status", O_RDONLY | O_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	size_t size = 0;
	char *line = NULL;
	long number = pid;

	while (file && getline(&line, &size, file) > 0)
		if (!strncmp(line, "NStgid:", 7))
			number = last_number(line + 7, pid);
	free(line);
	if (file)
		fclose(file);
	else if (fd >= 0)
		close(fd);
	return number;
}

/* Kernel threads and processes that have ended have no files. */
static bool can_have_files(int directory)
{
	char text[1024], *after;
	unsigned long flags;
	char state;

	if (!read_file(directory, "stat", text, sizeof(text)))
		return false;
	after = strrchr(text, ')');
	return after && sscanf(after, ") %c %*d %*d %*d %*d %*d %lu", &state, &flags) == 2 &&
	       state != 'Z' && state != 'X' && !(flags & KERNEL_THREAD);
}

static void is_garbage(struct process *process, const char *problem)
{
	process->seen = SEEN_GARBAGE;
	snprintf(process->problem, sizeof(process->problem), "%s", problem);
}

static void copy_words(void *to, const void *from, size_t size)
{
	const volatile uint64_t *words = from;
	uint64_t *copy = to;

	for (size_t i = 0; i < size / sizeof(*copy); i++)
		copy[i] = words[i];
}

/* What is in the mapping at @pages. */
static void take_figures(struct process *process, const char *pages, size_t size, long number)
{
	struct stm_status *status = &process->status;

	_Static_assert(sizeof(*status) % 8 == 0, "whole words");
	copy_words(status, pages, sizeof(*status));
	if (memcmp(status->magic, STM_STATUS_MAGIC, sizeof(STM_STATUS_MAGIC))) {
		is_garbage(process, "its " STM_STATUS_NAME " is not the library's");
		return;
	}
	copy_printable(status->library, sizeof(status->library), status->library,
		       sizeof(status->library));
	if (status->version != STM_STATUS_VERSION || status->page != STM_STATUS_PAGE) {
		process->seen = SEEN_OTHER_VERSION;
		snprintf(process->problem, sizeof(process->problem),
			 "library %s: its status has format %u, not %u", status->library,
			 status->version, STM_STATUS_VERSION);
		return;
	}
	if (status->pid != number) {
		process->seen = SEEN_INHERITED;
		return;
	}
	copy_printable(status->engine, sizeof(status->engine), status->engine,
		       sizeof(status->engine));
	copy_printable(status->engine_why, sizeof(status->engine_why), status->engine_why,
		       sizeof(status->engine_why));
	copy_printable(status->engine_opened, sizeof(status->engine_opened), status->engine_opened,
		       sizeof(status->engine_opened));
	copy_printable(status->log_held_by, sizeof(status->log_held_by), status->log_held_by,
		       sizeof(status->log_held_by));
	for (unsigned int i = 0; i < STM_STATUS_SEGMENTS; i++) {
		size_t at = (1 + i) * (size_t)STM_STATUS_PAGE;

		if (!((status->segments & ~status->silent) >> i & 1))
			continue;
		if (at + STM_STATUS_PAGE > size) {
			is_garbage(process, "its " STM_STATUS_NAME " is too short");
			return;
		}
		stm_status_read(&process->sum, status, pages + at);
	}
	process->seen = SEEN;
}

/* @fd: a memfd. */
static void read_memfd(struct process *process, int fd, long number)
{
	int seals = fcntl(fd, F_GET_SEALS);
	size_t size = 0;
	struct stat st;
	char *pages;

	if (seals < 0 || !(seals & F_SEAL_SHRINK)) {
		is_garbage(process, "its " STM_STATUS_NAME " is not sealed: not ready?");
		return;
	}
	if (fstat(fd, &st) == 0 && st.st_size > 0)
		size = (size_t)st.st_size < BYTES ? (size_t)st.st_size : BYTES;
	if (size < STM_STATUS_PAGE) {
		is_garbage(process, "its " STM_STATUS_NAME " is too short");
		return;
	}
	pages = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
	if (pages == MAP_FAILED) {
		is_garbage(process, "its " STM_STATUS_NAME " cannot be mapped");
		return;
	}
	take_figures(process, pages, size, number);
	munmap(pages, size);
}

/* @path: what may be such a memfd, opened with O_PATH. */
static void look_into(struct process *process, int path, long number)
{
	char name[40];
	int fd;

	if (mount_of(path) != memfd_mount)
		return;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", path);
	fd = open(name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0) {
		is_garbage(process, "its " STM_STATUS_NAME " cannot be opened");
		return;
	}
	read_memfd(process, fd, number);
	close(fd);
}

/* The first of its files that is right, or else is something. */
static void look_at_files(struct process *process, DIR *files, long number)
{
	unsigned int tries = TRIES;
	struct dirent *entry;
	char link[64];

	while (process->seen != SEEN && process->seen != SEEN_OTHER_VERSION && tries &&
	       (entry = readdir(files))) {
		ssize_t n = readlinkat(dirfd(files), entry->d_name, link, sizeof(link));
		int path;

		if (n != sizeof(LINK) - 1 || memcmp(link, LINK, sizeof(LINK) - 1))
			continue;
		tries--;
		path = openat(dirfd(files), entry->d_name, O_PATH | O_CLOEXEC);
		if (path < 0)
			continue;
		look_into(process, path, number);
		close(path);
	}
}

static void fail(struct process *process, int directory)
{
	process->error = errno;
	if (errno == ENOENT || errno == ESRCH)
		process->seen = SEEN_GONE;
	else if (can_have_files(directory))
		process->seen = SEEN_DENIED;
	else
		process->seen = SEEN_NOTHING;
}

static void look_at_process(struct process *process, int directory)
{
	int fd = openat(directory, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *files = fd < 0 ? NULL : fdopendir(fd);
	ssize_t n;

	if (!files) {
		fail(process, directory);
		if (fd >= 0)
			close(fd);
		return;
	}
	process->seen = SEEN_NOTHING;
	look_at_files(process, files, own_number(directory, process->pid));
	closedir(files);
	n = readlinkat(directory, "exe", process->program, sizeof(process->program) - 1);
	process->program[n > 0 ? n : 0] = 0;
	make_printable(process->program);
}

void look_at(struct process *process, int pid)
{
	char path[32];
	int directory;

	memset(process, 0, sizeof(*process));
	process->pid = pid;
	process->at = now_seconds();
	snprintf(path, sizeof(path), "/proc/%d", pid);
	/* Once opened it is that process and no later one of the same number. */
	directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0) {
		process->seen = SEEN_GONE;
		process->error = ESRCH;
		return;
	}
	if (!read_file(directory, "comm", process->command, sizeof(process->command)))
		snprintf(process->command, sizeof(process->command), "?");
	make_printable(process->command);
	look_at_process(process, directory);
	close(directory);
}

/* ---- all ---- */

static bool is_worth_telling(enum seen seen)
{
	return seen == SEEN || seen == SEEN_OTHER_VERSION || seen == SEEN_GARBAGE;
}

int look_around(struct look *look)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int error = 0;

	memset(look, 0, sizeof(*look));
	look->at = now_seconds();
	if (!proc) {
		error = -errno;
		complain(error, NULL, "/proc");
		return error;
	}
	while ((entry = readdir(proc))) {
		struct process *more;
		char *end;
		long pid = strtol(entry->d_name, &end, 10);

		if (pid <= 0 || *end)
			continue;
		more = reallocarray(look->processes, look->n + 1, sizeof(*more));
		if (!more) {
			error = -ENOMEM;
			complain(error, NULL, "%zu processes", look->n);
			look_free(look);
			break;
		}
		look->processes = more;
		look_at(&more[look->n], (int)pid);
		look->denied += more[look->n].seen == SEEN_DENIED;
		look->n += is_worth_telling(more[look->n].seen);
	}
	closedir(proc);
	return error;
}

void look_free(struct look *look)
{
	free(look->processes);
	look->processes = NULL;
	look->n = 0;
}
