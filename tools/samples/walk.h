/* SPDX-License-Identifier: MIT */
/* The regular files below some directories. */
#ifndef FINDDUP_WALK_H
#define FINDDUP_WALK_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "scan.h"

/* Something that the walk met and left out, and told. */
struct skip {
	char *path;
	const char *reason;     /* a constant */
};

struct walk {
	struct file *files;     /* by path; each inode once, under its smallest path */
	size_t nr;
	size_t capacity;
	uint64_t bytes;         /* sizes of all files, as the walk saw them */
	uint64_t chunks;        /* an estimate, for the size of the table */
	uint64_t links;         /* symbolic links met, not followed */
	uint64_t other_names;   /* further names of files already in the list */
	struct skip *skips;     /* by path */
	size_t nr_skips;
	size_t skips_capacity;
	struct inodes *directories; /* seen so far */
};

/*
 * walk_add - the files below @path, a directory, or @path itself, a file.
 *
 * Symbolic links are followed for @path only. 0 or -errno; -ENOMEM, or @path itself cannot be read.
 */
int walk_add(struct walk *walk, const char *path);

/* walk_finish - after the last walk_add(): put all into order. 0 or -ENOMEM. */
int walk_finish(struct walk *walk);

/* walk_skip - add @path, which is copied, to what was left out. 0 or -ENOMEM. */
int walk_skip(struct walk *walk, const char *path, const char *reason);
void walk_sort_skips(struct walk *walk);

void walk_free(struct walk *walk);

/* print_path - @path with control characters, backslashes and line ends written as \ooo. */
void print_path(const char *path, FILE *out);

#endif
