// SPDX-License-Identifier: MIT
/*
 * stats.c - figures and words: what happened, by name.
 *
 * Counters belong to their segments and are read without a lock: each is a word that is written by one
 * thread, so a figure is at most a moment old.
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

static void add_segment(struct stm_stats *all, struct stm_seg *seg)
{
	/* Each attempt that ended took a version, from 1 on: what neither wrote nor failed only read. */
	uint64_t only_read = seg->versions_renewed + seg->version - 1 - seg->commits;

	for (unsigned int i = 0; i < STM_ABORT_REASONS; i++)
		only_read -= seg->aborts[i];
	all->commits += seg->commits;
	all->commits_read_only += only_read;
	all->inevitable += seg->inevitables;
	for (unsigned int i = 0; i < STM_ABORT_REASONS; i++)
		all->aborts[i] += seg->aborts[i];
	for (unsigned int i = 0; i < STM_FAULT_KINDS; i++)
		all->faults[i] += seg->faults[i];
	all->pages_mapped += seg->view.mapped;
	all->pages_copied += seg->view.copied;
	all->pages_dropped += seg->view.dropped;
	all->pages_shared += seg->view.shared;
	all->pages_private += seg->view.private;
	all->system_calls += seg->view.calls + seg->calls;
	all->log_bytes += atomic_load_explicit(&seg->block_bytes, memory_order_relaxed);
	all->log_waits += seg->log_waits;
	all->pages_trimmed += seg->trim.pages;
	all->trim_sweeps += seg->trim.sweeps;
	all->trim_ns += seg->trim.ns;
	all->attached += atomic_load_explicit(&seg->attached, memory_order_relaxed);
}

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

int stm_stats(struct stm_stats *stats, size_t size)
{
	struct stm_stats all = { .commits = 0 };
	struct stm_engine_facts facts;

	stm_stop_if_forked("stm_stats");
	if (!stats || !size)
		return -EINVAL;
	if (!stm_global.ready)
		return -ENXIO;
	facts = stm_engine_facts();
	for (unsigned int i = 0; i < stm_global.segments_n; i++)
		add_segment(&all, stm_global.segments[i]);
	all.log_bytes += stm_log_bytes();
	all.engine = facts.name;
	all.engine_why = facts.why;
	all.engine_opened = facts.opened;
	all.engine_in_calls = facts.in_system_calls;
	all.log_held_by = atomic_load_explicit(&stm_global.log_held_by, memory_order_relaxed);
	all.committed = find_tail();
	all.folded = atomic_load_explicit(&stm_global.folded, memory_order_relaxed);
	all.parked = atomic_load_explicit(&stm_global.parks, memory_order_relaxed);
	all.heap_bytes = atomic_load_explicit(&stm_global.heap_size, memory_order_relaxed);
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
