/* SPDX-License-Identifier: MIT */
/*
 * internal.h - the glossary: what the library is made of, and who may touch it.
 *
 * Positions count commits from 0. A segment's snapshot is the position of the first commit that its
 * view does not contain. Granules are counted from the start of the heap.
 *
 * What must hold (DESIGN, invariant F and its kin):
 *   1. folded <= published <= snapshot for every attached segment that is not PARKED.
 *   2. The base is written by fold, under the fold lock, or by the one segment that is alone (alone.c). Published entries
 *      never change.
 *   3. A slot goes EMPTY -> entry, EMPTY -> PENDING, PENDING -> entry or EMPTY (its owner only).
 *   4. Page states, view and snapshot of a segment change only by (a) its thread while RUNNING, (b) a helper
 *      that holds the fold lock, set TAKEN, did a membarrier and then saw IDLE, (c) attach, detach and
 *      un-park, under the fold lock.
 *   5. Lock order: attach lock, then grow lock or fold lock, then TAKEN. The allocator's locks stand alone. Who
 *      holds the fold lock waits for nothing and touches no UNMAPPED page of a view.
 *   6. The chunk that holds the position after a published slot exists.
 */
#ifndef STM_INTERNAL_H
#define STM_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <uffdstm.h>
#include <uffdstm/status.h>

#include "fault.h"
#include "message.h"
#include "testing.h"
#include "view.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define STM_PAGE_GRANULES (STM_PAGE / STM_GRANULE)              /* 256 */
#define STM_REGION_GRANULES (STM_REGION_PAGES * STM_PAGE_GRANULES) /* 2^17 */
#define STM_SEGMENTS_LIMIT 64u

/* ---- the commit log ---- */

/* A run: @count granules from @granule on, followed by their new bytes, the after-images. */
struct stm_run {
	uint64_t granule : 34;
	uint64_t count : 29;
	uint64_t fresh : 1;             /* memory allocated by this transaction: nothing to undo */
};

#define STM_RUN_MAX (((uint64_t)1 << 29) - 1)

/* stm_seg.extends */
#define STM_FRESH ((uint64_t)1 << 63)   /* flag: by fresh memory */
#define STM_NOTHING (~(uint64_t)0)

/* What one commit wrote. Written by its segment before it is published, never after. */
struct stm_entry {
	uint64_t origin;                /* struct stm_site * << 16 | segment: where it was written; STM_ORIGIN_CODES */
	uint32_t runs;
	uint32_t codes;
	/* struct stm_run and bytes, @runs times; struct stm_code, @codes times */
};

/* From run number @run on, up to that of the next of these: the code that wrote. Not that of fresh memory. */
struct stm_code {
	uint64_t address;               /* 0: not known */
	uint32_t run;
	uint32_t unused;
};

/* Flag: there are codes, for the event log. Else stm_entry.codes may be anything: a small commit does not store it. */
#define STM_ORIGIN_CODES ((uint64_t)1 << 15)

/* Values of stm_slot.entry; anything larger is the address of an entry plus flags. */
#define STM_SLOT_EMPTY ((uint64_t)0)
#define STM_SLOT_PENDING ((uint64_t)1)  /* an inevitable transaction will fill it */
#define STM_SLOT_MANY ((uint64_t)2)     /* flag: more than STM_LANES regions; the summary says nothing */
#define STM_SLOT_FLAGS ((uint64_t)63)   /* entries are aligned to 64 bytes */

#define STM_LANES 4

/*
 * One position of the log, one cache line. The first 16 bytes are published at once by cmpxchg16b. A
 * small entry is then copied beside them, so that one commit moves one line between cores; until
 * @packed is set readers go through the pointer, so nobody waits for a preempted publisher.
 */
struct stm_slot {
	_Atomic uint64_t entry;
	uint64_t summary;               /* regions touched, 16 bits a lane; unused lanes repeat lane 0 */
	_Atomic uint64_t packed;        /* origin, with the number of runs above the segment: stored last */
	uint32_t runs[2];               /* lane << 30 | granule in its region << 2 | count */
	uint8_t bytes[2 * 16];
} __attribute__((__aligned__(64)));

#define STM_PACKED_GRANULES 2u

#define STM_GROUP_SLOTS 64u
#define STM_CHUNK_SLOTS 1024u

/*
 * What 64 successive commits touched. Made by the first who walks over a whole group: a function of
 * published slots only, so all who make it write the same. @ready is stored last.
 */
