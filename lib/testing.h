/* SPDX-License-Identifier: MIT */
/*
 * testing.h - schedule points and mistakes, for selftests only; counts, for tools/bench. Nothing in a normal build.
 *
 * -DSTM_SCHEDULE compiles schedule points in: a test's hook may pause a thread there and let another run,
 * so that an interleaving is steered, not hoped for. -DSTM_MUTANTS compiles mistakes in: the variable UFFDSTM_MUTANT
 * has the number of the one that is made. -DSTM_COUNTING counts what threads do with the commit log.
 */
#ifndef STM_TESTING_H
#define STM_TESTING_H

#include <stdint.h>

enum stm_point {
	STM_POINT_BEGIN,                /* RUNNING is stored, TAKEN not yet read */
	STM_POINT_APPLIED,              /* an entry was applied, the snapshot not yet published */
	STM_POINT_VALIDATED,            /* all published entries are validated, the slot not yet taken */
	STM_POINT_PUBLISHED,            /* the entry is published, foreign ones not yet applied */
	STM_POINT_PACK,                 /* before a small entry is copied into its slot */
	STM_POINT_COPIED,               /* pages were copied from the base, not yet replayed */
	STM_POINT_DROPPED,              /* SHARED pages were dropped, not yet copied */
	STM_POINT_PINNED,               /* the replay pin is set, not yet checked again */
	STM_POINT_FOLD,                 /* the lowest snapshot is known, nothing folded yet */
	STM_POINT_FOLDED,               /* one entry was folded */
	STM_POINT_TAKING,               /* TAKEN is set, membarrier to come */
	STM_POINT_TAKEN,                /* an IDLE segment is held */
	STM_POINT_PENDING,              /* before PENDING is put into the log */
	STM_POINT_THROTTLE,             /* one turn of waiting for log space */
	STM_POINT_LOGGED,               /* a granule run was logged and marked */
	STM_POINT_TRIM,                 /* cold pages are chosen, not yet dropped */
	STM_POINT_WAITING,              /* stm_retry() has told that it waits, and not yet looked at the log */
	STM_POINT_WAIT_LOOKED,          /* and has looked */
	STM_POINT_ALONE,                /* a commit has told that it may write the base, and not yet asked whether it is alone */
	STM_POINT_AT_BASE,              /* one of its runs is written */
	STM_POINT_ALONE_ENDS,           /* who comes has told so, and not yet looked whether a commit is at the base */
	STM_POINT_LOOKED,               /* the flusher has read the heads of rings, not yet taken the definitions */
	STM_POINTS
};

