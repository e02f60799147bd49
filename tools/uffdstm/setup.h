/* SPDX-License-Identifier: MIT */
/*
 * setup.h - what `uffdstm setup` and `uffdstm undo` share.
 *
 * A change is one thing about one place (the group of a device, the text of a file, the capabilities of a
 * program), with its old and its new value as text. Setup first finds all changes and says them. Then, for each: the
 * record gets a line with both values and is on the disk before the place is touched. Undo goes through the lines
 * backwards. A change is made by one system call (for a file: by rename), so that a place always has the one value or
 * the other, whenever setup or undo are killed.
 *
 *   setup.c    options; makes the changes
 *   plan.c     which changes the options mean
 *   undo.c     backwards
 *   record.c   the lines on the disk
 *   changes.c  how each kind of thing is read and written
 *   grant.c    the kind that is a program's capabilities
 *   places.c   which places there are; the way to them, without symbolic links or other people's directories
 *   rights.c   the capabilities of this process
 *   small.c    strings, whole reads and writes
 */
#ifndef UFFDSTM_SETUP_H
#define UFFDSTM_SETUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "uffdstm.h"

/* ---- places ---- */

#define PLACE_DEVICE "/dev/userfaultfd"
#define PLACE_RULE "/etc/udev/rules.d/70-uffdstm.rules"
#define PLACE_SYSCTL "/proc/sys/vm/unprivileged_userfaultfd"
#define PLACE_SYSCTL_FILE "/etc/sysctl.d/70-uffdstm.conf"
#define PLACE_SHMEM "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define PLACE_SHMEM_FILE "/etc/tmpfiles.d/uffdstm.conf"
#define PLACE_LIMITS_FILE "/etc/security/limits.d/70-uffdstm.conf"
#define PLACE_RECORD_DIR "/var/lib/uffdstm"
#define PLACE_RECORD PLACE_RECORD_DIR "/undo"

/* What errno cannot say: a place that must not be touched. The reason is in places_reason. */
#define EUNSAFE 4095
extern char places_reason[512];

/* All paths are below this directory; "/" is the machine itself. */
int places_open_root(const char *directory);
bool places_are_the_machine(void);

/* Who may own a place and the directories on the way to it. */
enum trust {
	TRUST_ROOT,
	TRUST_CALLER, /* root, or the user who called sudo */
	TRUST_ANYBODY, /* to look at a program, or to take its capabilities away */
};

/*
 * The directory that holds path, and in *name the last part of path; or -errno. No part is a symbolic link, each
 * belongs to somebody trusted, and nobody else may write there.
 */
int places_open_parent(const char *path, enum trust trust, const char **name);
/* The same, then path itself, O_PATH. It is of that type (S_IFREG...), and not for everybody to write. */
int places_open(const char *path, mode_t type, enum trust trust, struct stat *st);

/* ---- kinds of change ---- */

struct kind {
	const char *name;
	/* The value, to be freed; "-" where there is none. */
	int (*read)(const char *path, char **value);
	int (*write)(const char *path, const char *value);
	/* May this path be changed in this way? */
	bool (*allows)(const char *path);
	/* In words, to be freed: what a change to this value does. */
	char *(*words)(const char *path, const char *value);
	uint64_t needs; /* capabilities, 1 << CAP_... */
};

extern const struct kind kind_directory, kind_file, kind_group, kind_mode, kind_acl, kind_value, kind_capabilities;
const struct kind *kind_by_name(const char *name);

/* A file's value: its mode, a new line, what it holds. */
char *file_value(mode_t mode, const char *text);
/* An access-control list in which the owning group may read and write. */
int acl_value(const char *old, char **value);
/* Removes what a killed setup left beside a file. */
int file_clean(const char *path);

/* Value that path would have with or without cap_sys_ptrace; old is what kind_capabilities.read() gave. */
int grant_value(const char *path, const char *old, bool granted, char **value);

struct change {
	const struct kind *kind;
	char *path, *old, *new;
	long offset; /* of its line in the record */
	bool pending; /* not undone */
};

void change_free(struct change *change);

/* ---- what is asked for ---- */

#define DEFAULT_GROUP "uffdstm"

struct wishes {
	const char *group;        /* whose members may use the device, or lock memory */
	bool device, sysctl;
	const char *shmem_thp;    /* NULL: leave it */
	const char *memlock;      /* KiB, or "unlimited" */
	struct {
		const char *path;
		bool granted;
	} *programs;
	int programs_n;
};

struct plan {
	struct change *changes;   /* in the order in which they are made; of values that are so already, none */
	int n;
};

/* 0, or -1 after an error line. */
int plan_make(struct plan *plan, const struct wishes *wishes);
/* One line for each change. */
void plan_print(const struct plan *plan);
void plan_free(struct plan *plan);

/* ---- the record ---- */

struct record {
	int directory, fd;
	struct change *changes;
	int n;
	long end; /* of the last whole line */
};

/* 0 or -errno; -ENOENT: there is none, and make was not set. -EBUSY: another setup or undo runs. */
int record_open(struct record *record, bool make);
int record_add(struct record *record, const struct change *change);
int record_mark_undone(struct record *record, struct change *change);
/* The record goes, and its directory. */
int record_remove(struct record *record);
void record_close(struct record *record);

/* ---- rights ---- */

/* Gives up for good all capabilities but these. No exec gets any back. */
int rights_keep(uint64_t capabilities);
/* Those of them that this process lacks. */
uint64_t rights_missing(uint64_t capabilities);
char *rights_words(uint64_t capabilities);

/* ---- small things ---- */

char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* complain() with the path's change in words; knows EUNSAFE. */
void complain_of(int error, const char *advice, const char *tried);
int write_all(int fd, const char *data, size_t size);
/* To be freed; ends with a 0 that is not counted. At most 1 MiB. */
int read_all(int fd, char **data, size_t *size);
int sync_directory(int fd);
char *hex_from_bytes(const void *bytes, size_t size);
/* -EINVAL, or how many bytes. */
int bytes_from_hex(const char *hex, void *bytes, size_t size);
/* Where the kernel shows a descriptor as a path, for calls that take none with O_PATH. Valid until the next call. */
const char *path_of(int fd);

#endif
