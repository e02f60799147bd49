/* SPDX-License-Identifier: MIT */
/*
 * strict.h - strict mode: stores without stm_write() are found and reported.
 */
#ifndef STM_STRICT_H
#define STM_STRICT_H

#include "fault.h"
#include "internal.h"

enum stm_strict_mode { STM_STRICT_OFF, STM_STRICT_REPORT, STM_STRICT_ABORT };

struct stm_strict;                      /* what a segment needs for it; NULL: off */

int stm_strict_open(void);              /* from the environment: 0 or -errno */
void stm_strict_close(void);
int stm_strict_attach(struct stm_seg *seg);
void stm_strict_free(struct stm_seg *seg);
uint64_t stm_strict_reports(void);

/* stm_local() of @address at @pc, of which this transaction has neither read nor written the granule. */
void stm_strict_report_local(const void *pc, uintptr_t address);

/* These only if seg->strict is set. */

/* Pages [first, last) of one kind of memory became PRIVATE. */
void stm_strict_guard(struct stm_seg *seg, size_t first, size_t last);

/* The transaction will write to a GUARDED page, barrier included. */
void stm_strict_write(struct stm_seg *seg, size_t page);
void stm_strict_rolled_back(struct stm_seg *seg); /* after stm_strict_undo() */
void stm_strict_forget(struct stm_seg *seg, size_t granule, size_t count); /* fresh memory that is given back */

/* The library will write foreign commits to a GUARDED page; afterwards, in a transaction, the second. */
void stm_strict_apply(struct stm_seg *seg, size_t page);
void stm_strict_applied(struct stm_seg *seg);

/* At commit: look for stores without stm_write(). May restart the transaction. */
bool stm_strict_check(struct stm_seg *seg); /* false: restart */

/* An attempt is to be undone; it was undone, and will be run @again. */
void stm_strict_undo(struct stm_seg *seg);
void stm_strict_undone(struct stm_seg *seg, bool again);

/* The end of a transaction, or of what a helper did: no page can be written any more. */
void stm_strict_end(struct stm_seg *seg);

/* A system call may write to pages [first, last), barriers included; the second: it did. */
void stm_strict_let(struct stm_seg *seg, size_t first, size_t last);
void stm_strict_let_no_more(struct stm_seg *seg, size_t first, size_t last);

/* A store faulted outside a transaction. Does not return if it cannot be let through. */
void stm_strict_enter(struct stm_seg *seg, const struct stm_fault *fault, size_t page);

/* A store faulted, and its page is GUARDED by now. */
void stm_strict_store(struct stm_seg *seg, const struct stm_fault *fault);

#endif
