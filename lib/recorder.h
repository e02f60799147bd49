/* SPDX-License-Identifier: MIT */
/*
 * recorder.h - what happens in a thread becomes records of the event log (uffdstm/event.h).
 *
 * Without a log no segment has a recorder. Begin, commit and abort learn of one by bits that they test anyway
 * (STM_HEED_EVENTS, STM_ATTEND_EVENTS), the write barrier by the function that it calls (stm_hot.write); all else, which
 * is rare, asks stm_recording().
 * -DSTM_WITHOUT_EVENTS builds a library without any of it, to measure what that costs.
 */
#ifndef STM_RECORDER_H
#define STM_RECORDER_H

#include <uffdstm/event.h>

#include "clock.h"
#include "flush.h"
#include "internal.h"

enum stm_watch_state { STM_WATCH_OFF, STM_WATCH_WANTED, STM_WATCH_ARMED, STM_WATCH_STEPPING, STM_WATCH_DONE };

/* A granule that cost an attempt, and is looked at in the next: watch.c. */
struct stm_watch {
	enum stm_watch_state state;
	unsigned int steps;
	size_t granule;
	const void *pc;                 /* of the store that is let through */
};

/* Of one segment. Its thread's own; the ring's other end is the flusher's. */
struct stm_recorder {
	struct stm_ring ring;
	uint64_t room_until;            /* units that may be produced before the flusher is to be looked at again */
	_Atomic uint64_t lost;          /* records that found no room, since the last one that did; exit(3) may take them */
	uint16_t thread;                /* STM_NO_THREAD: the fault handler's */

	/* The running attempt. */
	uint64_t begun;                 /* ticks; 0: not timed */
	const struct stm_site *begun_at; /* and its number: */
	uint32_t site;
	uint32_t granules;              /* of the entry that it published */
	struct stm_code *codes;         /* of the entry in the making; the first stands for run 0 and on */
	uint32_t codes_n, codes_cap;    /* at least 1 */

	struct stm_watch watch;
	uint32_t until;                 /* commits that are not to be logged, by sampling */
	uint32_t random;
	uint64_t log_bytes;             /* the most that were told */
};

#ifdef STM_WITHOUT_EVENTS
#define STM_EVENTS 0
#else
#define STM_EVENTS 1
#endif

static inline bool stm_recording(const struct stm_seg *seg)
{
	return STM_EVENTS && unlikely(seg->recorder);
}

#define STM_SAMPLE_MAX 1000000u
#define STM_BUFFER_MIN ((size_t)16 << 10)
#define STM_BUFFER_MAX ((size_t)256 << 20)

int stm_recorder_open(void);            /* if an event log is asked for: 0 or -errno */
void stm_recorder_close(void);          /* nobody is attached */
void stm_recorder_forked(void);
void stm_recorder_attach(struct stm_seg *seg);
void stm_recorder_detach(struct stm_seg *seg);

/* ---- transactions ---- */

int stm_record_begin(struct stm_seg *seg); /* commit and abort will come here, too. 1, for begin to return */
void stm_record_commit(struct stm_seg *seg);
void stm_record_abort(struct stm_seg *seg, enum stm_abort_reason reason);
void stm_record_inevitable(struct stm_seg *seg, const char *why, uint64_t since); /* @why NULL: right of way */

void stm_record_log_wait(struct stm_seg *seg, uint64_t since);
void stm_record_log_bytes(struct stm_seg *seg, uint64_t bytes); /* it has so many now */

#define STM_NO_CODE ((const void *)-1)

void stm_record_new_code(struct stm_seg *seg, const void *behind);
void stm_record_rolled_back(struct stm_seg *seg); /* to a savepoint */

/* What writes next, in this thread: an address behind it, as a return address is; NULL: not known. */
static inline void stm_record_code(struct stm_seg *seg, const void *behind)
{
	if (unlikely(seg->behind != behind))
		stm_record_new_code(seg, behind);
}

/*
 * The entry in the making is about to be published: the code that wrote it is put behind it, for those who conflict
 * with it. How many bytes that is: they are not part of seg->tail yet.
 */
size_t stm_record_codes(struct stm_seg *seg);

/* @n addresses of code: what read the granule, and its callers. */
void stm_record_reader(struct stm_seg *seg, size_t granule, const uint64_t *code, unsigned int n);

/* ---- anything else ---- */

void stm_record(struct stm_recorder *recorder, enum stm_event_kind kind, uint64_t since, uint32_t site, uint64_t value);
struct stm_recorder *stm_recorder_of(struct stm_seg *seg, const struct stm_fault *fault); /* or NULL */
void stm_record_fault(struct stm_recorder *recorder, struct stm_seg *seg, uint64_t since, uint64_t value);

/* Before it: the time, for stm_record_since(). */
static inline uint64_t stm_record_start(const struct stm_seg *seg)
{
	return stm_recording(seg) ? stm_ticks() : 0;
}

/* It began at @since, or is of no length: 0. In a transaction or not. */
static inline void stm_record_since(struct stm_seg *seg, enum stm_event_kind kind, uint64_t since, uint64_t value)
{
	if (stm_recording(seg))
		stm_record(seg->recorder, kind, since, stm_in_tx(seg) ? seg->recorder->site : 0, value);
}

#endif