struct stm_group {
	_Atomic uint32_t ready;
	_Atomic uint64_t regions[8];    /* bit r % 512 of each region */
	_Atomic uint64_t windows[8];    /* bit w % 512 of each window of STM_WINDOW_PAGES pages */
};

#define STM_WINDOW_PAGES ((size_t)16)

/* Part of the log. All zero when it is put to use. */
struct stm_chunk {
	struct stm_slot slots[STM_CHUNK_SLOTS];
	struct stm_group groups[STM_CHUNK_SLOTS / STM_GROUP_SLOTS];
};

/* Entry memory of one segment; a FIFO by position of their last entry. */
struct stm_block {
	struct stm_block *next;
	uint64_t last;                  /* position of the last entry in it */
	size_t size;                    /* of bytes[] */
	uint8_t bytes[] __attribute__((__aligned__(64)));
};

/* ---- segments ---- */

/* Inlined barriers store markers by types of their own. */
typedef uint32_t __attribute__((__may_alias__)) stm_marker;

enum stm_taken { STM_FREE, STM_TAKEN, STM_PARKED };
enum stm_inevitable { STM_UNDOABLE, STM_RIGHT_OF_WAY, STM_INEVITABLE };

/* stm_seg.state: as one word, so that begin stores it together with the transaction's site */
#define STM_IDLE ((uint64_t)0)
#define STM_RUNNING ((uint64_t)1)       /* without a site: the library's own work */

/* stm_seg.attention */
#define STM_ATTEND_PENDING 1u           /* its slot in the log is PENDING */
#define STM_ATTEND_ACTIONS 2u           /* hooks, saves, malloc */
#define STM_ATTEND_BLOCKS 4u            /* heap blocks allocated or freed */
#define STM_ATTEND_FOLD 8u              /* a block or chunk of the log was used up */
#define STM_ATTEND_RETRY 16u            /* @attempt is not 0 */
#define STM_ATTEND_EVENTS 32u           /* the event log wants to know */
#define STM_ATTEND_STRICT 64u           /* strict mode has pages to look at; from here on commit tests at once */
#define STM_ATTEND_TRACKED 128u         /* tracked pages are mapped */
#define STM_ATTEND_NAMES 256u           /* it is counted by name */
#define STM_ATTEND_SAVEPOINTS 512u      /* there were some: @span is not 0 */
#define STM_ATTEND_NESTED 1024u         /* times the transactions begun inside this one that have not ended */

/* stm_seg.heed */
#define STM_HEED_LOG 1u                 /* more log memory than the limit */
#define STM_HEED_HOOKS 2u               /* abort hooks are running: no transaction */
#define STM_HEED_VERSIONS 4u            /* the versions are used up */
#define STM_HEED_OUTCOME 8u             /* @outcome is not 0 */
#define STM_HEED_TRACKED 16u            /* tracked pages are mapped still */
#define STM_HEED_STRICT 32u             /* strict mode: always */
#define STM_HEED_TRIM 64u               /* it is time to look for cold pages */
#define STM_HEED_EVENTS 128u            /* the event log: always */
#define STM_HEED_NAMES 256u             /* this one is to be counted by name */

#define STM_NO_PIN UINT64_MAX

/* Callee-saved registers, stack pointer, return address: checkpoint.S knows the order. */
struct stm_checkpoint {
	uintptr_t rbx, rbp, r12, r13, r14, r15, rsp, rip;
};

/* Where faults go: the last cluster, pages [low, high), and how many pages it was to have. */
struct stm_stride {
	size_t low, high, size;
};

#define STM_TRIM_SAMPLES 8u

/* What trim.c knows of a segment. */
struct stm_trim {
	uint64_t seen;                  /* ns of the coarse clock at the last look */
	uint64_t time;                  /* ns that count: of those between two looks, at most a quarter of the age */
	uint64_t due;                   /* at this @time a begin is to take a sample; UINT64_MAX: no trim */
	uint64_t began;                 /* @time of the last sweep */
	int64_t credit;                 /* CPU time granted and not used, ns */
	struct {
		uint64_t at;            /* @time */
		uint32_t version;       /* the segment's then */
	} samples[STM_TRIM_SAMPLES];    /* a ring */
	unsigned int newest;            /* sample */
	unsigned int begins;            /* slow ones */
	uint64_t blind;                 /* ns, counted as in @time, for which reads were not marked: alone.c */
	uint64_t marked_from;           /* @time: since then they are */
	bool was_blind;                 /* since the last look: markers do not tell which pages are used */
	bool sweeping;
	uint8_t number;                 /* of the sweep, modulo STM_SWEEP_NUMBERS */
	size_t region;                  /* where the sweep goes on */
	unsigned int halvings;          /* of the age, for the limit */
	uint64_t to_visit[STM_REGION_SLOTS / 64];  /* bit r % 512: the sweep is still to visit region r */
	uint64_t has_marks[STM_REGION_SLOTS / 64]; /* it had a mapped page since its markers were last emptied */
	uint64_t pages, sweeps, ns;     /* statistics */
};

