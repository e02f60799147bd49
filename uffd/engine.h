/* SPDX-License-Identifier: MIT */
/*
 * engine.h - how a page fault in a view reaches the resolver.
 *
 *   sigbus   as a signal, on the faulting thread
 *   thread   as a message to a thread of its own; also faults inside system calls
 *   async    minor faults as with sigbus; the kernel lets stores to SHARED pages through, and they are found later
 *
 * Chosen once, by stm_engine_open(). Nothing but this component knows which one runs.
 */
#ifndef STM_ENGINE_H
#define STM_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fault.h"

struct stm_view;
struct stm_page_run;

struct stm_engine {
	const char *name;
	uint64_t features;              /* of userfaultfd, beside those that all engines need */
	bool waits_in_kernel;           /* who faults waits there, which a system call can do, too */
	/* Each may be NULL. 0 or -errno. */
	int (*open)(stm_fault_resolver *resolve);       /* once a process, before the first view */
	void (*close)(void);                            /* after the last one */
	int (*add)(struct stm_view *view);              /* its descriptor is open, its pages come later */
	void (*remove)(struct stm_view *view);          /* nobody touches it any more */
	/*
	 * Of pages [*first, last), those that are the view's own, however they came to be: up to @n runs. Moves
	 * *@first past what was looked at. NULL: none comes to be without a fault.
	 */
	size_t (*find_stores)(struct stm_view *view, size_t *first, size_t last, struct stm_page_run *runs, size_t n);
};

extern const struct stm_engine stm_sigbus_engine, stm_thread_engine, stm_async_engine;

/* The one that runs, or NULL. */
extern const struct stm_engine *stm_engine;

/*
 * Choose one and start it: sigbus if @needed, a constant text, tells who needs that; else @asked, or what
 * UFFDSTM_ENGINE names, or @profile, or the best; @asked and @profile may be NULL. Says on stderr why it cannot, and on
 * request (UFFDSTM_VERBOSE) what runs. 0 or -errno: -EINVAL no such engine, -EOPNOTSUPP kernel or rights are not enough
 * for it.
 */
int stm_engine_open(const char *asked, const char *profile, const char *needed, stm_fault_resolver *resolve);
void stm_engine_close(void);

/* Constant texts: what runs, why, and how userfaultfd was opened. */
struct stm_engine_facts {
	const char *name, *why, *opened;
	bool in_system_calls;           /* faults taken there are resolved */
};

struct stm_engine_facts stm_engine_facts(void);

#endif
