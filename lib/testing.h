/* SPDX-License-Identifier: MIT */
/*
 * testing.h - schedule points and mistakes, for selftests only. Nothing in a normal build.
 *
 * -DSTM_SCHEDULE compiles schedule points in: a test's hook may pause a thread there and let another run,
 * so that an interleaving is steered, not hoped for. -DSTM_MUTANT=n builds the library with one mistake.
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
	STM_MUTANTS
};

#ifndef STM_MUTANT
#define STM_MUTANT 0
#endif
#define STM_MUTATED(name) (STM_MUTANT == STM_MUTANT_##name)

#endif