/* stm_seg.sweeps */
#define STM_SWEEP_NUMBERS 128u
#define STM_SWEEP_TRIMMED 128u          /* flag: sweep @number trimmed the page; else it was mapped after that sweep began */

struct stm_action;
struct stm_savepoint;
struct stm_alternative;
struct stm_blocks;
struct stm_tracked;
struct stm_strict;
struct stm_recorder;
struct stm_turn;
struct stm_counts;

/*
 * A segment: stands in the hot page of its own reservation, at STM_HOT. Three parts have fixed places:
 * the barriers know the first, checkpoint.S the others.
 */
struct stm_seg {
	/* The owner's, used by every transaction. */
	union {
		struct stm_hot hot;     /* as the inlined code sees it */
		struct {
			uint32_t version; /* of the running transaction, or of the next one */
			uint32_t version_again;
			uintptr_t segment;
			uint32_t runs;  /* of the entry in the making; with @attention: hot.unfinished */
			uint32_t attention; /* what the end must look at besides: STM_ATTEND_* */
			/* Read by fold and helpers now and then. */
			_Atomic uint64_t state; /* STM_IDLE, or the site of the running transaction */
			void (*write)(uintptr_t a, size_t len);
			_Atomic uint16_t unmarked; /* set by the owner, see alone.c; may be cleared at any time by who comes */
			uint16_t blind; /* the attempt may have reads without a marker: whatever is published conflicts */
			uint32_t heed; /* what begin must look at: STM_HEED_* */
		};
	};
	struct stm_slot *slot;          /* the slot at @snapshot */
	uint64_t snapshot;

	struct stm_checkpoint checkpoint __attribute__((__aligned__(64)));

	/* Written by the owner at each commit, read by fold and helpers now and then. */
	_Atomic uint64_t published __attribute__((__aligned__(64)));

	/* Written seldom. */
	_Atomic uint32_t taken __attribute__((__aligned__(64))); /* enum stm_taken */
	_Atomic bool attached;
	_Atomic bool alone;             /* it commits to the base: alone.c */
	_Atomic bool at_base;           /* such a commit is under way; written by the owner */
	uint32_t alone_tick, alone_told; /* the owner's: the time, for these, and of the last of them */
	bool checked;                   /* the owner's: an STM_DEBUG program, which needs all markers */
	uint64_t marks_until;           /* the owner's: the attempt from which on reads need not be marked any more */
	uint64_t marks_asked;           /* the attempt when that was last asked for */
	uint32_t marks_for;             /* how many attempts that was for */
	_Atomic uint64_t pin;           /* replay reads entries from here on; STM_NO_PIN */
	uint32_t idle_since;            /* helpers': its version at the last visit */
	unsigned int idle_visits;       /* helpers': visits since it last ran */

	/* What this transaction wrote: an entry in the making, its bytes still to come, and the old bytes. */
	struct stm_entry *entry __attribute__((__aligned__(64)));
	uint8_t *tail, *limit;          /* end of the last run's bytes; end of the block */
	struct stm_run *last;           /* the last run, if there is one */
	uint64_t extends;               /* the granule that would extend it, plus STM_FRESH; or STM_NOTHING */
	uint8_t *undo, *undo_tail, *undo_limit; /* the undo log: old bytes of all runs that are not fresh, in order */
	stm_marker *read_markers, *write_markers; /* by granule */
	const void *behind;             /* for the event log, what wrote last: an address behind it; STM_NO_CODE: not known */
	uint64_t commits;

	enum stm_inevitable inevitable;
	unsigned int attempt;           /* failed attempts of this transaction */
	unsigned int attempts_limit;    /* so many, then it gets right of way; set when an attempt fails */
	uint32_t span;                  /* versions before @version that are the same transaction's: savepoints */
	unsigned int id;
	int outcome;
	_Atomic int thread;             /* its thread's id, the kernel's; of the last one, if it is not attached */
	uint32_t random;                /* for back-off */

