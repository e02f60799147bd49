// SPDX-License-Identifier: MIT
/*
 * init.c - the beginning and the end: options, what the kernel must offer, fork(2).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/membarrier.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine.h"
#include "internal.h"
#include "names.h"
#include "policy.h"
#include "profile.h"
#include "recorder.h"
#include "strict.h"

#define HEAP_DEFAULT ((size_t)1 << 30)
#define HEAP_MIN ((size_t)1 << 20)
#define CLUSTER_DEFAULT 8u              /* pages: mapping as many costs less than the fault itself */
#define WRITES_DEFAULT 2u               /* a barrier needs no fault: its system call costs as much as two copies */
#define CLUSTER_MAX STM_REGION_PAGES
#define LOG_DEFAULT ((size_t)64 << 20)
#define LOG_MIN ((size_t)4 << 20)       /* free blocks that a segment keeps, four times over */
#define TRIM_AGE_DEFAULT 3000u          /* ms */
#define TRIM_AGE_MAX ((uint64_t)24 * 3600 * 1000)
#define TRIM_SHARE_DEFAULT 1u           /* percent */
#define NS_OF_MS ((uint64_t)1000000)

struct stm_global stm_global;
_Atomic bool stm_forked;

static pthread_mutex_t init_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- a child of fork(2) ---- */

static void in_child(void)
{
	if (stm_global.ready) {
		stm__self = NULL;
		stm_recorder_forked();
		stm_status_forked();
		atomic_store_explicit(&stm_forked, true, memory_order_relaxed);
	}
}

void stm_stop_if_forked(const char *call)
{
	if (unlikely(atomic_load_explicit(&stm_forked, memory_order_relaxed)))
		stm_die("%s: in a child of fork(2), where the heap does not exist: only exec or _exit", call);
}

void stm_not_here(const char *call)
{
	stm_stop_if_forked(call);
	if (!stm_global.ready)
		stm_die("%s: the library is not initialised: call stm_init()", call);
	stm_die("%s: this thread is not attached: call stm_thread_attach()", call);
}

/* ---- options ---- */

static int bad(const char *option, unsigned long long value, const char *rule)
{
	stm_complain("stm_init: %s = %llu (EINVAL): %s", option, value, rule);
	return -EINVAL;
}

/*
 * What the program leaves open, as the machine's profile has it. The bounds of clusters go together: one that is given
 * settles all.
 */
static void fill_in(struct stm_options *o, const struct stm_profile *profile)
{
	stm_global.writes_min = o->cluster;
	if (!o->cluster && !o->cluster_max) {
		o->cluster = (unsigned int)stm_profile_get(profile, STM_PROFILE_CLUSTER, 0);
		stm_global.writes_min = stm_profile_get(profile, STM_PROFILE_CLUSTER_WRITES, 0);
		o->cluster_max = (unsigned int)stm_profile_get(profile, STM_PROFILE_CLUSTER_MAX, CLUSTER_MAX);
	}
	if (!o->log_limit)
		o->log_limit = stm_profile_get(profile, STM_PROFILE_LOG_LIMIT, LOG_DEFAULT);
	if (!o->trim_age)
		o->trim_age = stm_profile_get(profile, STM_PROFILE_TRIM_AGE, TRIM_AGE_DEFAULT);
	if (!o->trim_share)
		o->trim_share = stm_profile_get(profile, STM_PROFILE_TRIM_SHARE, TRIM_SHARE_DEFAULT);
	if (!o->trim_pages)
		o->trim_pages = stm_profile_get(profile, STM_PROFILE_TRIM_PAGES, UINT64_MAX);
	stm_global.engine = o->engine;
	stm_global.engine_profile = stm_profile_engine(profile);
	stm_global.event_buffer_profile = stm_profile_get(profile, STM_PROFILE_EVENT_BUFFER, 0);
	stm_parts_open(stm_profile_get(profile, STM_PROFILE_LOG_KEEP, STM_PARTS_KEPT),
		       stm_profile_get(profile, STM_PROFILE_LOG_HUGE, 1));
}

