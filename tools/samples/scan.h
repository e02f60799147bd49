/* SPDX-License-Identifier: MIT */
/*
 * Reading one file into a list of chunks. The list is ordinary memory of one
 * worker, so all of a file is known before anything is put into a table.
 */
#ifndef FINDDUP_SCAN_H
#define FINDDUP_SCAN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

/* What must stay the same while a file is read, and from one pass to the next. */
struct identity {
	dev_t dev;
	ino_t ino;
	off_t size;             /* bytes */
	struct timespec modified;
	struct timespec changed;
};

enum file_state {
	FILE_WAITING,           /* not read yet */
	FILE_READ,              /* its chunks are in the table */
	FILE_UNREADABLE,        /* left out: @error tells why */
	FILE_CHANGED,           /* left out: it changed while it was read, or since the walk */
	FILE_CHANGED_LATER,     /* left out afterwards: --verify found it changed */
};

/* A regular file that the walk found. Its number is its rank in the order of paths. */
struct file {
	const char *path;
	bool follow;            /* an argument: may be a symbolic link */
	enum file_state state;
	int error;              /* errno, if FILE_UNREADABLE */
	struct identity identity; /* as the walk saw it; then as it was read */
};

/* XXH3, 128 bits, of the chunk's bytes. */
struct hash {
	uint64_t low, high;
};

/* One chunk of a file, in the order of the file. */
struct span {
	struct hash hash;
	uint64_t offset;        /* bytes */
	uint32_t size;          /* bytes */
};

/* What one worker reads with; the counters are for the progress line. */
struct scan {
	struct span *spans;
	size_t nr;
	size_t capacity;
	unsigned char *buffer;
	const struct file *of;  /* the file whose chunks @spans holds, or NULL */
	_Atomic uint64_t files, bytes;
	struct scan *next;
};

/* scan_new - NULL with errno ENOMEM. All are freed at once by scan_free_all(). */
struct scan *scan_new(void);
void scan_free_all(void);

/* scan_totals - what all workers have read so far. Any thread, any time. */
void scan_totals(uint64_t *files, uint64_t *bytes);

/*
 * scan_file - read @file, cut and hash it.
 *
 * Writes nothing but @scan, @identity and @error. FILE_READ: the chunks are in @scan, @identity is
 * how the file was all the while. FILE_UNREADABLE: *@error is set. FILE_CHANGED.
 */
enum file_state scan_file(struct scan *scan, const struct file *file, struct identity *identity,
			  int *error);

void identity_of(struct identity *identity, const struct stat *st);
bool identity_equal(const struct identity *a, const struct identity *b);

#endif