	struct stm_view view;
	struct stm_stride reads, writes; /* of UNMAPPED pages; of pages to be PRIVATE */
	struct stm_stride tracked_reads, tracked_writes; /* the same, of tracked memory */
	uint8_t *sweeps;                /* by page: number of a sweep, STM_SWEEP_TRIMMED */
	struct stm_trim trim;

	/* Entry memory: the block in use, blocks not yet recyclable, blocks to use next. */
	struct stm_block *block, *used_first, *used_last, *free;
	struct stm_block *spare;        /* large ones, which do not count as log */
	size_t spare_bytes;
	_Atomic uint64_t block_bytes;   /* of all of them; written by the owner */

	unsigned int hooks;             /* lists of hooks that are running */
	struct stm_savepoint *savepoints; /* that can be rolled back to, innermost last */
	uint32_t savepoints_n, savepoints_cap;
	uint32_t since;                 /* versions before @version that are behind the innermost of them; without one: @span */
	size_t imaged_tail, imaged_undo; /* entry and undo log, when pre-images of tracked memory were made */
	uint32_t enclosing;             /* savepoints around the nested function that runs: not its own to use */
	struct stm_alternative *alternative; /* where stm_retry() goes, or NULL: it waits */
	struct timespec deadline;       /* the earliest of those that went there; 0: none */
	uint32_t private_version, private_pages; /* pages made private by writes in the transaction of that version */
	struct stm_action *actions;
	size_t actions_n, actions_cap;
	struct stm_blocks *blocks;      /* the allocator's */
	struct stm_tracked *tracked;    /* tracked pages that are mapped; NULL: there were none yet */
	struct stm_strict *strict;      /* strict mode's, or NULL */
	struct stm_recorder *recorder;  /* the event log's, or NULL */
	struct stm_turn *turn;          /* while a task of an ordered queue runs: when it may commit */
	_Atomic(struct stm_counts *) counts; /* by name; NULL: none yet */
	stm_unwind_fn *unwind;          /* while C++ code runs in a transaction that C code began; else NULL */
	const _Atomic bool *stop;       /* a worker's: set when its queue stops */

	/* Statistics: written by the owner, or whoever holds the segment. */
	uint64_t aborts[STM_ABORT_REASONS];
	uint64_t faults[STM_FAULT_KINDS];
	uint64_t inevitables, log_waits, calls;
	uint64_t versions_renewed;      /* versions used before the last wrap: each attempt takes one */

	uint8_t *start;                 /* the reservation; its %gs base */
};

/* The thread's segment, or NULL. */
extern __thread struct stm_seg *stm__self __attribute__((__tls_model__("initial-exec")));

/* ---- the whole ---- */

struct stm_global {
	/* Constant from stm_init() to stm_fini(). */
	bool ready;
	int memfd;
	uint8_t *base;
	_Atomic uint32_t *fold_ticks;   /* by page: when fold wrote it; see stm_page_folded() */
	size_t heap_limit;              /* bytes */
	size_t cluster_min, cluster_max; /* pages */
	size_t writes_min;              /* the same as cluster_min, for pages to be PRIVATE */
	bool shares_hot_pages;          /* tests': sharing depends on no clock */
	uint32_t marked_attempts;       /* STM_MARKED_ATTEMPTS, or tests' */
	unsigned int segments_limit;
	unsigned int strict;            /* enum stm_strict_mode */
	bool recording;                 /* there is an event log */
	bool watching;                  /* and it wants to know who reads */
	size_t log_limit;
	const char *engine;             /* asked for, or NULL; while stm_init() runs */
	const char *engine_profile;     /* the profile's, or NULL; likewise */
	uint64_t trim_age;              /* ns; UINT64_MAX: no trim */
	unsigned int trim_share;        /* percent of a CPU, for each segment */
	uint64_t trim_limit;            /* private pages of a segment; UINT64_MAX: no limit */
	const char *event_log;          /* asked for, or NULL; while stm_init() runs, as the next two are: 0 if not asked for */
	uint64_t event_sample, event_buffer, event_readers;
	uint64_t event_buffer_profile;  /* the profile's, or 0 */
	uint32_t trim_versions;         /* pages that so many versions used last are not cold, whatever their age */

	_Atomic size_t heap_size;       /* bytes that exist; grows under the grow lock */
	_Atomic uint64_t waiting;       /* bit i: segment i waits in stm_retry(). Each commit looks: on a line that is seldom written */
	struct stm_seg *segments[STM_SEGMENTS_LIMIT]; /* appended under the grow lock */
	_Atomic unsigned int segments_n;

