/* SPDX-License-Identifier: MIT */
/*
 * uffdstm.h - software transactional memory on userfaultfd
 *
 * Threads run transactions over one shared heap. A transaction reads and writes
 * it with plain loads and stores, sees one consistent snapshot, and at commit
 * takes effect as a whole or is undone and run again.
 *
 *	struct account { long balance; };
 *
 *	static int move(void *arg)
 *	{
 *		struct account STM *a = ..., *b = ...;
 *		STM_SET(a->balance, STM_GET(a->balance) - 10);
 *		STM_SET(b->balance, STM_GET(b->balance) + 10);
 *		return 0;
 *	}
 *
 *	stm_thread_attach();
 *	stm_atomic(move, NULL);
 *
 * Caveats
 *
 * fork(2)      The child may call nothing of this library, only exec or _exit; heap
 *              and views do not exist there. A call says so and stops the child.
 * Signals      The library handles SIGBUS and SIGSEGV. Install your own handlers for these
 *              before stm_init(), or by stm_sigaction(); faults that are not the heap's
 *              reach them. Never block SIGBUS in an attached thread: its next page
 *              fault would kill the process. No heap access and no call in a signal handler.
 * longjmp(3)   Must not leave a transaction, nor enter one. stm_cancel() leaves.
 * Threads      pthread_cancel(3) and pthread_exit(3) must not hit inside a transaction. A thread that
 *              exits attached is detached, its open transaction undone.
 * Locks        No mutex, condition variable, futex or atomic operation in the heap: each
 *              thread sees its own copy, so they cannot work. A mutex in ordinary memory
 *              that is locked inside a transaction stays locked when it restarts.
 * System calls The kernel does not take our page faults: a call on heap memory may fail with
 *              EFAULT. stm_pread(), stm_pwrite() retry; for others call stm_prefault() first,
 *              or run engine "thread" (uffdstm-engines(7)), where barriers alone will do.
 * Side effects Output, and stores to ordinary memory, happen again at each attempt. See
 *              stm_become_inevitable(), stm_on_commit(), stm_save().
 * Locals       As with setjmp(3): a local variable of the function that holds STM_ATOMIC,
 *              changed inside the block, has an indeterminate value after a restart and
 *              after stm_cancel(), unless it is volatile. Set it inside the block before use,
 *              or use stm_atomic(), which has no such rule.
 * stm_local()  Gives a pointer for the calling thread only, and of use only until its
 *              transaction ends.
 * Compilers    Loops over STM pointers may be turned into memset(3) and memcpy(3), which know nothing
 *              of %gs: compile with the flags of pkg-config --cflags uffdstm, and copy
 *              with stm_memcpy().
 *
 * Errors: 0 or -errno, or NULL with errno set where a pointer is returned;
 * stm_strerror() explains both. Use that shows a broken program (a write outside a
 * transaction, a pointer outside the heap) stops the process with one line. UFFDSTM_STRICT=1 in
 * the environment finds stores without stm_write(): see uffdstm-strict(7).
 *
 * States: "attached" means between stm_thread_attach() and stm_thread_detach() of the
 * calling thread, "in a transaction" inside STM_ATOMIC or stm_atomic().
 */
#ifndef UFFDSTM_H
#define UFFDSTM_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <uffdstm/layout.h>
#ifndef __cplusplus
#include <uffdstm/barrier.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define STM_VERSION_MAJOR 0
#define STM_VERSION_MINOR 1

/* ---- the library ---- */

/*
 * Options of stm_init(). @size comes first and tells which fields the caller knows;
 * 0 in a field asks for the default: uffdstm.conf(5)'s, where there is one for the machine.
 */