int stm_copy_options(void *to, size_t size, const void *given)
{
	const unsigned char *bytes = given;
	size_t known;

	if (!given)
		return 0;
	memcpy(&known, given, sizeof(known));
	if (known < sizeof(known))
		return -EINVAL;
	/* Fields that this version does not know may only ask for the default. */
	for (size_t i = size; i < known; i++)
		if (bytes[i])
			return -EINVAL;
	memcpy(to, given, known < size ? known : size);
	return 0;
}

static int read_options(const struct stm_options *given)
{
	struct stm_profile profile;
	struct stm_options o = { .size = 0 };

	if (stm_copy_options(&o, sizeof(o), given))
		return bad("options.size", given->size,
			   given->size < sizeof(given->size) ? "start with STM_OPTIONS_INIT" :
							       "asks for something this version does not know");
	if (!o.heap_size)
		o.heap_size = HEAP_DEFAULT < STM_HEAP_LIMIT ? HEAP_DEFAULT : STM_HEAP_LIMIT;
	if (!o.segments)
		o.segments = STM_SEGMENTS_LIMIT;
	stm_profile_read(&profile);
	if (stm_is_verbose())
		stm_profile_tell(&profile);
	fill_in(&o, &profile);
	if (!o.cluster_max)
		o.cluster_max = o.cluster ? o.cluster : CLUSTER_MAX;
	if (!o.cluster)
		o.cluster = CLUSTER_DEFAULT < o.cluster_max ? CLUSTER_DEFAULT : o.cluster_max;
	stm_global.marked_attempts = STM_MARKED_ATTEMPTS;
	if (!stm_global.writes_min)
		stm_global.writes_min = WRITES_DEFAULT < o.cluster_max ? WRITES_DEFAULT : o.cluster_max;
	if (o.event_log && !*o.event_log)
		o.event_log = NULL;

	if (o.heap_size < HEAP_MIN || o.heap_size > STM_HEAP_LIMIT)
		return bad("heap_size", o.heap_size, "1 MiB to STM_HEAP_LIMIT");
	if (o.segments > STM_SEGMENTS_LIMIT)
		return bad("segments", o.segments, "1 to 64");
	if (o.cluster > CLUSTER_MAX || (o.cluster & (o.cluster - 1)))
		return bad("cluster", o.cluster, "a power of two, 1 to 512");
	if (o.cluster_max > CLUSTER_MAX || (o.cluster_max & (o.cluster_max - 1)) || o.cluster_max < o.cluster)
		return bad("cluster_max", o.cluster_max, "a power of two, options.cluster to 512");
	if (o.log_limit < LOG_MIN)
		return bad("log_limit", o.log_limit, "4 MiB or more");
	if (o.trim_age > TRIM_AGE_MAX && o.trim_age != STM_TRIM_NEVER)
		return bad("trim_age", o.trim_age, "milliseconds, up to a day, or STM_TRIM_NEVER");
	if (o.trim_share > 100)
		return bad("trim_share", o.trim_share, "percent, 1 to 100");
	if (o.event_sample > STM_SAMPLE_MAX)
		return bad("event_sample", o.event_sample, "one in so many, 1 to 1,000,000");
	if (o.event_readers > 1)
		return bad("event_readers", o.event_readers, "0 or 1");
	if (o.event_buffer && (o.event_buffer < STM_BUFFER_MIN || o.event_buffer > STM_BUFFER_MAX))
		return bad("event_buffer", o.event_buffer, "bytes, 16 KiB to 256 MiB");
	if (o.backoff_first > STM_POLICY_NS_MAX && o.backoff_first != STM_POLICY_NONE)
		return bad("backoff_first", o.backoff_first, "nanoseconds, up to a second, or STM_POLICY_NONE");
	if (o.backoff_max > STM_POLICY_NS_MAX ||
	    (o.backoff_max && o.backoff_first != STM_POLICY_NONE && o.backoff_first > o.backoff_max))
		return bad("backoff_max", o.backoff_max, "nanoseconds, options.backoff_first to a second");
	if (o.wait_for_committer > STM_POLICY_NS_MAX && o.wait_for_committer != STM_POLICY_NONE)
		return bad("wait_for_committer", o.wait_for_committer, "nanoseconds, up to a second, or STM_POLICY_NONE");
	if (o.stats_unnamed > 1)
		return bad("stats_unnamed", o.stats_unnamed, "0 or 1");
	stm_global.heap_limit = (o.heap_size + STM_PAGE - 1) / STM_PAGE * STM_PAGE;
	stm_global.segments_limit = o.segments;
	stm_global.cluster_min = o.cluster;
	stm_global.cluster_max = o.cluster_max;
	stm_global.log_limit = o.log_limit;
	stm_global.trim_age = o.trim_age == STM_TRIM_NEVER ? UINT64_MAX : o.trim_age * NS_OF_MS;
	stm_global.trim_share = (unsigned int)o.trim_share;
	stm_global.trim_limit = o.trim_pages;
	stm_global.trim_versions = STM_TRIM_VERSIONS;
	stm_global.event_log = o.event_log;
	stm_global.event_sample = o.event_sample;
	stm_global.event_buffer = o.event_buffer;
	stm_global.event_readers = o.event_readers;
	stm_policy_open(&(struct stm_policy){ sizeof(struct stm_policy), o.attempts, o.backoff_first, o.backoff_max,
					      o.wait_for_committer });
	return stm_names_open(o.stats_unnamed);
}

