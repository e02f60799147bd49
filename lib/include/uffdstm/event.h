/* SPDX-License-Identifier: MIT */
/*
 * event.h - the event log's file: what UFFDSTM_LOG=file writes, and `uffdstm report file` reads.
 *
 * A file is a struct stm_log_header, then records, one behind the other, to its end. A record is one unit of 32
 * bytes, and as many more as its @more says. All numbers are little-endian; times are ticks of the header's
 * clock. Records of one thread come in the order in which they happened, with two exceptions: definitions stand
 * before all that uses them, and what a fault handler's thread did for another (engine "thread") may come late.
 * Records of different threads are mixed; a reader that wants one order sorts by time.
 *
 * The end may be missing, anywhere, if the program was killed. Zero bytes where a record should begin are a
 * hole: writes are done out of order, and one of them was not done. A hole is as long as it is zero, by whole
 * units, and a record follows.
 *
 * A reader skips kinds that it does not know, with their further units. STM_LOG_VERSION grows when something
 * that has a meaning gets another one, or a kind further units that it had not; a reader of version N reads N - 1 as
 * well. The first version is 1. So a known kind with another number of further units than the table has is damage, and
 * ends the reading: nothing tells where the next record begins.
 */
#ifndef UFFDSTM_EVENT_H
#define UFFDSTM_EVENT_H

#include <stdint.h>

#define STM_LOG_MAGIC "uffdstm\n"       /* without the terminating 0 */
#define STM_LOG_VERSION 1u
#define STM_LOG_UNIT 32u

/* stm_log_header.clock */
enum stm_log_clock {
	STM_CLOCK_MONOTONIC = 1,        /* ticks are nanoseconds of CLOCK_MONOTONIC */
	STM_CLOCK_TSC = 2               /* ticks of the processor's time stamp counter: STM_EVENT_CLOCK says when they were */
};

struct stm_log_header {
	char magic[8];                  /* STM_LOG_MAGIC */
	uint32_t version;               /* STM_LOG_VERSION */
	uint32_t header_bytes;          /* the first record stands there: a multiple of 32, at most 4096 */
	uint32_t unit_bytes;            /* STM_LOG_UNIT */
	uint32_t clock;                 /* enum stm_log_clock */
	uint64_t ticks_per_second;      /* about: STM_EVENT_CLOCK tells it better */
	uint64_t start;                 /* ticks when the log began */
	uint64_t start_ns;              /* nanoseconds of CLOCK_REALTIME then, since 1970 */
	uint64_t heap;                  /* the heap's first address, as an STM pointer */
	uint64_t heap_limit;            /* bytes */
	uint32_t granule;               /* bytes */
	uint32_t pid;
	uint32_t sample;                /* one in so many commits is logged; 1: all */
	uint32_t build_id_bytes;        /* of the executable's build id; 0: it has none */
	uint8_t build_id[32];
	char executable[256];           /* its path, or as much as fits; terminated */
	char library[16];               /* the library's version */
	uint8_t zero[64];
};

/* The first unit of each record. What the last four mean is in the table below. */
struct stm_record {
	uint64_t time;                  /* when it began */
	uint8_t kind;                   /* enum stm_event_kind */
	uint8_t more;                   /* units that follow, which belong to it */
	uint16_t thread;                /* the thread's number, see STM_EVENT_THREAD; STM_NO_THREAD: the library's own */
	uint32_t site;                  /* where its transaction began: a number of STM_EVENT_SITE; 0: none */
	uint64_t duration;              /* ticks */
	uint64_t value;
};

#define STM_NO_THREAD 0xffffu

/*
 * The kinds. @thread is whose it is; a field that is not told is 0.
 *
 * Definitions. Text stands in the further units, filled up with zero bytes.
 *   SITE         @site its number, @value the line; text: file, 0, function, and if transactions that begin there have a
 *                name: 0, name. If @duration is not 0 it is the address of the function of a queue's task, whose
 *                transaction it is, and file and function are empty
 *   NAME         @site its number; text: of a label, or of a reason
 *   THREAD       from @time on @thread is the thread with the kernel's id @value; text: its name
 *   MODULE       from @time on code is at @value, @duration bytes; struct stm_log_module; text: path of the file
 *   WRITER       @value enum stm_log_writer; text: why, if it is not the first
 *
 * What happened in a transaction; @site is where it began, @duration in ticks.
 *   COMMIT       an attempt that committed what it wrote; @value STM_COMMIT_VALUE
 *   READ_ONLY    an attempt that committed, and wrote nothing; @value STM_COMMIT_VALUE
 *   ABORT        an attempt that was undone; @value STM_ABORT_VALUE; may have a struct stm_log_conflict
 *   INEVITABLE   it became so, @duration after it asked; @value: a NAME's number, why; 0: to have right of way
 *   WAIT         @value enum stm_log_wait; for STM_WAIT_LOG @site is the one that is waited for, or 0
 *   FAULT        a page fault and how long it took to resolve; @value STM_FAULT_VALUE; @site may be 0
 *   PRIVATISE    pages that a barrier made private, without a fault; @value STM_FAULT_VALUE
 *   READER       the code that read the granule at @value, with its callers: STM_READER_FRAMES
 *
 * What happened besides.
 *   FOLD         @value entries went into the base
 *   TRIM         @value pages were no longer used and left the view
 *   PARK         the thread with number @value sleeps, and was parked
 *   LOG_GROWTH   this thread's part of the commit log is @value bytes: more than ever before
 *   TASK_BEGIN   of a queue; @value the address of its function, @site that of its transaction
 *   TASK_END     likewise, @duration after it began
 *   DETACH       @thread is nobody's from here on
 *
 * Of this log itself.
 *   DROPPED      @value records of @thread were lost just before: the disk did not keep up
 *   CLOCK        @value nanoseconds of CLOCK_MONOTONIC at @time
 *   END          the program ended the library, and the log is whole: @value bytes without this record
 */