struct stm_options {
	size_t size;            /* sizeof(struct stm_options) */
	size_t heap_size;       /* bytes the heap may grow to: 1 MiB .. STM_HEAP_LIMIT; default 1 GiB, or the limit if less */
	unsigned int segments;  /* threads attached at once: 1 .. 64; default 64 */
	unsigned int cluster;   /* fewest pages mapped at once: a power of two, 1 .. 512; default 8, 2 for writes, growing to 512 */
	unsigned int attempts;  /* failed attempts after which a transaction gets right of way; default 8 */
	size_t log_limit;       /* bytes of commit log per segment, not yet folded, past which begins wait: 4 MiB or more; default 64 MiB */
	unsigned int cluster_max; /* most pages, while faults follow each other: likewise; default @cluster, if that is given */
	const char *engine;     /* how page faults are taken: "sigbus", "thread", "async"; default UFFDSTM_ENGINE, else the best */
	/* Pages that a thread no longer uses are taken out of its segment, and its memory: */
	uint64_t trim_age;      /* after so many milliseconds, up to a day, or STM_TRIM_NEVER; default 3,000 */
	uint64_t trim_share;    /* percent of a CPU that it may use for this: 1 .. 100; default 1 */
	uint64_t trim_pages;    /* sooner, and with 25 percent, while it has more pages of its own than this; default no limit */
	/* The event log (uffdstm-events(7)): */
	const char *event_log;  /* a file, "%p" is the process's number; default UFFDSTM_LOG, else none */
	uint64_t event_sample;  /* one in so many commits is logged, 1 to 1,000,000; default UFFDSTM_LOG_SAMPLE, else 1: all */
	uint64_t event_readers; /* 1: and which code read what a conflict was about; default UFFDSTM_LOG_READERS, else 0 */
	uint64_t event_buffer;  /* bytes for a thread's records, 16 KiB to 256 MiB; default UFFDSTM_LOG_BUFFER, else 1 MiB */
	/* After a failed attempt, for transactions that have no policy of their own: see stm_policy(). */
	uint64_t backoff_first; /* ns, up to a second, or STM_POLICY_NONE; default 2,560 */
	uint64_t backoff_max;   /* ns, up to a second; default 327,680 */
	uint64_t wait_for_committer; /* ns, up to a second, or STM_POLICY_NONE; default STM_POLICY_NONE */
	uint64_t stats_unnamed; /* 1: stm_stats_by_name() has those without a name, too; default UFFDSTM_STATS, else 0 */
};

#define STM_TRIM_NEVER UINT64_MAX
#define STM_OPTIONS_INIT { sizeof(struct stm_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/*
 * stm_init - make the heap. Once per process, before anything else; @options may be NULL.
 *
 * 0, or -EALREADY: initialised already. -EINVAL: a bad option, or a program and library of
 * different layouts. -EOPNOTSUPP: @engine cannot be had here. -EPERM, -ENOSYS, -ENOMEM, ...: what a system call answered; one line on
 * stderr says which, and what to do.
 */
int stm__init(const struct stm_options *options, unsigned int layout);
static inline int stm_init(const struct stm_options *options)
{
	return stm__init(options, STM_LAYOUT);
}

/*
 * stm_fini - take everything down; the heap's contents are gone. stm_init() may follow.
 *
 * The caller may be attached (it is detached), but not in a transaction.
 * 0; -ENXIO: not initialised. -EBUSY: other threads are attached, or in a transaction.
 */
int stm_fini(void);

/*
 * stm_thread_attach - let the calling thread run transactions.
 *
 * 0; -ENXIO: not initialised. -EALREADY: attached already. -EAGAIN: all segments are taken.
 * -EBUSY: another SIGBUS handler was put over the library's (see stm_sigaction()).
 * -ENOMEM: no address space or memory for a segment.
 */
int stm_thread_attach(void);

/*
 * stm_thread_detach - the opposite. Not in a transaction.
 *
 * 0; -ENXIO: not initialised. -EPERM: not attached. -EBUSY: in a transaction.
 */
int stm_thread_detach(void);

const char *stm_version(void);

/* stm_strerror - a constant text for what a call of this library returned: 0, -errno or errno. */
const char *stm_strerror(int error);

/*
 * stm_sigaction - sigaction(2) for programs that use this library.
 *
 * For SIGBUS and SIGSEGV it sets what happens to faults that are not the heap's; for other
 * signals it is sigaction(2). SIGBUS is taken out of sa_mask. 0 or -errno.
 */
