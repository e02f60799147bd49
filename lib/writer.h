/* SPDX-License-Identifier: MIT */
/*
 * writer.h - writes to the event log's file, many at a time: by io_uring, or by pwritev(2) where that is not to be had.
 *
 * One thread at a time calls: the flusher.
 */
#ifndef STM_WRITER_H
#define STM_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uffdstm/event.h>

#include "event_file.h"

#define STM_WRITES_LIMIT 256u           /* at once */
#define STM_NO_BUFFER (-1)

struct stm_write {
	const unsigned char *bytes;
	size_t len;
	size_t done;                    /* of them: the first ones */
	uint64_t offset;                /* in the file */
	int buffer;                     /* registered, that they are in; or STM_NO_BUFFER */
	bool follows;                   /* it may not be in the file without the one before */
};

struct stm_writer_stats {
	uint64_t bytes, writes, calls;  /* calls: io_uring_enter(2) or pwritev(2) */
	unsigned int buffers;           /* registered */
};

/* @buffers: as many can be registered. Whatever happens, it can be written to then. */
void stm_writer_open(const struct stm_event_file *file, unsigned int buffers);
void stm_writer_close(void);

/* How it is written now, which may change from io_uring to pwritev; and why that is, "" if by io_uring. */
enum stm_log_writer stm_writer_kind(void);
const char *stm_writer_reason(void);

/* Whether writes from there may name buffer @number from now on: there may be no locked memory left. */
bool stm_writer_register(unsigned int number, void *bytes, size_t len);

/*
 * Write what of @writes is not done, in any order and at once. Offsets must ascend. 0, or -errno of one that failed:
 * what is not done then may be given again later.
 */
int stm_writer_run(struct stm_write *writes, unsigned int n);

void stm_writer_forked(void);           /* in a child: close the descriptor, no more */

extern struct stm_writer_stats stm_writer_stats; /* the flusher's, since stm_writer_open() */

#endif