	/* Under the fold lock. */
	pthread_mutex_t fold_lock;
	struct stm_slot *fold_slot;     /* the slot at @folded */
	struct stm_seg *alone;          /* that was made so; NULL: none, or it has been told that it is not, and has no commit under way */
	uint64_t fold_told;             /* to the event log: up to there */
	uint64_t chunks_released;       /* chunks below this number were recycled */

	_Atomic unsigned int joining;   /* threads between stm_alone_end() and stm_alone_ended() */
	_Atomic(const struct stm_site *) log_held_by;
	_Atomic uint64_t folded __attribute__((__aligned__(64))); /* the base is the state at this position */
	_Atomic uint64_t recyclable;    /* slots and entries below it may be reused */
};

extern struct stm_global stm_global;
extern _Atomic bool stm_forked;         /* this process is a child: nothing works */

/* ---- init.c, segment.c: see the public header ---- */

void stm_not_here(const char *call) __attribute__((__noreturn__, __cold__)); /* not attached, or forked */
void stm_stop_if_forked(const char *call);
/*
 * Copy the options that a caller gave, or none, over the @size bytes of those that this version knows, which are the
 * defaults; they begin with their size. 0 or -EINVAL.
 */
int stm_copy_options(void *to, size_t size, const void *given);
int stm_segments_open(void);
int stm_segments_close(void);           /* -EBUSY: other threads are attached */

/* ---- heap.c ---- */

int stm_heap_open(void);
void stm_heap_close(void);
int stm_heap_grow(size_t size);         /* let the heap have @size bytes at least: 0 or -ENOMEM */
int stm_heap_enlist(struct stm_seg *seg); /* map what the heap has by now, and from now on what it gets */

/* ---- status.c: what other processes may read of this one ---- */

/* What is not of one segment. Written with relaxed atomics: who reads it is another process, or stm_stats(). */
extern struct stm_status *stm_status;

void stm_status_open(void);             /* after the engine was chosen; cannot fail */
void stm_status_close(void);
void stm_status_forked(void);           /* in the child */
int stm_status_place(struct stm_seg *hot, unsigned int id); /* make its page usable, all zero. Attach lock. 0 or -ENOMEM */
void stm_status_leave(unsigned int id);
void stm_status_log_held_by(const struct stm_site *site); /* fold lock */

/* ---- log.c ---- */

int stm_log_open(void);
void stm_log_close(void);
struct stm_slot *stm_slot_at(uint64_t position);
bool stm_log_provide(uint64_t position); /* make sure the chunk of @position exists; false: no memory */
void stm_log_release(uint64_t position); /* recycle chunks wholly below @position. Fold lock. */
const struct stm_group *stm_log_group(struct stm_slot *slot, uint64_t position);
void stm_pending_wait(struct stm_slot *slot);
void stm_pending_resolved(void);

static inline struct stm_slot *stm_slot_next(struct stm_slot *slot, uint64_t position)
{
	return likely((position + 1) % STM_CHUNK_SLOTS) ? slot + 1 : stm_slot_at(position + 1);
}

/* ---- slab.c: memory of the log ---- */

#define STM_PART_BYTES (sizeof(struct stm_chunk))

void *stm_part_take(void);              /* STM_PART_BYTES, aligned to 64, with anything in it; NULL: no memory */
void stm_part_give(void *part);
#define STM_PARTS_KEPT ((uint64_t)16 << 20) /* bytes, by default: a standstill of some 3 ms */
void stm_parts_open(uint64_t keep_bytes, bool huge); /* how much to keep when nothing is in use; ask for huge pages? */
void stm_parts_close(void);

/* ---- entry.c: making entries ---- */

int stm_entry_open(struct stm_seg *seg);
void stm_entry_close(struct stm_seg *seg);
#define STM_LARGE_ENTRY ((size_t)1 << 20)       /* memory of larger ones is not kept */
bool stm_entry_reserve(struct stm_seg *seg, size_t bytes); /* room for a run of @bytes; false: no memory */
bool stm_undo_reserve(struct stm_seg *seg, size_t bytes);
void stm_entry_published(struct stm_seg *seg, uint64_t position); /* start the next one */
void stm_entry_abandon(struct stm_seg *seg);    /* after an abort: forget the one in the making, let large memory go */
void stm_entry_reap(struct stm_seg *seg);       /* take back memory that nobody can still read */

/* ---- apply.c: reading entries, into a view ---- */

void stm_advance(struct stm_seg *seg);          /* apply all that is published, publish the snapshot */