struct sigaction;
int stm_sigaction(int signum, const struct sigaction *act, struct sigaction *old);

/* ---- transactions ---- */

/*
 * Of C++ (uffdstm.hpp): leave the frames of the running code, then call @jump(@arg). Where C code is left by a jump,
 * C++ code is left by an exception. @code: what the transaction is cancelled with, else 0.
 */
typedef void stm_unwind_fn(void (*jump)(uint64_t arg), uint64_t arg, int code);

/* Where a transaction begins, and what it is called: for reports. */
struct stm_site {
	const char *file;
	const char *function;
	unsigned int line;
	const char *name;               /* NULL: it has none */
	stm_unwind_fn *unwind;          /* of the transaction's code, or an stm_or_else()'s; NULL: it is C */
};

#define STM__SITE_NAMED(name)                                                           \
	(__extension__({                                                                \
		static const struct stm_site stm__site = { __FILE__, __func__, __LINE__, (name), 0 }; \
		&stm__site;                                                             \
	}))
#define STM__SITE() STM__SITE_NAMED(NULL)

/*
 * What a transaction runs. 0 commits. Anything else is a code of the caller's own: the
 * transaction is undone, as by stm_cancel(), and left with it.
 */
typedef int stm_fn(void *arg);

/*
 * stm_atomic - run @fn(@arg) as one transaction, again and again until it commits or cancels.
 *
 * Inside a transaction it is a plain call that becomes part of it (flat nesting): then what @fn
 * returns is returned, and cancels nothing by itself.
 * 0: committed; else the code of @fn or of stm_cancel(). The thread must be attached.
 * A code that @fn returns after stm_become_inevitable() is returned, but the transaction commits.
 */
int stm__atomic(const struct stm_site *site, stm_fn *fn, void *arg);
#define stm_atomic(fn, arg) stm__atomic(STM__SITE(), (fn), (arg))

/*
 * stm_atomic_named - the same, for a transaction that has a name: a constant string. Several may have the same.
 *
 * It is counted under that name, see stm_stats_by_name(), which costs it some 10 ns. Inside a transaction the
 * outermost one's name counts.
 */
const struct stm_site *stm__named(const struct stm_site *site);
#define stm_atomic_named(fn, arg, name) stm__atomic(stm__named(STM__SITE_NAMED(name)), (fn), (arg))

#ifndef __cplusplus
/*
 * STM_ATOMIC { ... } - run the block as one transaction.
 *
 * return, break, continue and goto out of the block commit first. The value of a return statement
 * is computed inside the transaction. After stm_cancel() execution goes on behind the
 * block, and stm_outcome() tells the code. See "Locals" above.
 */
#define STM_ATOMIC                                                                      \
	for (int stm__run __attribute__((__cleanup__(stm__left))) =                     \
		     stm__begin(STM__SITE());                                           \
	     stm__run; stm__run = stm__end())

/* STM_ATOMIC_NAMED("transfer") { ... } - the same, for a transaction that has a name: see stm_atomic_named(). */
#define STM_ATOMIC_NAMED(name)                                                          \
	for (int stm__run __attribute__((__cleanup__(stm__left))) =                     \
		     stm__begin(stm__named(STM__SITE_NAMED(name)));                     \
	     stm__run; stm__run = stm__end())
#endif

/* From here on the code of the running transaction, which C code began, is C++; NULL: that has ended. */
void stm__unwind(stm_unwind_fn *unwind);

int stm__begin(const struct stm_site *site) __attribute__((__returns_twice__));
void stm__leave(void);

#ifndef __cplusplus
/* The end of the block. That of a transaction that wrote nothing is here. */
static inline __attribute__((__always_inline__)) int stm__end(void)
{
	volatile struct stm_hot STM *hot = (volatile struct stm_hot STM *)STM_HOT;
	uint64_t version;

	/* A plain store to tracked memory comes first: its page fault says that there is something to commit. */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	version = hot->version;

	if (__builtin_expect(hot->unfinished || (uint32_t)version >= STM_VERSION_LAST - 1, 0)) {
		stm__leave();
		return 0;
	}
	hot->version = version + STM_ONE_VERSION;
	__atomic_signal_fence(__ATOMIC_SEQ_CST); /* on x86 stores are seen in order: a release */
	hot->state = 0;
	return 0;
}

