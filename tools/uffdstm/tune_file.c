// SPDX-License-Identifier: MIT
/*
 * tune_file.c - the profile's way to the disk: whole, or not at all.
 *
 * The folder is opened first, and what is done is done in it by name: a file beside the profile is made anew
 * (O_EXCL), written, synced, and renamed. What stands in the profile's place already must be a regular file that tune
 * wrote: no symbolic link, which would lead who knows where, and nobody's own profile, unless it is forced.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "setup.h"
#include "tune.h"

struct target {
	char *path, *folder;
	const char *name;       /* in the folder: the end of the path */
	bool force;
	int fd;                 /* the folder's */
};

/* ---- where to ---- */

/* The folder that holds the user's settings, made if it is not there; to be freed. NULL after an error line. */
static char *home_folder(void)
{
	const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	char *folder;

	if (config && config[0] == '/') {
		folder = text("%s", config);
	} else if (home && home[0] == '/') {
		folder = text("%s/.config", home);
	} else {
		complain(0, "name the file with --output", "HOME is not set");
		return NULL;
	}
	/* 0700: the XDG base directory specification */
	if (!mkdir(folder, 0700) || errno == EEXIST)
		return folder;
	complain(errno, "make it, or name the file with --output", "%s", folder);
	free(folder);
	return NULL;
}

static char *default_path(void)
{
	char *folder, *path;

	if (geteuid() == 0)
		return text("%s", STM_PROFILE_SYSTEM);
	folder = home_folder();
	if (!folder)
		return NULL;
	path = text("%s/%s", folder, STM_PROFILE_HOME);
	free(folder);
	return path;
}

static void split(struct target *target)
{
	const char *slash = strrchr(target->path, '/');

	target->name = slash ? slash + 1 : target->path;
	if (!slash)
		target->folder = text(".");
	else if (slash == target->path)
		target->folder = text("/");
	else
		target->folder = text("%.*s", (int)(slash - target->path), target->path);
}

/* ---- what is there ---- */

static bool has_mark(int fd)
{
	char start[sizeof(PROFILE_MARK) - 1];

	return pread(fd, start, sizeof(start), 0) == (ssize_t)sizeof(start) &&
	       !memcmp(start, PROFILE_MARK, sizeof(start));
}

/* May it be replaced? If not, it has been said. */
static bool may_replace(const struct target *target)
{
	struct stat st;
	bool marked;
	int fd;

	if (fstatat(target->fd, target->name, &st, AT_SYMLINK_NOFOLLOW)) {
		if (errno == ENOENT)
			return true;
		complain(errno, NULL, "%s", target->path);
		return false;
	}
	if (S_ISLNK(st.st_mode)) {
		complain(0, "name the file that it leads to with --output", "%s: a symbolic link is not followed",
			 target->path);
		return false;
	}
	if (!S_ISREG(st.st_mode)) {
		complain(0, "name another with --output", "%s: not a regular file", target->path);
		return false;
	}
	if (target->force || !st.st_size)
		return true;
	fd = openat(target->fd, target->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0) {
		complain(errno, "--force replaces it", "%s: whether tune wrote it", target->path);
		return false;
	}
	marked = has_mark(fd);
	close(fd);
	if (!marked)
		complain(0, "name another with --output, or replace it with --force",
			 "%s: it is there, and tune did not write it", target->path);
	return marked;
}

struct target *target_open(const char *path, bool force)
{
	struct target *target = calloc(1, sizeof(*target));
	char *whole = path ? text("%s", path) : default_path();

	if (!target || !whole) {
		if (whole)
			complain(ENOMEM, NULL, "%s", whole);
		free(target);
		free(whole);
		return NULL;
	}
	target->path = whole;
	target->force = force;
	split(target);
	target->fd = open(target->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (target->fd < 0)
		complain(errno, "make the folder, or name another file with --output", "%s", target->folder);
	else if (!*target->name)
		complain(0, "name a file", "%s: a folder", target->path);
	else if (faccessat(target->fd, ".", W_OK, AT_EACCESS))
		complain(errno, "name another file with --output", "writing in %s", target->folder);
	else if (may_replace(target))
		return target;
	target_close(target);
	return NULL;
}

const char *target_path(const struct target *target)
{
	return target->path;
}

void target_close(struct target *target)
{
	if (!target)
		return;
	if (target->fd >= 0)
		close(target->fd);
	free(target->folder);
	free(target->path);
	free(target);
}

/* ---- writing ---- */

static int write_beside(const struct target *target, const char *name, const char *data, size_t len)
{
	int fd = openat(target->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644), error;

	if (fd < 0)
		return -errno;
	error = write_all(fd, data, len);
	/* Whatever the umask: all programs read the machine's profile. */
	if (!error && geteuid() == 0 && fchmod(fd, 0644))
		error = -errno;
	if (!error && fsync(fd))
		error = -errno;
	if (close(fd) && !error)
		error = -errno;
	if (!error && renameat(target->fd, name, target->fd, target->name))
		error = -errno;
	if (error)
		unlinkat(target->fd, name, 0);
	return error;
}

int target_write(struct target *target, const char *data, size_t len)
{
	char *name = text(".%.200s.%ld", target->name, (long)getpid());
	int error;

	if (!may_replace(target)) { /* looked at before, but measuring took a while */
		free(name);
		return -1;
	}
	hold_interrupts(true);
	error = interrupted() ? -EINTR : write_beside(target, name, data, len);
	if (!error)
		error = sync_directory(target->fd);
	hold_interrupts(false);
	free(name);
	if (error && error != -EINTR)
		complain(error,
			 error == -ENOSPC || error == -EDQUOT ? "make room; what was there is as it was"
							      : "no profile was written",
			 "%s", target->path);
	return error ? -1 : 0;
}
