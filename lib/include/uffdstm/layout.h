/* SPDX-License-Identifier: MIT */
/*
 * Addresses: all that is known about %gs.
 *
 * An STM pointer holds an offset from the start of the running segment; the
 * %gs base of an attached thread is that start. The same value is valid in
 * every thread and names the same object, seen through the thread's own view.
 *
 *     0 .. 1 MiB      never mapped: a null pointer plus a field offset faults
 *     STM_HOT         one page: what the inlined barriers touch
 *     (private)       page states
 *     a / 4           the read marker of address a: 4 bytes a granule
 *     a / 4 + STM_WRITE_MARKERS   its write marker
 *     STM_HEAP        the heap, STM_HEAP_LIMIT bytes at most
 *
 * These constants stand in stored pointers and in inlined code, so a program
 * and its library must agree on them: stm_init() compares STM_LAYOUT.
 * -DSTM_SMALL_LAYOUT selects a small layout for tools that cannot hold large
 * reservations (valgrind).
 */
#ifndef UFFDSTM_LAYOUT_H
#define UFFDSTM_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#define STM_GRANULE ((size_t)16)         /* bytes: the unit of conflict detection */
#define STM_HOT ((uintptr_t)1 << 20)

/*
 * A page beside a power of two: the read and the write marker of a granule are stored together, and an AMD CPU predicts
 * the way of the first cache by bits 12 to 27 of an address (Lipp et al., "Take A Way", 2020), so that two lines which are
 * equal in those and in the set throw each other out.
 */
#ifdef STM_SMALL_LAYOUT
#define STM_LAYOUT 6u
#define STM_HEAP ((uintptr_t)256 << 20)
#define STM_HEAP_LIMIT ((size_t)256 << 20)
#define STM_WRITE_MARKERS (((uintptr_t)64 << 20) + 4096)
#else
#define STM_LAYOUT 5u
#define STM_HEAP ((uintptr_t)96 << 30)
#define STM_HEAP_LIMIT ((size_t)128 << 30)
#define STM_WRITE_MARKERS (((uintptr_t)32 << 30) + 4096)
#endif

/*
 * The hot page starts with this. The version is that of the running transaction; at its end it becomes one
 * that no marker has, so that a write barrier outside a transaction goes to the slow path, which says so.
 */
struct stm_hot {
	uint64_t version;       /* twice */
	uintptr_t segment;      /* ordinary address of the running segment's start */
	uint64_t unfinished;    /* 0: the transaction wrote nothing, and its end has nothing else to do */
	uint64_t state;         /* not 0: in a transaction */
	void (*write)(uintptr_t a, size_t len); /* the slow path of the write barrier, for this thread */
	uint16_t unmarked;      /* not 0: reads need no markers, there is nobody to conflict with */
};

#define STM_VERSION_LAST 0xfffffffeu            /* past it markers are forgotten, and versions begin again */
#define STM_ONE_VERSION 0x0000000100000001u     /* in both halves of stm_hot.version */

#ifndef __cplusplus
#if defined(__STRICT_ANSI__) && !defined(__clang__)
#error "uffdstm needs named address spaces, which gcc has with -std=gnu11 (or later), not with -std=c11"
#endif
#ifndef __SEG_GS
#error "uffdstm needs __seg_gs: gcc >= 12 or clang >= 14 on x86-64"
#endif

#define STM __seg_gs

#define STM_HOT_FIELD(field) (((const struct stm_hot STM *)STM_HOT)->field)

/*
 * stm_local - an ordinary pointer to what @p names in the calling thread's view.
 *
 * For memcpy(3), qsort(3), system calls. Valid in this thread only, and its
 * contents are one snapshot only until the transaction ends. It does no barrier: call
 * stm_read_range() or stm_write_range() first, as for the access itself.
 */
void stm__check_local(uintptr_t a);
static inline void *stm_local(const volatile void STM *p)
{
#ifdef STM_DEBUG
	stm__check_local((uintptr_t)p);
#endif
	return (void *)(STM_HOT_FIELD(segment) + (uintptr_t)p);
}

/* stm_from_local - the opposite: the STM pointer for an address in the calling thread's view. */
static inline void STM *stm_from_local(const void *p)
{
	return (void STM *)((uintptr_t)p - STM_HOT_FIELD(segment));
}
#endif

#endif