/* If the block was left with its transaction open: by return, break, continue or goto. */
static inline __attribute__((__always_inline__)) void stm__left(int *run)
{
	if (*run)
		stm__end();
}
#endif

/* stm_outcome - how this thread's last transaction ended: 0 committed, else the code it was cancelled with. */
int stm_outcome(void);

/* stm_in_transaction - whether the calling thread is in one. May be called in any state. */
bool stm_in_transaction(void);

/*
 * stm_cancel - undo the transaction, and leave the outermost one with @code (not 0).
 *
 * Does not return, except: -EPERM not in a transaction, or it is inevitable. -EINVAL @code is 0.
 */
int stm_cancel(int code);

/*
 * stm_restart - undo the transaction and run it again from its beginning.
 *
 * Does not return, except: -EPERM not in a transaction, or it is inevitable.
 */
int stm_restart(void);

/*
 * stm_retry - undo the transaction, sleep until a commit of another thread touches something that it read, and run
 * it again from its beginning.
 *
 *	STM_ATOMIC {
 *		if (!STM_GET(queue->first))
 *			stm_retry();
 *		...
 *	}
 *
 * A transaction that has read nothing could not be woken: it stops the process with one line, soon after. Asleep, the
 * thread is in no transaction, uses no CPU and holds nothing back. It may also run again for nothing.
 *
 * stm_retry_until does so until @deadline of CLOCK_MONOTONIC; when that passes the transaction runs again, too, and the
 * call then returns -ETIMEDOUT, in a transaction that goes on: to give up with a code, return it or call stm_cancel().
 * Does not return, except: -EPERM not in a transaction, or it is inevitable. stm_retry_until: -ETIMEDOUT, nothing is
 * undone; -EINVAL @deadline is NULL or no time.
 */
struct timespec;
int stm_retry(void);
int stm_retry_until(const struct timespec *deadline);

/*
 * stm_savepoint - a place in this transaction to go back to. Its number: 1 for the first, 2 for one taken after it, ...
 *
 * stm_rollback undoes all since savepoint @savepoint, which stays: what was written to the heap, allocated and freed, hooks,
 * stm_save(), stm_malloc(), stm_mfree(), tasks added to a queue. Later ones are gone. Abort hooks registered since run in the
 * transaction then. It is no jump: local variables and all else are the caller's. What was read still counts as read.
 * stm_release forgets the savepoint and later ones: what was done since belongs to what is around it.
 *
 * Also in an inevitable transaction; output stays done. stm_savepoint may restart the transaction.
 * The number, or 0; -EPERM: not in a transaction. -EINVAL: there is no such savepoint. -ENOMEM.
 */
int stm_savepoint(void);
int stm_rollback(int savepoint);
int stm_release(int savepoint);

/*
 * stm_atomic_nested - run @fn(@arg) as a part of this transaction that may be undone alone (closed nesting).
 *
 * A code that @fn returns, if it is not 0, undoes what @fn did, and nothing else; it is returned. Outside a transaction
 * it is stm_atomic(). stm_cancel(), stm_restart() and stm_retry() are for the whole transaction, as ever.
 * 0 or the code of @fn; -ENOMEM: @fn was not run.
 */
int stm__atomic_nested(const struct stm_site *site, stm_fn *fn, void *arg);
#define stm_atomic_nested(fn, arg) stm__atomic_nested(STM__SITE(), (fn), (arg))

/*
 * stm_or_else - run @f(@farg); if that calls stm_retry(), undo what it did and run @g(@garg) instead. If that retries, too,
 * the transaction waits for anything that either has read: until the earliest deadline, if there were any.
 *
 * Both run nested, as by stm_atomic_nested(); @g may be another stm_or_else(). Outside a transaction it is one of its own.
 * 0 or the code of the one that came to its end; -ENOMEM: none was run.
 */
