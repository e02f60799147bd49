/* SPDX-License-Identifier: MIT */
/*
 * flush.h - the event log's way into its file: rings that threads fill, and the thread that empties them.
 *
 * A ring holds whole units of event.h. Its producer writes records behind @head and then moves @head past them, by
 * whole records only; the flusher writes what is there into the file and moves @tail. A record may go on at the
 * start of the ring. A ring that is full is the producer's to see: it drops the record, and counts it.
 *
 * The flusher looks at the rings so often that a ring, at the pace seen so far, is a quarter full then. Nobody has to
 * wake it; but a producer that was idle for a second and then fills its ring within a fifth of one loses less
 * if it calls stm_flush_hurry() when half of it is full.
 *
 * When the disk refuses, nothing is lost that is in a ring, and the flusher goes on when it can be written again.
 */
#ifndef STM_FLUSH_H
#define STM_FLUSH_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <uffdstm/event.h>

#define STM_RINGS_LIMIT 65u             /* STM_SEGMENTS_LIMIT, and one for the library itself */
#define STM_RING_UNITS_MAX ((uint64_t)1 << 24)

struct stm_ring {
	_Atomic uint64_t head __attribute__((__aligned__(64))); /* units produced: the producer's, release */
	_Atomic uint64_t tail __attribute__((__aligned__(64))); /* units in the file: the flusher's, release */
	/* Of @units units, page aligned, outside the heap. Pinned: fork(2) copies it at once without MADV_DONTFORK. */
	unsigned char *bytes;
	uint64_t units;                 /* a power of two, 128 to STM_RING_UNITS_MAX */
};

/*
 * Make the file and start the flusher. "%p" in @path is replaced by the process's number; a file that another process
 * records to is left to it, and ".NUMBER" is appended. An event log that is there is written over; what is neither
 * empty nor an event log is refused. The header is in the file then. 0 or -errno, and one line on stderr said why.
 */
int stm_flush_open(const char *path, const struct stm_log_header *header);

/* Flush @ring, too, until stm_flush_close(). 0; -ENOSPC: there are STM_RINGS_LIMIT; -ENXIO: the log is not open. */
int stm_flush_add(struct stm_ring *ring);

/*
 * Definition records of @n units in all: they are never dropped, and stand in the file before all records that
 * are put into a ring after this call returned. Any thread; takes a mutex. Nothing if the log is not open.
 */
void stm_flush_define(const void *units, size_t n);

/* Look at the rings now, not when it is time. One load if that was asked for already; safe in a signal handler. */
void stm_flush_hurry(void);

/* Write all that is there, and the record that the log is whole; end the flusher. exit(3) does it, too. */
void stm_flush_close(void);

/* In a child of fork(2): forget everything, write nothing, close the descriptors. */
void stm_flush_forked(void);

#endif
