// SPDX-License-Identifier: MIT
/*
 * places.c - the way to a place, one directory after the other. Each is opened by name in the one before, O_NOFOLLOW,
 * and looked at: whoever may write in it could put something else in our way.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "setup.h"

char places_reason[512];
static int root = -1;
static bool machine;

static int unsafe(const char *path, size_t length, const char *why)
{
	snprintf(places_reason, sizeof(places_reason), "%.*s %s", (int)length, path, why);
	return -EUNSAFE;
}

static bool is_trusted(uid_t owner, enum trust trust)
{
	const char *sudo = trust == TRUST_CALLER ? getenv("SUDO_UID") : NULL;

	return trust == TRUST_ANYBODY || owner == 0 || owner == geteuid() ||
	       (sudo && *sudo && owner == strtoul(sudo, NULL, 10));
}

static const char *owner_words(enum trust trust)
{
	return trust == TRUST_ROOT ? "does not belong to root" : "belongs neither to root nor to you";
}

static int look_at_directory(int fd, const char *path, size_t length, enum trust trust)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (!is_trusted(st.st_uid, trust))
		return unsafe(path, length, owner_words(trust));
	/* With the sticky bit, what is there belongs to its owner alone, who is looked at next. */
	if ((st.st_mode & S_IWOTH) && !(st.st_mode & S_ISVTX))
		return unsafe(path, length, "may be written by everybody: `chmod o-w` it first");
	if ((st.st_mode & S_IWGRP) && st.st_gid != 0 && !(st.st_mode & S_ISVTX))
		return unsafe(path, length, "may be written by its group: `chmod g-w` it first");
	return 0;
}

int places_open_root(const char *directory)
{
	int error;

	machine = !strcmp(directory, "/");
	root = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return -errno;
	error = look_at_directory(root, directory, strlen(directory), TRUST_ROOT);
	if (error)
		close(root);
	return error;
}

bool places_are_the_machine(void)
{
	return machine;
}

int places_open_parent(const char *path, enum trust trust, const char **name)
{
	const char *part = path, *slash;
	int fd = fcntl(root, F_DUPFD_CLOEXEC, 0), next, error = 0;
	char buffer[256];

	if (fd < 0)
		return -errno;
	if (*path != '/' || path[strlen(path) - 1] == '/')
		error = unsafe(path, strlen(path), "is no absolute path of a file");
	for (part = path + 1; !error && (slash = strchr(part, '/')); part = slash + 1) {
		size_t length = slash - part;

		if (!length || length >= sizeof(buffer) || !strncmp(part, "..", length)) {
			error = unsafe(path, strlen(path),
				       "is no plain path: write it without `.`, `..` and empty parts");
			break;
		}
		memcpy(buffer, part, length);
		buffer[length] = 0;
		next = openat(fd, buffer, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (next < 0) {
			struct stat st;

			error = -errno;
			if (error == -ENOTDIR && !fstatat(fd, buffer, &st, AT_SYMLINK_NOFOLLOW) && S_ISLNK(st.st_mode))
				error = unsafe(path, slash - path,
					       "is a symbolic link: give the path as `realpath` shows it");
			break;
		}
		close(fd);
		fd = next;
		error = look_at_directory(fd, path, slash - path, trust);
	}
	if (!error && (!*part || !strcmp(part, ".") || !strcmp(part, "..")))
		error = unsafe(path, strlen(path), "names no file");
	if (error) {
		close(fd);
		return error;
	}
	*name = part;
	return fd;
}

static const char *type_words(mode_t type)
{
	return S_ISCHR(type) ? "is no character device" : S_ISREG(type) ? "is no regular file" : "is no directory";
}

int places_open(const char *path, mode_t type, enum trust trust, struct stat *st)
{
	const char *name;
	int parent = places_open_parent(path, trust, &name), fd, error = 0;

	if (parent < 0)
		return parent;
	fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		error = -errno;
	close(parent);
	if (error)
		return error;
	if (fstat(fd, st))
		error = -errno;
	else if (S_ISLNK(st->st_mode))
		error = unsafe(path, strlen(path), "is a symbolic link: it is not followed");
	else if ((st->st_mode & S_IFMT) != type)
		error = unsafe(path, strlen(path), type_words(type));
	else if (!is_trusted(st->st_uid, trust))
		error = unsafe(path, strlen(path), owner_words(trust));
	else if (st->st_mode & S_IWOTH)
		error = unsafe(path, strlen(path), "may be written by everybody: `chmod o-w` it first");
	else if ((st->st_mode & S_IWGRP) && S_ISREG(type) && st->st_gid != 0)
		error = unsafe(path, strlen(path), "may be written by its group: `chmod g-w` it first");
	if (error) {
		close(fd);
		return error;
	}
	return fd;
}