int stm__or_else(const struct stm_site *site, stm_fn *f, void *farg, stm_fn *g, void *garg);
#define stm_or_else(f, farg, g, garg) stm__or_else(STM__SITE(), (f), (farg), (g), (garg))

/*
 * What a transaction does after a failed attempt. @size comes first and tells which fields the caller knows; 0 in a
 * field: as for transactions that have no policy.
 */
struct stm_policy {
	size_t size;            /* sizeof(struct stm_policy) */
	unsigned int attempts;  /* failed attempts after which it gets right of way: 1 .. 1,000 */
	uint64_t backoff_first; /* ns, up to a second: the bound of a random wait, which doubles; STM_POLICY_NONE: no wait */
	uint64_t backoff_max;   /* ns, up to a second, and not less than @backoff_first: where that ends */
	uint64_t wait_for_committer; /* ns, up to a second: see below; STM_POLICY_NONE: do not */
};

#define STM_POLICY_NONE UINT64_MAX
#define STM_POLICY_INIT { sizeof(struct stm_policy), 0, 0, 0, 0 }

/*
 * stm_policy - from now on transactions called @name do as @policy says after a failed attempt; @name NULL: those that
 * have no policy of their own, or no name; @policy NULL: as stm_init() was told, again. The name is copied.
 *
 * With @wait_for_committer a transaction that lost to a commit does not back off, but waits until the transaction that
 * the committing thread runs by now has ended, so long at most.
 * Any thread, any time. 0; -ENXIO: not initialised. -EINVAL: a field is out of its range. -ENOMEM.
 */
int stm_policy(const char *name, const struct stm_policy *policy);

/*
 * stm_validate - restart now if a commit of another thread has doomed this transaction.
 *
 * Reads are always consistent: this only saves time in long transactions.
 * 0: not doomed so far. -EPERM: not in a transaction.
 */
int stm_validate(void);

/*
 * stm_become_inevitable - from here on this transaction cannot abort, so it may do I/O.
 *
 * One at a time: waits for the one that runs, and may restart the caller once more before
 * it returns. Others run on, but commit after it. @why, a constant string, is for reports.
 * 0; -EPERM: not in a transaction.
 */
int stm_become_inevitable(const char *why);

/*
 * stm_on_commit, stm_on_abort - call @fn(@arg) once this transaction has committed, in order
 * of registration; or each time an attempt of it is undone, newest first.
 *
 * The hooks run outside the transaction. A commit hook may run transactions, an abort hook may not.
 * 0; -EPERM: not in a transaction. -EINVAL: @fn is NULL. -ENOMEM.
 */
int stm_on_commit(void (*fn)(void *arg), void *arg);
int stm_on_abort(void (*fn)(void *arg), void *arg);

/*
 * stm_save - remember @len bytes of ordinary memory at @p, and put them back if this attempt aborts.
 *
 * 0; -EPERM: not in a transaction. -EINVAL: @p is NULL. -ENOMEM: nothing is remembered.
 */
int stm_save(void *p, size_t len);

/*
 * stm_malloc, stm_mfree - malloc(3), undone if the transaction aborts; free(3), done when it
 * commits. Outside a transaction they are malloc(3) and free(3).
 */
void *stm_malloc(size_t size);
void stm_mfree(void *p);

/* ---- what happened ---- */

enum stm_abort_reason {
	STM_ABORT_CONFLICT,     /* another commit wrote what it had read, or anything if it began alone: found at commit */
	STM_ABORT_VALIDATE,     /* the same, found earlier */
	STM_ABORT_INEVITABLE,   /* the same, found while it became inevitable */
	STM_ABORT_RESTART,      /* stm_restart(); or stm_retry(), once more, to know what it reads */
	STM_ABORT_CANCEL,       /* stm_cancel(), or a function's code */
	STM_ABORT_EXIT,         /* the thread exited inside it */
	STM_ABORT_RETRY,        /* stm_retry(): it waited */
	STM_ABORT_REASONS
};

enum stm_fault_kind {
	STM_FAULT_READ,         /* read of an unmapped page */
	STM_FAULT_WRITE,        /* store to an unmapped page */
	STM_FAULT_PROTECT,      /* store to a shared page, without stm_write() before */
	STM_FAULT_RECLAIMED,    /* a shared page that the kernel had taken back */
	STM_FAULT_KINDS
};