/* A walk over the log, from the snapshot on. */
struct stm_walk {
	struct stm_slot *slot;          /* it has come to this one, */
	uint64_t position;              /* at this position */
	struct stm_slot *touched;       /* the first that touches the view; NULL: none so far */
	uint64_t touched_at;
};

static inline struct stm_walk stm_walk_from(const struct stm_seg *seg)
{
	return (struct stm_walk){ .slot = seg->slot, .position = seg->snapshot };
}

/*
 * Validate the transaction against all that is published from where the walk is: true if it conflicts. With any of
 * it, if not all its reads were marked. Then the walk is at that slot, else at the first that is not published, from where
 * it may go on later.
 */
bool stm_find_conflict(const struct stm_seg *seg, struct stm_walk *w);
void stm_follow(struct stm_seg *seg, const struct stm_walk *w); /* nothing conflicted: apply it, publish the snapshot */

/* A granule that was read, and the commit that wrote it. */
struct stm_clash {
	const struct stm_slot *slot;
	uint64_t position;
	uint32_t run;                   /* of its entry */
	size_t granule;
};

bool stm_find_clash(const struct stm_seg *seg, struct stm_clash *clash); /* the first, for reports */

/* ---- pages.c: what the design's table of page events says ---- */

#define STM_TICKS_LATELY 16u            /* ticks of 64 ms: a second */

uint64_t stm_log_pin(struct stm_seg *seg);      /* let nobody recycle entries from the one returned, `folded`, on */
void stm_log_unpin(struct stm_seg *seg);
bool stm_resolve_fault(const struct stm_fault *fault);
bool stm_page_make_private(struct stm_seg *seg, size_t page); /* false: no memory */
void stm_page_apply(struct stm_seg *seg, size_t page);  /* before an after-image goes to a SHARED page */
bool stm_page_was_stored(struct stm_seg *seg, size_t page); /* the same for one; whether it was */
void stm_pages_collect(struct stm_seg *seg);    /* SHARED pages that were stored to without a fault become PRIVATE */
int stm_pages_drop_all(struct stm_seg *seg);    /* any to UNMAPPED: 0 or -errno */
int stm_pages_prefault(struct stm_seg *seg, size_t first, size_t last);
uint32_t stm_tick(void);                /* the time, in ticks */

/* Fold writes this page, in this tick. */
static inline void stm_page_folded(size_t page, uint32_t tick)
{
	/* The tick, and whether another one shortly before wrote it, too. A hint: no order is needed. */
	_Atomic uint32_t *at = &stm_global.fold_ticks[page];
	uint32_t old = atomic_load_explicit(at, memory_order_relaxed);

	if (unlikely(old >> 1 != tick))
		atomic_store_explicit(at, tick << 1 | (old && tick - (old >> 1) <= STM_TICKS_LATELY), memory_order_relaxed);
}

/* The same for all pages of a run. */
static inline void stm_run_folded(size_t granule, size_t count, uint32_t tick)
{
	size_t page = granule / STM_PAGE_GRANULES, last = (granule + count - 1) / STM_PAGE_GRANULES;

	for (; page <= last; page++)
		stm_page_folded(page, tick);
}

/* ---- track.c: memory without barriers ---- */

bool stm_page_is_tracked(size_t page);
void stm_track(struct stm_seg *seg, size_t first, size_t last); /* these tracked pages were mapped, or made private */
bool stm_track_copies(const struct stm_seg *seg); /* is a tracked page better copied at its first read? */
bool stm_track_lags(struct stm_seg *seg);       /* since it last said so, it has committed much: it should be folded */
void stm_track_begin(struct stm_seg *seg);
void stm_track_commit(struct stm_seg *seg);     /* log what was changed */
void stm_track_aborted(struct stm_seg *seg);    /* put it back, as it was at the last savepoint */
void stm_track_savepoint(struct stm_seg *seg);  /* log what was changed; what comes is compared with how it is now */
const uint8_t *stm_track_image(const struct stm_seg *seg, size_t page); /* that there is now; NULL: it has not changed since */
void stm_track_rolled_back(struct stm_seg *seg); /* likewise compared, after logged bytes were put back */
void stm_track_forget(struct stm_seg *seg);     /* the view is empty */
void stm_track_close(struct stm_seg *seg);

/* ---- trim.c ---- */

#define STM_TRIM_VERSIONS 64u
#define STM_TRIM_BEGINS 64u             /* slow begins between two looks at the clock */

