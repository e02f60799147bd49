/* SPDX-License-Identifier: MIT */
/*
 * status.h - what a process tells of itself while it uses the library. For `uffdstm status` and its kin: no program
 * needs this header, and uffdstm.h does not include it.
 *
 * From stm_init() to stm_fini() a process has a memfd of this name, which others find among /proc/PID/fd. It is sealed:
 * it keeps its size, and nobody but the library in that process writes it. A child of fork(2) may have it still: it is
 * that of the process whose id stands in it.
 *
 *   page 0       struct stm_status
 *   page 1 + i   segment i, if bit i of stm_status.segments is set, and that of .silent is not: the library's own
 *                memory, as it runs. Where its figures stand is told by stm_status.fields.
 *
 * Who reads it trusts nothing: a program may make a memfd of this name with anything in it. Look at the seals (without
 * F_SEAL_SHRINK a mapping of it may lose its pages), the size, magic, version; then take a copy of the first page, and
 * ask stm_status_read(), which believes no offset.
 */
#ifndef UFFDSTM_STATUS_H
#define UFFDSTM_STATUS_H

#include <stdint.h>
#include <string.h>

#include <uffdstm.h>

#define STM_STATUS_NAME	    "uffdstm-status"
#define STM_STATUS_MAGIC    "uffdstm"
#define STM_STATUS_VERSION  1u /* of all below; new fields at the ends leave it as it is */
#define STM_STATUS_PAGE	    4096u
#define STM_STATUS_SEGMENTS 64u         /* at most */

/* Figures of a segment; each a word, or several. */
enum stm_status_figure {
	STM_STATUS_VERSIONS,            /* its next transaction's; taken by each attempt, from 1 on */
	STM_STATUS_VERSIONS_BEFORE,     /* used up before they began again */
	STM_STATUS_COMMITS,             /* that wrote */
	STM_STATUS_ABORTS,              /* by reason */
	STM_STATUS_INEVITABLE,
	STM_STATUS_FAULTS,              /* by kind */
	STM_STATUS_PAGES_MAPPED,
	STM_STATUS_PAGES_COPIED,
	STM_STATUS_PAGES_DROPPED,
	STM_STATUS_PAGES_SHARED,
	STM_STATUS_PAGES_PRIVATE,
	STM_STATUS_VIEW_CALLS,          /* system calls */
	STM_STATUS_CALLS,
	STM_STATUS_ENTRY_BYTES,         /* of the log */
	STM_STATUS_LOG_WAITS,
	STM_STATUS_TRIMMED,             /* pages */
	STM_STATUS_TRIM_SWEEPS,
	STM_STATUS_TRIM_NS,
	STM_STATUS_ATTACHED,            /* has a thread */
	STM_STATUS_STATE,               /* 0: in no transaction */
	STM_STATUS_TAKEN,               /* STM_STATUS_PARKED: parked */
	STM_STATUS_SNAPSHOT,            /* log position: commits that it has applied */
	STM_STATUS_FIGURES
};

#define STM_STATUS_PARKED 2u
#define STM_STATUS_FIELDS 48u           /* room */

struct stm_status_field {
	uint16_t offset;                /* in the segment's page */
	uint8_t size;                   /* of a word: 1, 4 or 8 bytes, aligned */
	uint8_t count;                  /* 0: there is no such figure */
};

struct stm_status {
	/* The same in all versions. */
	char magic[8];
	uint32_t version;
	uint32_t page;                  /* bytes */
	char library[16];               /* its version */

	/* These stay as they are. */
	int32_t pid;                    /* as the process itself sees it */
	uint32_t layout;                /* STM_LAYOUT */
	uint64_t started;               /* ns since 1970 */
	uint64_t heap_limit, log_limit; /* bytes; the second for each segment */
	uint32_t segments_limit;
	uint32_t engine_in_calls;
	char engine[16], engine_why[96], engine_opened[48];

	/* These change. */
	uint64_t segments;              /* bit i: there is a segment i, */
	uint64_t silent;                /* but its page could not be had: nothing is known of it */
	uint64_t heap_bytes;
	uint64_t slot_bytes;            /* of the log */
	uint64_t folded;                /* log position: commits that are in the base */
	uint64_t parks;                 /* times a segment was parked */
	char log_held_by[128];          /* where the transaction began that held up fold last, or empty */

	uint32_t fields_n;
	struct stm_status_field fields[STM_STATUS_FIELDS]; /* by enum stm_status_figure */
};