struct stm_stats {
	uint64_t commits;               /* that wrote */
	uint64_t commits_read_only;
	uint64_t aborts[STM_ABORT_REASONS];
	uint64_t inevitable;            /* transactions that became so, asked or for right of way */
	uint64_t faults[STM_FAULT_KINDS];
	uint64_t pages_mapped;          /* pages shared with the base, since the start */
	uint64_t pages_copied;          /* pages made private, since the start */
	uint64_t pages_dropped;         /* pages unmapped, since the start */
	uint64_t pages_shared;          /* now, all segments */
	uint64_t pages_private;         /* now, all segments */
	uint64_t system_calls;          /* made by the library in attached threads */
	uint64_t log_bytes;             /* log memory now: slots and entries */
	uint64_t log_waits;             /* begins that waited because the log was full */
	const struct stm_site *log_held_by; /* the transaction that they waited for last, or NULL */
	uint64_t folded;                /* log position: commits that are in the base */
	uint64_t committed;             /* log position: commits so far */
	uint64_t parked;                /* times a sleeping segment was parked */
	uint64_t heap_bytes;            /* the heap's size now */
	unsigned int attached;          /* threads now */
	const char *engine;             /* how page faults are taken: "sigbus", "thread" or "async" */
	const char *engine_why;         /* constant texts: why that one; how userfaultfd was opened */
	const char *engine_opened;
	uint64_t engine_in_calls;       /* 1: faults inside system calls are resolved; 0: they give EFAULT */
	uint64_t strict_reports;        /* places reported by UFFDSTM_STRICT: see uffdstm-strict(7) */
	uint64_t pages_trimmed;         /* pages unmapped because they were no longer used */
	uint64_t trim_sweeps;           /* times a segment was looked through for them */
	uint64_t trim_ns;               /* CPU time that this took, with the unmapping: nanoseconds */
};

/*
 * stm_stats - fill in the first @size bytes of *@stats; @size is sizeof(struct stm_stats).
 *
 * Any thread, attached or not; figures of running threads are a moment old.
 * 0; -ENXIO: not initialised. -EINVAL: @stats is NULL or @size is 0.
 */
int stm_stats(struct stm_stats *stats, size_t size);

/* What transactions of one name did, or those without one that begin at the same place. Sets are counted in granules. */
struct stm_name_stats {
	const char *name;               /* NULL: none. Valid until stm_fini(), as all here */
	const struct stm_site *site;    /* where it begins; one such place, if there are several */
	stm_fn *task;                   /* of a queue: its function, which stands for the place; else NULL */
	uint64_t commits;               /* that wrote */
	uint64_t commits_read_only;
	uint64_t aborts[STM_ABORT_REASONS];
	uint64_t attempts_most;         /* of one transaction */
	double write_set_mean;          /* of the commits that wrote: exact */
	uint64_t write_set_most;
	double read_set_mean;           /* read or written, by the commits that were looked at */
	uint64_t read_set_most;
	uint64_t read_set_samples;      /* how many that were */
	uint64_t lost_ns;               /* in attempts that were undone and run again */
	uint64_t waited_ns;             /* between such an attempt and the next */
};

/*
 * stm_stats_by_name - what transactions did, by name: up to @n elements of @stats, of @size bytes each, which is
 * sizeof(struct stm_name_stats). Those come first that lost most time.
 *
 * Named transactions are in it, and with stats_unnamed of struct stm_options, or UFFDSTM_STATS=1, all others, by place.
 * Any thread, attached or not; figures of running threads are a moment old.
 * How many there are, which may be more than @n; -ENXIO: not initialised. -EINVAL: @stats is NULL and @n is not 0, or
 * @size is 0. -ENOMEM.
 */
int stm_stats_by_name(struct stm_name_stats *stats, size_t n, size_t size);