void stm_trim(struct stm_seg *seg);             /* at begin: drop cold pages, if it is time */
void stm_trim_look(struct stm_seg *seg);        /* now and then: have begin do so. The owner only */
bool stm_trim_wants_marks(struct stm_seg *seg); /* to know which pages are used, even if it is alone */
void stm_trim_start(struct stm_seg *seg);       /* all pages are as if just used: at attach, and when versions begin again */
void stm_trim_mapped(struct stm_seg *seg, size_t page, size_t first, size_t last); /* @page needed [first, last) mapped */
int stm_markers_empty(struct stm_seg *seg);     /* forget all markers, and give their memory back */

/* ---- fold.c ---- */

bool stm_counts(const struct stm_seg *seg);     /* attached, and not PARKED. Fold lock, or it may have changed */
void stm_fold_try(struct stm_seg *seg);         /* after a commit */
void stm_fold_tell(struct stm_seg *self);       /* fold lock: tell the event log what alone.c folded */
bool stm_fold_all(struct stm_seg *seg);         /* up to its snapshot: whether it could */
void stm_log_throttle(struct stm_seg *seg);     /* at begin: wait while the log is too long */
void stm_unpark(struct stm_seg *seg);           /* at begin: a helper has, or had, the segment */

/* ---- barrier.c ---- */

int stm_log_fresh(struct stm_seg *seg, size_t granule, size_t count); /* at most STM_RUN_MAX; 0 or -ENOMEM */
void stm_log_change(struct stm_seg *seg, size_t granule, size_t count, const uint8_t *old); /* written already */
void stm_write_plain(uintptr_t a, size_t len);  /* stm_hot.write is this, or, with an event log: */
void stm_write_recorded(uintptr_t a, size_t len);
void stm_write_since(uintptr_t a, size_t len);  /* or, from the first savepoint on, this: it looks at stm_seg.since */
void stm_write_from(uintptr_t a, size_t len, const void *behind); /* stm_write_range() for the code before @behind */

typedef uint32_t stm_four_markers __attribute__((__vector_size__(16), __aligned__(4), __may_alias__));

static inline void stm_set_markers(stm_marker *marker, size_t count, uint32_t version)
{
	stm_four_markers four = { version, version, version, version };

	for (; count >= 4; count -= 4, marker += 4)
		*(stm_four_markers *)marker = four;
	for (; count; count--)
		*marker++ = version;
}

/* ---- publish.c ---- */

bool stm_publish(struct stm_seg *seg);          /* commit what it wrote; false: it conflicts */
bool stm_take_pending(struct stm_seg *seg);     /* put PENDING at the tail; false: it conflicts */
void stm_empty_pending(struct stm_seg *seg);    /* give it up again */

/* ---- alone.c ---- */

bool stm_publish_alone(struct stm_seg *seg);    /* commit to the base; false: not that, stm_publish() */
void stm_alone_try(struct stm_seg *self);       /* fold lock: if nobody else counts, and all is folded, be alone */
void stm_alone_part(struct stm_seg *seg);       /* fold lock: it is detached */
void stm_alone_end(void);                       /* before one attaches or un-parks: nobody is alone from here on */
void stm_alone_ended(struct stm_seg *seg);      /* fold lock: it counts */
void stm_alone_tell(struct stm_seg *seg);       /* to the event log, what it folded, if it is alone */
#define STM_MARKED_ATTEMPTS 1024u

void stm_mark_reads(struct stm_seg *seg);       /* the owner: in the next attempts, so many, even if it is alone */
void stm_mark_after_conflict(struct stm_seg *seg); /* the same; in ever more, if it happens again and again */

/* At begin, when nothing has been read: of this attempt, too. */
static inline void stm_mark_all_reads(struct stm_seg *seg)
{
	stm_mark_reads(seg);
	seg->blind = 0;
}

/* ---- tx.c ---- */

static inline bool stm_in_tx(const struct stm_seg *seg)
{
	/* Relaxed: its own thread asks. */
	return atomic_load_explicit(&seg->state, memory_order_relaxed) != STM_IDLE;
}

/* The site of the transaction that runs, or NULL. */
static inline const struct stm_site *stm_site_of(const struct stm_seg *seg)
{
	uint64_t state = atomic_load_explicit(&seg->state, memory_order_relaxed);

	return state == STM_RUNNING ? NULL : (const struct stm_site *)(uintptr_t)state;
}

/* How the frames of its code are left in the middle; NULL: by a jump. */
static inline stm_unwind_fn *stm_unwind_of(const struct stm_seg *seg)
{
	return seg->unwind ? seg->unwind : stm_site_of(seg)->unwind;
}

