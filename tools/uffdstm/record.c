// SPDX-License-Identifier: MIT
/*
 * record.c - /var/lib/uffdstm/undo: a line of what it is, then a line for each change:
 *
 *	+ mode /dev/userfaultfd 0600 0660
 *
 * "+" is overwritten by "-" when undo is done with it. Spaces, new lines and whatever is no printable ASCII are %XX; a
 * value of "-" is: there was nothing. A line is on the disk before its change is made; what a kill left of a line (it
 * has no end) belongs to a change that was never begun. Whoever holds the directory's flock changes record and places.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "setup.h"

#define FIRST_LINE "# uffdstm undo record 1: state, kind, place, old value, new value"

static char *escape(const char *value)
{
	char *escaped = malloc(3 * strlen(value) + 1), *to = escaped;

	if (!escaped)
		return NULL;
	for (; *value; value++)
		if (*value > ' ' && *value < 127 && *value != '%')
			*to++ = *value;
		else
			to += sprintf(to, "%%%02X", (unsigned char)*value);
	*to = 0;
	return escaped;
}

static char *unescape(char *value)
{
	char *from = value, *to = value;
	unsigned int byte;

	for (; *from; from++) {
		if (*from != '%') {
			*to++ = *from;
			continue;
		}
		if (sscanf(from, "%%%2x", &byte) != 1 || !byte || !from[1] || !from[2])
			return NULL;
		*to++ = byte;
		from += 2;
	}
	*to = 0;
	return value;
}

static int parse_line(struct change *change, char *line)
{
	char *fields[5], *save;
	int n = 0;

	for (char *field = strtok_r(line, " ", &save); field; field = strtok_r(NULL, " ", &save)) {
		if (n == 5 || !unescape(field))
			return -EINVAL;
		fields[n++] = field;
	}
	if (n != 5 || (strcmp(fields[0], "+") && strcmp(fields[0], "-")))
		return -EINVAL;
	change->kind = kind_by_name(fields[1]);
	if (!change->kind || !change->kind->allows(fields[2]))
		return -EINVAL;
	change->pending = fields[0][0] == '+';
	change->path = text("%s", fields[2]);
	change->old = text("%s", fields[3]);
	change->new = text("%s", fields[4]);
	return 0;
}

static int remember(struct record *record, const struct change *change)
{
	struct change *more = realloc(record->changes, (record->n + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	record->changes = more;
	more[record->n++] = *change;
	return 0;
}

static int parse(struct record *record, char *all)
{
	char *line = all, *end;
	int n = 1, error = 0;

	for (; !error && (end = strchr(line, '\n')); line = end + 1, n++) {
		struct change change = { .offset = line - all };

		*end = 0;
		if (n == 1 ? strcmp(line, FIRST_LINE) : parse_line(&change, line)) {
			snprintf(places_reason, sizeof(places_reason),
				 PLACE_RECORD ", line %d, is not from this program: "
					      "put right by hand what it names, then remove the file",
				 n);
			return -EUNSAFE;
		}
		if (n > 1)
			error = remember(record, &change);
		record->end = end + 1 - all;
	}
	return error;
}

static int open_directory(struct record *record, bool make)
{
	const char *name;
	struct stat st;
	int parent = places_open_parent(PLACE_RECORD_DIR, TRUST_ROOT, &name), error = 0, fd;

	if (parent < 0)
		return parent;
	if (make && !mkdirat(parent, name, 0700))
		error = sync_directory(parent);
	else if (make && errno != EEXIST)
		error = -errno;
	close(parent);
	if (error)
		return error;
	fd = places_open(PLACE_RECORD_DIR, S_IFDIR, TRUST_ROOT, &st);
	if (fd < 0)
		return fd;
	record->directory = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (record->directory < 0)
		error = -errno;
	close(fd);
	if (!error && flock(record->directory, LOCK_EX | LOCK_NB))
		error = errno == EWOULDBLOCK ? -EBUSY : -errno;
	return error;
}

static int open_file(struct record *record, bool make)
{
	struct stat st;
	int fd, error = 0;

	if (make) {
		fd = openat(record->directory, "undo", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0)
			return -errno;
		close(fd);
	}
	fd = places_open(PLACE_RECORD, S_IFREG, TRUST_ROOT, &st);
	if (fd < 0)
		return fd;
	record->fd = open(path_of(fd), O_RDWR | O_CLOEXEC);
	if (record->fd < 0)
		error = -errno;
	close(fd);
	return error;
}

/* What stands behind the last whole line goes. */
static int append(struct record *record, const char *line)
{
	int error;

	if (ftruncate(record->fd, record->end) || lseek(record->fd, record->end, SEEK_SET) < 0)
		return -errno;
	error = write_all(record->fd, line, strlen(line));
	if (!error && fsync(record->fd))
		error = -errno;
	if (!error)
		record->end += strlen(line);
	return error;
}

int record_open(struct record *record, bool make)
{
	char *all = NULL;
	size_t size;
	int error;

	*record = (struct record){ .directory = -1, .fd = -1 };
	error = open_directory(record, make);
	if (!error)
		error = open_file(record, make);
	if (!error)
		error = read_all(record->fd, &all, &size);
	if (!error)
		error = parse(record, all);
	free(all);
	if (!error && make && !record->end) {
		error = append(record, FIRST_LINE "\n");
		if (!error)
			error = sync_directory(record->directory);
	}
	return error;
}

int record_add(struct record *record, const struct change *change)
{
	char *path = escape(change->path), *old = escape(change->old), *new = escape(change->new);
	char *line = text("+ %s %s %s %s\n", change->kind->name, path, old, new);
	int error = path && old && new ? append(record, line) : -ENOMEM;

	free(path);
	free(old);
	free(new);
	free(line);
	return error;
}

int record_mark_undone(struct record *record, struct change *change)
{
	if (pwrite(record->fd, "-", 1, change->offset) != 1 || fsync(record->fd))
		return -errno;
	change->pending = false;
	return 0;
}

int record_remove(struct record *record)
{
	const char *name;
	int parent, error = 0;

	if (record->directory < 0)
		return 0;
	if ((unlinkat(record->directory, "undo", 0) && errno != ENOENT) || fsync(record->directory))
		return -errno;
	parent = places_open_parent(PLACE_RECORD_DIR, TRUST_ROOT, &name);
	if (parent < 0)
		return parent;
	/* Somebody else's files may be in it. */
	if (unlinkat(parent, name, AT_REMOVEDIR) && errno != ENOTEMPTY && errno != ENOENT)
		error = -errno;
	if (!error)
		error = sync_directory(parent);
	close(parent);
	return error;
}

void record_close(struct record *record)
{
	for (int i = 0; i < record->n; i++) {
		free(record->changes[i].path);
		free(record->changes[i].old);
		free(record->changes[i].new);
	}
	free(record->changes);
	if (record->fd >= 0)
		close(record->fd);
	if (record->directory >= 0)
		close(record->directory);
}
