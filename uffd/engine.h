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

#include <stdint.h>

#include "fault.h"

struct stm_view;

struct stm_engine {
	const char *name;
	uint64_t features;              /* of userfaultfd, beside those that all engines need */
	/* Each may be NULL. 0 or -errno. */
	int (*open)(stm_fault_resolver *resolve);       /* once a process, before the first view */
	void (*close)(void);                            /* after the last one */
	int (*add)(struct stm_view *view);              /* its descriptor is open, its pages come later */
	void (*remove)(struct stm_view *view);          /* nobody touches it any more */
};

extern const struct stm_engine stm_sigbus_engine;

/* The one that runs, or NULL. */
extern const struct stm_engine *stm_engine;

/* Choose one and start it. Says on stderr why it cannot. 0 or -errno. */
int stm_engine_open(stm_fault_resolver *resolve);
void stm_engine_close(void);

#endif
