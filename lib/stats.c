// SPDX-License-Identifier: MIT
/*
 * stats.c - figures and words: what happened, by name.
 *
 * Counters belong to their segments and are read without a lock, as another process would (uffdstm/status.h): each is a
 * word that is written by one thread, so a figure is at most a moment old.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine.h"
#include "entry.h"
#include "internal.h"
#include "strict.h"

#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)

/* The first position that is not published: from the latest snapshot on. The fold lock keeps its slot from being recycled. */
static uint64_t find_tail(void)
{
	struct stm_slot *slot;
	uint64_t position;

	pthread_mutex_lock(&stm_global.fold_lock);
	position = atomic_load_explicit(&stm_global.folded, memory_order_relaxed);
	for (unsigned int i = 0; i < stm_global.segments_n; i++) {
		uint64_t published = atomic_load_explicit(&stm_global.segments[i]->published, memory_order_acquire);

		if (published > position)
			position = published;
	}
	for (slot = stm_slot_at(position);
	     stm_is_published(atomic_load_explicit(&slot->entry, memory_order_acquire));
	     slot = stm_slot_next(slot, position), position++)
		;
	pthread_mutex_unlock(&stm_global.fold_lock);
	return position;
}

static uint64_t of_all(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

int stm_stats(struct stm_stats *stats, size_t size)
{
	struct stm_stats all = { .commits = 0 };
	struct stm_status_sum sum = { 0 };
	struct stm_engine_facts facts;

	stm_stop_if_forked("stm_stats");
	if (!stats || !size)
		return -EINVAL;
	if (!stm_global.ready)
		return -ENXIO;
	facts = stm_engine_facts();
	for (unsigned int i = 0; i < stm_global.segments_n; i++)
		stm_status_read(&sum, stm_status, stm_global.segments[i]);
	all.commits = sum.commits;
	all.commits_read_only = sum.commits_read_only;
	memcpy(all.aborts, sum.aborts, sizeof(all.aborts));
	all.inevitable = sum.inevitable;
	memcpy(all.faults, sum.faults, sizeof(all.faults));
	all.pages_mapped = sum.pages_mapped;
	all.pages_copied = sum.pages_copied;
	all.pages_dropped = sum.pages_dropped;
	all.pages_shared = sum.pages_shared;
	all.pages_private = sum.pages_private;
	all.system_calls = sum.system_calls;
	all.log_waits = sum.log_waits;
	all.pages_trimmed = sum.trimmed;
	all.trim_sweeps = sum.trim_sweeps;
	all.trim_ns = sum.trim_ns;
	all.attached = (unsigned int)sum.attached;
	all.log_bytes = sum.entry_bytes + of_all(&stm_status->slot_bytes);
	all.engine = facts.name;
	all.engine_why = facts.why;
	all.engine_opened = facts.opened;
	all.engine_in_calls = facts.in_system_calls;
	all.log_held_by = atomic_load_explicit(&stm_global.log_held_by, memory_order_relaxed);
	all.folded = of_all(&stm_status->folded); /* first: it is never more than what was committed */
	all.committed = find_tail();
	all.parked = of_all(&stm_status->parks);
	all.heap_bytes = of_all(&stm_status->heap_bytes);
	all.strict_reports = stm_strict_reports();
	memset(stats, 0, size);
	memcpy(stats, &all, size < sizeof(all) ? size : sizeof(all));
	return 0;
}

const char *stm_abort_name(unsigned int reason)
{
	static const char *const names[STM_ABORT_REASONS] = {
		[STM_ABORT_CONFLICT] = "conflict",
		[STM_ABORT_VALIDATE] = "validate",
		[STM_ABORT_INEVITABLE] = "inevitable",
		[STM_ABORT_RESTART] = "restart",
		[STM_ABORT_CANCEL] = "cancel",
		[STM_ABORT_EXIT] = "exit",
		[STM_ABORT_RETRY] = "retry",
	};

	return reason < STM_ABORT_REASONS ? names[reason] : NULL;
}

const char *stm_fault_name(unsigned int kind)
{
	static const char *const names[STM_FAULT_KINDS] = {
		[STM_FAULT_READ] = "read",
		[STM_FAULT_WRITE] = "write",
		[STM_FAULT_PROTECT] = "protect",
		[STM_FAULT_RECLAIMED] = "reclaimed",
	};

	return kind < STM_FAULT_KINDS ? names[kind] : NULL;
}

const char *stm_version(void)
{
	return TEXT(STM_VERSION_MAJOR) "." TEXT(STM_VERSION_MINOR);
}

const char *stm_strerror(int error)
{
	error = error < 0 ? (int)-(unsigned int)error : error;
	switch (error) {
	case 0:
		return "success";
	case ENXIO:
		return "the library is not initialised: call stm_init()";
	case EALREADY:
		return "done already: stm_init() once a process, stm_thread_attach() once a thread";
	case EAGAIN:
		return "no segment or thread is left: raise options.segments, or detach threads";
	case EPERM:
		return "not allowed here: the call needs an attached thread, or a transaction that can be undone";
	case EBUSY:
		return "in use: a transaction, another thread or another handler stands in the way";
	case EINVAL:
		return "a value that the call does not take";
	case ENOMEM:
		return "no memory: the heap is full, or the system has none to give";
	case EOPNOTSUPP:
		return "this kernel, or what this process may do, is not enough for what was asked";
	case ENOSYS:
		return "this kernel lacks a system call that the library needs";
	default: {
		const char *text = strerrordesc_np(error);

		return text ? text : "unknown error";
	}
	}
}