#ifdef STM_SCHEDULE
extern void (*stm_schedule_hook)(enum stm_point point);
#define STM_POINT(point)                                        \
	do {                                                    \
		if (stm_schedule_hook)                          \
			stm_schedule_hook(STM_POINT_##point);   \
	} while (0)

/* Called with the position of each commit that wrote, on its thread, before the position is seen elsewhere. */
extern void (*stm_commit_hook)(uint64_t position);
#define STM_COMMITTED(position)                                 \
	do {                                                    \
		if (stm_commit_hook)                            \
			stm_commit_hook(position);              \
	} while (0)
#else
#define STM_POINT(point) ((void)0)
#define STM_COMMITTED(position) ((void)0)
#endif

#ifdef STM_COUNTING
/* Of one thread, what it did for sleeping segments included. */
struct stm_log_work {
	uint64_t applied_slots;         /* slots that the snapshot moved over one by one */
	uint64_t applied_skipped;       /* of them: its regions are not in the view */
	uint64_t applied_groups;        /* groups of 64 slots that it moved over at once */
	uint64_t applied_bytes;         /* copied into the view */
	uint64_t tested_slots;          /* slots looked through for conflicts */
	uint64_t tested_skipped;
	uint64_t tested_groups;
	uint64_t again_slots;           /* applied, or skipped, after they had been tested by the same walk */
	uint64_t tested_granules;       /* whose markers were due, pages not mapped included */
	uint64_t entry_lines;           /* cache lines of entries that are not packed, when they were applied */
	uint64_t lost_slots;            /* others took the slot first */
	uint64_t folded;                /* entries copied to the base */
};

extern _Thread_local struct stm_log_work stm_log_work;
#define STM_COUNT(what, n) (stm_log_work.what += (n))
#else
#define STM_COUNT(what, n) ((void)0)
#endif

enum stm_mutant {
	STM_MUTANT_RECYCLE = 1,         /* recycles the entry that fold stands on */
	STM_MUTANT_APPLY_UNMAPPED,      /* apply privatises UNMAPPED neighbours */
	STM_MUTANT_INEVITABLE_LOCK,     /* the inevitable lock beside the log */
	STM_MUTANT_POOL,                /* pooled memory without a position */
	STM_MUTANT_NO_REPLAY,           /* no replay after a copy */
	STM_MUTANT_NO_MEMBARRIER,
	STM_MUTANT_THROTTLE,            /* the throttle waits for the tail */
	STM_MUTANT_WRITE_NOT_READ,      /* a write does not imply a read */
	STM_MUTANT_EARLY_SNAPSHOT,      /* the snapshot is published before entries are applied */
	STM_MUTANT_UNDO_ORDER,          /* undo in the wrong order */
	STM_MUTANT_SHORT_MARKERS,       /* a marker range short by one granule */
	STM_MUTANT_NO_PIN,              /* replay without a pin */
	STM_MUTANT_PACK_EARLY,          /* the packed mark is stored before the bytes */
	STM_MUTANT_TRACK_NO_MARKS,      /* tracked pages that are mapped still do not count as read */
	STM_MUTANT_TRACK_NO_DIFF,       /* what was changed in tracked memory is not logged */
	STM_MUTANT_TRACK_NO_UNDO,       /* abort leaves tracked memory as it is */
	STM_MUTANT_NO_WAKE,             /* a fault on a page that is there wakes nobody */
	STM_MUTANT_NO_COLLECT,          /* stores that made no fault are not looked for */
	STM_MUTANT_STRICT_NO_COMPARE,   /* strict mode does not look for stores at commit */
	STM_MUTANT_STRICT_OLD_IMAGE,    /* its images lack what others committed during the transaction */
	STM_MUTANT_STRICT_NO_GUARD,     /* pages that a helper has written to stay open */
	STM_MUTANT_DOUBT_NOTHING,       /* a message of a thread that goes on already is believed */
	STM_MUTANT_PART_BEHIND,         /* detach stamps free memory with an older snapshot than that of the free */
	STM_MUTANT_TRIM_IN_TX,          /* trims while a transaction runs */
	STM_MUTANT_TRIM_WARM,           /* trims pages without a look at their markers */
	STM_MUTANT_WAIT_LATE,           /* stm_retry() looks at the log, then tells that it waits */
	STM_MUTANT_SAVEPOINT_ORDER,     /* what was logged last is what a rollback leaves */
	STM_MUTANT_COUNTER_CELL,        /* all segments add to one cell of a counter */
	STM_MUTANT_ORDERED_DIVIDE,      /* a map's leaf is divided without reading the values that move */
	STM_MUTANT_TURN_EARLY,          /* the turn passes before the commit is published */
	STM_MUTANT_TURN_PENDING,        /* a task whose turn has not come gets right of way */
	STM_MUTANT_TURN_STAYS,          /* a task that waits for its turn keeps its snapshot */
	STM_MUTANT_MAP_PHANTOM,         /* a walk over a map does not read empty buckets */
	STM_MUTANT_FIFO_EMPTY,          /* who finds a FIFO queue empty does not count as having read the slot */
	STM_MUTANT_VECTOR_DROP,         /* a vector's element is dropped without a write to it */
	STM_MUTANT_BLOB_LENGTH,         /* a blob's bytes are found without reading where they are */
	STM_MUTANT_COUNTER_BEYOND,      /* who adds nothing to a minimum or maximum does not count as having read it */
	STM_MUTANT_FIFO_ROOM,           /* nor does who finds a FIFO queue full, of its other end */
	STM_MUTANT_PRIORITY_EMPTY,      /* nor who finds a level of a priority queue empty */
	STM_MUTANT_VECTOR_END,          /* nor who finds a vector to end before an element */
	STM_MUTANT_BLOB_BYTES,          /* nor who gets a blob's bytes, of these */
	STM_MUTANT_SAVEPOINT_BLOCKS,    /* a rollback keeps the blocks that were allocated since */
	STM_MUTANT_MAP_LINK,            /* an entry is taken out of a map's chain without a write to its bucket */
	STM_MUTANT_ALONE_STAYS,         /* who attaches or un-parks leaves another one alone */
	STM_MUTANT_ALONE_NO_WAIT,       /* or does not wait for its commit */
	STM_MUTANT_BLIND,               /* an attempt that did not mark its reads is validated by its markers */
};

#ifdef STM_MUTANTS
extern int stm_mutant;
#define STM_MUTATED(name) (stm_mutant == STM_MUTANT_##name)
#else
#define STM_MUTATED(name) 0
#endif

#endif
