// SPDX-License-Identifier: MIT
/*
 * event_file.c - the event log's file: found by its path, made sure of, and locked.
 *
 *   1. Only a regular file is opened at all: opening a FIFO waits, opening a device may do things.
 *   2. It is locked (flock(2)) as long as this process records. One that another process has locked is left to it:
 *      ".PID" is appended to the path. Where the file system has no locks, none is taken.
 *   3. Only then its contents are looked at, and only an event log is written over.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <uffdstm/event.h>

#include "event_file.h"
#include "message.h"

#define MODE 0666                       /* less the umask */
#define MAGIC_BYTES (sizeof(STM_LOG_MAGIC) - 1)

int stm_hold_fd(struct stm_held_fd *held, int fd)
{
	struct stat s;
	int error;

	if (fstat(fd, &s)) {
		error = -errno;
		close(fd);
		return error;
	}
	*held = (struct stm_held_fd){ fd, s.st_dev, s.st_ino };
	return 0;
}

bool stm_still_holds(const struct stm_held_fd *held)
{
	struct stat s;

	return held->fd >= 0 && !fstat(held->fd, &s) && s.st_dev == held->dev && s.st_ino == held->ino;
}

void stm_let_go(struct stm_held_fd *held)
{
	if (stm_still_holds(held))
		close(held->fd);
	held->fd = -1;
}

static int refuse(const char *path, int error, const char *what)
{
	stm_complain("event log %.300s: %s (%s): nothing is recorded", path, what, stm_errno_name(error));
	return error;
}

static int cannot_open(const char *path, int error)
{
	switch (-error) {
	case ENOENT:
		return refuse(path, error, "its directory does not exist");
	case ENOTSUP:
		return refuse(path, error, "it is no regular file");
	case ENAMETOOLONG:
		return refuse(path, error, "the name is too long");
	default:
		return refuse(path, error, "it cannot be opened for reading and writing");
	}
}

/* @path with the number for each "%p", and @suffix behind it. 0 or -ENAMETOOLONG. */
static int expand(char *to, size_t size, const char *path, const char *suffix)
{
	size_t len = 0;
	int n;

	for (; *path && len < size; len += (size_t)n)
		if (path[0] == '%' && path[1] == 'p') {
			n = snprintf(to + len, size - len, "%d", (int)getpid());
			path += 2;
		} else {
			n = 1;
			to[len] = *path++;
		}
	if (len < size)
		len += (size_t)snprintf(to + len, size - len, "%s", suffix);
	return len < size ? 0 : -ENAMETOOLONG;
}

static int open_regular(struct stm_held_fd *held, const char *path, int flags)
{
	struct stat s;
	int fd;

	if (!stat(path, &s) && !S_ISREG(s.st_mode))
		return -ENOTSUP;
	/* It may be another one by now: then at least nobody waits. */
	fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, MODE);
	if (fd < 0)
		return -errno;
	if (!fstat(fd, &s) && S_ISREG(s.st_mode))
		return stm_hold_fd(held, fd);
	close(fd);
	return -ENOTSUP;
}

/* 0 or -errno; -EWOULDBLOCK: another process has it. */
static int lock_file(int fd)
{
	int error;

	do
		error = flock(fd, LOCK_EX | LOCK_NB) ? -errno : 0;
	while (error == -EINTR);
	return error == -EWOULDBLOCK ? error : 0;
}

static bool may_be_written_over(int fd)
{
	char magic[MAGIC_BYTES];
	ssize_t n = pread(fd, magic, sizeof(magic), 0);

	return n == 0 || (n == sizeof(magic) && !memcmp(magic, STM_LOG_MAGIC, sizeof(magic)));
}

/* -EWOULDBLOCK is not reported. */
static int open_path(struct stm_event_file *file)
{
	int error = open_regular(&file->lock, file->path, O_RDWR | O_CREAT);

	if (error)
		return cannot_open(file->path, error);
	error = lock_file(file->lock.fd);
	if (error)
		goto let_go;
	if (!may_be_written_over(file->lock.fd)) {
		error = refuse(file->path, -EEXIST, "it is neither empty nor an event log, and is left as it is");
		goto let_go;
	}
	error = open_regular(&file->data, file->path, O_RDWR);
	if (!error && (file->data.dev != file->lock.dev || file->data.ino != file->lock.ino))
		error = -ESTALE;
	if (!error && ftruncate(file->data.fd, 0))
		error = -errno;
	if (!error)
		return 0;
	cannot_open(file->path, error);
	stm_let_go(&file->data);
let_go:
	stm_let_go(&file->lock);
	return error;
}

int stm_event_file_open(struct stm_event_file *file, const char *path)
{
	char first[PATH_MAX], suffix[16];
	int error = expand(first, sizeof(first), path, "");

	file->data.fd = file->lock.fd = -1;
	if (error || !*first)
		return cannot_open(path, error ? error : -ENOENT);
	strcpy(file->path, first);
	error = open_path(file);
	if (error != -EWOULDBLOCK)
		return error;

	snprintf(suffix, sizeof(suffix), ".%d", (int)getpid());
	error = expand(file->path, sizeof(file->path), path, suffix);
	if (error)
		return cannot_open(path, error);
	error = open_path(file);
	if (error == -EWOULDBLOCK)
		return refuse(file->path, error, "another process records to it");
	if (!error)
		stm_complain("event log %.300s: EWOULDBLOCK: another process records to it: this one appends %s",
			     first, suffix);
	return error;
}

void stm_event_file_close(struct stm_event_file *file)
{
	stm_let_go(&file->data);
	stm_let_go(&file->lock);
}