#ifndef __cplusplus
/*
 * stm_label - call @len bytes at @p @name in reports of the event log, until they are freed, or called something else;
 * NULL: no more. The name is copied. Not undone with a transaction. Costs nothing without an event log.
 *
 * Any thread, any time. 0; -ENXIO: not initialised. -EINVAL: not in the heap. -ENOMEM.
 */
int stm_label(const volatile void STM *p, size_t len, const char *name);
#endif

/* stm_abort_name, stm_fault_name - a short constant name, or NULL past the last. */
const char *stm_abort_name(unsigned int reason);
const char *stm_fault_name(unsigned int kind);

#ifndef __cplusplus
/* ---- heap memory ---- */

#define STM_ROOTS 64

/*
 * stm_root - root slot @index, by which a program finds its data. NULL with errno EINVAL if
 * @index >= STM_ROOTS, ENXIO if not initialised. Slots start as NULL and are heap memory: use barriers.
 */
void STM *STM *stm_root(unsigned int index);

/*
 * stm_alloc, stm_zalloc - @size bytes of heap memory, aligned to 16 bytes; zeroed by stm_zalloc.
 *
 * In a transaction only. The memory needs no write barrier in this transaction, and is given back if
 * it aborts. @size 0 gives the smallest block.
 * NULL with errno ENOMEM: the heap is full, or the system gave no memory for it to grow.
 */
void STM *stm_alloc(size_t size);
void STM *stm_zalloc(size_t size);

/*
 * stm_alloc_tracked - like stm_alloc, but memory that needs no barriers at all: for code that knows nothing of
 * transactions. Which of its pages a transaction reads and writes is found by page faults; commit compares.
 *
 * Whole pages conflict. Meant for transactions of milliseconds; takes the heap in pieces of 2 MiB. Ordinary
 * pointers stored in it (see stm_local()) are valid in the thread that stored them only. stm_realloc() keeps the kind.
 */
void STM *stm_alloc_tracked(size_t size);

/*
 * stm_realloc - a block of @size bytes with the old contents as far as they fit; @p may be NULL. The old block
 * is freed, or is what is returned. In a transaction only. NULL with errno ENOMEM: @p is untouched.
 */
void STM *stm_realloc(volatile void STM *p, size_t size);

/* stm_free - give a block back when this transaction commits. In a transaction only. NULL is fine. */
void stm_free(volatile void STM *p);

/* stm_usable_size - bytes of the block at @p; 0 for NULL. In any state. */
size_t stm_usable_size(const volatile void STM *p);

/*
 * memcpy(3), memset(3), memcmp(3) with barriers: heap to heap; _in from ordinary memory into the heap;
 * _out from the heap to ordinary memory; stm_memcmp_out compares the heap with ordinary memory.
 * In a transaction only. Source and destination must not overlap.
 */
void stm_memcpy(volatile void STM *to, const volatile void STM *from, size_t len);
void stm_memcpy_in(volatile void STM *to, const void *from, size_t len);
void stm_memcpy_out(void *to, const volatile void STM *from, size_t len);
void stm_memset(volatile void STM *p, int byte, size_t len);
int stm_memcmp(const volatile void STM *a, const volatile void STM *b, size_t len);
int stm_memcmp_out(const volatile void STM *a, const void *b, size_t len);

/*
 * stm_prefault - map the pages of @len bytes at @p, so that a system call can read them. In a transaction.
 * 0; -EPERM: not in a transaction. -EFAULT: not in the heap.
 */
int stm_prefault(const volatile void STM *p, size_t len);

/*
 * stm_pread, stm_pwrite - pread(2) into the heap, pwrite(2) from it, barriers included. In a transaction;
 * stm_pwrite() of an inevitable one, or it may happen more than once. Offset -1 means read(2) and write(2).
 * What the system call returned, or -errno; -EPERM: not in a transaction. A range that is not in the heap
 * stops the process, as with any barrier.
 */
ssize_t stm_pread(int fd, volatile void STM *p, size_t len, off_t offset);
ssize_t stm_pwrite(int fd, const volatile void STM *p, size_t len, off_t offset);
#endif

#ifdef __cplusplus
}
#endif

#include <uffdstm/queue.h>

#endif