enum stm_event_kind {
	STM_EVENT_HOLE = 0,
	STM_EVENT_SITE = 1,
	STM_EVENT_NAME = 2,
	STM_EVENT_THREAD = 3,
	STM_EVENT_MODULE = 4,
	STM_EVENT_WRITER = 5,
	STM_EVENT_COMMIT = 16,
	STM_EVENT_READ_ONLY = 17,
	STM_EVENT_ABORT = 18,
	STM_EVENT_INEVITABLE = 19,
	STM_EVENT_WAIT = 20,
	STM_EVENT_FAULT = 21,
	STM_EVENT_PRIVATISE = 22,
	STM_EVENT_READER = 23,
	STM_EVENT_FOLD = 32,
	STM_EVENT_TRIM = 33,
	STM_EVENT_PARK = 34,
	STM_EVENT_LOG_GROWTH = 35,
	STM_EVENT_TASK_BEGIN = 36,
	STM_EVENT_TASK_END = 37,
	STM_EVENT_DETACH = 38,
	STM_EVENT_DROPPED = 48,
	STM_EVENT_CLOCK = 49,
	STM_EVENT_END = 50
};

/* STM_EVENT_MODULE. */
struct stm_log_module {
	uint64_t bias;                  /* an address minus this is what addr2line(1) wants for the file */
	uint32_t build_id_bytes;        /* 0: it has none */
	uint8_t build_id[20];
};

/* STM_EVENT_WRITER. */
enum stm_log_writer {
	STM_WRITER_IO_URING = 1,
	STM_WRITER_PWRITE = 2           /* io_uring is not to be had */
};

/* STM_EVENT_COMMIT, STM_EVENT_READ_ONLY: granules written, and how many such transactions it stands for (sampling). */
#define STM_COMMIT_VALUE(granules, weight) ((uint64_t)(weight) << 32 | (uint32_t)(granules))
#define STM_COMMIT_GRANULES(value) ((uint32_t)(value))
#define STM_COMMIT_WEIGHT(value) ((uint32_t)((value) >> 32))

/*
 * STM_EVENT_ABORT: enum stm_abort_reason; attempts that had failed before this one; 1 if its beginning was not timed,
 * by sampling, and @duration is 0.
 */
#define STM_ABORT_VALUE(reason, attempt, untimed) \
	((uint64_t)(reason) | (uint64_t)(attempt) << 8 | (uint64_t)(untimed) << 40)
#define STM_ABORT_REASON(value) ((unsigned int)((value)&0xff))
#define STM_ABORT_ATTEMPT(value) ((uint32_t)((value) >> 8))
#define STM_ABORT_UNTIMED(value) ((value) >> 40 & 1)

/* What was read, and overwritten by another's commit. */
struct stm_log_conflict {
	uint64_t address;               /* of the granule, as an STM pointer */
	uint64_t position;              /* of the commit that wrote it */
	uint64_t writer_code;           /* address of the code that wrote it; 0: not known */
	uint64_t block;                 /* the block that the granule is in, as an STM pointer; 0: none */
	uint64_t block_bytes;
	uint64_t alloc_code;            /* address of the code that allocated it; 0: not known */
	uint32_t writer_site;           /* where the writing transaction began; 0: not known */
	uint32_t label;                 /* a STM_EVENT_NAME: of the object; 0: none */
	uint16_t writer_thread;
	uint16_t zero;
	uint32_t label_offset;          /* of the granule from the start of what is labelled, bytes */
};

#ifndef __cplusplus
_Static_assert(sizeof(struct stm_log_header) == 14 * STM_LOG_UNIT && sizeof(struct stm_record) == STM_LOG_UNIT &&
		       sizeof(struct stm_log_conflict) == 2 * STM_LOG_UNIT && sizeof(struct stm_log_module) == STM_LOG_UNIT,
	       "all are whole units");
#endif

/* STM_EVENT_WAIT. */
enum stm_log_wait {
	STM_WAIT_INEVITABLE = 1,        /* at commit, or to become inevitable: for an inevitable transaction's end */
	STM_WAIT_LOG = 2,               /* at begin: the commit log was full */
	STM_WAIT_BACK_OFF = 3,          /* after an abort, before the next attempt */
	STM_WAIT_RETRY = 4,             /* in stm_retry(): for a commit that touches what it read */
	STM_WAIT_TURN = 5               /* a task of an ordered queue: for those before it */
};

/* STM_EVENT_FAULT, STM_EVENT_PRIVATISE: the page, as an STM pointer; enum stm_fault_kind; pages mapped, 1 to 512. */
#define STM_FAULT_VALUE(address, kind, pages) ((address) | (uint64_t)(kind) | (uint64_t)((pages)-1) << 2)
#define STM_FAULT_ADDRESS(value) ((value) & ~(uint64_t)4095)
#define STM_FAULT_KIND(value) ((unsigned int)((value)&3))
#define STM_FAULT_PAGES(value) ((unsigned int)((value) >> 2 & 511) + 1)

/* STM_EVENT_READER: addresses of code, four a unit: what read it, the call that it is in, and so on; 0 after the last. */
#define STM_FRAMES_A_UNIT 4u
#define STM_READER_FRAMES 16u

#endif