/* From here on no helper touches the segment: until IDLE is stored again. */
static inline void stm_run(struct stm_seg *seg)
{
	/* The owner's half of the protocol with take_idle(), whose membarrier makes this order real. */
	atomic_store_explicit(&seg->state, STM_RUNNING, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	STM_POINT(BEGIN);
	if (unlikely(atomic_load_explicit(&seg->taken, memory_order_acquire)))
		stm_unpark(seg);
}

int stm_begin_outermost(const struct stm_site *site, struct stm_seg *seg);
int stm_begin_unattached(const struct stm_site *site) __attribute__((__noreturn__));
void stm__resume(struct stm_seg *seg, int value) __attribute__((__noreturn__));
int stm__checkpoint_set(struct stm_checkpoint *checkpoint) __attribute__((__returns_twice__)); /* 0, later 1 */
void stm__checkpoint_take(const struct stm_checkpoint *checkpoint) __attribute__((__noreturn__));
void stm_forget_frames(void);           /* that are left without returning */
/* In the middle of the program's code: C++ is left by an exception. */
void stm_tx_restart(struct stm_seg *seg, enum stm_abort_reason reason) __attribute__((__noreturn__));
void stm_tx_abandon(struct stm_seg *seg, enum stm_abort_reason reason); /* undo, and leave */
void stm_tx_wait(struct stm_seg *seg, const struct timespec *deadline) __attribute__((__noreturn__)); /* undo, sleep, run again */
void stm_tx_leave(struct stm_seg *seg, int code) __attribute__((__noreturn__)); /* undo it for good, and leave */
void stm_tx_right_of_way(struct stm_seg *seg);  /* it has read nothing yet: nobody may commit before it does */
bool stm_tx_doomed(struct stm_seg *seg);
void stm_tx_missing(const char *call) __attribute__((__noreturn__, __cold__)); /* not attached, or not in a transaction */

/* The thread's segment, or stop: not in a transaction. */
static inline struct stm_seg *stm_tx_self(const char *call)
{
	struct stm_seg *seg = stm__self;

	if (unlikely(!seg || !stm_in_tx(seg)))
		stm_tx_missing(call);
	return seg;
}

struct stm_seg *stm_tx_if_any(const char *call); /* the same, or NULL */

/* ---- wait.c: stm_retry() ---- */

bool stm_waits(const struct stm_seg *seg);
void stm_wait_begin(struct stm_seg *seg);       /* the attempt is undone, nothing else has ended */
void stm_wait(struct stm_seg *seg, const struct timespec *deadline, const struct stm_site *site);
void stm_wait_end(struct stm_seg *seg);
void stm_wake_waiters(struct stm_seg *self, const struct stm_slot *slot); /* just published by @self */
void stm_wake_waiter(struct stm_seg *seg);      /* if it waits: its seg->stop has been set */

/* ---- order.c: the transactions of an ordered queue ---- */

bool stm_turn_has_come(const struct stm_seg *seg); /* it may commit, or put PENDING into the log; true for all others */
void stm_turn_wait(struct stm_seg *seg);        /* until it has come; may restart or leave */

/* ---- savepoint.c ---- */

void stm_savepoints_undo(struct stm_seg *seg);  /* all of a transaction that had savepoints */
void stm_savepoints_end(struct stm_seg *seg);   /* the transaction ends */
void stm_savepoints_close(struct stm_seg *seg);
void stm_take_alternative(struct stm_seg *seg) __attribute__((__noreturn__)); /* stm_retry() in an stm_or_else() */

/* ---- action.c: hooks, saves, malloc ---- */

void stm_actions_committed(struct stm_seg *seg);
void stm_actions_aborted(struct stm_seg *seg);
void stm_actions_roll_back(struct stm_seg *seg, size_t n); /* undo all but the first @n */
void stm_actions_close(struct stm_seg *seg);

/* ---- alloc.c ---- */

int stm_alloc_open(void);
void stm_alloc_close(void);
int stm_blocks_open(struct stm_seg *seg);
void stm_blocks_close(struct stm_seg *seg);
void stm_blocks_committed(struct stm_seg *seg);
void stm_blocks_aborted(struct stm_seg *seg);
void stm_blocks_mark(const struct stm_seg *seg, size_t *taken, size_t *freed); /* how many there were so far */
void stm_blocks_roll_back(struct stm_seg *seg, size_t taken, size_t freed);
void stm_blocks_detach(struct stm_seg *seg);    /* let other segments have what is free */
bool stm_find_block(uintptr_t p, uintptr_t *start, size_t *size); /* that byte @p is in: for reports */

#endif