/* The figures of segments, added up. */
struct stm_status_sum {
	uint64_t commits, commits_read_only, aborts[STM_ABORT_REASONS], inevitable;
	uint64_t faults[STM_FAULT_KINDS];
	uint64_t pages_mapped, pages_copied, pages_dropped, pages_shared, pages_private;
	uint64_t system_calls;
	uint64_t entry_bytes, entry_bytes_max, log_waits; /* _max: of the one that has most */
	uint64_t trimmed, trim_sweeps, trim_ns;
	uint64_t segments, attached, running, parked;
	uint64_t snapshot;              /* the newest */
};

typedef uint32_t __attribute__((__may_alias__)) stm_status_u32;
typedef uint64_t __attribute__((__may_alias__)) stm_status_u64;

/* One word of a segment, or 0 if there is none such. */
static inline uint64_t stm_status_word(const struct stm_status *status, const void *segment,
				       unsigned int figure, unsigned int index)
{
	const struct stm_status_field *field = &status->fields[figure];
	const char *at;
	unsigned int offset;

	if (figure >= STM_STATUS_FIELDS || figure >= status->fields_n || index >= field->count)
		return 0;
	offset = field->offset + index * field->size;
	if (offset > STM_STATUS_PAGE - 8)
		return 0;
	at = (const char *)segment + offset;
	/* Its thread writes it meanwhile, unordered: it is a moment old. */
	if (field->size == 1)
		return *(const volatile unsigned char *)at;
	if (field->size == 4 && offset % 4 == 0)
		return *(const volatile stm_status_u32 *)at;
	if (field->size == 8 && offset % 8 == 0)
		return *(const volatile stm_status_u64 *)at;
	return 0;
}

/* Add what is in @segment, the page of one. @status is a copy that nobody changes, or the reader's own. */
static inline void stm_status_read(struct stm_status_sum *sum, const struct stm_status *status,
				   const void *segment)
{
#define STM_STATUS_GET(figure) stm_status_word(status, segment, STM_STATUS_##figure, 0)
	uint64_t commits = STM_STATUS_GET(COMMITS), ended = commits, attempts, bytes, snapshot;

	sum->commits += commits;
	/* A later version may have more reasons. */
	for (unsigned int i = 0; i < status->fields[STM_STATUS_ABORTS].count; i++) {
		uint64_t n = stm_status_word(status, segment, STM_STATUS_ABORTS, i);

		if (i < STM_ABORT_REASONS)
			sum->aborts[i] += n;
		ended += n;
	}
	/*
	 * Each attempt that ended took a version, from 1 on: what neither wrote nor failed only read. Looked at
	 * last, since it is counted last.
	 */
	attempts = STM_STATUS_GET(VERSIONS) + STM_STATUS_GET(VERSIONS_BEFORE);
	if (attempts > ended)
		sum->commits_read_only += attempts - 1 - ended;
	sum->inevitable += STM_STATUS_GET(INEVITABLE);
	for (unsigned int i = 0; i < STM_FAULT_KINDS; i++)
		sum->faults[i] += stm_status_word(status, segment, STM_STATUS_FAULTS, i);
	sum->pages_mapped += STM_STATUS_GET(PAGES_MAPPED);
	sum->pages_copied += STM_STATUS_GET(PAGES_COPIED);
	sum->pages_dropped += STM_STATUS_GET(PAGES_DROPPED);
	sum->pages_shared += STM_STATUS_GET(PAGES_SHARED);
	sum->pages_private += STM_STATUS_GET(PAGES_PRIVATE);
	sum->system_calls += STM_STATUS_GET(VIEW_CALLS) + STM_STATUS_GET(CALLS);
	bytes = STM_STATUS_GET(ENTRY_BYTES);
	sum->entry_bytes += bytes;
	if (bytes > sum->entry_bytes_max)
		sum->entry_bytes_max = bytes;
	sum->log_waits += STM_STATUS_GET(LOG_WAITS);
	sum->trimmed += STM_STATUS_GET(TRIMMED);
	sum->trim_sweeps += STM_STATUS_GET(TRIM_SWEEPS);
	sum->trim_ns += STM_STATUS_GET(TRIM_NS);
	sum->segments++;
	if (STM_STATUS_GET(ATTACHED)) {
		sum->attached++;
		sum->running += STM_STATUS_GET(STATE) != 0;
		sum->parked += STM_STATUS_GET(TAKEN) == STM_STATUS_PARKED;
	}
	snapshot = STM_STATUS_GET(SNAPSHOT);
	if (snapshot > sum->snapshot)
		sum->snapshot = snapshot;
#undef STM_STATUS_GET
}

#endif