/* ---- up and down ---- */

static int register_membarrier(void)
{
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0)
		return 0;

	int error = -errno;

	stm_complain("membarrier: %s: the kernel, or a security filter, must allow membarrier(2)",
		     stm_errno_name(error));
	return error;
}

static int open_all(void)
{
	int error = register_membarrier();

	if (!error)
		error = stm_strict_open();
	if (error)
		return error;
	error = stm_engine_open(stm_global.engine, stm_global.engine_profile,
				stm_global.strict ? "needed by UFFDSTM_STRICT" : NULL, stm_resolve_fault);
	if (error)
		goto close_strict;
	stm_status_open();
	error = stm_heap_open();
	if (error)
		goto close_status;
	error = stm_log_open();
	if (error)
		goto close_heap;
	error = stm_alloc_open();
	if (error)
		goto close_log;
	error = stm_recorder_open();
	if (error)
		goto close_alloc;
	error = stm_segments_open();
	if (error)
		goto close_recorder;
	error = stm_fault_install(stm_resolve_fault);
	if (!error)
		return 0;
	stm_segments_close();
close_recorder:
	stm_recorder_close();
close_alloc:
	stm_alloc_close();
close_log:
	stm_log_close();
close_heap:
	stm_heap_close();
close_status:
	stm_status_close();
	stm_engine_close();
close_strict:
	stm_strict_close();
	return error;
}

int stm__init(const struct stm_options *options, unsigned int layout)
{
	static bool watching_forks;
	int error;

	stm_stop_if_forked("stm_init");
	if (layout != STM_LAYOUT) {
		stm_complain("stm_init: the program is built for address layout %u, the library for %u (EINVAL): build both with or without STM_SMALL_LAYOUT",
			     layout, STM_LAYOUT);
		return -EINVAL;
	}
	pthread_mutex_lock(&init_lock);
	if (stm_global.ready) {
		error = -EALREADY;
		goto out;
	}
	error = read_options(options);
	if (error)
		goto out;
	if (!watching_forks) {
		error = -pthread_atfork(NULL, NULL, in_child);
		if (error)
			goto out;
		watching_forks = true;
	}
	pthread_mutex_init(&stm_global.fold_lock, NULL);
	error = open_all();
	stm_global.ready = !error;
out:
	pthread_mutex_unlock(&init_lock);
	return error;
}

int stm_fini(void)
{
	int error = 0;

	stm_stop_if_forked("stm_fini");
	pthread_mutex_lock(&init_lock);
	if (!stm_global.ready)
		error = -ENXIO;
	else if (stm_in_transaction() || (stm__self && stm__self->hooks))
		error = -EBUSY;
	else
		error = stm_segments_close();
	if (!error) {
		stm_fault_uninstall();
		stm_recorder_close();
		stm_strict_close();
		stm_alloc_close();
		stm_log_close();
		stm_heap_close();
		stm_status_close();
		stm_engine_close();
		stm_policy_close();
		pthread_mutex_destroy(&stm_global.fold_lock);
		memset(&stm_global, 0, sizeof(stm_global));
	}
	pthread_mutex_unlock(&init_lock);
	return error;
}
