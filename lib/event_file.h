/* SPDX-License-Identifier: MIT */
/*
 * event_file.h - the event log's file: found by its path, made sure of, and locked.
 */
#ifndef STM_EVENT_FILE_H
#define STM_EVENT_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

/* A descriptor, and what it was opened on: programs close those that they do not know, and get the numbers again. */
struct stm_held_fd {
	int fd;                         /* -1: none */
	dev_t dev;
	ino_t ino;
};

int stm_hold_fd(struct stm_held_fd *held, int fd); /* 0 or -errno; @fd is closed then */
bool stm_still_holds(const struct stm_held_fd *held); /* false too if there is none */
void stm_let_go(struct stm_held_fd *held);      /* close it, if it is still what it was */

/*
 * The lock is on an open file of its own, which nothing but its descriptor keeps: what is registered with io_uring
 * outlives its process for a moment, and the next process would find the file locked.
 */
struct stm_event_file {
	struct stm_held_fd data, lock;
	char path[PATH_MAX];
};

/* See stm_flush_open(). The file is empty then. 0 or -errno, and one line on stderr said why. */
int stm_event_file_open(struct stm_event_file *file, const char *path);
void stm_event_file_close(struct stm_event_file *file);

#endif
